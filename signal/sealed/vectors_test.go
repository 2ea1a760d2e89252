package sealed_test

import (
	"bytes"
	"crypto/hpke"
	"encoding/binary"
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/sealed"
)

var update = flag.Bool("update", false, "write the test vectors anew")

// TestVectors checks the files of testdata/vectors that are about sealed envelopes.
func TestVectors(t *testing.T) {
	testvectors.Own{
		Folder: "../../testdata/vectors", Kinds: []string{"sealingkey", "envelope"}, Made: makeVectors(t),
		Outcomes: map[string]error{
			"success": nil, "malformed": sealed.ErrMalformed, "signature": sealed.ErrSignature,
			"expired": sealed.ErrExpired, "decrypt": sealed.ErrOpen, "self": sealed.ErrSelf,
		},
		Check: checkVector,
	}.Run(t, *update)
}

func vectorAddress(t *testing.T, f *testvectors.File, name string) signal.Address {
	t.Helper()
	user, device := f.Address(t, name)
	return signal.Address{Name: user, Device: device}
}

func checkVector(t *testing.T, kind string, f *testvectors.File) error {
	if kind == "sealingkey" {
		signed, err := sealed.ParseSignedKey(f.Body)
		if err != nil {
			return err
		}
		key, err := signed.Verify(curve.PublicKey(f.Hex(t, "identity")), vectorAddress(t, f, "them"), f.Time(t, "now"))
		if err != nil {
			return err
		}
		if id := key.ID(); !bytes.Equal(id[:], f.Hex(t, "key-id")) {
			t.Errorf("the key's ID is %x", id)
		}
		return nil
	}
	key, err := sealed.NewPrivateKey(f.Hex(t, "seed"))
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := sealed.Parse(f.Body)
	if err != nil {
		return err
	}
	letter, err := envelope.Open(key, vectorAddress(t, f, "us"))
	if err != nil {
		return err
	}
	if want := f.Hex(t, "message"); !bytes.Equal(letter.Message, want) {
		t.Errorf("message %x, want %x", letter.Message, want)
	}
	if want := vectorAddress(t, f, "from"); letter.From != want {
		t.Errorf("from %v, want %v", letter.From, want)
	}
	return nil
}

