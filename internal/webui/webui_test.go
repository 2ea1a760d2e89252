package webui_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
	"github.com/chate2e/chate2e/internal/webui"
)

const password = "correct horse battery staple"

// newApp makes an App whose profile does not exist yet.
func newApp(t *testing.T, cfg webui.Config) *webui.App {
	t.Helper()
	dir := t.TempDir()
	cfg.Dir, cfg.Profile, cfg.Version = filepath.Join(dir, "profile"), "default", "test"
	cfg.Engine.TestKDF = true
	if cfg.State == "" {
		cfg.State = filepath.Join(dir, "window")
		if err := os.Mkdir(cfg.State, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if cfg.Notify == nil {
		cfg.Notify = func(context.Context, webui.Notice) error { return nil }
	}
	return webui.New(cfg)
}

// session exchanges a launch token at a handler.
func session(t *testing.T, handler http.Handler, app *webui.App) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/token", http.NoBody)
	r.Host = testHost
	r.Header.Set("Authorization", "Bearer "+tokenOf(t, app.Link(address(testHost))))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	var out struct{ Key string }
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Key == "" {
		t.Fatalf("exchanging the token: %d %s", w.Code, w.Body)
	}
	return out.Key
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

func tokenOf(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	values, err := url.ParseQuery(u.Fragment)
	if err != nil || values.Get("t") == "" {
		t.Fatalf("no token in %q", link)
	}
	return values.Get("t")
}

// page is a page that is served, and a client with its key.
type page struct {
	t    *testing.T
	app  *webui.App
	at   net.Addr
	base string
	key  string
}

// open serves the app and opens a page on it.
func open(t *testing.T, app *webui.App) *page {
	t.Helper()
	l, err := webui.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := app.Run(ctx, l); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	p := &page{t: t, app: app, at: l.Addr(), base: "http://" + l.Addr().String()}
	var out struct{ Key string }
	p.key = tokenOf(t, app.Link(l.Addr()))
	p.call(http.MethodPost, "token", nil, &out)
	p.key = out.Key
	return p
}

// do asks for something and returns the answer as a whole.
func (p *page) do(method, path string, body any) (status int, text []byte) {
	p.t.Helper()
	var in io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			p.t.Fatal(err)
		}
		in = bytes.NewReader(encoded)
	}
	return p.send(method, path, "application/json", in)
}

// send asks for something with a body of any kind.
func (p *page) send(method, path, kind string, in io.Reader) (status int, text []byte) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+"/api/v1/"+path, in)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.key)
	r.Header.Set("Content-Type", kind)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if text, err = io.ReadAll(answer.Body); err != nil {
		p.t.Fatal(err)
	}
	return answer.StatusCode, text
}

func (p *page) call(method, path string, body, out any) {
	p.t.Helper()
	status, text := p.do(method, path, body)
	if status != http.StatusOK {
		p.t.Fatalf("%s: %d %s", path, status, text)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			p.t.Fatalf("%s: %v in %s", path, err, text)
		}
	}
}

func (p *page) post(path string, body, out any) {
	p.t.Helper()
	p.call(http.MethodPost, path, body, out)
}

// refused posts and returns the status and the code of the refusal.
func (p *page) refused(path string, body any) (int, client.Code) {
	p.t.Helper()
	status, text := p.do(http.MethodPost, path, body)
	var failure localapi.Failure
	if err := json.Unmarshal(text, &failure); err != nil {
		p.t.Fatal(err)
	}
	return status, failure.Error.Code
}

func (p *page) state() (s webui.State) {
	p.t.Helper()
	p.call(http.MethodGet, "app", nil, &s)
	return s
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not %s after 20 s", what)
		}
	}
}

