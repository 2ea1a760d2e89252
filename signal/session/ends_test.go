package session_test

import (
	"testing"
	"time"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
	"github.com/chate2e/chate2e/signal/spqr"
)

var testNow = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// end is one device of a conversation between two.
type end struct {
	suite    pqxdh.Suite
	identity *pqxdh.Identity
	preKeys  map[pqxdh.PreKeyID]pqxdh.PreKeys // by the ID of the signed prekey
	record   *session.Record
}

// newEnds returns two devices that have not met.
func newEnds(tb testing.TB, suite pqxdh.Suite) (alice, bob *end) {
	tb.Helper()
	addresses := [2]pqxdh.Address{
		{Name: "a0d7ba8e-5f1c-4f5c-8a8e-0c1f5a3b7c01", Device: 1},
		{Name: "b1e8cb9f-6a2d-4a6d-9b9f-1d2a6b4c8d02", Device: 2},
	}
	var ends [2]*end
	for i := range ends {
		record, err := session.New(suite, addresses[i], addresses[1-i])
		if err != nil {
			tb.Fatal(err)
		}
		ends[i] = &end{
			suite:    suite,
			identity: &pqxdh.Identity{Address: addresses[i], Key: curve.GenerateKey()},
			preKeys:  map[pqxdh.PreKeyID]pqxdh.PreKeys{},
			record:   record,
		}
	}
	return ends[0], ends[1]
}

// initiate starts a session with the other device, on prekeys made for it.
func (e *end) initiate(tb testing.TB, other *end) {
	tb.Helper()
	signed, err := pqxdh.NewSignedPreKey(other.suite, other.identity, testNow)
	if err != nil {
		tb.Fatal(err)
	}
	kemPreKey, err := pqxdh.NewKEMPreKey(other.suite, other.identity, false, testNow)
	if err != nil {
		tb.Fatal(err)
	}
	oneTime := pqxdh.NewOneTimePreKey()
	other.preKeys[signed.ID] = pqxdh.PreKeys{Signed: signed, KEM: kemPreKey, OneTime: oneTime}
	bundle := &pqxdh.Bundle{
		IdentityKey: other.identity.Key.PublicKey(), SignedPreKey: signed.SignedPreKey,
		KEMPreKey: &kemPreKey.KEMPreKey, OneTimePreKey: &oneTime.OneTimePreKey,
	}
	if _, err := e.record.Initiate(e.identity, bundle, testNow); err != nil {
		tb.Fatal(err)
	}
}

func (e *end) encrypt(tb testing.TB, plaintext []byte) *session.Sealed {
	tb.Helper()
	sealed, err := e.record.Encrypt(plaintext, testNow)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func (e *end) parse(kind session.Type, b []byte) (*session.Message, error) {
	if e.suite == pqxdh.Chate2eV1 {
		return session.Parse(b)
	}
	return session.ParseLibsignal(e.suite, kind, b)
}

// open is decrypt for a message that need not open.
func (e *end) open(kind session.Type, b []byte) (session.Opened, error) {
	m, err := e.parse(kind, b)
	if err != nil {
		return session.Opened{}, err
	}
	var own pqxdh.PreKeys
	if h := m.Handshake(); h != nil {
		own = e.preKeys[h.SignedPreKeyID]
	}
	return e.record.Decrypt(m, e.identity, own, testNow)
}

func (e *end) decrypt(tb testing.TB, sealed *session.Sealed) session.Opened {
	tb.Helper()
	opened, err := e.open(sealed.Type, sealed.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return opened
}

// tell carries one message over.
func (e *end) tell(tb testing.TB, other *end, text string) {
	tb.Helper()
	if got := other.decrypt(tb, e.encrypt(tb, []byte(text))).Plaintext; string(got) != text {
		tb.Fatalf("opened %q, want %q", got, text)
	}
}

// pq is where the post-quantum ratchet of the session in use stands.
func (e *end) pq(tb testing.TB) spqr.Status {
	tb.Helper()
	status, err := e.record.Status()
	if err != nil {
		tb.Fatal(err)
	}
	return *status.Counters.PQ
}

// acquainted returns two devices in the middle of a conversation that alice began
// and that both have answered.
func acquainted(tb testing.TB, suite pqxdh.Suite) (alice, bob *end) {
	tb.Helper()
	alice, bob = newEnds(tb, suite)
	alice.initiate(tb, bob)
	alice.tell(tb, bob, "hello")
	bob.tell(tb, alice, "hello")
	return alice, bob
}
