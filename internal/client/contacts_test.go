package client_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
)

func TestWho(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		self, err := bob.Self(ctx)
		if err != nil || self.Address != bob.id+"@relay.test:80" && self.Address != bob.id+"@relay.test" || !strings.HasSuffix(self.Link, "/add#"+bob.id) {
			t.Errorf("%+v, %v", self, err)
		}
		_, err = alice.Contact(ctx, bob.id)
		wantCode(t, "before", err, client.CodeNotFound)
		alice.add("bob") // the relay knows whom that is
		bob.accept2(alice)
		groups := ""
		for i := 0; i < 32; i += 4 {
			groups += strings.ToUpper(bob.id[i:i+4]) + " "
		}
		for _, who := range []string{bob.id, groups, self.Link, self.Address, "bob", "Bob", "BOB", " bob "} {
			c, err := alice.Contact(ctx, who)
			if err != nil || c.UserID != bob.id {
				t.Errorf("%q: %+v, %v", who, c, err)
			}
		}
		for who, code := range map[string]client.Code{
			"": client.CodeUsage, strings.Repeat("x", 600): client.CodeUsage, "robert": client.CodeNotFound,
			"alice": client.CodeSelf, alice.id: client.CodeSelf, "%": client.CodeNotFound, "b_b": client.CodeNotFound,
			"https://relay.test/add#" + alice.id: client.CodeSelf,
		} {
			_, err := alice.Contact(ctx, who)
			wantCode(t, fmt.Sprintf("%.20q", who), err, code)
		}

		// Somebody who calls herself Bob gets no message meant for him.
		mallory := w.puppet()
		if mallory.to[alice.id] == nil {
			mallory.to[alice.id] = mallory.start(alice.id, mallory.identity)
		}
		mallory.post(alice.id, mallory.seal(mallory.to[alice.id], content.Content{
			DeviceList: mallory.list,
			Message:    mallory.message(1, content.Request{Profile: content.Profile{Username: "carol", DisplayName: "Bob"}}),
		}.Pad()))
		settle()
		_, err = alice.Contact(ctx, "Bob")
		wantCode(t, "two Bobs", err, client.CodeAmbiguous)
		s, err := alice.Send(ctx, "bob", "for Bob", client.SendOptions{})
		if err != nil || s.To != bob.id {
			t.Errorf("sent to %+v, %v", s, err)
		}
		_, err = alice.Send(ctx, "carol", "for Carol", client.SendOptions{})
		wantCode(t, "a stranger's name", err, client.CodeNotFound)
	})
}

// Looking somebody up tells who she is, stores nothing and tells her nothing.
func TestLookUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice, bob := w.register("alice"), w.register("bob").run()
		carol, mallory := w.puppet(), w.puppet()
		h := alice.corrupt()
		self, err := bob.Self(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for who, username := range map[string]string{"bob": "bob", bob.id: "", self.Link: "", self.Address: ""} {
			got, err := alice.LookUp(ctx, who)
			want := client.Found{UserID: bob.id, Username: username, Checked: true}
			if err != nil || got != want {
				t.Errorf("%q: %+v, %v", who, got, err)
			}
		}
		settle()
		if contacts, err := alice.Contacts(ctx); err != nil || len(contacts) != 0 {
			t.Errorf("looking up stored %+v, %v", contacts, err)
		}
		if contacts, err := bob.Contacts(ctx); err != nil || len(contacts) != 0 {
			t.Errorf("looking up told %+v, %v", contacts, err)
		}
		nobody := strings.Repeat("a", 32)
		for who, code := range map[string]client.Code{
			"": client.CodeUsage, "robert": client.CodeNotFound, "Bob": client.CodeNotFound, nobody: client.CodeNotFound,
			"alice": client.CodeSelf, alice.id: client.CodeSelf, "https://relay.test/add#" + alice.id: client.CodeSelf,
		} {
			_, err := alice.LookUp(ctx, who)
			wantCode(t, fmt.Sprintf("%q", who), err, code)
		}

		// A relay that gives somebody else's keys, or none.
		forged := mallory.list
		h.onAnswer("GET /devices", func(string, []byte) []byte { return []byte(`{"device_list":"` + encode(forged) + `"}`) })
		for _, who := range []string{"bob", bob.id} {
			_, err := alice.LookUp(ctx, who)
			wantCode(t, "another's keys for "+who, err, client.CodeKeyMismatch)
		}
		forged = []byte("garbage")
		_, err = alice.LookUp(ctx, carol.id())
		wantCode(t, "garbage", err, client.CodeKeyMismatch)
		h.onAnswer("GET /devices", func(string, []byte) []byte { return nil })
		_, err = alice.LookUp(ctx, "bob")
		wantCode(t, "a name without an answer", err, client.CodeUnreachable)
		if got, err := alice.LookUp(ctx, carol.id()); err != nil || got.Checked || got.UserID != carol.id() {
			t.Errorf("an ID without an answer: %+v, %v", got, err)
		}
		h.onAnswer("GET /devices", nil)

		// A contact is shown as such, and her keys are known without asking.
		alice.run()
		alice.add("bob")
		bob.accept2(alice)
		w.relay.pipe.cut()
		for _, who := range []string{"bob", "Bob", bob.id} {
			got, err := alice.LookUp(ctx, who)
			if err != nil || !got.Checked || got.UserID != bob.id || got.Contact == nil || got.Contact.State != client.ContactAccepted {
				t.Errorf("a contact: %+v, %v", got, err)
			}
		}
		_, err = alice.LookUp(ctx, "carol")
		wantCode(t, "without a relay", err, client.CodeUnreachable)
	})
}

