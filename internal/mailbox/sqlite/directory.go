package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

// ChallengeKey implements [mailbox.Store].
func (db *DB) ChallengeKey(ctx context.Context) (key [32]byte, err error) {
	err = db.update(ctx, func(w *writer) error {
		found, err := w.one(`SELECT value FROM meta WHERE name = 'challenge_key'`, func(s *sqlite3.Stmt) error {
			return copyBlob(key[:], s, 0)
		})
		if err != nil || found {
			return err
		}
		_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the process instead
		return w.exec(`INSERT INTO meta (name, value) VALUES ('challenge_key', ?1)`, key[:])
	})
	return key, err
}

// Register implements [mailbox.Store].
func (db *DB) Register(ctx context.Context, r mailbox.Registration, now time.Time) (created bool, err error) {
	err = db.add(ctx, func(w *writer) error {
		created, err = w.register(r, now)
		return err
	})
	return created && err == nil, err
}

func (w *writer) register(r mailbox.Registration, now time.Time) (created bool, err error) {
	existing, err := w.account(r.User)
	switch {
	case errors.Is(err, mailbox.ErrUnknownUser):
		created = true
		if err := w.createAccount(r, now); err != nil {
			return false, err
		}
	case err != nil:
		return false, err
	case existing.Disabled:
		return false, mailbox.ErrDisabled
	case !bytes.Equal(existing.List, r.List.Encoded) || existing.Username != r.Username:
		return false, mailbox.ErrAccountExists
	}
	box, err := w.deviceBox(r.Login.Address)
	if err != nil {
		return false, err
	}
	if err := w.putPrekeys(box, r.Prekeys, now); err != nil {
		return false, err
	}
	_, err = w.logIn(box, r.Login, now)
	return created, err
}

func (w *writer) createAccount(r mailbox.Registration, now time.Time) error {
	// First of all: whoever is not invited does not learn which names are taken.
	if r.Invite != nil {
		if err := w.exec(`UPDATE invites SET uses = uses - 1 WHERE hash = ?1 AND uses > 0 AND expires_at > ?2`, r.Invite[:], millis(now)); err != nil {
			return err
		}
		if w.conn.db.Changes() == 0 {
			return mailbox.ErrInvite
		}
	}
	var username any
	if r.Username != "" {
		taken, err := w.exists(`SELECT 1 FROM accounts WHERE username = ?1`, string(r.Username))
		if err != nil {
			return err
		}
		if taken {
			return mailbox.ErrUsernameTaken
		}
		username = string(r.Username)
	}
	if err := w.exec(`INSERT INTO accounts (user_id, username, device_list, list_version, created_day) VALUES (?1, ?2, ?3, ?4, ?5)`,
		r.User[:], username, r.List.Encoded, r.List.Version, day(now)); err != nil {
		return err
	}
	for _, d := range r.List.Devices {
		if err := w.addDevice(r.User, d); err != nil {
			return err
		}
	}
	delete(w.users, r.User)
	return nil
}

func (w *writer) addDevice(user relay.UserID, d mailbox.Device) error {
	return w.exec(`INSERT INTO devices (user_id, number, identity_key) VALUES (?1, ?2, ?3)`,
		user[:], int64(d.Number), d.IdentityKey[:])
}

// deviceBox returns the mailbox of a device, or [mailbox.ErrUnknownDevice].
func (c *conn) deviceBox(address relay.Address) (box mailbox.ID, err error) {
	found, err := c.one(`SELECT mailbox FROM devices WHERE user_id = ?1 AND number = ?2`, func(s *sqlite3.Stmt) error {
		box = mailbox.ID(s.ColumnInt64(0))
		return nil
	}, address.User[:], int64(address.Device))
	if err == nil && !found {
		err = mailbox.ErrUnknownDevice
	}
	return box, err
}

