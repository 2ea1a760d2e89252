package vault_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/vault"
)

var updateSchemas = flag.Bool("update-schemas", false, "write testdata/schema for steps that have none yet")

// steps returns the shipped steps of the schema up to number n.
func steps(t *testing.T, n int) fstest.MapFS {
	t.Helper()
	names, err := fs.Glob(vault.Migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	some := fstest.MapFS{}
	for _, name := range names[:n] {
		data, err := fs.ReadFile(vault.Migrations(), name)
		if err != nil {
			t.Fatal(err)
		}
		some[name] = &fstest.MapFile{Data: data}
	}
	return some
}

// TestShippedSteps: a step that was shipped never changes. Its copy in testdata is
// written once, with -update-schemas, and compared ever after.
func TestShippedSteps(t *testing.T) {
	names, err := fs.Glob(vault.Migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		got, err := fs.ReadFile(vault.Migrations(), name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "schema", name)
		want, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && *updateSchemas {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, path, got)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s was changed after it was shipped (-shipped +now):\n%s", name, diff)
		}
	}
}

// TestUpgradeFromEachVersion makes a vault with each schema ever shipped and opens
// it with the current one.
func TestUpgradeFromEachVersion(t *testing.T) {
	names, err := fs.Glob(vault.Migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(names); n++ {
		undo := vault.SetMigrations(steps(t, n))
		dir := filepath.Join(t.TempDir(), "p")
		db, err := vault.Create(t.Context(), dir, password, fast)
		if err != nil {
			t.Fatal(err)
		}
		update(t, db, func(tx *vault.Tx) error {
			return tx.Exec(`INSERT INTO settings (key, value) VALUES ('made by', 'an old version')`)
		})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		undo()
		db, err = vault.Open(t.Context(), dir, password, fast)
		if err != nil {
			t.Fatal(err)
		}
		chat := populate(t, db)
		addTexts(t, db, chat, "hello")
		view(t, db, func(tx *vault.Tx) error {
			var version int
			if err := tx.Scan(`PRAGMA user_version`, nil, &version); err != nil || version != len(names) {
				t.Errorf("from version %d: now %d, %v; want %d", n, version, err, len(names))
			}
			_, err := tx.Setting("made by")
			return err
		})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSteps: each step runs once, a failing one leaves everything as it was, and
// an older program does not touch a newer database.
func TestSteps(t *testing.T) {
	names, err := fs.Glob(vault.Migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	shipped, next := steps(t, len(names)), fmt.Sprintf("%04d_", len(names)+1)
	with := func(name, sql string) fstest.MapFS {
		more := maps.Clone(shipped)
		more[name] = &fstest.MapFile{Data: []byte(sql)}
		return more
	}
	db, _ := create(t)
	set(t, db, "kept")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	undo := vault.SetMigrations(with(next+"fails.sql", "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO more VALUES ('text');"))
	t.Cleanup(undo)
	if _, err := vault.Open(t.Context(), db.Dir(), password, fast); err == nil || !strings.Contains(err.Error(), next+"fails") {
		t.Errorf("a failing step: %v", err)
	}
	vault.SetMigrations(with(next+"works.sql", "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO more VALUES (1);"))
	for range 2 {
		again, err := vault.Open(t.Context(), db.Dir(), password, fast)
		if err != nil {
			t.Fatal(err)
		}
		view(t, again, func(tx *vault.Tx) error {
			var n int
			err := tx.Scan(`SELECT count(*) FROM more`, nil, &n)
			if n != 1 {
				t.Errorf("the step has run %d times", n)
			}
			return err
		})
		if got := get(t, again); got != "kept" {
			t.Errorf("the setting is %q", got)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	vault.SetMigrations(shipped)
	if _, err := vault.Open(t.Context(), db.Dir(), password, fast); !errors.Is(err, vault.ErrTooNew) {
		t.Errorf("an older program: %v, want ErrTooNew", err)
	}
}
