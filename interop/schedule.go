package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Config bounds what schedules do. Its zero value is right for two libsignal peers but for Mangle.
type Config struct {
	// Messages is how many messages are sent, both directions together, before the short calm exchange
	// at the end. Zero is 1,000.
	Messages int

	// Window is how many later messages, of either direction, may be sent before a copy of a message
	// arrives at the latest. Zero is 8: libsignal keeps five receiving chains, and a message that has
	// been overtaken by more than that many DH ratchet steps is lost by design.
	Window int

	// MaxBytes is the size of the largest plaintext. Zero is 1,000.
	MaxBytes int

	// Monologues is how often one end sends hundreds of messages in a row, for each message: a probability.
	Monologues float64

	// Stragglers is how often a message is held back until it arrives at the latest, while others pass it: a
	// probability.
	Stragglers float64

	// Forgets says that the ends forget as the official library does: a message that is too late for it
	// may be refused. Every other message must be opened.
	Forgets bool

	// Epochs is how many epochs of the post-quantum ratchet the schedule goes through at least. It goes on
	// until they are completed, on the slowest networks for thousands of messages; that it takes more than ten
	// times Messages is an error. It needs Forgets.
	Epochs int

	// OneStarts says that the ends cannot both start: only one of them can hold the first secret.
	OneStarts bool

	// Mangle changes a message in a way that must be refused. Nil is [MangleAny].
	Mangle func(*rand.Rand, Message) Message

	// Refusals are the names with which a duplicate may be refused. Nil is "DuplicatedMessage" alone.
	Refusals []string
}

// Starts says which ends start a session before anything is delivered.
type Starts int

// The three ways to start.
const (
	LeftStarts Starts = iota
	RightStarts
	BothStart
)

// Schedule is one random history of a conversation over a hostile network. Everything about it follows
// from its seed and Config. Three consecutive seeds cover the three ways to start.
type Schedule struct {
	Seed   uint64
	Starts Starts

	cfg Config
	rng *rand.Rand

	// How this network and these people behave; each a probability.
	loss, repeat, mangle, restart float64
	stay                          float64 // the last sender sends again
	deliver                       float64 // a copy arrives before the next message is sent
	shuffle                       float64 // the copy that arrives is not the oldest
}

// NewSchedule returns the schedule of that seed.
func NewSchedule(seed uint64, cfg Config) *Schedule {
	if cfg.Messages == 0 {
		cfg.Messages = 1000
	}
	if cfg.Window == 0 {
		cfg.Window = 8
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1000
	}
	if cfg.Mangle == nil {
		cfg.Mangle = MangleAny
	}
	if cfg.Refusals == nil {
		cfg.Refusals = []string{"DuplicatedMessage"}
	}
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a schedule must be repeatable, not secret
	s := &Schedule{Seed: seed, Starts: Starts(seed % 3), cfg: cfg, rng: rng}
	if cfg.OneStarts {
		s.Starts = Starts(seed % 2)
	}
	upTo := func(limit float64) float64 { return limit * rng.Float64() }
	if rng.IntN(4) > 0 { // every fourth network is only slow
		s.loss = upTo(0.25)
	}
	s.repeat = 0.02 + upTo(0.13)
	s.mangle = 0.01 + upTo(0.03)
	s.restart = 0.005 + upTo(0.015)
	s.stay = upTo(0.97) // from ping-pong to long monologues
	s.deliver = 0.3 + upTo(0.65)
	s.shuffle = upTo(1)
	return s
}

// Stats counts what happened in a schedule.
type Stats struct {
	Sent       [2]int // by the left and the right end
	Lost       int    // messages no copy of which arrived
	Opened     int
	Overtaken  int // opened after a later message of the same end
	Duplicates int // further copies, all refused
	Mangled    int // corrupted copies, all refused
	Restarts   int
	First      int // messages of type 3 that were opened
	Forgotten  int // messages that came too late even for the official library, and were refused
	Remembered int // and those that were opened all the same
	Epochs     int // of the post-quantum ratchet that were completed
}

// Add counts other as well.
func (s *Stats) Add(other Stats) {
	s.Sent[0] += other.Sent[0]
	s.Sent[1] += other.Sent[1]
	s.Lost += other.Lost
	s.Opened += other.Opened
	s.Overtaken += other.Overtaken
	s.Duplicates += other.Duplicates
	s.Mangled += other.Mangled
	s.Restarts += other.Restarts
	s.First += other.First
	s.Forgotten += other.Forgotten
	s.Remembered += other.Remembered
	s.Epochs += other.Epochs
}

// ScheduleError says where a schedule went wrong and what led to it.
type ScheduleError struct {
	Seed  uint64
	Cause error
	Trace []string // the last events, oldest first
}

