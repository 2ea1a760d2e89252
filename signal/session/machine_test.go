package session_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/session"
)

// TestMachine plays random schedules between two parties: both may start sessions
// at any time, at once as well; messages are sent, lost, reordered, duplicated and
// corrupted; records are stored and read again, sessions archived, prekeys
// rotated and expired; old first messages come again, to the same record and to an
// empty one. Where there is a post-quantum ratchet, the two talk long enough for its
// epochs, and what messages carry of it is corrupted, and put into other messages. In
// the end all calms down.
//
// Run more of it with -rapid.checks.
func TestMachine(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		epochs := uint64(0)
		rapid.Check(t, func(t *rapid.T) {
			m := newMachine(suite)
			actions := map[string]func(*rapid.T){
				"initiate":               m.initiate,
				"send":                   m.send,
				"send again":             m.send, // twice as often
				"deliver":                m.deliver,
				"deliver the oldest":     m.deliverOldest,
				"lose":                   m.lose,
				"duplicate":              m.duplicate,
				"corrupt":                m.corrupt,
				"restart":                m.restart,
				"archive":                m.archive,
				"days pass":              m.daysPass,
				"replay to an empty one": m.replayToEmpty,
				"reflect":                m.reflect,
			}
			if slices.Contains(tripleSuites, suite) {
				actions["converse"] = m.converse
				actions["corrupt the post-quantum part"] = m.corruptPQ
				actions["swap the post-quantum part"] = m.swapPQ
			}
			t.Repeat(actions)
			m.calmDown(t)
			epochs += m.epochs
		})
		if t.Logf("%d epochs", epochs); epochs == 0 && slices.Contains(tripleSuites, suite) && !t.Failed() {
			t.Error("no epoch was completed")
		}
	})
}

// maxInitiated keeps the records below their limit of 41 sessions, which has a
// test of its own.
const maxInitiated = 30

// keptChains is how many receiving chains the official library's suite keeps.
const keptChains = 5

type machine struct {
	suite     pqxdh.Suite
	now       time.Time
	players   [2]*player
	initiated int
	epochs    uint64 // of the post-quantum ratchet that were completed
}

// player is a party, and what the model knows about it.
type player struct {
	*party
	peer *player

	// coming are the letters on their way to this player, as the peer sent them.
	coming []*sent
	// shown are the letters that this player has opened.
	shown []*sent
	// sessions are those that this player has opened a message in, by name.
	sessions map[safety.Fingerprint]*known
	// current is the session this player would encrypt in; nil without one.
	current *begun
}

// known is what the model remembers of a session at its receiver: the ratchet
// keys of the peer's, oldest first.
type known struct{ chains []curve.PublicKey }

// begun is a session that somebody initiated.
type begun struct {
	name safety.Fingerprint
	// epochs are those of the post-quantum keys that both have sent with last, by
	// the sender's name.
	epochs map[string]uint64
	// until is when the responder erases the prekeys.
	until time.Time
}

// sent is a letter with what the model knows about it.
type sent struct {
	letter
	session *begun
	chain   curve.PublicKey
	epoch   uint64 // of its post-quantum key
	opened  bool
}

func newMachine(suite pqxdh.Suite) *machine {
	alice, bob := pair(suite)
	m := &machine{suite: suite, now: start}
	for i, p := range []*party{alice, bob} {
		m.players[i] = &player{party: p, sessions: map[safety.Fingerprint]*known{}}
	}
	m.players[0].peer, m.players[1].peer = m.players[1], m.players[0]
	return m
}

func (m *machine) draw(t *rapid.T) *player {
	return m.players[rapid.IntRange(0, 1).Draw(t, "player")]
}

// receiver draws a player to whom something is coming.
func (m *machine) receiver(t *rapid.T) *player {
	p := m.draw(t)
	if len(p.coming) == 0 {
		t.Skip("nothing is on its way")
	}
	return p
}

func (m *machine) initiate(t *rapid.T) {
	if m.initiated == maxInitiated {
		t.Skip("enough sessions")
	}
	m.initiated++
	p := m.draw(t)
	// X3DH without a one-time prekey has no defence against replays.
	oneTime := m.suite.KEM() == 0 || rapid.Bool().Draw(t, "one-time prekeys")
	p.start(t, oneTime, m.now)
}

