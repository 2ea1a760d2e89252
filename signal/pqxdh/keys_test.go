package pqxdh_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func identity(name string, device uint32) *pqxdh.Identity {
	return &pqxdh.Identity{
		Address: signal.Address{Name: name, Device: device}, Key: curve.GenerateKey(), RegistrationID: 0x1234,
	}
}

func newKeys(t *testing.T, owner *pqxdh.Identity, oneTime int) *pqxdh.Keys {
	t.Helper()
	keys, err := pqxdh.NewKeys(owner, oneTime, start)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A prekey must be found by its ID alone. With 24 random bits two of a hundred
// are the same once in 3,400 devices.
func TestKeysHaveDistinctIDs(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	bob := identity("bob", 1)
	keys := newKeys(t, bob, 0)
	// The same randomness again makes the same IDs again.
	again := func() { cryptotest.SetGlobalRandom(t, 2) }
	for n := 1; n <= 3; n++ {
		again()
		if err := keys.Refill(bob, n, start); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		again()
		if err := keys.Rotate(bob, start); err != nil {
			t.Fatal(err)
		}
	}
	signed, kem, oneTime := map[pqxdh.PreKeyID]bool{}, map[pqxdh.PreKeyID]bool{}, map[pqxdh.PreKeyID]bool{}
	for range 3 {
		bundle := keys.Offer(bob)
		kem[bundle.KEMPreKey.ID], oneTime[bundle.OneTimePreKey.ID] = true, true
	}
	for range 3 {
		bundle := keys.Offer(bob)
		signed[bundle.SignedPreKey.ID], kem[bundle.KEMPreKey.ID] = true, true
		again()
		if err := keys.Rotate(bob, start); err != nil {
			t.Fatal(err)
		}
	}
	if len(signed) != 3 || len(kem) != 6 || len(oneTime) != 3 {
		t.Errorf("%d, %d and %d distinct IDs; want 3, 6 and 3", len(signed), len(kem), len(oneTime))
	}
}

// A KEM prekey that nobody was given before it expired is not handed out.
func TestRotateDropsStaleOneTimeKeys(t *testing.T) {
	bob := identity("bob", 1)
	keys := newKeys(t, bob, 3)
	handedOut := keys.Offer(bob)
	now := start
	for range 10 { // ten weeks
		now = now.Add(pqxdh.RotateAfter)
		if err := keys.Rotate(bob, now); err != nil {
			t.Fatal(err)
		}
		// Until the next rotation every bundle is good.
		for _, when := range []time.Time{now, now.Add(pqxdh.RotateAfter)} {
			parsed, err := pqxdh.ParseKeys(keys.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := parsed.Offer(bob).Verify(pqxdh.Chate2eV1, bob.Address, when); err != nil {
					t.Errorf("a bundle of %v at %v: %v", now, when, err)
				}
			}
		}
		// What was handed out is found until its grace time is over.
		found := keys.Find(&pqxdh.Header{
			SignedPreKeyID: handedOut.SignedPreKey.ID, KEMPreKeyID: &handedOut.KEMPreKey.ID,
			OneTimePreKeyID: &handedOut.OneTimePreKey.ID,
		})
		grace := now.Before(handedOut.KEMPreKey.Expires.Start().AddDate(0, 0, pqxdh.GraceDays))
		if got := found.KEM != nil && found.Signed != nil; got != grace {
			t.Errorf("%v: the private halves are there: %v, want %v", now, got, grace)
		}
		if found.OneTime == nil {
			t.Errorf("%v: the one-time prekey is gone", now)
		}
	}
}

func TestKeysErrors(t *testing.T) {
	nobody := identity("", 1)
	if _, err := pqxdh.NewKeys(nobody, 1, start); !errors.Is(err, signal.ErrAddress) {
		t.Errorf("NewKeys: %v", err)
	}
	keys := newKeys(t, identity("bob", 1), 0)
	before := keys.Append(nil)
	if err := keys.Refill(nobody, 1, start); !errors.Is(err, signal.ErrAddress) {
		t.Errorf("Refill: %v", err)
	}
	if err := keys.Rotate(nobody, start); !errors.Is(err, signal.ErrAddress) {
		t.Errorf("Rotate: %v", err)
	}
	if string(keys.Append(nil)) != string(before) {
		t.Error("the keys have changed")
	}
}

func TestOffer(t *testing.T) {
	bob := identity("bob", 1)
	keys := newKeys(t, bob, 3)
	seen := map[pqxdh.PreKeyID]bool{}
	kemSeen := map[pqxdh.PreKeyID]bool{}
	for n := range 3 {
		bundle := keys.Offer(bob)
		if err := bundle.Verify(pqxdh.Chate2eV1, bob.Address, start); err != nil {
			t.Fatal(err)
		}
		if bundle.OneTimePreKey == nil || bundle.KEMPreKey.LastResort {
			t.Fatalf("bundle %d has no one-time prekeys", n)
		}
		seen[bundle.OneTimePreKey.ID], kemSeen[bundle.KEMPreKey.ID] = true, true
		keys = reparse(t, keys)
	}
	if len(seen) != 3 || len(kemSeen) != 3 {
		t.Errorf("%d and %d one-time prekeys were handed out, want 3 and 3", len(seen), len(kemSeen))
	}
	for range 2 {
		bundle := keys.Offer(bob)
		if err := bundle.Verify(pqxdh.Chate2eV1, bob.Address, start); err != nil {
			t.Fatal(err)
		}
		if bundle.OneTimePreKey != nil || !bundle.KEMPreKey.LastResort {
			t.Error("a bundle has a one-time prekey, and none was left")
		}
	}
	if err := keys.Refill(bob, 1, start); err != nil {
		t.Fatal(err)
	}
	if bundle := keys.Offer(bob); bundle.OneTimePreKey == nil || seen[bundle.OneTimePreKey.ID] ||
		bundle.KEMPreKey.LastResort || kemSeen[bundle.KEMPreKey.ID] {
		t.Errorf("after Refill: %+v", bundle)
	}
}

// What was offered belongs to whom it was offered to.
func TestOfferIsACopy(t *testing.T) {
	bob := identity("bob", 1)
	keys := newKeys(t, bob, 1)
	bundle := keys.Offer(bob)
	before := keys.Append(nil)
	bundle.SignedPreKey.ID++
	bundle.KEMPreKey.ID++
	bundle.OneTimePreKey.ID++
	keys.Offer(bob).KEMPreKey.ID++ // of last resort
	if !bytes.Equal(keys.Append(nil), before) {
		t.Error("the keys have changed with the bundle")
	}
}

// accept plays the first message of a new initiator, who has this bundle.
func accept(t *testing.T, keys *pqxdh.Keys, bob *pqxdh.Identity, bundle *pqxdh.Bundle, now time.Time) *pqxdh.Header {
	t.Helper()
	alice := identity("alice", 1)
	_, header, err := pqxdh.Initiate(pqxdh.Chate2eV1, alice, bob.Address, bundle, now)
	if err != nil {
		t.Fatal(err)
	}
	own := keys.Find(header)
	if _, err := pqxdh.Accept(pqxdh.Chate2eV1, bob, alice.Address, header, own, now); err != nil {
		t.Fatal(err)
	}
	// Until the message has authenticated nothing is consumed.
	if again := keys.Find(header); again != own {
		t.Error("Accept has consumed prekeys")
	}
	keys.Consume(pqxdh.Consumed(header, own))
	return header
}

func refuse(t *testing.T, keys *pqxdh.Keys, bob *pqxdh.Identity, header *pqxdh.Header, now time.Time, want error) {
	t.Helper()
	alice := signal.Address{Name: "alice", Device: 1}
	if _, err := pqxdh.Accept(pqxdh.Chate2eV1, bob, alice, header, keys.Find(header), now); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// A one-time prekey opens one first message, and one of last resort opens each
// first message once.
func TestConsume(t *testing.T) {
	bob := identity("bob", 1)
	keys := newKeys(t, bob, 2)
	var headers []*pqxdh.Header
	first, second := keys.Offer(bob), keys.Offer(bob)
	headers = append(headers, accept(t, keys, bob, second, start)) // not in the order of the offers
	keys = reparse(t, keys)
	headers = append(headers, accept(t, keys, bob, first, start))
	if bundle := keys.Offer(bob); bundle.OneTimePreKey != nil || !bundle.KEMPreKey.LastResort {
		t.Error("a consumed prekey is handed out")
	}
	for _, header := range headers {
		refuse(t, keys, bob, header, start, pqxdh.ErrPreKey)
	}

	lastResort := []*pqxdh.Header{
		accept(t, keys, bob, keys.Offer(bob), start), accept(t, keys, bob, keys.Offer(bob), start),
	}
	for _, header := range lastResort {
		refuse(t, reparse(t, keys), bob, header, start, pqxdh.ErrReplay)
	}

	// A mixture: one-time prekey of one kind only.
	if err := keys.Refill(bob, 1, start); err != nil {
		t.Fatal(err)
	}
	bundle := keys.Offer(bob)
	bundle.OneTimePreKey = nil
	refuse(t, keys, bob, accept(t, keys, bob, bundle, start), start, pqxdh.ErrPreKey)
	bundle = keys.Offer(bob)
	bundle.OneTimePreKey = nil
	refuse(t, keys, bob, accept(t, keys, bob, bundle, start), start, pqxdh.ErrReplay)

	// A prekey that is still on offer can be consumed, too.
	if err := keys.Refill(bob, 2, start); err != nil {
		t.Fatal(err)
	}
	ahead := reparse(t, keys).Offer(bob)
	accept(t, keys, bob, ahead, start)
	if next := keys.Offer(bob); next.OneTimePreKey.ID == ahead.OneTimePreKey.ID || next.KEMPreKey.ID == ahead.KEMPreKey.ID {
		t.Error("a consumed prekey is handed out")
	}
	reparse(t, keys)
}

func TestFindNothing(t *testing.T) {
	bob := identity("bob", 1)
	keys := newKeys(t, bob, 1)
	if got := keys.Find(nil); got != (pqxdh.PreKeys{}) {
		t.Errorf("for no handshake: %+v", got)
	}
	bundle := keys.Offer(bob)
	unknown := pqxdh.PreKeyID(1 << 30) // they have 24 bits
	header := &pqxdh.Header{SignedPreKeyID: unknown, KEMPreKeyID: &unknown, OneTimePreKeyID: &unknown}
	if got := keys.Find(header); got != (pqxdh.PreKeys{}) {
		t.Errorf("unknown IDs: %+v", got)
	}
	keys.Consume(pqxdh.Used{OneTime: &unknown, KEMOneTime: &unknown}) // harmless
	header = &pqxdh.Header{SignedPreKeyID: bundle.SignedPreKey.ID}
	if got := keys.Find(header); got.Signed == nil || got.KEM != nil || got.OneTime != nil {
		t.Errorf("a signed prekey alone: %+v", got)
	}
}

// Old prekeys serve until their grace time is over, and so long the replay table
// remembers.
func TestRotate(t *testing.T) {
	bob := identity("bob", 1)
	keys := newKeys(t, bob, 0)
	first := keys.Offer(bob)
	header := accept(t, keys, bob, first, start)
	sizeWithUse := len(keys.Append(nil))

	now := start
	grace := first.SignedPreKey.Expires.Start().AddDate(0, 0, pqxdh.GraceDays)
	for rotations := 1; now.Before(grace); rotations++ {
		keys = reparse(t, keys)
		refuse(t, keys, bob, header, now, pqxdh.ErrReplay)
		if now.Before(first.SignedPreKey.Expires.Start()) {
			accept(t, keys, bob, first, now)
		}
		if now = now.Add(pqxdh.RotateAfter); now.Before(grace) {
			if err := keys.Rotate(bob, now); err != nil {
				t.Fatal(err)
			}
		}
		if next := keys.Offer(bob); next.SignedPreKey.ID == first.SignedPreKey.ID || next.KEMPreKey.ID == first.KEMPreKey.ID {
			t.Error("an old prekey is offered")
		}
	}
	if err := keys.Rotate(bob, grace); err != nil {
		t.Fatal(err)
	}
	refuse(t, keys, bob, header, grace, pqxdh.ErrPreKey)
	if got := keys.Find(header); got != (pqxdh.PreKeys{}) {
		t.Errorf("after the grace time: %+v", got)
	}
	// All that is left is as much as there was, but for the entries of the table.
	for range 20 {
		now = now.Add(pqxdh.RotateAfter)
		if err := keys.Rotate(bob, now); err != nil {
			t.Fatal(err)
		}
	}
	const pair = pqxdh.SignedPreKeySize + 32 + pqxdh.KEMPreKeySize + 64
	const use = 4 + 4 + 32
	if got, most := len(keys.Append(nil)), sizeWithUse-use+9*pair; got > most {
		t.Errorf("%d bytes after many rotations, want at most %d", got, most)
	}
}
