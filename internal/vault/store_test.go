package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/vault"
)

func TestOwn(t *testing.T) {
	db, err := vault.Create(t.Context(), t.TempDir()+"/p", password, fast)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	own := vault.Own{
		User: alice.User, Username: "alice", DisplayName: "Alice", Relay: "https://relay.example", Device: 1,
		AccountKey: []byte{1}, SealedAccount: []byte{2}, Identity: secret.NewBox([]byte("key pair")),
	}
	update(t, db, func(tx *vault.Tx) error {
		if _, err := tx.Own(); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("before PutOwn: %v, want ErrNotFound", err)
		}
		if err := tx.PutOwn(own); err != nil {
			return err
		}
		own.RegisteredAt = tx.Now
		return tx.PutOwn(own)
	})
	view(t, db, func(tx *vault.Tx) error {
		got, err := tx.Own()
		if err != nil {
			return err
		}
		if !bytes.Equal(*got.Identity.Reveal(), []byte("key pair")) {
			t.Error("the identity key pair is another one")
		}
		if s := fmt.Sprintf("%v %+v %#v", got, got, got); bytes.Contains([]byte(s), []byte("key pair")) {
			t.Errorf("an Own prints its key: %s", s)
		}
		got.Identity, own.Identity = secret.Box[[]byte]{}, secret.Box[[]byte]{}
		if diff := cmp.Diff(fmt.Sprintf("%+v", own), fmt.Sprintf("%+v", got)); diff != "" {
			t.Errorf("(-stored +read):\n%s", diff)
		}
		return nil
	})
}

func TestPreKeys(t *testing.T) {
	db, _ := create(t)
	start := time.Now().UTC().Truncate(time.Millisecond)
	key := func(kind vault.PreKeyKind, id uint64, created time.Duration) vault.PreKey {
		return vault.PreKey{
			PreKeyRef: vault.PreKeyRef{Kind: kind, ID: id}, CreatedAt: start.Add(created),
			Record: secret.NewBox(fmt.Appendf(nil, "record %d %d", kind, id)),
		}
	}
	refs := func(keys []vault.PreKey) (all []vault.PreKeyRef) {
		for _, k := range keys {
			if want := fmt.Sprintf("record %d %d", k.Kind, k.ID); string(*k.Record.Reveal()) != want {
				t.Errorf("the record is %q, want %q", *k.Record.Reveal(), want)
			}
			all = append(all, k.PreKeyRef)
		}
		return all
	}
	ref := func(kind vault.PreKeyKind, id uint64) vault.PreKeyRef { return vault.PreKeyRef{Kind: kind, ID: id} }
	update(t, db, func(tx *vault.Tx) error {
		old, last := key(vault.SignedPreKey, 1, 0), key(vault.KEMLastResort, 9, 0)
		old.EraseAt, last.EraseAt = tx.Now, tx.Now.Add(time.Hour)
		return tx.PutPreKeys(old, key(vault.SignedPreKey, 2, time.Second), last,
			key(vault.OneTimePreKey, 5, 0), key(vault.OneTimePreKey, 1<<63-1, 0), key(vault.KEMOneTimePreKey, 5, 0))
	})
	update(t, db, func(tx *vault.Tx) error {
		got, err := tx.PreKeys(ref(vault.SignedPreKey, 2), ref(vault.OneTimePreKey, 7), ref(vault.OneTimePreKey, 1<<63-1))
		if err != nil {
			return err
		}
		if diff := cmp.Diff([]vault.PreKeyRef{ref(vault.SignedPreKey, 2), ref(vault.OneTimePreKey, 1<<63-1)}, refs(got)); diff != "" {
			t.Errorf("PreKeys (-want +got):\n%s", diff)
		}
		newest, err := tx.NewestPreKey(vault.SignedPreKey)
		if err != nil || newest.ID != 2 {
			t.Errorf("the newest signed prekey is %d, %v", newest.ID, err)
		}
		unpublished, err := tx.UnpublishedPreKeys()
		if err != nil || len(unpublished) != 6 {
			t.Errorf("%d unpublished, %v; want 6", len(unpublished), err)
		}
		if err := tx.MarkPublished(refs(unpublished[:5])...); err != nil {
			return err
		}
		if unpublished, err = tx.UnpublishedPreKeys(); err != nil || len(unpublished) != 1 {
			t.Errorf("%d unpublished, %v; want 1", len(unpublished), err)
		}
		if err := tx.DeletePreKeys(ref(vault.OneTimePreKey, 5), ref(vault.OneTimePreKey, 77)); err != nil {
			return err
		}
		if n, err := tx.CountPreKeys(vault.OneTimePreKey); err != nil || n != 1 {
			t.Errorf("%d one-time prekeys, %v; want 1", n, err)
		}
		if n, err := tx.CountPreKeys(vault.KEMOneTimePreKey); err != nil || n != 1 {
			t.Errorf("%d KEM one-time prekeys, %v; want 1", n, err)
		}

		// The last-resort prekey's memory.
		if err := tx.NoteLastResort(9, []byte("base key")); err != nil {
			return err
		}
		if err := tx.NoteLastResort(9, []byte("base key")); !errors.Is(err, vault.ErrDuplicate) {
			t.Errorf("the same base key: %v, want ErrDuplicate", err)
		}
		if err := tx.NoteLastResort(9, []byte("another")); err != nil {
			return err
		}
		if err := tx.NoteLastResort(8, []byte("base key")); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("an unknown prekey: %v, want ErrNotFound", err)
		}

		if err := tx.Prune(); err != nil {
			return err
		}
		got, err = tx.PreKeys(ref(vault.SignedPreKey, 1), ref(vault.KEMLastResort, 9))
		if diff := cmp.Diff([]vault.PreKeyRef{ref(vault.KEMLastResort, 9)}, refs(got)); diff != "" {
			t.Errorf("after Prune (-want +got):\n%s", diff)
		}
		if err != nil {
			return err
		}
		if err := tx.DeletePreKeys(ref(vault.KEMLastResort, 9)); err != nil {
			return err
		}
		if err := tx.NoteLastResort(9, []byte("base key")); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("a deleted prekey: %v, want ErrNotFound", err)
		}
		return nil
	})
	if err := db.Update(t.Context(), func(tx *vault.Tx) error { return tx.PutPreKeys(key(vault.SignedPreKey, 2, 0)) }); err == nil {
		t.Error("a prekey was replaced")
	}
}

