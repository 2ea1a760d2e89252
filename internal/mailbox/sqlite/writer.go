package sqlite

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

const (
	// maxGroup is how many waiting calls share a transaction.
	maxGroup = 256
	// checkpointPages is the size of the write-ahead log, in pages of 4 KiB, at
	// which it is copied into the database.
	checkpointPages = 4000
	// checkpointPagesFull is the same while the disk is full: the log must not
	// outgrow the reserve.
	checkpointPagesFull = 200
	// seqBlock is how many sequence numbers are set aside at a time. The mark is
	// stored before the first of them is used, so that none is used twice, not
	// even when the newest messages have been deleted or a backup came back.
	seqBlock = 1 << 20
	// maxCached bounds the users and mailboxes the writer remembers.
	maxCached = 100_000
	// reserveRetry is how often a full disk is looked at again.
	reserveRetry = 5 * time.Second
)

// writer owns the one connection that writes. Nothing in it is shared.
type writer struct {
	*conn
	db *DB

	pages int // of the write-ahead log after the last commit

	full      bool      // the disk is; nothing new is stored
	fullSince time.Time // when that was last seen

	// What the writer remembers of the database. A transaction that does not
	// commit, and a commit by another process, make it forget all of it.
	version int64 // PRAGMA data_version
	next    uint64
	marked  uint64 // sequence numbers below this are set aside
	users   map[relay.UserID]*user
	boxes   map[mailbox.ID]*box

	// touched says that the operation at hand has changed what is remembered.
	touched bool

	insert, remove, find, findID *sqlite3.Stmt
	scratch                      []byte
}

// user is the devices of a user. A user without an account is not remembered.
type user struct {
	devices []userDevice
}

type userDevice struct {
	number relay.DeviceNumber
	box    *box
}

// box is how much a mailbox holds.
type box struct {
	id       mailbox.ID
	messages int
	bytes    int64
}

func newWriter(db *DB, c *conn) *writer {
	w := &writer{db: db, conn: c}
	w.forget()
	return w
}

// open prepares what every transaction needs.
func (w *writer) open() (err error) {
	w.conn.db.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		w.pages = pages
		return nil
	})
	if err = w.db.takeReserve(); err != nil {
		if !isNoSpace(err) {
			return err
		}
		w.full, w.fullSince = true, time.Now()
	}
	if w.insert, err = w.prepare(insertMessage); err != nil {
		return err
	}
	if w.findID, err = w.prepare(findID); err != nil {
		return err
	}
	if w.remove, err = w.prepare(removeMessage); err != nil {
		return err
	}
	w.find, err = w.prepare(findMessage)
	return err
}

// forget drops what is remembered of the database.
func (w *writer) forget() {
	w.version, w.next, w.marked = 0, 0, 0
	w.users = make(map[relay.UserID]*user)
	w.boxes = make(map[mailbox.ID]*box)
}

// run is the writer's goroutine.
func (w *writer) run() {
	group := make([]*op, 0, maxGroup)
	for {
		select {
		case o := <-w.db.ops:
			group = append(group[:0], o)
		case <-w.db.closing:
			w.shut()
			return
		}
	gather:
		for len(group) < maxGroup {
			select {
			case o := <-w.db.ops:
				group = append(group, o)
			default:
				break gather
			}
		}
		w.serve(group)
		for _, o := range group {
			close(o.done)
		}
		clear(group)
		w.checkpoint()
	}
}

func (w *writer) shut() {
	if w.db.isFailed() {
		w.leaveLog()
	}
	if err := w.close(); err != nil && classify(err) == troubleDisk {
		w.db.fail(err)
	}
}

// serve does the operations in one transaction and sets the error of each.
func (w *writer) serve(group []*op) {
	if w.db.isFailed() {
		fillErrors(group, w.db.errFailed())
		return
	}
	if w.full && time.Since(w.fullSince) >= reserveRetry {
		w.shrinkLog()
		w.full = w.db.takeReserve() != nil
		w.fullSince = time.Now()
	}
	err := w.transact(group)
	if classify(err) == troubleSpace {
		// Give what was kept back to those who delete, one by one: a single
		// operation that does not fit must not stand in the way of the others.
		w.full, w.fullSince = true, time.Now()
		if err := w.db.freeReserve(); err != nil {
			w.db.fail(err)
		}
		for i := range group {
			one := group[i : i+1]
			if err := w.transact(one); err != nil {
				w.settle(one, err)
			}
		}
		return
	}
	if err != nil {
		w.settle(group, err)
	}
}

// shrinkLog gives the space of the write-ahead log back to the disk, unless somebody
// reads from it at the moment. There may be no other space: what is deleted from the
// database stays in its file, for new messages to use.
func (w *writer) shrinkLog() {
	if err := w.conn.db.BusyTimeout(0); err != nil {
		return // it is tried again
	}
	_, _, err := w.conn.db.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	if classify(err) == troubleDisk {
		w.db.fail(err)
	}
	if err := w.conn.db.BusyTimeout(busyTimeout); err != nil {
		w.db.fail(err)
	}
}

