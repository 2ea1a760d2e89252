package ratchet_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// Both sides start from one root key, which comes out of a handshake; here it is the
// result of a single key agreement. Package session puts all of this together.
func Example() {
	rules := ratchet.Rules{RootInfo: "example root step", MaxForward: 1000, MaxSkipped: 100, MaxChains: 5}
	ephemeral, prekey := curve.GenerateKey(), curve.GenerateKey()
	alices, err := ephemeral.ECDH(prekey.PublicKey())
	check(err)
	bobs, err := prekey.ECDH(ephemeral.PublicKey())
	check(err)
	alice := ratchet.NewInitiator(rules, alices, prekey.PublicKey())
	bob := ratchet.NewResponder(rules, bobs, prekey)

	// Alice takes a seed for each message; the header travels with it, authenticated.
	first, firstSeed, err := alice.Send()
	check(err)
	second, secondSeed, err := alice.Send()
	check(err)

	// The second arrives first. Bob's state changes when he commits, which he does only
	// if the message has opened with the seed.
	opening, err := bob.Receive(second)
	check(err)
	fmt.Println(bytes.Equal(opening.Seed()[:], secondSeed.Bytes()), opening.Skips(), "skipped")
	opening.Commit()

	// The key of the first one was put aside, and is erased with its use.
	opening, err = bob.Receive(first)
	check(err)
	fmt.Println(bytes.Equal(opening.Seed()[:], firstSeed.Bytes()), "late:", opening.Late())
	opening.Commit()
	_, err = bob.Receive(first)
	fmt.Println(err)
	// Output:
	// true 1 skipped
	// true late: true
	// ratchet: message key already used
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
