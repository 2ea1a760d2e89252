package client_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/chate2e/chate2e/internal/client"
)

// drain returns the events that are there.
func drain(events <-chan client.Event) (all []client.Event) {
	for {
		synctest.Wait()
		select {
		case e := <-events:
			all = append(all, e)
		default:
			return all
		}
	}
}

func TestEvents(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice"), w.register("bob")
		events, cancel := bob.Subscribe()
		bob.run()
		settle()
		alice.run()
		sent := alice.send(bob, "hello")
		settle()
		var got []string
		for _, e := range drain(events) {
			switch e.Kind {
			case client.EventItem:
				got = append(got, "item "+string(e.Item.Kind)+" "+e.Item.Text)
				if e.Item.Chat != alice.id || !e.Item.Request || e.Item.Arrival == 0 {
					t.Errorf("%+v", e.Item)
				}
			case client.EventContact:
				got = append(got, "contact "+string(e.Contact.State))
			case client.EventConnection:
				got = append(got, fmt.Sprintf("connected %v", e.Status.Connected))
			case client.EventProtocol:
				got = append(got, "protocol "+e.Protocol.Kind)
			case client.EventSettings, client.EventClosed, client.EventLagged:
				got = append(got, string(e.Kind))
			}
		}
		// How many envelopes are processed together is not fixed.
		slices.Sort(got)
		want := []string{
			"connected true", "contact incoming", "item request ", "item text hello",
			"protocol decrypted", "protocol decrypted", "protocol handshake",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}

		cancel()
		cancel()
		if _, more := <-events; more {
			t.Error("the channel is open after cancel")
		}
		mine, stop := alice.Subscribe()
		defer stop()
		bob.accept(alice)
		alice.send(bob, "again")
		settle()
		states := map[client.MessageState]bool{}
		for _, e := range drain(mine) {
			if e.Kind == client.EventItem && e.Item.Text == "again" {
				states[e.Item.State] = true
			}
			if e.Kind == client.EventItem && e.Item.ID == sent.ID {
				t.Errorf("an event about a message that has not changed: %+v", e.Item)
			}
		}
		if !states[client.StateQueued] || !states[client.StateSent] {
			t.Errorf("states %v", states)
		}
	})
}

func TestSlowSubscriber(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice"), w.register("bob")
		events, cancel := alice.Subscribe()
		defer cancel()
		for i := range 300 {
			alice.send(bob, fmt.Sprint(i))
		}
		all := drain(events)
		if n := len(all); n != 256 || all[n-1].Kind != client.EventLagged {
			t.Errorf("%d events, the last %s", n, all[n-1].Kind)
		}
		alice.send(bob, "more")
		all = drain(events)
		if len(all) != 1 || all[0].Kind != client.EventItem || all[0].Item.Text != "more" {
			t.Errorf("%+v", all)
		}
	})
}

func TestProtocolEvents(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		alice.send(bob, "hello")
		settle()
		ctx := t.Context()
		ours, err := alice.Protocol(ctx, bob.id, 0)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := bob.Protocol(ctx, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		a, b := ours[0], theirs[0]
		if a.Kind != "handshake" || b.Kind != "handshake" || a.Setup == nil || b.Setup == nil {
			t.Fatalf("%+v\n%+v", a, b)
		}
		if !a.Setup.Initiator || b.Setup.Initiator || a.Setup.Agreements != 4 || a.Setup.KEM != "ML-KEM-1024" || a.Setup.LastResort ||
			a.Setup.OurIdentity != b.Setup.TheirIdentity || a.Setup.TheirIdentity != b.Setup.OurIdentity || a.Session != b.Session ||
			a.Setup.BaseKey != b.Setup.BaseKey || a.Setup.SignedPreKey != b.Setup.SignedPreKey || a.Setup.KEMPreKey != b.Setup.KEMPreKey ||
			a.Setup.OneTimePreKey != b.Setup.OneTimePreKey || a.Contact != bob.id || b.Contact != alice.id {
			t.Errorf("%+v\n%+v", a.Setup, b.Setup)
		}
		items := alice.log(bob)
		last := ours[len(ours)-1]
		if last.Kind != "encrypted" || last.Item != items[len(items)-1].ID || last.Plain != 256 || last.ID == 0 {
			t.Errorf("%+v", last)
		}
		// The header, the post-quantum ratchet's message with a chunk, and the tag.
		if want := 256 + 59 + 37 + 16; last.Size != want {
			t.Errorf("%d bytes, want %d", last.Size, want)
		}
		if pq := last.PQ; pq == nil || pq.Payload != "header" || pq.Chunk != 2 || pq.Epoch != 1 || pq.Key != 3 || pq.Phase != "KeysSampled" {
			t.Errorf("%+v", last.PQ)
		}
		status, err := alice.ContactStatus(ctx, bob.id)
		if err != nil || !status.PQ || status.Epoch != 1 || status.CompletedAt != nil || status.RatchetSteps == 0 || status.Missing != 0 || status.Held != 0 {
			t.Errorf("%+v, %v", status, err)
		}
		// Every event of a real session has words for people.
		for _, e := range append(ours, theirs...) {
			if e.Title == "" || e.Suite != "chate2e/v1" || len(e.Steps) == 0 {
				t.Errorf("%+v", e)
			}
			for _, s := range e.Steps {
				if s.Kind == "" || s.Text == "" {
					t.Errorf("%+v in %s", s, e.Title)
				}
			}
		}
	})
}

