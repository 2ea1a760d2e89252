// Package testvectors reads test vectors: the project's own ([File], [Own]), and
// collections that are not part of this repository. Only tests import it.
//
//	var file struct{ TestGroups []… }
//	testvectors.Wycheproof(t, "x25519_test.json", &file)
//
// Wycheproof comes as a Go module, pinned by version and checksum, through the
// go command's module cache. The official library's vectors are read from the
// folder that the environment variable CHATE2E_VECTORS names; without it, tests
// that need them skip.
package testvectors

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// The module has no Go package to import, so go.mod cannot name it; the version
// and the checksum are pinned here instead.
const (
	wycheproofModule  = "github.com/C2SP/wycheproof@v0.0.0-20250901140545-b51abcfb8daf"
	wycheproofSum     = "h1:5BKKVVVj676FUWirLcouEEL6GCYR9X0opkMlEUck8FY="
	officialVariable  = "CHATE2E_VECTORS"
	wycheproofVectors = "testvectors_v1"
)

// Wycheproof decodes one file of the Wycheproof collection into v. It fails the
// test when the module cannot be had, and skips it in short mode, since that may
// need the network once.
func Wycheproof(tb testing.TB, file string, v any) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("short mode: the Wycheproof module is not fetched")
	}
	dir, err := wycheproofDir()
	if err != nil {
		tb.Fatal(err)
	}
	load(tb, filepath.Join(dir, wycheproofVectors, file), v)
}

var wycheproofDir = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", wycheproofModule)
	cmd.Dir = os.TempDir() // outside any module, whose go.mod and go.sum it could change
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	output, runErr := cmd.Output()
	var module struct{ Dir, Sum, Error string }
	if err := json.Unmarshal(output, &module); err != nil {
		return "", fmt.Errorf("fetching %s: %w", wycheproofModule, errors.Join(runErr, err))
	}
	if runErr != nil {
		return "", fmt.Errorf("fetching %s: %s", wycheproofModule, module.Error)
	}
	if module.Sum != wycheproofSum {
		return "", fmt.Errorf("%s has the checksum %s, want %s", wycheproofModule, module.Sum, wycheproofSum)
	}
	return module.Dir, nil
})

// Official decodes one file of vectors made by the official library into v, or
// skips the test when CHATE2E_VECTORS is not set.
func Official(tb testing.TB, file string, v any) {
	tb.Helper()
	dir := os.Getenv(officialVariable)
	if dir == "" {
		tb.Skip(officialVariable + " does not name a folder with the official library's vectors")
	}
	load(tb, filepath.Join(dir, file), v)
}

func load(tb testing.TB, path string, v any) {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
}

// Hex is a byte string that vector files write in hexadecimal.
type Hex []byte

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hex) UnmarshalText(text []byte) error {
	decoded, err := hex.DecodeString(string(text))
	*h = decoded
	return err
}
