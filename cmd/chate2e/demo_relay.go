package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

// demoRelay is a whole relay with its database in a folder.
type demoRelay struct {
	url   string
	dir   string
	store *tap
	cut   func() // ends it at once
	stop  func() error
}

// startRelay starts a relay on port 5000, or a free one if that is taken. If it
// ends before it is closed it calls gone.
func startRelay(ctx context.Context, dir string, gone func(error)) (*demoRelay, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:5000")
	if err != nil {
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("starting the relay: %w", err)
		}
	}
	r := &demoRelay{url: "http://" + listener.Addr().String(), dir: dir}
	fail := func(err error) (*demoRelay, error) {
		return nil, fmt.Errorf("starting the relay: %w", errors.Join(err, listener.Close()))
	}
	origin, err := relay.ParseOrigin(r.url)
	if err != nil {
		return fail(err)
	}
	if err = os.Mkdir(dir, 0o700); err != nil {
		return fail(err)
	}
	db, err := sqlite.Open(filepath.Join(dir, "relay.db"), sqlite.Config{})
	if err != nil {
		return fail(err)
	}
	r.store = &tap{Store: db, news: make(chan struct{}, 1)}
	node, err := server.New(r.store, bus.NewLocal(), server.Config{
		Origins: []relay.Origin{origin}, Registration: server.RegistrationOpen,
	})
	if err != nil {
		return fail(errors.Join(err, db.Close()))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cut = cancel
	var running sync.WaitGroup
	var failure error
	closing := false // set before the end that is asked for
	var mu sync.Mutex
	running.Go(func() {
		failure = node.Serve(ctx, listener)
		mu.Lock()
		defer mu.Unlock()
		if !closing {
			gone(failure)
		}
	})
	r.stop = func() error {
		mu.Lock()
		closing = true
		mu.Unlock()
		cancel()
		running.Wait()
		return errors.Join(failure, db.Close())
	}
	return r, nil
}

// Close ends the relay.
func (r *demoRelay) Close() error { return r.stop() }

// envelope waits for the envelope that carries a message which an actor has
// encrypted. An engine sends to one contact in the order in which it encrypts.
func (r *demoRelay) envelope(ctx context.Context, from *actor, sealed client.ProtocolEvent) ([]byte, error) {
	from.mu.Lock()
	number := from.numbers[sealed.ID]
	from.mu.Unlock()
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		sent := r.store.from(from.self.UserID)
		if number < len(sent) {
			if body := sent[number]; len(body) == sealed.Size {
				return body, nil
			}
			return nil, fmt.Errorf(from.wrong, "size")
		}
		select {
		case <-r.store.news:
		case <-waiting.Done():
			return nil, waiting.Err()
		}
	}
}

func (r *demoRelay) totals() (envelopes, size int) {
	for _, body := range r.bodies() {
		envelopes++
		size += len(body)
	}
	return envelopes, size
}

func (r *demoRelay) bodies() [][]byte { return r.store.from("") }

// tap is a relay's store that keeps a copy of every envelope.
type tap struct {
	mailbox.Store
	news chan struct{}

	mu   sync.Mutex
	seen []tapped // guarded by mu
}

type tapped struct {
	from string
	body []byte
}

// Commit implements [mailbox.Store].
func (t *tap) Commit(ctx context.Context, batch *mailbox.Batch, now time.Time) error {
	if err := t.Store.Commit(ctx, batch, now); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, put := range batch.Puts {
		if put.Err != nil {
			continue
		}
		for _, e := range put.Envelopes {
			t.seen = append(t.seen, tapped{put.From.User.String(), bytes.Clone(e.Body)})
		}
	}
	select {
	case t.news <- struct{}{}:
	default:
	}
	return nil
}

// from returns the envelopes of one user, or of all, in their order.
func (t *tap) from(user string) [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	var bodies [][]byte
	for _, e := range t.seen {
		if user == "" || e.from == user {
			bodies = append(bodies, e.body)
		}
	}
	return bodies
}
