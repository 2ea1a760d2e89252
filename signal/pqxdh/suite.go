package pqxdh

import (
	"fmt"

	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/kem"
)

// Suite is a complete choice of algorithms, labels and formats. A suite does not
// fall back to another one; talking to a peer of another suite takes another
// record.
type Suite uint8

const (
	// Chate2eV1 is the suite of ChatE2E: PQXDH with ML-KEM-1024, the Double
	// Ratchet to the letter of its specification, AES-256-GCM
	// (docs/PROTOCOL.md).
	Chate2eV1 Suite = 1
	// LibsignalX3DH is what the official library speaks in sessions of version 3:
	// X3DH without a KEM.
	LibsignalX3DH Suite = 3
	// LibsignalPQXDH is what the official library speaks in sessions of version 4
	// without the sparse post-quantum ratchet: PQXDH with Kyber1024.
	LibsignalPQXDH Suite = 4
	// LibsignalTriple is what the official library speaks today: sessions of
	// version 4 with the sparse post-quantum ratchet, without which it refuses
	// them.
	LibsignalTriple Suite = 5
)

// String returns the suite's name.
func (s Suite) String() string {
	switch s {
	case Chate2eV1:
		return "chate2e/v1"
	case LibsignalX3DH:
		return "libsignal/3"
	case LibsignalPQXDH:
		return "libsignal/4"
	case LibsignalTriple:
		return "libsignal/4+spqr"
	default:
		return fmt.Sprintf("unknown suite %d", uint8(s))
	}
}

// KEM returns the suite's key encapsulation mechanism, or 0 if it has none.
func (s Suite) KEM() kem.Kind {
	if r := s.rules(); r != nil {
		return r.kem
	}
	return 0
}

// rules are what differs between suites in the handshake.
type rules struct {
	label Suite
	info  kdf.Label
	kem   kem.Kind // 0: none
	size  int      // bytes derived; the root key comes first
	pq    int      // where in them the key of the post-quantum ratchet starts; 0: there is none
	// bound makes the whole handshake part of the key derivation and binds
	// prekeys to their owner, purpose and expiry. The official library signs the
	// bare keys, and its prekeys do not expire.
	bound bool
}

var (
	chate2eV1      = &rules{label: Chate2eV1, info: kdf.Chate2eHandshake, kem: kem.MLKEM1024, size: 64, pq: 32, bound: true}
	libsignalX3DH  = &rules{label: LibsignalX3DH, info: kdf.LibsignalX3DH, size: 64}
	libsignalPQXDH = &rules{label: LibsignalPQXDH, info: kdf.LibsignalPQXDH, kem: kem.Kyber1024, size: 96}
	// The chain key between the root key and that of the post-quantum ratchet is
	// never used.
	libsignalTriple = &rules{label: LibsignalTriple, info: kdf.LibsignalPQXDH, kem: kem.Kyber1024, size: 96, pq: 64}
)

func (s Suite) rules() *rules {
	switch s {
	case Chate2eV1:
		return chate2eV1
	case LibsignalX3DH:
		return libsignalX3DH
	case LibsignalPQXDH:
		return libsignalPQXDH
	case LibsignalTriple:
		return libsignalTriple
	default:
		return nil
	}
}
