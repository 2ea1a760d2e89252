package spqr_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/spqr"
)

// states returns an encoded state of every phase, some with skipped keys.
func states(tb rapid.TB, handshakeKey []byte) map[spqr.Phase][]byte {
	tb.Helper()
	out := make(map[spqr.Phase][]byte)
	keep := func(s *spqr.State) { out[s.Status().Phase] = s.Append(nil) }
	alice, bob := pair(tb, handshakeKey, spqr.Config{})
	keep(alice)
	keep(bob)
	// One side is slower than the other in turn, so that every path is taken.
	for i := 0; alice.Status().Completed < 6 || len(out) < 11; i++ {
		for range 1 + i%200/100*2 {
			receive(tb, bob, send(tb, alice))
			keep(bob)
		}
		if i%3 == 0 {
			send(tb, bob) // lost
		}
		for range 1 + (i+100)%200/100*2 {
			receive(tb, alice, send(tb, bob))
			keep(alice)
		}
		if i > 3000 {
			tb.Fatalf("only %d phases", len(out))
		}
	}
	return out
}

func TestParseRefuses(t *testing.T) {
	r := testrand.New(t)
	all := states(t, r.Bytes(32))
	if len(all) != 11 {
		t.Fatalf("%d phases", len(all))
	}
	for phase, stored := range all {
		parse := func(name string, b []byte, want error) {
			t.Helper()
			s, err := spqr.Parse(b, spqr.Config{})
			if !errors.Is(err, want) {
				t.Errorf("%v, %s: got error %v, want %v", phase, name, err, want)
			}
			if err == nil && !bytes.Equal(s.Append(nil), b) {
				t.Errorf("%v, %s: another encoding", phase, name)
			}
		}
		parse("itself", stored, nil)
		parse("trailing byte", append(bytes.Clone(stored), 0), spqr.ErrEncoding)
		for i := range stored {
			parse("cut", stored[:i], spqr.ErrEncoding)
		}
		altered := func(name string, at int, value byte) {
			t.Helper()
			b := bytes.Clone(stored)
			if b[at] == value {
				return
			}
			b[at] = value
			parse(name, b, spqr.ErrEncoding)
		}
		for _, v := range []byte{0, 2, 255} {
			altered("version", 0, v)
		}
		for _, v := range []byte{0, 1, 2, 3, 255} {
			altered("role", 1, v) // the other role is on the other side of this epoch
		}
		for _, v := range []byte{0, 12, 255} {
			altered("phase", 2, v)
		}
		altered("behind", 3, 2)
		altered("epoch", 4, 0xff)
		altered("parity of the epoch", 11, stored[11]^1)
		epoch0 := bytes.Clone(stored)
		clear(epoch0[4:12])
		parse("epoch 0", epoch0, spqr.ErrEncoding)
	}
}

// TestParseRefusesChains alters what is stored of the chains.
func TestParseRefusesChains(t *testing.T) {
	alice, bob := pair(t, testrand.New(t).Bytes(32), spqr.Config{})
	for range 3 {
		send(t, alice)
	}
	receive(t, bob, send(t, alice))
	stored := bob.Append(nil)
	// version, role, phase, behind; epoch; three keys; sending and receiving chain
	const receiving = 4 + 8 + 3*32 + 36
	const count = receiving + 36
	const first, second, third = count + 2, count + 2 + 36, count + 2 + 2*36
	if got := [...]byte{stored[receiving+3], stored[count+1], stored[first+3], stored[second+3], stored[third+3]}; got != [...]byte{4, 3, 1, 2, 3} {
		t.Fatalf("stored otherwise: %v", got)
	}
	for name, change := range map[string]func([]byte){
		"behind in the first epoch":    func(b []byte) { b[3] = 1 },
		"skipped key 0":                func(b []byte) { b[first+3] = 0 },
		"skipped key twice":            func(b []byte) { b[second+3] = 1 },
		"skipped keys out of order":    func(b []byte) { b[first+3], b[second+3] = 2, 1 },
		"skipped key that is the next": func(b []byte) { b[third+3] = 4 },
		"skipped key of the future":    func(b []byte) { b[third] = 1 },
		"skipped keys cut off":         func(b []byte) { b[count] = 4 },
	} {
		b := bytes.Clone(stored)
		change(b)
		if _, err := spqr.Parse(b, spqr.Config{}); !errors.Is(err, spqr.ErrEncoding) {
			t.Errorf("%s: error %v", name, err)
		}
	}

	// As many skipped keys as can be, and one more.
	for held, want := range map[int]error{spqr.TrimAt - 1: nil, spqr.TrimAt: spqr.ErrEncoding} {
		b := binary.BigEndian.AppendUint32(bytes.Clone(stored[:receiving]), spqr.TrimAt+1)
		b = append(b, stored[receiving+4:count]...)
		b = binary.BigEndian.AppendUint16(b, uint16(held))
		for i := range uint32(held) {
			b = append(binary.BigEndian.AppendUint32(b, i+1), make([]byte, 32)...)
		}
		b = append(b, stored[third+36:]...)
		if _, err := spqr.Parse(b, spqr.Config{}); !errors.Is(err, want) {
			t.Errorf("%d skipped keys: error %v", held, err)
		}
	}

	// No chains at all, as if epoch 0 had been left behind.
	none := bytes.Clone(stored[:receiving-36])
	none[3] = 1
	if _, err := spqr.Parse(append(none, 0), spqr.Config{}); !errors.Is(err, spqr.ErrEncoding) {
		t.Errorf("no chains: error %v", err)
	}
}

// FuzzParse decodes arbitrary states: what parses has that one encoding, and can
// be used without harm.
func FuzzParse(f *testing.F) {
	for _, stored := range states(f, make([]byte, 32)) {
		f.Add(stored, []byte{1, 2, 1, 5, 0})
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, stored, message []byte) {
		s, err := spqr.Parse(stored, spqr.Config{MaxJump: 50})
		if err != nil {
			if s != nil {
				t.Fatal("a state and an error")
			}
			return
		}
		if !bytes.Equal(s.Append(nil), stored) {
			t.Fatal("another encoding")
		}
		step, err := s.Receive(message)
		if err == nil {
			step.Commit()
		}
		step, err = s.Send()
		if errors.Is(err, spqr.ErrExhausted) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		step.Commit()
		restart(t, s)
	})
}
