package pqxdh_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

var suites = []pqxdh.Suite{pqxdh.Chate2eV1, pqxdh.LibsignalX3DH, pqxdh.LibsignalPQXDH, pqxdh.LibsignalTriple}

// handshake is what both sides of one need.
type handshake struct {
	suite      pqxdh.Suite
	alice, bob *pqxdh.Identity
	own        pqxdh.PreKeys // Bob's
	bundle     *pqxdh.Bundle
}

func newHandshake(t *testing.T, suite pqxdh.Suite, lastResort, oneTime bool) *handshake {
	t.Helper()
	h := &handshake{suite: suite, alice: identity("alice", 1), bob: identity("bob", 2)}
	var err error
	if h.own.Signed, err = pqxdh.NewSignedPreKey(suite, h.bob, start); err != nil {
		t.Fatal(err)
	}
	h.bundle = &pqxdh.Bundle{
		IdentityKey: h.bob.Key.PublicKey(), SignedPreKey: h.own.Signed.SignedPreKey, RegistrationID: h.bob.RegistrationID,
	}
	if suite.KEM() != 0 {
		if h.own.KEM, err = pqxdh.NewKEMPreKey(suite, h.bob, lastResort, start); err != nil {
			t.Fatal(err)
		}
		h.bundle.KEMPreKey = new(h.own.KEM.KEMPreKey)
	}
	if oneTime {
		h.own.OneTime = pqxdh.NewOneTimePreKey()
		h.bundle.OneTimePreKey = new(h.own.OneTime.OneTimePreKey)
	}
	return h
}

func (h *handshake) initiate(t *testing.T) (*pqxdh.Agreed, *pqxdh.Header) {
	t.Helper()
	agreed, header, err := pqxdh.Initiate(h.suite, h.alice, h.bob.Address, h.bundle, start)
	if err != nil {
		t.Fatal(err)
	}
	return agreed, header
}

func (h *handshake) accept(header *pqxdh.Header) (*pqxdh.Agreed, error) {
	return pqxdh.Accept(h.suite, h.bob, h.alice.Address, header, h.own, start)
}

// eachShape runs a test for each suite with every set of prekeys.
func eachShape(t *testing.T, test func(t *testing.T, h *handshake)) {
	t.Helper()
	for _, suite := range suites {
		for _, lastResort := range []bool{false, true} {
			for _, oneTime := range []bool{false, true} {
				if lastResort && suite.KEM() == 0 {
					continue
				}
				t.Run(fmt.Sprintf("%v, last resort %v, one-time prekey %v", suite, lastResort, oneTime), func(t *testing.T) {
					test(t, newHandshake(t, suite, lastResort, oneTime))
				})
			}
		}
	}
}

func TestBothSidesAgree(t *testing.T) {
	eachShape(t, func(t *testing.T, h *handshake) {
		initiated, header := h.initiate(t)
		accepted, err := h.accept(header)
		if err != nil {
			t.Fatal(err)
		}
		if !initiated.Root.Equal(accepted.Root) {
			t.Error("the root keys differ")
		}
		if initiated.Transcript != accepted.Transcript {
			t.Error("the transcripts differ")
		}
		if bound := initiated.Transcript != [32]byte{}; bound != (h.suite == pqxdh.Chate2eV1) {
			t.Errorf("there is a transcript: %v", bound)
		}
		if initiated.OurRatchetKey != nil || accepted.OurRatchetKey.PublicKey() != initiated.TheirRatchetKey ||
			initiated.TheirRatchetKey != h.bundle.SignedPreKey.Key {
			t.Error("the first ratchet key is not the signed prekey")
		}

		if header.IdentityKey != h.alice.Key.PublicKey() || header.SignedPreKeyID != h.own.Signed.ID ||
			header.RegistrationID != h.alice.RegistrationID || !header.BaseKey.IsCanonical() {
			t.Errorf("header %+v", header)
		}
		if (header.KEMPreKeyID == nil) != (h.own.KEM == nil) || (header.KEMCiphertext == nil) != (h.own.KEM == nil) ||
			(header.OneTimePreKeyID == nil) != (h.own.OneTime == nil) {
			t.Errorf("header %+v", header)
		}

		again, other := h.initiate(t)
		if again.Root.Equal(initiated.Root) || other.BaseKey == header.BaseKey {
			t.Error("two handshakes with one bundle are the same")
		}
	})
}

// A header that was sent does not change with the bundle it was made from.
func TestHeaderOwnsItsIDs(t *testing.T) {
	h := newHandshake(t, pqxdh.Chate2eV1, false, true)
	_, header := h.initiate(t)
	kemID, oneTimeID := *header.KEMPreKeyID, *header.OneTimePreKeyID
	h.bundle.KEMPreKey.ID++
	h.bundle.OneTimePreKey.ID++
	if *header.KEMPreKeyID != kemID || *header.OneTimePreKeyID != oneTimeID {
		t.Error("the header has changed with the bundle")
	}
}

