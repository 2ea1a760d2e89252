//go:build linux

package vault_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/vault"
)

// killedAt runs a child of this test binary under strace, which kills it when it
// enters the n-th of the given system calls, and returns what it had printed.
func killedAt(t *testing.T, call string, n int, child string, args ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inject := fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n)
	cmd := exec.CommandContext(t.Context(), "strace", append([]string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=" + call, "-e", inject, self}, args...)...)
	cmd.Env = append(os.Environ(), childVariable+"="+child)
	out, err := cmd.Output()
	if err == nil {
		t.Fatalf("the child was not killed at %s %d", call, n)
	}
	return strings.Fields(string(out))
}

func needStrace(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a hundred processes")
	}
	if err := exec.CommandContext(t.Context(), "strace", "-f", "-qq", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("strace does not run here: %v", err)
	}
}

// TestKilledAtSystemCalls kills the writer at each of its first writes and syncs,
// and at later ones around the moving of the log into the database.
func TestKilledAtSystemCalls(t *testing.T) {
	t.Parallel()
	needStrace(t)
	r := testrand.New(t)
	db, chat := create(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	stored := 0
	check := func(call string, n int) {
		t.Helper()
		reported := stored
		for _, line := range killedAt(t, call, n, "writer", db.Dir(), strconv.Itoa(stored+1)) {
			reported, _ = strconv.Atoi(line)
		}
		again, err := vault.Open(t.Context(), db.Dir(), password, fast)
		if err != nil {
			t.Fatalf("killed at %s %d: %v", call, n, err)
		}
		view(t, again, func(tx *vault.Tx) error {
			page, err := tx.Newest(chat, 100000)
			if stored = len(page); stored != reported && stored != reported+1 {
				t.Errorf("killed at %s %d: %d messages were reported, %d are stored", call, n, reported, stored)
			}
			if err != nil {
				return err
			}
			record, err := tx.Record(bob)
			if want := fmt.Sprint("record ", stored); stored > 0 && string(record) != want {
				t.Errorf("killed at %s %d: the record is %q, want %q", call, n, record, want)
			}
			return err
		})
		if err := again.Check(t.Context()); err != nil {
			t.Errorf("killed at %s %d: %v", call, n, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for n := 1; n <= 8; n++ {
		check("fdatasync", n)
	}
	for n := 1; n <= 16; n++ {
		check("pwrite64", n)
	}
	for range 5 { // the log is moved after about 1,000 pages
		check("pwrite64", 900+r.IntN(1500))
	}
	t.Logf("%d messages stored", stored)
}

// TestPasswordChangeKilledAtSystemCalls kills a password change at each step of
// writing the key file.
func TestPasswordChangeKilledAtSystemCalls(t *testing.T) {
	t.Parallel()
	needStrace(t)
	db, _ := create(t)
	if err := db.ChangePassword(t.Context(), password, changed(password, 0)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, call := range []string{"fsync", "renameat", "unlinkat", "openat", "write"} {
		for at := 1; at <= 4; at++ {
			when := at
			if call == "openat" || call == "write" {
				when += 60 // the first ones are the Go runtime's and the database's
			}
			for _, line := range killedAt(t, call, when, "password changer", db.Dir(), strconv.Itoa(n)) {
				n, _ = strconv.Atoi(line)
			}
			reopened, err := vault.Open(t.Context(), db.Dir(), changed(password, n), fast)
			if errors.Is(err, vault.ErrWrongPassword) {
				n++
				reopened, err = vault.Open(t.Context(), db.Dir(), changed(password, n), fast)
			}
			if err != nil {
				t.Fatalf("killed at %s %d: neither password opens the profile: %v", call, when, err)
			}
			if err := reopened.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d changes", n)
}

// TestKeyFileIsSynced: a new key file is on the disk before it takes the place of the
// old one, and its name is before the change is over. A power cut would show it
// otherwise, which no killed process does.
func TestKeyFileIsSynced(t *testing.T) {
	t.Parallel()
	needStrace(t)
	db, _ := create(t)
	if err := db.ChangePassword(t.Context(), password, changed(password, 0)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-y", "-qq", "-o", trace, "-e", "trace=fsync,renameat",
		"-e", "inject=renameat:signal=SIGKILL:when=4", self, db.Dir(), "0")
	cmd.Env = append(os.Environ(), childVariable+"=password changer")
	if err := cmd.Run(); err == nil {
		t.Fatal("the child was not killed")
	}
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for line := range strings.Lines(string(calls)) {
		switch {
		case strings.Contains(line, "renameat("):
			steps = append(steps, "rename")
		case strings.Contains(line, "fsync(") && strings.Contains(line, vault.NewKeyName+">"):
			steps = append(steps, "file")
		case strings.Contains(line, "fsync(") && strings.Contains(line, db.Dir()+">"):
			steps = append(steps, "folder")
		}
	}
	// How many changes there were is not fixed: strace counts for each thread.
	got, change := strings.Join(steps, " "), "file rename folder "
	if want := strings.Repeat(change, strings.Count(got, change)) + "file rename"; got != want || !strings.Contains(got, change) {
		t.Errorf("%s\nwant %s\n%s", got, want, calls)
	}
}
