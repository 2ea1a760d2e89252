//go:build !linux && !darwin

package localapi

import "net"

// samePeer trusts the modes of the socket and its folder: who is at the other end
// cannot be asked here.
func samePeer(*net.UnixConn) bool { return true }
