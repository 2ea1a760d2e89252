package session_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"math"
	"testing"
	"time"

	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
	"github.com/chate2e/chate2e/signal/spqr"
)

// The benchmarks measure against a floor: what the primitives of the standard
// library alone cost for the same messages. The two take turns in short batches,
// so that a machine with other things to do slows both, and of each the best
// batch counts. The ratio is what can be compared between machines.

const (
	benchmarkText = 256 // bytes of plaintext
	epochMessages = 87  // messages of a ping-pong in which an epoch completes
)

// against runs ours and floor in turns, size calls at a time. It reports the best
// time of a call of each, and their ratio. What prepare does is not measured.
func against(b *testing.B, size int, prepare, ours, floor func()) {
	b.Helper()
	best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
	for b.Loop() {
		prepare()
		for i, f := range []func(){ours, floor} {
			start := time.Now()
			for range size {
				f()
			}
			best[i] = min(best[i], time.Since(start))
		}
	}
	b.ReportMetric(float64(best[0].Nanoseconds())/float64(size), "ns/message")
	b.ReportMetric(float64(best[1].Nanoseconds())/float64(size), "ns/floor")
	b.ReportMetric(float64(best[0])/float64(best[1]), "×floor")
	b.ReportMetric(0, "ns/op") // a batch of each and what prepares it: of no interest
}

// floorMessage returns a message in a chain: seed and next chain key, message key
// and nonce, AES-256-GCM.
func floorMessage(b *testing.B) func() {
	b.Helper()
	key, plaintext, header := make([]byte, 32), make([]byte, benchmarkText), make([]byte, 140)
	return func() {
		for _, constant := range [][]byte{{1}, {2}} {
			mac := hmac.New(sha256.New, key)
			mac.Write(constant)
			mac.Sum(nil)
		}
		keys, err := hkdf.Key(sha256.New, key, nil, "ChatE2E v1 message key", 44)
		if err != nil {
			b.Fatal(err)
		}
		block, err := aes.NewCipher(keys[:32])
		if err != nil {
			b.Fatal(err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			b.Fatal(err)
		}
		aead.Seal(nil, keys[32:], plaintext, header)
	}
}

// floorPingPong returns a message on both sides where every one brings a new
// ratchet key: a key pair and two agreements, two root steps, the message twice,
// and after as many messages as an epoch has, its key exchange.
func floorPingPong(b *testing.B) func() {
	b.Helper()
	message := floorMessage(b)
	their, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	return func() {
		our, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		for range 2 {
			shared, err := our.ECDH(their.PublicKey())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := hkdf.Key(sha256.New, shared, nil, "ChatE2E v1 root step", 64); err != nil {
				b.Fatal(err)
			}
			message()
		}
		if n++; n%epochMessages == 0 {
			floorEpoch(b)
		}
	}
}

// floorEpoch is the key exchange of an epoch, on both sides.
func floorEpoch(b *testing.B) {
	b.Helper()
	dk, err := mlkem.GenerateKey768()
	if err != nil {
		b.Fatal(err)
	}
	ek, err := mlkem.NewEncapsulationKey768(dk.EncapsulationKey().Bytes())
	if err != nil {
		b.Fatal(err)
	}
	_, ciphertext := ek.Encapsulate()
	if _, err := dk.Decapsulate(ciphertext); err != nil {
		b.Fatal(err)
	}
}

// make and take are what send and open are for tests, without their checks.
func (p *party) make(tb testing.TB, plaintext []byte) *session.Sealed {
	tb.Helper()
	sealed, err := p.record.Encrypt(plaintext, start)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func (p *party) take(tb testing.TB, sealed *session.Sealed) session.Opened {
	tb.Helper()
	m, err := parse(p.record.Suite(), sealed.Type, sealed.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	opened, err := p.record.Decrypt(m, p.id, p.preKeys.find(m.Handshake()), start)
	if err != nil {
		tb.Fatal(err)
	}
	p.preKeys.consume(opened.Used)
	return opened
}

// acquainted returns two parties who have both heard of each other.
func acquainted(tb testing.TB, suite pqxdh.Suite) (alice, bob *party) {
	tb.Helper()
	alice, bob = pair(suite)
	if _, err := alice.record.Initiate(alice.id, bob.preKeys.offer(true, start), start); err != nil {
		tb.Fatal(err)
	}
	bob.take(tb, alice.make(tb, nil))
	alice.take(tb, bob.make(tb, nil))
	return alice, bob
}

// benchmarkSuites runs f for both suites that have the post-quantum ratchet, with
// two devices of which the first is sending its vector: the chunks that cost most.
func benchmarkSuites(b *testing.B, f func(b *testing.B, alice, bob *party)) {
	b.Helper()
	for _, suite := range tripleSuites {
		b.Run(suite.String(), func(b *testing.B) {
			alice, bob := acquainted(b, suite)
			for alice.pq(b).Phase != spqr.HeaderSent {
				bob.take(b, alice.make(b, nil))
				alice.take(b, bob.make(b, nil))
			}
			f(b, alice, bob)
		})
	}
}

// BenchmarkEncrypt is a message in one chain.
func BenchmarkEncrypt(b *testing.B) {
	benchmarkSuites(b, func(b *testing.B, alice, _ *party) {
		plaintext := make([]byte, benchmarkText)
		against(b, 256, func() {}, func() { alice.make(b, plaintext) }, floorMessage(b))
	})
}

// BenchmarkDecrypt is the other end of it.
func BenchmarkDecrypt(b *testing.B) {
	benchmarkSuites(b, func(b *testing.B, alice, bob *party) {
		plaintext := make([]byte, benchmarkText)
		var sealed [256]*session.Sealed
		next := 0
		against(b, len(sealed), func() {
			for i := range sealed {
				sealed[i] = alice.make(b, plaintext)
			}
			next = 0
		}, func() {
			bob.take(b, sealed[next])
			next++
		}, floorMessage(b))
	})
}

// BenchmarkPingPong is a message on both sides, each with a new ratchet key,
// averaged over whole epochs.
func BenchmarkPingPong(b *testing.B) {
	benchmarkSuites(b, func(b *testing.B, alice, bob *party) {
		plaintext := make([]byte, benchmarkText)
		messages, before := 0, alice.pq(b).Completed
		against(b, epochMessages, func() {}, func() {
			bob.take(b, alice.make(b, plaintext))
			alice, bob = bob, alice
			messages++
		}, floorPingPong(b))
		b.ReportMetric(float64(messages)/float64(alice.pq(b).Completed-before), "messages/epoch")
	})
}
