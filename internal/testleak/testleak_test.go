package testleak

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
)

// careless is what a type that redacts itself must not be: fmt cannot call its methods in an
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
			if n := d.find(o.text); n != nil {
				found[o.how] = n.name
			}
		}
		for _, how := range test.finds {
			if found[how] == "" {
				t.Errorf("%s, held as %s, is not noticed to leak", how, name)
			}
		}
		if other.find(fmt.Sprintf("%v %x %q", test.value, test.value, test.value)) != nil {
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