func (f *ScheduleError) Error() string {
	return fmt.Sprintf("schedule of seed %d: %v\nthe last events:\n  %s", f.Seed, f.Cause, strings.Join(f.Trace, "\n  "))
}

// Unwrap returns the cause.
func (f *ScheduleError) Unwrap() error { return f.Cause }

// Run plays the schedule. Every error is a [*ScheduleError]:
//
//   - the first copy of a message that arrives must open to exactly the plaintext;
//   - every further copy must be refused, by name;
//   - a mangled copy must be refused and leave the receiver as it was;
//   - a restart must bring back what was written out;
//   - in the end every message that was not lost, nor refused as forgotten, must have been opened once, and
//     both ends must still be able to talk.
//
// A schedule can be run once.
func (s *Schedule) Run(left, right Endpoint) (Stats, error) {
	r := &run{
		Schedule: s,
		ends:     [2]end{{Endpoint: left, name: "left"}, {Endpoint: right, name: "right"}},
	}
	if s.cfg.Forgets {
		r.memory = newMemory()
	}
	if err := r.play(); err != nil {
		return r.stats, &ScheduleError{Seed: s.Seed, Cause: err, Trace: r.trace}
	}
	return r.stats, nil
}

const traceLength = 60 // events; a failure is explained by what happened within a few windows

type end struct {
	Endpoint
	name    string
	talks   bool // has a session to send on
	highest int  // message of the other end opened so far with the highest number, counted from 1
}

type sent struct {
	from      int // index of the end
	plaintext []byte
	message   Message
	lost      bool
	opened    int
	forgotten bool // refused, as it may be
	place     place
}

type flight struct {
	message int // index
	mangled bool
	held    bool // arrives only when it is late
}

type run struct {
	*Schedule
	ends   [2]end
	sent   []sent
	flying []flight // in the order of sending
	memory *memory  // nil if nothing is forgotten
	stats  Stats
	trace  []string
}

func (r *run) note(format string, args ...any) {
	if len(r.trace) == traceLength {
		r.trace = slices.Delete(r.trace, 0, 1)
	}
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
}

func (r *run) chance(p float64) bool { return r.rng.Float64() < p }

func (r *run) play() error {
	if err := r.start(); err != nil {
		return err
	}
	speaker, monologue := r.rng.IntN(2), 0
	for len(r.sent) < r.cfg.Messages || r.completed() < r.cfg.Epochs {
		if len(r.sent) > 10*r.cfg.Messages {
			return fmt.Errorf("after %d messages, only %d epochs are completed", len(r.sent), r.completed())
		}
		if r.chance(r.restart) {
			if err := r.restartOne(r.rng.IntN(2)); err != nil {
				return err
			}
		}
		if r.late() || r.chance(r.deliver) && r.moving() != nil {
			if err := r.deliverOne(); err != nil {
				return err
			}
			continue
		}
		if monologue == 0 && r.chance(r.cfg.Monologues) {
			monologue = 100 + r.rng.IntN(400)
		}
		if monologue > 0 {
			monologue--
		} else if !r.chance(r.stay) {
			speaker = 1 - speaker
		}
		if !r.ends[speaker].talks {
			speaker = 1 - speaker
		}
		if err := r.send(speaker); err != nil {
			return err
		}
	}
	for len(r.flying) > 0 {
		if err := r.deliverOne(); err != nil {
			return err
		}
	}
	if err := r.calm(); err != nil {
		return err
	}
	for i, m := range r.sent {
		if !m.lost && !m.forgotten && m.opened != 1 {
			return fmt.Errorf("message %d was not lost and was opened %d times", i, m.opened)
		}
	}
	r.stats.Epochs = r.completed()
	return nil
}

// completed returns how many epochs of the post-quantum ratchet both ends have completed.
func (r *run) completed() int {
	if r.memory == nil {
		return 0
	}
	return int(r.memory.epochs) //nolint:gosec // one in many messages
}

// start exchanges the invitations of the ends that others start with.
func (r *run) start() error {
	var begin []int
	switch r.Starts {
	case LeftStarts:
		begin = []int{0}
	case RightStarts:
		begin = []int{1}
	case BothStart:
		begin = []int{0, 1}
	}
	invitations := make([]json.RawMessage, 2)
	for _, i := range begin {
		var err error
		if invitations[1-i], err = r.ends[1-i].Invite(); err != nil {
			return fmt.Errorf("%s invites: %w", r.ends[1-i].name, err)
		}
	}
	for _, i := range begin {
		r.note("%s begins", r.ends[i].name)
		if err := r.ends[i].Begin(invitations[1-i]); err != nil {
			return fmt.Errorf("%s begins: %w", r.ends[i].name, err)
		}
		r.ends[i].talks = true
		if r.memory != nil {
			r.memory.begin(i)
		}
	}
	return nil
}

