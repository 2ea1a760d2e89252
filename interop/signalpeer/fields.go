package main

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chate2e/chate2e/signal/session"
)

// fields are what a message says about itself, read from its bytes independently of the library.
type fields struct {
	Version         byte   `json:"version"`
	RatchetKey      []byte `json:"ratchetKey"`
	Counter         uint64 `json:"counter"`
	PreviousCounter uint64 `json:"previousCounter"`
	CiphertextBytes int    `json:"ciphertextBytes"`
	PQRatchet       []byte `json:"pqRatchet"`
	Addresses       []byte `json:"addresses"`

	*preKeyFields
}

// preKeyFields are those of a first message.
type preKeyFields struct {
	PreKeyID             *uint64 `json:"preKeyId"`
	BaseKey              []byte  `json:"baseKey"`
	IdentityKey          []byte  `json:"identityKey"`
	RegistrationID       uint64  `json:"registrationId"`
	SignedPreKeyID       *uint64 `json:"signedPreKeyId"`
	KyberPreKeyID        *uint64 `json:"kyberPreKeyId"`
	KyberCiphertextBytes int     `json:"kyberCiphertextBytes"`
}

// messageRequest is a message as requests carry it.
type messageRequest struct {
	Type    session.Type `json:"type"`
	Message blob         `json:"message"`
}

func (r *messageRequest) check() error {
	if r.Type != session.TypeMessage && r.Type != session.TypePreKey {
		return badRequest("type: %d or %d is required", session.TypeMessage, session.TypePreKey)
	}
	return r.Message.require("message")
}

func parseFields(kind session.Type, message []byte) (*fields, error) {
	const macSize = 8
	f := &fields{PQRatchet: []byte{}}
	if kind == session.TypePreKey {
		outer, ok := readProtobuf(message, 0)
		if !ok || outer.data[4] == nil {
			return nil, session.ErrMalformed
		}
		f.preKeyFields = &preKeyFields{
			PreKeyID: outer.number(1), BaseKey: outer.data[2], IdentityKey: outer.data[3],
			RegistrationID: or(outer.number(5), 0), SignedPreKeyID: outer.number(6),
			KyberPreKeyID: outer.number(7), KyberCiphertextBytes: len(outer.data[8]),
		}
		message = outer.data[4]
	}
	inner, ok := readProtobuf(message, macSize)
	if !ok {
		return nil, session.ErrMalformed
	}
	f.Version = message[0] >> 4
	f.RatchetKey, f.CiphertextBytes, f.Addresses = inner.data[1], len(inner.data[4]), inner.data[6]
	f.Counter, f.PreviousCounter = or(inner.number(2), 0), or(inner.number(3), 0)
	f.PQRatchet = append(f.PQRatchet, inner.data[5]...)
	return f, nil
}

// protobuf is a message of varints and byte strings by field number.
type protobuf struct {
	numbers map[protowire.Number]uint64
	data    map[protowire.Number][]byte
}

func (p *protobuf) number(field protowire.Number) *uint64 {
	if v, ok := p.numbers[field]; ok {
		return &v
	}
	return nil
}

// readProtobuf reads what lies between the version byte and a trailer.
func readProtobuf(message []byte, trailer int) (*protobuf, bool) {
	if len(message) < 1+trailer {
		return nil, false
	}
	p := &protobuf{numbers: map[protowire.Number]uint64{}, data: map[protowire.Number][]byte{}}
	for b := message[1 : len(message)-trailer]; len(b) > 0; {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			p.numbers[field], n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			var value []byte
			value, n = protowire.ConsumeBytes(b)
			p.data[field] = slices.Clone(value)
		default:
			return nil, false
		}
		if n < 0 {
			return nil, false
		}
		b = b[n:]
	}
	return p, true
}
