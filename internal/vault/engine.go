package vault

import (
	"errors"
	"path/filepath"
)

// Jobs returns the first n jobs to a peer, all of them if n is negative, in the order
// of sending, whatever its lane says.
func (tx *Tx) Jobs(peer string, n int) ([]Job, error) {
	return list(tx, scanJob, selectJob+`WHERE j.peer = ? ORDER BY j.id LIMIT ?`, peer, n)
}

// ArrivalsAfter returns the next n items of all chats after the one with the given
// Arrival, like [Tx.Arrivals].
func (tx *Tx) ArrivalsAfter(after int64, n int) ([]Message, error) {
	return list(tx, scanMessage, selectMessage+`
		WHERE m.shown > ? AND m.out = 0 ORDER BY m.shown LIMIT ?`, after, n)
}

// Remove erases the profile in dir, which must be closed: the key file first, for
// nothing of the rest can be read without it. It returns [ErrInUse], or nil if
// there is no profile.
func Remove(dir string) error {
	lock, err := lockProfile(dir)
	if err != nil {
		return err
	}
	for _, name := range []string{keyName, newKeyName, databaseName, databaseName + "-wal", databaseName + "-shm"} {
		if err := removeIfThere(filepath.Join(dir, name)); err != nil {
			return errors.Join(err, unlockProfile(lock))
		}
	}
	if err := errors.Join(syncDir(dir), unlockProfile(lock)); err != nil {
		return err
	}
	return removeIfThere(filepath.Join(dir, lockName))
}

// AbsorbContact moves the conversation with one account into that with another
// and erases the first contact. Sessions, devices, jobs and the numbers of its
// messages stay: they belong to the account. [ErrNotFound] if either is no contact.
func (tx *Tx) AbsorbContact(from, into string) error {
	gone, err := tx.Contact(from)
	if err != nil {
		return err
	}
	stays, err := tx.Contact(into)
	if err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE messages SET chat = ? WHERE chat = ?`, stays.Chat, gone.Chat); err != nil {
		return err
	}
	if _, err := tx.exec(`
		UPDATE events SET contact = (SELECT id FROM contacts WHERE user_id = ?2)
		WHERE contact = (SELECT id FROM contacts WHERE user_id = ?1)`, from, into); err != nil {
		return err
	}
	_, err = tx.exec(`DELETE FROM contacts WHERE user_id = ?`, from)
	return err
}
