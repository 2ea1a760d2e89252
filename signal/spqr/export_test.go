package spqr

import "fmt"

// SendWith is Send with random bytes of the test's choice.
func (s *State) SendWith(random func([]byte)) (*Step, error) { return s.sendWith(random) }

// Labels and limits that the tests state facts about.
const (
	KeepSkipped = keepSkipped
	TrimAt      = trimAt
)

// ChainKeys returns where the chains keep their keys: "root", and "sending 2" and
// "receiving 2" for those of epoch 2.
func (s *State) ChainKeys() map[string]*[32]byte {
	keys := map[string]*[32]byte{"root": s.chains.root.Array()}
	for i, l := range s.chains.links {
		epoch := s.chains.oldest() + uint64(i)
		if !l.send.key.IsZero() {
			keys[fmt.Sprint("sending ", epoch)] = l.send.key.Array()
		}
		keys[fmt.Sprint("receiving ", epoch)] = l.receive.key.Array()
	}
	return keys
}

// ExchangeSecret returns a function that shows what the phase keeps secret now,
// whatever becomes of it: the seed of the key pair, or the message of the
// encapsulation. It returns nil if there is neither.
func (s *State) ExchangeSecret() func() []byte { return exchangeSecret(s.braid.phase) }

// NextSecret is that of the phase in which the step would leave the state.
func (p *Step) NextSecret() func() []byte { return exchangeSecret(p.turn.next) }

func exchangeSecret(p phase) func() []byte {
	switch p := p.(type) {
	case *keysSampled:
		return func() []byte { return p.seed.Reveal()[:] }
	case *ct1Sampled:
		return p.half.m.Bytes
	default:
		return nil
	}
}
