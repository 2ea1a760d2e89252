package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"

	"github.com/chate2e/chate2e/internal/secret"
)

// What a caller may branch on. Everything else is a bug or the disk.
var (
	// ErrNoVault: the folder holds no profile.
	ErrNoVault = errors.New("vault: no profile here")
	// ErrExists: the folder holds a profile already.
	ErrExists = errors.New("vault: the profile exists")
	// ErrInUse: another process, or another DB of this one, has the profile open.
	ErrInUse = errors.New("vault: the profile is in use")
	// ErrWrongPassword: the password is wrong or the key file was changed; which
	// of the two cannot be told.
	ErrWrongPassword = errors.New("vault: wrong password")
	// ErrEmptyPassword: a new password must not be empty.
	ErrEmptyPassword = errors.New("vault: the password is empty")
	// ErrTooNew: a later version of this program has written the database.
	ErrTooNew = errors.New("vault: the database belongs to a newer version of this program")
	// ErrDamaged: the database file was changed, cut or corrupted. The vault takes
	// no more changes; reading what is intact still works.
	ErrDamaged = errors.New("vault: the database is damaged")
	// ErrReadOnly: the disk failed, so the vault takes no more changes until it is
	// opened again. Reading still works.
	ErrReadOnly = errors.New("vault: the disk failed, nothing more can be stored")
	// ErrFull: the disk is full. Nothing was stored; later attempts may succeed.
	ErrFull = errors.New("vault: the disk is full")
	// ErrClosed: the DB was closed.
	ErrClosed = errors.New("vault: closed")
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("vault: not found")
	// ErrConflict: the change contradicts a stored row; the methods say which.
	ErrConflict = errors.New("vault: contradicts what is stored")
	// ErrDuplicate: the thing is stored already; nothing was changed.
	ErrDuplicate = errors.New("vault: stored already")
)

// Config adjusts [Create] and [Open]. The zero value is for everything but tests.
type Config struct {
	// TestKDF makes Create use the cheapest parameters that Argon2id has, and Open
	// accept them: such a profile is not protected against guessing. Without it
	// Open refuses such a profile, so editing the key file cannot bring it about.
	TestKDF bool
}

func (c Config) newCost() cost {
	if c.TestKDF {
		return testCost
	}
	return tune()
}

func (c Config) leastCost() cost {
	if c.TestKDF {
		return testCost
	}
	return floor
}

// readerCount is how many Views run at once; more wait.
const readerCount = 3

// DB is an open profile. Its methods may be called from any goroutine.
type DB struct {
	dir     string
	cfg     Config
	lock    *os.File
	key     secret.Key // of the block cipher
	disk    *disk
	pool    *sql.DB
	writer  conns // one
	readers conns
	closing chan struct{}

	passwords sync.Mutex // one derivation, and one change of the key file, at a time

	once     sync.Once
	closeErr error
}

// Create makes a new profile in dir, with its missing parent folders, and opens
// it. Finding the cost of the password and paying it takes about a second.
//
// It returns [ErrExists] if dir holds a profile, [ErrInUse] if another process
// is making one, and [ErrEmptyPassword]. A Create that fails or is killed leaves
// no profile; a second one starts afresh. A database whose key file is missing is
// kept beside the new one, as vault.db.old.
func Create(ctx context.Context, dir string, password []byte, cfg Config) (_ *DB, err error) {
	if len(password) == 0 {
		return nil, ErrEmptyPassword
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := lockDB(dir, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = db.closeOn(err) }()
	exists, err := Exists(dir)
	if err != nil {
		return nil, err
	}
	if exists {
		return nil, ErrExists
	}
	if err := clearAway(dir); err != nil {
		return nil, err
	}

	k := newKeys()
	defer k.wipe()
	if err := createPrivate(filepath.Join(dir, databaseName)); err != nil {
		return nil, err
	}
	if err := db.openDatabase(ctx, k, true); err != nil {
		return nil, err
	}
	// The key file comes last: with it the profile exists.
	file, err := lockKeys(k, password, cfg.newCost())
	if err != nil {
		return nil, err
	}
	returnMemory(cfg)
	if err := writeKeyFile(dir, file); err != nil {
		return nil, err
	}
	return db, syncDir(filepath.Dir(dir))
}

// Open opens the profile in dir. Deriving the key takes about half a second on
// the computer that made the profile.
//
// It returns [ErrNoVault], [ErrInUse], [ErrWrongPassword], [ErrDamaged] or
// [ErrTooNew]; none of them changes anything in the folder.
func Open(ctx context.Context, dir string, password []byte, cfg Config) (_ *DB, err error) {
	exists, err := Exists(dir)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, ErrNoVault
	}
	db, err := lockDB(dir, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = db.closeOn(err) }()
	k, err := db.unlock(ctx, password)
	if err != nil {
		return nil, err
	}
	defer k.wipe()
	if err := removeIfThere(filepath.Join(dir, newKeyName)); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, databaseName)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := db.openDatabase(ctx, k, false); err != nil {
		return nil, err
	}
	return db, nil
}

// lockDB returns a DB that has the lock and nothing else yet.
func lockDB(dir string, cfg Config) (*DB, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockProfile(dir)
	if err != nil {
		return nil, err
	}
	db := &DB{
		dir: dir, cfg: cfg, lock: lock,
		writer:  newConns(1),
		readers: newConns(readerCount),
		closing: make(chan struct{}),
	}
	if err := secureProfile(dir); err != nil {
		return nil, db.closeOn(err)
	}
	return db, nil
}

