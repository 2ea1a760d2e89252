package session_test

import (
	"encoding/binary"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
	"github.com/chate2e/chate2e/signal/spqr"
)

// What somebody can do who copies all that both parties have at one moment, and
// records everything that goes over the wire, before and after. What is broken, she
// has as it really is at every moment, rather than as she copied it: her power is
// more than that of an attacker who solves the discrete logarithms of one ratchet,
// or the lattices of the other.
type broken int

const (
	nothingBroken broken = iota
	doubleBroken         // the Double Ratchet: its state is known at every moment
	pqBroken             // the post-quantum ratchet, likewise
)

func (b broken) String() string {
	return [...]string{"nothing broken", "DH part broken", "KEM part broken"}[b]
}

// thief holds copies of both records, and follows the conversation with them.
type thief struct {
	breaks broken
	copies [2]*session.Record
}

// now returns what the thief has of one party, whose record is truly true.
func (x *thief) now(i int, truly *session.Record) *session.Record {
	switch x.breaks {
	case doubleBroken:
		return session.Merge(truly, x.copies[i])
	case pqBroken:
		return session.Merge(x.copies[i], truly)
	default:
		return session.Copy(x.copies[i])
	}
}

// follow sees a message and says whether she can read it: with the keys of either
// side. The records are those of the parties before the message was sent.
func (x *thief) follow(ends [2]*party, from int, before [2]*session.Record, l letter) bool {
	m := must(parse(ends[0].record.Suite(), l.kind, l.bytes))
	sender, receiver := x.now(from, before[from]), x.now(1-from, before[1-from])
	reads := session.OpenWithAny(sender, receiver, m)
	if _, err := receiver.Decrypt(m, ends[1-from].id, pqxdh.PreKeys{}, start); err == nil {
		reads = true
	}
	// The sender has moved on by one message; with what keys of her own, the copy
	// cannot know.
	_, _ = sender.Encrypt(nil, start)
	x.copies[from], x.copies[1-from] = sender, receiver
	return reads
}

// secured returns the first epoch of the post-quantum ratchet of which nothing is
// in either state: its key pair is still to be made.
func secured(t *testing.T, ends [2]*party) uint64 {
	t.Helper()
	a, b := ends[0].pq(t), ends[1].pq(t)
	epoch := max(a.Epoch, b.Epoch)
	for _, s := range []spqr.Status{a, b} {
		switch s.Phase {
		case spqr.KeysSampled, spqr.HeaderSent, spqr.Ct1Received, spqr.EkSentCt1Received:
			if s.Epoch == epoch {
				return epoch + 1
			}
		default:
		}
	}
	return epoch
}

// exchange sends and delivers one message, and returns it with what both had before.
func exchange(t *testing.T, ends [2]*party, from int) (l letter, before [2]*session.Record) {
	t.Helper()
	before = [2]*session.Record{session.Copy(ends[0].record), session.Copy(ends[1].record)}
	l = ends[from].send(t)
	if _, err := ends[1-from].open(l.kind, l.bytes, start); err != nil {
		t.Fatal(err)
	}
	return l, before
}

// After a theft the conversation heals: the Double Ratchet with two round trips, the
// post-quantum ratchet with the first epoch that begins and ends after it, each by
// itself although the other one is broken altogether.
func TestHealing(t *testing.T) {
	eachTriple(t, func(t *testing.T, suite pqxdh.Suite) {
		r := testrand.New(t)
		alice, bob := talking(t, suite)
		ends := [2]*party{alice, bob}
		turn := 0
		for range 4 { // thefts, at moments all over the epochs
			for range r.IntN(90) {
				exchange(t, ends, turn)
				turn = 1 - turn
			}
			var thieves [3]*thief
			for i := range thieves {
				thieves[i] = &thief{breaks: broken(i), copies: [2]*session.Record{
					session.Copy(alice.record), session.Copy(bob.record),
				}}
			}
			epoch := secured(t, ends)
			var read, unread [3]int // messages that had to be read, or must not
			for n := 0; alice.pq(t).Completed < epoch || bob.pq(t).Completed < epoch || read[doubleBroken]+unread[doubleBroken] < n || unread[doubleBroken] < 20; n++ {
				if n > 5000 {
					t.Fatalf("after %d messages epoch %d is not complete", n, epoch)
				}
				l, before := exchange(t, ends, turn)
				for i, x := range thieves {
					reads := x.follow(ends, turn, before, l)
					healed := n >= 4 // two round trips
					if x.breaks == doubleBroken {
						healed = l.trace.PQ.KeyEpoch >= epoch
					}
					switch {
					case healed && reads:
						t.Fatalf("%v: message %d after the theft, with a key of epoch %d, was read", x.breaks, n, l.trace.PQ.KeyEpoch)
					case healed:
						unread[i]++
					case reads:
						read[i]++
					case x.breaks == doubleBroken:
						t.Fatalf("message %d, with a key of epoch %d that was stolen, was not read: the test proves nothing",
							n, l.trace.PQ.KeyEpoch)
					}
				}
				turn = 1 - turn
			}
			for i, n := range read {
				if n == 0 || unread[i] == 0 {
					t.Errorf("%v: %d messages were read and %d not", broken(i), n, unread[i])
				}
			}
			t.Logf("read %v, not read %v; healed with epoch %d", read, unread, epoch)
		}
	})
}

