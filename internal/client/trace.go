package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/session"
	"github.com/chate2e/chate2e/signal/spqr"
)

// The kinds of protocol events.
const (
	eventHandshake = "handshake"
	eventEncrypted = "encrypted"
	eventDecrypted = "decrypted"
	eventRefused   = "refused"
)

// The kinds of steps of the post-quantum ratchet; for those of the rest see
// stepKinds.
const (
	stepPQKey   = "pq_key"
	stepPQChunk = "pq_chunk"
	stepPQEpoch = "pq_epoch"
)

// Protocol returns the newest limit protocol events kept of a contact, or of all
// with who "", oldest first.
func (c *Client) Protocol(ctx context.Context, who string, limit int) ([]ProtocolEvent, error) {
	events := []ProtocolEvent{}
	err := c.view(ctx, func(tx *vault.Tx) error {
		user := ""
		if who != "" {
			contact, err := c.find(tx, who)
			if err != nil {
				return err
			}
			user = contact.User
		}
		stored, err := tx.Events(user, 0, pageSize(limit))
		if err != nil {
			return err
		}
		for _, s := range stored {
			var e ProtocolEvent
			if err := json.Unmarshal(s.Event, &e); err != nil {
				return fail(CodeDamaged, err, "a protocol event in the profile is damaged")
			}
			e.ID, e.At, e.Contact = s.ID, s.At, s.User
			events = append(events, e)
		}
		return nil
	})
	return events, err
}

// note says what the library has done with a contact's device; it is stored with
// the transaction in which it happened. The contact must exist.
func (ch *change) note(now time.Time, with vault.Address, trace session.Trace, item vault.MessageID) {
	for _, e := range describe(trace) {
		e.At, e.Contact, e.Device = now, with.User, with.Device
		if !item.IsZero() && e.Kind != eventHandshake {
			e.Item = item.String()
		}
		ch.protocol = append(ch.protocol, e)
	}
}

// noteRefused says that something was refused for a reason of ours.
func (ch *change) noteRefused(now time.Time, with vault.Address, reason string) {
	ch.protocol = append(ch.protocol, ProtocolEvent{
		At: now, Contact: with.User, Device: with.Device, Kind: eventRefused, Title: "Refused: " + reasonText(reason),
		Suite: suiteName(suite),
		Steps: []ProtocolStep{{Kind: stepKinds[session.StepRefused], Text: sentence(reasonText(reason)), Reason: reason}},
	})
}

// storeProtocol stores the protocol events of a change, and gives them their IDs.
func storeProtocol(tx *vault.Tx, events []ProtocolEvent) error {
	of := map[string][]int{} // indexes of a contact's events
	for i, e := range events {
		of[e.Contact] = append(of[e.Contact], i)
	}
	for user, indexes := range of {
		encoded := make([][]byte, 0, len(indexes))
		for _, i := range indexes {
			b, err := json.Marshal(events[i])
			if err != nil {
				return fmt.Errorf("encoding a protocol event: %w", err)
			}
			encoded = append(encoded, b)
		}
		if err := tx.AddEvents(user, encoded...); err != nil {
			return err
		}
		stored, err := tx.Events(user, 0, len(indexes))
		if err != nil {
			return err
		}
		// Of very many, the oldest are gone already.
		for n, s := range stored {
			events[indexes[len(indexes)-len(stored)+n]].ID = s.ID
		}
	}
	return nil
}

