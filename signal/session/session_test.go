package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/session"
)

func kinds(letters ...letter) []session.Type {
	var all []session.Type
	for _, l := range letters {
		all = append(all, l.kind)
	}
	return all
}

// A session begins with PreKey messages, which go on until the first answer; in
// whatever order they arrive, each opens.
func TestFirstMessages(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
			alice, bob := pair(suite)
			if alice.record.InUse() || alice.record.Suite() != suite || alice.record.Us() != alice.id.Address ||
				alice.record.Them() != bob.id.Address {
				t.Error("a new record is something else")
			}
			alice.initiate(t, bob)
			first := alice.sendMany(t, 3)
			for i, n := range order {
				opened := bob.opens(t, first[n])
				if opened.IdentityKey != alice.id.Key.PublicKey() {
					t.Error("another identity key")
				}
				if consumed := opened.Used != (pqxdh.Used{}); consumed != (i == 0) {
					t.Errorf("message %d has consumed prekeys: %v", i, consumed)
				}
			}
			answer := bob.send(t)
			late := alice.send(t) // before the answer arrives
			alice.opens(t, answer)
			next := alice.send(t)
			bob.opens(t, next)
			bob.opens(t, late)
			got := kinds(append(first, answer, late, next)...)
			want := []session.Type{
				session.TypePreKey, session.TypePreKey, session.TypePreKey, session.TypeMessage, session.TypePreKey,
				session.TypeMessage,
			}
			if !slices.Equal(got, want) {
				t.Errorf("kinds %v, want %v", got, want)
			}
			for _, p := range []*party{alice, bob} {
				if status, err := p.record.Status(); err != nil || status.Counters.Archived != 0 || status.Counters.Unanswered {
					t.Errorf("%+v, %v", status, err)
				}
				if !p.record.InUse() {
					t.Error("no session is in use")
				}
			}
		})
	}
}

// A conversation goes on over restarts, with messages late and out of order.
func TestConversation(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		for range 5 {
			for _, p := range [][2]*party{{alice, bob}, {bob, alice}} {
				letters := p[0].sendMany(t, 4)
				p[0].restart(t)
				for _, n := range []int{3, 0, 2, 1} {
					p[1].restart(t)
					p[1].opens(t, letters[n])
				}
			}
		}
	})
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		suite    pqxdh.Suite
		overhead [3]int // for 0, 15 and 256 bytes
		preKey   int
	}{
		{pqxdh.Chate2eV1, [3]int{112, 112, 112}, 1648}, // with a chunk, of the header, which has 33 bytes
		{pqxdh.LibsignalX3DH, [3]int{66, 51, 67}, 80},
		{pqxdh.LibsignalPQXDH, [3]int{66, 51, 67}, 1655},
		{pqxdh.LibsignalTriple, [3]int{105, 90, 106}, 1655},
	} {
		alice, bob := talking(t, c.suite)
		for i, size := range []int{0, 15, 256} {
			sealed, err := alice.record.Encrypt(make([]byte, size), start)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(sealed.Bytes) - size; got != c.overhead[i] {
				t.Errorf("%v: %d bytes have an overhead of %d, want %d", c.suite, size, got, c.overhead[i])
			}
			opened, err := bob.open(sealed.Type, sealed.Bytes, start)
			if err != nil || len(opened.Plaintext) != size {
				t.Errorf("%v: %d bytes open as %d, %v", c.suite, size, len(opened.Plaintext), err)
			}
		}
		carol, dave := pair(c.suite)
		carol.initiate(t, dave)
		plain := len(session.Inner(c.suite, carol.send(t).bytes))
		if got := len(carol.send(t).bytes) - plain; got < c.preKey || got > c.preKey+20 {
			t.Errorf("%v: the handshake has %d bytes, want %d", c.suite, got, c.preKey)
		}
	}
}

