// Package testleak finds secrets in whatever a program may print by accident:
// with every verb of package fmt, in errors, in logs, in JSON and in templates,
// with the value held in fields, slices, maps and interfaces, exported or not.
// Only tests import it.
//
//	testleak.Check(t, session, rootKey, chainKey)
package testleak

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/template"
	"unicode"
)

// formats are the verbs of package fmt, with the flags that change what they do
// to bytes.
var formats = func() []string {
	var all []string
	for _, flags := range []string{"", "+", "#", "-", " ", "0", "# ", "+#", "40", ".64", "-70.40"} {
		for _, verb := range "vTtbcdoOqxXUeEfFgGspw!" {
			all = append(all, "%"+flags+string(verb))
		}
	}
	return all
}()

// window is how many neighbouring bytes of a secret in any notation count as a
// leak.
const window = 6

// detector finds the bytes of secrets in text.
type detector struct {
	needles map[[window]byte][]needle // by their beginning
	begins  [1 << 16]bool             // the first two bytes of any: most text is none
}

// needle is how a part of a secret looks.
type needle struct {
	text, name string
	secret     int
}

// Shows reports whether a part of the planted secret can be read in text, in any
// notation. The secret has at least 12 bytes.
func Shows(text string, planted []byte) bool { return newDetector(planted).find(text) != nil }

// normalised makes one comma of white space and commas, which differ between a
// list in a slice, in a struct, in Go syntax and in JSON.
func normalised(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }), ",")
}

func newDetector(planted ...[]byte) *detector {
	d := &detector{needles: map[[window]byte][]needle{}}
	for i, p := range planted {
		for text, name := range notationsOf(p) {
			begin := [window]byte([]byte(text))
			d.needles[begin] = append(d.needles[begin], needle{text, name, i})
			d.begins[int(text[0])<<8|int(text[1])] = true
		}
	}
	return d
}

// notationsOf returns what parts of the secret look like, and what that is called.
func notationsOf(planted []byte) map[string]string {
	notations := map[string]string{}
	add := func(name, text string) {
		// Too short a text would be found anywhere.
		if text = strings.Trim(normalised(text), `[]{}",`); len(text) >= window {
			notations[text] = name
		}
	}
	// A secret that prints does so from its beginning or, padded and cut, near
	// it; the starts 0, 1 and 2 give base64 with any alignment.
	for _, start := range []int{0, 1, 2, len(planted) / 2, len(planted) - window} {
		part := planted[start : start+window]
		for _, format := range formats {
			if strings.ContainsAny(format, "Tpw!0123456789") {
				continue // these say nothing of the value, or pad and cut it
			}
			add(format+" of a slice", fmt.Sprintf(format, part))
			add(format+" of an array", fmt.Sprintf(format, [window]byte(part)))
			add(format+" of a string", fmt.Sprintf(format, string(part)))
		}
		goSyntax := fmt.Sprintf("%#v", part)
		add("Go syntax", goSyntax[strings.IndexByte(goSyntax, '{'):])
		quoted, err := json.Marshal(string(part))
		if err != nil {
			panic(err)
		}
		add("a JSON string", string(quoted))
		add("base64", base64.RawStdEncoding.EncodeToString(part))
		add("base64", base64.RawURLEncoding.EncodeToString(part))
	}
	// A notation that has another one inside is found with that.
	for long := range notations {
		for short := range notations {
			if len(short) < len(long) && strings.Contains(long, short) {
				delete(notations, long)
				break
			}
		}
	}
	return notations
}

// find returns a part of a secret that text shows, or nil.
func (d *detector) find(text string) *needle {
	text = normalised(text)
	for i := range len(text) - window + 1 {
		if !d.begins[int(text[i])<<8|int(text[i+1])] {
			continue
		}
		for _, n := range d.needles[[window]byte([]byte(text[i:i+window]))] {
			if strings.HasPrefix(text[i:], n.text) {
				return &n
			}
		}
	}
	return nil
}

// output is one way of writing a value down.
type output struct{ how, text string }

