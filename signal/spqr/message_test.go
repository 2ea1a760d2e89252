package spqr_test

import (
	"bytes"
	"testing"

	"github.com/chate2e/chate2e/signal/spqr"
)

// TestMessagesRefused gives a fresh responder messages that differ from a good one
// in one place.
func TestMessagesRefused(t *testing.T) {
	alice, bob := pair(t, make([]byte, 32), spqr.Config{})
	good := send(t, alice).message // 01 01 01 01 00 and a chunk
	chunk := good[5:]
	with := func(head ...byte) []byte { return append(head, chunk...) }
	for name, m := range map[string][]byte{
		"nothing":                  nil,
		"version alone":            {1},
		"version 0":                with(0, 1, 1, 1, 0),
		"version 2":                with(2, 1, 1, 1, 0),
		"no epoch":                 {1, 0x80},
		"epoch 0":                  with(1, 0, 1, 1, 0),
		"long epoch":               with(1, 0x81, 0, 1, 1, 0),
		"epoch beyond 64 bits":     with(1, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02, 1, 1, 0),
		"no index":                 {1, 1},
		"index 0":                  with(1, 1, 0, 1, 0),
		"long index":               with(1, 1, 0x81, 0, 1, 0),
		"index beyond 32 bits":     with(1, 1, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 0),
		"no payload":               {1, 1, 1},
		"unknown payload":          with(1, 1, 1, 7, 0),
		"payload 255":              with(1, 1, 1, 255, 0),
		"no chunk index":           {1, 1, 1, 1},
		"long chunk index":         with(1, 1, 1, 1, 0x80, 0),
		"chunk index over 65535":   with(1, 1, 1, 1, 0x80, 0x80, 0x04),
		"no chunk":                 {1, 1, 1, 1, 0},
		"short chunk":              good[:len(good)-1],
		"long chunk":               append(bytes.Clone(good), 0),
		"chunk where none belongs": with(1, 1, 1, 0, 0),
		"trailing byte":            {1, 1, 1, 0, 0},
		"huge":                     make([]byte, 1<<16),
	} {
		t.Run(name, func(t *testing.T) { refused(t, bob, m, spqr.ErrMessage) })
	}
	for name, m := range map[string][]byte{
		"no payload":         {1, 1, 1, 0},
		"bare ack":           {1, 1, 2, 4},
		"chunk of the key":   with(1, 1, 3, 2, 0),
		"last chunk index":   with(1, 1, 4, 1, 0xff, 0xff, 0x03),
		"two-byte index":     with(1, 1, 0x80, 1, 1, 1),
		"unexpected ct2":     with(1, 1, 5, 6, 0),
		"the message itself": good,
	} {
		if _, err := bob.Receive(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReceive gives arbitrary bytes to states in every phase.
func FuzzReceive(f *testing.F) {
	var states [][]byte
	alice, bob := pair(f, make([]byte, 32), spqr.Config{})
	for alice.Status().Completed < 2 {
		e := send(f, alice)
		if len(states)%7 == 0 {
			f.Add(uint16(len(states)), e.message)
		}
		states = append(states, bob.Append(nil))
		receive(f, bob, e)
		alice, bob = bob, alice
	}
	f.Add(uint16(0), []byte{})
	f.Add(uint16(3), []byte{1, 1, 0, 0})
	f.Add(uint16(9), []byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 4})
	f.Fuzz(func(t *testing.T, at uint16, message []byte) {
		stored := states[int(at)%len(states)]
		s, err := spqr.Parse(stored, spqr.Config{MaxJump: 100, AcceptUnkeyed: at%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		step, err := s.Receive(message)
		if !bytes.Equal(stored, s.Append(nil)) {
			t.Fatal("Receive changed the state")
		}
		if err != nil {
			return
		}
		event := step.Event()
		step.Commit()
		if got := s.Status().Phase; got != event.Phase {
			t.Fatalf("in %v, the event says %v", got, event.Phase)
		}
		if event.KeyIndex != 0 {
			refused(t, s, message, spqr.ErrDuplicate)
		}
		restart(t, s)
		if _, err := s.Send(); err != nil {
			t.Fatal(err)
		}
	})
}
