package ratchet

import (
	"errors"
	"math"
	"slices"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/internal/skipped"
)

var (
	// ErrNotReady is returned by Send before the responder has received anything.
	ErrNotReady = errors.New("ratchet: nothing received yet to answer")
	// ErrExhausted is returned by Send when a chain has no numbers left.
	ErrExhausted = errors.New("ratchet: chain exhausted")
	// ErrDuplicate is returned by Receive when the key of this message was used
	// already, or dropped as one of too many skipped keys.
	ErrDuplicate = errors.New("ratchet: message key already used")
	// ErrTooFar is returned by Receive for a counter beyond [Rules.MaxForward].
	ErrTooFar = errors.New("ratchet: message too far ahead")
	// ErrUnknownChain is returned by Receive for a ratchet key that this state
	// cannot lead to.
	ErrUnknownChain = errors.New("ratchet: no chain for this ratchet key")
)

// Rules are what differs between suites: a label and limits.
type Rules struct {
	// RootInfo is the HKDF info of a root step.
	RootInfo string
	// MaxForward is how many keys one message may skip in a chain.
	MaxForward uint32
	// MaxSkipped is how many skipped keys are kept, the newest.
	MaxSkipped int
	// MaxChains is how many receiving chains are remembered.
	MaxChains int
	// KeepChains leaves old receiving chains open, so that late messages advance
	// them, as the official library does. Otherwise the specification is
	// followed: when a new ratchet key arrives, the keys up to its PN are stored
	// and the old chain key is erased. MaxSkipped counts per chain if
	// KeepChains is set, over all chains if not, and chains that still hold
	// skipped keys then outlive MaxChains.
	KeepChains bool
	// Eras says that messages belong to eras, see [Opening.CommitIn].
	Eras bool
}

// Header is what a message says in the clear about its key.
type Header struct {
	RatchetKey curve.PublicKey // the sender's current ratchet key
	N          uint32          // number of the message in its chain, from 0
	PN         uint32          // number of messages in the sender's previous chain
}

// State is one side of a Double Ratchet. It is not safe for concurrent use. The
// zero State is of no use; make one with [NewInitiator], [NewResponder] or
// [Parse].
type State struct {
	rules Rules
	root  secret.Key
	steps uint32 // root steps taken

	our       *curve.PrivateKey // nil after a receiving step, until the next Send
	ourPublic curve.PublicKey
	their     curve.PublicKey
	hasTheir  bool

	send     chain // no key: Send has to take a root step first
	previous uint32
	receive  []*receiving // oldest first; the last is the current one

	changes uint64 // guards Openings against a state that moved on
}

type chain struct {
	key   secret.Key // the key of message index; zero when there is none
	index uint32
}

// receiving is a chain of the peer's messages under one ratchet key of hers.
type receiving struct {
	chain   // no key: closed, only skipped keys remain
	their   curve.PublicKey
	skipped skipped.Keys // all below index
	until   uint64       // no message is of a later era; 0 for the current chain
}

// NewInitiator returns the state of the side that sends first: it knows the root
// key and the responder's first ratchet key, her signed prekey. The state takes
// over root.
func NewInitiator(rules Rules, root secret.Key, their curve.PublicKey) *State {
	return &State{rules: rules, root: root, their: their, hasTheir: true}
}

// NewResponder returns the state of the side that receives first: it knows the
// root key and the key pair of the signed prekey that the initiator used. The
// state takes over root.
func NewResponder(rules Rules, root secret.Key, our *curve.PrivateKey) *State {
	return &State{rules: rules, root: root, our: our, ourPublic: our.PublicKey()}
}

