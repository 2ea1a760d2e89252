package kem

import (
	"bytes"
	"crypto/mlkem"
	"crypto/sha3"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/chate2e/chate2e/internal/secret"
)

// Kind is a key encapsulation mechanism, by its type byte on the wire.
type Kind byte

const (
	// Kyber1024 is round 3 of CRYSTALS-Kyber, what the official library speaks.
	Kyber1024 Kind = 0x08
	// MLKEM1024 is ML-KEM-1024 of FIPS 203.
	MLKEM1024 Kind = 0x0A
)

// Sizes in bytes; the encoded ones include the type byte.
const (
	EncodedPublicKeySize  = 1 + mlkem.EncapsulationKeySize1024 // 1569
	EncodedCiphertextSize = 1 + mlkem.CiphertextSize1024       // 1569
	SeedSize              = mlkem.SeedSize                     // 64
)

var (
	// ErrPublicKey is returned for bytes that are no public key of a known kind.
	ErrPublicKey = errors.New("kem: not a public key")
	// ErrPrivateKey is returned for a seed of the wrong length or an unknown kind.
	ErrPrivateKey = errors.New("kem: not a private key")
	// ErrCiphertext is returned for a ciphertext of the wrong length or kind.
	ErrCiphertext = errors.New("kem: not a ciphertext of this kind")
)

// String returns the name of the mechanism.
func (k Kind) String() string {
	switch k {
	case Kyber1024:
		return "Kyber1024"
	case MLKEM1024:
		return "ML-KEM-1024"
	default:
		return fmt.Sprintf("unknown KEM 0x%02x", byte(k))
	}
}

func (k Kind) known() bool { return k == Kyber1024 || k == MLKEM1024 }

// finish turns ML-KEM's shared secret into that of the given kind, and wipes the
// former.
//
// Kyber round 3 and ML-KEM differ, for the same key pair and message, only in
// the last hash: what ML-KEM returns is Kyber's K-bar, and Kyber returns
// SHAKE256(K-bar ‖ SHA3-256(ciphertext), 32). For a ciphertext that was not made
// for the key both are pseudorandom, and differ from what the reference
// implementation of Kyber returns; nobody can tell, for nobody knows the value.
func (k Kind) finish(shared, ciphertext []byte) secret.Key {
	if k == Kyber1024 {
		digest := sha3.Sum256(ciphertext)
		h := sha3.NewSHAKE256()
		_, _ = h.Write(shared)
		_, _ = h.Write(digest[:])
		var out [secret.KeySize]byte
		_, _ = h.Read(out[:])
		h.Reset() // wipes the sponge
		clear(shared)
		key := secret.NewKey(out)
		clear(out[:])
		return key
	}
	key := secret.NewKey([secret.KeySize]byte(shared))
	clear(shared)
	return key
}

// PublicKey is an encapsulation key. Make one with [ParsePublicKey] or
// [PrivateKey.PublicKey].
type PublicKey struct {
	kind    Kind
	key     *mlkem.EncapsulationKey1024
	encoded []byte
}

// ParsePublicKey decodes a type byte and 1,568 bytes of key. It returns
// [ErrPublicKey] for an unknown kind, a wrong length, or coefficients that are
// not reduced (FIPS 203, Section 7.2).
func ParsePublicKey(b []byte) (*PublicKey, error) {
	if len(b) != EncodedPublicKeySize || !Kind(b[0]).known() {
		return nil, ErrPublicKey
	}
	key, err := mlkem.NewEncapsulationKey1024(b[1:])
	if err != nil {
		return nil, ErrPublicKey
	}
	return &PublicKey{kind: Kind(b[0]), key: key, encoded: bytes.Clone(b)}, nil
}

// Kind returns the key's mechanism.
func (k *PublicKey) Kind() Kind { return k.kind }

// Encode returns the type byte and the key, 1,569 bytes: EncodeKEM of the PQXDH
// specification. The caller owns the copy.
func (k *PublicKey) Encode() []byte { return bytes.Clone(k.encoded) }

