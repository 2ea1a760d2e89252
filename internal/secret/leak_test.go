package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template"
	"unicode"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
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

// detector finds the bytes of a secret in text.
type detector struct {
	notations map[string]string // how a part of the secret looks → what that is called
}

// normalised makes one comma of white space and commas, which differ between a
// list in a slice, in a struct, in Go syntax and in JSON.
func normalised(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }), ",")
}

func newDetector(planted []byte) *detector {
	d := &detector{notations: map[string]string{}}
	add := func(name, text string) {
		// Too short a text would be found anywhere.
		if text = strings.Trim(normalised(text), `[]{}",`); len(text) >= window {
			d.notations[text] = name
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
	for long := range d.notations {
		for short := range d.notations {
			if len(short) < len(long) && strings.Contains(long, short) {
				delete(d.notations, long)
				break
			}
		}
	}
	return d
}

// find says in which notation text shows a part of the secret, or "".
func (d *detector) find(text string) string {
	text = normalised(text)
	for notation, name := range d.notations {
		if strings.Contains(text, notation) {
			return name
		}
	}
	return ""
}

// output is one way of writing a value down.
type output struct{ how, text string }

// outputs writes a value down in every way that a program might by accident.
func outputs(t *testing.T, v any) []output {
	t.Helper()
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
		"a slice":          []T{v, v},
		"a map":            map[string]T{"a": v},
		"a slice of any":   []any{v, p, unexported[T]{v}},
		"a boxed struct":   secret.NewBox(exported[T]{v}),
		"a field of a box": unexported[secret.Box[unexported[T]]]{secret.NewBox(unexported[T]{v})},
	}
	for _, name := range slices.Collect(maps.Keys(holders)) {
		holder := holders[name]
		holders["a pointer to "+name] = &holder
	}
	return holders
}

// mustNotLeak writes v down in every way, held in every way, and looks for the
// planted bytes.
func mustNotLeak[T any](t *testing.T, v T, planted ...[]byte) {
	t.Helper()
	detectors := make([]*detector, len(planted))
	for i := range planted {
		detectors[i] = newDetector(planted[i])
	}
	for name, holder := range holders(v) {
		written := outputs(t, holder)
		texts := map[string]bool{}
		for _, o := range written {
			texts[o.text] = true
		}
		all := strings.Join(slices.Collect(maps.Keys(texts)), "\x00")
		for i, d := range detectors {
			if d.find(all) == "" {
				continue
			}
			for _, o := range written {
				if found := d.find(o.text); found != "" {
					// The text is not printed: a test's output is a log, too.
					t.Errorf("%s of %T as %s shows secret %d in the notation %s", o.how, v, name, i, found)
				}
			}
		}
	}
}

// careless is what [secret.Key] is instead of: fmt cannot call its methods in an
// unexported field, and encoding/json does not ask for String at all.
type careless [32]byte

func (careless) String() string       { return "[redacted]" }
func (careless) GoString() string     { return "[redacted]" }
func (careless) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// TestDetector shows that the other tests can fail: it plants bytes in a careless
// type, and demands that they are found.
func TestDetector(t *testing.T) {
	r := testrand.New(t)
	planted := plant(r, 32)
	d, other := newDetector(planted), newDetector(plant(r, 32))
	for name, test := range map[string]struct {
		value any
		finds []string
	}{
		"unexported": {unexported[careless]{careless(planted)}, []string{
			"Sprintf %v", "Sprintf %+v", "Sprintf %#v", "Sprintf %d", "Sprintf %x", "Sprintf %X", "Sprintf %# x",
			"Sprintf %s", "Sprintf %q", "Sprintf %+q", "Sprintf %o", "Sprintf %b", "Sprintf %c", "Sprintf %U",
			"Sprintf %p", "Sprintf %t", "Sprintf %40v",
			"Sprint", "Sprintln", "Sprintf x", "Errorf doing x: %v", "Errorf doing x: %w",
			"errors.Join of Errorf doing x: %v", "an error that carries it", "slog text", "a template",
		}},
		"exported": {exported[careless]{careless(planted)}, []string{"JSON", "slog JSON"}},
		"a slice":  {exported[[]byte]{planted}, []string{"JSON", "slog text", "slog JSON", "Sprint"}},
		"a string": {exported[string]{string(planted)}, []string{"JSON", "slog JSON", "Sprintf %q", "Sprintf %v", "Sprintf %x"}},
		"deep":     {deep[careless]{list: []unexported[*unexported[careless]]{{}}, inner: unexported[exported[unexported[careless]]]{exported[unexported[careless]]{unexported[careless]{careless(planted)}}}}, []string{"Sprintf %v", "Sprintf %x", "slog text"}},
		"a map":    {map[string]unexported[careless]{"a": {careless(planted)}}, []string{"Sprintf %v", "slog text"}},
		"a pointer to a struct": {
			&unexported[careless]{careless(planted)}, []string{"Sprintf %v", "Sprintf %+v", "slog text"},
		},
	} {
		found := map[string]string{}
		for _, o := range outputs(t, test.value) {
			if notation := d.find(o.text); notation != "" {
				found[o.how] = notation
			}
		}
		for _, how := range test.finds {
			if found[how] == "" {
				t.Errorf("%s, held as %s, is not noticed to leak", how, name)
			}
		}
		if other.find(fmt.Sprintf("%v %x %q", test.value, test.value, test.value)) != "" {
			t.Errorf("other bytes, held as %s, are taken for the planted ones", name)
		}
	}
}

// plant makes the bytes of a secret, without zeros: six zeros in some notation
// might be found in anything.
func plant(r *testrand.Rand, size int) []byte {
	b := r.Bytes(size)
	for i := range b {
		b[i] = max(b[i], 1)
	}
	return b
}

func TestNothingPrints(t *testing.T) {
	r := testrand.New(t)
	t.Run("Key", func(t *testing.T) {
		planted := plant(r, 32)
		key, err := secret.ParseKey(planted)
		if err != nil {
			t.Fatal(err)
		}
		mustNotLeak(t, key, planted)
		mustNotLeak(t, exported[secret.Key]{key}, planted)
		mustNotLeak(t, struct{ secret.Key }{key}, planted) // embedded
	})
	t.Run("Box", func(t *testing.T) {
		planted := plant(r, 64)
		mustNotLeak(t, secret.NewBox([64]byte(planted)), planted)
		mustNotLeak(t, secret.NewBox(planted), planted)
		mustNotLeak(t, secret.NewBox(string(planted)), planted)
		mustNotLeak(t, secret.NewBox(map[string][]byte{"a": planted}), planted)
		mustNotLeak(t, secret.NewBox(unexported[[]byte]{planted}), planted)
	})
	t.Run("curve", func(t *testing.T) {
		for _, used := range []bool{false, true} {
			planted := plant(r, 32)
			key, err := curve.NewPrivateKey(planted)
			if err != nil {
				t.Fatal(err)
			}
			if used {
				key.PublicKey() // loads the standard library's key
			}
			mustNotLeak(t, key, planted, key.Bytes())
			mustNotLeak(t, dereferenced(key), planted, key.Bytes())
		}
	})
	t.Run("kem", func(t *testing.T) {
		for _, used := range []bool{false, true} {
			planted := plant(r, 64)
			key, err := kem.NewPrivateKey(kem.MLKEM1024, planted)
			if err != nil {
				t.Fatal(err)
			}
			if used {
				key.PublicKey()
			}
			mustNotLeak(t, key, planted)
			mustNotLeak(t, dereferenced(key), planted)
		}
	})
}

// dereferenced returns what a pointer points to, which has no methods of the
// pointer's to redact it: only how it holds its bytes does.
func dereferenced(pointer any) any { return reflect.ValueOf(pointer).Elem().Interface() }