// late says whether a copy has to arrive before the next message is sent.
func (r *run) late() bool {
	return len(r.flying) > 0 && len(r.sent)-1-r.flying[0].message >= r.cfg.Window
}

// moving returns the positions of the copies that may arrive before they are late.
func (r *run) moving() []int {
	var positions []int
	for i, f := range r.flying {
		if !f.held {
			positions = append(positions, i)
		}
	}
	return positions
}

func (r *run) send(from int) error {
	plaintext := make([]byte, r.rng.IntN(r.cfg.MaxBytes+1))
	fill(r.rng, plaintext)
	e := &r.ends[from]
	number := len(r.sent)
	m, err := e.Encrypt(plaintext)
	if err != nil {
		return fmt.Errorf("%s encrypts message %d: %w", e.name, number, err)
	}
	copies := 1
	for r.chance(r.repeat) && copies < 4 {
		copies++
	}
	lost := r.chance(r.loss)
	if lost {
		copies = 0
		r.stats.Lost++
	}
	next := sent{from: from, plaintext: plaintext, message: m, lost: lost}
	if r.memory != nil {
		if next.place, err = r.memory.send(from, m); err != nil {
			return fmt.Errorf("%s encrypts message %d: %w", e.name, number, err)
		}
	}
	r.sent = append(r.sent, next)
	r.stats.Sent[from]++
	held := r.chance(r.cfg.Stragglers)
	for range copies {
		r.flying = append(r.flying, flight{message: number, held: held})
	}
	mangled := r.chance(r.mangle)
	if mangled {
		r.flying = append(r.flying, flight{message: number, mangled: true})
	}
	r.note("%s sends message %d, type %d, %d bytes, %d copies, mangled copy: %t",
		e.name, number, m.Type, len(plaintext), copies, mangled)
	return nil
}

// deliverOne lets one copy arrive: the oldest if it is late, else perhaps a younger one, and one that is
// held back only if there is no other.
func (r *run) deliverOne() error {
	pick := 0
	if moving := r.moving(); r.late() {
		// All copies of the oldest message are late; any of them may come first.
		same := slices.IndexFunc(r.flying, func(f flight) bool { return f.message != r.flying[0].message })
		if same < 0 {
			same = len(r.flying)
		}
		pick = r.rng.IntN(same)
	} else if len(moving) > 0 {
		pick = moving[0]
		if r.chance(r.shuffle) {
			pick = moving[r.rng.IntN(len(moving))]
		}
	}
	f := r.flying[pick]
	r.flying = slices.Delete(r.flying, pick, pick+1)
	if f.mangled {
		return r.arriveMangled(f)
	}
	return r.arrive(f)
}

func (r *run) arrive(f flight) error {
	m := &r.sent[f.message]
	to := &r.ends[1-m.from]
	forgotten := r.memory != nil && r.memory.forgotten(1-m.from, m.place)
	if forgotten && m.opened == 0 {
		return r.arriveForgotten(f)
	}
	plaintext, err := to.Decrypt(m.message)
	if m.opened > 0 {
		r.note("%s gets message %d again: %v", to.name, f.message, err)
		if err == nil {
			return fmt.Errorf("%s opened message %d twice", to.name, f.message)
		}
		refused, ok := errors.AsType[*Error](err)
		if !ok || !forgotten && !slices.Contains(r.cfg.Refusals, refused.Name) {
			return fmt.Errorf("%s refuses the duplicate of message %d as something else: %w", to.name, f.message, err)
		}
		r.stats.Duplicates++
		return nil
	}
	r.note("%s gets message %d: %v", to.name, f.message, err)
	if err != nil {
		return fmt.Errorf("%s opens message %d: %w", to.name, f.message, err)
	}
	return r.opened(f, plaintext)
}

// opened notes that the first copy of a message was opened.
func (r *run) opened(f flight, plaintext []byte) error {
	m := &r.sent[f.message]
	to := &r.ends[1-m.from]
	if !bytes.Equal(plaintext, m.plaintext) {
		return fmt.Errorf("%s opened message %d to something else", to.name, f.message)
	}
	m.opened++
	to.talks = true
	if r.memory != nil {
		r.memory.open(1-m.from, m.place)
	}
	r.stats.Opened++
	if m.message.Type == 3 {
		r.stats.First++
	}
	if f.message+1 < to.highest {
		r.stats.Overtaken++
	}
	to.highest = max(to.highest, f.message+1)
	return nil
}