// Equal reports whether both are the same key of the same kind.
func (k *PublicKey) Equal(other *PublicKey) bool { return bytes.Equal(k.encoded, other.encoded) }

// Encapsulate makes a fresh shared secret and the ciphertext (type byte and
// 1,568 bytes) from which the holder of the private key obtains it.
func (k *PublicKey) Encapsulate() (secret.Key, []byte) {
	shared, ciphertext := k.key.Encapsulate()
	return k.kind.finish(shared, ciphertext), append([]byte{byte(k.kind)}, ciphertext...)
}

// PrivateKey is a decapsulation key, kept as its 64-byte seed. It prints as
// "[redacted]". It is safe for use by several goroutines at once.
type PrivateKey struct {
	kind Kind
	seed secret.Box[[SeedSize]byte]

	once     sync.Once // expanding the seed costs a key generation: only when used
	expanded secret.Box[*mlkem.DecapsulationKey1024]
}

// GenerateKey makes a new key pair. It panics for an unknown kind.
func GenerateKey(kind Kind) *PrivateKey {
	if !kind.known() {
		panic("kem: " + kind.String())
	}
	key, err := mlkem.GenerateKey1024()
	if err != nil {
		panic("kem: " + err.Error()) // crypto/rand does not fail
	}
	seed := key.Bytes()
	k := &PrivateKey{kind: kind, seed: secret.NewBox([SeedSize]byte(seed))}
	clear(seed)
	k.once.Do(func() { k.expanded = secret.NewBox(key) })
	return k
}

// NewPrivateKey loads a private key from its 64-byte seed d ‖ z. It returns
// [ErrPrivateKey] for another length or an unknown kind.
func NewPrivateKey(kind Kind, seed []byte) (*PrivateKey, error) {
	if len(seed) != SeedSize || !kind.known() {
		return nil, ErrPrivateKey
	}
	return &PrivateKey{kind: kind, seed: secret.NewBox([SeedSize]byte(seed))}, nil
}

func (k *PrivateKey) std() *mlkem.DecapsulationKey1024 {
	k.once.Do(func() {
		key, err := mlkem.NewDecapsulationKey1024(k.seed.Reveal()[:])
		if err != nil {
			panic("kem: " + err.Error()) // wrong length only
		}
		k.expanded = secret.NewBox(key)
	})
	return *k.expanded.Reveal()
}

// Kind returns the key's mechanism.
func (k *PrivateKey) Kind() Kind { return k.kind }

// Seed returns the 64-byte seed, for storage. The caller owns the copy.
func (k *PrivateKey) Seed() []byte {
	seed := *k.seed.Reveal()
	return seed[:]
}

// PublicKey returns the public half.
func (k *PrivateKey) PublicKey() *PublicKey {
	key := k.std().EncapsulationKey()
	return &PublicKey{kind: k.kind, key: key, encoded: append([]byte{byte(k.kind)}, key.Bytes()...)}
}

// Decapsulate returns the shared secret for a ciphertext (type byte and 1,568
// bytes). It returns [ErrCiphertext] for another length or kind, and a
// pseudorandom secret for a ciphertext that was made for another key.
func (k *PrivateKey) Decapsulate(ciphertext []byte) (secret.Key, error) {
	if len(ciphertext) != EncodedCiphertextSize || Kind(ciphertext[0]) != k.kind {
		return secret.Key{}, ErrCiphertext
	}
	shared, err := k.std().Decapsulate(ciphertext[1:])
	if err != nil {
		return secret.Key{}, ErrCiphertext // wrong length only
	}
	return k.kind.finish(shared, ciphertext[1:]), nil
}

// Format implements [fmt.Formatter]: every verb prints "[redacted]".
func (*PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue implements [slog.LogValuer].
func (*PrivateKey) LogValue() slog.Value { return slog.StringValue("[redacted]") }
