package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/session"
)

// part is a piece of what is written. A whole frame of a WebSocket may overtake
// others; the rest stays in order.
type part struct {
	b       []byte
	inOrder bool
}

// frames finds the frames of a WebSocket in one direction of a connection, writes
// down what passes, and does to them what a hostile relay would.
type frames struct {
	link      *link
	fromRelay bool

	upgraded bool
	greeted  bool   // the first frame, which logs in or welcomes, has passed
	pending  []byte // of a frame that is not complete
}

// split takes what is written and returns what becomes of it.
func (f *frames) split(b []byte) []part {
	if !f.upgraded {
		if f.fromRelay && bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) || bytes.HasPrefix(b, []byte("GET /v1/ws ")) {
			f.upgraded = true
		}
		return []part{{b: b, inOrder: true}}
	}
	f.pending = append(f.pending, b...)
	var parts []part
	for {
		frame, ok := cutFrame(f.pending)
		if !ok {
			return parts
		}
		parts = append(parts, f.treat(frame)...)
		f.pending = f.pending[len(frame):]
	}
}

// torn returns the beginning of a frame that will not be completed.
func (f *frames) torn() []byte {
	b := f.pending
	f.pending = nil
	return b
}

// The layout of a frame: RFC 6455, section 5.2.
const (
	opBinary   = 2
	finalFrame = 0x80
	maskedBit  = 0x80
)

// cutFrame returns the first frame in b if it is complete.
func cutFrame(b []byte) ([]byte, bool) {
	size, head, ok := frameSize(b)
	if !ok || len(b) < head+size {
		return nil, false
	}
	return bytes.Clone(b[:head+size]), true
}

// frameSize returns the sizes of the payload and of what comes before it.
func frameSize(b []byte) (size, head int, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	head, size = 2, int(b[1]&^maskedBit)
	switch {
	case size == 126 && len(b) >= 4:
		head, size = 4, int(binary.BigEndian.Uint16(b[2:]))
	case size == 127 && len(b) >= 10:
		head, size = 10, int(binary.BigEndian.Uint64(b[2:]))
	case size >= 126:
		return 0, 0, false
	}
	if b[1]&maskedBit != 0 {
		head += 4
	}
	return size, head, true
}

// payload returns what a frame carries.
func payload(frame []byte) []byte {
	size, head, _ := frameSize(frame)
	b := bytes.Clone(frame[head : head+size])
	if frame[1]&maskedBit != 0 {
		mask := frame[head-4 : head]
		for i := range b {
			b[i] ^= mask[i%4]
		}
	}
	return b
}

// unmasked returns a binary frame as a server writes it.
func unmasked(b []byte) []byte {
	head := []byte{finalFrame | opBinary}
	switch {
	case len(b) < 126:
		head = append(head, byte(len(b)))
	case len(b) < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(len(b)))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(len(b)))
	}
	return append(head, b...)
}

func (f *frames) treat(frame []byte) []part {
	if frame[0] != finalFrame|opBinary || !f.greeted {
		f.greeted = f.greeted || frame[0] == finalFrame|opBinary
		return []part{{b: frame, inOrder: true}}
	}
	body := payload(frame)
	if f.fromRelay {
		if changed := f.push(body); changed != nil {
			frame = unmasked(changed)
		}
	} else {
		f.link.tape.sent(f.link.who, body)
	}
	w := f.link.weather
	switch {
	case f.link.chance(w.lose):
		return nil
	case f.link.chance(w.repeat):
		return []part{{b: frame}, {b: frame}}
	default:
		return []part{{b: frame}}
	}
}

