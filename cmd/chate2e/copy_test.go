package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copied is a copy of somebody's home directory, used on another computer.
func (u *user) copied() *user {
	u.t.Helper()
	other := *u
	other.home = filepath.Join(u.t.TempDir(), "copy")
	other.logs = new(lockedBuffer)
	if err := os.CopyFS(other.home, os.DirFS(u.home)); err != nil {
		u.t.Fatal(err)
	}
	return &other
}

const conflictWarning = "this profile may be in use somewhere else as well"

// sends has a person send one message, which leaves in any case, and checks whether
// she is warned.
func (u *user) sends(what string, warned bool) {
	u.t.Helper()
	r := u.run("", "send", "bob", what, "--wait", "30s")
	if r.code != 0 || r.out != "sent\n" {
		u.t.Errorf("%s: exit %d: %s%s", what, r.code, r.out, r.errs)
	}
	if got := strings.Count(r.errs, conflictWarning); warned && got != 1 || !warned && got != 0 {
		u.t.Errorf("%s: warned %d times: %q; want %v", what, got, r.errs, warned)
	}
	if conflict := u.one("status")["conflict"]; (conflict != nil) != warned {
		u.t.Errorf("%s: conflict %v, want one: %v", what, conflict, warned)
	}
}

// A copy of a home directory that is used beside the original is reported by the
// original within one send, and by the copy too once the original has sent.
func TestCopiedHome(t *testing.T) {
	t.Parallel()
	for name, daemons := range map[string][2]bool{
		"commands":          {},
		"original's daemon": {true, false},
		"copy's daemon":     {false, true},
		"a daemon each":     {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			befriend(alice, bob)
			alice.sends("before the copy", false)
			twin := alice.copied()
			if daemons[0] {
				alice.daemon()
				// It is connected, so that the copy's login has something to end.
				eventually(t, "the daemon is connected", func() bool { return alice.one("status")["connected"] == true })
			}
			if daemons[1] {
				twin.daemon()
				eventually(t, "the copy's daemon is connected", func() bool { return twin.one("status")["connected"] == true })
			}
			if r := twin.run("", "send", "bob", "from the copy"); r.code != 0 {
				t.Fatalf("the copy does not send: %s", r.errs)
			}
			alice.sends("from the original", true)
			twin.sends("from the copy again", true)
			// Once noticed, both go on: nobody is kept from sending.
			for range 2 {
				alice.sends("from the original", true)
				twin.sends("from the copy", true)
			}
			if r := alice.run("", "status"); !strings.Contains(r.out, "may be in use somewhere else") {
				t.Errorf("status: %s", r.out)
			}
		})
	}
}

// The registration is a login too: a copy made before there was any other is noticed.
func TestHomeCopiedAtOnce(t *testing.T) {
	t.Parallel()
	_, alice, _ := pair(t)
	twin := alice.copied()
	if r := twin.run("", "send", "bob", "from the copy"); r.code != 0 {
		t.Fatalf("the copy does not send: %s", r.errs)
	}
	alice.sends("from the original", true)
}

// What one profile alone does is no conflict: commands one after the other, a daemon
// that was killed, a relay that was put back to where it was long ago.
func TestOwnLoginsAreNoConflict(t *testing.T) {
	t.Parallel()
	server, alice, bob := pair(t)
	befriend(alice, bob)
	server.stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(server.data)); err != nil {
		t.Fatal(err)
	}
	server.start()
	// More logins than the relay remembers.
	for range 9 {
		alice.one("send", "bob", "one after the other")
	}
	alice.sends("one after the other", false)
	for range 2 {
		daemon := alice.daemon()
		alice.sends("through a daemon", false)
		_ = daemon.cmd.Process.Kill()
		daemon.wait(t)
	}
	alice.sends("after the daemon was killed", false)

	server.stop()
	if err := os.RemoveAll(server.data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(server.data, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	server.start()
	alice.sends("to a relay that was restored", false)
}
