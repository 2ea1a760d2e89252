package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/mailboxtest"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
)

func TestStore(t *testing.T) {
	mailboxtest.Run(t, func(t *testing.T, limits mailbox.Limits) mailboxtest.Open {
		path := filepath.Join(t.TempDir(), "relay ?#%.db")
		return func() (mailbox.Store, error) {
			db, err := sqlite.Open(path, sqlite.Config{Limits: limits})
			if err != nil {
				return nil, err
			}
			return db, nil
		}
	})
}
