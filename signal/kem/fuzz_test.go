package kem_test

import (
	"bytes"
	"testing"

	"github.com/cloudflare/circl/kem/mlkem/mlkem1024"

	"github.com/chate2e/chate2e/signal/kem"
)

// fixedSeed is the same in every process, so that what the fuzzer finds can be
// repeated.
var fixedSeed = bytes.Repeat([]byte{0x42}, kem.SeedSize)

// FuzzParsePublicKey: whatever parses encodes as it was, and can be used.
func FuzzParsePublicKey(f *testing.F) {
	for _, kind := range kinds {
		good := privateKey(f, kind, fixedSeed).PublicKey().Encode()
		f.Add(good)
		f.Add(good[:len(good)-1])
		f.Add(withCoefficient(good, 0, 3329))
		f.Add(withCoefficient(good, 1023, 3329))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := kem.ParsePublicKey(b)
		if err != nil {
			if key != nil {
				t.Error("an error came with a key")
			}
			return
		}
		if again := key.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
		if shared, ciphertext := key.Encapsulate(); shared.IsZero() || len(ciphertext) != kem.EncodedCiphertextSize || ciphertext[0] != b[0] {
			t.Error("the key cannot be used")
		}
	})
}

// FuzzDecapsulate: only length and type byte make an error; every other
// ciphertext gives the secret that an independent implementation has for it.
func FuzzDecapsulate(f *testing.F) {
	key := privateKey(f, kem.MLKEM1024, fixedSeed)
	_, theirs := mlkem1024.NewKeyFromSeed(fixedSeed)
	theirPublic := theirs.Public()
	good, _, err := mlkem1024.Scheme().EncapsulateDeterministically(theirPublic, make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte{byte(kem.MLKEM1024)}, good...))
	f.Add(append([]byte{byte(kem.Kyber1024)}, good...))
	f.Add(append([]byte{byte(kem.MLKEM1024)}, make([]byte, len(good))...))
	f.Add(good)
	f.Add([]byte{byte(kem.MLKEM1024)})
	f.Fuzz(func(t *testing.T, ciphertext []byte) {
		shared, err := key.Decapsulate(ciphertext)
		if formed := len(ciphertext) == kem.EncodedCiphertextSize && ciphertext[0] == byte(kem.MLKEM1024); formed != (err == nil) {
			t.Fatalf("%d bytes: %v", len(ciphertext), err)
		}
		if err != nil {
			if !shared.IsZero() {
				t.Error("an error came with a secret")
			}
			return
		}
		if want := must(mlkem1024.Scheme().Decapsulate(theirs, ciphertext[1:])); !bytes.Equal(shared.Bytes(), want) {
			t.Error("the peer has another secret")
		}
	})
}
