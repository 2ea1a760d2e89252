package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// A disk that is full ends nothing: what comes stays at the relay until there is
// room, and the status says why.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("no disk of our own: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice, bob := w.registerIn(filepath.Join(disk, "alice"), "alice").run(), w.register("bob").run()
		befriend(alice, bob)
		full := func() bool {
			t.Helper()
			status, err := alice.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return status.StorageFull
		}
		if full() {
			t.Error("the disk is full from the beginning")
		}
		events, cancel := alice.Subscribe()
		defer cancel()
		room := fillDisk(t, disk)
		bob.send(alice, "while there is no room")
		rest(10 * time.Second)
		alice.sees(bob, "> request", "< accepted")
		if !full() {
			t.Error("the disk is full, and the status does not say so")
		}
		_, err := alice.Send(ctx, bob.id, "lost?", client.SendOptions{})
		wantCode(t, "sending", err, client.CodeReadOnly)
		select {
		case err := <-alice.ended:
			t.Fatalf("Run has ended: %v", err)
		default:
		}

		room()
		if err := alice.Flush(ctx); err != nil { // does not wait for a pause to end
			t.Fatal(err)
		}
		rest(15 * time.Second)
		alice.sees(bob, "> request", "< accepted", "< while there is no room")
		if full() {
			t.Error("there is room, and the status does not say so")
		}
		told := false
		for range len(events) {
			if e := <-events; e.Kind == client.EventConnection && e.Status.StorageFull {
				told = true
			}
		}
		if !told {
			t.Error("nobody was told that the disk is full")
		}
	})
}

// fillDisk leaves no room on a disk; what it returns gives it back.
func fillDisk(t *testing.T, disk string) (room func()) {
	t.Helper()
	name := filepath.Join(disk, "rubbish")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err = f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}