// startRelay returns the URL of a relay.
func startRelay(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	origin, err := relay.ParseOrigin("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "relay.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	node, err := server.New(db, bus.NewLocal(), server.Config{Origins: []relay.Origin{origin}, Registration: server.RegistrationOpen})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = node.Serve(ctx, l) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// A launch token is good once; one that has an end, until then; and it is no
// session key.
func TestToken(t *testing.T) {
	app := newApp(t, webui.Config{})
	p := open(t, app)
	exchange := func(method, token string) int {
		p.key = token
		status, _ := p.do(method, "token", nil)
		return status
	}
	token := tokenOf(t, app.Link(p.at))
	if got := exchange(http.MethodGet, token); got != http.StatusUnauthorized {
		t.Errorf("by GET: %d", got)
	}
	p.key = token
	if got, _ := p.do(http.MethodGet, "app", nil); got != http.StatusUnauthorized {
		t.Errorf("a token as a key: %d", got)
	}
	if got := exchange(http.MethodPost, token); got != http.StatusOK {
		t.Errorf("for the first time: %d", got)
	}
	if got := exchange(http.MethodPost, token); got != http.StatusUnauthorized {
		t.Errorf("for the second time: %d", got)
	}
	if got := exchange(http.MethodPost, tokenOf(t, app.ShortLink(p.at, time.Now().Add(-time.Second)))); got != http.StatusUnauthorized {
		t.Errorf("after its end: %d", got)
	}
	if got := exchange(http.MethodPost, tokenOf(t, app.ShortLink(p.at, time.Now().Add(time.Minute)))); got != http.StatusOK {
		t.Errorf("before its end: %d", got)
	}
	// Too many links make the oldest useless, not the memory full.
	first := tokenOf(t, app.Link(p.at))
	for range 200 {
		app.Link(p.at)
	}
	if got := exchange(http.MethodPost, first); got != http.StatusUnauthorized {
		t.Errorf("the oldest of very many: %d", got)
	}
}

// The files of the page are the same for everybody, with the policy that lets it
// load nothing else.
func TestPage(t *testing.T) {
	p := open(t, newApp(t, webui.Config{}))
	for path, kind := range map[string]string{
		"/": "text/html", "/app.js": "text/javascript", "/app.css": "text/css", "/emoji.json": "application/json", "/icon.svg": "image/svg+xml",
	} {
		answer, err := http.Get(p.base + path) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), kind) || len(text) == 0 {
			t.Errorf("%s: %d %s, %d bytes", path, answer.StatusCode, answer.Header.Get("Content-Type"), len(text))
		}
		policy := answer.Header.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
			"frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'",
		} {
			if !slices.Contains(strings.Split(policy, "; "), want) {
				t.Errorf("%s: the policy lacks %q: %s", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: the policy is lax: %s", path, policy)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
		} {
			if got := answer.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		// Nothing of another origin, and nothing inline.
		if path == "/" && (bytes.Contains(text, []byte("<style")) || bytes.Contains(text, []byte("//cdn")) ||
			bytes.Count(text, []byte("<script")) != bytes.Count(text, []byte(`src="/app.js"`))) {
			t.Errorf("the page has something inline:\n%s", text)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		r, err := http.NewRequestWithContext(t.Context(), method, p.base+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s /: %d", method, answer.StatusCode)
		}
	}
}

// The window is for this computer alone.
func TestListenOnLoopbackAlone(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "localhost:0", "127.0.0.1", "example.org:80", ""} {
		if l, err := webui.Listen(t.Context(), address); err == nil {
			t.Errorf("%q: listens on %v", address, l.Addr())
			_ = l.Close()
		}
	}
}

// Making an account tells each step once it is done; then the profile is open. It
// can be locked and unlocked.
func TestCreateLockUnlock(t *testing.T) {
	p := open(t, newApp(t, webui.Config{}))
	if got := p.state(); got.State != "none" || got.Version != "test" || got.Profile != "default" {
		t.Fatalf("at first: %+v", got)
	}
	if status, code := p.refused("chats/read", map[string]string{"who": "x", "upto": "y"}); status < 400 || code != client.CodeClosed {
		t.Errorf("without a profile: %d %s", status, code)
	}
	p.create(startRelay(t), "alice", "Alice")
	if got := p.state(); got.State != "open" || got.Name != "Alice" {
		t.Errorf("after creating: %+v", got)
	}
	if status, code := p.refused("app/unlock", map[string]string{"password": password}); status < 400 || code != client.CodeProfileExists {
		t.Errorf("unlocking what is open: %d %s", status, code)
	}
	p.post("lock", struct{}{}, nil)
	await(t, "locked", func() bool { return p.state().State == "locked" })
	if got := p.state(); got.Name != "Alice" || got.UserID == "" {
		t.Errorf("locked: %+v", got)
	}
	if status, code := p.refused("app/unlock", map[string]string{"password": "wrong"}); status < 400 || code != client.CodeWrongPassword {
		t.Errorf("with a wrong password: %d %s", status, code)
	}
	p.post("app/unlock", map[string]string{"password": password}, nil)
	var self client.Self
	p.call(http.MethodGet, "self", nil, &self)
	if self.Username != "alice" {
		t.Errorf("got %+v", self)
	}
}

func (p *page) create(server, username, name string) {
	p.t.Helper()
	_, text := p.do(http.MethodPost, "app/create", map[string]string{
		"username": username, "display_name": name, "server": server, "password": password, "invite": "",
	})
	var steps []client.ProgressStep
	var last string
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		last = lines.Text()
		var line struct {
			Progress *struct {
				Step  client.ProgressStep
				Done  int
				Total int
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			p.t.Fatal(err)
		}
		if line.Progress != nil && !slices.Contains(steps, line.Progress.Step) {
			steps = append(steps, line.Progress.Step)
		}
	}
	if last != `{"done":true}` {
		p.t.Fatalf("the last line is %s", last)
	}
	want := []client.ProgressStep{
		client.ProgressVault, client.ProgressAccountKey, client.ProgressIdentityKey,
		client.ProgressSignedPreKey, client.ProgressOneTime, client.ProgressUpload,
	}
	if !slices.Equal(steps, want) {
		p.t.Errorf("steps %v", steps)
	}
}

// A name that is taken, and a relay that is not there, are told in the stream.
func TestCreateRefused(t *testing.T) {
	server := startRelay(t)
	open(t, newApp(t, webui.Config{})).create(server, "alice", "Alice")
	p := open(t, newApp(t, webui.Config{}))
	for server, want := range map[string]client.Code{server: client.CodeNameTaken, "http://127.0.0.1:1": client.CodeUnreachable} {
		_, text := p.do(http.MethodPost, "app/create", map[string]string{
			"username": "alice", "display_name": "", "server": server, "password": password, "invite": "",
		})
		if !bytes.Contains(text, []byte(`{"error":{"code":"`+string(want)+`"`)) {
			t.Errorf("%s: got %s", server, text)
		}
	}
	if got := p.state(); got.State != "none" {
		t.Errorf("something is left: %+v", got)
	}
	p.create(server, "alicia", "Alicia")
}

// Preferences survive; a damaged file does not keep the window from opening.
func TestPreferences(t *testing.T) {
	state := t.TempDir()
	p := open(t, newApp(t, webui.Config{State: state}))
	prefs := p.state().Preferences
	if prefs.Notify != "name" || prefs.KeepRunning || prefs.TextSize != 100 {
		t.Errorf("defaults: %+v", prefs)
	}
	prefs.Theme, prefs.KeepRunning = "dark", true
	p.post("app/preferences", prefs, nil)
	if got := open(t, newApp(t, webui.Config{State: state})).state().Preferences; got != prefs {
		t.Errorf("after a restart: %+v", got)
	}
	wrong := prefs
	wrong.Notify = "everything"
	if status, code := p.refused("app/preferences", wrong); status < 400 || code != client.CodeUsage {
		t.Errorf("wrong ones: %d %s", status, code)
	}
	for _, text := range []string{"", "{", "null", `{"theme":"mauve"}`, "\x00"} {
		if err := os.WriteFile(filepath.Join(state, "preferences.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := open(t, newApp(t, webui.Config{State: state})).state().Preferences; got.Theme != "system" {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

// The code of a text has the size and the corners of a QR code; texts that do not
// fit are refused.
func TestQR(t *testing.T) {
	p := open(t, newApp(t, webui.Config{}))
	var out struct{ Rows []string }
	p.post("app/qr", map[string]string{"text": "https://example.org/add#abc"}, &out)
	n := len(out.Rows)
	if n < 21 || (n-17)%4 != 0 || !strings.HasPrefix(out.Rows[0], "11111110") || !strings.HasSuffix(out.Rows[0], "01111111") ||
		!strings.HasPrefix(out.Rows[n-1], "11111110") {
		t.Errorf("not a code: %q", out.Rows)
	}
	for _, text := range []string{"", strings.Repeat("x", 513)} {
		if status, code := p.refused("app/qr", map[string]string{"text": text}); status < 400 || code != client.CodeUsage {
			t.Errorf("%d bytes: %d %s", len(text), status, code)
		}
	}
}

// notices collects what the desktop would show.
type notices chan webui.Notice

func (n notices) notify(_ context.Context, notice webui.Notice) error {
	n <- notice
	return nil
}

// Notifications show what the preferences let them, count what is unread, and are
// silent while somebody looks at the page.
func TestNotices(t *testing.T) {
	server := startRelay(t)
	shown := make(notices, 10)
	alice := open(t, newApp(t, webui.Config{Notify: shown.notify}))
	alice.create(server, "alice", "Alice")
	bob := open(t, newApp(t, webui.Config{}))
	bob.create(server, "bob", "Bo\u202eb")
	send := func(text string) { bob.post("messages/send", map[string]any{"who": "alice", "text": text}, nil) }

	bob.post("contacts/add", map[string]string{"who": "alice"}, nil)
	if got := <-shown; got.Title != "ChatE2E" || got.Text != "Someone wants to chat with you" {
		t.Errorf("a request: %+v", got)
	}
	alice.post("contacts/accept", map[string]string{"who": "bob"}, nil)
	prefs := alice.state().Preferences
	for i, c := range []struct{ shows, title, text string }{
		{"text", "Bob", "secret of \u4e00 number 0"},
		{"name", "Bob", "New message"},
		{"nothing", "ChatE2E", "New message"},
	} {
		prefs.Notify = c.shows
		alice.post("app/preferences", prefs, nil)
		send("secret\tof \u4e00\n number\u200b 0\u202e")
		got := <-shown
		text, unread, _ := strings.Cut(got.Text, " · ")
		if got.Title != c.title || text != c.text || got.Unread != i+2 || unread == "" {
			t.Errorf("%s: %+v", c.shows, got)
		}
	}
	prefs.Notify = "text"
	alice.post("app/preferences", prefs, nil)
	alice.post("settings/set", map[string]string{"key": "language", "value": "zh"}, nil)

	// While a page with the focus is open there is none. What comes next tells that
	// nothing came before it.
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, alice.base+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+alice.key)
	stream, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	alice.post("app/focus", map[string]bool{"focused": true}, nil)
	send("not to be told")
	lines := bufio.NewScanner(stream.Body)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "not to be told") {
			break
		}
	}
	alice.post("app/focus", map[string]bool{"focused": false}, nil)
	send("to be told")
	if got := <-shown; !strings.HasPrefix(got.Text, "to be told · ") || !strings.HasSuffix(got.Text, "条未读") {
		t.Errorf("after looking away: %+v", got)
	}
	leave()
	_ = stream.Body.Close()

	prefs.Notify = "off"
	alice.post("app/preferences", prefs, nil)
	send("silence")
	var items localapi.Items
	await(t, "received", func() bool {
		alice.post("messages/search", map[string]any{"query": "silence", "limit": 10}, &items)
		return len(items.Items) == 1
	})
	prefs.Notify = "text"
	alice.post("app/preferences", prefs, nil)
	send(strings.Repeat("long ", 100))
	if got := <-shown; len(got.Text) > 200 || !strings.Contains(got.Text, "…") {
		t.Errorf("a long text: %+v", got)
	}
}

// The lab is there without a profile, and begins anew when asked.
func TestLab(t *testing.T) {
	p := open(t, newApp(t, webui.Config{}))
	var s client.LabState
	p.call(http.MethodGet, "app/lab", nil, &s)
	if len(s.Parties) != 2 || len(s.Wire) != 0 {
		t.Fatalf("at first: %+v", s)
	}
	p.post("app/lab/send", map[string]string{"from": "Alice", "text": "hello"}, &s)
	p.post("app/lab/envelope", map[string]any{"verb": "flip", "number": 1}, &s)
	p.post("app/lab/envelope", map[string]any{"verb": "deliver", "number": 1}, &s)
	if s.Wire[0].State != client.LabRefused || len(s.Parties[1].Read) != 0 {
		t.Errorf("a changed envelope: %+v", s)
	}
	p.post("app/lab/envelope", map[string]any{"verb": "flip", "number": 1}, &s)
	p.post("app/lab/envelope", map[string]any{"verb": "deliver", "number": 1}, &s)
	if len(s.Parties[1].Read) != 1 || s.Parties[1].Read[0].Text != "hello" {
		t.Errorf("the right envelope: %+v", s)
	}
	for _, body := range []map[string]any{{"verb": "drop", "number": 1}, {"verb": "deliver", "number": 2}, {"verb": "eat", "number": 1}} {
		if status, code := p.refused("app/lab/envelope", body); status < 400 || code != client.CodeUsage {
			t.Errorf("%v: %d %s", body, status, code)
		}
	}
	p.post("app/lab/reset", struct{}{}, &s)
	if len(s.Wire) != 0 {
		t.Errorf("anew: %+v", s)
	}
}
