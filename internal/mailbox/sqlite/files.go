package sqlite

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// fileURI returns the name under which SQLite opens path. A URI, because a path
// may hold characters that mean something in one. An empty vfs is the real disk.
func fileURI(path, vfs string) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") { // C:/…
		slashed = "/" + slashed
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: slashed}
	u.RawQuery = url.Values{"vfs": {spaceVFSName(vfs)}}.Encode()
	return u.String()
}

// syncDir makes the entries of a directory durable.
func syncDir(path string) error {
	if runtime.GOOS == "windows" { // directories cannot be opened there, and need not be
		return nil
	}
	d, err := os.Open(path) // the operator's own data directory
	if err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	return nil
}

const (
	// reserveSize is how much of the disk is kept back: enough to copy a full
	// write-ahead log into the database, which may have to grow by as much, and for
	// the transactions that delete acknowledged envelopes once nothing else fits.
	reserveSize   = 32 << 20
	reserveSuffix = "-reserve"
)

func (db *DB) reservePath() string { return db.path + reserveSuffix }

// takeReserve occupies the reserve.
func (db *DB) takeReserve() error {
	path := db.reservePath()
	if info, err := os.Stat(path); err == nil && info.Size() == reserveSize {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("taking the disk reserve: %w", err)
	}
	if err = errors.Join(occupy(f, reserveSize), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("taking the disk reserve: %w", err), os.Truncate(path, 0))
	}
	return nil
}

// fill writes size bytes. A file that was merely made long would hold no space.
func fill(f *os.File, size int) error {
	block := make([]byte, 1<<16)
	for n := 0; n < size; n += len(block) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return nil
}

// freeReserve gives the reserve back to the disk.
func (db *DB) freeReserve() error {
	err := os.Truncate(db.reservePath(), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
