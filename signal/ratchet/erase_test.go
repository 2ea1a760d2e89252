package ratchet_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/signal/ratchet"
)

// memory is where a state kept its keys once, and what they were.
type memory struct {
	at  map[string]*[32]byte
	was map[string][32]byte
}

func watch(s *ratchet.State) memory {
	m := memory{at: s.Keys(), was: map[string][32]byte{}}
	for name, key := range m.at {
		m.was[name] = *key
	}
	return m
}

// gone checks that these keys are nowhere in the memory any more, and that all others
// are where they were.
func (m memory) gone(t *testing.T, what string, names ...string) {
	t.Helper()
	for _, name := range names {
		key, ok := m.was[name]
		if !ok {
			t.Fatalf("%s: there is no %q, only %q", what, name, slices.Sorted(maps.Keys(m.was)))
		}
		for place, now := range m.at {
			if *now == key {
				t.Errorf("%s: the key %q is still there, in the place of %q", what, name, place)
			}
		}
	}
}

// What a state has no use for any more is overwritten where it was.
func TestErase(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		turn(t, alice, bob)

		skipped := sendMany(t, alice, 3)
		m := watch(alice)
		skipped = append(skipped, send(t, alice))
		m.gone(t, "sending", "sending")

		m = watch(bob)
		deliver(t, bob, skipped[3])
		m.gone(t, "a root step", "root", "sending")

		m = watch(bob)
		deliver(t, bob, send(t, alice))
		m.gone(t, "receiving", "chain 1")

		m = watch(bob)
		deliver(t, bob, skipped[1])
		m.gone(t, "a late message", "seed 1 of 1")

		m = watch(bob)
		reply := send(t, bob)
		m.gone(t, "the first message of a sending chain", "root")

		m = watch(alice)
		deliver(t, alice, reply)
		m.gone(t, "a new chain of the peer", "root", "sending")
		if !rules.KeepChains {
			m.gone(t, "closing the chain before", "chain 0")
		}

		// As many new skipped keys as may be kept push out the old ones.
		m = watch(bob)
		many := sendMany(t, alice, rules.MaxSkipped+1)
		deliver(t, bob, many[rules.MaxSkipped])
		if !rules.KeepChains { // there each chain has a limit of its own
			m.gone(t, "too many skipped keys", "seed 0 of 1", "seed 2 of 1")
		}

		// As many new chains as may be kept push out the old ones.
		turn(t, alice, bob)
		m = watch(bob)
		for range rules.MaxChains {
			turn(t, alice, bob)
		}
		if rules.KeepChains {
			m.gone(t, "too many chains", "chain 0", "chain 1", "chain 2")
		}

		send(t, bob)
		m = watch(bob)
		bob.Wipe()
		m.gone(t, "Wipe", slices.Collect(maps.Keys(m.was))...)
		for name, key := range m.at {
			if *key != [32]byte{} {
				t.Errorf("Wipe: %q is not zero", name)
			}
		}
	})
}

// The seed of an opening is overwritten, whether it is taken or not.
func TestEraseSeed(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		for what, end := range map[string]func(*ratchet.Opening){
			"Discard": (*ratchet.Opening).Discard, "Commit": (*ratchet.Opening).Commit,
		} {
			opening, err := bob.Receive(send(t, alice).header)
			if err != nil {
				t.Fatal(err)
			}
			seed := opening.Seed()
			end(opening)
			if *seed != [32]byte{} {
				t.Errorf("%s leaves the seed", what)
			}
		}
	})
}
