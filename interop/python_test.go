package interop_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chate2e/chate2e/interop"
)

// pythonCommand is the peer over Debian's python3-doubleratchet. Another Python may come first on the path.
func pythonCommand(t *testing.T) interop.Command {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import doubleratchet, cryptography").Run() == nil {
			return interop.Command{Path: python, Args: []string{filepath.Join("python", "peer.py")}}
		}
	}
	missing(t, "skipped: python3-doubleratchet is not installed")
	return interop.Command{}
}

// specification says that a duplicate may look like a forgery: a ratchet that follows the specification forgets
// the chains it has left.
var specification = interop.Config{OneStarts: true, Refusals: []string{"DuplicatedMessage", "InvalidMessage"}}

func TestPythonBadLines(t *testing.T) {
	t.Parallel()
	testBadLines(t, pythonCommand(t))
}

func TestPythonWithPython(t *testing.T) {
	t.Parallel()
	play(t, theirs, specification, parties(start(t, pythonCommand(t)), start(t, pythonCommand(t)), interop.PairConfig{}))
}
