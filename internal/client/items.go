package client

import (
	"context"
	"strings"

	"github.com/chate2e/chate2e/internal/vault"
)

// Limits of what one call returns.
const (
	defaultPage = 100
	maxPage     = 10_000
)

func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, maxPage)
}

// missingSuffix makes the ID of a [KindMissing] item out of that of the item
// behind it.
const missingSuffix = "-missing"

// parseItemID reads the ID of an item; that of a [KindMissing] stands for the
// item behind it.
func parseItemID(s string) (vault.MessageID, error) {
	id, err := vault.ParseMessageID(strings.TrimSuffix(s, missingSuffix))
	if err != nil {
		return vault.MessageID{}, fail(CodeUsage, err, "that is not the ID of a message")
	}
	return id, nil
}

// items shows messages as faces see them, each with its gap before it.
func (c *Client) items(tx *vault.Tx, messages []vault.Message) ([]Item, error) {
	items := make([]Item, 0, len(messages))
	contacts := map[vault.ChatID]vault.Contact{}
	for _, m := range messages {
		contact, known := contacts[m.Chat]
		if !known {
			var err error
			if contact, err = tx.ContactOf(m.Chat); err != nil {
				return nil, err
			}
			contacts[m.Chat] = contact
		}
		item := c.item(contact, m)
		if item.GapBefore > 0 {
			items = append(items, missing(item))
		}
		items = append(items, item)
	}
	return items, nil
}

func (c *Client) item(contact vault.Contact, m vault.Message) Item {
	item := Item{
		ID: m.ID.String(), Chat: contact.User, From: contact.User, FromName: nameOf(contact),
		Seq: m.Seq, Kind: Kind(m.Kind), Text: m.Text, SentAt: m.SentAt,
		GapBefore: m.GapBefore, Request: m.Request,
		Direction: DirectionIn, State: MessageState(m.State), Late: m.Late, Arrival: m.Arrival,
	}
	if m.Out {
		item.From, item.FromName, item.Direction, item.Arrival = c.me.id(), c.me.displayName, DirectionOut, 0
	}
	if !m.ReceivedAt.IsZero() {
		item.ReceivedAt = &m.ReceivedAt
	}
	if item.Kind == KindUndecryptable {
		item.Reason = parseUndecryptable(m.Detail)
	}
	return item
}

// missing returns the item that stands for the gap before another one.
func missing(behind Item) Item {
	return Item{
		ID: behind.ID + missingSuffix, Chat: behind.Chat, From: behind.From, FromName: behind.FromName,
		Kind: KindMissing, SentAt: behind.SentAt, ReceivedAt: behind.ReceivedAt,
		GapBefore: behind.GapBefore, Request: behind.Request,
		Direction: behind.Direction, State: StateDelivered, Arrival: behind.Arrival,
	}
}

// nameOf returns what a contact is called.
func nameOf(contact vault.Contact) string {
	switch {
	case contact.DisplayName != "":
		return contact.DisplayName
	case contact.Username != "":
		return contact.Username
	default:
		return contact.User
	}
}

// Arrivals returns up to limit items of all conversations that became visible
// after the item with Arrival after, in that order; our own are not among them.
// A gap does not count towards the limit.
func (c *Client) Arrivals(ctx context.Context, after int64, limit int) ([]Item, error) {
	var items []Item
	err := c.view(ctx, func(tx *vault.Tx) error {
		messages, err := tx.ArrivalsAfter(after, pageSize(limit))
		if err != nil {
			return err
		}
		items, err = c.items(tx, messages)
		return err
	})
	return items, err
}

