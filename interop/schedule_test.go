package interop_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/interop"
)

// model is an end that behaves as a session should and encrypts nothing: number, plaintext, MAC. It lets
// the driver itself be tested on any machine.
type model struct {
	name  byte
	sent  uint64
	seen  map[uint64]bool
	began bool
}

func newModels() (left, right interop.Endpoint) {
	return &model{name: 'l', seen: map[uint64]bool{}}, &model{name: 'r', seen: map[uint64]bool{}}
}

func tag(name byte, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte{name})
	mac.Write(body)
	return mac.Sum(nil)
}

func (m *model) Invite() (json.RawMessage, error)       { return json.RawMessage(`{}`), nil }
func (m *model) Begin(invitation json.RawMessage) error { m.began = invitation != nil; return nil }
func (m *model) Restart() error                         { return nil }
func (m *model) Snapshot() ([]byte, error)              { return fmt.Appendf(nil, "%v", m.seen), nil }

func (m *model) Encrypt(plaintext []byte) (interop.Message, error) {
	if !m.began && len(m.seen) == 0 {
		return interop.Message{}, errors.New("has no session")
	}
	body := append(binary.BigEndian.AppendUint64(nil, m.sent), plaintext...)
	m.sent++
	return interop.Message{Type: 2, Bytes: append(body, tag(m.name, body)...)}, nil
}

func (m *model) Decrypt(msg interop.Message) ([]byte, error) {
	body, mac := msg.Bytes[:len(msg.Bytes)-sha256.Size], msg.Bytes[len(msg.Bytes)-sha256.Size:]
	if !hmac.Equal(mac, tag('l'^'r'^m.name, body)) {
		return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage"}
	}
	number := binary.BigEndian.Uint64(body)
	if m.seen[number] {
		return nil, &interop.Error{Op: "decrypt", Name: "DuplicatedMessage"}
	}
	m.seen[number] = true
	return body[8:], nil
}

// saboteur wraps an end and does one thing wrong; what is left nil is done right.
type saboteur struct {
	interop.Endpoint
	encrypt  func(m interop.Message, err error) (interop.Message, error)
	decrypt  func(m interop.Message, open func(interop.Message) ([]byte, error)) ([]byte, error)
	snapshot func(b []byte, err error) ([]byte, error)
	restart  func() error
}

func (s *saboteur) Encrypt(plaintext []byte) (interop.Message, error) {
	m, err := s.Endpoint.Encrypt(plaintext)
	if s.encrypt == nil {
		return m, err
	}
	return s.encrypt(m, err)
}

func (s *saboteur) Decrypt(m interop.Message) ([]byte, error) {
	if s.decrypt == nil {
		return s.Endpoint.Decrypt(m)
	}
	return s.decrypt(m, s.Endpoint.Decrypt)
}

func (s *saboteur) Snapshot() ([]byte, error) {
	b, err := s.Endpoint.Snapshot()
	if s.snapshot == nil {
		return b, err
	}
	return s.snapshot(b, err)
}

func (s *saboteur) Restart() error {
	if s.restart == nil {
		return s.Endpoint.Restart()
	}
	return s.restart()
}

type open = func(interop.Message) ([]byte, error)

