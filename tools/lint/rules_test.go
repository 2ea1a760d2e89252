// Package lint_test proves that the rules of .golangci.yml fire.
package lint_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// A place is one line of a file of the fixture.
type place struct {
	file string
	line int
}

// A finding is one complaint of the linter, or the part of it that is wanted.
type finding struct{ linter, text string }

func (f finding) answers(want finding) bool {
	return f.linter == want.linter && strings.Contains(f.text, want.text)
}

// The fixture testdata/rules.txtar is a small house that breaks the rules on
// purpose. What it breaks must be found where it says so, and nothing else; and
// every import rule must be broken somewhere, so that none can go blind unseen.
func TestRulesFire(t *testing.T) {
	linter := os.Getenv("GOLANGCI_LINT")
	if linter == "" {
		t.Skip("GOLANGCI_LINT does not name a golangci-lint binary")
	}
	config, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	fixture, err := txtar.ParseFile("testdata/rules.txtar")
	if err != nil {
		t.Fatal(err)
	}
	want := wanted(fixture)
	got := findings(t, linter, config, fixture)

	for _, rule := range importRules(config) {
		if !broken(want, rule) {
			t.Errorf("no line of the fixture breaks the import rule %s", rule)
		}
	}
	for at, wants := range want {
		for _, w := range wants {
			i := slices.IndexFunc(got[at], func(f finding) bool { return f.answers(w) })
			if i < 0 {
				t.Errorf("%s:%d: %s does not say %q", at.file, at.line, w.linter, w.text)
				continue
			}
			got[at] = slices.Delete(got[at], i, i+1)
		}
	}
	for at, rest := range got {
		for _, f := range rest {
			t.Errorf("%s:%d: %s says %q, which is not wanted", at.file, at.line, f.linter, f.text)
		}
	}
}

var (
	wantComment = regexp.MustCompile(`// want (\w+): ([^/]+)`)
	ourImport   = regexp.MustCompile(`"github\.com/chate2e/chate2e/([^"]+)"`)
	ruleName    = regexp.MustCompile(`(?m)^ {8}([\w-]+):`)
)

// wanted reads the comments "want LINTER: TEXT" of the fixture.
func wanted(fixture *txtar.Archive) map[place][]finding {
	want := make(map[place][]finding)
	for _, file := range fixture.Files {
		for i, line := range strings.Split(string(file.Data), "\n") {
			at := place{file.Name, i + 1}
			for _, m := range wantComment.FindAllStringSubmatch(line, -1) {
				want[at] = append(want[at], finding{m[1], strings.TrimSpace(m[2])})
			}
		}
	}
	return want
}

// findings runs the linter with the configuration over the unpacked fixture.
func findings(t *testing.T, linter string, config []byte, fixture *txtar.Archive) map[place][]finding {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".golangci.yml", config)
	for _, file := range fixture.Files {
		write(file.Name, file.Data)
		for _, m := range ourImport.FindAllStringSubmatch(string(file.Data), -1) {
			write(m[1]+"/doc.go", []byte("package "+path.Base(m[1])+"\n"))
		}
	}

	cmd := exec.CommandContext(t.Context(), linter, "run", "--enable-only=depguard,forbidigo,sloglint",
		"--show-stats=false", "--output.json.path=stdout", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	// Exit status 1 says that there are findings.
	if exit := new(exec.ExitError); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var report struct {
		Issues []struct {
			FromLinter, Text string
			Pos              struct {
				Filename string
				Line     int
			}
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, &stderr)
	}
	got := make(map[place][]finding)
	for _, issue := range report.Issues {
		at := place{filepath.ToSlash(issue.Pos.Filename), issue.Pos.Line}
		got[at] = append(got[at], finding{issue.FromLinter, issue.Text})
	}
	return got
}

// importRules returns the names of depguard's rules.
func importRules(config []byte) []string {
	_, rules, _ := strings.Cut(string(config), "\n    depguard:\n      rules:\n")
	rules, _, _ = strings.Cut(rules, "\n    exhaustive:")
	var names []string
	for _, m := range ruleName.FindAllStringSubmatch(rules, -1) {
		names = append(names, m[1])
	}
	return names
}

// broken reports whether a line of the fixture breaks the import rule.
func broken(want map[place][]finding, rule string) bool {
	for _, wants := range want {
		for _, w := range wants {
			if w.linter == "depguard" && strings.HasPrefix(w.text, "'"+rule+"'") {
				return true
			}
		}
	}
	return false
}
