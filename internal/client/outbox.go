package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

const (
	outboxPage    = 128 // jobs looked at together
	outboxBatch   = 32  // jobs of one contact encrypted in one transaction
	outboxWorkers = 4   // contacts served at the same time
	allJobs       = -1  // of a contact, where none may be overlooked

	// sealAttempts bounds how often the device list may change under one batch.
	sealAttempts = 3

	firstPause = time.Second
	lastPause  = 5 * time.Minute
)

// Reasons why messages wait, beside the codes of the relay.
const (
	reasonMismatch   = "key_mismatch" // the relay gives keys that are not the contact's
	reasonKeyChanged = "key_changed"  // the username names another account now
	reasonNoPreKeys  = string(relay.CodeNoPrekeys)
	reasonDevices    = string(relay.CodeDeviceMismatch)
)

// pause returns how long to wait after so many failed attempts: 1 s to 5 min,
// doubling, a quarter of it by chance, so that clients do not come back together.
func pause(attempts int) time.Duration {
	d := lastPause
	if attempts < 9 {
		d = min(firstPause<<max(attempts, 0), lastPause)
	}
	return d - rand.N(d/4) //nolint:gosec // no secret
}

// offlineError wraps what the network said: the whole outbox waits, not one contact.
type offlineError struct{ cause error }

func (e *offlineError) Error() string { return "the relay does not answer: " + e.cause.Error() }
func (e *offlineError) Unwrap() error { return e.cause }

// Flush makes one pass over the outbox at once, without waiting for a pause to
// end. It needs no [Client.Run]; one that waits to connect again, or for room on the
// disk, tries at once, too. It returns [CodeUnreachable] if the relay does not answer.
func (c *Client) Flush(ctx context.Context) error {
	c.wakeFull.raise()
	if !c.link.up() {
		c.wakeLink.raise()
	}
	err := c.update(ctx, func(tx *vault.Tx, _ *change) error { return tx.RetryNow() })
	if err != nil {
		return err
	}
	err = c.pass(ctx, true)
	if offline, ok := errors.AsType[*offlineError](err); ok {
		return unreachable(ctx, offline.cause)
	}
	return err
}

// runOutbox sends what is due until ctx ends. It returns errors of the vault.
func (c *Client) runOutbox(ctx context.Context) error {
	offline := 0
	for {
		var wait time.Duration
		if c.link.up() {
			err := c.pass(ctx, false)
			_, isOffline := errors.AsType[*offlineError](err)
			switch {
			case ctx.Err() != nil:
				return nil
			case isOffline:
				wait = pause(offline)
				offline++
			case err != nil:
				return err
			default:
				offline = 0
				if wait, err = c.nextDue(ctx); err != nil {
					return err
				}
			}
		}
		if !sleep(ctx, wait, c.wakeOutbox) {
			return nil
		}
	}
}

// sleep waits for the duration, for ever if it is zero, or for the signal. It
// reports false when ctx has ended.
func sleep(ctx context.Context, d time.Duration, s nudge) bool {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer:
	case <-s:
	}
	return ctx.Err() == nil
}

// nextDue returns how long until a contact's pause ends, zero for never.
func (c *Client) nextDue(ctx context.Context) (time.Duration, error) {
	var wait time.Duration
	err := c.view(ctx, func(tx *vault.Tx) error {
		due, waits, err := tx.NextDue()
		if waits {
			wait = max(due.Sub(tx.Now), time.Millisecond)
		}
		return err
	})
	if doubt, waits := c.doubtful.next(); waits && (wait == 0 || doubt < wait) {
		wait = doubt
	}
	return wait, err
}

