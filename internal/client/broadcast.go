package client

import "sync"

// subscriberQueue is how many events wait for a slow subscriber.
const subscriberQueue = 256

// Subscribe returns the events from now on, in the order of the commits. The
// channel is closed by cancel, and after [EventClosed] when the engine stops.
//
// Nobody waits for a subscriber. One that has fallen behind by 256 events gets
// [EventLagged] as the last of them and has lost those that come before it reads
// that one: it is to read the state anew.
func (c *Client) Subscribe() (events <-chan Event, cancel func()) { return c.events.subscribe() }

// broadcast passes events on to subscribers. The zero value is ready.
type broadcast struct {
	mu     sync.Mutex
	closed bool
	all    map[*subscriber]struct{}
}

type subscriber struct {
	queue  chan Event
	lagged bool // EventLagged is in the queue, or was the last to be read
}

func (b *broadcast) subscribe() (<-chan Event, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &subscriber{queue: make(chan Event, subscriberQueue)}
	if b.closed {
		close(s.queue)
		return s.queue, func() {}
	}
	if b.all == nil {
		b.all = map[*subscriber]struct{}{}
	}
	b.all[s] = struct{}{}
	return s.queue, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, there := b.all[s]; there {
			delete(b.all, s)
			close(s.queue)
		}
	}
}

func (b *broadcast) publish(events ...Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.all {
		for _, e := range events {
			s.put(e)
		}
	}
}

// put adds an event without waiting. Only publishers put, one at a time, so the
// queue cannot be fuller than it was found.
func (s *subscriber) put(e Event) {
	if s.lagged {
		if len(s.queue) > 0 {
			return // EventLagged was not read yet
		}
		s.lagged = false
	}
	if len(s.queue) == cap(s.queue)-1 {
		e, s.lagged = Event{Kind: EventLagged}, true
	}
	s.queue <- e
}

func (b *broadcast) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for s := range b.all {
		close(s.queue)
	}
	b.all = nil
}
