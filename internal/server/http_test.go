package server_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

var update = flag.Bool("update", false, "write docs/openapi.yaml")

// answer is what came back on a request made by hand.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	problem relay.Problem
}

// http makes a request. The token may be empty; the body is marshalled, or sent as
// it is if it is a string.
func (n *node) http(t *testing.T, method, path, token string, body any, headers ...string) answer {
	t.Helper()
	a, err := n.try(t, method, path, token, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is http where the connection may end without an answer.
func (n *node) try(t *testing.T, method, path, token string, body any, headers ...string) (answer, error) {
	t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, string(n.origin)+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else {
			req.Header.Add(headers[i], headers[i+1])
		}
	}
	res, err := n.httpClient().Transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return answer{}, err
	}
	if res.StatusCode >= 400 {
		if got := res.Header.Get("Content-Type"); got != relay.ProblemType {
			t.Errorf("%s %s: status %d with content type %q", method, path, res.StatusCode, got)
		}
		if err := json.Unmarshal(a.body, &a.problem); err != nil || a.problem.Status != res.StatusCode || a.problem.Code.Status() != res.StatusCode {
			t.Errorf("%s %s: status %d with problem %s", method, path, res.StatusCode, a.body)
		}
	}
	return a, nil
}

// httpClient opens a connection of its own for every request.
func (n *node) httpClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.dial, DisableKeepAlives: true}}
}

func (n *node) challenge(t *testing.T) []byte {
	t.Helper()
	a := n.http(t, "POST", "/v1/challenge", "", nil)
	var r relay.ChallengeResponse
	if err := json.Unmarshal(a.body, &r); err != nil || a.status != 200 {
		t.Fatalf("challenge: status %d, %s", a.status, a.body)
	}
	return r.Challenge
}

// logIn returns the refusal, or nil.
func (n *node) logIn(t *testing.T, address relay.Address, proof relay.Proof) error {
	t.Helper()
	a := n.http(t, "POST", "/v1/token", "", relay.TokenRequest{UserID: address.User, Device: address.Device, Proof: proof})
	if a.status == 200 {
		return nil
	}
	return a.problem.Err()
}

func (n *node) token(t *testing.T, p *person) string {
	t.Helper()
	a := n.http(t, "POST", "/v1/token", "", relay.TokenRequest{UserID: p.address.User, Device: p.address.Device, Proof: p.proof(n, n.challenge(t))})
	var r relay.TokenResponse
	if err := json.Unmarshal(a.body, &r); err != nil || a.status != 200 {
		t.Fatalf("token: status %d, %s", a.status, a.body)
	}
	return r.Token
}

// operation is one method of one path in docs/openapi.yaml.
type operation struct {
	method, path string
	open, body   bool
}

// operations reads docs/openapi.yaml by its indentation: the paths, the methods,
// what needs no credential, what takes a body.
func operations(t *testing.T) []operation {
	t.Helper()
	b, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var (
		ops  []operation
		path string
	)
	_, rest, _ := strings.Cut(string(b), "\npaths:\n")
	isPath, isMethod := regexp.MustCompile(`^  "?(/[^":]*)"?:$`), regexp.MustCompile(`^    (get|put|post|delete|patch|head|options):$`)
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, "\n")
		if line != "" && line[0] != ' ' {
			break
		}
		if m := isPath.FindStringSubmatch(line); m != nil {
			path = m[1]
		}
		if m := isMethod.FindStringSubmatch(line); m != nil {
			ops = append(ops, operation{method: strings.ToUpper(m[1]), path: path})
		}
		switch line {
		case "      security: []":
			ops[len(ops)-1].open = true
		case "      requestBody:":
			ops[len(ops)-1].body = true
		}
	}
	if len(ops) < 15 {
		t.Fatalf("only %d operations found in the description", len(ops))
	}
	return ops
}

func (o operation) concrete(user relay.UserID) string {
	return strings.NewReplacer("{user_id}", user.String(), "{username}", "nobody").Replace(o.path)
}

