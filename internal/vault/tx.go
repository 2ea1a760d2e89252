package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// conns is a set of connections, each lent to one transaction at a time.
type conns struct {
	free  chan *conn
	count int
}

func newConns(size int) conns { return conns{free: make(chan *conn, size)} }

func (s *conns) add(c *conn) {
	s.count++
	s.free <- c
}

// drain waits until nobody uses a connection and gives them all back to the pool.
func (s *conns) drain() {
	for range s.count {
		c := <-s.free
		for _, statement := range c.stmts {
			_ = statement.Close() // or SQLite would not close the connection
		}
		_ = c.c.Close()
	}
}

// conn is one connection to the database with its prepared statements.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt
}

// prepared returns the statement for query, which is a constant of this package.
// It is closed together with the connection.
func (c *conn) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

func (c *conn) run(ctx context.Context, query string) error {
	s, err := c.prepared(ctx, query) //nolint:sqlclosecheck // see prepared
	if err != nil {
		return err
	}
	_, err = s.ExecContext(ctx)
	return err
}

// checkpoint moves the write-ahead log into the database and empties it. A
// reader in the way is no error: the log is emptied later.
func (c *conn) checkpoint(ctx context.Context) error {
	var busy, logged, moved int
	return c.c.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &logged, &moved)
}

// Tx is a running transaction. It is valid until the function it was given to
// returns, and for one goroutine. Slices and structs that its methods return are
// the caller's own.
//
// Unless a method says otherwise its only errors are those of the disk. Such an
// error ends the transaction: all later calls fail and nothing is stored.
type Tx struct {
	// Now is the transaction's one timestamp: UTC, whole milliseconds.
	Now time.Time

	conn   *conn
	failed error   // what ended the transaction early
	shown  []int64 // rows of the messages that became visible in it
	erased bool    // it deletes text
}

