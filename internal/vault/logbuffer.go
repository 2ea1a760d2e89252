package vault

import (
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// logBuffers is a file system that gathers writes to the write-ahead log.
//
// SQLite appends a commit as frames, pairs of 24 and 4,096 bytes, which never fall
// on the 4 KiB blocks of the cipher: written one by one, every block would be read,
// decrypted, encrypted and written three times. Gathered until the sync that ends
// the commit, it is encrypted once.
//
// That is safe, for nothing is promised before the sync, and other connections do
// not look at the frames before it. They may directly after: SQLite repeats the
// last frame up to the end of a disk sector, so that the next commit overwrites no
// sector of this one, and syncs at that end, in the middle of a frame. The rest of
// that frame is written at once.
type logBuffers struct{ vfs.VFS }

// OpenFilename implements [vfs.VFSFilename].
func (b logBuffers) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(b.VFS, name, flags)
	if err == nil && flags&vfs.OPEN_WAL != 0 {
		file = &logFile{File: file}
	}
	return file, flags, err
}

// logFile is one connection's write-ahead log.
type logFile struct {
	vfs.File
	gathers bool   // since the start of a frame, and until a sync
	pending []byte // written by SQLite, and not yet by us
	at      int64  // where in the file that belongs
}

// The layout of the log, https://sqlite.org/fileformat.html#the_write_ahead_log.
const (
	logHeader = 32
	logFrame  = 24 + 4096
)

// maxPending bounds the memory of a large transaction.
const maxPending = 1 << 20

// flush writes what is pending. What cannot be written is dropped: the error ends
// SQLite's transaction.
func (f *logFile) flush() error {
	if len(f.pending) == 0 {
		return nil
	}
	_, err := f.File.WriteAt(f.pending, f.at)
	clear(f.pending)
	f.pending = f.pending[:0]
	return err
}

func (f *logFile) WriteAt(p []byte, off int64) (int, error) {
	if off < logHeader || (off-logHeader)%logFrame == 0 {
		f.gathers = true
	}
	if off != f.at+int64(len(f.pending)) || len(f.pending) >= maxPending || !f.gathers {
		if err := f.flush(); err != nil {
			return 0, err
		}
	}
	if !f.gathers {
		return f.File.WriteAt(p, off)
	}
	if len(f.pending) == 0 {
		f.at = off
	}
	f.pending = append(f.pending, p...)
	return len(p), nil
}

func (f *logFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.flush(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *logFile) Sync(flags vfs.SyncFlag) error {
	f.gathers = false
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Sync(flags)
}

func (f *logFile) Truncate(size int64) error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *logFile) Size() (int64, error) {
	if err := f.flush(); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *logFile) Close() error {
	err := f.flush()
	if closing := f.File.Close(); err == nil {
		err = closing
	}
	return err
}
