package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/vault"
)

// fill adds n messages from bob, numbered from first.
func fill(tb testing.TB, db *vault.DB, chat vault.ChatID, first, n int) {
	tb.Helper()
	update(tb, db, func(tx *vault.Tx) error {
		for i := range n {
			m := incoming(chat, uint64(first+i))
			m.Text = textOf(m.Seq)
			if _, err := tx.AddMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
}

func textOf(seq uint64) string {
	return fmt.Sprintf("message %d 第%d条 ", seq, seq) + strings.Repeat("lorem ipsum dolor ", int(seq%7)*3)
}

// everything reads whatever a vault holds, in a comparable form.
func everything(db *vault.DB, chat vault.ChatID) (all []any, err error) {
	err = db.View(context.Background(), func(tx *vault.Tx) error {
		for _, read := range []func() (any, error){
			func() (any, error) { return tx.Newest(chat, 100000) },
			func() (any, error) { return tx.Search("message", 100000) },
			func() (any, error) { return tx.Search("第", 100000) },
			func() (any, error) { return tx.Chats() },
			func() (any, error) { return tx.Arrivals(100000) },
			func() (any, error) { return tx.Events("", 0, 1000) },
			func() (any, error) { return tx.Settings() },
			func() (any, error) { return tx.DueJobs(1000) },
			func() (any, error) { return tx.DeviceList(bob.User) },
			func() (any, error) { return tx.Record(bob) },
		} {
			got, err := read()
			if err != nil {
				return err
			}
			all = append(all, got)
		}
		return nil
	})
	return all, err
}

// sample makes a closed profile of some dozen pages and says what it holds.
func sample(t *testing.T) (dir string, chat vault.ChatID, holds []any) {
	t.Helper()
	db, chat := create(t)
	fill(t, db, chat, 1, 150)
	update(t, db, func(tx *vault.Tx) error {
		if err := tx.PutDeviceList(vault.DeviceList{User: bob.User, Version: 1, Signed: make([]byte, 9000), Devices: []vault.Device{{Address: bob, Identity: []byte{1}}}}); err != nil {
			return err
		}
		if err := tx.SetSetting("a", "b"); err != nil {
			return err
		}
		return tx.AddEvents(bob.User, []byte("event"))
	})
	// A long record comes last, so that the file ends in pages of nothing but bytes.
	update(t, db, func(tx *vault.Tx) error { return tx.PutRecord(bob, bytes.Repeat([]byte{7}, 60_000)) })
	holds, err := everything(db, chat)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return db.Dir(), chat, holds
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEveryPage flips one bit in each page: every flip is found, and what is read
// in spite of it is right.
func TestEveryPage(t *testing.T) {
	t.Parallel()
	r := testrand.New(t)
	dir, chat, want := sample(t)
	path := filepath.Join(dir, vault.DatabaseName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pages := len(good) / 4096
	atOpen, atRead, atCheck := 0, 0, 0
	for page := range pages {
		bad := append([]byte{}, good...)
		bit := page*4096*8 + r.IntN(4096*8)
		bad[bit/8] ^= 1 << (bit % 8)
		write(t, path, bad)

		db, err := vault.Open(t.Context(), dir, password, fast)
		if err != nil {
			atOpen++
			if !errors.Is(err, vault.ErrDamaged) {
				t.Errorf("page %d: Open: %v, want ErrDamaged", page, err)
			}
			continue
		}
		got, err := everything(db, chat)
		switch {
		case errors.Is(err, vault.ErrDamaged):
			atRead++
		case err != nil:
			t.Errorf("page %d: reading: %v, want ErrDamaged", page, err)
		default:
			if !reflect.DeepEqual(want, got) {
				t.Errorf("page %d: other rows than were stored (-stored +read):\n%s", page, cmp.Diff(want, got))
			}
			if err := db.Check(t.Context()); !errors.Is(err, vault.ErrDamaged) {
				t.Errorf("page %d: Check: %v, want ErrDamaged", page, err)
			}
			atCheck++
		}
		if err := db.Update(t.Context(), func(tx *vault.Tx) error { return tx.SetSetting("a", "c") }); !errors.Is(err, vault.ErrDamaged) {
			t.Errorf("page %d: Update of a damaged vault: %v, want ErrDamaged", page, err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("page %d: Close: %v", page, err)
		}
	}
	t.Logf("%d pages: found by Open %d, by reading %d, by Check %d", pages, atOpen, atRead, atCheck)

	write(t, path, good)
	db, err := vault.Open(t.Context(), dir, password, fast)
	if err != nil {
		t.Fatalf("the good file: %v", err)
	}
	defer db.Close()
	if err := db.Check(t.Context()); err != nil {
		t.Errorf("Check of the good file: %v", err)
	}
	if got, err := everything(db, chat); err != nil || !cmp.Equal(want, got) {
		t.Errorf("the good file does not read as before: %v", err)
	}
}

func TestTruncatedDatabase(t *testing.T) {
	dir, chat, want := sample(t)
	path := filepath.Join(dir, vault.DatabaseName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 100, 4095, 4096, 8192, len(good) / 2, len(good) - 4096, len(good) - 1} {
		write(t, path, good[:size])
		db, err := vault.Open(t.Context(), dir, password, fast)
		if err == nil {
			var got []any
			if got, err = everything(db, chat); err == nil {
				err = db.Check(t.Context())
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("cut to %d bytes of %d: other rows than were stored (-stored +read):\n%s", size, len(good), diff)
				}
			}
			_ = db.Close()
		}
		if !errors.Is(err, vault.ErrDamaged) {
			t.Errorf("cut to %d bytes of %d: %v, want ErrDamaged", size, len(good), err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(t.Context(), dir, password, fast); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("without database: %v, want ErrDamaged", err)
	}
	if _, err := vault.Create(t.Context(), dir, password, fast); !errors.Is(err, vault.ErrExists) {
		t.Errorf("Create over a damaged profile: %v, want ErrExists", err)
	}

	// The database of another profile: the key is right for its file, not for this.
	other, _ := create(t)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other.Dir(), vault.DatabaseName))
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, foreign)
	if _, err := vault.Open(t.Context(), dir, password, fast); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("another profile's database: %v, want ErrDamaged", err)
	}
}

// TestTamperedLog flips bits of the write-ahead log that a crash has left: that
// may take the last commits back, as an older copy of the file would, but never
// shows anything wrong.
func TestTamperedLog(t *testing.T) {
	t.Parallel()
	r := testrand.New(t)
	db, chat := create(t)
	if err := db.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	const commits = 30
	for i := range commits {
		fill(t, db, chat, i+1, 1)
	}
	files := map[string][]byte{}
	for _, name := range []string{vault.KeyName, vault.DatabaseName, vault.DatabaseName + "-wal"} {
		data, err := os.ReadFile(filepath.Join(db.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	log := files[vault.DatabaseName+"-wal"]
	if len(log) < 4096*commits {
		t.Fatalf("the log has %d bytes only", len(log))
	}
	shorter := 0
	for try := range 60 {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		bit := r.IntN(len(log) * 8)
		for name, data := range files {
			write(t, filepath.Join(dir, name), data)
		}
		bad := append([]byte{}, log...)
		want := commits
		if try > 0 { // the first one stays whole
			bad[bit/8] ^= 1 << (bit % 8)
			want = 0
		}
		write(t, filepath.Join(dir, vault.DatabaseName+"-wal"), bad)

		db, err := vault.Open(t.Context(), dir, password, fast)
		if err != nil {
			if !errors.Is(err, vault.ErrDamaged) || try == 0 {
				t.Errorf("bit %d: Open: %v", bit, err)
			}
			continue
		}
		view(t, db, func(tx *vault.Tx) error {
			page, err := tx.Newest(chat, 1000)
			if len(page) < want {
				t.Errorf("%d messages from a good log, want %d", len(page), want)
			}
			if len(page) < commits {
				shorter++
			}
			for i, m := range page {
				if m.Seq != uint64(i+1) || m.Text != textOf(m.Seq) {
					t.Errorf("bit %d: item %d is number %d: %q", bit, i, m.Seq, m.Text)
				}
			}
			return err
		})
		if err := db.Check(t.Context()); err != nil {
			t.Errorf("bit %d: Check: %v", bit, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if shorter == 0 {
		t.Error("no flip had any effect: the log was not read")
	}
}
