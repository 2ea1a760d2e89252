//go:build !race

package ratchet_test

// slowdown is how much longer than it should a computation may take: not at all,
// without the race detector.
const slowdown = 1
