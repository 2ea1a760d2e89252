package client

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/vault"
)

const (
	upkeepEvery = time.Hour
	pruneEvery  = 24 * time.Hour

	// usernamesEvery is how often the directory is asked whom the username of a
	// contact names, and usernamesAtOnce how many are asked for together.
	usernamesEvery  = 24 * time.Hour
	usernamesAtOnce = 20
)

// counterPruned is when the vault was pruned last.
const counterPruned = "pruned"

func counterUsername(user string) string { return "username checked " + user }

// runUpkeep does what is to be done from time to time, until ctx ends. It returns
// errors of the vault.
func (c *Client) runUpkeep(ctx context.Context) error {
	failures := 0
	for {
		wait := upkeepEvery
		err := c.upkeepHere(ctx)
		if err == nil && c.link.up() {
			err = c.upkeepThere(ctx)
		}
		own, isOwn := errors.AsType[*Error](err)
		switch {
		case ctx.Err() != nil:
			return nil
		case isOwn && own.Code != CodeKeyMismatch:
			return own
		case err != nil:
			c.log.WarnContext(ctx, "looking after the account failed", "err", err)
			wait = pause(failures)
			failures++
		default:
			failures = 0
		}
		if !sleep(ctx, wait, c.wakeUpkeep) {
			return nil
		}
	}
}

// upkeepHere does what needs no relay.
func (c *Client) upkeepHere(ctx context.Context) error {
	return c.update(ctx, func(tx *vault.Tx, ch *change) error {
		expired, err := tx.ExpireJobs()
		if err != nil {
			return err
		}
		for _, job := range expired {
			ch.message(job.Message)
		}
		pruned, err := storedTime(tx, counterPruned)
		if err != nil || tx.Now.Sub(pruned) < pruneEvery {
			return err
		}
		if err := tx.Prune(); err != nil {
			return err
		}
		return storeCounter(tx, counterPruned, tx.Now.Unix())
	})
}

// upkeepThere does what needs the relay. It returns errors of the relay client
// and of the vault.
func (c *Client) upkeepThere(ctx context.Context) error {
	for _, task := range []func(context.Context) error{
		c.publishDeviceList, c.lookAfterPreKeys, c.fetchWithheld, c.checkUsernames,
	} {
		if err := task(ctx); err != nil {
			return err
		}
	}
	return nil
}

// publishDeviceList gives the relay the own device list, if it has an older one:
// one that was signed anew since, or that of a backup. A list of ours that the
// relay has and that is not known here was signed by a copy of this profile.
func (c *Client) publishDeviceList(ctx context.Context) error {
	there, err := c.relay.Account(ctx)
	if err != nil {
		return err
	}
	var own vault.DeviceList
	err = c.view(ctx, func(tx *vault.Tx) (err error) {
		own, err = tx.DeviceList(c.me.id())
		return err
	})
	if err != nil || bytes.Equal(own.Signed, there.DeviceList) {
		return err
	}
	parsed, err := account.ParseDeviceList(there.DeviceList)
	if err == nil {
		_, err = parsed.Verify(c.me.user, account.Seen{Version: own.Version, Hash: own.Hash})
	}
	if !errors.Is(err, account.ErrRollback) {
		c.log.WarnContext(ctx, "the relay has a device list of this account that was not signed here", "err", err)
		return nil
	}
	return c.relay.UpdateDevices(ctx, own.Signed)
}

// fetchWithheld asks the relay for device lists that contacts have spoken of and
// it has not shown.
func (c *Client) fetchWithheld(ctx context.Context) error {
	for _, peer := range c.outdated.with(withheld) {
		user, err := parseUserID(peer)
		if err != nil {
			return err
		}
		news, err := c.fetchDevices(ctx, user)
		refused, _ := errors.AsType[*relay.Error](err)
		switch {
		case errors.Is(err, &Error{Code: CodeKeyMismatch}):
			c.log.WarnContext(ctx, "the relay gave keys that do not belong to a user ID", "err", err)
		case refused != nil && refused.Code == relay.CodeUnknownUser:
		case err != nil:
			return err
		case news:
			c.outdated.clear(peer, withheld)
		}
	}
	return nil
}

