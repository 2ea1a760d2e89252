package session_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

// records returns records of every shape.
func records(t *testing.T, suite pqxdh.Suite) map[string]*session.Record {
	t.Helper()
	all := map[string]*session.Record{}
	take := func(name string, p *party) {
		p.restart(t)
		all[name] = must(session.ParseRecord(p.record.Append(nil)))
	}
	alice, bob := pair(suite)
	take("empty", alice)
	bob.record.Trust(alice.id.Key.PublicKey())
	take("trusting", bob)
	alice.initiate(t, bob)
	take("initiated", alice)
	if _, err := bob.record.Initiate(bob.id, alice.preKeys.offer(false, start), start); err != nil {
		t.Fatal(err)
	}
	take("initiated without one-time prekeys", bob)
	lost := alice.sendMany(t, 3)
	take("unanswered", alice)
	bob.opens(t, lost[2])
	take("received", bob)
	alice.opens(t, bob.send(t))
	take("answered", alice)
	bob.opens(t, alice.sendMany(t, 3)[2])
	bob.send(t)
	take("two sessions, skipped keys", bob)
	bob.record.Archive()
	take("archived", bob)
	return all
}

func TestRecordEncoding(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		r := testrand.New(t)
		for name, record := range records(t, suite) {
			prefix := []byte("before")
			b := record.Append(prefix)
			if !bytes.HasPrefix(b, prefix) {
				t.Errorf("%s: Append does not append", name)
			}
			b = b[len(prefix):]
			for size := range b {
				if record, err := session.ParseRecord(b[:size]); !errors.Is(err, session.ErrEncoding) || record != nil {
					t.Fatalf("%s: %d bytes of %d: %v, %v", name, size, len(b), record, err)
				}
			}
			if record, err := session.ParseRecord(append(bytes.Clone(b), 0)); !errors.Is(err, session.ErrEncoding) || record != nil {
				t.Errorf("%s: with a byte too much: %v, %v", name, record, err)
			}
			for range 1000 {
				changed := bytes.Clone(b)
				changed[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
				record, err := session.ParseRecord(changed)
				if err == nil && !bytes.Equal(record.Append(nil), changed) {
					t.Fatalf("%s: %x parses, and encodes as %x", name, changed, record.Append(nil))
				}
			}
		}
	})
}

