package spqr

import (
	"crypto/rand"
	"errors"

	"github.com/chate2e/chate2e/internal/secret"
)

// Role says who began the conversation. The initiator makes the first key pair.
type Role uint8

// The roles.
const (
	Initiator Role = iota + 1
	Responder
)

// DefaultMaxJump is how many steps a received message may advance a chain unless
// [Config] says otherwise.
const DefaultMaxJump = 25_000

// Config holds what may differ between conversations. It is not part of an
// encoded state.
type Config struct {
	// MaxJump is how many steps a received message may advance a chain; 0 means
	// [DefaultMaxJump]. A forged message costs up to that many steps, a microsecond
	// each, before it can be refused.
	MaxJump uint32
	// AcceptUnkeyed accepts messages of a peer who has not yet seen that this side
	// speaks the protocol and so takes no keys from it: index 0 in the first
	// epoch. Their key is nil. Like the others of that epoch they are refused once
	// its chains are gone, so that nobody can do without this ratchet for ever. Only
	// releases of the official library in which it was negotiable send them.
	AcceptUnkeyed bool
}

func (c Config) maxJump() uint32 {
	if c.MaxJump == 0 {
		return DefaultMaxJump
	}
	return c.MaxJump
}

// State is one side of the ratchet. It is not safe for concurrent use. The zero
// State is of no use; make one with [New] or [Parse].
type State struct {
	config  Config
	braid   braid
	chains  chains
	changes uint64 // guards Steps against a state that moved on
}

// New returns the state at the start of a conversation. Both sides give the same
// key, 32 bytes from the handshake that nothing else uses, and opposite roles.
// The caller keeps the key and wipes it.
func New(role Role, handshakeKey secret.Key, config Config) (*State, error) {
	if role != Initiator && role != Responder {
		return nil, errors.New("spqr: a party is the initiator or the responder")
	}
	if handshakeKey.IsZero() {
		return nil, errors.New("spqr: the handshake key is missing")
	}
	return &State{config: config, braid: newBraid(role, handshakeKey), chains: newChains(role, handshakeKey)}, nil
}

// Send takes the next key for sending and makes the message that goes with it.
// The state changes when the step is committed, which must be before the message
// is let go of: an uncommitted step gives its key to the next message as well.
//
// It returns [ErrExhausted] when 2³²-1 messages were sent within one epoch.
func (s *State) Send() (*Step, error) {
	return s.sendWith(func(b []byte) { _, _ = rand.Read(b) }) // never fails
}

func (s *State) sendWith(random entropy) (*Step, error) {
	l := s.chains.link(s.braid.epoch - 1)
	index, keys, err := l.nextSend()
	if err != nil {
		return nil, err
	}
	out, err := s.braid.phase.send(&s.braid, random)
	if err != nil {
		return nil, err
	}
	m := message{epoch: s.braid.epoch, index: index, payload: out.payload, point: out.point, chunk: out.chunk}
	step := &Step{
		state:   s,
		changes: s.changes,
		message: m.append(make([]byte, 0, MaxMessageSize)),
		link:    l,
		index:   index,
		turn:    out.turn,
		keys:    secret.NewBox(keys),
	}
	keys.wipe()
	step.event = s.event(&m, &step.turn)
	step.extend()
	return step, nil
}

// Receive finds the key of the message that a message of the conversation
// carries. The state changes when the step is committed, which must only be once
// the message of the conversation has authenticated; the error or the step of a
// message that has not says nothing to anybody.
//
// It returns [ErrMessage], [ErrEpoch], [ErrDuplicate] or [ErrTooFar] before it
// derives anything, and another error when the key exchange that the message
// completes does not authenticate.
func (s *State) Receive(encoded []byte) (*Step, error) {
	m, err := parseMessage(encoded)
	if err != nil {
		return nil, err
	}
	step := &Step{state: s, changes: s.changes, receiving: true, index: m.index}
	if step.link, err = s.find(&m); err != nil {
		return nil, err
	}
	if step.turn, err = s.braid.receive(&m); err != nil {
		return nil, err
	}
	step.event = s.event(&m, &step.turn)
	if step.link != nil {
		keys := step.link.derive(m.index)
		step.keys = secret.NewBox(keys)
		keys.skipped = nil // they are the step's
		keys.wipe()
		step.event.Late = m.index <= step.link.receive.index
		if !step.event.Late {
			step.event.Skipped = m.index - step.link.receive.index - 1
		}
	}
	step.extend()
	return step, nil
}