func TestConsumed(t *testing.T) {
	eachShape(t, func(t *testing.T, h *handshake) {
		_, header := h.initiate(t)
		used := pqxdh.Consumed(header, h.own)
		if h.own.OneTime == nil != (used.OneTime == nil) || used.OneTime != nil && *used.OneTime != h.own.OneTime.ID {
			t.Errorf("one-time prekey %v", used.OneTime)
		}
		oneTimeKEM := h.own.KEM != nil && !h.own.KEM.LastResort
		if oneTimeKEM != (used.KEMOneTime != nil) || oneTimeKEM && *used.KEMOneTime != h.own.KEM.ID {
			t.Errorf("one-time KEM prekey %v", used.KEMOneTime)
		}
		lastResort := h.own.KEM != nil && h.own.KEM.LastResort
		if lastResort != (used.KEMLastResort != nil) || lastResort && *used.KEMLastResort != (pqxdh.LastResortUse{
			KEMPreKey: h.own.KEM.ID, SignedPreKey: h.own.Signed.ID, BaseKey: header.BaseKey,
		}) {
			t.Errorf("last resort %v", used.KEMLastResort)
		}
	})
}

// ── the initiator's checks ──────────────────────────────────────────────────

// verify checks what Verify and Initiate say of a bundle, which is the same.
func (h *handshake) verify(t *testing.T, now time.Time, want error) {
	t.Helper()
	if err := h.bundle.Verify(h.suite, h.bob.Address, now); !errors.Is(err, want) {
		t.Errorf("Verify: %v, want %v", err, want)
	}
	agreed, header, err := pqxdh.Initiate(h.suite, h.alice, h.bob.Address, h.bundle, now)
	if !errors.Is(err, want) {
		t.Errorf("Initiate: %v, want %v", err, want)
	}
	if (err != nil) != (agreed == nil) || (err != nil) != (header == nil) {
		t.Errorf("Initiate: %v, with %v and %v", err, agreed, header)
	}
}

// Each bit of each signature counts.
func TestBundleSignatureBits(t *testing.T) {
	for _, suite := range suites {
		t.Run(suite.String(), func(t *testing.T) {
			h := newHandshake(t, suite, false, false)
			signatures := [][]byte{h.bundle.SignedPreKey.Signature}
			if h.bundle.KEMPreKey != nil {
				signatures = append(signatures, h.bundle.KEMPreKey.Signature)
			}
			for n, signature := range signatures {
				for bit := range 8 * len(signature) {
					signature[bit/8] ^= 1 << (bit % 8)
					if err := h.bundle.Verify(suite, h.bob.Address, start); !errors.Is(err, pqxdh.ErrSignature) {
						t.Errorf("signature %d, bit %d: %v", n, bit, err)
					}
					signature[bit/8] ^= 1 << (bit % 8)
				}
			}
			h.verify(t, start, nil)
		})
	}
}

