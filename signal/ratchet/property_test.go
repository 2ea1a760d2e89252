package ratchet_test

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// modelChain is what a receiver must remember of one chain.
type modelChain struct {
	key   curve.PublicKey
	index uint32
	open  bool
	held  []uint32 // skipped keys, ascending
}

// model says, from the rules alone and without a key, which messages of an
// honest sender a receiver can open.
type model struct {
	rules  ratchet.Rules
	chains []*modelChain // oldest first
}

func (m *model) find(h ratchet.Header) *modelChain {
	for _, c := range m.chains {
		if c.key == h.RatchetKey {
			return c
		}
	}
	return nil
}

// opens reports whether the message can be opened. A chain that is not known is
// a new one if the sender has never used it before.
func (m *model) opens(h ratchet.Header, unheard bool) bool {
	c := m.find(h)
	switch {
	case c != nil && h.N < c.index:
		return slices.Contains(c.held, h.N)
	case c != nil:
		return c.open && h.N-c.index <= m.rules.MaxForward
	case !unheard:
		return false
	}
	if last := m.last(); last != nil && !m.rules.KeepChains && h.PN > last.index && h.PN-last.index > m.rules.MaxForward {
		return false
	}
	return h.N <= m.rules.MaxForward
}

func (m *model) last() *modelChain {
	if len(m.chains) == 0 {
		return nil
	}
	return m.chains[len(m.chains)-1]
}

func (c *modelChain) skipTo(n uint32) {
	for ; c.index < n; c.index++ {
		c.held = append(c.held, c.index)
	}
}

func (m *model) take(h ratchet.Header) {
	c := m.find(h)
	if c != nil && h.N < c.index {
		c.held = slices.DeleteFunc(c.held, func(n uint32) bool { return n == h.N })
	} else {
		if c == nil {
			if last := m.last(); last != nil && !m.rules.KeepChains {
				last.skipTo(h.PN)
				last.open = false
			}
			c = &modelChain{key: h.RatchetKey, open: true}
			m.chains = append(m.chains, c)
		}
		c.skipTo(h.N)
		c.index++
	}
	m.limit()
}

// limit keeps the newest skipped keys and chains.
func (m *model) limit() {
	if m.rules.KeepChains {
		for _, c := range m.chains {
			c.held = c.held[max(0, len(c.held)-m.rules.MaxSkipped):]
		}
		m.chains = m.chains[max(0, len(m.chains)-m.rules.MaxChains):]
		return
	}
	room := m.rules.MaxSkipped
	for _, c := range slices.Backward(m.chains) {
		c.held = c.held[max(0, len(c.held)-room):]
		room -= len(c.held)
	}
	excess := len(m.chains) - m.rules.MaxChains
	m.chains = slices.DeleteFunc(m.chains, func(c *modelChain) bool {
		if excess <= 0 || c == m.last() || len(c.held) > 0 {
			return false
		}
		excess--
		return true
	})
}

// side is one party, with the messages that are on their way to it.
type side struct {
	state  *ratchet.State
	model  model
	coming []message
	opened []message
	heard  map[curve.PublicKey]bool
}

// TestModel compares the ratchet with the model under random schedules: send,
// lose, reorder, duplicate, forge, store and read.
func TestModel(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		rules.MaxForward = 15
		rapid.Check(t, func(t *rapid.T) { runModel(t, rules) })
	})
}

