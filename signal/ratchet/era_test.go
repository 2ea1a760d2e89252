package ratchet_test

import (
	"errors"
	"testing"

	"github.com/chate2e/chate2e/signal/ratchet"
)

func deliverIn(t *testing.T, to *ratchet.State, era uint64, m message) {
	t.Helper()
	opening, err := to.Receive(m.header)
	if err != nil {
		t.Fatal(err)
	}
	opening.CommitIn(era)
}

// Skipped keys of eras that are over are dropped with their chains; those of an
// era that a later message of their chain may belong to are not.
func TestForget(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		rules.Eras = true
		alice, bob := pair(t, rules)
		var late [3]message // in era 1, 1 or 2, 2 or 3
		for i := range late {
			late[i] = send(t, alice)
			deliverIn(t, bob, uint64(i+1), send(t, alice))
			deliver(t, alice, send(t, bob))
		}
		bob = reparse(t, rules, bob)
		for era, left := range []int{3, 3, 3, 2, 1, 1} {
			bob.Forget(uint64(era))
			bob = reparse(t, rules, bob)
			if got := bob.Skipped(); got != left {
				t.Fatalf("%d skipped keys are left when era %d begins, want %d", got, era, left)
			}
		}
		for _, m := range late[:2] { // their chains are unknown, and taken to be new
			opening, err := bob.Receive(m.header)
			if err != nil {
				t.Fatal(err)
			}
			if !opening.Step() || *opening.Seed() == m.seed {
				t.Error("the seed of a forgotten message is found")
			}
			opening.Discard()
		}
		deliver(t, bob, late[2]) // of the current chain
		turn(t, alice, bob)
	})
}

// Without eras nothing is forgotten, or stored of them.
func TestForgetWithoutEras(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		late := send(t, alice)
		deliverIn(t, bob, 1, send(t, alice))
		deliver(t, alice, send(t, bob))
		deliverIn(t, bob, 7, send(t, alice))
		bob.Forget(100)
		deliver(t, reparse(t, rules, bob), late)
		rules.Eras = true
		if s, err := ratchet.Parse(rules, bob.Append(nil)); !errors.Is(err, ratchet.ErrEncoding) || s != nil {
			t.Errorf("a state without eras parses as one with them: %v", err)
		}
	})
}
