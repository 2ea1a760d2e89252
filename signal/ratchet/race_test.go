//go:build race

package ratchet_test

// slowdown is how much longer than otherwise a computation may take under the race detector.
const slowdown = 20
