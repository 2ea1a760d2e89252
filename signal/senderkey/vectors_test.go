package senderkey_test

import (
	"encoding/hex"
	"testing"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/senderkey"
)

// TestOfficialGroups opens group messages that the official library has made.
func TestOfficialGroups(t *testing.T) {
	var file struct {
		Cases []struct {
			Distribution string `json:"skdm"`
			Message      string `json:"skm"`
			Group        string `json:"distribution_id"`
			Plaintext    string `json:"plaintext"`
		} `json:"cases"`
	}
	testvectors.Official(t, "groups.json", &file)
	if len(file.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range file.Cases {
		receiver, err := senderkey.NewReceiver(senderkey.Libsignal, senderkey.GroupID(unhex(t, c.Group)), "sender")
		if err != nil {
			t.Fatal(err)
		}
		if err := receiver.Process(unhex(t, c.Distribution)); err != nil {
			t.Fatal(err)
		}
		m, err := senderkey.Parse(senderkey.Libsignal, unhex(t, c.Message))
		if err != nil {
			t.Fatal(err)
		}
		plaintext, err := receiver.Decrypt(m)
		if got := hex.EncodeToString(plaintext); err != nil || got != c.Plaintext {
			t.Errorf("got %s, %v, want %s", got, err, c.Plaintext)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
