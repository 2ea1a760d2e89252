package vault_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/vault"
)

// send adds a message with its job, as the engine does.
func send(tx *vault.Tx, chat vault.ChatID, peer, text string) (vault.Message, vault.JobID, error) {
	m, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: text})
	if err != nil {
		return m, 0, err
	}
	job, err := tx.Enqueue(vault.Job{Peer: peer, Message: m.ID, Content: []byte("content of " + text)})
	return m, job, err
}

func stateOf(t *testing.T, tx *vault.Tx, id vault.MessageID) vault.State {
	t.Helper()
	m, err := tx.Message(id)
	if err != nil {
		t.Fatal(err)
	}
	return m.State
}

// TestSending goes the way of a message through the outbox, with a restart after
// every step.
func TestSending(t *testing.T) {
	db, chat := create(t)
	var m vault.Message
	var id vault.JobID
	update(t, db, func(tx *vault.Tx) (err error) {
		m, id, err = send(tx, chat, bob.User, "hello")
		if err != nil {
			return err
		}
		if _, err := tx.Enqueue(vault.Job{Peer: bob.User, Message: m.ID, Content: []byte("x")}); !errors.Is(err, vault.ErrDuplicate) {
			t.Errorf("a second job for a message: %v, want ErrDuplicate", err)
		}
		if _, err := tx.Enqueue(vault.Job{Peer: bob.User, Message: vault.NewMessageID()}); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("a job for no message: %v, want ErrNotFound", err)
		}
		return nil
	})
	db = reopen(t, db)

	var sealed []vault.Sealed
	update(t, db, func(tx *vault.Tx) error {
		jobs, err := tx.DueJobs(10)
		if err != nil {
			return err
		}
		if len(jobs) != 1 || jobs[0].ID != id || jobs[0].Message != m.ID || string(jobs[0].Content) != "content of hello" || jobs[0].Peer != bob.User {
			t.Errorf("due are %+v", jobs)
		}
		if got, err := tx.Sealed(id); err != nil || len(got) != 0 {
			t.Errorf("sealed before PutSealed: %v, %v", got, err)
		}
		if err := tx.PutRecord(bob, []byte("advanced record")); err != nil {
			return err
		}
		for device := range uint32(2) {
			to := vault.Address{User: bob.User, Device: device + 1}
			envelope, err := tx.PutSealed(id, to, fmt.Append(nil, "ciphertext ", device))
			if err != nil {
				return err
			}
			sealed = append(sealed, vault.Sealed{ID: envelope, To: to, Ciphertext: fmt.Append(nil, "ciphertext ", device)})
			if _, err := tx.PutSealed(id, to, []byte("another")); !errors.Is(err, vault.ErrDuplicate) {
				t.Errorf("a second ciphertext for a device: %v, want ErrDuplicate", err)
			}
		}
		if _, err := tx.PutSealed(id+1, bob, nil); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("a ciphertext for no job: %v, want ErrNotFound", err)
		}
		return nil
	})
	db = reopen(t, db)

	for range 2 { // a retry sends the same bytes
		view(t, db, func(tx *vault.Tx) error {
			got, err := tx.Sealed(id)
			if diff := cmp.Diff(sealed, got); diff != "" {
				t.Errorf("after restart (-stored +read):\n%s", diff)
			}
			return err
		})
	}

	// A receipt may overtake the relay's acknowledgement.
	update(t, db, func(tx *vault.Tx) error { _, err := tx.Advance(chat, m.ID, vault.Delivered); return err })
	for range 2 {
		update(t, db, func(tx *vault.Tx) error { return tx.MarkSent(id) })
	}
	view(t, db, func(tx *vault.Tx) error {
		if got := stateOf(t, tx, m.ID); got != vault.Delivered {
			t.Errorf("the state is %s, want delivered", got)
		}
		if got, err := tx.Sealed(id); err != nil || len(got) != 0 {
			t.Errorf("the ciphertexts stay: %v, %v", got, err)
		}
		n, err := tx.CountJobs()
		if n != 0 {
			t.Errorf("%d jobs stay", n)
		}
		return err
	})
}

