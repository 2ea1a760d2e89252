package client_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

func (w *world) create(dir, name string) (*client.Client, error) {
	p := &person{t: w.t, w: w, dial: w.relay.pipe.dial}
	return client.Create(w.t.Context(), dir, password, client.Registration{Server: origin, Username: name}, p.config(), nil)
}

func TestCreate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		dir := filepath.Join(t.TempDir(), "profiles", "alice")
		if client.Exists(dir) {
			t.Error("a profile before there is one")
		}
		p := &person{t: t, w: w, dial: w.relay.pipe.dial}
		var steps []client.ProgressStep
		c, err := client.Create(ctx, dir, password, client.Registration{Server: origin + "/", Username: "alice", DisplayName: " Alice \u202e Liddell"}, p.config(),
			func(p client.Progress) {
				steps = append(steps, p.Step)
				if p.Done != len(steps) || p.Total != 6 {
					t.Errorf("%+v is step %d", p, len(steps))
				}
			})
		if err != nil {
			t.Fatal(err)
		}
		want := []client.ProgressStep{
			client.ProgressVault, client.ProgressAccountKey, client.ProgressIdentityKey,
			client.ProgressSignedPreKey, client.ProgressOneTime, client.ProgressUpload,
		}
		if !slices.Equal(steps, want) {
			t.Errorf("steps %q", steps)
		}
		self, err := c.Self(ctx)
		if err != nil || self.Username != "alice" || self.DisplayName != "Alice Liddell" || self.Server != "http://relay.test" ||
			self.Device != 1 || len(self.UserID) != 32 {
			t.Errorf("%+v, %v", self, err)
		}
		_, err = client.Open(ctx, dir, password, p.config())
		wantCode(t, "opened twice", err, client.CodeProfileInUse)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Contacts(ctx); err == nil {
			t.Error("a closed engine answers")
		}
		_, err = w.create(dir, "alice2")
		wantCode(t, "made twice", err, client.CodeProfileExists)
		_, err = client.Open(ctx, dir, []byte("wrong"), p.config())
		wantCode(t, "a wrong password", err, client.CodeWrongPassword)
		_, err = client.Open(ctx, filepath.Join(dir, "nothing"), password, p.config())
		wantCode(t, "no profile", err, client.CodeNoProfile)
		c, err = client.Open(ctx, dir, password, p.config())
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Self(ctx)
		if err != nil || again != self {
			t.Errorf("%+v, %v, want %+v", again, err, self)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}

		// Nothing is left of what the relay refuses, and the name can be taken then.
		other := filepath.Join(t.TempDir(), "other")
		_, err = w.create(other, "alice")
		wantCode(t, "a taken name", err, client.CodeNameTaken)
		if client.Exists(other) {
			t.Error("a refused registration left a profile")
		}
		for _, reg := range []client.Registration{
			{Server: "ftp://x", Username: "bob"}, {Server: "", Username: "bob"}, {Server: origin, Username: "Bob"}, {Server: origin, Username: "b"},
		} {
			_, err := client.Create(ctx, other, password, reg, p.config(), nil)
			wantCode(t, reg.Server+" "+reg.Username, err, client.CodeUsage)
		}
		_, err = client.Create(ctx, other, nil, client.Registration{Server: origin}, p.config(), nil)
		wantCode(t, "no password", err, client.CodeUsage)
		w.relay.pipe.cut()
		_, err = w.create(other, "bob")
		wantCode(t, "no relay", err, client.CodeUnreachable)
		if client.Exists(other) {
			t.Error("an unreachable relay left a profile")
		}
		w.relay.pipe.mend()
		c, err = w.create(other, "bob")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A network that delivers a request twice, and the second answer alone, costs nobody
// the name that was registered with the first; and its logins are no conflict.
func TestRequestsDeliveredTwice(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := &person{t: t, w: w, name: "alice", dir: filepath.Join(t.TempDir(), "alice"), dial: w.relay.pipe.dial}
		h := p.between()
		h.deliverTwice("POST /register")
		var err error
		p.Client, err = client.Create(t.Context(), p.dir, password, client.Registration{Server: origin, Username: "alice"}, p.config(), nil)
		if err != nil {
			t.Fatal(err)
		}
		w.people["alice"] = p
		for range 3 {
			h.deliverTwice("POST /token")
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p.reopen().run()
			settle()
			if status, err := p.Status(t.Context()); err != nil || !status.Connected || status.Conflict != nil {
				t.Errorf("%+v, %v", status, err)
			}
			p.pause()
		}
	})
}

// A crash between the registration at the relay and the note of it here is made up
// for at the next unlock.
func TestInterruptedRegistration(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		dir := filepath.Join(t.TempDir(), "alice")
		// The answer of the relay is lost.
		p := &person{t: t, w: w, name: "alice", dir: dir, dial: w.relay.pipe.dial}
		h := p.between()
		lost := 0
		h.onAnswer("POST /register", func(string, []byte) []byte { lost++; return nil })
		_, err := client.Create(ctx, dir, password, client.Registration{Server: origin, Username: "alice"}, p.config(), nil)
		wantCode(t, "the answer is lost", err, client.CodeUnreachable)
		if lost != 1 || !client.Exists(dir) {
			t.Fatalf("%d answers were lost; the profile exists: %v", lost, client.Exists(dir))
		}
		_, err = client.Open(ctx, dir, password, p.config())
		wantCode(t, "lost again", err, client.CodeUnreachable)
		h.onAnswer("POST /register", nil)
		c, err := client.Open(ctx, dir, password, p.config())
		if err != nil {
			t.Fatal(err)
		}
		p.Client = c
		self, err := c.Self(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p.id = self.UserID
		w.people["alice"] = p
		p.run()
		bob := w.register("bob").run()
		bob.send(p, "hello")
		settle()
		p.sees(bob, "< request", "< hello")
	})
}

