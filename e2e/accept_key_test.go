package e2e_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/testrand"
)

// The program dies while it takes over the account that a verified contact's
// username names now: either the old account still stands there, with the texts
// held and nothing sent to the new one, or the new one does, and gets them.
func TestKilledWhileAcceptingAKey(t *testing.T) {
	r := testrand.New(t)
	for range 3 {
		operation := 1 + r.IntN(12)
		synctest.Test(t, func(t *testing.T) { testKilledWhileAcceptingAKey(t, operation) })
	}
}

func testKilledWhileAcceptingAKey(t *testing.T, operation int) {
	ctx := t.Context()
	w := newWorld(t, rand.New(rand.NewPCG(0, 0)), 2)
	alice, bob := w.people[0], w.people[1]
	alice.run()
	bob.run()
	if _, err := alice.c.AddContact(ctx, "bob"); err != nil {
		t.Fatal(err)
	}
	w.rest(2 * time.Second)
	if _, err := bob.c.AcceptContact(ctx, alice.id); err != nil {
		t.Fatal(err)
	}
	w.rest(2 * time.Second)
	number, err := alice.c.Safety(ctx, bob.id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.c.Verify(ctx, bob.id, number.Number); err != nil {
		t.Fatal(err)
	}
	bob.pause()
	if err := bob.c.DeleteAccount(ctx, password); err != nil {
		t.Fatal(err)
	}
	second := w.register("the second bob", "bob", 9)
	w.people = append(w.people, second)
	second.run()
	alice.send(bob, "too early") // encrypted for the old account; the relay does not know it: so she looks again
	w.rest(10 * time.Minute)
	alice.send(bob, "held one", "held two")

	// isOld reports whether Alice's contact is still the old account.
	isOld := func() bool {
		t.Helper()
		old, err := alice.c.Contact(ctx, bob.id)
		if _, missing := alice.c.Contact(ctx, second.id); (err == nil) == (missing == nil) {
			t.Fatalf("killed at operation %d: contacts old %v, new %v", operation, err, missing)
		}
		if err != nil {
			return false
		}
		status, err := alice.c.ContactStatus(ctx, bob.id)
		if err != nil || !old.KeyChanged || !old.Verified || status.Held != 3 {
			t.Errorf("killed at operation %d: %+v, %+v, %v", operation, old, status, err)
		}
		return true
	}
	if !isOld() {
		t.Fatal("the contact has moved by itself")
	}
	alice.process.arm(operation)
	_, err = alice.c.AcceptKey(ctx, "bob")
	died := !alice.process.disarm()
	w.settle()
	switch old := isOld(); {
	case old && w.tape.ciphertexts(alice, second) > 0:
		t.Errorf("killed at operation %d: something was sent to a key that is not accepted", operation)
	case old && err == nil:
		t.Errorf("killed at operation %d: accepted, and forgotten", operation)
	case old && !died:
		t.Errorf("nobody died, and nothing was accepted: %v", err)
	}
	if _, err := alice.c.AcceptKey(ctx, "bob"); err != nil {
		t.Fatalf("killed at operation %d: the next try: %v", operation, err)
	}
	w.rest(10 * time.Minute)
	if _, err := second.c.AcceptContact(ctx, alice.id); err != nil {
		t.Fatal(err)
	}
	w.rest(10 * time.Minute)
	var got []string
	items, err := second.c.History(ctx, alice.id, "", historySize)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		if item.Kind == client.KindText {
			got = append(got, item.Text)
		}
	}
	if len(got) != 2 || got[0] != "held one" || got[1] != "held two" {
		t.Errorf("killed at operation %d: the new account got %q", operation, got)
	}
	for _, fault := range w.tape.faults {
		t.Error(fault)
	}
}
