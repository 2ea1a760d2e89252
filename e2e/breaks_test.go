package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	breaksVariable = "CHATE2E_E2E_BREAKS" // not empty: run the broken builds, too
	// breakSchedules is how many schedules a broken build may survive.
	breakSchedules = "150"
)

var (
	changedFile = regexp.MustCompile(`(?m)^\+\+\+ b/(.+)$`)
	redLine     = regexp.MustCompile(`(?m)^Red: (.+)$`)

	countedSchedules = regexp.MustCompile(`(\d+) schedules in `)
)

// TestBreaks shows that the checks can fail: each patch in testdata/breaks makes
// one mistake, and the schedules must find it and say what the patch's "Red:" line
// says. That takes minutes: unless it is asked for, the patches must only apply, so
// that a change that one of them stands on is made in both places.
func TestBreaks(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git to apply the patches with")
	}
	patches, err := filepath.Glob(filepath.Join("testdata", "breaks", "*.patch"))
	if err != nil || len(patches) == 0 {
		t.Fatalf("no patches: %v", err)
	}
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) { runBroken(t, patch) })
	}
}

func runBroken(t *testing.T, patch string) {
	t.Helper()
	text, err := os.ReadFile(patch)
	if err != nil {
		t.Fatal(err)
	}
	red := redLine.FindSubmatch(text)
	if red == nil {
		t.Fatal("the patch does not say what it makes fail")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	// The patched files lie beside the tree, and take the place of its own.
	dir := t.TempDir()
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for _, m := range changedFile.FindAllSubmatch(text, -1) {
		path := filepath.FromSlash(string(m[1]))
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), source, 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, path)] = filepath.Join(dir, path)
	}
	absolute, err := filepath.Abs(patch)
	if err != nil {
		t.Fatal(err)
	}
	apply := exec.CommandContext(t.Context(), "git", "apply", absolute)
	apply.Dir = dir
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("the patch does not apply any more: %v\n%s", err, out)
	}
	if os.Getenv(breaksVariable) == "" {
		return
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, b, 0o600); err != nil {
		t.Fatal(err)
	}
	test := exec.CommandContext(t.Context(), "go", "test", "-overlay", list, "-count=1", "-timeout=10m", "-run=^TestSchedules$", ".")
	test.Env = append(os.Environ(), countVariable+"="+breakSchedules, seedVariable+"=")
	out, err := test.CombinedOutput()
	switch {
	case err == nil:
		t.Errorf("nobody notices in %s schedules", breakSchedules)
	case !strings.Contains(string(out), "--- FAIL") || !strings.Contains(string(out), string(red[1])):
		t.Errorf("it fails in another way:\n%s", out)
	default:
		t.Logf("found after %s schedules", countedSchedules.FindSubmatch(out)[1])
	}
}