// Send takes one step of the sending chain and returns the message's header and
// seed. If a ratchet key of the peer is still unanswered, it makes a new ratchet
// key pair and takes a root step first. The caller wipes the seed.
//
// It returns [ErrNotReady], [ErrExhausted], or [curve.ErrLowOrder] if the peer's
// ratchet key is of low order; the state is unchanged then.
func (s *State) Send() (Header, secret.Key, error) {
	if s.send.key.IsZero() {
		if err := s.stepSending(); err != nil {
			return Header{}, secret.Key{}, err
		}
	}
	if s.send.index == math.MaxUint32 {
		return Header{}, secret.Key{}, ErrExhausted
	}
	header := Header{RatchetKey: s.ourPublic, N: s.send.index, PN: s.previous}
	seed, next := kdf.Step(s.send.key.Array())
	s.send.key.Set(&next)
	s.send.index++
	s.changes++
	key := secret.NewKey(seed)
	clear(seed[:])
	clear(next[:])
	return header, key, nil
}

func (s *State) stepSending() error {
	if !s.hasTheir {
		return ErrNotReady
	}
	our := curve.GenerateKey()
	root, chainKey, err := rootStep(&s.rules, s.root, our, s.their)
	if err != nil {
		return err
	}
	s.root.Wipe()
	s.root = root
	s.steps++
	s.our, s.ourPublic = our, our.PublicKey()
	s.send = chain{key: chainKey}
	return nil
}

// rootStep is KDF_RK (Double Ratchet, Section 5.2).
func rootStep(rules *Rules, root secret.Key, our *curve.PrivateKey, their curve.PublicKey) (next, chainKey secret.Key, err error) {
	shared, err := our.ECDH(their)
	if err != nil {
		return secret.Key{}, secret.Key{}, err
	}
	out := kdf.HKDF(shared.Bytes(), root.Bytes(), rules.RootInfo, 64)
	shared.Wipe()
	next, chainKey = secret.NewKey([32]byte(out[:32])), secret.NewKey([32]byte(out[32:]))
	clear(out)
	return next, chainKey, nil
}

// Opening is a message key that was found but not yet taken: the state changes
// with Commit and not before.
type Opening struct {
	state   *State
	changes uint64
	header  Header
	chain   *receiving // the chain it belongs to; not yet in the state for a new ratchet key
	step    bool       // a new ratchet key: a root step
	late    int        // position among the chain's skipped keys, or -1
	keys    secret.Box[openingKeys]
}

type openingKeys struct {
	seed, next, root [32]byte
}

// Receive finds the key for a message with this header. The state is unchanged,
// whatever it returns. It refuses a header before it derives keys for it:
// [ErrDuplicate], [ErrTooFar], [ErrUnknownChain] or [curve.ErrLowOrder].
func (s *State) Receive(h Header) (*Opening, error) {
	o := &Opening{state: s, changes: s.changes, header: h, late: -1}
	c := s.find(h.RatchetKey)
	if c != nil && h.N < c.index {
		if err := o.findSkipped(c); err != nil {
			return nil, err
		}
		return o, nil
	}
	if _, err := s.distance(c, h); err != nil {
		return nil, err
	}
	o.keys = secret.NewBox(openingKeys{})
	keys := o.keys.Reveal()
	if c == nil {
		root, key, err := rootStep(&s.rules, s.root, s.our, h.RatchetKey)
		if err != nil {
			return nil, err
		}
		c = &receiving{their: h.RatchetKey, chain: chain{key: key}}
		o.step = true
		keys.root = *root.Array()
		root.Wipe()
	}
	o.chain = c
	// The seeds on the way are left to Commit: nothing is stored for a message
	// that may be forged.
	chainKey := *c.key.Array()
	for n := c.index; n < h.N; n++ {
		chainKey = kdf.Next(&chainKey)
	}
	keys.seed, keys.next = kdf.Step(&chainKey)
	clear(chainKey[:])
	return o, nil
}

// Distance returns how many chain steps Receive would have to take for h, or an
// error that Receive would return as well. It takes none itself.
func (s *State) Distance(h Header) (uint32, error) {
	c := s.find(h.RatchetKey)
	if c != nil && h.N < c.index {
		return 0, nil
	}
	return s.distance(c, h)
}

