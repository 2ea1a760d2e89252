package spqr_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/spqr"
)

// pair returns both sides of a fresh conversation.
func pair(tb rapid.TB, handshakeKey []byte, config spqr.Config) (alice, bob *spqr.State) {
	tb.Helper()
	key, err := secret.ParseKey(handshakeKey)
	if err != nil {
		tb.Fatal(err)
	}
	if alice, err = spqr.New(spqr.Initiator, key, config); err != nil {
		tb.Fatal(err)
	}
	if bob, err = spqr.New(spqr.Responder, key, config); err != nil {
		tb.Fatal(err)
	}
	return alice, bob
}

// envelope is a message of the conversation with what the test remembers of it.
type envelope struct {
	message []byte
	key     []byte
	event   spqr.Event
}

func send(tb rapid.TB, s *spqr.State) envelope {
	tb.Helper()
	step, err := s.Send()
	if err != nil {
		tb.Fatal(err)
	}
	e := envelope{message: step.Message(), key: bytes.Clone(step.Key()), event: step.Event()}
	step.Commit()
	return e
}

func receive(tb rapid.TB, s *spqr.State, e envelope) spqr.Event {
	tb.Helper()
	step, err := s.Receive(e.message)
	if err != nil {
		tb.Fatalf("message %+v in %+v: %v", e.event, s.Status(), err)
	}
	if !bytes.Equal(step.Key(), e.key) {
		tb.Fatalf("message %+v in %+v: another key", e.event, s.Status())
	}
	event := step.Event()
	step.Commit()
	return event
}

// refused checks that s refuses message and stays as it is.
func refused(tb rapid.TB, s *spqr.State, message []byte, want error) {
	tb.Helper()
	before := s.Append(nil)
	step, err := s.Receive(message)
	if err == nil || step != nil {
		tb.Fatalf("message %x accepted in %+v", message, s.Status())
	}
	if want != nil && !errors.Is(err, want) {
		tb.Fatalf("got error %q, want %q", err, want)
	}
	if !bytes.Equal(before, s.Append(nil)) {
		tb.Fatal("a refused message changed the state")
	}
}

// restart stores the state and loads it again.
func restart(tb rapid.TB, s *spqr.State) *spqr.State {
	tb.Helper()
	stored := s.Append(nil)
	loaded, err := spqr.Parse(stored, spqr.Config{})
	if err != nil {
		tb.Fatalf("state in %+v does not parse: %v", s.Status(), err)
	}
	if !bytes.Equal(stored, loaded.Append(nil)) {
		tb.Fatalf("state in %+v is another one when it was stored", s.Status())
	}
	if s.Status() != loaded.Status() {
		tb.Fatalf("stored as %+v, loaded as %+v", s.Status(), loaded.Status())
	}
	return loaded
}

