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
	"github.com/chate2e/chate2e/signal/spqr"
)

// What the library does is measured beside its floor: the primitives that it
// cannot do without, called straight from the standard library. Both process
// messages of 256 bytes; the times of one run are comparable, those of two are
// not. The post-quantum ratchet has no part in the floor of a message, but for the
// key exchange of an epoch, of which every message of a ping-pong has its share; the
// first key pair of that exchange is made with the first message.

const (
	benchSize     = 256
	epochMessages = 87 // messages of a ping-pong in which an epoch completes
)

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
			n := 0
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
					if n++; n%epochMessages == 0 {
						floorEpoch()
					}
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

// benchTalking returns two parties in the middle of an epoch: Alice sends the chunks
// that cost most, of her key's vector.
func benchTalking() (alice, bob *party) {
	alice, bob = pair(pqxdh.Chate2eV1)
	must(alice.record.Initiate(alice.id, bob.preKeys.offer(true, start), start))
	for must(alice.record.Status()).Counters.PQ.Phase != spqr.HeaderSent {
		for _, p := range [][2]*party{{alice, bob}, {bob, alice}} {
			l := must(p[0].seal(start))
			must(p[1].open(l.kind, l.bytes, start))
		}
	}
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

// floorEpoch is the key exchange of an epoch of the post-quantum ratchet, both sides.
func floorEpoch() {
	key := must(mlkem.GenerateKey768())
	_, ciphertext := must(mlkem.NewEncapsulationKey768(key.EncapsulationKey().Bytes())).Encapsulate()
	must(key.Decapsulate(ciphertext))
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
	must(mlkem.GenerateKey768()).EncapsulationKey().Bytes()
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

// TestAgainstTheFloor holds operations to a number of allocations more than the
// floor's, and to a multiple of its time. The two take turns, a millisecond or less
// each, and of every piece of work the best time counts: whatever else a machine
// does only ever adds. With a ping-pong the pieces are the messages of an epoch.
func TestAgainstTheFloor(t *testing.T) {
	if testing.Short() {
		t.Skip("short mode: nothing is measured")
	}
	for _, limit := range []struct {
		name          string
		pieces, batch int
		allocs, times float64
	}{
		{"Encrypt", 1, 100, 10, 2.4},
		{"Decrypt", 1, 100, 10, 2.4},
		{"PingPong", epochMessages, 1, 16, 1.5},
		{"Setup", 1, 1, 250, 1.25},
	} {
		c := comparisons()[limit.name]()
		run := func(f func()) {
			for range limit.batch {
				f()
			}
		}
		average := func(f func()) float64 {
			calls := limit.pieces * limit.batch
			return testing.AllocsPerRun(4, func() {
				for range calls {
					f()
				}
			}) / float64(calls)
		}
		ours, floor := average(c.ours), average(c.floor)
		if ours > floor+limit.allocs {
			t.Errorf("%s: %.0f allocations, %.0f more than the floor, want at most %.0f more",
				limit.name, ours, ours-floor, limit.allocs)
		}
		took := make([][2]time.Duration, limit.pieces)
		for i := range took {
			took[i] = [2]time.Duration{math.MaxInt64, math.MaxInt64}
		}
		var sum [2]time.Duration
		times := math.Inf(1)
		for round := 0; round < 20 || round < 200 && times > limit.times; round++ {
			for piece := range took {
				for i, f := range []func(){c.ours, c.floor} {
					begin := time.Now()
					run(f)
					took[piece][i] = min(took[piece][i], time.Since(begin))
				}
			}
			sum = [2]time.Duration{}
			for _, best := range took {
				sum[0], sum[1] = sum[0]+best[0], sum[1]+best[1]
			}
			times = float64(sum[0]) / float64(sum[1])
		}
		calls := time.Duration(limit.pieces * limit.batch)
		t.Logf("%-8s  %8v and %3.0f allocations; the floor %8v and %3.0f: %.2f times as long",
			limit.name, sum[0]/calls, ours, sum[1]/calls, floor, times)
		if times > limit.times && testcost.Slowdown == 1 {
			t.Errorf("%s takes %.2f times as long as its floor, want at most %.2f", limit.name, times, limit.times)
		}
	}
}
