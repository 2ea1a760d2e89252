package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chate2e/chate2e/internal/client"
)

// Both languages say everything, with the same numbers in the same places.
func TestScripts(t *testing.T) {
	verbs := regexp.MustCompile(`%.`)
	en, zh := reflect.ValueOf(english), reflect.ValueOf(chinese)
	for i := range en.NumField() {
		name := en.Type().Field(i).Name
		var pairs [][2]string
		switch en.Field(i).Kind() {
		case reflect.String:
			pairs = append(pairs, [2]string{en.Field(i).String(), zh.Field(i).String()})
		case reflect.Map:
			for _, key := range en.Field(i).MapKeys() {
				pairs = append(pairs, [2]string{en.Field(i).MapIndex(key).String(), zh.Field(i).MapIndex(key).String()})
			}
		case reflect.Array:
			for n := range en.Field(i).Len() {
				pairs = append(pairs, [2]string{en.Field(i).Index(n).String(), zh.Field(i).Index(n).String()})
			}
		default:
			t.Errorf("%s is neither text nor texts", name)
		}
		for _, p := range pairs {
			if p[0] == "" || p[1] == "" || strings.HasPrefix(p[1], "<") {
				t.Errorf("%s: a text is missing: %q, %q", name, p[0], p[1])
			}
			if a, b := verbs.FindAllString(p[0], -1), verbs.FindAllString(p[1], -1); !reflect.DeepEqual(a, b) {
				t.Errorf("%s: %q and %q", name, a, b)
			}
		}
	}
	for _, step := range []client.ProgressStep{
		client.ProgressVault, client.ProgressAccountKey, client.ProgressIdentityKey,
		client.ProgressSignedPreKey, client.ProgressOneTime, client.ProgressUpload,
	} {
		if english.step[string(step)] == "" || chinese.step[string(step)] == "" || progressText[step] == "" {
			t.Errorf("step %s has no text", step)
		}
	}
	for _, payload := range []string{"header", "vector", "vector_ack", "ack", "ciphertext_1", "ciphertext_2"} {
		if english.carries[payload] == "" || chinese.carries[payload] == "" {
			t.Errorf("payload %s has no text", payload)
		}
	}
}

func TestLanguage(t *testing.T) {
	for _, c := range []struct{ asked, all, messages, lang, want string }{
		{"", "", "", "", "en"},
		{"", "", "", "zh_CN.UTF-8", "zh"},
		{"", "", "zh_TW", "de_DE", "zh"},
		{"", "C", "", "zh_CN", "en"},
		{"", "ZH_cn", "", "", "zh"},
		{"en", "zh_CN", "", "", "en"},
		{"zh", "", "", "en_US", "zh"},
	} {
		t.Setenv("LC_ALL", c.all)
		t.Setenv("LC_MESSAGES", c.messages)
		t.Setenv("LANG", c.lang)
		if got := language(c.asked); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  []string
	}{
		{"one two three", 7, []string{"one two", "three"}},
		{"你好，世界。", 6, []string{"你好，", "世界。"}},
		{"“你好”吗", 6, []string{"“你好”", "吗"}},
		{"你好吗（hello）你", 8, []string{"你好吗", "（hello）", "你"}},
		{"你好“吗”", 7, []string{"你好", "“吗”"}},
		{"", 5, []string{""}},
		{"one two\u00a0three", 9, []string{"one", "two three"}},
	} {
		if got := wrap(c.in, c.width); !reflect.DeepEqual(got, c.want) {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringMatching(`[a-z ，。你好]{0,80}`).Draw(t, "text")
		joined := strings.ReplaceAll(strings.Join(wrap(in, 20), ""), " ", "")
		if want := strings.ReplaceAll(in, " ", ""); joined != want {
			t.Fatalf("got %q, want %q", joined, want)
		}
	})
}

// trigger calls do once when what is written through it contains text.
type trigger struct {
	io.Writer
	text string
	do   func()
}

func (w *trigger) Write(b []byte) (int, error) {
	if w.do != nil && bytes.Contains(b, []byte(w.text)) {
		w.do()
		w.do = nil
	}
	return w.Writer.Write(b)
}

// The demo shows what really happens: without its relay it cannot go on, and says
// so at once.
func TestDemoWithoutRelay(t *testing.T) {
	for _, moment := range []string{english.friendHead, english.texts[1], english.bobLeft} {
		t.Run(moment, func(t *testing.T) {
			var out bytes.Buffer
			d := &demo{script: &english}
			w := &trigger{Writer: &out, text: moment, do: func() { d.relay.cut() }}
			d.stage = &stage{out: w}
			_, err := d.run(t.Context())
			var e *client.Error
			if !errors.As(err, &e) || e.Message != english.stopped {
				t.Errorf("got %v, want %q", err, english.stopped)
			}
			if w.do != nil {
				t.Errorf("the relay was never cut:\n%s", &out)
			}
			if strings.Contains(out.String(), english.bye) {
				t.Errorf("the demo went on to its end:\n%s", &out)
			}
		})
	}
}

// An interrupt ends the demo, and leaves nothing behind.
func TestDemoInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := &demo{script: &chinese}
	d.stage = &stage{out: &trigger{Writer: io.Discard, text: chinese.talkHead, do: cancel}}
	if _, err := d.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
