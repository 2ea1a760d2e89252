package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/webui"
)

// demoPassword unlocks the two profiles of the demo's windows, which end with it.
const demoPassword = "demo"

// places are where on the screen the two windows open.
var places = [...]webui.Window{
	{X: 20, Y: 40, Width: 920, Height: 820},
	{X: 960, Y: 40, Width: 920, Height: 820},
}

// windows makes the two accounts, has them become contacts, and shows a window for
// each until both are closed, or ctx ends.
func (d *demo) windows(ctx context.Context, e *env, noWindow bool) (err error) {
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = end(err) }()
	e.note("%s", d.script.preparing)
	people := []*actor{d.alice, d.bob}
	for _, a := range people {
		a.password = []byte(demoPassword)
		if err := a.join(ctx); err != nil {
			return err
		}
		if err := a.engine.SetSetting(ctx, client.SettingLanguage, d.script.language); err != nil {
			return err
		}
	}
	if _, err := d.alice.engine.AddContact(ctx, d.bob.self.UserID); err != nil {
		return err
	}
	for _, a := range people {
		if err := a.awaitFriend(ctx); err != nil {
			return err
		}
	}

	shown := make([]*window, len(people))
	links := make(map[string]string)
	var text strings.Builder
	for i, a := range people {
		if err := a.leave(); err != nil {
			return err
		}
		w, err := a.window(ctx, e)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		shown[i] = w
		if !noWindow {
			opening := w.app.Open(ctx, w.at, places[i])
			if opening == nil {
				continue
			}
			if !errors.Is(opening, webui.ErrNoBrowser) {
				return opening
			}
		}
		links[a.username] = w.app.Link(w.at)
		fmt.Fprintf(&text, "%-6s %s\n", a.name, links[a.username])
	}
	if len(links) > 0 {
		if err := e.result(links, text.String()); err != nil {
			return err
		}
	}
	e.note(d.script.windowsOpen, demoPassword)
	for i, a := range people {
		closed := shown[i].app.Closed
		if links[a.username] != "" {
			closed = nil // whoever opens a link by hand ends the demo by hand
		}
		if err := shown[i].wait(ctx, closed); err != nil {
			return err
		}
	}
	return nil
}

// awaitFriend waits until the other one is a contact who has accepted.
func (a *actor) awaitFriend(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		contacts, err := a.engine.Contacts(waiting)
		if err != nil {
			return a.late(ctx, err)
		}
		if len(contacts) == 1 && contacts[0].State == client.ContactAccepted && contacts[0].DisplayName != "" {
			return nil
		}
		if err := pause(waiting); err != nil {
			return a.late(ctx, err)
		}
	}
}

// window serves the actor's profile, unlocked.
func (a *actor) window(ctx context.Context, e *env) (*window, error) {
	state := filepath.Join(a.home, "window-"+a.username)
	if err := os.Mkdir(state, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the window: %w", err)
	}
	w, err := e.openWindow(ctx, a.dir(), state, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if err := w.app.Unlock(ctx, a.password); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}
