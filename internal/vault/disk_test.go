package vault_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/chate2e/chate2e/internal/vault"
)

// failingDisk is the system's disk with a fault that can be switched on.
type failingDisk struct {
	vfs.VFS
	fault atomic.Pointer[fault]
	after atomic.Int64 // writes and syncs tried since it was set to 0

	logSyncs atomic.Int64 // of the write-ahead log
}

// fault is an error of one operation on files whose name ends in suffix.
type fault struct {
	operation string // read, write or sync
	suffix    string
	err       error
}

func (d *failingDisk) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := vfsutil.WrapOpenFilename(d.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &failingFile{f, d, name.String()}, flags, nil
}

type failingFile struct {
	vfs.File
	disk *failingDisk
	name string
}

func (f *failingFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *failingFile) LockState() vfs.LockLevel       { return vfsutil.WrapLockState(f.File) }

func (f *failingFile) strike(operation string) error {
	if operation != "read" {
		f.disk.after.Add(1)
	}
	if x := f.disk.fault.Load(); x != nil && x.operation == operation && strings.HasSuffix(f.name, x.suffix) {
		return x.err
	}
	return nil
}

func (f *failingFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.strike("read"); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *failingFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.strike("write"); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *failingFile) Sync(flags vfs.SyncFlag) error {
	if err := f.strike("sync"); err != nil {
		return err
	}
	if strings.HasSuffix(f.name, "-wal") {
		f.disk.logSyncs.Add(1)
	}
	return f.File.Sync(flags)
}

// createOnFailing makes a profile on a failing disk, with one setting, a=1.
func createOnFailing(t *testing.T) (*vault.DB, *failingDisk) {
	t.Helper()
	disk := &failingDisk{VFS: vault.SystemDisk()}
	t.Cleanup(vault.SetSystemDisk(disk))
	db, err := vault.Create(t.Context(), filepath.Join(t.TempDir(), "p"), password, fast)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	set(t, db, "1")
	return db, disk
}

func set(t *testing.T, db *vault.DB, value string) {
	t.Helper()
	update(t, db, func(tx *vault.Tx) error { return tx.SetSetting("a", value) })
}

func get(t *testing.T, db *vault.DB) (value string) {
	t.Helper()
	view(t, db, func(tx *vault.Tx) (err error) { value, err = tx.Setting("a"); return err })
	return value
}

// TestFailedSync: after one failed fsync or write the vault shows what was
// committed and stores nothing more, however healthy the disk seems.
func TestFailedSync(t *testing.T) {
	for _, x := range []fault{
		{"sync", "-wal", syscall.EIO},
		{"sync", "-wal", syscall.ENOSPC},
		{"write", "-wal", syscall.EIO},
	} {
		t.Run(x.operation+" "+x.err.Error(), func(t *testing.T) {
			db, disk := createOnFailing(t)
			disk.fault.Store(&x)
			err := db.Update(t.Context(), func(tx *vault.Tx) error { return tx.SetSetting("a", "2") })
			if err == nil {
				t.Fatal("Update succeeded")
			}
			t.Logf("first: %v", err)
			disk.fault.Store(nil)
			disk.after.Store(0)
			for range 3 {
				if err := db.Update(t.Context(), func(tx *vault.Tx) error { return tx.SetSetting("a", "3") }); !errors.Is(err, vault.ErrReadOnly) {
					t.Errorf("Update afterwards: %v, want ErrReadOnly", err)
				}
			}
			if got := get(t, db); got != "1" {
				t.Errorf("the setting is %q, want 1", got)
			}
			if err := db.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if n := disk.after.Load(); n != 0 {
				t.Errorf("%d writes or syncs were tried after the failure", n)
			}
			db = reopen(t, db)
			if got := get(t, db); got != "1" && got != "2" {
				t.Errorf("after Open the setting is %q", got)
			}
			set(t, db, "4")
			if err := db.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFailedCheckpoint: the sync that fails is that of the database file, which
// SQLite itself would overlook.
func TestFailedCheckpoint(t *testing.T) {
	db, disk := createOnFailing(t)
	disk.fault.Store(&fault{"sync", vault.DatabaseName, syscall.EIO})
	stored := 0
	var err error
	for ; stored < 100; stored++ { // the log is moved into the database every 1,000 pages
		if err = db.Update(t.Context(), func(tx *vault.Tx) error {
			return tx.PutRecord(bob, make([]byte, 100_000+stored))
		}); err != nil {
			break
		}
	}
	if !errors.Is(err, vault.ErrReadOnly) {
		t.Fatalf("after %d commits: %v, want ErrReadOnly", stored, err)
	}
	disk.fault.Store(nil)
	db = reopen(t, db)
	view(t, db, func(tx *vault.Tx) error {
		record, err := tx.Record(bob)
		if len(record) != 100_000+stored-1 {
			t.Errorf("the last record has %d bytes, want %d", len(record), 100_000+stored-1)
		}
		return err
	})
}

// TestFullDisk: nothing is stored while the disk is full, and things go on after.
func TestFullDisk(t *testing.T) {
	db, disk := createOnFailing(t)
	disk.fault.Store(&fault{"write", "-wal", syscall.ENOSPC})
	for range 2 {
		if err := db.Update(t.Context(), func(tx *vault.Tx) error { return tx.SetSetting("a", "2") }); !errors.Is(err, vault.ErrFull) {
			t.Errorf("Update on a full disk: %v, want ErrFull", err)
		}
	}
	if got := get(t, db); got != "1" {
		t.Errorf("the setting is %q, want 1", got)
	}
	disk.fault.Store(nil)
	set(t, db, "3")
	if got := get(t, db); got != "3" {
		t.Errorf("the setting is %q, want 3", got)
	}
}

func TestFailedRead(t *testing.T) {
	db, disk := createOnFailing(t)
	chat := populate(t, db)
	fill(t, db, chat, 1, 2000)
	db = reopen(t, db)
	disk.fault.Store(&fault{"read", vault.DatabaseName, syscall.EIO})
	err := db.View(t.Context(), func(tx *vault.Tx) error { _, err := tx.Newest(chat, 2000); return err })
	if !errors.Is(err, vault.ErrReadOnly) {
		t.Errorf("View: %v, want ErrReadOnly", err)
	}
	disk.fault.Store(nil)
	if err := db.Update(t.Context(), func(tx *vault.Tx) error { return tx.SetSetting("a", "2") }); !errors.Is(err, vault.ErrReadOnly) {
		t.Errorf("Update afterwards: %v, want ErrReadOnly", err)
	}
	view(t, db, func(tx *vault.Tx) error {
		page, err := tx.Newest(chat, 2000)
		if len(page) != 2000 {
			t.Errorf("%d messages, want 2000", len(page))
		}
		return err
	})
}

// TestDurable: Update returns only after the write-ahead log was synced, and a
// View syncs nothing.
func TestDurable(t *testing.T) {
	db, disk := createOnFailing(t)
	for range 3 {
		before := disk.logSyncs.Load()
		set(t, db, "2")
		if disk.logSyncs.Load() == before {
			t.Error("Update returned without a sync of the log")
		}
		before = disk.logSyncs.Load()
		get(t, db)
		if disk.logSyncs.Load() != before {
			t.Error("View synced the log")
		}
	}
}
