package kem_test

import (
	"bytes"
	"crypto/mlkem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	circl "github.com/cloudflare/circl/kem"
	"github.com/cloudflare/circl/kem/kyber/kyber1024"
	"github.com/cloudflare/circl/kem/mlkem/mlkem1024"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/kem"
)

// peers are independent implementations of both mechanisms.
var peers = map[kem.Kind]circl.Scheme{
	kem.MLKEM1024: mlkem1024.Scheme(),
	kem.Kyber1024: kyber1024.Scheme(),
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func privateKey(tb testing.TB, kind kem.Kind, seed []byte) *kem.PrivateKey {
	tb.Helper()
	key, err := kem.NewPrivateKey(kind, seed)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func publicKey(tb testing.TB, encoded []byte) *kem.PublicKey {
	tb.Helper()
	key, err := kem.ParsePublicKey(encoded)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func decapsulate(tb testing.TB, key *kem.PrivateKey, ciphertext []byte) []byte {
	tb.Helper()
	shared, err := key.Decapsulate(ciphertext)
	if err != nil {
		tb.Fatal(err)
	}
	return shared.Bytes()
}

var kinds = []kem.Kind{kem.MLKEM1024, kem.Kyber1024}

func TestAgreement(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			for range 10 {
				key := kem.GenerateKey(kind)
				public := publicKey(t, key.PublicKey().Encode())
				theirs, ciphertext := public.Encapsulate()
				if !bytes.Equal(decapsulate(t, key, ciphertext), theirs.Bytes()) {
					t.Fatal("the two sides have different secrets")
				}
				loaded := privateKey(t, kind, key.Seed())
				if !loaded.PublicKey().Equal(public) {
					t.Fatal("a key is not the same after it was stored and loaded")
				}
				if !bytes.Equal(decapsulate(t, loaded, ciphertext), theirs.Bytes()) {
					t.Fatal("a loaded key has another secret")
				}
				if again, second := public.Encapsulate(); again.Equal(theirs) || bytes.Equal(second, ciphertext) {
					t.Fatal("two encapsulations are the same: they are not random")
				}
			}
		})
	}
}

// TestPeers lets both sides be played by an independent implementation.
func TestPeers(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			peer := peers[kind]
			for range 20 {
				// Their key, our encapsulation.
				theirPublic, theirPrivate, err := peer.GenerateKeyPair()
				if err != nil {
					t.Fatal(err)
				}
				public := publicKey(t, append([]byte{byte(kind)}, must(theirPublic.MarshalBinary())...))
				shared, ciphertext := public.Encapsulate()
				if theirs := must(peer.Decapsulate(theirPrivate, ciphertext[1:])); !bytes.Equal(shared.Bytes(), theirs) {
					t.Fatal("the peer decapsulates another secret")
				}

				// Our key, their encapsulation.
				our := kem.GenerateKey(kind)
				theirView := must(peer.UnmarshalBinaryPublicKey(our.PublicKey().Encode()[1:]))
				theirCiphertext, theirs, err := peer.Encapsulate(theirView)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(decapsulate(t, our, append([]byte{byte(kind)}, theirCiphertext...)), theirs) {
					t.Fatal("we decapsulate another secret than the peer")
				}
			}
		})
	}
}

// TestKinds: the two mechanisms share their keys' bytes, but not the secrets.
func TestKinds(t *testing.T) {
	seed := testrand.New(t).Bytes(kem.SeedSize)
	mlkemKey, kyberKey := privateKey(t, kem.MLKEM1024, seed), privateKey(t, kem.Kyber1024, seed)
	a, b := mlkemKey.PublicKey(), kyberKey.PublicKey()
	if !bytes.Equal(a.Encode()[1:], b.Encode()[1:]) {
		t.Error("one seed gives different keys")
	}
	if a.Equal(b) || a.Kind() != kem.MLKEM1024 || b.Kind() != kem.Kyber1024 ||
		mlkemKey.Kind() != kem.MLKEM1024 || kyberKey.Kind() != kem.Kyber1024 {
		t.Error("the kinds are mixed up")
	}
	shared, ciphertext := a.Encapsulate()
	if ciphertext[0] != 0x0A {
		t.Errorf("an ML-KEM ciphertext has the type %#x", ciphertext[0])
	}
	if got, err := kyberKey.Decapsulate(ciphertext); !got.IsZero() || !errors.Is(err, kem.ErrCiphertext) {
		t.Errorf("a Kyber key takes an ML-KEM ciphertext: %v", err)
	}
	ciphertext[0] = 0x08
	if bytes.Equal(decapsulate(t, kyberKey, ciphertext), shared.Bytes()) {
		t.Error("both mechanisms give the same secret")
	}
	if got, err := mlkemKey.Decapsulate(ciphertext); !got.IsZero() || !errors.Is(err, kem.ErrCiphertext) {
		t.Errorf("an ML-KEM key takes a Kyber ciphertext: %v", err)
	}
	for kind, want := range map[kem.Kind]string{
		kem.MLKEM1024: "ML-KEM-1024", kem.Kyber1024: "Kyber1024", 0x07: "unknown KEM 0x07",
	} {
		if kind.String() != want {
			t.Errorf("kind %#x is called %s, want %s", byte(kind), kind, want)
		}
	}
}

