package session

import (
	"errors"
	"slices"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/spqr"
)

// AnswerWithin is how long a session may be used for sending without an answer
// to its handshake. The peer has erased the prekeys by then.
const AnswerWithin = 30 * 24 * time.Hour

// Record holds all sessions of one of our devices with one device of the peer:
// the one in use and up to 40 older ones, with which late messages still open.
// It is not safe for concurrent use; every peer device has a record of its own. The
// zero Record is of no use; make one with [New] or [ParseRecord].
type Record struct {
	suite    *suite
	us, them signal.Address
	identity *curve.PublicKey // the peer's, once known
	sessions []*state         // the one in use first, if inUse; then newest first
	inUse    bool
}

// state is one session.
type state struct {
	initiator                  bool
	ourIdentity, theirIdentity curve.PublicKey
	baseKey                    curve.PublicKey // the initiator's; names the session
	created                    time.Time       // whole seconds
	transcript                 [32]byte        // suites that bind it
	pending                    *pqxdh.Header   // we started it and have no answer yet
	ratchet                    *ratchet.State
	pq                         *spqr.State // nil in suites without one
}

// New returns an empty record between a device of ours and one of the peer's. It
// returns [ErrSuite] or [signal.ErrAddress].
func New(suite pqxdh.Suite, us, them signal.Address) (*Record, error) {
	s := suites[suite]
	if s == nil {
		return nil, ErrSuite
	}
	if err := errors.Join(us.Validate(), them.Validate()); err != nil {
		return nil, signal.ErrAddress
	}
	return &Record{suite: s, us: us, them: them}, nil
}

// Suite returns the record's suite.
func (r *Record) Suite() pqxdh.Suite { return r.suite.id }

// Us returns the address of our device.
func (r *Record) Us() signal.Address { return r.us }

// Them returns the address of the peer's device.
func (r *Record) Them() signal.Address { return r.them }

// InUse reports whether there is a session to encrypt with.
func (r *Record) InUse() bool { return r.inUse }

// Identity returns the peer device's identity key that the record trusts: the
// first one that it met, or the one given to Trust.
func (r *Record) Identity() (curve.PublicKey, bool) {
	if r.identity == nil {
		return curve.PublicKey{}, false
	}
	return *r.identity, true
}

// Trust sets the peer device's identity key. All sessions under another one are
// erased: nothing more is sent to it or believed from it.
func (r *Record) Trust(key curve.PublicKey) {
	current := r.current()
	r.identity = &key
	r.sessions = slices.DeleteFunc(r.sessions, func(s *state) bool {
		if s.theirIdentity == key {
			return false
		}
		s.wipe()
		return true
	})
	r.inUse = current != nil && current.theirIdentity == key
}

// Archive puts the session in use aside, so that Encrypt needs a new one.
// Messages under way in it still open.
func (r *Record) Archive() { r.inUse = false }

func (r *Record) current() *state {
	if !r.inUse {
		return nil
	}
	return r.sessions[0]
}

// Initiate starts a session with the device whose bundle this is, and puts the
// one in use aside. Whether the bundle's identity key belongs to the peer is for
// the caller to know; a change of it is refused.
//
// It returns [ErrWrongDevice], [ErrIdentity] or an error of [pqxdh.Initiate]; the
// record is unchanged then.
func (r *Record) Initiate(us *pqxdh.Identity, bundle *pqxdh.Bundle, now time.Time) (Trace, error) {
	if us.Address != r.us {
		return Trace{}, ErrWrongDevice
	}
	if r.identity != nil && *r.identity != bundle.IdentityKey {
		return Trace{}, ErrIdentity
	}
	agreed, header, err := pqxdh.Initiate(r.suite.id, us, r.them, bundle, now)
	if err != nil {
		return Trace{}, err
	}
	s := &state{
		initiator:     true,
		ourIdentity:   header.IdentityKey,
		theirIdentity: bundle.IdentityKey,
		baseKey:       header.BaseKey,
		created:       now.Truncate(time.Second),
		transcript:    agreed.Transcript,
		pending:       header,
		ratchet:       ratchet.NewInitiator(r.suite.ratchet, agreed.Root, agreed.TheirRatchetKey),
		pq:            r.suite.newPQ(spqr.Initiator, agreed.PQ),
	}
	steps := []Step{{Kind: StepInitiated}}
	if r.inUse {
		steps = append(steps, Step{Kind: StepArchived})
	}
	r.add(s)
	trace := r.trace(s, steps)
	trace.Handshake = describe(header, bundle.IdentityKey, true, &bundle.SignedPreKey, bundle.KEMPreKey, bundle.OneTimePreKey)
	return trace, nil
}

