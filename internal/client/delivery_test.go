package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/testrand"
)

func TestFirstMessageToSomebodyWhoWasNeverOnline(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob := w.register("bob")
		bob.stop()
		alice := w.register("alice")
		w.relay.pipe.cut() // Alice is offline, too
		alice.run()
		sent := alice.send(bob, "one")
		alice.send(bob, "two")
		settle()
		if got := alice.state(sent.ID); got != client.StateQueued {
			t.Errorf("offline: %s", got)
		}
		w.relay.pipe.mend()
		rest(2 * time.Minute)
		if got := alice.state(sent.ID); got != client.StateSent {
			t.Errorf("online: %s", got)
		}
		rest(24 * time.Hour)
		bob.reopen().run()
		settle()
		bob.sees(alice, "< request", "< one", "< two")
	})
}

func TestWhoSendsToAnUnknownIDIsHeardLater(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice := w.register("alice").run()
		stranger := "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		sent, err := alice.Send(t.Context(), stranger, "anybody there?", client.SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rest(time.Hour)
		if got := alice.state(sent.ID); got != client.StateQueued {
			t.Errorf("after an hour: %s", got)
		}
		status, err := alice.ContactStatus(t.Context(), stranger)
		if err != nil || status.Reason != string(relay.CodeUnknownUser) {
			t.Errorf("%+v, %v", status, err)
		}
		alice.stop()
		rest(31 * 24 * time.Hour)
		alice.reopen().run()
		settle()
		if got := alice.state(sent.ID); got != client.StateFailed {
			t.Errorf("after 31 days: %s", got)
		}
	})
}

func TestCrossingRequestsAcceptEachOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice"), w.register("bob")
		alice.send(bob, "from Alice")
		bob.send(alice, "from Bob")
		alice.run()
		bob.run()
		settle()
		for _, pair := range [][2]*person{{alice, bob}, {bob, alice}} {
			if got := pair[0].contact(pair[1]).State; got != client.ContactAccepted {
				t.Errorf("%s is %s to %s", pair[1].name, got, pair[0].name)
			}
		}
		alice.send(bob, "Alice again")
		bob.send(alice, "Bob again")
		settle()
		for _, pair := range [][2]*person{{alice, bob}, {bob, alice}} {
			got := pair[0].conversation(pair[1])
			for _, text := range []string{"from Alice", "from Bob", "Alice again", "Bob again"} {
				if strings.Count(got+"\n", " "+text+"\n") != 1 {
					t.Errorf("%s does not see %q once in\n%s", pair[0].name, text, got)
				}
			}
			if strings.Contains(got, "undecryptable") || strings.Contains(got, "missing") {
				t.Errorf("%s sees\n%s", pair[0].name, got)
			}
		}
	})
}

func TestClientIDMakesARetryHarmless(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice"), w.register("bob")
		carol := w.register("carol")
		ctx := t.Context()
		first, err := alice.Send(ctx, bob.id, "hello", client.SendOptions{ClientID: "x"})
		if err != nil {
			t.Fatal(err)
		}
		again, err := alice.Send(ctx, bob.id, "hello", client.SendOptions{ClientID: "x"})
		if err != nil || again != first {
			t.Errorf("again: %+v, %v, want %+v", again, err, first)
		}
		_, err = alice.Send(ctx, bob.id, "other", client.SendOptions{ClientID: "x"})
		wantCode(t, "another text", err, client.CodeClientID)
		_, err = alice.Send(ctx, carol.id, "hello", client.SendOptions{ClientID: "x"})
		wantCode(t, "another chat", err, client.CodeClientID)
		_, err = alice.Contact(ctx, carol.id)
		wantCode(t, "the refused message left a contact", err, client.CodeNotFound)
		alice.sees(bob, "> request", "> hello")
	})
}

