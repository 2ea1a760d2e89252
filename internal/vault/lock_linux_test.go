package vault_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/chate2e/chate2e/internal/vault"
)

// A process that is just being started has all files of the one that starts it, until
// it runs its own program. The lock of a profile that is closed meanwhile is free.
func TestLockIsNotInherited(t *testing.T) {
	db, _ := create(t)
	lock := filepath.Join(db.Dir(), "lock")
	inherited := -1
	for fd := range 1000 {
		if path, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd)); err == nil && path == lock {
			var err error
			if inherited, err = syscall.Dup(fd); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if inherited < 0 {
		t.Fatal("there is no lock")
	}
	defer func() { _ = syscall.Close(inherited) }()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := vault.Open(t.Context(), db.Dir(), password, fast)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
