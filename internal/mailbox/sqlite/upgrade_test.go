package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
)

// A database of the first schema is brought up to date, with what is in it.
func TestUpgradeFromTheFirstSchema(t *testing.T) {
	script, err := os.ReadFile("migrations/0001_initial.sql")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "relay.db")
	c, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		c.Exec("PRAGMA journal_mode = WAL"), c.Exec(string(script)), c.Exec("PRAGMA user_version = 1"),
		c.Exec(`INSERT INTO accounts VALUES (x'0101010101010101010101010101010101010101', 'alice', x'02', 1, 0, 20000)`),
		c.Exec(`INSERT INTO devices VALUES (7, x'0101010101010101010101010101010101010101', 1, zeroblob(32))`),
		c.Exec(`INSERT INTO messages VALUES (5, 7, zeroblob(16), 0, 1, zeroblob(22))`),
		c.Close(),
	); err != nil {
		t.Fatal(err)
	}
	db := open(t, path)
	alice := relay.Address{Device: 1}
	for i := range alice.User {
		alice.User[i] = 1
	}
	for i := range 2 {
		login := mailbox.Login{
			Address: alice, TokenHash: [32]byte{byte(i)}, Expires: now.Add(time.Hour), Challenge: [16]byte{byte(i)}, ChallengeExpires: now.Add(time.Minute),
			ID: relay.LoginID{byte(i)},
		}
		before, err := db.LogIn(t.Context(), login, now)
		if err != nil || len(before) != i {
			t.Errorf("login %d: %v, %v", i, before, err)
		}
	}
	envelopes, _, err := db.After(t.Context(), 7, 0, 10, 1000, nil)
	if err != nil || len(envelopes) != 1 || envelopes[0].Seq != 5 {
		t.Errorf("the mailbox: %v, %v", envelopes, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Inspect(t.Context(), path, now); err != nil {
		t.Errorf("Inspect: %v", err)
	}
}
