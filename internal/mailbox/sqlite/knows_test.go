package sqlite_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/SECURITY.md tells people what a relay stores. Whoever adds a column says
// there what it holds and why.
func TestWhatTheRelayKnowsIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## What the relay knows\n")
	if !ok {
		t.Fatal("the section is missing")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var listed []string
	for _, m := range regexp.MustCompile("`([a-z_]+\\.[a-z_]+)`").FindAllStringSubmatch(section, -1) {
		listed = append(listed, m[1])
	}
	columns, err := open(t, filepath.Join(t.TempDir(), "relay.db")).Columns()
	if err != nil {
		t.Fatal(err)
	}
	if len(columns) < 30 {
		t.Fatalf("only %d columns found", len(columns))
	}
	for _, c := range columns {
		if !slices.Contains(listed, c) {
			t.Errorf("%s is stored and not documented", c)
		}
	}
	for _, c := range listed {
		if !slices.Contains(columns, c) {
			t.Errorf("%s is documented and not stored", c)
		}
	}
}
