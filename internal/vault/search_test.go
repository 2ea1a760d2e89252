package vault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/vault"
)

// addTexts adds messages of our own.
func addTexts(tb testing.TB, db *vault.DB, chat vault.ChatID, texts ...string) {
	tb.Helper()
	update(tb, db, func(tx *vault.Tx) error {
		for _, text := range texts {
			if _, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: text}); err != nil {
				return err
			}
		}
		return nil
	})
}

func find(tb testing.TB, db *vault.DB, query string) (found []string) {
	tb.Helper()
	view(tb, db, func(tx *vault.Tx) error {
		hits, err := tx.Search(query, 1000)
		for _, h := range hits {
			found = append(found, h.Text)
		}
		return err
	})
	return found
}

func TestSearch(t *testing.T) {
	db, chat := create(t)
	addTexts(t, db, chat,
		"Cannot open the file, try again",
		"无法打开文件。",
		"你好，世界！",
		"好",
		"ＣＡＦＥ́ in Ｔōｋｙō and Straße",
		"don't panic: e-mail bob@example.com",
		"东京タワーと桜が咲く",
		"한국어 메시지",
		"ไม่เป็นไร",
		"Привет, мир",
		"مَرْحَبًا",
		"👍🏽 ok 🎉",
		"mixed中文and英文text",
		"C3PO 2024-11-23",
		"ﬁne print",
		"the 𠮷野家 shop",
	)
	for query, want := range map[string][]string{
		// words, beginnings, case
		"cannot":      {"Cannot open the file, try again"},
		"CANNOT":      {"Cannot open the file, try again"},
		"can":         {"Cannot open the file, try again"},
		"annot":       nil,
		"open cannot": {"Cannot open the file, try again"},
		"file try":    {"Cannot open the file, try again"},
		"file nope":   nil,
		// any part of Chinese, from one character
		"无":      {"无法打开文件。"},
		"件":      {"无法打开文件。"},
		"打开":     {"无法打开文件。"},
		"法打":     {"无法打开文件。"},
		"无法打开文件": {"无法打开文件。"},
		"无打":     nil,
		"好":      {"好", "你好，世界！"},
		"你好":     {"你好，世界！"},
		"你好世界":   nil, // punctuation separates
		"你好 世界":  {"你好，世界！"},
		// width, accents, ligatures
		"cafe":    {"ＣＡＦＥ́ in Ｔōｋｙō and Straße"},
		"café":    {"ＣＡＦＥ́ in Ｔōｋｙō and Straße"},
		"tokyo":   {"ＣＡＦＥ́ in Ｔōｋｙō and Straße"},
		"strasse": {"ＣＡＦＥ́ in Ｔōｋｙō and Straße"},
		"fine":    {"ﬁne print"},
		// punctuation within a part: a phrase
		"don't":           {"don't panic: e-mail bob@example.com"},
		"don’t":           {"don't panic: e-mail bob@example.com"},
		"e-mail":          {"don't panic: e-mail bob@example.com"},
		"bob@example.com": {"don't panic: e-mail bob@example.com"},
		"example@bob":     nil,
		"2024-11":         {"C3PO 2024-11-23"},
		"11-2024":         nil,
		// other scripts
		"京タワ":   {"东京タワーと桜が咲く"},
		"ﾀﾜｰ":   {"东京タワーと桜が咲く"},
		"が":     {"东京タワーと桜が咲く"},
		"か":     nil,
		"국어":    {"한국어 메시지"},
		"지":     {"한국어 메시지"},
		"เป็น":  {"ไม่เป็นไร"},
		"ПРИ":   {"Привет, мир"},
		"مرحبا": {"مَرْحَبًا"},
		"🎉":     {"👍🏽 ok 🎉"},
		"👍":     {"👍🏽 ok 🎉"},
		"𠮷":     {"the 𠮷野家 shop"},
		"𠮷野":    {"the 𠮷野家 shop"},
		// scripts mixed
		"mixed中":  {"mixed中文and英文text"},
		"中文and英文": {"mixed中文and英文text"},
		"文and":    {"mixed中文and英文text"},
		"文te":     {"mixed中文and英文text"},
		// nothing to look for
		"":     nil,
		" . ":  nil,
		"\x00": nil,
	} {
		if diff := cmp.Diff(want, find(t, db, query)); diff != "" {
			t.Errorf("search for %q (-want +got):\n%s", query, diff)
		}
	}
}

// TestEverySubstring: each part of a Chinese text is found, from one character up.
func TestEverySubstring(t *testing.T) {
	db, chat := create(t)
	text := []rune("他们明天上午九点在图书馆门口见面")
	addTexts(t, db, chat, string(text), "别的")
	for from := range text {
		for to := from + 1; to <= len(text); to++ {
			if got := find(t, db, string(text[from:to])); len(got) != 1 {
				t.Errorf("%q is found %d times", string(text[from:to]), len(got))
			}
		}
	}
}