func readAccount(s *sqlite3.Stmt) (a mailbox.Account, err error) {
	err = copyBlob(a.User[:], s, 0)
	a.Username = relay.Username(s.ColumnText(1))
	a.List = s.ColumnBlob(2, nil)
	a.ListVersion = uint64(s.ColumnInt64(3)) //nolint:gosec // positive by the schema
	a.Disabled = s.ColumnBool(4)
	a.Created = time.UnixMilli(s.ColumnInt64(5) * millisPerDay).UTC()
	return a, err
}

func (c *conn) account(user relay.UserID) (a mailbox.Account, err error) {
	found, err := c.one(`SELECT user_id, username, device_list, list_version, disabled, created_day FROM accounts
		WHERE user_id = ?1`, func(s *sqlite3.Stmt) (err error) {
		a, err = readAccount(s)
		return err
	}, user[:])
	if err == nil && !found {
		err = mailbox.ErrUnknownUser
	}
	return a, err
}

// Account implements [mailbox.Store].
func (db *DB) Account(ctx context.Context, user relay.UserID) (a mailbox.Account, err error) {
	err = db.view(ctx, func(c *conn) error {
		a, err = c.account(user)
		return err
	})
	return a, err
}

// Accounts implements [mailbox.Store].
func (db *DB) Accounts(ctx context.Context, after relay.UserID, limit int) (accounts []mailbox.Account, err error) {
	err = db.view(ctx, func(c *conn) error {
		return c.each(`SELECT user_id, username, device_list, list_version, disabled, created_day FROM accounts
			WHERE user_id > ?1 ORDER BY user_id LIMIT ?2`, func(s *sqlite3.Stmt) error {
			a, err := readAccount(s)
			accounts = append(accounts, a)
			return err
		}, after[:], limit)
	})
	return accounts, err
}

// Username implements [mailbox.Store].
func (db *DB) Username(ctx context.Context, name relay.Username) (user relay.UserID, err error) {
	err = db.view(ctx, func(c *conn) error {
		found, err := c.one(`SELECT user_id FROM accounts WHERE username = ?1`, func(s *sqlite3.Stmt) error {
			return copyBlob(user[:], s, 0)
		}, string(name))
		if err == nil && !found {
			err = mailbox.ErrUnknownUsername
		}
		return err
	})
	return user, err
}

// UpdateDevices implements [mailbox.Store].
func (db *DB) UpdateDevices(ctx context.Context, user relay.UserID, list mailbox.DeviceList, _ time.Time) (removed []relay.DeviceNumber, err error) {
	err = db.add(ctx, func(w *writer) error {
		removed, err = w.updateDevices(user, list)
		return err
	})
	if err != nil {
		return nil, err
	}
	return removed, nil
}

func (w *writer) updateDevices(user relay.UserID, list mailbox.DeviceList) (removed []relay.DeviceNumber, err error) {
	a, err := w.account(user)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(a.List, list.Encoded) {
		return nil, nil
	}
	if list.Version <= a.ListVersion {
		return nil, mailbox.ErrListConflict
	}
	known := make(map[relay.DeviceNumber][32]byte)
	if err := w.each(`SELECT number, identity_key FROM devices WHERE user_id = ?1 ORDER BY number`, func(s *sqlite3.Stmt) error {
		var key [32]byte
		if err := copyBlob(key[:], s, 1); err != nil {
			return err
		}
		number := relay.DeviceNumber(s.ColumnInt(0)) //nolint:gosec // 1 to 127 by the schema
		known[number] = key
		// A number with another identity key is another device.
		stays := false
		for _, d := range list.Devices {
			stays = stays || d.Number == number && d.IdentityKey == key
		}
		if !stays {
			removed = append(removed, number)
		}
		return nil
	}, user[:]); err != nil {
		return nil, err
	}
	for _, number := range removed {
		delete(known, number)
		if err := w.exec(`DELETE FROM devices WHERE user_id = ?1 AND number = ?2`, user[:], int64(number)); err != nil {
			return nil, err
		}
	}
	for _, d := range list.Devices {
		if _, ok := known[d.Number]; ok {
			continue
		}
		if err := w.addDevice(user, d); err != nil {
			return nil, err
		}
	}
	delete(w.users, user)
	return removed, w.exec(`UPDATE accounts SET device_list = ?2, list_version = ?3 WHERE user_id = ?1`, user[:], list.Encoded, list.Version)
}

