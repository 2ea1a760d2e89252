package kdf_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

// Two uses with the same label, or one label that another one begins with and
// that has context behind it, could derive the same bytes for two purposes.
func TestLabels(t *testing.T) {
	// Labels that stand before something else, rather than alone.
	contextFollows := map[kdf.Label]bool{
		kdf.Chate2eHandshake:  true,
		kdf.Chate2eTranscript: true,
		kdf.Chate2ePreKey:     true,
	}
	all := kdf.All()
	if len(all) < len(contextFollows) {
		t.Fatalf("%d labels", len(all))
	}
	names := map[string]kdf.Label{}
	for _, label := range all {
		name := label.String()
		if name == "" {
			t.Errorf("label %d is empty", label)
		}
		if other, taken := names[name]; taken {
			t.Errorf("labels %d and %d are both %q", label, other, name)
		}
		names[name] = label
		for _, other := range all {
			if other != label && contextFollows[label] && strings.HasPrefix(other.String(), name) {
				t.Errorf("%q begins like %q, behind which context follows", other, name)
			}
		}
	}
	for _, none := range []kdf.Label{0, kdf.Label(len(all) + 1), 255} {
		if got := none.String(); got != "" {
			t.Errorf("label %d is %q, want none", none, got)
		}
	}
}

func hmacSHA256(key, data []byte) [32]byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return [32]byte(h.Sum(nil))
}

func TestStep(t *testing.T) {
	r := testrand.New(t)
	for range 1000 {
		key := [32]byte(r.Bytes(32))
		before := key
		seed, next := kdf.Step(&key)
		if want := hmacSHA256(key[:], []byte{1}); seed != want {
			t.Errorf("seed of %x is %x, want %x", key, seed, want)
		}
		if want := hmacSHA256(key[:], []byte{2}); next != want || kdf.Next(&key) != want {
			t.Errorf("the key after %x is %x and %x, want %x", key, next, kdf.Next(&key), want)
		}
		if key != before {
			t.Error("the chain key has changed")
		}
	}
}

// A forged gap must not leave garbage behind.
func TestStepAllocatesNothing(t *testing.T) {
	var key [32]byte
	if n := testing.AllocsPerRun(100, func() { _, key = kdf.Step(&key) }); n != 0 {
		t.Errorf("Step makes %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { key = kdf.Next(&key) }); n != 0 {
		t.Errorf("Next makes %v allocations", n)
	}
}

func TestHKDF(t *testing.T) {
	r := testrand.New(t)
	for n := range 100 {
		secret, salt := r.Bytes(n), r.Bytes(32)
		want, err := hkdf.Key(sha256.New, secret, salt, "info", n)
		if err != nil {
			t.Fatal(err)
		}
		if got := kdf.HKDF(secret, salt, "info", n); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %x, want %x", n, got, want)
		}
		none, err := hkdf.Key(sha256.New, secret, nil, "info", 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := kdf.HKDF(secret, kdf.Zero[:], "info", 64); !bytes.Equal(got, none) {
			t.Errorf("without a salt: %x, want %x", got, none)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("8,161 bytes: no panic")
		}
	}()
	kdf.HKDF(nil, nil, "", 255*32+1)
}

func TestOfficialVectors(t *testing.T) {
	var file struct {
		Subdomains struct {
			ChainKey []struct {
				ChainKey     testvectors.Hex `json:"chain_key"`
				NextChainKey testvectors.Hex `json:"next_chain_key"`
			} `json:"chain-key"`
			MessageKeys []struct {
				ChainKey  testvectors.Hex `json:"chain_key"`
				CipherKey testvectors.Hex `json:"cipher_key"`
				MACKey    testvectors.Hex `json:"mac_key"`
				IV        testvectors.Hex `json:"iv"`
			} `json:"message-keys"`
			RootKey []struct {
				RootKey     testvectors.Hex `json:"root_key"`
				DHOutput    testvectors.Hex `json:"dh_output"`
				NextRootKey testvectors.Hex `json:"next_root_key"`
				ChainKey    testvectors.Hex `json:"chain_key"`
			} `json:"root-key"`
		}
	}
	testvectors.Official(t, "hkdf.json", &file)
	vectors := &file.Subdomains
	if len(vectors.ChainKey) == 0 || len(vectors.MessageKeys) == 0 || len(vectors.RootKey) == 0 {
		t.Fatal("vectors are missing")
	}
	for i, v := range vectors.ChainKey {
		key := [32]byte(v.ChainKey)
		if _, got := kdf.Step(&key); !bytes.Equal(got[:], v.NextChainKey) {
			t.Errorf("chain key %d: %x, want %x", i, got, v.NextChainKey)
		}
	}
	for i, v := range vectors.MessageKeys {
		key := [32]byte(v.ChainKey)
		seed, _ := kdf.Step(&key)
		got := kdf.HKDF(seed[:], kdf.Zero[:], kdf.LibsignalMessage.String(), 80)
		if want := bytes.Join([][]byte{v.CipherKey, v.MACKey, v.IV}, nil); !bytes.Equal(got, want) {
			t.Errorf("message keys %d: %x, want %x", i, got, want)
		}
	}
	for i, v := range vectors.RootKey {
		got := kdf.HKDF(v.DHOutput, v.RootKey, kdf.LibsignalRoot.String(), 64)
		if want := append(bytes.Clone(v.NextRootKey), v.ChainKey...); !bytes.Equal(got, want) {
			t.Errorf("root key %d: %x, want %x", i, got, want)
		}
	}
}
