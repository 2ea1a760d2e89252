package vault

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// How text becomes searchable.
//
// Text is brought to compatibility form (NFKC), lower case, and without accents,
// so that Ａ, a and á are one letter. Then it is cut into tokens:
//
//   - a run of letters and digits of a script with spaces is one token, a word;
//   - a run of a script without spaces (Chinese, Japanese, Korean, Thai, …) gives
//     every pair of neighbours, and its last character alone: 你好吗 is 你好 好吗 吗.
//     So any part of it is a phrase of pairs, and any one character is the
//     beginning of a token;
//   - a symbol, such as an emoji, is a token;
//   - all else separates.
//
// In a query the tokens of one part without spaces must follow each other.

// tokenKind says what a token is made of.
type tokenKind uint8

const (
	word   tokenKind = iota // letters and digits
	pair                    // two neighbours of a run without spaces
	tail                    // the last character of such a run of two or more
	single                  // the only character of such a run
	symbol
)

// token is a piece of text as it is indexed, and where it stands in the text.
type token struct {
	text       string
	start, end int // bytes in the original text
	cut        int // of a pair: the end of its first character; else end
	kind       tokenKind
}

// maxWord is how many characters of a word are indexed.
const maxWord = 128

// tokenize calls emit for every token of text, in order.
func tokenize(text string, emit func(token) error) error {
	t := tokenizer{emit: emit, fold: cases.Fold()}
	for at := 0; at < len(text) && t.err == nil; {
		r, size := utf8.DecodeRuneInString(text[at:])
		next := at + size
		if stable(r) && (next == len(text) || text[next] < utf8.RuneSelf || stable(rune0(text[next:]))) {
			t.add(unicode.ToLower(r), at, next)
		} else {
			next = at + norm.NFKD.NextBoundaryInString(text[at:], true)
			for _, r := range t.folded(text[at:next]) {
				t.add(r, at, next)
			}
		}
		at = next
	}
	t.finish()
	return t.err
}

func rune0(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// stable reports whether folding r does nothing but ToLower, provided that no
// combining mark follows: most of what people write.
func stable(r rune) bool {
	return r < utf8.RuneSelf || '\u4e00' <= r && r <= '\u9fff'
}

type tokenizer struct {
	emit func(token) error
	fold cases.Caser
	err  error

	kind  runeKind        // of the run that is open
	text  strings.Builder // the word so far
	chars int             // in the run so far
	last  rune            // the last character of a run without spaces
	start int             // where the word, or that character, starts
	end   int             // and ends
}

// folded brings a segment to the form that is indexed.
func (t *tokenizer) folded(segment string) string {
	plain := strings.Map(func(r rune) rune {
		// Accents of all scripts that share them, but not the marks that make
		// another letter in Japanese (が is not か) or belong to one script.
		if unicode.Is(unicode.Mn, r) && unicode.Is(unicode.Inherited, r) && r != '\u3099' && r != '\u309a' {
			return -1
		}
		return r
	}, norm.NFKD.String(segment))
	return norm.NFC.String(t.fold.String(plain))
}

// runeKind is what a character does to the run it stands in.
type runeKind uint8

const (
	separates runeKind = iota
	ignored            // invisible: does not end a run
	spelled            // of a script with spaces
	unspaced           // of a script without
	symbolic
)

var unspacedScripts = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

func kindOf(r rune) runeKind {
	switch {
	case r < utf8.RuneSelf:
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' {
			return spelled
		}
		return separates
	case '\u4e00' <= r && r <= '\u9fff':
		return unspaced
	case r == utf8.RuneError:
		return separates
	case r == 'ー' || unicode.In(r, unspacedScripts...) && (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r)):
		return unspaced
	case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) || unicode.Is(unicode.Co, r):
		return spelled
	case unicode.Is(unicode.Cf, r):
		return ignored
	case unicode.Is(unicode.So, r):
		return symbolic
	default:
		return separates
	}
}

// add takes one folded character, which stands at text[start:end].
func (t *tokenizer) add(r rune, start, end int) {
	kind := kindOf(r)
	if kind == ignored {
		return
	}
	if kind != t.kind {
		t.finish()
		t.kind = kind
	}
	switch kind {
	case separates, ignored:
	case spelled:
		if t.chars == 0 {
			t.start = start
		}
		if t.chars < maxWord {
			t.text.WriteRune(r)
		}
		t.chars++
		t.end = end
	case unspaced:
		if t.chars > 0 {
			t.send(token{text: string([]rune{t.last, r}), start: t.start, end: end, cut: t.end, kind: pair})
		}
		t.chars++
		t.last, t.start, t.end = r, start, end
	case symbolic:
		t.send(token{text: string(r), start: start, end: end, cut: end, kind: symbol})
	}
}

// finish ends the open run.
func (t *tokenizer) finish() {
	switch {
	case t.chars == 0:
	case t.kind == spelled:
		t.send(token{text: t.text.String(), start: t.start, end: t.end, cut: t.end, kind: word})
	case t.chars == 1:
		t.send(token{text: string(t.last), start: t.start, end: t.end, cut: t.end, kind: single})
	default:
		t.send(token{text: string(t.last), start: t.start, end: t.end, cut: t.end, kind: tail})
	}
	t.text.Reset()
	t.chars, t.kind = 0, separates
}

func (t *tokenizer) send(k token) {
	if t.err == nil {
		t.err = t.emit(k)
	}
}

// registerTokenizer makes FTS5 and our tokenizer known to a connection.
func registerTokenizer(c *sqlite3.Conn) error {
	return fts5.RegisterCustom(c, func(api *fts5.API) error {
		return api.CreateTokenizer("chate2e", func([]string) (fts5.Tokenizer, error) { return indexer{}, nil })
	})
}

// indexer is the tokenizer as FTS5 sees it.
type indexer struct{}

// Tokenize implements [fts5.Tokenizer]. The text of a query is made of finished
// tokens with spaces between, by [parseQuery].
func (indexer) Tokenize(flags fts5.TokenizeFlag, text, _ string, emit fts5.TokenCallback) error {
	if flags&fts5.TOKENIZE_QUERY == 0 {
		return tokenize(text, func(t token) error { return emit(0, t.text, t.start, t.end) })
	}
	for start := 0; start < len(text); {
		size := strings.IndexByte(text[start:], ' ')
		if size < 0 {
			size = len(text) - start
		}
		if size > 0 {
			if err := emit(0, text[start:start+size], start, start+size); err != nil {
				return err
			}
		}
		start += size + 1
	}
	return nil
}
