// Package bustest is the suite that every implementation of [bus.Bus] passes.
//
//	bustest.Run(t, func(t *testing.T) []bus.Bus { b := bus.NewLocal(); return []bus.Bus{b, b} })
package bustest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/relay"
)

// Nodes returns buses that are connected to each other, two at least. They may be
// one and the same.
type Nodes func(t *testing.T) []bus.Bus

// Run runs the suite.
func Run(t *testing.T, nodes Nodes) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, bus.Bus, bus.Bus){
		"Wake":                 testWake,
		"LastValue":            testLastValue,
		"Order":                testOrder,
		"Tombstones":           testTombstones,
		"AnotherPublisher":     testAnotherPublisher,
		"LeaveIsQuiet":         testLeaveIsQuiet,
		"Limits":               testLimits,
		"ManyGoroutines":       testManyGoroutines,
		"NobodyListens":        testNobodyListens,
		"SubscribeTwice":       testSubscribeTwice,
		"UnsubscribeIsHeeded":  testUnsubscribe,
		"SubscribersAreCapped": testSubscribersAreCapped,
	} {
		t.Run(name, func(t *testing.T) {
			n := nodes(t)
			test(t, n[0], n[1])
		})
	}
}

// patience is how long a bus between nodes may take. A test waits for what should
// happen, and never for the time to pass.
const patience = 10 * time.Second

// listener notes what it is told.
type listener struct {
	mu      sync.Mutex
	changed chan struct{}
	wakes   int
	news    []relay.TopicUpdate
}

func newListener() *listener { return &listener{changed: make(chan struct{}, 1)} }

func (l *listener) note(f func()) {
	l.mu.Lock()
	f()
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *listener) Wake() { l.note(func() { l.wakes++ }) }

func (l *listener) Topic(u relay.TopicUpdate) {
	l.note(func() { l.news = append(l.news, u) })
}

// until waits until the condition holds.
func (l *listener) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		ok := condition()
		l.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-l.changed:
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("%s did not happen; %d wakes, news %v", what, l.wakes, l.news)
		}
	}
}

