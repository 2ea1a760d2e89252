//go:build unix

package vault_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/chate2e/chate2e/internal/vault"
)

// checkModes checks the folder and all it holds.
func checkModes(t *testing.T, when, dir string, want ...string) {
	t.Helper()
	seen := map[string]bool{}
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		seen[entry.Name()] = true
		mode := fs.FileMode(0o600)
		if entry.IsDir() {
			mode = fs.ModeDir | 0o700
		}
		if info.Mode() != mode {
			t.Errorf("%s: %s is %v, want %v", when, path, info.Mode(), mode)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range want {
		if !seen[name] {
			t.Errorf("%s: there is no %s", when, name)
		}
	}
}

// TestFileModes: only the owner can read a profile, also without umask.
func TestFileModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	home := filepath.Join(t.TempDir(), "home")
	dir := filepath.Join(home, "profiles", "alice")
	db, err := vault.Create(t.Context(), dir, password, fast)
	if err != nil {
		t.Fatal(err)
	}
	chat := populate(t, db)
	fill(t, db, chat, 1, 10)
	checkModes(t, "created", home, "vault.db", "vault.db-wal", "vault.db-shm", "vault.key", "lock")
	if err := db.ChangePassword(t.Context(), password, password); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	checkModes(t, "closed", home, "vault.db", "vault.key", "lock")

	// A copy may have got wider modes.
	for _, name := range []string{"", "vault.db", "vault.key", "lock"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	db, err = vault.Open(t.Context(), dir, password, fast)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	fill(t, db, chat, 11, 10)
	checkModes(t, "opened again", home, "vault.db-wal", "vault.db-shm")
}
