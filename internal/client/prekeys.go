package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

const (
	// oneTimePreKeys of each kind are kept at the relay; with fewer than
	// refillBelow, new ones are made.
	oneTimePreKeys = 100
	refillBelow    = 50
)

// newPreKey makes a prekey of a kind, ready to be stored.
func newPreKey(kind vault.PreKeyKind, owner *pqxdh.Identity, now time.Time) (vault.PreKey, error) {
	expires := pqxdh.DayOf(now) + pqxdh.ValidDays
	k := vault.PreKey{
		CreatedAt: now,
		EraseAt:   (expires + pqxdh.GraceDays).Start(),
	}
	k.Kind = kind
	for k.ID == 0 { // a row of the vault is not called 0
		var encoded []byte
		switch kind {
		case vault.SignedPreKey:
			pair, err := pqxdh.NewSignedPreKey(suite, owner, now)
			if err != nil {
				return vault.PreKey{}, err
			}
			k.ID, encoded = uint64(pair.ID), pair.Append(nil)
		case vault.KEMOneTimePreKey, vault.KEMLastResort:
			pair, err := pqxdh.NewKEMPreKey(suite, owner, kind == vault.KEMLastResort, now)
			if err != nil {
				return vault.PreKey{}, err
			}
			k.ID, encoded = uint64(pair.ID), pair.Append(nil)
		case vault.OneTimePreKey:
			pair := pqxdh.NewOneTimePreKey()
			k.ID, encoded = uint64(pair.ID), pair.Append(nil)
		default:
			return vault.PreKey{}, fmt.Errorf("client: no such kind of prekey: %d", kind)
		}
		k.Record = secret.NewBox(encoded)
	}
	return k, nil
}