// add puts a new session into use.
func (r *Record) add(s *state) {
	identity := s.theirIdentity
	r.identity = &identity
	r.sessions = slices.Insert(r.sessions, 0, s)
	r.inUse = true
	for len(r.sessions) > 1+maxArchived {
		last := len(r.sessions) - 1
		r.sessions[last].wipe()
		r.sessions = slices.Delete(r.sessions, last, last+1)
	}
}

// wipe erases the keys of a session that is dropped.
func (s *state) wipe() {
	s.ratchet.Wipe()
	if s.pq != nil {
		s.pq.Wipe()
	}
}

// Sealed is an encrypted message.
type Sealed struct {
	Type  Type
	Bytes []byte
	Trace Trace
}

// Encrypt encrypts plaintext in the session in use. The record has then moved
// on: it must be stored before the message leaves the process, or the same key
// could be used twice.
//
// It returns [ErrNoSession], [ErrStale] or an error of [ratchet.State.Send]; the
// record is unchanged then.
func (r *Record) Encrypt(plaintext []byte, now time.Time) (*Sealed, error) {
	s := r.current()
	if s == nil {
		return nil, ErrNoSession
	}
	if s.pending != nil && now.Sub(s.created) > AnswerWithin {
		return nil, ErrStale
	}
	before := s.ratchet.Counters()
	pq, err := s.sendPQ()
	if err != nil {
		return nil, err
	}
	header, seed, err := s.ratchet.Send()
	if err != nil {
		pq.discard()
		return nil, err
	}
	defer seed.Wipe()
	sealed := &Sealed{Type: TypeMessage}
	if s.pending != nil {
		sealed.Type = TypePreKey
	}
	sealed.Bytes = r.suite.cipher.seal(r, s, pq.header(header), pq.seeds(seed.Array()), plaintext)
	pq.commit(s)

	steps := make([]Step, 0, 3)
	if !before.HasSending {
		steps = append(steps, Step{
			Kind: StepRootSending, Label: r.suite.root, N: before.RootSteps + 1,
			Our: fingerprint(header.RatchetKey), Their: fingerprint(before.TheirKey),
		})
	}
	steps = append(steps,
		Step{Kind: StepChainSending, N: header.N},
		Step{Kind: StepSealed, Label: r.suite.message, N: header.N})
	sealed.Trace = r.trace(s, steps)
	sealed.Trace.PQ = pq.event()
	sealed.Trace.PlaintextSize, sealed.Trace.MessageSize = len(plaintext), len(sealed.Bytes)
	return sealed, nil
}

// Opened is the result of Decrypt.
type Opened struct {
	Plaintext []byte
	// IdentityKey is the identity key of the device that sent the message. Whether it
	// is the peer's is for the caller to know: a record that trusts none yet takes the
	// one of the first message that opens. Unless it is the peer's, neither the
	// plaintext nor the record must be used, and no prekey erased.
	IdentityKey curve.PublicKey
	// Used says which of our prekeys the message has consumed. They are to be
	// erased in the transaction that stores the record.
	Used pqxdh.Used
	// Trace describes what happened. It is set with an error, too.
	Trace Trace
}