func TestPasswords(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice := w.register("alice")
		wantCode(t, "wrong", alice.ChangePassword(ctx, []byte("wrong"), []byte("new")), client.CodeWrongPassword)
		wantCode(t, "empty", alice.ChangePassword(ctx, password, nil), client.CodeUsage)
		if err := alice.ChangePassword(ctx, password, []byte("new")); err != nil {
			t.Fatal(err)
		}
		alice.stop()
		_, err := client.Open(ctx, alice.dir, password, alice.config())
		wantCode(t, "the old one", err, client.CodeWrongPassword)
		time.Sleep(8 * 24 * time.Hour) // so that the account key is needed, too
		c, err := client.Open(ctx, alice.dir, []byte("new"), alice.config())
		if err != nil {
			t.Fatal(err)
		}
		alice.Client = c
	})
}

func TestSettings(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice := w.register("alice")
		got, err := alice.Settings(ctx)
		if err != nil || len(got) != 3 || got["auto-accept"] != "off" || got["presence"] != "online" || got["language"] != "auto" {
			t.Errorf("%v, %v", got, err)
		}
		wantCode(t, "unknown", alice.SetSetting(ctx, "registration invite", "x"), client.CodeUsage)
		wantCode(t, "a wrong value", alice.SetSetting(ctx, "presence", "asleep"), client.CodeUsage)
		if err := alice.SetSetting(ctx, "language", "zh"); err != nil {
			t.Error(err)
		}
		alice.stop()
		alice.reopen()
		if got, err = alice.Settings(ctx); err != nil || got["language"] != "zh" {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// Prekeys are made again when they run low, and rotated when they are old.
func TestPreKeysAreLookedAfter(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob := w.register("bob").run()
		settle()
		mallory := w.puppet()
		first := mallory.fetch(bob.id)
		for range 59 {
			mallory.fetch(bob.id)
		}
		rest(2 * time.Hour)
		if s, err := bob.Status(t.Context()); err != nil || s.PrekeysLeft != 100 {
			t.Errorf("%+v, %v", s, err)
		}
		rest(7 * 24 * time.Hour)
		second := mallory.fetch(bob.id)
		if second.SignedPreKey.ID == first.SignedPreKey.ID {
			t.Error("the signed prekey was not replaced")
		}
		mallory.say(bob.id, "with new keys")
		settle()
		if contacts, err := bob.Contacts(t.Context()); err != nil || len(contacts) != 1 {
			t.Errorf("%+v, %v", contacts, err)
		}
	})
}

// Messages to somebody who has been away for so long that her prekeys have expired
// wait until she is back.
func TestExpiredPreKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice"), w.register("bob")
		bob.stop()
		alice.stop()
		time.Sleep(40 * 24 * time.Hour)
		alice.reopen().run()
		sent := alice.send(bob, "are you back?")
		settle()
		s, err := alice.ContactStatus(t.Context(), bob.id)
		if err != nil || s.Reason != "no_prekeys" || alice.state(sent.ID) != client.StateQueued {
			t.Errorf("%+v, %v, %s", s, err, alice.state(sent.ID))
		}
		bob.reopen().run()
		rest(10 * time.Minute)
		if got := alice.state(sent.ID); got != client.StateSent {
			t.Errorf("the message is %s", got)
		}
		bob.sees(alice, "< request", "< are you back?")
	})
}

// Nothing that people write or are called is in the log, nor who they are.
func TestTheLogIsSilent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		alice.add("bob")
		bob.accept2(alice)
		alice.send(bob, "canary text")
		w.relay.pipe.cut()
		rest(time.Minute)
		w.relay.pipe.mend()
		rest(time.Minute)
		mallory := w.puppet()
		mallory.post(bob.id, []byte("garbage"))
		h := alice.corrupt()
		h.onBundles(nil)
		h.onAnswer("POST /bundles", func(string, []byte) []byte { return []byte(`{"device_list":"AAAA","bundles":[]}`) })
		alice.run()
		if _, err := alice.Send(t.Context(), mallory.id(), "canary two", client.SendOptions{}); err != nil {
			t.Fatal(err)
		}
		rest(time.Minute)
		got := w.log.String()
		if got == "" {
			t.Error("nothing was logged at all")
		}
		for _, canary := range []string{"canary", "alice", "Alice", "bob", "Bob", alice.id, bob.id, mallory.id(), string(password)} {
			if strings.Contains(got, canary) {
				t.Errorf("%q is in the log:\n%s", canary, got)
			}
		}
	})
}

func TestCloseStopsRun(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		ended := make(chan error, 1)
		go func() { ended <- alice.Run(context.Background()) }()
		settle()
		events, _ := alice.Subscribe()
		if err := alice.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		var kinds []client.EventKind
		for e := range events {
			kinds = append(kinds, e.Kind)
		}
		if len(kinds) == 0 || kinds[len(kinds)-1] != client.EventClosed {
			t.Errorf("events %q", kinds)
		}
		wantCode(t, "Run after Close", alice.Run(t.Context()), client.CodeClosed)
	})
}

func TestProfileIsPrivate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		entries, err := os.ReadDir(alice.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
			}
		}
	})
}
