package senderkey

import (
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
)

// MaxNameSize is the largest [Address] name in bytes.
const MaxNameSize = 255

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
