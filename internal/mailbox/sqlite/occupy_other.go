//go:build !linux

package sqlite

import "os"

// occupy makes an empty file hold so much of the disk.
func occupy(f *os.File, size int) error { return fill(f, size) }
