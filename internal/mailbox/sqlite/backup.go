package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Backup writes a copy of the database, as it is at one moment, to a new file,
// and makes it durable. The relay may be running. It returns an error that wraps
// [os.ErrExist] if there is such a file.
//
// One-time prekeys are left out: a relay that comes back from the copy would hand
// out for a second time those that were used meanwhile, and first messages to them
// would be lost. So it hands out last-resort prekeys until the devices, which see
// that it has no others, have brought new ones.
func Backup(ctx context.Context, path, to string) (err error) {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	// The copy takes its name only once it is whole. Making the file here gives it
	// the right mode and refuses to overwrite another.
	partial := to + ".partial"
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("backing up: %w: %s", os.ErrExist, to)
	}
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // the operator says where
	if err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(partial))
		}
	}()
	if err := f.Close(); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	if err := copyInto(ctx, path, partial); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	if err := forgetOneTime(ctx, partial); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	if err := syncFile(partial); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	if err := giveName(partial, to); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	return syncDir(filepath.Dir(to))
}

// giveName renames a file, unless there is one of the new name.
func giveName(from, to string) error {
	// A link fails if somebody has taken the name meanwhile.
	err := os.Link(from, to)
	switch {
	case err == nil:
		return os.Remove(from)
	case errors.Is(err, os.ErrExist):
		return err
	}
	// Many a disk that backups go to, with a FAT or over a network, has no links.
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%w: %s", os.ErrExist, to)
	}
	return os.Rename(from, to)
}

func copyInto(ctx context.Context, path, to string) (err error) {
	c, err := openConn(fileURI(path, ""), `PRAGMA temp_store = MEMORY`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.db.SetInterrupt(ctx)
	return c.exec(`VACUUM INTO ?1`, to)
}

// forgetOneTime deletes the one-time prekeys of a database that nobody else has
// open.
func forgetOneTime(ctx context.Context, path string) (err error) {
	c, err := openConn(fileURI(path, ""), `PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.db.SetInterrupt(ctx)
	return c.exec(`DELETE FROM prekeys WHERE kind IN (?1, ?2)`, kindKEMOneTime, kindECOneTime)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Report is what [Inspect] found.
type Report struct {
	Version  int // of the schema
	Accounts int
	Messages int
	Invites  int   // that can still be used
	Bytes    int64 // of the database file
	// Full says that the relay has met a full disk, and that there was no room since
	// for the reserve it keeps.
	Full bool
	// Problems is empty for a sound database.
	Problems []string
}

// Inspect looks through the whole database for damage, without changing it. The
// relay may be running.
func Inspect(ctx context.Context, path string, now time.Time) (r Report, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	r.Bytes = info.Size()
	reserve, err := os.Stat(path + reserveSuffix)
	r.Full = err == nil && reserve.Size() < reserveSize
	path, err = filepath.Abs(path)
	if err != nil {
		return r, err
	}
	c, err := openConn(fileURI(path, ""), `PRAGMA query_only = ON; PRAGMA temp_store = MEMORY`)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.db.SetInterrupt(ctx)
	if r.Version, err = schemaVersion(c); err != nil {
		return r, err
	}
	known, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return r, err
	}
	if r.Version > len(known) {
		return r, fmt.Errorf("%w (schema %d)", ErrNewer, r.Version)
	}
	problem := func(s *sqlite3.Stmt) error {
		if text := s.ColumnText(0); text != "ok" {
			r.Problems = append(r.Problems, text)
		}
		return nil
	}
	count := func(into *int) func(*sqlite3.Stmt) error {
		return func(s *sqlite3.Stmt) error {
			*into = s.ColumnInt(0)
			return nil
		}
	}
	if err := c.each(`PRAGMA integrity_check(20)`, problem); err != nil {
		return r, err
	}
	if err := c.each(`SELECT 'a row of ' || "table" || ' belongs to nothing' FROM pragma_foreign_key_check LIMIT 20`, problem); err != nil {
		return r, err
	}
	if err := c.each(`SELECT count(*) FROM accounts`, count(&r.Accounts)); err != nil {
		return r, err
	}
	if err := c.each(`SELECT count(*) FROM invites WHERE uses > 0 AND expires_at > ?1`, count(&r.Invites), millis(now)); err != nil {
		return r, err
	}
	return r, c.each(`SELECT count(*) FROM messages`, count(&r.Messages))
}
