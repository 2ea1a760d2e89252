package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/vault"
)

const (
	// longestAbsence bounds the pause between two attempts to connect.
	longestAbsence = time.Minute
	// steady is how long a connection must have lasted to count as a success.
	steady = 10 * time.Second

	// A gap is waited for so long while there is a connection, or so long after the
	// mailbox was found empty: what is in it has come by then, but for what a
	// network between may have turned round.
	gapPatience = 30 * time.Second
	gapGrace    = 500 * time.Millisecond
)

// Run keeps the connection to the relay and does what is to be done: it receives,
// sends what is in the outbox, looks after the prekeys, and shares the presence.
// It ends with ctx, or with [Client.Close], and returns nil; or an error of the
// vault, after which nothing more can be stored. A relay that does not answer is
// tried again, and so is a disk that is full: what comes stays at the relay until
// there is room.
//
// One Run at a time is enough.
func (c *Client) Run(ctx context.Context) error {
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := c.runLoops(ctx)
		if !errors.Is(err, vault.ErrFull) {
			return asError(err)
		}
		if time.Since(began) > steady {
			attempt = 0
		}
		c.setFull(ctx, true)
		c.log.WarnContext(ctx, "the disk is full", "err", err)
		if !sleep(ctx, min(pause(attempt), longestAbsence), c.wakeFull) {
			return nil
		}
	}
}