// unknown are type bytes of other keys, among them Kyber768 and an elliptic
// curve.
var unknown = []kem.Kind{0, 0x05, 0x07, 0x09, 0x0B, 0xFF}

func TestPrivateKeyRefuses(t *testing.T) {
	for _, size := range []int{0, 32, 63, 65, 3168} {
		if key, err := kem.NewPrivateKey(kem.MLKEM1024, make([]byte, size)); key != nil || !errors.Is(err, kem.ErrPrivateKey) {
			t.Errorf("a seed of %d bytes: %v, %v", size, key, err)
		}
	}
	for _, kind := range unknown {
		if key, err := kem.NewPrivateKey(kind, make([]byte, kem.SeedSize)); key != nil || !errors.Is(err, kem.ErrPrivateKey) {
			t.Errorf("%v: %v, %v", kind, key, err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: GenerateKey does not panic", kind)
				}
			}()
			kem.GenerateKey(kind)
		}()
	}
}

func TestPublicKeyRefuses(t *testing.T) {
	good := kem.GenerateKey(kem.Kyber1024).PublicKey().Encode()
	bad := map[string][]byte{
		"nothing":         nil,
		"a type byte":     good[:1],
		"no type byte":    good[1:],
		"a missing byte":  good[:len(good)-1],
		"a trailing byte": append(bytes.Clone(good), 0),
		"a megabyte":      append(bytes.Clone(good), make([]byte, 1<<20)...),
	}
	for _, kind := range unknown {
		bad[kind.String()] = append([]byte{byte(kind)}, good[1:]...)
	}
	for name, b := range bad {
		if key, err := kem.ParsePublicKey(b); key != nil || !errors.Is(err, kem.ErrPublicKey) {
			t.Errorf("%s: %v, %v", name, key, err)
		}
	}
}

// withCoefficient returns an encoded public key with one of its 1,024
// coefficients, of twelve bits each, set to a value.
func withCoefficient(encoded []byte, index int, value uint16) []byte {
	b := bytes.Clone(encoded)
	pair := b[1+index/2*3:]
	if index%2 == 0 {
		pair[0], pair[1] = byte(value), pair[1]&0xF0|byte(value>>8)
	} else {
		pair[1], pair[2] = pair[1]&0x0F|byte(value<<4), byte(value>>4)
	}
	return b
}

// TestModulus is the check of FIPS 203, Section 7.2: every coefficient is below
// q = 3,329.
func TestModulus(t *testing.T) {
	const q = 3329
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			good := kem.GenerateKey(kind).PublicKey().Encode()
			for index := range 1024 {
				b := withCoefficient(good, index, q-1)
				if key, err := kem.ParsePublicKey(b); err != nil || !bytes.Equal(key.Encode(), b) {
					t.Errorf("coefficient %d is q - 1: %v", index, err)
				}
				for _, value := range []uint16{q, q + 1, 1<<12 - 1} {
					if key, err := kem.ParsePublicKey(withCoefficient(good, index, value)); key != nil || !errors.Is(err, kem.ErrPublicKey) {
						t.Errorf("coefficient %d is %d: %v", index, value, err)
					}
				}
			}
		})
	}
}

