//go:build !race

package testcost

// Slowdown is 1 without the race detector, under which everything takes longer.
const Slowdown = 1
