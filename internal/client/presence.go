package client

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/vault"
)

const (
	// presenceEvery is how often the own value is repeated, presenceFor how long a
	// contact's counts, and how far her clock may be off (docs/PROTOCOL.md,
	// Presence).
	presenceEvery = 2 * time.Minute
	presenceFor   = 5 * time.Minute

	// farewellTime bounds how long leaving may take.
	farewellTime = time.Second

	presenceOff = "off"
)

var presenceStates = map[Presence]content.PresenceState{
	PresenceOnline: content.Online, PresenceAway: content.Away, PresenceBusy: content.Busy, PresenceOffline: content.Offline,
}

func presenceOf(state content.PresenceState) Presence {
	for p, s := range presenceStates {
		if s == state {
			return p
		}
	}
	return PresenceUnknown
}

// ownTopic returns the topic on which contact learns our presence, made now if
// there is none. The contact is to be stored.
func ownTopic(contact *vault.Contact) content.Topic {
	if topic, ok := parseTopic(contact.TopicOut); ok {
		return topic
	}
	topic := content.NewTopic()
	contact.TopicOut = vault.Topic{ID: topic.ID[:], Key: bytes.Clone(topic.Key.Bytes())}
	return topic
}

func parseTopic(stored vault.Topic) (content.Topic, bool) {
	key, err := secret.ParseKey(stored.Key)
	if err != nil || len(stored.ID) != content.TopicIDSize {
		return content.Topic{}, false
	}
	return content.Topic{ID: [content.TopicIDSize]byte(stored.ID), Key: key}, true
}

// presence is what contacts let us know, while there is a connection. The zero
// value is ready.
type presence struct {
	mu     sync.Mutex
	online bool
	topics map[relay.TopicID]*watched
	users  map[string]*watched
}

// watched is the topic of one contact.
type watched struct {
	user  string
	topic content.Topic
	state Presence
	at    time.Time // what the newest value says, by her clock
	heard time.Time // when it came, by ours
}

// of returns what a contact lets us know.
func (p *presence) of(contact vault.Contact) Presence {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.users[contact.User]
	if !p.online || w == nil || contact.State != vault.Accepted {
		return PresenceUnknown
	}
	return w.state
}

// watch takes over the topics of contacts, and returns those that are new and
// those that are gone.
func (p *presence) watch(contacts []vault.Contact) (added, removed []relay.TopicID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.online = true
	topics, users := map[relay.TopicID]*watched{}, map[string]*watched{}
	for _, contact := range contacts {
		topic, ok := parseTopic(contact.TopicIn)
		if !ok || contact.State != vault.Accepted || len(topics) == relay.MaxTopics {
			continue
		}
		id := relay.TopicID(topic.ID)
		w := p.topics[id]
		if w == nil || w.user != contact.User {
			w = &watched{user: contact.User, state: PresenceOffline, at: contact.LastSeen}
			added = append(added, id)
		}
		w.topic = topic
		topics[id], users[contact.User] = w, w
	}
	for id := range p.topics {
		if topics[id] == nil {
			removed = append(removed, id)
		}
	}
	p.topics, p.users = topics, users
	return added, removed
}

// forget ends the watching, because the connection has ended. It returns those
// whose presence is not known any more, and when they were seen.
func (p *presence) forget() map[string]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]time.Time{}
	for user, w := range p.users {
		seen[user] = w.at
	}
	p.online, p.topics, p.users = false, nil, nil
	return seen
}

// take takes over an update of a topic. It reports whose presence has changed,
// and when she was seen; a value that is not hers, not new or not of these minutes
// changes nothing.
func (p *presence) take(u relay.TopicUpdate, now time.Time) (user string, seen time.Time, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.topics[u.Topic]
	if w == nil {
		return "", time.Time{}, false
	}
	if u.Gone {
		changed = w.state != PresenceOffline
		w.state = PresenceOffline // a hint: nobody has signed it
		return w.user, w.at, changed
	}
	value, err := content.OpenPresence(w.topic, u.Payload)
	if err != nil || now.Sub(value.At).Abs() > presenceFor {
		return "", time.Time{}, false
	}
	// After connecting, the relay hands out the value it holds, which may be the
	// newest one that was known before.
	if !value.At.After(w.at) && !(w.heard.IsZero() && value.At.Equal(w.at)) {
		return "", time.Time{}, false
	}
	state := presenceOf(value.State)
	changed = w.state != state
	w.state, w.at, w.heard = state, value.At, now
	return w.user, w.at, changed
}

