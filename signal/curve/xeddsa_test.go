package curve_test

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"math/big"
	"testing"

	"filippo.io/edwards25519"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/curve"
)

// specSign signs to the letter of the XEdDSA specification, Section 2.3: the
// sign of the Edwards public key is made zero, by negating the private scalar
// when it is not.
func specSign(t *testing.T, key *curve.PrivateKey, message, z []byte) []byte {
	t.Helper()
	a := must(edwards25519.NewScalar().SetBytesWithClamping(key.Bytes()))
	public := new(edwards25519.Point).ScalarBaseMult(a).Bytes()
	if public[31]&0x80 != 0 {
		a.Negate(a)
		public[31] &= 0x7F
	}
	prefix := bytes.Repeat([]byte{0xFF}, 32)
	prefix[0] = 0xFE
	r := hashToScalar(prefix, a.Bytes(), message, z)
	return eddsa(a, r, public, message)
}

// eddsa is the second half of every signature: R ‖ s.
func eddsa(a, r *edwards25519.Scalar, public, message []byte) []byte {
	encodedR := new(edwards25519.Point).ScalarBaseMult(r).Bytes()
	h := hashToScalar(encodedR, public, message)
	s := edwards25519.NewScalar().MultiplyAdd(h, a, r)
	return append(encodedR, s.Bytes()...)
}

