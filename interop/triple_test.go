package interop_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/interop"
)

// The Triple Ratchet: conversations long enough for ten epochs of the post-quantum ratchet, with hundreds
// of messages in one direction, on networks that now and then let 64 messages pass another, so that its
// chain is forgotten. On late ones 400 pass it, and its epoch is over.
var (
	triple = interop.Config{
		Messages: 2000, Window: 64, Stragglers: 0.01, Monologues: 0.001, Epochs: 10, Forgets: true, MaxBytes: 300,
		Mangle: interop.MangleSignal,
	}
	late = interop.Config{
		Messages: 2000, Window: 400, Stragglers: 0.05, Forgets: true, MaxBytes: 300,
		Mangle: interop.MangleSignal,
	}
)

// TestNode103With103Triple shows what the official library forgets: exactly what the schedules say.
func TestNode103With103Triple(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.103.0"), nodePeer(t, "0.103.0")
	exact(t, play(t, theirs, triple, parties(left, right, interop.PairConfig{})))
}

func TestNode103With103Late(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.103.0"), nodePeer(t, "0.103.0")
	exact(t, play(t, theirs, late, parties(left, right, interop.PairConfig{})))
}

func TestNode076With103Triple(t *testing.T) {
	t.Parallel()
	left, right := nodePeer(t, "0.76.0"), nodePeer(t, "0.103.0")
	exact(t, play(t, theirs, triple, parties(left, right, interop.PairConfig{})))
}

// exact sees that messages were forgotten, and none of those that had to be were opened.
func exact(t *testing.T, total interop.Stats) {
	t.Helper()
	many := total.Sent[0]+total.Sent[1] > few*triple.Messages // in a few schedules it may be that none is
	if total.Forgotten == 0 && many || total.Remembered > 0 {
		t.Errorf("%d messages were forgotten, %d were not though they had to be", total.Forgotten, total.Remembered)
	}
}

func TestGoWithNode103Triple(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), nodePeer(t, "0.103.0")
	exact(t, play(t, few, triple, parties(left, right, interop.PairConfig{})))
}

func TestGoWithNode103Late(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), nodePeer(t, "0.103.0")
	exact(t, play(t, theirs, late, parties(left, right, interop.PairConfig{})))
}

func TestGoWithNode076Triple(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), nodePeer(t, "0.76.0")
	exact(t, play(t, few, triple, parties(left, right, interop.PairConfig{})))
}

func TestGoWithGoTriple(t *testing.T) {
	t.Parallel()
	left, right := start(t, goCommand(t)), start(t, goCommand(t))
	exact(t, play(t, theirs, triple, parties(left, right, interop.PairConfig{})))
}

// TestTripleFaults sees that it does not go unnoticed when an end forgets what the official library does
// not, when it is changed by a message that it has forgotten, or when epochs do not complete.
func TestTripleFaults(t *testing.T) {
	t.Parallel()
	forgotten := triple
	forgotten.Stragglers = 0.1
	forgotten.Mangle = func(_ *rand.Rand, m interop.Message) interop.Message {
		m.Bytes = m.Bytes[:5] // to be told from what is forgotten
		return m
	}
	stuck := triple
	stuck.Messages, stuck.Epochs = 300, 1000
	for _, test := range []struct {
		name string
		cfg  interop.Config
		want string
		make func() *saboteur
	}{
		{"forgets too soon", triple, "opens message", func() *saboteur {
			opened := 0
			return &saboteur{decrypt: func(m interop.Message, open open) ([]byte, error) {
				if opened++; opened%200 == 0 {
					return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage"}
				}
				return open(m)
			}}
		}},
		{"is changed by what it has forgotten", forgotten, "was changed by forgotten message", func() *saboteur {
			refused := 0
			return &saboteur{
				decrypt: func(m interop.Message, open open) ([]byte, error) {
					plaintext, err := open(m)
					if failure, ok := errors.AsType[*interop.Error](err); ok && len(m.Bytes) > 5 && failure.Name != "DuplicatedMessage" {
						refused++
					}
					return plaintext, err
				},
				snapshot: func(b []byte, err error) ([]byte, error) { return fmt.Appendf(b, "%d", refused), err },
			}
		}},
		{"completes no epochs", stuck, "epochs are completed", func() *saboteur { return &saboteur{} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			left, right := start(t, goCommand(t)), start(t, goCommand(t))
			l, r, err := interop.Pair(left, right, 2, interop.PairConfig{})
			if err != nil {
				t.Fatal(err)
			}
			faulty := test.make()
			faulty.Endpoint = r
			_, err = interop.NewSchedule(2, test.cfg).Run(l, faulty)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}
