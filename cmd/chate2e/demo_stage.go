package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// stage is where the demo is shown: text of a fixed width, with colours if it is
// a terminal.
type stage struct {
	out    io.Writer
	colour bool
	acts   int
	blank  bool        // the last line is empty
	failed func(error) // is told when out cannot be written
}

// Colours, as the parameters of the terminal's command.
const (
	plain = ""
	bold  = "1"
	dim   = "2"
	green = "32"
	grey  = "90"
	pink  = "95"
	blue  = "94"
	red   = "31"
)

const stageWidth = 80

func (s *stage) paint(colour, text string) string {
	if !s.colour || colour == plain {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// line prints a line; of empty ones only the first in a row.
func (s *stage) line(parts ...string) {
	if len(parts) == 0 && s.blank {
		return
	}
	s.blank = len(parts) == 0
	if _, err := io.WriteString(s.out, strings.Join(parts, "")+"\n"); err != nil {
		s.failed(err)
	}
}

// act begins a numbered part.
func (s *stage) act(head string) {
	s.acts++
	head = fmt.Sprintf(" %d  %s ", s.acts, head)
	s.line()
	s.line(s.paint(bold, "━━"+head+strings.Repeat("━", max(0, stageWidth-2-columns(head)))))
}

// explain prints a paragraph.
func (s *stage) explain(text string) {
	for _, line := range wrap(text, stageWidth-2) {
		s.line("  ", s.paint(dim, line))
	}
	s.line()
}

// labelWidth is the width of the column of who does something.
const labelWidth = 18

// says prints a line with a label in front: what somebody does, sees, or types.
func (s *stage) says(colour, label, text string) {
	lines := wrap(text, stageWidth-labelWidth)
	s.line("  ", s.paint(colour, pad(label, labelWidth-2)), lines[0])
	for _, line := range lines[1:] {
		s.line(strings.Repeat(" ", labelWidth), line)
	}
}

// detail prints what a device does inside, below what it is about.
func (s *stage) detail(colour, text string) {
	for i, line := range wrap(text, stageWidth-10) {
		mark := "│ "
		if i > 0 {
			mark = "│   "
		}
		s.line("      ", s.paint(colour, mark), s.paint(dim, line))
	}
}

// bytes prints the beginning of a ciphertext as the relay has it.
func (s *stage) bytes(body []byte) {
	const perLine, lines = 24, 2
	for n := range lines {
		part := body[min(n*perLine, len(body)):min((n+1)*perLine, len(body))]
		if len(part) == 0 {
			return
		}
		text := hex.EncodeToString(part)
		var b strings.Builder
		for i := 0; i < len(text); i += 8 {
			b.WriteString(text[i:min(i+8, len(text))])
			b.WriteByte(' ')
		}
		if n == lines-1 && len(body) > perLine*lines {
			b.WriteString("…")
		}
		s.line(strings.Repeat(" ", labelWidth), s.paint(grey, strings.TrimRight(b.String(), " ")))
	}
}

// wrap breaks text into lines of at most width columns: between words, and
// between any two Chinese characters. A no-break space becomes a plain one.
func wrap(text string, width int) []string {
	var lines []string
	var line strings.Builder
	used := 0
	end := func() {
		lines = append(lines, strings.ReplaceAll(strings.TrimRight(line.String(), " "), "\u00a0", " "))
		line.Reset()
	}
	for _, piece := range pieces(text) {
		w := columns(piece)
		if used > 0 && used+columns(strings.TrimRight(piece, " ")) > width {
			end()
			used = 0
		}
		line.WriteString(piece)
		used += w
	}
	end()
	return lines
}

// pieces divides text where a line may end. Punctuation stays with what is before
// it, but for what opens a bracket or a quotation.
func pieces(text string) []string {
	var all []string
	var piece strings.Builder
	runes := []rune(text)
	for i, r := range runes {
		piece.WriteRune(r)
		if i+1 == len(runes) {
			break
		}
		next := runes[i+1]
		wide := columns(string(r)) == 2 || columns(string(next)) == 2
		if r == ' ' && next != ' ' ||
			wide && next != ' ' && (!unicode.IsPunct(next) || isOpening(next)) && !isOpening(r) {
			all = append(all, piece.String())
			piece.Reset()
		}
	}
	return append(all, piece.String())
}

// isOpening reports whether r opens a bracket or a quotation.
func isOpening(r rune) bool { return unicode.In(r, unicode.Ps, unicode.Pi) }
