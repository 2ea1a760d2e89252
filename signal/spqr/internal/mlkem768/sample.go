package mlkem768

import (
	"crypto/sha3"
	"encoding/binary"
)

// sampleUniform returns the polynomial SampleNTT(ρ‖a‖b) of FIPS 203, Algorithm
// 7, in the NTT domain with coefficients in [0, q). Its rejections take a time
// that depends on ρ, which is public.
func sampleUniform(rho *[32]byte, a, b byte) (p poly) {
	const rate = 168 // of SHAKE128, a multiple of three
	xof := sha3.NewSHAKE128()
	xof.Write(rho[:])
	xof.Write([]byte{a, b})

	// Three blocks yield 336 candidates, of which 273 are accepted on average.
	var buf [3 * rate]byte
	xof.Read(buf[:])
	in := buf[:]
	for filled := 0; filled < n; {
		if len(in) == 0 {
			in = buf[:rate]
			xof.Read(in)
		}
		d1 := uint16(in[0]) | uint16(in[1]&0x0f)<<8
		d2 := uint16(in[1])>>4 | uint16(in[2])<<4
		in = in[3:]
		if d1 < q {
			p[filled] = int16(d1)
			filled++
		}
		if d2 < q && filled < n {
			p[filled] = int16(d2)
			filled++
		}
	}
	return p
}

// sampleNoise returns SamplePolyCBD₂(PRF₂(r, nonce)) of FIPS 203, Algorithm 8,
// with coefficients in [-2, 2].
//
// r is secret: each coefficient is the difference of two sums of two bits, which
// are formed for sixteen coefficients at once, without a branch.
func sampleNoise(r *[32]byte, nonce byte) (p poly) {
	var buf [n / 2]byte
	prf := sha3.NewSHAKE256()
	prf.Write(r[:])
	prf.Write([]byte{nonce})
	prf.Read(buf[:])
	for i := range n / 16 {
		bits := binary.LittleEndian.Uint64(buf[8*i:])
		const even = 0x5555555555555555
		sums := bits&even + bits>>1&even // two bits each: x, y, x, y, …
		for j := range 16 {
			p[16*i+j] = int16(sums&3) - int16(sums>>2&3)
			sums >>= 4
		}
	}
	clear(buf[:])
	prf.Reset()
	return p
}