// checkUsernames asks the directory whom the usernames of contacts name.
func (c *Client) checkUsernames(ctx context.Context) error {
	var due []vault.Contact
	gone := c.outdated.with(vanished)
	err := c.view(ctx, func(tx *vault.Tx) error {
		contacts, err := tx.Contacts()
		if err != nil {
			return err
		}
		for _, contact := range contacts {
			if contact.Username == "" || contact.State == vault.Blocked || len(due) == usernamesAtOnce {
				continue
			}
			checked, err := storedTime(tx, counterUsername(contact.User))
			if err != nil {
				return err
			}
			if tx.Now.Sub(checked) >= usernamesEvery || slices.Contains(gone, contact.User) {
				due = append(due, contact)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, contact := range due {
		c.outdated.clear(contact.User, vanished)
		named := ""
		id, err := c.relay.Username(ctx, relay.Username(contact.Username))
		if err == nil {
			named = account.UserID(id).String()
		} else if !errors.Is(err, &relay.Error{Code: relay.CodeUnknownUsername}) {
			return err
		}
		if err := c.noteUsername(ctx, contact, named); err != nil {
			return err
		}
	}
	return nil
}

// noteUsername stores whom the username of a contact names now, "" for nobody. If
// it is another account that shows, and what is sent to a verified contact waits
// for the user.
func (c *Client) noteUsername(ctx context.Context, asked vault.Contact, named string) error {
	return c.update(ctx, func(tx *vault.Tx, ch *change) error {
		if err := storeCounter(tx, counterUsername(asked.User), tx.Now.Unix()); err != nil {
			return err
		}
		contact, err := tx.Contact(asked.User)
		if err != nil || contact.Username != asked.Username {
			return ignoreNotFound(err)
		}
		switch named {
		case "", contact.NewUser:
			return nil
		case contact.User:
			if !contact.KeyChanged() {
				return nil
			}
			contact.NewUser = ""
			if err := release(tx, ch, contact.User, reasonKeyChanged); err != nil {
				return err
			}
		default:
			contact.NewUser = named
			if contact.Verified {
				if err := holdAll(tx, ch, contact.User, reasonKeyChanged); err != nil {
					return err
				}
			}
			if _, err := tx.AddMessage(vault.Message{Chat: contact.Chat, Kind: string(KindKeyChange), Unread: true}); err != nil {
				return err
			}
		}
		ch.contact(contact.User)
		_, err = tx.PutContact(contact)
		return err
	})
}

// holdAll holds everything that is to be sent to a contact.
func holdAll(tx *vault.Tx, ch *change, peer, reason string) error {
	if err := tx.Hold(peer, reason); err != nil {
		return err
	}
	return touchJobs(tx, ch, peer)
}

// release lets what is held for the given reason go on.
func release(tx *vault.Tx, ch *change, peer, reason string) error {
	lane, err := tx.Lane(peer)
	if err != nil || !lane.Held || lane.Reason != reason {
		return err
	}
	if err := tx.Release(peer); err != nil {
		return err
	}
	ch.outbox = true
	return touchJobs(tx, ch, peer)
}

// touchJobs tells that the messages of a contact's jobs have changed their state.
func touchJobs(tx *vault.Tx, ch *change, peer string) error {
	jobs, err := tx.Jobs(peer, allJobs)
	for _, job := range jobs {
		ch.message(job.Message)
	}
	return err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	return err
}

// doubt says what there is to find out about a contact.
type doubt uint8

const (
	withheld doubt = 1 << iota // she speaks of a device list that the relay has not shown
	vanished                   // the relay does not know her user ID any more
	forked                     // there are two device lists of one version; said once
)

// doubts are what there is to find out. The zero value is ready.
type doubts struct {
	mu sync.Mutex
	of map[string]doubt
}

// add reports whether that was new.
func (d *doubts) add(user string, what doubt) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[string]doubt{}
	}
	isNew := d.of[user]&what == 0
	d.of[user] |= what
	return isNew
}

func (d *doubts) clear(user string, what doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.of[user] &^ what
	if left == 0 {
		delete(d.of, user)
		return
	}
	d.of[user] = left
}

func (d *doubts) with(what doubt) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var users []string
	for user, has := range d.of {
		if has&what != 0 {
			users = append(users, user)
		}
	}
	return users
}
