package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

// errLocked: another process holds the lock.
var errLocked = errors.New("another relay is using it")

// lock takes the data directory for one relay, making it if need be. Two relays on
// one database would not wake each other: messages between their users would be
// late. Other commands need no lock.
func (c *settings) lock() (unlock func(), err error) {
	if err = os.MkdirAll(c.data, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	f, err := lockFile(filepath.Join(c.data, lockName))
	if err != nil {
		return nil, fmt.Errorf("the data directory %s: %w", c.data, err)
	}
	return func() { _ = f.Close() }, nil
}

// openStore opens the database, making its directory if need be.
func (c *settings) openStore() (*sqlite.DB, error) {
	if err := os.MkdirAll(c.data, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	store, err := sqlite.Open(c.database(), sqlite.Config{Limits: mailbox.Limits{
		MailboxMessages: c.mailboxMessages, MailboxBytes: c.mailboxBytes,
		Retention: time.Duration(c.retentionDays) * 24 * time.Hour,
	}})
	if err != nil {
		return nil, fmt.Errorf("the database %s: %w", c.database(), err)
	}
	return store, nil
}

// listen opens a listener; flag is the one that names another address.
func listen(ctx context.Context, address, flag string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another program listens on %s; stop it, or name another address with %s", address, flag)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("this user may not listen on %s: give the program the right to (on Linux CAP_NET_BIND_SERVICE), or name a port above 1023 with %s", address, flag)
	}
	return l, err
}

// serve runs the relay until ctx ends.
func serve(ctx context.Context, c *settings, _ []string, stdout, stderr io.Writer) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	registration, err := server.ParseRegistration(c.registration)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	proxies, err := c.proxies()
	if err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	store, err := c.openStore()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	listener, err := listen(ctx, c.address(), "--listen")
	if err != nil {
		return err
	}
	origins, err := c.origins(listener.Addr().(*net.TCPAddr).Port)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if c.domain != "" {
		listener = c.withTLS(listener, log)
	}
	limits := c.limits
	limits.MaxBody = c.maxMessageBytes
	s, err := server.New(store, bus.NewLocal(), server.Config{
		Origins: origins, Registration: registration, TrustedProxies: proxies, Limits: limits, Logger: log,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	invite, err := firstInvite(ctx, store, registration, origins[0])
	if err != nil {
		return errors.Join(err, listener.Close())
	}

	// The metrics end with the relay, and not before it.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var workers sync.WaitGroup
	defer workers.Wait()
	defer end()
	if c.metricsListen != "" {
		metrics, err := listen(ctx, c.metricsListen, "--metrics-listen")
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		workers.Go(func() { serveMetrics(life, metrics, s) })
	}

	_, _ = fmt.Fprintf(stdout, "chate2e-server is listening on %s\n", origins[0].URL())
	if invite != "" {
		_, _ = fmt.Fprintf(stdout, "invitation for the first account: %s\n", invite)
	}
	err = s.Serve(ctx, listener)
	if reason := store.Failure(); reason != nil {
		err = errors.Join(err, reason)
	}
	return err
}

// withTLS wraps a listener such that it speaks TLS with a certificate that is
// fetched, and renewed, when it is needed.
func (c *settings) withTLS(l net.Listener, log *slog.Logger) net.Listener {
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: autocert.HostWhitelist(c.domain),
		Cache:      autocert.DirCache(filepath.Join(c.data, "acme")),
		Client:     &acme.Client{DirectoryURL: c.acmeDirectory},
	}
	var told atomic.Int64 // when an error was logged last, in milliseconds
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := m.GetCertificate(hello)
			// The operator wants to know, but not of names that strangers try, and not
			// with each of many connections.
			now, last := time.Now().UnixMilli(), told.Load()
			if err != nil && strings.EqualFold(hello.ServerName, c.domain) && now-last > time.Minute.Milliseconds() && told.CompareAndSwap(last, now) {
				log.Warn("no certificate", "error", err)
			}
			return cert, err
		},
		NextProtos: []string{"http/1.1", acme.ALPNProto}, // a WebSocket needs HTTP/1.1
	})
}

// serveMetrics answers /metrics until ctx ends.
func serveMetrics(ctx context.Context, l net.Listener, s *server.Server) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = s.WriteMetrics(w) // the reader has gone; there is nobody to tell
	})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	var served sync.WaitGroup
	served.Go(func() { _ = web.Serve(l) }) // ends with Close
	<-ctx.Done()
	_ = web.Close()
	served.Wait()
}

// firstInvite makes an invitation for the operator of a relay that nobody has an
// account on and nobody is invited to. It returns its link, or nothing.
func firstInvite(ctx context.Context, store *sqlite.DB, r server.Registration, origin relay.Origin) (string, error) {
	if r != server.RegistrationInvite {
		return "", nil
	}
	accounts, err := store.Accounts(ctx, relay.UserID{}, 1)
	if err != nil || len(accounts) > 0 {
		return "", err
	}
	invites, err := store.Invites(ctx, time.Now())
	if err != nil || len(invites) > 0 {
		return "", err
	}
	return createInvite(ctx, store, origin, 1, 7*24*time.Hour)
}

// createInvite stores a new invitation and returns its link.
func createInvite(ctx context.Context, store *sqlite.DB, origin relay.Origin, uses int, life time.Duration) (string, error) {
	var raw [15]byte         // 120 bits, 20 characters
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	err := store.CreateInvite(ctx, mailbox.Invite{Hash: server.InviteHash(token), Uses: uses, Expires: time.Now().Add(life)})
	if err != nil {
		return "", err
	}
	return relay.Server{Origin: origin, Invite: token}.InviteLink(), nil
}