// Both sides initiate at once; in whatever order what they send arrives, all of
// it opens and they settle on one session.
func TestSimultaneousInitiation(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		for _, early := range []int{0, 1, 2} {
			alice, bob := pair(suite)
			alice.initiate(t, bob)
			bob.initiate(t, alice)
			fromAlice, fromBob := alice.sendMany(t, 2), bob.sendMany(t, 2)
			for _, l := range fromAlice[:early] {
				bob.opens(t, l)
			}
			for _, l := range fromBob {
				alice.opens(t, l)
			}
			for _, l := range fromAlice[early:] {
				bob.opens(t, l)
			}
			// Messages still cross.
			crossing := []letter{alice.send(t), bob.send(t)}
			bob.opens(t, crossing[0])
			alice.opens(t, crossing[1])
			converge(t, alice, bob)
		}
	})
}

// converge checks that after a few messages, none of which crosses another, both
// sides use one session.
func converge(t *testing.T, alice, bob *party) {
	t.Helper()
	for range 2 {
		bob.opens(t, alice.send(t))
		alice.opens(t, bob.send(t))
	}
	there := alice.send(t)
	opened := bob.opens(t, there)
	back := bob.send(t)
	reopened := alice.opens(t, back)
	if there.kind != session.TypeMessage || back.kind != session.TypeMessage {
		t.Errorf("kinds %v", kinds(there, back))
	}
	for _, trace := range []session.Trace{opened.Trace, back.trace, reopened.Trace} {
		if trace.Session != there.trace.Session {
			t.Error("the two sides use two sessions")
		}
	}
	for _, step := range slices.Concat(opened.Trace.Steps, reopened.Trace.Steps) {
		if step.Kind == session.StepPromoted {
			t.Error("a session is promoted again")
		}
	}
}

// Messages of a session that was put aside still open, and bring it back.
func TestLateMessagesOfOldSessions(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		var late [][]letter
		for range 3 {
			late = append(late, alice.sendMany(t, 2))
			alice.initiate(t, bob)
			bob.opens(t, alice.send(t))
			alice.opens(t, bob.send(t))
		}
		bob.restart(t)
		for _, letters := range slices.Backward(late) {
			opened := bob.opens(t, letters[1])
			if first := opened.Trace.Steps[len(opened.Trace.Steps)-1]; first.Kind != session.StepPromoted {
				t.Errorf("the last step is %v, want %v", first.Kind, session.StepPromoted)
			}
			if opened.Trace.Session != letters[1].trace.Session {
				t.Error("opened in another session")
			}
			bob.opens(t, letters[0])
			// Bob answers in the session that was promoted.
			answer := bob.send(t)
			if answer.trace.Session != letters[0].trace.Session {
				t.Error("answered in another session")
			}
			alice.opens(t, answer)
		}
		converge(t, alice, bob)
	})
}

func TestArchive(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		underWay := bob.send(t)
		alice.record.Archive()
		for range 2 {
			if alice.record.InUse() {
				t.Error("a session is in use")
			}
			if _, err := alice.seal(start); !errors.Is(err, session.ErrNoSession) {
				t.Errorf("Encrypt: %v", err)
			}
			if _, err := alice.record.Status(); !errors.Is(err, session.ErrNoSession) {
				t.Errorf("Status: %v", err)
			}
			alice.restart(t)
		}
		alice.opens(t, underWay)
		if !alice.record.InUse() {
			t.Error("the session that opened a message is not in use")
		}
		bob.opens(t, alice.send(t))

		alice.record.Archive()
		before := bob.send(t)
		alice.initiate(t, bob)
		fresh := alice.send(t)
		if fresh.kind != session.TypePreKey {
			t.Errorf("kind %v", fresh.kind)
		}
		bob.opens(t, fresh)
		alice.opens(t, before)
		converge(t, alice, bob)
	})
}