// runLoops does what Run says until ctx ends, or with an error of the vault.
func (c *Client) runLoops(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{c.runConnection, c.runOutbox, c.runUpkeep, c.runRoom} {
		g.Go(func() error {
			err := loop(ctx)
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// runRoom takes it that there is room on the disk again when all has gone well for
// a while: what found it full is tried again at once.
func (c *Client) runRoom(ctx context.Context) error {
	if c.full.Load() && sleep(ctx, steady, nil) {
		c.setFull(ctx, false)
	}
	return nil
}

func (c *Client) setFull(ctx context.Context, full bool) {
	if c.full.Swap(full) != full {
		c.tellConnection(ctx)
	}
}

// Status returns the state of the engine.
func (c *Client) Status(ctx context.Context) (status Status, err error) {
	err = c.view(ctx, func(tx *vault.Tx) (err error) {
		status, err = c.status(tx)
		return err
	})
	return status, err
}

func (c *Client) status(tx *vault.Tx) (Status, error) {
	status := Status{
		PrekeysLeft: c.prekeysLeft.load(),
		ClockAhead:  c.relay.ClockAhead().Truncate(time.Second), StorageFull: c.full.Load(),
	}
	c.link.describe(&status)
	conflict, err := tx.Conflict()
	if err != nil {
		return Status{}, err
	}
	if !conflict.IsZero() {
		status.Conflict = &conflict
	}
	status.Outbox, err = tx.CountJobs()
	return status, err
}

// link is the connection, while there is one. The zero value is down.
type link struct {
	mu     sync.Mutex
	conn   *relayclient.Conn
	reason Offline   // why it is down; "" before the first attempt
	why    string    // the same in words
	next   time.Time // of the next attempt; zero while there is one
}

func (l *link) get() *relayclient.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

func (l *link) set(conn *relayclient.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.reason, l.why = conn, "", ""
}

// down says that there is no connection, and why.
func (l *link) down(cause error) {
	reason, why := whyOffline(cause)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.reason, l.why = nil, reason, why
}

// rests says when the next attempt is; the zero time says that it is now.
func (l *link) rests(next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = next
}

// describe sets what a status says of the connection.
func (l *link) describe(status *Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	status.Connected, status.Error, status.Offline = l.conn != nil, l.why, l.reason
	if !l.next.IsZero() {
		next := l.next
		status.NextTry = &next
	}
}

func (l *link) up() bool { return l.get() != nil }

// send posts envelopes over the connection, or with a request of their own while
// there is none.
func (l *link) send(ctx context.Context, rest *relayclient.Client, to relay.UserID, envelopes []relay.Outgoing) error {
	if conn := l.get(); conn != nil {
		return conn.Send(ctx, to, envelopes)
	}
	return rest.Send(ctx, to, envelopes)
}

// runConnection connects, again and again, until ctx ends. It returns errors of
// the vault.
func (c *Client) runConnection(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := c.online(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if own, ok := errors.AsType[*Error](err); ok {
			return own
		}
		if time.Since(began) > steady {
			attempt = 0
		}
		if attempt == 0 {
			c.log.WarnContext(ctx, "no connection to the relay", "err", err)
		}
		wait := min(pause(attempt), longestAbsence)
		c.link.rests(time.Now().Add(wait))
		c.tellConnection(ctx)
		if !sleep(ctx, wait, c.wakeLink) {
			return nil
		}
		c.link.rests(time.Time{})
	}
}

// online connects and stays connected until something ends it, which it returns.
func (c *Client) online(ctx context.Context) (err error) {
	conn, err := c.relay.Dial(ctx)
	if err != nil {
		c.link.down(err)
		return err
	}
	defer func() { _ = conn.Close() }()
	c.link.set(conn)
	defer func() { c.offline(ctx, err) }()
	c.tellConnection(ctx)
	c.wakeOutbox.raise()
	c.wakeUpkeep.raise()

	g, inside := errgroup.WithContext(ctx)
	box := &mailbox{opened: time.Now()}
	g.Go(func() error { return c.readMailbox(inside, conn, box) })
	g.Go(func() error { return c.showGaps(inside, box) })
	g.Go(func() error { return c.runPresence(inside, ctx, conn) })
	return g.Wait()
}

func (c *Client) offline(ctx context.Context, cause error) {
	c.link.down(cause)
	ctx = context.WithoutCancel(ctx)
	if err := c.noteSeen(ctx, c.presence.forget()); err != nil {
		c.log.WarnContext(ctx, "the time when contacts were seen last is not stored", "err", err)
	}
	c.tellConnection(ctx)
}

func (c *Client) tellConnection(ctx context.Context) {
	if status, err := c.Status(ctx); err == nil {
		c.events.publish(Event{Kind: EventConnection, Status: &status})
	}
}

// mailbox is what is known of the own mailbox during one connection.
type mailbox struct {
	opened time.Time

	mu      sync.Mutex
	drained time.Time // when it was last found empty
}

func (b *mailbox) empty(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drained = at
}

func (b *mailbox) lastEmpty() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.drained
}

// readMailbox receives what the relay pushes, and acknowledges it once it is
// stored. What has arrived together is stored together.
func (c *Client) readMailbox(ctx context.Context, conn *relayclient.Conn, box *mailbox) error {
	// Next returns what is there even if its context has ended.
	atOnce, end := context.WithCancel(ctx)
	end()
	var envelopes []relay.Incoming
	store := func() error {
		if len(envelopes) == 0 {
			return nil
		}
		if err := c.receive(ctx, envelopes); err != nil {
			return err
		}
		handles := make([]relay.Handle, 0, len(envelopes))
		for _, e := range envelopes {
			handles = append(handles, e.Handle)
		}
		envelopes = envelopes[:0]
		return conn.Ack(ctx, handles...)
	}
	for {
		event, err := conn.Next(atOnce)
		if err != nil || len(envelopes) == inboxBatch {
			if err := store(); err != nil {
				return err
			}
		}
		if err != nil {
			if event, err = conn.Next(ctx); err != nil {
				return err
			}
		}
		switch event := event.(type) {
		case relayclient.Envelope:
			envelopes = append(envelopes, event.Incoming)
		case relayclient.Drained:
			if err := store(); err != nil {
				return err
			}
			box.empty(time.Now())
			c.wakeGaps.raise()
		case relayclient.Topic:
			if err := c.learnPresence(ctx, event.TopicUpdate); err != nil {
				return err
			}
		}
	}
}

// showGaps declares messages missing that have been waited for long enough.
func (c *Client) showGaps(ctx context.Context, box *mailbox) error {
	var armed time.Time // the emptiness whose grace is running
	for {
		var noticed time.Time
		var waits bool
		err := c.view(ctx, func(tx *vault.Tx) (err error) {
			noticed, waits, err = tx.OldestHole()
			return err
		})
		if err != nil {
			return err
		}
		wait := time.Duration(0)
		if waits {
			if drained := box.lastEmpty(); armed.IsZero() && !drained.Before(noticed) {
				armed = drained
			}
			now := time.Now()
			upto, due := noticed, noticed.Add(gapPatience)
			if box.opened.After(noticed) {
				due = box.opened.Add(gapPatience)
			}
			if graced := armed.Add(gapGrace); !armed.IsZero() && graced.Before(due) {
				upto, due = armed, graced
			}
			if !now.Before(due) {
				armed = time.Time{}
				if err := c.update(ctx, func(tx *vault.Tx, _ *change) error { return tx.ShowMissing(upto) }); err != nil {
					return err
				}
				continue
			}
			wait = due.Sub(now)
		}
		if !sleep(ctx, wait, c.wakeGaps) {
			return nil
		}
	}
}
