package client

import (
	"net/url"
	"strings"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

// self is what the engine keeps in memory of its own account and device. It does
// not change while the profile is open.
type self struct {
	user        account.UserID
	device      uint32
	identity    *pqxdh.Identity
	accountKey  account.PublicKey
	username    string
	displayName string
	server      string // URL of the relay
	registered  bool   // the relay had confirmed when the profile was opened
}

// load fills s from its row.
func (s *self) load(own vault.Own) error {
	user, err := account.ParseUserID(own.User)
	if err != nil || len(own.AccountKey) != account.PublicKeySize || own.Device == 0 || own.Device > account.MaxDevices ||
		own.Identity.IsZero() {
		return fail(CodeDamaged, err, "the profile is damaged")
	}
	key, err := curve.NewPrivateKey(*own.Identity.Reveal())
	if err != nil {
		return fail(CodeDamaged, err, "the profile is damaged")
	}
	*s = self{
		user: user, device: own.Device,
		identity:   &pqxdh.Identity{Address: signal.Address{Name: own.User, Device: own.Device}, Key: key},
		accountKey: account.PublicKey(own.AccountKey),
		username:   own.Username, displayName: own.DisplayName, server: own.Relay,
		registered: !own.RegisteredAt.IsZero(),
	}
	if s.user != s.accountKey.UserID() {
		return fail(CodeDamaged, nil, "the profile is damaged")
	}
	return nil
}

// id returns the user ID as the vault and the faces write it.
func (s *self) id() string { return s.identity.Address.Name }

func (s *self) relayAddress() relay.Address {
	return relay.Address{User: relay.UserID(s.user), Device: relay.DeviceNumber(s.device)} //nolint:gosec // checked by load
}

// profile is what the account says of itself to contacts.
func (s *self) profile() content.Profile {
	return content.Profile{Username: s.username, DisplayName: s.displayName, Relay: s.server}
}

func (s *self) self() Self {
	link := account.Link{User: s.user}
	if u, err := url.Parse(s.server); err == nil {
		link.Scheme, link.Host = u.Scheme, strings.ToLower(u.Host)
	}
	return Self{
		UserID: s.id(), Username: s.username, DisplayName: s.displayName, Server: s.server, Device: s.device,
		Address: account.Address{User: s.user, Host: link.Host}.String(),
		Link:    link.String(),
	}
}

// Devices have one address in three packages.

func sessionAddress(a vault.Address) signal.Address {
	return signal.Address{Name: a.User, Device: a.Device}
}

func vaultAddress(a relay.Address) vault.Address {
	return vault.Address{User: a.User.String(), Device: uint32(a.Device)}
}

// parseUserID reads a user ID that this program has written.
func parseUserID(s string) (account.UserID, error) {
	id, err := account.ParseUserID(s)
	if err != nil {
		return account.UserID{}, fail(CodeInternal, err, "a user ID is damaged")
	}
	return id, nil
}
