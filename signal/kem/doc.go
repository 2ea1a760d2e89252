// Package kem is the post-quantum key encapsulation of the handshake:
// ML-KEM-1024 (FIPS 203) from the standard library, and round-3 Kyber1024 for
// talking to the official Signal library.
//
//	key := kem.GenerateKey(kem.MLKEM1024)
//	shared, ciphertext := key.PublicKey().Encapsulate()   // theirs
//	shared, err := key.Decapsulate(ciphertext)            // ours
//
// Public keys and ciphertexts carry a type byte on the wire, so that they can
// be taken neither for each other's kind nor for an elliptic-curve key. Lengths
// are exact.
//
// Decapsulation never tells whether a ciphertext was made for this key: a wrong
// one yields a pseudorandom secret (implicit rejection), and the message
// authentication built on it fails.
package kem
