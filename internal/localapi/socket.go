package localapi

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"
)

const socketName = "socket"

// SocketPath returns where the socket of the profile in dir is.
func SocketPath(dir string) string { return filepath.Join(dir, socketName) }

// Listen opens the socket of the profile in dir. Only processes of our own user
// get through: the file has mode 0600 in a folder with mode 0700, and on Linux and
// macOS the kernel is asked who is at the other end (elsewhere the file mode alone
// decides).
//
// The caller must have opened the profile: whoever has its lock may remove the
// socket that a process which died has left.
func Listen(ctx context.Context, dir string) (net.Listener, error) {
	path, release, err := shortPath(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if err = os.Remove(SocketPath(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	unix := l.(*net.UnixListener)
	unix.SetUnlinkOnClose(false) // path may not be the file's name any more
	guarded := &socket{UnixListener: unix, file: SocketPath(dir)}
	if err := os.Chmod(guarded.file, 0o600); err != nil {
		return nil, errors.Join(err, guarded.Close())
	}
	return guarded, nil
}

// socket is a Unix socket that lets in processes of our own user alone.
type socket struct {
	*net.UnixListener
	file string
}

// Accept waits for the next connection of our own user.
func (s *socket) Accept() (net.Conn, error) {
	for {
		conn, err := s.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if samePeer(conn) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// Close removes the socket.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err // closed before: the file may be another's by now
	}
	if e := os.Remove(s.file); err == nil && !errors.Is(e, os.ErrNotExist) {
		err = e
	}
	return err
}

// Dial returns a Client over the socket of the profile in dir, or ok = false if
// nothing serves it.
func Dial(ctx context.Context, dir string) (c *Client, ok bool) {
	conn, err := dialSocket(ctx, dir)
	if err != nil {
		return nil, false
	}
	_ = conn.Close()
	return NewClient(func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, dir) }), true
}

func dialSocket(ctx context.Context, dir string) (net.Conn, error) {
	path, release, err := shortPath(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	d := net.Dialer{Timeout: 5 * time.Second}
	return d.DialContext(ctx, "unix", path)
}

// maxSocketPath is the longest name of a socket that all systems take, in bytes.
const maxSocketPath = 103
