package client

import (
	"context"
	"errors"
	"slices"

	"github.com/chate2e/chate2e/internal/vault"
)

// change collects what a transaction changes, to be told after the commit.
type change struct {
	messages []vault.MessageID // outgoing ones whose state changed
	contacts []string          // user IDs of those added or changed
	removed  []string
	settings []string
	protocol []ProtocolEvent

	status bool // more than the connection: a conflict was noticed

	outbox, upkeep, presence, gaps bool // loops that have something to do
}

func (ch *change) message(id vault.MessageID) {
	if !id.IsZero() && !slices.Contains(ch.messages, id) {
		ch.messages = append(ch.messages, id)
	}
}

func (ch *change) contact(user string) {
	if !slices.Contains(ch.contacts, user) {
		ch.contacts = append(ch.contacts, user)
	}
}

// update runs do in one writing transaction, and tells everybody once it is
// committed. Its errors are those of do, or [Error]s.
func (c *Client) update(ctx context.Context, do func(*vault.Tx, *change) error) error {
	var ch change
	var events []Event
	telling := false
	err := c.db.Update(ctx, func(tx *vault.Tx) (err error) {
		if err := do(tx, &ch); err != nil {
			return err
		}
		if err := storeProtocol(tx, ch.protocol); err != nil {
			return err
		}
		if events, err = c.tell(tx, &ch); err != nil {
			return err
		}
		// The next transaction may commit before this one is told; it waits here.
		c.telling.Lock()
		telling = true
		return nil
	})
	if telling {
		defer c.telling.Unlock()
	}
	if err != nil {
		return asError(err)
	}
	c.events.publish(events...)
	for raised, s := range map[*bool]nudge{
		&ch.outbox: c.wakeOutbox, &ch.upkeep: c.wakeUpkeep, &ch.presence: c.wakePresence, &ch.gaps: c.wakeGaps,
	} {
		if *raised {
			s.raise()
		}
	}
	return nil
}

// view runs look in a reading transaction.
func (c *Client) view(ctx context.Context, look func(*vault.Tx) error) error {
	return asError(c.db.View(ctx, look))
}

// tell writes the events of a change: contacts first, so that a subscriber knows
// whose items they are.
func (c *Client) tell(tx *vault.Tx, ch *change) ([]Event, error) {
	var events []Event
	for _, user := range ch.contacts {
		contact, err := tx.Contact(user)
		if errors.Is(err, vault.ErrNotFound) {
			continue // removed later in the same transaction
		}
		if err != nil {
			return nil, err
		}
		shown := c.contact(contact)
		events = append(events, Event{Kind: EventContact, Contact: &shown})
	}
	for _, user := range ch.removed {
		events = append(events, Event{Kind: EventContact, Removed: user})
	}
	messages, err := tx.News()
	if err != nil {
		return nil, err
	}
	for _, id := range ch.messages {
		if slices.ContainsFunc(messages, func(m vault.Message) bool { return m.ID == id }) {
			continue // new, and told with its newest state
		}
		m, err := tx.Message(id)
		if errors.Is(err, vault.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	items, err := c.items(tx, messages)
	if err != nil {
		return nil, err
	}
	for i := range items {
		events = append(events, Event{Kind: EventItem, Item: &items[i]})
	}
	for i := range ch.protocol {
		events = append(events, Event{Kind: EventProtocol, Protocol: &ch.protocol[i]})
	}
	for _, key := range ch.settings {
		events = append(events, Event{Kind: EventSettings, Setting: key})
	}
	if ch.status {
		status, err := c.status(tx)
		if err != nil {
			return nil, err
		}
		events = append(events, Event{Kind: EventConnection, Status: &status})
	}
	return events, nil
}
