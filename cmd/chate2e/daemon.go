package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

type daemonCmd struct{}

func (*daemonCmd) Run(ctx context.Context, e *env) error {
	dir, err := e.existing()
	if err != nil {
		return err
	}
	if api, ok := localapi.Dial(ctx, dir); ok {
		api.Close()
		return &client.Error{
			Code:    client.CodeProfileInUse,
			Message: "a daemon or a window has the profile open already; to end it: " + e.program() + " lock",
		}
	}
	password, err := e.readPassword(ctx, e.PasswordFile, "Password", false)
	if err != nil {
		return err
	}
	engine, err := e.unlock(ctx, dir, password, nil)
	clear(password)
	if err != nil {
		return err
	}
	return errors.Join(e.serve(ctx, engine, dir), engine.Close())
}

// serve runs the engine and offers its local API on the profile's socket until ctx
// ends or a command locks the profile.
func (e *env) serve(ctx context.Context, engine *client.Client, dir string) error {
	listener, err := localapi.Listen(ctx, dir)
	if err != nil {
		return fmt.Errorf("opening the socket: %w", err)
	}
	log := e.engineConfig().Log
	if log == nil {
		log = slog.New(slog.NewTextHandler(e.errs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := localapi.New(engine, localapi.Config{Log: log, Stop: stop})

	var running sync.WaitGroup
	var working error
	running.Go(func() {
		defer stop() // an engine that cannot go on must not look as if it did
		working = engine.Run(ctx)
	})
	running.Go(func() { _ = engine.Flush(ctx) }) // a message that cannot leave stays queued
	path := localapi.SocketPath(dir)
	err = e.result(map[string]string{"socket": path}, "Listening on "+clean(path)+"\n")
	if err == nil {
		err = localapi.Serve(ctx, listener, server)
	} else {
		err = errors.Join(err, listener.Close())
	}
	stop()
	running.Wait()
	if !errors.Is(working, context.Canceled) {
		err = errors.Join(err, working)
	}
	return err
}
