package curve_test

import (
	"bytes"
	"crypto/ecdh"
	"testing"

	"github.com/chate2e/chate2e/signal/curve"
)

// fixedKey returns the same key in every process, so that what the fuzzer finds
// can be repeated.
func fixedKey(f *testing.F, n byte) *curve.PrivateKey {
	f.Helper()
	return privateKey(f, bytes.Repeat([]byte{n}, curve.KeySize))
}

// FuzzParsePublicKey: whatever parses encodes as it was, and only what the
// oracle calls canonical is canonical.
func FuzzParsePublicKey(f *testing.F) {
	good := fixedKey(f, 1).PublicKey().Encode()
	f.Add(good[:])
	f.Add(good[:32])
	f.Add(good[1:])
	for _, key := range lowOrder() {
		encoded := key.Encode()
		f.Add(encoded[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := curve.ParsePublicKey(b)
		if err != nil {
			if key != (curve.PublicKey{}) {
				t.Error("an error came with a key")
			}
			return
		}
		if again := key.Encode(); !bytes.Equal(again[:], b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
		if got, want := key.IsCanonical(), canonicalOracle(key); got != want {
			t.Errorf("%x: IsCanonical says %v, want %v", key, got, want)
		}
	})
}

// FuzzVerify gives Verify arbitrary keys, messages and signatures: it must not
// panic, and must accept only what was signed.
func FuzzVerify(f *testing.F) {
	message := []byte("message")
	for n := range byte(4) { // with either sign
		key := fixedKey(f, n)
		public := key.PublicKey()
		f.Add(public[:], message, key.SignWith(message, new([64]byte)))
	}
	for _, key := range lowOrder() {
		f.Add(key[:], message, make([]byte, 64))
	}
	signer := fixedKey(f, 0)
	signed := signer.SignWith(message, new([64]byte))
	f.Fuzz(func(t *testing.T, key, text, signature []byte) {
		if len(key) == curve.KeySize {
			curve.PublicKey(key).Verify(text, signature)
		}
		isSigned := bytes.Equal(text, message) && bytes.Equal(signature, signed)
		if got := signer.PublicKey().Verify(text, signature); got != isSigned {
			t.Errorf("%x for %x verifies: %v", signature, text, got)
		}
	})
}

// FuzzECDH agrees with arbitrary keys: the result is that of the standard
// library, and never all zero.
func FuzzECDH(f *testing.F) {
	f.Add(fixedKey(f, 1).Bytes(), bytes.Repeat([]byte{9}, 32))
	f.Add(make([]byte, 32), make([]byte, 32))
	for _, key := range lowOrder() {
		f.Add(fixedKey(f, 1).Bytes(), key[:])
	}
	f.Fuzz(func(t *testing.T, private, public []byte) {
		key, err := curve.NewPrivateKey(private)
		if err != nil {
			if key != nil || len(private) == curve.KeySize {
				t.Errorf("%d bytes: %v", len(private), err)
			}
			return
		}
		if len(public) != curve.KeySize {
			return
		}
		shared, err := key.ECDH(curve.PublicKey(public))
		std, stdErr := must(ecdh.X25519().NewPrivateKey(private)).ECDH(must(ecdh.X25519().NewPublicKey(public)))
		if (err == nil) != (stdErr == nil) {
			t.Fatalf("%v, but the standard library says %v", err, stdErr)
		}
		if err != nil {
			if !shared.IsZero() {
				t.Error("an error came with a secret")
			}
			return
		}
		if !bytes.Equal(shared.Bytes(), std) || bytes.Equal(std, make([]byte, 32)) {
			t.Error("the secret is another one than the standard library's, or zero")
		}
	})
}