func TestBundleChecks(t *testing.T) {
	x3dh, pq, ours := pqxdh.LibsignalX3DH, pqxdh.LibsignalPQXDH, pqxdh.Chate2eV1
	all := []pqxdh.Suite{x3dh, pq, ours}
	withKEM := []pqxdh.Suite{pq, ours}
	resign := func(t *testing.T, h *handshake, expires pqxdh.Day) {
		t.Helper()
		made := expires.Start().AddDate(0, 0, -pqxdh.ValidDays)
		signed, err := pqxdh.NewSignedPreKey(h.suite, h.bob, made)
		if err != nil {
			t.Fatal(err)
		}
		if signed.Expires != expires {
			t.Fatalf("expires %d, want %d", signed.Expires, expires)
		}
		h.bundle.SignedPreKey = signed.SignedPreKey
	}
	for name, c := range map[string]struct {
		suites []pqxdh.Suite
		change func(t *testing.T, h *handshake)
		want   error
	}{
		"nothing wrong": {all, func(*testing.T, *handshake) {}, nil},
		"another identity key": {all, func(_ *testing.T, h *handshake) {
			h.bundle.IdentityKey = curve.GenerateKey().PublicKey()
		}, pqxdh.ErrSignature},
		"the identity key's other encoding": {all, func(_ *testing.T, h *handshake) {
			h.bundle.IdentityKey[31] |= 0x80
		}, pqxdh.ErrSignature},
		"another signed prekey": {all, func(_ *testing.T, h *handshake) {
			h.bundle.SignedPreKey.Key = curve.GenerateKey().PublicKey()
		}, pqxdh.ErrSignature},
		"another KEM prekey": {withKEM, func(_ *testing.T, h *handshake) {
			h.bundle.KEMPreKey.Key = kem.GenerateKey(h.suite.KEM()).PublicKey()
		}, pqxdh.ErrSignature},
		"no signature": {all, func(_ *testing.T, h *handshake) {
			h.bundle.SignedPreKey.Signature = nil
		}, pqxdh.ErrSignature},
		"no signature of the KEM prekey": {withKEM, func(_ *testing.T, h *handshake) {
			h.bundle.KEMPreKey.Signature = nil
		}, pqxdh.ErrSignature},
		"a byte behind the signature": {all, func(_ *testing.T, h *handshake) {
			h.bundle.SignedPreKey.Signature = append(h.bundle.SignedPreKey.Signature, 0)
		}, pqxdh.ErrSignature},
		"signatures exchanged": {withKEM, func(_ *testing.T, h *handshake) {
			s, k := &h.bundle.SignedPreKey, h.bundle.KEMPreKey
			s.Signature, k.Signature = k.Signature, s.Signature
		}, pqxdh.ErrSignature},
		"the signed prekey is another's": {all, func(t *testing.T, h *handshake) {
			h.bundle.SignedPreKey = newHandshake(t, h.suite, false, false).bundle.SignedPreKey
		}, pqxdh.ErrSignature},
		"the KEM prekey is another's": {withKEM, func(t *testing.T, h *handshake) {
			h.bundle.KEMPreKey = newHandshake(t, h.suite, false, false).bundle.KEMPreKey
		}, pqxdh.ErrSignature},
		"no KEM prekey": {withKEM, func(_ *testing.T, h *handshake) {
			h.bundle.KEMPreKey = nil
		}, pqxdh.ErrKEM},
		"a KEM prekey without a key": {withKEM, func(_ *testing.T, h *handshake) {
			h.bundle.KEMPreKey.Key = nil
		}, pqxdh.ErrKEM},
		"a KEM prekey too much": {[]pqxdh.Suite{x3dh}, func(t *testing.T, h *handshake) {
			h.bundle.KEMPreKey = newHandshake(t, pq, false, false).bundle.KEMPreKey
		}, pqxdh.ErrKEM},
		"a KEM of another kind": {[]pqxdh.Suite{ours}, func(t *testing.T, h *handshake) {
			pair, err := pqxdh.NewKEMPreKey(pq, h.bob, false, start)
			if err != nil {
				t.Fatal(err)
			}
			h.bundle.KEMPreKey = &pair.KEMPreKey
		}, pqxdh.ErrKEM},
		"a KEM of our kind": {[]pqxdh.Suite{pq}, func(t *testing.T, h *handshake) {
			pair, err := pqxdh.NewKEMPreKey(ours, h.bob, false, start)
			if err != nil {
				t.Fatal(err)
			}
			h.bundle.KEMPreKey = &pair.KEMPreKey
		}, pqxdh.ErrKEM},
		"prekeys of another suite": {[]pqxdh.Suite{ours}, func(t *testing.T, h *handshake) {
			pair, err := pqxdh.NewSignedPreKey(pq, h.bob, start)
			if err != nil {
				t.Fatal(err)
			}
			h.bundle.SignedPreKey = pair.SignedPreKey
		}, pqxdh.ErrSignature},
		"a one-time KEM prekey shown as one of last resort": {[]pqxdh.Suite{ours}, func(_ *testing.T, h *handshake) {
			h.bundle.KEMPreKey.LastResort = true
		}, pqxdh.ErrSignature},
		"another ID of the signed prekey": {[]pqxdh.Suite{ours}, func(_ *testing.T, h *handshake) {
			h.bundle.SignedPreKey.ID ^= 1
		}, pqxdh.ErrSignature},
		"another ID of the KEM prekey": {[]pqxdh.Suite{ours}, func(_ *testing.T, h *handshake) {
			h.bundle.KEMPreKey.ID ^= 1
		}, pqxdh.ErrSignature},
		"another expiry of the signed prekey": {[]pqxdh.Suite{ours}, func(_ *testing.T, h *handshake) {
			h.bundle.SignedPreKey.Expires++
		}, pqxdh.ErrSignature},
		"another expiry of the KEM prekey": {[]pqxdh.Suite{ours}, func(_ *testing.T, h *handshake) {
			h.bundle.KEMPreKey.Expires++
		}, pqxdh.ErrSignature},
		"an expiry of never": {[]pqxdh.Suite{ours}, func(_ *testing.T, h *handshake) {
			h.bundle.SignedPreKey.Expires = 0
		}, pqxdh.ErrSignature},
		"another user's bundle": {[]pqxdh.Suite{ours}, func(_ *testing.T, h *handshake) {
			h.bob.Address.Name = "carol"
		}, pqxdh.ErrSignature},
		"another device's bundle": {[]pqxdh.Suite{ours}, func(_ *testing.T, h *handshake) {
			h.bob.Address.Device++
		}, pqxdh.ErrSignature},
		"nobody's bundle": {all, func(_ *testing.T, h *handshake) {
			h.bob.Address.Name = ""
		}, signal.ErrAddress},
		"device 0": {all, func(_ *testing.T, h *handshake) {
			h.bob.Address.Device = 0
		}, signal.ErrAddress},
		"a name of 256 bytes": {all, func(_ *testing.T, h *handshake) {
			h.bob.Address.Name = strings.Repeat("x", 256)
		}, signal.ErrAddress},
		"suite 0":  {all, func(_ *testing.T, h *handshake) { h.suite = 0 }, pqxdh.ErrSuite},
		"suite 99": {all, func(_ *testing.T, h *handshake) { h.suite = 99 }, pqxdh.ErrSuite},
		"expires tomorrow": {[]pqxdh.Suite{ours}, func(t *testing.T, h *handshake) {
			resign(t, h, pqxdh.DayOf(start)+1)
		}, nil},
		"expired today": {[]pqxdh.Suite{ours}, func(t *testing.T, h *handshake) {
			resign(t, h, pqxdh.DayOf(start))
		}, pqxdh.ErrExpired},
	} {
		for _, suite := range c.suites {
			t.Run(name+", "+suite.String(), func(t *testing.T) {
				h := newHandshake(t, suite, false, true)
				c.change(t, h)
				h.verify(t, start, c.want)
			})
		}
	}
}