func TestDeviceLists(t *testing.T) {
	db, chat := create(t)
	device := func(user string, n uint32) vault.Device {
		return vault.Device{Address: vault.Address{User: user, Device: n}, Identity: fmt.Append(nil, user, n), AddedAt: time.UnixMilli(int64(n)).UTC()}
	}
	put := func(tx *vault.Tx, user string, version uint64, hash byte, devices ...uint32) error {
		l := vault.DeviceList{User: user, Version: version, Hash: [32]byte{hash}, Signed: []byte{hash}}
		for _, n := range devices {
			l.Devices = append(l.Devices, device(user, n))
		}
		return tx.PutDeviceList(l)
	}
	update(t, db, func(tx *vault.Tx) error {
		if _, err := tx.DeviceList(bob.User); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("no list: %v, want ErrNotFound", err)
		}
		return errors.Join(put(tx, bob.User, 3, 3, 1, 2), put(tx, alice.User, 1, 1, 1, 2), put(tx, user("carol"), 1, 1, 1))
	})
	update(t, db, func(tx *vault.Tx) error {
		for _, d := range []uint32{1, 2} {
			if err := tx.PutRecord(vault.Address{User: bob.User, Device: d}, fmt.Append(nil, "record ", d)); err != nil {
				return err
			}
		}
		_, job, err := send(tx, chat, bob.User, "x")
		if err != nil {
			return err
		}
		for _, d := range []uint32{1, 2} {
			if _, err := tx.PutSealed(job, vault.Address{User: bob.User, Device: d}, []byte("c")); err != nil {
				return err
			}
		}
		// Bob's devices and alice's other one.
		got, err := tx.Devices(chat)
		if diff := cmp.Diff([]vault.Device{device(alice.User, 2), device(bob.User, 1), device(bob.User, 2)}, got); diff != "" {
			t.Errorf("devices (-want +got):\n%s", diff)
		}
		if err != nil {
			return err
		}
		for name, test := range map[string]struct {
			version uint64
			hash    byte
			want    error
		}{
			"an older list":  {2, 2, vault.ErrConflict},
			"a fork":         {3, 4, vault.ErrConflict},
			"the same list":  {3, 3, nil},
			"no version":     {0, 9, vault.ErrConflict},
			"a huge version": {1 << 63, 9, vault.ErrConflict},
		} {
			if err := put(tx, bob.User, test.version, test.hash, 9); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
		}
		for _, devices := range [][]uint32{{0}, {1, 2, 1}} {
			if err := put(tx, bob.User, 4, 4, devices...); !errors.Is(err, vault.ErrConflict) {
				t.Errorf("a list of the devices %v: %v, want ErrConflict", devices, err)
			}
		}
		for _, test := range []struct {
			of   vault.Address
			key  []byte
			want error
		}{
			{bob, device(bob.User, 1).Identity, nil},
			{bob, device(bob.User, 2).Identity, vault.ErrConflict},
			{bob, nil, vault.ErrConflict},
			{vault.Address{User: bob.User, Device: 3}, device(bob.User, 1).Identity, vault.ErrNotFound},
		} {
			if err := tx.CheckIdentity(test.of, test.key); !errors.Is(err, test.want) {
				t.Errorf("identity of %v: %v, want %v", test.of, err, test.want)
			}
		}

		// Device 2 goes, with its session and what waits for it.
		if err := put(tx, bob.User, 5, 5, 1, 3); err != nil {
			return err
		}
		l, err := tx.DeviceList(bob.User)
		if err != nil || l.Version != 5 || len(l.Devices) != 2 || l.Hash != [32]byte{5} || !bytes.Equal(l.Signed, []byte{5}) {
			t.Errorf("the newest list is %+v, %v", l, err)
		}
		old, err := tx.DeviceListVersion(bob.User, 3)
		if err != nil || old.Hash != [32]byte{3} {
			t.Errorf("the older list is %+v, %v", old, err)
		}
		for d, want := range []string{1: "record 1", 2: ""} {
			if d == 0 {
				continue
			}
			if r, err := tx.Record(vault.Address{User: bob.User, Device: uint32(d)}); err != nil || string(r) != want {
				t.Errorf("device %d has the record %q, %v; want %q", d, r, err, want)
			}
		}
		sealed, err := tx.Sealed(job)
		if len(sealed) != 1 || sealed[0].To != bob {
			t.Errorf("sealed are %+v", sealed)
		}
		if err != nil {
			return err
		}
		if err := tx.DeleteRecord(bob); err != nil {
			return err
		}
		r, err := tx.Record(bob)
		if r != nil {
			t.Errorf("the deleted record is %q", r)
		}
		return err
	})
}