// settle gives operations of a transaction that did not happen their error.
func (w *writer) settle(group []*op, err error) {
	switch classify(err) {
	case troubleSpace:
		err = fmt.Errorf("%w: %w", mailbox.ErrStorageFull, err)
	case troubleDisk:
		w.db.fail(err)
		err = w.db.errFailed()
	case troubleNone, troubleHere, troubleBusy:
	}
	fillErrors(group, err)
}

func fillErrors(group []*op, err error) {
	for _, o := range group {
		o.err = err
	}
}

// transact does the operations in one transaction. If it returns an error, none
// of them happened, and their own errors mean nothing.
func (w *writer) transact(group []*op) error {
	if err := w.conn.db.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := w.perform(group)
	if err == nil {
		err = w.conn.db.Exec("COMMIT")
	}
	if err != nil {
		w.rollback()
		return err
	}
	return nil
}

// rollback ends a transaction that must not happen.
func (w *writer) rollback() {
	w.forget()
	if w.conn.db.GetAutocommit() {
		return // some errors have ended it already
	}
	if err := w.conn.db.Exec("ROLLBACK"); err != nil {
		w.db.fail(err)
	}
}

func (w *writer) perform(group []*op) error {
	if err := w.notice(); err != nil {
		return err
	}
	for _, o := range group {
		o.err = nil
		if o.batch != nil {
			if err := w.commitBatch(o.batch, o.now); err != nil {
				return err
			}
			continue
		}
		if o.grows && w.full {
			o.err = mailbox.ErrStorageFull
			continue
		}
		if err := w.isolate(o); err != nil {
			return err
		}
	}
	return nil
}

// isolate runs an operation such that its failure leaves the others alone.
func (w *writer) isolate(o *op) error {
	if err := w.exec(`SAVEPOINT op`); err != nil {
		return err
	}
	w.touched = false
	o.err = o.run(w)
	switch classify(o.err) {
	case troubleBusy, troubleSpace, troubleDisk:
		return o.err
	case troubleNone, troubleHere:
	}
	if o.err != nil {
		if err := w.exec(`ROLLBACK TO op`); err != nil {
			return err
		}
		if w.touched {
			w.forget()
			if err := w.notice(); err != nil {
				return err
			}
		}
	}
	return w.exec(`RELEASE op`)
}

// notice forgets what is remembered if another process has written meanwhile, or
// if too much is remembered. It must run inside a transaction.
func (w *writer) notice() error {
	var version int64
	if _, err := w.one(`PRAGMA data_version`, func(s *sqlite3.Stmt) error {
		version = s.ColumnInt64(0)
		return nil
	}); err != nil {
		return err
	}
	if version != w.version || len(w.users) > maxCached || len(w.boxes) > maxCached {
		w.forget()
		w.version = version
	}
	return nil
}

// sequence returns the next sequence number.
func (w *writer) sequence() (uint64, error) {
	if w.next == w.marked {
		if err := w.mark(); err != nil {
			return 0, err
		}
	}
	n := w.next
	w.next++
	return n, nil
}

// mark sets the next block of sequence numbers aside. It always begins above
// every number that was ever set aside, by whichever process.
func (w *writer) mark() error {
	next := uint64(1)
	if _, err := w.one(`SELECT value FROM meta WHERE name = 'next_seq'`, func(s *sqlite3.Stmt) error {
		var raw [8]byte
		if err := copyBlob(raw[:], s, 0); err != nil {
			return err
		}
		next = binary.BigEndian.Uint64(raw[:])
		return nil
	}); err != nil {
		return err
	}
	marked := next + seqBlock
	if err := w.exec(`INSERT INTO meta (name, value) VALUES ('next_seq', ?1)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, binary.BigEndian.AppendUint64(nil, marked)); err != nil {
		return err
	}
	w.next, w.marked = next, marked
	return nil
}

// checkpoint copies the write-ahead log into the database when it has grown. It
// never waits for readers; what a reader still needs is copied the next time.
func (w *writer) checkpoint() {
	limit := checkpointPages
	if w.full {
		limit = checkpointPagesFull
	}
	if w.pages < limit || w.db.isFailed() {
		return
	}
	w.pages = 0 // the hook tells the size again after the next commit
	_, _, err := w.conn.db.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	switch classify(err) {
	case troubleSpace:
		w.full, w.fullSince = true, time.Now()
		if err := w.db.freeReserve(); err != nil {
			w.db.fail(err)
		}
	case troubleDisk:
		w.db.fail(err)
	case troubleNone, troubleHere, troubleBusy:
	}
}
