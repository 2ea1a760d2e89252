package ratchet_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// The two policies. The limits are small, so that tests reach them.
var (
	byTheBook = ratchet.Rules{RootInfo: "test", MaxForward: 100, MaxSkipped: 20, MaxChains: 3}
	keeping   = ratchet.Rules{RootInfo: "test", MaxForward: 100, MaxSkipped: 20, MaxChains: 3, KeepChains: true}
)

// both runs a test under both policies.
func both(t *testing.T, test func(t *testing.T, rules ratchet.Rules)) {
	t.Helper()
	for name, rules := range map[string]ratchet.Rules{"by the book": byTheBook, "keeping chains": keeping} {
		t.Run(name, func(t *testing.T) { test(t, rules) })
	}
}

// pair returns the two sides of a new ratchet.
func pair(t *testing.T, rules ratchet.Rules) (alice, bob *ratchet.State) {
	t.Helper()
	root := [32]byte(testrand.New(t).Bytes(32))
	prekey := curve.GenerateKey()
	alice = ratchet.NewInitiator(rules, secret.NewKey(root), prekey.PublicKey())
	return alice, ratchet.NewResponder(rules, secret.NewKey(root), prekey)
}

// message is one that was sent: its header, and the seed it was sealed with.
type message struct {
	header ratchet.Header
	seed   [32]byte
}

func send(t *testing.T, from *ratchet.State) message {
	t.Helper()
	header, seed, err := from.Send()
	if err != nil {
		t.Fatal(err)
	}
	return message{header, *seed.Array()}
}

func sendMany(t *testing.T, from *ratchet.State, n int) []message {
	t.Helper()
	messages := make([]message, n)
	for i := range messages {
		messages[i] = send(t, from)
	}
	return messages
}

// deliver receives the messages in this order and checks their seeds.
func deliver(t *testing.T, to *ratchet.State, messages ...message) {
	t.Helper()
	for _, m := range messages {
		opening, err := to.Receive(m.header)
		if err != nil {
			t.Fatalf("message %d: %v", m.header.N, err)
		}
		if *opening.Seed() != m.seed {
			t.Fatalf("message %d: the seeds differ", m.header.N)
		}
		opening.Commit()
	}
}

// refuse checks that the state refuses the header with this error, and that it
// is then byte by byte as before.
func refuse(t *testing.T, to *ratchet.State, header ratchet.Header, want error) {
	t.Helper()
	before := to.Append(nil)
	opening, err := to.Receive(header)
	if !errors.Is(err, want) || opening != nil {
		t.Errorf("Receive(%d): %v, %v; want %v", header.N, opening, err, want)
	}
	if _, err := to.Distance(header); err != nil && !errors.Is(err, want) {
		t.Errorf("Distance(%d): %v; Receive said %v", header.N, err, want)
	}
	if !bytes.Equal(to.Append(nil), before) {
		t.Error("a refused message has changed the state")
	}
}

// turn lets both sides take a root step, so that each has a new chain.
func turn(t *testing.T, one, other *ratchet.State) {
	t.Helper()
	deliver(t, other, send(t, one))
	deliver(t, one, send(t, other))
}

// The chain in use stays, however many older ones are kept for their skipped
// keys.
func TestCurrentChainStays(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		var late []message
		for range rules.MaxChains + 3 {
			late = append(late, send(t, alice))
			turn(t, alice, bob)
		}
		deliver(t, bob, sendMany(t, alice, 3)...)
		if !rules.KeepChains {
			deliver(t, bob, late...)
			deliver(t, bob, send(t, alice))
			return
		}
		// One chain a turn, and the newest one.
		forgotten := len(late) + 1 - rules.MaxChains
		for _, m := range late[:forgotten] {
			if opening, err := bob.Receive(m.header); err == nil && *opening.Seed() == m.seed {
				t.Errorf("a chain older than the newest %d opens a message", rules.MaxChains)
			}
		}
		slices.Reverse(late[forgotten:])
		deliver(t, bob, late[forgotten:]...)
		deliver(t, bob, send(t, alice))
	})
}

func panics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

// An Opening is good for one Commit, on the state it was found in.
func TestOpeningIsUsedOnce(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		messages := sendMany(t, alice, 3)
		receive := func(m message) *ratchet.Opening {
			opening, err := bob.Receive(m.header)
			if err != nil {
				t.Fatal(err)
			}
			return opening
		}
		unchanged := func(what string, f func()) {
			t.Helper()
			before := bob.Append(nil)
			if !panics(f) {
				t.Errorf("%s did not panic", what)
			}
			if !bytes.Equal(bob.Append(nil), before) {
				t.Errorf("%s has changed the state", what)
			}
		}
		for _, m := range []message{messages[2], messages[0]} { // by a step, and by a skipped key
			discarded := receive(m)
			discarded.Discard()
			unchanged("Commit after Discard", discarded.Commit)
			unchanged("Seed after Discard", func() { discarded.Seed() })

			stale := receive(m)
			deliver(t, bob, m)
			unchanged("Commit on a state that moved on", stale.Commit)
		}
		opening := receive(messages[1])
		opening.Commit()
		unchanged("a second Commit", opening.Commit)
		unchanged("Seed after Commit", func() { opening.Seed() })
		opening.Discard() // harmless

		stale := receive(send(t, alice))
		send(t, bob)
		unchanged("Commit after Send", stale.Commit)
	})
}