// The inspector shows what the post-quantum ratchet does with every message, and
// when an epoch was completed.
func TestPostQuantumEvents(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		ctx := t.Context()
		status := func(a, b *person) client.ContactStatus {
			t.Helper()
			status, err := a.ContactStatus(ctx, b.id)
			if err != nil || status.PQRatchet == nil || status.PQRatchet.Epoch != status.Epoch {
				t.Fatalf("%+v, %v", status, err)
			}
			return status
		}
		for i := 0; status(alice, bob).Epoch < 2 || status(bob, alice).Epoch < 2; i++ {
			if i == 100 {
				t.Fatal("the first epoch does not end")
			}
			alice.send(bob, fmt.Sprint("ping ", i))
			settle()
			bob.send(alice, fmt.Sprint("pong ", i))
			settle()
		}
		if s := *status(alice, bob).PQRatchet; s.Completed == 0 || s.Sending == 0 || s.Phase == "" {
			t.Errorf("%+v", s)
		}
		for _, pair := range [][2]*person{{alice, bob}, {bob, alice}} {
			events, err := pair[0].Protocol(ctx, pair[1].id, 500)
			if err != nil {
				t.Fatal(err)
			}
			payloads := map[string]int{}
			var gathered, needed int
			for _, e := range events {
				if e.Kind == "handshake" {
					continue
				}
				if e.PQ == nil || e.Count.PQ == nil {
					t.Fatalf("%s: nothing about the post-quantum ratchet", e.Title)
				}
				if (e.PQ.Chunk >= 0) != (e.PQ.Payload != "none" && e.PQ.Payload != "ack") {
					t.Errorf("%+v", e.PQ)
				}
				if e.PQ.New {
					gathered++
				}
				needed = max(needed, e.Count.PQ.Needed)
				payloads[e.PQ.Payload]++
				kinds := map[string]int{}
				for _, s := range e.Steps {
					kinds[s.Kind]++
					if s.Kind == "" || s.Text == "" || s.Kind == "pq_key" && s.N != e.PQ.Key || s.Kind == "pq_chunk" && int(s.N) != max(e.PQ.Chunk, 0) {
						t.Errorf("%+v in %s", s, e.Title)
					}
				}
				want := map[string]int{"pq_key": 1}
				if e.PQ.Payload != "none" {
					want["pq_chunk"] = 1
				}
				if e.PQ.Completed > 0 {
					want["pq_epoch"] = 1
				}
				for _, kind := range []string{"pq_key", "pq_chunk", "pq_epoch"} {
					if kinds[kind] != want[kind] {
						t.Errorf("%s: %d steps %s, want %d", e.Title, kinds[kind], kind, want[kind])
					}
				}
				if at := status(pair[0], pair[1]).CompletedAt; e.PQ.Completed == status(pair[0], pair[1]).PQRatchet.Completed &&
					(at == nil || !at.Equal(e.At)) {
					t.Errorf("epoch %d was completed at %v, and the status says %v", e.PQ.Completed, e.At, at)
				}
			}
			for _, name := range []string{"header", "vector", "ciphertext_1", "ciphertext_2"} {
				if payloads[name] == 0 {
					t.Errorf("nothing carries a %s: %v", name, payloads)
				}
			}
			if payloads[""] > 0 || gathered < 30 || needed < 30 {
				t.Errorf("payloads %v, %d chunks gathered of %d", payloads, gathered, needed)
			}
		}
	})
}

func TestDraftsUnreadAndSearch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		alice.send(bob, "the quick brown fox")
		alice.send(bob, "敏捷的棕色狐狸")
		settle()
		if err := bob.SetDraft(ctx, "alice", "which fo"); err != nil {
			t.Fatal(err)
		}
		chats, err := bob.Chats(ctx)
		if err != nil || len(chats) != 1 || chats[0].Unread != 3 || chats[0].Draft != "which fo" || chats[0].DraftAt == nil ||
			chats[0].Last.Text != "敏捷的棕色狐狸" {
			t.Fatalf("%+v, %v", chats, err)
		}
		if err := bob.MarkRead(ctx, "alice", chats[0].Last.ID); err != nil {
			t.Fatal(err)
		}
		if err := bob.SetDraft(ctx, "alice", ""); err != nil {
			t.Fatal(err)
		}
		if chats, err = bob.Chats(ctx); err != nil || chats[0].Unread != 0 || chats[0].DraftAt != nil {
			t.Errorf("%+v, %v", chats, err)
		}
		for query, want := range map[string]int{"fox": 1, "狐": 1, "棕色": 1, "qui": 1, "cat": 0, "": 0} {
			found, err := bob.Search(ctx, query, 10)
			if err != nil || len(found) != want || want == 1 && found[0].Snippet == "" {
				t.Errorf("%q: %+v, %v", query, found, err)
			}
		}
		wantCode(t, "no message", bob.MarkRead(ctx, "alice", "x"), client.CodeUsage)
		_, err = bob.History(ctx, "alice", strings.Repeat("00", 16), 10)
		wantCode(t, "a message of nowhere", err, client.CodeNotFound)
		items := bob.log(alice)
		page, err := bob.History(ctx, "alice", items[len(items)-1].ID, 2)
		if err != nil || len(page) != 2 || page[1].ID != items[len(items)-2].ID {
			t.Errorf("%+v, %v", page, err)
		}
	})
}
