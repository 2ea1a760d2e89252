package spqr_test

import (
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/chate2e/chate2e/signal/spqr"
)

// BenchmarkSend sends in one chain, with nothing coming back: chunks of the
// header, nearly all redundant.
func BenchmarkSend(b *testing.B) {
	alice, _ := pair(b, make([]byte, 32), spqr.Config{})
	benchmarkSend(b, alice)
}

// BenchmarkSendVector is the same while the vector is being sent: the most
// expensive chunks.
func BenchmarkSendVector(b *testing.B) {
	alice, bob := pair(b, make([]byte, 32), spqr.Config{})
	for alice.Status().Phase != spqr.HeaderSent {
		receive(b, bob, send(b, alice))
		receive(b, alice, send(b, bob))
	}
	for range 36 {
		send(b, alice)
	}
	benchmarkSend(b, alice)
}

func benchmarkSend(b *testing.B, s *spqr.State) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		step, err := s.Send()
		if err != nil {
			b.Fatal(err)
		}
		step.Commit()
	}
}

// BenchmarkReceive receives in one chain.
func BenchmarkReceive(b *testing.B) {
	alice, bob := pair(b, make([]byte, 32), spqr.Config{})
	benchmarkReceive(b, alice, bob)
}

// BenchmarkReceiveCiphertext1 is the same with chunks that are not needed any
// more, because the vector does not arrive.
func BenchmarkReceiveCiphertext1(b *testing.B) {
	alice, bob := pair(b, make([]byte, 32), spqr.Config{})
	for bob.Status().Phase != spqr.Ct1Sampled {
		receive(b, bob, send(b, alice))
		send(b, bob)
	}
	benchmarkReceive(b, bob, alice)
}

func benchmarkReceive(b *testing.B, from, to *spqr.State) {
	b.Helper()
	messages := make([][]byte, 0, 20_000)
	fresh := func() {
		messages = messages[:0]
		for range cap(messages) {
			messages = append(messages, send(b, from).message)
		}
	}
	next := 0
	b.ReportAllocs()
	for b.Loop() {
		if next == len(messages) {
			b.StopTimer()
			fresh()
			next = 0
			b.StartTimer()
		}
		step, err := to.Receive(messages[next])
		if err != nil {
			b.Fatal(err)
		}
		step.Commit()
		next++
	}
}

// BenchmarkPingPong is one message on both sides, Send and Receive, averaged over
// whole epochs.
func BenchmarkPingPong(b *testing.B) {
	alice, bob := pair(b, make([]byte, 32), spqr.Config{})
	b.ReportAllocs()
	for b.Loop() {
		out, err := alice.Send()
		if err != nil {
			b.Fatal(err)
		}
		out.Commit()
		in, err := bob.Receive(out.Message())
		if err != nil {
			b.Fatal(err)
		}
		in.Commit()
		alice, bob = bob, alice
	}
	b.ReportMetric(float64(alice.Status().Completed)/float64(b.N), "epochs/op")
}

// BenchmarkForgedGap is a message that claims the longest gap there may be, up to
// its being discarded.
func BenchmarkForgedGap(b *testing.B) {
	_, bob := pair(b, make([]byte, 32), spqr.Config{})
	message := append(binary.AppendUvarint([]byte{1, 1}, spqr.DefaultMaxJump), byte(spqr.None))
	b.ReportAllocs()
	for b.Loop() {
		step, err := bob.Receive(message)
		if err != nil {
			b.Fatal(err)
		}
		step.Discard()
	}
}

func BenchmarkAppend(b *testing.B) {
	stored := states(b, make([]byte, 32))[spqr.HeaderSent]
	s, err := spqr.Parse(stored, spqr.Config{})
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1<<12)
	b.ReportAllocs()
	for b.Loop() {
		buf = s.Append(buf[:0])
	}
}

func BenchmarkParse(b *testing.B) {
	stored := states(b, make([]byte, 32))[spqr.HeaderSent]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := spqr.Parse(stored, spqr.Config{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFloorChain is the one HKDF that a message key takes on each side, from
// the standard library.
func BenchmarkFloorChain(b *testing.B) {
	key := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := hkdf.Key(sha256.New, key, nil, "\x00\x00\x00\x01Signal PQ Ratchet V1 Chain Next", 64); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFloorEpoch is the key exchange of an epoch on both sides, from the
// standard library: divided by 87 it is what a message of a ping-pong carries.
func BenchmarkFloorEpoch(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
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
}
