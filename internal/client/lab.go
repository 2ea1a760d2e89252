package client

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

// Lab is two people, Alice and Bob, who talk over the same library as everybody
// else, one step at a time: what one sends lies on the wire until it is delivered,
// late, twice, changed or not at all. Their keys were made for it, lie in memory
// alone and end with it. Its methods may be called from any goroutine.
type Lab struct {
	mu      sync.Mutex
	parties [2]*labParty   // guarded by mu
	wire    []*labEnvelope // guarded by mu
	events  int64          // guarded by mu
}

// Bounds of a lab.
const (
	labEnvelopes = 200
	labText      = 500 // bytes
)

// LabState is all that can be seen of a lab.
type LabState struct {
	Parties []LabParty    `json:"parties"` // Alice, Bob
	Wire    []LabEnvelope `json:"wire"`    // in the order of sending
}

// LabParty is one of the two.
type LabParty struct {
	Name   string          `json:"name"`
	Events []ProtocolEvent `json:"events"` // what her device did, oldest first
	Read   []LabText       `json:"read"`   // what she can read, in the order of arrival
}

// LabText is a text that was opened.
type LabText struct {
	Number int    `json:"number"` // of its envelope
	Text   string `json:"text"`
}

// LabEnvelope is a message on the wire.
type LabEnvelope struct {
	Number    int              `json:"number"` // 1, 2, …
	From      string           `json:"from"`
	Text      string           `json:"text"` // for the sender's screen: the wire has it encrypted
	Size      int              `json:"size"` // bytes
	Handshake bool             `json:"handshake"`
	Changed   bool             `json:"changed"` // a bit of it was flipped
	State     LabEnvelopeState `json:"state"`
}

// LabEnvelopeState says what has become of an envelope.
type LabEnvelopeState string

// The states of an envelope; one that was opened or refused can be delivered again.
const (
	LabUnderWay LabEnvelopeState = "under_way"
	LabOpened   LabEnvelopeState = "opened"
	LabRefused  LabEnvelopeState = "refused"
	LabDropped  LabEnvelopeState = "dropped"
)

type labParty struct {
	name     string
	identity *pqxdh.Identity
	keys     *pqxdh.Keys
	record   *session.Record
	events   []ProtocolEvent
	read     []LabText
}

type labEnvelope struct {
	LabEnvelope
	to    *labParty
	bytes []byte
}

// NewLab makes two people with keys of their own.
func NewLab(now time.Time) (*Lab, error) {
	l := &Lab{}
	for i, name := range []string{"Alice", "Bob"} {
		identity := &pqxdh.Identity{Address: signal.Address{Name: name, Device: 1}, Key: curve.GenerateKey()}
		keys, err := pqxdh.NewKeys(identity, 2, now)
		if err != nil {
			return nil, fail(CodeInternal, err, "the lab could not be set up")
		}
		l.parties[i] = &labParty{name: name, identity: identity, keys: keys}
	}
	for i, p := range l.parties {
		record, err := session.New(suite, p.identity.Address, l.parties[1-i].identity.Address)
		if err != nil {
			return nil, fail(CodeInternal, err, "the lab could not be set up")
		}
		p.record = record
	}
	return l, nil
}

// State returns what there is to see.
func (l *Lab) State() LabState {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s LabState
	for _, p := range l.parties {
		s.Parties = append(s.Parties, LabParty{
			Name: p.name, Events: append([]ProtocolEvent{}, p.events...), Read: append([]LabText{}, p.read...),
		})
	}
	s.Wire = make([]LabEnvelope, len(l.wire))
	for i, e := range l.wire {
		s.Wire[i] = e.LabEnvelope
	}
	return s
}

