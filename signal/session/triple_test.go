package session_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
	"github.com/chate2e/chate2e/signal/spqr"
)

// tripleSuites are those with the post-quantum ratchet.
var tripleSuites = []pqxdh.Suite{pqxdh.Chate2eV1, pqxdh.LibsignalTriple}

func eachTriple(t *testing.T, test func(t *testing.T, suite pqxdh.Suite)) {
	t.Helper()
	for _, suite := range tripleSuites {
		t.Run(suite.String(), func(t *testing.T) { test(t, suite) })
	}
}

// pq is where the post-quantum ratchet of the session in use stands.
func (p *party) pq(t testing.TB) spqr.Status {
	t.Helper()
	status, err := p.record.Status()
	if err != nil {
		t.Fatal(err)
	}
	return *status.Counters.PQ
}

// The names of service IDs.
const (
	aliceACI = "a0d7ba8e-5f1c-4f5c-8a8e-0c1f5a3b7c01"
	bobACI   = "b1e8cb9f-6a2d-4a6d-9b9f-1d2a6b4c8d02"
)

func servicePair(suite pqxdh.Suite) (alice, bob *party) {
	return newParty(suite, aliceACI, signal.Address{Name: bobACI, Device: 1}, curve.GenerateKey(), start),
		newParty(suite, bobACI, signal.Address{Name: aliceACI, Device: 1}, curve.GenerateKey(), start)
}

// First messages say whom they are from and to, where the names are service IDs,
// and open only there.
func TestAddressesInFirstMessages(t *testing.T) {
	suite := pqxdh.LibsignalTriple
	alice, bob := servicePair(suite)
	alice.initiate(t, bob)
	first := alice.sendMany(t, 2)
	want := "00a0d7ba8e5f1c4f5c8a8e0c1f5a3b7c01" + "01" + "00b1e8cb9f6a2d4a6d9b9f1d2a6b4c8d02" + "01"
	for _, l := range first {
		if got := session.Addresses(must(parse(suite, l.kind, l.bytes))); hex.EncodeToString(got) != want {
			t.Errorf("addresses %x, want %s", got, want)
		}
	}
	good := bob.record
	for _, wrong := range []signal.Address{{Name: bobACI, Device: 1}, {Name: aliceACI, Device: 2}, {Name: "PNI:" + aliceACI, Device: 1}} {
		bob.record = must(session.New(suite, bob.id.Address, wrong))
		bob.refuses(t, first[0], session.ErrDecrypt)
	}
	bob.record = good
	bob.opens(t, first[1])
	answer := bob.send(t)
	alice.opens(t, answer)
	for _, l := range []letter{answer, alice.send(t)} {
		if got := session.Addresses(must(parse(suite, l.kind, l.bytes))); got != nil {
			t.Errorf("an answered session says addresses: %x", got)
		}
	}

	// Without the post-quantum ratchet the official library did not send them yet.
	carol, dave := servicePair(pqxdh.LibsignalPQXDH)
	carol.initiate(t, dave)
	if bytes.Contains(carol.send(t).bytes, must(hex.DecodeString(want))) {
		t.Error("an older suite says addresses")
	}
}

func TestServiceAddresses(t *testing.T) {
	good := signal.Address{Name: aliceACI, Device: 127}
	for name, c := range map[string]struct {
		address signal.Address
		want    string
	}{
		"account":             {good, "00a0d7ba8e5f1c4f5c8a8e0c1f5a3b7c017f"},
		"phone number":        {signal.Address{Name: "PNI:" + aliceACI, Device: 1}, "01a0d7ba8e5f1c4f5c8a8e0c1f5a3b7c0101"},
		"capital letters":     {signal.Address{Name: "A0D7BA8E-5F1C-4F5C-8A8E-0C1F5A3B7C01", Device: 1}, "00a0d7ba8e5f1c4f5c8a8e0c1f5a3b7c0101"},
		"user ID":             {signal.Address{Name: "j7aqwnsgbuwqjm2zhxv4sbwxe3vyzktp", Device: 1}, ""},
		"no hyphens":          {signal.Address{Name: "a0d7ba8e5f1c4f5c8a8e0c1f5a3b7c01", Device: 1}, ""},
		"hyphens elsewhere":   {signal.Address{Name: "a0d7ba8-e5f1c-4f5c-8a8e-0c1f5a3b7c01", Device: 1}, ""},
		"other digits":        {signal.Address{Name: "g0d7ba8e-5f1c-4f5c-8a8e-0c1f5a3b7c01", Device: 1}, ""},
		"other prefix":        {signal.Address{Name: "ACI:" + aliceACI, Device: 1}, ""},
		"device out of range": {signal.Address{Name: aliceACI, Device: 128}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if c.want != "" {
				want = c.want + "00a0d7ba8e5f1c4f5c8a8e0c1f5a3b7c017f"
			}
			if got := hex.EncodeToString(session.ServiceAddresses(c.address, good)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := session.ServiceAddresses(good, c.address); (got == nil) != (want == "") {
				t.Errorf("as receiver: %x", got)
			}
		})
	}
}

