package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

// senderSize is what comes before the body in the envelope column: the sender's
// user ID and device number.
const senderSize = relay.UserIDSize + 1

const (
	insertMessage = `INSERT INTO messages (seq, mailbox, id, kind, received_at, envelope) VALUES (?1, ?2, ?3, ?4, ?5, ?6)`
	findID        = `SELECT 1 FROM messages WHERE mailbox = ?1 AND id = ?2`
	removeMessage = `DELETE FROM messages WHERE seq = ?1`
	findMessage   = `SELECT mailbox, id, length(envelope) FROM messages WHERE seq = ?1`
)

// commitBatch does the part of a batch that belongs into the transaction. An
// error of one Put is its result; an error returned ends the transaction.
func (w *writer) commitBatch(batch *mailbox.Batch, now time.Time) error {
	for i := range batch.Puts {
		p := &batch.Puts[i]
		if w.full {
			p.Err = mailbox.ErrStorageFull
			continue
		}
		p.Err = w.put(p, now)
		if classify(p.Err) != troubleNone {
			return p.Err
		}
	}
	for i := range batch.Acks {
		if err := w.ack(batch.Acks[i]); err != nil {
			return err
		}
	}
	return nil
}

// put stores the envelopes of one Put, or none of them.
func (w *writer) put(p *mailbox.Put, now time.Time) error {
	u, err := w.user(p.To)
	if err != nil {
		return err
	}
	if err := u.match(p); err != nil {
		return err
	}
	if len(p.Envelopes) > 1 {
		// Nothing may be stored before it is known that all can be.
		for i := range p.Envelopes {
			e := &p.Envelopes[i]
			b := u.box(e.Device)
			found, err := w.lookUp(b, p.From, e)
			if err != nil {
				return err
			}
			if found == absent && !w.fits(b, e) {
				return mailbox.ErrMailboxFull
			}
		}
	}
	for i := range p.Envelopes {
		e := &p.Envelopes[i]
		if err := w.putOne(u.box(e.Device), p.From, e, now); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) putOne(b *box, from relay.Address, e *relay.Outgoing, now time.Time) error {
	if !w.fits(b, e) {
		// A retry of what is stored is still welcome.
		if found, err := w.lookUp(b, from, e); err != nil || found == same {
			return err
		}
		return mailbox.ErrMailboxFull
	}
	// If the ID is there already, it is from the same sender, or by a coincidence that
	// nobody brings about who does not know the other's ID.
	if there, err := w.hasID(b, e.ID); err != nil {
		return err
	} else if there {
		if found, err := w.lookUp(b, from, e); err != nil || found == same {
			return err
		}
	}
	w.scratch = append(append(append(w.scratch[:0], from.User[:]...), byte(from.Device)), e.Body...)
	return w.store(b, e.ID, relay.KindMessage, w.scratch, now)
}

// hasID reports whether a mailbox holds an envelope under this ID, whoever sent it.
// It is not part of the statement that inserts: one that does both makes SQLite keep
// a copy of every page it touches, in case it has to be undone half-way.
func (w *writer) hasID(b *box, id relay.EnvelopeID) (bool, error) {
	if err := errors.Join(w.findID.BindInt64(1, int64(b.id)), w.findID.BindBlob(2, id[:])); err != nil {
		return false, err
	}
	there := w.findID.Step()
	return there, w.findID.Reset()
}

// store inserts a row.
func (w *writer) store(b *box, id relay.EnvelopeID, kind relay.IncomingKind, envelope []byte, now time.Time) error {
	w.touched = true
	seq, err := w.sequence()
	if err != nil {
		return err
	}
	s := w.insert
	if err := errors.Join(
		s.BindInt64(1, int64(seq)), //nolint:gosec // counts messages
		s.BindInt64(2, int64(b.id)),
		s.BindBlob(3, id[:]),
		s.BindInt64(4, int64(kind)),
		s.BindInt64(5, millis(now)),
		s.BindBlob(6, envelope),
	); err != nil {
		return err
	}
	if err := s.Exec(); err != nil {
		return err
	}
	b.messages++
	b.bytes += int64(len(envelope))
	return nil
}

func (w *writer) fits(b *box, e *relay.Outgoing) bool {
	return b.messages < w.db.limits.MailboxMessages &&
		b.bytes+senderSize+int64(len(e.Body)) <= w.db.limits.MailboxBytes
}

type found int

const (
	absent found = iota
	same
)

// lookUp looks for an envelope of this sender under this ID. It returns
// [mailbox.ErrConflict] if there is one with other bytes.
func (w *writer) lookUp(b *box, from relay.Address, e *relay.Outgoing) (result found, err error) {
	err = w.each(`SELECT envelope FROM messages WHERE mailbox = ?1 AND id = ?2 AND kind = 0`, func(s *sqlite3.Stmt) error {
		raw := s.ColumnRawBlob(0)
		if len(raw) < senderSize {
			return sqlite3.CORRUPT
		}
		if !bytes.Equal(raw[:relay.UserIDSize], from.User[:]) || raw[relay.UserIDSize] != byte(from.Device) {
			return nil
		}
		if !bytes.Equal(raw[senderSize:], e.Body) {
			return mailbox.ErrConflict
		}
		result = same
		return nil
	}, int64(b.id), e.ID[:])
	return result, err
}

// ack deletes a message if it is in this mailbox and has this ID.
func (w *writer) ack(a mailbox.Ack) error {
	if err := w.find.BindInt64(1, int64(a.Handle.Seq)); err != nil { //nolint:gosec // one beyond 2^63 is not found
		return err
	}
	size := int64(-1)
	if w.find.Step() {
		if mailbox.ID(w.find.ColumnInt64(0)) == a.Mailbox && bytes.Equal(w.find.ColumnRawBlob(1), a.Handle.ID[:]) {
			size = w.find.ColumnInt64(2)
		}
	}
	if err := w.find.Reset(); err != nil {
		return err
	}
	if size < 0 {
		return nil // acknowledged before, or not hers
	}
	if err := w.remove.BindInt64(1, int64(a.Handle.Seq)); err != nil { //nolint:gosec // as above
		return err
	}
	if err := w.remove.Exec(); err != nil {
		return err
	}
	if b, ok := w.boxes[a.Mailbox]; ok {
		b.messages--
		b.bytes -= size
	}
	return nil
}

// user returns the devices of a user, or [mailbox.ErrUnknownUser].
func (w *writer) user(id relay.UserID) (*user, error) {
	if u, ok := w.users[id]; ok {
		return u, nil
	}
	u := new(user)
	if err := w.each(`SELECT number, mailbox FROM devices WHERE user_id = ?1 ORDER BY number`, func(s *sqlite3.Stmt) error {
		u.devices = append(u.devices, userDevice{
			number: relay.DeviceNumber(s.ColumnInt(0)), //nolint:gosec // 1 to 127 by the schema
			box:    &box{id: mailbox.ID(s.ColumnInt64(1))},
		})
		return nil
	}, id[:]); err != nil {
		return nil, err
	}
	if len(u.devices) == 0 {
		return nil, mailbox.ErrUnknownUser
	}
	for i := range u.devices {
		b, err := w.box(u.devices[i].box.id)
		if err != nil {
			return nil, err
		}
		u.devices[i].box = b
	}
	w.users[id] = u
	return u, nil
}

// box returns how much a mailbox holds.
func (w *writer) box(id mailbox.ID) (*box, error) {
	if b, ok := w.boxes[id]; ok {
		return b, nil
	}
	b := &box{id: id}
	if _, err := w.one(`SELECT count(*), coalesce(sum(length(envelope)), 0) FROM messages WHERE mailbox = ?1`, func(s *sqlite3.Stmt) error {
		b.messages, b.bytes = s.ColumnInt(0), s.ColumnInt64(1)
		return nil
	}, int64(id)); err != nil {
		return nil, err
	}
	w.boxes[id] = b
	return b, nil
}

// match checks that there is one envelope for each device of the user, but for
// the sender's own.
func (u *user) match(p *mailbox.Put) error {
	// The usual case: one device, one envelope.
	if len(u.devices) == 1 && len(p.Envelopes) == 1 && u.devices[0].number == p.Envelopes[0].Device && p.To != p.From.User {
		return nil
	}
	var mismatch mailbox.DeviceMismatchError
	var covered [relay.MaxDevice + 1]bool
	for _, e := range p.Envelopes {
		own := p.To == p.From.User && e.Device == p.From.Device
		if u.box(e.Device) == nil || covered[e.Device] || own {
			mismatch.Extra = append(mismatch.Extra, e.Device)
		} else {
			covered[e.Device] = true
		}
	}
	for _, d := range u.devices {
		own := p.To == p.From.User && d.number == p.From.Device
		if !covered[d.number] && !own {
			mismatch.Missing = append(mismatch.Missing, d.number)
		}
	}
	if mismatch.Missing != nil || mismatch.Extra != nil {
		return &mismatch
	}
	return nil
}

func (u *user) box(number relay.DeviceNumber) *box {
	for i := range u.devices {
		if u.devices[i].number == number {
			return u.devices[i].box
		}
	}
	return nil
}

// After implements [mailbox.Store].
func (db *DB) After(ctx context.Context, box mailbox.ID, after uint64, limit, maxBytes int, into []relay.Incoming) ([]relay.Incoming, bool, error) {
	first := len(into)
	more := false
	err := db.view(ctx, func(c *conn) error {
		var (
			arena []byte // the bodies, one after the other
			ends  []int
		)
		err := c.each(`SELECT seq, id, kind, received_at, envelope FROM messages
			WHERE mailbox = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3`, func(s *sqlite3.Stmt) error {
			if len(into)-first == limit || len(arena) >= maxBytes {
				more = true
				return errEnough
			}
			in, body, err := readIncoming(s)
			if err != nil {
				return err
			}
			arena = append(arena, body...)
			ends = append(ends, len(arena))
			into = append(into, in)
			return nil
		}, int64(box), after, limit+1)
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		start := 0
		for i, end := range ends {
			if end > start {
				into[first+i].Body = arena[start:end:end]
			}
			start = end
		}
		if len(ends) > 0 {
			return nil
		}
		open, err := c.exists(`SELECT 1 FROM devices JOIN accounts USING (user_id) WHERE mailbox = ?1 AND disabled = 0`, int64(box))
		if err == nil && !open {
			err = mailbox.ErrUnknownDevice
		}
		return err
	})
	if err != nil {
		return into[:first], false, err
	}
	return into, more, nil
}

var errEnough = errors.New("enough")

// readIncoming reads a row of seq, id, kind, received_at and envelope. The body
// is valid until the next row.
func readIncoming(s *sqlite3.Stmt) (in relay.Incoming, body []byte, err error) {
	in.Seq = uint64(s.ColumnInt64(0)) //nolint:gosec // written by the writer, never negative
	if err := copyBlob(in.ID[:], s, 1); err != nil {
		return in, nil, err
	}
	in.Kind = relay.IncomingKind(s.ColumnInt(2)) //nolint:gosec // 0 or 1 by the schema
	in.ReceivedAt = relay.Millis(s.ColumnInt64(3))
	if in.Kind == relay.KindExpired {
		return in, nil, nil
	}
	envelope := s.ColumnRawBlob(4)
	if len(envelope) <= senderSize {
		return in, nil, fmt.Errorf("envelope of %d bytes: %w", len(envelope), sqlite3.CORRUPT)
	}
	copy(in.From.User[:], envelope)
	in.From.Device = relay.DeviceNumber(envelope[relay.UserIDSize])
	return in, envelope[senderSize:], nil
}

// expireBatch is how many envelopes one call of Expire looks at.
const expireBatch = 500

// Expire implements [mailbox.Store].
func (db *DB) Expire(ctx context.Context, now time.Time) (deleted int, woken []relay.Address, err error) {
	// Deleting what has expired makes room, so it goes on while the disk is full.
	err = db.update(ctx, func(w *writer) error {
		deleted, woken = 0, nil
		if err := errors.Join(
			w.exec(`DELETE FROM tokens WHERE expires_at <= ?1`, millis(now)),
			w.exec(`DELETE FROM challenges WHERE expires_at <= ?1`, millis(now)),
			w.exec(`DELETE FROM invites WHERE expires_at <= ?1 OR uses = 0`, millis(now)),
		); err != nil {
			return err
		}
		old, err := w.expired(now.Add(-db.limits.Retention))
		if err != nil {
			return err
		}
		for _, m := range old {
			if err := w.exec(removeMessage, m.seq); err != nil {
				return err
			}
			if b, ok := w.boxes[m.mailbox]; ok {
				w.touched = true
				b.messages--
				b.bytes -= m.size
			}
			deleted++
			if m.kind != relay.KindMessage || w.full {
				continue
			}
			noted, err := w.note(m.from, m.id, now)
			if err != nil {
				return err
			}
			if noted {
				woken = append(woken, m.from)
			}
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	return deleted, woken, nil
}

type expired struct {
	seq     uint64
	mailbox mailbox.ID
	id      relay.EnvelopeID
	kind    relay.IncomingKind
	size    int64
	from    relay.Address
}

// expired returns the oldest envelopes stored before the cutoff. Sequence numbers
// follow the clock closely enough to stop at the first that is younger.
func (w *writer) expired(cutoff time.Time) (old []expired, err error) {
	err = w.each(`SELECT seq, mailbox, id, kind, received_at, length(envelope), substr(envelope, 1, 21)
		FROM messages ORDER BY seq LIMIT ?1`, func(s *sqlite3.Stmt) error {
		if s.ColumnInt64(4) >= millis(cutoff) {
			return errEnough
		}
		m := expired{
			seq:     uint64(s.ColumnInt64(0)), //nolint:gosec // never negative
			mailbox: mailbox.ID(s.ColumnInt64(1)),
			kind:    relay.IncomingKind(s.ColumnInt(3)), //nolint:gosec // 0 or 1 by the schema
			size:    s.ColumnInt64(5),
		}
		if err := copyBlob(m.id[:], s, 2); err != nil {
			return err
		}
		if m.kind == relay.KindMessage {
			var sender [senderSize]byte
			if err := copyBlob(sender[:], s, 6); err != nil {
				return err
			}
			copy(m.from.User[:], sender[:])
			m.from.Device = relay.DeviceNumber(sender[relay.UserIDSize])
		}
		old = append(old, m)
		return nil
	}, expireBatch)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return old, err
}

// note tells a sender that an envelope has expired, unless she is gone or her own
// mailbox is full.
func (w *writer) note(to relay.Address, id relay.EnvelopeID, now time.Time) (bool, error) {
	u, err := w.user(to.User)
	if errors.Is(err, mailbox.ErrUnknownUser) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b := u.box(to.Device)
	if b == nil || !w.fits(b, &relay.Outgoing{}) {
		return false, nil
	}
	err = w.store(b, id, relay.KindExpired, []byte{}, now)
	return err == nil, err
}