// Nothing that was received before a theft opens with what was stolen, although one
// of the ratchets is broken altogether; but messages that were under way do.
func TestForwardSecrecy(t *testing.T) {
	eachTriple(t, func(t *testing.T, suite pqxdh.Suite) {
		r := testrand.New(t)
		alice, bob := talking(t, suite)
		ends := [2]*party{alice, bob}
		type recorded struct {
			letter
			from   int
			before [2]*session.Record
		}
		var past, underway []recorded
		for n := range 240 {
			from := r.IntN(2)
			if n > 235 || n%60 == 59 { // some late ones, of which the newest can still arrive
				before := [2]*session.Record{session.Copy(alice.record), session.Copy(bob.record)}
				underway = append(underway, recorded{ends[from].send(t), from, before})
				continue
			}
			l, before := exchange(t, ends, from)
			past = append(past, recorded{l, from, before})
		}
		// Keys of messages that nothing came after are still the chains' next.
		for from := range ends {
			exchange(t, ends, from)
		}
		stolen := [2]*session.Record{alice.record, bob.record}
		reads := func(m recorded, breaks broken) bool {
			x := &thief{breaks: breaks, copies: stolen}
			message := must(parse(suite, m.kind, m.bytes))
			sender, receiver := x.now(m.from, m.before[m.from]), x.now(1-m.from, m.before[1-m.from])
			if session.OpenWithAny(sender, receiver, message) {
				return true
			}
			_, err := receiver.Decrypt(message, ends[1-m.from].id, pqxdh.PreKeys{}, start)
			return err == nil
		}
		for _, breaks := range []broken{nothingBroken, doubleBroken, pqBroken} {
			for i, m := range past {
				if reads(m, breaks) {
					t.Fatalf("%v: message %d of %d before the theft was read", breaks, i, len(past))
				}
			}
			count := 0
			for _, m := range underway {
				if reads(m, breaks) {
					count++
				}
			}
			if count < 3 {
				t.Errorf("%v: %d of %d messages under way can be read: the test proves nothing", breaks, count, len(underway))
			}
		}
		// Nor do any 32 bytes of it, taken for a chain key, give the keys of the newest
		// messages, or are one of them.
		keys := map[[32]byte]bool{}
		indexes := map[uint32]bool{}
		for _, m := range past[len(past)-20:] {
			for _, key := range session.KeysOf(m.before[1-m.from], must(parse(suite, m.kind, m.bytes))) {
				keys[[32]byte(key)] = true
			}
			indexes[m.trace.PQ.KeyIndex] = true
		}
		found := func(r *session.Record) (n int) {
			b := r.Append(nil)
			for at := range len(b) - 31 {
				window := [32]byte(b[at:])
				derived := [][32]byte{window}
				seed, _ := kdf.Step(&window)
				derived = append(derived, seed)
				for index := range indexes {
					info := string(binary.BigEndian.AppendUint32(nil, index)) + kdf.SPQRChainNext.String()
					derived = append(derived, [32]byte(kdf.HKDF(window[:], nil, info, 64)[32:]))
				}
				for _, key := range derived {
					if keys[key] {
						n++
					}
				}
			}
			return n
		}
		for i, r := range stolen {
			if n := found(r); n > 0 {
				t.Errorf("what was stolen from %s gives %d keys of past messages", ends[i].id.Address.Name, n)
			}
		}
		last := past[len(past)-1]
		if n := found(last.before[1-last.from]); n == 0 {
			t.Errorf("what was there before a message gives none of its keys: the test proves nothing")
		}
		// And what was known to the thief before does let her read: both ratchets of then.
		for i, m := range past {
			x := &thief{copies: m.before}
			if !x.follow(ends, m.from, m.before, m.letter) {
				t.Fatalf("message %d is not read with the keys of its time: the test proves nothing", i)
			}
		}
	})
}
