package senderkey

import (
	"crypto/cipher"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
)

// Overlong is a name that an address cannot have.
var Overlong = string(make([]byte, signal.MaxNameSize+1))

// Distribution is a distribution message.
type Distribution struct {
	Group              GroupID
	ChainID, Iteration uint32
	ChainKey           [32]byte
	Signing            curve.PublicKey
}

// AppendDistribution encodes a distribution message.
func AppendDistribution(suite Suite, d Distribution) []byte {
	return suite.codec().appendDistribution(&distribution{
		group: d.Group, chainID: d.ChainID, iteration: d.Iteration, chainKey: secret.NewKey(d.ChainKey), signing: d.Signing,
	})
}

// ParseDistribution decodes a distribution message.
func ParseDistribution(suite Suite, b []byte) (Distribution, bool) {
	d, ok := suite.codec().parseDistribution(b)
	if !ok {
		return Distribution{}, false
	}
	return Distribution{d.group, d.chainID, d.iteration, *d.chainKey.Array(), d.signing}, true
}

// Chate2eKeys are the cipher, nonce and commitment of a message of chate2e/v1.
func Chate2eKeys(seed *[32]byte, salt []byte) (aead cipher.AEAD, nonce, commitment []byte) {
	return chate2eKeys(seed, salt)
}

// Parts are the fields of a message of chate2e/v1 in their order.
func (m *Message) Parts() [][]byte {
	return [][]byte{m.header, m.ciphertext, m.signature}
}

// Fields are those of a message.
func (m *Message) Fields() (ciphertext, signature []byte) { return m.ciphertext, m.signature }