// What Append could not have made is refused.
func TestParseRecordIsStrict(t *testing.T) {
	const (
		usAt       = 3
		themAt     = usAt + 1 + len("alice") + 4
		identityAt = themAt + 1 + len("bob") + 4
		countAt    = identityAt + 32
		sizeAt     = countAt + 1
		stateAt    = sizeAt + 4
		theirAt    = stateAt + 1 + 32
		pendingAt  = stateAt + 1 + 32 + 32 + 32 + 8 + 32 // after the transcript
	)
	alice, bob := pair(pqxdh.Chate2eV1)
	alice.initiate(t, bob)
	alice.send(t)
	good := alice.record.Append(nil)
	const pqAt = pendingAt + 18 + 1569
	ratchetAt := pqAt + 4 + int(binary.BigEndian.Uint32(good[pqAt:]))
	at := func(i int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[i] = v; return b }
	}
	for name, change := range map[string]func(b []byte) []byte{
		"version 0":                     at(0, 0),
		"version 2":                     at(0, 2),
		"suite 0":                       at(1, 0),
		"suite 2":                       at(1, 2),
		"another suite":                 at(1, 4),
		"unknown flag":                  at(2, 7),
		"no identity key":               at(2, 2),
		"our name is empty":             at(usAt, 0),
		"our name is everything":        at(usAt, 255),
		"our device is 0":               func(b []byte) []byte { copy(b[usAt+6:], make([]byte, 4)); return b },
		"their device is 0":             func(b []byte) []byte { copy(b[themAt+4:], make([]byte, 4)); return b },
		"no sessions, but one in use":   func(b []byte) []byte { b[countAt] = 0; return b[:sizeAt] },
		"a session too much":            at(countAt, 2),
		"a session too few":             at(countAt, 0),
		"255 sessions":                  at(countAt, 255),
		"a session of 2^32 - 1 bytes":   func(b []byte) []byte { copy(b[sizeAt:], "\xff\xff\xff\xff"); return b },
		"a session a byte too long":     at(sizeAt+3, good[sizeAt+3]+1),
		"a session a byte too short":    at(sizeAt+3, good[sizeAt+3]-1),
		"unknown flag of a session":     at(stateAt, 7),
		"pending, but not initiator":    at(stateAt, 2),
		"another identity key":          at(theirAt, good[theirAt]^1),
		"one-time prekey 2":             at(pendingAt+8, 2),
		"KEM prekey 2":                  at(pendingAt+13, 2),
		"no KEM prekey":                 at(pendingAt+13, 0),
		"another kind of KEM":           at(pendingAt+18, 8),
		"a byte in a session too much":  func(b []byte) []byte { b[sizeAt+3]++; return append(b, 0) },
		"version 0 of the post-quantum": at(pqAt+4, 0),
		"a post-quantum ratchet short":  at(pqAt+3, good[pqAt+3]-1),
		"a post-quantum ratchet long":   at(pqAt+3, good[pqAt+3]+1),
		"2^32 - 1 bytes of it":          func(b []byte) []byte { copy(b[pqAt:], "\xff\xff\xff\xff"); return b },
		"the role of the responder":     at(pqAt+5, 2),
		"flags of the ratchet":          at(ratchetAt, 0xFF),
		"a ratchet without a root step": at(ratchetAt, 0),
	} {
		t.Run(name, func(t *testing.T) {
			if record, err := session.ParseRecord(change(bytes.Clone(good))); !errors.Is(err, session.ErrEncoding) || record != nil {
				t.Errorf("got %v, %v; want %v", record, err, session.ErrEncoding)
			}
		})
	}
	if _, err := session.ParseRecord(good); err != nil {
		t.Error(err)
	}
	// A count of 41 is the most there can be.
	many, peer := pair(pqxdh.LibsignalX3DH)
	for range 41 {
		many.initiate(t, peer)
	}
	b := many.record.Append(nil)
	one := b[sizeAt : sizeAt+4+int(binary.BigEndian.Uint32(b[sizeAt:]))]
	b = append(b, one...)
	b[countAt]++
	if _, err := session.ParseRecord(b); !errors.Is(err, session.ErrEncoding) {
		t.Errorf("42 sessions: %v", err)
	}
}

// Whatever the time a session was made at, a record comes back as it was.
func TestRecordTimes(t *testing.T) {
	for _, now := range []time.Time{
		start, start.Add(123456789), start.In(time.FixedZone("", 3600)), {}, time.Unix(0, 0), time.Unix(-1, 5), time.Now(),
	} {
		alice, bob := pair(pqxdh.LibsignalX3DH)
		if _, err := alice.record.Initiate(alice.id, bob.preKeys.offer(true, start), now); err != nil {
			t.Fatal(err)
		}
		alice.restart(t)
		last := now.Truncate(time.Second).Add(session.AnswerWithin)
		if _, err := alice.seal(last); err != nil {
			t.Errorf("made at %v: %v", now, err)
		}
		if _, err := alice.seal(last.Add(1)); !errors.Is(err, session.ErrStale) {
			t.Errorf("made at %v: %v, want %v", now, err, session.ErrStale)
		}
	}
}

// ── fuzzing ─────────────────────────────────────────────────────────────────

// seeds returns a first message and a later one.
func seeds(f *testing.F, suite pqxdh.Suite) (first, later letter) {
	f.Helper()
	t := new(testing.T)
	alice, bob := pair(suite)
	alice.initiate(t, bob)
	first = alice.send(t)
	bob.opens(t, first)
	return first, bob.send(t)
}

