package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a profile. SQLite adds -wal and -shm to the database's name.
const (
	databaseName = "vault.db"
	keyName      = "vault.key"
	newKeyName   = "vault.key.new" // a password change that did not get further
	lockName     = "lock"

	oldDatabaseName = "vault.db.old" // a database without its key file
)

var allNames = []string{databaseName, databaseName + "-wal", databaseName + "-shm", keyName, newKeyName, lockName}

// Exists reports whether dir holds a profile, complete or damaged. It is true
// from the moment [Create] has made everything durable.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, keyName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// secureProfile takes other users' rights away from the folder and its files,
// which a copy or a restore may have given them.
func secureProfile(dir string) error {
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs its x bit
		return err
	}
	for _, name := range allNames {
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// readKeyFile reads at most one byte more than a key file has.
func readKeyFile(dir string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, keyName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, keyFileSize+1))
}

// writeKeyFile puts the key file in place: after a crash at any point the folder
// has either the old one or the new one, complete.
func writeKeyFile(dir string, file []byte) error {
	temporary := filepath.Join(dir, newKeyName)
	if err := removeIfThere(temporary); err != nil {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(file)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, removeIfThere(temporary))
	}
	if err := os.Rename(temporary, filepath.Join(dir, keyName)); err != nil {
		return errors.Join(err, removeIfThere(temporary))
	}
	return syncDir(dir)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a leftover: %w", err)
	}
	return nil
}

// clearAway makes room for a new profile. A database without a key file is what a
// killed [Create] has left, or a profile whose key file is lost; that may be found
// again, so the first such database is kept.
func clearAway(dir string) error {
	_, err := os.Stat(filepath.Join(dir, oldDatabaseName))
	keep := errors.Is(err, fs.ErrNotExist)
	for _, suffix := range []string{"", "-wal"} {
		path := filepath.Join(dir, databaseName+suffix)
		if keep {
			err := os.Rename(path, filepath.Join(dir, oldDatabaseName+suffix))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("keeping a database without its key: %w", err)
			}
		}
		if err := removeIfThere(path); err != nil {
			return err
		}
	}
	return errors.Join(removeIfThere(filepath.Join(dir, databaseName+"-shm")), removeIfThere(filepath.Join(dir, newKeyName)))
}
