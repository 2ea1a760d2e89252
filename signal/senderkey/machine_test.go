package senderkey_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/signal/senderkey"
)

// talk is one sending device and two receivers, on a network that loses, repeats,
// reorders and corrupts, together with what must hold.
type talk struct {
	suite     senderkey.Suite
	sender    *senderkey.Sender
	chain     int // how many chains came before
	sent      []parcel
	handed    []distribution
	receivers [2]*listener
}

type parcel struct {
	chain     int
	iteration uint32
	bytes     []byte
	text      string
}

type distribution struct {
	chain     int
	iteration uint32
	bytes     []byte
}

// listener is a receiver and what it should know.
type listener struct {
	*senderkey.Receiver
	chains []int          // newest first
	from   map[int]uint32 // where a known chain starts for it
	opened map[int]bool   // of sent
}

func newTalk(t *rapid.T, suite senderkey.Suite) *talk {
	c := &talk{suite: suite, chain: -1}
	c.rotate(t)
	for i := range c.receivers {
		c.receivers[i] = &listener{
			Receiver: must(senderkey.NewReceiver(suite, group, alice)), from: map[int]uint32{}, opened: map[int]bool{},
		}
	}
	return c
}

func (c *talk) rotate(*rapid.T) {
	c.sender = must(senderkey.NewSender(c.suite, group, alice))
	c.chain++
}

func (c *talk) send(t *rapid.T) {
	p := parcel{chain: c.chain, iteration: c.sender.Iteration(), text: rapid.String().Draw(t, "text")}
	p.bytes = must(c.sender.Encrypt([]byte(p.text)))
	c.sent = append(c.sent, p)
}

func (c *talk) distribute(*rapid.T) {
	c.handed = append(c.handed, distribution{c.chain, c.sender.Iteration(), c.sender.Distribution()})
}

// pick draws an index, mostly one near the end.
func pick(t *rapid.T, n int, name string) int {
	if n == 0 {
		t.Skip("nothing there")
	}
	return n - 1 - min(n-1, rapid.IntRange(0, 12).Draw(t, name))
}

func (c *talk) listener(t *rapid.T) *listener {
	return c.receivers[rapid.IntRange(0, 1).Draw(t, "receiver")]
}

func (c *talk) hand(t *rapid.T) {
	l, d := c.listener(t), c.handed[pick(t, len(c.handed), "distribution")]
	before := l.Append(nil)
	if err := l.Process(d.bytes); err != nil {
		t.Fatal(err)
	}
	if _, known := l.from[d.chain]; known {
		if !bytes.Equal(before, l.Append(nil)) {
			t.Fatal("a known chain was changed")
		}
		return
	}
	l.chains = append([]int{d.chain}, l.chains...)
	l.from[d.chain] = d.iteration
	if len(l.chains) > maxChains {
		delete(l.from, l.chains[maxChains])
		l.chains = l.chains[:maxChains]
		// A chain that is forgotten and handed out again starts anew.
	}
	for i, p := range c.sent {
		if p.chain == d.chain {
			delete(l.opened, i)
		}
	}
}

func (c *talk) deliver(t *rapid.T) {
	l, i := c.listener(t), pick(t, len(c.sent), "message")
	p := c.sent[i]
	before := l.Append(nil)
	got, err := decrypt(l.Receiver, p.bytes)
	from, known := l.from[p.chain]
	var want error
	switch {
	case !known:
		want = senderkey.ErrNoChain
	case p.iteration < from || l.opened[i]:
		want = senderkey.ErrDuplicate
	}
	if !errors.Is(err, want) {
		t.Fatalf("message %d of chain %d: %v, want %v", p.iteration, p.chain, err, want)
	}
	if want != nil {
		if got != nil || !bytes.Equal(before, l.Append(nil)) {
			t.Fatal("a refused message changed the receiver")
		}
		return
	}
	if string(got) != p.text {
		t.Fatalf("message %d of chain %d opens to something else", p.iteration, p.chain)
	}
	l.opened[i] = true
}

func (c *talk) corrupt(t *rapid.T) {
	l, i := c.listener(t), pick(t, len(c.sent), "message")
	b := bytes.Clone(c.sent[i].bytes)
	b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	before := l.Append(nil)
	if m, err := senderkey.Parse(c.suite, b); err == nil {
		if got, err := l.Decrypt(m); err == nil || got != nil {
			t.Fatal("a corrupt message opens")
		}
	}
	if !bytes.Equal(before, l.Append(nil)) {
		t.Fatal("a corrupt message changed the receiver")
	}
}

func (c *talk) restart(t *rapid.T) {
	var err error
	if c.sender, err = senderkey.ParseSender(c.sender.Append(nil)); err != nil {
		t.Fatal(err)
	}
	for _, l := range c.receivers {
		before := l.Append(nil)
		if l.Receiver, err = senderkey.ParseReceiver(before); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, l.Append(nil)) {
			t.Fatal("a receiver that was read back is another one")
		}
	}
}

func TestMachine(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		rapid.Check(t, func(t *rapid.T) {
			c := newTalk(t, suite)
			t.Repeat(map[string]func(*rapid.T){
				"send": c.send, "send again": c.send, "rotate": c.rotate, "distribute": c.distribute,
				"hand": c.hand, "hand again": c.hand, "deliver": c.deliver, "deliver again": c.deliver, "deliver once more": c.deliver,
				"corrupt": c.corrupt, "restart": c.restart,
			})
		})
	})
}
