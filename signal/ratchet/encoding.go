package ratchet

import (
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/curve"
)

// ErrEncoding is returned by Parse for bytes that [State.Append] did not make.
var ErrEncoding = errors.New("ratchet: not an encoded state")

const (
	flagOur = 1 << iota
	flagTheir
	flagSend

	chainOpen = 1
)

// Append appends the encoded state to b: root key, root steps and all keys in
// the clear, integers big-endian. It must be stored encrypted. Equal states have
// equal encodings. Rules are not part of it; some decide what is.
func (s *State) Append(b []byte) []byte {
	flags := byte(0)
	if s.our != nil {
		flags |= flagOur
	}
	if s.hasTheir {
		flags |= flagTheir
	}
	if !s.send.key.IsZero() {
		flags |= flagSend
	}
	b = append(b, flags)
	b = append(b, s.root.Bytes()...)
	b = binary.BigEndian.AppendUint32(b, s.steps)
	b = binary.BigEndian.AppendUint32(b, s.previous)
	if flags&flagOur != 0 {
		b = append(b, s.our.Bytes()...)
		b = append(b, s.ourPublic[:]...)
	}
	if flags&flagTheir != 0 {
		b = append(b, s.their[:]...)
	}
	if flags&flagSend != 0 {
		b = append(b, s.send.key.Bytes()...)
		b = binary.BigEndian.AppendUint32(b, s.send.index)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.receive))) //nolint:gosec // at most MaxChains + MaxSkipped
	for _, c := range s.receive {
		b = c.append(b)
		if s.rules.Eras && c != s.current() {
			b = binary.BigEndian.AppendUint64(b, c.until)
		}
	}
	return b
}

func (c *receiving) append(b []byte) []byte {
	b = append(b, c.their[:]...)
	b = binary.BigEndian.AppendUint32(b, c.index)
	if c.key.IsZero() {
		b = append(b, 0)
	} else {
		b = append(b, chainOpen)
		b = append(b, c.key.Bytes()...)
	}
	return c.skipped.Append(b)
}

// Parse decodes a state for the given rules. It returns [ErrEncoding] for
// anything that Append could not have made under these rules, trailing bytes
// included.
func Parse(rules Rules, b []byte) (*State, error) {
	in := cryptobyte.String(b)
	s := &State{rules: rules}
	if !s.parse(&in) || !in.Empty() {
		return nil, ErrEncoding
	}
	return s, nil
}

func (s *State) parse(in *cryptobyte.String) bool {
	var flags uint8
	if !in.ReadUint8(&flags) || flags&^(flagOur|flagTheir|flagSend) != 0 ||
		!readKey(in, &s.root) || !in.ReadUint32(&s.steps) || !in.ReadUint32(&s.previous) {
		return false
	}
	if flags&flagOur != 0 {
		var private []byte
		if !in.ReadBytes(&private, curve.KeySize) || !in.CopyBytes(s.ourPublic[:]) {
			return false
		}
		key, err := curve.ParsePrivateKey(private)
		if err != nil {
			return false
		}
		s.our = key
	}
	if flags&flagTheir != 0 {
		if !in.CopyBytes(s.their[:]) {
			return false
		}
		s.hasTheir = true
	}
	if flags&flagSend != 0 && (!readKey(in, &s.send.key) || !in.ReadUint32(&s.send.index)) {
		return false
	}
	if !s.parseChains(in) {
		return false
	}
	// A sending chain needs both ratchet keys; the newest receiving chain is the
	// one under the peer's current key.
	if flags&flagSend != 0 && (s.our == nil || !s.hasTheir) {
		return false
	}
	if current := s.current(); current != nil && (!s.hasTheir || current.their != s.their) {
		return false
	}
	return s.our != nil || s.hasTheir
}

func (s *State) parseChains(in *cryptobyte.String) bool {
	var count uint16
	if !in.ReadUint16(&count) || int(count) > s.rules.MaxChains+s.rules.MaxSkipped {
		return false
	}
	for i := range int(count) {
		c := new(receiving)
		if !c.parse(in, &s.rules) || s.find(c.their) != nil {
			return false
		}
		if s.rules.Eras && i < int(count)-1 && !in.ReadUint64(&c.until) {
			return false
		}
		// By the specification the current chain alone is open, and of more than
		// MaxChains only those are kept that hold keys.
		current := i == int(count)-1
		if c.key.IsZero() == (s.rules.KeepChains || current) ||
			(int(count) > s.rules.MaxChains && !current && c.skipped.Len() == 0) {
			return false
		}
		s.receive = append(s.receive, c)
	}
	if s.rules.KeepChains {
		return int(count) <= s.rules.MaxChains
	}
	return s.Skipped() <= s.rules.MaxSkipped
}

func (c *receiving) parse(in *cryptobyte.String, rules *Rules) bool {
	var open uint8
	if !in.CopyBytes(c.their[:]) || !in.ReadUint32(&c.index) || c.index == 0 || !in.ReadUint8(&open) || open > chainOpen {
		return false
	}
	if open == chainOpen && !readKey(in, &c.key) {
		return false
	}
	return c.skipped.Read(in, c.index, rules.MaxSkipped)
}

func readKey(in *cryptobyte.String, k *secret.Key) bool {
	var b []byte
	if !in.ReadBytes(&b, secret.KeySize) {
		return false
	}
	*k = secret.NewKey([secret.KeySize]byte(b))
	return true
}