func derive(tb rapid.TB, ikm, salt []byte, info string, n int) []byte {
	tb.Helper()
	out, err := hkdf.Key(sha256.New, ikm, salt, info, n)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// TestPingPong alternates for many epochs and prints the figures of the protocol.
func TestPingPong(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	seen := make(map[spqr.Phase]bool)
	const epochs = 12
	var messages, longest, bytesSent, stored, largest int
	for alice.Status().Completed < epochs || bob.Status().Completed < epochs {
		e := send(t, alice)
		receive(t, bob, e)
		longest, bytesSent = max(longest, len(e.message)), bytesSent+len(e.message)
		alice, bob = bob, alice
		messages++
		seen[alice.Status().Phase], seen[bob.Status().Phase] = true, true
		size := len(restart(t, alice).Append(nil))
		stored, largest = stored+size, max(largest, size)
		if messages > 2000 {
			t.Fatalf("after %d messages: %+v, %+v", messages, alice.Status(), bob.Status())
		}
	}
	perEpoch := float64(messages) / epochs
	t.Logf("one epoch every %.1f messages; %d bytes a message on average, %d at most; a state has %d bytes on average, %d at most",
		perEpoch, bytesSent/messages, longest, stored/messages, largest)
	if perEpoch < 80 || perEpoch > 95 {
		t.Errorf("an epoch takes %.1f messages, the official library needs about 87", perEpoch)
	}
	if longest > 45 {
		t.Errorf("a message of %d bytes", longest)
	}
	if stored/messages > 2300 {
		t.Errorf("a state has %d bytes on average", stored/messages)
	}
	t.Logf("phases met: %v", seen)
}

// TestStartAgainstDefinition compares the first keys, the first header and its MAC
// with the definition, written out on the standard library.
func TestStartAgainstDefinition(t *testing.T) {
	handshakeKey := testrand.New(t).Bytes(32)
	alice, bob := pair(t, handshakeKey, spqr.Config{})
	start := derive(t, handshakeKey, make([]byte, 32), "Signal PQ Ratchet V1 Chain  Start", 96)
	keys := func(chain []byte) func() []byte {
		index := uint32(0)
		return func() []byte {
			index++
			info := string(binary.BigEndian.AppendUint32(nil, index)) + "Signal PQ Ratchet V1 Chain Next"
			out := derive(t, chain, nil, info, 64)
			chain = out[:32]
			return out[32:]
		}
	}
	fromAlice, fromBob := keys(start[32:64]), keys(start[64:])
	var header []byte
	for i := range uint32(3) {
		e := send(t, alice)
		if want := []byte{1, 1, byte(i + 1), 1, byte(i)}; !bytes.HasPrefix(e.message, want) || len(e.message) != len(want)+32 {
			t.Fatalf("message %x, want it to begin %x", e.message, want)
		}
		if !bytes.Equal(e.key, fromAlice()) {
			t.Fatalf("key %d is another", i)
		}
		header = append(header, e.message[5:]...)
		receive(t, bob, e)
	}
	epoch := "\x00\x00\x00\x00\x00\x00\x00\x01"
	auth := derive(t, append(make([]byte, 32), handshakeKey...), nil, "Signal_PQCKA_V1_MLKEM768:Authenticator Update"+epoch, 64)
	mac := hmac.New(sha256.New, auth[32:])
	mac.Write([]byte("Signal_PQCKA_V1_MLKEM768:ekheader" + epoch))
	mac.Write(header[:64])
	if !bytes.Equal(mac.Sum(nil), header[64:]) {
		t.Error("the header's MAC is another")
	}
	if got := bob.Status().Phase; got != spqr.HeaderReceived {
		t.Fatalf("after the header the responder is in %v", got)
	}
	if e := send(t, bob); !bytes.Equal(e.key, fromBob()) || e.event.Completed != 1 {
		t.Errorf("the responder's first key or epoch is another: %+v", e.event)
	}
}

// TestPathsOfTheBraid leads both sides through every row of the table of phases,
// those included that a lossless exchange does not meet.
func TestPathsOfTheBraid(t *testing.T) {
	t.Run("vector first", func(t *testing.T) {
		// The vector is complete before ciphertext 1 is: EkReceivedCt1Sampled.
		alice, bob := afterHeader(t)
		receive(t, alice, send(t, bob)) // one chunk of ciphertext 1
		phase(t, alice, spqr.HeaderSent)
		for range 36 {
			phase(t, bob, spqr.Ct1Sampled)
			receive(t, bob, send(t, alice))
		}
		phase(t, bob, spqr.EkReceivedCt1Sampled)
		receive(t, bob, send(t, alice)) // no acknowledgement yet
		phase(t, bob, spqr.EkReceivedCt1Sampled)
		for range 29 {
			phase(t, alice, spqr.HeaderSent)
			receive(t, alice, send(t, bob))
		}
		phase(t, alice, spqr.Ct1Received)
		receive(t, bob, send(t, alice)) // vector and acknowledgement
		phase(t, bob, spqr.Ct2Sampled)
		finish(t, alice, bob)
	})
	t.Run("ciphertext first", func(t *testing.T) {
		// Ciphertext 1 is acknowledged before the vector is complete: Ct1Acknowledged.
		alice, bob := afterHeader(t)
		for range 30 {
			receive(t, alice, send(t, bob))
		}
		phase(t, alice, spqr.Ct1Received)
		for range 36 {
			phase(t, bob, map[bool]spqr.Phase{true: spqr.Ct1Sampled, false: spqr.Ct1Acknowledged}[bob.Status().Held == 0])
			if got := send(t, bob).event.Payload; bob.Status().Held > 0 && got != spqr.None {
				t.Fatalf("sends %v after the acknowledgement", got)
			}
			receive(t, bob, send(t, alice))
		}
		phase(t, bob, spqr.Ct2Sampled)
		finish(t, alice, bob)
	})
	t.Run("together", func(t *testing.T) {
		// The last chunk of the vector brings the acknowledgement: straight to
		// Ct2Sampled.
		alice, bob := afterHeader(t)
		receive(t, alice, send(t, bob))
		for range 35 {
			receive(t, bob, send(t, alice))
		}
		for range 29 {
			receive(t, alice, send(t, bob))
		}
		phase(t, alice, spqr.Ct1Received)
		phase(t, bob, spqr.Ct1Sampled)
		receive(t, bob, send(t, alice))
		phase(t, bob, spqr.Ct2Sampled)
		finish(t, alice, bob)
	})
	t.Run("bare acknowledgement", func(t *testing.T) {
		// It tells something in EkReceivedCt1Sampled, and nothing in Ct1Sampled.
		alice, bob := afterHeader(t)
		receive(t, alice, send(t, bob))
		ack := func() []byte { // of an epoch-1 message that carries only an acknowledgement
			e := send(t, alice)
			return append(e.message[:3:3], byte(spqr.Ack))
		}
		step, err := bob.Receive(ack())
		if err != nil {
			t.Fatal(err)
		}
		step.Commit()
		phase(t, bob, spqr.Ct1Sampled)
		for bob.Status().Phase == spqr.Ct1Sampled {
			receive(t, bob, send(t, alice))
		}
		phase(t, bob, spqr.EkReceivedCt1Sampled)
		if step, err = bob.Receive(ack()); err != nil {
			t.Fatal(err)
		}
		if got := step.Event(); got.New || got.Phase != spqr.Ct2Sampled {
			t.Errorf("event %+v", got)
		}
		step.Commit()
		phase(t, bob, spqr.Ct2Sampled)
	})
}

func phase(t *testing.T, s *spqr.State, want spqr.Phase) {
	t.Helper()
	if got := s.Status().Phase; got != want {
		t.Fatalf("in %v, want %v", got, want)
	}
}

// afterHeader returns two parties of which the responder has the header and has
// encapsulated, and the initiator does not know it yet.
func afterHeader(t *testing.T) (alice, bob *spqr.State) {
	t.Helper()
	alice, bob = pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	phase(t, alice, spqr.KeysUnsampled)
	for range 3 {
		phase(t, bob, spqr.NoHeaderReceived)
		receive(t, bob, send(t, alice))
		phase(t, alice, spqr.KeysSampled)
	}
	phase(t, bob, spqr.HeaderReceived)
	if e := send(t, bob); e.event.Completed != 1 || e.event.Payload != spqr.Ciphertext1 {
		t.Fatalf("event %+v", e.event)
	}
	phase(t, bob, spqr.Ct1Sampled)
	return alice, bob
}

// finish completes the epoch from Ct1Received and Ct2Sampled.
func finish(t *testing.T, alice, bob *spqr.State) {
	t.Helper()
	for i := range 5 {
		phase(t, alice, map[bool]spqr.Phase{true: spqr.Ct1Received, false: spqr.EkSentCt1Received}[i == 0])
		if e := send(t, alice); i > 0 && e.event.Payload != spqr.Ack {
			t.Fatalf("sends %v", e.event.Payload)
		}
		event := receive(t, alice, send(t, bob))
		if (event.Completed == 1) != (i == 4) {
			t.Fatalf("chunk %d: event %+v", i, event)
		}
	}
	phase(t, alice, spqr.NoHeaderReceived)
	e := send(t, alice)
	if e.event.KeyEpoch != 1 || e.event.KeyIndex != 1 {
		t.Fatalf("event %+v", e.event)
	}
	receive(t, bob, e)
	phase(t, bob, spqr.KeysUnsampled)
	if got := bob.Status().Epoch; got != 2 {
		t.Fatalf("epoch %d", got)
	}
	e = send(t, bob)
	if e.event.KeyEpoch != 1 || e.event.Payload != spqr.Header {
		t.Fatalf("event %+v", e.event)
	}
	receive(t, alice, e)
}

// talk alternates until both have completed epoch.
func talk(tb rapid.TB, alice, bob *spqr.State, epoch uint64) {
	tb.Helper()
	for alice.Status().Completed < epoch || bob.Status().Completed < epoch {
		receive(tb, bob, send(tb, alice))
		receive(tb, alice, send(tb, bob))
	}
}

// TestOneSided sends long runs in one direction: the exchange waits, keys go on.
func TestOneSided(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	for range 3000 {
		receive(t, bob, send(t, alice))
	}
	phase(t, alice, spqr.KeysSampled)
	talk(t, alice, bob, 3)
	for range 3000 {
		receive(t, alice, send(t, bob))
	}
	talk(t, alice, bob, 5)
}

// TestForgedIndex measures what an index costs before its message is refused.
func TestForgedIndex(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	forged := func(index uint64) []byte {
		m := binary.AppendUvarint([]byte{1, 1}, index)
		return append(m, byte(spqr.None))
	}
	for _, index := range []uint64{spqr.DefaultMaxJump + 1, 1 << 31, 1<<32 - 1} {
		refused(t, bob, forged(index), spqr.ErrTooFar)
	}
	for _, index := range []uint64{0, 1 << 32, 1 << 40, 1<<64 - 1} {
		refused(t, bob, forged(index), spqr.ErrMessage)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	step, err := bob.Receive(forged(spqr.DefaultMaxJump))
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	step.Discard()
	if got := after.TotalAlloc - before.TotalAlloc; got > 200_000 {
		t.Errorf("a forged gap allocates %d bytes", got)
	}
	e := send(t, alice)
	receive(t, bob, e)
	refused(t, bob, e.message, spqr.ErrDuplicate)

	// A smaller limit is kept as well.
	alice, bob = pair(t, make([]byte, 32), spqr.Config{MaxJump: 3})
	for range 3 {
		send(t, alice)
	}
	third := send(t, alice)
	if fourth := send(t, alice); fourth.event.KeyIndex == 5 {
		refused(t, bob, fourth.message, spqr.ErrTooFar)
	}
	refused(t, bob, third.message, spqr.ErrTooFar)
}

// TestSkippedKeysAreBounded loses messages and checks which can still be read.
func TestSkippedKeysAreBounded(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	var sent []envelope
	for range 10_001 {
		sent = append(sent, send(t, alice))
	}
	// Every 9th arrives: 8,888 are skipped on the way.
	for i := 0; i < len(sent)-1; i += 9 {
		receive(t, bob, sent[i])
	}
	bob = restart(t, bob)
	if size := len(bob.Append(nil)); size > spqr.TrimAt*36+1000 {
		t.Errorf("a state of %d bytes", size)
	}
	newest := len(sent) - 2
	for i := len(sent) - 2; i >= 0; i-- {
		switch {
		case i%9 == 0:
			refused(t, bob, sent[i].message, spqr.ErrDuplicate)
		case newest-i <= spqr.KeepSkipped:
			if event := receive(t, bob, sent[i]); !event.Late || event.Skipped != 0 {
				t.Fatalf("message %d: %+v", i, event)
			}
			refused(t, bob, sent[i].message, spqr.ErrDuplicate)
		case newest-i > spqr.TrimAt*9/8+9:
			refused(t, bob, sent[i].message, spqr.ErrDuplicate)
		}
	}
	if event := receive(t, bob, sent[len(sent)-1]); event.Late || event.Skipped != 0 {
		t.Errorf("the next message: %+v", event)
	}

	// A gap larger than what is kept.
	alice, bob = pair(t, make([]byte, 32), spqr.Config{})
	sent = sent[:0]
	for range 5000 {
		sent = append(sent, send(t, alice))
	}
	if event := receive(t, bob, sent[4999]); event.Skipped != 4999 {
		t.Errorf("event %+v", event)
	}
	receive(t, bob, sent[4999-spqr.KeepSkipped])
	refused(t, bob, sent[4999-spqr.KeepSkipped-1].message, spqr.ErrDuplicate)
	if size := len(bob.Append(nil)); size > spqr.KeepSkipped*36+1000 {
		t.Errorf("a state of %d bytes", size)
	}
}

// TestLateEpochs delivers messages of earlier epochs: those of the epoch before
// the one the receiver sends in open, earlier ones do not, by design.
func TestLateEpochs(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	late := make(map[uint64][]envelope)
	keep := func(e envelope) { late[e.event.KeyEpoch] = append(late[e.event.KeyEpoch], e) }
	for alice.Status().Sending < 4 || bob.Status().Sending < 4 {
		keep(send(t, alice))
		receive(t, bob, send(t, alice))
		receive(t, alice, send(t, bob))
	}
	receive(t, bob, send(t, alice))
	send(t, bob)
	for epoch, envelopes := range late {
		for _, e := range envelopes {
			if epoch+1 < bob.Status().Sending {
				refused(t, bob, e.message, spqr.ErrEpoch)
				continue
			}
			before := bob.Status()
			if event := receive(t, bob, e); epoch < bob.Status().Sending && (event.New || event.Completed != 0) {
				t.Fatalf("a chunk of an old epoch is of use: %+v", event)
			}
			if epoch < before.Sending && before != bob.Status() {
				t.Fatalf("a chunk of an old epoch changed %+v to %+v", before, bob.Status())
			}
		}
	}
	// Epochs that nobody can have reached.
	for _, ahead := range []uint64{1, 2, 1 << 20, 1<<63 - 1, 1<<64 - 1 - bob.Status().Epoch} {
		m := binary.AppendUvarint([]byte{1}, bob.Status().Epoch+ahead)
		refused(t, bob, append(m, 1, byte(spqr.None)), spqr.ErrEpoch)
	}
}

// TestOldHeader delivers a chunk of a header two epochs late, when the receiver is
// waiting for the next header from the same peer.
func TestOldHeader(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	old := send(t, alice)
	if old.event.Payload != spqr.Header {
		t.Fatalf("event %+v", old.event)
	}
	for bob.Status().Epoch < 3 {
		receive(t, bob, send(t, alice))
		if bob.Status().Epoch < 3 {
			receive(t, alice, send(t, bob))
		}
	}
	phase(t, bob, spqr.NoHeaderReceived)
	before := bob.Status()
	if event := receive(t, bob, old); event.New || !event.Late || bob.Status() != before {
		t.Errorf("event %+v; %+v became %+v", event, before, bob.Status())
	}
	talk(t, alice, bob, 4)
}

// TestCorruptChunks lets a peer who authenticates send wrong chunks: the exchange
// notices before it gives out a secret, and the state before the last chunk stays.
func TestCorruptChunks(t *testing.T) {
	r := testrand.New(t)
	// The phase in which each is noticed, at the latest.
	for payload, noticed := range map[spqr.Payload]spqr.Phase{
		spqr.Header: spqr.NoHeaderReceived, spqr.Vector: spqr.Ct1Acknowledged,
		spqr.Ciphertext1: spqr.EkSentCt1Received, spqr.Ciphertext2: spqr.EkSentCt1Received,
	} {
		t.Run(payload.String(), func(t *testing.T) {
			alice, bob := pair(t, r.Bytes(32), spqr.Config{})
			corrupted := false
			for range 400 {
				e := send(t, alice)
				if e.event.Payload == payload && !corrupted {
					e.message[len(e.message)-1-r.IntN(32)] ^= 1 << r.IntN(8)
					corrupted = true
				}
				before := bob.Append(nil)
				step, err := bob.Receive(e.message)
				if err != nil {
					if !corrupted {
						t.Fatal(err)
					}
					if !bytes.Equal(before, bob.Append(nil)) {
						t.Fatal("the refused chunk changed the state")
					}
					for _, known := range []error{spqr.ErrMessage, spqr.ErrDuplicate, spqr.ErrEpoch, spqr.ErrTooFar} {
						if errors.Is(err, known) {
							t.Fatalf("error %v", err)
						}
					}
					phase(t, bob, noticed)
					return
				}
				step.Commit()
				if bob.Status().Phase == spqr.NoHeaderReceived && bob.Status().Epoch > 1 {
					t.Fatal("an epoch completed with a corrupt chunk")
				}
				alice, bob = bob, alice
			}
			t.Fatal("the corrupt chunk was never noticed")
		})
	}
}

// TestUncommittedStepsChangeNothing takes steps in every phase and lets them go.
func TestUncommittedStepsChangeNothing(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	for alice.Status().Completed < 3 {
		before := alice.Append(nil)
		first, err := alice.Send()
		if err != nil {
			t.Fatal(err)
		}
		key := bytes.Clone(first.Key())
		first.Discard()
		if !bytes.Equal(before, alice.Append(nil)) {
			t.Fatalf("an uncommitted Send changed %+v", alice.Status())
		}
		e := send(t, alice)
		if !bytes.Equal(e.key, key) {
			t.Fatal("an uncommitted Send took the key")
		}
		before = bob.Append(nil)
		step, err := bob.Receive(e.message)
		if err != nil {
			t.Fatal(err)
		}
		step.Discard()
		if !bytes.Equal(before, bob.Append(nil)) {
			t.Fatalf("an uncommitted Receive changed %+v", bob.Status())
		}
		receive(t, bob, e)
		alice, bob = bob, alice
	}
}

func panics(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic", name)
		}
	}()
	f()
}