// sabotages are the ways in which an implementation can be wrong, each with what the driver must say.
var sabotages = []struct {
	name string
	want string
	make func() *saboteur
}{
	{"mangles one plaintext", "opened message", func() *saboteur {
		opened := 0
		return &saboteur{decrypt: func(m interop.Message, open open) ([]byte, error) {
			plaintext, err := open(m)
			if opened++; err == nil && opened > 50 && len(plaintext) > 0 {
				plaintext = bytes.Clone(plaintext)
				plaintext[len(plaintext)/2] ^= 1
			}
			return plaintext, err
		}}
	}},
	{"cuts the last byte off", "to something else", func() *saboteur {
		return &saboteur{decrypt: func(m interop.Message, open open) ([]byte, error) {
			plaintext, err := open(m)
			return plaintext[:max(len(plaintext), 1)-1], err
		}}
	}},
	{"swallows one message", "opens message", func() *saboteur {
		opened := 0
		return &saboteur{decrypt: func(m interop.Message, open open) ([]byte, error) {
			plaintext, err := open(m)
			if err != nil {
				return nil, err
			}
			if opened++; opened == 50 {
				return nil, &interop.Error{Op: "decrypt", Name: "DuplicatedMessage"}
			}
			return plaintext, nil
		}}
	}},
	{"opens duplicates", "twice", func() *saboteur {
		cache := map[string][]byte{}
		return &saboteur{decrypt: func(m interop.Message, open open) ([]byte, error) {
			plaintext, err := open(m)
			if err == nil {
				cache[string(m.Bytes)] = plaintext
			} else if old, ok := cache[string(m.Bytes)]; ok {
				return old, nil
			}
			return plaintext, err
		}}
	}},
	{"calls duplicates something else", "as something else", func() *saboteur {
		return &saboteur{decrypt: func(m interop.Message, open open) ([]byte, error) {
			plaintext, err := open(m)
			if err != nil {
				err = &interop.Error{Op: "decrypt", Name: "InvalidMessage"}
			}
			return plaintext, err
		}}
	}},
	{"accepts mangled messages", "mangled", func() *saboteur {
		return &saboteur{decrypt: func(m interop.Message, open open) ([]byte, error) {
			plaintext, err := open(m)
			if refused, ok := errors.AsType[*interop.Error](err); ok && refused.Name != "DuplicatedMessage" {
				return nil, nil
			}
			return plaintext, err
		}}
	}},
	{"never looks at mangled messages", "never looked at", func() *saboteur {
		return &saboteur{decrypt: func(m interop.Message, open open) ([]byte, error) {
			plaintext, err := open(m)
			if refused, ok := errors.AsType[*interop.Error](err); ok && refused.Name != "DuplicatedMessage" {
				err = &interop.Error{Op: "decrypt", Name: "BadRequest"}
			}
			return plaintext, err
		}}
	}},
	{"is changed by refused messages", "was changed", func() *saboteur {
		refused := 0
		return &saboteur{
			decrypt: func(m interop.Message, open open) ([]byte, error) {
				plaintext, err := open(m)
				if err != nil {
					refused++
				}
				return plaintext, err
			},
			snapshot: func(b []byte, err error) ([]byte, error) { return fmt.Appendf(b, "%d", refused), err },
		}
	}},
	{"sends one message twice", "message", func() *saboteur {
		var all []interop.Message
		return &saboteur{encrypt: func(m interop.Message, err error) (interop.Message, error) {
			all = append(all, m)
			return all[(len(all)-1)/2*2], err
		}}
	}},
	{"does not survive a restart", "restarts", func() *saboteur {
		return &saboteur{restart: func() error { return errors.New("gone") }}
	}},
	{"falls silent", "encrypts message", func() *saboteur {
		sent := 0
		return &saboteur{encrypt: func(m interop.Message, err error) (interop.Message, error) {
			if sent++; sent > 100 {
				return interop.Message{}, errors.New("no more")
			}
			return m, err
		}}
	}},
}

func TestScheduleFindsFaults(t *testing.T) {
	for _, sabotage := range sabotages {
		t.Run(sabotage.name, func(t *testing.T) {
			for seed := range uint64(9) {
				left, right := newModels()
				faulty := sabotage.make()
				if seed < 5 {
					faulty.Endpoint, left = left, faulty
				} else {
					faulty.Endpoint, right = right, faulty
				}
				_, err := interop.NewSchedule(seed, interop.Config{}).Run(left, right)
				failure, ok := errors.AsType[*interop.ScheduleError](err)
				if !ok {
					t.Fatalf("seed %d: got error %v, want a failure", seed, err)
				}
				if failure.Seed != seed || len(failure.Trace) == 0 || !strings.Contains(err.Error(), fmt.Sprint(seed)) {
					t.Errorf("seed %d: the failure does not lead back to its schedule: %v", seed, err)
				}
				if !strings.Contains(failure.Cause.Error(), sabotage.want) {
					t.Errorf("seed %d: got %q, want it to say %q", seed, failure.Cause, sabotage.want)
				}
			}
		})
	}
}

