//go:build unix

package webui_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/localapi"
	"github.com/chate2e/chate2e/internal/webui"
)

// browser puts a program on the path that notes what it was started with, and ends
// when it is told to.
type browser struct {
	t   *testing.T
	dir string
}

func fakeBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{t: t, dir: t.TempDir()}
	script := fmt.Sprintf("#!/bin/sh\ntr '\\0' '\\n' </proc/$$/cmdline >%[1]s/args.new\nenv >%[1]s/env\n"+
		"mv %[1]s/args.new %[1]s/args\nwhile [ -d %[1]s ] && ! [ -e %[1]s/end ]; do sleep 0.02; done\n", b.dir)
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("no /proc")
	}
	if err := os.WriteFile(filepath.Join(b.dir, "chromium"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", b.dir+":/usr/bin:/bin")
	t.Setenv("DISPLAY", ":nowhere")
	t.Cleanup(b.end)
	return b
}

func (b *browser) end() { _ = os.WriteFile(filepath.Join(b.dir, "end"), nil, 0o600) }

func (b *browser) read(name string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	await(b.t, "started", func() bool { _, err := os.Stat(path); return err == nil })
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

var linkPattern = regexp.MustCompile(`url=(http://127\.0\.0\.1:\d+/#t=([\w-]+))"`)

// The browser gets the token through a file that only its user can read, and in no
// other way.
func TestTokenIsInNoArgument(t *testing.T) {
	b := fakeBrowser(t)
	state := t.TempDir()
	app := newApp(t, webui.Config{State: state})
	p := open(t, app)
	if err := app.Open(t.Context(), p.at, webui.Window{X: 1, Y: 2, Width: 300, Height: 400}); err != nil {
		t.Fatal(err)
	}
	arguments := b.read("args")
	file := filepath.Join(state, "launch.html")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the launch page: %v, %v", info, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := linkPattern.FindStringSubmatch(string(text))
	if found == nil {
		t.Fatalf("no link in %s", text)
	}
	for _, want := range []string{"--app=file://" + file, "--window-size=300,400", "--window-position=1,2"} {
		if !strings.Contains(arguments, want+"\n") {
			t.Errorf("the arguments lack %s:\n%s", want, arguments)
		}
	}
	for name, text := range map[string]string{"arguments": arguments, "environment": b.read("env")} {
		if strings.Contains(text, found[2]) || strings.Contains(text, "#t=") {
			t.Errorf("the token is in the %s:\n%s", name, text)
		}
	}
	p.key = found[2]
	if got, _ := p.do(http.MethodPost, "token", nil); got != http.StatusOK {
		t.Errorf("the link does not work: %d", got)
	}
}

// Without a display there is no window.
func TestNoDisplay(t *testing.T) {
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	app := newApp(t, webui.Config{})
	if err := app.Open(t.Context(), address(testHost), webui.Window{}); !errors.Is(err, webui.ErrNoBrowser) {
		t.Errorf("got %v", err)
	}
}

// The app is closed when neither a browser nor a page is left: not while the
// browser that was started has handed over to one that runs already, and not with
// "keep running".
func TestClosed(t *testing.T) {
	b := fakeBrowser(t)
	app := newApp(t, webui.Config{})
	app.ClosesAfter(20 * time.Millisecond)
	p := open(t, app)
	if err := app.Open(t.Context(), p.at, webui.Window{}); err != nil {
		t.Fatal(err)
	}
	b.read("args")
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/api/v1/app/page", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b.end() // the page stays

	closed := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		return app.Closed(ctx)
	}
	if err := closed(200 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a page: %v", err)
	}
	prefs := p.state().Preferences
	prefs.KeepRunning = true
	p.post("app/preferences", prefs, nil)
	leave()
	if err := closed(200 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with keep running: %v", err)
	}
	prefs.KeepRunning = false
	p.post("app/preferences", prefs, nil)
	if err := closed(20 * time.Second); err != nil {
		t.Errorf("without a page: %v", err)
	}
}

// A second start finds the one that runs, and has it open one more window, or gets
// a link where none can be opened.
func TestSecondStart(t *testing.T) {
	state := t.TempDir()
	if _, running, err := webui.Running(t.Context(), state, false); running || err != nil {
		t.Fatalf("nothing runs yet: %v, %v", running, err)
	}
	app := newApp(t, webui.Config{State: state})
	p := open(t, app)
	l, err := localapi.Listen(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { _ = localapi.Serve(ctx, l, app.Control(p.at)) })
	t.Cleanup(func() {
		stop()
		serving.Wait()
	})

	link, running, err := webui.Running(t.Context(), state, false)
	if err != nil || !running {
		t.Fatalf("got %v, %v", running, err)
	}
	p.key = tokenOf(t, link)
	if got, _ := p.do(http.MethodPost, "token", nil); got != http.StatusOK {
		t.Errorf("the link does not work: %d", got)
	}

	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	if link, _, err = webui.Running(t.Context(), state, true); err != nil || link == "" {
		t.Errorf("without a display: %q, %v", link, err)
	}
	b := fakeBrowser(t)
	if link, _, err = webui.Running(t.Context(), state, true); err != nil || link != "" {
		t.Errorf("with one: %q, %v", link, err)
	}
	b.read("args")
}