// A message without the post-quantum ratchet's part is none of these suites.
func TestMessagesNeedThePostQuantumRatchet(t *testing.T) {
	eachTriple(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		alice.initiate(t, bob)
		first := alice.send(t)
		bob.opens(t, first)
		for _, l := range []letter{first, bob.send(t)} {
			empty := session.WithPQ(must(parse(suite, l.kind, l.bytes)), nil)
			if _, err := parse(suite, l.kind, empty); !errors.Is(err, session.ErrMalformed) {
				t.Errorf("type %d with an empty one: %v", l.kind, err)
			}
		}
	})
	ratchetKey := curve.GenerateKey().PublicKey().Encode()
	none := append(fields(0x44, 1, ratchetKey[:], 2, 7, 3, 5, 4, make([]byte, 16)), make([]byte, 8)...)
	if _, err := session.ParseLibsignal(pqxdh.LibsignalTriple, session.TypeMessage, none); !errors.Is(err, session.ErrMalformed) {
		t.Errorf("without the field: %v", err)
	}
}

// What a message carries of the post-quantum ratchet is refused, however it was
// changed, and without a trace.
func TestChangedPostQuantumPart(t *testing.T) {
	eachTriple(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		l := alice.send(t)
		m := must(parse(suite, l.kind, l.bytes))
		chunk := session.PQ(m)[5:]
		for name, pq := range map[string][]byte{
			"version":       append([]byte{2}, session.PQ(m)[1:]...),
			"epoch 0":       append([]byte{1, 0}, session.PQ(m)[2:]...),
			"next epoch":    append([]byte{1, 2}, session.PQ(m)[2:]...),
			"no key":        append([]byte{1, 1, 0}, session.PQ(m)[3:]...),
			"used key":      append([]byte{1, 1, 1}, session.PQ(m)[3:]...),
			"next key":      append([]byte{1, 1, 4}, session.PQ(m)[3:]...),
			"far key":       append(binary.AppendUvarint([]byte{1, 1}, 25_000), session.PQ(m)[3:]...),
			"too far a key": append(binary.AppendUvarint([]byte{1, 1}, 30_000), session.PQ(m)[3:]...),
			"no chunk":      {1, 1, 3, 0},
			"other payload": append([]byte{1, 1, 3, 5}, session.PQ(m)[4:]...),
			"other chunk":   append([]byte{1, 1, 3, 1, 9}, chunk...),
			"a byte less":   session.PQ(m)[:len(session.PQ(m))-1],
			"a byte more":   append(bytes.Clone(session.PQ(m)), 0),
			"one byte":      {1},
			"all there is":  bytes.Repeat([]byte{0xFF}, 255),
		} {
			changed := l
			changed.plaintext, changed.bytes = name, session.WithPQ(m, pq)
			bob.refuses(t, changed, session.ErrDecrypt)
		}
		bob.opens(t, l)
	})
}

// The role is in the record twice; they must agree.
func TestRecordWithAnotherRole(t *testing.T) {
	eachTriple(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		for _, p := range []*party{alice, bob} {
			b := p.record.Append(nil)
			const flagsAt = 3 + 1 + 5 + 4 + 1 + 3 + 4 + 32 + 1 + 4
			b[flagsAt] ^= 1
			if record, err := session.ParseRecord(b); !errors.Is(err, session.ErrEncoding) || record != nil {
				t.Errorf("%s: %v", p.id.Address.Name, err)
			}
		}
	})
}

// The keys of a session that is dropped are erased.
func TestDroppedSessionsAreWiped(t *testing.T) {
	eachTriple(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		for range 4 { // so that it holds keys of every kind
			bob.opens(t, alice.sendMany(t, 3)[2])
			alice.opens(t, bob.sendMany(t, 2)[1])
		}
		zeros := func(watched [][]byte) int {
			n := 0
			for _, state := range watched {
				n += bytes.Count(state, make([]byte, 32))
			}
			return n
		}
		watch := session.Watch(bob.record)
		if got := zeros(watch()); got != 0 {
			t.Fatalf("%d keys are zero", got)
		}
		// The one in use and forty others are kept.
		for range 40 {
			bob.initiate(t, alice)
		}
		if got := zeros(watch()); got != 0 {
			t.Errorf("%d keys of a session that is kept are zero", got)
		}
		bob.initiate(t, alice)
		if got := zeros(watch()); got < 10 {
			t.Errorf("only %d keys of a dropped session were erased", got)
		}
		watch = session.Watch(bob.record)
		bob.record.Trust(curve.GenerateKey().PublicKey())
		if got := zeros(watch()); got < 41*4 {
			t.Errorf("only %d keys of sessions that are not trusted any more were erased", got)
		}
	})
}

