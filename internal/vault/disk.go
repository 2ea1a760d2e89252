package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/ncruces/go-sqlite3/vfs/adiantum"
	cipher "lukechampine.com/adiantum"
	"lukechampine.com/adiantum/hbsh"

	"github.com/chate2e/chate2e/internal/secret"
)

// disk is what lies under SQLite: the operating system's files, watched, below
// the block cipher. One failed write or sync and it never writes again: after a
// failed fsync nobody knows which pages reached the disk, and a second fsync may
// report success without having written them.
type disk struct {
	vfs.VFS
	name    string // under which SQLite finds it
	failure atomic.Pointer[error]
}

// systemDisk is the operating system's file system; tests put a failing one here.
var systemDisk = vfs.Find("")

var diskNumber atomic.Uint64

// newDisk registers an encrypted file system of its own for one vault. The key
// reaches the cipher here and not as a PRAGMA: so it is in no SQL text, and the
// header, which switches the page checksums on, is readable from the first read.
func newDisk(key secret.Key) *disk {
	d := &disk{VFS: systemDisk, name: fmt.Sprintf("chate2e-vault-%d", diskNumber.Add(1))}
	vfs.Register(d.name, logBuffers{adiantum.Wrap(d, blockCipher{key})})
	return d
}

// forget unregisters the disk. Its files must be closed.
func (d *disk) forget() { vfs.Unregister(d.name) }

// broken returns the failure that stopped all writing, or nil.
func (d *disk) broken() error {
	if p := d.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail records the first failure.
func (d *disk) fail(err error) { d.failure.CompareAndSwap(nil, &err) }

// watch records err if it means that the disk can no longer be trusted. A full
// disk can: SQLite rolls the transaction back.
func (d *disk) watch(err error) error {
	if err == nil {
		return nil
	}
	if isDiskFull(err) {
		return vfs.SystemError(err, sqlite3.FULL)
	}
	d.fail(err)
	return err
}

// OpenFilename implements [vfs.VFSFilename]. New files are 0600 from the start,
// whatever the umask.
func (d *disk) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if name != nil {
		path := name.String()
		if flags&vfs.OPEN_CREATE != 0 {
			if err := createPrivate(path); err != nil {
				return nil, flags, err
			}
		}
		if flags&vfs.OPEN_MAIN_DB != 0 {
			if err := createPrivate(path + "-shm"); err != nil {
				return nil, flags, err
			}
		}
	}
	file, flags, err := vfsutil.WrapOpenFilename(d.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &diskFile{File: file, disk: d, main: flags&vfs.OPEN_MAIN_DB != 0}, flags, nil
}

func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// diskFile is one open file of a disk.
type diskFile struct {
	vfs.File
	disk *disk
	main bool // the database itself, not its log
}

// ReadAt is asked for whole blocks. SQLite takes what is missing at the end of a
// file for zeros; in the database a part of a block is damage.
func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	switch {
	case err == nil || !errors.Is(err, io.EOF):
		return n, f.disk.watch(err)
	case f.main && n > 0:
		return 0, sqlite3.IOERR_DATA
	default:
		return n, err
	}
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	if f.disk.broken() != nil {
		return 0, sqlite3.IOERR_WRITE
	}
	n, err := f.File.WriteAt(p, off)
	return n, f.disk.watch(err)
}

func (f *diskFile) Truncate(size int64) error {
	if f.disk.broken() != nil {
		return sqlite3.IOERR_TRUNCATE
	}
	return f.disk.watch(f.File.Truncate(size))
}

func (f *diskFile) Sync(flags vfs.SyncFlag) error {
	if f.disk.broken() != nil {
		return sqlite3.IOERR_FSYNC
	}
	err := f.File.Sync(flags)
	if err != nil {
		f.disk.fail(err) // a full disk too: what was cached may be lost
	}
	return err
}

// The optional methods that the operating system's files have.

func (f *diskFile) Unwrap() vfs.File               { return f.File }
func (f *diskFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *diskFile) LockState() vfs.LockLevel       { return vfsutil.WrapLockState(f.File) }
func (f *diskFile) HasMoved() (bool, error)        { return vfsutil.WrapHasMoved(f.File) }
func (f *diskFile) SizeHint(size int64) error      { return vfsutil.WrapSizeHint(f.File, size) }
func (f *diskFile) PersistWAL() bool               { return vfsutil.WrapPersistWAL(f.File) }
func (f *diskFile) SetPersistWAL(keep bool)        { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *diskFile) PowersafeOverwrite() bool       { return vfsutil.WrapPowersafeOverwrite(f.File) }

func (f *diskFile) SetPowersafeOverwrite(safe bool) { vfsutil.WrapSetPowersafeOverwrite(f.File, safe) }

// blockCipher gives every file of a vault Adiantum (XChaCha12, AES-256) under
// the vault's key.
type blockCipher struct{ key secret.Key }

// KDF implements [adiantum.HBSHCreator]. It is asked for the key of the main
// database with some text, which it ignores, and for the key of a temporary
// file with none.
func (c blockCipher) KDF(text string) []byte {
	key := make([]byte, secret.KeySize)
	if text == "" {
		_, _ = rand.Read(key)
	} else {
		copy(key, c.key.Bytes())
	}
	return key
}

// HBSH implements [adiantum.HBSHCreator].
func (blockCipher) HBSH(key []byte) *hbsh.HBSH { return cipher.New(key) }