// The description and the routes are the same: each described operation is there,
// and each pattern of the mux is described.
func TestTheDescriptionIsTheRoutes(t *testing.T) {
	n := start(t, open())
	alice := n.register(t)
	token := n.token(t, alice)

	served := n.http(t, "GET", "/openapi.json", "", nil)
	if served.status != 200 || !bytes.Equal(served.body, server.DescriptionJSON()) {
		t.Errorf("openapi.json: status %d", served.status)
	}
	var document struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(served.body, &document); err != nil || document.OpenAPI != "3.1.0" {
		t.Fatalf("openapi.json: %v, version %q", err, document.OpenAPI)
	}
	described := make(map[string][]string)
	for _, op := range operations(t) {
		described[op.path] = append(described[op.path], op.method)
		if _, ok := document.Paths[op.path][strings.ToLower(op.method)]; !ok {
			t.Errorf("%s %s is in docs/openapi.yaml and not in openapi.json", op.method, op.path)
		}
	}
	for path, methods := range document.Paths {
		for method := range methods {
			if !slices.Contains(described[path], strings.ToUpper(method)) {
				t.Errorf("%s %s is in openapi.json and not in docs/openapi.yaml", method, path)
			}
		}
	}
	if *update {
		if err := os.WriteFile("../../docs/openapi.yaml", server.DescriptionYAML(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, server.DescriptionYAML()) {
		t.Error("docs/openapi.yaml is out of date; run: go generate ./internal/server")
	}

	// Every method on every path: described ones are routed, others are not.
	for path, methods := range described {
		op := operation{path: path}
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			if path == "/v1/account" && method == "DELETE" {
				continue // it works, as another test shows
			}
			status := n.http(t, method, op.concrete(relay.UserID{}), token, nil).status
			isRouted := status != http.StatusMethodNotAllowed
			if isRouted != slices.Contains(methods, method) {
				t.Errorf("%s %s: status %d, described methods %v", method, path, status, methods)
			}
			if isRouted && status == http.StatusNotFound && !strings.Contains(path, "{") {
				t.Errorf("%s %s is described and not there", method, path)
			}
		}
	}
	for _, pattern := range n.server.Patterns() {
		method, path, _ := strings.Cut(pattern, " ")
		if !slices.Contains(described[path], method) {
			t.Errorf("%s is served and not described", pattern)
		}
	}
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/nothing", "/v1/messages/", "/metrics", "/debug/pprof/"} {
		if got := n.http(t, "GET", path, token, nil); got.status != http.StatusNotFound {
			t.Errorf("GET %s: status %d", path, got.status)
		}
	}
}

// Without a credential nothing answers but what must.
func TestNothingAnswersStrangers(t *testing.T) {
	n := start(t, open())
	alice := n.register(t)
	expected := map[string]bool{
		"POST /v1/register": true, "POST /v1/challenge": true, "POST /v1/token": true,
		"GET /healthz": true, "GET /readyz": true, "GET /openapi.json": true, "GET /add": true,
	}
	for _, op := range operations(t) {
		if op.open != expected[op.method+" "+op.path] {
			t.Errorf("%s %s: open is %v", op.method, op.path, op.open)
		}
		credentials := map[string][]string{
			"none":            nil,
			"an empty one":    {"Authorization", ""},
			"Basic":           {"Authorization", "Basic YTpi"},
			"a made-up token": {"Authorization", "Bearer " + relay.NewToken().Text()},
			"no token":        {"Authorization", "Bearer "},
			"two":             {"Authorization", "Bearer " + n.token(t, alice), "Authorization", "Bearer " + n.token(t, alice)},
			"in the query":    nil,
			"a cookie":        {"Cookie", "token=" + n.token(t, alice)},
		}
		for name, headers := range credentials {
			path := op.concrete(alice.address.User)
			if name == "in the query" {
				path += "?token=" + n.token(t, alice) + "&access_token=" + n.token(t, alice)
			}
			var body any
			if op.body {
				body = "this would be refused as a body"
			}
			got := n.http(t, op.method, path, "", body, headers...)
			if (got.status != http.StatusUnauthorized) != op.open {
				t.Errorf("%s %s with %s: status %d", op.method, op.path, name, got.status)
			}
			if got.status == http.StatusUnauthorized && !op.open && got.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s: no WWW-Authenticate", op.method, op.path)
			}
		}
	}
	// Nor does anything else, whether it exists or not.
	for _, path := range []string{
		"/", "/v1", "/v1/", "/nothing", "/v1/Register", "/V1/register", "/v1/register/", "//v1/register", "/v1//register", "/v1/../v1/account",
		"/healthz/", "/HEALTHZ", "/metrics", "/add/x", "/v1/ws/", "/.git/config", "/%2e%2e/", "/v1/users/x/y",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"} {
			got := n.rawStatus(t, method, path)
			if got != http.StatusUnauthorized {
				t.Errorf("%s %s: status %d", method, path, got)
			}
		}
	}
}

