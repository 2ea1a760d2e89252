package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "Alice", "Alice"},
		{"empty", "", ""},
		{"Chinese", "林晓雨，你好　！", "林晓雨，你好　！"},
		{"accents", "Zoë é", "Zoë é"},
		{"emoji", "👍🏽❤️", "👍🏽❤️"},
		{"joined emoji", "👩\u200d👧", "👩👧"},
		{"ANSI colour", "\x1b[31mred\x1b[0m", `\u001b[31mred\u001b[0m`},
		{"window title", "\x1b]0;title\x07", `\u001b]0;title\u0007`},
		{"C1 CSI", "\u009b31m", `\u009b31m`},
		{"carriage return", "me: yes\rBob: no", `me: yes\u000dBob: no`},
		{"backspace and delete", "a\bb\x7f", `a\u0008b\u007f`},
		{"line end", "a\nb", `a\u000ab`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"right to left override", "gpj.\u202eexe", `gpj.\u202eexe`},
		{"isolates", "\u2066a\u2069", `\u2066a\u2069`},
		{"zero width", "al\u200bice", `al\u200bice`},
		{"joiner between letters", "al\u200dice", `al\u200dice`},
		{"soft hyphen", "al\u00adice", `al\u00adice`},
		{"byte order mark", "\ufeffalice", `\ufeffalice`},
		{"tag characters", "a\U000e0041", `a\U000e0041`},
		{"blank letters", "\u3164\u115f\u1160\uffa0\u2800", `\u3164\u115f\u1160\uffa0\u2800`},
		{"grapheme joiner", "a\u034fb", `a\u034fb`},
		{"variation selector of nothing", " \ufe0fx", " x"},
		{"private use", "\ue000", `\ue000`},
		{"tabs and hard spaces", "a\tb\u00a0c", "a b c"},
		{"bytes that are no text", "a\xff\xfeb", "a\ufffd\ufffdb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := clean(c.in); got != c.want {
				t.Errorf("clean(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

// Whatever is written, what reaches the terminal are characters with a shape.
func TestCleanProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("\x1b[m\r\n\u202e\u200b\u200d👍\ufe0f\u009b\x00 a")))).Draw(t, "text")
		for _, r := range clean(in) {
			if r != ' ' && r != '\u3000' && r != '\ufe0e' && r != '\ufe0f' && (!unicode.IsPrint(r) || !isVisible(r)) {
				t.Fatalf("%U came through", r)
			}
		}
		lines := strings.Split(cleanLines(in, 3), "\n")
		for _, line := range lines[1:] {
			if !strings.HasPrefix(line, "   ") {
				t.Fatalf("a line without indent: %q", line)
			}
		}
	})
}

func TestColumns(t *testing.T) {
	for in, want := range map[string]int{"abc": 3, "你好 chat": 9, "é": 1, "": 0} {
		if got := columns(in); got != want {
			t.Errorf("columns(%q) = %d, want %d", in, got, want)
		}
	}
	got := table([][]string{{"林", "a"}, {"Bob", "b"}, {"", ""}})
	if want := "林   a\nBob  b\n\n"; got != want {
		t.Errorf("table = %q, want %q", got, want)
	}
}

// JSON for programs has the same value as before, in one line that a terminal
// shows harmlessly.
func TestMarshal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := strings.ToValidUTF8(rapid.String().Draw(t, "text")+"\u009b\u202e\U000e0041\n<&>", "")
		line, err := marshal(map[string]string{"text": in})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("not one line: %q", line)
		}
		for _, r := range string(line[:len(line)-1]) {
			if r != '\ufe0f' && !isVisible(r) {
				t.Fatalf("%U came through", r)
			}
		}
		var out map[string]string
		if err := json.Unmarshal(line, &out); err != nil || out["text"] != in {
			t.Fatalf("got %q, %v; want %q", out["text"], err, in)
		}
	})
}

func TestJSONFields(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	item := localapi.Item{
		Item: client.Item{ID: "i", SentAt: at, ReceivedAt: &at}, Direction: client.DirectionIn,
		State: client.StateDelivered, Snippet: "s",
	}
	for _, c := range []struct {
		name string
		v    any
		want string
	}{
		{
			"recv", itemObject(item),
			`{"id":"i","chat":"","from":"","from_name":"","seq":0,"kind":"","text":"","gap_before":0,"request":false,` +
				`"sent_at":"2026-01-02T02:04:05.000Z","received_at":"2026-01-02T02:04:05.000Z"}`,
		},
		{
			"search",
			foundJSON{logObject(item), item.Snippet},
			`{"id":"i","chat":"","from":"","from_name":"","seq":0,"kind":"","text":"","gap_before":0,"request":false,` +
				`"sent_at":"2026-01-02T02:04:05.000Z","received_at":"2026-01-02T02:04:05.000Z",` +
				`"direction":"in","state":"delivered","snippet":"s"}`,
		},
		{
			"contact", contactObject(client.Contact{UserID: "u"}),
			`{"user_id":"u","username":"","display_name":"","state":"","verified":false,"key_changed":false,"presence":"","last_seen":null}`,
		},
		{
			"send",
			sendingJSON{client.Sending{ID: "i", To: "u", State: client.StateQueued}, stampOf(at)},
			`{"id":"i","to":"u","state":"queued","sent_at":"2026-01-02T02:04:05.000Z"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := marshal(c.v)
			if err != nil || string(got) != c.want+"\n" {
				t.Errorf("got  %s%v\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestProfileNames(t *testing.T) {
	for _, name := range []string{"default", "alice", "Bob-2", "a_b", strings.Repeat("x", 64)} {
		if err := checkProfileName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "../x", "a/b", `a\b`, "-x", "a b", "a.b", "ä", "a\x00", "nul", "COM1", strings.Repeat("x", 65),
	} {
		if err := checkProfileName(name); exitCode(err) != exitUsage {
			t.Errorf("%q: got %v, want a usage error", name, err)
		}
	}
}

func TestPasswordFrom(t *testing.T) {
	for in, want := range map[string]string{
		"pass word\n": "pass word", "pass\r\n": "pass", "pass\n\n": "pass\n", "pass": "pass", " pass ": " pass ", "p\r": "p\r",
		strings.Repeat("x", maxPassword) + "\r\n": strings.Repeat("x", maxPassword),
	} {
		got, err := passwordFrom(strings.NewReader(in), "file", true)
		if err != nil || string(got) != want {
			t.Errorf("%.20q: got %.20q, %v; want %.20q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "\n", strings.Repeat("x", maxPassword+1), strings.Repeat("x", 1<<20)} {
		if _, err := passwordFrom(strings.NewReader(in), "file", true); exitCode(err) != exitUsage {
			t.Errorf("%.20q: got %v, want a usage error", in, err)
		}
	}
}

func TestInviteToken(t *testing.T) {
	const token = "o9yakFII5jY2nTGpsxDA"
	for _, text := range []string{token, "https://chat.example.org/add#invite=" + token} {
		if got := inviteToken(text); got != token {
			t.Errorf("%q: got %q", text, got)
		}
	}
}
