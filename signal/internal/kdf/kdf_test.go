package kdf_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

// TestLabels: two uses of a function with one label could be made to agree on a
// key.
func TestLabels(t *testing.T) {
	seen := map[string]kdf.Label{}
	for _, label := range kdf.All() {
		text := label.String()
		if text == "" {
			t.Errorf("label %d has no text", label)
		}
		if other, ok := seen[text]; ok {
			t.Errorf("labels %d and %d are both %q", other, label, text)
		}
		seen[text] = label
	}
	for text, label := range seen {
		// Context may follow a label, but not these.
		if label == kdf.LibsignalX3DH || label == kdf.LibsignalSealed2Recipient {
			continue
		}
		for other := range seen {
			if other != text && strings.HasPrefix(other, text) {
				t.Errorf("%q is the beginning of %q", text, other)
			}
		}
	}
	if len(seen) == 0 {
		t.Error("there are no labels")
	}
	for _, none := range []kdf.Label{0, kdf.Label(len(kdf.All()) + 1), 255} {
		if none.String() != "" {
			t.Errorf("label %d should not exist, and is %q", none, none)
		}
	}
}

func hmacSHA256(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// TestStep compares the hand-written HMAC over one byte with the standard
// library's.
func TestStep(t *testing.T) {
	r := testrand.New(t)
	keys := [][]byte{make([]byte, 32), bytes.Repeat([]byte{0xFF}, 32), bytes.Repeat([]byte{0x36}, 32), bytes.Repeat([]byte{0x5C}, 32)}
	for range 100 {
		keys = append(keys, r.Bytes(32))
	}
	for _, b := range keys {
		key := [32]byte(b)
		seed, next := kdf.Step(&key)
		if want := hmacSHA256(b, []byte{1}); !bytes.Equal(seed[:], want) {
			t.Errorf("seed %x, want %x", seed, want)
		}
		if want := hmacSHA256(b, []byte{2}); !bytes.Equal(next[:], want) {
			t.Errorf("next %x, want %x", next, want)
		}
		if kdf.Next(&key) != next {
			t.Error("Next and Step disagree")
		}
		if !bytes.Equal(key[:], b) {
			t.Error("the chain key was changed")
		}
	}
}

// TestWycheproofHKDF covers RFC 5869 with its edge cases; what is longer than 255
// blocks must not be made.
func TestWycheproofHKDF(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			Tests []struct {
				TcID   int
				Result string
				IKM    testvectors.Hex
				Salt   testvectors.Hex
				Info   testvectors.Hex
				Size   int
				OKM    testvectors.Hex
			}
		}
	}
	testvectors.Wycheproof(t, "hkdf_sha256_test.json", &file)
	count, invalid := 0, 0
	for _, group := range file.TestGroups {
		for _, c := range group.Tests {
			count++
			if c.Result != "valid" {
				invalid++
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("%d: %d bytes do not panic", c.TcID, c.Size)
						}
					}()
					kdf.HKDF(c.IKM, c.Salt, string(c.Info), c.Size)
				}()
				continue
			}
			if got := kdf.HKDF(c.IKM, c.Salt, string(c.Info), c.Size); !bytes.Equal(got, c.OKM) {
				t.Errorf("%d: %x, want %x", c.TcID, got, c.OKM)
			}
			if len(c.Salt) == 0 {
				if got := kdf.HKDF(c.IKM, kdf.Zero[:], string(c.Info), c.Size); !bytes.Equal(got, c.OKM) {
					t.Errorf("%d: 32 zeros are not like no salt", c.TcID)
				}
			}
		}
	}
	if count != file.NumberOfTests || invalid == 0 {
		t.Errorf("%d tests of %d ran, %d of them invalid", count, file.NumberOfTests, invalid)
	}
}

// TestWycheproofHMAC covers crypto/hmac, which TestStep compares with and the
// messages of the official library use.
func TestWycheproofHMAC(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			TagSize int
			Tests   []struct {
				TcID   int
				Result string
				Key    testvectors.Hex
				Msg    testvectors.Hex
				Tag    testvectors.Hex
			}
		}
	}
	testvectors.Wycheproof(t, "hmac_sha256_test.json", &file)
	count := 0
	for _, group := range file.TestGroups {
		for _, c := range group.Tests {
			count++
			tag := hmacSHA256(c.Key, c.Msg)[:group.TagSize/8]
			if got, want := hmac.Equal(tag, c.Tag), c.Result == "valid"; got != want {
				t.Errorf("%d: equal %v, want %v", c.TcID, got, want)
			}
		}
	}
	if count != file.NumberOfTests || count == 0 {
		t.Errorf("%d tests of %d ran", count, file.NumberOfTests)
	}
}

