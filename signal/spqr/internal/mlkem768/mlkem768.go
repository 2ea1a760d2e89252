package mlkem768

import (
	"crypto/mlkem"
	"crypto/sha3"
	"crypto/subtle"
	"errors"

	"github.com/chate2e/chate2e/internal/secret"
)

// Sizes in bytes.
const (
	HeaderSize      = 64              // ρ ‖ SHA3-256(ek)
	VectorSize      = 1152            // t̂
	Ciphertext1Size = 960             // compressed u
	Ciphertext2Size = 128             // compressed v
	keySize         = VectorSize + 32 // ek = t̂ ‖ ρ
)

// Split cuts an encapsulation key into its header and its vector.
func Split(ek *mlkem.EncapsulationKey768) (header [HeaderSize]byte, vector []byte) {
	b := ek.Bytes()
	hash := sha3.Sum256(b)
	copy(header[:32], b[VectorSize:])
	copy(header[32:], hash[:])
	return header, b[:VectorSize:VectorSize]
}

// Encapsulate1 derives the shared secret from the message m, 32 fresh random
// bytes, and computes the first part of its ciphertext. Any 64 bytes are a valid
// header: whoever receives one must authenticate it.
func Encapsulate1(header *[HeaderSize]byte, m secret.Key) (ciphertext1 []byte, shared secret.Key) {
	shared, r := expandMessage(header, m)
	y := sampleSecret(r)
	rho := (*[32]byte)(header[:32])

	ciphertext1 = make([]byte, 0, Ciphertext1Size)
	for i := range byte(k) {
		// u_i = NTT⁻¹(Σ_j Â[j,i]∘ŷ_j) + e1_i, with Â[j,i] = SampleNTT(ρ‖i‖j).
		var acc accumulator
		for j := range byte(k) {
			a := sampleUniform(rho, i, j)
			acc.add(&a, y[j])
		}
		u := acc.sum()
		e1 := sampleNoise(r, k+i)
		for c := range u {
			u[c] += e1[c]
		}
		ciphertext1 = appendCompressed10(ciphertext1, &u)
		clear(acc[:])
		clear(u[:])
		clear(e1[:])
	}
	wipeSecret(y, r)
	return ciphertext1, shared
}

// Encapsulate2 computes the second part of the ciphertext for the message that
// was given to [Encapsulate1] with the same header. It returns an error if the
// vector is not the one that the header names, or is not a valid one.
func Encapsulate2(header *[HeaderSize]byte, m secret.Key, vector []byte) (ciphertext2 []byte, err error) {
	if len(vector) != VectorSize {
		return nil, errors.New("mlkem768: a key vector has 1152 bytes")
	}
	hash := sha3.Sum256(append(append(make([]byte, 0, keySize), vector...), header[:32]...))
	if subtle.ConstantTimeCompare(hash[:], header[32:]) != 1 {
		return nil, errors.New("mlkem768: the key vector is not the one its header names")
	}
	var t [k]poly
	for i := range t {
		if t[i], err = decodeVector(vector[i*n*12/8:]); err != nil {
			return nil, err
		}
	}

	shared, r := expandMessage(header, m)
	shared.Wipe()
	y := sampleSecret(r)

	// v = NTT⁻¹(Σ_j t̂_j∘ŷ_j) + e2 + Decompress₁(m)
	var acc accumulator
	for j := range t {
		acc.add(&t[j], y[j])
	}
	v := acc.sum()
	e2 := sampleNoise(r, 2*k)
	mu := decodeMessage(m.Array())
	for c := range v {
		v[c] += e2[c] + mu[c]
	}
	ciphertext2 = appendCompressed4(make([]byte, 0, Ciphertext2Size), &v)
	clear(acc[:])
	clear(v[:])
	clear(e2[:])
	clear(mu[:])
	wipeSecret(y, r)
	return ciphertext2, nil
}

// expandMessage returns (K, r) = G(m ‖ H(ek)) of FIPS 203, Algorithm 17.
func expandMessage(header *[HeaderSize]byte, m secret.Key) (shared secret.Key, r *[32]byte) {
	var in [64]byte
	copy(in[:32], m.Bytes())
	copy(in[32:], header[32:])
	out := sha3.Sum512(in[:])
	shared = secret.NewKey([32]byte(out[:32]))
	r = new([32]byte(out[32:]))
	clear(in[:])
	clear(out[:])
	return shared, r
}

// sampleSecret returns the vector ŷ of FIPS 203, Algorithm 14.
func sampleSecret(r *[32]byte) (y [k]*factor) {
	for i := range y {
		p := sampleNoise(r, byte(i))
		y[i] = newFactor(&p)
		clear(p[:])
	}
	return y
}

func wipeSecret(y [k]*factor, r *[32]byte) {
	for _, f := range y {
		*f = factor{}
	}
	clear(r[:])
}
