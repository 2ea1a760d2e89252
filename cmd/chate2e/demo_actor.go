package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// patience is how long the demo waits for what should come at once: much longer
// than even a busy computer takes. That the relay has ended is known sooner.
const patience = 30 * time.Second

// actor is a person with an engine.
type actor struct {
	*demo
	name, username, colour string

	self     client.Self
	engine   *client.Client
	password []byte
	stop     func() error // ends the engine; nil: it does not run

	mu      sync.Mutex
	events  []client.ProtocolEvent // not yet awaited; guarded by mu
	items   []client.Item          // likewise
	sealed  int                    // messages encrypted so far; guarded by mu
	numbers map[int64]int          // which of them an event is about; guarded by mu
	news    chan struct{}
}

func (a *actor) dir() string { return filepath.Join(a.home, a.username) }

// join makes the account, showing each step.
func (a *actor) join(ctx context.Context) error {
	if a.password == nil {
		a.password = []byte(rand.Text())
	}
	a.numbers = make(map[int64]int)
	a.news = make(chan struct{}, 1)
	engine, err := client.Create(ctx, a.dir(), a.password, client.Registration{
		Server: a.relay.url, Username: a.username, DisplayName: a.name,
	}, client.Config{}, func(p client.Progress) {
		a.says(a.colour, a.name, fmt.Sprintf(a.progress, p.Done, p.Total, a.script.step[string(p.Step)]))
	})
	if err != nil {
		return err
	}
	a.run(ctx, engine)
	if a.self, err = engine.Self(ctx); err != nil {
		return err
	}
	return engine.SetSetting(ctx, client.SettingAutoAccept, "on")
}

// back opens the profile again.
func (a *actor) back(ctx context.Context) error {
	engine, err := client.Open(ctx, a.dir(), a.password, client.Config{})
	if err != nil {
		return err
	}
	a.run(ctx, engine)
	return nil
}

// run starts the engine, and notes what it publishes.
func (a *actor) run(ctx context.Context, engine *client.Client) {
	a.engine = engine
	events, unsubscribe := engine.Subscribe()
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	var failure error
	working.Go(func() { failure = engine.Run(ctx) })
	working.Go(func() {
		for {
			select {
			case e, open := <-events:
				if !open {
					return
				}
				a.note(e)
			case <-ctx.Done():
				return
			}
		}
	})
	a.stop = func() error {
		cancel()
		working.Wait()
		unsubscribe()
		if errors.Is(failure, context.Canceled) {
			failure = nil
		}
		return errors.Join(failure, engine.Close())
	}
}

// leave closes the profile.
func (a *actor) leave() error {
	if a.stop == nil {
		return nil
	}
	stop := a.stop
	a.stop = nil
	return stop()
}

func (a *actor) note(e client.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case e.Protocol != nil:
		a.events = append(a.events, *e.Protocol)
		if e.Protocol.Kind == "encrypted" {
			a.numbers[e.Protocol.ID] = a.sealed
			a.sealed++
		}
	case e.Item != nil:
		a.items = append(a.items, *e.Item)
	default:
		return
	}
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// await waits for a protocol event and takes it, with those before it.
func (a *actor) await(ctx context.Context, wanted func(client.ProtocolEvent) bool) (found client.ProtocolEvent, err error) {
	err = a.until(ctx, func() bool {
		for n, e := range a.events {
			if wanted(e) {
				found, a.events = e, a.events[n+1:]
				return true
			}
		}
		return false
	})
	return found, err
}

// awaitItem is await for what appears in a conversation.
func (a *actor) awaitItem(ctx context.Context, wanted func(client.Item) bool) error {
	return a.until(ctx, func() bool {
		for n, i := range a.items {
			if wanted(i) {
				a.items = a.items[n+1:]
				return true
			}
		}
		return false
	})
}

func (a *actor) until(ctx context.Context, found func() bool) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a.mu.Lock()
		done := found()
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-a.news:
		case <-waiting.Done():
			return a.late(ctx, waiting.Err())
		}
	}
}