func TestSearchOrderAndChat(t *testing.T) {
	db, chat := create(t)
	addTexts(t, db, chat, "word one", "word two", "word three")
	var other vault.ChatID
	update(t, db, func(tx *vault.Tx) error {
		c, err := tx.PutContact(vault.Contact{User: user("carol"), State: vault.Accepted})
		other = c.Chat
		return err
	})
	addTexts(t, db, other, "word four")
	update(t, db, func(tx *vault.Tx) error { // invisible as yet
		_, err := tx.AddMessage(vault.Message{Chat: chat, From: bob, Seq: 2, Kind: "text", Text: "word hidden"})
		return err
	})
	if diff := cmp.Diff([]string{"word four", "word three", "word two", "word one"}, find(t, db, "word")); diff != "" {
		t.Errorf("newest first (-want +got):\n%s", diff)
	}
	view(t, db, func(tx *vault.Tx) error {
		hits, err := tx.Search("word", 2)
		if len(hits) != 2 || hits[0].Text != "word four" {
			t.Errorf("limit: %d hits", len(hits))
		}
		if err != nil {
			return err
		}
		hits, err = tx.SearchChat(chat, "word", 2)
		if len(hits) != 2 || hits[0].Text != "word three" || hits[1].Text != "word two" {
			t.Errorf("in one chat: %+v", hits)
		}
		return err
	})
}

func TestSnippet(t *testing.T) {
	long := strings.Repeat("before ", 20) + "the needle 针 here\nand\ton " + strings.Repeat("after ", 30)
	for _, test := range []struct{ text, query, want string }{
		{"short needle text", "needle", "short [needle] text"},
		{"needles and needle", "needle", "[needles] and [needle]"},
		{"我的猫咪很可爱", "猫", "我的[猫]咪很可爱"},
		{"我的猫咪很可爱", "猫咪很", "我的[猫咪很]可爱"},
		{"Ｃafé", "cafe", "[Ｃafé]"},
		{"no match", "x", "no match"},
		{"", "x", ""},
		{"ab needle", "ab needle", "[ab] [needle]"},
		{long, "needle", "…re before before before the [needle] 针 here and on after after after after after after after after …"},
	} {
		s, marks := vault.Snippet(test.text, test.query)
		got, at := "", 0
		for _, m := range marks {
			got += s[at:m.Start] + "[" + s[m.Start:m.End] + "]"
			at = m.End
		}
		got += s[at:]
		if test.text == long {
			if !strings.Contains(got, "the [needle] 针 here and on ") || !strings.HasPrefix(got, "…") || !strings.HasSuffix(got, "…") {
				t.Errorf("a long text gives %q", got)
			}
		} else if got != test.want {
			t.Errorf("%q in %q gives %q, want %q", test.query, test.text, got, test.want)
		}
	}
}

// hostile are strings that mean something to SQL, FTS5, LIKE or a shell.
var hostile = []string{
	`'`, `"`, `''`, `""`, `' OR '1'='1`, `" OR "1"="1`, `'; DROP TABLE messages; --`, `"; DROP TABLE words; --`,
	`1; DELETE FROM messages`, `' UNION SELECT account_seal FROM own --`, `%`, `_`, `%a%`, `a%`, `*`, `a*`, `"a"*`, `^a`,
	`a OR b`, `a AND b`, `a NOT b`, `NEAR(a b)`, `NEAR(a b, 10)`, `NOT`, `AND`, `OR`, `NEAR`, `(`, `)`, `((a)`, `{body}: a`, `body:a`, `body : a`,
	`- body : a`, `a + b`, `+a`, `-a`, `\`, `\'`, `\"`, "\x00", "a\x00b", "\n", "\r\n", `/*`, `*/`, `--`, `;`, `?`, `?1`, `:a`, `@a`, `$a`,
	`words`, `rowid`, `rank`, `match`, `a" * "b`, `" * "`, `"" ""`, "\xff\xfe", "a\xffb", "\u202e", "\u200b", "\ufeff", "é́́́", `${x}`, "`", "|", `<script>alert(1)</script>`,
	strings.Repeat("a ", 5000), strings.Repeat("a", 100000), strings.Repeat("中", 50000), strings.Repeat(`"`, 3000), strings.Repeat("( ", 2000), strings.Repeat("a\u0301", 2000),
}