// A signed prekey and a KEM prekey expire at the first moment of the same day.
func TestBundleExpiry(t *testing.T) {
	h := newHandshake(t, pqxdh.Chate2eV1, true, true)
	expiry := h.bundle.SignedPreKey.Expires.Start()
	if want := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC); !expiry.Equal(want) || h.bundle.KEMPreKey.Expires.Start() != expiry {
		t.Errorf("expires %v and %v, want %v", expiry, h.bundle.KEMPreKey.Expires.Start(), want)
	}
	h.verify(t, expiry.Add(-time.Nanosecond), nil)
	h.verify(t, expiry, pqxdh.ErrExpired)
	h.verify(t, expiry.In(time.FixedZone("", -11*60*60)), pqxdh.ErrExpired)

	// Either of them is enough.
	signed, err := pqxdh.NewSignedPreKey(h.suite, h.bob, expiry)
	if err != nil {
		t.Fatal(err)
	}
	h.bundle.SignedPreKey = signed.SignedPreKey
	h.verify(t, expiry, pqxdh.ErrExpired)

	// The official library's prekeys do not.
	for _, suite := range suites[1:] {
		h := newHandshake(t, suite, true, true)
		if h.bundle.SignedPreKey.Expires != 0 || h.bundle.KEMPreKey != nil && h.bundle.KEMPreKey.Expires != 0 {
			t.Errorf("%v: a prekey expires", suite)
		}
		h.verify(t, start.AddDate(50, 0, 0), nil)
	}
}

func TestInitiateNeedsOurAddress(t *testing.T) {
	h := newHandshake(t, pqxdh.Chate2eV1, false, false)
	h.alice.Address.Device = 0
	if _, _, err := pqxdh.Initiate(h.suite, h.alice, h.bob.Address, h.bundle, start); !errors.Is(err, signal.ErrAddress) {
		t.Errorf("got %v, want %v", err, signal.ErrAddress)
	}
}

// ── the responder's checks ──────────────────────────────────────────────────

