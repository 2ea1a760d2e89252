package curve

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"

	"github.com/chate2e/chate2e/internal/secret"
)

const (
	// KeySize is the size in bytes of a private key, a public key without its
	// type byte, and a shared secret.
	KeySize = 32
	// EncodedKeySize is the size in bytes of a public key with its type byte.
	EncodedKeySize = 1 + KeySize
	// TypeByte comes before the u-coordinate in an encoded public key
	// (EncodeEC of the PQXDH specification, Section 2.1).
	TypeByte = 0x05
)

var (
	// ErrPublicKey is returned for bytes that are no encoding of a public key.
	ErrPublicKey = errors.New("curve: not a public key")
	// ErrPrivateKey is returned for bytes that are no private key.
	ErrPrivateKey = errors.New("curve: not a private key")
	// ErrLowOrder is returned by ECDH when the shared secret would be all zero.
	ErrLowOrder = errors.New("curve: low-order public key")
)

// PublicKey is a u-coordinate on Curve25519 (32 bytes, little-endian). It is a
// plain value: it can be compared with == and used as a map key.
type PublicKey [KeySize]byte

// ParsePublicKey decodes the 33 bytes that [PublicKey.Encode] makes. It accepts
// any u-coordinate; see [PublicKey.IsCanonical]. It returns [ErrPublicKey] for
// another length or type byte.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if len(b) != EncodedKeySize || b[0] != TypeByte {
		return PublicKey{}, ErrPublicKey
	}
	return PublicKey(b[1:]), nil
}

// Encode returns the type byte 0x05 and the u-coordinate: EncodeEC of the PQXDH
// specification.
func (k PublicKey) Encode() [EncodedKeySize]byte {
	var b [EncodedKeySize]byte
	b[0] = TypeByte
	copy(b[1:], k[:])
	return b
}

// IsCanonical reports whether k is the one canonical encoding of a point of the
// prime-order subgroup: the high bit is clear, u < 2^255-19, and the point is on
// the curve (not its twist) and without a torsion part. Keys made by this
// package always are. The check takes about as long as a key agreement and its
// time depends on k, which is public.
func (k PublicKey) IsCanonical() bool {
	p, ok := k.edwards(0)
	if !ok {
		return false
	}
	// Scalars are taken modulo the order L of the subgroup, so multiply by L-1
	// and compare with -P: they agree just when L·P is the identity. (The identity
	// itself has no u-coordinate.)
	minusOne := scalarMinusOne()
	q := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, edwards25519.NewScalar())
	return q.Equal(new(edwards25519.Point).Negate(p)) == 1
}

func scalarMinusOne() *edwards25519.Scalar {
	var one [32]byte
	one[0] = 1
	s, err := edwards25519.NewScalar().SetCanonicalBytes(one[:])
	if err != nil {
		panic("curve: the scalar one is not canonical")
	}
	return s.Negate(s)
}

// edwardsBytes returns the Ed25519 encoding of the point with u-coordinate k and
// the given sign of x: y = (u-1)/(u+1) (XEdDSA, Section 2.3). It fails when the
// encoding is not canonical or u = -1, which has no y.
func (k PublicKey) edwardsBytes(sign byte) (y [32]byte, ok bool) {
	u, err := new(field.Element).SetBytes(k[:])
	if err != nil || [32]byte(u.Bytes()) != k {
		return y, false
	}
	one := new(field.Element).One()
	denominator := new(field.Element).Add(u, one)
	if denominator.Equal(new(field.Element).Zero()) == 1 {
		return y, false
	}
	quotient := new(field.Element).Multiply(
		new(field.Element).Subtract(u, one),
		denominator.Invert(denominator),
	)
	copy(y[:], quotient.Bytes())
	y[31] |= sign << 7
	return y, true
}

// lowOrder are the canonical u-coordinates of order 2, 4 and 8 on the curve. (The
// point of order 1 has none, and u = -1 is on the twist.)
var lowOrder = [...]PublicKey{
	{0},
	{1},
	{
		0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
		0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
	},
	{
		0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
		0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
	},
}

// isLowOrder is for canonical encodings of points on the curve.
func (k PublicKey) isLowOrder() bool { return slices.Contains(lowOrder[:], k) }

