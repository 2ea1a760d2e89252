//go:build race

package client_test

// raceEnabled: figures mean nothing.
const raceEnabled = true
