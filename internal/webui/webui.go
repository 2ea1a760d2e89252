package webui

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

// The page, built by Vite from the folder ui.
//
//go:embed dist
var dist embed.FS

// Config says what a window is for. Dir, State and Profile are needed.
type Config struct {
	Dir     string // folder of the profile, which need not exist yet
	State   string // folder of the window's own files, which exists
	Profile string // name of the profile
	Server  string // URL of the relay that a new account is offered
	Version string // of the program

	Log    *slog.Logger // nil: nothing is logged
	Engine client.Config

	// Notify replaces the desktop's notifications; nil means those.
	Notify func(context.Context, Notice) error
}

// App is a window's other half: it serves the page and, while the profile is
// unlocked, runs the engine.
type App struct {
	cfg      Config
	log      *slog.Logger
	tokens   keyring
	sessions keyring
	pages    *pages
	notify   func(context.Context, Notice) error

	opening chan struct{} // holds one value while nobody opens the engine
	opened  chan *hosted  // an engine for Run to run

	scanning chan struct{} // holds one value while no image is decoded

	mu      sync.Mutex
	current *hosted     // guarded by mu; nil: locked
	last    client.Self // guarded by mu; of the engine that was open last
	prefs   Preferences // guarded by mu
	lab     *client.Lab // guarded by mu; nil: nobody has looked at it
}

// hosted is an engine that runs.
type hosted struct {
	engine *client.Client
	self   client.Self
	api    http.Handler
	stop   chan struct{} // closed to lock
	once   sync.Once
	taken  chan struct{} // closed when it runs
}

func (h *hosted) lock() { h.once.Do(func() { close(h.stop) }) }

// New returns an App. It reads the window's preferences, if there are any.
func New(cfg Config) *App {
	a := &App{
		cfg: cfg, log: cfg.Log, notify: cfg.Notify, pages: newPages(),
		opening: make(chan struct{}, 1), opened: make(chan *hosted),
		scanning: make(chan struct{}, 1),
	}
	if a.notify == nil {
		a.notify = (&desktop{}).notify
	}
	a.opening <- struct{}{}
	a.scanning <- struct{}{}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.prefs = readPreferences(cfg.State)
	return a
}

// Listen opens a loopback address for [App.Run]; any other one is refused.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return nil, &client.Error{Code: client.CodeUsage, Message: "the window listens on loopback alone, such as 127.0.0.1:0", Err: err}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("opening the window's port: %w", err)
	}
	return l, nil
}

// Link returns the address of the page at the listener's address with a token that
// opens it once. It is a secret: never an argument of a program.
func (a *App) Link(at net.Addr) string { return a.link(at, time.Time{}) }

// link returns one that is good until ends; the zero time is never.
func (a *App) link(at net.Addr, ends time.Time) string {
	return "http://" + at.String() + "/#t=" + a.tokens.add(ends)
}

// Open opens a window on the page at the listener's address. It returns
// [ErrNoBrowser] where that cannot be done. [App.Closed] tells when it is gone.
func (a *App) Open(ctx context.Context, at net.Addr, place Window) error {
	ended, err := launch(ctx, a.cfg.State, a.link(at, time.Now().Add(launchFor)), place)
	if err != nil {
		return err
	}
	a.pages.opening(ended)
	return nil
}

// Closed waits until the last page has gone, unless the preferences say to keep
// running: until nobody has had the page open for a few seconds, and no browser is
// about to open it. It returns nil then, and ctx's error when that ends first.
func (a *App) Closed(ctx context.Context) error {
	for {
		if err := a.pages.wait(ctx); err != nil {
			return err
		}
		a.mu.Lock()
		keep := a.prefs.KeepRunning
		a.mu.Unlock()
		if !keep {
			return nil
		}
		if err := a.pages.next(ctx); err != nil {
			return err
		}
	}
}