// newPreKeys makes n prekeys of a kind.
func newPreKeys(n int, kind vault.PreKeyKind, owner *pqxdh.Identity, now time.Time) ([]vault.PreKey, error) {
	var keys []vault.PreKey
	for range n {
		k, err := newPreKey(kind, owner, now)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// putPreKeys stores new prekeys, but for those whose random ID was given out
// before: the next refill makes up for them.
func putPreKeys(tx *vault.Tx, keys []vault.PreKey) error {
	for _, k := range keys {
		same, err := tx.PreKeys(k.PreKeyRef)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			continue
		}
		if err := tx.PutPreKeys(k); err != nil {
			return err
		}
	}
	return nil
}

// parsePreKey puts a stored prekey among those that a handshake names.
func parsePreKey(k vault.PreKey, own *pqxdh.PreKeys) (err error) {
	record := *k.Record.Reveal()
	switch k.Kind {
	case vault.SignedPreKey:
		own.Signed, err = pqxdh.ParseSignedPreKeyPair(record)
	case vault.KEMOneTimePreKey, vault.KEMLastResort:
		own.KEM, err = pqxdh.ParseKEMPreKeyPair(record)
	case vault.OneTimePreKey:
		own.OneTime, err = pqxdh.ParseOneTimePreKeyPair(record)
	}
	return err
}

// publicPreKey returns what the relay gets of a stored prekey.
func publicPreKey(k vault.PreKey) (relay.Prekey, error) {
	var own pqxdh.PreKeys
	if err := parsePreKey(k, &own); err != nil {
		return relay.Prekey{}, fail(CodeDamaged, err, "a prekey in the profile is damaged")
	}
	public := relay.Prekey{ID: uint32(k.ID)} //nolint:gosec // it was 32 bits
	var expires pqxdh.Day
	switch {
	case own.Signed != nil:
		public.Kind, public.Key, expires = relay.PrekeySigned, own.Signed.SignedPreKey.Append(nil), own.Signed.Expires
	case own.KEM != nil:
		public.Kind, public.Key, expires = relay.PrekeyKEMOneTime, own.KEM.KEMPreKey.Append(nil), own.KEM.Expires
		if own.KEM.LastResort {
			public.Kind = relay.PrekeyKEMLastResort
		}
	default:
		public.Kind, public.Key = relay.PrekeyECOneTime, own.OneTime.OneTimePreKey.Append(nil)
		expires = pqxdh.DayOf(k.CreatedAt) + pqxdh.ValidDays
	}
	public.ExpiresAt = relay.MillisOf(expires.Start())
	return public, nil
}

// lookAfterPreKeys replaces the signed and the last-resort prekey when they are a
// week old, makes new one-time prekeys when the relay has few, and gives the relay
// all that it has not confirmed. It returns errors of the relay client and of the
// vault.
func (c *Client) lookAfterPreKeys(ctx context.Context) error {
	has, err := c.relay.Prekeys(ctx)
	if err != nil {
		return err
	}
	if err := c.makePreKeys(ctx, has); err != nil {
		return err
	}
	has, err = c.uploadPreKeys(ctx, has)
	if err != nil {
		return err
	}
	c.prekeysLeft.store(min(has.KEMOneTime, has.ECOneTime))
	return nil
}

// makePreKeys makes the prekeys that are lacking.
func (c *Client) makePreKeys(ctx context.Context, has relay.PrekeysResponse) error {
	waiting := map[vault.PreKeyKind]int{}
	var rotate []vault.PreKeyKind
	var now time.Time
	err := c.view(ctx, func(tx *vault.Tx) error {
		now = tx.Now
		unpublished, err := tx.UnpublishedPreKeys()
		if err != nil {
			return err
		}
		for _, k := range unpublished {
			waiting[k.Kind]++
		}
		for _, kind := range []vault.PreKeyKind{vault.SignedPreKey, vault.KEMLastResort} {
			newest, err := tx.NewestPreKey(kind)
			if errors.Is(err, vault.ErrNotFound) || err == nil && now.Sub(newest.CreatedAt) >= pqxdh.RotateAfter {
				rotate = append(rotate, kind)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var made []vault.PreKey
	for _, kind := range rotate {
		k, err := newPreKey(kind, c.me.identity, now)
		if err != nil {
			return err
		}
		made = append(made, k)
	}
	for kind, left := range map[vault.PreKeyKind]int{
		vault.KEMOneTimePreKey: has.KEMOneTime, vault.OneTimePreKey: has.ECOneTime,
	} {
		if left += waiting[kind]; left >= refillBelow {
			continue
		}
		keys, err := newPreKeys(oneTimePreKeys-left, kind, c.me.identity, now)
		if err != nil {
			return err
		}
		made = append(made, keys...)
	}
	if len(made) == 0 {
		return nil
	}
	return c.update(ctx, func(tx *vault.Tx, _ *change) error { return putPreKeys(tx, made) })
}

// uploadPreKeys gives the relay what it has not confirmed, and the signed and
// last-resort prekeys if it has others. It returns what the relay has then.
func (c *Client) uploadPreKeys(ctx context.Context, has relay.PrekeysResponse) (relay.PrekeysResponse, error) {
	var keys []vault.PreKey
	err := c.view(ctx, func(tx *vault.Tx) (err error) {
		keys, err = tx.UnpublishedPreKeys()
		if err != nil {
			return err
		}
		for kind, there := range map[vault.PreKeyKind]*relay.PrekeyInfo{
			vault.SignedPreKey: has.Signed, vault.KEMLastResort: has.KEMLastResort,
		} {
			newest, err := tx.NewestPreKey(kind)
			if err != nil {
				return err
			}
			if !newest.PublishedAt.IsZero() && (there == nil || uint64(there.ID) != newest.ID) {
				keys = append(keys, newest)
			}
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		return has, err
	}
	public, refs, err := publicPreKeys(keys)
	if err != nil {
		return has, err
	}
	if has, err = c.relay.PutPrekeys(ctx, public); err != nil {
		return has, err
	}
	return has, c.update(ctx, func(tx *vault.Tx, _ *change) error { return tx.MarkPublished(refs...) })
}

func publicPreKeys(keys []vault.PreKey) ([]relay.Prekey, []vault.PreKeyRef, error) {
	var public []relay.Prekey
	var refs []vault.PreKeyRef
	for _, k := range keys {
		p, err := publicPreKey(k)
		if err != nil {
			return nil, nil, err
		}
		public, refs = append(public, p), append(refs, k.PreKeyRef)
	}
	return public, refs, nil
}