// Decrypt opens a message in whichever session it belongs to, and starts one if
// it carries a handshake that is new. The session that opened it comes into use.
// own holds our prekeys that m.Handshake names; they are not needed for messages
// of a session that exists.
//
// It returns [ErrDuplicate] for a message received before, [ErrNoSession],
// [ErrIdentity], [ErrSuite], [ErrWrongDevice]; [pqxdh.ErrReplay],
// [pqxdh.ErrPreKey] and [pqxdh.ErrExpired] for handshakes that cannot be accepted;
// and [ErrDecrypt] for everything else. With an error the record is unchanged, and
// nothing but Trace is set.
func (r *Record) Decrypt(m *Message, us *pqxdh.Identity, own pqxdh.PreKeys, now time.Time) (Opened, error) {
	opened, err := r.decrypt(m, us, own, now)
	if err != nil {
		opened = Opened{Trace: r.refusal(m, err)}
		if errors.Is(err, ratchet.ErrTooFar) {
			err = ErrDecrypt
		}
		return opened, err
	}
	opened.Trace.PlaintextSize, opened.Trace.MessageSize = len(opened.Plaintext), len(m.raw)
	return opened, nil
}

func (r *Record) decrypt(m *Message, us *pqxdh.Identity, own pqxdh.PreKeys, now time.Time) (Opened, error) {
	switch {
	case m.suite != r.suite.id:
		return Opened{}, ErrSuite
	case us.Address != r.us:
		return Opened{}, ErrWrongDevice
	case m.handshake == nil:
		return r.openKnown(m, r.candidates(m))
	}
	// The handshake of a session that exists, repeated until we answer.
	known := slices.IndexFunc(r.sessions, func(s *state) bool {
		return !s.initiator && s.baseKey == m.handshake.BaseKey && s.theirIdentity == m.handshake.IdentityKey
	})
	if known >= 0 {
		return r.openKnown(m, []*state{r.sessions[known]})
	}
	return r.openFirst(m, us, own, now)
}

// candidates returns the sessions that m may belong to: those that know its
// ratchet key, or else those that do not, for it may be a new one.
func (r *Record) candidates(m *Message) []*state {
	var knowing []*state
	for _, s := range r.sessions {
		if s.ratchet.Knows(m.header.RatchetKey) {
			knowing = append(knowing, s)
		}
	}
	if knowing != nil {
		return knowing
	}
	return r.sessions
}

// openKnown opens m with one of the given sessions.
func (r *Record) openKnown(m *Message, sessions []*state) (Opened, error) {
	if len(sessions) == 0 {
		return Opened{}, ErrNoSession
	}
	var duplicate, tooFar bool
	budget := uint32(maxSteps)
	for _, s := range sessions {
		distance, err := s.distance(m)
		if err == nil && distance > budget {
			err = ratchet.ErrTooFar
		}
		var opened Opened
		if err == nil {
			budget -= distance
			opened, err = r.open(s, m)
		}
		switch {
		case err == nil:
			pq := opened.Trace.PQ
			opened.Trace = r.trace(s, append(opened.Trace.Steps, r.promote(s)...))
			opened.Trace.PQ = pq
			return opened, nil
		case errors.Is(err, ratchet.ErrDuplicate):
			duplicate = true
		case errors.Is(err, ratchet.ErrTooFar):
			tooFar = true
		}
	}
	switch {
	case duplicate:
		return Opened{}, ErrDuplicate
	case tooFar:
		return Opened{}, ratchet.ErrTooFar
	default:
		return Opened{}, ErrDecrypt
	}
}

