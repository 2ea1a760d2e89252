package vault_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/vault"
)

func loginID(n uint64) (id [vault.LoginIDSize]byte) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

func TestLogins(t *testing.T) {
	db, _ := create(t)
	add := func(ids ...uint64) {
		t.Helper()
		update(t, db, func(tx *vault.Tx) error {
			for _, id := range ids {
				if err := tx.AddLogin(loginID(id)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	note := func(others int, ids ...uint64) (at time.Time) {
		t.Helper()
		update(t, db, func(tx *vault.Tx) error {
			var all [][vault.LoginIDSize]byte
			for _, id := range ids {
				all = append(all, loginID(id))
			}
			got, err := tx.NoteLogins(all)
			if got != others {
				t.Errorf("NoteLogins(%v) = %d, want %d", ids, got, others)
			}
			at = tx.Now
			return err
		})
		return at
	}
	conflict := func(want time.Time) {
		t.Helper()
		view(t, db, func(tx *vault.Tx) error {
			got, err := tx.Conflict()
			if !got.Equal(want) {
				t.Errorf("conflict %v, want %v", got, want)
			}
			return err
		})
	}
	conflict(time.Time{})
	add(1)
	note(0, 1001, 1002) // of a profile that is older than the IDs
	add(2)
	note(0, 1001, 1002, 1, 2)
	conflict(time.Time{})
	at := note(2, 1002, 666, 1, 667)
	conflict(at)
	note(0, 666, 667) // once
	conflict(at)
	at = note(1, 668)
	conflict(at)

	// A relay that makes up logins does not make us forget our own.
	made := uint64(10_000)
	for range 40 {
		var ids []uint64
		for range 8 {
			made++
			ids = append(ids, made)
		}
		note(8, ids...)
	}
	note(0, 1, 2, 1001)
	// Our own are bounded as well.
	var own []uint64
	for id := range uint64(4100) {
		own = append(own, 100_000+id)
	}
	add(own...)
	note(0, own[len(own)-4096:]...)
	note(2, 1, own[0])
}