// accept2 lets a request arrive and accepts it.
func (p *person) accept2(who *person) {
	p.t.Helper()
	settle()
	p.accept(who)
	settle()
}

func TestStrangersAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		bob := w.register("bob").run()
		settle()
		loud := w.puppet()
		for i := range 25 {
			loud.say(bob.id, fmt.Sprintf("text %d", i))
		}
		settle()
		items, err := bob.History(ctx, loud.id(), "", 100)
		if err != nil || len(items) != 20 || items[19].Text != "text 19" || !items[0].Request {
			t.Fatalf("%d items, %v", len(items), err)
		}
		chats, err := bob.Chats(ctx)
		if err != nil || len(chats) != 1 || chats[0].Dropped != 5 || chats[0].Unread != 20 || chats[0].Last.Text != "text 19" {
			t.Errorf("%+v, %v", chats, err)
		}
		for i := range 102 {
			p := w.puppet()
			p.say(bob.id, fmt.Sprintf("stranger %d", i))
		}
		settle()
		contacts, err := bob.Contacts(ctx)
		if err != nil || len(contacts) != 100 {
			t.Errorf("%d contacts, %v", len(contacts), err)
		}
		if status, err := bob.Status(ctx); err != nil || status.Outbox != 0 {
			t.Errorf("strangers are answered: %+v, %v", status, err)
		}

		// Accepted, she is heard again, and what was dropped shows.
		if _, err := bob.AcceptContact(ctx, loud.id()); err != nil {
			t.Fatal(err)
		}
		loud.say(bob.id, "still here")
		settle()
		items, err = bob.History(ctx, loud.id(), "", 1)
		if err != nil || items[0].Kind != client.KindMissing || items[0].GapBefore != 5 || items[1].Text != "still here" || items[1].Request {
			t.Errorf("%+v, %v", items, err)
		}
	})
}

func TestAutomaticAcceptance(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		if err := bob.SetSetting(t.Context(), client.SettingAutoAccept, "on"); err != nil {
			t.Fatal(err)
		}
		alice.send(bob, "hello")
		settle()
		alice.sees(bob, "> request", "> hello", "< accepted")
		bob.sees(alice, "< request", "> accepted", "< hello")
		if a, b := alice.contact(bob).State, bob.contact(alice).State; a != client.ContactAccepted || b != client.ContactAccepted {
			t.Errorf("%s and %s", a, b)
		}
	})
}

