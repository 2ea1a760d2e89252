package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The status says why there is no connection, in words that name nothing of what
// the network said, and says nothing once there is one.
func TestStatusSaysWhyOffline(t *testing.T) {
	for _, c := range []struct {
		name  string
		cause error
		want  string
	}{
		{"refused", syscall.ECONNREFUSED, "nothing listens at its address"},
		{"unknown name", &net.DNSError{Name: "canary", IsNotFound: true}, "nobody knows its name"},
		{"no DNS", &net.DNSError{Name: "canary", IsTimeout: true}, "its name could not be looked up"},
		{"no network", syscall.ENETUNREACH, "no way leads to its address"},
		{"certificate", &tls.CertificateVerificationError{Err: x509.HostnameError{Host: "canary", Certificate: &x509.Certificate{}}}, "its certificate is not valid"},
		{"slow", context.DeadlineExceeded, "it does not answer in time"},
		{"reset", syscall.ECONNRESET, "it closed the connection"},
		{"other", errors.New("canary"), "it does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				alice := w.register("alice")
				alice.status(t, false, "")
				alice.stop()
				alice.dial = func(context.Context, string, string) (net.Conn, error) {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: c.cause}
				}
				alice.reopen().run()
				settle()
				alice.status(t, false, c.want)
				alice.stop()
				alice.dial = w.relay.pipe.dial
				alice.reopen().run()
				settle()
				alice.status(t, true, "")
			})
		})
	}
}

// A relay that has stopped, and another one in its place, show in the status.
func TestStatusSaysThatTheRelayIsAnother(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice := w.register("alice").run()
		settle()
		w.relay.stop()
		settle()
		if status, err := alice.Status(t.Context()); err != nil || status.Connected || status.Error == "" {
			t.Errorf("after the relay has stopped: %+v, %v", status, err)
		}
		w.relay.path = filepath.Join(t.TempDir(), "another.db")
		w.relay.start()
		rest(2 * time.Minute)
		alice.status(t, false, "the relay does not know this account: is it the one where the account was made?")
	})
}

func (p *person) status(t *testing.T, connected bool, why string) {
	t.Helper()
	got, err := p.Status(t.Context())
	if err != nil || got.Connected != connected || got.Error != why {
		t.Errorf("status: %+v, %v; want connected %v, error %q", got, err, connected, why)
	}
}
