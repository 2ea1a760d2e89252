package mlkem768

import "errors"

// compress10 returns Compress₁₀(a) = ⌈2¹⁰·a/q⌋ mod 2¹⁰ (FIPS 203, Section
// 4.2.1), for a in [0, q). a is secret until it is compressed, so the division
// is a multiplication by ⌈2³²/q⌉; a test compares all q values with the exact
// quotient.
func compress10(a uint16) uint16 {
	return uint16((uint64(a)<<10+q/2)*1290168>>32) & 0x3ff
}

// compress4 returns Compress₄(a) = ⌈2⁴·a/q⌋ mod 2⁴, as [compress10] does.
func compress4(a uint16) byte {
	return byte((uint64(a)<<4+q/2)*1290168>>32) & 0xf
}

// appendCompressed10 appends ByteEncode₁₀(Compress₁₀(p)), 320 bytes.
func appendCompressed10(b []byte, p *poly) []byte {
	for i := 0; i < n; i += 4 {
		var x uint64
		for j := range 4 {
			x |= uint64(compress10(freeze(p[i+j]))) << (10 * j)
		}
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32))
	}
	return b
}

// appendCompressed4 appends ByteEncode₄(Compress₄(p)), 128 bytes.
func appendCompressed4(b []byte, p *poly) []byte {
	for i := 0; i < n; i += 2 {
		b = append(b, compress4(freeze(p[i]))|compress4(freeze(p[i+1]))<<4)
	}
	return b
}

// decodeMessage returns Decompress₁(ByteDecode₁(m)): 0 or ⌈q/2⌋ for each bit of
// the secret m, chosen by a mask.
func decodeMessage(m *[32]byte) (p poly) {
	for i := range p {
		bit := int16(m[i/8] >> (i % 8) & 1)
		p[i] = -bit & ((q + 1) / 2)
	}
	return p
}

var errModulus = errors.New("mlkem768: a coefficient of the key is not reduced")

// decodeVector returns ByteDecode₁₂(b) for the 384 bytes of one polynomial of a
// public key, with coefficients in [0, q), or an error if one is q or more (the
// modulus check of FIPS 203, Section 7.2).
func decodeVector(b []byte) (p poly, err error) {
	for i := range n / 2 {
		x := uint32(b[3*i]) | uint32(b[3*i+1])<<8 | uint32(b[3*i+2])<<16
		lo, hi := x&0xfff, x>>12
		if lo >= q || hi >= q {
			return poly{}, errModulus
		}
		p[2*i], p[2*i+1] = int16(lo), int16(hi)
	}
	return p, nil
}
