//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// restrictFiles makes every file of the process its owner's alone.
func restrictFiles() { syscall.Umask(0o077) }

// lockFile locks the file, making it if need be, until it is closed or the process
// dies. It returns errLocked if another process has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
