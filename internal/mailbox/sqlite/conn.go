package sqlite

import (
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// busyTimeout is how long a connection waits for another process's lock.
const busyTimeout = 10 * time.Second

// conn is a connection with its prepared statements. One goroutine uses it at a
// time.
type conn struct {
	db         *sqlite3.Conn
	statements map[string]*sqlite3.Stmt
}

func openConn(name string, pragmas string) (*conn, error) {
	db, err := sqlite3.OpenFlags(name, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, fmt.Errorf("opening database: %w", err)
	}
	c := &conn{db: db, statements: make(map[string]*sqlite3.Stmt)}
	if err := errors.Join(db.BusyTimeout(busyTimeout), db.Exec(pragmas)); err != nil {
		return nil, errors.Join(fmt.Errorf("setting up database: %w", err), c.close())
	}
	return c, nil
}

func (c *conn) close() error {
	for _, s := range c.statements {
		_ = s.Close() // reports the error of its last step, which was handled then
	}
	return c.db.Close()
}

// leaveLog makes close leave the write-ahead log as it is: SQLite would copy it
// into the database, which takes an fsync.
func (c *conn) leaveLog() {
	_, _ = c.db.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true) // cannot fail
}

// prepare returns the statement for sql, which must be a constant: statements are
// kept for the life of the connection.
func (c *conn) prepare(sql string) (*sqlite3.Stmt, error) {
	if s, ok := c.statements[sql]; ok {
		return s, nil
	}
	s, _, err := c.db.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, fmt.Errorf("preparing statement: %w", err)
	}
	c.statements[sql] = s
	return s, nil
}

// each runs a statement and calls row for each row of the result. The arguments
// are int, int64, uint64, string, []byte and nil.
func (c *conn) each(sql string, row func(*sqlite3.Stmt) error, args ...any) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	for i, arg := range args {
		if err := bind(s, i+1, arg); err != nil {
			return err
		}
	}
	for s.Step() {
		if err := row(s); err != nil {
			_ = s.Reset()
			return err
		}
	}
	return s.Reset() // which returns the error of the last step
}

func bind(s *sqlite3.Stmt, i int, arg any) error {
	switch arg := arg.(type) {
	case nil:
		return s.BindNull(i)
	case int:
		return s.BindInt64(i, int64(arg))
	case int64:
		return s.BindInt64(i, arg)
	case uint64:
		return s.BindInt64(i, int64(arg)) //nolint:gosec // callers keep below 2^63
	case string:
		return s.BindText(i, arg)
	case []byte:
		return s.BindBlob(i, arg)
	default:
		panic(fmt.Sprintf("sqlite: cannot bind a %T", arg))
	}
}

// exec runs a statement that returns no rows.
func (c *conn) exec(sql string, args ...any) error {
	return c.each(sql, func(*sqlite3.Stmt) error { return nil }, args...)
}

// one runs a statement that returns at most one row and reports whether there was
// one.
func (c *conn) one(sql string, row func(*sqlite3.Stmt) error, args ...any) (found bool, err error) {
	err = c.each(sql, func(s *sqlite3.Stmt) error {
		found = true
		return row(s)
	}, args...)
	return found, err
}

// exists reports whether a statement returns a row.
func (c *conn) exists(sql string, args ...any) (bool, error) {
	return c.one(sql, func(*sqlite3.Stmt) error { return nil }, args...)
}

// trouble is what an error of SQLite means for the transaction it happened in.
type trouble int

const (
	troubleNone  trouble = iota // not an error of SQLite: an answer, such as ErrUnknownUser
	troubleHere                 // this operation alone cannot be done; the rest may go on
	troubleBusy                 // another process holds the lock; nothing was done
	troubleSpace                // the disk is full; nothing was done
	troubleDisk                 // the disk or the file cannot be trusted any more
)

func classify(err error) trouble {
	var code sqlite3.ErrorCode
	if !errors.As(err, &code) { // which knows how to turn SQLite's other errors into codes
		return troubleNone
	}
	switch code {
	case sqlite3.FULL:
		return troubleSpace
	case sqlite3.BUSY, sqlite3.LOCKED, sqlite3.INTERRUPT:
		return troubleBusy
	case sqlite3.ERROR, sqlite3.CONSTRAINT, sqlite3.MISMATCH, sqlite3.RANGE, sqlite3.TOOBIG, sqlite3.MISUSE:
		return troubleHere
	default:
		// A failed fsync is among them. The kernel may have dropped the pages then,
		// and trying again would succeed without them.
		return troubleDisk
	}
}

func millis(t time.Time) int64 { return t.UnixMilli() }

const millisPerDay = 24 * 60 * 60 * 1000

func day(t time.Time) int64 { return t.UnixMilli() / millisPerDay }

// copyBlob reads a blob whose length the schema guarantees. A file that breaks the
// guarantee is damaged, and so is everything else in it.
func copyBlob(dst []byte, s *sqlite3.Stmt, column int) error {
	raw := s.ColumnRawBlob(column)
	if len(raw) != len(dst) {
		return sqlite3.CORRUPT
	}
	copy(dst, raw)
	return nil
}
