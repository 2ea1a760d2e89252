package wire_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chate2e/chate2e/signal/internal/wire"
)

const (
	number wire.Field = 1
	data   wire.Field = 2
	fixed  wire.Field = 3
)

func parse(b []byte) (*wire.Message, bool) {
	return wire.ParseFixed(b, []wire.Field{number}, []wire.Field{data}, []wire.Field{fixed})
}

func TestParse(t *testing.T) {
	b := wire.AppendNumber(nil, number, math.MaxUint32)
	b = wire.AppendBytes(b, data, []byte("bytes"))
	b = wire.AppendFixed64(b, fixed, math.MaxUint64)
	m, ok := parse(b)
	if !ok || m.Numbers[number] != math.MaxUint32 || string(m.Bytes[data]) != "bytes" || m.Fixed64[fixed] != math.MaxUint64 {
		t.Fatalf("got %+v, %t", m, ok)
	}
	if !m.Has() || !m.Has(number, data, fixed) || m.Has(number, 4) {
		t.Error("Has is wrong about what is there")
	}
	// No part of a field is a field.
	for size := range len(b) {
		m, ok := parse(b[:size])
		whole := size == 0 || size == 6 || size == 6+7
		if ok != whole || (m == nil) == ok {
			t.Errorf("%d of %d bytes: %+v, %t", size, len(b), m, ok)
		}
	}
	// Fields that are there without a value count as there.
	if m, ok := parse(wire.AppendBytes(wire.AppendNumber(nil, number, 0), data, nil)); !ok || !m.Has(number, data) || m.Has(fixed) {
		t.Errorf("empty fields: %+v, %t", m, ok)
	}
}

// What the official library takes, of which the last counts, and what it does not.
func TestUnusual(t *testing.T) {
	tag := func(f wire.Field, typ protowire.Type) []byte { return protowire.AppendTag(nil, f, typ) }
	for _, c := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"twice", wire.AppendNumber(wire.AppendNumber(nil, number, 1), number, 7), true},
		{"unknown fields", slices.Concat(
			wire.AppendNumber(nil, 9, 1), wire.AppendNumber(nil, number, 7), wire.AppendBytes(nil, 10, []byte("x")),
			wire.AppendFixed64(nil, 11, 1), append(tag(12, protowire.Fixed32Type), 1, 2, 3, 4)), true},
		{"a longer varint", append(tag(number, protowire.VarintType), 0x87, 0x80, 0x00), true},
		{"33 bits", protowire.AppendVarint(tag(number, protowire.VarintType), math.MaxUint32+1), false},
		{"more than 64 bits", append(tag(number, protowire.VarintType), bytes.Repeat([]byte{0xFF}, 10)...), false},
		{"a number as bytes", wire.AppendBytes(nil, number, []byte{7}), false},
		{"bytes as a number", wire.AppendNumber(nil, data, 7), false},
		{"eight bytes as a number", wire.AppendNumber(nil, fixed, 7), false},
		{"a length beyond the end", append(tag(data, protowire.BytesType), 2, 7), false},
		{"a huge length", protowire.AppendVarint(tag(data, protowire.BytesType), math.MaxUint64), false},
		{"an unknown field that is cut", append(tag(9, protowire.BytesType), 2, 7), false},
		{"field 0", []byte{0, 0}, false},
		{"a type that does not exist", []byte{byte(number)<<3 | 7}, false},
		{"groups without an end", bytes.Repeat(tag(9, protowire.StartGroupType), 100_000), false},
	} {
		m, ok := parse(c.b)
		if ok != c.ok || ok && m.Numbers[number] != 7 {
			t.Errorf("%s: %+v, %t", c.name, m, ok)
		}
	}
}

func TestServiceID(t *testing.T) {
	const text = "9d0652a3-dcc3-4d11-975f-74d61598733f"
	raw, err := hex.DecodeString("009d0652a3dcc34d11975f74d61598733f")
	if err != nil {
		t.Fatal(err)
	}
	pni := slices.Concat([]byte{1}, raw[1:])
	for s, want := range map[string][]byte{
		text:                                   raw,
		"9D0652A3-dcc3-4D11-975F-74D61598733F": raw,
		"PNI:" + text:                          pni,
		"":                                     nil,
		"PNI:":                                 nil,
		"pni:" + text:                          nil,
		"PNI:PNI:" + text:                      nil,
		text[:35]:                              nil,
		text + "0":                             nil,
		"9d0652a3dcc34d11975f74d61598733f":     nil,
		"9d0652a3-dcc3-4d11-975f-74d61598733g": nil,
		"9d0652a3-dcc3-4d11-975f-74d615-8733f": nil,
		"9d0652a3_dcc3_4d11_975f_74d61598733f": nil,
	} {
		id, ok := wire.ParseServiceID(s)
		if ok != (want != nil) || ok && !bytes.Equal(id[:], want) || !ok && id != (wire.ServiceID{}) {
			t.Errorf("%q: %x, %t", s, id, ok)
		}
	}
}