// Of more than 41 sessions those that were not used for longest are forgotten.
func TestSessionCap(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		var first, late []letter
		const extra = 4
		for range 41 + extra {
			alice.initiate(t, bob)
			first = append(first, alice.send(t))
			late = append(late, alice.send(t))
			bob.opens(t, first[len(first)-1])
		}
		for _, p := range []*party{alice, bob} {
			p.restart(t)
			if status, err := p.record.Status(); err != nil || status.Counters.Archived != 40 {
				t.Errorf("%d archived sessions, %v; want 40", status.Counters.Archived, err)
			}
		}
		// A repeated first message does not bring a forgotten session back: its
		// prekeys are gone.
		for _, l := range first[:extra] {
			bob.refuses(t, l, pqxdh.ErrPreKey)
		}
		for _, l := range late[:extra] {
			bob.refuses(t, l, pqxdh.ErrPreKey)
			l.kind, l.bytes = session.TypeMessage, session.Inner(suite, l.bytes)
			bob.refuses(t, l, session.ErrDecrypt)
		}
		for _, l := range late[extra:] {
			bob.opens(t, l)
		}
		// The order is that of use: the session promoted first is forgotten first.
		for range 2 {
			alice.initiate(t, bob)
			bob.opens(t, alice.send(t))
		}
		for i, l := range first[extra : extra+3] {
			want := session.ErrDuplicate
			if i < 2 {
				want = pqxdh.ErrPreKey
			}
			bob.refuses(t, l, want)
		}
	})
}

// A changed identity key is refused until it is trusted, and then the old one
// is.
func TestTrust(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		known, ok := bob.record.Identity()
		if !ok || known != alice.id.Key.PublicKey() {
			t.Errorf("Identity: %x, %v", known, ok)
		}
		fromOld := alice.sendMany(t, 2)

		// Alice has a new device under her old address.
		again, _ := pair(suite)
		if _, ok := again.record.Identity(); ok {
			t.Error("an empty record has an identity key")
		}
		again.initiate(t, bob)
		fromNew := again.send(t)
		bob.refuses(t, fromNew, session.ErrIdentity)
		before := bob.record.Append(nil)
		if _, err := bob.record.Initiate(bob.id, again.preKeys.offer(true, start), start); !errors.Is(err, session.ErrIdentity) {
			t.Errorf("Initiate: %v", err)
		}
		if !bytes.Equal(bob.record.Append(nil), before) {
			t.Error("the record has changed")
		}
		bob.opens(t, fromOld[0])

		bob.record.Trust(again.id.Key.PublicKey())
		if bob.record.InUse() {
			t.Error("a session with the old key is in use")
		}
		bob.refuses(t, fromOld[1], session.ErrNoSession)
		if _, err := bob.seal(start); !errors.Is(err, session.ErrNoSession) {
			t.Errorf("Encrypt: %v", err)
		}
		bob.restart(t)
		bob.opens(t, fromNew)
		again.opens(t, bob.send(t))
		converge(t, again, bob)

		// To trust the key that is trusted changes nothing.
		before = bob.record.Append(nil)
		bob.record.Trust(again.id.Key.PublicKey())
		if !bytes.Equal(bob.record.Append(nil), before) {
			t.Error("the record has changed")
		}
		converge(t, again, bob)
	})
}

// An identity key can be trusted before there is a session.
func TestTrustFirst(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		bob.record.Trust(curve.GenerateKey().PublicKey())
		bob.restart(t)
		alice.initiate(t, bob)
		first := alice.send(t)
		bob.refuses(t, first, session.ErrIdentity)
		bob.record.Trust(alice.id.Key.PublicKey())
		bob.opens(t, first)
	})
}

// Without an answer a session can be used for 30 days, by whole seconds.
func TestStale(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		alice.initiate(t, bob)
		alice.restart(t)
		last := start.Add(session.AnswerWithin)
		if _, err := alice.seal(last); err != nil {
			t.Fatal(err)
		}
		before := alice.record.Append(nil)
		if _, err := alice.seal(last.Add(1)); !errors.Is(err, session.ErrStale) {
			t.Errorf("Encrypt: %v, want %v", err, session.ErrStale)
		}
		if !bytes.Equal(alice.record.Append(nil), before) {
			t.Error("the record has changed")
		}
		if _, err := alice.seal(start.AddDate(-1, 0, 0)); err != nil {
			t.Errorf("with the clock set back: %v", err)
		}
		// An answer, however late, makes it good again.
		l := alice.send(t)
		bob.opens(t, l)
		alice.opens(t, bob.send(t))
		if _, err := alice.seal(last.AddDate(10, 0, 0)); err != nil {
			t.Errorf("after the answer: %v", err)
		}
		// The responder may answer whenever she likes.
		if _, err := bob.seal(last.AddDate(10, 0, 0)); err != nil {
			t.Errorf("the responder: %v", err)
		}
	})
}