func runModel(t *rapid.T, rules ratchet.Rules) {
	root, prekey := curve.GenerateKey().Bytes(), curve.GenerateKey()
	sides := [2]*side{
		{state: ratchet.NewInitiator(rules, secret.NewKey([32]byte(root)), prekey.PublicKey())},
		{state: ratchet.NewResponder(rules, secret.NewKey([32]byte(root)), prekey)},
	}
	for _, s := range sides {
		s.model.rules = rules
		s.heard = map[curve.PublicKey]bool{}
	}
	who := rapid.IntRange(0, 1)
	receiver := func(t *rapid.T) *side {
		s := sides[who.Draw(t, "receiver")]
		if len(s.coming) == 0 {
			t.Skip("nothing is on its way")
		}
		return s
	}
	t.Repeat(map[string]func(*rapid.T){
		"send": func(t *rapid.T) {
			n := who.Draw(t, "sender")
			for range rapid.IntRange(1, 10).Draw(t, "messages") {
				header, seed, err := sides[n].state.Send()
				if err != nil {
					t.Skip(err)
				}
				sides[1-n].coming = append(sides[1-n].coming, message{header, *seed.Array()})
			}
		},
		"deliver": func(t *rapid.T) {
			s := receiver(t)
			i := rapid.IntRange(0, len(s.coming)-1).Draw(t, "message")
			s.receive(t, s.coming[i])
			s.coming = slices.Delete(s.coming, i, i+1)
		},
		"deliver the oldest": func(t *rapid.T) {
			s := receiver(t)
			s.receive(t, s.coming[0])
			s.coming = s.coming[1:]
		},
		"lose": func(t *rapid.T) {
			s := receiver(t)
			s.coming = s.coming[rapid.IntRange(1, len(s.coming)).Draw(t, "messages"):]
		},
		"duplicate": func(t *rapid.T) {
			s := sides[who.Draw(t, "receiver")]
			if len(s.opened) == 0 {
				t.Skip("nothing was opened")
			}
			s.refuse(t, rapid.SampledFrom(s.opened).Draw(t, "message"))
		},
		"forge": func(t *rapid.T) {
			s := receiver(t)
			forged := rapid.SampledFrom(s.coming).Draw(t, "message")
			forged.header.N ^= rapid.Uint32().Draw(t, "n")
			forged.header.PN ^= rapid.Uint32().Draw(t, "pn")
			forged.header.RatchetKey[5] ^= rapid.Byte().Draw(t, "key")
			before := s.state.Append(nil)
			if opening, err := s.state.Receive(forged.header); err == nil {
				opening.Discard()
			}
			if !bytes.Equal(s.state.Append(nil), before) {
				t.Fatal("a forged message has changed the state")
			}
		},
		"restart": func(t *rapid.T) {
			s := sides[who.Draw(t, "party")]
			parsed, err := ratchet.Parse(rules, s.state.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			s.state = parsed
		},
		"": func(t *rapid.T) {
			for _, s := range sides {
				held := 0
				for _, c := range s.model.chains {
					held += len(c.held)
				}
				if got := s.state.Skipped(); got != held {
					t.Fatalf("%d skipped keys, want %d", got, held)
				}
				for _, c := range s.model.chains {
					if !s.state.Knows(c.key) {
						t.Fatal("a chain is forgotten")
					}
				}
			}
		},
	})
}

// receive delivers a message that has not come before.
func (s *side) receive(t *rapid.T, m message) {
	unheard := !s.heard[m.header.RatchetKey]
	if !s.model.opens(m.header, unheard) {
		s.refuse(t, m)
		return
	}
	opening, err := s.state.Receive(m.header)
	if err != nil {
		t.Fatalf("message %d, PN %d: %v", m.header.N, m.header.PN, err)
	}
	if *opening.Seed() != m.seed {
		t.Fatalf("message %d: the seeds differ", m.header.N)
	}
	opening.Commit()
	s.model.take(m.header)
	s.heard[m.header.RatchetKey] = true
	s.opened = append(s.opened, m)
}

// refuse delivers a message that must not open: it is refused, or the seed is
// not the one it was sealed with.
func (s *side) refuse(t *rapid.T, m message) {
	before := s.state.Append(nil)
	opening, err := s.state.Receive(m.header)
	if err == nil {
		if *opening.Seed() == m.seed {
			t.Fatalf("message %d opens, and should not", m.header.N)
		}
		opening.Discard()
	}
	if !bytes.Equal(s.state.Append(nil), before) {
		t.Fatal("a refused message has changed the state")
	}
}