// What is not a request to a path gets no other answer.
func TestRequestsWithoutAPath(t *testing.T) {
	n := start(t, open())
	for _, line := range []string{"OPTIONS * HTTP/1.1", "PRI * HTTP/2.0", "GET http:///v1/account HTTP/1.1", "CONNECT example.org:443 HTTP/1.1", "GET /v1/account HTTP/1.0"} {
		conn, err := n.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, line+"\r\nHost: relay.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		status, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(status, " 401 ") {
			t.Errorf("%s: %q, %v", line, status, err)
		}
		_ = conn.Close()
	}
}

// A panic is for the operator to read, without the address it was met at; what else
// goes wrong with a connection is not.
func TestPanicsAreLogged(t *testing.T) {
	var b bytes.Buffer
	web := &http.Server{
		Handler:           http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") }),
		ErrorLog:          log.New(server.PanicLog(slog.New(slog.NewTextHandler(&b, nil))), "", 0),
		ReadHeaderTimeout: time.Minute,
	}
	p := newPipes()
	var serving sync.WaitGroup
	serving.Go(func() { _ = web.Serve(p) })
	res, err := (&http.Transport{DialContext: p.dial}).RoundTrip(httptest.NewRequestWithContext(t.Context(), "GET", "http://relay.test/", nil))
	if err == nil {
		_ = res.Body.Close()
		t.Error("a handler that panics has answered")
	}
	if err := web.Close(); err != nil {
		t.Fatal(err)
	}
	serving.Wait()
	if text := b.String(); !strings.Contains(text, "a bug") || !strings.Contains(text, "TestPanicsAreLogged") || strings.Contains(text, "pipe:") {
		t.Errorf("the log says: %s", text)
	}
	b.Reset()
	web.ErrorLog.Printf("http: TLS handshake error from 192.0.2.1:5: EOF")
	if b.Len() != 0 {
		t.Errorf("the log says: %s", b.String())
	}
}

