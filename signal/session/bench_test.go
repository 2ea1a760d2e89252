package session_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/sha256"
	"math"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/testcost"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

// What the library does is measured beside its floor: the primitives that it
// cannot do without, called straight from the standard library. Both process
// messages of 256 bytes; the times of one run are comparable, those of two are
// not.

const benchSize = 256

// comparison is an operation of ours and its floor.
type comparison struct {
	ours, floor func()
}

// comparisons makes the operations afresh.
func comparisons() map[string]func() comparison {
	return map[string]func() comparison{
		"Encrypt": func() comparison {
			alice, _ := benchTalking()
			plaintext := make([]byte, benchSize)
			return comparison{
				ours:  func() { must(alice.record.Encrypt(plaintext, start)) },
				floor: func() { floorSeal(plaintext) },
			}
		},
		"Decrypt": func() comparison {
			alice, bob := benchTalking()
			plaintext := make([]byte, benchSize)
			messages := make([][]byte, 1000)
			for i := range messages {
				messages[i] = must(alice.record.Encrypt(plaintext, start)).Bytes
			}
			stored, next := bob.record.Append(nil), 0
			sealed := floorSeal(plaintext)
			return comparison{
				ours: func() {
					if next == len(messages) { // a thousandth of the time
						bob.record, next = must(session.ParseRecord(stored)), 0
					}
					must(bob.record.Decrypt(must(session.Parse(messages[next])), bob.id, pqxdh.PreKeys{}, start))
					next++
				},
				floor: func() { floorOpen(sealed) },
			}
		},
		"PingPong": func() comparison { // one message, sent and received, with a new ratchet key
			alice, bob := benchTalking()
			plaintext := make([]byte, benchSize)
			their := must(ecdh.X25519().GenerateKey(nil))
			sealed := floorSeal(plaintext)
			return comparison{
				ours: func() {
					b := must(alice.record.Encrypt(plaintext, start)).Bytes
					must(bob.record.Decrypt(must(session.Parse(b)), bob.id, pqxdh.PreKeys{}, start))
					alice, bob = bob, alice
				},
				floor: func() {
					our := must(ecdh.X25519().GenerateKey(nil))
					floorRoot(our, their.PublicKey())
					floorSeal(plaintext)
					floorRoot(their, our.PublicKey())
					floorOpen(sealed)
				},
			}
		},
		"Setup": func() comparison { // from two identity keys to the first message opened
			alice, bob := pair(pqxdh.Chate2eV1)
			plaintext := make([]byte, benchSize)
			alicePrivate, bobPrivate := must(ecdh.X25519().GenerateKey(nil)), must(ecdh.X25519().GenerateKey(nil))
			public, private, err := ed25519.GenerateKey(nil)
			if err != nil {
				panic(err)
			}
			return comparison{
				ours:  func() { setUp(alice, bob, plaintext) },
				floor: func() { floorSetUp(alicePrivate, bobPrivate, public, private, plaintext) },
			}
		},
	}
}

func benchTalking() (alice, bob *party) {
	alice, bob = pair(pqxdh.Chate2eV1)
	must(alice.record.Initiate(alice.id, bob.preKeys.offer(true, start), start))
	for _, p := range [][2]*party{{alice, bob}, {bob, alice}, {alice, bob}} {
		l := must(p[0].seal(start))
		must(p[1].open(l.kind, l.bytes, start))
	}
	// Now Bob has the next word, and then Alice has a chain in which he misses nothing.
	l := must(bob.seal(start))
	must(alice.open(l.kind, l.bytes, start))
	return alice, bob
}

// setUp is all that a session takes: Bob makes prekeys and a bundle, Alice
// checks it and sends a first message, and Bob opens that.
func setUp(alice, bob *party, plaintext []byte) {
	suite := pqxdh.Chate2eV1
	own := pqxdh.PreKeys{
		Signed:  must(pqxdh.NewSignedPreKey(suite, bob.id, start)),
		KEM:     must(pqxdh.NewKEMPreKey(suite, bob.id, false, start)),
		OneTime: pqxdh.NewOneTimePreKey(),
	}
	bundle := &pqxdh.Bundle{
		IdentityKey: bob.id.Key.PublicKey(), SignedPreKey: own.Signed.SignedPreKey, KEMPreKey: &own.KEM.KEMPreKey,
		OneTimePreKey: &own.OneTime.OneTimePreKey,
	}
	encoded := bundle.Append(nil)

	toBob := must(session.New(suite, alice.id.Address, bob.id.Address))
	must(toBob.Initiate(alice.id, must(pqxdh.ParseBundle(encoded)), start))
	sealed := must(toBob.Encrypt(plaintext, start))

	toAlice := must(session.New(suite, bob.id.Address, alice.id.Address))
	must(toAlice.Decrypt(must(session.Parse(sealed.Bytes)), bob.id, own, start))
}

// ── the floor ───────────────────────────────────────────────────────────────

var floorKey = make([]byte, 32)

