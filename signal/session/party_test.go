package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

var suites = []pqxdh.Suite{pqxdh.Chate2eV1, pqxdh.LibsignalX3DH, pqxdh.LibsignalPQXDH, pqxdh.LibsignalTriple}

// eachSuite runs a test in every suite.
func eachSuite(t *testing.T, test func(t *testing.T, suite pqxdh.Suite)) {
	t.Helper()
	for _, suite := range suites {
		t.Run(suite.String(), func(t *testing.T) { test(t, suite) })
	}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// preKeys is a collection of one device's own prekeys in any suite. Unlike
// [pqxdh.Keys] it makes one-time prekeys when they are asked for.
type preKeys struct {
	suite      pqxdh.Suite
	owner      *pqxdh.Identity
	signed     []*pqxdh.SignedPreKeyPair // newest first
	lastResort []*pqxdh.KEMPreKeyPair    // newest first
	made       []time.Time               // of the two
	kem        map[pqxdh.PreKeyID]*pqxdh.KEMPreKeyPair
	oneTime    map[pqxdh.PreKeyID]*pqxdh.OneTimePreKeyPair
	used       []pqxdh.LastResortUse
}

func newPreKeys(suite pqxdh.Suite, owner *pqxdh.Identity, now time.Time) *preKeys {
	k := &preKeys{
		suite: suite, owner: owner,
		kem:     map[pqxdh.PreKeyID]*pqxdh.KEMPreKeyPair{},
		oneTime: map[pqxdh.PreKeyID]*pqxdh.OneTimePreKeyPair{},
	}
	k.rotate(now)
	return k
}

// keep is how long the private halves are kept.
const keep = (pqxdh.ValidDays + pqxdh.GraceDays) * 24 * time.Hour

func (k *preKeys) rotate(now time.Time) {
	signed := must(pqxdh.NewSignedPreKey(k.suite, k.owner, now))
	k.signed = slices.Insert(k.signed, 0, signed)
	if k.suite.KEM() != 0 {
		k.lastResort = slices.Insert(k.lastResort, 0, must(pqxdh.NewKEMPreKey(k.suite, k.owner, true, now)))
	}
	k.made = slices.Insert(k.made, 0, now)
	for last := len(k.made) - 1; !now.Before(k.made[last].Add(keep)); last-- {
		k.made, k.signed = k.made[:last], k.signed[:last]
		if k.suite.KEM() != 0 {
			k.lastResort = k.lastResort[:last]
		}
	}
}

// offer returns a bundle with or without one-time prekeys.
func (k *preKeys) offer(oneTime bool, now time.Time) *pqxdh.Bundle {
	b := &pqxdh.Bundle{
		IdentityKey: k.owner.Key.PublicKey(), SignedPreKey: k.signed[0].SignedPreKey, RegistrationID: k.owner.RegistrationID,
	}
	if k.suite.KEM() != 0 {
		b.KEMPreKey = new(k.lastResort[0].KEMPreKey)
	}
	if !oneTime {
		return b
	}
	once := pqxdh.NewOneTimePreKey()
	k.oneTime[once.ID] = once
	b.OneTimePreKey = new(once.OneTimePreKey)
	if k.suite.KEM() != 0 {
		pair := must(pqxdh.NewKEMPreKey(k.suite, k.owner, false, now))
		k.kem[pair.ID] = pair
		b.KEMPreKey = new(pair.KEMPreKey)
	}
	return b
}

func (k *preKeys) find(h *pqxdh.Header) pqxdh.PreKeys {
	var own pqxdh.PreKeys
	if h == nil {
		return own
	}
	for _, pair := range k.signed {
		if pair.ID == h.SignedPreKeyID {
			own.Signed = pair
		}
	}
	if h.KEMPreKeyID != nil {
		own.KEM = k.kem[*h.KEMPreKeyID]
		for _, pair := range k.lastResort {
			if pair.ID == *h.KEMPreKeyID {
				own.KEM = pair
			}
		}
		own.Replayed = slices.Contains(k.used, pqxdh.LastResortUse{
			KEMPreKey: *h.KEMPreKeyID, SignedPreKey: h.SignedPreKeyID, BaseKey: h.BaseKey,
		})
	}
	if h.OneTimePreKeyID != nil {
		own.OneTime = k.oneTime[*h.OneTimePreKeyID]
	}
	return own
}

func (k *preKeys) consume(used pqxdh.Used) {
	if used.OneTime != nil {
		delete(k.oneTime, *used.OneTime)
	}
	if used.KEMOneTime != nil {
		delete(k.kem, *used.KEMOneTime)
	}
	if used.KEMLastResort != nil {
		k.used = append(k.used, *used.KEMLastResort)
	}
}

// party is one device: its identity, its prekeys and its record with the other.
type party struct {
	id      *pqxdh.Identity
	preKeys *preKeys
	record  *session.Record
}

func newParty(suite pqxdh.Suite, name string, peer signal.Address, key *curve.PrivateKey, now time.Time) *party {
	id := &pqxdh.Identity{Address: signal.Address{Name: name, Device: 1}, Key: key, RegistrationID: 77}
	return &party{id, newPreKeys(suite, id, now), must(session.New(suite, id.Address, peer))}
}

// pair returns two parties that have not met.
func pair(suite pqxdh.Suite) (alice, bob *party) {
	return newParty(suite, "alice", signal.Address{Name: "bob", Device: 1}, curve.GenerateKey(), start),
		newParty(suite, "bob", signal.Address{Name: "alice", Device: 1}, curve.GenerateKey(), start)
}

// talking returns two parties with a session that both use.
func talking(t *testing.T, suite pqxdh.Suite) (alice, bob *party) {
	t.Helper()
	alice, bob = pair(suite)
	alice.initiate(t, bob)
	bob.opens(t, alice.send(t))
	alice.opens(t, bob.send(t))
	return alice, bob
}

// letter is a message under way.
type letter struct {
	kind      session.Type
	bytes     []byte
	plaintext string
	trace     session.Trace
}

func (p *party) initiate(t *testing.T, peer *party) session.Trace {
	t.Helper()
	trace, err := p.record.Initiate(p.id, peer.preKeys.offer(true, start), start)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

var counter int

// seal encrypts a text that no other message has.
func (p *party) seal(now time.Time) (letter, error) {
	counter++
	text := fmt.Sprintf("message %d of %s", counter, p.id.Address.Name)
	sealed, err := p.record.Encrypt([]byte(text), now)
	if err != nil {
		return letter{}, err
	}
	return letter{sealed.Type, sealed.Bytes, text, sealed.Trace}, nil
}

func (p *party) send(t *testing.T) letter {
	t.Helper()
	l, err := p.seal(start)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (p *party) sendMany(t *testing.T, n int) []letter {
	t.Helper()
	letters := make([]letter, n)
	for i := range letters {
		letters[i] = p.send(t)
	}
	return letters
}

func parse(suite pqxdh.Suite, kind session.Type, b []byte) (*session.Message, error) {
	if suite == pqxdh.Chate2eV1 {
		return session.Parse(b)
	}
	return session.ParseLibsignal(suite, kind, b)
}

// errChanged says that a failed call has changed the record.
var errChanged = errors.New("the record has changed")

// open parses and decrypts, and consumes the prekeys. If that fails, the record
// must be as before.
func (p *party) open(kind session.Type, b []byte, now time.Time) (session.Opened, error) {
	m, err := parse(p.record.Suite(), kind, b)
	if err != nil {
		return session.Opened{}, err
	}
	if !bytes.Equal(m.Bytes(), b) {
		return session.Opened{}, errors.New("the parsed message has other bytes")
	}
	before := p.record.Append(nil)
	opened, err := p.record.Decrypt(m, p.id, p.preKeys.find(m.Handshake()), now)
	if err != nil {
		if !bytes.Equal(p.record.Append(nil), before) {
			return opened, fmt.Errorf("%w, with %w", errChanged, err)
		}
		if opened.Plaintext != nil || opened.IdentityKey != (curve.PublicKey{}) || opened.Used != (pqxdh.Used{}) {
			return opened, fmt.Errorf("an error came with a result: %w", err)
		}
		return opened, err
	}
	p.preKeys.consume(opened.Used)
	return opened, nil
}

// opens checks that the letter opens, once.
func (p *party) opens(t *testing.T, l letter) session.Opened {
	t.Helper()
	opened, err := p.open(l.kind, l.bytes, start)
	if err != nil {
		t.Fatalf("%q: %v", l.plaintext, err)
	}
	if got := string(opened.Plaintext); got != l.plaintext {
		t.Fatalf("opened %q, want %q", got, l.plaintext)
	}
	p.refuses(t, l, session.ErrDuplicate)
	return opened
}

// refuses checks that the letter is refused, with the record as before.
func (p *party) refuses(t *testing.T, l letter, want error) session.Trace {
	t.Helper()
	opened, err := p.open(l.kind, l.bytes, start)
	if !errors.Is(err, want) || errors.Is(err, errChanged) {
		t.Errorf("%q: %v, want %v", l.plaintext, err, want)
	}
	return opened.Trace
}

// restart stores the record and reads it again.
func (p *party) restart(t testing.TB) {
	t.Helper()
	b := p.record.Append(nil)
	record, err := session.ParseRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(record.Append(nil), b) {
		t.Fatal("the record encodes as other bytes after it was read")
	}
	p.record = record
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
