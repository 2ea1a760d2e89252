package vault_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chate2e/chate2e/internal/vault"
)

func TestUpdateIsAllOrNothing(t *testing.T) {
	db, _ := create(t)
	set(t, db, "1")
	boom := errors.New("boom")
	if err := db.Update(t.Context(), func(tx *vault.Tx) error {
		return errors.Join(tx.SetSetting("a", "2"), boom)
	}); !errors.Is(err, boom) {
		t.Errorf("Update: %v, want boom", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = db.Update(t.Context(), func(tx *vault.Tx) error {
			if err := tx.SetSetting("a", "3"); err != nil {
				return err
			}
			panic("boom")
		})
	}()
	// A caller that overlooks the error of a statement does not commit the rest.
	if err := db.Update(t.Context(), func(tx *vault.Tx) error {
		if err := tx.Exec(`INSERT INTO counters (name, value) VALUES ('a', NULL)`); err == nil {
			t.Error("NULL was stored")
		}
		_ = tx.SetSetting("a", "4")
		return nil
	}); err == nil {
		t.Error("Update succeeded after a failed statement")
	}
	if got := get(t, db); got != "1" {
		t.Errorf("the setting is %q, want 1", got)
	}
	var escaped *vault.Tx
	update(t, db, func(tx *vault.Tx) error { escaped = tx; return nil })
	if err := escaped.SetSetting("a", "5"); err == nil {
		t.Error("a finished transaction can be used")
	}
	if err := db.View(t.Context(), func(tx *vault.Tx) error { return tx.SetSetting("a", "6") }); err == nil {
		t.Error("a View can write")
	}
	set(t, db, "7")
}

func TestUpdateWaits(t *testing.T) {
	db, _ := create(t)
	ctx, cancel := context.WithCancel(t.Context())
	update(t, db, func(*vault.Tx) error {
		cancel()
		if err := db.Update(ctx, func(*vault.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("Update with a cancelled context: %v", err)
		}
		// A reader does not wait for the writer.
		return db.View(t.Context(), func(*vault.Tx) error { return nil }) //nolint:contextcheck // the other one is cancelled
	})
}

// TestConcurrent lets readers look on while one writer works: each look sees the
// state after some whole transaction, and never an older one than before.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	db, chat := create(t)
	const commits, perCommit = 60, 5
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			last := 0
			for {
				err := db.View(t.Context(), func(tx *vault.Tx) error {
					page, err := tx.Newest(chat, 10000)
					if err != nil {
						return err
					}
					hits, err := tx.Search("message", 10000)
					if err != nil {
						return err
					}
					n, err := tx.Counter("commits")
					if err != nil {
						return err
					}
					if len(page) != int(n)*perCommit || len(hits) != len(page) || len(page) < last {
						return fmt.Errorf("after %d commits %d messages and %d hits; %d messages before", n, len(page), len(hits), last)
					}
					last = len(page)
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range commits {
		update(t, db, func(tx *vault.Tx) error {
			for j := range perCommit {
				m := incoming(chat, uint64(i*perCommit+j+1))
				m.Text = "message " + strings.Repeat("x", j)
				if _, err := tx.AddMessage(m); err != nil {
					return err
				}
			}
			_, err := tx.AddToCounter("commits", 1)
			return err
		})
	}
	close(done)
	readers.Wait()
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestBubble runs the whole vault on virtual time.
func TestBubble(t *testing.T) {
	dir := t.TempDir() + "/p"
	synctest.Test(t, func(t *testing.T) {
		db, err := vault.Create(t.Context(), dir, password, fast)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		chat := populate(t, db)
		start := time.Now()
		var writers sync.WaitGroup
		for i := range 4 {
			writers.Go(func() {
				for range 25 {
					time.Sleep(time.Duration(i+1) * time.Hour)
					if err := db.Update(t.Context(), func(tx *vault.Tx) error {
						if !tx.Now.Equal(time.Now()) {
							t.Errorf("tx.Now is %v at %v", tx.Now, time.Now())
						}
						_, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: "x"})
						return err
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		if got := time.Since(start); got != 100*time.Hour {
			t.Errorf("%v have passed, want 100h", got)
		}

		update(t, db, func(tx *vault.Tx) error {
			if err := tx.MarkSeen([]byte("envelope")); err != nil {
				return err
			}
			page, err := tx.Newest(chat, 1)
			if err != nil {
				return err
			}
			_, err = tx.Enqueue(vault.Job{Peer: bob.User, Message: page[0].ID, Content: []byte("x")})
			return err
		})
		check := func(wantSeen bool, wantJobs int, wantState vault.State) {
			t.Helper()
			update(t, db, func(tx *vault.Tx) error {
				if err := tx.Prune(); err != nil {
					return err
				}
				if _, err := tx.ExpireJobs(); err != nil {
					return err
				}
				seen, err := tx.Seen([]byte("envelope"))
				if err != nil {
					return err
				}
				jobs, err := tx.CountJobs()
				if err != nil {
					return err
				}
				page, err := tx.Newest(chat, 1)
				if err != nil {
					return err
				}
				if seen != wantSeen || jobs != wantJobs || page[0].State != wantState {
					t.Errorf("after %v: seen %v, %d jobs, state %s; want %v, %d, %s",
						time.Since(start), seen, jobs, page[0].State, wantSeen, wantJobs, wantState)
				}
				return nil
			})
		}
		time.Sleep(30*24*time.Hour - time.Millisecond)
		check(true, 1, vault.Queued)
		time.Sleep(time.Millisecond)
		check(true, 0, vault.Failed)
		time.Sleep(30*24*time.Hour - time.Millisecond)
		check(true, 0, vault.Failed)
		time.Sleep(time.Millisecond)
		check(false, 0, vault.Failed)
	})
}
