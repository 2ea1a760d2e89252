package vault_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/vault"
)

func init() {
	children["writer"] = childWriter
	children["password changer"] = childPasswordChanger
	children["holder"] = childHolder
}

// rounds is how often a crash test kills its child.
func rounds() int {
	if testing.Short() {
		return 4
	}
	return 20
}

// childWriter adds messages, one transaction each, and prints the number of each
// one once it is committed.
func childWriter(args []string) error {
	ctx := context.Background()
	db, err := vault.Open(ctx, args[0], password, fast)
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for seq := uint64(first); ; seq++ {
		if err := db.Update(ctx, func(tx *vault.Tx) error {
			contact, err := tx.Contact(bob.User)
			if err != nil {
				return err
			}
			return receive(tx, contact.Chat, bob, seq, textOf(seq), fmt.Append(nil, "record ", seq), fmt.Append(nil, "envelope ", seq))
		}); err != nil {
			return err
		}
		fmt.Println(seq)
	}
}

// TestKilledWriter kills a process in the middle of its writing: everything that
// it had reported as committed is there, whole, and nothing else but perhaps the
// one transaction it was in.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	r := testrand.New(t)
	db, chat := create(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for range rounds() {
		c := startChild(t, "writer", db.Dir(), strconv.Itoa(stored+1))
		reported := stored
		for range 1 + r.IntN(120) {
			line, ok := c.line()
			if !ok {
				t.Fatal("the writer stopped by itself")
			}
			reported, _ = strconv.Atoi(line)
		}
		for _, line := range c.kill() {
			reported, _ = strconv.Atoi(line)
		}

		again, err := vault.Open(t.Context(), db.Dir(), password, fast)
		if err != nil {
			t.Fatal(err)
		}
		view(t, again, func(tx *vault.Tx) error {
			page, err := tx.Newest(chat, 100000)
			if err != nil {
				return err
			}
			stored = len(page)
			if stored != reported && stored != reported+1 {
				t.Errorf("%d messages were reported, %d are stored", reported, stored)
			}
			for i, m := range page {
				if m.Seq != uint64(i+1) || m.Text != textOf(m.Seq) {
					t.Fatalf("item %d is number %d: %q", i, m.Seq, m.Text)
				}
			}
			record, err := tx.Record(bob)
			if want := fmt.Sprint("record ", stored); string(record) != want {
				t.Errorf("the record is %q, want %q", record, want)
			}
			if seen, err := tx.Seen(fmt.Append(nil, "envelope ", stored)); err != nil || !seen {
				t.Errorf("the last envelope is not known: %v", err)
			}
			if seen, err := tx.Seen(fmt.Append(nil, "envelope ", stored+1)); err != nil || seen {
				t.Errorf("the next envelope is known: %v", err)
			}
			return err
		})
		if err := again.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d messages survived %d kills", stored, rounds())
}

func changed(password []byte, n int) []byte { return fmt.Appendf(nil, "%s %d", password, n%2) }

// childPasswordChanger changes the password to and fro, and prints each change.
func childPasswordChanger(args []string) error {
	ctx := context.Background()
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	db, err := vault.Open(ctx, args[0], changed(password, n), fast)
	if err != nil {
		return err
	}
	for ; ; n++ {
		if err := db.ChangePassword(ctx, changed(password, n), changed(password, n+1)); err != nil {
			return err
		}
		fmt.Println(n + 1)
	}
}

// TestKilledPasswordChange kills a process that changes the password: the last
// one it reported opens the profile, or the one it was changing to.
func TestKilledPasswordChange(t *testing.T) {
	t.Parallel()
	r := testrand.New(t)
	db, _ := create(t)
	if err := db.ChangePassword(t.Context(), password, changed(password, 0)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for range rounds() {
		c := startChild(t, "password changer", db.Dir(), strconv.Itoa(n))
		for range 1 + r.IntN(12) {
			line, ok := c.line()
			if !ok {
				t.Fatal("the child stopped by itself")
			}
			n, _ = strconv.Atoi(line)
		}
		for _, line := range c.kill() {
			n, _ = strconv.Atoi(line)
		}
		reopened, err := vault.Open(t.Context(), db.Dir(), changed(password, n), fast)
		if errors.Is(err, vault.ErrWrongPassword) {
			n++
			reopened, err = vault.Open(t.Context(), db.Dir(), changed(password, n), fast)
		}
		if err != nil {
			t.Fatalf("neither password opens the profile: %v", err)
		}
		view(t, reopened, func(tx *vault.Tx) error { _, err := tx.Contact(bob.User); return err })
		if _, err := os.Stat(filepath.Join(db.Dir(), vault.NewKeyName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a leftover of the change stays: %v", err)
		}
		if err := reopened.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d changes, %d kills", n, rounds())
}

// TestInterruptedCreate: whatever a killed Create has left, the next one works.
func TestInterruptedCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	db, err := vault.Create(t.Context(), dir, password, fast)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// The key file is written last.
	if err := os.Rename(filepath.Join(dir, vault.KeyName), filepath.Join(dir, vault.NewKeyName)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, vault.DatabaseName+"-wal"), make([]byte, 5000))
	if _, err := vault.Open(t.Context(), dir, password, fast); !errors.Is(err, vault.ErrNoVault) {
		t.Errorf("Open: %v, want ErrNoVault", err)
	}
	db, err = vault.Create(t.Context(), dir, []byte("another"), fast)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// childHolder keeps a profile open until its standard input ends.
func childHolder(args []string) error {
	db, err := vault.Open(context.Background(), args[0], password, fast)
	if err != nil {
		return err
	}
	fmt.Println("open")
	bufio.NewScanner(os.Stdin).Scan()
	return db.Close()
}

// TestInUseByAnotherProcess also checks that a dead process holds nothing.
func TestInUseByAnotherProcess(t *testing.T) {
	db, _ := create(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c := startChild(t, "holder", db.Dir())
	if line, _ := c.line(); line != "open" {
		t.Fatalf("the child says %q", line)
	}
	if _, err := vault.Open(t.Context(), db.Dir(), password, fast); !errors.Is(err, vault.ErrInUse) {
		t.Errorf("Open: %v, want ErrInUse", err)
	}
	c.kill()
	db, err := vault.Open(t.Context(), db.Dir(), password, fast)
	if err != nil {
		t.Fatalf("after the other process died: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