func TestStepsEnd(t *testing.T) {
	alice, bob := pair(t, make([]byte, 32), spqr.Config{})
	first, err := alice.Send()
	if err != nil {
		t.Fatal(err)
	}
	second, err := alice.Send()
	if err != nil {
		t.Fatal(err)
	}
	first.Commit()
	panics(t, "Commit after another step", second.Commit)
	panics(t, "a second Commit", first.Commit)
	panics(t, "Key after Commit", func() { first.Key() })
	step, err := bob.Receive(first.Message())
	if err != nil {
		t.Fatal(err)
	}
	step.Discard()
	panics(t, "Commit after Discard", step.Commit)
	panics(t, "Key after Discard", func() { step.Key() })

	// Discard after Commit leaves the state usable, also where an epoch completes.
	for alice.Status().Completed < 2 {
		step, err := alice.Send()
		if err != nil {
			t.Fatal(err)
		}
		e := envelope{message: step.Message(), key: bytes.Clone(step.Key())}
		step.Commit()
		step.Discard()
		if step, err = bob.Receive(e.message); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(step.Key(), e.key) {
			t.Fatal("another key")
		}
		step.Commit()
		step.Discard()
		alice, bob = bob, alice
	}
}

func TestNewRefuses(t *testing.T) {
	key := secret.NewKey([32]byte{1})
	for _, role := range []spqr.Role{0, 3, 255} {
		if s, err := spqr.New(role, key, spqr.Config{}); err == nil || s != nil {
			t.Errorf("role %d accepted", role)
		}
	}
	if s, err := spqr.New(spqr.Initiator, secret.Key{}, spqr.Config{}); err == nil || s != nil {
		t.Error("a missing key accepted")
	}
}