func (p *player) start(t *rapid.T, oneTime bool, now time.Time) {
	trace, err := p.record.Initiate(p.id, p.peer.preKeys.offer(oneTime, now), now)
	if err != nil {
		t.Fatalf("Initiate: %v", err)
	}
	p.current = &begun{name: trace.Session, until: p.peer.preKeys.made[0].Add(keep), epochs: map[string]uint64{}}
	if expires := trace.Handshake.Expires; !expires.IsZero() {
		// The signed prekey is the older one of the two, and is kept to the day.
		p.current.until = expires.AddDate(0, 0, pqxdh.GraceDays)
	}
}

// sent encrypts a letter, or says why not.
func (p *player) sent(t *rapid.T, now time.Time) (*sent, error) {
	before := p.record.Append(nil)
	l, err := p.seal(now)
	if err != nil {
		if !bytes.Equal(p.record.Append(nil), before) {
			t.Fatalf("Encrypt has failed with %v, and has changed the record", err)
		}
		if (p.current == nil) != errors.Is(err, session.ErrNoSession) {
			t.Fatalf("Encrypt: %v, with the session %+v", err, p.current)
		}
		return nil, err
	}
	if p.current == nil || l.trace.Session != p.current.name {
		t.Fatalf("encrypted in the session %v, want %+v", l.trace.Session, p.current)
	}
	message, err := parse(p.record.Suite(), l.kind, l.bytes)
	if err != nil {
		t.Fatal(err)
	}
	s := &sent{letter: l, session: p.current, chain: message.Header().RatchetKey}
	if pq := l.trace.PQ; pq != nil {
		s.epoch = pq.KeyEpoch
		p.current.epochs[p.id.Address.Name] = s.epoch
	}
	p.peer.coming = append(p.peer.coming, s)
	return s, nil
}

func (m *machine) send(t *rapid.T) {
	p := m.draw(t)
	for range rapid.IntRange(1, 4).Draw(t, "letters") {
		if _, err := p.sent(t, m.now); err != nil {
			t.Skip(err)
		}
	}
}

func (m *machine) deliver(t *rapid.T) {
	p := m.receiver(t)
	i := rapid.IntRange(0, len(p.coming)-1).Draw(t, "letter")
	s := p.coming[i]
	p.coming = slices.Delete(p.coming, i, i+1)
	p.receive(t, s, m.now)
}

func (m *machine) deliverOldest(t *rapid.T) {
	p := m.receiver(t)
	s := p.coming[0]
	p.coming = p.coming[1:]
	p.receive(t, s, m.now)
}

// opens says whether the letter, which has not been opened, must open.
func (p *player) opens(s *sent, now time.Time) bool {
	k := p.sessions[s.session.name]
	if k == nil {
		// Either we have initiated the session, and she has answered, or her letter
		// carries the handshake, and our prekeys are still there.
		return s.kind == session.TypeMessage || now.Before(s.session.until)
	}
	if s.epoch+1 < s.session.epochs[p.id.Address.Name] {
		return false // too late by an epoch
	}
	if p.record.Suite() == pqxdh.Chate2eV1 {
		return true // no schedule here skips so many keys that some are dropped
	}
	at := slices.Index(k.chains, s.chain)
	return at < 0 || at >= len(k.chains)-keptChains
}

// receive delivers a letter that has not been opened.
func (p *player) receive(t *rapid.T, s *sent, now time.Time) {
	opened, err := p.open(s.kind, s.bytes, now)
	if !p.opens(s, now) {
		p.mustRefuse(t, err)
		return
	}
	if err != nil {
		t.Fatalf("%q in the session %v: %v", s.plaintext, s.session.name, err)
	}
	p.show(t, s, opened)
}

// show checks what was opened, and remembers it.
func (p *player) show(t *rapid.T, s *sent, opened session.Opened) {
	if s.opened {
		t.Fatalf("%q is shown twice", s.plaintext)
	}
	if got := string(opened.Plaintext); got != s.plaintext {
		t.Fatalf("opened %q, want %q", got, s.plaintext)
	}
	if opened.Trace.Session != s.session.name || opened.IdentityKey != p.peer.id.Key.PublicKey() {
		t.Fatalf("opened in the session %v of %x", opened.Trace.Session, opened.IdentityKey)
	}
	s.opened = true
	p.shown = append(p.shown, s)
	k := p.sessions[s.session.name]
	if k == nil {
		k = new(known)
		p.sessions[s.session.name] = k
	}
	if !slices.Contains(k.chains, s.chain) {
		k.chains = append(k.chains, s.chain)
	}
	p.current = s.session
}

