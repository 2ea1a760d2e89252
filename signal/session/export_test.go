package session

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math"
	"slices"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/spqr"
)

// Encode encodes the parts of a parsed message again. If the message was
// canonical, these are the bytes it was parsed from.
func Encode(m *Message) []byte {
	if m.suite == pqxdh.Chate2eV1 {
		var b []byte
		if m.handshake != nil {
			b = appendHandshake(b, m.handshake)
		}
		return append(appendHeader(b, m.header, m.salt), m.ciphertext...)
	}
	return encodeLibsignal(m, m.header)
}

func encodeLibsignal(m *Message, h header) []byte {
	c := suites[m.suite].cipher.(libsignalCipher)
	b := c.encodeMessage(h, m.ciphertext, m.addresses)
	b = append(b, m.inner[len(m.inner)-macSize:]...)
	if m.handshake == nil {
		return b
	}
	return c.encodePreKey(m.handshake, b)
}

// WithHeader returns a message of the official library with another ratchet
// header, and the MAC it had.
func WithHeader(suite pqxdh.Suite, kind Type, b []byte, h ratchet.Header) []byte {
	m, err := ParseLibsignal(suite, kind, b)
	if err != nil {
		panic(err)
	}
	return encodeLibsignal(m, header{Header: h, pq: m.header.pq})
}

// Inner returns the message inside of a PreKey message.
func Inner(suite pqxdh.Suite, b []byte) []byte {
	if suite == pqxdh.Chate2eV1 {
		m, err := Parse(b)
		if err != nil {
			panic(err)
		}
		return b[len(appendHandshake(nil, m.handshake)):]
	}
	m, err := ParseLibsignal(suite, TypePreKey, b)
	if err != nil {
		panic(err)
	}
	return m.inner
}

// MAC computes the MAC of a SignalMessage that lacks it.
func MAC(key []byte, sender, receiver curve.PublicKey, covered []byte) []byte {
	keys := libsignalMessageKeys{make([]byte, 32+32+16)}
	copy(keys.b[32:], key)
	return keys.mac(sender, receiver, covered)
}

// Ciphertext returns the ciphertext of a parsed message.
func Ciphertext(m *Message) []byte { return m.ciphertext }

// SealPadded encrypts a SignalMessage like [Record.Encrypt], with this for the
// padded plaintext. What is no whole number of blocks is not encrypted.
func SealPadded(r *Record, padded []byte) []byte {
	s := r.current()
	pq, err := s.sendPQ()
	if err != nil {
		panic(err)
	}
	defer pq.commit(s)
	h, seed, err := s.ratchet.Send()
	if err != nil {
		panic(err)
	}
	keys := libsignalKeys(pq.seeds(seed.Array()))
	b := append([]byte(nil), padded...)
	if len(b)%aes.BlockSize == 0 {
		block, err := aes.NewCipher(keys.b[:32])
		if err != nil {
			panic(err)
		}
		cipher.NewCBCEncrypter(block, keys.b[64:]).CryptBlocks(b, b)
	}
	b = r.suite.cipher.(libsignalCipher).encodeMessage(pq.header(h), b, nil)
	return append(b, keys.mac(s.ourIdentity, s.theirIdentity, b)...)
}

// RatchetStates returns the encoded ratchet state of each session.
func RatchetStates(r *Record) [][]byte {
	var all [][]byte
	for _, s := range r.sessions {
		all = append(all, s.ratchet.Append(nil))
	}
	return all
}

// Watch returns a function that encodes the states of the sessions that r has
// now, whatever becomes of them: both ratchets of each.
func Watch(r *Record) func() [][]byte {
	sessions := slices.Clone(r.sessions)
	return func() [][]byte {
		var all [][]byte
		for _, s := range sessions {
			all = append(all, s.ratchet.Append(nil), s.pq.Append(nil))
		}
		return all
	}
}

// Exhaust returns a copy of a record whose session in use, which has sent, has no
// number left for another message in one of its ratchets.
func Exhaust(r *Record, postQuantum bool) *Record {
	c := Copy(r)
	s := c.current()
	// In the encodings, where the sending chain stands.
	const (
		ratchetAt = 1 + 32 + 4 + 4 + 64 + 32 + 32
		pqAt      = 4 + 8 + 64 + 32
	)
	var err error
	if postQuantum {
		b := s.pq.Append(nil)
		binary.BigEndian.PutUint32(b[pqAt:], math.MaxUint32)
		s.pq, err = spqr.Parse(b, *c.suite.pq)
	} else {
		b := s.ratchet.Append(nil)
		binary.BigEndian.PutUint32(b[ratchetAt:], math.MaxUint32)
		s.ratchet, err = ratchet.Parse(c.suite.ratchet, b)
	}
	if err != nil {
		panic(err)
	}
	return c
}

// PQ returns what a parsed message carries of the post-quantum ratchet.
func PQ(m *Message) []byte { return m.header.pq }

// Addresses returns whom a parsed message of the official library says that it is
// from and to, nil if it does not.
func Addresses(m *Message) []byte { return m.addresses }

// WithPQ returns a message that carries something else of the post-quantum
// ratchet, and the MAC or tag it had.
func WithPQ(m *Message, pq []byte) []byte {
	changed := *m
	changed.header.pq = pq
	return Encode(&changed)
}

// ServiceAddresses is how the official library encodes sender and receiver, nil if
// it would not.
func ServiceAddresses(sender, receiver signal.Address) []byte {
	return libsignalAddresses(sender, receiver)
}

// Merge returns a copy of a record whose session in use has the Double Ratchet of
// one copy of that session and the post-quantum ratchet of another.
func Merge(double, postQuantum *Record) *Record {
	merged, other := Copy(double), Copy(postQuantum)
	merged.sessions[0].pq = other.sessions[0].pq
	return merged
}

// Copy returns a copy of a record.
func Copy(r *Record) *Record {
	c, err := ParseRecord(r.Append(nil))
	if err != nil {
		panic(err)
	}
	return c
}

// OpenWithAny reports whether m opens with any pair of a seed and a post-quantum key
// that the sessions in use of two copies yield: that of its sender, if she encrypted
// now, and that of its receiver.
func OpenWithAny(sender, receiver *Record, m *Message) bool {
	from, to := Copy(sender).current(), Copy(receiver)
	var seedsFound []*[32]byte
	if _, seed, err := from.ratchet.Send(); err == nil {
		seedsFound = append(seedsFound, seed.Array())
	}
	var pqFound [][]byte
	if step, err := from.pq.Send(); err == nil {
		pqFound = append(pqFound, step.Key())
	}
	for _, s := range to.candidates(m) {
		if opening, err := s.ratchet.Receive(m.header.Header); err == nil {
			seedsFound = append(seedsFound, opening.Seed())
		}
		if step, err := s.pq.Receive(m.header.pq); err == nil {
			pqFound = append(pqFound, step.Key())
		}
	}
	for _, seed := range seedsFound {
		for _, pq := range pqFound {
			if _, ok := to.suite.cipher.open(to, to.current(), m, seeds{seed: seed, pq: pq}); ok {
				return true
			}
		}
	}
	return false
}

// KeysOf returns the keys that open m: its seed and post-quantum key.
func KeysOf(receiver *Record, m *Message) [][]byte {
	s := Copy(receiver).candidates(m)[0]
	opening, err := s.ratchet.Receive(m.header.Header)
	if err != nil {
		panic(err)
	}
	step, err := s.pq.Receive(m.header.pq)
	if err != nil {
		panic(err)
	}
	return [][]byte{slices.Clone(opening.Seed()[:]), slices.Clone(step.Key())}
}
