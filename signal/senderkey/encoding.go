package senderkey

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
)

// ErrEncoding is returned for bytes that Append did not make.
var ErrEncoding = errors.New("senderkey: not an encoded sender or receiver")

const encodingVersion = 1

func appendStart(b []byte, suite Suite, group GroupID, sender signal.Address) []byte {
	b = append(b, encodingVersion, byte(suite))
	b = append(b, group[:]...)
	return sender.Append(b)
}

func readEncodingStart(in *cryptobyte.String, suite *Suite, group *GroupID, sender *signal.Address) bool {
	var version uint8
	return in.ReadUint8(&version) && version == encodingVersion &&
		in.ReadUint8((*uint8)(suite)) && suite.codec() != nil && in.CopyBytes(group[:]) && sender.Read(in)
}

// Append appends the encoded sender to b, version byte first. It holds private
// keys in the clear and must be stored encrypted.
func (s *Sender) Append(b []byte) []byte {
	b = appendStart(b, s.suite, s.group, s.sender)
	b = binary.BigEndian.AppendUint32(b, s.chainID)
	b = binary.BigEndian.AppendUint32(b, s.iteration)
	b = append(b, s.chain.Bytes()...)
	return append(b, s.signing.Bytes()...)
}

// ParseSender decodes what [Sender.Append] made. It returns [ErrEncoding].
func ParseSender(b []byte) (*Sender, error) {
	in := cryptobyte.String(b)
	s := new(Sender)
	var private []byte
	if !readEncodingStart(&in, &s.suite, &s.group, &s.sender) || !in.ReadUint32(&s.chainID) ||
		!in.ReadUint32(&s.iteration) || !readKey(&in, &s.chain) ||
		!in.ReadBytes(&private, curve.KeySize) || !in.Empty() {
		return nil, ErrEncoding
	}
	key, err := curve.ParsePrivateKey(private)
	if err != nil {
		return nil, ErrEncoding
	}
	s.signing = key
	return s, nil
}

// Append appends the encoded receiver to b, version byte first. It holds keys in
// the clear and must be stored encrypted.
func (r *Receiver) Append(b []byte) []byte {
	b = appendStart(b, r.suite, r.group, r.sender)
	b = append(b, byte(len(r.chains))) //nolint:gosec // at most maxChains
	for _, c := range r.chains {
		b = binary.BigEndian.AppendUint32(b, c.id)
		b = append(b, c.signing[:]...)
		b = binary.BigEndian.AppendUint32(b, c.next)
		b = append(b, c.key.Bytes()...)
		b = c.skipped.Append(b)
	}
	return b
}

// ParseReceiver decodes what [Receiver.Append] made. It returns [ErrEncoding].
func ParseReceiver(b []byte) (*Receiver, error) {
	in := cryptobyte.String(b)
	r := new(Receiver)
	var count uint8
	if !readEncodingStart(&in, &r.suite, &r.group, &r.sender) || !in.ReadUint8(&count) || count > maxChains {
		return nil, ErrEncoding
	}
	for range count {
		c := new(chain)
		if !c.read(&in) || slices.ContainsFunc(r.chains, func(o *chain) bool { return o.id == c.id }) {
			return nil, ErrEncoding
		}
		r.chains = append(r.chains, c)
	}
	if !in.Empty() {
		return nil, ErrEncoding
	}
	return r, nil
}

func (c *chain) read(in *cryptobyte.String) bool {
	return in.ReadUint32(&c.id) && in.CopyBytes(c.signing[:]) && in.ReadUint32(&c.next) && readKey(in, &c.key) &&
		c.skipped.Read(in, c.next, maxSkipped)
}

func readKey(in *cryptobyte.String, k *secret.Key) bool {
	var b []byte
	if !in.ReadBytes(&b, secret.KeySize) {
		return false
	}
	*k = secret.NewKey([secret.KeySize]byte(b))
	return true
}
