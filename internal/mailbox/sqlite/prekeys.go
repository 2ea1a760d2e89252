package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

// The kinds of prekeys as the database numbers them.
const (
	kindSigned     = 1
	kindLastResort = 2
	kindKEMOneTime = 3
	kindECOneTime  = 4
)

var kindNumbers = map[relay.PrekeyKind]int{
	relay.PrekeySigned:        kindSigned,
	relay.PrekeyKEMLastResort: kindLastResort,
	relay.PrekeyKEMOneTime:    kindKEMOneTime,
	relay.PrekeyECOneTime:     kindECOneTime,
}

var kindNames = map[int]relay.PrekeyKind{
	kindSigned:     relay.PrekeySigned,
	kindLastResort: relay.PrekeyKEMLastResort,
	kindKEMOneTime: relay.PrekeyKEMOneTime,
	kindECOneTime:  relay.PrekeyECOneTime,
}

// PutPrekeys implements [mailbox.Store].
func (db *DB) PutPrekeys(ctx context.Context, box mailbox.ID, prekeys []relay.Prekey, now time.Time) error {
	return db.add(ctx, func(w *writer) error {
		open, err := w.exists(`SELECT 1 FROM devices WHERE mailbox = ?1`, int64(box))
		if err != nil {
			return err
		}
		if !open {
			return mailbox.ErrUnknownDevice
		}
		return w.putPrekeys(box, prekeys, now)
	})
}

func (w *writer) putPrekeys(box mailbox.ID, prekeys []relay.Prekey, now time.Time) error {
	// Tidying here, where the device is at hand, spares an index on the time.
	if err := w.exec(`DELETE FROM prekeys WHERE mailbox = ?1 AND expires_at <> 0 AND expires_at <= ?2`, int64(box), millis(now)); err != nil {
		return err
	}
	if err := w.exec(`DELETE FROM claimed_prekeys WHERE mailbox = ?1 AND day < ?2`, int64(box), day(now.Add(-mailbox.ClaimedFor))); err != nil {
		return err
	}
	for _, p := range prekeys {
		kind := kindNumbers[p.Kind]
		if p.Kind.OneTime() {
			claimed, err := w.exists(`SELECT 1 FROM claimed_prekeys WHERE mailbox = ?1 AND kind = ?2 AND id = ?3`, int64(box), kind, int64(p.ID))
			if err != nil {
				return err
			}
			if claimed {
				continue
			}
		} else if err := w.exec(`DELETE FROM prekeys WHERE mailbox = ?1 AND kind = ?2`, int64(box), kind); err != nil {
			return err
		}
		if err := w.exec(`INSERT INTO prekeys (mailbox, kind, id, key, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT (mailbox, kind, id) DO UPDATE SET key = excluded.key, expires_at = excluded.expires_at`,
			int64(box), kind, int64(p.ID), []byte(p.Key), int64(p.ExpiresAt)); err != nil {
			return err
		}
	}
	full, err := w.exists(`SELECT 1 FROM prekeys WHERE mailbox = ?1 AND kind IN (3, 4) GROUP BY kind HAVING count(*) > ?2`,
		int64(box), relay.MaxOneTimePrekeys)
	if err == nil && full {
		err = mailbox.ErrTooManyPrekeys
	}
	return err
}

// CountPrekeys implements [mailbox.Store].
func (db *DB) CountPrekeys(ctx context.Context, box mailbox.ID, now time.Time) (counts relay.PrekeysResponse, err error) {
	err = db.view(ctx, func(c *conn) error {
		return c.each(`SELECT kind, count(*), max(id), max(expires_at) FROM prekeys
			WHERE mailbox = ?1 AND (expires_at = 0 OR expires_at > ?2) GROUP BY kind`, func(s *sqlite3.Stmt) error {
			info := &relay.PrekeyInfo{ID: uint32(s.ColumnInt64(2)), ExpiresAt: relay.Millis(s.ColumnInt64(3))} //nolint:gosec // in range by the schema
			switch s.ColumnInt(0) {
			case kindSigned:
				counts.Signed = info
			case kindLastResort:
				counts.KEMLastResort = info
			case kindKEMOneTime:
				counts.KEMOneTime = s.ColumnInt(1)
			case kindECOneTime:
				counts.ECOneTime = s.ColumnInt(1)
			}
			return nil
		}, int64(box), millis(now))
	})
	return counts, err
}