func hashToScalar(parts ...[]byte) *edwards25519.Scalar {
	h := sha512.New()
	for _, part := range parts {
		h.Write(part)
	}
	return must(edwards25519.NewScalar().SetUniformBytes(h.Sum(nil)))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestSignVerify(t *testing.T) {
	r := testrand.New(t)
	signs := map[byte]int{}
	for size := range 200 {
		key, message := privateKey(t, r.Bytes(32)), r.Bytes(size)
		public := key.PublicKey()
		signature := key.Sign(message)
		if len(signature) != curve.SignatureSize || !public.Verify(message, signature) {
			t.Fatalf("a signature of %d bytes does not verify", size)
		}
		signs[signature[63]>>7]++
		if bytes.Equal(key.Sign(message), signature) {
			t.Error("two signatures are the same: they are not randomised")
		}
		if specification := specSign(t, key, message, r.Bytes(64)); !public.Verify(message, specification) {
			t.Error("a signature to the letter of the specification does not verify")
		}
		if curve.GenerateKey().PublicKey().Verify(message, signature) {
			t.Error("a signature verifies with another key")
		}
	}
	if signs[0] == 0 || signs[1] == 0 {
		t.Errorf("both signs should occur: %v", signs)
	}
}

// TestTampering flips every bit of the signature, of the message and of the key,
// in both conventions and for both signs of the Edwards public key.
func TestTampering(t *testing.T) {
	r := testrand.New(t)
	done := map[string]bool{}
	for len(done) < 4 {
		key, message := privateKey(t, r.Bytes(32)), r.Bytes(40)
		ours := key.Sign(message)
		sign := ours[63] >> 7
		for name, signature := range map[string][]byte{
			fmt.Sprintf("in the signature, sign %d", sign):           ours,
			fmt.Sprintf("of the specification, key's sign %d", sign): specSign(t, key, message, r.Bytes(64)),
		} {
			if done[name] {
				continue
			}
			done[name] = true
			public := key.PublicKey()
			flip := func(what string, b []byte) {
				for bit := range len(b) * 8 {
					b[bit/8] ^= 1 << (bit % 8)
					if public.Verify(message, signature) {
						t.Errorf("%s: bit %d of %s does not matter", name, bit, what)
					}
					b[bit/8] ^= 1 << (bit % 8)
				}
			}
			flip("the signature", signature)
			flip("the message", message)
			flip("the key", public[:])
			for _, bad := range [][]byte{nil, signature[:63], append(bytes.Clone(signature), 0), signature[:0]} {
				if public.Verify(message, bad) {
					t.Errorf("%s: a signature of %d bytes verifies", name, len(bad))
				}
			}
			if public.Verify(append(message, 0), signature) || public.Verify(message[:39], signature) {
				t.Errorf("%s: the length of the message does not matter", name)
			}
			if !public.Verify(message, signature) {
				t.Errorf("%s: the signature was not put back", name)
			}
		}
	}
}

// TestLargeS adds multiples of the group order to s: the same signature to a
// careless verifier, another string of bytes to everybody else.
func TestLargeS(t *testing.T) {
	r := testrand.New(t)
	for range 10 {
		key, message := privateKey(t, r.Bytes(32)), r.Bytes(40)
		for name, signature := range map[string][]byte{
			"ours": key.Sign(message), "of the specification": specSign(t, key, message, r.Bytes(64)),
		} {
			sign := signature[63] & 0x80
			signature[63] &= 0x7F
			s := number(signature[32:])
			for added := 0; ; added++ {
				encoded := littleEndian(s)
				if encoded[31]&0x80 != 0 {
					if added < 7 {
						t.Errorf("only %d multiples of the order were tried", added-1)
					}
					break
				}
				copy(signature[32:], encoded[:])
				signature[63] |= sign
				if got, want := key.PublicKey().Verify(message, signature), added == 0; got != want {
					t.Errorf("%s: s + %d·L verifies: %v", name, added, got)
				}
				s.Add(s, groupOrder)
			}
		}
	}
}

// forge makes a signature for a key of low order, for which nobody needs a
// private key: with a point A of small order, R = sB holds whenever h·A vanishes.
func forge(t *testing.T, r *testrand.Rand, point *edwards25519.Point, message []byte) []byte {
	t.Helper()
	for range 1000 {
		s := must(edwards25519.NewScalar().SetUniformBytes(r.Bytes(64)))
		signature := eddsa(edwards25519.NewScalar(), s, point.Bytes(), message)
		h := hashToScalar(signature[:32], point.Bytes(), message)
		// h·A by additions: scalars are numbers modulo L, which says nothing about
		// the torsion part, so take h modulo 8.
		product := edwards25519.NewIdentityPoint()
		for range h.Bytes()[0] & 7 {
			product.Add(product, point)
		}
		if product.Equal(edwards25519.NewIdentityPoint()) == 1 {
			signature[63] |= point.Bytes()[31] & 0x80
			return signature
		}
	}
	t.Fatal("no forgery in 1000 attempts")
	return nil
}

// TestKeysThatCannotSign: public keys for which no honest signature exists are
// refused, whatever the signature.
func TestKeysThatCannotSign(t *testing.T) {
	r := testrand.New(t)
	message := []byte("message")
	for _, point := range torsionPoints(t) {
		if point.Equal(edwards25519.NewIdentityPoint()) == 1 {
			continue
		}
		signature := forge(t, r, point, message)
		key := curve.PublicKey(point.BytesMontgomery())
		if key.Verify(message, signature) {
			t.Errorf("a forgery for the key %x of low order verifies", key)
		}
		// u = -1 has no y; a division by zero that gives zero makes it that of u = 1.
		if minusOne := littleEndian(new(big.Int).Sub(fieldPrime, big.NewInt(1))); minusOne.Verify(message, signature) {
			t.Errorf("the forgery for the key %x verifies for u = -1", key)
		}
		// The same forgery under the key's other encodings.
		large := littleEndian(number(key[:]).Add(number(key[:]), fieldPrime))
		if large.Verify(message, signature) {
			t.Errorf("a forgery for the key %x, not canonical, verifies", large)
		}
	}

	zeros := make([]byte, 64)
	identityR := make([]byte, 64) // R is the identity, s zero: right for any key of order one
	identityR[0] = 1
	for _, key := range lowOrder() { // u = -1 among them, which has no Edwards point
		for _, signature := range [][]byte{zeros, identityR, curve.GenerateKey().Sign(message)} {
			if key.Verify(message, signature) {
				t.Errorf("a signature verifies under %x", key)
			}
		}
	}

	for twist := 0; twist < 10; {
		key := curve.PublicKey(r.Bytes(32))
		key[31] &= 0x7F
		if _, err := new(edwards25519.Point).SetBytes(key[:]); err == nil || canonicalOracle(key) {
			continue
		}
		twist++
		for _, signature := range [][]byte{zeros, identityR, curve.GenerateKey().Sign(message)} {
			if key.Verify(message, signature) {
				t.Errorf("a signature verifies under %x", key)
			}
		}
	}
}

// TestOneEncodingOfTheKey: a good signature does not verify under the key with
// the high bit set, although it is the same key to X25519.
func TestOneEncodingOfTheKey(t *testing.T) {
	key := curve.GenerateKey()
	message := []byte("message")
	signature := key.Sign(message)
	public := key.PublicKey()
	public[31] |= 0x80
	if public.Verify(message, signature) {
		t.Error("the high bit of the key does not matter")
	}
}

// TestNonceDependsOnEverything: two signatures with one value of R would give the
// private key away, so key, message and each random byte must reach it.
func TestNonceDependsOnEverything(t *testing.T) {
	r := testrand.New(t)
	key, z := privateKey(t, r.Bytes(32)), [64]byte(r.Bytes(64))
	message := r.Bytes(40)
	first := key.SignWith(message, &z)
	if !bytes.Equal(key.SignWith(message, &z), first) {
		t.Error("the same randomness gives another signature")
	}
	seen := map[string]bool{string(first[:32]): true}
	for i := range z {
		other := z
		other[i] ^= 1
		seen[string(key.SignWith(message, &other)[:32])] = true
	}
	for i := range message {
		message[i] ^= 1
		seen[string(key.SignWith(message, &z)[:32])] = true
		message[i] ^= 1
	}
	seen[string(privateKey(t, r.Bytes(32)).SignWith(message, &z)[:32])] = true
	if want := 1 + len(z) + len(message) + 1; len(seen) != want {
		t.Errorf("%d different values of R, want %d", len(seen), want)
	}
}
