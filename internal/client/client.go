package client

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal/curve"
)

// Client is an unlocked profile. Its methods may be called from any goroutine.
// After [Client.Close] they return [CodeClosed].
type Client struct {
	log   *slog.Logger
	dir   string
	db    *vault.DB
	me    self
	relay *relayclient.Client

	events   broadcast
	telling  sync.Mutex // from the end of a transaction until its events are told
	link     link
	presence presence

	outbox   chan struct{} // whoever can put a value in works on the outbox
	doubtful doubtful      // contacts whose bundles were refused
	outdated doubts        // contacts of whom the relay may have told less than there is

	wakeOutbox   nudge
	wakeUpkeep   nudge
	wakePresence nudge
	wakeGaps     nudge
	wakeFull     nudge
	wakeLink     nudge

	prekeysLeft atomicCount
	full        atomic.Bool // Run waits for room on the disk

	mu      sync.Mutex
	closed  bool
	stop    []context.CancelFunc // of every Run
	running sync.WaitGroup       // every Run
	closing error
	once    sync.Once
}

// Exists reports whether dir holds a profile. A folder that cannot be looked into
// counts as one that does.
func Exists(dir string) bool {
	exists, err := vault.Exists(dir)
	return exists || err != nil
}

// Open unlocks the profile in dir. It takes about half a second, most of it for
// the password.
//
// If the registration was interrupted it is finished now, and when the device
// list is older than a week it is signed again, for both need the password.
//
// It returns [CodeNoProfile], [CodeProfileInUse], [CodeWrongPassword],
// [CodeDamaged]; and for an interrupted registration the errors of [Create].
func Open(ctx context.Context, dir string, password []byte, cfg Config) (*Client, error) {
	db, err := vault.Open(ctx, dir, password, vault.Config{TestKDF: cfg.TestKDF})
	if err != nil {
		return nil, asError(err)
	}
	c, err := start(ctx, db, dir, password, cfg)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return c, nil
}

// start makes the engine of an open vault.
func start(ctx context.Context, db *vault.DB, dir string, password []byte, cfg Config) (*Client, error) {
	c := &Client{
		log: cfg.Log, dir: dir, db: db,
		outbox:     make(chan struct{}, 1),
		wakeOutbox: newNudge(), wakeUpkeep: newNudge(), wakePresence: newNudge(), wakeGaps: newNudge(),
		wakeFull: newNudge(), wakeLink: newNudge(),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.prekeysLeft.store(-1)
	if err := db.View(ctx, c.load); err != nil {
		return nil, asError(err)
	}
	var err error
	if c.relay, err = newRelay(c.me.server, c.me.relayAddress(), c.me.identity.Key, logins{c}, cfg); err != nil {
		return nil, err
	}
	if !c.me.registered {
		if err := c.register(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.renewDeviceList(ctx, password); err != nil {
		return nil, err
	}
	return c, nil
}

// newRelay returns the client of a relay. It does not connect.
func newRelay(server string, address relay.Address, identity *curve.PrivateKey, l relayclient.Logins, cfg Config) (*relayclient.Client, error) {
	origin, err := relay.ParseOrigin(server)
	if err != nil {
		return nil, fail(CodeDamaged, err, "the profile does not name its relay")
	}
	r, err := relayclient.New(relayclient.Config{
		Server: origin, Address: address, Identity: identity, Logins: l, DialContext: cfg.DialContext,
	})
	if err != nil {
		return nil, fail(CodeDamaged, err, "the profile is damaged")
	}
	return r, nil
}

// load reads what the engine keeps in memory.
func (c *Client) load(tx *vault.Tx) error {
	own, err := tx.Own()
	if errors.Is(err, vault.ErrNotFound) {
		return fail(CodeDamaged, err, "the profile was not completed; remove its folder and register again")
	}
	if err != nil {
		return err
	}
	if err := c.me.load(own); err != nil {
		return err
	}
	return c.doubtful.load(tx)
}

// Close stops [Client.Run], waits for it and closes the profile. Closing twice is
// harmless.
func (c *Client) Close() error {
	c.once.Do(func() {
		c.mu.Lock()
		c.closed = true
		for _, stop := range c.stop {
			stop()
		}
		c.mu.Unlock()
		c.running.Wait()
		c.events.publish(Event{Kind: EventClosed})
		c.events.close()
		c.relay.Close()
		c.closing = asError(c.db.Close())
	})
	return c.closing
}

// begin registers a Run, which Close is to stop and to wait for.
func (c *Client) begin(ctx context.Context) (context.Context, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, fail(CodeClosed, nil, "the engine has stopped")
	}
	ctx, cancel := context.WithCancel(ctx)
	c.stop = append(c.stop, cancel)
	c.running.Add(1)
	return ctx, func() { cancel(); c.running.Done() }, nil
}

// Self returns what the account knows of itself.
func (c *Client) Self(context.Context) (Self, error) { return c.me.self(), nil }

// ChangePassword makes next the profile's password. It returns
// [CodeWrongPassword], or [CodeUsage] for an empty one. After a crash at any point
// one of the two unlocks the profile.
func (c *Client) ChangePassword(ctx context.Context, current, next []byte) error {
	return asError(c.db.ChangePassword(ctx, current, next))
}
