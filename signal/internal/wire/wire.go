// Package wire reads and writes the protobufs of the official library, whose
// fields of interest are all uint32, uint64 or bytes.
package wire

import (
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field is the number of a field.
type Field = protowire.Number

// AppendNumber appends a field that holds a number.
func AppendNumber(b []byte, field Field, v uint32) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
}

// AppendBytes appends a field that holds bytes, a string or a message.
func AppendBytes(b []byte, field Field, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// AppendFixed64 appends a field that holds a number in eight bytes.
func AppendFixed64(b []byte, field Field, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), v)
}

// Message is a parsed protobuf: its known fields.
type Message struct {
	Numbers map[Field]uint32
	Bytes   map[Field][]byte // pointing into what was parsed
	Fixed64 map[Field]uint64
}

// Has reports whether all these fields are there.
func (m *Message) Has(fields ...Field) bool {
	for _, n := range fields {
		_, number := m.Numbers[n]
		_, data := m.Bytes[n]
		_, fixed := m.Fixed64[n]
		if !number && !data && !fixed {
			return false
		}
	}
	return true
}

// Parse reads a protobuf. Of equal fields the last counts, and unknown fields are
// skipped, as in the official library. It fails for a known field of another type
// and for a number above 32 bits.
func Parse(b []byte, numbers, data []Field) (*Message, bool) {
	return ParseFixed(b, numbers, data, nil)
}

// ParseFixed is Parse for a message that has fields of eight bytes, too.
func ParseFixed(b []byte, numbers, data, fixed []Field) (*Message, bool) {
	m := &Message{Numbers: map[Field]uint32{}, Bytes: map[Field][]byte{}, Fixed64: map[Field]uint64{}}
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		switch {
		case slices.Contains(numbers, field):
			v, size := protowire.ConsumeVarint(b)
			if typ != protowire.VarintType || size < 0 || v > math.MaxUint32 {
				return nil, false
			}
			m.Numbers[field], n = uint32(v), size
		case slices.Contains(data, field):
			v, size := protowire.ConsumeBytes(b)
			if typ != protowire.BytesType || size < 0 {
				return nil, false
			}
			m.Bytes[field], n = v, size
		case slices.Contains(fixed, field):
			v, size := protowire.ConsumeFixed64(b)
			if typ != protowire.Fixed64Type || size < 0 {
				return nil, false
			}
			m.Fixed64[field], n = v, size
		default:
			if n = protowire.ConsumeFieldValue(field, typ, b); n < 0 {
				return nil, false
			}
		}
		b = b[n:]
	}
	return m, true
}
