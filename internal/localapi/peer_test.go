//go:build linux

package localapi_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/localapi"
)

// TestMain is also the process of another user, which says what it gets out of a
// socket.
func TestMain(m *testing.M) {
	if path := os.Getenv("CHATE2E_TEST_INTRUDE"); path != "" {
		intrude(path)
		return
	}
	os.Exit(m.Run())
}

func intrude(path string) {
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", path)
	if err != nil {
		os.Stdout.WriteString("dial")
		return
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = conn.Write([]byte("GET /api/v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"))
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	if err != nil {
		os.Stdout.WriteString("nothing")
		return
	}
	os.Stdout.Write(answer[:n])
}

// Another user gets no answer, even if the modes of folder and socket let her in.
func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "chate2e") //nolint:usetesting // that of a test is below a folder of mode 0700
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	intruder := filepath.Join(dir, "intruder")
	if err := os.WriteFile(intruder, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	serveSocket(t, dir)
	attempt := func(uid uint32) string {
		cmd := exec.CommandContext(t.Context(), intruder)
		cmd.Env = []string{"CHATE2E_TEST_INTRUDE=" + localapi.SocketPath(dir)}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := attempt(65534); got != "dial" {
		t.Errorf("with the socket's mode: got %q, want no connection", got)
	}
	if err := os.Chmod(localapi.SocketPath(dir), 0o666); err != nil {
		t.Fatal(err)
	}
	if got := attempt(65534); got != "nothing" {
		t.Errorf("without the modes: got %q, want nothing", got)
	}
	if got := attempt(0); !bytes.HasPrefix([]byte(got), []byte("HTTP/1.1 404")) {
		t.Errorf("our own user: got %q, want an answer", got)
	}
}
