package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
)

// conversation writes what p sees of the conversation with other.
func (p *person) conversation(other *person) string {
	items, err := p.c.History(p.w.t.Context(), other.id, "", historySize)
	if err != nil {
		p.w.t.Fatal(err)
	}
	var lines []string
	for _, item := range items {
		if item.Kind == client.KindText {
			lines = append(lines, item.Text)
		} else {
			lines = append(lines, fmt.Sprintf("(%s %d)", item.Kind, item.GapBefore))
		}
	}
	return strings.Join(lines, ", ")
}

func (p *person) sees(other *person, want string) {
	p.w.t.Helper()
	if got := p.conversation(other); got != want {
		p.w.t.Errorf("%s sees of %s: %s; want %s", p.name, other.name, got, want)
	}
}

func (p *person) send(to *person, texts ...string) {
	p.w.t.Helper()
	for _, text := range texts {
		if _, err := p.c.Send(p.w.t.Context(), to.id, text, client.SendOptions{}); err != nil {
			p.w.t.Fatal(err)
		}
	}
	p.w.rest(2 * time.Second)
}

// The relay comes back from an old backup, or from an old copy of its disk: what it
// had acknowledged since then is a visible gap, what it delivers once more is not
// shown again, prekeys that it offers once more are refused, and everybody goes on
// talking.
func TestRestoredRelay(t *testing.T) {
	for name, copied := range map[string]bool{"backup": false, "copy of the disk": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRestoredRelay(t, copied) })
		})
	}
}

func testRestoredRelay(t *testing.T, copied bool) {
	w := newWorld(t, rand.New(rand.NewPCG(0, 0)), 4)
	alice, bob, carol, dave := w.people[0], w.people[1], w.people[2], w.people[3]
	for _, p := range w.people {
		p.run()
	}
	alice.send(bob, "one")
	if _, err := bob.c.AcceptContact(t.Context(), alice.id); err != nil {
		t.Fatal(err)
	}
	w.rest(2 * time.Second)
	bob.close()
	alice.send(bob, "two")

	old := w.folder("old")
	if copied {
		w.relay.stop()
		for name, data := range steadyFiles(w.relay.dir) {
			if err := os.WriteFile(filepath.Join(old, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.relay.start()
	} else if err := sqlite.Backup(t.Context(), w.relay.database(), filepath.Join(old, "relay.db")); err != nil {
		t.Fatal(err)
	}

	w.rest(2 * time.Minute)
	bob.open()
	bob.run()
	w.rest(2 * time.Second)
	carol.send(bob, "from Carol") // uses a one-time prekey of Bob's
	alice.send(bob, "three")
	bob.sees(alice, "(request 0), one, (accepted 0), two, three")
	bob.sees(carol, "(request 0), from Carol")
	bob.close()
	alice.send(bob, "four", "five")

	w.relay.stop()
	w.relay.dir = old
	w.relay.start()
	w.rest(2 * time.Minute)
	dave.send(bob, "from Dave") // is given the prekey that Carol has used, if the relay still has it
	bob.open()
	bob.run()
	w.rest(2 * time.Minute)
	bob.sees(alice, "(request 0), one, (accepted 0), two, three")
	alice.send(bob, "six")
	bob.send(alice, "seven")
	bob.sees(alice, "(request 0), one, (accepted 0), two, three, (missing 2), six, seven")
	alice.sees(bob, "(request 0), one, (accepted 0), two, three, four, five, six, seven")
	bob.sees(carol, "(request 0), from Carol")
	carol.send(bob, "from Carol again")
	bob.sees(carol, "(request 0), from Carol, from Carol again")
	_, err := bob.c.Contact(t.Context(), dave.id)
	if refused := err != nil; refused != copied {
		t.Errorf("Bob knows Dave: %v", err)
	}
	if !copied {
		bob.sees(dave, "(request 0), from Dave")
		w.rest(time.Hour)
		if status, err := bob.c.Status(t.Context()); err != nil || status.PrekeysLeft != 100 {
			t.Errorf("%+v, %v", status, err)
		}
	}
	for _, fault := range append(w.faults, w.tape.faults...) {
		t.Error(fault)
	}
}
