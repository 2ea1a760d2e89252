package interop_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/interop"
)

// The test binary is itself a misbehaving peer when its first argument says so.
const misbehave = "-misbehave="

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if how, ok := strings.CutPrefix(os.Args[1], misbehave); ok {
			badPeer(how)
			return
		}
	}
	code := m.Run()
	if built {
		path, _ := signalPeer()
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// badPeer answers hello as it should and the next request in the given way.
func badPeer(how string) {
	requests := bufio.NewScanner(os.Stdin)
	for n := 1; requests.Scan(); n++ {
		if n == 1 {
			fmt.Println(`{"id":1,"ok":true}`)
			continue
		}
		switch how {
		case "silent":
		case "dies":
			fmt.Fprintln(os.Stderr, "it all went wrong")
			os.Exit(3)
		case "garbage":
			fmt.Println("garbage")
		case "other id":
			fmt.Println(`{"id":77,"ok":true}`)
		case "no verdict":
			fmt.Printf("{\"id\":%d}\n", n)
		case "endless":
			for {
				if _, err := fmt.Print(strings.Repeat("x", 1<<16)); err != nil {
					return
				}
			}
		case "refuses":
			fmt.Printf(`{"id":%d,"ok":false,"error":{"name":"DuplicatedMessage","code":1,"message":"seen"}}`+"\n", n)
		case "exits badly":
			fmt.Printf("{\"id\":%d,\"ok\":true}\n", n)
			defer os.Exit(4)
		}
	}
}

func startBad(t *testing.T, how string, timeout time.Duration) *interop.Peer {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := interop.Start(t.Context(), interop.Command{Path: self, Args: []string{misbehave + how}, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

func TestPeerFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		how     string
		timeout time.Duration
		want    string
	}{
		{"silent", 500 * time.Millisecond, "timeout"},
		{"dies", 0, "it all went wrong"},
		{"garbage", 0, "reading the reply"},
		{"other id", 0, "another request"},
		{"no verdict", 0, "another request"},
		{"endless", 0, "too long"},
	} {
		t.Run(test.how, func(t *testing.T) {
			t.Parallel()
			peer := startBad(t, test.how, test.timeout)
			_, err := peer.Call("anything", nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that says %q", err, test.want)
			}
			if _, ok := errors.AsType[*interop.Error](err); ok {
				t.Errorf("a broken peer looks like a refusal: %v", err)
			}
			if _, again := peer.Call("hello", nil); again == nil || again.Error() != err.Error() {
				t.Errorf("the next call: got error %v, want the same again", again)
			}
			if err := peer.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
	}
}

func TestPeerRefusal(t *testing.T) {
	t.Parallel()
	peer := startBad(t, "refuses", 0)
	for range 2 { // it works on
		_, err := peer.Call("decrypt", nil)
		refused, ok := errors.AsType[*interop.Error](err)
		if !ok || *refused != (interop.Error{Op: "decrypt", Name: "DuplicatedMessage", Message: "seen"}) {
			t.Errorf("got error %#v, want a refusal as a duplicate", err)
		}
	}
	if err := peer.Close(); err != nil {
		t.Error(err)
	}
	if _, err := peer.Call("decrypt", nil); err == nil {
		t.Error("a closed peer answered")
	}
}

func TestPeerEnds(t *testing.T) {
	t.Parallel()
	peer := startBad(t, "exits badly", 0)
	if _, err := peer.Call("anything", nil); err != nil {
		t.Fatal(err)
	}
	if err := peer.Close(); err == nil {
		t.Error("a bad exit went unnoticed")
	}

	ctx, cancel := context.WithCancel(t.Context())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	peer, err = interop.Start(ctx, interop.Command{Path: self, Args: []string{misbehave + "silent"}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := peer.Call("anything", nil); err == nil {
		t.Error("a peer outlived its context")
	}
	if err := peer.Close(); err != nil {
		t.Error(err)
	}

	if _, err := interop.Start(t.Context(), interop.Command{Path: "/nonexistent/peer"}); err == nil {
		t.Error("a missing program was started")
	}
}

// badLines are requests that are none. Every peer answers each with an error of that name.
var badLines = []struct{ line, name string }{
	{`garbage`, "BadRequest"},
	{`[]`, "BadRequest"},
	{`null`, "BadRequest"},
	{`7`, "BadRequest"},
	{`{`, "BadRequest"},
	{`{}`, "BadRequest"},
	{"\xff\xfe", "BadRequest"},
	{`{"id":1}`, "BadRequest"},
	{`{"id":1,"op":7}`, "BadRequest"},
	{`{"id":1,"op":"no such thing"}`, "Unsupported"},
	{`{"id":1,"op":"constructor"}`, "Unsupported"},
	{`{"id":1,"op":"__proto__"}`, "Unsupported"},
	{`{"id":1,"op":"bundle"}`, "BadRequest"},
	{`{"id":1,"op":"bundle","party":"nobody"}`, "NoSuchParty"},
	{`{"id":1,"op":"party","party":"x"}`, "BadRequest"},
	{`{"id":1,"op":"party","party":"x","name":"y","device":128}`, "BadRequest"},
	{`{"id":1,"op":"party","party":"x","name":"y","device":0}`, "BadRequest"},
	{`{"id":1,"op":"party","party":"x","name":"y","device":1.5}`, "BadRequest"},
	{`{"id":1,"op":"party","party":"x","name":"y","device":"1"}`, "BadRequest"},
	{`{"id":1,"op":"encrypt","party":"a","remote":"b","plaintext":""}`, "BadRequest"},
	{`{"id":1,"op":"encrypt","party":"a","remote":{"name":"b"},"plaintext":"AA"}`, "BadRequest"},
	{`{"id":1,"op":"encrypt","party":"a","remote":{"name":"b"},"plaintext":"-_=="}`, "BadRequest"},
	{`{"id":1,"op":"encrypt","party":"a","remote":{"name":"b"},"plaintext":"AA=="}`, "SessionNotFound"},
	{`{"id":1,"op":"processBundle","party":"a","remote":{"name":"b"}}`, "BadRequest"},
	{`{"id":1,"op":"processBundle","party":"a","remote":{"name":"b"},"bundle":{}}`, "BadRequest"},
	{`{"id":1,"op":"decrypt","party":"a","remote":{"name":"b"},"type":9,"message":""}`, "BadRequest"},
	{`{"id":1,"op":"session","party":"a","remote":{"name":"b"},"del":"yes"}`, "BadRequest"},
	{`{"id":1,"op":"inspect","type":2,"message":"AAAA"}`, "InvalidMessage"},
}

// testBadLines sends a peer what is no request, and requests cut and changed at random.
func testBadLines(t *testing.T, c interop.Command) {
	t.Helper()
	good := []string{
		`{"id":1,"op":"hello"}`,
		`{"id":"a","op":"party","party":"a","name":"6838237d-02f6-4098-b110-698253d15961","device":1}`,
		`{"id":null,"op":"bundle","party":"a"}`,
		`{"id":[3],"op":"session","party":"a","remote":{"name":"9d0652a3-dcc3-4d11-975f-74d61598733f","device":1}}`,
		`{"id":{"n":4},"op":"decrypt","party":"a","remote":{"name":"9d0652a3-dcc3-4d11-975f-74d61598733f","device":1},"type":2,"message":"RAohBQ=="}`,
	}
	var lines, want []string
	for _, line := range good[:2] {
		lines, want = append(lines, line), append(want, "")
	}
	for _, bad := range badLines {
		lines, want = append(lines, bad.line), append(want, bad.name)
	}
	const seed = 11
	rng := newRand(seed)
	for range 500 {
		line := []byte(good[rng.IntN(len(good))])
		switch rng.IntN(3) {
		case 0:
			line = line[:rng.IntN(len(line))+1]
		case 1:
			line[rng.IntN(len(line))] = byte(' ' + rng.IntN(95))
		case 2:
			at := rng.IntN(len(line))
			line = append(line[:at:at], line[min(at+1+rng.IntN(9), len(line)):]...)
		}
		if strings.TrimSpace(string(line)) != "" {
			lines, want = append(lines, string(line)), append(want, "anything")
		}
	}
	lines = append(lines, `{"id":1,"op":"hello","padding":"`+strings.Repeat("x", 33<<20)+`"}`, `{"id":"last","op":"hello"}`)
	want = append(want, "BadRequest", "")

	cmd := exec.CommandContext(t.Context(), c.Path, c.Args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the peer ended with: %v", err)
	}
	replies := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(replies) != len(lines) {
		t.Fatalf("got %d replies to %d lines", len(replies), len(lines))
	}
	for i, text := range replies {
		var reply struct {
			ID    json.RawMessage
			OK    *bool
			Error *struct {
				Name    string
				Code    any
				Message string
			}
		}
		if err := json.Unmarshal([]byte(text), &reply); err != nil || reply.OK == nil || reply.ID == nil {
			t.Fatalf("line %.200q: got reply %.200q: %v", lines[i], text, err)
		}
		if *reply.OK != (reply.Error == nil) || reply.Error != nil && reply.Error.Name == "" {
			t.Fatalf("line %.200q: got reply %.200q, want either success or a named error", lines[i], text)
		}
		name := ""
		if reply.Error != nil {
			name = reply.Error.Name
		}
		if want[i] != "anything" && name != want[i] {
			t.Errorf("line %.200q: got error %q, want %q: %.300s", lines[i], name, want[i], text)
		}
	}
	var last struct{ ID any }
	if err := json.Unmarshal([]byte(replies[len(replies)-1]), &last); err != nil || last.ID != "last" {
		t.Errorf("the last reply has the id %v, want the last request's", last.ID)
	}
}

func TestNodeBadLines(t *testing.T) {
	for _, version := range []string{"0.44.0", "0.72.1", "0.76.0", "0.103.0"} {
		t.Run(version, func(t *testing.T) { testBadLines(t, nodeCommand(t, version)) })
	}
}