func TestContactsAndChats(t *testing.T) {
	db, bobChat := create(t)
	carol := vault.Contact{
		User: user("carol"), AccountKey: []byte{9}, Username: "carol", DisplayName: "Carol", Relay: "https://other.example",
		State: vault.Incoming, ByUsername: true, Verified: true, NewUser: user("caro"),
		TopicOut: vault.Topic{ID: []byte{1}, Key: []byte{2}}, TopicIn: vault.Topic{ID: []byte{3}, Key: []byte{4}},
		LastSeen: time.UnixMilli(1234).UTC(), AddedAt: time.UnixMilli(999).UTC(),
	}
	update(t, db, func(tx *vault.Tx) error {
		stored, err := tx.PutContact(carol)
		if err != nil {
			return err
		}
		carol.Chat = stored.Chat
		got, err := tx.Contact(carol.User)
		if diff := cmp.Diff(carol, got); diff != "" || err != nil {
			t.Errorf("(-stored +read):\n%s, %v", diff, err)
		}
		carol.State, carol.NewUser, carol.TopicIn = vault.Blocked, "", vault.Topic{}
		if stored, err = tx.PutContact(carol); err != nil || stored.Chat != carol.Chat {
			t.Errorf("changed, the contact has chat %d, %v; want %d", stored.Chat, err, carol.Chat)
		}
		of, err := tx.ContactOf(carol.Chat)
		if diff := cmp.Diff(carol, of); diff != "" || err != nil {
			t.Errorf("(-changed +read):\n%s, %v", diff, err)
		}
		if n, err := tx.CountContacts(vault.Blocked); err != nil || n != 1 {
			t.Errorf("%d blocked, %v; want 1", n, err)
		}
		if _, err := tx.Chat(carol.Chat + 1); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("an unknown chat: %v, want ErrNotFound", err)
		}
		if err := tx.SetDraft(carol.Chat+1, "x"); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("a draft in an unknown chat: %v, want ErrNotFound", err)
		}
		return tx.SetDraft(bobChat, "draft 草稿")
	})
	order := func() (ids []vault.ChatID, chats []vault.Chat) {
		view(t, db, func(tx *vault.Tx) (err error) { chats, err = tx.Chats(); return err })
		for _, c := range chats {
			ids = append(ids, c.ID)
		}
		return ids, chats
	}
	if ids, _ := order(); !slices.Equal(ids, []vault.ChatID{bobChat, carol.Chat}) {
		t.Errorf("empty chats stand as %v", ids)
	}
	update(t, db, func(tx *vault.Tx) error {
		for i := range 3 {
			if _, err := tx.AddMessage(incoming(bobChat, uint64(i+1))); err != nil {
				return err
			}
		}
		_, err := tx.AddMessage(incoming(bobChat, 5)) // waits
		return err
	})
	ids, chats := order()
	if !slices.Equal(ids, []vault.ChatID{bobChat, carol.Chat}) || chats[0].Unread != 3 || chats[0].Last.Text != "bob 3" || chats[0].Draft != "draft 草稿" || chats[0].DraftAt.IsZero() {
		t.Errorf("chats are %+v", chats)
	}
	addTexts(t, db, carol.Chat, "hi")
	if ids, chats = order(); !slices.Equal(ids, []vault.ChatID{carol.Chat, bobChat}) || chats[0].Last.Text != "hi" || chats[0].Unread != 0 {
		t.Errorf("chats are %+v", chats)
	}
	update(t, db, func(tx *vault.Tx) error { return tx.SetDraft(bobChat, "") })
	view(t, db, func(tx *vault.Tx) error {
		c, err := tx.Chat(bobChat)
		if c.Draft != "" || !c.DraftAt.IsZero() {
			t.Errorf("the draft stays: %+v", c)
		}
		return err
	})
	update(t, db, func(tx *vault.Tx) error { return tx.DeleteContact(carol.User) })
	update(t, db, func(tx *vault.Tx) error {
		if err := tx.DeleteContact(carol.User); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("deleting twice: %v, want ErrNotFound", err)
		}
		all, err := tx.Contacts()
		if len(all) != 1 || all[0].User != bob.User {
			t.Errorf("contacts are %+v", all)
		}
		return err
	})
}

