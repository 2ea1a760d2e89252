package client

import (
	"context"
	"errors"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

// suite is the one that everything here speaks.
const suite = pqxdh.Chate2eV1

// mismatch says that keys do not belong to a user ID.
func mismatch(cause error) error {
	return fail(CodeKeyMismatch, cause, "the relay gave keys that do not belong to this user ID")
}

// seenList returns what a new device list of user is to be checked against.
func seenList(tx *vault.Tx, user string) (account.Seen, error) {
	list, err := tx.DeviceList(user)
	if errors.Is(err, vault.ErrNotFound) {
		return account.Seen{}, nil
	}
	return account.Seen{Version: list.Version, Hash: list.Hash}, err
}

// listRef returns what a content says of the newest device list of user.
func listRef(tx *vault.Tx, user string) (content.ListRef, error) {
	seen, err := seenList(tx, user)
	return content.ListRef{Version: seen.Version, Hash: seen.Hash}, err
}

// believe stores a verified device list, if it is new, and the account key of the
// contact it belongs to. [vault.ErrConflict] if a newer one was stored since it
// was verified.
func believe(tx *vault.Tx, ch *change, list *account.SignedDeviceList) error {
	user := list.UserID().String()
	seen, err := seenList(tx, user)
	if err != nil {
		return err
	}
	if seen != list.Seen() {
		says := list.List()
		stored := vault.DeviceList{User: user, Version: says.Version, Hash: list.Seen().Hash, Signed: list.Encoded()}
		for _, d := range says.Devices {
			stored.Devices = append(stored.Devices, vault.Device{
				Address:  vault.Address{User: user, Device: uint32(d.Number)},
				Identity: d.IdentityKey[:], AddedAt: d.Added,
			})
		}
		if err := tx.PutDeviceList(stored); err != nil {
			return err
		}
	}
	contact, err := tx.Contact(user)
	if errors.Is(err, vault.ErrNotFound) || err == nil && contact.AccountKey != nil {
		return nil
	}
	if err != nil {
		return err
	}
	key := list.List().AccountKey
	contact.AccountKey = key[:]
	ch.contact(user)
	_, err = tx.PutContact(contact)
	return err
}

// storedKey returns the account key of somebody whose device list was believed,
// or nil.
func storedKey(tx *vault.Tx, user string) ([]byte, error) {
	list, err := tx.DeviceList(user)
	if errors.Is(err, vault.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	parsed, err := account.ParseDeviceList(list.Signed)
	if err != nil {
		return nil, fail(CodeDamaged, err, "a device list in the profile is damaged")
	}
	id, err := parseUserID(user)
	if err != nil {
		return nil, err
	}
	verified, err := parsed.Verify(id, account.Seen{})
	if err != nil {
		return nil, fail(CodeDamaged, err, "a device list in the profile is damaged")
	}
	key := verified.List().AccountKey
	return key[:], nil
}

// fetchDevices asks the relay for somebody's device list, checks it and stores
// it. It reports whether the list is new. It returns [CodeKeyMismatch], or an error
// of the relay client.
func (c *Client) fetchDevices(ctx context.Context, user account.UserID) (news bool, err error) {
	signed, err := c.relay.Devices(ctx, relay.UserID(user))
	if err != nil {
		return false, err
	}
	_, news, err = c.checkList(ctx, user, signed)
	return news, err
}

// checkList checks a device list that the relay says is user's, and stores it if
// it is new.
func (c *Client) checkList(ctx context.Context, user account.UserID, signed []byte) (list *account.SignedDeviceList, news bool, err error) {
	parsed, err := account.ParseDeviceList(signed)
	if err != nil {
		return nil, false, mismatch(err)
	}
	err = c.update(ctx, func(tx *vault.Tx, ch *change) error {
		seen, err := seenList(tx, user.String())
		if err != nil {
			return err
		}
		if list, err = parsed.Verify(user, seen); err != nil {
			return mismatch(err)
		}
		news = seen != list.Seen()
		return believe(tx, ch, list)
	})
	return list, news, err
}

// bundles are what sessions with devices of one account start from, all checked.
type bundles map[uint32]*pqxdh.Bundle

// fetchBundles asks the relay for bundles of some of somebody's devices, or of
// all with none named, and stores the device list that comes with them. Devices
// whose prekeys have expired are missing in the result.
//
// It returns [CodeKeyMismatch], or an error of the relay client.
func (c *Client) fetchBundles(ctx context.Context, user account.UserID, devices []uint32) (bundles, error) {
	numbers := make([]relay.DeviceNumber, 0, len(devices))
	for _, d := range devices {
		numbers = append(numbers, relay.DeviceNumber(d)) //nolint:gosec // from a device list
	}
	answer, err := c.relay.Bundles(ctx, relay.UserID(user), numbers...)
	if err != nil {
		return nil, err
	}
	list, _, err := c.checkList(ctx, user, answer.DeviceList)
	if err != nil {
		return nil, err
	}
	identities := map[relay.DeviceNumber]curve.PublicKey{}
	for _, d := range list.List().Devices {
		identities[relay.DeviceNumber(d.Number)] = d.IdentityKey
	}
	now := time.Now()
	checked := bundles{}
	for _, b := range answer.Bundles {
		identity, listed := identities[b.Device]
		if !listed {
			return nil, mismatch(account.ErrNotListed)
		}
		bundle, err := parseBundle(identity, b)
		if err != nil {
			return nil, mismatch(err)
		}
		owner := signal.Address{Name: user.String(), Device: uint32(b.Device)}
		switch err := bundle.Verify(suite, owner, now); {
		case errors.Is(err, pqxdh.ErrExpired):
			continue
		case err != nil:
			return nil, mismatch(err)
		}
		checked[uint32(b.Device)] = bundle
	}
	return checked, nil
}

// parseBundle puts a bundle together out of prekeys, whose signatures are not
// checked yet, and the identity key that the device list has for the device.
func parseBundle(identity curve.PublicKey, b relay.Bundle) (*pqxdh.Bundle, error) {
	signed, err := pqxdh.ParseSignedPreKey(b.Signed.Key)
	if err != nil {
		return nil, err
	}
	kem, err := pqxdh.ParseKEMPreKey(b.KEM.Key)
	if err != nil {
		return nil, err
	}
	bundle := &pqxdh.Bundle{IdentityKey: identity, SignedPreKey: *signed, KEMPreKey: kem}
	if b.OneTime != nil {
		if bundle.OneTimePreKey, err = pqxdh.ParseOneTimePreKey(b.OneTime.Key); err != nil {
			return nil, err
		}
	}
	return bundle, nil
}
