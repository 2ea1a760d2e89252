package ratchet_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// reparse decodes the encoded state and checks that it encodes as the same bytes.
func reparse(t *testing.T, rules ratchet.Rules, s *ratchet.State) *ratchet.State {
	t.Helper()
	b := s.Append(nil)
	parsed, err := ratchet.Parse(rules, b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	if again := parsed.Append(nil); !bytes.Equal(again, b) {
		t.Fatalf("%x parses, and encodes as %x", b, again)
	}
	return parsed
}

// states returns states of every shape.
func states(t *testing.T, rules ratchet.Rules) map[string]*ratchet.State {
	t.Helper()
	all := map[string]*ratchet.State{}
	take := func(name string, s *ratchet.State) { all[name] = reparse(t, rules, s) }
	alice, bob := pair(t, rules)
	take("initiator", alice)
	take("responder", bob)
	lost := send(t, alice)
	take("sent", alice)
	deliver(t, bob, send(t, alice))
	take("received", bob)
	for range rules.MaxChains + 2 {
		send(t, alice) // lost
		turn(t, alice, bob)
	}
	take("full", bob)
	if !rules.KeepChains {
		deliver(t, bob, lost)
	}
	deliver(t, bob, sendMany(t, alice, rules.MaxSkipped+5)[rules.MaxSkipped+4])
	take("full of skipped keys", bob)
	return all
}

func TestEncoding(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		for name, s := range states(t, rules) {
			t.Run(name, func(t *testing.T) {
				prefix := []byte("before")
				b := s.Append(prefix)
				if !bytes.HasPrefix(b, prefix) {
					t.Error("Append does not append")
				}
				b = b[len(prefix):]
				for i := range b {
					if s, err := ratchet.Parse(rules, b[:i]); !errors.Is(err, ratchet.ErrEncoding) || s != nil {
						t.Fatalf("%d bytes of %d: %v, %v", i, len(b), s, err)
					}
				}
				if s, err := ratchet.Parse(rules, append(b, 0)); !errors.Is(err, ratchet.ErrEncoding) || s != nil {
					t.Errorf("with a byte too much: %v, %v", s, err)
				}
			})
		}
	})
}

// A state that was stored and read again goes on like the one that was not.
func TestParsedStateGoesOn(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		alice, bob := pair(t, rules)
		var late []message
		for range 12 {
			late = append(late, send(t, alice))
			alice, bob = reparse(t, rules, alice), reparse(t, rules, bob)
			deliver(t, bob, send(t, alice))
			alice, bob = reparse(t, rules, alice), reparse(t, rules, bob)
			deliver(t, alice, send(t, bob))
			if len(late) > 2 {
				deliver(t, bob, late[0])
				late = late[1:]
			}
		}
	})
}

// What Append could not have made is refused.
func TestParseIsStrict(t *testing.T) {
	const (
		flagsAt  = 0
		ourAt    = 1 + 32 + 4 + 4
		theirAt  = ourAt + 64
		countAt  = theirAt + 32 + 36 // in a state with all flags
		chainsAt = countAt + 2
		openAt   = 32 + 4 // in a chain
	)
	alice, bob := pair(t, byTheBook)
	turn(t, alice, bob)
	skipped := sendMany(t, alice, 3)
	deliver(t, bob, skipped[2])
	send(t, bob)
	good := reparse(t, byTheBook, bob).Append(nil)
	second := chainsAt + 32 + 4 + 1 + 2 // the first chain is closed and empty
	skippedAt := second + 32 + 4 + 1 + 32 + 2

	for name, change := range map[string]func(b []byte) []byte{
		"unknown flag":         func(b []byte) []byte { b[flagsAt] |= 8; return b },
		"private key, low bit": func(b []byte) []byte { b[ourAt] |= 1; return b },
		"private key, top bit": func(b []byte) []byte { b[ourAt+31] |= 0x80; return b },
		"private key, bit 254": func(b []byte) []byte { b[ourAt+31] &^= 0x40; return b },
		"not the current key":  func(b []byte) []byte { b[theirAt] ^= 1; return b },
		"too few chains":       func(b []byte) []byte { b[countAt+1]--; return b },
		"too many chains":      func(b []byte) []byte { b[countAt+1]++; return b },
		"65,535 chains":        func(b []byte) []byte { b[countAt], b[countAt+1] = 0xFF, 0xFF; return b },
		"a chain twice":        func(b []byte) []byte { copy(b[chainsAt:], b[second:second+32]); return b },
		"an older chain open": func(b []byte) []byte {
			b[chainsAt+openAt] = 1
			return append(b[:chainsAt+openAt+1:chainsAt+openAt+1],
				append(make([]byte, 32), b[chainsAt+openAt+1:]...)...)
		},
		"the current chain closed": func(b []byte) []byte {
			b[second+openAt] = 0
			return append(b[:second+openAt+1:second+openAt+1], b[second+openAt+1+32:]...)
		},
		"half open":              func(b []byte) []byte { b[second+openAt] = 2; return b },
		"a chain at 0":           func(b []byte) []byte { copy(b[chainsAt+32:], make([]byte, 4)); return b },
		"skipped key at index":   func(b []byte) []byte { b[skippedAt+36+3] = 200; return b },
		"skipped keys in order":  func(b []byte) []byte { b[skippedAt+3] = b[skippedAt+36+3]; return b },
		"65,535 skipped keys":    func(b []byte) []byte { b[skippedAt-2], b[skippedAt-1] = 0xFF, 0xFF; return b },
		"sending, without a key": func(b []byte) []byte { b[flagsAt] &^= 1; return append(b[:ourAt:ourAt], b[theirAt:]...) },
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := ratchet.Parse(byTheBook, change(bytes.Clone(good))); !errors.Is(err, ratchet.ErrEncoding) || s != nil {
				t.Errorf("got %v, %v; want %v", s, err, ratchet.ErrEncoding)
			}
		})
	}

	if _, err := ratchet.Parse(byTheBook, make([]byte, 1+32+4+4+2)); !errors.Is(err, ratchet.ErrEncoding) {
		t.Errorf("a state with neither key: %v", err)
	}
}

