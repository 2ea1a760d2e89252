package ratchet_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// The official library's root steps: root key and ratchet keys in, next root key
// and the chain's first seed and key out.
func TestOfficialRootSteps(t *testing.T) {
	var file struct {
		Subdomains struct {
			RootKey []struct {
				RootKey     testvectors.Hex `json:"root_key"`
				OurPrivate  testvectors.Hex `json:"our_private"`
				TheirPublic testvectors.Hex `json:"their_public"`
				NextRootKey testvectors.Hex `json:"next_root_key"`
				ChainKey    testvectors.Hex `json:"chain_key"`
			} `json:"root-key"`
		}
	}
	testvectors.Official(t, "hkdf.json", &file)
	if len(file.Subdomains.RootKey) == 0 {
		t.Fatal("no vectors")
	}
	rules := ratchet.Rules{RootInfo: "WhisperRatchet", MaxForward: 10, MaxSkipped: 10, MaxChains: 5, KeepChains: true}
	mac := func(key []byte, b byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte{b})
		return h.Sum(nil)
	}
	for i, v := range file.Subdomains.RootKey {
		our, err := curve.NewPrivateKey(v.OurPrivate)
		if err != nil {
			t.Fatal(err)
		}
		their, err := curve.ParsePublicKey(v.TheirPublic)
		if err != nil {
			t.Fatal(err)
		}
		state := ratchet.NewResponder(rules, secret.NewKey([32]byte(v.RootKey)), our)
		opening, err := state.Receive(ratchet.Header{RatchetKey: their})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := opening.Seed()[:], mac(v.ChainKey, 1); !bytes.Equal(got, want) {
			t.Errorf("%d: seed %x, want %x", i, got, want)
		}
		opening.Commit()
		b := state.Append(nil)
		if got := b[1:33]; !bytes.Equal(got, v.NextRootKey) {
			t.Errorf("%d: root key %x, want %x", i, got, v.NextRootKey)
		}
		if next := mac(v.ChainKey, 2); !bytes.Contains(b, next) {
			t.Errorf("%d: the chain key is not %x", i, next)
		}
	}
}
