package vault_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/internal/vault"
)

// incoming is bob's message number seq.
func incoming(chat vault.ChatID, seq uint64) vault.Message {
	return vault.Message{Chat: chat, From: bob, Seq: seq, Kind: "text", Text: fmt.Sprintf("bob %d", seq), Unread: true}
}

func TestAddMessageOfOurOwn(t *testing.T) {
	db, chat := create(t)
	var first, second vault.Message
	update(t, db, func(tx *vault.Tx) (err error) {
		if first, err = tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "one", ClientID: "c1"}); err != nil {
			return err
		}
		if second, err = tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "two"}); err != nil {
			return err
		}
		again, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "one", ClientID: "c1"})
		if !errors.Is(err, vault.ErrDuplicate) || again.ID != first.ID {
			t.Errorf("the same client ID: message %v, error %v; want %v, ErrDuplicate", again.ID, err, first.ID)
		}
		if _, err = tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "uno", ClientID: "c1"}); !errors.Is(err, vault.ErrConflict) {
			t.Errorf("the same client ID with another text: %v, want ErrConflict", err)
		}
		if _, err = tx.AddMessage(vault.Message{Chat: chat + 1, Out: true, Kind: "text"}); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("an unknown chat: %v, want ErrNotFound", err)
		}
		return nil
	})
	if first.Seq != 1 || second.Seq != 2 || first.From != alice || first.State != vault.Queued {
		t.Errorf("stored as %+v and %+v", first, second)
	}
	db = reopen(t, db)
	view(t, db, func(tx *vault.Tx) error {
		page, err := tx.Newest(chat, 50)
		if diff := cmp.Diff([]vault.Message{first, second}, page); diff != "" {
			t.Errorf("after restart (-added +read):\n%s", diff)
		}
		return err
	})
}

func TestAddMessageRollsBack(t *testing.T) {
	db, chat := create(t)
	boom := errors.New("boom")
	for range 2 {
		err := db.Update(t.Context(), func(tx *vault.Tx) error {
			m, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "x"})
			if err == nil && m.Seq != 1 {
				t.Errorf("number %d, want 1: a number was used up by a transaction that failed", m.Seq)
			}
			return errors.Join(err, boom)
		})
		if !errors.Is(err, boom) {
			t.Errorf("Update returned %v, want boom", err)
		}
	}
}