// ClaimBundles implements [mailbox.Store]. One-time prekeys are deleted in the
// transaction, and the caller sees them only once it is durable: a crash in
// between burns a key, and never hands it out twice.
func (db *DB) ClaimBundles(ctx context.Context, user relay.UserID, devices []relay.DeviceNumber, oneTime bool, now time.Time) (response relay.BundlesResponse, err error) {
	if oneTime {
		err = db.update(ctx, func(w *writer) error {
			response, err = w.bundles(user, devices, now, w.claim)
			return err
		})
	} else {
		err = db.snapshot(ctx, func(c *conn) error {
			response, err = c.bundles(user, devices, now, nil)
			return err
		})
	}
	if err != nil {
		return relay.BundlesResponse{}, err
	}
	return response, nil
}

// claimer takes a one-time prekey out of the database; nil if there is none.
type claimer func(box mailbox.ID, kind int, now time.Time) (*relay.Prekey, error)

func (c *conn) bundles(user relay.UserID, devices []relay.DeviceNumber, now time.Time, claim claimer) (response relay.BundlesResponse, err error) {
	account, err := c.account(user)
	if err != nil {
		return response, err
	}
	response.DeviceList = account.List
	response.Bundles = []relay.Bundle{}
	type device struct {
		number relay.DeviceNumber
		box    mailbox.ID
	}
	var known []device
	if err := c.each(`SELECT number, mailbox FROM devices WHERE user_id = ?1 ORDER BY number`, func(s *sqlite3.Stmt) error {
		number := relay.DeviceNumber(s.ColumnInt(0)) //nolint:gosec // 1 to 127 by the schema
		if len(devices) == 0 || slices.Contains(devices, number) {
			known = append(known, device{number, mailbox.ID(s.ColumnInt64(1))})
		}
		return nil
	}, user[:]); err != nil {
		return response, err
	}
	for _, d := range known {
		signed, err := c.prekey(d.box, kindSigned, now)
		if err != nil {
			return response, err
		}
		kem, err := c.prekey(d.box, kindLastResort, now)
		if err != nil {
			return response, err
		}
		if signed == nil || kem == nil {
			continue
		}
		bundle := relay.Bundle{Device: d.number, Signed: *signed, KEM: *kem}
		if claim != nil {
			oneTime, err := claim(d.box, kindKEMOneTime, now)
			if err != nil {
				return response, err
			}
			if oneTime != nil {
				bundle.KEM = *oneTime
			}
			if bundle.OneTime, err = claim(d.box, kindECOneTime, now); err != nil {
				return response, err
			}
		}
		response.Bundles = append(response.Bundles, bundle)
	}
	return response, nil
}

// prekey returns a prekey of this kind that has not expired; nil if there is none.
func (c *conn) prekey(box mailbox.ID, kind int, now time.Time) (p *relay.Prekey, err error) {
	_, err = c.one(`SELECT id, key, expires_at FROM prekeys
		WHERE mailbox = ?1 AND kind = ?2 AND (expires_at = 0 OR expires_at > ?3) ORDER BY id LIMIT 1`, func(s *sqlite3.Stmt) error {
		p = &relay.Prekey{
			Kind:      kindNames[kind],
			ID:        uint32(s.ColumnInt64(0)), //nolint:gosec // in range by the schema
			Key:       s.ColumnBlob(1, nil),
			ExpiresAt: relay.Millis(s.ColumnInt64(2)),
		}
		return nil
	}, int64(box), kind, millis(now))
	return p, err
}

func (w *writer) claim(box mailbox.ID, kind int, now time.Time) (*relay.Prekey, error) {
	p, err := w.prekey(box, kind, now)
	if err != nil || p == nil {
		return nil, err
	}
	if err := w.exec(`DELETE FROM prekeys WHERE mailbox = ?1 AND kind = ?2 AND id = ?3`, int64(box), kind, int64(p.ID)); err != nil {
		return nil, err
	}
	return p, w.exec(`INSERT INTO claimed_prekeys (mailbox, kind, id, day) VALUES (?1, ?2, ?3, ?4)`, int64(box), kind, int64(p.ID), day(now))
}
