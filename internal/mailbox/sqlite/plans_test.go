package sqlite_test

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

// No statement that a client brings about reads a table from end to end.
func TestPlans(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "relay.db"))
	ctx, when := t.Context(), time.Now()
	address := relay.Address{User: relay.UserID{1}, Device: 1}
	login := func(n byte) mailbox.Login {
		return mailbox.Login{
			Address: address, TokenHash: sha256.Sum256([]byte{n}), Expires: when.Add(time.Hour),
			Challenge: [16]byte{n}, ChallengeExpires: when.Add(time.Minute), ID: relay.LoginID{n}, Alone: true,
		}
	}
	list := mailbox.DeviceList{Encoded: []byte("list"), Version: 1, Devices: []mailbox.Device{{Number: 1, IdentityKey: [32]byte{1}}}}
	prekeys := func(id uint32) (all []relay.Prekey) {
		for _, kind := range relay.PrekeyKinds() {
			all = append(all, relay.Prekey{Kind: kind, ID: id, Key: []byte("key")})
		}
		return all
	}
	invite := mailbox.Invite{Hash: [32]byte{1}, Uses: 2, Expires: when.Add(time.Hour)}
	var session mailbox.Session
	for i, do := range []func() error{
		func() error { return db.CreateInvite(ctx, invite) },
		func() error {
			_, err := db.Register(ctx, mailbox.Registration{
				User: address.User, List: list, Username: "alice", Prekeys: prekeys(1), Invite: &invite.Hash, Login: login(1),
			}, when)
			return err
		},
		func() error { _, err := db.Account(ctx, address.User); return err },
		func() error { _, err := db.Username(ctx, "alice"); return err },
		func() error { _, err := db.IdentityKey(ctx, address); return err },
		func() error { _, err := db.LogIn(ctx, login(2), when); return err },
		func() (err error) { session, err = db.Session(ctx, login(2).TokenHash, when); return err },
		func() error { return db.PutPrekeys(ctx, session.Mailbox, prekeys(2), when) },
		func() error { _, err := db.CountPrekeys(ctx, session.Mailbox, when); return err },
		func() error { _, err := db.ClaimBundles(ctx, address.User, nil, true, when); return err },
		func() error { _, err := db.ClaimBundles(ctx, address.User, nil, false, when); return err },
		func() error {
			out := relay.Outgoing{Device: 1, ID: relay.EnvelopeID{1}, Body: []byte("body")}
			put := mailbox.Put{From: relay.Address{User: relay.UserID{2}, Device: 1}, To: address.User, Envelopes: []relay.Outgoing{out}}
			batch := &mailbox.Batch{Puts: []mailbox.Put{put, put}, Acks: []mailbox.Ack{{Mailbox: session.Mailbox}}}
			return errors.Join(db.Commit(ctx, batch, when), batch.Puts[0].Err, batch.Puts[1].Err)
		},
		func() error { _, _, err := db.After(ctx, session.Mailbox, 0, 10, 1000, nil); return err },
		func() error { _, _, err := db.After(ctx, session.Mailbox, 1<<62, 10, 1000, nil); return err },
		func() error {
			list.Version, list.Encoded = 2, []byte("another list")
			list.Devices[0].IdentityKey[0]++
			_, err := db.UpdateDevices(ctx, address.User, list, when)
			return err
		},
		func() error { return db.SetDisabled(ctx, address.User, true) },
		func() error { return db.DeleteAccount(ctx, address.User) },
	} {
		if err := do(); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	plans, err := db.Plans(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(plans) < 35 {
		t.Errorf("%d statements only", len(plans))
	}
	for query, steps := range plans {
		for _, step := range steps {
			if strings.HasPrefix(step, "SCAN ") {
				t.Errorf("%s in\n%s", step, query)
			}
		}
	}
}
