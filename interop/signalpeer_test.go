package interop_test

import (
	"testing"

	"github.com/chate2e/chate2e/interop"
)

// Our libsignal suites with the official library, in both roles.

func TestGoWithNode044Classical(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), nodePeer(t, "0.44.0")
	play(t, ours, signal, parties(left, right, interop.PairConfig{Classical: true}))
}

func TestGoWithNode044(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), nodePeer(t, "0.44.0")
	play(t, theirs, signal, parties(left, right, interop.PairConfig{}))
}

func TestGoWithNode072(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), nodePeer(t, "0.72.1")
	play(t, ours, signal, parties(left, right, interop.PairConfig{}))
}

// TestGoWithNode076 talks to a version that would use the post-quantum ratchet if we had it.
func TestGoWithNode076(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), nodePeer(t, "0.76.0")
	play(t, theirs, signal, parties(left, right, interop.PairConfig{}))
}

func TestGoWithGo(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), start(t, goCommand(t))
	t.Run("PQXDH", func(t *testing.T) { play(t, theirs, signal, parties(left, right, interop.PairConfig{})) })
	t.Run("X3DH", func(t *testing.T) {
		play(t, theirs, signal, parties(left, right, interop.PairConfig{Classical: true}))
	})
}

func TestGoOps(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		other string
		kyber bool
	}{
		{"X3DH with 0.44.0", "0.44.0", false},
		{"PQXDH with 0.44.0", "0.44.0", true},
		{"PQXDH with 0.72.1", "0.72.1", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours, theirs := start(t, goCommand(t)), nodePeer(t, test.other)
			t.Run("left", func(t *testing.T) { testOps(t, ours, theirs, test.kyber) })
			t.Run("right", func(t *testing.T) { testOps(t, theirs, ours, test.kyber) })
		})
	}
	for _, kyber := range []bool{false, true} {
		t.Run("alone", func(t *testing.T) { testOps(t, start(t, goCommand(t)), start(t, goCommand(t)), kyber) })
	}
}

func TestGoBadLines(t *testing.T) {
	t.Parallel()
	testBadLines(t, goCommand(t))
}
