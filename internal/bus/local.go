package bus

import (
	"slices"
	"sync"

	"github.com/chate2e/chate2e/internal/relay"
)

// shards keeps connections that have nothing to do with each other from waiting
// for each other.
const shards = 32

// Local is the bus of a single node.
type Local struct {
	mailboxes [shards]mailboxShard
	topics    [shards]topicShard
}

type mailboxShard struct {
	mu      sync.Mutex
	members map[relay.Address][]*localMember // guarded by mu
}

type topicShard struct {
	mu     sync.Mutex
	topics map[relay.TopicID]*topic // guarded by mu
}

// topic is there as long as it has subscribers or an owner.
type topic struct {
	subscribers []*localMember
	owner       *localMember // of the value; nil if there is none
	value       []byte
}

var _ Bus = (*Local)(nil)

// NewLocal returns a bus without members.
func NewLocal() *Local {
	b := new(Local)
	for i := range shards {
		b.mailboxes[i].members = make(map[relay.Address][]*localMember)
		b.topics[i].topics = make(map[relay.TopicID]*topic)
	}
	return b
}

// User and topic IDs are hashes and random, so any byte of them will do.

func (b *Local) mailboxShard(a relay.Address) *mailboxShard { return &b.mailboxes[a.User[0]%shards] }
func (b *Local) topicShard(id relay.TopicID) *topicShard    { return &b.topics[id[0]%shards] }

// Wake implements [Bus].
func (b *Local) Wake(mailboxes ...relay.Address) {
	for _, a := range mailboxes {
		s := b.mailboxShard(a)
		s.mu.Lock()
		for _, m := range s.members[a] {
			m.listener.Wake()
		}
		s.mu.Unlock()
	}
}

// Join implements [Bus].
func (b *Local) Join(mailbox relay.Address, l Listener) Member {
	m := &localMember{bus: b, mailbox: mailbox, listener: l}
	s := b.mailboxShard(mailbox)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[mailbox] = append(s.members[mailbox], m)
	return m
}

// localMember's maps belong to its connection's goroutine; they stay nil for the
// many members without topics.
type localMember struct {
	bus      *Local
	mailbox  relay.Address
	listener Listener

	subscribed map[relay.TopicID]struct{}
	owned      map[relay.TopicID]int // size of the value published; another may own the topic by now
	ownedBytes int
}

// Subscribe implements [Member].
func (m *localMember) Subscribe(ids []relay.TopicID) error {
	added := 0
	for _, id := range ids {
		if _, ok := m.subscribed[id]; !ok {
			added++
		}
	}
	if len(m.subscribed)+added > relay.MaxTopics {
		return ErrTooMuch
	}
	if m.subscribed == nil {
		m.subscribed = make(map[relay.TopicID]struct{})
	}
	for _, id := range ids {
		if _, ok := m.subscribed[id]; ok {
			continue
		}
		m.subscribed[id] = struct{}{}
		m.bus.topicShard(id).subscribe(id, m)
	}
	return nil
}

func (s *topicShard) subscribe(id relay.TopicID, m *localMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[id]
	if t == nil {
		t = new(topic)
		s.topics[id] = t
	}
	if len(t.subscribers) >= MaxSubscribers {
		return // hears nothing: topics are hints, and a person has fewer devices
	}
	t.subscribers = append(t.subscribers, m)
	if t.owner != nil {
		m.listener.Topic(relay.TopicUpdate{Topic: id, Payload: t.value})
	}
}

// Unsubscribe implements [Member].
func (m *localMember) Unsubscribe(ids []relay.TopicID) {
	for _, id := range ids {
		if _, ok := m.subscribed[id]; ok {
			delete(m.subscribed, id)
			m.bus.topicShard(id).unsubscribe(id, m)
		}
	}
}

func (s *topicShard) unsubscribe(id relay.TopicID, m *localMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[id]
	if t == nil {
		return
	}
	t.subscribers = slices.DeleteFunc(t.subscribers, func(other *localMember) bool { return other == m })
	s.tidy(id, t)
}

// tidy forgets a topic that nobody uses; s.mu is held.
func (s *topicShard) tidy(id relay.TopicID, t *topic) {
	if len(t.subscribers) == 0 && t.owner == nil {
		delete(s.topics, id)
	}
}

// Publish implements [Member].
func (m *localMember) Publish(id relay.TopicID, payload []byte) error {
	before, known := m.owned[id]
	if (!known && len(m.owned) >= relay.MaxTopics) || m.ownedBytes-before+len(payload) > MaxTopicBytes {
		return ErrTooMuch
	}
	if m.owned == nil {
		m.owned = make(map[relay.TopicID]int)
	}
	m.owned[id] = len(payload)
	m.ownedBytes += len(payload) - before

	s := m.bus.topicShard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[id]
	if t == nil {
		t = new(topic)
		s.topics[id] = t
	}
	t.owner, t.value = m, payload
	for _, other := range t.subscribers {
		other.listener.Topic(relay.TopicUpdate{Topic: id, Payload: payload})
	}
	return nil
}

// Retract implements [Member].
func (m *localMember) Retract(id relay.TopicID) {
	size, known := m.owned[id]
	if !known {
		return
	}
	delete(m.owned, id)
	m.ownedBytes -= size
	m.bus.topicShard(id).retract(id, m)
}

func (s *topicShard) retract(id relay.TopicID, m *localMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[id]
	if t == nil || t.owner != m {
		return // somebody else has published since
	}
	t.owner, t.value = nil, nil
	for _, other := range t.subscribers {
		other.listener.Topic(relay.TopicUpdate{Topic: id, Gone: true})
	}
	s.tidy(id, t)
}

// Leave implements [Member].
func (m *localMember) Leave() {
	s := m.bus.mailboxShard(m.mailbox)
	s.mu.Lock()
	rest := slices.DeleteFunc(s.members[m.mailbox], func(other *localMember) bool { return other == m })
	if len(rest) == 0 {
		delete(s.members, m.mailbox)
	} else {
		s.members[m.mailbox] = rest
	}
	s.mu.Unlock()
	for id := range m.subscribed {
		m.bus.topicShard(id).unsubscribe(id, m)
	}
	m.subscribed = nil
	for id := range m.owned {
		m.bus.topicShard(id).retract(id, m)
	}
	m.owned, m.ownedBytes = nil, 0
}
