//go:build race

package testcost

// Slowdown is how many times longer than otherwise a computation may take under
// the race detector.
const Slowdown = 20