func TestBlock(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		w.relay.pipe.cut()
		waiting := bob.send(alice, "not yet sent")
		if c, err := bob.BlockContact(ctx, "alice"); err != nil || c.State != client.ContactBlocked {
			t.Fatalf("%+v, %v", c, err)
		}
		if got := bob.state(waiting.ID); got != client.StateFailed {
			t.Errorf("a message to somebody blocked is %s", got)
		}
		w.relay.pipe.mend()
		alice.send(bob, "can you hear me?")
		rest(3 * time.Minute)
		bob.sees(alice, "< request", "> accepted", "> not yet sent")
		if got := alice.contact(bob); got.Presence != client.PresenceOffline || got.State != client.ContactAccepted {
			t.Errorf("Alice learns of the blocking: %+v", got)
		}
		_, err := bob.Send(ctx, "alice", "x", client.SendOptions{})
		wantCode(t, "sending to somebody blocked", err, client.CodeBlocked)
		_, err = bob.AddContact(ctx, "alice")
		wantCode(t, "adding somebody blocked", err, client.CodeBlocked)

		bob.accept(alice)
		settle()
		alice.send(bob, "hello again")
		settle()
		bob.sees(alice, "< request", "> accepted", "> not yet sent", "> accepted", "< missing 1", "< hello again")
		if got := alice.contact(bob).Presence; got != client.PresenceOnline {
			t.Errorf("after unblocking Bob is %q to Alice", got)
		}
		if got := bob.contact(alice).Presence; got != client.PresenceOnline {
			t.Errorf("after unblocking Alice is %q to Bob", got)
		}
		if c, err := bob.BlockContact(ctx, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"); err != nil || c.State != client.ContactBlocked {
			t.Errorf("blocking a stranger: %+v, %v", c, err)
		}
	})
}

func TestRemove(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		alice.send(bob, "a word to be forgotten")
		settle()
		if c, err := bob.RemoveContact(ctx, "Alice"); err != nil || c.UserID != alice.id {
			t.Fatalf("%+v, %v", c, err)
		}
		if contacts, err := bob.Contacts(ctx); err != nil || len(contacts) != 0 {
			t.Errorf("%+v, %v", contacts, err)
		}
		if found, err := bob.Search(ctx, "forgotten", 10); err != nil || len(found) != 0 {
			t.Errorf("found %+v, %v", found, err)
		}
		alice.send(bob, "into the void")
		settle()
		if contacts, err := bob.Contacts(ctx); err != nil || len(contacts) != 0 {
			t.Errorf("%+v, %v", contacts, err)
		}

		// They begin anew, and the numbers of their messages go on.
		bob.send(alice, "sorry")
		settle()
		alice.send(bob, "never mind")
		settle()
		alice.sees(bob, "> request", "< accepted", "> a word to be forgotten", "> into the void",
			"< request", "> accepted", "< sorry", "> never mind")
		got := bob.conversation(alice)
		if !strings.HasSuffix(got, "< never mind") || !strings.Contains(got, "< accepted") || !strings.Contains(got, "missing 1") {
			t.Errorf("Bob sees\n%s", got)
		}
	})
}

// A contact may be removed while the relay gives the keys of another for her: the
// engine goes on, and nothing is held against her when she is added again.
func TestRemovedWhileKeysAreInDoubt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob, mallory := w.register("alice"), w.puppet(), w.puppet()
		h := alice.corrupt()
		alice.run()
		asked := 0
		h.onBundles(func(b *relay.BundlesResponse) {
			if asked++; asked > 1 {
				return
			}
			*b = mallory.bundles()
			if _, err := alice.RemoveContact(t.Context(), bob.id()); err != nil {
				t.Error(err)
			}
		})
		alice.add(bob.id())
		settle()
		sent, err := alice.Send(t.Context(), bob.id(), "hello", client.SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if got := alice.state(sent.ID); got != client.StateSent || asked != 2 {
			t.Errorf("asked %d times, and the message is %s", asked, got)
		}
		alice.pause() // which wants Run to have no error
	})
}

// The username of a contact names another account.
func TestUsernameThatMoves(t *testing.T) {
	for _, verified := range []bool{false, true} {
		for _, asked := range []bool{false, true} {
			t.Run(fmt.Sprintf("verified=%v/asked=%v", verified, asked), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) { usernameMoves(t, w, verified, asked) })
			})
		}
	}
}

