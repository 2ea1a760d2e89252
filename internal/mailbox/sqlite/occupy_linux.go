package sqlite

import (
	"errors"
	"os"
	"syscall"
)

// occupy makes an empty file hold so much of the disk, without writing it where the
// file system can do that.
func occupy(f *os.File, size int) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(size))
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return fill(f, size)
	}
	return err
}
