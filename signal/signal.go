// Package signal is the Signal Protocol in pure Go: end-to-end encryption between
// devices that are seldom online at the same time, with forward secrecy and
// recovery from compromise, also against a recorder with a quantum computer.
//
// Most programs need one of its packages, [session]: it starts sessions with
// devices that are offline, and encrypts and decrypts messages in them. Beside it
// stand
//
//   - [pqxdh]: the keys a device publishes, and the key agreement (X3DH, PQXDH);
//   - [senderkey]: messages to groups;
//   - [sealed]: envelopes that do not tell the relay who sends;
//   - [safety]: numbers that two people compare, to know that nobody is in between.
//
// Below lie what these are made of: [ratchet] is the Double Ratchet, [spqr] the
// sparse post-quantum ratchet, [curve] has X25519 and XEdDSA, [kem] the key
// encapsulation of the handshake.
//
// All of it is pure functions over values: no network, disk, clock, log or
// goroutine. State is a value that the caller stores, and an error leaves it as it
// was.
//
// Two suites run over the same code: chate2e/v1, of which every byte is described
// in docs/PROTOCOL.md, and libsignal, which speaks the official library's wire
// format.
//
// This package itself has only what its parts share: the [Address] of a device, and
// the [Key] that a secret is held in.
//
// [curve]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/curve
// [kem]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/kem
// [pqxdh]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/pqxdh
// [ratchet]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/ratchet
// [safety]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/safety
// [sealed]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/sealed
// [senderkey]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/senderkey
// [session]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/session
// [spqr]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/spqr
package signal

import (
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/internal/secret"
)

// Key is a 32-byte secret: what a key agreement results in, what the ratchets start
// from, and what they give for a message. It prints as "[redacted]" with every verb of
// fmt and in slog, and leaves nothing in JSON. Its Equal compares in constant time, its
// Bytes are the secret itself, and its Wipe overwrites them for all copies of the Key.
// The zero Key holds nothing, and is of no use.
type Key = secret.Key

// ParseKey returns a [Key] that holds a copy of b, or an error if that does not have 32
// bytes: a secret from a key agreement other than ours, for [ratchet] or [spqr].
//
// [ratchet]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/ratchet
// [spqr]: https://pkg.go.dev/github.com/chate2e/chate2e/signal/spqr
func ParseKey(b []byte) (Key, error) { return secret.ParseKey(b) }

// MaxNameSize is the largest [Address] name in bytes.
const MaxNameSize = 255

// ErrAddress is returned for an address without a name, with one longer than
// MaxNameSize, or with device 0.
var ErrAddress = errors.New("signal: not an address")

// Address names a device: a person's stable ID and a device number from 1.
type Address struct {
	Name   string // 1 to MaxNameSize bytes
	Device uint32
}

// Validate returns [ErrAddress] if a is not usable.
func (a Address) Validate() error {
	if a.Name == "" || len(a.Name) > MaxNameSize || a.Device == 0 {
		return ErrAddress
	}
	return nil
}

// Append appends the one encoding of a valid address: the length of the name in a
// byte, the name, the device number in four bytes.
func (a Address) Append(b []byte) []byte {
	b = append(b, byte(len(a.Name))) //nolint:gosec // at most MaxNameSize, see Validate
	b = append(b, a.Name...)
	return binary.BigEndian.AppendUint32(b, a.Device)
}

// Read reads what Append wrote off the front of in. It returns false for anything
// that is not a valid address.
func (a *Address) Read(in *cryptobyte.String) bool {
	var name cryptobyte.String
	if !in.ReadUint8LengthPrefixed(&name) || !in.ReadUint32(&a.Device) {
		return false
	}
	a.Name = string(name)
	return a.Validate() == nil
}
