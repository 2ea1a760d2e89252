package interop_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chate2e/chate2e/interop"
)

// The environment of the interoperability tests.
const (
	seedVariable     = "CHATE2E_INTEROP_SEED"      // run this one schedule of each pairing
	countVariable    = "CHATE2E_INTEROP_SCHEDULES" // so many schedules of each pairing
	requiredVariable = "CHATE2E_INTEROP_REQUIRED"  // not empty: a missing peer is a failure, not a skip
)

// missing skips the test for want of a peer, with the reason.
func missing(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv(requiredVariable) != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// nodePeer starts the official library of that version.
func nodePeer(t *testing.T, version string, flags ...string) *interop.Peer {
	t.Helper()
	return start(t, nodeCommand(t, version, flags...))
}

func nodeCommand(t *testing.T, version string, flags ...string) interop.Command {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "skipped: Node 20 or later is not installed")
	}
	out, err := exec.CommandContext(t.Context(), node, "--version").Output()
	if err != nil {
		t.Fatalf("node --version: %v", err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < 20 {
		missing(t, fmt.Sprintf("skipped: Node 20 or later is needed, this is %s", strings.TrimSpace(string(out))))
	}
	if _, err := os.Stat(filepath.Join("node", "node_modules", "libsignal-"+version)); err != nil {
		missing(t, "skipped: the official library is not there; run npm ci in interop/node")
	}
	args := append([]string{filepath.Join("node", "peer.mjs"), "--version", version}, flags...)
	return interop.Command{Path: node, Args: args}
}

func start(t *testing.T, c interop.Command) *interop.Peer {
	t.Helper()
	// Not the test's own context: that ends before the clean-up below asks the process to end.
	peer, err := interop.Start(context.WithoutCancel(t.Context()), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := peer.Close(); err != nil {
			t.Error(err)
		}
	})
	return peer
}

// built says that signalPeer has been asked for.
var built bool

// signalPeer is built once for all tests; TestMain deletes it.
var signalPeer = sync.OnceValues(func() (string, error) {
	built = true
	dir, err := os.MkdirTemp("", "signalpeer")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "signalpeer")
	out, err := exec.Command("go", "build", "-o", path, "./signalpeer").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building signalpeer: %w\n%s", err, out)
	}
	return path, err
})

// goCommand is the peer over this repository's libsignal suites.
func goCommand(t *testing.T, flags ...string) interop.Command {
	t.Helper()
	path, err := signalPeer()
	if err != nil {
		t.Fatal(err)
	}
	return interop.Command{Path: path, Args: flags}
}

// How many schedules a pairing plays: many where our own code meets another's, few (each way to start once)
// where one kind of code is at both ends, which only shows that schedule and peers are right. Those of the
// Triple Ratchet are long, and scripts/nightly plays more of them.
const (
	ours   = 20
	few    = 6
	theirs = 3
)

// seeds returns the seeds of the schedules to run: count consecutive ones from a random first, or what the
// environment asks for.
func seeds(t *testing.T, count int) []uint64 {
	t.Helper()
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
		return []uint64{seed}
	}
	if testing.Short() {
		count = 3
	}
	if text := os.Getenv(countVariable); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 1 {
			t.Fatalf("%s: %q is not a count", countVariable, text)
		}
	}
	first := rand.Uint64() >> 16 // short enough to be typed
	all := make([]uint64, count)
	for i := range all {
		all[i] = first + uint64(i)
	}
	return all
}

// ends are the two ends of one schedule's conversation, and what frees them.
type ends func(seed uint64) (left, right interop.Endpoint, forget func() error, err error)

// play runs the schedules of one pairing, and returns what happened in them.
func play(t *testing.T, count int, cfg interop.Config, pair ends) interop.Stats {
	t.Helper()
	var total interop.Stats
	all := seeds(t, count)
	for _, seed := range all {
		stats, err := playOne(seed, cfg, pair)
		total.Add(stats)
		if err != nil {
			t.Fatalf("%v\nto see it again: %s=%d go test -run '^%s$' ./interop", err, seedVariable, seed, t.Name())
		}
	}
	t.Logf("%d schedules from seed %d: %+v", len(all), all[0], total)
	if len(all) < 20 {
		return total // a schedule may well do without one of the hazards, a few of them too
	}
	for what, count := range map[string]int{
		"left sent": total.Sent[0], "right sent": total.Sent[1], "lost": total.Lost, "overtaken": total.Overtaken,
		"duplicates": total.Duplicates, "mangled": total.Mangled, "restarts": total.Restarts,
	} {
		if count == 0 {
			t.Errorf("%s: never happened, so nothing was tested", what)
		}
	}
	return total
}

func playOne(seed uint64, cfg interop.Config, pair ends) (interop.Stats, error) {
	left, right, forget, err := pair(seed)
	if err != nil {
		return interop.Stats{}, err
	}
	stats, err := interop.NewSchedule(seed, cfg).Run(left, right)
	if err != nil {
		return stats, err
	}
	return stats, forget()
}

// parties pairs fresh parties of two peers for every schedule.
func parties(left, right *interop.Peer, cfg interop.PairConfig) ends {
	return func(seed uint64) (interop.Endpoint, interop.Endpoint, func() error, error) {
		l, r, err := interop.Pair(left, right, seed, cfg)
		if err != nil {
			return nil, nil, nil, err
		}
		forget := func() error {
			if err := l.Forget(); err != nil {
				return err
			}
			return r.Forget()
		}
		return l, r, forget, nil
	}
}

func newRand(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 2))
}
