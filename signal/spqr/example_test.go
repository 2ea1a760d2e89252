package spqr_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/spqr"
)

// Both sides start from one key of their handshake. Each message takes a key; now
// and then, one brings an epoch.
func Example() {
	handshakeKey := secret.NewKey([32]byte{1, 2, 3}) // 32 secret bytes
	alice, err := spqr.New(spqr.Initiator, handshakeKey, spqr.Config{})
	if err != nil {
		log.Fatal(err)
	}
	bob, err := spqr.New(spqr.Responder, handshakeKey, spqr.Config{})
	if err != nil {
		log.Fatal(err)
	}

	for n := 1; alice.Status().Completed == 0 || bob.Status().Completed == 0; n++ {
		out, err := alice.Send()
		if err != nil {
			log.Fatal(err)
		}
		sealedWith, message := bytes.Clone(out.Key()), out.Message()
		out.Commit() // before the message leaves

		in, err := bob.Receive(message)
		if err != nil {
			log.Fatal(err)
		}
		opened := bytes.Equal(sealedWith, in.Key()) // stands for the AEAD
		if !opened {
			in.Discard()
			continue
		}
		if e := in.Event(); n <= 2 || e.Completed > 0 {
			fmt.Printf("message %d: %v chunk %d, key %d of epoch %d\n", n, e.Payload, e.Point, e.KeyIndex, e.KeyEpoch)
		}
		in.Commit()
		alice, bob = bob, alice // the other one answers
	}
	fmt.Println("epoch", alice.Status().Completed, "is complete")
	// Output:
	// message 1: header chunk 0, key 1 of epoch 0
	// message 2: none chunk 0, key 1 of epoch 0
	// message 86: ciphertext 2 chunk 4, key 43 of epoch 0
	// epoch 1 is complete
}
