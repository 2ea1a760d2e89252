package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

const (
	// inUseFor is how long to wait for a profile that another process has open.
	inUseFor = 5 * time.Second
	// flushFor is how long a command that is done tries to send what waits.
	flushFor = 5 * time.Second
)

// profileDir returns the folder of the profile.
func (g globals) profileDir() (string, error) {
	if err := checkProfileName(g.Profile); err != nil {
		return "", err
	}
	home := g.Home
	if home == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return "", usageError("no folder for profiles; say --home DIR")
		}
		home = filepath.Join(config, "chate2e")
	}
	home, err := filepath.Abs(home)
	if err != nil {
		return "", fmt.Errorf("finding the folder for profiles: %w", err)
	}
	return filepath.Join(home, "profiles", g.Profile), nil
}

// program is how commands of this profile begin, in advice for people.
func (g globals) program() string {
	if g.Profile == "default" {
		return "chate2e"
	}
	return "chate2e --profile " + g.Profile
}

// checkProfileName lets through what is one folder's name on every system and
// looks like nothing else.
func checkProfileName(name string) error {
	const wrong = "a profile's name has 1 to 64 letters a-z, A-Z, digits, _ and -, and does not begin with -"
	if name == "" || len(name) > 64 || name[0] == '-' {
		return usageError(wrong)
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return usageError(wrong)
		}
	}
	switch upper := strings.ToUpper(name); {
	case upper == "CON", upper == "PRN", upper == "AUX", upper == "NUL",
		len(upper) == 4 && (upper[:3] == "COM" || upper[:3] == "LPT"):
		return usageError("%s is a device's name on some systems; choose another name", name)
	}
	return nil
}

// session is an open profile, ours or a daemon's.
type session struct {
	*localapi.Client
	ours bool // this process runs the engine
	end  func() error
}

// Close ends it.
func (s *session) Close() error { return s.end() }

// with opens the profile, runs do, and closes it.
func (e *env) with(ctx context.Context, do func(*session) error) (err error) {
	s, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if closing := s.Close(); err == nil {
			err = closing
		}
	}()
	return do(s)
}

// open reaches the profile through the daemon that has it, or else opens it with
// the password. While another process without a daemon's socket has it, open
// waits, up to [inUseFor].
func (e *env) open(ctx context.Context) (*session, error) {
	dir, err := e.existing()
	if err != nil {
		return nil, err
	}
	if api, ok := localapi.Dial(ctx, dir); ok {
		return e.through(ctx, api), nil
	}
	password, err := e.readPassword(ctx, e.PasswordFile, "Password", false)
	if err != nil {
		return nil, err
	}
	defer clear(password)
	engine, err := e.unlock(ctx, dir, password, func() bool {
		_, ok := localapi.Dial(ctx, dir)
		return ok
	})
	if errors.Is(err, errServed) {
		if api, ok := localapi.Dial(ctx, dir); ok {
			return e.through(ctx, api), nil
		}
		err = &client.Error{Code: client.CodeProfileInUse, Message: "another process has the profile open"}
	}
	if err != nil {
		return nil, err
	}
	return e.host(ctx, engine), nil
}

// existing returns the profile's folder, or [client.CodeNoProfile].
func (e *env) existing() (string, error) {
	dir, err := e.profileDir()
	if err != nil {
		return "", err
	}
	if !client.Exists(dir) {
		return "", &client.Error{
			Code:    client.CodeNoProfile,
			Message: fmt.Sprintf("there is no profile %q; make one with: %s register NAME", e.Profile, e.program()),
		}
	}
	return dir, nil
}

// errServed: the profile is served by a daemon by now.
var errServed = errors.New("a daemon serves the profile")

// unlock opens the profile in dir. Another process may be just about to close it:
// it waits for that until served is true (nil: never) or [inUseFor] has passed.
func (e *env) unlock(ctx context.Context, dir string, password []byte, served func() bool) (*client.Client, error) {
	patience, cancel := context.WithTimeout(ctx, inUseFor)
	defer cancel()
	for {
		engine, err := client.Open(ctx, dir, password, e.engineConfig())
		if failed, ok := errors.AsType[*client.Error](err); ok && failed.Code == client.CodeDamaged {
			return nil, &client.Error{Code: failed.Code, Err: err, Message: failed.Message + "; its folder is " + dir}
		}
		if !errors.Is(err, &client.Error{Code: client.CodeProfileInUse}) {
			return engine, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
		if served != nil && served() {
			return nil, errServed
		}
	}
}

// engineConfig makes the engine log to standard error what only --verbose shows:
// what a command has to say, it says itself.
func (e *env) engineConfig() client.Config {
	if !e.Verbose {
		return client.Config{}
	}
	return client.Config{Log: slog.New(slog.NewTextHandler(e.errs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// through returns a session of a daemon.
func (e *env) through(ctx context.Context, api *localapi.Client) *session {
	s := &session{Client: api}
	stop := e.narrate(ctx, api)
	s.end = func() error {
		stop()
		api.Close()
		return nil
	}
	return s
}

// host runs an engine in this process and returns a session over the same local
// API that a daemon serves, in memory. What waits in the outbox is tried at once,
// and once more before the session ends.
func (e *env) host(ctx context.Context, engine *client.Client) *session {
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	pipe := localapi.NewPipe()
	api := localapi.NewClient(pipe.DialContext)
	server := localapi.New(engine, localapi.Config{Log: e.engineConfig().Log})

	var running sync.WaitGroup
	var serving, working error
	running.Go(func() { serving = localapi.Serve(alive, pipe, server) })
	running.Go(func() { working = engine.Run(alive) })
	running.Go(func() { _ = engine.Flush(alive) }) // a message that cannot leave stays queued
	stop := e.narrate(alive, api)

	s := &session{Client: api, ours: true}
	s.end = func() error {
		flushing, done := context.WithTimeout(ctx, flushFor)
		_ = engine.Flush(flushing)
		done()
		stop()
		cancel()
		api.Close()
		running.Wait()
		closing := engine.Close()
		if errors.Is(working, context.Canceled) {
			working = nil
		}
		return errors.Join(serving, working, closing)
	}
	return s
}

// narrate prints the protocol events of a session with --verbose, until the
// function that it returns is called.
func (e *env) narrate(ctx context.Context, api *localapi.Client) (stop func()) {
	if !e.Verbose {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	events, err := api.Events(ctx)
	if err != nil {
		return cancel
	}
	var printing sync.WaitGroup
	printing.Go(func() {
		defer func() { _ = events.Close() }()
		for {
			event, err := events.Next()
			if err != nil {
				return
			}
			if event.Protocol != nil {
				_, _ = fmt.Fprint(e.errs, protocolText(*event.Protocol, nil))
			}
		}
	})
	return func() {
		cancel()
		printing.Wait()
	}
}
