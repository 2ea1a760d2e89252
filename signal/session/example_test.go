package session_test

import (
	"fmt"
	"log"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

// Alice writes to Bob, who is offline; Bob reads it and answers.
func Example() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	alice := &pqxdh.Identity{Address: signal.Address{Name: "alice", Device: 1}, Key: curve.GenerateKey()}
	bob := &pqxdh.Identity{Address: signal.Address{Name: "bob", Device: 1}, Key: curve.GenerateKey()}

	// Bob makes prekeys and publishes a bundle.
	keys, err := pqxdh.NewKeys(bob, 100, now)
	check(err)
	published := keys.Offer(bob).Append(nil)

	// Alice starts a session with the bundle and encrypts.
	bundle, err := pqxdh.ParseBundle(published)
	check(err)
	toBob, err := session.New(pqxdh.Chate2eV1, alice.Address, bob.Address)
	check(err)
	_, err = toBob.Initiate(alice, bundle, now)
	check(err)
	sealed, err := toBob.Encrypt([]byte("Hello Bob"), now)
	check(err)
	stored := toBob.Append(nil) // before the message is sent

	// Bob opens it, and erases the prekeys it used.
	toAlice, err := session.New(pqxdh.Chate2eV1, bob.Address, alice.Address)
	check(err)
	message, err := session.Parse(sealed.Bytes)
	check(err)
	opened, err := toAlice.Decrypt(message, bob, keys.Find(message.Handshake()), now)
	check(err)
	keys.Consume(opened.Used)
	fmt.Printf("%s\n", opened.Plaintext)

	// Bob answers; Alice has been restarted in between.
	sealed, err = toAlice.Encrypt([]byte("Hello Alice"), now)
	check(err)
	toBob, err = session.ParseRecord(stored)
	check(err)
	message, err = session.Parse(sealed.Bytes)
	check(err)
	opened, err = toBob.Decrypt(message, alice, pqxdh.PreKeys{}, now)
	check(err)
	fmt.Printf("%s\n", opened.Plaintext)
	// Output:
	// Hello Bob
	// Hello Alice
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
