package ratchet_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestFirstMessages(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		before := bob.Append(nil)
		if _, _, err := bob.Send(); !errors.Is(err, ratchet.ErrNotReady) {
			t.Errorf("the responder sends first: %v", err)
		}
		if !bytes.Equal(bob.Append(nil), before) {
			t.Error("the state has changed")
		}
		refuse(t, alice, ratchet.Header{RatchetKey: curve.GenerateKey().PublicKey()}, ratchet.ErrUnknownChain)

		first := sendMany(t, alice, 2)
		for n, m := range first {
			if m.header.N != uint32(n) || m.header.PN != 0 || m.header.RatchetKey != first[0].header.RatchetKey {
				t.Errorf("header %d: %+v", n, m.header)
			}
		}
		deliver(t, bob, first...)
		answer := send(t, bob)
		deliver(t, alice, answer)
		if answer.header.N != 0 || answer.header.PN != 0 {
			t.Errorf("header of the answer: %+v", answer.header)
		}
		next := send(t, alice)
		if next.header.N != 0 || next.header.PN != 2 || next.header.RatchetKey == first[0].header.RatchetKey {
			t.Errorf("header after a root step: %+v", next.header)
		}
		deliver(t, bob, next)
	})
}

// Whatever the order of the messages of a chain, each opens once and no more.
func TestOrders(t *testing.T) {
	for name, order := range map[string][]int{
		"in order":    {0, 1, 2, 3, 4},
		"backwards":   {4, 3, 2, 1, 0},
		"out of turn": {2, 0, 4, 1, 3},
		"last first":  {4, 0, 1, 2, 3},
		"first last":  {1, 2, 3, 4, 0},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, rules ratchet.Rules) {
				alice, bob := pair(t, rules)
				messages := sendMany(t, alice, len(order))
				for _, n := range order {
					deliver(t, bob, messages[n])
					refuse(t, bob, messages[n].header, ratchet.ErrDuplicate)
				}
				if held := bob.Skipped(); held != 0 {
					t.Errorf("%d skipped keys are left", held)
				}
			})
		})
	}
}

// Messages of older chains open late, if the keys were put aside or the chain is
// kept open.
func TestLateMessages(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		first := sendMany(t, alice, 3)
		deliver(t, bob, first[1])
		deliver(t, alice, send(t, bob))
		second := sendMany(t, alice, 2)
		if pn := second[0].header.PN; pn != 3 {
			t.Errorf("PN = %d, want 3", pn)
		}
		wantSkipped, wantMissed := 3, uint32(1) // first[0], second[0], and because of PN first[2]
		if rules.KeepChains {
			wantSkipped, wantMissed = 2, 0
		}
		if opening, err := bob.Receive(second[1].header); err != nil || opening.Missed() != wantMissed || opening.Skips() != 1 {
			t.Errorf("%v: misses %d and skips %d, want %d and 1", err, opening.Missed(), opening.Skips(), wantMissed)
		}
		deliver(t, bob, second[1])
		if got := bob.Skipped(); got != wantSkipped {
			t.Errorf("%d skipped keys, want %d", got, wantSkipped)
		}
		deliver(t, bob, first[2], second[0], first[0])
		for _, m := range slices.Concat(first, second) {
			refuse(t, bob, m.header, ratchet.ErrDuplicate)
		}
		// Beyond what the sender said there was, a closed chain has nothing.
		beyond := first[2].header
		beyond.N++
		if rules.KeepChains {
			opening, err := bob.Receive(beyond)
			if err != nil {
				t.Fatal(err)
			}
			opening.Discard()
		} else {
			refuse(t, bob, beyond, ratchet.ErrUnknownChain)
		}
	})
}

func TestMaxForward(t *testing.T) {
	for _, keep := range []bool{false, true} {
		rules := ratchet.Rules{RootInfo: "test", MaxForward: 25_000, MaxSkipped: 2_000, MaxChains: 5, KeepChains: keep}
		for _, c := range []struct {
			name     string
			received int // before the gap
			gap      uint32
			want     error
		}{
			{"25,000 in a new chain", 0, 25_000, nil},
			{"25,001 in a new chain", 0, 25_001, ratchet.ErrTooFar},
			{"25,000 in a known chain", 2, 25_000, nil},
			{"25,001 in a known chain", 2, 25_001, ratchet.ErrTooFar},
		} {
			t.Run(fmt.Sprintf("keep %v, %s", keep, c.name), func(t *testing.T) {
				alice, bob := pair(t, rules)
				deliver(t, bob, sendMany(t, alice, c.received)...)
				messages := sendMany(t, alice, int(c.gap)+1)
				last := messages[c.gap]
				if c.want != nil {
					refuse(t, bob, last.header, c.want)
					deliver(t, bob, messages[c.gap-1])
					return
				}
				if got, err := bob.Distance(last.header); err != nil || got != c.gap {
					t.Errorf("Distance = %d, %v; want %d", got, err, c.gap)
				}
				deliver(t, bob, last)
				if got := bob.Skipped(); got != rules.MaxSkipped {
					t.Errorf("%d skipped keys are kept, want %d", got, rules.MaxSkipped)
				}
				// The newest are kept.
				oldest := int(c.gap) - rules.MaxSkipped
				refuse(t, bob, messages[oldest-1].header, ratchet.ErrDuplicate)
				deliver(t, bob, messages[oldest], messages[c.gap-1])
			})
		}
	}
}

