package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

// world is a relay and the people who use it, in one process: the real server over
// a network of pipes, real vaults with a cheap password.
type world struct {
	t      *testing.T
	relay  *node
	people map[string]*person
	log    *lockedBuffer // of all engines
}

// inWorld runs a test in a bubble of its own time.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, people: map[string]*person{}, log: new(lockedBuffer)}
		w.relay = startNode(t, filepath.Join(t.TempDir(), "relay.db"))
		t.Cleanup(func() {
			for _, p := range w.people {
				p.stop()
			}
			w.relay.stop()
		})
		test(t, w)
	})
}

// node is the relay.
type node struct {
	t    *testing.T
	path string
	pipe *pipes
	stop func()
}

const origin = "http://relay.test:80"

func startNode(t *testing.T, path string) *node {
	t.Helper()
	n := &node{t: t, path: path, pipe: newPipes()}
	n.start()
	return n
}

// start opens the database and serves it.
func (n *node) start() {
	n.t.Helper()
	store, err := sqlite.Open(n.path, sqlite.Config{})
	if err != nil {
		n.t.Fatal(err)
	}
	s, err := server.New(store, bus.NewLocal(), server.Config{
		Origins: []relay.Origin{origin}, Registration: server.RegistrationOpen,
		Limits: server.Limits{BundlesPerHour: -1, LookupsPerHour: -1, RegistrationsPerHour: -1, LoginsPerHour: -1},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	listener := n.pipe.listen()
	go func() { done <- s.Serve(ctx, listener) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			n.t.Errorf("relay: %v", err)
		}
	})
}

// pipes is a network inside the process with one address that can be listened on,
// and somebody in the middle who may cut and change what passes.
type pipes struct {
	mu     sync.Mutex
	accept chan net.Conn // nil: nobody listens
	closed chan struct{}
	open   []net.Conn
	down   bool
	budget func() int // how many bytes a connection lasts, if set
}

func newPipes() *pipes { return &pipes{} }

type pipeListener struct {
	p      *pipes
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) listen() net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &pipeListener{p: p, accept: make(chan net.Conn), closed: make(chan struct{})}
	p.accept, p.closed = l.accept, l.closed
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

var errRefused = errors.New("connection refused")

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	accept, closed, down := p.accept, p.closed, p.down
	p.mu.Unlock()
	if accept == nil || down {
		return nil, errRefused
	}
	ours, theirs := net.Pipe()
	select {
	case accept <- theirs:
	case <-closed:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, ours)
	if p.budget != nil {
		return &fragileConn{Conn: ours, left: p.budget()}, nil
	}
	return ours, nil
}

// fragile makes connections break after so many bytes; nil ends that.
func (p *pipes) fragile(budget func() int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = budget
}

// fragileConn breaks after a number of bytes, in the middle of whatever passes.
type fragileConn struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *fragileConn) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	if c.left == 0 {
		_ = c.Conn.Close()
	}
	return n
}

