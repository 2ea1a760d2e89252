package localapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

// serveSocket serves an API that has only the verb lock on the socket of dir. The
// function it returns stops it.
func serveSocket(t *testing.T, dir string) (stop func()) {
	t.Helper()
	l, err := localapi.Listen(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- localapi.Serve(ctx, l, localapi.New(nil, localapi.Config{Stop: func() {}})) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestSocket(t *testing.T) {
	for _, c := range []struct{ name, deep string }{
		{"short path", "profile"},
		{"long path", strings.Repeat(strings.Repeat("d", 60)+"/", 4)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), c.deep)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, ok := localapi.Dial(t.Context(), dir); ok {
				t.Fatal("something answers where nothing is")
			}
			// What a process that was killed has left is in nobody's way.
			if err := os.WriteFile(localapi.SocketPath(dir), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			stop := serveSocket(t, dir)
			info, err := os.Stat(localapi.SocketPath(dir))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("socket: %v, %v; want mode 0600", info.Mode(), err)
			}
			api, ok := localapi.Dial(t.Context(), dir)
			if !ok {
				t.Fatal("nothing answers")
			}
			if err := api.Lock(t.Context()); err != nil {
				t.Errorf("Lock: %v", err)
			}
			if _, err := api.History(t.Context(), "who", "", 0); !errors.Is(err, &client.Error{Code: client.CodeUsage}) {
				t.Errorf("History: got %v, want the server's error", err)
			}
			stop()
			if _, err := os.Stat(localapi.SocketPath(dir)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left behind: %v", err)
			}
			if err := api.Lock(t.Context()); !errors.Is(err, &client.Error{Code: client.CodeClosed}) {
				t.Errorf("after the end: got %v", err)
			}
		})
	}
}

func TestPipe(t *testing.T) {
	pipe := localapi.NewPipe()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- localapi.Serve(ctx, pipe, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"user_id":"x"}`)
		}))
	}()
	api := localapi.NewClient(pipe.DialContext)
	defer api.Close()
	if self, err := api.Self(t.Context()); err != nil || self.UserID != "x" {
		t.Errorf("got %+v, %v", self, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := pipe.DialContext(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialling after the end: %v", err)
	}
}