func TestWrongDevice(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		l := alice.send(t)
		before := bob.record.Append(nil)
		for _, wrong := range []signal.Address{{Name: "bob", Device: 2}, {Name: "Bob", Device: 1}, {}} {
			other := *bob.id
			other.Address = wrong
			m := must(parse(suite, l.kind, l.bytes))
			if _, err := bob.record.Decrypt(m, &other, pqxdh.PreKeys{}, start); !errors.Is(err, session.ErrWrongDevice) {
				t.Errorf("Decrypt: %v", err)
			}
			if _, err := bob.record.Initiate(&other, alice.preKeys.offer(true, start), start); !errors.Is(err, session.ErrWrongDevice) {
				t.Errorf("Initiate: %v", err)
			}
		}
		if !bytes.Equal(bob.record.Append(nil), before) {
			t.Error("the record has changed")
		}
	})
}

func TestWrongSuite(t *testing.T) {
	for _, one := range suites {
		for _, other := range suites {
			if one == other {
				continue
			}
			// Nothing but the keys tells the two kinds of version 4 apart. The messages of
			// one do not open with those of the other.
			akin := one.KEM() == other.KEM() && one != pqxdh.LibsignalX3DH && other != pqxdh.LibsignalX3DH
			alice, _ := talking(t, one)
			first, peer := pair(one)
			first.initiate(t, peer)
			_, bob := talking(t, other)
			for _, l := range []letter{alice.send(t), first.send(t)} {
				m := must(parse(one, l.kind, l.bytes))
				if m.Suite() != one || m.Type() != l.kind || (m.Handshake() != nil) != (l.kind == session.TypePreKey) {
					t.Errorf("a message of %v: %v, %v, %v", one, m.Suite(), m.Type(), m.Handshake())
				}
				before := bob.record.Append(nil)
				if _, err := bob.record.Decrypt(m, bob.id, pqxdh.PreKeys{}, start); !errors.Is(err, session.ErrSuite) {
					t.Errorf("Decrypt: %v", err)
				}
				if !bytes.Equal(bob.record.Append(nil), before) {
					t.Error("the record has changed")
				}
				// Said to be of the other suite, it is no message.
				if _, err := parse(other, l.kind, l.bytes); (err == nil) != (akin && one == pqxdh.LibsignalTriple) {
					t.Errorf("a message of %v as one of %v: %v", one, other, err)
				}
			}
			// A bundle of another suite starts no session.
			carol, _ := pair(other)
			_, err := carol.record.Initiate(carol.id, peer.preKeys.offer(true, start), start)
			if (err == nil) != akin {
				t.Errorf("a bundle of %v for a session of %v: %v", one, other, err)
			}
			if akin {
				first := carol.send(t)
				m, err := parse(one, first.kind, first.bytes)
				if err != nil {
					continue // without what one demands
				}
				peer.record.Trust(carol.id.Key.PublicKey())
				if _, err := peer.record.Decrypt(m, peer.id, peer.preKeys.find(m.Handshake()), start); !errors.Is(err, session.ErrDecrypt) {
					t.Errorf("a message of %v in a session of %v: %v", other, one, err)
				}
			}
		}
	}
	if _, err := session.New(2, signal.Address{Name: "a", Device: 1}, signal.Address{Name: "b", Device: 1}); !errors.Is(err, session.ErrSuite) {
		t.Errorf("New: %v", err)
	}
	for _, id := range []pqxdh.Suite{0, 2, pqxdh.Chate2eV1, 99} {
		if _, err := session.ParseLibsignal(id, session.TypeMessage, []byte{0x44}); !errors.Is(err, session.ErrSuite) {
			t.Errorf("ParseLibsignal of suite %v: %v", id, err)
		}
	}
}

