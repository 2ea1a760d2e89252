package relay_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/relay"
)

type inner struct {
	N    int                `json:"n"`
	Data relay.Bytes        `json:"data,omitempty"`
	Num  relay.DeviceNumber `json:"num,omitempty"`
}

type outer struct {
	User  relay.UserID         `json:"user,omitzero"`
	Name  relay.Username       `json:"name,omitempty"`
	Inner inner                `json:"inner"`
	List  []inner              `json:"list,omitempty"`
	Opt   *inner               `json:"opt,omitempty"`
	IDs   []relay.EnvelopeID   `json:"ids,omitempty"`
	Nums  []relay.DeviceNumber `json:"nums,omitempty"`
	Flag  bool                 `json:"flag,omitempty"`
	Text  string               `json:"text,omitempty"`
}

func TestDecodeJSON(t *testing.T) {
	in := outer{
		User: user(3), Name: "bob_1", Inner: inner{N: -4, Data: []byte{1, 2, 3}, Num: 127},
		List: []inner{{N: 1}, {N: 2, Data: []byte("x")}}, Opt: &inner{N: 9},
		IDs: []relay.EnvelopeID{envelopeID(1), envelopeID(2)}, Nums: []relay.DeviceNumber{1, 2}, Flag: true,
		Text: "tab\t\"quote\" 你好 \U0001F600 \u2028",
	}
	b, err := json.MarshalIndent(in, " ", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("\"nums\": [\n")) {
		t.Errorf("device numbers are not a list: %s", b)
	}
	var out outer
	if err := relay.DecodeJSON(b, &out); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var escaped outer
	if err := relay.DecodeJSON([]byte(` {"inner":{"n":1},"text":"\ud83d\ude00\u00e9\\u\/"} `), &escaped); err != nil || escaped.Text != "\U0001F600é\\u/" {
		t.Errorf("escapes: %q, %v", escaped.Text, err)
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":                 ``,
		"space":                   `  `,
		"a list":                  `[]`,
		"a string":                `"x"`,
		"a number":                `1`,
		"null":                    `null`,
		"cut":                     `{"inner":{"n":1}`,
		"trailing object":         `{"inner":{"n":1}}{}`,
		"trailing byte":           `{"inner":{"n":1}}x`,
		"trailing NUL":            "{\"inner\":{\"n\":1}}\x00",
		"byte order mark":         "\ufeff{\"inner\":{\"n\":1}}",
		"a comment":               `{"inner":{"n":1}/**/}`,
		"unknown key":             `{"inner":{"n":1},"more":1}`,
		"unknown nested key":      `{"inner":{"n":1,"m":1}}`,
		"unknown key in a list":   `{"inner":{"n":1},"list":[{"n":1,"m":2}]}`,
		"wrong case":              `{"Inner":{"n":1}}`,
		"wrong case, nested":      `{"inner":{"N":1}}`,
		"wrong case beside":       `{"inner":{"n":1},"INNER":{"n":1}}`,
		"folded case (long s)":    `{"inner":{"n":1},"uſer":""}`,
		"escaped key":             `{"\u0069nner":{"n":1}}`,
		"empty key":               `{"":1,"inner":{"n":1}}`,
		"duplicate":               `{"inner":{"n":1},"inner":{"n":1}}`,
		"duplicate, nested":       `{"inner":{"n":1,"n":1}}`,
		"missing":                 `{}`,
		"missing, nested":         `{"inner":{}}`,
		"missing in a list":       `{"inner":{"n":1},"list":[{}]}`,
		"null value":              `{"inner":null}`,
		"null number":             `{"inner":{"n":null}}`,
		"null optional":           `{"inner":{"n":1},"opt":null}`,
		"null in a list":          `{"inner":{"n":1},"list":[null]}`,
		"object for a number":     `{"inner":{"n":{}}}`,
		"list for an object":      `{"inner":[1]}`,
		"string for an object":    `{"inner":"n"}`,
		"number for an object":    `{"inner":1}`,
		"object for a list":       `{"inner":{"n":1},"list":{}}`,
		"list for bytes":          `{"inner":{"n":1,"data":[1,2]}}`,
		"list for an ID":          `{"inner":{"n":1},"ids":[[1,2]]}`,
		"number for a string":     `{"inner":{"n":1},"text":5}`,
		"string for a number":     `{"inner":{"n":"1"}}`,
		"fraction":                `{"inner":{"n":1.5}}`,
		"exponent":                `{"inner":{"n":1e2}}`,
		"too large a number":      `{"inner":{"n":99999999999999999999}}`,
		"number for a bool":       `{"inner":{"n":1},"flag":1}`,
		"invalid UTF-8":           "{\"inner\":{\"n\":1},\"text\":\"\xff\"}",
		"overlong UTF-8":          "{\"inner\":{\"n\":1},\"text\":\"\xc0\xaf\"}",
		"raw surrogate":           "{\"inner\":{\"n\":1},\"text\":\"\xed\xa0\x80\"}",
		"half a pair":             `{"inner":{"n":1},"text":"\ud83d"}`,
		"half a pair, low":        `{"inner":{"n":1},"text":"\ude00"}`,
		"half a pair, upper":      `{"inner":{"n":1},"text":"\uD83D\u0041"}`,
		"half a pair, escape":     `{"inner":{"n":1},"text":"\ud83d\n"}`,
		"control character":       "{\"inner\":{\"n\":1},\"text\":\"\n\"}",
		"base64 with newline":     `{"inner":{"n":1,"data":"AQ\n=="}}`,
		"base64 unpadded":         `{"inner":{"n":1,"data":"AQ"}}`,
		"base64 stray bits":       `{"inner":{"n":1,"data":"AR=="}}`,
		"base64url":               `{"inner":{"n":1,"data":"-_8="}}`,
		"device 0":                `{"inner":{"n":1,"num":0}}`,
		"device 128":              `{"inner":{"n":1,"num":128}}`,
		"device -1":               `{"inner":{"n":1,"num":-1}}`,
		"device as text":          `{"inner":{"n":1,"num":"1"}}`,
		"devices as base64":       `{"inner":{"n":1},"nums":"AQI="}`,
		"user ID upper-case":      `{"inner":{"n":1},"user":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
		"user ID short":           `{"inner":{"n":1},"user":"aaaa"}`,
		"user ID with newline":    `{"inner":{"n":1},"user":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"}`,
		"username":                `{"inner":{"n":1},"name":"B"}`,
		"envelope ID in capitals": `{"inner":{"n":1},"ids":["` + strings.Repeat("AB", 16) + `"]}`,
		"10,000 deep":             strings.Repeat(`{"inner":`, 10000) + "1" + strings.Repeat("}", 10000),
		"10,000 lists":            `{"list":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + "}",
		"deep and cut":            strings.Repeat(`[`, 1000000),
	} {
		out := outer{}
		err := relay.DecodeJSON([]byte(body), &out)
		if !errors.Is(err, relay.ErrJSON) {
			t.Errorf("%s: %v, want ErrJSON", name, err)
			continue
		}
		if len(err.Error()) > 200 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
	// Errors do not repeat what was sent.
	for _, body := range []string{`{"canary7":1}`, `{"inner":{"n":"canary7"}}`, `{"inner":{"n":1},"name":"CANARY7"}`, `{"inner":{"n":canary7}}`} {
		if err := relay.DecodeJSON([]byte(body), new(outer)); err == nil || strings.Contains(strings.ToLower(err.Error()), "canary7") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// FuzzDecodeJSON: what is accepted decodes to a value whose encoding is accepted
// and decodes to the same.
func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"inner":{"n":1},"list":[{"n":1,"data":"AQ=="}],"text":"\ud83d\ude00"}`))
	f.Add([]byte(`{"inner":{"n":1},"opt":{"n":2},"nums":[1,2],"ids":[],"flag":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v outer
		if err := relay.DecodeJSON(b, &v); err != nil {
			if !errors.Is(err, relay.ErrJSON) {
				t.Fatalf("%v is not ErrJSON", err)
			}
			return
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		var std outer
		if err := dec.Decode(&std); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var again outer
		if err := relay.DecodeJSON(encoded, &again); err != nil {
			t.Fatalf("%v\n%s", err, encoded)
		}
		if reencoded, _ := json.Marshal(again); !bytes.Equal(encoded, reencoded) {
			t.Fatalf("%s became %s", encoded, reencoded)
		}
	})
}

func TestTokensDoNotPrint(t *testing.T) {
	token := relay.NewToken()
	text := token.Text()
	for _, s := range []string{
		fmt.Sprintf("%v %+v %#v %s %x", token, token, token, token, token),
		fmt.Sprint(struct{ t relay.Token }{token}), fmt.Sprint(&token),
	} {
		if strings.Contains(s, text) {
			t.Error("a token printed")
		}
	}
	if b, _ := json.Marshal(struct{ Token relay.Token }{token}); bytes.Contains(b, []byte(text)) {
		t.Error("a token marshalled")
	}
	back, err := relay.ParseToken(text)
	if err != nil || back.Hash() != token.Hash() || back.Text() != text {
		t.Errorf("ParseToken: %v", err)
	}
	for _, s := range []string{"", "x", text[1:], text + "A", text[:42] + "=", strings.Repeat("\n", 43)} {
		if _, err := relay.ParseToken(s); !errors.Is(err, relay.ErrToken) {
			t.Errorf("ParseToken(%q) = %v", s, err)
		}
	}
	if relay.NewToken().Hash() == token.Hash() {
		t.Error("two tokens are equal")
	}
}

func TestOrigins(t *testing.T) {
	for s, want := range map[string]relay.Origin{
		"https://chat.example.org":     "https://chat.example.org:443",
		"https://Chat.Example.org/":    "https://chat.example.org:443",
		"https://chat.example.org:443": "https://chat.example.org:443",
		"http://127.0.0.1:5000":        "http://127.0.0.1:5000",
		"http://[::1]:05000/":          "http://[::1]:5000",
		"http://[0:0::1]":              "http://[::1]:80",
		"http://localhost":             "http://localhost:80",
	} {
		got, err := relay.ParseOrigin(s)
		if err != nil || got != want {
			t.Errorf("ParseOrigin(%q) = %q, %v; want %q", s, got, err, want)
			continue
		}
		again, err := relay.ParseOrigin(got.URL())
		if err != nil || again != want {
			t.Errorf("ParseOrigin(%q) = %q, %v; want %q", got.URL(), again, err, want)
		}
	}
	for _, s := range []string{
		"", "chat.example.org", "ftp://h", "https://", "https://h/x", "https://u:p@h", "https://h?x", "https://h?", "https://h#", "https://h#x",
		"https://h:0", "https://h:", "https://h:65536", "https://h:x", "https://hé", "https://[fe80::1%25eth0]", "https://h h", "//h", "https:h",
		"https://" + strings.Repeat("h", 600),
	} {
		if got, err := relay.ParseOrigin(s); err == nil {
			t.Errorf("ParseOrigin(%q) = %q", s, got)
		}
	}
	for s, want := range map[relay.Origin]bool{
		"http://127.0.0.1:5000": true, "http://127.9.9.9:80": true, "http://localhost:80": true, "http://[::1]:5000": true,
		"https://chat.example.org:443": false, "http://10.0.0.1:5000": false, "http://localhost.example.org:80": false, "": false,
	} {
		if got := s.Loopback(); got != want {
			t.Errorf("%q loopback = %v", s, got)
		}
	}
	var o relay.Origin
	if err := o.UnmarshalText([]byte("https://chat.example.org")); err == nil {
		t.Error("an origin without port was accepted in a body")
	}
}

func TestServerAndInvitations(t *testing.T) {
	got, err := relay.ParseServer("https://chat.example.org/add#invite=Ab_-9")
	want := relay.Server{Origin: "https://chat.example.org:443", Invite: "Ab_-9"}
	if err != nil || got != want {
		t.Fatalf("ParseServer = %+v, %v", got, err)
	}
	if link := got.InviteLink(); link != "https://chat.example.org/add#invite=Ab_-9" {
		t.Errorf("link %q", link)
	}
	if got, err := relay.ParseServer("http://127.0.0.1:5000"); err != nil || got != (relay.Server{Origin: "http://127.0.0.1:5000"}) {
		t.Errorf("ParseServer = %+v, %v", got, err)
	}
	for _, s := range []string{
		"https://h#invite=x", "https://h/add#invite=", "https://h/add#x", "https://h/add#invite=a b", "https://h/add#invite=" + strings.Repeat("a", 65),
		"https://h/add?x#invite=a", "https://h/other/add#invite=a",
	} {
		if got, err := relay.ParseServer(s); err == nil {
			t.Errorf("ParseServer(%q) = %+v", s, got)
		}
	}
}

// The layouts of proof.go, written down once more.
func TestProofMessages(t *testing.T) {
	address := relay.Address{User: user(5), Device: 2}
	want := []byte("ChatE2E relay login v1\x00\x00\x15http://127.0.0.1:5000\x03abc")
	want = append(append(want, bytes.Repeat([]byte{5}, 20)...), 2)
	if got := relay.LoginMessage("http://127.0.0.1:5000", []byte("abc"), address); !bytes.Equal(got, want) {
		t.Errorf("login message\n%q, want\n%q", got, want)
	}
	list := []byte("device list")
	hash := sha256.Sum256(list)
	want = []byte("ChatE2E relay register v1\x00\x00\x15http://127.0.0.1:5000\x03abc")
	want = append(append(want, bytes.Repeat([]byte{5}, 20)...), 2)
	want = append(append(append(want, hash[:]...), 3), "bob"...)
	if got := relay.RegisterMessage("http://127.0.0.1:5000", []byte("abc"), address, list, "bob"); !bytes.Equal(got, want) {
		t.Errorf("register message\n%q, want\n%q", got, want)
	}
}

func TestCodes(t *testing.T) {
	seen := make(map[relay.Code]bool)
	for _, c := range relay.Codes() {
		if seen[c] {
			t.Errorf("%s is listed twice", c)
		}
		seen[c] = true
		p := (&relay.Error{Code: c}).Problem()
		if p.Status < 400 || p.Status > 599 || http.StatusText(p.Status) == "" || p.Title == "" {
			t.Errorf("%s is %d %s", c, p.Status, p.Title)
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d codes", len(seen))
	}
	e := &relay.Error{Code: relay.CodeDeviceMismatch, Detail: "d", RetryAfter: 1500 * time.Millisecond, Missing: []relay.DeviceNumber{1}, Extra: []relay.DeviceNumber{2}}
	b, err := json.Marshal(e.Problem())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"about:blank","title":"Conflict","status":409,"code":"device_mismatch","detail":"d","retry_after_ms":1500,"missing":[1],"extra":[2]}`
	if string(b) != want {
		t.Errorf("problem\n%s, want\n%s", b, want)
	}
	var p relay.Problem
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, p.Err()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if wrapped := fmt.Errorf("sending: %w", e); !errors.Is(wrapped, &relay.Error{Code: relay.CodeDeviceMismatch}) || errors.Is(wrapped, &relay.Error{Code: relay.CodeInternal}) {
		t.Error("errors.Is does not compare codes")
	}
	if relay.Code("x").Status() != 500 {
		t.Error("an unknown code has no status")
	}
}

func TestIncomingJSON(t *testing.T) {
	for _, in := range []relay.Incoming{
		{Handle: relay.Handle{Seq: 4, ID: envelopeID(1)}, From: relay.Address{User: user(1), Device: 3}, ReceivedAt: 5, Body: []byte("b")},
		{Handle: relay.Handle{Seq: 5, ID: envelopeID(2)}, Kind: relay.KindExpired, ReceivedAt: 6},
	} {
		b, err := json.Marshal(in.JSON())
		if err != nil {
			t.Fatal(err)
		}
		var j relay.IncomingJSON
		if err := relay.DecodeJSON(b, &j); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if diff := cmp.Diff(in, j.Incoming()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestPrekeyValidation(t *testing.T) {
	good := relay.Prekey{Kind: relay.PrekeySigned, ID: 1, Key: []byte{1}, ExpiresAt: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*relay.Prekey){
		"kind":     func(p *relay.Prekey) { p.Kind = "other" },
		"empty":    func(p *relay.Prekey) { p.Key = nil },
		"large":    func(p *relay.Prekey) { p.Key = make([]byte, relay.MaxPrekey+1) },
		"negative": func(p *relay.Prekey) { p.ExpiresAt = -1 },
		"far":      func(p *relay.Prekey) { p.ExpiresAt = 1 << 60 },
	} {
		p := good
		change(&p)
		if p.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, k := range relay.PrekeyKinds() {
		if !k.Valid() {
			t.Errorf("%s is not valid", k)
		}
	}
}