func (s *State) distance(c *receiving, h Header) (uint32, error) {
	from := uint32(0)
	switch {
	case c != nil && c.key.IsZero():
		return 0, ErrUnknownChain // closed: its sender said that there were no more
	case c != nil:
		from = c.index
	case s.our == nil:
		return 0, ErrUnknownChain // she cannot answer a ratchet key that we have not sent
	case !s.rules.KeepChains && s.unreceived(h) > s.rules.MaxForward:
		return 0, ErrTooFar
	}
	if h.N-from > s.rules.MaxForward || h.N == math.MaxUint32 {
		return 0, ErrTooFar
	}
	return h.N - from, nil
}

// unreceived returns how many messages of the current receiving chain are still
// to come, if a new chain says h.PN.
func (s *State) unreceived(h Header) uint32 {
	current := s.current()
	if current == nil || current.key.IsZero() || h.PN < current.index {
		return 0
	}
	return h.PN - current.index
}

func (s *State) current() *receiving {
	if len(s.receive) == 0 {
		return nil
	}
	return s.receive[len(s.receive)-1]
}

// Knows reports whether the state has a receiving chain for this ratchet key.
func (s *State) Knows(their curve.PublicKey) bool { return s.find(their) != nil }

func (s *State) find(their curve.PublicKey) *receiving {
	for _, c := range slices.Backward(s.receive) {
		if c.their == their {
			return c
		}
	}
	return nil
}

func (o *Opening) findSkipped(c *receiving) error {
	i, found := c.skipped.Find(o.header.N)
	if !found {
		return ErrDuplicate
	}
	o.chain, o.late = c, i
	o.keys = secret.NewBox(openingKeys{seed: *c.skipped.Seed(i)})
	return nil
}

// skipTo moves the chain on to message n and stores the seeds of the messages
// between, the newest limit of them.
func (c *receiving) skipTo(n uint32, limit int) {
	if c.index < n {
		c.skipped.Skip(c.key.Array(), c.index, n, limit)
		c.index = n
	}
}

// Seed returns the message's 32-byte seed, which Commit and Discard wipe. It
// panics after either.
func (o *Opening) Seed() *[32]byte { return &o.keys.Reveal().seed }

// Step reports whether the message brings a new ratchet key.
func (o *Opening) Step() bool { return o.step }

// Late reports whether the key was one of the skipped ones.
func (o *Opening) Late() bool { return o.late >= 0 }

// Skips returns how many messages of the same chain are still missing before
// this one. It is to be asked before Commit.
func (o *Opening) Skips() uint32 {
	if o.Late() {
		return 0
	}
	return o.header.N - o.chain.index
}

// Missed returns how many messages of the chain before are still missing, if this
// one begins a new chain and closes that: Commit puts their keys aside. It is to be
// asked before Commit.
func (o *Opening) Missed() uint32 {
	if !o.step || o.state.rules.KeepChains {
		return 0
	}
	return o.state.unreceived(o.header)
}

// Discard wipes the keys of a message that did not open. After Commit it does
// nothing.
func (o *Opening) Discard() {
	if o.step && !o.keys.IsZero() {
		o.chain.key.Wipe() // in no state
	}
	o.wipe()
}

// Commit takes the message key: the chain moves past it, the keys skipped on the
// way are stored, and it can be found no more. It panics if the state has changed
// since Receive, or after Commit or Discard.
func (o *Opening) Commit() { o.CommitIn(0) }

// CommitIn is Commit for callers who have keys of their own for each message, with
// an end: they number the times in which these can be had, so that [State.Forget]
// can drop what is of no use any more. A message is never of an earlier era than
// one that its sender sent before.
func (o *Opening) CommitIn(era uint64) {
	s := o.state
	if o.keys.IsZero() || s.changes != o.changes {
		panic("ratchet: the Opening is used up, or the state has changed since Receive")
	}
	keys := o.keys.Reveal()
	s.changes++
	if o.Late() {
		o.chain.skipped.Drop(o.late, o.late+1)
		s.forgetChains()
		o.wipe()
		return
	}
	if o.step {
		if current := s.current(); current != nil && s.rules.Eras {
			current.until = era // all that is still to come of it was sent before
		}
		s.stepReceiving(o)
	}
	o.chain.skipTo(o.header.N, s.rules.MaxSkipped)
	o.chain.key.Set(&keys.next)
	o.chain.index = o.header.N + 1
	s.limitSkipped(o.chain)
	s.forgetChains()
	o.wipe()
}

