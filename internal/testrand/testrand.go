// Package testrand is the randomness of tests: different in every run, and
// repeatable when a test failed. Only tests import it.
//
//	r := testrand.New(t)
//	key := r.Bytes(32)
package testrand

import (
	crand "crypto/rand"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"testing"
)

// seedVariable repeats a failed run: set it to the seed that the test printed.
const seedVariable = "CHATE2E_SEED"

// Rand is a seeded source of random values.
type Rand struct {
	*rand.Rand
	source *rand.ChaCha8
}

// New returns a source with a fresh seed, or with the one that CHATE2E_SEED
// gives in hexadecimal. A failing test prints its seed.
func New(tb testing.TB) *Rand {
	tb.Helper()
	var seed [32]byte
	if text := os.Getenv(seedVariable); text != "" {
		decoded, err := hex.DecodeString(text)
		if err != nil || len(decoded) != len(seed) {
			tb.Fatalf("%s is no seed: it has 64 hexadecimal digits", seedVariable)
		}
		copy(seed[:], decoded)
	} else {
		_, _ = crand.Read(seed[:]) // never fails
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("repeat with %s=%x", seedVariable, seed)
		}
	})
	source := rand.NewChaCha8(seed)
	return &Rand{Rand: rand.New(source), source: source}
}

// Bytes returns size random bytes.
func (r *Rand) Bytes(size int) []byte {
	b := make([]byte, size)
	_, _ = r.source.Read(b) // never fails
	return b
}