// pass sends everything that is due; with all set, held back by a refused bundle
// or not. It returns offlineError or an error of the vault.
func (c *Client) pass(ctx context.Context, all bool) error {
	select {
	case c.outbox <- struct{}{}:
		defer func() { <-c.outbox }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, peer := range c.doubtful.due(all) {
		if err := c.askAgain(ctx, peer); err != nil {
			return err
		}
	}
	for {
		var due []vault.Job
		err := c.view(ctx, func(tx *vault.Tx) (err error) {
			due, err = tx.DueJobs(outboxPage)
			return err
		})
		if err != nil || len(due) == 0 {
			return err
		}
		g, inside := errgroup.WithContext(ctx)
		g.SetLimit(outboxWorkers)
		for _, lane := range lanes(due) {
			g.Go(func() error { return c.deliver(inside, lane.peer, lane.jobs, nil) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
}

// lane is the jobs of one contact, in their order.
type lane struct {
	peer string
	jobs []vault.Job
}

// lanes divides jobs by contact.
func lanes(jobs []vault.Job) []*lane {
	var all []*lane
	of := map[string]*lane{}
	for _, job := range jobs {
		l := of[job.Peer]
		if l == nil {
			l = &lane{peer: job.Peer}
			of[job.Peer] = l
			all = append(all, l)
		}
		if len(l.jobs) < outboxBatch {
			l.jobs = append(l.jobs, job)
		}
	}
	return all
}

// deliver sends jobs of one contact. Afterwards each of them was sent, was given
// up, or waits; else it returns offlineError or an error of the vault.
func (c *Client) deliver(ctx context.Context, peer string, jobs []vault.Job, fetched bundles) error {
	user, err := parseUserID(peer)
	if err != nil {
		return err
	}
	for attempt := 0; len(jobs) > 0; {
		parcels, lacking, err := c.seal(ctx, peer, jobs, fetched)
		switch {
		case errors.Is(err, errLacking) && fetched != nil:
			return c.wait(ctx, peer, reasonNoPreKeys, 0)
		case errors.Is(err, errLacking):
			if fetched, err = c.fetchBundles(ctx, user, lacking); err != nil {
				return c.setback(ctx, peer, err)
			}
			continue
		case err != nil:
			return err
		}
		sent, err := c.post(ctx, user.String(), parcels)
		if err := c.markSent(ctx, parcels[:sent]); err != nil {
			return err
		}
		jobs = after(jobs, parcels[:sent])
		refused, _ := errors.AsType[*relay.Error](err)
		switch {
		case err == nil:
			return nil
		case refused != nil && refused.Code == relay.CodeDeviceMismatch && attempt < sealAttempts:
			attempt++
			if _, err := c.fetchDevices(ctx, user); err != nil {
				return c.setback(ctx, peer, err)
			}
			fetched = nil
		case refused != nil && hopeless(refused.Code):
			if err := c.giveUp(ctx, parcels[sent].job); err != nil {
				return err
			}
			jobs = after(jobs, parcels[sent:sent+1])
		default:
			return c.setback(ctx, peer, err)
		}
	}
	return nil
}

// after returns the jobs without those of the parcels.
func after(jobs []vault.Job, done []parcel) []vault.Job {
	rest := make([]vault.Job, 0, len(jobs))
	for _, job := range jobs {
		finished := false
		for _, p := range done {
			finished = finished || p.job.ID == job.ID
		}
		if !finished {
			rest = append(rest, job)
		}
	}
	return rest
}

// hopeless reports whether the relay will never take these bytes.
func hopeless(code relay.Code) bool {
	switch code {
	case relay.CodeTooLarge, relay.CodeBadRequest, relay.CodeBadJSON, relay.CodeEnvelopeConflict:
		return true
	default:
		return false
	}
}

// parcel is a job with its finished ciphertexts.
type parcel struct {
	job       vault.Job
	envelopes []relay.Outgoing
}

// errLacking: there are devices without a session to encrypt in.
var errLacking = errors.New("client: a session is lacking")

// seal encrypts jobs for all devices of their contact, each once in its life, and
// stores the ciphertexts in the transaction that stores the advanced records. Jobs
// that were encrypted before are returned with the ciphertexts they have.
//
// With errLacking it returns the devices whose bundles are wanted, none for all
// there are, and nothing was changed.
func (c *Client) seal(ctx context.Context, peer string, jobs []vault.Job, fetched bundles) (parcels []parcel, lacking []uint32, err error) {
	err = c.update(ctx, func(tx *vault.Tx, ch *change) error {
		parcels, lacking = nil, nil
		s, err := c.newSealing(tx, ch, peer, fetched)
		if errors.Is(err, vault.ErrNotFound) {
			return nil // the contact was removed, and the jobs with it
		}
		if err != nil {
			return err
		}
		if len(s.records) == 0 || len(s.lacking) > 0 {
			lacking = s.lacking
			return errLacking
		}
		for _, job := range jobs {
			p, err := s.seal(job)
			if errors.Is(err, session.ErrStale) || errors.Is(err, session.ErrNoSession) {
				lacking = s.lacking
				return errLacking
			}
			if err != nil {
				return err
			}
			if p.envelopes != nil {
				parcels = append(parcels, p)
			}
		}
		return s.store()
	})
	return parcels, lacking, err
}

// sealing is one transaction's encrypting for one contact.
type sealing struct {
	c       *Client
	tx      *vault.Tx
	ch      *change
	contact vault.Contact
	records []*session.Record // one for each device, in their order
	changed []bool
	lacking []uint32 // devices without a session

	own, peer content.ListRef
	signed    []byte // our device list
}

// newSealing loads the records, and starts sessions from the bundles fetched.
func (c *Client) newSealing(tx *vault.Tx, ch *change, peer string, fetched bundles) (*sealing, error) {
	s := &sealing{c: c, tx: tx, ch: ch}
	var err error
	if s.contact, err = tx.Contact(peer); err != nil {
		return nil, err
	}
	own, err := tx.DeviceList(c.me.id())
	if err != nil {
		return nil, err
	}
	s.own, s.signed = content.ListRef{Version: own.Version, Hash: own.Hash}, own.Signed
	if s.peer, err = listRef(tx, peer); err != nil {
		return nil, err
	}
	devices, err := tx.Devices(s.contact.Chat)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if d.User != peer {
			continue // another device of ours
		}
		if err := s.addDevice(d, fetched[d.Device]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *sealing) addDevice(d vault.Device, bundle *pqxdh.Bundle) error {
	record, err := loadRecord(s.tx, s.c.me.identity, d.Address)
	if err != nil {
		return err
	}
	changed, wanted := false, !record.InUse()
	if status, err := record.Status(); err == nil {
		wanted = status.Counters.Unanswered // it may be too old; an answer that came meanwhile is better than a new session
	}
	switch {
	case bundle != nil && wanted:
		trace, err := record.Initiate(s.c.me.identity, bundle, s.tx.Now)
		if err != nil {
			return mismatch(err) // it was verified, so what is wrong is the identity key
		}
		s.ch.note(s.tx.Now, d.Address, trace, vault.MessageID{})
		changed = true
	case !record.InUse():
		s.lacking = append(s.lacking, d.Device)
	}
	s.records, s.changed = append(s.records, record), append(s.changed, changed)
	return nil
}

// seal returns a job's ciphertexts, made now if it has none. A job that was given
// up meanwhile has no envelopes.
func (s *sealing) seal(job vault.Job) (parcel, error) {
	p := parcel{job: job}
	if _, err := s.tx.Job(job.ID); errors.Is(err, vault.ErrNotFound) {
		return p, nil
	} else if err != nil {
		return p, err
	}
	finished, err := s.tx.Sealed(job.ID)
	if err != nil {
		return p, err
	}
	for i, record := range s.records {
		to := vault.Address{User: record.Them().Name, Device: record.Them().Device}
		envelope, err := s.envelope(job, to, finished, i)
		if err != nil {
			return p, err
		}
		p.envelopes = append(p.envelopes, envelope)
	}
	return p, nil
}

func (s *sealing) envelope(job vault.Job, to vault.Address, finished []vault.Sealed, i int) (relay.Outgoing, error) {
	out := relay.Outgoing{Device: relay.DeviceNumber(to.Device)} //nolint:gosec // from a device list
	for _, f := range finished {
		if f.To == to {
			out.ID, out.Body = relay.EnvelopeID(f.ID), f.Ciphertext
			return out, nil
		}
	}
	record := s.records[i]
	body := content.Content{OwnList: s.own, PeerList: s.peer, Message: job.Content}
	if status, err := record.Status(); err == nil && status.Counters.Unanswered {
		body.DeviceList = s.signed // the handshake travels along
	}
	sealed, err := record.Encrypt(body.Pad(), s.tx.Now)
	if err != nil {
		s.lacking = append(s.lacking, to.Device)
		return out, err
	}
	s.changed[i] = true
	id, err := s.tx.PutSealed(job.ID, to, sealed.Bytes)
	if err != nil {
		return out, err
	}
	out.ID, out.Body = relay.EnvelopeID(id), sealed.Bytes
	s.ch.note(s.tx.Now, to, sealed.Trace, job.Message)
	return out, nil
}

// store stores the records that moved.
func (s *sealing) store() error {
	for i, record := range s.records {
		if !s.changed[i] {
			continue
		}
		to := vault.Address{User: record.Them().Name, Device: record.Them().Device}
		if err := s.tx.PutRecord(to, record.Append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// post sends parcels one after the other, and returns how many the relay has
// acknowledged, and why not all.
func (c *Client) post(ctx context.Context, peer string, parcels []parcel) (sent int, err error) {
	var to relay.UserID
	if err := to.UnmarshalText([]byte(peer)); err != nil {
		return 0, err
	}
	for _, p := range parcels {
		if err := c.link.send(ctx, c.relay, to, p.envelopes); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// markSent ends the jobs that the relay has acknowledged. It does so even when
// ctx has ended, for the relay would only be asked again.
func (c *Client) markSent(ctx context.Context, parcels []parcel) error {
	if len(parcels) == 0 {
		return nil
	}
	return c.update(context.WithoutCancel(ctx), func(tx *vault.Tx, ch *change) error {
		for _, p := range parcels {
			if err := tx.MarkSent(p.job.ID); err != nil {
				return err
			}
			ch.message(p.job.Message)
		}
		return nil
	})
}

// giveUp fails a job that the relay will never take.
func (c *Client) giveUp(ctx context.Context, job vault.Job) error {
	return c.update(ctx, func(tx *vault.Tx, ch *change) error {
		ch.message(job.Message)
		return tx.FailJob(job.ID)
	})
}

// setback deals with an error of the relay: the contact waits, or is held, or
// everybody waits (offlineError).
func (c *Client) setback(ctx context.Context, peer string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if refused, ok := errors.AsType[*relay.Error](err); ok {
		switch refused.Code {
		case relay.CodeUnauthorized, relay.CodeBadProof, relay.CodeBadChallenge, relay.CodeAccountDisabled,
			relay.CodeWrongOrigin, relay.CodeUnavailable:
			return &offlineError{err}
		case relay.CodeUnknownUser:
			if c.outdated.add(peer, vanished) {
				c.wakeUpkeep.raise() // perhaps her username names another account
			}
		default:
		}
		return c.wait(ctx, peer, string(refused.Code), refused.RetryAfter)
	}
	own, ok := errors.AsType[*Error](err)
	switch {
	case ok && own.Code == CodeKeyMismatch:
		return c.hold(ctx, peer, own)
	case ok:
		return err
	case errors.Is(err, vault.ErrConflict):
		return c.wait(ctx, peer, reasonDevices, 0)
	default:
		return &offlineError{err}
	}
}

// wait lets the jobs of a contact wait, for a reason that is hers.
func (c *Client) wait(ctx context.Context, peer, reason string, atLeast time.Duration) error {
	return c.update(ctx, func(tx *vault.Tx, _ *change) error {
		if _, err := tx.Contact(peer); err != nil {
			return ignoreNotFound(err) // removed meanwhile, and the jobs with it
		}
		lane, err := tx.Lane(peer)
		if err != nil {
			return err
		}
		return tx.BackOff(peer, tx.Now.Add(max(pause(lane.Attempts), atLeast)), reason)
	})
}

// hold holds the messages to a contact, because the relay gave keys that are not
// hers. It is asked again from time to time.
func (c *Client) hold(ctx context.Context, peer string, cause *Error) error {
	c.log.WarnContext(ctx, "the relay gave keys that do not belong to a user ID", "err", cause.Err)
	return c.update(ctx, func(tx *vault.Tx, ch *change) error {
		if _, err := tx.Contact(peer); err != nil {
			return ignoreNotFound(err) // as in wait; there is nobody whose line it would be
		}
		lane, err := tx.Lane(peer)
		if err != nil {
			return err
		}
		if !lane.Held {
			ch.noteRefused(tx.Now, vault.Address{User: peer}, reasonMismatch)
		}
		if err := holdAll(tx, ch, peer, reasonMismatch); err != nil {
			return err
		}
		again := pause(lane.Attempts)
		c.doubtful.add(peer, tx.Now.Add(again))
		return tx.BackOff(peer, tx.Now.Add(again), reasonMismatch)
	})
}

// askAgain asks the relay once more for the keys of a contact that are in doubt,
// and goes on sending if they are right now.
func (c *Client) askAgain(ctx context.Context, peer string) error {
	user, err := parseUserID(peer)
	if err != nil {
		return err
	}
	var lane vault.Lane
	var jobs []vault.Job
	var lacking []uint32
	var known bool
	err = c.view(ctx, func(tx *vault.Tx) error {
		if lane, err = tx.Lane(peer); err != nil {
			return err
		}
		if jobs, err = tx.Jobs(peer, outboxBatch); err != nil {
			return err
		}
		list, err := tx.DeviceList(peer)
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		}
		known = true
		for _, d := range list.Devices {
			record, err := loadRecord(tx, c.me.identity, d.Address)
			if err != nil {
				return err
			}
			if !record.InUse() {
				lacking = append(lacking, d.Device)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if !lane.Held || lane.Reason != reasonMismatch || len(jobs) == 0 {
		c.doubtful.remove(peer)
		return nil
	}
	var fetched bundles
	if known && len(lacking) == 0 {
		_, err = c.fetchDevices(ctx, user)
	} else {
		fetched, err = c.fetchBundles(ctx, user, lacking)
	}
	if err != nil {
		return c.setback(ctx, peer, err)
	}
	c.doubtful.remove(peer)
	err = c.update(ctx, func(tx *vault.Tx, ch *change) error { return release(tx, ch, peer, reasonMismatch) })
	if err != nil {
		return err
	}
	return c.deliver(ctx, peer, jobs, fetched)
}

// doubtful are the contacts whose keys the relay is to be asked for again, and
// when.
type doubtful struct {
	mu   sync.Mutex
	when map[string]time.Time
}

func (d *doubtful) load(tx *vault.Tx) error {
	contacts, err := tx.Contacts()
	if err != nil {
		return err
	}
	for _, contact := range contacts {
		lane, err := tx.Lane(contact.User)
		if err != nil {
			return err
		}
		if lane.Held && lane.Reason == reasonMismatch {
			d.add(contact.User, lane.NextAt)
		}
	}
	return nil
}

func (d *doubtful) add(peer string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.when == nil {
		d.when = map[string]time.Time{}
	}
	d.when[peer] = at
}

func (d *doubtful) remove(peer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.when, peer)
}

// due returns the contacts whose time has come, or all.
func (d *doubtful) due(all bool) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var peers []string
	now := time.Now()
	for peer, at := range d.when {
		if all || !at.After(now) {
			peers = append(peers, peer)
		}
	}
	return peers
}

// next returns how long until the first of them is due.
func (d *doubtful) next() (wait time.Duration, waits bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, at := range d.when {
		if until := max(at.Sub(now), time.Millisecond); !waits || until < wait {
			wait, waits = until, true
		}
	}
	return wait, waits
}
