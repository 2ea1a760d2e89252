package ratchet_test

import (
	"testing"

	"github.com/chate2e/chate2e/internal/testleak"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// secretsOf returns every secret of a state and of the seeds given.
func secretsOf(s *ratchet.State, seeds ...[32]byte) [][]byte {
	b := s.Append(nil)
	const ourAt, sendAt = 1 + 32 + 4 + 4, 1 + 32 + 4 + 4 + 64 + 32
	secrets := [][]byte{b[1:33], b[ourAt : ourAt+32], b[sendAt : sendAt+32]}
	for _, seed := range seeds {
		secrets = append(secrets, seed[:])
	}
	return secrets
}

func TestNothingPrints(t *testing.T) {
	alice, bob := pair(t, byTheBook)
	turn(t, alice, bob)
	messages := sendMany(t, alice, 4)
	deliver(t, bob, messages[2])
	send(t, bob)
	secrets := secretsOf(bob, messages[0].seed, messages[1].seed, messages[3].seed)
	testleak.Check(t, bob, secrets...)
	testleak.Check(t, *bob, secrets...)

	for _, m := range []message{messages[0], messages[3]} {
		opening, err := bob.Receive(m.header)
		if err != nil {
			t.Fatal(err)
		}
		if *opening.Seed() != m.seed {
			t.Fatal("the seeds differ")
		}
		testleak.Check(t, opening, secrets...)
		testleak.Check(t, *opening, secrets...)
	}
}
