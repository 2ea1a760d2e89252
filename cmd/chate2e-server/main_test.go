package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/curve"
)

// The test binary is the server when it is told so: the same main, in a process of
// its own that can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("CHATE2E_TEST_SERVER") == "1" {
		main()
	}
	os.Exit(m.Run())
}

func subprocess(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...) // the test binary itself
	cmd.Env = append(os.Environ(), "CHATE2E_TEST_SERVER=1")
	return cmd
}

// process is a running relay.
type process struct {
	cmd    *exec.Cmd
	origin relay.Origin
	stderr *bytes.Buffer
	lines  chan string // of standard output, after the first
}

// serveProcess starts a relay and waits until it listens.
func serveProcess(t testing.TB, wrap []string, args ...string) *process {
	t.Helper()
	cmd := subprocess(t.Context(), args...)
	if wrap != nil {
		cmd.Args = append(append(wrap, cmd.Path), args...)
		path, err := exec.LookPath(wrap[0])
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path = path
	}
	p := &process{cmd: cmd, stderr: new(bytes.Buffer), lines: make(chan string, 100)}
	cmd.Stderr = p.stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	})
	scanner := bufio.NewScanner(stdout)
	if !scanner.Scan() {
		_ = cmd.Wait()
		t.Fatalf("the relay did not start: %s", p.stderr)
	}
	url, ok := strings.CutPrefix(scanner.Text(), "chate2e-server is listening on ")
	if !ok {
		t.Fatalf("the first line is %q", scanner.Text())
	}
	if p.origin, err = relay.ParseOrigin(url); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for scanner.Scan() {
			p.lines <- scanner.Text()
		}
	}()
	return p
}

func (p *process) kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // says that it was killed
}

// terminate sends SIGTERM and returns the exit code.
func (p *process) terminate(t testing.TB) int {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no SIGTERM there")
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // its error is the exit code
	return p.cmd.ProcessState.ExitCode()
}

// freePort returns a port that nobody listens on at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// person is a client with keys, and perhaps an account.
type person struct {
	address  relay.Address
	identity *curve.PrivateKey
	list     []byte
}

