package client

import (
	"context"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/vault"
)

// logins remembers this profile's logins at the relay, so that it notices those of a
// copy of itself. It is a hint: a relay can hide logins, or make them up.
type logins struct{ c *Client }

// LoggingIn implements [relayclient.Logins].
func (l logins) LoggingIn(ctx context.Context, id relay.LoginID) error {
	return l.c.update(ctx, func(tx *vault.Tx, _ *change) error { return tx.AddLogin(id) })
}

// LoggedIn implements [relayclient.Logins].
func (l logins) LoggedIn(ctx context.Context, before []relay.LoginID) error {
	ids := make([][vault.LoginIDSize]byte, len(before))
	for i, id := range before {
		ids[i] = id
	}
	return l.c.update(ctx, func(tx *vault.Tx, ch *change) error {
		others, err := tx.NoteLogins(ids)
		ch.status = ch.status || others > 0
		return err
	})
}
