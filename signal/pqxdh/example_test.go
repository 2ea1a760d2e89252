package pqxdh_test

import (
	"fmt"
	"log"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

// Alice agrees on a root key with Bob, who is offline, and Bob with her when he gets
// her header. Package session does this with the first message.
func Example() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	alice := &pqxdh.Identity{Address: signal.Address{Name: "alice", Device: 1}, Key: curve.GenerateKey()}
	bob := &pqxdh.Identity{Address: signal.Address{Name: "bob", Device: 1}, Key: curve.GenerateKey()}

	// Bob publishes a bundle; it travels as bytes.
	keys, err := pqxdh.NewKeys(bob, 10, now)
	check(err)
	published := keys.Offer(bob).Append(nil)

	// Alice verifies the signatures with the identity key in the bundle. That this key
	// is Bob's she must know from elsewhere.
	bundle, err := pqxdh.ParseBundle(published)
	check(err)
	if bundle.IdentityKey != bob.Key.PublicKey() {
		log.Fatal("somebody else's bundle")
	}
	alices, header, err := pqxdh.Initiate(pqxdh.Chate2eV1, alice, bob.Address, bundle, now)
	check(err)

	// Bob finds the prekeys that the header names.
	own := keys.Find(header)
	bobs, err := pqxdh.Accept(pqxdh.Chate2eV1, bob, alice.Address, header, own, now)
	check(err)
	fmt.Println(alices.Root.Equal(bobs.Root), alices.Transcript == bobs.Transcript)
	fmt.Println(alices.Root)

	// A header proves nothing. Only when a message has authenticated under the new keys
	// are the one-time prekeys erased, and then nobody can use them again.
	keys.Consume(pqxdh.Consumed(header, own))
	_, err = pqxdh.Accept(pqxdh.Chate2eV1, bob, alice.Address, header, keys.Find(header), now)
	fmt.Println(err)
	// Output:
	// true true
	// [redacted]
	// pqxdh: unknown prekey
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
