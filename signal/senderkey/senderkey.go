package senderkey

import (
	"crypto/rand"
	"math"
	"slices"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/internal/skipped"
)

const (
	maxForward = 25_000
	maxSkipped = 2_000
	maxChains  = 5
)

// Sender is our own sending chain in a group. It is not safe for concurrent use.
type Sender struct {
	suite     Suite
	group     GroupID
	sender    signal.Address
	chainID   uint32
	iteration uint32
	chain     secret.Key
	signing   *curve.PrivateKey
}

// NewSender makes a new chain for our device, whose address is bound to every
// message in chate2e/v1. It returns [ErrSuite] or [signal.ErrAddress].
func NewSender(suite Suite, group GroupID, sender signal.Address) (*Sender, error) {
	if err := check(suite, sender); err != nil {
		return nil, err
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	defer clear(key[:])
	return &Sender{
		suite: suite, group: group, sender: sender,
		chainID: suite.codec().chainID(),
		chain:   secret.NewKey(key),
		signing: curve.GenerateKey(),
	}, nil
}

func check(suite Suite, sender signal.Address) error {
	if suite.codec() == nil {
		return ErrSuite
	}
	return sender.Validate()
}

// ChainID returns the chain's random number.
func (s *Sender) ChainID() uint32 { return s.chainID }

// Iteration returns the number of the next message.
func (s *Sender) Iteration() uint32 { return s.iteration }

// Distribution returns the message with which a member opens all messages from
// the next one on. It is secret, and must be sent in 1:1 sessions only.
func (s *Sender) Distribution() []byte {
	return s.suite.codec().appendDistribution(&distribution{
		group: s.group, chainID: s.chainID, iteration: s.iteration,
		chainKey: s.chain, signing: s.signing.PublicKey(),
	})
}

// Encrypt encrypts plaintext for the group. The sender has then moved on: it must
// be stored before the message leaves the process. It returns [ErrExhausted].
func (s *Sender) Encrypt(plaintext []byte) ([]byte, error) {
	if s.iteration == math.MaxUint32 {
		return nil, ErrExhausted
	}
	c := s.suite.codec()
	seed, next := kdf.Step(s.chain.Array())
	b := c.seal(s.group, s.sender, s.chainID, s.iteration, &seed, plaintext)
	s.chain.Set(&next)
	s.iteration++
	clear(seed[:])
	clear(next[:])
	return append(b, s.signing.Sign(c.signed(s.sender, b))...), nil
}

// Receiver is what we know of one sending device in one group: up to five of its
// chains. It is not safe for concurrent use.
type Receiver struct {
	suite  Suite
	group  GroupID
	sender signal.Address
	chains []*chain // newest first
}

type chain struct {
	id      uint32
	signing curve.PublicKey
	next    uint32 // number of the message that key is for
	key     secret.Key
	skipped skipped.Keys // all below next
}

// NewReceiver returns a receiver that knows no chain yet. It returns [ErrSuite]
// or [signal.ErrAddress].
func NewReceiver(suite Suite, group GroupID, sender signal.Address) (*Receiver, error) {
	if err := check(suite, sender); err != nil {
		return nil, err
	}
	return &Receiver{suite: suite, group: group, sender: sender}, nil
}

// Process takes a chain out of a distribution message, which must have come from
// the sender through a 1:1 session. A chain that is known already stays as it is,
// so that a repeated message does not turn it back; one with a known number and
// another signing key replaces it. It returns [ErrMalformed], also for a
// distribution message of another group.
func (r *Receiver) Process(message []byte) error {
	d, ok := r.suite.codec().parseDistribution(message)
	if !ok || d.group != r.group {
		d.chainKey.Wipe()
		return ErrMalformed
	}
	known := slices.IndexFunc(r.chains, func(c *chain) bool { return c.id == d.chainID })
	if known >= 0 {
		if r.chains[known].signing == d.signing {
			d.chainKey.Wipe()
			return nil
		}
		r.chains[known].wipe()
		r.chains = slices.Delete(r.chains, known, known+1)
	}
	r.chains = slices.Insert(r.chains, 0, &chain{
		id: d.chainID, signing: d.signing, next: d.iteration, key: d.chainKey,
	})
	for _, old := range r.chains[min(len(r.chains), maxChains):] {
		old.wipe()
	}
	r.chains = r.chains[:min(len(r.chains), maxChains)]
	return nil
}

func (c *chain) wipe() {
	c.key.Wipe()
	c.skipped.Wipe()
}

// Decrypt opens a message of the sender. The signature is checked before anything
// else is done. It returns [ErrSuite], [ErrNoChain], [ErrDuplicate] or
// [ErrDecrypt]; the receiver is unchanged then.
func (r *Receiver) Decrypt(m *Message) ([]byte, error) {
	if m.suite != r.suite {
		return nil, ErrSuite
	}
	if m.group != r.group {
		return nil, ErrNoChain
	}
	i := slices.IndexFunc(r.chains, func(c *chain) bool { return c.id == m.chainID })
	if i < 0 {
		return nil, ErrNoChain
	}
	c, codec := r.chains[i], r.suite.codec()
	unsigned := m.raw[:len(m.raw)-curve.SignatureSize]
	if !c.signing.Verify(codec.signed(r.sender, unsigned), m.signature) {
		return nil, ErrDecrypt
	}
	if m.iteration < c.next {
		return c.openSkipped(codec, r.sender, m)
	}
	return c.openNext(codec, r.sender, m)
}

func (c *chain) openSkipped(codec codec, sender signal.Address, m *Message) ([]byte, error) {
	i, found := c.skipped.Find(m.iteration)
	if !found {
		return nil, ErrDuplicate
	}
	plaintext, ok := codec.open(m, sender, c.skipped.Seed(i))
	if !ok {
		return nil, ErrDecrypt
	}
	c.skipped.Drop(i, i+1)
	return plaintext, nil
}

func (c *chain) openNext(codec codec, sender signal.Address, m *Message) ([]byte, error) {
	if m.iteration-c.next > maxForward || m.iteration == math.MaxUint32 {
		return nil, ErrDecrypt
	}
	key := *c.key.Array()
	var between skipped.Keys
	between.Skip(&key, c.next, m.iteration, maxSkipped)
	seed, next := kdf.Step(&key)
	plaintext, ok := codec.open(m, sender, &seed)
	if ok {
		c.key.Set(&next)
		c.next = m.iteration + 1
		c.skipped.Join(&between)
		if excess := c.skipped.Len() - maxSkipped; excess > 0 {
			c.skipped.Drop(0, excess)
		}
	}
	clear(seed[:])
	clear(next[:])
	clear(key[:])
	between.Wipe()
	if !ok {
		return nil, ErrDecrypt
	}
	return plaintext, nil
}