// closeOn closes a DB whose opening failed, and returns why.
func (db *DB) closeOn(err error) error {
	if err == nil {
		return nil
	}
	if closing := db.Close(); closing != nil {
		return errors.Join(err, closing)
	}
	return err
}

// unlock opens the key file.
func (db *DB) unlock(ctx context.Context, password []byte) (keys, error) {
	if err := ctx.Err(); err != nil {
		return keys{}, err
	}
	file, err := readKeyFile(db.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return keys{}, ErrNoVault
	}
	if err != nil {
		return keys{}, err
	}
	defer returnMemory(db.cfg)
	return unlockKeys(file, password, db.cfg.leastCost())
}

// returnMemory gives the memory of a key derivation back to the operating system.
func returnMemory(cfg Config) {
	if !cfg.TestKDF {
		debug.FreeOSMemory()
	}
}

// openDatabase opens all connections and brings the schema up to date.
func (db *DB) openDatabase(ctx context.Context, k keys, create bool) error {
	var err error
	if db.key, err = k.database(); err != nil {
		return err
	}
	db.disk = newDisk(db.key)

	path := (&url.URL{Path: filepath.ToSlash(filepath.Join(db.dir, databaseName))}).EscapedPath()
	db.pool, err = driver.Open("file:"+path+"?mode=rw&textkey=vault&vfs="+db.disk.name, setUp)
	if err != nil {
		return err
	}
	writer, err := db.connect(ctx, &db.writer)
	if err != nil {
		return err
	}
	if create {
		err = prepareFile(writer)
	} else {
		err = checkFile(ctx, writer)
	}
	if err == nil {
		err = migrate(ctx, writer.c, migrations)
	}
	if err == nil {
		// After a crash the write-ahead log may still hold what was deleted.
		err = writer.checkpoint(ctx)
	}
	if err != nil {
		return db.judge(err)
	}
	for range readerCount {
		reader, err := db.connect(ctx, &db.readers)
		if err != nil {
			return err
		}
		if _, err := reader.c.ExecContext(ctx, `PRAGMA query_only = on`); err != nil {
			return db.judge(err)
		}
	}
	return nil
}

// connect opens one more connection and adds it to set.
func (db *DB) connect(ctx context.Context, set *conns) (*conn, error) {
	c, err := db.pool.Conn(ctx)
	if err != nil {
		return nil, db.judge(err)
	}
	added := &conn{c: c, stmts: map[string]*sql.Stmt{}}
	set.add(added)
	return added, nil
}

// setUp prepares a new connection.
func setUp(c *sqlite3.Conn) error {
	if err := c.BusyTimeout(10 * time.Second); err != nil {
		return err
	}
	if err := registerTokenizer(c); err != nil {
		return err
	}
	return c.Exec(`
		PRAGMA synchronous = FULL;        -- a commit that was reported stays, also after a power cut
		PRAGMA temp_store = memory;       -- nothing goes to temporary files
		PRAGMA secure_delete = on;        -- deleted rows are overwritten
		PRAGMA foreign_keys = on;
		PRAGMA cache_size = -4096;        -- KiB
		PRAGMA journal_size_limit = 4194304;`)
}

// prepareFile sets what is written into a new database's header.
func prepareFile(w *conn) error {
	return w.c.Raw(func(dc any) error {
		c := dc.(driver.Conn).Raw()
		if err := c.EnableChecksums("main"); err != nil {
			return err
		}
		return c.Exec(`PRAGMA journal_mode = WAL`)
	})
}

// checkFile refuses a file that [Create] did not finish: SQLite takes an empty
// file for an empty database.
func checkFile(ctx context.Context, w *conn) error {
	var version int
	if err := w.c.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version < 1 {
		return ErrDamaged
	}
	return nil
}

// Check reads the whole database and compares it with its indexes, which takes
// seconds for a large one. It returns [ErrDamaged] if it finds a fault.
func (db *DB) Check(ctx context.Context) error {
	c, err := db.borrow(ctx, &db.writer)
	if err != nil {
		return err
	}
	defer db.giveBack(&db.writer, c)
	var fault string
	err = c.c.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&fault)
	if err == nil && fault != "ok" {
		err = fmt.Errorf("%w: %s", ErrDamaged, fault)
	}
	if err == nil {
		// It is written like a change, and changes nothing.
		_, err = c.c.ExecContext(ctx, `INSERT INTO words (words, rank) VALUES ('integrity-check', 1)`)
	}
	return db.judge(err)
}

// Dir returns the profile's folder, as an absolute path.
func (db *DB) Dir() string { return db.dir }

// Close waits for running transactions, closes the profile and drops its lock.
// The keys are wiped as far as Go can. Closing twice is harmless.
func (db *DB) Close() error {
	db.once.Do(func() {
		close(db.closing)
		db.closeErr = db.close()
	})
	return db.closeErr
}

func (db *DB) close() error {
	var errs []error
	db.passwords.Lock() // a change of the key file needs the lock to its end
	defer db.passwords.Unlock()
	db.writer.drain()
	db.readers.drain()
	if db.pool != nil {
		// Closing the last connection empties and removes the write-ahead log.
		errs = append(errs, db.pool.Close())
	}
	if db.disk != nil {
		db.disk.forget()
		db.key.Wipe()
	}
	return errors.Join(append(errs, unlockProfile(db.lock))...)
}