// open opens m in session s and, if that succeeds, moves s on.
func (r *Record) open(s *state, m *Message) (Opened, error) {
	before := s.ratchet.Counters()
	opening, err := s.ratchet.Receive(m.header.Header)
	if err != nil {
		return Opened{}, err
	}
	pq, err := s.receivePQ(m.header.pq)
	if err != nil {
		opening.Discard()
		return Opened{}, err
	}
	plaintext, ok := r.suite.cipher.open(r, s, m, pq.seeds(opening.Seed()))
	if !ok {
		opening.Discard()
		pq.discard()
		return Opened{}, ErrDecrypt
	}
	steps := make([]Step, 0, 6)
	switch {
	case opening.Late():
		steps = append(steps, Step{Kind: StepSkippedKeyUsed, N: m.header.N})
	case opening.Step():
		if missed := opening.Missed(); missed > 0 {
			steps = append(steps, Step{
				Kind: StepSkipped, Count: missed, N: before.Received, Their: fingerprint(before.TheirKey),
			})
		}
		steps = append(steps, Step{
			Kind: StepRootReceiving, Label: r.suite.root, N: before.RootSteps + 1,
			Our: optional(before.OurKey), Their: fingerprint(m.header.RatchetKey),
		})
	}
	skips := opening.Skips()
	opening.CommitIn(pq.era())
	pq.commit(s)
	if skips > 0 {
		steps = append(steps, Step{
			Kind: StepSkipped, Count: skips, N: m.header.N - skips, Their: fingerprint(m.header.RatchetKey),
		})
	}
	if !opening.Late() {
		steps = append(steps, Step{Kind: StepChainReceiving, N: m.header.N})
	}
	steps = append(steps, Step{Kind: StepOpened, Label: r.suite.message, N: m.header.N})
	s.pending = nil // she has our handshake
	return Opened{Plaintext: plaintext, IdentityKey: s.theirIdentity, Trace: Trace{Steps: steps, PQ: pq.event()}}, nil
}

// promote puts s into use.
func (r *Record) promote(s *state) []Step {
	if r.current() == s {
		return nil
	}
	i := slices.Index(r.sessions, s)
	copy(r.sessions[1:i+1], r.sessions[:i])
	r.sessions[0] = s
	r.inUse = true
	return []Step{{Kind: StepPromoted}}
}

// openFirst accepts the handshake of a session that is new to us, and opens the
// message that brought it.
func (r *Record) openFirst(m *Message, us *pqxdh.Identity, own pqxdh.PreKeys, now time.Time) (Opened, error) {
	h := m.handshake
	if r.identity != nil && *r.identity != h.IdentityKey {
		return Opened{}, ErrIdentity
	}
	// Before the handshake, which costs more than all that a counter could.
	if m.header.N > r.suite.ratchet.MaxForward {
		return Opened{}, ratchet.ErrTooFar
	}
	agreed, err := pqxdh.Accept(r.suite.id, us, r.them, h, own, now)
	switch {
	case errors.Is(err, pqxdh.ErrReplay), errors.Is(err, pqxdh.ErrPreKey), errors.Is(err, pqxdh.ErrExpired):
		return Opened{}, err
	case err != nil:
		return Opened{}, ErrDecrypt
	}
	s := &state{
		ourIdentity:   us.Key.PublicKey(),
		theirIdentity: h.IdentityKey,
		baseKey:       h.BaseKey,
		created:       now.Truncate(time.Second),
		transcript:    agreed.Transcript,
		ratchet:       ratchet.NewResponder(r.suite.ratchet, agreed.Root, agreed.OurRatchetKey),
		pq:            r.suite.newPQ(spqr.Responder, agreed.PQ),
	}
	opened, err := r.open(s, m)
	if err != nil {
		s.wipe()
		if errors.Is(err, ratchet.ErrTooFar) {
			return Opened{}, err
		}
		return Opened{}, ErrDecrypt
	}
	steps := []Step{{Kind: StepAccepted}}
	if r.inUse {
		steps = append(steps, Step{Kind: StepArchived})
	}
	r.add(s)
	opened.Used = pqxdh.Consumed(h, own)
	pq := opened.Trace.PQ
	opened.Trace = r.trace(s, append(steps, opened.Trace.Steps...))
	opened.Trace.PQ = pq
	var kemPreKey *pqxdh.KEMPreKey
	if own.KEM != nil {
		kemPreKey = &own.KEM.KEMPreKey
	}
	var oneTime *pqxdh.OneTimePreKey
	if own.OneTime != nil {
		oneTime = &own.OneTime.OneTimePreKey
	}
	opened.Trace.Handshake = describe(h, s.ourIdentity, false, &own.Signed.SignedPreKey, kemPreKey, oneTime)
	return opened, nil
}

