package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	// Link and not rename: it fails if somebody else took the name meanwhile.
	if err := os.Link(partial, to); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	if err := os.Remove(partial); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	return syncDir(filepath.Dir(to))
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
	Bytes    int64 // of the database file
	// Problems is empty for a sound database.
	Problems []string
}

// Inspect looks through the whole database for damage, without changing it. The
// relay may be running.
func Inspect(ctx context.Context, path string) (r Report, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	r.Bytes = info.Size()
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
	return r, c.each(`SELECT count(*) FROM messages`, count(&r.Messages))
}
