package account

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"

	"github.com/chate2e/chate2e/internal/secret"
)

// PublicKeySize is the size of an account public key in bytes.
const PublicKeySize = ed25519.PublicKeySize

// PublicKey is the public half of an account key (Ed25519, 32 bytes). It is a
// plain value and can be compared with ==.
type PublicKey [PublicKeySize]byte

// String returns the key in hexadecimal.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// PrivateKey is an account key. It signs nothing but device lists. It prints as
// "[redacted]".
type PrivateKey struct {
	seed secret.Key
}

// GenerateKey makes a new account key from the operating system's randomness.
func GenerateKey() PrivateKey {
	var seed [ed25519.SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails: crypto/rand ends the process instead
	k := PrivateKey{seed: secret.NewKey(seed)}
	clear(seed[:])
	return k
}

// NewPrivateKey returns the account key with this seed (RFC 8032, Section
// 5.1.5), which it takes over: wiping the key wipes the seed.
func NewPrivateKey(seed secret.Key) PrivateKey { return PrivateKey{seed: seed} }

// Seed returns the 32 bytes to store. They are the key's own, not a copy.
func (k PrivateKey) Seed() secret.Key { return k.seed }

// Public returns the public half.
func (k PrivateKey) Public() PublicKey {
	expanded := ed25519.NewKeyFromSeed(k.seed.Bytes())
	defer clear(expanded)
	return PublicKey(expanded[ed25519.SeedSize:])
}

// Wipe erases the key. It is of no use afterwards.
func (k PrivateKey) Wipe() { k.seed.Wipe() }

func (k PrivateKey) sign(message []byte) []byte {
	expanded := ed25519.NewKeyFromSeed(k.seed.Bytes())
	defer clear(expanded)
	return ed25519.Sign(expanded, message)
}