func (c *fragileConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if kept := c.take(n); kept < n {
		return kept, io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *fragileConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	allowed := min(len(b), c.left)
	c.mu.Unlock()
	n, err := c.Conn.Write(b[:allowed])
	if c.take(n); n < len(b) && err == nil {
		err = io.ErrClosedPipe
	}
	return n, err
}

// cut breaks all connections and, until mend, refuses new ones.
func (p *pipes) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

func (p *pipes) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// person is one account with its profile.
type person struct {
	*client.Client
	t    *testing.T
	w    *world
	name string
	dir  string
	id   string

	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	running context.CancelFunc // of Run; nil while closed
	ended   chan error
}

var password = []byte("correct horse battery staple")

func (p *person) config() client.Config {
	return client.Config{
		Log:         slog.New(slog.NewTextHandler(p.w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		DialContext: p.dial, TestKDF: true,
	}
}

// register makes an account. Its engine does not run yet.
func (w *world) register(name string) *person {
	w.t.Helper()
	return w.registerIn(filepath.Join(w.t.TempDir(), name), name)
}

// registerIn makes an account with its profile in the given folder.
func (w *world) registerIn(dir, name string) *person {
	w.t.Helper()
	p := &person{t: w.t, w: w, name: name, dir: dir, dial: w.relay.pipe.dial}
	c, err := client.Create(w.t.Context(), p.dir, password, client.Registration{
		Server: origin, Username: name, DisplayName: strings.ToUpper(name[:1]) + name[1:],
	}, p.config(), nil)
	if err != nil {
		w.t.Fatalf("registering %s: %v", name, err)
	}
	p.Client = c
	self, err := c.Self(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	p.id = self.UserID
	w.people[name] = p
	return p
}

// run starts the engine.
func (p *person) run() *person {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.running, p.ended = cancel, make(chan error, 1)
	c, ended := p.Client, p.ended
	go func() { ended <- c.Run(ctx) }()
	return p
}

// pause stops the engine and leaves the profile open.
func (p *person) pause() {
	p.t.Helper()
	if p.running == nil {
		return
	}
	p.running()
	p.running = nil
	if err := <-p.ended; err != nil {
		p.t.Errorf("%s: Run: %v", p.name, err)
	}
}

// stop stops the engine and closes the profile.
func (p *person) stop() {
	p.t.Helper()
	p.pause()
	if err := p.Close(); err != nil {
		p.t.Errorf("%s: Close: %v", p.name, err)
	}
}

// reopen unlocks the profile again.
func (p *person) reopen() *person {
	p.t.Helper()
	c, err := client.Open(p.t.Context(), p.dir, password, p.config())
	if err != nil {
		p.t.Fatalf("%s: Open: %v", p.name, err)
	}
	p.Client = c
	return p
}

// settle lets everything happen that happens within two seconds.
func settle() { rest(2 * time.Second) }

func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (p *person) add(who string) client.Contact {
	p.t.Helper()
	c, err := p.AddContact(p.t.Context(), who)
	if err != nil {
		p.t.Fatalf("%s adds %s: %v", p.name, who, err)
	}
	return c
}

func (p *person) accept(who *person) {
	p.t.Helper()
	if _, err := p.AcceptContact(p.t.Context(), who.id); err != nil {
		p.t.Fatalf("%s accepts %s: %v", p.name, who.name, err)
	}
}

func (p *person) send(to *person, text string) client.Sending {
	p.t.Helper()
	s, err := p.Send(p.t.Context(), to.id, text, client.SendOptions{})
	if err != nil {
		p.t.Fatalf("%s sends to %s: %v", p.name, to.name, err)
	}
	return s
}

// contact returns what p knows of other.
func (p *person) contact(other *person) client.Contact {
	p.t.Helper()
	c, err := p.Contact(p.t.Context(), other.id)
	if err != nil {
		p.t.Fatalf("%s looks at %s: %v", p.name, other.name, err)
	}
	return c
}

func (p *person) state(id string) client.MessageState {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	cancel()
	s, err := p.AwaitSending(ctx, id)
	if err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	return s.State
}

func (p *person) log(other *person) []client.Item {
	p.t.Helper()
	items, err := p.History(p.t.Context(), other.id, "", 10_000)
	if err != nil {
		p.t.Fatalf("%s reads %s: %v", p.name, other.name, err)
	}
	return items
}

// conversation writes what p sees of the conversation with other, a line for each
// item.
func (p *person) conversation(other *person) string {
	p.t.Helper()
	var lines []string
	for _, item := range p.log(other) {
		line := "< "
		if item.Direction == client.DirectionOut {
			line = "> "
		}
		switch item.Kind {
		case client.KindText:
			line += item.Text
		case client.KindMissing:
			line += "missing " + string(rune('0'+item.GapBefore))
		case client.KindUndecryptable:
			line += "undecryptable: " + item.Reason
		default:
			line += string(item.Kind)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (p *person) sees(other *person, want ...string) {
	p.t.Helper()
	if got := p.conversation(other); got != strings.Join(want, "\n") {
		p.t.Errorf("%s sees of %s:\n%s\nwant:\n%s", p.name, other.name, got, strings.Join(want, "\n"))
	}
}

// befriend makes two people contacts of each other; both run afterwards.
func befriend(a, b *person) {
	a.t.Helper()
	a.add(b.id)
	settle()
	b.accept(a)
	settle()
	if got := a.contact(b).State; got != client.ContactAccepted {
		a.t.Fatalf("%s is %s to %s", b.name, got, a.name)
	}
}

func wantCode(t *testing.T, what string, err error, code client.Code) {
	t.Helper()
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ io.Writer = (*lockedBuffer)(nil)