// describe makes protocol events out of a trace: one for a handshake, if there was
// one, and one for the message.
func describe(t session.Trace) []ProtocolEvent {
	var handshake, message []ProtocolStep
	kind := ""
	var done ProtocolStep // what became of the message
	for _, s := range t.Steps {
		step := describeStep(s)
		if s.Kind == session.StepSealed || s.Kind == session.StepOpened {
			message = append(message, describePQSteps(t.PQ, s.Kind == session.StepSealed)...)
		}
		switch s.Kind {
		case session.StepInitiated, session.StepAccepted, session.StepArchived:
			handshake = append(handshake, step)
			continue
		case session.StepSealed:
			kind, done = eventEncrypted, step
		case session.StepOpened:
			kind, done = eventDecrypted, step
		case session.StepRefused:
			kind, done = eventRefused, step
		default:
		}
		message = append(message, step)
	}
	counters := describeCounters(t.Counters)
	event := ProtocolEvent{Suite: suiteName(t.Suite), Session: fingerprint(t.Session), Count: &counters}
	var events []ProtocolEvent
	if t.Handshake != nil {
		e := event
		setup := describeSetup(t.Handshake)
		e.Kind, e.Steps, e.Setup = eventHandshake, handshake, &setup
		e.Title = fmt.Sprintf("Session accepted: %d key agreements and one KEM secret", setup.Agreements)
		if setup.Initiator {
			e.Title = fmt.Sprintf("Session started: %d key agreements and one KEM secret", setup.Agreements)
		}
		events = append(events, e)
	}
	if kind == "" {
		return events
	}
	e := event
	e.Kind, e.Steps, e.Size, e.Plain = kind, message, t.MessageSize, t.PlaintextSize
	e.PQ = describePQ(t.PQ)
	switch kind {
	case eventEncrypted:
		e.Title = fmt.Sprintf("Message %d of the sending chain encrypted", done.N)
	case eventDecrypted:
		e.Title = fmt.Sprintf("Message %d of the receiving chain decrypted", done.N)
	default:
		e.Title = "Refused: " + reasonText(done.Reason)
	}
	return append(events, e)
}

// stepKinds are the names of the library's steps towards programs.
var stepKinds = map[session.StepKind]string{
	session.StepInitiated:      "initiated",
	session.StepAccepted:       "accepted",
	session.StepRootSending:    "root_sending",
	session.StepRootReceiving:  "root_receiving",
	session.StepChainSending:   "chain_sending",
	session.StepChainReceiving: "chain_receiving",
	session.StepSkipped:        "skipped",
	session.StepSkippedKeyUsed: "skipped_key_used",
	session.StepSealed:         "sealed",
	session.StepOpened:         "opened",
	session.StepArchived:       "archived",
	session.StepPromoted:       "promoted",
	session.StepRefused:        "refused",
}

func describeStep(s session.Step) ProtocolStep {
	step := ProtocolStep{
		Kind: stepKinds[s.Kind], N: s.N, Count: s.Count,
		Our: fingerprint(s.Our), Their: fingerprint(s.Their),
	}
	if s.Label != 0 {
		step.Label = s.Label.String()
	}
	switch s.Kind {
	case session.StepInitiated:
		step.Text = "Agreed on a root key with the prekeys the relay keeps for the contact."
	case session.StepAccepted:
		step.Text = "Agreed on the same root key, from the contact's first message and our own prekeys."
	case session.StepRootSending:
		step.Text = fmt.Sprintf("Ratchet step %d: a new key pair of ours and the contact's key, through the KDF, give a new root key and a new sending chain.", s.N)
	case session.StepRootReceiving:
		step.Text = fmt.Sprintf("Ratchet step %d: a new key of the contact's and our key pair, through the KDF, give a new root key and a new receiving chain.", s.N)
	case session.StepChainSending:
		step.Text = fmt.Sprintf("The sending chain gives the key of message %d and moves on.", s.N)
	case session.StepChainReceiving:
		step.Text = fmt.Sprintf("The receiving chain gives the key of message %d and moves on.", s.N)
	case session.StepSkipped:
		step.Text = fmt.Sprintf("The keys of %d messages that have not come yet, from message %d on, are put aside.", s.Count, s.N)
	case session.StepSkippedKeyUsed:
		step.Text = fmt.Sprintf("Message %d came late: its key had been put aside.", s.N)
	case session.StepSealed:
		step.Text = "AES-256-GCM encrypts the padded text; the header is authenticated with it. The key is erased."
	case session.StepOpened:
		step.Text = "AES-256-GCM finds the tag right and decrypts. The key is erased."
	case session.StepArchived:
		step.Text = "The session in use was put aside for the new one."
	case session.StepPromoted:
		step.Text = "A session that was put aside comes into use again."
	case session.StepRefused:
		step.Reason = reasonNames[s.Reason]
		step.Text = sentence(reasonText(step.Reason))
	}
	return step
}

// payloads are the names towards programs of what the post-quantum ratchet's
// messages carry.
var payloads = map[spqr.Payload]string{
	spqr.None:        "none",
	spqr.Header:      "header",
	spqr.Vector:      "vector",
	spqr.VectorAck:   "vector_ack",
	spqr.Ack:         "ack",
	spqr.Ciphertext1: "ciphertext_1",
	spqr.Ciphertext2: "ciphertext_2",
}