// lowOrder are the encodings of u-coordinates whose multiples of the cofactor
// are the identity (RFC 7748, Section 6.1), some of them not canonical.
var lowOrder = []curve.PublicKey{
	{},
	{1},
	unhexKey("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
	unhexKey("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
	unhexKey("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	unhexKey("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	unhexKey("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
}

func unhexKey(s string) curve.PublicKey {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return curve.PublicKey(b)
}

// Each key that the peer contributes to a key agreement is refused when it is of
// low order: no result is all zero.
func TestLowOrderKeys(t *testing.T) {
	for n, point := range lowOrder {
		for _, suite := range suites {
			t.Run(fmt.Sprintf("%v, %d", suite, n), func(t *testing.T) {
				h := newHandshake(t, suite, false, true)
				_, header := h.initiate(t)

				accept := *header
				accept.IdentityKey = point // DH1
				if agreed, err := h.accept(&accept); !errors.Is(err, curve.ErrLowOrder) || agreed != nil {
					t.Errorf("identity key: %v, %v", agreed, err)
				}
				accept = *header
				accept.BaseKey = point // DH2 to DH4
				if agreed, err := h.accept(&accept); !errors.Is(err, pqxdh.ErrBaseKey) || agreed != nil {
					t.Errorf("base key: %v, %v", agreed, err)
				}

				initiate := func(what string, bundle pqxdh.Bundle, want error) {
					t.Helper()
					agreed, header, err := pqxdh.Initiate(suite, h.alice, h.bob.Address, &bundle, start)
					if !errors.Is(err, want) || agreed != nil || header != nil {
						t.Errorf("%s: %v, %v, %v; want %v", what, agreed, header, err, want)
					}
				}
				bundle := *h.bundle
				bundle.OneTimePreKey = &pqxdh.OneTimePreKey{ID: 1, Key: point} // DH4; not signed
				initiate("one-time prekey", bundle, curve.ErrLowOrder)
				bundle = *h.bundle
				bundle.IdentityKey = point // DH2
				initiate("identity key", bundle, pqxdh.ErrSignature)
				if suite != pqxdh.Chate2eV1 {
					bundle = *h.bundle
					bundle.SignedPreKey.Key = point // DH1 and DH3; signed by Bob himself
					encoded := point.Encode()
					bundle.SignedPreKey.Signature = h.bob.Key.Sign(encoded[:])
					initiate("signed prekey", bundle, curve.ErrLowOrder)
				}
			})
		}
	}
}

func TestAcceptChecks(t *testing.T) {
	ours, pq, x3dh := pqxdh.Chate2eV1, pqxdh.LibsignalPQXDH, pqxdh.LibsignalX3DH
	all := []pqxdh.Suite{ours, pq, x3dh}
	withKEM := []pqxdh.Suite{ours, pq}
	for name, c := range map[string]struct {
		suites []pqxdh.Suite
		change func(t *testing.T, h *handshake, header *pqxdh.Header)
		want   error
	}{
		"nothing wrong": {all, func(*testing.T, *handshake, *pqxdh.Header) {}, nil},
		"no KEM part": {withKEM, func(_ *testing.T, h *handshake, header *pqxdh.Header) {
			header.KEMPreKeyID, header.KEMCiphertext, h.own.KEM = nil, nil, nil
		}, pqxdh.ErrKEM},
		"no KEM ciphertext": {withKEM, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.KEMCiphertext = nil
		}, pqxdh.ErrKEM},
		"no KEM prekey ID": {withKEM, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.KEMPreKeyID = nil
		}, pqxdh.ErrKEM},
		"a KEM part too much": {[]pqxdh.Suite{x3dh}, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.KEMPreKeyID, header.KEMCiphertext = new(pqxdh.PreKeyID(1)), make([]byte, kem.EncodedCiphertextSize)
		}, pqxdh.ErrKEM},
		"a ciphertext alone": {[]pqxdh.Suite{x3dh}, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.KEMCiphertext = make([]byte, kem.EncodedCiphertextSize)
		}, pqxdh.ErrKEM},
		"a ciphertext too short": {withKEM, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.KEMCiphertext = header.KEMCiphertext[:kem.EncodedCiphertextSize-1]
		}, pqxdh.ErrKEM},
		"a ciphertext too long": {withKEM, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.KEMCiphertext = append(header.KEMCiphertext, 0)
		}, pqxdh.ErrKEM},
		"a ciphertext of another kind": {withKEM, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.KEMCiphertext[0] ^= byte(kem.MLKEM1024) ^ byte(kem.Kyber1024)
		}, pqxdh.ErrKEM},
		"a KEM prekey of another kind": {withKEM, func(t *testing.T, h *handshake, header *pqxdh.Header) {
			other := ours
			if h.suite == ours {
				other = pq
			}
			h.own.KEM = newHandshake(t, other, false, false).own.KEM
			header.KEMPreKeyID = &h.own.KEM.ID
		}, pqxdh.ErrKEM},
		"base key with the high bit": {all, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.BaseKey[31] |= 0x80
		}, pqxdh.ErrBaseKey},
		"base key p + 9": {all, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.BaseKey = unhexKey("f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
		}, pqxdh.ErrBaseKey},
		"base key on the twist": {all, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.BaseKey = curve.PublicKey{2}
		}, pqxdh.ErrBaseKey},
		"no signed prekey": {all, func(_ *testing.T, h *handshake, _ *pqxdh.Header) {
			h.own.Signed = nil
		}, pqxdh.ErrPreKey},
		"another signed prekey": {all, func(t *testing.T, h *handshake, _ *pqxdh.Header) {
			h.own.Signed = newHandshake(t, h.suite, false, false).own.Signed
		}, pqxdh.ErrPreKey},
		"no KEM prekey": {withKEM, func(_ *testing.T, h *handshake, _ *pqxdh.Header) {
			h.own.KEM = nil
		}, pqxdh.ErrPreKey},
		"another KEM prekey": {withKEM, func(t *testing.T, h *handshake, _ *pqxdh.Header) {
			h.own.KEM = newHandshake(t, h.suite, false, false).own.KEM
		}, pqxdh.ErrPreKey},
		"the one-time prekey was consumed": {all, func(_ *testing.T, h *handshake, _ *pqxdh.Header) {
			h.own.OneTime = nil
		}, pqxdh.ErrPreKey},
		"another one-time prekey": {all, func(_ *testing.T, h *handshake, _ *pqxdh.Header) {
			h.own.OneTime = pqxdh.NewOneTimePreKey()
		}, pqxdh.ErrPreKey},
		"the one-time prekey is not named": {all, func(_ *testing.T, _ *handshake, header *pqxdh.Header) {
			header.OneTimePreKeyID = nil
		}, pqxdh.ErrPreKey},
		"used before": {all, func(_ *testing.T, h *handshake, _ *pqxdh.Header) {
			h.own.Replayed = true
		}, pqxdh.ErrReplay},
		"from nobody": {all, func(_ *testing.T, h *handshake, _ *pqxdh.Header) {
			h.alice.Address.Name = ""
		}, signal.ErrAddress},
		"to nobody": {all, func(_ *testing.T, h *handshake, _ *pqxdh.Header) {
			h.bob.Address.Device = 0
		}, signal.ErrAddress},
		"suite 2": {all, func(_ *testing.T, h *handshake, _ *pqxdh.Header) {
			h.suite = 2
		}, pqxdh.ErrSuite},
	} {
		for _, suite := range c.suites {
			t.Run(name+", "+suite.String(), func(t *testing.T) {
				h := newHandshake(t, suite, false, true)
				_, header := h.initiate(t)
				c.change(t, h, header)
				agreed, err := h.accept(header)
				if !errors.Is(err, c.want) || (err != nil) != (agreed == nil) {
					t.Errorf("got %v, %v; want %v", agreed, err, c.want)
				}
			})
		}
	}
}