func TestPagesAndUnread(t *testing.T) {
	db, chat := create(t)
	for i := range 100 { // a hundred items, every tenth our own
		if i%10 == 9 {
			addTexts(t, db, chat, fmt.Sprint("item ", i))
			continue
		}
		update(t, db, func(tx *vault.Tx) error {
			m := incoming(chat, uint64(i-i/10+1))
			m.Text = fmt.Sprint("item ", i)
			_, err := tx.AddMessage(m)
			return err
		})
	}
	items := func(from, to int) (want []string) {
		for i := from; i < to; i++ {
			want = append(want, fmt.Sprint("item ", i))
		}
		return want
	}
	check := func(what string, want []string, page []vault.Message, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, texts(page)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	update(t, db, func(tx *vault.Tx) error {
		newest, err := tx.Newest(chat, 50)
		check("newest", items(50, 100), newest, err)
		page, err := tx.Before(chat, newest[0].ID, 30)
		check("before", items(20, 50), page, err)
		page, err = tx.Before(chat, page[0].ID, 30)
		check("before the rest", items(0, 20), page, err)
		first := page[0]
		page, err = tx.Before(chat, first.ID, 30)
		check("before all", []string{}, page, err)
		page, err = tx.After(chat, first.ID, 3)
		check("after", items(1, 4), page, err)
		page, err = tx.After(chat, newest[49].ID, 3)
		check("after all", []string{}, page, err)
		page, err = tx.Around(chat, newest[10].ID, 12)
		check("around", items(56, 68), page, err)
		page, err = tx.Around(chat, first.ID, 5)
		check("around the first", items(0, 5), page, err)
		if _, err := tx.Before(chat+1, first.ID, 5); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("an item of another chat: %v, want ErrNotFound", err)
		}

		unread, err := tx.FirstUnread(chat)
		if unread != first.ID || err != nil {
			t.Errorf("the first unread is %v, %v", unread, err)
		}
		read, err := tx.MarkRead(chat, newest[5].ID)
		if len(read) != 51 || err != nil { // 0 to 55 but five of our own
			t.Errorf("%d were marked read, %v; want 51", len(read), err)
		}
		if read, err = tx.MarkRead(chat, newest[5].ID); len(read) != 0 || err != nil {
			t.Errorf("%d were marked read again, %v", len(read), err)
		}
		if read, err = tx.MarkRead(chat, vault.NewMessageID()); len(read) != 0 || err != nil {
			t.Errorf("%d were marked read up to nothing, %v", len(read), err)
		}
		unread, err = tx.FirstUnread(chat)
		if unread != newest[6].ID || err != nil {
			t.Errorf("the first unread is %v, %v; want %v", unread, err, newest[6].ID)
		}
		if _, err := tx.MarkRead(chat, newest[49].ID); err != nil {
			return err
		}
		if _, err := tx.FirstUnread(chat); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("the first unread of none: %v, want ErrNotFound", err)
		}
		return nil
	})
}

