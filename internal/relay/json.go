package relay

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"
)

// ErrJSON is wrapped by every error of [DecodeJSON].
var ErrJSON = errors.New("relay: not the JSON expected")

// maxDepth bounds the nesting of a body; the deepest of ours has three levels.
const maxDepth = 8

// DecodeJSON reads data, which must be one JSON object, into the struct that v
// points to. encoding/json alone is too forgiving for a protocol; this refuses,
// at every level,
//
//   - keys that are unknown, in the wrong case, given twice, or missing (unless
//     their field says omitempty or omitzero),
//   - null, invalid UTF-8, half a surrogate pair, bytes after the object,
//   - nesting deeper than any body of ours.
//
// On an error *v is not to be used. The error never repeats the input.
func DecodeJSON(data []byte, v any) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: invalid UTF-8", ErrJSON)
	}
	if err := checkDepth(data); err != nil {
		return err
	}
	// From here on the syntax is right, so the scanner below need not check it.
	if !json.Valid(data) {
		return fmt.Errorf("%w: syntax", ErrJSON)
	}
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		panic("relay: DecodeJSON wants a pointer to a struct")
	}
	s := scanner{data: data}
	if err := s.value(t.Elem(), ""); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %s", ErrJSON, unmarshalReason(err))
	}
	return nil
}

// unmarshalReason says what is wrong without quoting the input, as the errors of
// encoding/json do.
func unmarshalReason(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s is not of the right type", e.Field)
	}
	if reason, ok := strings.CutPrefix(err.Error(), "relay: "); ok { // from an UnmarshalText of this package
		return reason
	}
	return "value"
}

// checkDepth bounds the nesting before anything recurses. Brackets inside
// strings do not count.
func checkDepth(data []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("%w: nested too deeply", ErrJSON)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// scanner walks over valid JSON beside the Go type it will be decoded into.
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func (s *scanner) value(t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s.space()
	switch s.data[s.pos] {
	case '{':
		if t.Kind() != reflect.Struct {
			return fmt.Errorf("%w: %s is not an object", ErrJSON, name(path))
		}
		return s.object(t, path)
	case '[':
		if t.Kind() != reflect.Slice || reflect.PointerTo(t).Implements(textUnmarshaler) {
			return fmt.Errorf("%w: %s is not a list", ErrJSON, name(path))
		}
		return s.list(t.Elem(), path)
	case '"':
		_, err := s.str()
		switch isText := reflect.PointerTo(t).Implements(textUnmarshaler); {
		case err != nil:
			return err
		case t.Kind() == reflect.Struct:
			return fmt.Errorf("%w: %s is an object", ErrJSON, name(path))
		case t.Kind() == reflect.Slice && !isText: // encoding/json would take base64 for a list of small numbers
			return fmt.Errorf("%w: %s is a list", ErrJSON, name(path))
		}
		return nil
	case 'n':
		return fmt.Errorf("%w: %s is null", ErrJSON, name(path))
	default: // a number, true or false
		if t.Kind() == reflect.Struct {
			return fmt.Errorf("%w: %s is an object", ErrJSON, name(path))
		}
		for s.pos < len(s.data) && !strings.ContainsRune(" \t\r\n,]}", rune(s.data[s.pos])) {
			s.pos++
		}
		return nil
	}
}

func name(path string) string {
	if path == "" {
		return "the body"
	}
	return path
}

func (s *scanner) list(elem reflect.Type, path string) error {
	s.pos++ // [
	if s.space(); s.data[s.pos] == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(elem, path); err != nil {
			return err
		}
		s.space()
		s.pos++ // , or ]
		if s.data[s.pos-1] == ']' {
			return nil
		}
	}
}

func (s *scanner) object(t reflect.Type, path string) error {
	fields := fieldsOf(t)
	seen := make(map[string]bool, len(fields))
	s.pos++ // {
	if s.space(); s.data[s.pos] == '}' {
		s.pos++
		return missing(fields, seen, path)
	}
	for {
		s.space()
		key, err := s.str()
		if err != nil {
			return err
		}
		f, known := fields[key]
		if !known {
			return fmt.Errorf("%w: unknown key in %s", ErrJSON, name(path))
		}
		inner := f.name
		if path != "" {
			inner = path + "." + f.name
		}
		if seen[key] {
			return fmt.Errorf("%w: %s is given twice", ErrJSON, inner)
		}
		seen[key] = true
		s.space()
		s.pos++ // :
		if err := s.value(f.typ, inner); err != nil {
			return err
		}
		s.space()
		s.pos++ // , or }
		if s.data[s.pos-1] == '}' {
			return missing(fields, seen, path)
		}
	}
}

func missing(fields map[string]field, seen map[string]bool, path string) error {
	first := ""
	for key, f := range fields {
		if f.required && !seen[key] && (first == "" || key < first) {
			first = key
		}
	}
	switch {
	case first == "":
		return nil
	case path != "":
		first = path + "." + first
	}
	return fmt.Errorf("%w: %s is missing", ErrJSON, first)
}

// str reads a string and returns it without the quotes. Escapes stay as they are,
// so that a key is known only in its plain spelling, but for half a surrogate
// pair, which encoding/json would silently replace.
func (s *scanner) str() (string, error) {
	s.pos++ // "
	start := s.pos
	for s.data[s.pos] != '"' {
		if s.data[s.pos] != '\\' {
			s.pos++
			continue
		}
		if s.data[s.pos+1] != 'u' {
			s.pos += 2
			continue
		}
		first := hex4(s.data[s.pos+2:])
		s.pos += 6
		if first < 0xD800 || first > 0xDFFF {
			continue
		}
		if first > 0xDBFF || s.data[s.pos] != '\\' || s.data[s.pos+1] != 'u' {
			return "", fmt.Errorf("%w: half a surrogate pair", ErrJSON)
		}
		if second := hex4(s.data[s.pos+2:]); second < 0xDC00 || second > 0xDFFF {
			return "", fmt.Errorf("%w: half a surrogate pair", ErrJSON)
		}
		s.pos += 6
	}
	s.pos++ // "
	return string(s.data[start : s.pos-1]), nil
}

func hex4(b []byte) (n rune) {
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			n = n<<4 | rune(c-'0')
		default:
			n = n<<4 | rune(c|0x20-'a'+10)
		}
	}
	return n
}

type field struct {
	name     string
	typ      reflect.Type
	required bool
}

var fieldCache sync.Map // reflect.Type → map[string]field

func fieldsOf(t reflect.Type) map[string]field {
	if f, ok := fieldCache.Load(t); ok {
		return f.(map[string]field)
	}
	fields := make(map[string]field)
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			panic("relay: " + t.String() + "." + f.Name + " has no JSON name")
		}
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		fields[name] = field{name: name, typ: f.Type, required: !optional}
	}
	fieldCache.Store(t, fields)
	return fields
}