// PN may announce as many missing messages as one message may skip, and no more.
func TestMaxForwardAcrossChains(t *testing.T) {
	for gap, want := range map[int]error{100: nil, 101: ratchet.ErrTooFar} {
		both(t, func(t *testing.T, rules ratchet.Rules) {
			alice, bob := pair(t, rules)
			deliver(t, bob, send(t, alice))
			lost := sendMany(t, alice, gap)
			deliver(t, alice, send(t, bob))
			next := send(t, alice)
			if want != nil && !rules.KeepChains {
				refuse(t, bob, next.header, want)
				deliver(t, bob, lost[0], next) // one less is missing
				return
			}
			deliver(t, bob, next) // PN is not read, where chains are kept
			deliver(t, bob, lost[gap-1])
		})
	}
}

// Over all chains, or in each where chains are kept, the newest skipped keys stay.
func TestMaxSkipped(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		var lost []message
		for range 3 {
			chain := sendMany(t, alice, 11)
			lost = append(lost, chain[:10]...)
			deliver(t, bob, chain[10])
			deliver(t, alice, send(t, bob))
		}
		dropped := 10 // 30 are missing, 20 are kept
		if rules.KeepChains {
			dropped = 0
		}
		if got, want := bob.Skipped(), len(lost)-dropped; got != want {
			t.Errorf("%d skipped keys, want %d", got, want)
		}
		for _, m := range lost[:dropped] {
			refuse(t, bob, m.header, ratchet.ErrDuplicate)
		}
		deliver(t, bob, lost[dropped:]...)
	})
}

// Within one chain, too.
func TestMaxSkippedInAChain(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		messages := sendMany(t, alice, 33)
		deliver(t, bob, messages[15], messages[32]) // 31 are missing, 20 are kept
		if got := bob.Skipped(); got != rules.MaxSkipped {
			t.Errorf("%d skipped keys, want %d", got, rules.MaxSkipped)
		}
		for _, m := range messages[:11] {
			refuse(t, bob, m.header, ratchet.ErrDuplicate)
		}
		deliver(t, bob, messages[11:15]...)
		deliver(t, bob, messages[16:32]...)
	})
}

// Where chains are kept, they are kept open, and the newest MaxChains of them.
// Otherwise the private key that opened a chain is gone with the first message.
func TestKeepChains(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		var chains [][]message
		for range rules.MaxChains + 1 {
			chain := sendMany(t, alice, 3)
			chains = append(chains, chain)
			deliver(t, bob, chain[0])
			deliver(t, alice, send(t, bob))
		}
		if rules.KeepChains {
			if bob.Knows(chains[0][1].header.RatchetKey) {
				t.Errorf("more than %d chains are known", rules.MaxChains)
			}
			chains = chains[1:]
		}
		for _, chain := range slices.Backward(chains) {
			if !bob.Knows(chain[1].header.RatchetKey) {
				t.Error("a chain is unknown")
			}
			deliver(t, bob, chain[2], chain[1])
		}
	})
}

// A message that does not authenticate is discarded, and the state is as before.
func TestDiscard(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		turn(t, alice, bob)
		messages := sendMany(t, alice, 4)
		send(t, bob) // so that a new ratchet key may come
		check := func(what string, h ratchet.Header) {
			t.Helper()
			before := bob.Append(nil)
			opening, err := bob.Receive(h)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			opening.Discard()
			if !bytes.Equal(bob.Append(nil), before) {
				t.Errorf("%s: the state has changed", what)
			}
		}
		check("a new chain", messages[3].header)
		check("a forged chain", ratchet.Header{RatchetKey: curve.GenerateKey().PublicKey(), N: 10, PN: 50})
		deliver(t, bob, messages[3])
		check("a skipped key", messages[0].header)
		check("a known chain", ratchet.Header{RatchetKey: messages[0].header.RatchetKey, N: 90})
		deliver(t, bob, messages[:3]...)
	})
}

