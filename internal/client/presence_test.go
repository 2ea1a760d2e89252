package client_test

import (
	"sync"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
)

func (p *person) setPresence(value string) {
	p.t.Helper()
	if err := p.SetSetting(p.t.Context(), client.SettingPresence, value); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) finds(when string, other *person, want client.Presence) {
	p.t.Helper()
	if got := p.contact(other).Presence; got != want {
		p.t.Errorf("%s: %s is %q to %s, want %q", when, other.name, got, p.name, want)
	}
}

func TestPresence(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		alice.add(bob.id)
		settle()
		alice.finds("asked", bob, client.PresenceUnknown)
		bob.finds("was asked", alice, client.PresenceUnknown)
		bob.accept(alice)
		settle()
		alice.finds("accepted", bob, client.PresenceOnline)
		bob.finds("accepted", alice, client.PresenceOnline)

		for _, value := range []client.Presence{client.PresenceAway, client.PresenceBusy, client.PresenceOnline} {
			bob.setPresence(string(value))
			settle()
			alice.finds("changed", bob, value)
		}
		rest(time.Hour)
		alice.finds("an hour later", bob, client.PresenceOnline)
		left := time.Now()
		bob.stop()
		settle()
		alice.finds("gone", bob, client.PresenceOffline)
		if seen := alice.contact(bob).LastSeen; seen == nil || seen.Sub(left).Abs() > time.Second {
			t.Errorf("last seen %v, want %v", seen, left)
		}
		bob.reopen().run()
		settle()
		alice.finds("back", bob, client.PresenceOnline)

		bob.setPresence("off")
		settle()
		alice.finds("switched off", bob, client.PresenceOffline)
		bob.finds("switched off", alice, client.PresenceOnline)
		rest(time.Hour)
		seen := alice.contact(bob).LastSeen
		bob.send(alice, "I am here, but nobody knows")
		rest(time.Hour)
		if now := alice.contact(bob).LastSeen; !now.Equal(*seen) {
			t.Errorf("switched off, last seen went from %v to %v", seen, now)
		}
		bob.setPresence("online")
		settle()
		alice.finds("switched on", bob, client.PresenceOnline)

		w.relay.pipe.cut()
		settle()
		alice.finds("without a connection", bob, client.PresenceUnknown)
	})
}

// Whoever connects later learns the presence that is there.
func TestPresenceIsThereAtOnce(t *testing.T) {
	inWorld(t, func(_ *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		bob.setPresence("busy")
		alice.stop()
		rest(3 * time.Minute)
		alice.reopen().run()
		settle()
		alice.finds("connected", bob, client.PresenceBusy)
	})
}

func TestPresenceThroughAHostileRelay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		h := alice.corrupt()
		var (
			mu       sync.Mutex
			recorded []relay.TopicUpdate
			withhold bool
		)
		h.onTopic(func(u relay.TopicUpdate) []relay.TopicUpdate {
			mu.Lock()
			defer mu.Unlock()
			if !u.Gone {
				recorded = append(recorded, u)
			}
			if withhold {
				return nil
			}
			return []relay.TopicUpdate{u}
		})
		last := func() relay.TopicUpdate {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if len(recorded) == 0 || len(recorded[0].Payload) != content.PresenceSize {
				t.Fatalf("recorded %+v", recorded)
			}
			return recorded[len(recorded)-1]
		}
		alice.run()
		settle()
		alice.finds("honest", bob, client.PresenceOnline)
		online := last()
		bob.setPresence("away")
		settle()

		// Replay.
		replay := func() {
			h.inject(relay.AppendTopic(nil, online))
			settle()
		}
		alice.finds("away", bob, client.PresenceAway)
		replay()
		alice.finds("replayed", bob, client.PresenceAway)

		// Forgery.
		forged := online
		forged.Payload = content.Presence{State: content.Busy, At: time.Now()}.Seal(content.Topic{ID: online.Topic, Key: content.NewTopic().Key})
		h.inject(relay.AppendTopic(nil, forged))
		forged.Payload = append([]byte(nil), last().Payload...)
		forged.Payload[40] ^= 1
		h.inject(relay.AppendTopic(nil, forged))
		forged.Payload = []byte("x")
		h.inject(relay.AppendTopic(nil, forged))
		h.inject(relay.AppendTopic(nil, relay.TopicUpdate{Topic: relay.TopicID{1}, Gone: true}))
		settle()
		alice.finds("forged", bob, client.PresenceAway)

		// An invented tombstone is a hint, and the next value is stronger.
		h.inject(relay.AppendTopic(nil, relay.TopicUpdate{Topic: online.Topic, Gone: true}))
		settle()
		alice.finds("invented tombstone", bob, client.PresenceOffline)
		replay()
		alice.finds("invented tombstone and replay", bob, client.PresenceOffline)
		rest(2 * time.Minute)
		alice.finds("repeated", bob, client.PresenceAway)

		// Withholding: the value does not last.
		mu.Lock()
		withhold = true
		mu.Unlock()
		rest(8 * time.Minute)
		alice.finds("withheld", bob, client.PresenceOffline)
		replay()
		alice.finds("withheld and replay", bob, client.PresenceOffline)

		// Nor does an old value count after a restart.
		bob.setPresence("online")
		settle()
		fresh := last()
		rest(10 * time.Minute)
		alice.stop()
		alice.reopen().run()
		settle()
		h.inject(relay.AppendTopic(nil, fresh))
		settle()
		alice.finds("replayed after a restart", bob, client.PresenceOffline)
	})
}