// Send has one of the two encrypt a text and puts it on the wire; her first one
// begins with the handshake.
func (l *Lab) Send(from, text string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.parties[:], func(p *labParty) bool { return p.name == from })
	switch {
	case i < 0:
		return fail(CodeUsage, nil, "there are Alice and Bob")
	case text == "" || len(text) > labText || !utf8.ValidString(text):
		return fail(CodeUsage, nil, "a text of the lab has 1 to %d bytes", labText)
	case len(l.wire) == labEnvelopes:
		return fail(CodeUsage, nil, "the lab is full; begin anew")
	}
	us, them := l.parties[i], l.parties[1-i]
	if !us.record.InUse() {
		bundle, err := pqxdh.ParseBundle(them.keys.Offer(them.identity).Append(nil))
		if err != nil {
			return fail(CodeInternal, err, "the lab's keys are damaged")
		}
		trace, err := us.record.Initiate(us.identity, bundle, now)
		if err != nil {
			return fail(CodeInternal, err, "no session could be started")
		}
		l.note(us, trace, 0, now)
	}
	sealed, err := us.record.Encrypt(padLab(text), now)
	if err != nil {
		return fail(CodeInternal, err, "the text could not be encrypted")
	}
	number := len(l.wire) + 1
	message, err := session.Parse(sealed.Bytes)
	if err != nil {
		return fail(CodeInternal, err, "the lab's message is damaged")
	}
	l.wire = append(l.wire, &labEnvelope{
		LabEnvelope: LabEnvelope{
			Number: number, From: us.name, Text: text, Size: len(sealed.Bytes),
			Handshake: message.Handshake() != nil, State: LabUnderWay,
		},
		to: them, bytes: sealed.Bytes,
	})
	l.note(us, sealed.Trace, number, now)
	return nil
}

// Deliver gives an envelope to its recipient, who opens or refuses it. One that was
// delivered before may come again.
func (l *Lab) Deliver(number int, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.envelope(number)
	if err != nil {
		return err
	}
	opened, err := e.open(now)
	l.note(e.to, opened.Trace, number, now)
	if err != nil {
		if e.State != LabOpened { // a copy that is refused takes nothing back
			e.State = LabRefused
		}
		return nil
	}
	e.to.keys.Consume(opened.Used)
	e.to.read = append(e.to.read, LabText{number, unpadLab(opened.Plaintext)})
	e.State = LabOpened
	return nil
}

func (e *labEnvelope) open(now time.Time) (session.Opened, error) {
	message, err := session.Parse(e.bytes)
	if err != nil {
		return session.Opened{Trace: session.Trace{
			Suite: suite, MessageSize: len(e.bytes),
			Steps: []session.Step{{Kind: session.StepRefused, Reason: session.ReasonTag}},
		}}, err
	}
	return e.to.record.Decrypt(message, e.to.identity, e.to.keys.Find(message.Handshake()), now)
}

// padLab gives a text the size that it would have as a real message.
func padLab(text string) []byte {
	padded := make([]byte, content.PaddedSize(len(text)+1))
	copy(padded, text)
	padded[len(text)] = 0x80
	return padded
}

func unpadLab(padded []byte) string {
	return strings.TrimSuffix(strings.TrimRight(string(padded), "\x00"), "\x80")
}

// Drop takes an envelope off the wire: it never arrives.
func (l *Lab) Drop(number int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.envelope(number)
	if err == nil && e.State != LabUnderWay {
		err = fail(CodeUsage, nil, "the envelope has arrived already")
	}
	if err != nil {
		return err
	}
	e.State = LabDropped
	return nil
}

// Flip changes one bit of an envelope under way, as somebody on the wire could.
// Flipping it again puts it right.
func (l *Lab) Flip(number int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.envelope(number)
	if err != nil {
		return err
	}
	e.bytes[len(e.bytes)-1] ^= 1
	e.Changed = !e.Changed
	return nil
}

func (l *Lab) envelope(number int) (*labEnvelope, error) {
	if number < 1 || number > len(l.wire) || l.wire[number-1].State == LabDropped {
		return nil, fail(CodeUsage, nil, "there is no such envelope")
	}
	return l.wire[number-1], nil
}

// note keeps what a device did; envelope is 0 if it is about none.
func (l *Lab) note(p *labParty, trace session.Trace, envelope int, now time.Time) {
	for _, e := range describe(trace) {
		l.events++
		e.ID, e.At, e.Device = l.events, now.UTC(), 1
		if envelope > 0 && e.Kind != eventHandshake {
			e.Item = strconv.Itoa(envelope)
		}
		p.events = append(p.events, e)
	}
}
