package vault

import (
	"context"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/vfs"
)

// Sizes and names of the files, for tests that change them.
const (
	KeyFileSize  = keyFileSize
	HeaderSize   = headerSize
	KDFBlockSize = kdfBlockSize
	DatabaseName = databaseName
	KeyName      = keyName
	NewKeyName   = newKeyName
)

// SetSystemDisk puts other files under the next vaults, and returns an undo.
func SetSystemDisk(v vfs.VFS) func() {
	old := systemDisk
	systemDisk = v
	return func() { systemDisk = old }
}

func SystemDisk() vfs.VFS { return systemDisk }

// SetMigrations changes the steps of the schema, and returns an undo.
func SetMigrations(steps fs.FS) func() {
	old := migrations
	migrations = steps
	return func() { migrations = old }
}

func Migrations() fs.FS { return migrations }

// Exec runs SQL in the transaction, and Scan reads one row.
func (tx *Tx) Exec(query string, a ...any) error             { _, err := tx.exec(query, a...); return err }
func (tx *Tx) Scan(query string, a []any, dest ...any) error { return tx.row(query, a, dest...) }

// Checkpoint moves everything from the write-ahead log into the database.
func (db *DB) Checkpoint(ctx context.Context) error {
	c, err := db.borrow(ctx, &db.writer)
	if err != nil {
		return err
	}
	defer db.giveBack(&db.writer, c)
	return c.checkpoint(ctx)
}

// Parameters of the key derivation.
type Cost struct {
	Passes, Memory uint32
	Lanes          uint8
}

func (c Cost) cost() cost { return cost{c.Passes, c.Memory, c.Lanes} }

func exported(c cost) Cost { return Cost{c.passes, c.memory, c.lanes} }

func Floor() Cost { return exported(floor) }

// Tuned is the cost for a computer that takes so long.
func Tuned(memory, pass time.Duration) Cost { return exported(tuned(memory, pass)) }

// NewKeyFile makes a key file with new keys.
func NewKeyFile(password []byte, c Cost) ([]byte, error) {
	return lockKeys(newKeys(), password, c.cost())
}

// UnlockKeyFile reports whether a key file opens.
func UnlockKeyFile(file, password []byte, least Cost) error {
	_, err := unlockKeys(file, password, least.cost())
	return err
}

// EncodeHeader writes the two KDF blocks for c and salt.
func EncodeHeader(c Cost, salt [saltSize]byte) []byte {
	k := kdf{cost: c.cost(), salt: salt}
	return k.append(k.append([]byte{keyFileVersion}))
}

// ParseKeyFile reads the parameters of a key file.
func ParseKeyFile(file []byte) (Cost, [saltSize]byte, error) {
	k, err := parseKeyFile(file)
	return exported(k.cost), k.salt, err
}

// SalvageCost returns what a derivation for a damaged key file costs.
func SalvageCost(file []byte, least Cost) Cost { return exported(salvageKDF(file, least.cost()).cost) }

// Token is a token of the search index.
type Token struct {
	Text            string
	Start, End, Cut int
}

func Tokenize(text string) (all []Token) {
	_ = tokenize(text, func(t token) error {
		all = append(all, Token{t.text, t.start, t.end, t.cut})
		return nil
	})
	return all
}

func MatchExpression(query string) string { return matchExpression(parseQuery(query)) }

func Snippet(text, query string) (string, []Mark) { return snippet(text, parseQuery(query)) }

// Decrypted returns the blocks of a database file, or of its write-ahead log, as
// SQLite sees them.
func Decrypted(dir, name string, password []byte) ([]byte, error) {
	file, err := readKeyFile(dir)
	if err != nil {
		return nil, err
	}
	k, err := unlockKeys(file, password, testCost)
	if err != nil {
		return nil, err
	}
	key, err := k.database()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	const block = 4096
	c := blockCipher{}.HBSH(key.Bytes())
	for at := 0; at+block <= len(data); at += block {
		c.Decrypt(data[at:at+block], binary.LittleEndian.AppendUint64(nil, uint64(at)))
	}
	return data, nil
}

// Plans returns how SQLite runs each statement that the writing connection has
// prepared so far.
func (db *DB) Plans(ctx context.Context) (map[string][]string, error) {
	c, err := db.borrow(ctx, &db.writer)
	if err != nil {
		return nil, err
	}
	defer db.giveBack(&db.writer, c)
	plans := map[string][]string{}
	for query := range c.stmts {
		err := c.c.Raw(func(dc any) error {
			s, _, err := dc.(driver.Conn).Raw().Prepare("EXPLAIN QUERY PLAN " + query)
			if err != nil {
				return err
			}
			for s.Step() {
				plans[query] = append(plans[query], s.ColumnText(3))
			}
			return s.Close()
		})
		if err != nil {
			return nil, err
		}
	}
	return plans, nil
}
