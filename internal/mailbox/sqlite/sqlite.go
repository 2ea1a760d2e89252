package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/mailbox"
)

// Config holds what may be chosen. The zero value is the default.
type Config struct {
	Limits mailbox.Limits

	// vfs is the SQLite file system, for tests that make the disk fail.
	vfs string
}

// readers is how many reads may run at once. Each connection costs about a
// megabyte once it has been used.
const readers = 4

// DB is a relay's database in one file. It implements [mailbox.Store].
type DB struct {
	path   string
	name   string // what SQLite opens
	limits mailbox.Limits

	ops     chan *op
	idle    chan *conn    // connections for reading; nil entries are opened when needed
	closing chan struct{} // closed by Close
	written chan struct{} // closed when the writer has ended
	once    sync.Once

	failed   chan struct{} // closed when the disk has failed
	failOnce sync.Once
	mu       sync.Mutex
	failure  error // why; guarded by mu
}

var _ mailbox.Store = (*DB)(nil)

// Open opens or creates the database at path, brings its schema up to date and
// starts the writer. The file is created with mode 0600; its directory must
// exist.
func Open(path string, cfg Config) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening database: %w", err)
	}
	if err := create(path); err != nil {
		return nil, err
	}
	db := &DB{
		path:    path,
		name:    fileURI(path, cfg.vfs),
		limits:  cfg.Limits.WithDefaults(),
		ops:     make(chan *op),
		idle:    make(chan *conn, readers),
		closing: make(chan struct{}),
		written: make(chan struct{}),
		failed:  make(chan struct{}),
	}
	c, err := openConn(db.name, `
		PRAGMA journal_mode = WAL;
		PRAGMA synchronous = FULL;
		PRAGMA fullfsync = ON; -- on a Mac, an fsync alone leaves it in the drive's cache
		PRAGMA checkpoint_fullfsync = ON;
		PRAGMA foreign_keys = ON;
		PRAGMA secure_delete = ON;
		PRAGMA temp_store = MEMORY;
		PRAGMA cache_size = -4096;
		PRAGMA wal_autocheckpoint = 0;
		PRAGMA journal_size_limit = 67108864 -- of what a burst leaves of the log`)
	if err != nil {
		return nil, err
	}
	w := newWriter(db, c)
	if err := errors.Join(migrate(c), w.open()); err != nil {
		return nil, errors.Join(err, c.close())
	}
	for range readers {
		db.idle <- nil
	}
	go func() {
		defer close(db.written)
		w.run()
	}()
	return db, nil
}

// create makes an empty file that only its owner may read, and makes it durable.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("creating database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("creating database: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// Close ends the writer after what it has begun, and closes the file. Calls that
// come later return [mailbox.ErrFailed].
func (db *DB) Close() error {
	db.once.Do(func() { close(db.closing) })
	<-db.written
	var errs []error
	for range readers {
		if c := <-db.idle; c != nil {
			if db.isFailed() {
				c.leaveLog()
			}
			errs = append(errs, c.close())
		}
	}
	for range readers { // for a second Close, and for reads that come too late
		db.idle <- nil
	}
	return errors.Join(errs...)
}

// Failed implements [mailbox.Store].
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Failure returns why [DB.Failed] was closed, for the operator; nil before.
func (db *DB) Failure() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.failure
}

func (db *DB) fail(err error) {
	db.failOnce.Do(func() {
		db.mu.Lock()
		db.failure = err
		db.mu.Unlock()
		close(db.failed)
	})
}

// errFailed returns [mailbox.ErrFailed] with the reason, if one is known.
func (db *DB) errFailed() error {
	if err := db.Failure(); err != nil {
		return fmt.Errorf("%w: %w", mailbox.ErrFailed, err)
	}
	return mailbox.ErrFailed
}

func (db *DB) isFailed() bool {
	select {
	case <-db.failed:
		return true
	default:
		return false
	}
}

// view runs f on a connection for reading. What f reads is one snapshot only
// within one statement.
func (db *DB) view(ctx context.Context, f func(*conn) error) error {
	if db.isFailed() {
		return db.errFailed()
	}
	var c *conn
	select {
	case <-ctx.Done():
		return ctx.Err()
	case c = <-db.idle:
	}
	defer func() { db.idle <- c }()
	select {
	case <-db.closing:
		return mailbox.ErrFailed
	default:
	}
	if c == nil {
		opened, err := openConn(db.name, `
			PRAGMA query_only = ON;
			PRAGMA temp_store = MEMORY;
			PRAGMA cache_size = -1024`)
		if err != nil {
			return db.readError(err)
		}
		c = opened
	}
	return db.readError(f(c))
}

func (db *DB) readError(err error) error {
	if classify(err) == troubleDisk {
		db.fail(err)
		return db.errFailed()
	}
	return err
}

// snapshot is like view, but all statements of f see the same state.
func (db *DB) snapshot(ctx context.Context, f func(*conn) error) error {
	return db.view(ctx, func(c *conn) error {
		if err := c.db.Exec("BEGIN"); err != nil {
			return err
		}
		err := f(c)
		return errors.Join(err, c.db.Exec("ROLLBACK"))
	})
}

// op is something for the writer to do.
type op struct {
	run func(*writer) error
	// grows says that it stores something new, and is refused while the disk is
	// full.
	grows bool
	// batch is set instead of run on the path of messages.
	batch *mailbox.Batch
	now   time.Time

	err  error
	done chan struct{}
}

// do hands an operation to the writer and waits until it is durable or failed.
func (db *DB) do(ctx context.Context, o *op) error {
	o.done = make(chan struct{})
	select {
	case db.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-db.closing:
		return mailbox.ErrFailed
	}
	// The writer has it, and will not be long: ctx cannot take it back.
	<-o.done
	return o.err
}

// update runs f in a transaction of the writer. What f returns, if it is not an
// error of SQLite, is returned, and nothing of f is stored.
func (db *DB) update(ctx context.Context, f func(*writer) error) error {
	return db.do(ctx, &op{run: f})
}

// add is like update for what stores something new.
func (db *DB) add(ctx context.Context, f func(*writer) error) error {
	return db.do(ctx, &op{run: f, grows: true})
}

// Commit implements [mailbox.Store].
func (db *DB) Commit(ctx context.Context, batch *mailbox.Batch, now time.Time) error {
	if len(batch.Puts) == 0 && len(batch.Acks) == 0 {
		return nil
	}
	return db.do(ctx, &op{batch: batch, now: now})
}

// Check implements [mailbox.Store].
func (db *DB) Check(ctx context.Context) error {
	return db.view(ctx, func(c *conn) error {
		_, err := c.exists(`SELECT 1 FROM meta LIMIT 1`)
		return err
	})
}
