package sqlite

import (
	"errors"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// The driver reports a full disk as a plain I/O error, by which time the reason
// is lost. A full disk and a broken one are worlds apart here, so spaceVFS, a
// layer over the file system of SQLite, gives the former its own code.

// spaceVFSName returns the name of the layer over the file system named base,
// after registering it.
func spaceVFSName(base string) string {
	name := "chate2e-" + base
	if below, ok := vfs.Find(base).(vfs.VFSFilename); ok {
		vfs.Register(name, spaceVFS{below})
	}
	return name
}

type spaceVFS struct{ vfs.VFSFilename }

// OpenFilename implements [vfs.VFSFilename].
func (v spaceVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := v.VFSFilename.OpenFilename(name, flags)
	if below, ok := f.(osFile); ok {
		f = spaceFile{below}
	}
	return f, flags, err
}

// osFile is all that SQLite may want of a file. What is not in the interface
// would be hidden by the layer.
type osFile interface {
	vfs.FileLockState
	vfs.FileHasMoved
	vfs.FileSizeHint
	vfs.FilePersistWAL
	vfs.FilePowersafeOverwrite
	vfs.FileSharedMemory
}

type spaceFile struct{ osFile }

// WriteAt implements [io.WriterAt].
func (f spaceFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.osFile.WriteAt(p, off)
	return n, nameSpace(err)
}

// Truncate implements [vfs.File].
func (f spaceFile) Truncate(size int64) error { return nameSpace(f.osFile.Truncate(size)) }

// SizeHint implements [vfs.FileSizeHint].
func (f spaceFile) SizeHint(size int64) error { return nameSpace(f.osFile.SizeHint(size)) }

func nameSpace(err error) error {
	if isNoSpace(err) {
		return vfs.SystemError(err, sqlite3.FULL)
	}
	return err
}

// isNoSpace reports whether the operating system said that the disk, or a quota
// on it, is full.
func isNoSpace(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && noSpace(errno)
}