func TestAdvance(t *testing.T) {
	db, chat := create(t)
	var m, in vault.Message
	update(t, db, func(tx *vault.Tx) (err error) {
		if m, _, err = send(tx, chat, bob.User, "x"); err != nil {
			return err
		}
		in, err = tx.AddMessage(incoming(chat, 1))
		return err
	})
	for _, test := range []struct {
		chat    vault.ChatID
		id      vault.MessageID
		to      vault.State
		changes bool
		becomes vault.State
	}{
		{chat, m.ID, vault.Queued, false, vault.Queued},
		{chat + 1, m.ID, vault.Read, false, vault.Queued}, // a receipt of somebody else
		{chat, m.ID, vault.Sent, true, vault.Sent},
		{chat, m.ID, vault.Read, true, vault.Read},
		{chat, m.ID, vault.Delivered, false, vault.Read},
		{chat, m.ID, vault.Failed, false, vault.Read},
		{chat, m.ID, "nonsense", false, vault.Read},
		{chat, vault.NewMessageID(), vault.Read, false, vault.Read},
		{chat, in.ID, vault.Read, false, vault.Read},
	} {
		update(t, db, func(tx *vault.Tx) error {
			changed, err := tx.Advance(test.chat, test.id, test.to)
			if changed != test.changes {
				t.Errorf("to %s: changed %v, want %v", test.to, changed, test.changes)
			}
			if got := stateOf(t, tx, m.ID); got != test.becomes {
				t.Errorf("to %s: it is %s, want %s", test.to, got, test.becomes)
			}
			return err
		})
	}
	update(t, db, func(tx *vault.Tx) error {
		if err := tx.SetState(m.ID, vault.Failed); err != nil {
			return err
		}
		if changed, err := tx.Advance(chat, m.ID, vault.Delivered); err != nil || changed {
			t.Errorf("a failed message advances: %v, %v", changed, err)
		}
		if err := tx.SetState(in.ID, vault.Read); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("SetState of an incoming message: %v, want ErrNotFound", err)
		}
		return nil
	})
}

