package pqxdh_test

import (
	"errors"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func identity(name string, device uint32) *pqxdh.Identity {
	return &pqxdh.Identity{
		Address: pqxdh.Address{Name: name, Device: device}, Key: curve.GenerateKey(), RegistrationID: 0x1234,
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
	if _, err := pqxdh.NewKeys(nobody, 1, start); !errors.Is(err, pqxdh.ErrAddress) {
		t.Errorf("NewKeys: %v", err)
	}
	keys := newKeys(t, identity("bob", 1), 0)
	before := keys.Append(nil)
	if err := keys.Refill(nobody, 1, start); !errors.Is(err, pqxdh.ErrAddress) {
		t.Errorf("Refill: %v", err)
	}
	if err := keys.Rotate(nobody, start); !errors.Is(err, pqxdh.ErrAddress) {
		t.Errorf("Rotate: %v", err)
	}
	if string(keys.Append(nil)) != string(before) {
		t.Error("the keys have changed")
	}
}