func TestSendRefuses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice"), w.register("bob")
		ctx := t.Context()
		for _, c := range []struct {
			who, text string
			opt       client.SendOptions
			code      client.Code
		}{
			{bob.id, "", client.SendOptions{}, client.CodeUsage},
			{bob.id, "\xff", client.SendOptions{}, client.CodeUsage},
			{bob.id, strings.Repeat("x", client.MaxText+1), client.SendOptions{}, client.CodeTooLarge},
			{bob.id, "x", client.SendOptions{ClientID: strings.Repeat("x", 201)}, client.CodeUsage},
			{"", "x", client.SendOptions{}, client.CodeUsage},
			{alice.id, "x", client.SendOptions{}, client.CodeSelf},
			{"alice", "x", client.SendOptions{}, client.CodeSelf},
			{"nobody_at_all", "x", client.SendOptions{}, client.CodeNotFound},
			{"No Such Name!", "x", client.SendOptions{}, client.CodeNotFound},
		} {
			_, err := alice.Send(ctx, c.who, c.text, c.opt)
			wantCode(t, fmt.Sprintf("%.20q to %q", c.text, c.who), err, c.code)
		}
		if _, err := alice.Send(ctx, "bob", strings.Repeat("語", client.MaxText/3), client.SendOptions{}); err != nil {
			t.Errorf("the largest text: %v", err)
		}
		w.relay.pipe.cut()
		_, err := alice.Send(ctx, "carol", "x", client.SendOptions{})
		wantCode(t, "a new name, offline", err, client.CodeUnreachable)
	})
}

// What the relay does to the stream of envelopes does not show, or shows as a gap.
func TestRelayThatDuplicatesReordersAndReplays(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := testrand.New(t)
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		h := bob.corrupt()
		bob.run()
		settle()
		// From here on the relay draws from r, and nobody else.
		var replies, pauses [60]bool
		for i := range replies {
			replies[i], pauses[i] = r.IntN(5) == 0, r.IntN(3) == 0
		}
		var old, held []relay.Incoming
		h.onPush(func(in relay.Incoming) []relay.Incoming {
			old = append(old, in)
			held = append(held, in)
			if len(held) < 1+r.IntN(4) {
				return nil
			}
			out := append(slices.Clone(held), held[r.IntN(len(held))], old[r.IntN(len(old))])
			held = nil
			r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
			return out
		})
		var want []string
		for i := range replies {
			text := fmt.Sprintf("text %d", i)
			alice.send(bob, text)
			want = append(want, "< "+text)
			if replies[i] {
				reply := fmt.Sprintf("reply %d", i)
				bob.send(alice, reply)
			}
			if pauses[i] {
				settle()
			}
		}
		h.onPush(func(in relay.Incoming) []relay.Incoming { return []relay.Incoming{in} })
		settle()
		bob.stop() // what was held back and not acknowledged comes again
		bob.reopen().run()
		settle()
		var got []string
		for line := range strings.SplitSeq(bob.conversation(alice), "\n") {
			if strings.HasPrefix(line, "< text") {
				got = append(got, line)
			}
			if strings.Contains(line, "missing") || strings.Contains(line, "undecryptable") {
				t.Errorf("bob sees %q", line)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("bob sees\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for line := range strings.SplitSeq(alice.conversation(bob), "\n") {
			if strings.Contains(line, "missing") || strings.Contains(line, "undecryptable") {
				t.Errorf("alice sees %q", line)
			}
		}
	})
}

