package session

import (
	"errors"

	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
)

var (
	// ErrSuite is returned for an unknown suite, or for a message, bundle or
	// record of another one.
	ErrSuite = errors.New("session: wrong suite")
	// ErrMalformed is returned for bytes that are no message.
	ErrMalformed = errors.New("session: malformed message")
	// ErrNoSession is returned when there is no session to encrypt or decrypt with.
	ErrNoSession = errors.New("session: no session")
	// ErrStale is returned by Encrypt when the session's handshake has waited for
	// an answer longer than [AnswerWithin]: start a new one.
	ErrStale = errors.New("session: handshake unanswered for too long")
	// ErrDuplicate is returned by Decrypt for a message whose key was used before.
	ErrDuplicate = errors.New("session: message was received before")
	// ErrDecrypt is returned by Decrypt for every message that does not open,
	// without a hint of what was wrong with it.
	ErrDecrypt = errors.New("session: message does not open")
	// ErrIdentity is returned when a bundle or first message carries another
	// identity key than the one the record trusts; see [Record.Trust].
	ErrIdentity = errors.New("session: identity key has changed")
	// ErrWrongDevice is returned when an operation is given another device of
	// ours than the record belongs to.
	ErrWrongDevice = errors.New("session: record of another device")
)

// Type says what kind of message the bytes are. The numbers are those of the
// official library.
type Type uint8

const (
	// TypeMessage is a message in a session that both sides know.
	TypeMessage Type = 2
	// TypePreKey is a message that carries the handshake before it.
	TypePreKey Type = 3
)

// Message is a parsed message, of which nothing is authenticated yet. What its methods
// return belongs to it and must not be changed.
type Message struct {
	suite     pqxdh.Suite
	kind      Type
	raw       []byte        // as received
	inner     []byte        // libsignal: the SignalMessage within raw
	handshake *pqxdh.Header // PreKey messages only
	header    header        // of the ratchets
	salt      []byte        // chate2e/v1
	addresses []byte        // libsignal: whom the message is from and to, if it says so
	// ciphertext is the end of raw in chate2e/v1, tag included, and the
	// ciphertext field in libsignal.
	ciphertext []byte
}

// Suite returns the suite the message was parsed for.
func (m *Message) Suite() pqxdh.Suite { return m.suite }

// Type returns the kind of message.
func (m *Message) Type() Type { return m.kind }

// Handshake returns the handshake that a first message carries, or nil. Its
// prekey IDs say which of our own prekeys Decrypt needs.
func (m *Message) Handshake() *pqxdh.Header { return m.handshake }

// Header returns what the message says about its place in the ratchet.
func (m *Message) Header() ratchet.Header { return m.header.Header }

// Bytes returns the message as it was received.
func (m *Message) Bytes() []byte { return m.raw }
