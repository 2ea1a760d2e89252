package client

import (
	"context"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/vault"
)

// MaxText is the largest text of a message in bytes of UTF-8.
const MaxText = content.MaxText

// maxClientID is the largest ClientID in bytes.
const maxClientID = 200

// Send accepts a text for somebody: when it returns without an error the text
// will be sent, whatever happens to this process. Somebody who is not a contact
// is asked to be one first, and somebody who has asked is accepted.
//
// It returns [CodeUsage] for a text that is empty or not UTF-8, [CodeTooLarge],
// [CodeClientID], and the errors of [Client.AddContact].
func (c *Client) Send(ctx context.Context, who, text string, opt SendOptions) (Sending, error) {
	switch {
	case text == "":
		return Sending{}, fail(CodeUsage, nil, "there is no text to send")
	case !utf8.ValidString(text):
		return Sending{}, fail(CodeUsage, nil, "the text is not UTF-8")
	case len(text) > MaxText:
		return Sending{}, fail(CodeTooLarge, nil, "a text has at most %d bytes, this one has %d", MaxText, len(text))
	case len(opt.ClientID) > maxClientID || !utf8.ValidString(opt.ClientID):
		return Sending{}, fail(CodeUsage, nil, "a client ID is UTF-8 and has at most %d bytes", maxClientID)
	}
	p, err := c.whoever(ctx, who)
	if err != nil {
		return Sending{}, err
	}
	var sending Sending
	err = c.update(ctx, func(tx *vault.Tx, ch *change) error {
		contact, err := c.befriend(tx, ch, p)
		if err != nil {
			return err
		}
		stored, err := c.compose(tx, ch, contact,
			vault.Message{Kind: string(KindText), Text: text, ClientID: opt.ClientID}, content.Text{Text: text})
		switch {
		case errors.Is(err, vault.ErrConflict):
			return fail(CodeClientID, err, "that client ID was used for another message")
		case err != nil && !errors.Is(err, vault.ErrDuplicate):
			return err
		}
		sending, err = c.sending(tx, stored.ID)
		return err
	})
	return sending, err
}

// compose stores a message of ours and its job. The content is encoded here, once
// and for all. Errors are those of [vault.Tx.AddMessage].
func (c *Client) compose(tx *vault.Tx, ch *change, contact vault.Contact, row vault.Message, body content.Body) (vault.Message, error) {
	prev, err := lastHeard(tx, contact.Chat)
	if err != nil {
		return vault.Message{}, err
	}
	row.Chat, row.Out, row.Prev = contact.Chat, true, prev
	stored, err := tx.AddMessage(row)
	if err != nil {
		return stored, err
	}
	m := content.Message{ID: content.MessageID(stored.ID), Seq: stored.Seq, SentAt: stored.SentAt, Body: body}
	copy(m.Prev[:], prev)
	return stored, c.enqueue(tx, ch, contact, stored.ID, m)
}

// whisper queues something that neither side shows.
func (c *Client) whisper(tx *vault.Tx, ch *change, contact vault.Contact, body content.Body) error {
	return c.enqueue(tx, ch, contact, vault.MessageID{}, content.Message{
		ID: content.MessageID(vault.NewMessageID()), SentAt: tx.Now, Body: body,
	})
}

func (c *Client) enqueue(tx *vault.Tx, ch *change, contact vault.Contact, row vault.MessageID, m content.Message) error {
	encoded, err := m.Encode()
	if err != nil {
		return err
	}
	ch.outbox = true
	_, err = tx.Enqueue(vault.Job{Peer: contact.User, Message: row, Content: encoded})
	return err
}

// lastHeard returns the hash of the last message of the other side, which the
// next one of ours names as its Prev; nil if there is none.
func lastHeard(tx *vault.Tx, chat vault.ChatID) ([]byte, error) {
	const within = 16 // lines of our own program may stand between
	newest, err := tx.Newest(chat, within)
	for _, m := range slices.Backward(newest) {
		switch {
		case m.Out:
			return m.Prev, err // nothing was heard since
		case len(m.Detail) == len(content.Hash{}) && m.Kind != string(KindUndecryptable):
			return m.Detail, err
		}
	}
	return nil, err
}

// AwaitSending waits until a message has left the queue, or until ctx ends, and
// returns how far it has come then. It returns [CodeNotFound], or [CodeClosed]
// when the engine stops.
func (c *Client) AwaitSending(ctx context.Context, id string) (Sending, error) {
	message, err := parseItemID(id)
	if err != nil {
		return Sending{}, err
	}
	events, cancel := c.Subscribe()
	defer cancel()
	for {
		var sending Sending
		err := c.view(context.WithoutCancel(ctx), func(tx *vault.Tx) (err error) {
			sending, err = c.sending(tx, message)
			return err
		})
		if err != nil || sending.State != StateQueued {
			return sending, err
		}
		if !awaitItem(ctx, events, id) {
			return sending, nil
		}
	}
}

// awaitItem waits for an event about an item, and reports false if ctx or the
// events end.
func awaitItem(ctx context.Context, events <-chan Event, id string) bool {
	for {
		select {
		case e, more := <-events:
			if !more {
				return false
			}
			if e.Kind == EventLagged || e.Kind == EventItem && e.Item.ID == id {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// sending returns how far a message of ours has come.
func (c *Client) sending(tx *vault.Tx, id vault.MessageID) (Sending, error) {
	m, err := tx.Message(id)
	if err == nil && !m.Out {
		err = vault.ErrNotFound
	}
	if err != nil {
		return Sending{}, notFound(err, "there is no such message of yours")
	}
	contact, err := tx.ContactOf(m.Chat)
	if err != nil {
		return Sending{}, err
	}
	s := Sending{ID: m.ID.String(), To: contact.User, State: MessageState(m.State), SentAt: m.SentAt}
	if m.State == vault.Queued || m.State == vault.Held {
		lane, err := tx.Lane(contact.User)
		if err != nil {
			return Sending{}, err
		}
		s.Reason = lane.Reason
	}
	return s, nil
}
