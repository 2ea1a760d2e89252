package sqlite

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ncruces/go-sqlite3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNewer is returned by [Open] for a database that a later version of the relay
// has written: there is no way back.
var ErrNewer = errors.New("the database was written by a newer version")

// migrate brings the schema up to date: file N leads from version N-1 to N, in
// one transaction that also writes the number down.
func migrate(c *conn) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for {
		version, err := schemaVersion(c)
		switch {
		case err != nil:
			return err
		case version > len(names):
			return fmt.Errorf("%w (schema %d, this one knows %d)", ErrNewer, version, len(names))
		case version == len(names):
			return nil
		}
		if err := step(c, names[version], version); err != nil {
			return fmt.Errorf("migrating database to version %d: %w", version+1, err)
		}
	}
}

// step runs one migration, unless another process has done so in the meantime.
func step(c *conn, name string, from int) (err error) {
	script, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	tx, err := c.db.BeginImmediate()
	if err != nil {
		return err
	}
	defer tx.End(&err)
	if version, err := schemaVersion(c); err != nil || version != from {
		return err
	}
	if err := c.db.Exec(string(script)); err != nil {
		return err
	}
	return c.db.Exec(fmt.Sprintf("PRAGMA user_version = %d", from+1))
}

func schemaVersion(c *conn) (version int, err error) {
	_, err = c.one(`PRAGMA user_version`, func(s *sqlite3.Stmt) error {
		version = s.ColumnInt(0)
		return nil
	})
	return version, err
}
