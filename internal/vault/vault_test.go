package vault_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/vault"
)

var (
	password = []byte("correct horse battery staple")
	fast     = vault.Config{TestKDF: true}
)

// user returns a user ID that begins with name.
func user(name string) string { return name + strings.Repeat("2", 32-len(name)) }

var (
	alice = vault.Address{User: user("alice"), Device: 1}
	bob   = vault.Address{User: user("bob"), Device: 1}
)

// create makes a profile that belongs to alice, with bob as its one contact.
func create(tb testing.TB) (*vault.DB, vault.ChatID) {
	tb.Helper()
	db, err := vault.Create(tb.Context(), filepath.Join(tb.TempDir(), "profiles", "alice"), password, fast)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db, populate(tb, db)
}

func populate(tb testing.TB, db *vault.DB) (chat vault.ChatID) {
	tb.Helper()
	update(tb, db, func(tx *vault.Tx) error {
		if err := tx.PutOwn(vault.Own{
			User: alice.User, Username: "alice", Relay: "http://127.0.0.1:5000", Device: alice.Device,
			AccountKey: []byte{1}, SealedAccount: []byte{2}, Identity: secret.NewBox([]byte("identity key pair")),
		}); err != nil {
			return err
		}
		c, err := tx.PutContact(vault.Contact{User: bob.User, DisplayName: "Bob", State: vault.Accepted})
		chat = c.Chat
		return err
	})
	return chat
}

func update(tb testing.TB, db *vault.DB, change func(*vault.Tx) error) {
	tb.Helper()
	if err := db.Update(tb.Context(), change); err != nil {
		tb.Fatal(err)
	}
}

func view(tb testing.TB, db *vault.DB, look func(*vault.Tx) error) {
	tb.Helper()
	if err := db.View(tb.Context(), look); err != nil {
		tb.Fatal(err)
	}
}

// reopen closes db and opens its folder again.
func reopen(tb testing.TB, db *vault.DB) *vault.DB {
	tb.Helper()
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
	db, err := vault.Open(tb.Context(), db.Dir(), password, fast)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// texts returns what the messages say.
func texts(messages []vault.Message) []string {
	all := []string{}
	for _, m := range messages {
		all = append(all, m.Text)
	}
	return all
}

// A profile whose key file is missing is not written over: with the key file back
// in its place, it opens.
func TestCreateKeepsDatabaseWithoutKey(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(in(from), in(to)); err != nil {
			t.Fatal(err)
		}
	}
	for _, language := range []string{"zh", "en", "auto"} { // and only the first is kept
		db, err := vault.Create(ctx, dir, password, fast)
		if err != nil {
			t.Fatal(err)
		}
		update(t, db, func(tx *vault.Tx) error { return tx.SetSetting("language", language) })
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		move("vault.key", "key of "+language)
		if exists, err := vault.Exists(dir); err != nil || exists {
			t.Errorf("without its key file: exists %v, %v", exists, err)
		}
	}
	if err := vault.Remove(dir); err != nil {
		t.Fatal(err)
	}
	move("vault.db.old", "vault.db")
	move("key of zh", "vault.key")
	db, err := vault.Open(ctx, dir, password, fast)
	if err != nil {
		t.Fatal(err)
	}
	view(t, db, func(tx *vault.Tx) error {
		language, err := tx.Setting("language")
		if language != "zh" {
			t.Errorf("language %q, want that of the first profile", language)
		}
		return err
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCreateOpen(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "home", "profiles", "alice")
	if _, err := vault.Open(ctx, dir, password, fast); !errors.Is(err, vault.ErrNoVault) {
		t.Errorf("Open before Create: %v, want ErrNoVault", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open has made the folder: %v", err)
	}
	if _, err := vault.Create(ctx, dir, nil, fast); !errors.Is(err, vault.ErrEmptyPassword) {
		t.Errorf("Create with an empty password: %v, want ErrEmptyPassword", err)
	}
	db, err := vault.Create(ctx, dir, password, fast)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(ctx, dir, password, fast); !errors.Is(err, vault.ErrInUse) {
		t.Errorf("Open while it is open: %v, want ErrInUse", err)
	}
	if _, err := vault.Create(ctx, dir, password, fast); !errors.Is(err, vault.ErrInUse) {
		t.Errorf("Create while it is open: %v, want ErrInUse", err)
	}
	update(t, db, func(tx *vault.Tx) error { return tx.SetSetting("language", "zh") })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(ctx, func(*vault.Tx) error { return nil }); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("Update after Close: %v, want ErrClosed", err)
	}
	if err := db.View(ctx, func(*vault.Tx) error { return nil }); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("View after Close: %v, want ErrClosed", err)
	}
	if _, err := vault.Create(ctx, dir, password, fast); !errors.Is(err, vault.ErrExists) {
		t.Errorf("Create over a profile: %v, want ErrExists", err)
	}
	if _, err := vault.Open(ctx, dir, []byte("Correct horse battery staple"), fast); !errors.Is(err, vault.ErrWrongPassword) {
		t.Errorf("Open with a wrong password: %v, want ErrWrongPassword", err)
	}
	db, err = vault.Open(ctx, dir, password, fast)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	view(t, db, func(tx *vault.Tx) error {
		got, err := tx.Setting("language")
		if got != "zh" {
			t.Errorf("setting is %q, want zh", got)
		}
		return err
	})
}
