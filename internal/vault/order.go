package vault

import (
	"errors"
	"time"
)

// How a conversation is ordered.
//
// Every item draws a ticket when it is stored, from one counter for the whole
// vault, and gets a place; the screen shows items by (place, seq). What arrives in
// order takes its ticket as its place: so different senders interleave by arrival.
// What arrives after a later message of its own device shares that message's place
// and stands before it by seq. So the messages of one device stand in the order of
// their numbers, and no item ever moves once it is stored.
//
// A number that is skipped leaves a hole. Messages after it wait, invisible,
// until the hole is filled or [Tx.ShowMissing] declares it a gap. An item that
// becomes visible has its ticket as its arrival number; one that had to wait draws
// another one then.

// MaxSeq is the highest number a message may have: 2^53-1, exact in JSON.
const MaxSeq = 1<<53 - 1

// AddMessage stores a new item and returns it as stored.
//
// A message of our own has Out set and no From: it gets this device's address,
// the next number, [Queued] unless m says otherwise, and SentAt. A received one
// has From and the sender's Seq; ReceivedAt is set to now unless m says when.
// An item without From and Out is a line of our own program. A zero ID is drawn.
// Kind must not be empty.
//
// [ErrDuplicate]: a message with this ID was stored before, or one with this
// ClientID that says the same. The stored message is returned with it, unless it
// was deleted since. [ErrConflict]: ClientID was used for something else, or From
// has used Seq for another message. [ErrNotFound]: there is no such
// chat, or no [Own] for a message of our own. After these errors nothing is changed and the transaction goes on.
func (tx *Tx) AddMessage(m Message) (Message, error) {
	if earlier, err := tx.duplicate(m); err != nil {
		return earlier, err
	}
	if m.ID.IsZero() {
		m.ID = NewMessageID()
	}
	var peer string
	if err := tx.row(`SELECT k.user_id FROM chats c JOIN contacts k ON k.id = c.contact WHERE c.id = ?`,
		args(m.Chat), &peer); err != nil {
		return Message{}, err
	}
	own := m.Out && m.From == Address{}
	switch {
	case own:
		me, err := tx.address()
		if err != nil {
			return Message{}, err
		}
		m.From, m.ReceivedAt = me, time.Time{}
		if m.State == "" {
			m.State = Queued
		}
	default:
		m.State = Delivered
		if m.ReceivedAt.IsZero() {
			m.ReceivedAt = tx.Now
		}
	}
	if m.SentAt.IsZero() {
		m.SentAt = tx.Now
	}
	m.SentAt, m.ReceivedAt = inMilliseconds(m.SentAt), inMilliseconds(m.ReceivedAt)
	m.Unread = m.Unread && !m.Out

	var s stream
	var where position
	var err error
	if m.From != (Address{}) {
		if s, err = tx.stream(peer, m.From); err != nil {
			return Message{}, err
		}
		if own {
			m.Seq = s.next
		}
		if m.Seq != 0 {
			if where, err = tx.take(s, m.Seq); err != nil {
				return Message{}, err
			}
		}
	}
	m.Late = where.late
	if m.Arrival, err = tx.insert(m, s, where); err != nil || !where.filled {
		return m, err
	}
	if err := tx.release(s); err != nil {
		return Message{}, err
	}
	return tx.Message(m.ID) // what is left of the hole may be before it
}

// duplicate looks for an earlier message with m's ID or client ID.
func (tx *Tx) duplicate(m Message) (Message, error) {
	if m.ClientID != "" {
		earlier, err := tx.MessageByClientID(m.ClientID)
		switch {
		case err == nil && earlier.Chat == m.Chat && earlier.Kind == m.Kind && earlier.Text == m.Text:
			return earlier, ErrDuplicate
		case err == nil:
			return Message{}, ErrConflict
		case !errors.Is(err, ErrNotFound):
			return Message{}, err
		}
	}
	if m.ID.IsZero() {
		return Message{}, nil
	}
	earlier, err := tx.Message(m.ID)
	if err == nil {
		return earlier, ErrDuplicate
	}
	if !errors.Is(err, ErrNotFound) {
		return Message{}, err
	}
	seen, err := tx.SeenMessage(m.ID)
	if err == nil && seen {
		err = ErrDuplicate
	}
	return Message{}, err
}

