package vault

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hit is a message that a search found.
type Hit struct {
	Message
	// Snippet is the part of Text around the first match, on one line, with … where
	// it is cut.
	Snippet string
	// Marks are the matches within Snippet, in order, as byte ranges.
	Marks []Mark
}

// Mark is a range of bytes.
type Mark struct{ Start, End int }

// Limits of a query; what goes beyond is ignored.
const (
	maxQuery  = 1024 // bytes
	maxParts  = 16   // parts between spaces
	maxPhrase = 64   // tokens of one part
)

// Search returns up to n visible messages that contain all parts of query, the
// newest first. Parts are divided by spaces. A part matches where its characters
// follow each other, not minding case, accents, width and punctuation; in scripts
// with spaces at the beginning of words only, in Chinese and the like anywhere.
// Nothing in a query has a special meaning. One without letters, digits or
// symbols finds nothing.
func (tx *Tx) Search(query string, n int) ([]Hit, error) {
	return tx.search(parseQuery(query), `
		SELECT rowid FROM words
		WHERE words MATCH ? AND (SELECT m.shown FROM messages m WHERE m.id = words.rowid) IS NOT NULL
		ORDER BY rowid DESC LIMIT ?`, n)
}

// SearchChat is [Tx.Search] in one chat.
func (tx *Tx) SearchChat(chat ChatID, query string, n int) ([]Hit, error) {
	return tx.search(parseQuery(query), `
		SELECT rowid FROM words
		WHERE words MATCH ? AND (SELECT m.chat FROM messages m WHERE m.id = words.rowid AND m.shown IS NOT NULL) = ?
		ORDER BY rowid DESC LIMIT ?`, chat, n)
}

func (tx *Tx) search(phrases []phrase, statement string, a ...any) ([]Hit, error) {
	if len(phrases) == 0 {
		return nil, nil
	}
	rows, err := list(tx, scanInt, statement, append([]any{matchExpression(phrases)}, a...)...)
	if err != nil {
		return nil, err
	}
	hits := make([]Hit, 0, len(rows))
	for _, row := range rows {
		m, err := tx.message(`WHERE m.id = ?`, row)
		if err != nil {
			return nil, err
		}
		h := Hit{Message: m}
		h.Snippet, h.Marks = snippet(m.Text, phrases)
		hits = append(hits, h)
	}
	return hits, nil
}

// phrase is a part of a query: tokens that follow each other, the last of them
// perhaps only as the beginning of one.
type phrase struct {
	tokens []string
	prefix bool
}

// parseQuery turns what a user typed into phrases.
func parseQuery(query string) []phrase {
	if len(query) > maxQuery {
		query = strings.ToValidUTF8(query[:maxQuery], "")
	}
	var phrases []phrase
	for part := range strings.FieldsSeq(query) {
		if p := parsePart(part); len(p.tokens) > 0 && len(phrases) < maxParts {
			phrases = append(phrases, p)
		}
	}
	return phrases
}

func parsePart(part string) phrase {
	var p phrase
	var last tokenKind
	_ = tokenize(part, func(t token) error {
		if len(p.tokens) < maxPhrase {
			p.tokens = append(p.tokens, t.text)
			last = t.kind
		}
		return nil
	})
	switch {
	case len(p.tokens) == 0:
	case last == tail:
		// In the text the run may go on, and then its end is elsewhere.
		p.tokens = p.tokens[:len(p.tokens)-1]
	default:
		p.prefix = last == word || last == single
	}
	return p
}

// matchExpression writes phrases in the language of FTS5. Tokens have neither
// quotes nor spaces, so quoted they are only text.
func matchExpression(phrases []phrase) string {
	var b strings.Builder
	for i, p := range phrases {
		if i > 0 {
			b.WriteString(" AND ")
		}
		b.WriteByte('"')
		b.WriteString(strings.Join(p.tokens, " "))
		b.WriteByte('"')
		if p.prefix {
			b.WriteByte('*')
		}
	}
	return b.String()
}

// Sizes of a snippet in characters.
const (
	snippetBefore = 24
	snippetSize   = 96
)

// snippet cuts the part around the first match out of text.
func snippet(text string, phrases []phrase) (string, []Mark) {
	marks := matches(text, phrases)
	first := 0
	if len(marks) > 0 {
		first = marks[0].Start
	}
	start := first
	for i := 0; i < snippetBefore && start > 0; i++ {
		_, size := utf8.DecodeLastRuneInString(text[:start])
		start -= size
	}
	for start > 0 && start < first && unicode.IsMark(rune0(text[start:])) {
		start++ // not in the middle of an accented letter
		for start < first && !utf8.RuneStart(text[start]) {
			start++
		}
	}
	end := start
	for i := 0; end < len(text) && (i < snippetSize || unicode.IsMark(rune0(text[end:]))); i++ {
		_, size := utf8.DecodeRuneInString(text[end:])
		end += size
	}

	before, after := "", ""
	if start > 0 {
		before = "…"
	}
	if end < len(text) {
		after = "…"
	}
	var inside []Mark
	for _, m := range marks {
		if m.Start < end {
			inside = append(inside, Mark{m.Start - start + len(before), min(m.End, end) - start + len(before)})
		}
	}
	return before + oneLine(text[start:end]) + after, inside
}

// oneLine replaces ASCII control characters, line ends among them, by spaces,
// byte for byte.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// matches returns where text contains the phrases, in order, not overlapping.
func matches(text string, phrases []phrase) []Mark {
	var tokens []token
	_ = tokenize(text, func(t token) error {
		tokens = append(tokens, t)
		return nil
	})
	var marks []Mark
	end := 0
	for i := range tokens {
		for _, p := range phrases {
			if stop, ok := p.matchAt(tokens[i:]); ok && tokens[i].start >= end {
				marks = append(marks, Mark{tokens[i].start, stop})
				end = stop
			}
		}
	}
	return marks
}

// matchAt reports whether tokens begin with the phrase, and where it ends.
func (p phrase) matchAt(tokens []token) (end int, ok bool) {
	if len(tokens) < len(p.tokens) {
		return 0, false
	}
	for i, want := range p.tokens {
		got := tokens[i]
		switch {
		case got.text == want:
			end = got.end
		case p.prefix && i == len(p.tokens)-1 && strings.HasPrefix(got.text, want):
			end = got.cut
		default:
			return 0, false
		}
	}
	return end, true
}