// floorAEAD is what each message takes: two HMACs and an HKDF.
func floorAEAD() (cipher.AEAD, []byte) {
	var seed []byte
	for _, b := range [][]byte{{1}, {2}} {
		h := hmac.New(sha256.New, floorKey)
		h.Write(b)
		seed = h.Sum(nil)
	}
	keys := must(hkdf.Key(sha256.New, seed, nil, "message key", 44))
	return must(cipher.NewGCM(must(aes.NewCipher(keys[:32])))), keys[32:]
}

var floorHeader = make([]byte, 90)

func floorSeal(plaintext []byte) []byte {
	aead, nonce := floorAEAD()
	return aead.Seal(nil, nonce, plaintext, floorHeader)
}

func floorOpen(sealed []byte) {
	aead, nonce := floorAEAD()
	must(aead.Open(nil, nonce, sealed, floorHeader))
}

// floorRoot is a root step.
func floorRoot(our *ecdh.PrivateKey, their *ecdh.PublicKey) {
	must(hkdf.Key(sha256.New, must(our.ECDH(their)), floorKey, "root step", 64))
}

func floorSetUp(alice, bob *ecdh.PrivateKey, public ed25519.PublicKey, private ed25519.PrivateKey, plaintext []byte) {
	// Bob's prekeys, of which two are signed.
	signed, oneTime := must(ecdh.X25519().GenerateKey(nil)), must(ecdh.X25519().GenerateKey(nil))
	decapsulation := must(mlkem.GenerateKey1024())
	encoded := decapsulation.EncapsulationKey().Bytes()
	signatures := [][]byte{ed25519.Sign(private, signed.PublicKey().Bytes()), ed25519.Sign(private, encoded)}

	// Alice's side.
	if !ed25519.Verify(public, signed.PublicKey().Bytes(), signatures[0]) || !ed25519.Verify(public, encoded, signatures[1]) {
		panic("the floor does not hold")
	}
	ephemeral := must(ecdh.X25519().GenerateKey(nil))
	must(alice.ECDH(signed.PublicKey()))
	must(ephemeral.ECDH(bob.PublicKey()))
	must(ephemeral.ECDH(signed.PublicKey()))
	must(ephemeral.ECDH(oneTime.PublicKey()))
	shared, ciphertext := must(mlkem.NewEncapsulationKey1024(encoded)).Encapsulate()
	must(hkdf.Key(sha256.New, shared, nil, "handshake", 32))
	ratchetKey := must(ecdh.X25519().GenerateKey(nil))
	floorRoot(ratchetKey, signed.PublicKey())
	sealed := floorSeal(plaintext)

	// Bob's side.
	must(signed.ECDH(alice.PublicKey()))
	must(bob.ECDH(ephemeral.PublicKey()))
	must(signed.ECDH(ephemeral.PublicKey()))
	must(oneTime.ECDH(ephemeral.PublicKey()))
	must(hkdf.Key(sha256.New, must(decapsulation.Decapsulate(ciphertext)), nil, "handshake", 32))
	floorRoot(signed, ratchetKey.PublicKey())
	floorOpen(sealed)
}

// ── benchmarks ──────────────────────────────────────────────────────────────

func bench(b *testing.B, name string) {
	b.Helper()
	c := comparisons()[name]()
	for _, which := range []struct {
		name string
		f    func()
	}{{"ours", c.ours}, {"floor", c.floor}} {
		b.Run(which.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				which.f()
			}
		})
	}
}

func BenchmarkEncrypt(b *testing.B)  { bench(b, "Encrypt") }
func BenchmarkDecrypt(b *testing.B)  { bench(b, "Decrypt") }
func BenchmarkPingPong(b *testing.B) { bench(b, "PingPong") }
func BenchmarkSetup(b *testing.B)    { bench(b, "Setup") }

// TestAgainstTheFloor counts allocations: for a message they are at most ten more
// than the floor's. Times are only told, since a machine that is shared cannot be
// held to them: the best of many rounds, in which both take turns.
func TestAgainstTheFloor(t *testing.T) {
	if testing.Short() {
		t.Skip("short mode: nothing is measured")
	}
	for name, mostAllocs := range map[string]float64{"Encrypt": 10, "Decrypt": 10, "PingPong": 10, "Setup": 130} {
		c := comparisons()[name]()
		ours, floor := testing.AllocsPerRun(100, c.ours), testing.AllocsPerRun(100, c.floor)
		if ours > floor+mostAllocs {
			t.Errorf("%s: %v allocations, %v more than the floor, want at most %v more", name, ours, ours-floor, mostAllocs)
		}
		batch := 1
		if name == "Encrypt" || name == "Decrypt" {
			batch = 20
		}
		took := [2]time.Duration{math.MaxInt64, math.MaxInt64}
		for range 100 / testcost.Slowdown {
			for i, f := range []func(){c.ours, c.floor} {
				begin := time.Now()
				for range batch {
					f()
				}
				took[i] = min(took[i], time.Since(begin)/time.Duration(batch))
			}
		}
		t.Logf("%-8s  %8v and %3.0f allocations; the floor %8v and %3.0f: %.2f times as long",
			name, took[0], ours, took[1], floor, float64(took[0])/float64(took[1]))
	}
}