// TestAcceptUnkeyed has a peer who takes no keys yet.
func TestAcceptUnkeyed(t *testing.T) {
	unkeyed := []byte{1, 1, 0, byte(spqr.None)}
	_, strict := pair(t, make([]byte, 32), spqr.Config{})
	refused(t, strict, unkeyed, spqr.ErrMessage)
	alice, bob := pair(t, make([]byte, 32), spqr.Config{AcceptUnkeyed: true})
	for _, m := range [][]byte{{1, 2, 0, 0}, {1, 0, 0, 0}} {
		refused(t, bob, m, spqr.ErrMessage)
	}
	for i := range 3 {
		e := send(t, alice)
		m := append([]byte{1, 1, 0}, e.message[3:]...)
		step, err := bob.Receive(m)
		if err != nil {
			t.Fatal(err)
		}
		if step.Key() != nil {
			t.Fatal("a key for a message without one")
		}
		discarded, err := bob.Receive(m)
		if err != nil {
			t.Fatal(err)
		}
		discarded.Discard()
		panics(t, "Commit after Discard", discarded.Commit)
		step.Commit()
		if (bob.Status().Phase == spqr.HeaderReceived) != (i == 2) {
			t.Fatalf("after chunk %d: %+v", i, bob.Status())
		}
	}
	talk(t, alice, bob, 2)
	// Now the first epoch is over, for good.
	refused(t, bob, unkeyed, spqr.ErrEpoch)
	restarted, err := spqr.Parse(bob.Append(nil), spqr.Config{AcceptUnkeyed: true})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, restarted, unkeyed, spqr.ErrEpoch)
}