func TestHoles(t *testing.T) {
	db, chat := create(t)
	add := func(seq uint64) (news []vault.Message) {
		t.Helper()
		update(t, db, func(tx *vault.Tx) error {
			_, err := tx.AddMessage(incoming(chat, seq))
			if err != nil {
				return err
			}
			news, err = tx.News()
			return err
		})
		return news
	}
	check := func(step string, got []vault.Message, want ...string) {
		t.Helper()
		if diff := cmp.Diff(append([]string{}, want...), texts(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	screen := func() (page []vault.Message) {
		view(t, db, func(tx *vault.Tx) (err error) { page, err = tx.Newest(chat, 50); return err })
		return page
	}

	check("1", add(1), "bob 1")
	check("4 waits for 2 and 3", add(4))
	check("6 waits for 5", add(6))
	check("only 1 is visible", screen(), "bob 1")
	check("3 waits for 2", add(3))
	check("2 releases 3 and 4", add(2), "bob 2", "bob 3", "bob 4")

	var news []vault.Message
	update(t, db, func(tx *vault.Tx) error {
		if _, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "alice"}); err != nil {
			return err
		}
		since, ok, err := tx.OldestHole()
		if err != nil || !ok {
			t.Errorf("OldestHole: %v, %v; want the hole at 5", ok, err)
		}
		if err := tx.ShowMissing(since.Add(-time.Millisecond)); err != nil {
			return err
		}
		if err := tx.ShowMissing(since); err != nil {
			return err
		}
		news, err = tx.News()
		return err
	})
	check("declared", news, "alice", "bob 6")
	if news[1].GapBefore != 1 || news[1].Late {
		t.Errorf("6 has gap %d, late %v; want 1, false", news[1].GapBefore, news[1].Late)
	}
	late := add(5)
	check("5 comes late", late, "bob 5")
	if !late[0].Late {
		t.Error("5 is not marked late")
	}
	page := screen()
	check("the screen", page, "bob 1", "bob 2", "bob 3", "bob 4", "bob 5", "bob 6", "alice")
	for _, m := range page {
		if m.GapBefore != 0 {
			t.Errorf("%s still has a gap of %d before it", m.Text, m.GapBefore)
		}
	}
	view(t, db, func(tx *vault.Tx) error {
		if _, ok, err := tx.OldestHole(); err != nil || ok {
			t.Errorf("OldestHole: %v, %v; want none", ok, err)
		}
		n, err := tx.Missing(chat)
		if n != 0 {
			t.Errorf("%d missing, want 0", n)
		}
		return err
	})
}

// TestGapSplits checks what is left of a shown gap when its middle arrives.
func TestGapSplits(t *testing.T) {
	db, chat := create(t)
	update(t, db, func(tx *vault.Tx) error {
		if _, err := tx.AddMessage(incoming(chat, 10)); err != nil {
			return err
		}
		if err := tx.ShowMissing(tx.Now); err != nil {
			return err
		}
		m, err := tx.AddMessage(incoming(chat, 4))
		if err != nil {
			return err
		}
		if m.GapBefore != 3 || !m.Late {
			t.Errorf("4 has gap %d, late %v; want 3, true", m.GapBefore, m.Late)
		}
		page, err := tx.Newest(chat, 9)
		if err != nil {
			return err
		}
		if diff := cmp.Diff([]string{"bob 4", "bob 10"}, texts(page)); diff != "" || page[1].GapBefore != 5 {
			t.Errorf("gap before 10 is %d, want 5; order (-want +got):\n%s", page[1].GapBefore, diff)
		}
		n, err := tx.Missing(chat)
		if n != 8 {
			t.Errorf("%d missing, want 8", n)
		}
		return err
	})
}

func TestHostileNumbers(t *testing.T) {
	db, chat := create(t)
	update(t, db, func(tx *vault.Tx) error {
		for _, seq := range []uint64{1, vault.MaxSeq} {
			if _, err := tx.AddMessage(incoming(chat, seq)); err != nil {
				t.Fatalf("number %d: %v", seq, err)
			}
		}
		for _, seq := range []uint64{1, vault.MaxSeq, vault.MaxSeq + 1, 1 << 63, ^uint64(0)} {
			if _, err := tx.AddMessage(incoming(chat, seq)); !errors.Is(err, vault.ErrConflict) {
				t.Errorf("number %d again or beyond: %v, want ErrConflict", seq, err)
			}
		}
		if err := tx.ShowMissing(tx.Now); err != nil {
			return err
		}
		page, err := tx.Newest(chat, 9)
		if len(page) != 2 || page[1].GapBefore != vault.MaxSeq-2 {
			t.Errorf("the page is %+v", page)
		}
		return err
	})
}

func TestDuplicates(t *testing.T) {
	db, chat := create(t)
	m := incoming(chat, 1)
	m.ID = vault.NewMessageID()
	receipt := vault.NewMessageID()
	update(t, db, func(tx *vault.Tx) error {
		first, err := tx.AddMessage(m)
		if err != nil {
			return err
		}
		if _, err := tx.AddMessage(incoming(chat, 3)); err != nil {
			return err
		}
		again := m
		again.Seq = 2 // a hostile copy must not fill the hole
		got, err := tx.AddMessage(again)
		if !errors.Is(err, vault.ErrDuplicate) {
			t.Errorf("the same ID: %v, want ErrDuplicate", err)
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Errorf("the message returned with ErrDuplicate (-stored +got):\n%s", diff)
		}
		if n, err := tx.Missing(chat); err != nil || n != 1 {
			t.Errorf("%d missing, %v; want 1: the duplicate has changed something", n, err)
		}
		return tx.MarkSeenMessage(receipt)
	})
	update(t, db, func(tx *vault.Tx) error {
		if n, err := tx.DeleteMessages(m.ID); n != 1 || err != nil {
			t.Errorf("deleted %d, %v; want 1", n, err)
		}
		return nil
	})
	update(t, db, func(tx *vault.Tx) error {
		for _, id := range []vault.MessageID{m.ID, receipt} {
			again := incoming(chat, 2)
			again.ID = id
			if got, err := tx.AddMessage(again); !errors.Is(err, vault.ErrDuplicate) || !got.ID.IsZero() {
				t.Errorf("an ID that was seen and has no row: %+v, %v; want ErrDuplicate alone", got, err)
			}
		}
		return nil
	})
}

// TestOrderProperty lets two devices of the other side and this one write at the
// same time, over a network that reorders, repeats and loses, and checks after
// every step what the screen shows: one device's messages in the order of their
// numbers, every hole marked by its size, nothing twice, nothing moved.
func TestOrderProperty(t *testing.T) {
	t.Parallel()
	db, chat := create(t)
	rapid.Check(t, func(t *rapid.T) {
		// One vault serves all runs: every run has a conversation of its own.
		var peer string
		if err := db.Update(t.Context(), func(tx *vault.Tx) error {
			contacts, err := tx.Contacts()
			if err != nil {
				return err
			}
			peer = user(fmt.Sprintf("run%08dx", len(contacts)))
			c, err := tx.PutContact(vault.Contact{User: peer, State: vault.Accepted})
			chat = c.Chat
			return err
		}); err != nil {
			t.Fatal(err)
		}
		senders := []vault.Address{{User: peer, Device: 1}, {User: peer, Device: 2}, alice}
		arrived := map[vault.Address]map[uint64]vault.MessageID{}
		for _, s := range senders {
			arrived[s] = map[uint64]vault.MessageID{}
		}
		var before []vault.Message // the screen one step ago
		var shown []vault.Message  // everything that ever was news

		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				step(t, db, chat, &shown, func(tx *vault.Tx) error {
					m, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "out"})
					if want := uint64(len(arrived[alice]) + 1); m.Seq != want {
						t.Fatalf("our number is %d, want %d", m.Seq, want)
					}
					arrived[alice][m.Seq] = m.ID
					return err
				})
			},
			"receive": func(t *rapid.T) {
				from := senders[rapid.IntRange(0, 1).Draw(t, "from")]
				seq := rapid.Uint64Range(1, 12).Draw(t, "seq")
				id, known := arrived[from][seq]
				if !known {
					id = vault.NewMessageID()
				}
				step(t, db, chat, &shown, func(tx *vault.Tx) error {
					_, err := tx.AddMessage(vault.Message{ID: id, Chat: chat, From: from, Seq: seq, Kind: "text", Text: "in"})
					if known != errors.Is(err, vault.ErrDuplicate) {
						t.Fatalf("known %v, but the error is %v", known, err)
					}
					if known {
						return nil
					}
					arrived[from][seq] = id
					return err
				})
			},
			"give up waiting": func(t *rapid.T) {
				step(t, db, chat, &shown, func(tx *vault.Tx) error { return tx.ShowMissing(tx.Now) })
			},
			"": func(t *rapid.T) {
				var screen []vault.Message
				if err := db.View(t.Context(), func(tx *vault.Tx) (err error) {
					screen, err = tx.Newest(chat, 1000)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				// Nothing twice, and the screen holds exactly what was news.
				ids := func(ms []vault.Message) (all []string) {
					for _, m := range ms {
						all = append(all, m.ID.String())
					}
					return all
				}
				onScreen, asNews := ids(screen), ids(shown)
				slices.Sort(asNews)
				sorted := slices.Sorted(slices.Values(onScreen))
				if diff := cmp.Diff(asNews, sorted); diff != "" {
					t.Fatalf("news and screen differ (-news +screen):\n%s", diff)
				}
				// Nothing moved.
				i := 0
				for _, id := range onScreen {
					if i < len(before) && before[i].ID.String() == id {
						i++
					}
				}
				if i != len(before) {
					t.Fatalf("items have changed their order: %v before, %v now", ids(before), onScreen)
				}
				before = screen
				// Order and holes, per device.
				for _, s := range senders {
					last := uint64(0)
					for _, m := range screen {
						if m.From != s {
							continue
						}
						if m.Seq <= last {
							t.Fatalf("number %d stands after %d", m.Seq, last)
						}
						if m.GapBefore != m.Seq-last-1 {
							t.Fatalf("before number %d, %d are missing and %d are shown as missing", m.Seq, m.Seq-last-1, m.GapBefore)
						}
						last = m.Seq
					}
					// What waits, waits for a reason.
					if waiting := countAbove(arrived[s], last); waiting > 0 {
						if _, ok := arrived[s][last+1]; ok {
							t.Fatalf("number %d has arrived and is not shown", last+1)
						}
					}
				}
			},
		})
	})
}

