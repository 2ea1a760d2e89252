package interop_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/interop"
)

var libsignal = interop.Config{Mangle: interop.MangleSignal}

// The official library with itself: what the schedules ask of a peer is what the library does, and the
// peer program does not get in its way.

func TestNode044With044(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.44.0"), nodePeer(t, "0.44.0")
	play(t, theirs, libsignal, parties(left, right, interop.PairConfig{Classical: true}))
}

func TestNode072With072(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.72.1"), nodePeer(t, "0.72.1")
	play(t, theirs, libsignal, parties(left, right, interop.PairConfig{}))
}

func TestNode044With072(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.44.0"), nodePeer(t, "0.72.1")
	play(t, theirs, libsignal, parties(left, right, interop.PairConfig{}))
}

func TestNode076With072(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.76.0"), nodePeer(t, "0.72.1")
	play(t, theirs, libsignal, parties(left, right, interop.PairConfig{}))
}

func TestNode103With103(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.103.0"), nodePeer(t, "0.103.0")
	play(t, theirs, libsignal, parties(left, right, interop.PairConfig{}))
}

func TestNode076With103(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.76.0"), nodePeer(t, "0.103.0")
	play(t, theirs, libsignal, parties(left, right, interop.PairConfig{}))
}

// TestNodeFaults sees that a fault in one of two real peers does not go unnoticed.
func TestNodeFaults(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.72.1"), nodePeer(t, "0.72.1")
	for _, sabotage := range sabotages {
		t.Run(sabotage.name, func(t *testing.T) {
			l, r, err := interop.Pair(left, right, 1, interop.PairConfig{})
			if err != nil {
				t.Fatal(err)
			}
			faulty := sabotage.make()
			faulty.Endpoint = r
			_, err = interop.NewSchedule(1, libsignal).Run(l, faulty)
			failure, ok := errors.AsType[*interop.ScheduleError](err)
			if !ok {
				t.Fatalf("got error %v, want a failure", err)
			}
			if !strings.Contains(failure.Cause.Error(), sabotage.want) {
				t.Errorf("got %q, want it to say %q", failure.Cause, sabotage.want)
			}
		})
	}
}