func (r *Record) trace(s *state, steps []Step) Trace {
	c := s.ratchet.Counters()
	t := Trace{
		Suite:   r.suite.id,
		Session: fingerprint(s.baseKey),
		Steps:   steps,
		Counters: Counters{
			RootSteps: c.RootSteps, Sent: c.Sent, Received: c.Received, Previous: c.Previous,
			Skipped: c.Skipped, SkippedLimit: maxSkipped, Archived: len(r.sessions) - 1,
			OurKey: optional(c.OurKey), TheirKey: optional(c.TheirKey), Unanswered: s.pending != nil,
		},
	}
	if s.pq != nil {
		status := s.pq.Status()
		t.Counters.PQ = &status
	}
	return t
}

// Status returns the counters of the session in use, for people who watch. It
// returns [ErrNoSession].
func (r *Record) Status() (Trace, error) {
	s := r.current()
	if s == nil {
		return Trace{}, ErrNoSession
	}
	return r.trace(s, nil), nil
}

// refusal describes a message that was not opened.
func (r *Record) refusal(m *Message, err error) Trace {
	step := Step{Kind: StepRefused, Reason: ReasonTag, N: m.header.N, Their: fingerprint(m.header.RatchetKey)}
	for reason, is := range map[Reason]error{
		ReasonDuplicate: ErrDuplicate, ReasonTooFar: ratchet.ErrTooFar, ReasonReplay: pqxdh.ErrReplay,
		ReasonPreKey: pqxdh.ErrPreKey, ReasonExpired: pqxdh.ErrExpired, ReasonIdentity: ErrIdentity,
		ReasonNoSession: ErrNoSession, ReasonWrongSuite: ErrSuite, ReasonWrongDevice: ErrWrongDevice,
	} {
		if errors.Is(err, is) {
			step.Reason = reason
		}
	}
	t := Trace{Suite: r.suite.id, MessageSize: len(m.raw), Steps: []Step{step}}
	if s := r.current(); s != nil {
		current := r.trace(s, nil)
		t.Session, t.Counters = current.Session, current.Counters
	}
	return t
}

// describe tells a handshake to people; identity is the responder's key.
func describe(h *pqxdh.Header, responder curve.PublicKey, initiator bool,
	signed *pqxdh.SignedPreKey, kemPreKey *pqxdh.KEMPreKey, oneTime *pqxdh.OneTimePreKey,
) *Handshake {
	d := &Handshake{
		Initiator:      initiator,
		OurIdentity:    fingerprint(h.IdentityKey),
		TheirIdentity:  fingerprint(responder),
		BaseKey:        fingerprint(h.BaseKey),
		SignedPreKey:   fingerprint(signed.Key),
		SignedPreKeyID: signed.ID,
	}
	if !initiator {
		d.OurIdentity, d.TheirIdentity = d.TheirIdentity, d.OurIdentity
	}
	if signed.Expires != 0 {
		d.Expires = signed.Expires.Start()
	}
	if oneTime != nil {
		d.HasOneTimePreKey, d.OneTimePreKey, d.OneTimePreKeyID = true, fingerprint(oneTime.Key), oneTime.ID
	}
	if kemPreKey != nil {
		d.KEM, d.KEMPreKeyID, d.LastResort = kemPreKey.Key.Kind(), kemPreKey.ID, kemPreKey.LastResort
		d.KEMPreKey = safety.FingerprintOf(kemPreKey.Key.Encode())
	}
	return d
}
