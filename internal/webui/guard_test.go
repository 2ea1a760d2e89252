package webui_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/webui"
)

const testHost = "127.0.0.1:49152"

// untouched is the body of a request that nobody may read.
type untouched struct{ read bool }

func (u *untouched) Read([]byte) (int, error) { u.read = true; return 0, errors.New("read") }
func (u *untouched) Close() error             { return nil }

// allPaths are those of the API description, and the window's own.
func allPaths(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi-local.yaml")
	if err != nil {
		t.Fatal(err)
	}
	paths := append([]string{"/api/", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/../v1/self"}, webui.OwnPaths...)
	for _, m := range regexp.MustCompile(`(?m)^  (/api/v1/\S+):$`).FindAllStringSubmatch(string(text), -1) {
		paths = append(paths, m[1])
	}
	if len(paths) < 30 {
		t.Fatalf("only %d paths were found", len(paths))
	}
	return paths
}

// Every combination of host, origin, site, key and method on every route: only
// what the page itself asks for with its key gets through, and nothing else is
// even read.
func TestGuard(t *testing.T) {
	app := newApp(t, webui.Config{})
	handler := app.Handler(testHost)
	key := session(t, handler, app)

	type choice struct {
		value string
		good  bool
	}
	hosts := []choice{
		{testHost, true},
		{"localhost:49152", false},
		{"127.0.0.1", false},
		{"127.0.0.1:49153", false},
		{"127.0.0.1.:49152", false},
		{"rebound.example:49152", false},
		{"rebound.example", false},
		{"", false},
	}
	origins := []choice{
		{"", true},
		{"http://" + testHost, true},
		{"null", false},
		{"https://" + testHost, false},
		{"http://127.0.0.1:49153", false},
		{"http://localhost:49152", false},
		{"http://evil.example", false},
		{"http://" + testHost + ".evil.example", false},
		{"file://", false},
	}
	sites := []choice{{"", true}, {"same-origin", true}, {"none", false}, {"same-site", false}, {"cross-site", false}, {"unheard-of", false}}
	keys := []choice{
		{"Bearer " + key, true},
		{"", false},
		{"Bearer ", false},
		{"Bearer " + strings.Repeat("A", 43), false},
		{"Bearer " + key[:42], false},
		{"Bearer " + key + "A", false},
		{"bearer " + key, false},
		{"Basic " + key, false},
		{key, false},
	}
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions}
	gone, cancel := context.WithCancel(t.Context()) // streams end at once
	cancel()

	tried, passed := 0, 0
	try := func(path, method string, host, origin, site, auth choice) {
		body := &untouched{}
		r := httptest.NewRequestWithContext(gone, method, "/", body)
		r.URL.Path, r.Host = path, host.value
		for name, value := range map[string]string{
			"Origin": origin.value, "Sec-Fetch-Site": site.value, "Authorization": auth.value, "Content-Type": "application/json",
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)

		tried++
		want := 0
		switch {
		case !host.good || !origin.good || !site.good:
			want = http.StatusForbidden
		case !auth.good || path == webui.OwnPaths[0]: // a session key is no launch token
			want = http.StatusUnauthorized
		default:
			passed++
		}
		if want != 0 && (w.Code != want || body.read) ||
			want == 0 && (w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden) {
			t.Fatalf("%s %s, host %q, origin %q, site %q, key %q: got %d, body read %v, want %d",
				method, path, host.value, origin.value, site.value, auth.value, w.Code, body.read, want)
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
			t.Fatalf("%s %s: answered without a policy", method, path)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Set-Cookie") != "" {
			t.Fatalf("%s %s: lets others in: %v", method, path, w.Header())
		}
	}
	// Every value alone, and the first three of each in all combinations.
	for _, path := range allPaths(t) {
		for _, method := range methods {
			for _, host := range hosts {
				try(path, method, host, origins[0], sites[0], keys[0])
			}
			for _, origin := range origins {
				try(path, method, hosts[0], origin, sites[0], keys[0])
			}
			for _, site := range sites {
				try(path, method, hosts[0], origins[0], site, keys[0])
			}
			for _, auth := range keys {
				try(path, method, hosts[0], origins[0], sites[0], auth)
			}
			for _, host := range hosts[:3] {
				for _, origin := range origins[:3] {
					for _, site := range sites[:3] {
						for _, auth := range keys[:3] {
							try(path, method, host, origin, site, auth)
						}
					}
				}
			}
		}
	}
	t.Logf("%d requests, %d let through", tried, passed)
}

// Two headers of one name are not one that is right.
func TestGuardRepeatedHeaders(t *testing.T) {
	app := newApp(t, webui.Config{})
	handler := app.Handler(testHost)
	key := session(t, handler, app)
	for name, values := range map[string][]string{
		"Origin":         {"http://" + testHost, "http://evil.example"},
		"Sec-Fetch-Site": {"same-origin", "cross-site"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/app", http.NoBody)
		r.Host = testHost
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header[name] = values
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s %q: got %d", name, values, w.Code)
		}
	}
}

// The page itself may be opened from elsewhere as a whole window, and in no other
// way.
func TestGuardPage(t *testing.T) {
	handler := newApp(t, webui.Config{}).Handler(testHost)
	for _, c := range []struct {
		site, mode, dest, method string
		want                     int
	}{
		{"", "", "", "GET", http.StatusNotFound}, // the handler behind it in this test
		{"none", "navigate", "document", "GET", http.StatusNotFound},
		{"cross-site", "navigate", "document", "GET", http.StatusNotFound},
		{"same-origin", "no-cors", "script", "GET", http.StatusNotFound},
		{"cross-site", "navigate", "iframe", "GET", http.StatusForbidden},
		{"cross-site", "navigate", "document", "POST", http.StatusForbidden},
		{"cross-site", "no-cors", "script", "GET", http.StatusForbidden},
		{"cross-site", "cors", "empty", "GET", http.StatusForbidden},
		{"same-site", "no-cors", "image", "GET", http.StatusForbidden},
		{"same-site", "navigate", "embed", "GET", http.StatusForbidden},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, "/", http.NoBody)
		r.Host = testHost
		for name, value := range map[string]string{"Sec-Fetch-Site": c.site, "Sec-Fetch-Mode": c.mode, "Sec-Fetch-Dest": c.dest} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%+v: got %d", c, w.Code)
		}
	}
}
