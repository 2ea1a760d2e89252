package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
	"github.com/chate2e/chate2e/internal/webui"
)

type appCmd struct {
	NoWindow bool   `help:"Print the window's address, and open none."`
	Listen   string `default:"127.0.0.1:0" placeholder:"ADDR" help:"Loopback address to listen on (${default})."`
}

func (c *appCmd) Run(ctx context.Context, e *env) error {
	dir, err := e.profileDir()
	if err != nil {
		return err
	}
	state, err := windowDir(dir, e.Profile)
	if err != nil {
		return err
	}
	link, running, err := webui.Running(ctx, state, !c.NoWindow)
	if err != nil {
		return err
	}
	if running {
		return c.show(e, link)
	}
	password, err := c.password(ctx, e, dir)
	if err != nil {
		return err
	}
	defer clear(password)
	w, err := e.openWindow(ctx, dir, state, c.Listen)
	if err != nil {
		return err
	}
	return errors.Join(c.serve(ctx, e, w, password), w.Close())
}

// password reads the password if a file was named for a profile that exists: the
// window asks for it otherwise.
func (c *appCmd) password(ctx context.Context, e *env, dir string) ([]byte, error) {
	if e.PasswordFile == "" || !client.Exists(dir) {
		return nil, nil
	}
	return e.readPassword(ctx, e.PasswordFile, "Password", false)
}

// show prints a link, if there is one.
func (c *appCmd) show(e *env, link string) error {
	if link == "" {
		return nil
	}
	if !c.NoWindow {
		e.note("No browser window could be opened here; open this address once:")
	}
	return e.result(map[string]string{"url": link}, link+"\n")
}

// serve shows the window until its last one is closed, or ctx ends.
func (c *appCmd) serve(ctx context.Context, e *env, w *window, password []byte) error {
	if password != nil {
		if err := w.app.Unlock(ctx, password); err != nil {
			return err
		}
	}
	if !c.NoWindow {
		err := w.app.Open(ctx, w.at, webui.Window{})
		if err == nil {
			return w.wait(ctx, w.app.Closed)
		}
		if !errors.Is(err, webui.ErrNoBrowser) {
			return err
		}
	}
	if err := c.show(e, w.app.Link(w.at)); err != nil {
		return err
	}
	return w.wait(ctx, nil)
}

// windowDir makes the folder of the window's own files, beside those of the
// profiles: it exists before there is a profile.
func windowDir(profile, name string) (string, error) {
	dir := filepath.Join(filepath.Dir(filepath.Dir(profile)), "windows", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the folder of the window: %w", err)
	}
	return dir, nil
}

// window is a page that is served, and the socket on which a second start finds it.
type window struct {
	app   *webui.App
	at    net.Addr
	state string

	cancel  context.CancelFunc
	done    chan struct{} // closed when the page is served no more
	running sync.WaitGroup
	page    error // set before running is done
	socket  error // the same
}

// openWindow serves the window of the profile in dir.
func (e *env) openWindow(ctx context.Context, dir, state, listen string) (*window, error) {
	listener, err := webui.Listen(ctx, listen)
	if err != nil {
		return nil, err
	}
	control, err := localapi.Listen(ctx, state)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the window's socket: %w", err), listener.Close())
	}
	log := e.engineConfig().Log
	if log == nil {
		log = slog.New(slog.NewTextHandler(e.errs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	w := &window{
		app: webui.New(webui.Config{
			Dir: dir, State: state, Profile: filepath.Base(dir), Server: e.Server, Version: version(),
			Log: log, Engine: e.engineConfig(),
		}),
		at: listener.Addr(), state: state, done: make(chan struct{}),
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	w.running.Go(func() {
		defer close(w.done)
		w.page = w.app.Run(serving, listener)
	})
	w.running.Go(func() { w.socket = localapi.Serve(serving, control, w.app.Control(w.at)) })
	return w, nil
}

// wait returns when closed does, which says that the last window is gone (nil: it
// never is), when the page is served no more, or when ctx ends.
func (w *window) wait(ctx context.Context, closed func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() {
		select {
		case <-w.done:
			stop()
		case <-ctx.Done():
		}
	})
	if closed == nil {
		<-ctx.Done()
		return nil
	}
	_ = closed(ctx) // that ctx has ended is no failure
	return nil
}

// Close ends the page and the engine behind it.
func (w *window) Close() error {
	w.cancel()
	w.running.Wait()
	return errors.Join(w.page, w.socket)
}