func TestNewNeedsAddresses(t *testing.T) {
	good := signal.Address{Name: "a", Device: 1}
	for _, bad := range []signal.Address{{}, {Name: "a"}, {Device: 1}, {Name: strings.Repeat("a", 256), Device: 1}} {
		if _, err := session.New(pqxdh.Chate2eV1, bad, good); !errors.Is(err, signal.ErrAddress) {
			t.Errorf("us %+v: %v", bad, err)
		}
		if _, err := session.New(pqxdh.Chate2eV1, good, bad); !errors.Is(err, signal.ErrAddress) {
			t.Errorf("them %+v: %v", bad, err)
		}
	}
}

// Our own messages, sent back to us, are nothing of the peer's.
func TestReflection(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		alice.initiate(t, bob)
		first := alice.send(t)
		alice.refuses(t, first, session.ErrIdentity)
		inner := first
		inner.kind, inner.bytes = session.TypeMessage, session.Inner(suite, first.bytes)
		alice.refuses(t, inner, session.ErrDecrypt)

		bob.opens(t, first)
		answer := bob.send(t)
		bob.refuses(t, answer, session.ErrDecrypt)
		alice.opens(t, answer)
		for range 3 {
			fromAlice, fromBob := alice.send(t), bob.send(t)
			alice.refuses(t, fromAlice, session.ErrDecrypt)
			bob.refuses(t, fromBob, session.ErrDecrypt)
			bob.opens(t, fromAlice)
			alice.opens(t, fromBob)
			alice.refuses(t, fromAlice, session.ErrDecrypt)
			bob.refuses(t, fromBob, session.ErrDecrypt)
		}

		// To somebody who has no session, and no identity key to compare with.
		carol, dave := pair(suite)
		carol.initiate(t, dave)
		l := carol.send(t)
		carol.record = must(session.New(suite, carol.record.Us(), carol.record.Them()))
		carol.refuses(t, l, pqxdh.ErrPreKey)
	})
}

// A session whose numbers are used up encrypts nothing more and stays as it is; a new
// one takes its place.
func TestExhausted(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		alice.initiate(t, bob)
		bob.opens(t, alice.send(t))
		for _, postQuantum := range []bool{false, true} {
			if status := must(alice.record.Status()); postQuantum && status.Counters.PQ == nil {
				continue
			}
			full := &party{alice.id, alice.preKeys, session.Exhaust(alice.record, postQuantum)}
			before := full.record.Append(nil)
			if _, err := full.seal(start); !errors.Is(err, ratchet.ErrExhausted) {
				t.Errorf("post-quantum ratchet %t: %v, want %v", postQuantum, err, ratchet.ErrExhausted)
			}
			if !bytes.Equal(full.record.Append(nil), before) {
				t.Errorf("post-quantum ratchet %t: the record has changed", postQuantum)
			}
			full.initiate(t, bob)
			bob.opens(t, full.send(t))
		}
	})
}

// The handshake of a session that is known, in the name of another identity key, is
// not taken for its own, whether or not the suite authenticates it.
func TestRepeatedHandshakeOfAnother(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		alice.initiate(t, bob)
		bob.opens(t, alice.send(t))
		l := alice.send(t)
		m := must(parse(suite, l.kind, l.bytes))
		m.Handshake().IdentityKey = curve.GenerateKey().PublicKey()
		changed := l
		changed.bytes = session.Encode(m)
		bob.refuses(t, changed, session.ErrIdentity)
		bob.opens(t, l)
	})
}

// Two devices with one identity key, as the official library's of one account
// have, talk like any others.
func TestOneIdentityKey(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		key := curve.GenerateKey()
		one := newParty(suite, "alice", signal.Address{Name: "alice", Device: 2}, key, start)
		two := newParty(suite, "alice", one.id.Address, key, start)
		two.id.Address.Device = 2
		two.record = must(session.New(suite, two.id.Address, one.id.Address))
		two.preKeys = newPreKeys(suite, two.id, start)
		one.initiate(t, two)
		two.initiate(t, one)
		fromOne, fromTwo := one.send(t), two.send(t)
		one.refuses(t, fromOne, pqxdh.ErrPreKey) // reflected
		one.opens(t, fromTwo)
		two.opens(t, fromOne)
		for range 3 {
			l := one.send(t)
			one.refuses(t, l, session.ErrDecrypt)
			two.opens(t, l)
			one.opens(t, two.send(t))
		}
		converge(t, one, two)
	})
}