// The private halves serve messages under way for 30 days after the expiry.
func TestGrace(t *testing.T) {
	h := newHandshake(t, pqxdh.Chate2eV1, true, true)
	_, header := h.initiate(t)
	end := h.own.Signed.Expires.Start().AddDate(0, 0, 30)
	accept := func(now time.Time, want error) {
		t.Helper()
		if _, err := pqxdh.Accept(h.suite, h.bob, h.alice.Address, header, h.own, now); !errors.Is(err, want) {
			t.Errorf("at %v: %v, want %v", now, err, want)
		}
	}
	accept(end.Add(-time.Nanosecond), nil)
	accept(end, pqxdh.ErrExpired)
	h.own.Signed.Expires++ // the KEM prekey alone is enough
	accept(end, pqxdh.ErrExpired)
	h.own.Signed.Expires--
	h.own.KEM.Expires++ // and the signed prekey, too
	accept(end, pqxdh.ErrExpired)

	old := newHandshake(t, pqxdh.LibsignalPQXDH, true, true)
	_, header = old.initiate(t)
	if _, err := pqxdh.Accept(old.suite, old.bob, old.alice.Address, header, old.own, start.AddDate(50, 0, 0)); err != nil {
		t.Errorf("the official library's prekeys: %v", err)
	}
}

