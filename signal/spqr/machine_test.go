package spqr_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/signal/spqr"
)

// conversation is two parties and a channel between them that loses, repeats and
// reorders, together with what must hold.
type conversation struct {
	parties [2]*spqr.State
	inbox   [2][]*parcel // all that was ever sent to each, in order
	sentIn  [2]uint64    // the epoch of the key that each sent with last
	random  *rand.ChaCha8
	met     map[spqr.Phase]int
}

type parcel struct {
	envelope
	opened bool
}

func (c *conversation) send(t *rapid.T, from int) {
	step, err := c.parties[from].SendWith(func(b []byte) { _, _ = c.random.Read(b) })
	if err != nil {
		t.Fatal(err)
	}
	p := &parcel{envelope: envelope{message: step.Message(), key: bytes.Clone(step.Key()), event: step.Event()}}
	step.Commit()
	if p.event.KeyEpoch < c.sentIn[from] {
		t.Fatalf("sends in epoch %d after %d", p.event.KeyEpoch, c.sentIn[from])
	}
	c.sentIn[from] = p.event.KeyEpoch
	c.inbox[1-from] = append(c.inbox[1-from], p)
	c.met[c.parties[from].Status().Phase]++
}

// deliver gives a message to its receiver. It must open once, with the sender's
// key, unless it is late by more than an epoch.
func (c *conversation) deliver(t *rapid.T, to int, p *parcel) {
	s := c.parties[to]
	before := s.Append(nil)
	distance, errDistance := s.Distance(p.message)
	step, err := s.Receive(p.message)
	if !errors.Is(err, errDistance) {
		t.Fatalf("Distance returns %v, Receive %v", errDistance, err)
	}
	if !bytes.Equal(before, s.Append(nil)) {
		t.Fatal("Receive changed the state")
	}
	switch tooLate := p.event.KeyEpoch+1 < c.sentIn[to]; {
	case tooLate:
		if !errors.Is(err, spqr.ErrEpoch) {
			t.Fatalf("a message late by two epochs: %v", err)
		}
	case p.opened:
		if !errors.Is(err, spqr.ErrDuplicate) {
			t.Fatalf("a repeated message: %v", err)
		}
	case err != nil:
		t.Fatalf("message %+v in %+v: %v", p.event, s.Status(), err)
	default:
		if !bytes.Equal(step.Key(), p.key) {
			t.Fatalf("message %+v in %+v: another key", p.event, s.Status())
		}
		event := step.Event()
		if want := event.Skipped + 1; !event.Late && distance != want || event.Late && distance != 0 {
			t.Fatalf("distance %d, event %+v", distance, event)
		}
		if old := p.event.Epoch < s.Status().Epoch; old && (event.New || event.Phase != s.Status().Phase) {
			t.Fatalf("a chunk of an old epoch is of use: %+v", event)
		}
		step.Commit()
		p.opened = true
		if got := s.Status().Phase; got != event.Phase {
			t.Fatalf("in %v, the event says %v", got, event.Phase)
		}
		if event.Completed != 0 && s.Status().Completed != event.Completed {
			t.Fatalf("%+v after %+v", s.Status(), event)
		}
		c.met[event.Phase]++
	}
}

// tamper gives an altered message to its receiver. It is refused, or yields a key
// under which the conversation's message does not open, and is discarded.
func (c *conversation) tamper(t *rapid.T, to int, p *parcel, altered []byte) {
	s := c.parties[to]
	before := s.Append(nil)
	if step, err := s.Receive(altered); err == nil {
		step.Discard()
	}
	if !bytes.Equal(before, s.Append(nil)) {
		t.Fatalf("%x instead of %x changed the state", altered, p.message)
	}
}

func (c *conversation) pick(t *rapid.T) (to int, p *parcel) {
	to = rapid.IntRange(0, 1).Draw(t, "to")
	if len(c.inbox[to]) == 0 {
		t.Skip("nothing was sent")
	}
	// The newest are the most interesting.
	i := len(c.inbox[to]) - 1 - min(len(c.inbox[to])-1, rapid.IntRange(0, 400).Draw(t, "age"))
	return to, c.inbox[to][i]
}

func (c *conversation) check(t *rapid.T) {
	a, b := c.parties[0].Status(), c.parties[1].Status()
	if a.Completed > b.Completed+1 || b.Completed > a.Completed+1 || a.Epoch > b.Epoch+1 || b.Epoch > a.Epoch+1 {
		t.Fatalf("apart: %+v, %+v", a, b)
	}
	for _, s := range []spqr.Status{a, b} {
		if s.Held > 0 && s.Held >= s.Needed {
			t.Fatalf("%+v", s)
		}
	}
}

