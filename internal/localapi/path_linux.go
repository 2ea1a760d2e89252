package localapi

import (
	"os"
	"path/filepath"
	"strconv"
)

// shortPath returns a name of the profile's socket that is short enough for the
// kernel, valid until release is called: one that is too long goes through an open
// folder.
func shortPath(dir string) (path string, release func(), err error) {
	if path = SocketPath(dir); len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join("/proc/self/fd", strconv.FormatUint(uint64(d.Fd()), 10), socketName)
	return path, func() { _ = d.Close() }, nil
}