// push writes down what the relay pushes, and returns another push in its place,
// or nil.
func (f *frames) push(frame []byte) []byte {
	t, body, err := relay.SplitFrame(frame)
	if err != nil || t != relay.FramePush {
		return nil
	}
	p, err := relay.ParsePush(body)
	if err != nil {
		f.link.tape.fault("the relay has pushed something malformed: %v", err)
		return nil
	}
	old := f.link.tape.pushed(f.link.who, p.Envelopes)
	changed := false
	if len(old) > 0 && f.link.chance(f.link.weather.replay) {
		p.Envelopes = append(p.Envelopes, old[f.link.intN(len(old))])
		changed = true
	}
	if len(p.Envelopes) > 1 && f.link.chance(f.link.weather.shuffle) {
		for i := len(p.Envelopes) - 1; i > 0; i-- {
			j := f.link.intN(i + 1)
			p.Envelopes[i], p.Envelopes[j] = p.Envelopes[j], p.Envelopes[i]
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return relay.AppendPush(nil, p)
}

// tape is all that a recorder on the wire has seen.
type tape struct {
	mu       sync.Mutex
	name     map[relay.UserID]string
	envelope map[envelopeName][32]byte
	position map[position][32]byte
	count    map[[2]string]int // different ciphertexts, by sender and receiver
	mailbox  map[string][]relay.Incoming
	faults   []string
}

type envelopeName struct {
	from, to string
	id       relay.EnvelopeID
}

// position names the place of a message in a ratchet, and with it the key.
type position struct {
	from, to string
	ratchet  curve.PublicKey
	number   uint32
}

func newTape() *tape {
	return &tape{
		name:     map[relay.UserID]string{},
		envelope: map[envelopeName][32]byte{}, position: map[position][32]byte{},
		count: map[[2]string]int{}, mailbox: map[string][]relay.Incoming{},
	}
}

func (t *tape) know(who string, id relay.UserID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.name[id] = who
}

func (t *tape) fault(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faultLocked(format, args...)
}

func (t *tape) faultLocked(format string, args ...any) {
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}

// ciphertexts returns how many different ones were seen from one person to another.
func (t *tape) ciphertexts(from, to *person) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count[[2]string{from.name, to.name}]
}

// sent notes a frame of a person.
func (t *tape) sent(who string, frame []byte) {
	kind, body, err := relay.SplitFrame(frame)
	if err != nil || kind != relay.FrameSend {
		return
	}
	var s relay.Send
	if err := relay.ParseSend(body, &s); err != nil {
		t.fault("%s has sent something malformed: %v", who, err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range s.Envelopes {
		t.note(who, t.name[s.To], e.ID, e.Body)
	}
}

// pushed notes what the relay gives a person, and returns what it gave before.
func (t *tape) pushed(who string, envelopes []relay.Incoming) []relay.Incoming {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.mailbox[who]
	for _, in := range envelopes {
		in.Body = bytes.Clone(in.Body)
		t.mailbox[who] = append(t.mailbox[who], in)
		if in.Kind == relay.KindMessage {
			t.note(t.name[in.From.User], who, in.Handle.ID, in.Body)
		}
	}
	return slices.Clip(old)
}

// note holds a ciphertext against all others: an envelope ID stands for one
// ciphertext, and a place in a ratchet, which gives key and nonce, for one text.
func (t *tape) note(from, to string, id relay.EnvelopeID, body []byte) {
	hash := sha256.Sum256(body)
	name := envelopeName{from, to, id}
	known, again := t.envelope[name]
	switch {
	case again && known != hash:
		t.faultLocked("P3: envelope %x from %s to %s has two ciphertexts", id[:4], from, to)
		return
	case again:
		return
	}
	t.envelope[name] = hash
	t.count[[2]string{from, to}]++
	m, err := session.Parse(body)
	if err != nil {
		t.faultLocked("a ciphertext from %s to %s cannot be parsed: %v", from, to, err)
		return
	}
	at := position{from, to, m.Header().RatchetKey, m.Header().N}
	if _, again := t.position[at]; again {
		t.faultLocked("P3: message %d of a chain from %s to %s was encrypted twice", at.number, from, to)
	}
	t.position[at] = hash
}