func countAbove(set map[uint64]vault.MessageID, limit uint64) (n int) {
	for seq := range set {
		if seq > limit {
			n++
		}
	}
	return n
}

func step(t *rapid.T, db *vault.DB, chat vault.ChatID, shown *[]vault.Message, change func(*vault.Tx) error) {
	var news []vault.Message
	if err := db.Update(t.Context(), func(tx *vault.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		var err error
		news, err = tx.News()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, m := range news {
		if m.Chat == chat { // giving up waiting concerns those of earlier runs, too
			*shown = append(*shown, m)
		}
	}
}

// TestCountersOutliveTheContact: whoever is removed and added again goes on with
// the numbers, in both directions.
func TestCountersOutliveTheContact(t *testing.T) {
	db, chat := create(t)
	update(t, db, func(tx *vault.Tx) error {
		for range 3 {
			if _, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "x"}); err != nil {
				return err
			}
		}
		if _, err := tx.AddMessage(incoming(chat, 1)); err != nil {
			return err
		}
		return tx.DeleteContact(bob.User)
	})
	update(t, db, func(tx *vault.Tx) error {
		c, err := tx.PutContact(vault.Contact{User: bob.User, State: vault.Requested})
		if err != nil {
			return err
		}
		m, err := tx.AddMessage(vault.Message{Chat: c.Chat, Out: true, Kind: "text", Text: "y"})
		if err != nil {
			return err
		}
		if m.Seq != 4 {
			t.Errorf("our next number is %d, want 4", m.Seq)
		}
		in, err := tx.AddMessage(incoming(c.Chat, 2))
		if in.Arrival == 0 || in.GapBefore != 0 {
			t.Errorf("bob's next message: arrival %d, gap %d; want visible without gap", in.Arrival, in.GapBefore)
		}
		return err
	})
}
