package vault

import (
	"errors"
	"time"

	"github.com/chate2e/chate2e/internal/secret"
)

// Own is this profile's account and device.
type Own struct {
	User        string // user ID
	Username    string
	DisplayName string
	Relay       string // URL
	Device      uint32

	AccountKey    []byte             // public half
	SealedAccount []byte             // private half, from [DB.SealUnderPassword]
	Identity      secret.Box[[]byte] // the device's identity key pair; opaque
	RegisteredAt  time.Time          // zero until the relay has confirmed
}

// PutOwn stores or replaces the profile's account and device.
func (tx *Tx) PutOwn(o Own) error {
	_, err := tx.exec(`
		INSERT OR REPLACE INTO own (one, user_id, username, display_name, relay, device,
			account_key, account_seal, identity, registered_at)
		VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		o.User, o.Username, o.DisplayName, o.Relay, o.Device,
		blob(o.AccountKey), blob(o.SealedAccount), reveal(o.Identity), stamp(o.RegisteredAt))
	return err
}

// Own returns the profile's account and device, or [ErrNotFound] before PutOwn.
func (tx *Tx) Own() (Own, error) {
	var o Own
	var identity []byte
	err := tx.row(`
		SELECT user_id, username, display_name, relay, device, account_key, account_seal, identity, registered_at
		FROM own`, nil,
		&o.User, &o.Username, &o.DisplayName, &o.Relay, &o.Device, &o.AccountKey, &o.SealedAccount,
		&identity, timestamp{&o.RegisteredAt})
	if err != nil {
		return Own{}, err
	}
	o.Identity = secret.NewBox(identity)
	return o, nil
}

// address returns this device's address, or [ErrNotFound].
func (tx *Tx) address() (Address, error) {
	var a Address
	err := tx.row(`SELECT user_id, device FROM own`, nil, &a.User, &a.Device)
	return a, err
}

// SetSetting stores what the user chose for key.
func (tx *Tx) SetSetting(key, value string) error {
	_, err := tx.exec(`INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)`, key, value)
	return err
}

// Setting returns what the user chose for key, or [ErrNotFound].
func (tx *Tx) Setting(key string) (string, error) {
	var value string
	err := tx.row(`SELECT value FROM settings WHERE key = ?`, args(key), &value)
	return value, err
}

// Settings returns everything that was ever set.
func (tx *Tx) Settings() (map[string]string, error) {
	type pair struct{ key, value string }
	pairs, err := list(tx, func(row scanner) (p pair, err error) {
		err = row.Scan(&p.key, &p.value)
		return p, err
	}, `SELECT key, value FROM settings`)
	all := make(map[string]string, len(pairs))
	for _, p := range pairs {
		all[p.key] = p.value
	}
	return all, err
}

// AddToCounter adds to a named number, which starts at 0, and returns the sum.
func (tx *Tx) AddToCounter(name string, n int64) (int64, error) {
	var value int64
	err := tx.row(`
		INSERT INTO counters (name, value) VALUES (?1, ?2)
		ON CONFLICT (name) DO UPDATE SET value = value + ?2 RETURNING value`, args(name, n), &value)
	return value, err
}

// Counter returns a named number; one that was never added to is 0.
func (tx *Tx) Counter(name string) (int64, error) {
	var value int64
	err := tx.row(`SELECT value FROM counters WHERE name = ?`, args(name), &value)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return value, err
}

// reveal returns the bytes of a box to be stored, none of an empty one.
func reveal(b secret.Box[[]byte]) []byte {
	if b.IsZero() {
		return blob(nil)
	}
	return blob(*b.Reveal())
}