func newPerson(t testing.TB) *person {
	t.Helper()
	key, identity := account.GenerateKey(), curve.GenerateKey()
	list, err := key.SignDeviceList(account.DeviceList{Version: 1, Time: time.Now(), Devices: []account.Device{
		{Number: 1, IdentityKey: identity.PublicKey(), Added: time.Now()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &person{address: relay.Address{User: relay.UserID(key.Public().UserID()), Device: 1}, identity: identity, list: list}
}

func (p *person) registration(name relay.Username) relayclient.Registration {
	return relayclient.Registration{DeviceList: p.list, Username: name, Prekeys: []relay.Prekey{
		{Kind: relay.PrekeySigned, ID: 1, Key: []byte("signed")}, {Kind: relay.PrekeyKEMLastResort, ID: 2, Key: []byte("last resort")},
	}}
}

func register(t testing.TB, origin relay.Origin, name relay.Username) *person {
	t.Helper()
	p := newPerson(t)
	if err := p.client(t, origin).Register(t.Context(), p.registration(name)); err != nil {
		t.Fatalf("registering: %v", err)
	}
	return p
}

func (p *person) client(t testing.TB, origin relay.Origin) *relayclient.Client {
	t.Helper()
	c, err := relayclient.New(relayclient.Config{Server: origin, Address: p.address, Identity: p.identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func outgoing(body string) []relay.Outgoing {
	return []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: []byte(body)}}
}

// pullAll reads a mailbox to its end.
func pullAll(t *testing.T, c *relayclient.Client) (all []relay.Incoming) {
	t.Helper()
	for cursor := uint64(0); ; {
		page, more, err := c.Pull(t.Context(), cursor, 1000)
		if err != nil {
			t.Fatalf("pulling: %v", err)
		}
		all = append(all, page...)
		if !more {
			return all
		}
		cursor = page[len(page)-1].Seq
	}
}

// Nothing that was acknowledged is lost, and no prekey is handed out twice, when
// the relay is killed again and again in the middle of its work.
func TestKilledAgainAndAgain(t *testing.T) {
	r := testrand.New(t)
	data, listen := filepath.Join(t.TempDir(), "data"), freePort(t)
	args := []string{"serve", "--data", data, "--listen", listen, "--one-time-prekeys-per-hour", "-1", "--bundles-per-hour", "-1"}
	const senders, claimers, rounds = 4, 200, 6

	relayProcess := serveProcess(t, nil, args...)
	bob := register(t, relayProcess.origin, "bob")
	var people []*person
	for range senders {
		people = append(people, register(t, relayProcess.origin, ""))
	}
	var (
		mu      sync.Mutex
		acked   = make(map[string]bool) // sends that were answered with yes
		read    = make(map[string]bool) // what Bob has got and acknowledged
		handed  = make(map[uint32]int)
		nextKey uint32
	)
	for round := range rounds {
		// Bob refills his prekeys.
		bobs := bob.client(t, relayProcess.origin)
		var refill []relay.Prekey
		for range 100 {
			nextKey++
			refill = append(refill, relay.Prekey{Kind: relay.PrekeyKEMOneTime, ID: nextKey, Key: fmt.Appendf(nil, "key %d", nextKey)})
		}
		counts, err := bobs.Prekeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if counts.KEMOneTime <= 100 {
			if _, err := bobs.PutPrekeys(t.Context(), refill); err != nil {
				t.Fatal(err)
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		var (
			wg       sync.WaitGroup
			deadline = len(acked) + 10 + r.IntN(150) // sends until the next kill
			due      = make(chan struct{})
		)
		for i, p := range people {
			c := p.client(t, relayProcess.origin)
			wg.Go(func() { // sends over a socket until the relay is gone
				conn, err := c.Dial(ctx)
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				for k := 0; ; k++ {
					body := fmt.Sprintf("round %d sender %d message %d", round, i, k)
					if conn.Send(ctx, bob.address.User, outgoing(body)) != nil {
						return
					}
					mu.Lock()
					acked[body] = true
					if len(acked) == deadline {
						close(due)
					}
					mu.Unlock()
				}
			})
			for range claimers / senders {
				wg.Go(func() { // claims prekeys
					for {
						got, err := c.Bundles(ctx, bob.address.User)
						if err != nil {
							return
						}
						if k := got.Bundles[0].KEM; k.Kind == relay.PrekeyKEMOneTime {
							mu.Lock()
							handed[k.ID]++
							mu.Unlock()
						}
					}
				})
			}
		}
		wg.Go(func() { // receives and acknowledges some
			conn, err := bobs.Dial(ctx)
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			for n := 0; ; n++ {
				e, err := conn.Next(ctx)
				if err != nil {
					return
				}
				in, ok := e.(relayclient.Envelope)
				if !ok || n%3 == 0 {
					continue
				}
				mu.Lock()
				read[string(in.Body)] = true
				mu.Unlock()
				if conn.Ack(ctx, in.Handle) != nil {
					return
				}
			}
		})
		<-due
		relayProcess.kill(t)
		cancel()
		wg.Wait()

		relayProcess = serveProcess(t, nil, args...)
		there := make(map[string]bool)
		for _, in := range pullAll(t, bob.client(t, relayProcess.origin)) {
			if there[string(in.Body)] {
				t.Errorf("round %d: %q is there twice", round, in.Body)
			}
			there[string(in.Body)] = true
		}
		mu.Lock()
		for body := range acked {
			if !there[body] && !read[body] {
				t.Errorf("round %d: %q was acknowledged and is lost", round, body)
			}
		}
		mu.Unlock()
		if t.Failed() {
			t.FailNow()
		}
	}
	for id, n := range handed {
		if n != 1 {
			t.Errorf("prekey %d was handed out %d times", id, n)
		}
	}
	t.Logf("%d sends acknowledged, %d read, %d prekeys claimed over %d kills", len(acked), len(read), len(handed), rounds)
	if len(handed) == 0 || len(read) == 0 {
		t.Error("too little happened for this to prove anything")
	}
	if out, code := execute(t, "doctor", "--data", data, "--listen", listen); code != 0 {
		t.Errorf("doctor: %s", out)
	}
	if code := relayProcess.terminate(t); code != 0 {
		t.Errorf("exit code %d: %s", code, relayProcess.stderr)
	}
}

// The disk fails in the middle: nothing is acknowledged from then on, the relay
// ends with an error, and everything acknowledged before is there afterwards.
func TestDiskFails(t *testing.T) {
	strace := findStrace(t)
	data, listen := filepath.Join(t.TempDir(), "data"), freePort(t)
	p := serveProcess(t, nil, "serve", "--data", data, "--listen", listen)
	alice, bob := register(t, p.origin, ""), register(t, p.origin, "")
	if code := p.terminate(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, p.stderr)
	}
	// From the 20th on, every fsync fails.
	p = serveProcess(t, []string{strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO:when=20+"},
		"serve", "--data", data, "--listen", listen)
	c := alice.client(t, p.origin)
	var acked []string
	for i := 0; ; i++ {
		body := fmt.Sprint("message ", i)
		err := c.Send(t.Context(), bob.address.User, outgoing(body))
		if err == nil {
			acked = append(acked, body)
			if i > 1000 {
				t.Fatal("the disk does not fail")
			}
			continue
		}
		if e, ok := errors.AsType[*relay.Error](err); ok && e.Code != relay.CodeUnavailable {
			t.Errorf("when the disk fails: %v", err)
		}
		break
	}
	_ = p.cmd.Wait() // its error is the exit code
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
	if !strings.Contains(p.stderr.String(), "storage has failed") {
		t.Errorf("it said: %s", p.stderr)
	}
	p = serveProcess(t, nil, "serve", "--data", data, "--listen", listen)
	there := make(map[string]bool)
	for _, in := range pullAll(t, bob.client(t, p.origin)) {
		there[string(in.Body)] = true
	}
	for _, body := range acked {
		if !there[body] {
			t.Errorf("%q was acknowledged and is lost", body)
		}
	}
	if len(acked) < 3 {
		t.Errorf("only %d sends before the disk failed", len(acked))
	}
}

// A disk without hard links, such as one with a FAT, takes backups all the same.
func TestBackupWithoutLinks(t *testing.T) {
	strace := findStrace(t)
	data, listen := filepath.Join(t.TempDir(), "data"), freePort(t)
	if code := serveProcess(t, nil, "serve", "--data", data, "--listen", listen).terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	to := t.TempDir()
	run := func(file string) (string, error) {
		cmd := subprocess(t.Context(), "backup", filepath.Join(to, file), "--data", data)
		cmd.Args = append([]string{strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=linkat", "-e", "inject=linkat:error=EPERM", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = strace
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("copy.db"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := run("copy.db"); err == nil || !strings.Contains(out, "exist") {
		t.Errorf("over a file: %v: %s", err, out)
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 1 || entries[0].Name() != "copy.db" {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

// findStrace returns the path of strace, which makes system calls of a program fail.
func findStrace(t *testing.T) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no strace")
	}
	if err := exec.CommandContext(t.Context(), strace, "-e", "trace=none", "/bin/true").Run(); err != nil { // a tool of the system
		t.Skip("strace may not trace here")
	}
	return strace
}

// SIGTERM under load: whatever was acknowledged is there afterwards, and the exit
// code says that all is well.
func TestTermination(t *testing.T) {
	data, listen := filepath.Join(t.TempDir(), "data"), freePort(t)
	args := []string{"--data", data, "--listen", listen}
	p := serveProcess(t, nil, args...)
	invitation := regexp.MustCompile(`^invitation for the first account: http://127\.0\.0\.1:\d+/add#invite=[A-Za-z0-9_-]{20}$`)
	if line := <-p.lines; !invitation.MatchString(line) {
		t.Errorf("the second line of the first start is %q", line)
	}
	alice, bob := register(t, p.origin, ""), register(t, p.origin, "")
	conn, err := alice.client(t, p.origin).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		acked []string
		once  sync.Once
		busy  = make(chan struct{})
	)
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				body := fmt.Sprint(w, " ", i)
				if conn.Send(t.Context(), bob.address.User, outgoing(body)) != nil {
					return
				}
				mu.Lock()
				acked = append(acked, body)
				if len(acked) > 200 {
					once.Do(func() { close(busy) })
				}
				mu.Unlock()
			}
		})
	}
	<-busy
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
	wg.Wait()
	for line := range p.lines {
		t.Errorf("it also printed %q", line)
	}
	if _, err := os.Stat(filepath.Join(data, databaseName+"-wal")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the write-ahead log was left behind: %v", err)
	}

	p = serveProcess(t, nil, args...)
	there := make(map[string]bool)
	for _, in := range pullAll(t, bob.client(t, p.origin)) {
		there[string(in.Body)] = true
	}
	for _, body := range acked {
		if !there[body] {
			t.Fatalf("%q was acknowledged and is lost", body)
		}
	}
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
	for line := range p.lines {
		t.Errorf("the second start also printed %q", line)
	}
}

// execute runs a command to its end and returns all it printed.
func execute(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := subprocess(t.Context(), args...)
	out, err := cmd.CombinedOutput()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestOperatorsCommands(t *testing.T) {
	data, listen := filepath.Join(t.TempDir(), "data"), freePort(t)
	at := func(args ...string) []string { return append(args, "--data", data, "--listen", listen) }
	must := func(args ...string) string {
		t.Helper()
		if args[0] == "doctor" {
			args = at(args...)
		} else {
			args = append(args, "--data", data)
		}
		out, code := execute(t, args...)
		if code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, out)
		}
		return out
	}
	if out, code := execute(t, "user", "list", "--data", data); code != 1 || !strings.Contains(out, "no relay has been started") {
		t.Errorf("before the first start: %d %s", code, out)
	}
	p := serveProcess(t, nil, at("serve")...)
	<-p.lines // the first invitation
	alice := register(t, p.origin, "alice")
	bob := register(t, p.origin, "")

	// Users, while the relay runs.
	list := must("user", "list")
	for _, part := range []string{alice.address.User.String() + "  alice  active", bob.address.User.String() + "  -      active"} {
		if !strings.Contains(list, part) {
			t.Errorf("user list lacks %q:\n%s", part, list)
		}
	}
	must("user", "disable", "alice")
	err := alice.client(t, p.origin).LogIn(t.Context())
	if !errors.Is(err, &relay.Error{Code: relay.CodeAccountDisabled}) {
		t.Errorf("login to a disabled account: %v", err)
	}
	must("user", "enable", alice.address.User.String())
	if err := alice.client(t, p.origin).LogIn(t.Context()); err != nil {
		t.Errorf("login to an account enabled again: %v", err)
	}
	must("user", "delete", "alice")
	if _, err := bob.client(t, p.origin).Username(t.Context(), "alice"); !errors.Is(err, &relay.Error{Code: relay.CodeUnknownUsername}) {
		t.Errorf("the name of a deleted account: %v", err)
	}
	for _, who := range []string{"alice", alice.address.User.String()} {
		if out, code := execute(t, "user", "delete", who, "--data", data); code != 1 || !strings.Contains(out, "no such user") {
			t.Errorf("deleting nobody: %d %s", code, out)
		}
	}

	// Invitations.
	out, code := execute(t, at("invite", "create", "--uses", "2", "--public-url", "https://chat.example.org")...)
	link, err := relay.ParseServer(strings.TrimSpace(out))
	if code != 0 || err != nil || link.Origin != "https://chat.example.org:443" {
		t.Fatalf("invite create: %d %s", code, out)
	}
	invites := must("invite", "list")
	if strings.Count(invites, "\n") != 2 || !strings.Contains(invites, "2 uses left") || strings.Contains(invites, link.Invite) {
		t.Errorf("invite list:\n%s", invites)
	}
	for line := range strings.Lines(invites) {
		id, _, _ := strings.Cut(line, " ")
		must("invite", "revoke", id)
	}
	if out := must("invite", "list"); out != "" {
		t.Errorf("invite list after revoking:\n%s", out)
	}
	if out, code := execute(t, "invite", "revoke", "000000000000", "--data", data); code != 1 {
		t.Errorf("revoking nothing: %d %s", code, out)
	}

	// Backup and doctor.
	copied := filepath.Join(t.TempDir(), "copy.db")
	if out := must("backup", copied); !strings.Contains(out, "remove "+databaseName+"-wal") {
		t.Errorf("backup does not say how to go back: %s", out)
	}
	if out, code := execute(t, "backup", copied, "--data", data); code != 1 || !strings.Contains(out, "exist") {
		t.Errorf("backing up over a file: %d %s", code, out)
	}
	report := must("doctor")
	if !strings.Contains(report, "a relay is running") || strings.Contains(report, "WRONG") {
		t.Errorf("doctor:\n%s", report)
	}
	// It looks, and touches nothing: what another version of the program has made
	// stays as it is.
	if err := os.Remove(filepath.Join(data, databaseName+"-reserve")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, code := execute(t, at("doctor")...); runtime.GOOS != "windows" && (code != 1 || !strings.Contains(out, "WRONG only its owner may look into it (mode 0755); to put it right: chmod 700 "+data)) {
		t.Errorf("doctor on an open directory: %d %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(data, databaseName+"-reserve")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("doctor has written: %v", err)
	}
	p.kill(t)
	restored := t.TempDir()
	if err := os.Rename(copied, filepath.Join(restored, databaseName)); err != nil {
		t.Fatal(err)
	}
	p = serveProcess(t, nil, "serve", "--data", restored, "--listen", listen)
	if err := bob.client(t, p.origin).LogIn(t.Context()); err != nil {
		t.Errorf("login to a relay restored from a backup: %v", err)
	}
	p.kill(t)
	f, err := os.OpenFile(filepath.Join(restored, databaseName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xFF}, 3000), 8192); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} { // which might hold the damaged page whole
		_ = os.Remove(filepath.Join(restored, databaseName+suffix))
	}
	if out, code := execute(t, "doctor", "--data", restored, "--listen", listen); code != 1 || !strings.Contains(out, "WRONG") {
		t.Errorf("doctor on a damaged database: %d %s", code, out)
	}
	if out := must("version"); !strings.HasPrefix(out, "chate2e-server ") || strings.Count(out, "\n") != 1 {
		t.Errorf("version: %q", out)
	}
}

func TestMetrics(t *testing.T) {
	metrics := freePort(t)
	p := serveProcess(t, nil, "--data", t.TempDir(), "--listen", freePort(t), "--metrics-listen", metrics)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metrics+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Contains(b, []byte("\nchate2e_connections 0\n")) {
		t.Errorf("%v\n%s", err, b)
	}
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}

// settingsOf completes settings as dispatch does.
func settingsOf(env map[string]string, args ...string) (*settings, error) {
	c := newSettings()
	if _, err := c.parse(args); err != nil {
		return nil, err
	}
	return c, c.complete(func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
}

func TestSettingsPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "relay.toml")
	if err := os.WriteFile(file, []byte(`
listen = "127.0.0.1:1"
registration = "closed"
data = "/from/file"
insecure = true
retention-days = 7
trusted-proxy = ["10.0.0.0/8", "::1"]
public-url = "https://file.example.org"
`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"CHATE2E_LISTEN": "127.0.0.1:2", "CHATE2E_DATA": "/from/env", "CHATE2E_PUBLIC_URL": "https://a.example.org, https://b.example.org"}
	c, err := settingsOf(env, "--config", file, "serve", "--listen", "127.0.0.1:3")
	if err != nil {
		t.Fatal(err)
	}
	if c.listen != "127.0.0.1:3" || c.data != "/from/env" || c.registration != "closed" || !c.insecure || c.retentionDays != 7 {
		t.Errorf("listen %s, data %s, registration %s, insecure %v, retention %d", c.listen, c.data, c.registration, c.insecure, c.retentionDays)
	}
	if strings.Join(c.trustedProxies, " ") != "10.0.0.0/8 ::1" || strings.Join(c.publicURLs, " ") != "https://a.example.org https://b.example.org" {
		t.Errorf("proxies %v, URLs %v", c.trustedProxies, c.publicURLs)
	}
	if c, err = settingsOf(map[string]string{"CHATE2E_CONFIG": file}); err != nil || c.listen != "127.0.0.1:1" {
		t.Errorf("a file named by the environment: %v", err)
	}
	for name, text := range map[string]string{
		"an unknown key": "nothing = 1", "a wrong type": "retention-days = 1.5", "a table": "[listen]\na = 1", "no number": `retention-days = "x"`,
		"a flag of one command": "uses = 3", "no TOML": "listen = ", "two of a key": "listen = \"a\"\nlisten = \"b\"",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := settingsOf(nil, "--config", file); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := settingsOf(nil, "--config", file+".none"); err == nil {
		t.Error("a file that is not there was accepted")
	}
	if _, err := settingsOf(map[string]string{"CHATE2E_RETENTION_DAYS": "x"}); err == nil || !strings.Contains(err.Error(), "CHATE2E_RETENTION_DAYS") {
		t.Errorf("a bad environment variable: %v", err)
	}
}

func TestUsage(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	for _, args := range [][]string{
		{"nothing"},
		{"--nothing"},
		{"invite"},
		{"invite", "create", "x"},
		{"user", "disable"},
		{"backup"},
		{"version", "--listen", "x"},
		{"user", "list", "--domain", "x"},
		{"serve", "--listen", "nowhere"},
		{"serve", "--listen", "0.0.0.0:0"},
		{"serve", "--listen", ":0"},
		{"serve", "--listen", "0.0.0.0:0", "--insecure"},
		{"serve", "--registration", "maybe"},
		{"serve", "--trusted-proxy", "x"},
		{"serve", "--public-url", "ftp://x"},
		{"serve", "--max-message-bytes", "0"},
		{"serve", "--max-message-bytes", "65537"},
		{"serve", "--retention-days", "0"},
		{"invite", "create", "--uses", "0"},
		{"user", "delete", "No Such"},
		{"nothing", "--help"},
		{"serve", "x"},
		{"serve", "--domain", "chat example.org"},
		{"invite", "create", "--domain", "chat.example.org:443"},
	} {
		args = append(args, "--data", filepath.Join(t.TempDir(), "none"))
		if args[0] == "user" && args[1] == "delete" { // needs a database to look into
			if err := os.MkdirAll(args[len(args)-1], 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(args[len(args)-1], databaseName), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, none, &stdout, &stderr); code != 2 || stdout.Len() != 0 ||
			strings.Count(stderr.String(), "\n") != 1 || !strings.HasSuffix(stderr.String(), "; see chate2e-server --help\n") {
			t.Errorf("%v: exit code %d, printed %q and %q", args, code, &stdout, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, none, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "invite create") || !strings.Contains(stdout.String(), "--trusted-proxy") {
		t.Errorf("help: exit code %d\n%s%s", code, &stdout, &stderr)
	}
	newSettings().fs.VisitAll(func(f *flag.Flag) {
		if n := strings.Count(stdout.String(), "  --"+f.Name); n == 0 {
			t.Errorf("help does not name --%s", f.Name)
		}
	})
	stdout.Reset()
	if code := run(t.Context(), []string{"invite", "create", "--help"}, none, &stdout, &stderr); code != 0 ||
		!strings.Contains(stdout.String(), "--expires") || strings.Contains(stdout.String(), "--trusted-proxy") {
		t.Errorf("help of a command: exit code %d\n%s%s", code, &stdout, &stderr)
	}
	for args, want := range map[string]string{
		"nothing":                      `there is no command "nothing"`,
		"--nothing":                    "there is no flag --nothing",
		"serve --listen":               "--listen needs a value",
		"serve --retention-days x":     `--retention-days: "x" is not a whole number`,
		"serve --insecure=x":           `--insecure: "x" is not true or false`,
		"invite create --expires 2d":   `--expires: "2d" is not a length of time such as 36h`,
		"invite create --domain a_b:1": `--domain "a_b:1" is not a name such as chat.example.org`,
		"backup":                       "backup needs FILE",
		"version now":                  `"now" is one argument too many for version`,
	} {
		stderr.Reset()
		if run(t.Context(), strings.Fields(args), none, &stdout, &stderr); !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %s", args, &stderr)
		}
	}
	stderr.Reset()
	if run(t.Context(), []string{"user"}, none, &stdout, &stderr); !strings.Contains(stderr.String(), "user list|disable|enable|delete") {
		t.Errorf("half a command: %s", &stderr)
	}
}

// docs/OPERATIONS.md names flags, settings, commands and metrics that there are.
func TestOperationsDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	for _, match := range regexp.MustCompile(`--([a-z][a-z-]*)`).FindAllStringSubmatch(doc, -1) {
		if name := match[1]; name != "help" && newSettings().fs.Lookup(name) == nil {
			t.Errorf("there is no flag --%s", name)
		}
	}
	for _, block := range strings.Split(doc, "```toml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		file := filepath.Join(t.TempDir(), "relay.toml")
		if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := settingsOf(nil, "--config", file)
		if err == nil {
			err = c.check()
		}
		if err != nil {
			t.Errorf("%v in\n%s", err, block)
		}
	}
	for _, match := range regexp.MustCompile(`(?m)^    chate2e-server (.*)$`).FindAllStringSubmatch(doc, -1) {
		c := newSettings()
		words, err := c.parse(strings.Fields(match[1]))
		if err != nil {
			t.Errorf("%s: %v", match[1], err)
			continue
		}
		cmd, rest, err := find(words)
		if err != nil || len(rest) != cmd.count {
			t.Errorf("%s: %v, %q", match[1], err, rest)
		}
	}
	source, err := os.ReadFile(filepath.Join("..", "..", "internal", "server", "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`chate2e_[a-z_]+`).FindAllString(doc, -1) {
		if !strings.Contains(string(source), `"`+name+`"`) {
			t.Errorf("there is no metric %s", name)
		}
	}
}

// Two relays on one database would not wake each other.
func TestOneRelayForADirectory(t *testing.T) {
	data := t.TempDir()
	first := serveProcess(t, nil, "serve", "--listen", "127.0.0.1:0", "--data", data)
	var stderr bytes.Buffer
	second := subprocess(t.Context(), "serve", "--listen", "127.0.0.1:0", "--data", data)
	second.Stderr = &stderr
	if err := second.Run(); err == nil || !strings.Contains(stderr.String(), "another relay is using it") {
		t.Errorf("a second relay: %v, %q", err, &stderr)
	}
	if out, err := subprocess(t.Context(), "user", "list", "--data", data).CombinedOutput(); err != nil {
		t.Errorf("user list beside the relay: %v, %s", err, out)
	}
	stderr.Reset()
	third := subprocess(t.Context(), "serve", "--listen", strings.TrimPrefix(string(first.origin), "http://"), "--data", t.TempDir())
	third.Stderr = &stderr
	if err := third.Run(); err == nil || runtime.GOOS != "windows" && !strings.Contains(stderr.String(), "another program listens on 127.0.0.1:") {
		t.Errorf("a relay at the address of another: %v, %q", err, &stderr)
	}
	first.kill(t)
	again := serveProcess(t, nil, "serve", "--listen", "127.0.0.1:0", "--data", data)
	if code := again.terminate(t); code != 0 {
		t.Errorf("exit code %d: %s", code, again.stderr)
	}
}

func TestOrigins(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"loopback":        {nil, "http://127.0.0.1:5000 http://localhost:5000 http://[::1]:5000"},
		"loopback, IPv6":  {[]string{"--listen", "[::1]:5000"}, "http://[::1]:5000 http://127.0.0.1:5000 http://localhost:5000"},
		"domain":          {[]string{"--domain", "Chat.Example.org"}, "https://chat.example.org:443 https://chat.example.org:5000"},
		"proxy":           {[]string{"--public-url", "https://chat.example.org"}, "https://chat.example.org:443 http://127.0.0.1:5000 http://localhost:5000 http://[::1]:5000"},
		"proxy elsewhere": {[]string{"--listen", "0.0.0.0:5000", "--insecure", "--public-url", "https://chat.example.org"}, "https://chat.example.org:443"},
	} {
		c, err := settingsOf(nil, test.args...)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		origins, err := c.origins(5000)
		var got []string
		for _, o := range origins {
			got = append(got, string(o))
		}
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, %v; want %s", name, got, err, test.want)
		}
	}
}
