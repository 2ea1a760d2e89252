package vault

import (
	"errors"
	"time"

	"github.com/chate2e/chate2e/internal/secret"
)

// PreKeyKind says what a prekey is for. The numbers are stored.
type PreKeyKind uint8

// The kinds.
const (
	SignedPreKey     PreKeyKind = 1
	OneTimePreKey    PreKeyKind = 2
	KEMOneTimePreKey PreKeyKind = 3
	KEMLastResort    PreKeyKind = 4
)

// PreKeyRef names one of our prekeys.
type PreKeyRef struct {
	Kind PreKeyKind
	ID   uint64 // 1 to 2^63-1
}

// PreKey is one of our prekeys.
type PreKey struct {
	PreKeyRef
	Record      secret.Box[[]byte] // both halves; opaque
	CreatedAt   time.Time
	PublishedAt time.Time // zero until the relay has it
	EraseAt     time.Time // when the private half dies; zero: when it is used
}

// PutPreKeys stores new prekeys. Their IDs must be new for their kind.
func (tx *Tx) PutPreKeys(keys ...PreKey) error {
	for _, k := range keys {
		if _, err := tx.exec(`
			INSERT INTO prekeys (kind, id, record, created_at, published_at, erase_at) VALUES (?, ?, ?, ?, ?, ?)`,
			k.Kind, stored(k.ID), reveal(k.Record), stamp(k.CreatedAt), stamp(k.PublishedAt), stamp(k.EraseAt)); err != nil {
			return err
		}
	}
	return nil
}

const selectPreKey = `SELECT kind, id, record, created_at, published_at, erase_at FROM prekeys `

func scanPreKey(row scanner) (PreKey, error) {
	var k PreKey
	var record []byte
	err := row.Scan(&k.Kind, &k.ID, &record, timestamp{&k.CreatedAt}, timestamp{&k.PublishedAt}, timestamp{&k.EraseAt})
	k.Record = secret.NewBox(record)
	return k, err
}

// PreKeys returns those of the named prekeys that exist.
func (tx *Tx) PreKeys(refs ...PreKeyRef) ([]PreKey, error) {
	var found []PreKey
	for _, ref := range refs {
		one, err := list(tx, scanPreKey, selectPreKey+`WHERE kind = ? AND id = ?`, ref.Kind, stored(ref.ID))
		if err != nil {
			return nil, err
		}
		found = append(found, one...)
	}
	return found, nil
}

// NewestPreKey returns the last made prekey of a kind, or [ErrNotFound].
func (tx *Tx) NewestPreKey(kind PreKeyKind) (PreKey, error) {
	found, err := list(tx, scanPreKey, selectPreKey+`WHERE kind = ? ORDER BY created_at DESC, id DESC LIMIT 1`, kind)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return PreKey{}, err
	}
	return found[0], nil
}

// UnpublishedPreKeys returns the prekeys that the relay has not confirmed,
// oldest first: a crash between making and uploading loses none.
func (tx *Tx) UnpublishedPreKeys() ([]PreKey, error) {
	return list(tx, scanPreKey, selectPreKey+`WHERE published_at IS NULL ORDER BY created_at, kind, id`)
}

// MarkPublished notes that the relay has the named prekeys.
func (tx *Tx) MarkPublished(refs ...PreKeyRef) error {
	for _, ref := range refs {
		if _, err := tx.exec(`UPDATE prekeys SET published_at = ? WHERE kind = ? AND id = ?`,
			stamp(tx.Now), ref.Kind, stored(ref.ID)); err != nil {
			return err
		}
	}
	return nil
}

// DeletePreKeys erases the named prekeys, for good; one that does not exist is
// no error.
func (tx *Tx) DeletePreKeys(refs ...PreKeyRef) error {
	for _, ref := range refs {
		if _, err := tx.exec(`DELETE FROM prekeys WHERE kind = ? AND id = ?`, ref.Kind, stored(ref.ID)); err != nil {
			return err
		}
	}
	return nil
}

// CountPreKeys returns how many prekeys of a kind are stored.
func (tx *Tx) CountPreKeys(kind PreKeyKind) (int, error) {
	var n int
	err := tx.row(`SELECT count(*) FROM prekeys WHERE kind = ?`, args(kind), &n)
	return n, err
}

// NoteLastResort remembers that a first message with this base key used the
// last-resort prekey id. It returns [ErrDuplicate] if that was known, which makes
// the message a replay, and [ErrNotFound] if there is no such prekey. The memory
// lasts as long as the prekey.
func (tx *Tx) NoteLastResort(id uint64, baseKey []byte) error {
	var known, exists bool
	if err := tx.row(`
		SELECT EXISTS (SELECT 1 FROM last_resort_uses WHERE id = ?1 AND base_key = ?2),
			EXISTS (SELECT 1 FROM prekeys WHERE kind = 4 AND id = ?1)`,
		args(stored(id), baseKey), &known, &exists); err != nil {
		return err
	}
	switch {
	case known:
		return ErrDuplicate
	case !exists:
		return ErrNotFound
	case len(baseKey) == 0:
		return errors.New("vault: no base key")
	}
	_, err := tx.exec(`INSERT INTO last_resort_uses (id, base_key) VALUES (?, ?)`, stored(id), baseKey)
	return err
}
