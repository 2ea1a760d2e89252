package testvectors

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// File is one of this project's own vectors (docs/PROTOCOL.md, Test vectors):
// header lines "name: value", a blank line, and a body in hexadecimal digits.
type File struct {
	Body   []byte
	header []field
}

type field struct{ name, value string }

// Add adds a header line.
func (f *File) Add(name, value string) { f.header = append(f.header, field{name, value}) }

// AddHex adds a header line with b in hexadecimal digits.
func (f *File) AddHex(name string, b []byte) { f.Add(name, hex.EncodeToString(b)) }

// Replace gives the header lines of that name another value, and returns f.
func (f *File) Replace(name, value string) *File {
	for i := range f.header {
		if f.header[i].name == name {
			f.header[i].value = value
		}
	}
	return f
}

// Without takes the header lines of these names away, and returns f.
func (f *File) Without(names ...string) *File {
	f.header = slices.DeleteFunc(f.header, func(line field) bool { return slices.Contains(names, line.name) })
	return f
}

// All returns the values of all header lines of that name.
func (f *File) All(name string) []string {
	var values []string
	for _, line := range f.header {
		if line.name == name {
			values = append(values, line.value)
		}
	}
	return values
}

// Has reports whether there is a header line of that name.
func (f *File) Has(name string) bool { return len(f.All(name)) > 0 }

// Get returns the value of the one header line of that name.
func (f *File) Get(tb testing.TB, name string) string {
	tb.Helper()
	values := f.All(name)
	if len(values) != 1 {
		tb.Fatalf("%d headers %q, want one", len(values), name)
	}
	return values[0]
}

// Hex is Get for hexadecimal digits.
func (f *File) Hex(tb testing.TB, name string) []byte {
	tb.Helper()
	return Unhex(tb, f.Get(tb, name))
}

// Address is Get for name/device.
func (f *File) Address(tb testing.TB, name string) (user string, device uint32) {
	tb.Helper()
	user, number, _ := strings.Cut(f.Get(tb, name), "/")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		tb.Fatal(err)
	}
	return user, uint32(n)
}

// Time is Get for a time as in RFC 3339.
func (f *File) Time(tb testing.TB, name string) time.Time {
	tb.Helper()
	at, err := time.Parse(time.RFC3339, f.Get(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	return at
}

// Unhex decodes hexadecimal digits.
func Unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (f *File) format() []byte {
	var b bytes.Buffer
	for _, line := range f.header {
		fmt.Fprintf(&b, "%s: %s\n", line.name, line.value)
	}
	b.WriteByte('\n')
	for line := range slices.Chunk([]byte(hex.EncodeToString(f.Body)), 100) {
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func parseFile(tb testing.TB, data []byte) *File {
	tb.Helper()
	header, body, ok := strings.Cut(string(data), "\n\n")
	if !ok {
		tb.Fatal("no blank line after the header")
	}
	f := &File{Body: Unhex(tb, strings.ReplaceAll(body, "\n", ""))}
	for line := range strings.Lines(header) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			tb.Fatalf("header line %q", line)
		}
		f.Add(name, value)
	}
	return f
}

// Own are the vectors of one package: those in testdata/vectors whose kind, which
// their names begin with, is one of its own.
type Own struct {
	Folder string           // testdata/vectors, seen from the package
	Kinds  []string         // of the vectors
	Made   map[string]*File // the vectors as the package makes them, by name
	// Check plays a vector and returns the error that it leads to.
	Check func(t *testing.T, kind string, f *File) error
	// Outcomes are the errors that "expect" can name.
	Outcomes map[string]error
}

// Run checks every vector, and that the files are the ones that are made; with
// update, it writes them first.
func (o Own) Run(t *testing.T, update bool) {
	t.Helper()
	if update {
		o.write(t)
	}
	entries, err := os.ReadDir(o.Folder)
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !o.owns(e.Name()) })
	if got, want := len(entries), len(o.Made); got != want {
		t.Errorf("%d files, but %d vectors are made: run with -update", got, want)
	}
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(o.Folder, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			f := parseFile(t, data)
			if made := o.Made[entry.Name()]; made == nil || !bytes.Equal(data, made.format()) {
				t.Error("differs from what is made: run with -update")
			}
			kind := f.Get(t, "kind")
			if !strings.HasPrefix(entry.Name(), kind+"-") || !slices.Contains(o.Kinds, kind) {
				t.Fatalf("kind: %q", kind)
			}
			want, known := o.Outcomes[f.Get(t, "expect")]
			if !known {
				t.Fatalf("expect: %q", f.Get(t, "expect"))
			}
			if got := o.Check(t, kind, f); !errors.Is(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func (o Own) owns(name string) bool {
	return slices.ContainsFunc(o.Kinds, func(kind string) bool { return strings.HasPrefix(name, kind+"-") })
}

func (o Own) write(t *testing.T) {
	t.Helper()
	old, err := filepath.Glob(filepath.Join(o.Folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range old {
		if o.owns(filepath.Base(path)) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, f := range o.Made {
		if err := os.WriteFile(filepath.Join(o.Folder, name), f.format(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