// TestVectors has the official library's chains, roots and handshakes.
func TestVectors(t *testing.T) {
	type hex = testvectors.Hex
	var file struct {
		Subdomains struct {
			ChainKey []struct {
				ChainKey hex `json:"chain_key"`
				Next     hex `json:"next_chain_key"`
			} `json:"chain-key"`
			MessageKeys []struct {
				ChainKey  hex `json:"chain_key"`
				CipherKey hex `json:"cipher_key"`
				MACKey    hex `json:"mac_key"`
				IV        hex `json:"iv"`
			} `json:"message-keys"`
			RootKey []struct {
				RootKey  hex `json:"root_key"`
				Private  hex `json:"our_private"`
				Public   hex `json:"their_public"`
				Shared   hex `json:"dh_output"`
				NextRoot hex `json:"next_root_key"`
				ChainKey hex `json:"chain_key"`
			} `json:"root-key"`
			Handshake []struct {
				Input    hex `json:"secret_input"`
				RootKey  hex `json:"root_key"`
				ChainKey hex `json:"chain_key"`
				PQRKey   hex `json:"pqr_key"`
			} `json:"pqxdh-secret"`
		} `json:"subdomains"`
	}
	testvectors.Official(t, "hkdf.json", &file)
	sub := file.Subdomains
	if len(sub.ChainKey) == 0 || len(sub.MessageKeys) == 0 || len(sub.RootKey) == 0 || len(sub.Handshake) == 0 {
		t.Fatal("a part of the file is empty")
	}
	check := func(name string, i int, got []byte, want ...hex) {
		t.Helper()
		if all := slices.Concat(want...); !bytes.Equal(got, all) {
			t.Errorf("%s %d: %x, want %x", name, i, got, all)
		}
	}
	for i, c := range sub.ChainKey {
		_, next := kdf.Step((*[32]byte)(c.ChainKey))
		check("chain key", i, next[:], c.Next)
	}
	for i, c := range sub.MessageKeys {
		seed, _ := kdf.Step((*[32]byte)(c.ChainKey))
		check("message keys", i, kdf.HKDF(seed[:], kdf.Zero[:], kdf.LibsignalMessage.String(), 80), c.CipherKey, c.MACKey, c.IV)
	}
	for i, c := range sub.RootKey {
		private, err := curve.NewPrivateKey(c.Private)
		if err != nil {
			t.Fatal(err)
		}
		public, err := curve.ParsePublicKey(c.Public)
		if err != nil {
			t.Fatal(err)
		}
		shared, err := private.ECDH(public)
		if err != nil {
			t.Fatal(err)
		}
		check("agreement", i, shared.Bytes(), c.Shared)
		check("root key", i, kdf.HKDF(shared.Bytes(), c.RootKey, kdf.LibsignalRoot.String(), 64), c.NextRoot, c.ChainKey)
	}
	for i, c := range sub.Handshake {
		check("handshake", i, kdf.HKDF(c.Input, kdf.Zero[:], kdf.LibsignalPQXDH.String(), 96), c.RootKey, c.ChainKey, c.PQRKey)
	}
}

// TestAllocations: a forged gap costs thousands of steps before its tag can be
// refused.
func TestAllocations(t *testing.T) {
	key := [32]byte{1}
	if allocs := testing.AllocsPerRun(100, func() { kdf.Step(&key); kdf.Next(&key) }); allocs != 0 {
		t.Errorf("two steps take %v allocations", allocs)
	}
}

func BenchmarkStep(b *testing.B) {
	key := [32]byte{1}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			kdf.Step(&key)
		}
	})
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			hmacSHA256(key[:], []byte{1})
			hmacSHA256(key[:], []byte{2})
		}
	})
}

// TestFill compares the hand-written HKDF with the standard library's, with
// lengths around every boundary of the hash function and of the room it has.
func TestFill(t *testing.T) {
	r := testrand.New(t)
	for _, size := range []int{0, 1, 31, 32, 33, 44, 64, 80, 96, 255} {
		for _, inputs := range []int{0, 1, 31, 32, 48, 55, 56, 63, 64, 65, 95, 96, 127, 128, 129, 500} {
			input, salt, info := r.Bytes(inputs), [32]byte(r.Bytes(32)), r.Bytes(r.IntN(200))
			out := make([]byte, size)
			kdf.Fill(out, input, &salt, info)
			if want := kdf.HKDF(input, salt[:], string(info), size); !bytes.Equal(out, want) {
				t.Errorf("%d bytes from %d with an info of %d: %x, want %x", size, inputs, len(info), out, want)
			}
		}
	}
	most := make([]byte, 255*32)
	kdf.Fill(most, nil, &kdf.Zero, nil)
	if want := kdf.HKDF(nil, kdf.Zero[:], "", len(most)); !bytes.Equal(most, want) {
		t.Error("the longest output differs")
	}
	defer func() {
		if recover() == nil {
			t.Error("more output than there is: no panic")
		}
	}()
	kdf.Fill(append(most, 0), nil, &kdf.Zero, nil)
}

// TestFillAllocates: what every message derives leaves no garbage behind.
func TestFillAllocates(t *testing.T) {
	var out [96]byte
	input, info := make([]byte, 48), make([]byte, 40)
	if n := testing.AllocsPerRun(100, func() { kdf.Fill(out[:], input, &kdf.Zero, info) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