// TestLanes: jobs to one peer keep their order, wait and are held together; other
// peers are not concerned.
func TestLanes(t *testing.T) {
	db, chat := create(t)
	carol := user("carol")
	var jobs []vault.JobID
	var messages []vault.MessageID
	update(t, db, func(tx *vault.Tx) error {
		c, err := tx.PutContact(vault.Contact{User: carol, State: vault.Accepted})
		if err != nil {
			return err
		}
		for i := range 6 {
			to, in := bob.User, chat
			if i%2 == 1 {
				to, in = carol, c.Chat
			}
			m, job, err := send(tx, in, to, fmt.Sprint("message ", i))
			if err != nil {
				return err
			}
			jobs, messages = append(jobs, job), append(messages, m.ID)
		}
		return nil
	})
	due := func(when string, want ...int) {
		t.Helper()
		view(t, db, func(tx *vault.Tx) error {
			got, err := tx.DueJobs(100)
			var found []int
			for _, j := range got {
				found = append(found, slices.Index(jobs, j.ID))
			}
			if diff := cmp.Diff(want, found); diff != "" {
				t.Errorf("%s, due (-want +got):\n%s", when, diff)
			}
			return err
		})
	}
	nextDue := func(want time.Time) {
		t.Helper()
		view(t, db, func(tx *vault.Tx) error {
			got, ok, err := tx.NextDue()
			if ok == want.IsZero() || !got.Equal(want) {
				t.Errorf("next due at %v, %v; want %v", got, ok, want)
			}
			return err
		})
	}
	due("at first", 0, 1, 2, 3, 4, 5)
	nextDue(time.Time{})

	later := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	for range 3 {
		update(t, db, func(tx *vault.Tx) error { return tx.BackOff(bob.User, later, "relay_unreachable") })
	}
	due("while bob waits", 1, 3, 5)
	nextDue(later)
	view(t, db, func(tx *vault.Tx) error {
		got, err := tx.Lane(bob.User)
		if diff := cmp.Diff(vault.Lane{Attempts: 3, NextAt: later, Reason: "relay_unreachable"}, got); diff != "" {
			t.Errorf("bob's lane (-want +got):\n%s", diff)
		}
		return err
	})
	update(t, db, func(tx *vault.Tx) error { return tx.RetryNow() })
	due("after RetryNow", 0, 1, 2, 3, 4, 5)
	update(t, db, func(tx *vault.Tx) error { return tx.MarkSent(jobs[0]) })
	view(t, db, func(tx *vault.Tx) error {
		got, err := tx.Lane(bob.User)
		if diff := cmp.Diff(vault.Lane{}, got); diff != "" {
			t.Errorf("bob's lane after a success (-want +got):\n%s", diff)
		}
		return err
	})

	update(t, db, func(tx *vault.Tx) error { return tx.Hold(bob.User, "key_changed") })
	var held vault.Message
	update(t, db, func(tx *vault.Tx) (err error) {
		var job vault.JobID
		held, job, err = send(tx, chat, bob.User, "while held")
		jobs, messages = append(jobs, job), append(messages, held.ID)
		return err
	})
	update(t, db, func(tx *vault.Tx) error { return tx.RetryNow() })
	due("while bob is held", 1, 3, 5)
	states := func(want ...vault.State) {
		t.Helper()
		view(t, db, func(tx *vault.Tx) error {
			var got []vault.State
			for _, id := range messages {
				got = append(got, stateOf(t, tx, id))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			return nil
		})
	}
	states(vault.Sent, vault.Queued, vault.Held, vault.Queued, vault.Held, vault.Queued, vault.Held)
	update(t, db, func(tx *vault.Tx) error { return tx.Release(bob.User) })
	states(vault.Sent, vault.Queued, vault.Queued, vault.Queued, vault.Queued, vault.Queued, vault.Queued)
	due("after Release", 1, 2, 3, 4, 5, 6)

	update(t, db, func(tx *vault.Tx) error { return errors.Join(tx.FailJob(jobs[2]), tx.FailJob(jobs[2])) })
	states(vault.Sent, vault.Queued, vault.Failed, vault.Queued, vault.Queued, vault.Queued, vault.Queued)
	// Deleting a message gives its job up.
	update(t, db, func(tx *vault.Tx) error { _, err := tx.DeleteMessages(messages[4]); return err })
	due("in the end", 1, 3, 5, 6)
	// Trying again is a new job for the same message.
	update(t, db, func(tx *vault.Tx) error {
		if err := tx.SetState(messages[2], vault.Queued); err != nil {
			return err
		}
		job, err := tx.Enqueue(vault.Job{Peer: bob.User, Message: messages[2], Content: []byte("again")})
		jobs = append(jobs, job)
		return err
	})
	due("after trying again", 1, 3, 5, 6, 7)
}

// TestMoveContact: taking a changed key moves the history and what was never
// encrypted, and gives up what was.
func TestMoveContact(t *testing.T) {
	db, chat := create(t)
	next := user("bob5")
	var encrypted, plain vault.Message
	update(t, db, func(tx *vault.Tx) error {
		c, err := tx.Contact(bob.User)
		if err != nil {
			return err
		}
		c.Username, c.Verified, c.NewUser = "bob", true, next
		c.AccountKey = []byte{1}
		c.TopicOut = vault.Topic{ID: []byte{1}, Key: []byte{2}}
		if c, err = tx.PutContact(c); err != nil || !c.KeyChanged() {
			t.Fatalf("PutContact: %v", err)
		}
		if err := tx.PutDeviceList(vault.DeviceList{User: bob.User, Version: 1, Signed: []byte{1}, Devices: []vault.Device{{Address: bob, Identity: []byte{1}}}}); err != nil {
			return err
		}
		if err := tx.PutRecord(bob, []byte("record")); err != nil {
			return err
		}
		if _, err := tx.AddMessage(incoming(chat, 1)); err != nil {
			return err
		}
		var job vault.JobID
		if encrypted, job, err = send(tx, chat, bob.User, "encrypted"); err != nil {
			return err
		}
		if _, err := tx.PutSealed(job, bob, []byte("ciphertext")); err != nil {
			return err
		}
		if plain, _, err = send(tx, chat, bob.User, "plain"); err != nil {
			return err
		}
		return tx.Hold(bob.User, "key_changed")
	})
	update(t, db, func(tx *vault.Tx) error {
		if err := tx.MoveContact(user("nobody"), next); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("moving nobody: %v, want ErrNotFound", err)
		}
		if err := tx.MoveContact(bob.User, bob.User); !errors.Is(err, vault.ErrConflict) {
			t.Errorf("moving onto a contact: %v, want ErrConflict", err)
		}
		return tx.MoveContact(bob.User, next)
	})
	view(t, db, func(tx *vault.Tx) error {
		c, err := tx.Contact(next)
		if err != nil {
			return err
		}
		if c.Verified || c.KeyChanged() || c.AccountKey != nil || c.TopicOut.ID != nil || c.Chat != chat || c.Username != "bob" {
			t.Errorf("the contact is %+v", c)
		}
		if got := stateOf(t, tx, encrypted.ID); got != vault.Failed {
			t.Errorf("what was encrypted for the old account is %s, want failed", got)
		}
		if got := stateOf(t, tx, plain.ID); got != vault.Queued {
			t.Errorf("what was not encrypted is %s, want queued", got)
		}
		jobs, err := tx.DueJobs(10)
		if err != nil || len(jobs) != 1 || jobs[0].Peer != next || jobs[0].Message != plain.ID {
			t.Errorf("due are %+v, %v", jobs, err)
		}
		if r, err := tx.Record(bob); err != nil || r != nil {
			t.Errorf("the old account's session stays: %q, %v", r, err)
		}
		if d, err := tx.Devices(chat); err != nil || len(d) != 0 {
			t.Errorf("the old account's devices stay: %v, %v", d, err)
		}
		page, err := tx.Newest(chat, 10)
		if len(page) != 3 {
			t.Errorf("%d items of history, want 3", len(page))
		}
		return err
	})
	update(t, db, func(tx *vault.Tx) error {
		m, err := tx.AddMessage(vault.Message{Chat: chat, From: vault.Address{User: next, Device: 1}, Seq: 1, Kind: "text", Text: "new"})
		if m.Arrival == 0 || m.GapBefore != 0 {
			t.Errorf("the new account's first message: %+v", m)
		}
		return err
	})
}
