package interop_test

import (
	"testing"

	"github.com/chate2e/chate2e/interop"
)

// Our libsignal suites with the official library, in both roles.

// without are the flags of a peer that does not have the post-quantum ratchet.
var without = []string{"-spqr", "off"}

func TestGoWithNode044Classical(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t, without...)), nodePeer(t, "0.44.0")
	play(t, ours, libsignal, parties(left, right, interop.PairConfig{Classical: true}))
}

func TestGoWithNode044(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t, without...)), nodePeer(t, "0.44.0")
	play(t, theirs, libsignal, parties(left, right, interop.PairConfig{}))
}

func TestGoWithNode072(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t, without...)), nodePeer(t, "0.72.1")
	play(t, ours, libsignal, parties(left, right, interop.PairConfig{}))
}

// TestGoWithoutWithNode076 talks to a version that would use the post-quantum ratchet if we had it.
func TestGoWithoutWithNode076(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t, without...)), nodePeer(t, "0.76.0")
	play(t, theirs, libsignal, parties(left, right, interop.PairConfig{}))
}

func TestGoWithGo(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t, without...)), start(t, goCommand(t, without...))
	t.Run("PQXDH", func(t *testing.T) { play(t, theirs, libsignal, parties(left, right, interop.PairConfig{})) })
	t.Run("X3DH", func(t *testing.T) {
		play(t, theirs, libsignal, parties(left, right, interop.PairConfig{Classical: true}))
	})
}

func TestGoOps(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		other string
		kyber bool
		flags []string
	}{
		{"X3DH with 0.44.0", "0.44.0", false, nil},
		{"PQXDH with 0.44.0", "0.44.0", true, without},
		{"PQXDH with 0.72.1", "0.72.1", true, without},
		{"Triple Ratchet with 0.76.0", "0.76.0", true, nil},
		{"Triple Ratchet with 0.103.0", "0.103.0", true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours, theirs := start(t, goCommand(t, test.flags...)), nodePeer(t, test.other)
			t.Run("left", func(t *testing.T) { testOps(t, ours, theirs, test.kyber) })
			t.Run("right", func(t *testing.T) { testOps(t, theirs, ours, test.kyber) })
		})
	}
	for _, test := range []struct {
		name  string
		kyber bool
		flags []string
	}{
		{"X3DH alone", false, nil},
		{"PQXDH alone", true, without},
		{"Triple Ratchet alone", true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			testOps(t, start(t, goCommand(t, test.flags...)), start(t, goCommand(t, test.flags...)), test.kyber)
		})
	}
}

// TestGoVersions sees with which versions our peer talks, and that it refuses the others: there is no
// falling back to sessions without the post-quantum ratchet.
func TestGoVersions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		flags []string
		other []string
		opens bool
	}{
		{nil, []string{"0.72.1"}, false},
		{nil, []string{"0.76.0", "--spqr", "off"}, false},
		{nil, []string{"0.76.0"}, true},
		{nil, []string{"0.103.0"}, true},
		{without, []string{"0.76.0"}, true},
		{without, []string{"0.103.0"}, false},
	} {
		ours, theirs := start(t, goCommand(t, test.flags...)), nodePeer(t, test.other[0], test.other[1:]...)
		for _, pair := range [][2]*interop.Peer{{ours, theirs}, {theirs, ours}} {
			couple(t, pair[0], pair[1])
			first := begin(t, pair[0], pair[1], true, nil)
			if !test.opens {
				refuse(t, pair[1], "decrypt", decryptArgs("bob", alice, first.Message))
				continue
			}
			decrypt(t, pair[1], "bob", alice, first, "first")
			decrypt(t, pair[0], "alice", bob, encrypt(t, pair[1], "bob", alice, "answer"), "answer")
		}
	}
}

func TestGoBadLines(t *testing.T) {
	t.Parallel()
	testBadLines(t, goCommand(t))
}