// Whatever the two sides do not see alike gives them different root keys.
func TestEveryElementCounts(t *testing.T) {
	for name, c := range map[string]struct {
		bound  bool // by the transcript alone: the official library does not care
		secret bool // a private half, which the transcript does not know
		change func(h *handshake, header *pqxdh.Header)
	}{
		"initiator's identity key": {false, false, func(_ *handshake, header *pqxdh.Header) {
			header.IdentityKey = curve.GenerateKey().PublicKey()
		}},
		"base key": {false, false, func(_ *handshake, header *pqxdh.Header) {
			header.BaseKey = curve.GenerateKey().PublicKey()
		}},
		"responder's identity key": {false, false, func(h *handshake, _ *pqxdh.Header) {
			h.bob.Key = curve.GenerateKey()
		}},
		"signed prekey": {false, true, func(h *handshake, _ *pqxdh.Header) {
			h.own.Signed.Private = curve.GenerateKey()
		}},
		"one-time prekey": {false, true, func(h *handshake, _ *pqxdh.Header) {
			h.own.OneTime.Private = curve.GenerateKey()
		}},
		"no one-time prekey": {false, false, func(h *handshake, header *pqxdh.Header) {
			h.own.OneTime, header.OneTimePreKeyID = nil, nil
		}},
		"KEM prekey": {false, true, func(h *handshake, _ *pqxdh.Header) {
			if h.own.KEM != nil {
				h.own.KEM.Private = kem.GenerateKey(h.own.KEM.Private.Kind())
				return
			}
			h.own.Signed.Private = curve.GenerateKey()
		}},
		"KEM ciphertext": {false, false, func(h *handshake, header *pqxdh.Header) {
			if h.own.KEM != nil {
				header.KEMCiphertext[700] ^= 1
				return
			}
			h.own.Signed.Private = curve.GenerateKey()
		}},

		"initiator's name":   {true, false, func(h *handshake, _ *pqxdh.Header) { h.alice.Address.Name = "Alice" }},
		"initiator's device": {true, false, func(h *handshake, _ *pqxdh.Header) { h.alice.Address.Device++ }},
		"responder's name":   {true, false, func(h *handshake, _ *pqxdh.Header) { h.bob.Address.Name = "Bob" }},
		"responder's device": {true, false, func(h *handshake, _ *pqxdh.Header) { h.bob.Address.Device++ }},
		"names exchanged": {true, false, func(h *handshake, _ *pqxdh.Header) {
			h.alice.Address, h.bob.Address = h.bob.Address, h.alice.Address
		}},
		"signed prekey's ID": {true, false, func(h *handshake, header *pqxdh.Header) {
			h.own.Signed.ID ^= 1 << 20
			header.SignedPreKeyID = h.own.Signed.ID
		}},
		"signed prekey's public half": {true, false, func(h *handshake, _ *pqxdh.Header) {
			h.own.Signed.Key[3] ^= 1
		}},
		"KEM prekey's ID": {true, false, func(h *handshake, header *pqxdh.Header) {
			if h.own.KEM != nil {
				h.own.KEM.ID ^= 1 << 20
				header.KEMPreKeyID = &h.own.KEM.ID
			}
		}},
		"KEM prekey's public half": {true, false, func(h *handshake, _ *pqxdh.Header) {
			if h.own.KEM != nil {
				h.own.KEM.Key = kem.GenerateKey(h.suite.KEM()).PublicKey()
			}
		}},
		"one-time prekey's ID": {true, false, func(h *handshake, header *pqxdh.Header) {
			h.own.OneTime.ID ^= 1 << 20
			header.OneTimePreKeyID = &h.own.OneTime.ID
		}},
		"one-time prekey's public half": {true, false, func(h *handshake, _ *pqxdh.Header) {
			h.own.OneTime.Key[3] ^= 1
		}},
	} {
		for _, suite := range suites {
			t.Run(name+", "+suite.String(), func(t *testing.T) {
				h := newHandshake(t, suite, false, true)
				initiated, header := h.initiate(t)
				c.change(h, header)
				accepted, err := h.accept(header)
				if err != nil {
					t.Fatal(err)
				}
				want := c.bound && suite != pqxdh.Chate2eV1
				if got := accepted.Root.Equal(initiated.Root); got != want {
					t.Errorf("the root keys are the same: %v, want %v", got, want)
				}
				if got := accepted.Transcript == initiated.Transcript; suite == pqxdh.Chate2eV1 && got != c.secret {
					t.Errorf("the transcripts are the same: %v", got)
				}
			})
		}
	}
}

func TestSuites(t *testing.T) {
	names := map[pqxdh.Suite]string{}
	for s := range 256 {
		suite := pqxdh.Suite(s)
		known := slices.Contains(suites, suite)
		if _, err := pqxdh.NewSignedPreKey(suite, identity("bob", 1), start); known != (err == nil) || !known && !errors.Is(err, pqxdh.ErrSuite) {
			t.Errorf("a prekey of %v: %v", suite, err)
		}
		for other, name := range names {
			if name == suite.String() {
				t.Errorf("%d and %d are both %q", other, suite, name)
			}
		}
		names[suite] = suite.String()
	}
	for suite, want := range map[pqxdh.Suite]kem.Kind{
		pqxdh.Chate2eV1: kem.MLKEM1024, pqxdh.LibsignalPQXDH: kem.Kyber1024, pqxdh.LibsignalTriple: kem.Kyber1024, pqxdh.LibsignalX3DH: 0, 77: 0,
	} {
		if got := suite.KEM(); got != want {
			t.Errorf("%v has %v, want %v", suite, got, want)
		}
	}
	bob := identity("bob", 1)
	if _, err := pqxdh.NewSignedPreKey(2, bob, start); !errors.Is(err, pqxdh.ErrSuite) {
		t.Errorf("NewSignedPreKey: %v", err)
	}
	if _, err := pqxdh.NewKEMPreKey(2, bob, false, start); !errors.Is(err, pqxdh.ErrSuite) {
		t.Errorf("NewKEMPreKey: %v", err)
	}
	if _, err := pqxdh.NewKEMPreKey(pqxdh.LibsignalX3DH, bob, false, start); !errors.Is(err, pqxdh.ErrKEM) {
		t.Errorf("NewKEMPreKey without a KEM: %v", err)
	}
}