// A device that writes to itself, with one record for both ends.
func TestSelf(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		self := newParty(suite, "alice", signal.Address{Name: "alice", Device: 1}, curve.GenerateKey(), start)
		self.initiate(t, self)
		late := self.send(t)
		for range 5 {
			self.restart(t)
			self.opens(t, self.send(t))
		}
		self.opens(t, late)
	})
}

// A first message opens once: in the record that has its session, in one that
// has forgotten it, and in an empty one.
func TestReplay(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		for _, oneTime := range []bool{true, false} {
			if !oneTime && suite.KEM() == 0 {
				continue // X3DH without a one-time prekey has no defence against it
			}
			alice, bob := pair(suite)
			if _, err := alice.record.Initiate(alice.id, bob.preKeys.offer(oneTime, start), start); err != nil {
				t.Fatal(err)
			}
			letters := alice.sendMany(t, 3)
			opened := bob.opens(t, letters[0])
			if lastResort := opened.Used.KEMLastResort != nil; suite.KEM() != 0 && lastResort == oneTime {
				t.Errorf("used the KEM prekey of last resort: %v", lastResort)
			}
			want := pqxdh.ErrPreKey
			if !oneTime {
				want = pqxdh.ErrReplay
			}
			bob.record = must(session.New(suite, bob.record.Us(), bob.record.Them()))
			for _, l := range letters { // those not seen before, too
				bob.refuses(t, l, want)
			}
			// In another's record, as if it came from her.
			bob.record = must(session.New(suite, bob.record.Us(), signal.Address{Name: "carol", Device: 1}))
			bob.refuses(t, letters[1], want)
		}
	})
}

// A first message belongs to the addresses it was made for.
func TestFirstMessageIsBoundToAddresses(t *testing.T) {
	alice, bob := pair(pqxdh.Chate2eV1)
	alice.initiate(t, bob)
	l := alice.send(t)
	good := bob.record
	bob.record = must(session.New(pqxdh.Chate2eV1, bob.record.Us(), signal.Address{Name: "carol", Device: 1}))
	bob.refuses(t, l, session.ErrDecrypt)
	bob.record = must(session.New(pqxdh.Chate2eV1, bob.record.Us(), signal.Address{Name: "alice", Device: 2}))
	bob.refuses(t, l, session.ErrDecrypt)
	bob.record = good
	bob.opens(t, l)
}

// Prekeys that are missing or too old have errors of their own: the peer can do
// something about it.
func TestRefusedHandshakes(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		alice.initiate(t, bob)
		l := alice.send(t)
		m := must(parse(suite, l.kind, l.bytes))
		own := bob.preKeys.find(m.Handshake())
		check := func(what string, own pqxdh.PreKeys, now time.Time, want error) {
			t.Helper()
			before := bob.record.Append(nil)
			if _, err := bob.record.Decrypt(m, bob.id, own, now); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
			if !bytes.Equal(bob.record.Append(nil), before) {
				t.Errorf("%s: the record has changed", what)
			}
		}
		check("no prekeys", pqxdh.PreKeys{}, start, pqxdh.ErrPreKey)
		without := own
		without.Signed = nil
		check("no signed prekey", without, start, pqxdh.ErrPreKey)
		without = own
		without.OneTime = nil
		check("no one-time prekey", without, start, pqxdh.ErrPreKey)
		if suite.KEM() != 0 {
			without = own
			without.KEM = nil
			check("no KEM prekey", without, start, pqxdh.ErrPreKey)
			other := own
			other.KEM = &pqxdh.KEMPreKeyPair{KEMPreKey: own.KEM.KEMPreKey, Private: bob.preKeys.lastResort[0].Private}
			check("another KEM prekey under this ID", other, start, session.ErrDecrypt)
		}
		replayed := own
		replayed.Replayed = true
		check("a replay", replayed, start, pqxdh.ErrReplay)
		other := own
		other.OneTime = &pqxdh.OneTimePreKeyPair{OneTimePreKey: own.OneTime.OneTimePreKey, Private: curve.GenerateKey()}
		check("another one-time prekey under this ID", other, start, session.ErrDecrypt)
		if suite == pqxdh.Chate2eV1 {
			check("too late", own, start.Add(keep), pqxdh.ErrExpired)
		}
		bob.opens(t, l)
	})
}

