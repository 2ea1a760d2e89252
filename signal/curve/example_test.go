package curve_test

import (
	"fmt"

	"github.com/chate2e/chate2e/signal/curve"
)

func ExamplePrivateKey_ECDH() {
	alice, bob := curve.GenerateKey(), curve.GenerateKey()

	// What travels is the encoded public key, 33 bytes.
	encoded := bob.PublicKey().Encode()
	public, err := curve.ParsePublicKey(encoded[:])
	if err != nil {
		fmt.Println(err)
		return
	}
	alices, err := alice.ECDH(public)
	if err != nil {
		fmt.Println(err)
		return
	}
	bobs, err := bob.ECDH(alice.PublicKey())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(alices.Equal(bobs))
	fmt.Println(alices)
	// Output:
	// true
	// [redacted]
}

func ExamplePrivateKey_Sign() {
	identity := curve.GenerateKey()
	prekey := curve.GenerateKey().PublicKey().Encode()

	signature := identity.Sign(prekey[:])
	fmt.Println(identity.PublicKey().Verify(prekey[:], signature))

	prekey[1] ^= 1
	fmt.Println(identity.PublicKey().Verify(prekey[:], signature))
	// Output:
	// true
	// false
}

func ExampleNewPrivateKey() {
	key := curve.GenerateKey()
	stored := key.Bytes() // to be encrypted before it reaches a disk

	loaded, err := curve.NewPrivateKey(stored)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(loaded.PublicKey() == key.PublicKey())
	// Output: true
}
