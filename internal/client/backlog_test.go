package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

// backlog is how many messages wait; the limits hold for this many.
const (
	backlog       = 10_000
	backlogTime   = 20 * time.Second
	backlogMemory = 200 << 20
)

// A profile that comes back after a long time receives everything that waits, in
// order, in bounded time and memory. On the wall clock and over loopback, for it
// measures.
func TestBacklog(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute")
	}
	dir := t.TempDir()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	store, err := sqlite.Open(filepath.Join(dir, "relay.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(store, bus.NewLocal(), server.Config{Origins: []relay.Origin{relay.Origin(url)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listener) }()
	defer func() {
		cancel()
		if err := errors.Join(<-served, store.Close()); err != nil {
			t.Error(err)
		}
	}()

	bob, err := client.Create(ctx, filepath.Join(dir, "bob"), password, client.Registration{Server: url, Username: "bob"}, client.Config{TestKDF: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := bob.Close(); err != nil {
			t.Error(err)
		}
	}()
	self, err := bob.Self(ctx)
	if err != nil {
		t.Fatal(err)
	}

	// Alice, whom Bob has asked, has written all of them before he was back: they
	// all carry the handshake, and that is the most expensive case.
	alice := (&world{t: t}).puppetAt(url, nil)
	if _, err := bob.AddContact(ctx, alice.id()); err != nil {
		t.Fatal(err)
	}
	var user relay.UserID
	if err := user.UnmarshalText([]byte(self.UserID)); err != nil {
		t.Fatal(err)
	}
	conn, err := alice.relay.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	record := alice.start(self.UserID, alice.identity)
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(200)
	for i := range backlog {
		body := alice.seal(record, content.Content{DeviceList: alice.list, Message: alice.text(fmt.Sprint(i))}.Pad())
		g.Go(func() error {
			return conn.Send(sending, user, []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: body}})
		})
	}
	if err := errors.Join(g.Wait(), conn.Close()); err != nil {
		t.Fatal(err)
	}

	runtime.GC()
	began, worked := time.Now(), cpuTime()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- bob.Run(running) }()
	var most uint64
	items, cursor := 0, int64(0)
	for last := began; items < backlog && time.Since(last) < 5*backlogTime; {
		page, err := bob.Arrivals(ctx, cursor, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page {
			if item.Text != fmt.Sprint(items) {
				t.Fatalf("item %d is %q (%s)", items, item.Text, item.Kind)
			}
			items++
			cursor = item.Arrival
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.Sys-m.HeapReleased)
		if len(page) > 0 {
			last = time.Now()
			continue
		}
		time.Sleep(20 * time.Millisecond)
	}
	took, work := time.Since(began), cpuTime()-worked
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("%d messages in %.1f s, %.1f s of processor time and %.0f MB with the relay in the same process",
		items, took.Seconds(), work.Seconds(), float64(most)/1e6)
	if items != backlog {
		t.Errorf("%d of %d messages came", items, backlog)
	}
	// On a busy machine the wall clock says little.
	if !raceEnabled && (min(took, work) > backlogTime || most > backlogMemory) {
		t.Errorf("that is more than %v or %d MiB", backlogTime, backlogMemory>>20)
	}
}
