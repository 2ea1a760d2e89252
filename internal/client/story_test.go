package client_test

import (
	"testing"

	"github.com/chate2e/chate2e/internal/client"
)

func TestTheWholeStory(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		if s, err := alice.Status(t.Context()); err != nil || s != (client.Status{Connected: true, PrekeysLeft: 100}) {
			t.Errorf("status %+v, %v", s, err)
		}

		contact := alice.add(bob.id)
		if contact.State != client.ContactRequested {
			t.Errorf("state %s", contact.State)
		}
		first := alice.send(bob, "hello Bob")
		settle()
		if got := alice.state(first.ID); got != client.StateSent {
			t.Errorf("a first message is %s", got)
		}
		bob.sees(alice, "< request", "< hello Bob")
		if got := bob.contact(alice); got.State != client.ContactIncoming || got.Username != "alice" || got.DisplayName != "Alice" {
			t.Errorf("%+v", got)
		}

		bob.accept(alice)
		bob.send(alice, "hello Alice")
		settle()
		alice.send(bob, "how are you?")
		settle()
		alice.sees(bob, "> request", "> hello Bob", "< accepted", "< hello Alice", "> how are you?")
		bob.sees(alice, "< request", "< hello Bob", "> accepted", "> hello Alice", "< how are you?")
		if got := alice.contact(bob); got.State != client.ContactAccepted || got.DisplayName != "Bob" || got.Presence != client.PresenceOnline {
			t.Errorf("%+v", got)
		}

		before := alice.conversation(bob)
		alice.stop()
		alice.reopen().run()
		if got := alice.conversation(bob); got != before {
			t.Errorf("after a restart:\n%s\nbefore:\n%s", got, before)
		}
		settle()
		bob.send(alice, "still there?")
		settle()
		alice.sees(bob, "> request", "> hello Bob", "< accepted", "< hello Alice", "> how are you?", "< still there?")
	})
}