// Update runs change in the one writing transaction. When it returns nil, the
// change is durable. When it returns an error, nothing was changed: change's own
// error, [ErrReadOnly], [ErrDamaged], [ErrFull], [ErrClosed] or ctx's. Only if the
// disk failed in the commit itself may the change still be found after the next Open.
//
// ctx bounds the wait for other Updates; a transaction that has begun is not
// interrupted. change must not call Update, which would wait for itself, nor touch
// the network.
func (db *DB) Update(ctx context.Context, change func(*Tx) error) error {
	c, err := db.borrow(ctx, &db.writer)
	if err != nil {
		return err
	}
	defer db.giveBack(&db.writer, c)
	if err := db.writable(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := db.begin(ctx, c, `BEGIN IMMEDIATE`)
	if err != nil {
		return err
	}
	defer tx.end(ctx)
	if err := tx.outcome(change(tx)); err != nil {
		return db.judge(err)
	}
	if err := c.run(ctx, `COMMIT`); err != nil {
		return db.judge(err)
	}
	if tx.erased {
		if err := c.checkpoint(ctx); err != nil {
			return db.judge(err)
		}
	}
	return nil
}

// View runs look in a reading transaction: it sees one state of the vault,
// whatever Updates do meanwhile, and must not change anything. It returns look's
// error, [ErrDamaged], [ErrClosed] or ctx's. ctx bounds the wait for a connection.
// look must not call Update or View.
func (db *DB) View(ctx context.Context, look func(*Tx) error) error {
	c, err := db.borrow(ctx, &db.readers)
	if err != nil {
		return err
	}
	defer db.giveBack(&db.readers, c)
	ctx = context.WithoutCancel(ctx)
	tx, err := db.begin(ctx, c, `BEGIN`)
	if err != nil {
		return err
	}
	defer tx.end(ctx)
	return db.judge(tx.outcome(look(tx)))
}

func (db *DB) borrow(ctx context.Context, set *conns) (*conn, error) {
	select {
	case <-db.closing:
		return nil, ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil { // whether or not a connection is free
		return nil, err
	}
	select {
	case c := <-set.free:
		return c, nil
	case <-db.closing:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (db *DB) giveBack(set *conns, c *conn) { set.free <- c }

func (db *DB) begin(ctx context.Context, c *conn, statement string) (*Tx, error) {
	if err := c.run(ctx, statement); err != nil {
		return nil, db.judge(err)
	}
	return &Tx{Now: time.Now().UTC().Truncate(time.Millisecond), conn: c}, nil
}

// end makes tx unusable and undoes what was not committed, also when the
// caller's function panics.
func (tx *Tx) end(ctx context.Context) {
	// SQLite reports an error when there is nothing to undo, because COMMIT was
	// run or because a disk error undid everything already.
	_ = tx.conn.run(ctx, `ROLLBACK`)
	tx.conn, tx.failed = nil, errors.New("vault: use of a finished transaction")
}

// outcome prefers the error that ended the transaction: after one SQLite may
// have rolled back, and a caller that overlooked it must not commit the rest.
func (tx *Tx) outcome(err error) error {
	if tx.failed != nil {
		return tx.failed
	}
	return err
}

// writable returns why the vault takes no changes, or nil.
func (db *DB) writable() error {
	err := db.disk.broken()
	if err == nil || errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrReadOnly, err)
}

// judge names an error of SQLite and remembers what makes the vault read-only.
func (db *DB) judge(err error) error {
	if errors.Is(err, ErrDamaged) {
		db.disk.fail(err)
		return err
	}
	var code sqlite3.ErrorCode
	var extended sqlite3.ExtendedErrorCode
	if !errors.As(err, &code) {
		return err
	}
	_ = errors.As(err, &extended)
	switch {
	case code == sqlite3.CORRUPT, code == sqlite3.NOTADB,
		extended == sqlite3.IOERR_DATA, extended == sqlite3.IOERR_SHORT_READ:
		damaged := fmt.Errorf("%w: %w", ErrDamaged, err)
		db.disk.fail(damaged)
		return damaged
	case code == sqlite3.FULL, isDiskFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case code == sqlite3.IOERR:
		db.disk.fail(err)
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	default:
		return err
	}
}

// exec runs a statement and returns the number of rows it changed.
func (tx *Tx) exec(query string, args ...any) (int64, error) {
	s, err := tx.statement(query) //nolint:sqlclosecheck // see prepared
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, tx.fail(err)
	}
	n, err := result.RowsAffected()
	return n, tx.fail(err)
}

// row reads one row into dest, or returns ErrNotFound.
func (tx *Tx) row(query string, args []any, dest ...any) error {
	s, err := tx.statement(query) //nolint:sqlclosecheck // see prepared
	if err != nil {
		return err
	}
	err = s.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return tx.fail(err)
}

// scanner is a row that can be read.
type scanner interface{ Scan(dest ...any) error }

// list reads all rows with scan.
func list[T any](tx *Tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	s, err := tx.statement(query) //nolint:sqlclosecheck // see prepared
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(context.Background(), args...)
	if err != nil {
		return nil, tx.fail(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, tx.fail(err)
		}
		all = append(all, one)
	}
	return all, tx.fail(rows.Err())
}

func (tx *Tx) statement(query string) (*sql.Stmt, error) {
	if tx.failed != nil {
		return nil, tx.failed
	}
	s, err := tx.conn.prepared(context.Background(), query)
	return s, tx.fail(err)
}

// fail ends the transaction if err is not nil, and returns err.
func (tx *Tx) fail(err error) error {
	if err != nil && tx.failed == nil {
		tx.failed = err
	}
	return err
}

// args makes the arguments of [Tx.row] readable.
func args(a ...any) []any { return a }

// stored makes a number that may be a stranger's ready to be stored or looked for.
// SQLite's integers have a sign: what is above 2^63-1 becomes negative, which no
// table holds, and so is not found.
func stored(n uint64) int64 { return int64(n) } //nolint:gosec // argued above

// blob stores bytes where none is not NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// stamp stores a time as milliseconds, and the zero time as NULL.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// inMilliseconds returns t as it will be read again.
func inMilliseconds(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// timestamp reads what stamp stored.
type timestamp struct{ t *time.Time }

func (s timestamp) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*s.t = time.Time{}
	case int64:
		*s.t = time.UnixMilli(v).UTC()
	default:
		return errors.New("vault: a time must be an integer")
	}
	return nil
}

// nullable reads a column that may be NULL; V is then the zero value.
type nullable[T any] = sql.Null[T]

// absent stores the zero value as NULL.
func absent[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}
