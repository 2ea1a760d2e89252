// Package interop plays independent implementations of the Signal Protocol against each other.
//
// A [Peer] is a process that speaks JSON lines on its standard input and output: the official library
// under Node, python3-doubleratchet, or a Go program over this repository's own suites. A [Conversation]
// is one party of a peer talking to one remote address. A [Schedule] is a hostile network: it carries
// random messages between any two ends, loses, repeats, reorders and corrupts them, restarts the ends
// from what they have written out, and says what went wrong if anything did:
//
//	left, right, err := interop.Pair(node, gopeer, seed, interop.PairConfig{})
//	...
//	stats, err := interop.NewSchedule(seed, interop.Config{Mangle: interop.MangleSignal}).Run(left, right)
//
// The same seed gives the same schedule: who sends when, how much, and what happens to every copy. The
// keys are the peers' own and differ from run to run.
//
// The package is test support. Nothing that is shipped imports it, and no peer is linked into anything.
package interop