// TestHostileStrings: as a query, a text, a name, a setting or an ID they are text.
func TestHostileStrings(t *testing.T) {
	db, chat := create(t)
	addTexts(t, db, chat, "neutral text", "中文")
	counts := func() (all [4]int) {
		view(t, db, func(tx *vault.Tx) error {
			for i, table := range []string{"messages", "contacts", "settings", "own"} {
				if err := tx.Scan("SELECT count(*) FROM "+table, nil, &all[i]); err != nil {
					return err
				}
			}
			return nil
		})
		return all
	}
	before := counts()
	for _, s := range hostile {
		_ = find(t, db, s) // an error would end the test
		view(t, db, func(tx *vault.Tx) error {
			for name, look := range map[string]func() error{
				"Contact":           func() error { _, err := tx.Contact(s); return err },
				"Setting":           func() error { _, err := tx.Setting(s); return err },
				"MessageByClientID": func() error { _, err := tx.MessageByClientID(s); return err },
			} {
				if err := look(); !errors.Is(err, vault.ErrNotFound) {
					t.Errorf("%s(%.30q): %v, want ErrNotFound", name, s, err)
				}
			}
			return nil
		})
		if got := counts(); got != before {
			t.Fatalf("looking for %.30q has changed the numbers of rows: %v, then %v", s, before, got)
		}
	}
	if got := find(t, db, "% _ * neutral"); len(got) != 1 {
		t.Errorf("signs in a query matter: %q", got)
	}
	// Stored and read again.
	for i, s := range hostile {
		update(t, db, func(tx *vault.Tx) error {
			c, err := tx.PutContact(vault.Contact{User: user(fmt.Sprintf("hostile%03dx", i)), Username: s, DisplayName: s, Relay: s, State: vault.Accepted})
			if err != nil {
				return err
			}
			if err := tx.SetDraft(c.Chat, s); err != nil {
				return err
			}
			if err := tx.SetSetting(s, s); err != nil {
				return err
			}
			m, err := tx.AddMessage(vault.Message{Chat: c.Chat, Out: true, Kind: "text", Text: s, ClientID: s})
			if err != nil {
				return err
			}
			got, err := tx.Message(m.ID)
			if err != nil {
				return err
			}
			contact, err := tx.Contact(c.User)
			if err != nil {
				return err
			}
			setting, err := tx.Setting(s)
			if err != nil {
				return err
			}
			if got.Text != s || contact.DisplayName != s || setting != s {
				t.Errorf("%.30q is read as %.30q, %.30q, %.30q", s, got.Text, contact.DisplayName, setting)
			}
			return nil
		})
	}
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzTokenize(f *testing.F) {
	for _, s := range hostile {
		if len(s) < 1000 {
			f.Add(s)
		}
	}
	for _, s := range []string{"Hello, 世界", "ＡＢＣ", "e\u0301", "\u0301", "ﷺ", "㍿", "ｶﾞ", "각", "𠮷", "👨‍👩‍👧", "ß", "İ", "\u1100\u1161\u11a8", "\xf0\x9f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for _, token := range vault.Tokenize(text) {
			switch {
			case token.Text == "" || strings.ContainsAny(token.Text, " \"'*\x00") || !utf8.ValidString(token.Text):
				t.Errorf("the token %q", token.Text)
			case token.Start < 0 || token.Start >= token.End || token.End > len(text):
				t.Errorf("token %q is at %d to %d of %d", token.Text, token.Start, token.End, len(text))
			case token.Cut <= token.Start || token.Cut > token.End:
				t.Errorf("token %q is cut at %d, between %d and %d", token.Text, token.Cut, token.Start, token.End)
			case token.Start < last:
				t.Errorf("token %q at %d stands before the one at %d", token.Text, token.Start, last)
			}
			last = token.Start
		}
	})
}

// FuzzSearch: no query fails, and a text is found by itself.
func FuzzSearch(f *testing.F) {
	for _, s := range hostile {
		if len(s) < 1000 {
			f.Add(s, s)
		}
	}
	f.Add("你好吗", "好吗")
	f.Add("a中b", "中b")
	db, chat := create(f)
	f.Fuzz(func(t *testing.T, text, query string) {
		err := db.Update(t.Context(), func(tx *vault.Tx) error {
			if _, err := tx.Search(query, 10); err != nil {
				return err
			}
			m, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: text})
			if err != nil {
				return err
			}
			hits, err := tx.Search(text, 1)
			if err != nil {
				return err
			}
			if len(vault.Tokenize(text)) > 0 && len(text) <= 1024 && (len(hits) == 0 || hits[0].ID != m.ID) {
				t.Errorf("%q does not find itself with %s", text, vault.MatchExpression(text))
			}
			for _, h := range hits {
				for _, mark := range h.Marks {
					if mark.Start < 0 || mark.Start >= mark.End || mark.End > len(h.Snippet) {
						t.Errorf("the mark %+v in %q", mark, h.Snippet)
					}
				}
			}
			return errRollback
		})
		if !errors.Is(err, errRollback) {
			t.Errorf("query %q: %v", query, err)
		}
	})
}

var errRollback = errors.New("roll back")
