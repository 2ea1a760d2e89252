package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// What people write goes to the terminal only through clean and cleanLines: a
// terminal obeys control characters, and direction marks and characters without a
// shape make one name look like another.

// clean returns s as one line without any character that a terminal obeys or that
// does not show; in their place stands their number, as in \u202e.
func clean(s string) string {
	plain := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	var before rune
	for i, r := range s {
		size := 1
		if r == utf8.RuneError {
			_, size = utf8.DecodeRuneInString(s[i:])
		}
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteRune(utf8.RuneError)
		case r == '\t' || r == '\u00a0':
			b.WriteByte(' ')
		case r == '\u200d' && isPictograph(before): // joins emoji: side by side they read as well
		case r == '\ufe0e' || r == '\ufe0f': // chooses how the character before is drawn
			if before > ' ' {
				b.WriteRune(r)
			}
			continue // and is no character of its own
		case isVisible(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		before = r
	}
	return b.String()
}

// cleanLines is clean for texts of several lines: all but the first are indented,
// so that none can pass for a line of ours.
func cleanLines(s string, indent int) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = clean(line)
		if i > 0 {
			lines[i] = strings.Repeat(" ", indent) + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// isVisible reports whether r has a shape of its own, or is a plain space. The
// last four are blank though Unicode counts them as letters or symbols.
func isVisible(r rune) bool {
	switch {
	case r == ' ' || r == '\u3000': // the space of Chinese text
		return true
	case !unicode.IsPrint(r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r),
		unicode.Is(unicode.Variation_Selector, r):
		return false
	case r == '\u115f', r == '\u1160', r == '\u3164', r == '\uffa0', r == '\u2800':
		return false
	default:
		return true
	}
}

func isPictograph(r rune) bool { return r >= 0x2190 && unicode.In(r, unicode.So, unicode.Sk) }

// columns returns how many columns of a terminal a cleaned s takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
		case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// pad fills s with spaces up to n columns.
func pad(s string, n int) string {
	if missing := n - columns(s); missing > 0 {
		return s + strings.Repeat(" ", missing)
	}
	return s
}

// table aligns rows of cleaned cells in columns, two spaces apart.
func table(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(pad(cell, widths[i]+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// groups writes a user ID in groups of four, as people read it aloud.
func groups(id string) string {
	var b strings.Builder
	for i := range len(id) {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteByte(id[i])
	}
	return b.String()
}
