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

	"github.com/chate2e/chate2e/internal/client"
)

// The status says why there is no connection, in words that name nothing of what
// the network said, and says nothing once there is one.
func TestStatusSaysWhyOffline(t *testing.T) {
	for _, c := range []struct {
		name    string
		cause   error
		want    string
		offline client.Offline
	}{
		{"refused", syscall.ECONNREFUSED, "nothing listens at its address", client.OfflineSilent},
		{"unknown name", &net.DNSError{Name: "canary", IsNotFound: true}, "nobody knows its name", client.OfflineNetwork},
		{"no DNS", &net.DNSError{Name: "canary", IsTimeout: true}, "its name could not be looked up", client.OfflineNetwork},
		{"no network", syscall.ENETUNREACH, "no way leads to its address", client.OfflineNetwork},
		{"certificate", &tls.CertificateVerificationError{Err: x509.HostnameError{Host: "canary", Certificate: &x509.Certificate{}}}, "its certificate is not valid", client.OfflineCertificate},
		{"slow", context.DeadlineExceeded, "it does not answer in time", client.OfflineSilent},
		{"reset", syscall.ECONNRESET, "it closed the connection", client.OfflineSilent},
		{"other", errors.New("canary"), "it does not answer", client.OfflineSilent},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				alice := w.register("alice")
				alice.status(t, false, "", "")
				alice.stop()
				alice.dial = func(context.Context, string, string) (net.Conn, error) {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: c.cause}
				}
				alice.reopen().run()
				settle()
				alice.status(t, false, c.want, c.offline)
				alice.stop()
				alice.dial = w.relay.pipe.dial
				alice.reopen().run()
				settle()
				alice.status(t, true, "", "")
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
		alice.status(t, false, "the relay does not know this account: is it the one where the account was made?", client.OfflineRefused)
	})
}

// The status says when the relay is tried again; who does not want to wait for it
// need not.
func TestTryAgainNow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice := w.register("alice").run()
		settle()
		w.relay.stop()
		rest(2 * time.Minute) // the pauses have grown
		events, cancel := alice.Subscribe()
		defer cancel()
		for {
			e := <-events
			if e.Kind == client.EventConnection && e.Status.NextTry != nil && time.Until(*e.Status.NextTry) > 30*time.Second {
				break
			}
		}
		w.relay.start()
		rest(10 * time.Second)
		status, err := alice.Status(t.Context())
		if err != nil || status.Connected || status.NextTry == nil || !status.NextTry.After(time.Now()) {
			t.Fatalf("while it waits: %+v, %v", status, err)
		}
		if err := alice.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		settle()
		alice.status(t, true, "", "")
	})
}

func (p *person) status(t *testing.T, connected bool, why string, offline client.Offline) {
	t.Helper()
	got, err := p.Status(t.Context())
	if err != nil || got.Connected != connected || got.Error != why || got.Offline != offline {
		t.Errorf("status: %+v, %v; want connected %v, error %q (%s)", got, err, connected, why, offline)
	}
	if connected && got.NextTry != nil {
		t.Errorf("connected, and the next try is at %v", got.NextTry)
	}
}
