package sqlite_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func user(n int) relay.UserID {
	sum := sha256.Sum256(fmt.Appendf(nil, "user %d", n))
	return relay.UserID(sum[:])
}

// register makes an account with one device and returns its mailbox.
func register(t testing.TB, db *sqlite.DB, n int) mailbox.ID {
	t.Helper()
	sum := sha256.Sum256(fmt.Appendf(nil, "login %d", n))
	r := mailbox.Registration{
		User: user(n),
		List: mailbox.DeviceList{Encoded: []byte("list"), Version: 1, Devices: []mailbox.Device{{Number: 1, IdentityKey: sum}}},
		Login: mailbox.Login{
			Address: relay.Address{User: user(n), Device: 1}, TokenHash: sum, Expires: now.Add(100 * 24 * time.Hour),
			Challenge: [16]byte(sum[:]), ChallengeExpires: now.Add(time.Minute),
		},
	}
	if _, err := db.Register(t.Context(), r, now); err != nil {
		t.Fatal(err)
	}
	s, err := db.Session(t.Context(), sum, now)
	if err != nil {
		t.Fatal(err)
	}
	return s.Mailbox
}

// send sends from user 1.
func send(ctx context.Context, db *sqlite.DB, to, id, size int) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "envelope %d", id))
	batch := &mailbox.Batch{Puts: []mailbox.Put{{
		From: relay.Address{User: user(1), Device: 1}, To: user(to),
		Envelopes: []relay.Outgoing{{Device: 1, ID: relay.EnvelopeID(sum[:]), Body: make([]byte, size)}},
	}}}
	if err := db.Commit(ctx, batch, now); err != nil {
		return err
	}
	return batch.Puts[0].Err
}

func all(t *testing.T, db *sqlite.DB, box mailbox.ID) []relay.Incoming {
	t.Helper()
	envelopes, _, err := db.After(t.Context(), box, 0, 1_000_000, 1<<40, nil)
	if err != nil {
		t.Fatal(err)
	}
	return envelopes
}

