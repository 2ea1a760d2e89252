package client

import (
	"context"
	"errors"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

const (
	// sealPurpose binds the private half of the account key to its use.
	sealPurpose = "account key"

	// firstDevice is the number of the only device of an account.
	firstDevice = 1

	// relistAfter is the age at which the device list is signed again, so that a
	// relay cannot show an old one for long.
	relistAfter = 7 * 24 * time.Hour

	// settingInvite keeps the invitation until the relay has taken it.
	settingInvite = "registration invite"
)

// Create makes an account in the folder dir: all keys, the encrypted vault, and
// the registration at the relay. It takes a second or two. progress may be nil.
//
// The keys are durable before the relay hears of them. So a crash, or a relay that
// does not answer, leaves either nothing or a profile whose registration [Open]
// finishes. If the relay refuses there is no profile afterwards.
//
// It returns [CodeUsage], [CodeProfileExists], [CodeProfileInUse],
// [CodeNameTaken], [CodeRefused] or [CodeUnreachable].
func Create(ctx context.Context, dir string, password []byte, reg Registration, cfg Config, progress func(Progress)) (*Client, error) {
	own, err := reg.own()
	if err != nil {
		return nil, err
	}
	p := &reporter{tell: progress}
	db, err := vault.Create(ctx, dir, password, vault.Config{TestKDF: cfg.TestKDF})
	if err != nil {
		return nil, asError(err)
	}
	c, err := create(ctx, db, dir, password, own, cfg, p)
	if err == nil {
		p.done(ProgressUpload)
		return c, nil
	}
	err = errors.Join(err, db.Close())
	if !p.made || errors.Is(err, &Error{Code: CodeNameTaken}) || errors.Is(err, &Error{Code: CodeRefused}) {
		err = errors.Join(err, vault.Remove(dir)) // nothing is registered, so nothing is lost
	}
	return nil, err
}

// registration is what an own row starts from.
type registration struct {
	own    vault.Own
	invite string
}

// Check returns [CodeUsage] for a registration that [Create] would not begin with.
func (reg Registration) Check() error {
	_, err := reg.own()
	return err
}

// own checks what a registration says.
func (reg Registration) own() (registration, error) {
	server, err := relay.ParseServer(reg.Server)
	if err != nil {
		return registration{}, fail(CodeUsage, err, "that is not the URL of a relay, such as https://chat.example.org, or the link of an invitation")
	}
	r := registration{
		own:    vault.Own{Relay: server.Origin.URL(), Device: firstDevice},
		invite: server.Invite,
	}
	if reg.Invite != "" {
		r.invite = reg.Invite
	}
	if reg.Username != "" {
		if r.own.Username, err = account.ParseUsername(reg.Username); err != nil {
			return registration{}, fail(CodeUsage, err, "a username has 3 to 24 characters out of a-z, 0-9 and _")
		}
	}
	if r.own.DisplayName = content.CleanName(reg.DisplayName); r.own.DisplayName == "" {
		r.own.DisplayName = r.own.Username
	}
	return r, nil
}

// reporter tells the progress of making an account.
type reporter struct {
	tell  func(Progress)
	steps int
	made  bool // the keys are durable
}

const progressSteps = 6

func (p *reporter) done(step ProgressStep) {
	p.steps++
	if p.tell != nil {
		p.tell(Progress{Step: step, Done: p.steps, Total: progressSteps})
	}
}

// create makes the keys in a new vault, and registers.
func create(ctx context.Context, db *vault.DB, dir string, password []byte, reg registration, cfg Config, p *reporter) (*Client, error) {
	p.done(ProgressVault)
	now := time.Now().UTC().Truncate(time.Millisecond)

	key := account.GenerateKey()
	defer key.Wipe()
	public := key.Public()
	sealed, err := db.SealUnderPassword(ctx, password, sealPurpose, secret.NewBox(key.Seed().Bytes()))
	if err != nil {
		return nil, asError(err)
	}
	own := reg.own
	own.User, own.AccountKey, own.SealedAccount = public.UserID().String(), public[:], sealed
	p.done(ProgressAccountKey)

	identity := &pqxdh.Identity{Address: signal.Address{Name: own.User, Device: own.Device}, Key: curve.GenerateKey()}
	own.Identity = secret.NewBox(identity.Key.Bytes())
	list, err := signList(key, account.DeviceList{
		Version: 1, Time: now,
		Devices: []account.Device{{Number: firstDevice, IdentityKey: identity.Key.PublicKey(), Added: now}},
	})
	if err != nil {
		return nil, err
	}
	p.done(ProgressIdentityKey)

	// Whether there is a relay at all is better known before anything is stored.
	if err := askReady(ctx, own, identity, cfg); err != nil {
		return nil, err
	}
	var prekeys []vault.PreKey
	for _, step := range []struct {
		kinds []vault.PreKeyKind
		n     int
		says  ProgressStep
	}{
		{[]vault.PreKeyKind{vault.SignedPreKey, vault.KEMLastResort}, 1, ProgressSignedPreKey},
		{[]vault.PreKeyKind{vault.KEMOneTimePreKey, vault.OneTimePreKey}, oneTimePreKeys, ProgressOneTime},
	} {
		for _, kind := range step.kinds {
			keys, err := newPreKeys(step.n, kind, identity, now)
			if err != nil {
				return nil, err
			}
			prekeys = append(prekeys, keys...)
		}
		if step.says == ProgressOneTime {
			if err := storeAccount(ctx, db, own, reg.invite, list, prekeys); err != nil {
				return nil, asError(err)
			}
			p.made = true
		}
		p.done(step.says)
	}
	return start(ctx, db, dir, password, cfg)
}

// askReady finds out whether the relay answers. It returns [CodeUnreachable].
func askReady(ctx context.Context, own vault.Own, identity *pqxdh.Identity, cfg Config) error {
	user, err := parseUserID(own.User)
	if err != nil {
		return err
	}
	address := relay.Address{User: relay.UserID(user), Device: firstDevice}
	r, err := newRelay(own.Relay, address, identity.Key, nil, cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	return unreachable(ctx, r.Ready(ctx))
}

// storeAccount stores everything about a new account in one transaction.
func storeAccount(ctx context.Context, db *vault.DB, own vault.Own, invite string,
	list *account.SignedDeviceList, prekeys []vault.PreKey,
) error {
	return db.Update(ctx, func(tx *vault.Tx) error {
		if err := tx.PutOwn(own); err != nil {
			return err
		}
		if err := tx.SetSetting(settingInvite, invite); err != nil {
			return err
		}
		if err := believe(tx, &change{}, list); err != nil {
			return err
		}
		return putPreKeys(tx, prekeys)
	})
}

// signList signs a device list.
func signList(key account.PrivateKey, list account.DeviceList) (*account.SignedDeviceList, error) {
	signed, err := key.SignDeviceList(list)
	if err != nil {
		return nil, fail(CodeInternal, err, "the device list could not be signed")
	}
	parsed, err := account.ParseDeviceList(signed)
	if err != nil {
		return nil, fail(CodeInternal, err, "the device list could not be signed")
	}
	return parsed.Verify(key.Public().UserID(), account.Seen{})
}

// register gives the relay the public parts of the account, all of them at once.
// It may be repeated. It returns [CodeNameTaken], [CodeRefused], [CodeUnreachable].
func (c *Client) register(ctx context.Context) error {
	var list vault.DeviceList
	var prekeys []vault.PreKey
	request := relayclient.Registration{Username: relay.Username(c.me.username)}
	err := c.view(ctx, func(tx *vault.Tx) (err error) {
		if list, err = tx.DeviceList(c.me.id()); err != nil {
			return err
		}
		if request.Invite, err = tx.Setting(settingInvite); err != nil {
			return err
		}
		prekeys, err = tx.UnpublishedPreKeys()
		return err
	})
	if err != nil {
		return err
	}
	request.DeviceList = list.Signed
	public, refs, err := publicPreKeys(prekeys)
	if err != nil {
		return err
	}
	request.Prekeys = public
	if err := c.relay.Register(ctx, request); err != nil {
		return unreachable(ctx, err)
	}
	return c.update(ctx, func(tx *vault.Tx, _ *change) error {
		own, err := tx.Own()
		if err != nil {
			return err
		}
		own.RegisteredAt = tx.Now
		if err := tx.PutOwn(own); err != nil {
			return err
		}
		if err := tx.SetSetting(settingInvite, ""); err != nil {
			return err
		}
		return tx.MarkPublished(refs...)
	})
}

// renewDeviceList signs the own device list again if it is older than a week. The
// upkeep gives it to the relay.
func (c *Client) renewDeviceList(ctx context.Context, password []byte) error {
	var stored vault.DeviceList
	var own vault.Own
	var now time.Time
	err := c.view(ctx, func(tx *vault.Tx) (err error) {
		if own, err = tx.Own(); err != nil {
			return err
		}
		stored, err = tx.DeviceList(c.me.id())
		now = tx.Now
		return err
	})
	if err != nil {
		return err
	}
	parsed, err := account.ParseDeviceList(stored.Signed)
	if err != nil {
		return fail(CodeDamaged, err, "the profile is damaged")
	}
	current, err := parsed.Verify(c.me.user, account.Seen{})
	if err != nil {
		return fail(CodeDamaged, err, "the profile is damaged")
	}
	list := current.List()
	if now.Sub(list.Time) < relistAfter {
		return nil
	}
	seed, err := c.db.OpenUnderPassword(ctx, password, sealPurpose, own.SealedAccount)
	if err != nil {
		return asError(err)
	}
	defer seed.Wipe()
	raw, err := secret.ParseKey(*seed.Reveal())
	if err != nil {
		return fail(CodeDamaged, err, "the profile is damaged")
	}
	key := account.NewPrivateKey(raw)
	defer key.Wipe()
	list.Version++
	list.Time = now
	renewed, err := signList(key, list)
	if err != nil {
		return err
	}
	return c.update(ctx, func(tx *vault.Tx, ch *change) error { return believe(tx, ch, renewed) })
}

// DeleteAccount deletes the account at the relay, with everything that waits for
// it there, and then the profile on this computer. The engine has stopped when it
// returns nil. It returns [CodeWrongPassword], [CodeUnreachable] or [CodeRefused],
// and nothing is deleted then.
func (c *Client) DeleteAccount(ctx context.Context, password []byte) error {
	var own vault.Own
	err := c.view(ctx, func(tx *vault.Tx) (err error) {
		own, err = tx.Own()
		return err
	})
	if err != nil {
		return err
	}
	seed, err := c.db.OpenUnderPassword(ctx, password, sealPurpose, own.SealedAccount)
	if err != nil {
		return asError(err)
	}
	seed.Wipe()
	err = c.relay.DeleteAccount(ctx)
	if err != nil && !errors.Is(err, &relay.Error{Code: relay.CodeBadProof}) { // it does not know us any more
		return unreachable(ctx, err)
	}
	return errors.Join(c.Close(), asError(vault.Remove(c.dir)))
}