func describePQ(e *spqr.Event) *ProtocolPQ {
	if e == nil {
		return nil
	}
	pq := &ProtocolPQ{
		Epoch: e.Epoch, Payload: payloads[e.Payload], Chunk: -1, New: e.New,
		KeyEpoch: e.KeyEpoch, Key: e.KeyIndex, Late: e.Late, Skipped: e.Skipped,
		Phase: e.Phase.String(), Completed: e.Completed,
	}
	if e.Payload.HasChunk() {
		pq.Chunk = int(e.Point)
	}
	return pq
}

// describePQSteps tells people what the post-quantum ratchet did with a message.
func describePQSteps(e *spqr.Event, sending bool) []ProtocolStep {
	if e == nil {
		return nil
	}
	key := ProtocolStep{Kind: stepPQKey, N: e.KeyIndex, Label: session.LabelPQKey.String()}
	switch {
	case e.Late:
		key.Label = ""
		key.Text = fmt.Sprintf("The post-quantum ratchet had put key %d of epoch %d aside. It goes into the message key, too.", e.KeyIndex, e.KeyEpoch)
	case sending:
		key.Text = fmt.Sprintf("The post-quantum ratchet's sending chain of epoch %d gives key %d, which goes into the message key, too.", e.KeyEpoch, e.KeyIndex)
	default:
		key.Text = fmt.Sprintf("The post-quantum ratchet's receiving chain of epoch %d gives key %d, which goes into the message key, too.", e.KeyEpoch, e.KeyIndex)
	}
	steps := []ProtocolStep{key}
	if text := payloadText(e); text != "" {
		steps = append(steps, ProtocolStep{Kind: stepPQChunk, N: uint32(e.Point), Text: text})
	}
	if e.Completed > 0 {
		steps = append(steps, ProtocolStep{
			Kind: stepPQEpoch, N: uint32(min(e.Completed, math.MaxUint32)), Label: session.LabelPQEpoch.String(),
			Text: fmt.Sprintf("Epoch %d of the post-quantum ratchet is complete here: its ML-KEM-768 secret, through the KDF, gives new chains for both directions.", e.Completed),
		})
	}
	return steps
}

// payloadText tells people what a message carries for the post-quantum ratchet's
// key exchange; "" is nothing.
func payloadText(e *spqr.Event) string {
	var what string
	switch e.Payload {
	case spqr.Header:
		what = "of the header of a new ML-KEM-768 key"
	case spqr.Vector:
		what = "of the ML-KEM-768 key"
	case spqr.VectorAck:
		what = "of the ML-KEM-768 key, and word that the ciphertext's first part is complete"
	case spqr.Ciphertext1:
		what = "of the ciphertext's first part"
	case spqr.Ciphertext2:
		what = "of the ciphertext's second part"
	case spqr.Ack:
		return fmt.Sprintf("The message carries word that the ciphertext's first part is complete, for epoch %d.", e.Epoch)
	default:
		return ""
	}
	return fmt.Sprintf("The message carries chunk %d %s, for epoch %d.", e.Point, what, e.Epoch)
}

func describePQRatchet(s *spqr.Status) *PQRatchet {
	if s == nil {
		return nil
	}
	return &PQRatchet{
		Epoch: s.Epoch, Phase: s.Phase.String(), Completed: s.Completed, Sending: s.Sending,
		Sent: s.Sent, Held: s.Held, Needed: s.Needed,
	}
}

func describeSetup(h *session.Handshake) ProtocolSetup {
	setup := ProtocolSetup{
		Initiator: h.Initiator, Agreements: 3,
		OurIdentity: fingerprint(h.OurIdentity), TheirIdentity: fingerprint(h.TheirIdentity),
		BaseKey:      fingerprint(h.BaseKey),
		SignedPreKey: fingerprint(h.SignedPreKey), SignedPreKeyID: uint32(h.SignedPreKeyID),
	}
	if !h.Expires.IsZero() {
		expires := h.Expires.UTC()
		setup.Expires = &expires
	}
	if h.HasOneTimePreKey {
		setup.Agreements = 4
		setup.OneTimePreKey, setup.OneTimeID = fingerprint(h.OneTimePreKey), uint32(h.OneTimePreKeyID)
	}
	if h.KEM != 0 {
		setup.KEM, setup.LastResort = kemName(h.KEM), h.LastResort
		setup.KEMPreKey, setup.KEMPreKeyID = fingerprint(h.KEMPreKey), uint32(h.KEMPreKeyID)
	}
	return setup
}

