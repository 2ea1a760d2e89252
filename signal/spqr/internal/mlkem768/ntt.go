package mlkem768

const (
	n = 256  // coefficients of a polynomial
	q = 3329 // the field's prime
	k = 3    // polynomials of a vector: what makes it ML-KEM-768
)

// A poly is an element of Z_q[X]/(X^256+1), or of its NTT domain. Coefficients
// are signed representatives; every function states the bounds it needs and
// leaves, because nothing is reduced further than the next step requires.
type poly [n]int16

const (
	qInverse   = -3327 // q⁻¹ mod 2¹⁶
	montgomery = 2285  // 2¹⁶ mod q
	// 2³²/128 mod q: undoes the factor 2⁻¹⁶ that multiplication in the NTT domain
	// leaves behind, and divides by the 128 that the inverse transform gathers.
	inverseScale = 1441
)

// zetas holds ζ^BitRev7(i)·2¹⁶ mod q for ζ = 17, centred around zero: FIPS 203,
// Appendix A, in Montgomery form.
var zetas = func() (z [128]int16) {
	for i := range z {
		power := 0
		for bit := range 7 {
			power |= i >> bit & 1 << (6 - bit)
		}
		v := int32(montgomery)
		for range power {
			v = v * 17 % q
		}
		if v > q/2 {
			v -= q
		}
		z[i] = int16(v)
	}
	return z
}()

// montgomeryReduce returns a representative of a·2⁻¹⁶ mod q in (-q, q), for
// |a| < 2¹⁵·q.
//
// t is chosen so that a - t·q is a multiple of 2¹⁶; the shift is then exact.
func montgomeryReduce(a int32) int16 {
	t := int16(a) * qInverse
	return int16((a - int32(t)*q) >> 16)
}

// multiply returns a representative of a·b·2⁻¹⁶ mod q in (-q, q), for
// |a·b| < 2¹⁵·q, which holds for any a if |b| < q.
func multiply(a, b int16) int16 {
	return montgomeryReduce(int32(a) * int32(b))
}

// barrettReduce returns the representative of a mod q in [-(q-1)/2, (q-1)/2],
// for any a.
func barrettReduce(a int16) int16 {
	const reciprocal = (1<<26 + q/2) / q
	t := (reciprocal*int32(a) + 1<<25) >> 26
	return a - int16(t*q)
}

// freeze returns the representative of a mod q in [0, q), for any a.
func freeze(a int16) uint16 {
	a = barrettReduce(a)
	return uint16(a + a>>15&q)
}

// ntt transforms p in place (FIPS 203, Algorithm 9). Coefficients must lie in
// [-q, q]; those of the result lie in [-(q-1)/2, (q-1)/2].
//
// Each of the seven layers adds less than q to the bound: before the last
// reduction it is below 8·q = 26,632, which an int16 holds.
func (p *poly) ntt() {
	i := 1
	for width := n / 2; width >= 2; width /= 2 {
		for start := 0; start < n; start += 2 * width {
			zeta := zetas[i]
			i++
			low, high := p[start:start+width], p[start+width:start+2*width]
			high = high[:len(low)]
			for j := range low {
				t := multiply(high[j], zeta)
				high[j] = low[j] - t
				low[j] += t
			}
		}
	}
	for j := range p {
		p[j] = barrettReduce(p[j])
	}
}

// inverseNTT transforms p back in place (FIPS 203, Algorithm 10) and multiplies
// by 2¹⁶. Coefficients must lie in (-q, q), as do those of the result.
//
// Sums are reduced at once and differences by their multiplication, so that no
// coefficient leaves (-q, q) between layers, and no difference (-2·q, 2·q).
func (p *poly) inverseNTT() {
	i := 127
	for width := 2; width <= n/2; width *= 2 {
		for start := 0; start < n; start += 2 * width {
			zeta := zetas[i]
			i--
			low, high := p[start:start+width], p[start+width:start+2*width]
			high = high[:len(low)]
			for j := range low {
				t := low[j]
				low[j] = barrettReduce(t + high[j])
				high[j] = multiply(high[j]-t, zeta)
			}
		}
	}
	for j := range p {
		p[j] = multiply(p[j], inverseScale)
	}
}

// A factor is a polynomial in the NTT domain, prepared for being multiplied with
// several others: with each pair b₀ + b₁X goes b₁·γ, where γ is the pair's root
// X² (FIPS 203, Algorithm 12).
type factor struct {
	poly  poly         // in [-(q-1)/2, (q-1)/2]
	twist [n / 2]int16 // in (-q, q)
}

// newFactor transforms p and prepares it. The bounds are those of [poly.ntt].
func newFactor(p *poly) *factor {
	f := &factor{poly: *p}
	f.poly.ntt()
	for i := range n / 4 {
		// The pairs' roots are ±ζ^(2·BitRev6(i)+1).
		f.twist[2*i] = multiply(f.poly[4*i+1], zetas[64+i])
		f.twist[2*i+1] = -multiply(f.poly[4*i+3], zetas[64+i])
	}
	return f
}

// An accumulator sums up to k products in the NTT domain before it reduces.
type accumulator [n]int32

// add adds a·f. The coefficients of a must lie in [0, q).
//
// Each call adds at most q·q/2 + q·q in absolute value; after k = 3 calls this
// is below 2¹⁵·q, the bound of montgomeryReduce.
func (acc *accumulator) add(a *poly, f *factor) {
	for i := range n / 2 {
		a0, a1 := int32(a[2*i]), int32(a[2*i+1])
		b0, b1 := int32(f.poly[2*i]), int32(f.poly[2*i+1])
		acc[2*i] += a0*b0 + a1*int32(f.twist[i])
		acc[2*i+1] += a0*b1 + a1*b0
	}
}

// sum leaves the NTT domain with the sum of the products. The coefficients of
// the result lie in (-q, q).
func (acc *accumulator) sum() (p poly) {
	for i := range p {
		p[i] = montgomeryReduce(acc[i])
	}
	p.inverseNTT()
	return p
}