// Distance returns how many chain steps Receive would have to take for a message,
// or an error that Receive would return as well. It takes none itself.
func (s *State) Distance(encoded []byte) (uint32, error) {
	m, err := parseMessage(encoded)
	if err != nil {
		return 0, err
	}
	l, err := s.find(&m)
	if err != nil || l == nil || m.index <= l.receive.index {
		return 0, err
	}
	return m.index - l.receive.index, nil
}

// find returns the chains that the key of m is from, nil for a message that may
// come without one. It makes sure that the key can be had.
func (s *State) find(m *message) (*link, error) {
	if m.index == 0 {
		if !s.config.AcceptUnkeyed || m.epoch != 1 {
			return nil, ErrMessage
		}
		if s.chains.oldest() > 0 {
			return nil, ErrEpoch
		}
		return nil, nil
	}
	l := s.chains.link(m.epoch - 1)
	if l == nil {
		return nil, ErrEpoch
	}
	return l, l.checkIndex(m.index, s.config.maxJump())
}

// Oldest returns the first epoch of which keys can still be found.
func (s *State) Oldest() uint64 { return s.chains.oldest() }

// Role returns the role that the state was made for.
func (s *State) Role() Role { return s.chains.role }

// Wipe erases all keys. The state is of no use afterwards.
func (s *State) Wipe() {
	s.changes++
	s.braid.auth.wipe()
	s.braid.phase.wipe()
	s.chains.root.Wipe()
	for _, l := range s.chains.links {
		l.wipe()
	}
}

// Step is a key that was found but not yet taken, together with the change that
// its message makes in the exchange: the state changes with Commit and not before.
type Step struct {
	state     *State
	changes   uint64
	message   []byte // nil when receiving
	receiving bool
	done      bool  // committed or discarded
	link      *link // nil for a message without a key
	index     uint32
	turn      turn
	extension *extension // the epoch that the turn completes, or nil
	keys      secret.Box[stepKeys]
	event     Event
}

// extend derives the chains of the epoch whose secret the turn brings.
func (p *Step) extend() {
	if p.turn.secret.IsZero() {
		return
	}
	p.extension = p.state.chains.extend(p.turn.secret)
	p.turn.secret.Wipe()
}

// Message returns what the message of the conversation has to carry, or nil for a
// step of Receive.
func (p *Step) Message() []byte { return p.message }

// Key returns the 32-byte message key, or nil where [Config.AcceptUnkeyed] lets a
// message come without one. It is wiped by Commit and Discard; after them Key
// panics.
func (p *Step) Key() []byte {
	if p.link == nil {
		return nil
	}
	return p.keys.Reveal().key[:]
}

// Event returns what the step does, for people to look at. It holds no secret.
func (p *Step) Event() Event { return p.event }

// Commit makes the step's changes. It panics if the state has changed since the
// step was taken, or if the step was committed or discarded before.
func (p *Step) Commit() {
	s := p.state
	if p.done || s.changes != p.changes {
		panic("spqr: the step is over, or the state has changed since it was taken")
	}
	s.changes++
	switch {
	case p.link == nil:
	case p.receiving:
		p.link.take(p.index, p.keys.Reveal())
	default:
		p.link.takeSend(p.index, p.keys.Reveal())
		s.chains.sendIn(s.braid.epoch - 1)
	}
	p.turn.apply(&s.braid)
	if p.extension != nil {
		s.chains.enter(p.extension)
	}
	p.end()
}

// Discard wipes the keys of a step that will not be committed. After Commit it
// does nothing.
func (p *Step) Discard() {
	if p.done {
		return
	}
	p.end()
	if p.extension != nil {
		p.extension.root.Wipe()
		p.extension.link.wipe()
	}
	if p.turn.auth != nil {
		p.turn.auth.wipe()
	}
	if !p.receiving && p.turn.next != nil {
		p.turn.next.wipe() // its secret is fresh; that of a received step is the state's
	}
}

func (p *Step) end() {
	p.done = true
	if !p.keys.IsZero() {
		p.keys.Reveal().wipe()
		p.keys = secret.Box[stepKeys]{}
	}
}
