package gcmsiv

// LowProduct is lowProduct.
func LowProduct(a, b uint64) uint64 { return lowProduct(a, b) }

// Polyval returns POLYVAL of b.
func Polyval(key [16]byte, b []byte) [16]byte {
	p := newPolyval(&key)
	p.update(b)
	var out [16]byte
	p.sum(&out)
	return out
}