// TestWipe: of a state that is not needed any more, at any point of an epoch, no
// key is left, and steps taken before cannot bring one back.
func TestWipe(t *testing.T) {
	for phase, stored := range states(t, testrand.New(t).Bytes(32)) {
		s, err := spqr.Parse(stored, spqr.Config{})
		if err != nil {
			t.Fatal(err)
		}
		step, err := s.Send()
		if err != nil {
			t.Fatal(err)
		}
		s.Wipe()
		panics(t, "Commit after Wipe", step.Commit)
		left := s.Append(nil)
		if len(left) != len(stored) {
			t.Fatalf("%v: %d bytes are left of %d", phase, len(left), len(stored))
		}
		const keysAt = 4 + 8 // after role, phase and epoch
		same := 0
		for i := range stored[keysAt:] {
			if stored[keysAt+i] == left[keysAt+i] {
				same++
			} else if left[keysAt+i] != 0 {
				t.Fatalf("%v: byte %d has become something else", phase, keysAt+i)
			}
		}
		// Three keys, those of the chains, and what the phase itself keeps secret. By
		// chance a few of their bytes are zero.
		want := 96 + 96
		switch phase {
		case spqr.KeysSampled, spqr.HeaderSent, spqr.Ct1Received, spqr.EkSentCt1Received:
			want += 64
		case spqr.Ct1Sampled, spqr.Ct1Acknowledged:
			want += 64 + 32
		case spqr.KeysUnsampled, spqr.NoHeaderReceived, spqr.HeaderReceived, spqr.EkReceivedCt1Sampled, spqr.Ct2Sampled:
		}
		if got := len(stored) - keysAt - same; got < want-8 {
			t.Errorf("%v: %d bytes were wiped, want %d", phase, got, want)
		}
	}
}