// The limits of the rules hold for what is read as well.
func TestParseLimits(t *testing.T) {
	both(t, func(t *testing.T, rules ratchet.Rules) {
		// Three chains that miss two messages each, but nothing is missing in the
		// first one if chains are closed.
		alice, bob := pair(t, rules)
		if !rules.KeepChains {
			turn(t, alice, bob)
		}
		for !rules.KeepChains && bob.Skipped() < 4 || rules.KeepChains && bob.Skipped() < 6 {
			deliver(t, bob, sendMany(t, alice, 3)[2])
			deliver(t, alice, send(t, bob))
		}
		b := bob.Append(nil)
		parse := func(what string, rules ratchet.Rules, want error) {
			t.Helper()
			if _, err := ratchet.Parse(rules, b); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", what, err, want)
			}
		}
		with := func(skipped, chains int) ratchet.Rules {
			rules := rules
			rules.MaxSkipped, rules.MaxChains = skipped, chains
			return rules
		}
		parse("as many", with(4, 3), nil)
		parse("fewer in a chain", with(1, 3), ratchet.ErrEncoding)
		if rules.KeepChains {
			parse("as many in a chain", with(2, 3), nil)
			parse("fewer chains", with(4, 2), ratchet.ErrEncoding)
		} else {
			parse("fewer in all", with(3, 3), ratchet.ErrEncoding)
			parse("fewer chains, one of them empty", with(4, 2), ratchet.ErrEncoding)
		}
		other := rules
		other.KeepChains = !rules.KeepChains
		parse("another policy", other, ratchet.ErrEncoding)
	})
}

// FuzzParse: what parses encodes as the same bytes, and what it says may be
// wrong without harm.
func FuzzParse(f *testing.F) {
	t := new(testing.T)
	for _, keep := range []bool{false, true} {
		rules := byTheBook
		rules.KeepChains = keep
		for _, s := range states(t, rules) {
			f.Add(keep, s.Append(nil))
		}
	}
	f.Add(false, make([]byte, 1+32+4+4+2))
	prekey := curve.GenerateKey()
	f.Add(true, ratchet.NewResponder(byTheBook, secret.NewKey([32]byte{}), prekey).Append(nil))
	f.Fuzz(func(t *testing.T, keep bool, b []byte) {
		rules := byTheBook
		rules.KeepChains = keep
		s, err := ratchet.Parse(rules, b)
		if err != nil {
			if s != nil {
				t.Error("an error came with a state")
			}
			return
		}
		if again := s.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
		header := ratchet.Header{RatchetKey: prekey.PublicKey(), N: 3}
		if opening, err := s.Receive(header); err == nil {
			opening.Commit()
		}
		reparse(t, rules, s)
		if _, seed, err := s.Send(); err == nil {
			seed.Wipe()
		}
		reparse(t, rules, s)
	})
}