// No bit of a message can change. Only in what precedes a first message of the
// official library some can, the registration ID above all; then the message
// inside is the one that was sent.
func TestCorruption(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		alice.initiate(t, bob)
		first, repeated := alice.send(t), alice.send(t)
		check := func(what string, l letter) {
			t.Helper()
			stored := bob.record.Append(nil)
			accepted := 0
			try := func(how string, b []byte) {
				m, err := parse(suite, l.kind, b)
				if err != nil {
					return
				}
				record := must(session.ParseRecord(stored))
				opened, err := record.Decrypt(m, bob.id, bob.preKeys.find(m.Handshake()), start)
				if err != nil {
					if !bytes.Equal(record.Append(nil), stored) {
						t.Errorf("%s, %s: refused, and the record has changed", what, how)
					}
					return
				}
				accepted++
				if suite == pqxdh.Chate2eV1 || l.kind != session.TypePreKey || string(opened.Plaintext) != l.plaintext ||
					!bytes.Equal(session.Inner(suite, b), session.Inner(suite, l.bytes)) {
					t.Errorf("%s, %s: opened", what, how)
				}
			}
			for at := range l.bytes {
				b := bytes.Clone(l.bytes)
				b[at] ^= 1 << (at % 8)
				try(fmt.Sprintf("a bit of byte %d", at), b)
				if at > 100 && at < len(l.bytes)-100 && at%8 != 0 {
					continue // within the KEM ciphertext
				}
				b = bytes.Clone(l.bytes)
				b[at] ^= 0xFF
				try(fmt.Sprintf("byte %d", at), b)
				try(fmt.Sprintf("without byte %d", at), slices.Delete(bytes.Clone(l.bytes), at, at+1))
				try(fmt.Sprintf("byte %d twice", at), slices.Insert(bytes.Clone(l.bytes), at, l.bytes[at]))
				try(fmt.Sprintf("%d bytes", at), l.bytes[:at])
			}
			for how, b := range map[string][]byte{
				"nothing": nil, "half": l.bytes[:len(l.bytes)/2], "a byte more": append(bytes.Clone(l.bytes), 0),
				"twice": append(bytes.Clone(l.bytes), l.bytes...),
			} {
				try(how, b)
			}
			// The official library reads nothing of a repeated handshake but its keys.
			if what == "first message" && accepted > 40 {
				t.Errorf("%s: %d corrupted messages open", what, accepted)
			}
			// The message itself does.
			m := must(parse(suite, l.kind, l.bytes))
			if _, err := must(session.ParseRecord(stored)).Decrypt(m, bob.id, bob.preKeys.find(m.Handshake()), start); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		check("first message", first)
		bob.opens(t, first)
		check("repeated first message", repeated)
		alice.opens(t, bob.send(t))
		check("message", alice.send(t))
		skipped := alice.send(t)
		bob.opens(t, alice.send(t))
		check("late message", skipped)
	})
}

// The same message told to be of the other kind is not opened.
func TestWrongKind(t *testing.T) {
	for _, suite := range suites[1:] {
		alice, bob := pair(suite)
		alice.initiate(t, bob)
		first := alice.send(t)
		for _, kind := range []session.Type{0, session.TypeMessage, 7, 8} {
			if _, err := parse(suite, kind, first.bytes); !errors.Is(err, session.ErrMalformed) {
				t.Errorf("%v: a PreKey message as %d: %v", suite, kind, err)
			}
		}
		bob.opens(t, first)
		answer := bob.send(t)
		if _, err := parse(suite, session.TypePreKey, answer.bytes); !errors.Is(err, session.ErrMalformed) {
			t.Errorf("%v: a message as a PreKey message: %v", suite, err)
		}
	}
}