func describeCounters(n session.Counters) ProtocolCounters {
	return ProtocolCounters{
		RootSteps: n.RootSteps, Sent: n.Sent, Received: n.Received, Previous: n.Previous,
		Skipped: n.Skipped, SkippedLimit: n.SkippedLimit, Archived: n.Archived,
		OurKey: fingerprint(n.OurKey), TheirKey: fingerprint(n.TheirKey), Unanswered: n.Unanswered,
		PQ: describePQRatchet(n.PQ),
	}
}

func fingerprint(f safety.Fingerprint) string {
	if f == (safety.Fingerprint{}) {
		return ""
	}
	return f.String()
}

func suiteName(s pqxdh.Suite) string {
	if s == pqxdh.Chate2eV1 {
		return "chate2e/v1"
	}
	return "libsignal"
}

func kemName(k kem.Kind) string {
	if k == kem.MLKEM1024 {
		return "ML-KEM-1024"
	}
	return "Kyber-1024"
}

const reasonReplay = "replay"

// reasonNames are the names of the library's reasons towards programs.
var reasonNames = map[session.Reason]string{
	session.ReasonTag:         "tag",
	session.ReasonDuplicate:   "duplicate",
	session.ReasonTooFar:      "too_far",
	session.ReasonReplay:      reasonReplay,
	session.ReasonPreKey:      "prekey",
	session.ReasonExpired:     "expired",
	session.ReasonIdentity:    "identity",
	session.ReasonNoSession:   "no_session",
	session.ReasonWrongSuite:  "suite",
	session.ReasonWrongDevice: "device",
}

// reasonOf names an error of [session.Record.Decrypt].
func reasonOf(err error) string {
	reason := session.ReasonTag
	switch {
	case errors.Is(err, session.ErrDuplicate):
		reason = session.ReasonDuplicate
	case errors.Is(err, session.ErrNoSession):
		reason = session.ReasonNoSession
	case errors.Is(err, session.ErrIdentity):
		reason = session.ReasonIdentity
	case errors.Is(err, ratchet.ErrTooFar):
		reason = session.ReasonTooFar
	case errors.Is(err, pqxdh.ErrReplay):
		reason = session.ReasonReplay
	case errors.Is(err, pqxdh.ErrPreKey):
		reason = session.ReasonPreKey
	case errors.Is(err, pqxdh.ErrExpired):
		reason = session.ReasonExpired
	}
	return reasonNames[reason]
}

// reasonText tells people a reason.
func reasonText(reason string) string {
	switch reason {
	case "duplicate", reasonNumber:
		return "its number was used before, with other bytes; the contact's device may have been copied"
	case "too_far":
		return "it skips too many messages"
	case reasonReplay:
		return "its handshake was used before"
	case "prekey":
		return "it uses a prekey that this device does not have"
	case "expired":
		return "it uses a prekey past its time"
	case "identity":
		return "its identity key is not the device's"
	case "no_session":
		return "it belongs to no session that is known here"
	case reasonMismatch:
		return "its keys do not belong to the contact's user ID"
	case reasonFork:
		return "there are two different device lists of one version"
	case reasonMalformed:
		return "it is not a message"
	case reasonContent:
		return "it opened, but its content cannot be read"
	case reasonUnknown:
		return "a newer version of the program is needed to read it"
	default:
		return "it does not authenticate"
	}
}

func sentence(s string) string { return string(s[0]-'a'+'A') + s[1:] + "." }

// settingTime reads a counter that holds a time in seconds since 1970; one that
// was never set is the zero time.
func storedTime(tx *vault.Tx, name string) (time.Time, error) {
	seconds, err := tx.Counter(name)
	if err != nil || seconds == 0 {
		return time.Time{}, err
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// storeCounter sets a counter.
func storeCounter(tx *vault.Tx, name string, value int64) error {
	now, err := tx.Counter(name)
	if err != nil || now == value {
		return err
	}
	_, err = tx.AddToCounter(name, value-now)
	return err
}