// TestLossyChannel drives two parties by random actions.
func TestLossyChannel(t *testing.T) {
	met := make(map[spqr.Phase]int)
	epochs := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		c := &conversation{met: met}
		c.parties[0], c.parties[1] = pair(t, rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"), spqr.Config{})
		c.random = rand.NewChaCha8([32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "random")))

		t.Repeat(map[string]func(*rapid.T){
			"": c.check,
			"send": func(t *rapid.T) {
				from := rapid.IntRange(0, 1).Draw(t, "from")
				for range rapid.IntRange(1, 20).Draw(t, "messages") {
					c.send(t, from)
				}
			},
			"send nothing": func(t *rapid.T) {
				s := c.parties[rapid.IntRange(0, 1).Draw(t, "from")]
				before := s.Append(nil)
				step, err := s.SendWith(func(b []byte) { _, _ = c.random.Read(b) })
				if err != nil {
					t.Fatal(err)
				}
				step.Discard()
				if !bytes.Equal(before, s.Append(nil)) {
					t.Fatal("an uncommitted Send changed the state")
				}
			},
			"deliver": func(t *rapid.T) {
				to, p := c.pick(t)
				c.deliver(t, to, p)
			},
			"converse": func(t *rapid.T) {
				// Both talk, at their own pace, over a channel with a loss of its own.
				loss := rapid.IntRange(0, 60).Draw(t, "loss")
				pace := rapid.IntRange(10, 90).Draw(t, "pace")
				r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "schedule"), 0))
				for range rapid.IntRange(1, 120).Draw(t, "messages") {
					from := 0
					if r.IntN(100) >= pace {
						from = 1
					}
					c.send(t, from)
					if r.IntN(100) < loss {
						continue
					}
					inbox := c.inbox[1-from]
					c.deliver(t, 1-from, inbox[len(inbox)-1-r.IntN(min(len(inbox), 64))/(1+r.IntN(8))])
				}
			},
			"corrupt": func(t *rapid.T) {
				to, p := c.pick(t)
				altered := bytes.Clone(p.message)
				altered[rapid.IntRange(0, len(altered)-1).Draw(t, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
				c.tamper(t, to, p, altered)
			},
			"cut": func(t *rapid.T) {
				to, p := c.pick(t)
				c.tamper(t, to, p, p.message[:rapid.IntRange(0, len(p.message)-1).Draw(t, "length")])
			},
			"swap epochs": func(t *rapid.T) {
				to, p := c.pick(t)
				_, size := binary.Uvarint(p.message[1:])
				epoch := rapid.Uint64Range(1, c.parties[to].Status().Epoch+2).Draw(t, "epoch")
				altered := binary.AppendUvarint([]byte{p.message[0]}, epoch)
				c.tamper(t, to, p, append(altered, p.message[1+size:]...))
			},
			"splice": func(t *rapid.T) {
				// The counters of one message, the exchange of another.
				to, p := c.pick(t)
				other := c.inbox[to][rapid.IntRange(0, len(c.inbox[to])-1).Draw(t, "other")]
				cut := func(m []byte) int {
					_, epoch := binary.Uvarint(m[1:])
					_, index := binary.Uvarint(m[1+epoch:])
					return 1 + epoch + index
				}
				head := p.message[:cut(p.message)]
				c.tamper(t, to, p, append(bytes.Clone(head), other.message[cut(other.message):]...))
			},
			"restart": func(t *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(t, "who")
				c.parties[i] = restart(t, c.parties[i])
			},
		})

		// Whatever was lost, the exchange goes on.
		target := max(c.parties[0].Status().Completed, c.parties[1].Status().Completed) + 2
		for i := 0; c.parties[0].Status().Completed < target || c.parties[1].Status().Completed < target; i++ {
			c.send(t, i%2)
			inbox := c.inbox[1-i%2]
			c.deliver(t, 1-i%2, inbox[len(inbox)-1])
			if i > 300 {
				t.Fatalf("no progress: %+v, %+v", c.parties[0].Status(), c.parties[1].Status())
			}
		}
		epochs += target
	})
	t.Logf("%d epochs; phases met: %v", epochs, met)
	if len(met) != 11 && !t.Failed() && !testing.Short() { // rapid then tries too little to be sure of it
		t.Errorf("only %d phases were met", len(met))
	}
}