// What an exchange needed secretly is erased when it needs it no more.
func TestExchangesAreErased(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	watched := map[spqr.Phase]func() []byte{}
	for alice.Status().Completed < 1 || bob.Status().Completed < 1 {
		receive(t, bob, send(t, alice))
		for _, s := range []*spqr.State{alice, bob} {
			if show := s.ExchangeSecret(); show != nil {
				watched[s.Status().Phase] = show
				if bytes.Count(show(), []byte{0}) > 20 {
					t.Fatalf("%v: erased too early", s.Status().Phase)
				}
			}
		}
		alice, bob = bob, alice
	}
	if len(watched) != 2 {
		t.Fatalf("%d secrets, want two", len(watched))
	}
	for phase, show := range watched {
		if left := show(); !bytes.Equal(left, make([]byte, len(left))) {
			t.Errorf("%v: the secret is still there", phase)
		}
	}
}

// A sending chain and the root that it came from are erased when both sides have sent
// in the next epoch, a receiving chain with the epoch after that.
func TestChainsAreErased(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	turn := func() {
		receive(t, bob, send(t, alice))
		receive(t, alice, send(t, bob))
	}
	var watched []map[string]*[32]byte // of Alice, in each epoch
	gone := func(epoch int, name string) {
		t.Helper()
		if key := watched[epoch][name]; key == nil || *key != [32]byte{} {
			t.Errorf("in epoch %d: the key %q that there was in epoch %d is still there", len(watched)-1, name, epoch)
		}
	}
	for epoch := range 5 {
		for n := 0; alice.Status().Sending < uint64(epoch) || bob.Status().Sending < uint64(epoch); n++ {
			if n > 1000 {
				t.Fatalf("epoch %d does not begin", epoch)
			}
			turn()
		}
		turn()
		watched = append(watched, alice.ChainKeys())
		if epoch >= 1 {
			gone(epoch-1, "root")
			gone(epoch-1, fmt.Sprint("sending ", epoch-1))
		}
		if epoch >= 2 {
			gone(epoch-2, fmt.Sprint("receiving ", epoch-2))
		}
	}
}