// The all-zero result of a key agreement with a low-order point is refused on
// both ways.
func TestLowOrderRatchetKey(t *testing.T) {
	for _, point := range []curve.PublicKey{{}, {1}} {
		both(t, func(t *testing.T, rules ratchet.Rules) {
			_, bob := pair(t, rules)
			refuse(t, bob, ratchet.Header{RatchetKey: point}, curve.ErrLowOrder)

			alice := ratchet.NewInitiator(rules, secret.NewKey([32]byte{1}), point)
			before := alice.Append(nil)
			if _, _, err := alice.Send(); !errors.Is(err, curve.ErrLowOrder) {
				t.Errorf("Send: %v, want %v", err, curve.ErrLowOrder)
			}
			if !bytes.Equal(alice.Append(nil), before) {
				t.Error("the state has changed")
			}
		})
	}
}

// A chain has 2^32 - 1 messages.
func TestExhausted(t *testing.T) {
	const sendIndexAt = 1 + 32 + 4 + 4 + 64 + 32 + 32
	const receiveIndexAt = 1 + 32 + 4 + 4 + 32 + 2 + 32
	at := func(s *ratchet.State, offset int, n uint32) *ratchet.State {
		b := s.Append(nil)
		binary.BigEndian.PutUint32(b[offset:], n)
		moved, err := ratchet.Parse(byTheBook, b)
		if err != nil {
			t.Fatal(err)
		}
		return moved
	}
	alice, bob := pair(t, byTheBook)
	deliver(t, bob, send(t, alice))
	alice = at(alice, sendIndexAt, math.MaxUint32-1)
	bob = at(bob, receiveIndexAt, math.MaxUint32-1)

	last := send(t, alice)
	if last.header.N != math.MaxUint32-1 {
		t.Errorf("N = %d", last.header.N)
	}
	before := alice.Append(nil)
	if _, _, err := alice.Send(); !errors.Is(err, ratchet.ErrExhausted) {
		t.Errorf("Send: %v, want %v", err, ratchet.ErrExhausted)
	}
	if !bytes.Equal(alice.Append(nil), before) {
		t.Error("the state has changed")
	}
	opening, err := bob.Receive(last.header)
	if err != nil {
		t.Fatal(err)
	}
	opening.Commit()
	refuse(t, bob, last.header, ratchet.ErrDuplicate)
	beyond := last.header
	beyond.N++
	refuse(t, bob, beyond, ratchet.ErrTooFar)

	// An answer turns the ratchet, and the chains begin anew.
	deliver(t, alice, send(t, bob))
	next := send(t, alice)
	if next.header.N != 0 || next.header.PN != math.MaxUint32 {
		t.Errorf("header %+v", next.header)
	}
	deliver(t, bob, next)
}

func TestCounters(t *testing.T) {
	check := func(what string, s *ratchet.State, want ratchet.Counters) {
		t.Helper()
		if diff := cmp.Diff(want, s.Counters()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	alice, bob := pair(t, byTheBook)
	prekey := bob.Counters().OurKey
	check("initiator", alice, ratchet.Counters{TheirKey: prekey})
	check("responder", bob, ratchet.Counters{OurKey: prekey})
	first := sendMany(t, alice, 3)
	aliceKey := first[0].header.RatchetKey
	check("sent three", alice, ratchet.Counters{
		RootSteps: 1, Sent: 3, OurKey: aliceKey, TheirKey: prekey, HasSending: true,
	})
	deliver(t, bob, first[2])
	check("received the third", bob, ratchet.Counters{RootSteps: 1, Received: 3, Skipped: 2, TheirKey: aliceKey})
	answer := send(t, bob)
	bobKey := answer.header.RatchetKey
	check("answered", bob, ratchet.Counters{
		RootSteps: 2, Sent: 1, Received: 3, Skipped: 2, OurKey: bobKey, TheirKey: aliceKey, HasSending: true,
	})
	deliver(t, alice, answer)
	check("received the answer", alice, ratchet.Counters{RootSteps: 2, Received: 1, Previous: 3, TheirKey: bobKey})

	opening, err := bob.Receive(first[0].header)
	if err != nil {
		t.Fatal(err)
	}
	if !opening.Late() || opening.Step() || opening.Skips() != 0 {
		t.Errorf("a late message: %v, %v, %d", opening.Late(), opening.Step(), opening.Skips())
	}
	next := sendMany(t, alice, 3)[2]
	if opening, err = bob.Receive(next.header); err != nil {
		t.Fatal(err)
	}
	if opening.Late() || !opening.Step() || opening.Skips() != 2 {
		t.Errorf("a message of a new chain: %v, %v, %d", opening.Late(), opening.Step(), opening.Skips())
	}
}
