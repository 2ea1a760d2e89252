//go:build !linux

package localapi

import "github.com/chate2e/chate2e/internal/client"

// shortPath returns the name of the profile's socket, valid until release is
// called; a [client.CodeUsage] if it is too long for the kernel.
func shortPath(dir string) (path string, release func(), err error) {
	path = SocketPath(dir)
	if len(path) > maxSocketPath {
		return "", nil, &client.Error{
			Code:    client.CodeUsage,
			Message: "the path of the profile is too long for a socket; choose a shorter --home",
		}
	}
	return path, func() {}, nil
}
