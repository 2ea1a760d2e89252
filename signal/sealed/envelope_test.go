package sealed_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/testleak"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/sealed"
)

var (
	alice = signal.Address{Name: "j7aqwnsgbuwqjm2zhxv4sbwxe3vyzktp", Device: 1}
	bob   = signal.Address{Name: "pbvk3q2yv3u6mzvdn4g5kqj5lstwxz2a", Device: 2}

	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func seal(tb testing.TB, key *sealed.PublicKey, to signal.Address, letter sealed.Letter) []byte {
	tb.Helper()
	b, err := sealed.Seal(key, to, letter)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func open(b []byte, key *sealed.PrivateKey, us signal.Address) (*sealed.Letter, error) {
	e, err := sealed.Parse(b)
	if err != nil {
		return nil, err
	}
	return e.Open(key, us)
}

func TestEnvelope(t *testing.T) {
	r := testrand.New(t)
	key := sealed.GenerateKey()
	seen := map[string]bool{}
	for _, message := range [][]byte{{}, {0}, r.Bytes(100), r.Bytes(70_000)} {
		for _, from := range []signal.Address{alice, {Name: "x", Device: 1<<32 - 1}, {Name: strings.Repeat("n", 255), Device: 7}} {
			b := seal(t, key.PublicKey(), bob, sealed.Letter{From: from, Message: message})
			if want := sealed.Overhead + len(from.Name) + len(message); len(b) != want {
				t.Errorf("an envelope of %d bytes, want %d", len(b), want)
			}
			if seen[string(b)] {
				t.Error("two envelopes are the same")
			}
			seen[string(b)] = true
			e, err := sealed.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if e.KeyID() != key.PublicKey().ID() {
				t.Error("another key ID")
			}
			clear(b) // Parse has copied it
			letter, err := e.Open(key, bob)
			if err != nil || letter.From != from || !bytes.Equal(letter.Message, message) {
				t.Errorf("got %v, %v, want a letter of %d bytes from %v", letter, err, len(message), from)
			}
			if again, err := e.Open(key, bob); err != nil || !bytes.Equal(again.Message, message) {
				t.Errorf("the second time: %v", err)
			}
		}
	}
}

// Every bit of an envelope counts, and so do its recipient and its length.
func TestEnvelopeRefuses(t *testing.T) {
	r := testrand.New(t)
	key := sealed.GenerateKey()
	b := seal(t, key.PublicKey(), bob, sealed.Letter{From: alice, Message: r.Bytes(40)})
	refused := func(what string, at int, want error, b []byte, key *sealed.PrivateKey, us signal.Address) {
		t.Helper()
		if letter, err := open(b, key, us); letter != nil || !errors.Is(err, want) {
			t.Errorf("%s, %d: got %v, %v, want %v", what, at, letter, err, want)
		}
	}
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= 1 << r.IntN(8)
		want := sealed.ErrOpen
		if i < 2 {
			want = sealed.ErrMalformed
		}
		refused("flipped", i, want, flipped, key, bob)
	}
	const smallest = 2 + 4 + 1120 + 16
	for _, size := range []int{0, 1, 2, 6, 1000, smallest - 1} {
		refused("truncated", size, sealed.ErrMalformed, b[:size], key, bob)
	}
	refused("truncated", smallest, sealed.ErrOpen, b[:smallest], key, bob)
	refused("truncated", len(b)-1, sealed.ErrOpen, b[:len(b)-1], key, bob)
	refused("longer", len(b)+1, sealed.ErrOpen, append(bytes.Clone(b), 0), key, bob)

	refused("another key", 0, sealed.ErrOpen, b, sealed.GenerateKey(), bob)
	refused("no key", 0, sealed.ErrOpen, b, nil, bob)
	refused("another user", 0, sealed.ErrOpen, b, key, signal.Address{Name: "pbvk3q2yv3u6mzvdn4g5kqj5lstwxz2b", Device: 2})
	refused("another device", 0, sealed.ErrOpen, b, key, signal.Address{Name: bob.Name, Device: 3})
	refused("nobody", 0, sealed.ErrOpen, b, key, signal.Address{})
	if _, err := open(b, key, bob); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// What comes back to its sender is refused as such.
func TestEnvelopeToOneself(t *testing.T) {
	key := sealed.GenerateKey()
	b := seal(t, key.PublicKey(), bob, sealed.Letter{From: bob})
	if letter, err := open(b, key, bob); letter != nil || !errors.Is(err, sealed.ErrSelf) {
		t.Errorf("got %v, %v, want %v", letter, err, sealed.ErrSelf)
	}
	other := signal.Address{Name: bob.Name, Device: bob.Device + 1}
	b = seal(t, key.PublicKey(), bob, sealed.Letter{From: other})
	if letter, err := open(b, key, bob); err != nil || letter.From != other {
		t.Errorf("another device of ours: got %v, %v", letter, err)
	}
}

func TestSealRefuses(t *testing.T) {
	key := sealed.GenerateKey().PublicKey()
	for name, a := range map[string]signal.Address{
		"no name": {Device: 1}, "device 0": {Name: "a"}, "overlong": {Name: sealed.Overlong, Device: 1},
	} {
		if b, err := sealed.Seal(key, a, sealed.Letter{From: alice}); b != nil || !errors.Is(err, signal.ErrAddress) {
			t.Errorf("to %s: got %x, %v", name, b, err)
		}
		if b, err := sealed.Seal(key, bob, sealed.Letter{From: a}); b != nil || !errors.Is(err, signal.ErrAddress) {
			t.Errorf("from %s: got %x, %v", name, b, err)
		}
		if _, err := key.Sign(curve.GenerateKey(), a, noon); !errors.Is(err, signal.ErrAddress) {
			t.Errorf("signing for %s: %v", name, err)
		}
	}
	// An X25519 key of low order makes a secret that everybody knows.
	low := key.Encode()
	clear(low[len(low)-32:])
	if b, err := sealed.Seal(must(sealed.ParsePublicKey(low)), bob, sealed.Letter{From: alice}); b != nil || !errors.Is(err, sealed.ErrPublicKey) {
		t.Errorf("to a key of low order: got %x, %v", b, err)
	}
}

// An envelope is what docs/PROTOCOL.md says, bit by bit: this opens one, and makes
// one, with nothing but the standard library.
func TestEnvelopeAsDocumented(t *testing.T) {
	r := testrand.New(t)
	seed := r.Bytes(32)
	key := must(sealed.NewPrivateKey(seed))
	std := must(hpke.MLKEM768X25519().NewPrivateKey(seed))
	encoded := slices.Concat([]byte{0x64, 0x7A}, std.PublicKey().Bytes())
	if got := key.PublicKey().Encode(); !bytes.Equal(got, encoded) || len(got) != 1218 {
		t.Fatalf("a public key of %x", got)
	}
	address := func(a signal.Address) []byte {
		return binary.BigEndian.AppendUint32(append([]byte{byte(len(a.Name))}, a.Name...), a.Device)
	}
	info := append([]byte("ChatE2E v1 sealed envelope"), address(bob)...)
	id := sha256.Sum256(append([]byte("ChatE2E v1 sealing key ID"), encoded...))
	header := append([]byte{1, 9}, id[:4]...)
	message := r.Bytes(50)

	b := seal(t, key.PublicKey(), bob, sealed.Letter{From: alice, Message: message})
	if !bytes.HasPrefix(b, header) {
		t.Fatalf("an envelope begins with %x, want %x", b[:6], header)
	}
	recipient := must(hpke.NewRecipient(b[6:6+1120], std, hpke.HKDFSHA256(), hpke.AES256GCM(), info))
	plaintext, err := recipient.Open(header, b[6+1120:])
	if err != nil || !bytes.Equal(plaintext, append(address(alice), message...)) {
		t.Errorf("got %x, %v", plaintext, err)
	}

	encapsulated, sender, err := hpke.NewSender(std.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		t.Fatal(err)
	}
	letter, err := open(slices.Concat(header, encapsulated, must(sender.Seal(header, plaintext))), key, bob)
	if err != nil || letter.From != alice || !bytes.Equal(letter.Message, message) {
		t.Errorf("got %v, %v", letter, err)
	}
	refused := func(what string, header, inside []byte) {
		t.Helper()
		encapsulated, sender, err := hpke.NewSender(std.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), info)
		if err != nil {
			t.Fatal(err)
		}
		b := slices.Concat(header, encapsulated, must(sender.Seal(header, inside)))
		if letter, err := open(b, key, bob); letter != nil || !errors.Is(err, sealed.ErrOpen) {
			t.Errorf("%s: got %v, %v", what, letter, err)
		}
	}
	refused("another key's ID", []byte{1, 9, 1, 2, 3, 4}, plaintext)
	// Inside, too, there is one encoding only.
	for _, inside := range [][]byte{
		{}, {0}, {0, 0, 0, 0, 1}, {1, 'a', 0, 0, 0, 0}, {2, 'a', 0, 0, 0, 1}, {1, 'a', 0, 0, 1},
	} {
		refused(fmt.Sprintf("%x inside", inside), header, inside)
	}

	signed := must(key.PublicKey().Sign(curve.GenerateKey(), bob, noon)).Append(nil)
	const expires = 20455 + 30 // 2026-01-02 and 30 days
	want := append([]byte{1, 5, 0, 0, expires >> 8, expires & 0xff}, encoded...)
	if len(signed) != 1288 || !bytes.HasPrefix(signed, want) {
		t.Errorf("a signed key of %d bytes begins with %x, want %x", len(signed), signed[:6], want[:6])
	}
}

func TestPublicKey(t *testing.T) {
	key := sealed.GenerateKey()
	encoded := key.PublicKey().Encode()
	parsed, err := sealed.ParsePublicKey(encoded)
	if err != nil || parsed.ID() != key.PublicKey().ID() || !bytes.Equal(parsed.Encode(), encoded) {
		t.Fatalf("a key differs when read back: %v", err)
	}
	encoded[100] ^= 1
	if bytes.Equal(parsed.Encode(), encoded) || bytes.Equal(key.PublicKey().Encode(), encoded) {
		t.Error("Encode gives away its own bytes")
	}
	encoded[100] ^= 1
	other := sealed.GenerateKey().PublicKey()
	if other.ID() == key.PublicKey().ID() || bytes.Equal(other.Encode(), encoded) {
		t.Error("two keys are the same")
	}
	unreduced := bytes.Clone(encoded)
	unreduced[2], unreduced[3] = 0xff, 0xff
	for name, b := range map[string][]byte{
		"nothing": nil, "without the KEM": encoded[2:], "truncated": encoded[:len(encoded)-1],
		"longer": append(bytes.Clone(encoded), 0), "another KEM": append([]byte{0x00, 0x20}, encoded[2:]...), "unreduced": unreduced,
	} {
		if k, err := sealed.ParsePublicKey(b); k != nil || !errors.Is(err, sealed.ErrPublicKey) {
			t.Errorf("%s: got %v, %v", name, k, err)
		}
	}
}

func TestPrivateKey(t *testing.T) {
	key := sealed.GenerateKey()
	stored := key.Bytes()
	again, err := sealed.NewPrivateKey(stored)
	if err != nil || again.PublicKey().ID() != key.PublicKey().ID() || len(stored) != sealed.SeedSize {
		t.Fatalf("a key differs when read back: %v", err)
	}
	b := seal(t, key.PublicKey(), bob, sealed.Letter{From: alice})
	clear(stored)
	for _, k := range []*sealed.PrivateKey{key, again} {
		if _, err := open(b, k, bob); err != nil {
			t.Error(err)
		}
	}
	for _, size := range []int{0, 31, 33, 64} {
		if k, err := sealed.NewPrivateKey(make([]byte, size)); k != nil || !errors.Is(err, sealed.ErrPrivateKey) {
			t.Errorf("%d bytes: got %v, %v", size, k, err)
		}
	}
}

func TestSignedKey(t *testing.T) {
	r := testrand.New(t)
	identity, key := curve.GenerateKey(), sealed.GenerateKey().PublicKey()
	signed := must(key.Sign(identity, bob, noon))
	encoded := signed.Append(nil)
	if len(encoded) != sealed.SignedKeySize {
		t.Errorf("%d bytes, want %d", len(encoded), sealed.SignedKeySize)
	}
	expiry := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	if !signed.Expires().Equal(expiry) {
		t.Errorf("expires %v, want %v", signed.Expires(), expiry)
	}
	verify := func(b []byte, identity curve.PublicKey, owner signal.Address, now time.Time) error {
		s, err := sealed.ParseSignedKey(b)
		if err != nil {
			return err
		}
		got, err := s.Verify(identity, owner, now)
		if (got == nil) != (err != nil) || err == nil && got.ID() != key.ID() {
			t.Errorf("Verify returns %v with %v", got, err)
		}
		return err
	}
	ours := identity.PublicKey()
	other := signal.Address{Name: bob.Name, Device: 3}
	for _, c := range []struct {
		name     string
		identity curve.PublicKey
		owner    signal.Address
		now      time.Time
		want     error
	}{
		{"good", ours, bob, noon, nil},
		{"before it was made", ours, bob, time.Unix(0, 0), nil},
		{"last moment", ours, bob, expiry.Add(-1), nil},
		{"first moment after", ours, bob, expiry, sealed.ErrExpired},
		{"another identity", curve.GenerateKey().PublicKey(), bob, noon, sealed.ErrSignature},
		{"another device", ours, other, noon, sealed.ErrSignature},
		{"another user", ours, alice, noon, sealed.ErrSignature},
		{"nobody", ours, signal.Address{}, noon, signal.ErrAddress},
	} {
		if err := verify(encoded, c.identity, c.owner, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	for i := range encoded {
		b := bytes.Clone(encoded)
		b[i] ^= 1 << r.IntN(8)
		err := verify(b, ours, bob, noon)
		malformed := i < 3 || i >= 6 && i < 8 // version, purpose, what an expiry cannot be, KEM
		if malformed && !errors.Is(err, sealed.ErrMalformed) ||
			!malformed && !errors.Is(err, sealed.ErrSignature) && !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for _, b := range [][]byte{nil, encoded[:len(encoded)-1], append(bytes.Clone(encoded), 0)} {
		if s, err := sealed.ParseSignedKey(b); s != nil || !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%d bytes: got %v, %v", len(b), s, err)
		}
	}
	// Clocks that are wrong make keys that nobody uses, and nothing worse.
	for _, now := range []time.Time{time.Unix(-1e9, 0), time.Unix(1<<60, 0)} {
		s := must(key.Sign(identity, bob, now))
		if _, err := s.Verify(ours, bob, noon); !errors.Is(err, sealed.ErrExpired) {
			t.Errorf("made at %v: %v", now, err)
		}
	}
}

func TestNothingPrints(t *testing.T) {
	r := testrand.New(t)
	seed := r.Bytes(32)
	key := must(sealed.NewPrivateKey(seed))
	// The private keys that the seed becomes, from the same functions as in HPKE.
	expanded := sha3.SumSHAKE256(seed, 64+32)
	_ = must(mlkem.NewDecapsulationKey768(expanded[:64]))
	x := must(ecdh.X25519().NewPrivateKey(expanded[64:]))
	if public := key.PublicKey().Encode(); !bytes.HasSuffix(public, x.PublicKey().Bytes()) {
		t.Fatal("these are not the private keys")
	}
	testleak.Check(t, key, seed, expanded[:32], expanded[32:64], expanded[64:])
	testleak.Check(t, *key, seed, expanded[:32], expanded[32:64], expanded[64:])
}

func FuzzEnvelope(f *testing.F) {
	key := must(sealed.NewPrivateKey(make([]byte, 32)))
	f.Add(must(sealed.Seal(key.PublicKey(), bob, sealed.Letter{From: alice, Message: []byte("hello")})))
	f.Add(append([]byte{1, 9}, make([]byte, 1200)...))
	f.Add([]byte{1, 9, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := sealed.Parse(b)
		if err != nil {
			if e != nil {
				t.Error("an error came with a value")
			}
			return
		}
		id := e.KeyID()
		if !bytes.HasPrefix(b, append([]byte{1, 9}, id[:]...)) || len(b) < 6+1120+16 {
			t.Errorf("%x parses", b)
		}
		letter, err := e.Open(key, bob)
		if (letter == nil) != (err != nil) || err != nil && !errors.Is(err, sealed.ErrOpen) && !errors.Is(err, sealed.ErrSelf) {
			t.Errorf("%x opens as %v, %v", b, letter, err)
		}
	})
}

func FuzzSignedKey(f *testing.F) {
	key := must(sealed.NewPrivateKey(make([]byte, 32))).PublicKey()
	f.Add(must(key.Sign(curve.GenerateKey(), bob, noon)).Append(nil))
	f.Add([]byte{1, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := sealed.ParseSignedKey(b)
		if err != nil {
			if s != nil {
				t.Error("an error came with a value")
			}
			return
		}
		if again := s.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
	})
}

func FuzzPublicKey(f *testing.F) {
	f.Add(must(sealed.NewPrivateKey(make([]byte, 32))).PublicKey().Encode())
	f.Add([]byte{0x64, 0x7A})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := sealed.ParsePublicKey(b)
		if err != nil {
			if k != nil {
				t.Error("an error came with a value")
			}
			return
		}
		if again := k.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
	})
}