// arriveForgotten lets a copy arrive that the official library would not open: it must be opened right, or
// refused without a trace.
func (r *run) arriveForgotten(f flight) error {
	m := &r.sent[f.message]
	to := &r.ends[1-m.from]
	before, err := to.Snapshot()
	if err != nil {
		return fmt.Errorf("%s before a forgotten message: %w", to.name, err)
	}
	plaintext, err := to.Decrypt(m.message)
	r.note("%s gets message %d, which is too late: %v", to.name, f.message, err)
	if err == nil {
		r.stats.Remembered++
		return r.opened(f, plaintext)
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		return fmt.Errorf("%s opens forgotten message %d: %w", to.name, f.message, err)
	}
	after, err := to.Snapshot()
	if err != nil {
		return fmt.Errorf("%s after a forgotten message: %w", to.name, err)
	}
	if !bytes.Equal(before, after) {
		return fmt.Errorf("%s was changed by forgotten message %d", to.name, f.message)
	}
	if !m.forgotten {
		m.forgotten = true
		r.stats.Forgotten++
	}
	return nil
}

func (r *run) arriveMangled(f flight) error {
	m := &r.sent[f.message]
	to := &r.ends[1-m.from]
	mangled := r.cfg.Mangle(r.rng, m.message)
	if bytes.Equal(mangled.Bytes, m.message.Bytes) {
		return fmt.Errorf("message %d was not mangled", f.message)
	}
	before, err := to.Snapshot()
	if err != nil {
		return fmt.Errorf("%s before a mangled message: %w", to.name, err)
	}
	_, err = to.Decrypt(mangled)
	r.note("%s gets message %d mangled: %v", to.name, f.message, err)
	if err == nil {
		return fmt.Errorf("%s accepted message %d mangled", to.name, f.message)
	}
	refused, ok := errors.AsType[*Error](err)
	if !ok || slices.Contains([]string{"BadRequest", "Unsupported", "NoSuchParty"}, refused.Name) {
		return fmt.Errorf("%s never looked at message %d mangled: %w", to.name, f.message, err)
	}
	after, err := to.Snapshot()
	if err != nil {
		return fmt.Errorf("%s after a mangled message: %w", to.name, err)
	}
	if !bytes.Equal(before, after) {
		return fmt.Errorf("%s was changed by message %d mangled", to.name, f.message)
	}
	r.stats.Mangled++
	return nil
}

func (r *run) restartOne(i int) error {
	e := &r.ends[i]
	r.note("%s restarts", e.name)
	if err := e.Restart(); err != nil {
		return fmt.Errorf("%s restarts: %w", e.name, err)
	}
	r.stats.Restarts++
	return nil
}

// calm ends the schedule with a talk in which nothing goes wrong.
func (r *run) calm() error {
	first := 0
	if !r.ends[0].talks {
		first = 1
	}
	r.loss, r.repeat, r.mangle = 0, 0, 0
	for _, from := range []int{first, 1 - first, first, first, 1 - first, 1 - first} {
		if err := r.send(from); err != nil {
			return err
		}
		if err := r.deliverOne(); err != nil {
			return err
		}
	}
	return nil
}

// MangleAny flips one bit anywhere in the message.
func MangleAny(rng *rand.Rand, m Message) Message {
	return flip(rng, m, 0, len(m.Bytes))
}

// MangleSignal flips one bit of a libsignal message where it is authenticated: anywhere in a message of
// an established session; in a first message, within the identity key or the message inside. The rest of
// a first message only says which prekeys to use, and is not looked at once the session exists.
func MangleSignal(rng *rand.Rand, m Message) Message {
	if m.Type != 3 {
		return MangleAny(rng, m)
	}
	var spans [][2]int
	const identityKey, message = 3, 4
	for at := 1; at < len(m.Bytes); { // behind the version byte
		field, kind, size := protowire.ConsumeField(m.Bytes[at:])
		if size < 0 {
			break
		}
		at += size
		if kind == protowire.BytesType && (field == identityKey || field == message) {
			value, _ := protowire.ConsumeBytes(m.Bytes[at-size+protowire.SizeTag(field) : at])
			spans = append(spans, [2]int{at - len(value), at})
		}
	}
	if len(spans) == 0 {
		return MangleAny(rng, m)
	}
	span := spans[rng.IntN(len(spans))]
	return flip(rng, m, span[0], span[1])
}

func flip(rng *rand.Rand, m Message, from, to int) Message {
	m.Bytes = bytes.Clone(m.Bytes)
	m.Bytes[from+rng.IntN(to-from)] ^= 1 << rng.IntN(8)
	return m
}