// untilNews waits for as many news as there are wanted, and compares them.
func (l *listener) untilNews(t *testing.T, want ...relay.TopicUpdate) {
	t.Helper()
	l.until(t, fmt.Sprintf("%d news", len(want)), func() bool { return len(l.news) >= len(want) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(want, l.news); diff != "" {
		t.Fatalf("news (-want +got):\n%s", diff)
	}
}

func address(n int) relay.Address {
	return relay.Address{User: relay.UserID{byte(n), 1}, Device: 1} //nolint:gosec // n is small
}

func topic(n int) relay.TopicID {
	return relay.TopicID{byte(n), byte(n >> 8), 7} //nolint:gosec // the two low bytes of n
}

func update(n int, payload string) relay.TopicUpdate {
	return relay.TopicUpdate{Topic: topic(n), Payload: []byte(payload)}
}

func gone() relay.TopicUpdate { return relay.TopicUpdate{Topic: topic(1), Gone: true} }

func publish(t *testing.T, m bus.Member, n int, payload string) {
	t.Helper()
	if err := m.Publish(topic(n), []byte(payload)); err != nil {
		t.Fatalf("Publish: %v", err)
	}
}

func subscribe(t *testing.T, m bus.Member, topics ...int) {
	t.Helper()
	var ids []relay.TopicID
	for _, n := range topics {
		ids = append(ids, topic(n))
	}
	if err := m.Subscribe(ids); err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
}

func testWake(t *testing.T, a, b bus.Bus) {
	alice, alice2, bob := newListener(), newListener(), newListener()
	ma := a.Join(address(1), alice)
	defer ma.Leave()
	ma2 := b.Join(address(1), alice2)
	defer ma2.Leave()
	mb := b.Join(address(2), bob)
	defer mb.Leave()
	other := b.Join(relay.Address{User: address(1).User, Device: 2}, bob)
	defer other.Leave()

	a.Wake(address(1))
	alice.until(t, "the wake", func() bool { return alice.wakes > 0 })
	alice2.until(t, "the wake on the other connection", func() bool { return alice2.wakes > 0 })
	b.Wake(address(3), address(2))
	bob.until(t, "the wake", func() bool { return bob.wakes == 1 })
}

func testLastValue(t *testing.T, a, b bus.Bus) {
	publisher, early, late := newListener(), newListener(), newListener()
	mp := a.Join(address(1), publisher)
	defer mp.Leave()
	me := b.Join(address(2), early)
	defer me.Leave()
	ml := b.Join(address(3), late)
	defer ml.Leave()

	subscribe(t, me, 1)
	publish(t, mp, 1, "online")
	early.untilNews(t, update(1, "online"))
	publish(t, mp, 1, "away")
	early.untilNews(t, update(1, "online"), update(1, "away"))
	subscribe(t, ml, 1)
	late.untilNews(t, update(1, "away"))
}

func testOrder(t *testing.T, a, b bus.Bus) {
	publisher, reader := newListener(), newListener()
	mp := a.Join(address(1), publisher)
	defer mp.Leave()
	mr := b.Join(address(2), reader)
	defer mr.Leave()
	subscribe(t, mr, 1)
	publish(t, mp, 1, "first")
	reader.untilNews(t, update(1, "first"))
	want := []relay.TopicUpdate{update(1, "first")}
	for i := range 100 {
		publish(t, mp, 1, fmt.Sprint(i))
		want = append(want, update(1, fmt.Sprint(i)))
	}
	reader.untilNews(t, want...)
}

func testTombstones(t *testing.T, a, b bus.Bus) {
	publisher, reader := newListener(), newListener()
	mp := a.Join(address(1), publisher)
	mr := b.Join(address(2), reader)
	defer mr.Leave()
	subscribe(t, mr, 1)
	publish(t, mp, 1, "x")
	mp.Retract(topic(1))
	reader.untilNews(t, update(1, "x"), gone())
	mp.Retract(topic(1)) // has nothing more to say
	mp.Retract(topic(2))
	publish(t, mp, 1, "y")
	mp.Leave()
	reader.untilNews(t, update(1, "x"), gone(), update(1, "y"), gone())
	// Who comes after the tombstone hears nothing until there is a value again.
	late := newListener()
	ml := b.Join(address(3), late)
	defer ml.Leave()
	subscribe(t, ml, 1)
	again := a.Join(address(1), newListener())
	defer again.Leave()
	publish(t, again, 1, "z")
	late.untilNews(t, update(1, "z"))
}

// When a connection is replaced, the old one's end must not hide the new value.
func testAnotherPublisher(t *testing.T, a, b bus.Bus) {
	reader := newListener()
	mr := b.Join(address(2), reader)
	defer mr.Leave()
	subscribe(t, mr, 1)
	old := a.Join(address(1), newListener())
	publish(t, old, 1, "old")
	reader.untilNews(t, update(1, "old"))
	next := a.Join(address(1), newListener())
	defer next.Leave()
	publish(t, next, 1, "new")
	reader.untilNews(t, update(1, "old"), update(1, "new"))
	old.Leave()
	late := newListener()
	ml := b.Join(address(3), late)
	defer ml.Leave()
	subscribe(t, ml, 1)
	late.untilNews(t, update(1, "new"))
	next.Retract(topic(1))
	reader.untilNews(t, update(1, "old"), update(1, "new"), gone())
}

func testLeaveIsQuiet(t *testing.T, a, b bus.Bus) {
	left, stays := newListener(), newListener()
	ml := a.Join(address(1), left)
	ms := a.Join(address(1), stays)
	defer ms.Leave()
	subscribe(t, ml, 1)
	subscribe(t, ms, 1)
	ml.Leave()
	ml.Leave() // twice does no harm
	mp := b.Join(address(2), newListener())
	defer mp.Leave()
	publish(t, mp, 1, "x")
	b.Wake(address(1))
	stays.untilNews(t, update(1, "x"))
	stays.until(t, "the wake", func() bool { return stays.wakes > 0 })
	left.mu.Lock()
	defer left.mu.Unlock()
	if left.wakes != 0 || len(left.news) != 0 {
		t.Errorf("after leaving: %d wakes, news %v", left.wakes, left.news)
	}
}

func testLimits(t *testing.T, a, _ bus.Bus) {
	m := a.Join(address(1), newListener())
	defer m.Leave()
	var ids []relay.TopicID
	for i := range relay.MaxTopics {
		ids = append(ids, topic(i))
	}
	if err := m.Subscribe(ids); err != nil {
		t.Fatalf("as many as allowed: %v", err)
	}
	if err := m.Subscribe(ids[:3]); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := m.Subscribe([]relay.TopicID{topic(5000)}); !errors.Is(err, bus.ErrTooMuch) {
		t.Errorf("one subscription more: %v", err)
	}
	m.Unsubscribe(ids[:1])
	if err := m.Subscribe([]relay.TopicID{topic(5000)}); err != nil {
		t.Errorf("after unsubscribing: %v", err)
	}
	for i := range relay.MaxTopics {
		publish(t, m, i, "x")
	}
	if err := m.Publish(topic(5000), []byte("x")); !errors.Is(err, bus.ErrTooMuch) {
		t.Errorf("one topic more: %v", err)
	}
	publish(t, m, 1, "another value")
	m.Retract(topic(1))
	publish(t, m, 5000, "x")

	big := a.Join(address(2), newListener())
	defer big.Leave()
	payload := bytes.Repeat([]byte{1}, relay.MaxTopicPayload)
	for i := range bus.MaxTopicBytes / relay.MaxTopicPayload {
		if err := big.Publish(topic(i), payload); err != nil {
			t.Fatalf("value %d: %v", i, err)
		}
	}
	if err := big.Publish(topic(6000), []byte("x")); !errors.Is(err, bus.ErrTooMuch) {
		t.Errorf("one byte more: %v", err)
	}
	if err := big.Publish(topic(0), payload); err != nil {
		t.Errorf("the same size again: %v", err)
	}
	big.Retract(topic(0))
	publish(t, big, 6000, "x")
}

func testManyGoroutines(t *testing.T, a, b bus.Bus) {
	reader := newListener()
	mr := b.Join(address(0), reader)
	defer mr.Leave()
	const people, each = 8, 50
	for i := range people {
		subscribe(t, mr, i)
	}
	var wg sync.WaitGroup
	for i := range people {
		wg.Go(func() {
			m := a.Join(address(1+i), newListener())
			for j := range each {
				if err := m.Publish(topic(i), fmt.Appendf(nil, "%d", j)); err != nil {
					t.Errorf("Publish: %v", err)
				}
				a.Wake(address(0), address(1+(i+1)%people))
				if err := m.Subscribe([]relay.TopicID{topic(100 + j), topic((i + 1) % people)}); err != nil {
					t.Errorf("Subscribe: %v", err)
				}
				if j%3 == 0 {
					m.Unsubscribe([]relay.TopicID{topic((i + 1) % people)})
				}
			}
			m.Leave()
		})
	}
	wg.Wait()
	reader.until(t, "all tombstones", func() bool {
		last := make(map[relay.TopicID]bool)
		for _, u := range reader.news {
			last[u.Topic] = u.Gone
		}
		for i := range people {
			if !last[topic(i)] {
				return false
			}
		}
		return reader.wakes > 0
	})
}

func testNobodyListens(t *testing.T, a, b bus.Bus) {
	a.Wake()
	a.Wake(address(1), address(2))
	m := b.Join(address(3), newListener())
	publish(t, m, 1, "x")
	m.Unsubscribe([]relay.TopicID{topic(1), topic(9)})
	m.Leave()
}

func testSubscribeTwice(t *testing.T, a, b bus.Bus) {
	reader := newListener()
	mr := a.Join(address(1), reader)
	defer mr.Leave()
	subscribe(t, mr, 1, 1)
	subscribe(t, mr, 1)
	mp := b.Join(address(2), newListener())
	defer mp.Leave()
	publish(t, mp, 1, "x")
	mp.Retract(topic(1))
	reader.untilNews(t, update(1, "x"), gone())
}

func testUnsubscribe(t *testing.T, a, b bus.Bus) {
	reader := newListener()
	mr := a.Join(address(1), reader)
	defer mr.Leave()
	subscribe(t, mr, 1, 2)
	mp := b.Join(address(2), newListener())
	defer mp.Leave()
	publish(t, mp, 1, "x")
	reader.untilNews(t, update(1, "x"))
	mr.Unsubscribe([]relay.TopicID{topic(1)})
	publish(t, mp, 1, "unheard")
	publish(t, mp, 2, "y")
	reader.untilNews(t, update(1, "x"), update(2, "y"))
}

func testSubscribersAreCapped(t *testing.T, a, _ bus.Bus) {
	var readers []*listener
	for i := range bus.MaxSubscribers + 1 {
		l := newListener()
		m := a.Join(address(i), l)
		defer m.Leave()
		subscribe(t, m, 1)
		readers = append(readers, l)
	}
	mp := a.Join(address(200), newListener())
	defer mp.Leave()
	publish(t, mp, 1, "x")
	for _, l := range readers[:bus.MaxSubscribers] {
		l.untilNews(t, update(1, "x"))
	}
	last := readers[bus.MaxSubscribers]
	last.mu.Lock()
	defer last.mu.Unlock()
	if len(last.news) != 0 {
		t.Error("there are more subscribers than allowed")
	}
}