// mustRefuse checks the error of a letter that must not open.
func (p *player) mustRefuse(t *rapid.T, err error) {
	if err == nil {
		t.Fatal("opened what must not open")
	}
	if errors.Is(err, errChanged) {
		t.Fatal(err)
	}
}

func (m *machine) lose(t *rapid.T) {
	p := m.receiver(t)
	p.coming = p.coming[rapid.IntRange(1, len(p.coming)).Draw(t, "letters"):]
}

func (m *machine) duplicate(t *rapid.T) {
	p := m.draw(t)
	if len(p.shown) == 0 {
		t.Skip("nothing was opened")
	}
	s := rapid.SampledFrom(p.shown).Draw(t, "letter")
	_, err := p.open(s.kind, s.bytes, m.now)
	p.mustRefuse(t, err)
}

// corrupt delivers a letter that was opened or is on its way with some change.
func (m *machine) corrupt(t *rapid.T) {
	p := m.draw(t)
	letters := slices.Concat(p.coming, p.shown)
	if len(letters) == 0 {
		t.Skip("nothing was sent")
	}
	s := rapid.SampledFrom(letters).Draw(t, "letter")
	b := bytes.Clone(s.bytes)
	at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
	switch rapid.SampledFrom([]string{"change", "truncate", "extend", "insert", "delete"}).Draw(t, "how") {
	case "change":
		b[at] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
	case "truncate":
		b = b[:at]
	case "extend":
		b = append(b, rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "bytes")...)
	case "insert":
		b = slices.Insert(b, at, rapid.Byte().Draw(t, "byte"))
	case "delete":
		b = slices.Delete(b, at, at+1)
	}
	if bytes.Equal(b, s.bytes) {
		t.Skip("nothing has changed")
	}
	opened, err := p.open(s.kind, b, m.now)
	if err != nil {
		p.mustRefuse(t, err)
		return
	}
	// The official library authenticates a handshake only by what comes of it,
	// and the registration ID not at all.
	if m.suite == pqxdh.Chate2eV1 || s.kind != session.TypePreKey {
		t.Fatalf("%q opens although it was changed", opened.Plaintext)
	}
	p.show(t, s, opened)
	p.coming = slices.DeleteFunc(p.coming, func(other *sent) bool { return other == s })
}

// converse has the two talk for a while, on a network that loses some letters and
// keeps others back.
func (m *machine) converse(t *rapid.T) {
	p := m.draw(t)
	if p.current == nil && p.peer.current == nil {
		m.initiate(t)
	}
	if p.current == nil {
		p = p.peer
	}
	loss, late := rapid.IntRange(0, 20).Draw(t, "loss"), rapid.IntRange(0, 5).Draw(t, "late")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "schedule"), 0))
	for range rapid.SampledFrom([]int{5, 50, 150}).Draw(t, "letters") {
		s, err := p.sent(t, m.now)
		if err != nil {
			t.Skip(err)
		}
		if event := s.trace.PQ; event.Completed > 0 {
			m.epochs++
		}
		to, last := p.peer, len(p.peer.coming)-1
		fate := r.IntN(100)
		if fate >= loss && fate < loss+late {
			continue // it stays on its way
		}
		to.coming = to.coming[:last]
		if fate >= loss {
			to.receive(t, s, m.now)
		}
		if to.current != nil && r.IntN(5) > 0 {
			p = to
		}
	}
}

// pick draws a letter that a player has opened or that is on its way, and parses it.
func (p *player) pick(t *rapid.T) (*sent, *session.Message) {
	letters := slices.Concat(p.coming, p.shown)
	if len(letters) == 0 {
		t.Skip("nothing was sent")
	}
	s := rapid.SampledFrom(letters).Draw(t, "letter")
	m, err := parse(p.record.Suite(), s.kind, s.bytes)
	if err != nil {
		t.Fatal(err)
	}
	return s, m
}

// deliverPQ delivers a letter that carries something else of the post-quantum
// ratchet, which must be refused.
func (m *machine) deliverPQ(t *rapid.T, p *player, s *sent, message *session.Message, pq []byte) {
	if bytes.Equal(pq, session.PQ(message)) {
		t.Skip("nothing has changed")
	}
	_, err := p.open(s.kind, session.WithPQ(message, pq), m.now)
	p.mustRefuse(t, err)
}

