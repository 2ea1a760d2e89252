package bus

import (
	"errors"

	"github.com/chate2e/chate2e/internal/relay"
)

// Limits of one member, so that no connection can fill the memory of a node.
const (
	// MaxTopicBytes is how much a member's published values may add up to.
	MaxTopicBytes = 256 << 10
	// MaxSubscribers is how many members of a node one topic has. A topic is
	// between two people, so this is about their devices.
	MaxSubscribers = 64
)

// ErrTooMuch is returned to a member that wants more than it may have.
var ErrTooMuch = errors.New("bus: too many topics or too large values")

// Listener is a connection as the bus sees it. Its methods are called by the
// goroutine that wakes or publishes, with a lock of the bus held: they note what
// happened and return at once, and they must not call the bus.
//
// It is an interface, and not a channel, because a channel would need a goroutine
// to wait on it, which costs an idle connection more than all the rest.
type Listener interface {
	// Wake says that the mailbox may hold something new, or be gone.
	Wake()
	// Topic gives the news of a topic subscribed to, in the order they happened.
	// The payload must not be changed.
	Topic(relay.TopicUpdate)
}

// Bus connects listeners. It is safe for concurrent use.
type Bus interface {
	// Wake wakes the listeners of these mailboxes, on all nodes.
	Wake(mailboxes ...relay.Address)
	// Join begins to wake a listener. Several may join with the same address.
	Join(mailbox relay.Address, l Listener) Member
}

// Member is a listener that has joined. Its methods are for its connection's
// goroutine alone.
type Member interface {
	// Subscribe asks for the news of topics, beginning with the value each has
	// now. It returns [ErrTooMuch] and subscribes to none of them if the member
	// would have more than [relay.MaxTopics].
	Subscribe(topics []relay.TopicID) error
	// Unsubscribe ends that.
	Unsubscribe(topics []relay.TopicID)
	// Publish gives a topic a new value, which the member owns from then on. It
	// returns [ErrTooMuch] if it would own more than [relay.MaxTopics] or
	// [MaxTopicBytes]. The payload is kept.
	Publish(topic relay.TopicID, payload []byte) error
	// Retract sends the tombstone of a topic whose value the member owns.
	Retract(topic relay.TopicID)
	// Leave retracts all the member owns, and ends the news and the wakes. When it
	// has returned, the listener is called no more.
	Leave()
}