func (k PublicKey) edwards(sign byte) (*edwards25519.Point, bool) {
	y, ok := k.edwardsBytes(sign)
	if !ok {
		return nil, false
	}
	p, err := new(edwards25519.Point).SetBytes(y[:])
	return p, err == nil
}

// PrivateKey is an X25519 private key, clamped. It prints as "[redacted]". It is
// safe for use by several goroutines at once. It cannot be wiped, only dropped: the
// standard library computes with a copy of its own.
type PrivateKey struct {
	raw secret.Key

	// The standard library computes the public key whenever it loads a private
	// one, a scalar multiplication that a key read from storage often never
	// needs. So it is loaded at its first use.
	once   sync.Once
	loaded secret.Box[*ecdh.PrivateKey]
	public PublicKey
}

// GenerateKey makes a new key pair from the operating system's randomness.
func GenerateKey() *PrivateKey {
	std, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic("curve: " + err.Error()) // crypto/rand does not fail, and X25519 takes any 32 bytes
	}
	raw := std.Bytes()
	k := &PrivateKey{raw: clamped([KeySize]byte(raw))}
	clear(raw)
	k.once.Do(func() { k.fill(std) })
	return k
}

// NewPrivateKey loads a private key of 32 bytes, clamping it. It returns
// [ErrPrivateKey] for another length. For keys that were stored by this package,
// [ParsePrivateKey] is stricter.
func NewPrivateKey(b []byte) (*PrivateKey, error) {
	if len(b) != KeySize {
		return nil, ErrPrivateKey
	}
	return &PrivateKey{raw: clamped([KeySize]byte(b))}, nil
}

// ParsePrivateKey decodes what [PrivateKey.Bytes] made. It returns [ErrPrivateKey] for
// another length, and for bytes that are not clamped, which it finds out in constant
// time.
func ParsePrivateKey(b []byte) (*PrivateKey, error) {
	k, err := NewPrivateKey(b)
	if err != nil || subtle.ConstantTimeCompare(k.raw.Bytes(), b) != 1 {
		return nil, ErrPrivateKey
	}
	return k, nil
}

func clamped(b [KeySize]byte) secret.Key {
	b[0] &= 248
	b[31] &= 127
	b[31] |= 64
	return secret.NewKey(b)
}

func (k *PrivateKey) std() *ecdh.PrivateKey {
	k.once.Do(func() {
		std, err := ecdh.X25519().NewPrivateKey(k.raw.Bytes())
		if err != nil {
			panic("curve: " + err.Error()) // X25519 takes any 32 bytes
		}
		k.fill(std)
	})
	return *k.loaded.Reveal()
}

func (k *PrivateKey) fill(std *ecdh.PrivateKey) {
	k.loaded = secret.NewBox(std)
	k.public = PublicKey(std.PublicKey().Bytes())
}

// PublicKey returns the public half.
func (k *PrivateKey) PublicKey() PublicKey {
	k.std()
	return k.public
}

// Bytes returns the 32 clamped bytes of the private key, for storage. The caller
// owns the copy.
func (k *PrivateKey) Bytes() []byte {
	b := *k.raw.Array()
	return b[:]
}

// Equal reports in constant time whether both are the same key.
func (k *PrivateKey) Equal(other *PrivateKey) bool { return k.raw.Equal(other.raw) }

// ECDH returns the X25519 shared secret, or [ErrLowOrder] if it is all zero.
func (k *PrivateKey) ECDH(their PublicKey) (secret.Key, error) {
	public, err := ecdh.X25519().NewPublicKey(their[:])
	if err != nil {
		return secret.Key{}, fmt.Errorf("curve: loading a public key: %w", err)
	}
	shared, err := k.std().ECDH(public)
	if err != nil {
		return secret.Key{}, ErrLowOrder
	}
	key := secret.NewKey([KeySize]byte(shared))
	clear(shared)
	return key, nil
}

// Format implements [fmt.Formatter]: every verb prints "[redacted]".
func (*PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue implements [slog.LogValuer].
func (*PrivateKey) LogValue() slog.Value { return slog.StringValue("[redacted]") }
