package kem

import "github.com/chate2e/chate2e/internal/secret"

// Finish turns ML-KEM's shared secret into that of the given kind, for vectors
// whose private keys the standard library does not load.
func (k Kind) Finish(shared, ciphertext []byte) secret.Key { return k.finish(shared, ciphertext) }
