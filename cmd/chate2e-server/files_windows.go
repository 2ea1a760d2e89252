package main

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// restrictFiles has nothing to do: on Windows a file takes the permissions of its
// folder, which is the user's own.
func restrictFiles() {}

// lockFile locks the file, making it if need be, until it is closed or the process
// dies. It returns errLocked if another process has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
