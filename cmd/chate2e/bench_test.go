package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

// BenchmarkSendToScreen measures the time from asking Alice's daemon to send until
// Bob's daemon has told his screen, through the relay and three disks: p50 and p99
// of single messages, the next one only when the last was shown. With a command
// for each message the start of its process is in it.
func BenchmarkSendToScreen(b *testing.B) {
	server, alice, bob := pair(b)
	alice.daemon()
	bob.daemon()
	befriend(alice, bob)
	dial := func(u *user) *localapi.Client {
		api, ok := localapi.Dial(b.Context(), filepath.Join(u.home, "profiles", u.profile))
		if !ok {
			b.Fatal("no daemon")
		}
		return api
	}
	hers, screen := dial(alice), dial(bob)

	b.Run("api", func(b *testing.B) {
		measure(b, screen, func(ctx context.Context, text string) error {
			_, err := hers.Send(ctx, localapi.SendRequest{Who: "bob", Text: text})
			return err
		})
	})
	b.Run("command", func(b *testing.B) {
		measure(b, screen, func(ctx context.Context, text string) error {
			cmd := exec.CommandContext(ctx, filepath.Join(programs, "chate2e"),
				"--home", alice.home, "--profile", "alice", "--server", server.url(), "send", "bob", text, "--wait", "0s")
			return cmd.Run()
		})
	})
}

// measure sends b.N messages and waits for each on the screen.
func measure(b *testing.B, screen *localapi.Client, send func(context.Context, string) error) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	events, err := screen.Events(ctx)
	if err != nil {
		b.Fatal(err)
	}
	shown := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		for {
			e, err := events.Next()
			if err != nil {
				ended <- err
				return
			}
			if e.Kind == client.EventItem && e.Item.Kind == client.KindText && e.Item.Direction == client.DirectionIn {
				shown <- e.Item.Text
			}
		}
	}()
	sentBy := make(chan error, 1)
	var times []time.Duration
	for n := 0; b.Loop(); n++ {
		text := fmt.Sprintf("message %d of a conversation that is being measured", n)
		start := time.Now()
		go func() { sentBy <- send(ctx, text) }()
		select {
		case got := <-shown:
			times = append(times, time.Since(start))
			if got != text {
				b.Fatalf("%q is on the screen, not %q", got, text)
			}
		case err := <-ended:
			b.Fatal(err)
		case <-time.After(deadline):
			b.Fatalf("%q is not on the screen", text)
		}
		if err := <-sentBy; err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; errors.Is(err, io.EOF) {
		b.Fatal("the daemon has stopped")
	}
	slices.Sort(times)
	at := func(share float64) float64 {
		return float64(times[int(share*float64(len(times)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}
