package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of this file run the real programs, which TestMain builds.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "chate2e-programs-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		build := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", dir+string(filepath.Separator), ".", "../chate2e-server")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "building the programs:", err)
			return 1
		}
		programs = dir
		return m.Run()
	}())
}

// deadline bounds every wait of these tests.
const deadline = 60 * time.Second

// relayServer is a relay that can be stopped and started again where it was.
type relayServer struct {
	t      testing.TB
	listen string
	data   string
	log    lockedBuffer
	cmd    *exec.Cmd
}

func startServer(tb testing.TB) *relayServer {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &relayServer{t: tb, listen: l.Addr().String(), data: filepath.Join(tb.TempDir(), "relay")}
	_ = l.Close()
	s.start()
	tb.Cleanup(s.stop)
	return s
}

func (s *relayServer) url() string { return "http://" + s.listen }

func (s *relayServer) start() {
	s.t.Helper()
	s.cmd = exec.CommandContext(context.WithoutCancel(s.t.Context()), filepath.Join(programs, "chate2e-server"), "serve", "--listen", s.listen, "--data", s.data)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the relay answers", func() bool {
		r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url()+"/healthz", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func (s *relayServer) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the relay ended with %v:\n%s", err, s.log.String())
	}
	s.cmd = nil
}

func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for start := time.Now(); !holds(); {
		if time.Since(start) > deadline {
			tb.Fatalf("waited %v until %s", deadline, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// user is somebody who types commands.
type user struct {
	t        testing.TB
	home     string
	profile  string
	server   string
	password string // file; "" : none is given
	logs     *lockedBuffer
}

func newUser(tb testing.TB, home, profile, server, password string) *user {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return &user{t: tb, home: home, profile: profile, server: server, password: file, logs: new(lockedBuffer)}
}

func (u *user) with(password string) *user {
	other := *u
	other.password = password
	return &other
}

func (u *user) command(ctx context.Context, args ...string) *exec.Cmd {
	all := []string{"--home", u.home, "--profile", u.profile, "--server", u.server}
	if u.password != "" {
		all = append(all, "--password-file", u.password)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "chate2e"), append(all, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	return cmd
}

// result is what a command printed.
type result struct {
	out, errs string
	code      int
}

func (u *user) run(stdin string, args ...string) result {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), deadline)
	defer cancel()
	cmd := u.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		u.t.Fatalf("%s %q did not end; it printed\n%s%s", u.profile, args, &out, &errs)
	}
	if cmd.ProcessState == nil {
		u.t.Fatalf("%s %q: %v", u.profile, args, err)
	}
	_, _ = u.logs.Write(errs.Bytes())
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// object is a line of JSON.
type object map[string]any

func (o object) str(key string) string { s, _ := o[key].(string); return s }

func objects(tb testing.TB, out string) []object {
	tb.Helper()
	var all []object
	for line := range strings.Lines(out) {
		var o object
		if err := json.Unmarshal([]byte(line), &o); err != nil || !strings.HasSuffix(line, "\n") {
			tb.Fatalf("not a JSON object on a line: %q: %v", line, err)
		}
		all = append(all, o)
	}
	return all
}

// list runs a command with --json that must succeed.
func (u *user) list(args ...string) []object {
	u.t.Helper()
	r := u.run("", append(args, "--json")...)
	if r.code != 0 {
		u.t.Fatalf("%s %q: exit %d: %s", u.profile, args, r.code, r.errs)
	}
	return objects(u.t, r.out)
}

// one is list for commands that print one object.
func (u *user) one(args ...string) object {
	u.t.Helper()
	all := u.list(args...)
	if len(all) != 1 {
		u.t.Fatalf("%s %q printed %d objects: %v", u.profile, args, len(all), all)
	}
	return all[0]
}

// fails runs a command with --json that must fail: nothing on standard output, one
// error on standard error.
func (u *user) fails(code int, name string, args ...string) {
	u.t.Helper()
	r := u.run("", append(args, "--json")...)
	lines := strings.Split(strings.TrimSpace(r.errs), "\n")
	var failure struct {
		Error struct{ Code, Message string }
	}
	err := json.Unmarshal([]byte(lines[len(lines)-1]), &failure)
	if err != nil || r.code != code || failure.Error.Code != name || failure.Error.Message == "" || r.out != "" {
		u.t.Errorf("%s %q: exit %d, output %q, errors %q; want exit %d with %s", u.profile, args, r.code, r.out, r.errs, code, name)
	}
}

// texts are the texts of the items of kind text.
func texts(items []object) []string {
	var all []string
	for _, i := range items {
		if i["kind"] == "text" {
			all = append(all, i.str("text"))
		}
	}
	return all
}

func equal(tb testing.TB, what string, got, want any) {
	tb.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		tb.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// background is a command that goes on.
type background struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	errs *lockedBuffer
}

func (u *user) start(args ...string) *background {
	u.t.Helper()
	cmd := u.command(context.WithoutCancel(u.t.Context()), args...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		u.t.Fatal(err)
	}
	b := &background{cmd: cmd, out: bufio.NewReader(pipe), errs: u.logs}
	cmd.Stderr = u.logs
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return b
}

// line waits for the next line.
func (b *background) line(tb testing.TB) string {
	tb.Helper()
	type read struct {
		line string
		err  error
	}
	got := make(chan read, 1)
	go func() {
		line, err := b.out.ReadString('\n')
		got <- read{line, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			tb.Fatalf("%q: %v: %s", b.cmd.Args, r.err, b.errs.String())
		}
		return r.line
	case <-time.After(deadline):
		tb.Fatalf("%q printed nothing: %s", b.cmd.Args, b.errs.String())
		return ""
	}
}

// end interrupts it and returns its exit code.
func (b *background) end(tb testing.TB) int {
	tb.Helper()
	_ = b.cmd.Process.Signal(os.Interrupt)
	return b.wait(tb)
}

func (b *background) wait(tb testing.TB) int {
	tb.Helper()
	done := make(chan struct{})
	go func() {
		_ = b.cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
		return b.cmd.ProcessState.ExitCode()
	case <-time.After(deadline):
		tb.Fatalf("%q does not end", b.cmd.Args)
		return -1
	}
}

// daemon starts one and waits until it listens.
func (u *user) daemon() *background {
	u.t.Helper()
	b := u.start("daemon", "--json")
	equal(u.t, "socket", objects(u.t, b.line(u.t))[0]["socket"], filepath.Join(u.home, "profiles", u.profile, "socket"))
	return b
}

// pair are two people on one computer who are friends, with daemons running.
func pair(tb testing.TB) (server *relayServer, alice, bob *user) {
	tb.Helper()
	server = startServer(tb)
	home := tb.TempDir()
	alice = newUser(tb, home, "alice", server.url(), "alice's password")
	bob = newUser(tb, home, "bob", server.url(), "bob's password")
	alice.one("register", "alice", "--display-name", "Alice")
	bob.one("register", "bob", "--display-name", "Bob")
	return server, alice, bob
}

func befriend(alice, bob *user) {
	alice.t.Helper()
	id := bob.one("whoami").str("user_id")
	alice.one("contacts", "add", id)
	eventually(alice.t, "Bob has the request", func() bool {
		bob.list("recv", "--wait", "200ms")
		return len(bob.list("contacts", "list")) == 1
	})
	bob.list("recv", "--wait", "0s") // it may have come between the two
	bob.one("contacts", "accept", "Alice")
	eventually(alice.t, "Alice is accepted", func() bool {
		alice.list("recv", "--wait", "200ms")
		return alice.list("contacts", "list")[0]["state"] == "accepted"
	})
	alice.list("recv", "--wait", "0s")
}
