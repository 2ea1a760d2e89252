package session

import (
	"errors"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/spqr"
)

// The Triple Ratchet: every message takes a seed from the Double Ratchet and a
// key from the sparse post-quantum ratchet, and both enter its key derivation.
// Neither ratchet moves unless both do.

// newPQ returns the post-quantum ratchet of a new session, nil in suites without
// one. It wipes key.
func (s *suite) newPQ(role spqr.Role, key secret.Key) *spqr.State {
	if s.pq == nil {
		return nil
	}
	defer key.Wipe()
	state, err := spqr.New(role, key, *s.pq)
	if err != nil {
		panic("session: " + err.Error()) // both arguments are ours
	}
	return state
}

// pqStep is a step of the post-quantum ratchet that is not taken yet. In suites
// without that ratchet it does nothing.
type pqStep struct{ *spqr.Step }

func (s *state) sendPQ() (pqStep, error) {
	if s.pq == nil {
		return pqStep{}, nil
	}
	step, err := s.pq.Send()
	if err != nil {
		return pqStep{}, ratchet.ErrExhausted
	}
	return pqStep{step}, nil
}

func (s *state) receivePQ(message []byte) (pqStep, error) {
	if s.pq == nil {
		return pqStep{}, nil
	}
	step, err := s.pq.Receive(message)
	if err != nil {
		return pqStep{}, pqError(err)
	}
	return pqStep{step}, nil
}

// distance returns how many chain steps opening m in s would take, in both
// ratchets together, or an error that opening would return as well.
func (s *state) distance(m *Message) (uint32, error) {
	n, err := s.ratchet.Distance(m.header.Header)
	if err != nil || s.pq == nil {
		return n, err
	}
	pq, err := s.pq.Distance(m.header.pq)
	switch {
	case err == nil:
		return n + pq, nil // neither is more than maxForward
	case n > 0 || errors.Is(err, spqr.ErrTooFar):
		return 0, pqError(err)
	default:
		return 0, nil // the Double Ratchet may have a better name for it
	}
}

// pqError keeps what the Double Ratchet has an error for too. A message whose
// post-quantum key is gone is no duplicate as long as the Double Ratchet has its
// seed: it does not open.
func pqError(err error) error {
	if errors.Is(err, spqr.ErrTooFar) {
		return ratchet.ErrTooFar
	}
	return ErrDecrypt
}

func (p pqStep) header(h ratchet.Header) header {
	if p.Step == nil {
		return header{Header: h}
	}
	return header{Header: h, pq: p.Message()}
}

func (p pqStep) seeds(seed *[32]byte) seeds {
	if p.Step == nil {
		return seeds{seed: seed}
	}
	return seeds{seed: seed, pq: p.Key()}
}

// commit takes the step in s. A seed of the Double Ratchet is of no use without
// the key of the other, and is dropped where that one is gone.
func (p pqStep) commit(s *state) {
	if p.Step != nil {
		p.Commit()
		s.ratchet.Forget(s.pq.Oldest())
	}
}

// era is the time of a received message: the epoch of its key.
func (p pqStep) era() uint64 {
	if p.Step == nil {
		return 0
	}
	return p.Event().KeyEpoch
}

func (p pqStep) discard() {
	if p.Step != nil {
		p.Discard()
	}
}

func (p pqStep) event() *spqr.Event {
	if p.Step == nil {
		return nil
	}
	event := p.Event()
	return &event
}
