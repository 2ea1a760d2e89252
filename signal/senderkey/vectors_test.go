package senderkey_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/senderkey"
)

// TestOfficialGroups opens group messages that the official library has made.
func TestOfficialGroups(t *testing.T) {
	var file struct {
		Cases []struct {
			Distribution testvectors.Hex `json:"skdm"`
			Message      testvectors.Hex `json:"skm"`
			Group        testvectors.Hex `json:"distribution_id"`
			ChainID      uint32          `json:"chain_id"`
			Signing      testvectors.Hex `json:"signing_public"`
			Plaintext    testvectors.Hex
		}
	}
	testvectors.Official(t, "groups.json", &file)
	if len(file.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range file.Cases {
		d, ok := senderkey.ParseDistribution(senderkey.Libsignal, c.Distribution)
		if !ok || d.Group != senderkey.GroupID(c.Group) || d.ChainID != c.ChainID || d.Iteration != 0 ||
			d.Signing != must(curve.ParsePublicKey(c.Signing)) {
			t.Fatalf("%x: got %x, chain %d at %d", c.Distribution, d.Group, d.ChainID, d.Iteration)
		}
		if again := senderkey.AppendDistribution(senderkey.Libsignal, d); !bytes.Equal(again, c.Distribution) {
			t.Errorf("got %x, want %x", again, c.Distribution)
		}
		receiver := must(senderkey.NewReceiver(senderkey.Libsignal, d.Group, alice))
		process(t, receiver, c.Distribution)
		opens(t, receiver, c.Message, string(c.Plaintext))
		refuses(t, receiver, c.Message, senderkey.ErrDuplicate)
	}
}

// TestOfficialDerivations opens our messages with the keys that the official
// library derives.
func TestOfficialDerivations(t *testing.T) {
	var file struct {
		Derivations []struct {
			Iteration uint32
			ChainKey  testvectors.Hex `json:"chain_key"`
			CipherKey testvectors.Hex `json:"cipher_key"`
			IV        testvectors.Hex
			Next      testvectors.Hex `json:"next_chain_key"`
		}
	}
	testvectors.Official(t, "groups.json", &file)
	if len(file.Derivations) == 0 {
		t.Fatal("no derivations")
	}
	sender, _ := pair(t, senderkey.Libsignal)
	for _, c := range file.Derivations {
		s := edit(t, sender, func(b []byte) {
			at := len(b) - fromEndIteration
			binary.BigEndian.PutUint32(b[at:], c.Iteration)
			copy(b[at+4:], c.ChainKey)
		})
		const text = "0123456789"
		ciphertext, _ := must(senderkey.Parse(senderkey.Libsignal, encrypt(t, s, text))).Fields()
		got := bytes.Clone(ciphertext)
		cipher.NewCBCDecrypter(must(aes.NewCipher(c.CipherKey)), c.IV).CryptBlocks(got, got)
		if want := text + strings.Repeat("\x06", 6); string(got) != want {
			t.Errorf("%d: got %q, want %q", c.Iteration, got, want)
		}
		b := s.Append(nil)
		if got := b[len(b)-fromEndChain:][:32]; !bytes.Equal(got, c.Next) {
			t.Errorf("%d: next chain key %x, want %x", c.Iteration, got, c.Next)
		}
	}
}

// TestOfficialMessages reads and writes single messages as the official library
// does.
func TestOfficialMessages(t *testing.T) {
	var file struct {
		Cases []struct {
			Type       string
			Group      string `json:"distribution_id"`
			ChainID    uint32 `json:"chain_id"`
			Iteration  uint32
			ChainKey   testvectors.Hex `json:"chain_key"`
			Signing    testvectors.Hex `json:"signing_public"`
			Ciphertext testvectors.Hex
			Serialized testvectors.Hex
		}
	}
	testvectors.Official(t, "messages.json", &file)
	count := map[string]int{}
	for _, c := range file.Cases {
		if !strings.HasPrefix(c.Type, "sender_key") {
			continue
		}
		count[c.Type]++
		id := senderkey.GroupID(must(hex.DecodeString(strings.ReplaceAll(c.Group, "-", ""))))
		signing := must(curve.ParsePublicKey(c.Signing))
		if c.Type == "sender_key_distribution_message" {
			want := senderkey.Distribution{
				Group: id, ChainID: c.ChainID, Iteration: c.Iteration, ChainKey: [32]byte(c.ChainKey), Signing: signing,
			}
			if got, ok := senderkey.ParseDistribution(senderkey.Libsignal, c.Serialized); !ok || got != want {
				t.Errorf("%x: got another distribution message", c.Serialized)
			}
			if got := senderkey.AppendDistribution(senderkey.Libsignal, want); !bytes.Equal(got, c.Serialized) {
				t.Errorf("got %x, want %x", got, c.Serialized)
			}
			continue
		}
		m, err := senderkey.Parse(senderkey.Libsignal, c.Serialized)
		if err != nil {
			t.Fatal(err)
		}
		ciphertext, signature := m.Fields()
		if m.Group() != id || m.ChainID() != c.ChainID || m.Iteration() != c.Iteration || !bytes.Equal(ciphertext, c.Ciphertext) {
			t.Errorf("%x: got group %x, chain %d, iteration %d, ciphertext %x", c.Serialized, m.Group(), m.ChainID(), m.Iteration(), ciphertext)
		}
		if !signing.Verify(c.Serialized[:len(c.Serialized)-64], signature) {
			t.Errorf("%x: the signature does not verify", c.Serialized)
		}
	}
	if count["sender_key_message"] == 0 || count["sender_key_distribution_message"] == 0 {
		t.Errorf("got %v", count)
	}
}