// The peer cannot be in an epoch that needs something of ours that we have not sent,
// although its keys may be known already.
func TestLaterEpochs(t *testing.T) {
	all := states(t, testrand.New(t).Bytes(32))
	if len(all) != 11 {
		t.Fatalf("%d phases", len(all))
	}
	for phase, stored := range all {
		for ahead := range uint64(4) {
			s, err := spqr.Parse(stored, spqr.Config{})
			if err != nil {
				t.Fatal(err)
			}
			b := binary.AppendUvarint([]byte{1}, s.Status().Epoch+ahead)
			b = binary.AppendUvarint(b, 10_000) // further than any of the chains is
			b = append(b, byte(spqr.None))
			_, err = s.Receive(b)
			if ahead == 0 || ahead == 1 && phase == spqr.Ct2Sampled {
				if err != nil {
					t.Errorf("%v, %d epochs ahead: %v", phase, ahead, err)
				}
			} else if !errors.Is(err, spqr.ErrEpoch) {
				t.Errorf("%v, %d epochs ahead: %v, want %v", phase, ahead, err, spqr.ErrEpoch)
			}
			if !bytes.Equal(s.Append(nil), stored) {
				t.Errorf("%v, %d epochs ahead: the state has changed", phase, ahead)
			}
		}
	}
}

