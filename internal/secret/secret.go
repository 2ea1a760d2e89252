package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// KeySize is the size of a [Key] in bytes.
const KeySize = 32

const redacted = "[redacted]"

// Key is a 32-byte secret. The zero Key holds nothing: [Key.IsZero] reports it,
// and every method that needs the bytes panics, so that a key which was never
// set cannot be used as an all-zero key.
//
// A Key is a reference: copies of it share the bytes, and wiping one wipes all.
// It cannot be compared with ==; use [Key.Equal].
type Key struct {
	_ [0]func() // not comparable
	p **[KeySize]byte
}

// NewKey returns a Key that holds a copy of b.
func NewKey(b [KeySize]byte) Key {
	h := &held[[KeySize]byte]{value: b}
	h.p = &h.value
	return Key{p: &h.p}
}

// ParseKey returns a Key that holds a copy of b, which must have [KeySize]
// bytes. The error does not quote b.
func ParseKey(b []byte) (Key, error) {
	if len(b) != KeySize {
		return Key{}, errors.New("secret: a key has 32 bytes")
	}
	return NewKey([KeySize]byte(b)), nil
}

// IsZero reports whether k holds no bytes at all.
func (k Key) IsZero() bool { return k.p == nil }

// Bytes returns the key's own bytes, not a copy: they change with [Key.Set] and
// vanish with [Key.Wipe]. It panics on the zero Key.
func (k Key) Bytes() []byte { return k.array()[:] }

// Array returns a pointer to the key's own bytes. It panics on the zero Key.
func (k Key) Array() *[KeySize]byte { return k.array() }

func (k Key) array() *[KeySize]byte {
	if k.p == nil {
		panic("secret: use of a key that was never set")
	}
	return *k.p
}

// Set overwrites the key's bytes in place. It panics on the zero Key.
func (k Key) Set(b *[KeySize]byte) { *k.array() = *b }

// Clone returns a Key with bytes of its own.
func (k Key) Clone() Key {
	if k.p == nil {
		return Key{}
	}
	return NewKey(*k.array())
}

// Equal compares two keys in constant time. Two zero Keys are equal; a zero Key
// equals no other.
func (k Key) Equal(other Key) bool {
	if k.p == nil || other.p == nil {
		return k.p == nil && other.p == nil
	}
	return subtle.ConstantTimeCompare(k.Bytes(), other.Bytes()) == 1
}

// Wipe overwrites the bytes with zeros. The Key and all its copies are of no use
// afterwards. Wiping the zero Key does nothing.
func (k Key) Wipe() {
	if k.p != nil {
		clear(k.Bytes())
	}
}

// Format implements [fmt.Formatter]: every verb prints "[redacted]".
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements [slog.LogValuer].
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// held is a value beside the pointer to it, so that the pointer to that pointer,
// which is all that reflection gets to see, costs no allocation of its own.
type held[T any] struct {
	p     *T
	value T
}

// Box holds a value of any type that is secret as a whole. The zero Box holds
// nothing. Like [Key] it is a reference, and not comparable.
type Box[T any] struct {
	_ [0]func()
	p **T
}

// NewBox returns a Box that holds v.
func NewBox[T any](v T) Box[T] {
	h := &held[T]{value: v}
	h.p = &h.value
	return Box[T]{p: &h.p}
}

// IsZero reports whether the Box holds nothing.
func (b Box[T]) IsZero() bool { return b.p == nil }

// Reveal returns a pointer to the value itself. It panics on the zero Box.
func (b Box[T]) Reveal() *T {
	if b.p == nil {
		panic("secret: use of a box that was never filled")
	}
	return *b.p
}

// Wipe overwrites the value with T's zero value. That erases arrays and structs
// held directly; what T points to stays for the garbage collector. Wiping the
// zero Box does nothing.
func (b Box[T]) Wipe() {
	if b.p != nil {
		var zero T
		**b.p = zero
	}
}

// Format implements [fmt.Formatter]: every verb prints "[redacted]".
func (Box[T]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements [slog.LogValuer].
func (Box[T]) LogValue() slog.Value { return slog.StringValue(redacted) }
