package localapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

// Bodies that are refused before any verb sees them: the server has no engine.
func TestRefusedRequests(t *testing.T) {
	api := localapi.New(nil, localapi.Config{})
	const jsonType = "application/json"
	send := localapi.Prefix + "messages/send"
	for _, c := range []struct {
		name, method, path, mime, body string
		status                         int
		code                           client.Code
	}{
		{"unknown path", "GET", "/api/v1/nothing", "", "", 404, client.CodeUsage},
		{"outside", "GET", "/", "", "", 404, client.CodeUsage},
		{"wrong method", "GET", send, "", "", 405, client.CodeUsage},
		{"deleting", "DELETE", localapi.Prefix + "contacts", "", "", 405, client.CodeUsage},
		{"parameters", "GET", localapi.Prefix + "contacts?x=1", "", "", 400, client.CodeUsage},
		{"form", "POST", send, "application/x-www-form-urlencoded", `{"who":"a","text":"b"}`, 400, client.CodeUsage},
		{"text", "POST", send, "text/plain", `{"who":"a","text":"b"}`, 400, client.CodeUsage},
		{"no type", "POST", send, "", `{"who":"a","text":"b"}`, 400, client.CodeUsage},
		{"empty", "POST", send, jsonType, ``, 400, client.CodeUsage},
		{"no object", "POST", send, jsonType, `["a"]`, 400, client.CodeUsage},
		{"cut off", "POST", send, jsonType, `{"who":"a","text":"b"`, 400, client.CodeUsage},
		{"key missing", "POST", send, jsonType, `{"who":"a"}`, 400, client.CodeUsage},
		{"unknown key", "POST", send, jsonType, `{"who":"a","text":"b","x":1}`, 400, client.CodeUsage},
		{"wrong case", "POST", send, jsonType, `{"Who":"a","text":"b"}`, 400, client.CodeUsage},
		{"both cases", "POST", send, jsonType, `{"who":"a","text":"b","Text":"c"}`, 400, client.CodeUsage},
		{"twice", "POST", send, jsonType, `{"who":"a","text":"b","text":"c"}`, 400, client.CodeUsage},
		{"null", "POST", send, jsonType, `{"who":"a","text":null}`, 400, client.CodeUsage},
		{"nested", "POST", send, jsonType, `{"who":"a","text":{"text":"b"}}`, 400, client.CodeUsage},
		{"deep", "POST", send, jsonType, `{"who":` + strings.Repeat("[", 10000), 400, client.CodeUsage},
		{"number for text", "POST", send, jsonType, `{"who":"a","text":1}`, 400, client.CodeUsage},
		{"text for number", "POST", send, jsonType, `{"who":"a","text":"b","wait_ms":"1"}`, 400, client.CodeUsage},
		{"fraction", "POST", send, jsonType, `{"who":"a","text":"b","wait_ms":1.5}`, 400, client.CodeUsage},
		{"huge number", "POST", send, jsonType, `{"who":"a","text":"b","wait_ms":1e99}`, 400, client.CodeUsage},
		{"long wait", "POST", send, jsonType, `{"who":"a","text":"b","wait_ms":600001}`, 400, client.CodeUsage},
		{"negative wait", "POST", send, jsonType, `{"who":"a","text":"b","wait_ms":-1}`, 400, client.CodeUsage},
		{"no UTF-8", "POST", send, jsonType, "{\"who\":\"a\",\"text\":\"\xff\"}", 400, client.CodeUsage},
		{"trailing value", "POST", send, jsonType, `{"who":"a","text":"b"} {}`, 400, client.CodeUsage},
		{"trailing dirt", "POST", send, jsonType, `{"who":"a","text":"b"} x`, 400, client.CodeUsage},
		{"too large", "POST", send, jsonType, `{"who":"` + strings.Repeat("a", 1<<20) + `","text":"b"}`, 413, client.CodeTooLarge},
		{"limit 0", "POST", localapi.Prefix + "messages/take", jsonType, `{"limit":0}`, 400, client.CodeUsage},
		{"limit too large", "POST", localapi.Prefix + "messages/take", jsonType, `{"limit":1001}`, 400, client.CodeUsage},
		{"no lock", "POST", localapi.Prefix + "lock", jsonType, `{}`, 400, client.CodeUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader(c.body))
			if c.mime != "" {
				r.Header.Set("Content-Type", c.mime)
			}
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			var got localapi.Failure
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("body %q: %v", w.Body, err)
			}
			if w.Code != c.status || got.Error.Code != c.code || got.Error.Message == "" {
				t.Errorf("got %d %+v, want %d %s", w.Code, got.Error, c.status, c.code)
			}
			if w.Header().Get("Content-Type") != jsonType || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

func TestLock(t *testing.T) {
	stopped := 0
	api := localapi.New(nil, localapi.Config{Stop: func() { stopped++ }})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, localapi.Prefix+"lock", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	if w.Code != http.StatusOK || stopped != 1 {
		t.Errorf("got %d %s, stopped %d times", w.Code, w.Body, stopped)
	}
}