// stream is one sending device in one conversation.
type stream struct {
	id   int64 // 0: none
	next uint64
}

// stream returns the stream of a device in the conversation with peer, made if
// it is new.
func (tx *Tx) stream(peer string, from Address) (stream, error) {
	var s stream
	err := tx.row(`SELECT id, next_seq FROM streams WHERE peer = ? AND user_id = ? AND device = ?`,
		args(peer, from.User, from.Device), &s.id, &s.next)
	if errors.Is(err, ErrNotFound) {
		err = tx.row(`INSERT INTO streams (peer, user_id, device) VALUES (?, ?, ?) RETURNING id, next_seq`,
			args(peer, from.User, from.Device), &s.id, &s.next)
	}
	return s, err
}

// position is what taking a number says about where its message belongs.
type position struct {
	filled bool // it fills a hole, or a part of one
	late   bool // the hole had been shown
	waits  bool // it is behind a hole that was not
}

// take uses up one number of a stream. [ErrConflict] if it was used before.
func (tx *Tx) take(s stream, seq uint64) (position, error) {
	if seq > MaxSeq {
		return position{}, ErrConflict
	}
	var where position
	var err error
	if seq >= s.next {
		err = tx.advance(s, seq)
	} else {
		where.filled = true
		where.late, err = tx.fill(s, seq)
	}
	if err != nil {
		return position{}, err
	}
	first, err := tx.firstHole(s)
	where.waits = first < seq
	return where, err
}

// advance takes the next number, or a later one, which leaves a hole.
func (tx *Tx) advance(s stream, seq uint64) error {
	if seq > s.next {
		if err := tx.putHole(s, s.next, seq-1, tx.Now, false); err != nil {
			return err
		}
	}
	_, err := tx.exec(`UPDATE streams SET next_seq = ? WHERE id = ?`, seq+1, s.id)
	return err
}

// fill takes a number out of the hole it is in, and reports whether that hole
// had been shown. [ErrConflict] if it is in none.
func (tx *Tx) fill(s stream, seq uint64) (shown bool, err error) {
	var first, last uint64
	var since time.Time
	err = tx.row(`SELECT first, last, since, shown FROM holes WHERE stream = ? AND last >= ? ORDER BY last LIMIT 1`,
		args(s.id, seq), &first, &last, timestamp{&since}, &shown)
	if errors.Is(err, ErrNotFound) || err == nil && first > seq {
		return false, ErrConflict
	}
	if err != nil {
		return false, err
	}
	if _, err := tx.exec(`DELETE FROM holes WHERE stream = ? AND last = ?`, s.id, last); err != nil {
		return false, err
	}
	if first < seq {
		if err := tx.putHole(s, first, seq-1, since, shown); err != nil {
			return false, err
		}
	}
	if seq < last {
		if err := tx.putHole(s, seq+1, last, since, shown); err != nil {
			return false, err
		}
	}
	return shown, nil
}

func (tx *Tx) putHole(s stream, first, last uint64, since time.Time, shown bool) error {
	_, err := tx.exec(`INSERT INTO holes (stream, last, first, since, shown) VALUES (?, ?, ?, ?, ?)`,
		s.id, last, first, stamp(since), shown)
	return err
}

// firstHole returns the first number that is waited for, or a number above all.
func (tx *Tx) firstHole(s stream) (uint64, error) {
	var first nullable[uint64]
	err := tx.row(`SELECT min(first) FROM holes WHERE stream = ? AND shown = 0`, args(s.id), &first)
	if !first.Valid {
		return MaxSeq + 1, err
	}
	return first.V, err
}