func TestScheduleCovers(t *testing.T) {
	play(t, ours, interop.Config{Mangle: interop.MangleAny}, func(uint64) (interop.Endpoint, interop.Endpoint, func() error, error) {
		left, right := newModels()
		return left, right, func() error { return nil }, nil
	})
}

func TestScheduleRepeats(t *testing.T) {
	for seed := range uint64(6) {
		var got [2]interop.Stats
		var wires [2][]byte
		for i := range got {
			left, right := newModels()
			tap := &saboteur{Endpoint: left, encrypt: func(m interop.Message, err error) (interop.Message, error) {
				wires[i] = append(wires[i], m.Bytes...)
				return m, err
			}}
			var err error
			if got[i], err = interop.NewSchedule(seed, interop.Config{}).Run(tap, right); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Errorf("seed %d: two runs differ:\n%s", seed, diff)
		}
		if !bytes.Equal(wires[0], wires[1]) {
			t.Errorf("seed %d: two runs sent different messages", seed)
		}
	}
}

func TestScheduleKeepsItsWindow(t *testing.T) {
	for _, window := range []int{1, 8, 40} {
		sent, furthest := map[string]int{}, 0
		tap := func(e interop.Endpoint) interop.Endpoint {
			return &saboteur{
				Endpoint: e,
				encrypt: func(m interop.Message, err error) (interop.Message, error) {
					sent[string(m.Bytes)] = len(sent)
					return m, err
				},
				decrypt: func(m interop.Message, open open) ([]byte, error) {
					if at, ok := sent[string(m.Bytes)]; ok {
						furthest = max(furthest, len(sent)-1-at)
					}
					return open(m)
				},
			}
		}
		for seed := range uint64(9) {
			left, right := newModels()
			cfg := interop.Config{Messages: 400, Window: window, Stragglers: float64(seed%2) / 10}
			if _, err := interop.NewSchedule(seed, cfg).Run(tap(left), tap(right)); err != nil {
				t.Fatal(err)
			}
		}
		if furthest != window {
			t.Errorf("window %d: the latest message was overtaken by %d", window, furthest)
		}
	}
}

func TestScheduleHasMonologues(t *testing.T) {
	run, longest, last := 0, 0, byte(0)
	tap := func(name byte, e interop.Endpoint) interop.Endpoint {
		return &saboteur{Endpoint: e, encrypt: func(m interop.Message, err error) (interop.Message, error) {
			if run++; name != last {
				run, last = 1, name
			}
			longest = max(longest, run)
			return m, err
		}}
	}
	for seed := range uint64(3) {
		left, right := newModels()
		cfg := interop.Config{Monologues: 0.005}
		if _, err := interop.NewSchedule(seed, cfg).Run(tap('l', left), tap('r', right)); err != nil {
			t.Fatal(err)
		}
	}
	if longest < 100 {
		t.Errorf("the longest monologue had %d messages, want hundreds", longest)
	}
}

// TestScheduleWantsLibsignal: what is forgotten can only be known of messages of the official library.
func TestScheduleWantsLibsignal(t *testing.T) {
	left, right := newModels()
	_, err := interop.NewSchedule(1, interop.Config{Forgets: true}).Run(left, right)
	if err == nil || !strings.Contains(err.Error(), "a message of libsignal was expected") {
		t.Errorf("got error %v", err)
	}
}

func TestMangleSignal(t *testing.T) {
	t.Parallel()
	// A first message in outline: version, prekey id 1, base key, identity key, message, registration id.
	first := interop.Message{Type: 3, Bytes: []byte("\x44\x08\x01\x12\x02bb\x1a\x02ii\x22\x04mmmm\x28\x07")}
	seen := map[int]bool{}
	for seed := range uint64(1000) {
		got := interop.MangleSignal(newRand(seed), first)
		for i := range first.Bytes {
			if got.Bytes[i] != first.Bytes[i] {
				seen[i] = true
			}
		}
	}
	for i, b := range first.Bytes {
		if want := b == 'i' || b == 'm'; seen[i] != want {
			t.Errorf("byte %d (%q) changed: %t, want %t", i, b, seen[i], want)
		}
	}
}
