//go:build unix

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Folders are 0700 and files 0600 whatever the umask.
func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	server := startServer(t)
	home := filepath.Join(t.TempDir(), "home")
	alice := newUser(t, home, "alice", server.url(), "alice's password")
	alice.one("register", "alice")
	daemon := alice.daemon()
	err := filepath.WalkDir(home, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		want := os.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"cmdline", "environ"} {
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(daemon.cmd.Process.Pid), name))
		if err == nil && strings.Contains(string(data), "alice's password") {
			t.Errorf("the password is in %s", name)
		}
	}
	// A crash leaves no memory behind.
	limits, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(daemon.cmd.Process.Pid), "limits"))
	if err == nil && !regexp.MustCompile(`Max core file size +0 `).Match(limits) {
		t.Errorf("core files are allowed:\n%s", limits)
	}
	equal(t, "exit", daemon.end(t), 0)
}