func (o *Opening) wipe() {
	o.keys.Wipe()
	o.keys = secret.Box[openingKeys]{}
}

func (s *State) stepReceiving(o *Opening) {
	if current := s.current(); current != nil && !s.rules.KeepChains && !current.key.IsZero() {
		// The peer's PN says where her previous chain ended.
		current.skipTo(current.index+s.unreceived(o.header), s.rules.MaxSkipped)
		current.key.Wipe()
		current.key = secret.Key{}
	}
	s.receive = append(s.receive, o.chain)
	s.root.Set(&o.keys.Reveal().root)
	s.steps++
	s.their, s.hasTheir = o.chain.their, true
	if !s.send.key.IsZero() {
		s.previous = s.send.index
		s.send.key.Wipe()
	}
	s.send = chain{}
	s.our, s.ourPublic = nil, curve.PublicKey{}
}

// limitSkipped drops the oldest skipped keys beyond MaxSkipped.
func (s *State) limitSkipped(changed *receiving) {
	if s.rules.KeepChains {
		if excess := changed.skipped.Len() - s.rules.MaxSkipped; excess > 0 {
			changed.skipped.Drop(0, excess)
		}
		return
	}
	excess := s.Skipped() - s.rules.MaxSkipped
	for _, c := range s.receive {
		if excess <= 0 {
			return
		}
		if drop := min(excess, c.skipped.Len()); drop > 0 {
			c.skipped.Drop(0, drop)
			excess -= drop
		}
	}
}

// forgetChains drops the oldest chains beyond MaxChains, but never the current one.
func (s *State) forgetChains() {
	excess := len(s.receive) - s.rules.MaxChains
	current := s.current()
	s.receive = slices.DeleteFunc(s.receive, func(c *receiving) bool {
		if excess <= 0 || c == current || (!s.rules.KeepChains && c.skipped.Len() > 0) {
			return false
		}
		excess--
		c.wipe()
		return true
	})
}

// Forget drops the chains, but the current one, whose messages are all of earlier
// eras: skipped keys that would otherwise wait, and be stored, for nothing.
func (s *State) Forget(era uint64) {
	current := s.current()
	s.receive = slices.DeleteFunc(s.receive, func(c *receiving) bool {
		if c == current || c.until >= era || !s.rules.Eras {
			return false
		}
		c.wipe()
		return true
	})
}

// Wipe erases the root key and all chain and skipped keys; the ratchet key pair may
// be a signed prekey and stays. The state is of no use afterwards.
func (s *State) Wipe() {
	s.changes++
	s.root.Wipe()
	s.send.key.Wipe()
	for _, c := range s.receive {
		c.wipe()
	}
}

func (c *receiving) wipe() {
	c.key.Wipe()
	c.skipped.Wipe()
}

// Skipped returns how many skipped keys the state holds.
func (s *State) Skipped() int {
	n := 0
	for _, c := range s.receive {
		n += c.skipped.Len()
	}
	return n
}

// Counters are the public numbers of a state, for people who watch.
type Counters struct {
	RootSteps  uint32          // root steps taken on both sides together
	Sent       uint32          // messages sent in the current sending chain
	Received   uint32          // messages passed in the current receiving chain
	Previous   uint32          // length of the previous sending chain: the next PN
	Skipped    int             // skipped keys held
	OurKey     curve.PublicKey // our current ratchet key; zero when the next Send makes one
	TheirKey   curve.PublicKey // the peer's current ratchet key; zero if unknown
	HasSending bool            // a sending chain exists
}

// Counters returns the state's public numbers.
func (s *State) Counters() Counters {
	c := Counters{
		RootSteps: s.steps, Sent: s.send.index, Previous: s.previous, Skipped: s.Skipped(),
		OurKey: s.ourPublic, TheirKey: s.their, HasSending: !s.send.key.IsZero(),
	}
	if current := s.current(); current != nil {
		c.Received = current.index
	}
	return c
}
