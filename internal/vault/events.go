package vault

import (
	"errors"
	"slices"
	"time"
)

// MaxEvents is how many protocol events are kept per contact.
const MaxEvents = 500

// Event is one step of the protocol, for the inspector. It holds no secret.
type Event struct {
	ID    int64 // grows
	User  string
	At    time.Time
	Event []byte // opaque
}

// AddEvents stores protocol events of a contact, in the transaction they happened
// in; the newest [MaxEvents] stay. [ErrNotFound] if there is no such contact.
func (tx *Tx) AddEvents(user string, events ...[]byte) error {
	var contact int64
	if err := tx.row(`SELECT id FROM contacts WHERE user_id = ?`, args(user), &contact); err != nil {
		return err
	}
	for _, event := range events {
		if _, err := tx.exec(`INSERT INTO events (contact, at, event) VALUES (?, ?, ?)`,
			contact, stamp(tx.Now), blob(event)); err != nil {
			return err
		}
	}
	_, err := tx.exec(`
		DELETE FROM events WHERE contact = ?1 AND id <=
			(SELECT id FROM events WHERE contact = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`, contact, MaxEvents)
	return err
}

// Events returns the newest n events after the one with the given ID, oldest
// first; of one contact, or of all with user "".
func (tx *Tx) Events(user string, after int64, n int) ([]Event, error) {
	const columns = `SELECT e.id, k.user_id, e.at, e.event FROM events e JOIN contacts k ON k.id = e.contact `
	var found []Event
	var err error
	if user == "" {
		found, err = list(tx, scanEvent, columns+`WHERE e.id > ? ORDER BY e.id DESC LIMIT ?`, after, n)
	} else {
		var contact int64
		err = tx.row(`SELECT id FROM contacts WHERE user_id = ?`, args(user), &contact)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if err == nil {
			found, err = list(tx, scanEvent, columns+`WHERE e.contact = ? AND e.id > ? ORDER BY e.id DESC LIMIT ?`,
				contact, after, n)
		}
	}
	slices.Reverse(found)
	return found, err
}

func scanEvent(row scanner) (Event, error) {
	var e Event
	err := row.Scan(&e.ID, &e.User, timestamp{&e.At}, &e.Event)
	return e, err
}