// insert stores the row of m, and returns its arrival number.
func (tx *Tx) insert(m Message, s stream, where position) (arrival int64, err error) {
	ticket, err := tx.ticket()
	if err != nil {
		return 0, err
	}
	place := ticket
	if where.filled {
		err := tx.row(`SELECT place FROM messages WHERE stream = ? AND seq > ? AND seq > 0 ORDER BY seq LIMIT 1`,
			args(s.id, m.Seq), &place)
		if err != nil && !errors.Is(err, ErrNotFound) { // all later ones may have been deleted
			return 0, err
		}
	}
	if !where.waits {
		arrival = ticket
		tx.shown = append(tx.shown, ticket)
	}
	_, err = tx.exec(`
		INSERT INTO messages (id, msg_id, chat, stream, seq, place, shown, out, kind, body, detail, state,
			client_id, prev, late, request, unread, sent_at, received_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		ticket, m.ID[:], m.Chat, absent(s.id), m.Seq, place, absent(arrival), m.Out, m.Kind, m.Text, m.Detail, m.State,
		absent(m.ClientID), m.Prev, m.Late, m.Request, m.Unread, stamp(m.SentAt), stamp(m.ReceivedAt))
	return arrival, err
}

// ticket draws the next number of the vault's one counter of items. It never
// repeats, even when the newest items are deleted. An item's first ticket is also
// its row number.
func (tx *Tx) ticket() (int64, error) { return tx.AddToCounter("tickets", 1) }

// release shows the messages of a stream that wait for nothing any more.
func (tx *Tx) release(s stream) error {
	first, err := tx.firstHole(s)
	if err != nil {
		return err
	}
	rows, err := list(tx, scanInt, `
		SELECT id FROM messages WHERE stream = ? AND shown IS NULL AND seq < ? ORDER BY seq`, s.id, first)
	if err != nil {
		return err
	}
	for _, row := range rows {
		ticket, err := tx.ticket()
		if err != nil {
			return err
		}
		if _, err := tx.exec(`UPDATE messages SET shown = ? WHERE id = ?`, ticket, row); err != nil {
			return err
		}
		tx.shown = append(tx.shown, row)
	}
	return nil
}

func scanInt(row scanner) (int64, error) {
	var n int64
	err := row.Scan(&n)
	return n, err
}

// News returns the messages that became visible in this transaction, in that
// order: what to publish once it is committed.
func (tx *Tx) News() ([]Message, error) {
	var news []Message
	for _, row := range tx.shown {
		m, err := tx.message(`WHERE m.id = ?`, row)
		if errors.Is(err, ErrNotFound) {
			continue // deleted in the same transaction
		}
		if err != nil {
			return nil, err
		}
		news = append(news, m)
	}
	return news, nil
}

// ShowMissing declares the holes noticed at or before the given time to be gaps:
// the messages that waited for them become visible, with GapBefore set.
func (tx *Tx) ShowMissing(noticed time.Time) error {
	streams, err := list(tx, scanInt, `
		UPDATE holes SET shown = 1 WHERE shown = 0 AND since <= ? RETURNING stream`, stamp(noticed))
	if err != nil {
		return err
	}
	done := map[int64]bool{}
	for _, id := range streams {
		if !done[id] {
			done[id] = true
			if err := tx.release(stream{id: id}); err != nil {
				return err
			}
		}
	}
	return nil
}

// OldestHole returns when the oldest hole was noticed that messages wait for. It
// reports false if none does.
func (tx *Tx) OldestHole() (time.Time, bool, error) {
	var t time.Time
	err := tx.row(`SELECT min(since) FROM holes WHERE shown = 0`, nil, timestamp{&t})
	return t, !t.IsZero(), err
}

// Missing returns how many messages of chat are known to be missing, declared
// or still waited for.
func (tx *Tx) Missing(chat ChatID) (uint64, error) {
	var n nullable[uint64]
	err := tx.row(`
		SELECT sum(h.last - h.first + 1)
		FROM holes h JOIN streams s ON s.id = h.stream JOIN contacts k ON k.user_id = s.peer JOIN chats c ON c.contact = k.id
		WHERE c.id = ?`,
		args(chat), &n)
	return n.V, err
}
