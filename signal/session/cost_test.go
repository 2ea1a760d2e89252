package session_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/testcost"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

// crowded returns Bob's side of a record with 41 sessions, each of which could
// be the one that a new ratchet key belongs to, and a message of Alice's in it.
func crowded(t *testing.T, suite pqxdh.Suite) (bob *party, last letter) {
	t.Helper()
	alice, bob := pair(suite)
	for range 41 {
		alice.initiate(t, bob)
		bob.opens(t, alice.send(t))
		bob.send(t) // now Bob has a ratchet key that she could answer
	}
	return bob, alice.send(t)
}

// forge returns a message with another ratchet key and counter. The rest stays,
// and would have to authenticate them.
func forge(t *testing.T, suite pqxdh.Suite, l letter, key *curve.PublicKey, n uint32) letter {
	t.Helper()
	h := must(parse(suite, l.kind, l.bytes)).Header()
	if key != nil {
		h.RatchetKey = *key
	}
	h.N = n
	if suite != pqxdh.Chate2eV1 {
		l.bytes = session.WithHeader(suite, l.kind, l.bytes, h)
		return l
	}
	b := append([]byte(nil), l.bytes...)
	at := 2
	if l.kind == session.TypePreKey {
		at += handshakeSize
		if b[2] == 0 {
			at -= 4
		}
	}
	copy(b[at:], h.RatchetKey[:])
	binary.BigEndian.PutUint32(b[at+32:], h.N)
	l.bytes = b
	if got := must(parse(suite, l.kind, b)).Header(); got != h {
		t.Fatalf("forged %+v, want %+v", got, h)
	}
	return l
}

// A forged message costs little, even where 41 sessions might own it.
func TestForgedCounters(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		bob, last := crowded(t, suite)
		reply := last
		reply.kind, reply.bytes = session.TypeMessage, session.Inner(suite, last.bytes)
		unknown := curve.GenerateKey().PublicKey()
		for _, c := range []struct {
			name string
			like letter
			key  *curve.PublicKey
			n    uint32
			most time.Duration
		}{
			{"known ratchet key", reply, nil, 25_000, 100 * time.Millisecond},
			{"known ratchet key", reply, nil, 1 << 31, time.Millisecond},
			{"known ratchet key", reply, nil, math.MaxUint32, time.Millisecond},
			{"new ratchet key", reply, &unknown, 2_000, 100 * time.Millisecond},
			{"new ratchet key", reply, &unknown, 25_000, 100 * time.Millisecond},
			{"new ratchet key", reply, &unknown, 25_001, time.Millisecond},
			{"new ratchet key", reply, &unknown, 1 << 31, time.Millisecond},
			{"new ratchet key", reply, &unknown, math.MaxUint32, time.Millisecond},
			{"first message", last, &unknown, 25_000, 100 * time.Millisecond},
			{"first message", last, &unknown, 25_001, 100 * time.Microsecond}, // no handshake
			{"first message", last, &unknown, 1 << 31, 100 * time.Microsecond},
			{"first message", last, &unknown, math.MaxUint32, 100 * time.Microsecond},
		} {
			t.Run(fmt.Sprintf("%s, %d", c.name, c.n), func(t *testing.T) {
				forged := forge(t, suite, c.like, c.key, c.n)
				own := bob.preKeys.find(nil)
				if forged.kind == session.TypePreKey {
					// The prekeys are there, so that the handshake is accepted.
					fresh, peer := pair(suite)
					fresh.id.Address, peer.id, peer.preKeys = bob.record.Them(), bob.id, bob.preKeys
					fresh.record = must(session.New(suite, fresh.id.Address, bob.id.Address))
					bob.record.Trust(fresh.id.Key.PublicKey())
					fresh.initiate(t, peer)
					forged = forge(t, suite, fresh.send(t), c.key, c.n)
					own = bob.preKeys.find(must(parse(suite, forged.kind, forged.bytes)).Handshake())
				}
				message := must(parse(suite, forged.kind, forged.bytes))
				before := bob.record.Append(nil)
				took, allocated := testcost.Of(func() {
					if _, err := bob.record.Decrypt(message, bob.id, own, start); !errors.Is(err, session.ErrDecrypt) {
						t.Errorf("got %v, want %v", err, session.ErrDecrypt)
					}
				})
				if took > testcost.Slowdown*c.most {
					t.Errorf("took %v, want at most %v", took, testcost.Slowdown*c.most)
				}
				if allocated > 1<<20 {
					t.Errorf("allocated %d bytes", allocated)
				}
				t.Logf("%v, %d bytes", took, allocated)
				if string(bob.record.Append(nil)) != string(before) {
					t.Error("the record has changed")
				}
			})
		}
	})
}
