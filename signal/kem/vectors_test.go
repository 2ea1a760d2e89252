package kem_test

import (
	"bytes"
	"crypto/mlkem"
	"errors"
	"testing"

	"github.com/cloudflare/circl/kem/kyber/kyber1024"
	"github.com/cloudflare/circl/kem/mlkem/mlkem1024"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/kem"
)

// TestVectors has decapsulations of the official library. Its private keys are
// expanded, without the seed, and the standard library does not load such keys:
// another implementation computes what ML-KEM would, and our last step makes it
// Kyber's.
func TestVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			KeyType      string          `json:"key_type"`
			PublicKey    testvectors.Hex `json:"public_key"`
			SecretKey    testvectors.Hex `json:"secret_key"`
			Ciphertext   testvectors.Hex `json:"ciphertext"`
			SharedSecret testvectors.Hex `json:"shared_secret"`
		} `json:"cases"`
	}
	testvectors.Official(t, "kem-decaps.json", &file)
	if len(file.Cases) == 0 {
		t.Fatal("the file has no cases")
	}
	for i, c := range file.Cases {
		if c.KeyType != "kyber1024" || c.SecretKey[0] != byte(kem.Kyber1024) || c.Ciphertext[0] != byte(kem.Kyber1024) {
			t.Fatalf("case %d is of the unknown kind %s", i, c.KeyType)
		}
		if key := publicKey(t, c.PublicKey); key.Kind() != kem.Kyber1024 || !bytes.Equal(key.Encode(), c.PublicKey) {
			t.Errorf("case %d: the public key is not the same after parsing", i)
		}
		expanded := must(mlkem1024.Scheme().UnmarshalBinaryPrivateKey(c.SecretKey[1:]))
		shared := must(mlkem1024.Scheme().Decapsulate(expanded, c.Ciphertext[1:]))
		if got := kem.Kyber1024.Finish(shared, c.Ciphertext[1:]); !bytes.Equal(got.Bytes(), c.SharedSecret) {
			t.Errorf("case %d: %x, want %x", i, got.Bytes(), c.SharedSecret)
		}
		// The peer of the other tests agrees with the official library, too.
		kyber := must(kyber1024.Scheme().UnmarshalBinaryPrivateKey(c.SecretKey[1:]))
		if got := must(kyber1024.Scheme().Decapsulate(kyber, c.Ciphertext[1:])); !bytes.Equal(got, c.SharedSecret) {
			t.Errorf("case %d: the peer has %x, want %x", i, got, c.SharedSecret)
		}
	}
}

// TestWycheproof covers ML-KEM-1024 through this package, and ML-KEM-768, which
// the post-quantum ratchet takes from the standard library as it is.
func TestWycheproof(t *testing.T) {
	var file struct {
		TestGroups []struct {
			Type         string
			ParameterSet string
			Tests        []struct {
				TcID   int
				Result string
				Seed   testvectors.Hex
				EK     testvectors.Hex
				C      testvectors.Hex
				K      testvectors.Hex
			}
		}
	}
	testvectors.Wycheproof(t, "mlkem_test.json", &file)
	count := map[string]int{}
	for _, group := range file.TestGroups {
		for _, c := range group.Tests {
			name := group.Type + " " + group.ParameterSet
			count[name]++
			valid := c.Result == "valid"
			switch name {
			case "MLKEMTest ML-KEM-1024":
				key := privateKey(t, kem.MLKEM1024, c.Seed)
				if !bytes.Equal(key.PublicKey().Encode()[1:], c.EK) {
					t.Errorf("%d: the seed gives another public key", c.TcID)
				}
				got := decapsulate(t, key, append([]byte{byte(kem.MLKEM1024)}, c.C...))
				if bytes.Equal(got, c.K) != valid {
					t.Errorf("%d: %x, want %x", c.TcID, got, c.K)
				}
			case "MLKEMTest ML-KEM-768":
				key := must(mlkem.NewDecapsulationKey768(c.Seed))
				if !bytes.Equal(key.EncapsulationKey().Bytes(), c.EK) {
					t.Errorf("%d: the seed gives another public key", c.TcID)
				}
				if got := must(key.Decapsulate(c.C)); bytes.Equal(got, c.K) != valid {
					t.Errorf("%d: %x, want %x", c.TcID, got, c.K)
				}
			case "MLKEMEncapsTest ML-KEM-1024":
				for _, kind := range kinds {
					key, err := kem.ParsePublicKey(append([]byte{byte(kind)}, c.EK...))
					if (err == nil) != valid || (key == nil) == valid || err != nil && !errors.Is(err, kem.ErrPublicKey) {
						t.Errorf("%d as %v: %v", c.TcID, kind, err)
					}
				}
			case "MLKEMEncapsTest ML-KEM-768":
				if _, err := mlkem.NewEncapsulationKey768(c.EK); (err == nil) != valid {
					t.Errorf("%d: %v", c.TcID, err)
				}
			case "MLKEMTest ML-KEM-512", "MLKEMEncapsTest ML-KEM-512": // not used
			default:
				t.Errorf("%d is of the unknown kind %s", c.TcID, name)
			}
		}
	}
	for _, name := range []string{
		"MLKEMTest ML-KEM-1024", "MLKEMTest ML-KEM-768", "MLKEMEncapsTest ML-KEM-1024", "MLKEMEncapsTest ML-KEM-768",
	} {
		if count[name] == 0 {
			t.Errorf("no %s ran", name)
		}
	}
}