func usernameMoves(t *testing.T, w *world, verified, asked bool) {
	ctx := t.Context()
	alice, bob := w.register("alice").run(), w.register("bob").run()
	settle()
	alice.add("bob")
	bob.accept2(alice)
	alice.send(bob, "to the first Bob")
	settle()
	old, err := alice.Safety(ctx, bob.id)
	if err != nil {
		t.Fatal(err)
	}
	if verified {
		if _, err := alice.Verify(ctx, bob.id, old.Number); err != nil {
			t.Fatal(err)
		}
	}
	bob.pause()
	if err := bob.DeleteAccount(ctx, []byte("wrong")); err == nil {
		t.Fatal("deleted with a wrong password")
	}
	if err := bob.DeleteAccount(ctx, password); err != nil {
		t.Fatal(err)
	}
	if client.Exists(bob.dir) {
		t.Error("the profile is still there")
	}
	delete(w.people, "bob")
	second := w.register("bob").run()
	if asked {
		second.send(alice, "it is me, anew")
	}
	settle()

	early := alice.send(bob, "too early")
	rest(10 * time.Minute)
	sent := alice.send(bob, "to whom?")
	settle()
	contact := alice.contact(bob)
	if !contact.KeyChanged || contact.Verified != verified {
		t.Errorf("%+v", contact)
	}
	want := client.StateQueued // the old account is gone
	if verified {
		want = client.StateHeld
	}
	if got := alice.state(sent.ID); got != want {
		t.Errorf("the message is %s, want %s", got, want)
	}
	if !strings.Contains(alice.conversation(bob), "< key_change") {
		t.Errorf("Alice sees\n%s", alice.conversation(bob))
	}
	_, err = alice.Verify(ctx, bob.id, old.Number)
	wantCode(t, "the number shown before", err, client.CodeMismatch)
	if got := second.conversationWith(alice); strings.Contains(got, "to whom?") {
		t.Errorf("the new account was sent the message: %s", got)
	}

	s, err := alice.AcceptKey(ctx, "bob")
	if err != nil || s.Verified || s.KeyChanged || s.Number == old.Number {
		t.Fatalf("%+v, %v", s, err)
	}
	again, err := alice.AcceptKey(ctx, "bob")
	if err != nil || again != s {
		t.Errorf("%+v, %v", again, err)
	}
	theirs, err := second.Safety(ctx, alice.id)
	if err == nil && theirs.Number != s.Number {
		t.Errorf("numbers %s and %s", s.Number, theirs.Number)
	}
	settle()
	if !asked {
		second.accept(alice)
	}
	settle()
	if got := alice.state(sent.ID); got != client.StateSent {
		t.Errorf("the message is %s", got)
	}
	// It was encrypted for the first Bob, and nothing is encrypted anew by itself;
	// unless the request had given the change away before.
	want = client.StateFailed
	if verified && asked {
		want = client.StateSent
	}
	if got := alice.state(early.ID); got != want {
		t.Errorf("the message that was written before the change was known is %s", got)
	}
	second.send(alice, "thank you")
	settle()
	got := second.conversation(alice)
	if !strings.Contains(got, "< to whom?") || strings.Contains(got, "missing") || strings.Contains(got, "first Bob") || strings.Contains(got, "too early") != (verified && asked) {
		t.Errorf("the new account sees\n%s", got)
	}
	if got := alice.conversation(second); !strings.HasSuffix(got, "< thank you") || strings.Contains(got, "undecryptable") || strings.Contains(got, "missing") {
		t.Errorf("Alice sees\n%s", got)
	}
	if got := alice.contact(second); got.State != client.ContactAccepted || got.KeyChanged || got.Verified {
		t.Errorf("%+v", got)
	}
}

// conversationWith is conversation, empty without a contact.
func (p *person) conversationWith(other *person) string {
	p.t.Helper()
	if _, err := p.Contact(p.t.Context(), other.id); err != nil {
		return ""
	}
	return p.conversation(other)
}
