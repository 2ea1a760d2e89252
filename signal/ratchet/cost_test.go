package ratchet_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/testcost"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// A forged counter costs little, in time and in memory, and leaves the state as
// it was: in the chain in use, in an older one, and with a ratchet key that is new.
func TestForgedCounters(t *testing.T) {
	for _, keep := range []bool{false, true} {
		rules := ratchet.Rules{RootInfo: "test", MaxForward: 25_000, MaxSkipped: 2_000, MaxChains: 5, KeepChains: keep}
		alice, bob := pair(t, rules)
		older := send(t, alice).header
		turn(t, alice, bob)
		current := send(t, alice)
		deliver(t, bob, current)
		send(t, bob) // has a ratchet key that a new one could answer

		chains := map[string]ratchet.Header{
			"current chain": current.header,
			"older chain":   older,
			"new chain":     {RatchetKey: curve.GenerateKey().PublicKey()},
		}
		for name, header := range chains {
			for _, c := range []struct {
				n    uint32
				most time.Duration
				want error
			}{
				{25_000, 100 * time.Millisecond, nil},
				{25_003, time.Millisecond, ratchet.ErrTooFar},
				{1 << 31, time.Millisecond, ratchet.ErrTooFar},
				{math.MaxUint32, time.Millisecond, ratchet.ErrTooFar},
			} {
				t.Run(fmt.Sprintf("keep %v, %s, %d", keep, name, c.n), func(t *testing.T) {
					want := c.want
					if name == "older chain" && !keep {
						want = ratchet.ErrUnknownChain // closed
					}
					header.N = c.n
					before := bob.Append(nil)
					took, allocated := testcost.Of(func() {
						opening, err := bob.Receive(header)
						if !errors.Is(err, want) {
							t.Errorf("got %v, want %v", err, want)
						}
						if err == nil {
							opening.Discard()
						}
					})
					if took > testcost.Slowdown*c.most {
						t.Errorf("took %v, want at most %v", took, testcost.Slowdown*c.most)
					}
					if allocated > 16<<10 {
						t.Errorf("allocated %d bytes", allocated)
					}
					t.Logf("%v, %d bytes", took, allocated)
					if string(bob.Append(nil)) != string(before) {
						t.Error("the state has changed")
					}
				})
			}
		}
	}
}
