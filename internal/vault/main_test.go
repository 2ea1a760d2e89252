package vault_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/chate2e/chate2e/internal/vault"
)

// TestMain lets a test run a part of itself in a process that can be killed.
func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	vault.SetSystemDisk(unsynced{realDisk})
	code := m.Run()
	removeBig()
	os.Exit(code)
}

// unsynced is a disk that never waits. Vaults of the test process are on it: none
// of them has to survive a power cut. Those of children and benchmarks are not.
type unsynced struct{ vfs.VFS }

var realDisk = vault.SystemDisk()

func (d unsynced) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := vfsutil.WrapOpenFilename(d.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return unsyncedFile{f}, flags, nil
}

type unsyncedFile struct{ vfs.File }

func (f unsyncedFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f unsyncedFile) LockState() vfs.LockLevel       { return vfsutil.WrapLockState(f.File) }
func (f unsyncedFile) Sync(vfs.SyncFlag) error        { return nil }

const childVariable = "CHATE2E_VAULT_TEST_CHILD"

var children = map[string]func(args []string) error{}

// child is a running part of this test binary.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner // of its standard output
	stdin io.WriteCloser
}

func startChild(t *testing.T, name string, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.CommandContext(t.Context(), self, args...)}
	c.cmd.Env = append(os.Environ(), childVariable+"="+name)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// line returns the next line the child prints, or false at the end.
func (c *child) line() (string, bool) {
	ok := c.lines.Scan()
	return c.lines.Text(), ok
}

// kill ends the child like kill -9, and returns the lines it had printed before.
func (c *child) kill() (printed []string) {
	_ = c.cmd.Process.Kill()
	for c.lines.Scan() {
		printed = append(printed, c.lines.Text())
	}
	_ = c.cmd.Wait()
	return printed
}
