package content

import (
	"bytes"
	"math/bits"
)

const (
	// padMark ends the content; zeros follow.
	padMark = 0x80
	// padStep is the smallest step of padded sizes, in bytes.
	padStep = 256
)

// PaddedSize returns the size in bytes of a padded content of n bytes: the mark
// added, rounded up to a multiple of 256 and, from 8 KiB on, to the larger steps
// of Padmé, which cost at most 12 % and leave only O(log log n) bits about n.
func PaddedSize(n int) int {
	n = roundUp(n+1, padStep)
	// Padmé ("Reducing Metadata Leakage from Encrypted Files and Communication
	// with PURBs", Section 4): of the exponent's e bits, the size keeps as many
	// leading bits as e itself has.
	e := bits.Len(uint(n)) - 1
	keep := bits.Len(uint(e))
	return roundUp(n, 1<<(e-keep))
}

func roundUp(n, step int) int { return (n + step - 1) / step * step }

func pad(b []byte) []byte {
	padded := make([]byte, PaddedSize(len(b)))
	padded[copy(padded, b)] = padMark
	return padded
}

// unpad returns the content, a slice of padded. Other amounts of padding than
// ours are accepted: a later version may choose other steps.
func unpad(padded []byte) ([]byte, bool) {
	b := bytes.TrimRight(padded, "\x00")
	if len(b) == 0 || b[len(b)-1] != padMark {
		return nil, false
	}
	return b[:len(b)-1], true
}