// outputs writes a value down in every way that a program might by accident.
func outputs(tb testing.TB, v any) []output {
	tb.Helper()
	var all []output
	add := func(how, text string) { all = append(all, output{how, text}) }
	for _, format := range formats {
		if strings.HasSuffix(format, "w") {
			continue // only for errors, below
		}
		add("Sprintf "+format, fmt.Sprintf(format, v))
	}
	add("Sprint", fmt.Sprint(v))
	add("Sprintln", fmt.Sprintln(v, v))
	for _, mistaken := range []string{"x", "%*d", "%.*d", "%[2]d", "%d %d", "%"} {
		add("Sprintf "+mistaken, fmt.Sprintf(mistaken, v))
	}
	for _, format := range []string{"doing x: %v", "doing x: %w", "doing x: %+v %[1]w"} {
		err := fmt.Errorf(format, v)
		add("Errorf "+format, fmt.Sprintf("%v %+v %#v", err, err, err))
		err = errors.Join(err, carrier{v}, errors.New("y"))
		add("errors.Join of Errorf "+format, fmt.Sprintf("%v %+v %#v", err, err, err))
	}
	carried := fmt.Errorf("doing x: %w", carrier{v})
	add("an error that carries it", fmt.Sprintf("%v %+v %#v", carried, carried, carried))

	for _, handler := range []struct {
		name string
		make func(*bytes.Buffer) slog.Handler
	}{
		{"slog text", func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }},
		{"slog JSON", func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) }},
	} {
		var b bytes.Buffer
		logger := slog.New(handler.make(&b))
		logger.Info("x", "value", v)
		logger.Info("x", slog.Group("group", slog.Any("value", v)))
		logger.With("value", v).WithGroup("group").Info("x", "values", []any{v, &v})
		logger.Info("x", "error", carrier{v})
		logger.Info("x", "map", map[string]any{"value": v})
		add(handler.name, b.String())
	}

	// What cannot be marshalled is an error, whose text counts as well.
	asJSON, err := json.Marshal(v)
	add("JSON", fmt.Sprintf("%s %v", asJSON, err))
	var b strings.Builder
	err = template.Must(template.New("x").Parse("{{.}} {{printf `%v` .}} {{. | js}} {{. | len}}")).Execute(&b, v)
	add("a template", fmt.Sprint(b.String(), err))
	return all
}

// carrier is an error with a value in an unexported field.
type carrier struct{ value any }

func (carrier) Error() string { return "an error" }

// The ways in which a program holds a value of type T.
type (
	exported[T any]   struct{ Value T }
	unexported[T any] struct{ value T }
	pointers[T any]   struct {
		Value *T
		value *T
		twice **T
	}
	collections[T any] struct {
		Slice  []T
		slice  []T
		Array  [2]T
		array  [2]T
		Map    map[string]T
		mapped map[string]*T
	}
	interfaces struct {
		Value any
		value any
		list  []any
	}
	deep[T any] struct {
		name  string
		inner unexported[exported[unexported[T]]]
		list  []unexported[*unexported[T]]
		size  int
	}
)

// holders returns v in every way a program might hold it.
func holders[T any](v T) map[string]any {
	p := &v
	holders := map[string]any{
		"itself":       v,
		"a pointer":    p,
		"two pointers": &p,
		"exported":     exported[T]{v},
		"unexported":   unexported[T]{v},
		"pointers":     pointers[T]{p, p, &p},
		"collections": collections[T]{
			[]T{v, v}, []T{v}, [2]T{v, v}, [2]T{v, v}, map[string]T{"a": v}, map[string]*T{"a": p},
		},
		"interfaces": interfaces{v, v, []any{v, p}},
		"deep":       deep[T]{"name", unexported[exported[unexported[T]]]{exported[unexported[T]]{unexported[T]{v}}}, []unexported[*unexported[T]]{{&unexported[T]{v}}}, 1},
		"an anonymous struct": struct {
			a int
			b T
			C *T
		}{1, v, p},
		"a slice":        []T{v, v},
		"a map":          map[string]T{"a": v},
		"a slice of any": []any{v, p, unexported[T]{v}},
	}
	for _, name := range slices.Collect(maps.Keys(holders)) {
		holder := holders[name]
		holders["a pointer to "+name] = &holder
	}
	return holders
}

// Check writes v down in every way, held in every way, and reports every output
// in which a part of one of the planted secrets can be read, in any notation. A
// secret has at least 12 bytes; what is printed of the failure does not show it.
func Check[T any](tb testing.TB, v T, planted ...[]byte) {
	tb.Helper()
	d := newDetector(planted...)
	for name, holder := range holders(v) {
		written := outputs(tb, holder)
		texts := map[string]bool{}
		for _, o := range written {
			texts[o.text] = true
		}
		if d.find(strings.Join(slices.Collect(maps.Keys(texts)), "\x00")) == nil {
			continue
		}
		for _, o := range written {
			if found := d.find(o.text); found != nil {
				// The text is not printed: a test's output is a log, too.
				tb.Errorf("%s of %T as %s shows secret %d in the notation %s", o.how, v, name, found.secret, found.name)
			}
		}
	}
}
