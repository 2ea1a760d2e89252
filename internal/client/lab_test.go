package client_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// lab is a lab whose verbs must succeed.
type lab struct {
	*client.Lab
	t   *testing.T
	now time.Time
}

func newLab(t *testing.T) *lab {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l, err := client.NewLab(now)
	if err != nil {
		t.Fatal(err)
	}
	return &lab{l, t, now}
}

func (l *lab) send(from, text string) {
	l.t.Helper()
	if err := l.Send(from, text, l.now); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) deliver(number int) {
	l.t.Helper()
	if err := l.Deliver(number, l.now); err != nil {
		l.t.Fatal(err)
	}
}

// steps are those of the newest event of Bob's device.
func (l *lab) steps() (kind string, steps []string) {
	events := l.State().Parties[1].Events
	e := events[len(events)-1]
	for _, s := range e.Steps {
		steps = append(steps, s.Kind)
	}
	return e.Kind, steps
}

func (l *lab) read(party int) (texts []string) {
	for _, r := range l.State().Parties[party].Read {
		texts = append(texts, fmt.Sprint(r.Number, " ", r.Text))
	}
	return texts
}

// What is dropped never comes, what is late comes with a key that was put aside,
// and what comes twice or changed is refused.
func TestLab(t *testing.T) {
	l := newLab(t)
	l.send("Alice", "one")
	l.send("Alice", "two")
	l.send("Alice", "three")
	l.send("Alice", "四")
	if err := l.Drop(2); err != nil {
		t.Fatal(err)
	}
	l.deliver(4)
	kind, steps := l.steps()
	if kind != "decrypted" || !slices.Contains(steps, "skipped") {
		t.Errorf("out of order: %s %v", kind, steps)
	}
	l.deliver(1)
	if kind, steps = l.steps(); kind != "decrypted" || !slices.Contains(steps, "skipped_key_used") {
		t.Errorf("late: %s %v", kind, steps)
	}
	l.deliver(1)
	if kind, _ = l.steps(); kind != "refused" {
		t.Errorf("twice: %s", kind)
	}
	if err := l.Flip(3); err != nil {
		t.Fatal(err)
	}
	l.deliver(3)
	if kind, _ = l.steps(); kind != "refused" || l.State().Wire[2].State != client.LabRefused {
		t.Errorf("changed: %s", kind)
	}
	if err := l.Flip(3); err != nil {
		t.Fatal(err)
	}
	l.deliver(3)
	l.send("Bob", "back")
	if kind, steps = l.steps(); kind != "encrypted" || !slices.Contains(steps, "root_sending") {
		t.Errorf("the answer: %s %v", kind, steps)
	}
	l.deliver(5)
	if got, want := l.read(1), []string{"4 四", "1 one", "3 three"}; !slices.Equal(got, want) {
		t.Errorf("Bob reads %q", got)
	}
	if got, want := l.read(0), []string{"5 back"}; !slices.Equal(got, want) {
		t.Errorf("Alice reads %q", got)
	}
	s := l.State()
	var states []client.LabEnvelopeState
	for _, e := range s.Wire {
		states = append(states, e.State)
	}
	if want := []client.LabEnvelopeState{"opened", "dropped", "opened", "opened", "opened"}; !slices.Equal(states, want) {
		t.Errorf("on the wire: %v", states)
	}
	if !s.Wire[0].Handshake || !s.Wire[3].Handshake || s.Wire[4].Handshake {
		t.Errorf("handshakes: %+v", s.Wire)
	}
}

// Both may begin at once.
func TestLabCrossing(t *testing.T) {
	l := newLab(t)
	l.send("Alice", "a")
	l.send("Bob", "b")
	l.deliver(1)
	l.deliver(2)
	l.send("Alice", "a2")
	l.deliver(3)
	l.send("Bob", "b2")
	l.deliver(4)
	if got := append(l.read(0), l.read(1)...); !slices.Equal(got, []string{"2 b", "4 b2", "1 a", "3 a2"}) {
		t.Errorf("got %q", got)
	}
}

func TestLabRefuses(t *testing.T) {
	l := newLab(t)
	l.send("Alice", "x")
	for what, err := range map[string]error{
		"nobody":       l.Send("Eve", "x", l.now),
		"no text":      l.Send("Bob", "", l.now),
		"a long text":  l.Send("Bob", strings.Repeat("x", 501), l.now),
		"no UTF-8":     l.Send("Bob", "\xff", l.now),
		"no envelope":  l.Deliver(2, l.now),
		"envelope 0":   l.Drop(0),
		"envelope -1":  l.Flip(-1),
		"a full wire":  fill(l),
		"another drop": errors.Join(l.Drop(1), l.Drop(1)),
	} {
		if !errors.Is(err, &client.Error{Code: client.CodeUsage}) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func fill(l *lab) error {
	for range 300 {
		if err := l.Send("Alice", "x", l.now); err != nil {
			return err
		}
	}
	return nil
}
