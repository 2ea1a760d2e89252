//go:build race

package session_test

// slowdown is how much longer than otherwise a computation may take under the race detector.
const slowdown = 20