func (m *machine) corruptPQ(t *rapid.T) {
	p := m.draw(t)
	s, message := p.pick(t)
	pq := bytes.Clone(session.PQ(message))
	pq[rapid.IntRange(0, len(pq)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
	m.deliverPQ(t, p, s, message, pq)
}

// swapPQ puts what one letter carries of the post-quantum ratchet, a chunk of an old
// epoch perhaps, into another, or its exchange under the epoch and key of the other.
func (m *machine) swapPQ(t *rapid.T) {
	p := m.draw(t)
	s, message := p.pick(t)
	_, other := p.pick(t)
	ours, theirs := session.PQ(message), session.PQ(other)
	if rapid.Bool().Draw(t, "the exchange alone") {
		head := func(pq []byte) int {
			_, epoch := binary.Uvarint(pq[1:])
			_, index := binary.Uvarint(pq[1+epoch:])
			return 1 + epoch + index
		}
		theirs = slices.Concat(ours[:head(ours)], theirs[head(theirs):])
	}
	m.deliverPQ(t, p, s, message, theirs)
}

func (m *machine) restart(t *rapid.T) {
	which := rapid.IntRange(0, 2).Draw(t, "players")
	for i, p := range m.players {
		if which == 2 || which == i {
			b := p.record.Append(nil)
			record, err := session.ParseRecord(b)
			if err != nil || !bytes.Equal(record.Append(nil), b) {
				t.Fatalf("the record does not come back as it was: %v", err)
			}
			p.record = record
		}
	}
}

func (m *machine) archive(t *rapid.T) {
	p := m.draw(t)
	p.record.Archive()
	p.current = nil
}

func (m *machine) daysPass(t *rapid.T) {
	m.now = m.now.AddDate(0, 0, rapid.IntRange(1, 20).Draw(t, "days"))
	for _, p := range m.players {
		if m.now.Sub(p.preKeys.made[0]) >= pqxdh.RotateAfter {
			p.preKeys.rotate(m.now)
		}
	}
}

// replayToEmpty delivers a letter of a session that was accepted to a record that
// knows nothing, with the same prekeys.
func (m *machine) replayToEmpty(t *rapid.T) {
	p := m.draw(t)
	letters := slices.DeleteFunc(slices.Concat(p.coming, p.shown), func(s *sent) bool {
		return s.kind != session.TypePreKey || p.sessions[s.session.name] == nil
	})
	if len(letters) == 0 {
		t.Skip("no session was accepted")
	}
	s := rapid.SampledFrom(letters).Draw(t, "letter")
	record := p.record
	p.record = must(session.New(m.suite, record.Us(), record.Them()))
	_, err := p.open(s.kind, s.bytes, m.now)
	p.mustRefuse(t, err)
	p.record = record
}

// reflect sends a letter back to whom it came from.
func (m *machine) reflect(t *rapid.T) {
	p := m.draw(t)
	letters := slices.Concat(p.peer.coming, p.peer.shown)
	if len(letters) == 0 {
		t.Skip("nothing was sent")
	}
	s := rapid.SampledFrom(letters).Draw(t, "letter")
	_, err := p.open(s.kind, s.bytes, m.now)
	p.mustRefuse(t, err)
}

// calmDown loses what is on its way, and lets the two alternate: after a handful
// of messages they use one session, and have answered each other.
func (m *machine) calmDown(t *rapid.T) {
	var last []*sent
	for range 6 {
		for _, p := range m.players {
			s, err := p.sent(t, m.now)
			if err != nil { // none in use, or a handshake that was never answered
				p.start(t, true, m.now)
				if s, err = p.sent(t, m.now); err != nil {
					t.Fatalf("in a new session: %v", err)
				}
			}
			p.peer.coming = nil
			p.peer.receive(t, s, m.now)
			if !s.opened {
				// Its prekeys have died; the next attempt takes new ones.
				p.record.Archive()
				p.current = nil
			}
			last = append(last, s)
		}
	}
	for _, s := range last[len(last)-4:] {
		if !s.opened || s.kind != session.TypeMessage || s.session.name != last[len(last)-1].session.name {
			t.Fatalf("the two have not settled on one session: %s", describe(last))
		}
	}
}

func describe(letters []*sent) string {
	var b []byte
	for _, s := range letters {
		b = fmt.Appendf(b, "\n%v in %v, opened %v", s.kind, s.session.name, s.opened)
	}
	return string(b)
}