// rawStatus makes a request without a credential, and without looking at the body.
func (n *node) rawStatus(t *testing.T, method, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, string(n.origin), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque = "//relay.test" + path
	res, err := n.httpClient().Transport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// Alice's credential does nothing to Bob's things, whatever she asks for.
func TestNobodyTouchesAnothersThings(t *testing.T) {
	n := start(t, open())
	ctx := t.Context()
	alice, bob, carol := n.register(t), n.register(t), n.register(t)
	if err := carol.client.Send(ctx, bob.address.User, outgoing("for Bob")); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.client.PutPrekeys(ctx, []relay.Prekey{{Kind: relay.PrekeyECOneTime, ID: 5, Key: []byte("Bob's")}}); err != nil {
		t.Fatal(err)
	}
	before, more, err := bob.client.Pull(ctx, 0, 10)
	if err != nil || more || len(before) != 1 {
		t.Fatalf("Bob's mailbox: %v, %v, %v", before, more, err)
	}
	token := n.token(t, alice)
	handle := before[0].Handle
	ids := []string{"", "?user_id=" + bob.address.User.String(), "?device=1"}
	bodies := map[string]any{
		"/v1/messages/ack":            relay.AckRequest{Envelopes: []relay.Handle{handle}},
		"/v1/messages":                relay.SendRequest{To: bob.address.User, Envelopes: outgoing("from Alice")},
		"/v1/prekeys":                 relay.PrekeysRequest{Prekeys: standing()},
		"/v1/account/devices":         relay.DevicesRequest{DeviceList: bob.list},
		"/v1/users/{user_id}/bundles": relay.BundlesRequest{},
	}
	for _, op := range operations(t) {
		if op.open {
			continue
		}
		for _, query := range ids {
			if op.method == "DELETE" && query == "" {
				continue // deletes Alice's own, at the end
			}
			var body any
			if op.body {
				body = bodies[op.path]
				if body == nil {
					t.Fatalf("no body for %s %s", op.method, op.path)
				}
			}
			path := op.concrete(bob.address.User) + query
			if op.method == "DELETE" {
				path = op.concrete(bob.address.User) // with a body that names Bob
				got := n.http(t, op.method, path, token, fmt.Sprintf(`{"user_id":%q}`, bob.address.User))
				if got.status == 204 {
					token = n.token(t, n.reregister(t, alice))
				}
				continue
			}
			got := n.http(t, op.method, path, token, body)
			if got.status >= 500 {
				t.Errorf("%s %s: status %d %s", op.method, path, got.status, got.body)
			}
			if bytes.Contains(got.body, []byte("for Bob")) {
				t.Errorf("%s %s shows Bob's envelope", op.method, path)
			}
		}
	}
	// Over the socket: acknowledging what is Bob's.
	conn := alice.connect(t)
	drain(t, conn)
	if err := conn.Ack(ctx, handle); err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(ctx, carol.address.User, outgoing("a round trip")); err != nil {
		t.Fatal(err)
	}
	after, _, err := bob.client.Pull(ctx, 0, 10)
	if err != nil || len(after) == 0 || after[0].Handle != handle || string(after[0].Body) != "for Bob" {
		t.Errorf("Bob's mailbox afterwards: %+v, %v", after, err)
	}
	a, err := bob.client.Account(ctx)
	if err != nil || !bytes.Equal(a.DeviceList, bob.list) {
		t.Errorf("Bob's account afterwards: %+v, %v", a, err)
	}
	counts, err := bob.client.Prekeys(ctx)
	if err != nil || counts.Signed == nil || counts.Signed.ID != 1 {
		t.Errorf("Bob's prekeys afterwards: %+v, %v", counts, err)
	}
}

// Every body that is not strict JSON is refused, everywhere, and changes nothing.
func TestStrictBodiesEverywhere(t *testing.T) {
	o := open()
	o.tcp = true // room for the rest of a body that is refused half-way
	n := start(t, o)
	alice := n.register(t)
	token := n.token(t, alice)
	good := map[string]string{
		"/v1/token":                   `{"user_id":"` + alice.address.User.String() + `","device":1,"proof":{"origin":"` + string(n.origin) + `","challenge":"","signature":""}}`,
		"/v1/register":                `{"device_list":"","device":1,"proof":{"origin":"` + string(n.origin) + `","challenge":"","signature":""},"prekeys":[]}`,
		"/v1/account/devices":         `{"device_list":""}`,
		"/v1/prekeys":                 `{"prekeys":[]}`,
		"/v1/users/{user_id}/bundles": `{}`,
		"/v1/messages":                `{"to":"` + alice.address.User.String() + `","envelopes":[]}`,
		"/v1/messages/ack":            `{"envelopes":[]}`,
	}
	seen := 0
	for _, op := range operations(t) {
		if !op.body {
			continue
		}
		seen++
		body, ok := good[op.path]
		if !ok {
			t.Fatalf("no body for %s %s", op.method, op.path)
		}
		path := op.concrete(alice.address.User)
		first, _, _ := strings.Cut(strings.TrimPrefix(body, `{"`), `"`)
		inside := strings.TrimSuffix(strings.TrimPrefix(body, "{"), "}")
		join := func(extra string) string {
			if inside == "" {
				return "{" + extra + "}"
			}
			return "{" + inside + "," + extra + "}"
		}
		bad := map[string]string{
			"an unknown key":      join(`"x":1`),
			"trailing data":       body + "{}",
			"a trailing byte":     body + "x",
			"invalid UTF-8":       join("\"x\xff\":1"),
			"null":                `null`,
			"a list":              "[" + body + "]",
			"10,000 deep":         join(`"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000)),
			"10,000 deep objects": strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000),
			"nothing":             "",
			"half":                strings.TrimSuffix(body, "}"),
		}
		if inside != "" {
			_, value, _ := strings.Cut(inside, ":")
			bad["a duplicate key"] = `{"` + first + `":` + value + `,"` + first + `":` + value + `}`
			bad["a wrong-case key"] = `{"` + strings.ToUpper(first[:1]) + first[1:] + strings.TrimPrefix(body, `{"`+first)
			bad["a wrong-case key beside"] = join(`"` + strings.ToUpper(first) + `":1`)
			bad["a missing key"] = `{}`
		}
		for name, text := range bad {
			got := n.http(t, op.method, path, token, text)
			if got.status != 400 || got.problem.Code != relay.CodeBadJSON {
				t.Errorf("%s %s with %s: status %d %s", op.method, path, name, got.status, got.body)
			}
		}
		// The same body, well formed, gets further.
		if got := n.http(t, op.method, path, token, body); got.problem.Code == relay.CodeBadJSON {
			t.Errorf("%s %s with a good body: %s", op.method, path, got.body)
		}
		for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", ""} {
			req := n.http(t, op.method, path, token, nil, "Content-Type", media)
			if req.status != http.StatusUnsupportedMediaType {
				t.Errorf("%s %s as %q: status %d", op.method, path, media, req.status)
			}
		}
		if got := n.http(t, op.method, path, token, body, "Content-Encoding", "gzip"); got.status != http.StatusUnsupportedMediaType {
			t.Errorf("%s %s compressed: status %d", op.method, path, got.status)
		}
		// A client that is still sending when the connection ends sees that, and perhaps
		// not the answer.
		refused := false
		for _, size := range []int{200 << 10, relay.MaxRequest} {
			var got answer
			err := error(syscall.ECONNRESET)
			for tries := 0; tries < 20 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)); tries++ {
				got, err = n.try(t, op.method, path, token, `{"x":"`+strings.Repeat("y", size)+`"}`)
			}
			if err != nil {
				t.Fatalf("%s %s with %d bytes: %v", op.method, path, size, err)
			}
			if refused = got.status == http.StatusRequestEntityTooLarge; refused {
				break
			}
			if got.problem.Code != relay.CodeBadJSON {
				t.Errorf("%s %s with %d bytes: status %d", op.method, path, size, got.status)
			}
		}
		if !refused {
			t.Errorf("%s %s takes bodies of any size", op.method, path)
		}
	}
	if seen != len(good) {
		t.Errorf("%d operations with a body, %d bodies", seen, len(good))
	}
	a, err := alice.client.Account(t.Context())
	if err != nil || !bytes.Equal(a.DeviceList, alice.list) {
		t.Errorf("the account afterwards: %+v, %v", a, err)
	}
}

// reregister makes an account again that was deleted.
func (n *node) reregister(t *testing.T, p *person) *person {
	t.Helper()
	if err := p.client.Register(t.Context(), registration(p)); err != nil {
		t.Fatalf("registering again: %v", err)
	}
	return p
}

func TestHostileStringsInPaths(t *testing.T) {
	n := start(t, open())
	token := n.token(t, n.register(t))
	for _, s := range []string{
		"%27%20OR%201%3D1--", "%25", "_", "%00", "a%00b", "%22", "%5c", "%2e%2e", "%e2%80%ae", "%ff", "*", "%3Cscript%3E", strings.Repeat("a", 5000), "%0d%0aX:1",
	} {
		for _, path := range []string{"/v1/usernames/" + s, "/v1/users/" + s + "/devices"} {
			if got := n.http(t, "GET", path, token, nil); got.status != http.StatusNotFound {
				t.Errorf("GET %.60s: status %d", path, got.status)
			}
		}
	}
	for _, query := range []string{"after=-1", "after=x", "limit=0", "limit=1001", "limit=1&limit=2", "other=1", "after=99999999999999999999", "after=1;limit=2"} {
		if got := n.http(t, "GET", "/v1/messages?"+query, token, nil); got.status != 400 {
			t.Errorf("GET /v1/messages?%s: status %d", query, got.status)
		}
	}
}

func TestTheAddPage(t *testing.T) {
	n := start(t, open())
	got := n.http(t, "GET", "/add", "", nil)
	if got.status != 200 || !strings.Contains(got.header.Get("Content-Type"), "text/html") {
		t.Fatalf("status %d, %s", got.status, got.header.Get("Content-Type"))
	}
	policy := got.header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if bytes.Contains(got.body, []byte("<script")) || bytes.Contains(got.body, []byte("http")) {
		t.Error("the page has a script or refers to another place")
	}
}
