package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3/vfs"
)

// faultyDisk is a SQLite file system over the real one that can be told to fail.
type faultyDisk struct {
	vfs.VFS

	failSync  atomic.Bool // every fsync fails once and then "succeeds", as on Linux
	syncs     atomic.Int64
	failRead  atomic.Bool
	failWrite atomic.Bool

	mu      sync.Mutex
	path    string            // of the database; the reserve beside it counts as well
	space   int64             // bytes there may be in all files; 0 for no limit
	durable map[string][]byte // what each file held when it was synced last; nil: it is not kept
}

var disks atomic.Int64

// newFaultyDisk registers a disk under a name of its own.
func newFaultyDisk(t *testing.T, path string) (*faultyDisk, string) {
	t.Helper()
	d := &faultyDisk{VFS: vfs.Find("os"), path: path}
	name := "faulty" + strings.Repeat("i", int(disks.Add(1)))
	vfs.Register(name, d)
	t.Cleanup(func() { vfs.Unregister(name) })
	return d, name
}

func (d *faultyDisk) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := d.VFS.Open(name, flags)
	return d.wrap(f, name), flags, err
}

func (d *faultyDisk) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := d.VFS.(vfs.VFSFilename).OpenFilename(name, flags)
	return d.wrap(f, name.String()), flags, err
}

func (d *faultyDisk) wrap(f vfs.File, name string) vfs.File {
	if f == nil {
		return nil
	}
	return &faultyFile{osFile: f.(osFile), disk: d, name: name}
}

// powerCut writes into a folder what the disk has of its files when the power
// fails now: nothing but what was synced. What was deleted is gone.
func (d *faultyDisk) powerCut(t *testing.T, dir string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, data := range d.durable {
		if _, err := os.Stat(name); err != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// limit leaves room bytes more than are in use now.
func (d *faultyDisk) limit(room int64) {
	used := d.used()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.space = used + room
}

func (d *faultyDisk) unlimited() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.space = 0
}

func (d *faultyDisk) used() (n int64) {
	for _, suffix := range []string{"", "-wal", "-reserve"} {
		if info, err := os.Stat(d.path + suffix); err == nil {
			n += info.Size()
		}
	}
	return n
}

// full reports whether the disk has no room for size more bytes.
func (d *faultyDisk) full(size int64) bool {
	used := d.used()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.space != 0 && used+size > d.space
}

type osFile interface {
	vfs.FileLockState
	vfs.FileHasMoved
	vfs.FileSizeHint
	vfs.FilePersistWAL
	vfs.FilePowersafeOverwrite
	vfs.FileSharedMemory
}

type faultyFile struct {
	osFile

	disk *faultyDisk
	name string
}

var errDisk = errors.New("the disk is on fire")

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if f.disk.failRead.Load() {
		return 0, errDisk
	}
	return f.osFile.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.disk.failWrite.Load() {
		return 0, errDisk
	}
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	if grown := off + int64(len(p)) - size; grown > 0 && f.disk.full(grown) {
		// What os.File returns: not one of the errors that SQLite's layer expects.
		return 0, &os.PathError{Op: "write", Path: f.disk.path, Err: syscall.ENOSPC}
	}
	return f.osFile.WriteAt(p, off)
}

func (f *faultyFile) Sync(flags vfs.SyncFlag) error {
	f.disk.syncs.Add(1)
	if f.disk.failSync.CompareAndSwap(true, false) {
		return errDisk
	}
	if err := f.osFile.Sync(flags); err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.durable == nil {
		return nil
	}
	data, err := os.ReadFile(f.name)
	f.disk.durable[f.name] = data
	return err
}
