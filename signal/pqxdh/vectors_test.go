package pqxdh_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

// The official library's handshakes: results of the key agreements in, root key
// out. The secret input is F, the results and the KEM's secret in this order.
func TestOfficialHandshakes(t *testing.T) {
	type handshake struct {
		DH1               testvectors.Hex `json:"dh1"`
		DH2               testvectors.Hex `json:"dh2"`
		DH3               testvectors.Hex `json:"dh3"`
		DH4               testvectors.Hex `json:"dh4"`
		KyberSharedSecret testvectors.Hex `json:"kyber_shared_secret"`
		SecretInput       testvectors.Hex `json:"secret_input"`
		RootKey           testvectors.Hex `json:"root_key"`
	}
	var hkdf struct {
		Subdomains struct {
			PQXDH []handshake `json:"pqxdh-secret"`
		}
	}
	var sessions struct{ Cases []handshake }
	testvectors.Official(t, "hkdf.json", &hkdf)
	testvectors.Official(t, "sessions.json", &sessions)
	if len(hkdf.Subdomains.PQXDH) == 0 || len(sessions.Cases) == 0 {
		t.Fatal("vectors are missing")
	}
	four := 0
	for i, v := range slices.Concat(hkdf.Subdomains.PQXDH, sessions.Cases) {
		secrets := [][]byte{v.DH1, v.DH2, v.DH3}
		if v.DH4 != nil {
			secrets = append(secrets, v.DH4)
			four++
		}
		secrets = append(secrets, v.KyberSharedSecret)
		input := slices.Concat(bytes.Repeat([]byte{0xFF}, 32), bytes.Join(secrets, nil))
		if !bytes.Equal(input, v.SecretInput) {
			t.Fatalf("%d: the vector's secret input is not put together like this", i)
		}
		if got := pqxdh.Derive(pqxdh.LibsignalPQXDH, secrets...); !bytes.Equal(got, v.RootKey) {
			t.Errorf("%d: root key %x, want %x", i, got, v.RootKey)
		}
	}
	if four == 0 {
		t.Error("no vector has a one-time prekey")
	}
}
