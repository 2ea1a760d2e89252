package sealed_test

import (
	"fmt"
	"log"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/sealed"
)

// Bob publishes a key, and Alice puts a message into an envelope for it.
func Example() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	alice := signal.Address{Name: "alice", Device: 1}
	bob := signal.Address{Name: "bob", Device: 1}
	bobIdentity := curve.GenerateKey()

	// Bob makes a key and publishes it under his signature.
	key := sealed.GenerateKey()
	bobKeys := map[sealed.KeyID]*sealed.PrivateKey{key.PublicKey().ID(): key}
	signed, err := key.PublicKey().Sign(bobIdentity, bob, now)
	check(err)
	published := signed.Append(nil)

	// Alice verifies it and seals a message that she has encrypted in a session.
	theirs, err := sealed.ParseSignedKey(published)
	check(err)
	public, err := theirs.Verify(bobIdentity.PublicKey(), bob, now)
	check(err)
	envelope, err := sealed.Seal(public, bob, sealed.Letter{From: alice, Message: []byte("a message of a session")})
	check(err)

	// Bob opens it. The message inside will tell whether Alice wrote it.
	e, err := sealed.Parse(envelope)
	check(err)
	letter, err := e.Open(bobKeys[e.KeyID()], bob)
	check(err)
	fmt.Printf("as if from %s: %s\n", letter.From.Name, letter.Message)
	// Output:
	// as if from alice: a message of a session
}

// The official library's sealed sender, for one device.
func ExampleUnseal() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	alice := signal.Address{Name: "9d0652a3-dcc3-4d11-975f-74d61598733f", Device: 1}
	bob := signal.Address{Name: "796abedb-ca4e-4f18-8803-1fde5b921f9f", Device: 2}
	aliceKey, bobKey := curve.GenerateKey(), curve.GenerateKey()

	// A server, which a trust root has certified, certifies Alice's key.
	root, serverKey := curve.GenerateKey(), curve.GenerateKey()
	server := sealed.NewServerCertificate(1, serverKey.PublicKey(), root)
	certificate, err := sealed.NewSenderCertificate(alice, aliceKey.PublicKey(), now.AddDate(0, 0, 1), server, serverKey)
	check(err)

	b, err := sealed.SealV1(aliceKey, bobKey.PublicKey(), &sealed.Content{
		Type: sealed.TypeMessage, Sender: certificate, Message: []byte("a message of a session"),
	})
	check(err)

	unverified, err := sealed.Unseal(bobKey, b)
	check(err)
	content, err := unverified.Verify(&sealed.Trust{Roots: []curve.PublicKey{root.PublicKey()}}, bob, now)
	check(err)
	fmt.Println(content.Sender.Sender == alice)
	fmt.Printf("%s\n", content.Message)
	// Output:
	// true
	// a message of a session
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