// TakeArrivals returns what [Client.Arrivals] would after the items that earlier
// calls have returned: the vault remembers how far they went.
func (c *Client) TakeArrivals(ctx context.Context, limit int) ([]Item, error) {
	var items []Item
	err := c.update(ctx, func(tx *vault.Tx, _ *change) error {
		messages, err := tx.Arrivals(pageSize(limit))
		if err != nil || len(messages) == 0 {
			return err
		}
		if items, err = c.items(tx, messages); err != nil {
			return err
		}
		return tx.SetRecvCursor(messages[len(messages)-1].Arrival)
	})
	if err != nil {
		return nil, err
	}
	return items, nil
}

// History returns the newest limit items of the conversation with who, oldest
// first, or with before set those directly before that item. Gaps do not count
// towards the limit.
func (c *Client) History(ctx context.Context, who, before string, limit int) ([]Item, error) {
	var items []Item
	err := c.view(ctx, func(tx *vault.Tx) error {
		contact, err := c.find(tx, who)
		if err != nil {
			return err
		}
		var messages []vault.Message
		if before == "" {
			messages, err = tx.Newest(contact.Chat, pageSize(limit))
		} else {
			var id vault.MessageID
			if id, err = parseItemID(before); err != nil {
				return err
			}
			messages, err = tx.Before(contact.Chat, id, pageSize(limit))
		}
		if err != nil {
			return notFound(err, "there is no such message in this conversation")
		}
		items, err = c.items(tx, messages)
		return err
	})
	return items, err
}

// Search returns up to limit texts that contain every word of query, the newest
// first, with a snippet each.
func (c *Client) Search(ctx context.Context, query string, limit int) ([]Item, error) {
	items := []Item{}
	err := c.view(ctx, func(tx *vault.Tx) error {
		hits, err := tx.Search(query, pageSize(limit))
		if err != nil {
			return err
		}
		for _, hit := range hits {
			contact, err := tx.ContactOf(hit.Chat)
			if err != nil {
				return err
			}
			item := c.item(contact, hit.Message)
			item.Snippet = hit.Snippet
			items = append(items, item)
		}
		return nil
	})
	return items, err
}

// Chats returns all conversations, the one with the newest item first.
func (c *Client) Chats(ctx context.Context) ([]Chat, error) {
	chats := []Chat{}
	err := c.view(ctx, func(tx *vault.Tx) error {
		stored, err := tx.Chats()
		if err != nil {
			return err
		}
		for _, s := range stored {
			dropped, err := tx.Counter(droppedFrom(s.Contact.User))
			if err != nil {
				return err
			}
			chat := Chat{Contact: c.contact(s.Contact), Draft: s.Draft, Unread: s.Unread, Dropped: int(dropped)}
			if !s.DraftAt.IsZero() {
				chat.DraftAt = &s.DraftAt
			}
			if !s.Last.ID.IsZero() {
				last := c.item(s.Contact, s.Last)
				chat.Last = &last
			}
			chats = append(chats, chat)
		}
		return nil
	})
	return chats, err
}

// MarkRead takes the unread mark off everything in the conversation with who up
// to and including an item.
func (c *Client) MarkRead(ctx context.Context, who, upto string) error {
	id, err := parseItemID(upto)
	if err != nil {
		return err
	}
	return c.update(ctx, func(tx *vault.Tx, ch *change) error {
		contact, err := c.find(tx, who)
		if err != nil {
			return err
		}
		read, err := tx.MarkRead(contact.Chat, id)
		if len(read) > 0 {
			ch.contact(contact.User) // whose unread count is shown
		}
		return err
	})
}

// MaxDraft is the largest draft in bytes.
const MaxDraft = 64 << 10

// SetDraft keeps what was typed to who and not sent; "" removes it.
func (c *Client) SetDraft(ctx context.Context, who, text string) error {
	if len(text) > MaxDraft {
		return fail(CodeTooLarge, nil, "a draft has at most %d bytes", MaxDraft)
	}
	return c.update(ctx, func(tx *vault.Tx, _ *change) error {
		contact, err := c.find(tx, who)
		if err != nil {
			return err
		}
		return tx.SetDraft(contact.Chat, text)
	})
}