func open(t *testing.T, path string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// After a failed fsync the kernel may have thrown the data away, and a second
// fsync would say that all is well. So there is no second one: nothing is
// acknowledged any more, and whoever runs the store is told to end.
func TestAFailedSyncIsTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.db")
	disk, name := newFaultyDisk(t, path)
	db, err := sqlite.OpenVFS(path, name, mailbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	register(t, db, 1)
	box := register(t, db, 2)
	if err := send(t.Context(), db, 2, 1, 100); err != nil {
		t.Fatal(err)
	}
	select {
	case <-db.Failed():
		t.Fatal("failed already")
	default:
	}

	disk.failSync.Store(true)
	if err := send(t.Context(), db, 2, 2, 100); !errors.Is(err, mailbox.ErrFailed) {
		t.Fatalf("a send whose fsync failed: %v, want ErrFailed", err)
	}
	if disk.failSync.Load() {
		t.Fatal("there was no fsync")
	}
	<-db.Failed()
	if !errors.Is(db.Failure(), sqlite3.IOERR_FSYNC) {
		t.Errorf("Failure() = %v", db.Failure())
	}
	before := disk.syncs.Load()
	if err := send(t.Context(), db, 2, 3, 100); !errors.Is(err, mailbox.ErrFailed) {
		t.Errorf("the next send: %v, want ErrFailed", err)
	}
	if _, _, err := db.After(t.Context(), box, 0, 10, 1000, nil); !errors.Is(err, mailbox.ErrFailed) {
		t.Errorf("reading: %v, want ErrFailed", err)
	}
	if err := db.Check(t.Context()); !errors.Is(err, mailbox.ErrFailed) {
		t.Errorf("Check: %v, want ErrFailed", err)
	}
	_ = db.Close()
	if got := disk.syncs.Load(); got != before {
		t.Errorf("%d more fsyncs after the failed one", got-before)
	}
	// What had been acknowledged is there at the next start.
	if got := all(t, open(t, path), box); len(got) == 0 {
		t.Error("the acknowledged envelope is lost")
	}
}

// The power fails right after something was acknowledged: it is there, for nothing
// is acknowledged before it was synced.
func TestPowerCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.db")
	disk, name := newFaultyDisk(t, path)
	disk.durable = map[string][]byte{}
	db, err := sqlite.OpenVFS(path, name, mailbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	after := func(what string, holds func(db *sqlite.DB) bool) {
		t.Helper()
		dir := t.TempDir()
		disk.powerCut(t, dir)
		restarted := open(t, filepath.Join(dir, "relay.db"))
		if !holds(restarted) {
			t.Errorf("%s is lost", what)
		}
		if err := restarted.Close(); err != nil {
			t.Error(err)
		}
	}

	register(t, db, 1)
	box := register(t, db, 2)
	after("an account", func(db *sqlite.DB) bool {
		_, err := db.Account(t.Context(), user(2))
		return err == nil
	})
	prekeys := []relay.Prekey{
		{Kind: relay.PrekeySigned, ID: 1, Key: []byte("key")},
		{Kind: relay.PrekeyKEMLastResort, ID: 2, Key: []byte("key")},
		{Kind: relay.PrekeyKEMOneTime, ID: 3, Key: []byte("key")},
	}
	if err := db.PutPrekeys(t.Context(), box, prekeys, now); err != nil {
		t.Fatal(err)
	}
	prekeysLeft := func(db *sqlite.DB) int {
		count, err := db.CountPrekeys(t.Context(), box, now)
		if err != nil {
			t.Error(err)
		}
		return count.KEMOneTime
	}
	after("a prekey", func(db *sqlite.DB) bool { return prekeysLeft(db) == 1 })
	if _, err := db.ClaimBundles(t.Context(), user(2), nil, true, now); err != nil {
		t.Fatal(err)
	}
	after("that a prekey was handed out", func(db *sqlite.DB) bool { return prekeysLeft(db) == 0 })
	for i := range 10 {
		if err := send(t.Context(), db, 2, i, 100+1000*i); err != nil {
			t.Fatal(err)
		}
		after("an envelope", func(db *sqlite.DB) bool { return len(all(t, db, box)) == 1 })
		got := all(t, db, box)[0]
		if err := db.Commit(t.Context(), &mailbox.Batch{Acks: []mailbox.Ack{{Mailbox: box, Handle: got.Handle}}}, now); err != nil {
			t.Fatal(err)
		}
		after("an acknowledgement", func(db *sqlite.DB) bool { return len(all(t, db, box)) == 0 })
	}
}

func TestAnUnreadableDiskIsTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.db")
	disk, name := newFaultyDisk(t, path)
	db, err := sqlite.OpenVFS(path, name, mailbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	box := register(t, db, 1)
	disk.failRead.Store(true)
	if _, _, err := db.After(t.Context(), box, 0, 10, 1000, nil); !errors.Is(err, mailbox.ErrFailed) {
		t.Errorf("reading: %v, want ErrFailed", err)
	}
	<-db.Failed()
}

// On a full disk new envelopes are refused, and reading and acknowledging go on,
// with the space that was kept back for it. When there is room again, all is as
// before. In a bubble, because the disk is looked at again after some seconds.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "relay.db")
		disk, name := newFaultyDisk(t, path)
		db, err := sqlite.OpenVFS(path, name, mailbox.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		register(t, db, 1)
		box := register(t, db, 2)

		disk.limit(3 << 20)
		accepted := 0
		for err == nil {
			if err = send(t.Context(), db, 2, accepted, 60_000); err == nil {
				accepted++
			}
			if accepted > 1000 {
				t.Fatal("the disk does not fill up")
			}
		}
		if !errors.Is(err, mailbox.ErrStorageFull) {
			t.Fatalf("on a full disk: %v, want ErrStorageFull", err)
		}
		if accepted < 10 {
			t.Fatalf("full after %d envelopes", accepted)
		}
		for i := range 5 {
			if err := send(t.Context(), db, 2, 10_000+i, 1); !errors.Is(err, mailbox.ErrStorageFull) {
				t.Errorf("another: %v, want ErrStorageFull", err)
			}
		}
		if report, err := sqlite.Inspect(t.Context(), path, now); err != nil || !report.Full {
			t.Errorf("Inspect on a full disk: %+v, %v", report, err)
		}
		got := all(t, db, box)
		if len(got) != accepted {
			t.Fatalf("%d envelopes are there, %d were acknowledged", len(got), accepted)
		}
		// Acknowledging in small batches, among sends that are refused.
		for i, in := range got {
			batch := &mailbox.Batch{
				Acks: []mailbox.Ack{{Mailbox: box, Handle: in.Handle}},
				Puts: []mailbox.Put{{From: relay.Address{User: user(1), Device: 1}, To: user(2), Envelopes: []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: []byte("x")}}}},
			}
			if err := db.Commit(t.Context(), batch, now); err != nil {
				t.Fatalf("acknowledging envelope %d: %v", i, err)
			}
			if !errors.Is(batch.Puts[0].Err, mailbox.ErrStorageFull) {
				t.Errorf("a send beside it: %v, want ErrStorageFull", batch.Puts[0].Err)
			}
		}
		if rest := all(t, db, box); len(rest) != 0 {
			t.Errorf("%d envelopes left", len(rest))
		}
		// Logging in, to fetch and acknowledge, works too.
		login := mailbox.Login{
			Address: relay.Address{User: user(2), Device: 1}, TokenHash: [32]byte{1}, Expires: now.Add(time.Hour),
			Challenge: [16]byte{1}, ChallengeExpires: now.Add(time.Minute),
		}
		if _, err := db.LogIn(t.Context(), login, now); err != nil {
			t.Errorf("LogIn: %v", err)
		}
		select {
		case <-db.Failed():
			t.Fatalf("the store gave up: %v", db.Failure())
		default:
		}

		// The space of what was deleted stays in the database; that of the log goes back
		// to the disk, where there may be no other.
		before, err := os.Stat(path + "-wal")
		if err != nil || before.Size() < 1<<20 {
			t.Fatalf("the log: %v, %v", before, err)
		}
		time.Sleep(sqlite.ReserveRetry)
		if err := send(t.Context(), db, 2, 15_000, 100); err != nil {
			t.Errorf("with the room that was made: %v", err)
		}
		if after, err := os.Stat(path + "-wal"); err != nil || after.Size() > before.Size()/4 {
			t.Errorf("the log had %d bytes and has %d, %v", before.Size(), after.Size(), err)
		}

		disk.unlimited()
		time.Sleep(sqlite.ReserveRetry)
		if err := send(t.Context(), db, 2, 20_000, 100); err != nil {
			t.Errorf("with room again: %v", err)
		}
		if info, err := os.Stat(path + "-reserve"); err != nil || info.Size() != sqlite.ReserveSize {
			t.Errorf("the reserve is not back: %v, %v", info, err)
		}
		if report, err := sqlite.Inspect(t.Context(), path, now); err != nil || report.Full {
			t.Errorf("Inspect with room again: %+v, %v", report, err)
		}
	})
}

func TestFilesAreTheirOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes there")
	}
	path := filepath.Join(t.TempDir(), "relay.db")
	db := open(t, path)
	register(t, db, 1)
	for _, name := range []string{path, path + "-reserve"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(name), info.Mode())
		}
	}
	to := filepath.Join(t.TempDir(), "backup.db")
	if err := sqlite.Backup(t.Context(), path, to); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}
}

// Once an envelope is acknowledged and its sender's account deleted, nothing in
// the file says who she was or what she sent.
func TestNothingStaysAfterTheAcknowledgement(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.db")
	db := open(t, path)
	register(t, db, 1)
	box := register(t, db, 2)
	body := []byte(strings.Repeat("canary body ", 500)) // longer than a page
	contains := func(what []byte) bool {
		t.Helper()
		found := false
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(path + suffix)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			found = found || bytes.Contains(b, what)
		}
		return found
	}
	alice := user(1)
	for range 3 {
		batch := &mailbox.Batch{Puts: []mailbox.Put{{
			From: relay.Address{User: alice, Device: 1}, To: user(2),
			Envelopes: []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: body}},
		}}}
		if err := db.Commit(t.Context(), batch, now); err != nil || batch.Puts[0].Err != nil {
			t.Fatal(err, batch.Puts[0].Err)
		}
	}
	if !contains(alice[:]) || !contains(body[:100]) {
		t.Fatal("the search finds nothing at all")
	}
	if err := db.DeleteAccount(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	for _, in := range all(t, db, box) {
		if err := db.Commit(t.Context(), &mailbox.Batch{Acks: []mailbox.Ack{{Mailbox: box, Handle: in.Handle}}}, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil { // which empties the write-ahead log
		t.Fatal(err)
	}
	if contains(alice[:]) {
		t.Error("the sender is still in the file")
	}
	if contains([]byte("canary body")) {
		t.Error("the body is still in the file")
	}
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	c, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Exec("PRAGMA user_version = 999"), c.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(path, sqlite.Config{}); !errors.Is(err, sqlite.ErrNewer) {
		t.Errorf("Open: %v, want ErrNewer", err)
	}
	if _, err := sqlite.Inspect(t.Context(), path, now); !errors.Is(err, sqlite.ErrNewer) {
		t.Errorf("Inspect: %v, want ErrNewer", err)
	}
	if err := os.WriteFile(path, []byte("this is no database, but a letter of some length"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(path, sqlite.Config{}); err == nil {
		t.Error("a file that is no database was opened")
	}
}

// The commands open the same file as the running relay.
func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.db")
	server, command := open(t, path), open(t, path)
	register(t, server, 1)
	box := register(t, server, 2)
	if err := send(t.Context(), server, 2, 1, 10); err != nil {
		t.Fatal(err)
	}
	if err := command.DeleteAccount(t.Context(), user(2)); err != nil {
		t.Fatal(err)
	}
	// The server has this user in its cache.
	if err := send(t.Context(), server, 2, 2, 10); !errors.Is(err, mailbox.ErrUnknownUser) {
		t.Errorf("sending to a user deleted by another process: %v", err)
	}
	if _, _, err := server.After(t.Context(), box, 0, 1, 1, nil); !errors.Is(err, mailbox.ErrUnknownDevice) {
		t.Errorf("her mailbox: %v", err)
	}
	// Sequence numbers stay apart even if both write.
	box = register(t, command, 3)
	for i := range 6 {
		db := server
		if i%2 == 1 {
			db = command
		}
		if err := send(t.Context(), db, 3, 10+i, 10); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[uint64]bool)
	for _, in := range all(t, server, box) {
		if seen[in.Seq] {
			t.Errorf("sequence number %d twice", in.Seq)
		}
		seen[in.Seq] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d envelopes, want 6", len(seen))
	}
}

func TestBackupOfARunningRelay(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "relay.db"), filepath.Join(dir, "copy.db")
	db := open(t, path)
	register(t, db, 1)
	box := register(t, db, 2)
	for i := range 20 {
		if err := send(t.Context(), db, 2, i, 1000); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // goes on meanwhile
		for i := 100; ctx.Err() == nil; i++ {
			if err := send(context.WithoutCancel(ctx), db, 2, i, 1000); err != nil {
				t.Errorf("sending during the backup: %v", err)
				return
			}
		}
	})
	err := sqlite.Backup(t.Context(), path, to)
	cancel()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	report, err := sqlite.Inspect(t.Context(), to, now)
	if err != nil || len(report.Problems) != 0 || report.Accounts != 2 || report.Messages < 20 {
		t.Errorf("the copy: %+v, %v", report, err)
	}
	copied := open(t, to)
	if got := all(t, copied, box); len(got) != report.Messages {
		t.Errorf("%d envelopes in the copy's mailbox", len(got))
	}
	if err := sqlite.Backup(t.Context(), path, to); !errors.Is(err, os.ErrExist) {
		t.Errorf("backing up over a file: %v", err)
	}
	if err := sqlite.Backup(t.Context(), filepath.Join(dir, "none.db"), filepath.Join(dir, "x.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("backing up nothing: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".partial") {
			t.Errorf("%s is left over", e.Name())
		}
	}
}

// A relay that comes back from a backup hands no one-time prekey out again.
func TestBackupHasNoOneTimePrekeys(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "relay.db"), filepath.Join(dir, "copy.db")
	db := open(t, path)
	box := register(t, db, 1)
	var prekeys []relay.Prekey
	for i, kind := range []relay.PrekeyKind{
		relay.PrekeySigned, relay.PrekeyKEMLastResort, relay.PrekeyECOneTime, relay.PrekeyKEMOneTime, relay.PrekeyKEMOneTime,
	} {
		prekeys = append(prekeys, relay.Prekey{Kind: kind, ID: uint32(i), Key: []byte("key")})
	}
	if err := db.PutPrekeys(t.Context(), box, prekeys, now); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Backup(t.Context(), path, to); err != nil {
		t.Fatal(err)
	}
	claim := func(db *sqlite.DB) (relay.PrekeyKind, bool) {
		t.Helper()
		got, err := db.ClaimBundles(t.Context(), user(1), nil, true, now)
		if err != nil || len(got.Bundles) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		return got.Bundles[0].KEM.Kind, got.Bundles[0].OneTime != nil
	}
	if kind, oneTime := claim(db); kind != relay.PrekeyKEMOneTime || !oneTime {
		t.Errorf("the relay that goes on gives %v, one-time %v", kind, oneTime)
	}
	restored := open(t, to)
	if kind, oneTime := claim(restored); kind != relay.PrekeyKEMLastResort || oneTime {
		t.Errorf("the copy gives %v, one-time %v", kind, oneTime)
	}
	count, err := restored.CountPrekeys(t.Context(), box, now)
	if err != nil || count.KEMOneTime != 0 || count.ECOneTime != 0 || count.Signed == nil || count.KEMLastResort == nil {
		t.Errorf("the copy counts %+v, %v", count, err)
	}
}

func TestInspectFindsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.db")
	db := open(t, path)
	register(t, db, 1)
	register(t, db, 2)
	for i := range 300 {
		if err := send(t.Context(), db, 2, i, 500); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := sqlite.Inspect(t.Context(), path, now)
	if err != nil || len(report.Problems) != 0 || report.Messages != 300 {
		t.Fatalf("a sound database: %+v, %v", report, err)
	}
	c, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	// An index entry that points nowhere.
	if err := errors.Join(
		c.Exec(`PRAGMA writable_schema = ON`),
		c.Exec(`DELETE FROM sqlite_schema WHERE name = 'messages_by_mailbox'`),
		c.Close(),
	); err != nil {
		t.Fatal(err)
	}
	if report, err := sqlite.Inspect(t.Context(), path, now); err == nil && len(report.Problems) == 0 {
		t.Error("the damage was not found")
	}
}
