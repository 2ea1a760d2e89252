package senderkey

import (
	"errors"
	"fmt"
	"slices"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
)

// Suite is a complete choice of algorithms and formats.
type Suite uint8

const (
	// Chate2eV1 is the suite of ChatE2E: AES-256-GCM with a key commitment
	// (docs/PROTOCOL.md, Groups).
	Chate2eV1 Suite = 1
	// Libsignal is what the official library speaks.
	Libsignal Suite = 3
)

// String returns the suite's name.
func (s Suite) String() string {
	switch s {
	case Chate2eV1:
		return "chate2e/v1"
	case Libsignal:
		return "libsignal"
	default:
		return fmt.Sprintf("unknown suite %d", uint8(s))
	}
}

var (
	// ErrSuite is returned for an unknown suite.
	ErrSuite = errors.New("senderkey: wrong suite")
	// ErrMalformed is returned for bytes that are no message or distribution
	// message.
	ErrMalformed = errors.New("senderkey: malformed message")
	// ErrNoChain is returned by Decrypt for a message of a chain that was not
	// distributed to us.
	ErrNoChain = errors.New("senderkey: unknown chain")
	// ErrDuplicate is returned by Decrypt for a message whose key was used before.
	ErrDuplicate = errors.New("senderkey: message was received before")
	// ErrDecrypt is returned by Decrypt for every message that does not open,
	// without a hint of what was wrong with it.
	ErrDecrypt = errors.New("senderkey: message does not open")
	// ErrExhausted is returned by Encrypt when a chain has no numbers left.
	ErrExhausted = errors.New("senderkey: chain exhausted")
)

// GroupID names a group; the official library's distribution ID, a UUID.
type GroupID [16]byte

// distribution is a parsed distribution message. It is secret: it opens all later
// messages of its chain.
type distribution struct {
	group     GroupID
	chainID   uint32
	iteration uint32
	chainKey  secret.Key
	signing   curve.PublicKey
}

// Message is a parsed group message, of which nothing is authenticated yet.
type Message struct {
	suite      Suite
	group      GroupID
	chainID    uint32
	iteration  uint32
	raw        []byte
	header     []byte // chate2e/v1: what precedes the ciphertext
	salt       []byte // chate2e/v1
	commitment []byte // chate2e/v1
	ciphertext []byte
	signature  []byte
}

// Group returns the group that the message says it is for.
func (m *Message) Group() GroupID { return m.group }

// ChainID returns the sender's chain that the message belongs to.
func (m *Message) ChainID() uint32 { return m.chainID }

// Iteration returns the number of the message in its chain, from 0.
func (m *Message) Iteration() uint32 { return m.iteration }

// codec is everything in which the suites differ.
type codec interface {
	chainID() uint32
	appendDistribution(d *distribution) []byte
	parseDistribution(b []byte) (distribution, bool)
	// seal returns the message but for its signature.
	seal(group GroupID, sender signal.Address, chainID, iteration uint32, seed *[32]byte, plaintext []byte) []byte
	parse(b []byte) (*Message, bool)
	open(m *Message, sender signal.Address, seed *[32]byte) ([]byte, bool)
	// signed returns what the signature of a message covers.
	signed(sender signal.Address, unsigned []byte) []byte
}

func (s Suite) codec() codec {
	switch s {
	case Chate2eV1:
		return chate2eCodec{}
	case Libsignal:
		return libsignalCodec{}
	default:
		return nil
	}
}

// Parse decodes a group message of the suite. It returns [ErrSuite] or
// [ErrMalformed].
func Parse(suite Suite, b []byte) (*Message, error) {
	c := suite.codec()
	if c == nil {
		return nil, ErrSuite
	}
	if m, ok := c.parse(slices.Clone(b)); ok {
		m.suite = suite
		return m, nil
	}
	return nil, ErrMalformed
}