func TestDays(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want pqxdh.Day
	}{
		{time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), 1},
		{time.Date(1970, 1, 3, 23, 59, 59, 0, time.UTC), 2},
		{time.Date(2026, 1, 2, 23, 0, 0, 0, time.FixedZone("", -2*60*60)), 20456},
		{time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC), 20456},
		// Before the first day there is none, and never must not come out.
		{time.Date(1970, 1, 1, 12, 0, 0, 0, time.UTC), 1},
		{time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), 1},
		{time.Unix(1<<60, 0), 1},
		// What is made on a day can expire.
		{(pqxdh.MaxDay - pqxdh.ValidDays).Start(), pqxdh.MaxDay - pqxdh.ValidDays},
		{(pqxdh.MaxDay - pqxdh.ValidDays + 1).Start(), 1},
	} {
		if got := pqxdh.DayOf(c.at); got != c.want {
			t.Errorf("DayOf(%v) = %d, want %d", c.at, got, c.want)
		}
	}
	for _, d := range []pqxdh.Day{1, 20456, 100_000} {
		if got := pqxdh.DayOf(d.Start()); got != d {
			t.Errorf("day %d starts on day %d", d, got)
		}
		if got := pqxdh.DayOf(d.Start().Add(-1)); d > 1 && got != d-1 {
			t.Errorf("just before day %d it is day %d", d, got)
		}
	}
}

// What a device signs is what docs/PROTOCOL.md says, byte by byte.
func TestWhatIsSigned(t *testing.T) {
	bob := identity("bob", 0x01020304)
	signed, err := pqxdh.NewSignedPreKey(pqxdh.Chate2eV1, bob, start)
	if err != nil {
		t.Fatal(err)
	}
	covered := func(purpose byte, id pqxdh.PreKeyID, expires pqxdh.Day, key []byte) []byte {
		b := append([]byte("ChatE2E v1 prekey signature"), 1, purpose, 3, 'b', 'o', 'b', 1, 2, 3, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(id))
		b = binary.BigEndian.AppendUint32(b, uint32(expires))
		return append(b, key...)
	}
	public := bob.Key.PublicKey()
	encoded := signed.Key.Encode()
	if !public.Verify(covered(1, signed.ID, signed.Expires, encoded[:]), signed.Signature) {
		t.Error("the signature of the signed prekey covers something else")
	}
	for purpose, lastResort := range map[byte]bool{2: false, 3: true} {
		pair, err := pqxdh.NewKEMPreKey(pqxdh.Chate2eV1, bob, lastResort, start)
		if err != nil {
			t.Fatal(err)
		}
		if !public.Verify(covered(purpose, pair.ID, pair.Expires, pair.Key.Encode()), pair.Signature) {
			t.Errorf("purpose %d: the signature of the KEM prekey covers something else", purpose)
		}
	}
	// The official library signs the bare keys.
	if signed, err = pqxdh.NewSignedPreKey(pqxdh.LibsignalX3DH, bob, start); err != nil {
		t.Fatal(err)
	}
	if encoded = signed.Key.Encode(); !public.Verify(encoded[:], signed.Signature) {
		t.Error("the signature of the official library's signed prekey covers something else")
	}

	// A prekey that says it never expires, or on a day that there is not, is refused,
	// however well it is signed.
	h := newHandshake(t, pqxdh.Chate2eV1, false, false)
	h.bob.Address = bob.Address
	resign := func(signed, kem pqxdh.Day) {
		s, k := &h.bundle.SignedPreKey, h.bundle.KEMPreKey
		encoded := s.Key.Encode()
		s.Expires, s.Signature = signed, h.bob.Key.Sign(covered(1, s.ID, signed, encoded[:]))
		k.Expires, k.Signature = kem, h.bob.Key.Sign(covered(2, k.ID, kem, k.Key.Encode()))
	}
	good := h.bundle.SignedPreKey.Expires
	for _, bad := range []pqxdh.Day{0, pqxdh.MaxDay + 1, 1<<32 - 1} {
		resign(bad, good)
		h.verify(t, start, pqxdh.ErrExpired)
		resign(good, bad)
		h.verify(t, start, pqxdh.ErrExpired)
	}
	resign(pqxdh.MaxDay, pqxdh.MaxDay)
	h.verify(t, start, nil)
}
