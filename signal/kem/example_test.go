package kem_test

import (
	"fmt"

	"github.com/chate2e/chate2e/signal/kem"
)

func Example() {
	// Bob publishes a key, 1,569 bytes with its type byte.
	bob := kem.GenerateKey(kem.MLKEM1024)
	encoded := bob.PublicKey().Encode()

	// Alice makes a secret, and a ciphertext for Bob to obtain it from.
	public, err := kem.ParsePublicKey(encoded)
	if err != nil {
		fmt.Println(err)
		return
	}
	alices, ciphertext := public.Encapsulate()

	bobs, err := bob.Decapsulate(ciphertext)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(public.Kind(), len(encoded), len(ciphertext))
	fmt.Println(alices.Equal(bobs))
	fmt.Println(alices)
	// Output:
	// ML-KEM-1024 1569 1569
	// true
	// [redacted]
}

func ExampleNewPrivateKey() {
	key := kem.GenerateKey(kem.MLKEM1024)
	stored := key.Seed() // 64 bytes, to be encrypted before they reach a disk

	loaded, err := kem.NewPrivateKey(key.Kind(), stored)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(loaded.PublicKey().Equal(key.PublicKey()))
	// Output: true
}
