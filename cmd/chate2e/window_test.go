package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// start runs a command that goes on, until the test ends, and returns the first
// line of its output.
func start(t *testing.T, args ...string) (line string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	var running sync.WaitGroup
	var code int
	var errs strings.Builder
	running.Go(func() {
		code = run(ctx, args, strings.NewReader(""), w, &errs)
		_ = w.Close()
	})
	stop = sync.OnceValue(func() int {
		cancel()
		_ = r.Close()
		running.Wait()
		return code
	})
	t.Cleanup(func() { stop() })
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		t.Fatalf("%v printed nothing and ended with %d:\n%s", args, stop(), &errs)
	}
	return lines.Text(), stop
}

var pageLink = regexp.MustCompile(`^http://127\.0\.0\.1:\d+/#t=[\w-]{43}$`)

// opens reports whether the page is there for everybody, and the API for nobody.
func opens(t *testing.T, link string) {
	t.Helper()
	if !pageLink.MatchString(link) {
		t.Fatalf("not a link: %q", link)
	}
	base, _, _ := strings.Cut(link, "#")
	for path, want := range map[string]int{"": http.StatusOK, "api/v1/self": http.StatusUnauthorized, "api/v1/token": http.StatusUnauthorized} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("GET /%s: %d, want %d", path, answer.StatusCode, want)
		}
	}
}

// The app prints its link at once, before there is a profile; a second one gets
// another link of the first; an interrupt ends it in order.
func TestAppWithoutWindow(t *testing.T) {
	home := t.TempDir()
	args := []string{"app", "--no-window", "--json", "--home", home}
	line, stop := start(t, args...)
	var out struct{ URL string }
	if err := json.Unmarshal([]byte(line), &out); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	opens(t, out.URL)
	first := out.URL
	if line, _ = start(t, args...); json.Unmarshal([]byte(line), &out) != nil || out.URL == first {
		t.Fatalf("the second one printed %q", line)
	}
	opens(t, out.URL)
	if before, _, _ := strings.Cut(first, "#"); !strings.HasPrefix(out.URL, before) {
		t.Errorf("the second one serves by itself: %s and %s", first, out.URL)
	}
	if code := stop(); code != exitOK {
		t.Errorf("an interrupt: exit %d", code)
	}
	if left, err := filepath.Glob(filepath.Join(home, "windows", "*", "socket")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// The demo without windows prints a link for each of two people, who are friends,
// and leaves nothing behind.
func TestDemoWithoutWindow(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	line, stop := start(t, "demo", "--no-window", "--json", "--lang", "zh")
	links := map[string]string{}
	if err := json.Unmarshal([]byte(line), &links); err != nil || len(links) != 2 {
		t.Fatalf("%v in %q", err, line)
	}
	for _, name := range []string{"alice", "bob"} {
		opens(t, links[name])
		base, token, _ := strings.Cut(links[name], "#t=")
		ask := func(method, path, key string, out any) {
			r, err := http.NewRequestWithContext(t.Context(), method, base+"api/v1/"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+key)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = answer.Body.Close() }()
			if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
				t.Fatal(err)
			}
		}
		var session struct{ Key string }
		ask(http.MethodPost, "token", token, &session)
		var contacts struct {
			Contacts []struct{ Username, State string }
		}
		ask(http.MethodGet, "contacts", session.Key, &contacts)
		if len(contacts.Contacts) != 1 || contacts.Contacts[0].State != "accepted" || contacts.Contacts[0].Username == name {
			t.Errorf("%s has the contacts %+v", name, contacts)
		}
		var settings struct{ Settings map[string]string }
		ask(http.MethodGet, "settings", session.Key, &settings)
		if settings.Settings["language"] != "zh" {
			t.Errorf("%s: %v", name, settings)
		}
	}
	if code := stop(); code != exitOK {
		t.Errorf("an interrupt: exit %d", code)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
