package mlkem768

// Exported for tests of the arithmetic against its definition.

const Q = q

func Freeze(a int16) uint16          { return freeze(a) }
func Compress10(a uint16) uint16     { return compress10(a) }
func Compress4(a uint16) byte        { return compress4(a) }
func MontgomeryReduce(a int32) int16 { return montgomeryReduce(a) }

// NTT returns the transform of p, reduced.
func NTT(p [256]int16) [256]int16 {
	(*poly)(&p).ntt()
	return p
}

// SumOfProducts returns Σ a_i·b_i in the ring, computed through the NTT.
func SumOfProducts(a, b [3][256]int16) (out [256]uint16) {
	var acc accumulator
	for i := range a {
		left, right := poly(a[i]), poly(b[i])
		left.ntt()
		for j := range left {
			left[j] = int16(freeze(left[j]))
		}
		acc.add(&left, newFactor(&right))
	}
	sum := acc.sum()
	for i := range sum {
		out[i] = freeze(sum[i])
	}
	return out
}

// SampleUniform and SampleNoise return the two samplers' polynomials.
func SampleUniform(rho *[32]byte, a, b byte) [256]int16 { return sampleUniform(rho, a, b) }
func SampleNoise(r *[32]byte, nonce byte) [256]int16    { return sampleNoise(r, nonce) }