// DeleteAccount implements [mailbox.Store].
func (db *DB) DeleteAccount(ctx context.Context, user relay.UserID) error {
	return db.update(ctx, func(w *writer) error {
		if err := w.exec(`DELETE FROM accounts WHERE user_id = ?1`, user[:]); err != nil {
			return err
		}
		if w.conn.db.Changes() == 0 {
			return mailbox.ErrUnknownUser
		}
		delete(w.users, user)
		return nil
	})
}

// SetDisabled implements [mailbox.Store].
func (db *DB) SetDisabled(ctx context.Context, user relay.UserID, disabled bool) error {
	return db.update(ctx, func(w *writer) error {
		flag := 0
		if disabled {
			flag = 1
		}
		if err := w.exec(`UPDATE accounts SET disabled = ?2 WHERE user_id = ?1`, user[:], flag); err != nil {
			return err
		}
		if w.conn.db.Changes() == 0 {
			return mailbox.ErrUnknownUser
		}
		if !disabled {
			return nil
		}
		return w.exec(`DELETE FROM tokens WHERE mailbox IN (SELECT mailbox FROM devices WHERE user_id = ?1)`, user[:])
	})
}

// IdentityKey implements [mailbox.Store].
func (db *DB) IdentityKey(ctx context.Context, address relay.Address) (key [32]byte, err error) {
	err = db.view(ctx, func(c *conn) error {
		found, err := c.one(`SELECT identity_key FROM devices WHERE user_id = ?1 AND number = ?2`, func(s *sqlite3.Stmt) error {
			return copyBlob(key[:], s, 0)
		}, address.User[:], int64(address.Device))
		if err == nil && !found {
			err = mailbox.ErrUnknownDevice
		}
		return err
	})
	return key, err
}