// expire makes those offline who have not been heard of for too long, and returns
// them, and when they were seen.
func (p *presence) expire(now time.Time) map[string]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]time.Time{}
	for user, w := range p.users {
		if w.state != PresenceOffline && now.Sub(w.heard) > presenceFor {
			w.state = PresenceOffline
			seen[user] = w.at
		}
	}
	return seen
}

// learnPresence takes over an update that the relay has sent.
func (c *Client) learnPresence(ctx context.Context, u relay.TopicUpdate) error {
	user, seen, changed := c.presence.take(u, time.Now())
	if !changed {
		return nil
	}
	return c.noteSeen(ctx, map[string]time.Time{user: seen})
}

// noteSeen stores when contacts were seen last, and tells that their presence has
// changed.
func (c *Client) noteSeen(ctx context.Context, seen map[string]time.Time) error {
	if len(seen) == 0 {
		return nil
	}
	return c.update(ctx, func(tx *vault.Tx, ch *change) error {
		for user, at := range seen {
			contact, err := tx.Contact(user)
			if errors.Is(err, vault.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			ch.contact(user)
			if !at.After(contact.LastSeen) {
				continue
			}
			contact.LastSeen = at
			if _, err := tx.PutContact(contact); err != nil {
				return err
			}
		}
		return nil
	})
}

// publishing is the own presence on one connection.
type publishing struct {
	c      *Client
	conn   *relayclient.Conn
	topics map[relay.TopicID]content.Topic // those with a value of ours
	state  Presence                        // the value
	at     time.Time                       // of the newest value
}

// runPresence publishes the own presence and watches that of contacts until ctx
// or the connection ends. Before it returns because leaving has ended, it says
// goodbye.
func (c *Client) runPresence(ctx, leaving context.Context, conn *relayclient.Conn) error {
	p := &publishing{c: c, conn: conn, topics: map[relay.TopicID]content.Topic{}}
	repeat := time.NewTicker(presenceEvery)
	defer repeat.Stop()
	for again := true; ; {
		if err := p.update(ctx, again); err != nil {
			return err
		}
		if err := c.noteSeen(ctx, c.presence.expire(time.Now())); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			if leaving.Err() != nil {
				p.farewell(leaving)
			}
			return nil
		case <-repeat.C:
			again = true
		case <-c.wakePresence:
			again = false
		}
	}
}

// update brings subscriptions and values up to date; with again set it repeats
// the values that have not changed.
func (p *publishing) update(ctx context.Context, again bool) error {
	var contacts []vault.Contact
	var chosen string
	err := p.c.view(ctx, func(tx *vault.Tx) (err error) {
		if contacts, err = tx.Contacts(); err != nil {
			return err
		}
		chosen, err = setting(tx, SettingPresence)
		return err
	})
	if err != nil {
		return err
	}
	added, removed := p.c.presence.watch(contacts)
	if len(removed) > 0 {
		if err := p.conn.Unsubscribe(ctx, removed...); err != nil {
			return err
		}
	}
	if len(added) > 0 {
		if err := p.conn.Subscribe(ctx, added...); err != nil {
			return err
		}
	}

	state := Presence(chosen)
	wanted := map[relay.TopicID]content.Topic{}
	for _, contact := range contacts {
		topic, ok := parseTopic(contact.TopicOut)
		if ok && contact.State == vault.Accepted && chosen != presenceOff && len(wanted) < relay.MaxTopics {
			wanted[relay.TopicID(topic.ID)] = topic
		}
	}
	for id := range p.topics {
		if _, still := wanted[id]; !still {
			if err := p.conn.Retract(ctx, id); err != nil {
				return err
			}
			delete(p.topics, id)
		}
	}
	again = again || state != p.state
	p.state = state
	for id, topic := range wanted {
		if _, there := p.topics[id]; there && !again {
			continue
		}
		p.topics[id] = topic
		if err := p.publish(ctx, id, state); err != nil {
			return err
		}
	}
	return nil
}

// publish sends a value, later than all before it.
func (p *publishing) publish(ctx context.Context, id relay.TopicID, state Presence) error {
	now := time.Now().UTC().Truncate(time.Millisecond)
	if !now.After(p.at) {
		now = p.at.Add(time.Millisecond)
	}
	p.at = now
	return p.conn.Publish(ctx, id, content.Presence{State: presenceStates[state], At: now}.Seal(p.topics[id]))
}

// farewell says offline, so that contacts know since when, as far as the
// connection takes it. leaving has ended already.
func (p *publishing) farewell(leaving context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(leaving), farewellTime)
	defer cancel()
	for id := range p.topics {
		if p.publish(ctx, id, PresenceOffline) != nil {
			return
		}
	}
}