// FuzzParse: what parses is canonical.
func FuzzParse(f *testing.F) {
	for _, l := range letterPair(seeds(f, pqxdh.Chate2eV1)) {
		f.Add(l.bytes)
		f.Add(l.bytes[:len(l.bytes)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := session.Parse(b)
		if err != nil {
			if m != nil || !errors.Is(err, session.ErrMalformed) {
				t.Errorf("%v, %v", m, err)
			}
			return
		}
		if !bytes.Equal(m.Bytes(), b) {
			t.Error("Bytes are others than were parsed")
		}
		if again := session.Encode(m); !bytes.Equal(again, b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
	})
}

func letterPair(a, b letter) []letter { return []letter{a, b} }

// FuzzParseLibsignal: what parses, and is encoded, parses as the same and then is
// canonical; what is received is kept as it was.
func FuzzParseLibsignal(f *testing.F) {
	for _, suite := range suites[1:] {
		for _, l := range letterPair(seeds(f, suite)) {
			f.Add(byte(suite), byte(l.kind), l.bytes)
			f.Add(byte(suite), byte(l.kind), append([]byte{l.bytes[0], 0xF8, 0x07, 1}, l.bytes[1:]...)) // an unknown field
		}
	}
	f.Fuzz(func(t *testing.T, suite, kind byte, b []byte) {
		m, err := session.ParseLibsignal(pqxdh.Suite(suite), session.Type(kind), b)
		if err != nil {
			if m != nil || !errors.Is(err, session.ErrMalformed) && !errors.Is(err, session.ErrSuite) {
				t.Errorf("%v, %v", m, err)
			}
			return
		}
		if !bytes.Equal(m.Bytes(), b) {
			t.Error("Bytes are others than were parsed")
		}
		canonical := session.Encode(m)
		again, err := session.ParseLibsignal(pqxdh.Suite(suite), session.Type(kind), canonical)
		if err != nil {
			t.Fatalf("%x encodes as %x: %v", b, canonical, err)
		}
		if !bytes.Equal(session.Encode(again), canonical) || again.Header() != m.Header() {
			t.Errorf("%x is not canonical", canonical)
		}
		if (m.Handshake() != nil) != (m.Type() == session.TypePreKey) {
			t.Errorf("type %v, handshake %v", m.Type(), m.Handshake())
		}
	})
}

// FuzzParseRecord: what parses encodes as the same bytes, and goes on without
// harm, whatever it says.
func FuzzParseRecord(f *testing.F) {
	for _, suite := range suites {
		for _, record := range records(new(testing.T), suite) {
			f.Add(record.Append(nil))
		}
	}
	us := &pqxdh.Identity{Address: signal.Address{Name: "alice", Device: 1}, Key: curve.GenerateKey()}
	f.Fuzz(func(t *testing.T, b []byte) {
		record, err := session.ParseRecord(b)
		if err != nil {
			if record != nil || !errors.Is(err, session.ErrEncoding) {
				t.Errorf("%v, %v", record, err)
			}
			return
		}
		if again := record.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
		sealed, err := record.Encrypt([]byte("text"), start)
		if err != nil {
			if !bytes.Equal(record.Append(nil), b) {
				t.Error("a failed Encrypt has changed the record")
			}
			return
		}
		stored := record.Append(nil)
		again, err := session.ParseRecord(stored)
		if err != nil {
			t.Fatalf("after Encrypt the record does not parse: %v", err)
		}
		us.Address = record.Us()
		m, err := parse(record.Suite(), sealed.Type, sealed.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Decrypt(m, us, pqxdh.PreKeys{}, start); err != nil && !bytes.Equal(again.Append(nil), stored) {
			t.Error("a failed Decrypt has changed the record")
		}
	})
}

// FuzzDecrypt: no bytes from outside harm a live record.
func FuzzDecrypt(f *testing.F) {
	type live struct {
		bob    *party
		stored []byte
	}
	lives := map[byte]live{}
	const epochsLater = 0x10
	add := func(which byte, suite pqxdh.Suite, talk func(t *testing.T, alice, bob *party)) {
		t := new(testing.T)
		alice, bob := talking(t, suite)
		talk(t, alice, bob)
		bob.opens(t, alice.sendMany(t, 3)[2])
		bob.send(t)
		stored := bob.record.Append(nil)
		lives[which] = live{bob, stored}
		// Genuine messages without their tags, which nobody can guess.
		for _, l := range alice.sendMany(t, 2) {
			f.Add(which, byte(l.kind), untagged(suite, l))
		}
		alice.initiate(t, bob)
		first := alice.send(t)
		f.Add(which, byte(first.kind), untagged(suite, first))
	}
	for _, suite := range suites {
		add(byte(suite), suite, func(*testing.T, *party, *party) {})
	}
	for _, suite := range tripleSuites {
		// In the second epoch, where one more chunk may complete something.
		add(byte(suite)|epochsLater, suite, func(t *testing.T, alice, bob *party) {
			for n := 0; bob.pq(t).Completed < 2 || bob.pq(t).Held+1 < bob.pq(t).Needed; n++ {
				if n > 1000 {
					t.Fatal("no epoch is completed")
				}
				bob.opens(t, alice.send(t))
				alice.opens(t, bob.send(t))
			}
		})
	}
	f.Fuzz(func(t *testing.T, which, kind byte, b []byte) {
		l, ok := lives[which]
		if !ok {
			return
		}
		m, err := parse(pqxdh.Suite(which&^epochsLater), session.Type(kind), b)
		if err != nil {
			return
		}
		opened, err := l.bob.record.Decrypt(m, l.bob.id, l.bob.preKeys.find(m.Handshake()), start)
		if err == nil {
			t.Fatalf("%x opens as %q", b, opened.Plaintext)
		}
		if !bytes.Equal(l.bob.record.Append(nil), l.stored) {
			t.Fatal("the record has changed")
		}
	})
}

// untagged returns a message with zeros for its tag.
func untagged(suite pqxdh.Suite, l letter) []byte {
	b := bytes.Clone(l.bytes)
	end := len(b)
	if l.kind == session.TypePreKey {
		inner := session.Inner(suite, b)
		end = bytes.Index(b, inner) + len(inner)
	}
	size := 8
	if suite == pqxdh.Chate2eV1 {
		size = 16
	}
	clear(b[end-size : end])
	return b
}

// A record that was damaged on disk is either refused, or is a record of other keys:
// whatever is done with it, nothing panics and nothing opens that the right one would
// not have opened.
func TestDamagedRecords(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		r := testrand.New(t)
		alice, bob := talking(t, suite)
		for range 60 + r.IntN(40) { // somewhere within an epoch
			bob.opens(t, alice.sendMany(t, 1+r.IntN(2))[0])
			alice.opens(t, bob.send(t))
		}
		bob.initiate(t, alice) // one that is pending, one that is not
		late := alice.sendMany(t, 3)
		first := newParty(suite, "alice", bob.id.Address, alice.id.Key, start)
		first.initiate(t, bob)
		letters := []letter{late[2], first.send(t), late[0], late[2]}
		stored := bob.record.Append(nil)
		parsed := 0
		for range 200 {
			b := bytes.Clone(stored)
			for range 1 + r.IntN(3) {
				b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
			}
			record, err := session.ParseRecord(b)
			if err != nil {
				if !errors.Is(err, session.ErrEncoding) || record != nil {
					t.Fatalf("got %v, %v", record, err)
				}
				continue
			}
			parsed++
			damaged := &party{bob.id, bob.preKeys, record}
			for _, l := range letters {
				m := must(parse(suite, l.kind, l.bytes))
				opened, err := record.Decrypt(m, bob.id, bob.preKeys.find(m.Handshake()), start)
				if err == nil && string(opened.Plaintext) != l.plaintext {
					t.Fatalf("%q opened as %q", l.plaintext, opened.Plaintext)
				}
				_, _ = damaged.seal(start)
				damaged.restart(t)
				record = damaged.record
			}
			record.Trust(alice.id.Key.PublicKey())
		}
		if parsed < 50 {
			t.Errorf("only %d damaged records were read: the test proves little", parsed)
		}
	})
}