// TestRecvCursor: every incoming item is printed once, in the order in which it
// became visible, across restarts and deletions.
func TestRecvCursor(t *testing.T) {
	db, chat := create(t)
	var printed []string
	recv := func() {
		t.Helper()
		update(t, db, func(tx *vault.Tx) error {
			for {
				page, err := tx.Arrivals(2)
				if err != nil || len(page) == 0 {
					return err
				}
				printed = append(printed, texts(page)...)
				if err := tx.SetRecvCursor(page[len(page)-1].Arrival); err != nil {
					return err
				}
			}
		})
	}
	add := func(seqs ...uint64) {
		update(t, db, func(tx *vault.Tx) error {
			for _, seq := range seqs {
				if _, err := tx.AddMessage(incoming(chat, seq)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	add(1, 2, 5, 6)
	addTexts(t, db, chat, "our own")
	recv()
	add(4)
	recv()
	db = reopen(t, db)
	add(3)
	recv()
	add(7, 9)
	update(t, db, func(tx *vault.Tx) error { return tx.ShowMissing(tx.Now) })
	recv()
	recv()
	// The newest item is deleted unread: the next one must not take its number.
	update(t, db, func(tx *vault.Tx) error {
		m, err := tx.AddMessage(incoming(chat, 10))
		if err != nil {
			return err
		}
		if err := tx.SetRecvCursor(m.Arrival); err != nil {
			return err
		}
		if err := tx.SetRecvCursor(1); err != nil { // never goes back
			return err
		}
		_, err = tx.DeleteMessages(m.ID)
		return err
	})
	add(8, 11)
	recv()
	want := []string{"bob 1", "bob 2", "bob 3", "bob 4", "bob 5", "bob 6", "bob 7", "bob 9", "bob 8", "bob 11"}
	if diff := cmp.Diff(want, printed); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

func TestSeenAndUndecryptable(t *testing.T) {
	db, _ := create(t)
	update(t, db, func(tx *vault.Tx) error {
		if seen, err := tx.Seen([]byte("a")); err != nil || seen {
			t.Errorf("seen before: %v, %v", seen, err)
		}
		return errors.Join(tx.MarkSeen([]byte("a")), tx.MarkSeen([]byte("a")))
	})
	view(t, db, func(tx *vault.Tx) error {
		a, err := tx.Seen([]byte("a"))
		if err != nil {
			return err
		}
		b, err := tx.Seen([]byte("b"))
		if !a || b {
			t.Errorf("seen: a %v, b %v; want true, false", a, b)
		}
		return err
	})

	update(t, db, func(tx *vault.Tx) error {
		for i := range vault.MaxUndecryptable + 3 {
			if err := tx.KeepUndecryptable(bob, fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		kept, err := tx.Undecryptable(bob.User)
		if err != nil {
			return err
		}
		if len(kept) != vault.MaxUndecryptable || string(kept[0].Envelope) != "3" || kept[0].From != bob || !kept[0].ReceivedAt.Equal(tx.Now) {
			t.Errorf("%d kept, the first %+v", len(kept), kept[0])
		}
		if err := tx.DeleteUndecryptable(kept[0].ID); err != nil {
			return err
		}
		// A thousand made-up senders do not fill the disk.
		for i := range 2 * vault.MaxUndecryptableTotal {
			if err := tx.KeepUndecryptable(vault.Address{User: fmt.Sprint("made up ", i), Device: 1}, []byte{1}); err != nil {
				return err
			}
		}
		var n int
		if err := tx.Scan(`SELECT count(*) FROM undecryptable`, nil, &n); err != nil {
			return err
		}
		if n != vault.MaxUndecryptableTotal {
			t.Errorf("%d are kept in all, want %d", n, vault.MaxUndecryptableTotal)
		}
		return nil
	})
}

func TestEvents(t *testing.T) {
	db, _ := create(t)
	carol := user("carol")
	update(t, db, func(tx *vault.Tx) error {
		if _, err := tx.PutContact(vault.Contact{User: carol, State: vault.Accepted}); err != nil {
			return err
		}
		if err := tx.AddEvents(user("nobody"), []byte("x")); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("events of nobody: %v, want ErrNotFound", err)
		}
		if err := tx.AddEvents(carol, []byte("c1"), []byte("c2")); err != nil {
			return err
		}
		for i := range 300 {
			if err := tx.AddEvents(bob.User, fmt.Append(nil, "b", 2*i), fmt.Append(nil, "b", 2*i+1)); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, db, func(tx *vault.Tx) error {
		all, err := tx.Events(bob.User, 0, 10000)
		if err != nil {
			return err
		}
		if len(all) != vault.MaxEvents || string(all[0].Event) != "b100" || string(all[499].Event) != "b599" || all[0].User != bob.User || all[0].At.IsZero() {
			t.Errorf("%d events, from %q to %q", len(all), all[0].Event, all[len(all)-1].Event)
		}
		some, err := tx.Events(bob.User, all[490].ID, 3)
		if err != nil || len(some) != 3 || string(some[2].Event) != "b599" {
			t.Errorf("the newest three after one: %+v, %v", some, err)
		}
		of, err := tx.Events(carol, 0, 10)
		if err != nil || len(of) != 2 || string(of[0].Event) != "c1" {
			t.Errorf("carol's: %+v, %v", of, err)
		}
		every, err := tx.Events("", 0, 10000)
		if err != nil || len(every) != vault.MaxEvents+2 || string(every[0].Event) != "c1" {
			t.Errorf("%d events of all, %v", len(every), err)
		}
		none, err := tx.Events(user("nobody"), 0, 10)
		if len(none) != 0 {
			t.Errorf("nobody's: %+v", none)
		}
		return err
	})
}

func TestSettingsAndCounters(t *testing.T) {
	db, _ := create(t)
	update(t, db, func(tx *vault.Tx) error {
		if _, err := tx.Setting("a"); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("a setting never set: %v, want ErrNotFound", err)
		}
		if err := errors.Join(tx.SetSetting("a", "1"), tx.SetSetting("a", "2"), tx.SetSetting("b", "")); err != nil {
			return err
		}
		all, err := tx.Settings()
		if diff := cmp.Diff(map[string]string{"a": "2", "b": ""}, all); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err != nil {
			return err
		}
		for _, want := range []int64{3, 6} {
			if got, err := tx.AddToCounter("n", 3); err != nil || got != want {
				t.Errorf("the counter is %d, %v; want %d", got, err, want)
			}
		}
		if got, err := tx.Counter("never"); err != nil || got != 0 {
			t.Errorf("a counter never used is %d, %v", got, err)
		}
		return nil
	})
}

func TestMessageID(t *testing.T) {
	id := vault.NewMessageID()
	if got, err := vault.ParseMessageID(id.String()); err != nil || got != id {
		t.Errorf("%s is read as %s, %v", id, got, err)
	}
	for _, bad := range append(hostile, id.String()[1:], id.String()+"00", "ABCDEF00112233445566778899aabbcc") {
		if _, err := vault.ParseMessageID(bad); err == nil {
			t.Errorf("%.40q is read as an ID", bad)
		}
	}
}

// TestPlans: no statement of daily use reads a large table from end to end.
func TestPlans(t *testing.T) {
	db, chat := create(t)
	update(t, db, func(tx *vault.Tx) error {
		var m vault.Message
		for _, do := range []func() error{
			func() (err error) { m, _, err = send(tx, chat, bob.User, "x"); return err },
			func() error { return receive(tx, chat, bob, 3, "in", []byte("record"), []byte("envelope")) },
			func() error { return receive(tx, chat, bob, 2, "in", []byte("record"), []byte("another")) },
			func() error { return tx.ShowMissing(tx.Now) },
			func() error { return receive(tx, chat, bob, 1, "in", []byte("record"), []byte("late")) },
			func() error { return tx.MarkSeenMessage(vault.NewMessageID()) },
			func() error { _, err := tx.Advance(chat, m.ID, vault.Sent); return err },
			func() error { _, err := tx.Before(chat, m.ID, 9); return err },
			func() error { _, err := tx.After(chat, m.ID, 9); return err },
			func() error { _, err := tx.Around(chat, m.ID, 9); return err },
			func() error { _, err := tx.FirstUnread(chat); return err },
			func() error { _, err := tx.MarkRead(chat, m.ID); return err },
			func() error { _, err := tx.MessageByClientID("x"); return ignoreNotFound(err) },
			func() error { _, err := tx.Chats(); return err },
			func() error { _, err := tx.Arrivals(9); return err },
			func() error { _, err := tx.Missing(chat); return err },
			func() error { _, _, err := tx.OldestHole(); return err },
			func() error { _, err := tx.Search("in", 9); return err },
			func() error { _, err := tx.SearchChat(chat, "in", 9); return err },
			func() error { _, err := tx.DueJobs(9); return err },
			func() error { return tx.Hold(bob.User, "reason") },
			func() error { return tx.Release(bob.User) },
			func() error { _, err := tx.DeleteMessages(m.ID); return err },
			func() error { return tx.ClearChat(chat) },
			func() error { _, err := tx.News(); return err },
		} {
			if err := do(); err != nil {
				return err
			}
		}
		return nil
	})
	plans, err := db.Plans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(plans) < 40 {
		t.Errorf("%d statements only", len(plans))
	}
	large := []string{"m", "messages", "s", "streams", "records", "seen_envelopes", "seen_messages"} // tables and their short names
	for query, steps := range plans {
		for _, step := range steps {
			table, scans := strings.CutPrefix(step, "SCAN ")
			table, _, _ = strings.Cut(table, " ")
			if scans && slices.Contains(large, table) {
				t.Errorf("%s in\n%s", step, query)
			}
		}
	}
}

// TestNothingGiven: missing bytes and strange numbers are stored, or found not to
// be there; none of them ends the transaction.
func TestNothingGiven(t *testing.T) {
	db, chat := create(t)
	huge := vault.PreKeyRef{Kind: vault.OneTimePreKey, ID: 1 << 63}
	update(t, db, func(tx *vault.Tx) error {
		m, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text"})
		if err != nil {
			return err
		}
		job, err := tx.Enqueue(vault.Job{Peer: bob.User, Message: m.ID})
		if err != nil {
			return err
		}
		_, err = tx.PutSealed(job, bob, nil)
		return errors.Join(err,
			tx.PutRecord(bob, nil), tx.KeepUndecryptable(vault.Address{}, nil), tx.AddEvents(bob.User, nil), tx.MarkSeen(nil),
			tx.PutDeviceList(vault.DeviceList{User: bob.User, Version: 1, Devices: []vault.Device{{Address: bob}}}),
			tx.PutPreKeys(vault.PreKey{PreKeyRef: vault.PreKeyRef{Kind: vault.SignedPreKey, ID: 1}, CreatedAt: tx.Now}),
			tx.PutOwn(vault.Own{User: alice.User, Device: 1}),
			tx.DeletePreKeys(huge), tx.MarkPublished(huge), tx.MarkSent(-1), tx.FailJob(-1), tx.DeleteUndecryptable(-1))
	})
	update(t, db, func(tx *vault.Tx) error {
		if keys, err := tx.PreKeys(huge, vault.PreKeyRef{}); err != nil || len(keys) != 0 {
			t.Errorf("prekeys with strange IDs: %v, %v", keys, err)
		}
		if err := tx.NoteLastResort(1<<63, []byte{1}); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("the last-resort prekey 2^63: %v, want ErrNotFound", err)
		}
		if _, err := tx.AddMessage(vault.Message{}); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("a message without anything: %v, want ErrNotFound", err)
		}
		if page, err := tx.Newest(chat, -1); err != nil || len(page) != 1 {
			t.Errorf("a page without limit: %d, %v", len(page), err)
		}
		return nil
	})
}

func ignoreNotFound(err error) error {
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	return err
}