// A step of Send that is not taken leaves nothing of the secret that it has drawn; one
// of Receive leaves alone what the state still needs.
func TestDiscardErases(t *testing.T) {
	for phase, stored := range states(t, testrand.New(t).Bytes(32)) {
		s, err := spqr.Parse(stored, spqr.Config{})
		if err != nil {
			t.Fatal(err)
		}
		step, err := s.Send()
		if err != nil {
			t.Fatal(err)
		}
		draws := phase == spqr.KeysUnsampled || phase == spqr.HeaderReceived
		show := step.NextSecret()
		if (show != nil) != draws {
			t.Fatalf("%v: the step draws a secret: %t", phase, show != nil)
		}
		if draws && bytes.Count(show(), []byte{0}) > 20 {
			t.Fatalf("%v: erased too early", phase)
		}
		step.Discard()
		if draws && !bytes.Equal(show(), make([]byte, len(show()))) {
			t.Errorf("%v: the secret is still there", phase)
		}
		if !bytes.Equal(s.Append(nil), stored) {
			t.Errorf("%v: the state has changed", phase)
		}
	}
}

// The last number of a chain is 2³²-1, and the state stays as it is when it is gone.
func TestExhausted(t *testing.T) {
	const indexAt = 4 + 8 + 64 + 32 // of the first sending chain
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{MaxJump: math.MaxUint32})
	b := alice.Append(nil)
	binary.BigEndian.PutUint32(b[indexAt:], math.MaxUint32-1)
	alice, err := spqr.Parse(b, spqr.Config{})
	if err != nil {
		t.Fatal(err)
	}
	last := send(t, alice)
	before := alice.Append(nil)
	if step, err := alice.Send(); step != nil || !errors.Is(err, spqr.ErrExhausted) {
		t.Errorf("Send: %v, %v", step, err)
	}
	if !bytes.Equal(alice.Append(nil), before) {
		t.Error("the state has changed")
	}
	if n, err := bob.Distance(last.message); n != math.MaxUint32 || err != nil {
		t.Errorf("the last message is %d steps away, %v", n, err)
	}
}

// TestNothingPrints formats all that holds keys, at every point of an epoch.
func TestNothingPrints(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	check := func(key []byte, values ...any) {
		t.Helper()
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
			text := fmt.Sprintf(verb, values)
			for _, needle := range []string{
				fmt.Sprintf("%x", key), fmt.Sprint(key[:8]), fmt.Sprintf("%#v", key[:4])[7:], string(key),
			} {
				if strings.Contains(text, strings.Trim(needle, "[]{}")) {
					t.Fatalf("%s prints a key", verb)
				}
			}
		}
	}
	for alice.Status().Completed < 2 {
		step, err := alice.Send()
		if err != nil {
			t.Fatal(err)
		}
		// The value itself too: fmt does not follow pointers below the first.
		check(step.Key(), step, *step, alice, *alice, step.Event())
		message := step.Message()
		step.Commit()
		if step, err = bob.Receive(message); err != nil {
			t.Fatal(err)
		}
		check(step.Key(), step, *step, bob, *bob, step.Event(), bob.Status())
		step.Commit()
		alice, bob = bob, alice
	}
}