// LogIn implements [mailbox.Store]. It goes on while the disk is full: without a
// token nobody could fetch and acknowledge what fills it.
func (db *DB) LogIn(ctx context.Context, login mailbox.Login, now time.Time) (before []relay.LoginID, err error) {
	err = db.update(ctx, func(w *writer) error {
		a, err := w.account(login.Address.User)
		switch {
		case errors.Is(err, mailbox.ErrUnknownUser):
			return mailbox.ErrUnknownDevice
		case err != nil:
			return err
		case a.Disabled:
			return mailbox.ErrDisabled
		}
		box, err := w.deviceBox(login.Address)
		if err != nil {
			return err
		}
		before, err = w.logIn(box, login, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return before, nil
}

func (w *writer) logIn(box mailbox.ID, login mailbox.Login, now time.Time) (before []relay.LoginID, err error) {
	if err := w.exec(`INSERT OR IGNORE INTO challenges (nonce, expires_at) VALUES (?1, ?2)`,
		login.Challenge[:], millis(login.ChallengeExpires)); err != nil {
		return nil, err
	}
	if w.conn.db.Changes() == 0 {
		return nil, mailbox.ErrChallengeUsed
	}
	if login.Alone {
		var keep []byte
		if login.Keep != nil {
			keep = login.Keep[:]
		}
		if err := w.exec(`DELETE FROM tokens WHERE mailbox = ?1 AND hash IS NOT ?2`, int64(box), keep); err != nil {
			return nil, err
		}
	}
	if err := w.exec(`DELETE FROM tokens WHERE mailbox = ?1 AND (expires_at <= ?2 OR hash NOT IN
		(SELECT hash FROM tokens WHERE mailbox = ?1 ORDER BY expires_at DESC LIMIT ?3))`,
		int64(box), millis(now), mailbox.MaxTokens-1); err != nil {
		return nil, err
	}
	if err := w.exec(`INSERT INTO tokens (hash, mailbox, expires_at) VALUES (?1, ?2, ?3)`,
		login.TokenHash[:], int64(box), millis(login.Expires)); err != nil {
		return nil, err
	}
	return w.rememberLogin(box, login.ID)
}

// rememberLogin stores the ID of a login and returns those before it.
func (w *writer) rememberLogin(box mailbox.ID, id relay.LoginID) (before []relay.LoginID, err error) {
	if err := w.each(`SELECT id FROM logins WHERE mailbox = ?1 ORDER BY number`, func(s *sqlite3.Stmt) error {
		var known relay.LoginID
		err := copyBlob(known[:], s, 0)
		before = append(before, known)
		return err
	}, int64(box)); err != nil {
		return nil, err
	}
	if err := w.exec(`INSERT INTO logins (mailbox, id) VALUES (?1, ?2)`, int64(box), id[:]); err != nil {
		return nil, err
	}
	return before, w.exec(`DELETE FROM logins WHERE mailbox = ?1 AND number NOT IN
		(SELECT number FROM logins WHERE mailbox = ?1 ORDER BY number DESC LIMIT ?2)`, int64(box), relay.MaxLogins)
}

// Session implements [mailbox.Store].
func (db *DB) Session(ctx context.Context, tokenHash [32]byte, now time.Time) (session mailbox.Session, err error) {
	err = db.view(ctx, func(c *conn) error {
		found, err := c.one(`SELECT mailbox, user_id, number FROM tokens JOIN devices USING (mailbox) JOIN accounts USING (user_id)
			WHERE hash = ?1 AND expires_at > ?2 AND disabled = 0`, func(s *sqlite3.Stmt) error {
			session.Mailbox = mailbox.ID(s.ColumnInt64(0))
			session.Address.Device = relay.DeviceNumber(s.ColumnInt(2)) //nolint:gosec // 1 to 127 by the schema
			return copyBlob(session.Address.User[:], s, 1)
		}, tokenHash[:], millis(now))
		if err == nil && !found {
			err = mailbox.ErrNoToken
		}
		return err
	})
	return session, err
}

// CreateInvite implements [mailbox.Store].
func (db *DB) CreateInvite(ctx context.Context, invite mailbox.Invite) error {
	return db.add(ctx, func(w *writer) error {
		return w.exec(`INSERT INTO invites (hash, uses, expires_at) VALUES (?1, ?2, ?3)`,
			invite.Hash[:], invite.Uses, millis(invite.Expires))
	})
}

// Invites implements [mailbox.Store].
func (db *DB) Invites(ctx context.Context, now time.Time) (invites []mailbox.Invite, err error) {
	err = db.view(ctx, func(c *conn) error {
		return c.each(`SELECT hash, uses, expires_at FROM invites WHERE uses > 0 AND expires_at > ?1 ORDER BY expires_at, hash`, func(s *sqlite3.Stmt) error {
			invite := mailbox.Invite{Uses: s.ColumnInt(1), Expires: time.UnixMilli(s.ColumnInt64(2)).UTC()}
			err := copyBlob(invite.Hash[:], s, 0)
			invites = append(invites, invite)
			return err
		}, millis(now))
	})
	return invites, err
}

// RevokeInvite implements [mailbox.Store].
func (db *DB) RevokeInvite(ctx context.Context, hash [32]byte) error {
	return db.update(ctx, func(w *writer) error {
		if err := w.exec(`DELETE FROM invites WHERE hash = ?1`, hash[:]); err != nil {
			return err
		}
		if w.conn.db.Changes() == 0 {
			return mailbox.ErrInvite
		}
		return nil
	})
}