// A forged message may claim gaps in both ratchets; together they are bounded. What
// they cost is told in the time of 25,000 steps of the post-quantum ratchet.
func TestForgedGapsInBothRatchets(t *testing.T) {
	eachTriple(t, func(t *testing.T, suite pqxdh.Suite) {
		bob, last := crowded(t, suite)
		unknown := curve.GenerateKey().PublicKey()
		reply := last
		reply.kind, reply.bytes = session.TypeMessage, session.Inner(suite, last.bytes)
		for _, c := range []struct {
			name   string
			key    *curve.PublicKey
			n      uint32
			index  uint64
			most   float64
			reason session.Reason
		}{
			{"in the session that knows the key", nil, 25_000, 25_000, 10, session.ReasonTag},
			{"in any session", &unknown, 25_000, 25_000, 10, session.ReasonTooFar},
			{"in any session, of the post-quantum ratchet", &unknown, 0, 25_000, 10, session.ReasonTooFar},
			{"in any session, of the Double Ratchet", &unknown, 25_000, 2, 10, session.ReasonTooFar},
			{"49,200 steps in 41 sessions", &unknown, 600, 601, 10, session.ReasonTag},
			{"50,020 steps in 41 sessions", &unknown, 610, 611, 10, session.ReasonTooFar},
			{"with a key that is gone", &unknown, 25_000, 1, 0.1, session.ReasonTag},
			{"too far", &unknown, 25_000, 25_002, 0.1, session.ReasonTooFar},
		} {
			t.Run(c.name, func(t *testing.T) {
				l := forge(t, suite, reply, c.key, c.n)
				pq := binary.AppendUvarint([]byte{1, 1}, c.index)
				l.bytes = session.WithPQ(must(parse(suite, l.kind, l.bytes)), append(pq, 0))
				m := must(parse(suite, l.kind, l.bytes))
				before := bob.record.Append(nil)
				best := [2]time.Duration{time.Hour, time.Hour}
				for range 4 {
					begin := time.Now()
					opened, err := bob.record.Decrypt(m, bob.id, pqxdh.PreKeys{}, start)
					took := time.Since(begin)
					if !errors.Is(err, session.ErrDecrypt) || opened.Trace.Steps[0].Reason != c.reason {
						t.Errorf("got %v, %+v", err, opened.Trace.Steps)
					}
					best = [2]time.Duration{min(best[0], took), min(best[1], manySteps(t))}
				}
				if got := float64(best[0]) / float64(best[1]); got > c.most {
					t.Errorf("took %.2f times as long as %v, want at most %.2f", got, best[1], c.most)
				} else {
					t.Logf("%v, %.2f times %v", best[0], got, best[1])
				}
				if !bytes.Equal(bob.record.Append(nil), before) {
					t.Error("the record has changed")
				}
			})
		}
	})
}

// manySteps returns the time that 25,000 steps of the post-quantum ratchet take.
func manySteps(t *testing.T) time.Duration {
	t.Helper()
	s := must(spqr.New(spqr.Responder, secret.NewKey([32]byte{}), spqr.Config{}))
	begin := time.Now()
	step := must(s.Receive(append(binary.AppendUvarint([]byte{1, 1}, 25_000), 0)))
	took := time.Since(begin)
	step.Discard()
	return took
}

// A message that is late by an epoch opens. By two it does not, and its key in the
// Double Ratchet, which is worth nothing alone, is not kept for it any longer.
func TestLateByEpochs(t *testing.T) {
	eachTriple(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		late := alice.sendMany(t, 2)
		next := func() { // until Bob sends in the next epoch
			epoch := bob.pq(t).Sending
			for bob.pq(t).Sending == epoch {
				l := alice.send(t)
				must(bob.open(l.kind, l.bytes, start))
				l = bob.send(t)
				must(alice.open(l.kind, l.bytes, start))
			}
			bob.send(t)
		}
		skipped := func() int { return must(bob.record.Status()).Counters.Skipped }
		next()
		if got, want := skipped(), 2; suite == pqxdh.Chate2eV1 && got != want {
			t.Errorf("%d skipped keys after one epoch, want %d", got, want)
		}
		if suite == pqxdh.Chate2eV1 { // the other forgets chains as the official library does
			bob.opens(t, late[0])
		}
		next()
		bob.restart(t)
		if got := skipped(); got != 0 {
			t.Errorf("%d skipped keys after two epochs", got)
		}
		bob.refuses(t, late[1], session.ErrDecrypt)
		if suite == pqxdh.Chate2eV1 {
			bob.refuses(t, late[0], session.ErrDecrypt)
		}
	})
}