func TestCiphertextRefuses(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			key := kem.GenerateKey(kind)
			_, good := key.PublicKey().Encapsulate()
			bad := map[string][]byte{
				"nothing":         nil,
				"a type byte":     good[:1],
				"no type byte":    good[1:],
				"a missing byte":  good[:len(good)-1],
				"a trailing byte": append(bytes.Clone(good), 0),
				"a megabyte":      append(bytes.Clone(good), make([]byte, 1<<20)...),
			}
			for _, other := range append(slices.Clone(unknown), kem.MLKEM1024, kem.Kyber1024) {
				if other != kind {
					bad[other.String()] = append([]byte{byte(other)}, good[1:]...)
				}
			}
			for name, b := range bad {
				if shared, err := key.Decapsulate(b); !shared.IsZero() || !errors.Is(err, kem.ErrCiphertext) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestImplicitRejection: a changed ciphertext, or one for another key, is not an
// error, but gives a secret that is different for every ciphertext and always
// the same for one.
func TestImplicitRejection(t *testing.T) {
	r := testrand.New(t)
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			seed := r.Bytes(kem.SeedSize)
			key := privateKey(t, kind, seed)
			shared, ciphertext := key.PublicKey().Encapsulate()
			_, foreign := kem.GenerateKey(kind).PublicKey().Encapsulate()
			wrong := [][]byte{foreign, append([]byte{byte(kind)}, make([]byte, mlkem.CiphertextSize1024)...)}
			for at := 1; at < len(ciphertext); at += 39 {
				changed := bytes.Clone(ciphertext)
				changed[at] ^= 1 << r.IntN(8)
				wrong = append(wrong, changed)
			}
			_, theirKey := mlkem1024.NewKeyFromSeed(seed)
			seen := map[string]bool{string(shared.Bytes()): true}
			for i, changed := range wrong {
				got := decapsulate(t, key, changed)
				if seen[string(got)] {
					t.Errorf("ciphertext %d gives a secret that was seen before", i)
				}
				seen[string(got)] = true
				if !bytes.Equal(got, decapsulate(t, key, changed)) {
					t.Errorf("ciphertext %d gives different secrets", i)
				}
				// For ML-KEM the pseudorandom secret is that of the standard.
				if theirs := must(mlkem1024.Scheme().Decapsulate(theirKey, changed[1:])); kind == kem.MLKEM1024 && !bytes.Equal(got, theirs) {
					t.Errorf("ciphertext %d gives another secret than the peer has", i)
				}
			}
		})
	}
}

// TestCopies: who stores a key or changes what was returned does not change the
// key.
func TestCopies(t *testing.T) {
	seed := testrand.New(t).Bytes(kem.SeedSize)
	key := privateKey(t, kem.MLKEM1024, seed)
	public := key.PublicKey()
	encoded, wantSeed := public.Encode(), key.Seed()
	parsed := publicKey(t, encoded)

	clear(seed)
	clear(key.Seed())
	clear(public.Encode())
	if !bytes.Equal(key.Seed(), wantSeed) || !bytes.Equal(public.Encode(), encoded) {
		t.Error("a key shares its bytes")
	}
	want := bytes.Clone(encoded)
	clear(encoded)
	if !bytes.Equal(parsed.Encode(), want) {
		t.Error("a parsed key shares the bytes it was parsed from")
	}
}

// TestConcurrentUse is for the race detector: expanding the seed is lazy.
func TestConcurrentUse(t *testing.T) {
	seed := testrand.New(t).Bytes(kem.SeedSize)
	key := privateKey(t, kem.Kyber1024, seed)
	shared, ciphertext := privateKey(t, kem.Kyber1024, seed).PublicKey().Encapsulate()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			got, err := key.Decapsulate(ciphertext)
			if err != nil || !got.Equal(shared) {
				t.Errorf("another secret, or %v", err)
			}
			if key.PublicKey().Kind() != kem.Kyber1024 {
				t.Error("another kind")
			}
		})
	}
	group.Wait()
}

// TestErrorsAreSilent: no error quotes the seed it was given.
func TestErrorsAreSilent(t *testing.T) {
	seed := bytes.Repeat([]byte{0xA7}, 63)
	_, err := kem.NewPrivateKey(kem.MLKEM1024, seed)
	for _, format := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(format, err); bytes.Contains([]byte(text), seed[:4]) || bytes.Contains([]byte(text), []byte("a7a7")) {
			t.Errorf("%s of the error shows the seed", format)
		}
	}
}