func makeVectors(t *testing.T) map[string]*testvectors.File {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 3)
	made := map[string]*testvectors.File{}
	put := func(kind, name, expect, comment string, body []byte) *testvectors.File {
		f := &testvectors.File{Body: body}
		f.Add("kind", kind)
		f.Add("expect", expect)
		f.Add("comment", comment)
		if made[kind+"-"+name] != nil {
			t.Fatalf("two vectors %q", name)
		}
		made[kind+"-"+name] = f
		return f
	}
	format := func(a signal.Address) string { return fmt.Sprintf("%s/%d", a.Name, a.Device) }
	flip := func(b []byte, at int) []byte {
		c := bytes.Clone(b)
		c[at] ^= 0x10
		return c
	}
	alice := signal.Address{Name: "j7aqwnsgbuwqjm2zhxv4sbwxe3vyzktp", Device: 1}
	bob := signal.Address{Name: "pbvk3q2yv3u6mzvdn4g5kqj5lstwxz2a", Device: 2}
	identity, other := curve.GenerateKey(), curve.GenerateKey()
	key := sealed.GenerateKey()
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

	signed := must(key.PublicKey().Sign(identity, bob, now))
	good := signed.Append(nil)
	id := key.PublicKey().ID()
	putKey := func(name, expect, comment string, body []byte, identity *curve.PrivateKey, owner signal.Address, now time.Time) {
		f := put("sealingkey", name, expect, comment, body)
		public := identity.PublicKey()
		f.AddHex("identity", public[:])
		f.Add("them", format(owner))
		f.Add("now", now.Format(time.RFC3339))
		f.AddHex("key-id", id[:])
	}
	const keyAt = 2 + 4
	putKey("good", "success", "a key as published", good, identity, bob, now)
	putKey("last-second", "success", "the second before the expiry", good, identity, bob, signed.Expires().Add(-time.Second))
	putKey("expired", "expired", "the first second of the day of expiry", good, identity, bob, signed.Expires())
	putKey("other-identity", "signature", "another identity key", good, other, bob, now)
	putKey("other-owner", "signature", "another device's", good, identity, alice, now)
	putKey("expiry-changed", "signature", "a bit of the expiry", flip(good, 5), identity, bob, now)
	putKey("x25519-changed", "signature", "a bit of the X25519 key", flip(good, keyAt+2+1184), identity, bob, now)
	putKey("rho-changed", "signature", "a bit of the ML-KEM key's seed", flip(good, keyAt+2+1183), identity, bob, now)
	putKey("signature-changed", "signature", "a bit of the signature", flip(good, len(good)-40), identity, bob, now)
	unreduced := bytes.Clone(good)
	unreduced[keyAt+2], unreduced[keyAt+3] = 0xFF, unreduced[keyAt+3]|0x0F
	late := bytes.Clone(good)
	binary.BigEndian.PutUint32(late[2:], 2_932_897) // 1 January 10000
	for name, b := range map[string][]byte{
		"version": flip(good, 0), "purpose": flip(good, 1), "kem": flip(good, keyAt), "unreduced": unreduced,
		"expiry":    late,
		"truncated": good[:len(good)-1], "trailing": append(bytes.Clone(good), 0), "empty": nil,
	} {
		putKey("malformed-"+name, "malformed", name, b, identity, bob, now)
	}

	message := []byte("a message of a session between the two")
	putEnvelope := func(name, expect, comment string, body []byte, key *sealed.PrivateKey, us, from signal.Address) {
		f := put("envelope", name, expect, comment, body)
		f.AddHex("seed", key.Bytes())
		f.Add("us", format(us))
		if expect == "success" {
			f.Add("from", format(from))
			f.AddHex("message", message)
		}
	}
	envelope := must(sealed.Seal(key.PublicKey(), bob, sealed.Letter{From: alice, Message: message}))
	putEnvelope("good", "success", "a letter of Alice to Bob", envelope, key, bob, alice)
	short := alice
	short.Name, short.Device = "a", 1<<32-1
	putEnvelope("short-name", "success", "the shortest name and the largest number",
		must(sealed.Seal(key.PublicKey(), bob, sealed.Letter{From: short, Message: message})), key, bob, short)
	putEnvelope("self", "self", "said to come from the very device it is for",
		must(sealed.Seal(key.PublicKey(), bob, sealed.Letter{From: bob, Message: message})), key, bob, bob)
	next := bob
	next.Device++
	putEnvelope("other-device", "decrypt", "for another device", envelope, key, next, alice)
	putEnvelope("other-key", "decrypt", "another key than the one named", envelope, sealed.GenerateKey(), bob, alice)
	const (
		encapsulatedAt = 2 + 4
		ciphertextAt   = encapsulatedAt + 1088 + 32
	)
	for _, c := range []struct {
		name, expect string
		at           int
	}{
		{"version", "malformed", 0},
		{"type", "malformed", 1},
		{"key-id", "decrypt", 2},
		{"ml-kem", "decrypt", encapsulatedAt},
		{"x25519", "decrypt", encapsulatedAt + 1088},
		{"ciphertext", "decrypt", ciphertextAt},
		{"tag", "decrypt", len(envelope) - 1},
	} {
		putEnvelope("flipped-"+c.name, c.expect, "one bit changed", flip(envelope, c.at), key, bob, alice)
	}
	low := bytes.Clone(envelope)
	clear(low[encapsulatedAt+1088 : ciphertextAt])
	putEnvelope("low-order", "decrypt", "an X25519 key of low order", low, key, bob, alice)
	putEnvelope("no-tag", "malformed", "a byte less than a tag", envelope[:ciphertextAt+15], key, bob, alice)
	putEnvelope("truncated", "decrypt", "the last byte is missing", envelope[:len(envelope)-1], key, bob, alice)
	putEnvelope("trailing", "decrypt", "a byte too many", append(bytes.Clone(envelope), 0), key, bob, alice)
	putEnvelope("empty", "malformed", "nothing", nil, key, bob, alice)
	// What a sender could seal that is no letter.
	for _, c := range []struct { // in this order, for the randomness they draw
		name   string
		inside []byte
	}{
		{"no-sender", nil},
		{"empty-name", []byte{0, 0, 0, 0, 1}},
		{"device-0", []byte{1, 'a', 0, 0, 0, 0}},
		{"short-sender", []byte{9, 'a'}},
	} {
		public := must(hpke.MLKEM768X25519().NewPublicKey(key.PublicKey().Encode()[2:]))
		encapsulated, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(),
			bob.Append([]byte("ChatE2E v1 sealed envelope")))
		if err != nil {
			t.Fatal(err)
		}
		header := envelope[:encapsulatedAt]
		b := slices.Concat(header, encapsulated, must(sender.Seal(header, c.inside)))
		putEnvelope("inside-"+c.name, "decrypt", "what is sealed is no letter", b, key, bob, alice)
	}
	if binary.BigEndian.Uint16(good[keyAt:]) != 0x647A {
		t.Errorf("KEM %x", good[keyAt:keyAt+2])
	}
	return made
}