func TestRelayThatDrops(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		if items, err := bob.TakeArrivals(t.Context(), 100); err != nil || len(items) == 0 {
			t.Fatalf("%d items, %v", len(items), err)
		}
		bob.stop()
		for i := range 5 {
			alice.send(bob, fmt.Sprintf("text %d", i))
		}
		settle()
		bob.reopen()
		h := bob.corrupt()
		n := 0
		var dropped relay.Incoming
		h.onPush(func(in relay.Incoming) []relay.Incoming {
			if n++; n == 3 {
				dropped = in
				return nil
			}
			return []relay.Incoming{in}
		})
		bob.run()
		settle()
		bob.sees(alice, "< request", "> accepted", "< text 0", "< text 1", "< missing 1", "< text 3", "< text 4")
		status, err := bob.ContactStatus(t.Context(), alice.id)
		if err != nil || status.Missing != 1 {
			t.Errorf("%+v, %v", status, err)
		}
		printed := arrivals(t, bob)
		want := []string{"text text 0", "text text 1", "missing 1", "text text 3", "text text 4"}
		if !slices.Equal(printed, want) {
			t.Errorf("printed %q, want %q", printed, want)
		}

		// It comes late, and takes its place.
		h.onPush(nil)
		h.inject(relay.AppendPush(nil, relay.Push{Envelopes: []relay.Incoming{dropped}, Drained: true}))
		settle()
		bob.sees(alice, "< request", "> accepted", "< text 0", "< text 1", "< text 2", "< text 3", "< text 4")
		if printed := arrivals(t, bob); !slices.Equal(printed, []string{"text text 2"}) {
			t.Errorf("printed %q", printed)
		}
		for _, item := range bob.log(alice) {
			if late := item.Text == "text 2"; item.Late != late {
				t.Errorf("%q: late is %v", item.Text, item.Late)
			}
		}
		if status, err := bob.ContactStatus(t.Context(), alice.id); err != nil || status.Missing != 0 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

// arrivals takes what recv would print.
func arrivals(t *testing.T, p *person) []string {
	t.Helper()
	items, err := p.TakeArrivals(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var printed []string
	for _, item := range items {
		line := string(item.Kind)
		switch item.Kind {
		case client.KindMissing:
			line += fmt.Sprintf(" %d", item.GapBefore)
		case client.KindText:
			line += " " + item.Text
		case client.KindRequest, client.KindAccepted, client.KindUndecryptable, client.KindKeyChange:
		}
		printed = append(printed, line)
	}
	return printed
}

// A gap is waited for: not shown while the mailbox has more, shown after 30 s
// even if it never ends.
func TestPatienceWithAGap(t *testing.T) {
	inWorld(t, func(_ *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		h := bob.corrupt()
		n := 0
		h.onPush(func(in relay.Incoming) []relay.Incoming {
			if n++; n == 1 {
				return nil
			}
			return []relay.Incoming{in}
		})
		h.neverDrained(true)
		bob.run()
		settle()
		alice.send(bob, "lost")
		alice.send(bob, "found")
		rest(29 * time.Second)
		bob.sees(alice, "< request", "> accepted")
		rest(3 * time.Second)
		bob.sees(alice, "< request", "> accepted", "< missing 1", "< found")
	})
}

// Both sides are stopped at random moments, with or without an end to what they
// were doing, and the connection breaks: everything arrives once, in order.
func TestRestartsAtRandom(t *testing.T) {
	for range 3 {
		inWorld(t, func(t *testing.T, w *world) {
			r := testrand.New(t)
			people := []*person{w.register("alice").run(), w.register("bob").run()}
			alice, bob := people[0], people[1]
			settle()
			befriend(alice, bob)
			var dice sync.Mutex
			w.relay.pipe.fragile(func() int {
				dice.Lock()
				defer dice.Unlock()
				return 100 + r.IntN(20_000)
			})
			want := map[*person][]string{}
			for i := range 40 {
				dice.Lock()
				from := people[r.IntN(2)]
				to := people[0]
				if from == to {
					to = people[1]
				}
				text := fmt.Sprintf("%s %d", from.name, i)
				from.send(to, text)
				want[to] = append(want[to], "< "+text)
				p, accident := people[r.IntN(2)], r.IntN(6)
				pause, outage := time.Duration(r.IntN(3000))*time.Microsecond, time.Duration(r.IntN(3))*time.Second
				dice.Unlock()
				time.Sleep(pause)
				switch accident {
				case 0:
					p.stop()
					p.reopen().run()
				case 1:
					w.relay.pipe.cut()
					time.Sleep(outage)
					w.relay.pipe.mend()
				case 2:
					w.relay.stop()
					w.relay.start()
				case 3:
					settle()
				}
			}
			w.relay.pipe.fragile(nil)
			w.relay.pipe.cut()
			w.relay.pipe.mend()
			rest(10 * time.Minute)
			for _, p := range people {
				other := people[0]
				if p == other {
					other = people[1]
				}
				var got []string
				for line := range strings.SplitSeq(p.conversation(other), "\n") {
					if strings.HasPrefix(line, "< "+other.name) {
						got = append(got, line)
					}
					if strings.Contains(line, "missing") || strings.Contains(line, "undecryptable") {
						t.Errorf("%s sees %q", p.name, line)
					}
				}
				if !slices.Equal(got, want[p]) {
					t.Errorf("%s sees\n%s\nwant\n%s", p.name, strings.Join(got, "\n"), strings.Join(want[p], "\n"))
				}
			}
		})
	}
}

// Flush sends without Run.
func TestFlush(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice"), w.register("bob")
		w.relay.pipe.cut()
		sent := alice.send(bob, "hello")
		wantCode(t, "offline", alice.Flush(t.Context()), client.CodeUnreachable)
		w.relay.pipe.mend()
		if err := alice.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := alice.state(sent.ID); got != client.StateSent {
			t.Errorf("flushed: %s", got)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := alice.Flush(ended); err == nil {
			t.Error("flushed without time")
		}
	})
}
