package safety_test

import (
	"bytes"
	"fmt"

	"github.com/chate2e/chate2e/signal/safety"
)

func Example() {
	alice := safety.Party{ID: []byte("alice's user ID"), Key: bytes.Repeat([]byte{1}, 32)}
	bob := safety.Party{ID: []byte("bob's user ID"), Key: bytes.Repeat([]byte{2}, 32)}

	onAlicesScreen, err := safety.New(alice, bob, safety.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	onBobsScreen, err := safety.New(bob, alice, safety.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(onAlicesScreen.Groups())

	// Bob reads his number out, Alice types it in, with the spaces.
	same, err := onAlicesScreen.Matches(fmt.Sprint(onBobsScreen.Groups())[1:72])
	fmt.Println(same, err)

	// Or Alice scans the code on Bob's screen.
	same, err = onAlicesScreen.Compare(onBobsScreen.Scannable())
	fmt.Println(same, err)

	// Output:
	// [05364 92936 11728 60487 26166 97013 30405 52456 74604 87215 19752 13364]
	// true <nil>
	// true <nil>
}

func ExampleFingerprintOf() {
	encodedPublicKey := append([]byte{0x05}, make([]byte, 32)...)
	fmt.Println(safety.FingerprintOf(encodedPublicKey))
	// Output: 5FFC·2D26·74BE
}
