package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/signal/curve"
)

// subprocessKilledAt is subprocess under strace, which kills it when it enters the
// n-th of the given system calls. Both are in a process group of their own.
func subprocessKilledAt(ctx context.Context, call string, n int, args ...string) *exec.Cmd {
	plain := subprocess(ctx, args...)
	cmd := exec.CommandContext(ctx, "strace", append([]string{
		"-f", "-qq", "-o", os.DevNull, "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n),
		plain.Path,
	}, args...)...)
	cmd.Env = plain.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// eachKillPoint calls try for one system call after the other until it reports
// that the program came through.
func eachKillPoint(t *testing.T, try func(call string, n int) (killed bool)) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a hundred programs")
	}
	if err := exec.CommandContext(t.Context(), "strace", "-f", "-qq", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("strace does not run here: %v", err)
	}
	for call, step := range map[string]int{"fdatasync": 1, "fsync": 1, "pwrite64": 5} {
		n := 1
		for try(call, n) {
			n += step
		}
	}
}

// newcomer is somebody who is about to register.
func newcomer(t *testing.T) (*person, relayclient.Registration) {
	t.Helper()
	key, identity := account.GenerateKey(), curve.GenerateKey()
	list, err := key.SignDeviceList(account.DeviceList{Version: 1, Time: time.Now(), Devices: []account.Device{
		{Number: 1, IdentityKey: identity.PublicKey(), Added: time.Now()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := &person{address: relay.Address{User: relay.UserID(key.Public().UserID()), Device: 1}, identity: identity}
	return p, relayclient.Registration{DeviceList: list, Username: "alice", Prekeys: []relay.Prekey{
		{Kind: relay.PrekeySigned, ID: 1, Key: []byte("signed")},
		{Kind: relay.PrekeyKEMLastResort, ID: 2, Key: []byte("last resort")},
		{Kind: relay.PrekeyKEMOneTime, ID: 3, Key: []byte("one time")},
	}}
}

// The relay dies while it makes its database, or while somebody registers: it
// starts again, and the name is free or is hers with all that belongs to it. She
// can always try again.
func TestKilledDuringRegistration(t *testing.T) {
	t.Parallel()
	before, during := 0, 0
	eachKillPoint(t, func(call string, n int) bool {
		where := fmt.Sprintf("killed at %s %d", call, n)
		data, listen := filepath.Join(t.TempDir(), "data"), freePort(t)
		args := []string{"serve", "--data", data, "--listen", listen}
		origin, err := relay.ParseOrigin("http://" + listen)
		if err != nil {
			t.Fatal(err)
		}
		alice, registration := newcomer(t)
		first := subprocessKilledAt(t.Context(), call, n, args...)
		stdout, err := first.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		registered, killed := false, true
		if _, err := stdout.Read(make([]byte, 1)); err == nil { // it listens
			during++
			registered = alice.client(t, origin).Register(t.Context(), registration) == nil
			killed = alice.client(t, origin).Ready(t.Context()) != nil
		} else {
			before++
		}
		_ = syscall.Kill(-first.Process.Pid, syscall.SIGKILL) // what is left of it
		_ = first.Wait()                                      // says that it was killed

		p := serveProcess(t, nil, args...)
		bob := register(t, p.origin, "").client(t, p.origin)
		owner, err := bob.Username(t.Context(), "alice")
		switch {
		case errors.Is(err, &relay.Error{Code: relay.CodeUnknownUsername}):
			if registered {
				t.Errorf("%s: the registration was acknowledged and is lost", where)
			}
		case err != nil || owner != alice.address.User:
			t.Errorf("%s: the name is %v's, %v", where, owner, err)
		default:
			got, err := bob.Bundles(t.Context(), owner)
			if err != nil || len(got.Bundles) != 1 || got.Bundles[0].KEM.Kind != relay.PrekeyKEMOneTime {
				t.Errorf("%s: the name is hers, and her bundle is %+v, %v", where, got, err)
			}
		}
		if err := alice.client(t, p.origin).Register(t.Context(), registration); err != nil {
			t.Errorf("%s: trying again: %v", where, err)
		}
		if code := p.terminate(t); code != 0 {
			t.Errorf("%s: exit code %d: %s", where, code, p.stderr)
		}
		if out, code := execute(t, "doctor", "--data", data, "--listen", listen); code != 0 {
			t.Errorf("%s: doctor: %s", where, out)
		}
		return killed
	})
	t.Logf("killed %d times before it listened, %d times after", before, during)
	if before == 0 || during < 3 {
		t.Error("too little happened for this to prove anything")
	}
}

// A backup that dies leaves no file under its name, or a whole one, and the relay
// as it was.
func TestKilledDuringBackup(t *testing.T) {
	t.Parallel()
	data, listen := filepath.Join(t.TempDir(), "data"), freePort(t)
	p := serveProcess(t, nil, "serve", "--data", data, "--listen", listen)
	alice := register(t, p.origin, "alice")
	kills, whole := 0, 0
	eachKillPoint(t, func(call string, n int) bool {
		where := fmt.Sprintf("killed at %s %d", call, n)
		dir := t.TempDir()
		to := filepath.Join(dir, "copy", databaseName)
		if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		err := subprocessKilledAt(t.Context(), call, n, "backup", to, "--data", data).Run()
		if _, missing := os.Stat(to); missing == nil {
			whole++
			if out, code := execute(t, "doctor", "--data", filepath.Dir(to), "--listen", freePort(t)); code != 0 || !strings.Contains(out, "1 account") {
				t.Errorf("%s: doctor on the copy: %s", where, out)
			}
		} else if err == nil {
			t.Errorf("%s: no copy, and no error", where)
		}
		if err != nil {
			kills++
		}
		return err != nil
	})
	t.Logf("killed %d times, %d whole copies", kills, whole)
	if kills < 3 {
		t.Error("too little happened for this to prove anything")
	}
	if err := alice.client(t, p.origin).LogIn(t.Context()); err != nil {
		t.Error(err)
	}
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}
