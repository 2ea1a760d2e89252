package vault

import (
	"crypto/sha256"
	"time"
)

// SeenLifetime is how long it is remembered that something was received.
const SeenLifetime = 60 * 24 * time.Hour

// Seen reports whether this very ciphertext was processed before.
func (tx *Tx) Seen(ciphertext []byte) (bool, error) {
	hash := sha256.Sum256(ciphertext)
	var seen bool
	err := tx.row(`SELECT EXISTS (SELECT 1 FROM seen_envelopes WHERE hash = ?)`, args(hash[:]), &seen)
	return seen, err
}

// MarkSeen notes that this ciphertext was processed.
func (tx *Tx) MarkSeen(ciphertext []byte) error {
	hash := sha256.Sum256(ciphertext)
	_, err := tx.exec(`INSERT OR IGNORE INTO seen_envelopes (hash, seen_at) VALUES (?, ?)`, hash[:], stamp(tx.Now))
	return err
}

// SeenMessage reports whether a content with this ID was received before, shown
// or not. [Tx.AddMessage] asks by itself.
func (tx *Tx) SeenMessage(id MessageID) (bool, error) {
	var seen bool
	err := tx.row(`
		SELECT EXISTS (SELECT 1 FROM messages WHERE msg_id = ?1) OR EXISTS (SELECT 1 FROM seen_messages WHERE msg_id = ?1)`,
		args(id[:]), &seen)
	return seen, err
}

// MarkSeenMessage notes that a content with this ID was received. It is for
// contents without a row of their own, such as receipts.
func (tx *Tx) MarkSeenMessage(id MessageID) error {
	_, err := tx.exec(`INSERT OR IGNORE INTO seen_messages (msg_id, seen_at) VALUES (?, ?)`, id[:], stamp(tx.Now))
	return err
}

// Limits of what is kept undecrypted.
const (
	MaxUndecryptable      = 20  // per peer
	MaxUndecryptableTotal = 400 // whoever the envelopes name as their sender
)

// Undecryptable is an envelope that did not open.
type Undecryptable struct {
	ID         int64   // set by the vault
	From       Address // whom the envelope names as its sender
	Envelope   []byte
	ReceivedAt time.Time // set by the vault
}

// KeepUndecryptable stores an envelope that did not open. Beyond the limits the
// oldest ones go: of the same peer first.
func (tx *Tx) KeepUndecryptable(from Address, envelope []byte) error {
	if _, err := tx.exec(`INSERT INTO undecryptable (user_id, device, envelope, received_at) VALUES (?, ?, ?, ?)`,
		from.User, from.Device, blob(envelope), stamp(tx.Now)); err != nil {
		return err
	}
	if _, err := tx.exec(`
		DELETE FROM undecryptable WHERE user_id = ?1 AND id <=
			(SELECT id FROM undecryptable WHERE user_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`,
		from.User, MaxUndecryptable); err != nil {
		return err
	}
	_, err := tx.exec(`
		DELETE FROM undecryptable WHERE id <= (SELECT id FROM undecryptable ORDER BY id DESC LIMIT 1 OFFSET ?)`,
		MaxUndecryptableTotal)
	return err
}

// Undecryptable returns the envelopes kept for a peer, oldest first.
func (tx *Tx) Undecryptable(user string) ([]Undecryptable, error) {
	return list(tx, func(row scanner) (Undecryptable, error) {
		var u Undecryptable
		err := row.Scan(&u.ID, &u.From.User, &u.From.Device, &u.Envelope, timestamp{&u.ReceivedAt})
		return u, err
	}, `SELECT id, user_id, device, envelope, received_at FROM undecryptable WHERE user_id = ? ORDER BY id`, user)
}

// DeleteUndecryptable erases an envelope that is explained now.
func (tx *Tx) DeleteUndecryptable(id int64) error {
	_, err := tx.exec(`DELETE FROM undecryptable WHERE id = ?`, id)
	return err
}

// Prune erases what has had its time: memories of received things after
// [SeenLifetime], and prekeys at their EraseAt. It is for once a day.
func (tx *Tx) Prune() error {
	forgotten := tx.Now.Add(-SeenLifetime)
	if _, err := tx.exec(`DELETE FROM seen_envelopes WHERE seen_at <= ?`, stamp(forgotten)); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM seen_messages WHERE seen_at <= ?`, stamp(forgotten)); err != nil {
		return err
	}
	_, err := tx.exec(`DELETE FROM prekeys WHERE erase_at <= ?`, stamp(tx.Now))
	return err
}
