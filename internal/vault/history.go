package vault

import "slices"

// The pages of a conversation hold visible items only, oldest first.

// Newest returns the newest n items of a chat.
func (tx *Tx) Newest(chat ChatID, n int) ([]Message, error) {
	return tx.older(`WHERE m.chat = ? AND m.shown IS NOT NULL ORDER BY m.place DESC, m.seq DESC LIMIT ?`, chat, n)
}

// Before returns the n items of chat directly before the given one, which need
// not be visible. [ErrNotFound] if it is not in chat.
func (tx *Tx) Before(chat ChatID, id MessageID, n int) ([]Message, error) {
	place, seq, err := tx.placeOf(chat, id)
	if err != nil {
		return nil, err
	}
	return tx.older(`
		WHERE m.chat = ? AND m.shown IS NOT NULL AND (m.place, m.seq) < (?, ?)
		ORDER BY m.place DESC, m.seq DESC LIMIT ?`, chat, place, seq, n)
}

// After returns the n items of chat directly after the given one, which need
// not be visible. [ErrNotFound] if it is not in chat.
func (tx *Tx) After(chat ChatID, id MessageID, n int) ([]Message, error) {
	place, seq, err := tx.placeOf(chat, id)
	if err != nil {
		return nil, err
	}
	return list(tx, scanMessage, selectMessage+`
		WHERE m.chat = ? AND m.shown IS NOT NULL AND (m.place, m.seq) > (?, ?)
		ORDER BY m.place, m.seq LIMIT ?`, chat, place, seq, n)
}

// Around returns up to n items of chat with the given one in their middle: a
// third of them before it. [ErrNotFound] if it is not in chat.
func (tx *Tx) Around(chat ChatID, id MessageID, n int) ([]Message, error) {
	before, err := tx.Before(chat, id, n/3)
	if err != nil {
		return nil, err
	}
	middle, err := tx.Message(id)
	if err != nil {
		return nil, err
	}
	after, err := tx.After(chat, id, n-len(before)-1)
	return append(append(before, middle), after...), err
}

// FirstUnread returns the first unread item of chat in the order of the screen,
// or [ErrNotFound].
func (tx *Tx) FirstUnread(chat ChatID) (MessageID, error) {
	found, err := list(tx, scanMessageID, `
		SELECT msg_id FROM messages WHERE chat = ? AND unread = 1 AND shown IS NOT NULL
		ORDER BY place, seq LIMIT 1`, chat)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return MessageID{}, err
	}
	return found[0], nil
}

// older runs a query that goes back in time, and turns its result round.
func (tx *Tx) older(condition string, a ...any) ([]Message, error) {
	page, err := list(tx, scanMessage, selectMessage+condition, a...)
	slices.Reverse(page)
	return page, err
}

func (tx *Tx) placeOf(chat ChatID, id MessageID) (place, seq int64, err error) {
	err = tx.row(`SELECT place, seq FROM messages WHERE msg_id = ? AND chat = ?`, args(id[:], chat), &place, &seq)
	return place, seq, err
}

// Arrivals returns the next n items of all chats that [Tx.SetRecvCursor] has not
// passed, in the order in which they became visible; our own messages are not
// among them.
func (tx *Tx) Arrivals(n int) ([]Message, error) {
	cursor, err := tx.Counter(recvCursor)
	if err != nil {
		return nil, err
	}
	return list(tx, scanMessage, selectMessage+`WHERE m.shown > ? AND m.out = 0 ORDER BY m.shown LIMIT ?`, cursor, n)
}

const recvCursor = "recv cursor"

// SetRecvCursor notes that recv has printed everything up to and including the
// item with this Arrival. It never goes back.
func (tx *Tx) SetRecvCursor(arrival int64) error {
	cursor, err := tx.Counter(recvCursor)
	if err != nil || arrival <= cursor {
		return err
	}
	_, err = tx.AddToCounter(recvCursor, arrival-cursor)
	return err
}
