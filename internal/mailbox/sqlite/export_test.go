package sqlite

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/chate2e/chate2e/internal/mailbox"
)

// ReserveSize is how much of the disk is kept back.
const ReserveSize = reserveSize

// ReserveRetry is how often a full disk is looked at again.
const ReserveRetry = reserveRetry

// OpenVFS opens a database on a SQLite file system that a test has registered.
func OpenVFS(path, vfs string, limits mailbox.Limits) (*DB, error) {
	return Open(path, Config{Limits: limits, vfs: vfs})
}

// Columns returns table.column for every column in the database.
func (db *DB) Columns() (columns []string, err error) {
	c, err := openConn(db.name, `PRAGMA query_only = ON`)
	if err != nil {
		return nil, err
	}
	err = c.each(`SELECT t.name || '.' || c.name FROM pragma_table_list AS t JOIN pragma_table_info(t.name) AS c
		WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%' ORDER BY 1`, func(s *sqlite3.Stmt) error {
		columns = append(columns, s.ColumnText(0))
		return nil
	})
	if closeErr := c.close(); err == nil {
		err = closeErr
	}
	return columns, err
}