// Run serves the page on l until ctx ends. It closes l, and the engine.
func (a *App) Run(ctx context.Context, l net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	page, err := fs.Sub(dist, "dist")
	if err != nil {
		panic("webui: " + err.Error()) // the folder is embedded above
	}
	handler := a.guard(l.Addr().String(), a.routes(), static(page))

	var running sync.WaitGroup
	var hosting error
	running.Go(func() {
		defer stop() // without an engine the window is of no use
		hosting = a.host(ctx)
	})
	serving := localapi.Serve(ctx, l, handler)
	stop()
	running.Wait()
	return errors.Join(serving, hosting)
}

// host runs the engines that are opened, one after the other.
func (a *App) host(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case h := <-a.opened:
			if err := a.hostOne(ctx, h); err != nil {
				return err
			}
		}
	}
}

// hostOne runs an engine, and offers it on the profile's socket too, until it is
// locked or ctx ends.
func (a *App) hostOne(ctx context.Context, h *hosted) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h.api = localapi.New(h.engine, localapi.Config{Log: a.log, Stop: h.lock})
	socket, err := localapi.Listen(ctx, a.cfg.Dir)
	if err != nil {
		close(h.taken)
		return errors.Join(fmt.Errorf("opening the socket: %w", err), h.engine.Close())
	}
	a.mu.Lock()
	a.current, a.last = h, h.self
	a.mu.Unlock()
	close(h.taken)

	var running sync.WaitGroup
	var working, serving error
	running.Go(func() {
		defer h.lock() // an engine that cannot go on must not look as if it did
		working = h.engine.Run(ctx)
	})
	running.Go(func() { _ = h.engine.Flush(ctx) }) // a message that cannot leave stays queued
	running.Go(func() { serving = localapi.Serve(ctx, socket, h.api) })
	running.Go(func() { a.tell(ctx, h.engine) })
	select {
	case <-h.stop:
	case <-ctx.Done():
	}
	a.mu.Lock()
	a.current = nil
	a.mu.Unlock()
	stop()
	running.Wait()
	if errors.Is(working, context.Canceled) {
		working = nil
	}
	if err := errors.Join(working, serving, h.engine.Close()); err != nil {
		// The window stays: it shows that the profile is locked, and unlocking it
		// tells what is wrong.
		a.log.ErrorContext(ctx, "engine stopped", "error", err)
	}
	return nil
}

// inUseFor is how long to wait for a profile that another process, or our own, is
// just closing.
const inUseFor = 5 * time.Second

// Unlock opens the profile with its password. [App.Run] must be running. Its
// errors are those of [client.Open].
func (a *App) Unlock(ctx context.Context, password []byte) error {
	return a.open(ctx, func() (*client.Client, error) {
		patience := time.NewTimer(inUseFor)
		defer patience.Stop()
		for {
			engine, err := client.Open(ctx, a.cfg.Dir, password, a.cfg.Engine)
			if !errors.Is(err, &client.Error{Code: client.CodeProfileInUse}) {
				return engine, err
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-patience.C:
				return nil, err
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

// Create makes an account and opens it. [App.Run] must be running. Its errors are
// those of [client.Create].
func (a *App) Create(ctx context.Context, password []byte, reg client.Registration, progress func(client.Progress)) error {
	return a.open(ctx, func() (*client.Client, error) {
		return client.Create(ctx, a.cfg.Dir, password, reg, a.cfg.Engine, progress)
	})
}

// open gives Run an engine to run, unless there is one: a profile that is open
// stays open.
func (a *App) open(ctx context.Context, open func() (*client.Client, error)) error {
	select {
	case <-a.opening:
		defer func() { a.opening <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.engine() != nil {
		return &client.Error{Code: client.CodeProfileExists, Message: "the profile is open already"}
	}
	engine, err := open()
	if err != nil {
		return err
	}
	self, err := engine.Self(ctx)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	h := &hosted{engine: engine, self: self, stop: make(chan struct{}), taken: make(chan struct{})}
	select {
	case a.opened <- h:
		<-h.taken
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), engine.Close())
	}
}

func (a *App) engine() *hosted {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}

// static serves the page. Its files change with the program alone, but keep their
// names, so a browser is to ask each time.
func static(page fs.FS) http.Handler {
	files := http.FileServerFS(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, "this path takes another method")
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})
}
