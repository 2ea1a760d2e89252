package curve

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"

	"filippo.io/edwards25519"
)

// SignatureSize is the size of an XEdDSA signature in bytes.
const SignatureSize = 64

// Sign returns the XEdDSA signature of message (64 bytes, randomised). As the
// official library does, it leaves the sign of the Edwards public key alone and
// carries it in the highest bit of the signature, which is always zero in
// EdDSA; a verifier to the letter of the specification would accept only half of
// such signatures, [PublicKey.Verify] accepts both.
func (k *PrivateKey) Sign(message []byte) []byte {
	var z [64]byte
	_, _ = rand.Read(z[:]) // never fails: crypto/rand ends the process instead
	signature := k.sign(message, &z)
	clear(z[:])
	return signature
}

// sign follows XEdDSA, Section 2.3, with the 64 random bytes z. Whoever learns
// the nonce r learns the private key from the signature, so everything that
// leads to r is wiped like the key itself.
func (k *PrivateKey) sign(message []byte, z *[64]byte) []byte {
	a, err := edwards25519.NewScalar().SetBytesWithClamping(k.raw.Bytes())
	if err != nil {
		panic("curve: " + err.Error()) // wrong length only
	}
	public := new(edwards25519.Point).ScalarBaseMult(a).Bytes()

	// hash_1: the prefix is 2^256 - 2, little-endian, which no encoded point or
	// clamped scalar can equal.
	prefix := [32]byte{0: 0xFE}
	for i := 1; i < len(prefix); i++ {
		prefix[i] = 0xFF
	}
	h := sha512.New()
	h.Write(prefix[:])
	h.Write(k.raw.Bytes())
	h.Write(message)
	h.Write(z[:])
	var digest [sha512.Size]byte
	r := reduce(h.Sum(digest[:0]))

	encodedR := new(edwards25519.Point).ScalarBaseMult(r).Bytes()

	h.Reset()
	h.Write(encodedR)
	h.Write(public)
	h.Write(message)
	challenge := reduce(h.Sum(digest[:0]))

	s := edwards25519.NewScalar().MultiplyAdd(challenge, a, r)
	a.Set(edwards25519.NewScalar())
	r.Set(edwards25519.NewScalar())

	signature := make([]byte, 0, SignatureSize)
	signature = append(signature, encodedR...)
	signature = append(signature, s.Bytes()...)
	signature[SignatureSize-1] |= public[31] & 0x80
	return signature
}

func reduce(hash []byte) *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetUniformBytes(hash)
	if err != nil {
		panic("curve: " + err.Error()) // wrong length only
	}
	return s
}

// Verify reports whether signature is a valid XEdDSA signature of message by
// the holder of k (XEdDSA, Section 2.3). Both conventions for the sign of the
// Edwards public key are accepted: zero, as published, or carried in the highest
// bit of the signature, as the official library does. Everything else is strict:
// the length, k canonical, on the curve and not of low order (for such a key
// anybody can make signatures), s below the group order.
func (k PublicKey) Verify(message, signature []byte) bool {
	if len(signature) != SignatureSize {
		return false
	}
	sig := [SignatureSize]byte(signature)
	sign := sig[SignatureSize-1] >> 7
	sig[SignatureSize-1] &= 0x7F
	public, ok := k.edwardsBytes(sign)
	if !ok || k.isLowOrder() {
		return false
	}
	return ed25519.Verify(public[:], message, sig[:])
}
