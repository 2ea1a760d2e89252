package sqlite

import (
	"context"
	"errors"

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

// Plans returns how SQLite runs each statement that the writer and the connections for
// reading have prepared so far.
func (db *DB) Plans(ctx context.Context) (map[string][]string, error) {
	plans := make(map[string][]string)
	explain := func(c *conn) error {
		for sql := range c.statements {
			s, _, err := c.db.Prepare("EXPLAIN QUERY PLAN " + sql)
			if err != nil {
				return err
			}
			plans[sql] = nil
			for s.Step() {
				plans[sql] = append(plans[sql], s.ColumnText(3))
			}
			if err := s.Close(); err != nil {
				return err
			}
		}
		return nil
	}
	err := db.update(ctx, func(w *writer) error { return explain(w.conn) })
	for range readers { // they take turns
		err = errors.Join(err, db.view(ctx, explain))
	}
	return plans, err
}
