package curve_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/curve"
)

// TestRFC7748 has the vectors of RFC 7748, Sections 5.2 and 6.1.
func TestRFC7748(t *testing.T) {
	for _, v := range []struct{ scalar, u, want string }{
		{
			"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
		},
		{
			"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
			"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
			"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
		},
	} {
		got := agree(t, privateKey(t, unhex(t, v.scalar)), curve.PublicKey(unhex(t, v.u)))
		if want := unhex(t, v.want); !bytes.Equal(got, want) {
			t.Errorf("got %x, want %x", got, want)
		}
	}

	// The iterated vector: each result is the next scalar, each scalar the next u.
	k := curve.PublicKey{9}
	u := k
	for i := 1; i <= 1000; i++ {
		k, u = curve.PublicKey(agree(t, privateKey(t, k[:]), u)), k
		want := map[int]string{
			1:    "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
			1000: "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
		}[i]
		if want != "" && !bytes.Equal(k[:], unhex(t, want)) {
			t.Errorf("after %d iterations: %x, want %s", i, k, want)
		}
	}

	alice := privateKey(t, unhex(t, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
	bob := privateKey(t, unhex(t, "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
	alicePublic, bobPublic := alice.PublicKey(), bob.PublicKey()
	if want := unhex(t, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"); !bytes.Equal(alicePublic[:], want) {
		t.Errorf("Alice's public key is %x, want %x", alicePublic, want)
	}
	if want := unhex(t, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"); !bytes.Equal(bobPublic[:], want) {
		t.Errorf("Bob's public key is %x, want %x", bobPublic, want)
	}
	want := unhex(t, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
	if got := agree(t, alice, bobPublic); !bytes.Equal(got, want) {
		t.Errorf("Alice has %x, want %x", got, want)
	}
	if got := agree(t, bob, alicePublic); !bytes.Equal(got, want) {
		t.Errorf("Bob has %x, want %x", got, want)
	}
}

// TestWycheproof: every result must be the expected one, also for public keys
// that another library might refuse ("acceptable"): on the twist, not canonical.
// Those of low order must be refused.
func TestWycheproof(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			Tests []struct {
				TcID    int
				Comment string
				Flags   []string
				Public  testvectors.Hex
				Private testvectors.Hex
				Shared  testvectors.Hex
				Result  string
			}
		}
	}
	testvectors.Wycheproof(t, "x25519_test.json", &file)
	count, refused := 0, 0
	for _, group := range file.TestGroups {
		for _, c := range group.Tests {
			count++
			public := curve.PublicKey(c.Public)
			shared, err := privateKey(t, c.Private).ECDH(public)
			if slices.Contains(c.Flags, "ZeroSharedSecret") {
				refused++
				if !errors.Is(err, curve.ErrLowOrder) || !shared.IsZero() {
					t.Errorf("%d (%s): an all-zero secret: %v", c.TcID, c.Comment, err)
				}
			} else if err != nil {
				t.Errorf("%d (%s): %v", c.TcID, c.Comment, err)
			} else if !bytes.Equal(shared.Bytes(), c.Shared) {
				t.Errorf("%d (%s): %x, want %x", c.TcID, c.Comment, shared.Bytes(), c.Shared)
			}
			if got, want := public.IsCanonical(), canonicalOracle(public); got != want {
				t.Errorf("%d (%s): IsCanonical says %v, want %v", c.TcID, c.Comment, got, want)
			}
		}
	}
	if count != file.NumberOfTests || refused == 0 {
		t.Errorf("%d tests of %d ran, %d of them with an all-zero secret", count, file.NumberOfTests, refused)
	}
}

// TestVectors has the official library's signatures with their nonces, and its
// key agreements.
func TestVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Op         string          `json:"op"`
			PrivateKey testvectors.Hex `json:"private_key"`
			PublicKey  testvectors.Hex `json:"public_key"`
			Nonce      testvectors.Hex `json:"nonce"`
			Message    testvectors.Hex `json:"message"`
			Signature  testvectors.Hex `json:"signature"`
			APrivate   testvectors.Hex `json:"a_private"`
			APublic    testvectors.Hex `json:"a_public"`
			BPrivate   testvectors.Hex `json:"b_private"`
			BPublic    testvectors.Hex `json:"b_public"`
			Shared     testvectors.Hex `json:"shared"`
		} `json:"cases"`
	}
	testvectors.Official(t, "curve.json", &file)
	count := map[string]int{}
	for i, c := range file.Cases {
		count[c.Op]++
		switch c.Op {
		case "xeddsa":
			key := privateKey(t, c.PrivateKey)
			public := checkPublic(t, key, c.PublicKey)
			count["sign "+string('0'+c.Signature[63]>>7)]++
			if got := key.SignWith(c.Message, (*[64]byte)(c.Nonce)); !bytes.Equal(got, c.Signature) {
				t.Errorf("case %d: signature %x, want %x", i, got, c.Signature)
			}
			if !public.Verify(c.Message, c.Signature) {
				t.Errorf("case %d: the signature does not verify", i)
			}
		case "ecdh":
			a, b := privateKey(t, c.APrivate), privateKey(t, c.BPrivate)
			aPublic, bPublic := checkPublic(t, a, c.APublic), checkPublic(t, b, c.BPublic)
			if got := agree(t, a, bPublic); !bytes.Equal(got, c.Shared) {
				t.Errorf("case %d: %x, want %x", i, got, c.Shared)
			}
			if got := agree(t, b, aPublic); !bytes.Equal(got, c.Shared) {
				t.Errorf("case %d: %x, want %x", i, got, c.Shared)
			}
		default:
			t.Errorf("case %d has the unknown operation %q", i, c.Op)
		}
	}
	if count["sign 0"] == 0 || count["sign 1"] == 0 || count["ecdh"] == 0 {
		t.Errorf("the file does not cover both signs and agreements: %v", count)
	}
}

func checkPublic(t *testing.T, key *curve.PrivateKey, encoded []byte) curve.PublicKey {
	t.Helper()
	public, err := curve.ParsePublicKey(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if key.PublicKey() != public {
		t.Errorf("the public key is %x, want %x", key.PublicKey(), public)
	}
	if !public.IsCanonical() {
		t.Errorf("%x is not canonical", public)
	}
	return public
}
