package session

import (
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
)

const (
	maxForward  = 25_000
	maxSkipped  = 2_000
	maxChains   = 5
	maxArchived = 40
	// maxSteps bounds the chain steps that one message may cost over all sessions
	// of a record before any of them authenticates it.
	maxSteps = 4 * maxForward
)

// suite is everything in which the suites differ here.
type suite struct {
	id      pqxdh.Suite
	ratchet ratchet.Rules
	root    kdf.Label
	message kdf.Label
	bound   bool // the handshake's transcript is associated data
	cipher  messageCipher
}

// messageCipher turns a ratchet's headers and seeds into messages and back.
type messageCipher interface {
	// seal returns the message, with the handshake header before it if pending
	// is not nil.
	seal(s *state, pending *pqxdh.Header, h ratchet.Header, seed *[32]byte, plaintext []byte) []byte
	// open returns the plaintext of m, or false if it does not authenticate.
	open(s *state, m *Message, seed *[32]byte) ([]byte, bool)
}

var suites = map[pqxdh.Suite]*suite{
	pqxdh.Chate2eV1: {
		id: pqxdh.Chate2eV1,
		ratchet: ratchet.Rules{
			RootInfo: kdf.Chate2eRoot.String(), MaxForward: maxForward, MaxSkipped: maxSkipped, MaxChains: maxChains,
		},
		root:    kdf.Chate2eRoot,
		message: kdf.Chate2eMessage,
		bound:   true,
		cipher:  chate2eCipher{},
	},
	pqxdh.LibsignalX3DH:  libsignalSuite(pqxdh.LibsignalX3DH, 3),
	pqxdh.LibsignalPQXDH: libsignalSuite(pqxdh.LibsignalPQXDH, 4),
}

func libsignalSuite(id pqxdh.Suite, version byte) *suite {
	return &suite{
		id: id,
		ratchet: ratchet.Rules{
			RootInfo: kdf.LibsignalRoot.String(), MaxForward: maxForward, MaxSkipped: maxSkipped, MaxChains: maxChains,
			KeepChains: true,
		},
		root:    kdf.LibsignalRoot,
		message: kdf.LibsignalMessage,
		cipher:  libsignalCipher{version: version},
	}
}
