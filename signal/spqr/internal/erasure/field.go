package erasure

import "sync"

// polynomial is the field's, without its leading term x¹⁶.
const polynomial = 0x100b

// order is the number of non-zero elements.
const order = 1<<16 - 1

// tables are what makes arithmetic on single elements fast. They take 256 KiB
// and well under a millisecond, once, when the first redundant chunk is met.
type tables struct {
	log [1 << 16]uint16   // log[0] is meaningless
	exp [2 * order]uint16 // long enough for the sum of two logarithms
	// weights[n][j] is the logarithm of Π(j-l) over all l < n but j: the
	// denominators of the Lagrange basis over the points 0, …, n-1.
	weights [MaxPieces + 1][]uint16
}

var field = sync.OnceValue(func() *tables {
	f := new(tables)
	x := uint32(1)
	for i := range uint32(order) {
		f.exp[i], f.exp[i+order] = uint16(x), uint16(x)
		f.log[x] = uint16(i)
		x <<= 1
		if x>>16 != 0 {
			x ^= 1<<16 | polynomial
		}
	}
	var points [MaxPieces]uint16
	for n := range f.weights {
		if n > 0 {
			points[n-1] = uint16(n - 1)
		}
		f.weights[n] = f.denominators(points[:n])
	}
	return f
})

// denominators returns the logarithm of Π(points[j]-points[l]), l ≠ j, for each
// of the points, which must be distinct.
func (f *tables) denominators(points []uint16) []uint16 {
	out := make([]uint16, len(points))
	for j, p := range points {
		var sum uint32
		for l, other := range points {
			if l != j {
				sum += uint32(f.log[p^other])
			}
		}
		out[j] = uint16(sum % order)
	}
	return out
}

// basis sets out[j] to the value at x of the Lagrange basis polynomial that is 1
// at points[j] and 0 at the others. x must not be one of the points. In a field
// of characteristic two a difference is an exclusive or.
func (f *tables) basis(out, points, denominators []uint16, x uint16) {
	var product uint32
	for _, p := range points {
		product += uint32(f.log[x^p])
	}
	product %= order
	for j, p := range points {
		// 2·order makes the difference positive, and less than 3·order.
		e := product + 2*order - uint32(f.log[x^p]) - uint32(denominators[j])
		if e >= order {
			e -= order
		}
		out[j] = f.exp[e]
	}
}

// A row is sixteen field elements, four in each word.
type row [4]uint64

// combine returns the sum of the rows, each multiplied by its coefficient.
//
// Horner's rule over the bits of the coefficients: for each bit from the top,
// the sum so far is multiplied by x, in all sixteen lanes at once, and the rows
// whose coefficient has the bit are added.
func combine(rows []row, coefficients []uint16) row {
	rows = rows[:len(coefficients)]
	var a, b, c, d uint64
	for bit := 15; bit >= 0; bit-- {
		a, b, c, d = timesX(a), timesX(b), timesX(c), timesX(d)
		for j, coefficient := range coefficients {
			mask := -uint64(coefficient >> bit & 1)
			a ^= rows[j][0] & mask
			b ^= rows[j][1] & mask
			c ^= rows[j][2] & mask
			d ^= rows[j][3] & mask
		}
	}
	return row{a, b, c, d}
}

// timesX multiplies the four elements in w by x.
func timesX(w uint64) uint64 {
	const lanes = 0x0001000100010001
	carry := w >> 15 & lanes
	return w&^(lanes<<15)<<1 ^ carry*polynomial
}
