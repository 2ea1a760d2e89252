package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/server"
	"github.com/chate2e/chate2e/signal/curve"
)

// pipes is a network inside the process.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// node is a relay under test.
type node struct {
	origin relay.Origin
	addr   string
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	path   string
	store  *sqlite.DB
	server *server.Server
	log    *bytes.Buffer
	stop   func() error // ends it and returns what Serve returned
}

type option struct {
	server server.Config
	limits mailbox.Limits
	tcp    bool                              // real loopback connections
	listen string                            // with tcp; 127.0.0.1:0 if empty
	path   string                            // of the database; a fresh one if empty
	full   *atomic.Bool                      // while it is true the disk is full; may be nil
	wrap   func(mailbox.Store) mailbox.Store // may be nil
}

// fullDisk is a store that has no room for new envelopes while full is true.
type fullDisk struct {
	mailbox.Store

	full *atomic.Bool
}

func (s *fullDisk) Commit(ctx context.Context, batch *mailbox.Batch, now time.Time) error {
	if !s.full.Load() {
		return s.Store.Commit(ctx, batch, now)
	}
	for i := range batch.Puts {
		batch.Puts[i].Err = mailbox.ErrStorageFull
	}
	return s.Store.Commit(ctx, &mailbox.Batch{Acks: batch.Acks}, now)
}

// start starts a relay. Registration is open unless the option says otherwise by
// setting server.Registration to RegistrationInvite + invite.
func start(t *testing.T, o option) *node {
	t.Helper()
	n := &node{path: o.path, log: new(bytes.Buffer)}
	if n.path == "" {
		n.path = filepath.Join(t.TempDir(), "relay.db")
	}
	var err error
	if n.store, err = sqlite.Open(n.path, sqlite.Config{Limits: o.limits}); err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	if o.tcp {
		address := o.listen
		if address == "" {
			address = "127.0.0.1:0"
		}
		if listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address); err != nil {
			t.Fatal(err)
		}
		n.addr = fmt.Sprintf("127.0.0.1:%d", listener.Addr().(*net.TCPAddr).Port)
		n.origin = relay.Origin("http://" + n.addr)
	} else {
		p := newPipes()
		listener, n.dial = p, p.dial
		n.origin = "http://relay.test:80"
	}
	cfg := o.server
	if cfg.Origins == nil {
		cfg.Origins = []relay.Origin{n.origin}
	}
	var logging sync.Mutex
	cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		logging.Lock()
		defer logging.Unlock()
		return n.log.Write(p)
	}), nil))
	var store mailbox.Store = n.store
	if o.full != nil {
		store = &fullDisk{n.store, o.full}
	}
	if o.wrap != nil {
		store = o.wrap(store)
	}
	if n.server, err = server.New(store, bus.NewLocal(), cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- n.server.Serve(ctx, listener) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		return errors.Join(err, n.store.Close())
	})
	t.Cleanup(func() { _ = n.stop() })
	return n
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// open is the option most tests want.
func open() option { return option{server: server.Config{Registration: server.RegistrationOpen}} }

// person has an account with one device.
type person struct {
	account  account.PrivateKey
	identity *curve.PrivateKey
	address  relay.Address
	list     []byte
	client   *relayclient.Client
}

func (n *node) client(t *testing.T, address relay.Address, identity relayclient.Signer) *relayclient.Client {
	t.Helper()
	c, err := relayclient.New(relayclient.Config{Server: n.origin, Address: address, Identity: identity, DialContext: n.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// stranger has keys, but no account at the relay yet.
func (n *node) stranger(t *testing.T) *person {
	t.Helper()
	p := &person{account: account.GenerateKey(), identity: curve.GenerateKey()}
	p.address = relay.Address{User: relay.UserID(p.account.Public().UserID()), Device: 1}
	p.list = p.sign(t, 1, account.Device{Number: 1, IdentityKey: p.identity.PublicKey(), Added: time.Now()})
	p.client = n.client(t, p.address, p.identity)
	return p
}

func (p *person) sign(t *testing.T, version uint64, devices ...account.Device) []byte {
	t.Helper()
	list, err := p.account.SignDeviceList(account.DeviceList{Version: version, Time: time.Now(), Devices: devices})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func standing() []relay.Prekey {
	return []relay.Prekey{
		{Kind: relay.PrekeySigned, ID: 1, Key: []byte("signed prekey")},
		{Kind: relay.PrekeyKEMLastResort, ID: 2, Key: []byte("last-resort prekey")},
	}
}

func registration(p *person) relayclient.Registration {
	return relayclient.Registration{DeviceList: p.list, Prekeys: standing()}
}

// register makes an account without a username.
func (n *node) register(t *testing.T) *person {
	t.Helper()
	p := n.stranger(t)
	if err := p.client.Register(t.Context(), registration(p)); err != nil {
		t.Fatalf("registering: %v", err)
	}
	return p
}

// connect opens a WebSocket and reads until the mailbox is drained.
func (p *person) connect(t *testing.T) *relayclient.Conn {
	t.Helper()
	conn, err := p.client.Dial(t.Context())
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func outgoing(body string) []relay.Outgoing {
	return []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: []byte(body)}}
}

// envelope returns the next envelope, skipping what else comes.
func envelope(t *testing.T, conn *relayclient.Conn) relay.Incoming {
	t.Helper()
	return envelopeWithin(t, conn, 30*time.Second)
}

// drain returns the envelopes up to the end of the mailbox.
func drain(t *testing.T, conn *relayclient.Conn) (envelopes []relay.Incoming) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		e, err := conn.Next(ctx)
		if err != nil {
			t.Fatalf("draining: %v", err)
		}
		switch e := e.(type) {
		case relayclient.Envelope:
			envelopes = append(envelopes, e.Incoming)
		case relayclient.Drained:
			return envelopes
		}
	}
}

func wantCode(t *testing.T, what string, err error, code relay.Code) {
	t.Helper()
	if e, ok := errors.AsType[*relay.Error](err); !ok || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// wantMismatch wants a device_mismatch that says which devices.
func wantMismatch(t *testing.T, what string, err error, missing, extra []relay.DeviceNumber) {
	t.Helper()
	wantCode(t, what, err, relay.CodeDeviceMismatch)
	if e, ok := errors.AsType[*relay.Error](err); ok && (!slices.Equal(e.Missing, missing) || !slices.Equal(e.Extra, extra)) {
		t.Errorf("%s: missing %v, extra %v; want %v, %v", what, e.Missing, e.Extra, missing, extra)
	}
}
