package session

import (
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/spqr"
)

const (
	maxForward  = 25_000
	maxSkipped  = 2_000
	maxChains   = 5
	maxArchived = 40
	// maxSteps bounds the chain steps of both ratchets that one message may cost over
	// all sessions of a record before any of them authenticates it: as many as one
	// session allows.
	maxSteps = 2 * maxForward
)

// suite is everything in which the suites differ here.
type suite struct {
	id      pqxdh.Suite
	ratchet ratchet.Rules // eras are the epochs of pq
	root    kdf.Label
	message kdf.Label
	bound   bool         // the handshake's transcript is associated data
	pq      *spqr.Config // of the sparse post-quantum ratchet; nil: the suite has none
	cipher  messageCipher
}

// header is what a message says about its keys in both ratchets.
type header struct {
	ratchet.Header
	pq []byte // message of the sparse post-quantum ratchet; nil in suites without one
}

// seeds are the secrets of one message out of both ratchets.
type seeds struct {
	seed *[32]byte
	pq   []byte // 32 bytes; nil in suites without the post-quantum ratchet
}

// salt is what enters the key derivation of a message beside the seed.
func (k seeds) salt() *[32]byte {
	if k.pq == nil {
		return &kdf.Zero
	}
	return (*[32]byte)(k.pq)
}

// messageCipher turns the ratchets' headers and seeds into messages and back.
type messageCipher interface {
	// seal returns the message, with the handshake before it while s is
	// unanswered.
	seal(r *Record, s *state, h header, keys seeds, plaintext []byte) []byte
	// open returns the plaintext of m, or false if it does not authenticate.
	open(r *Record, s *state, m *Message, keys seeds) ([]byte, bool)
}

var suites = map[pqxdh.Suite]*suite{
	pqxdh.Chate2eV1: {
		id: pqxdh.Chate2eV1,
		ratchet: ratchet.Rules{
			RootInfo: kdf.Chate2eRoot.String(), MaxForward: maxForward, MaxSkipped: maxSkipped, MaxChains: maxChains,
			Eras: true,
		},
		root:    kdf.Chate2eRoot,
		message: kdf.Chate2eMessage,
		bound:   true,
		pq:      &spqr.Config{MaxJump: maxForward},
		cipher:  chate2eCipher{},
	},
	pqxdh.LibsignalX3DH:  libsignalSuite(pqxdh.LibsignalX3DH, 3, nil),
	pqxdh.LibsignalPQXDH: libsignalSuite(pqxdh.LibsignalPQXDH, 4, nil),
	// Releases that could still do without the post-quantum ratchet take no keys
	// from it until they have seen that their peer speaks it. The Double Ratchet
	// authenticates those first messages all the same.
	pqxdh.LibsignalTriple: libsignalSuite(pqxdh.LibsignalTriple, 4, &spqr.Config{MaxJump: maxForward, AcceptUnkeyed: true}),
}

func libsignalSuite(id pqxdh.Suite, version byte, pq *spqr.Config) *suite {
	return &suite{
		id: id,
		ratchet: ratchet.Rules{
			RootInfo: kdf.LibsignalRoot.String(), MaxForward: maxForward, MaxSkipped: maxSkipped, MaxChains: maxChains,
			KeepChains: true, Eras: pq != nil,
		},
		root:    kdf.LibsignalRoot,
		message: kdf.LibsignalMessage,
		pq:      pq,
		cipher:  libsignalCipher{version: version, pq: pq != nil},
	}
}
