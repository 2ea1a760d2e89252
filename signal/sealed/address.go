package sealed

import (
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/cryptobyte"
)

// MaxNameSize is the largest [Address] name in bytes.
const MaxNameSize = 255

var (
	// ErrAddress is returned for an address without a name, with one longer than
	// MaxNameSize, or with device 0.
	ErrAddress = errors.New("sealed: not an address")
	// ErrMalformed is returned for bytes that are not the encoding asked for.
	ErrMalformed = errors.New("sealed: malformed encoding")
	// ErrPublicKey is returned for a recipient's key that nothing can be sealed for.
	ErrPublicKey = errors.New("sealed: not a public key")
	// ErrOpen is returned for everything that does not open, without a hint of what
	// was wrong with it.
	ErrOpen = errors.New("sealed: does not open")
	// ErrSelf is returned for what claims to come from the very device that opens
	// it: something of its own that was sent back.
	ErrSelf = errors.New("sealed: sent by this device itself")
)

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

// append appends the one encoding of a: length, name, device number.
func (a Address) append(b []byte) []byte {
	b = append(b, byte(len(a.Name))) //nolint:gosec // at most MaxNameSize, see Validate
	b = append(b, a.Name...)
	return binary.BigEndian.AppendUint32(b, a.Device)
}

func (a *Address) read(in *cryptobyte.String) bool {
	var name cryptobyte.String
	if !in.ReadUint8LengthPrefixed(&name) || !in.ReadUint32(&a.Device) {
		return false
	}
	a.Name = string(name)
	return a.Validate() == nil
}
