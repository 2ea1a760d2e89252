package gcmsiv

import (
	"encoding/binary"
	"math/bits"
)

// polyval is POLYVAL (RFC 8452, Section 3): a polynomial in GF(2^128) with the
// modulus x^128 + x^127 + x^126 + x^121 + 1, evaluated at a secret point h. Bit i
// of the little-endian number is the coefficient of x^i.
type polyval struct {
	h, hReversed [3]uint64 // low half, high half, their sum; and the bits of each reversed
	low, high    uint64    // the sum so far
}

func newPolyval(key *[16]byte) *polyval {
	low, high := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
	p := &polyval{h: [3]uint64{low, high, low ^ high}}
	for i, v := range p.h {
		p.hReversed[i] = bits.Reverse64(v)
	}
	return p
}

// update takes in b, filled up with zeros to whole blocks.
func (p *polyval) update(b []byte) {
	for len(b) >= 16 {
		p.block(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]))
		b = b[16:]
	}
	if len(b) > 0 {
		var last [16]byte
		copy(last[:], b)
		p.block(binary.LittleEndian.Uint64(last[:8]), binary.LittleEndian.Uint64(last[8:]))
	}
}

func (p *polyval) sum(out *[16]byte) {
	binary.LittleEndian.PutUint64(out[:8], p.low)
	binary.LittleEndian.PutUint64(out[8:], p.high)
}

// block sets the sum to (sum + block) · h · x^-128.
func (p *polyval) block(low, high uint64) {
	low ^= p.low
	high ^= p.high

	// A product of two halves has 127 bits. Its lower 64 are those of lowProduct,
	// and its upper 63 are, in reverse order, those of the product of the reversed
	// factors. Karatsuba makes three products of four.
	a := [3]uint64{low, high, low ^ high}
	var lower, upper [3]uint64
	for i := range a {
		lower[i] = lowProduct(a[i], p.h[i])
		upper[i] = bits.Reverse64(lowProduct(bits.Reverse64(a[i]), p.hReversed[i])) >> 1
	}
	v0, v1 := lower[0], upper[0]^lower[2]^lower[0]^lower[1]
	v2, v3 := lower[1]^upper[2]^upper[0]^upper[1], upper[1]

	// Adding v0 times the modulus takes the lowest 64 bits away, and once more:
	// that is the division by x^128.
	v1 ^= v0<<57 ^ v0<<62 ^ v0<<63
	v2 ^= v0 ^ v0>>1 ^ v0>>2 ^ v0>>7
	v2 ^= v1<<57 ^ v1<<62 ^ v1<<63
	v3 ^= v1 ^ v1>>1 ^ v1>>2 ^ v1>>7
	p.low, p.high = v2, v3
}

// Every fourth bit of a word.
const (
	holes0 = 0x1111111111111111
	holes1 = holes0 << 1
	holes2 = holes0 << 2
	holes3 = holes0 << 3
)

// lowProduct returns the lower 64 bits of the product of two polynomials over
// GF(2). It uses the integer multiplier: with three zero bits between those that
// count, up to 15 of them can meet at one place without their carry reaching the
// next place that counts. (16 meet at bit 60 alone, whose carry falls off the
// end.) There is no table to look up and nothing to branch on.
func lowProduct(a, b uint64) uint64 {
	a0, a1, a2, a3 := a&holes0, a&holes1, a&holes2, a&holes3
	b0, b1, b2, b3 := b&holes0, b&holes1, b&holes2, b&holes3
	c0 := a0*b0 ^ a1*b3 ^ a2*b2 ^ a3*b1
	c1 := a0*b1 ^ a1*b0 ^ a2*b3 ^ a3*b2
	c2 := a0*b2 ^ a1*b1 ^ a2*b0 ^ a3*b3
	c3 := a0*b3 ^ a1*b2 ^ a2*b1 ^ a3*b0
	return c0&holes0 | c1&holes1 | c2&holes2 | c3&holes3
}
