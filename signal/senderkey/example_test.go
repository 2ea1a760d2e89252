package senderkey_test

import (
	"fmt"
	"log"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/senderkey"
)

// Alice writes to a group in which Bob is.
func Example() {
	friends := senderkey.GroupID{0x5e, 0x11}
	aliceAddress := signal.Address{Name: "alice", Device: 1}

	// Alice makes her chain, and gives it to each member inside of a 1:1 session.
	toGroup, err := senderkey.NewSender(senderkey.Chate2eV1, friends, aliceAddress)
	check(err)
	distribution := toGroup.Distribution()

	// Bob, in whose session with Alice the distribution message opened, takes it.
	fromAlice, err := senderkey.NewReceiver(senderkey.Chate2eV1, friends, aliceAddress)
	check(err)
	check(fromAlice.Process(distribution))

	// The same bytes go to everybody.
	sent, err := toGroup.Encrypt([]byte("Hello everybody"))
	check(err)
	stored := toGroup.Append(nil) // before the message is sent
	_ = stored

	message, err := senderkey.Parse(senderkey.Chate2eV1, sent)
	check(err)
	plaintext, err := fromAlice.Decrypt(message)
	check(err)
	fmt.Printf("%s\n", plaintext)
	// Output:
	// Hello everybody
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
