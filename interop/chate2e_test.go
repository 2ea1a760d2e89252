package interop_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/chate2e/chate2e/interop"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
	"github.com/chate2e/chate2e/signal/spqr"
)

// device is the identity and the prekeys of one end of a conversation in chate2e/v1.
type device struct {
	identity pqxdh.Identity
	keys     *pqxdh.Keys
	them     signal.Address
	now      time.Time
}

func newDevice(name, peer string, oneTime int) (device, error) {
	d := device{
		identity: pqxdh.Identity{Address: signal.Address{Name: name, Device: 1}, Key: curve.GenerateKey()},
		them:     signal.Address{Name: peer, Device: 1},
		now:      time.Now(),
	}
	var err error
	d.keys, err = pqxdh.NewKeys(&d.identity, oneTime, d.now)
	return d, err
}

func (d *device) Invite() (json.RawMessage, error) {
	return json.Marshal(d.keys.Offer(&d.identity).Append(nil))
}

func (d *device) parse(invitation json.RawMessage) (*pqxdh.Bundle, error) {
	var encoded []byte
	if err := json.Unmarshal(invitation, &encoded); err != nil {
		return nil, err
	}
	return pqxdh.ParseBundle(encoded)
}

// recordEnd is an end over a session.Record, in this process.
type recordEnd struct {
	device
	record *session.Record
}

func newRecordEnd(name, peer string, oneTime int) (*recordEnd, error) {
	d, err := newDevice(name, peer, oneTime)
	if err != nil {
		return nil, err
	}
	record, err := session.New(pqxdh.Chate2eV1, d.identity.Address, d.them)
	return &recordEnd{device: d, record: record}, err
}

func (e *recordEnd) Begin(invitation json.RawMessage) error {
	bundle, err := e.parse(invitation)
	if err != nil {
		return err
	}
	_, err = e.record.Initiate(&e.identity, bundle, e.now)
	return err
}

func (e *recordEnd) Encrypt(plaintext []byte) (interop.Message, error) {
	sealed, err := e.record.Encrypt(plaintext, e.now)
	if err != nil {
		return interop.Message{}, err
	}
	return interop.Message{Type: int(sealed.Type), Bytes: sealed.Bytes}, nil
}

func (e *recordEnd) Decrypt(m interop.Message) ([]byte, error) {
	opened, err := e.open(m)
	switch {
	case errors.Is(err, session.ErrDuplicate):
		return nil, &interop.Error{Op: "decrypt", Name: "DuplicatedMessage", Message: err.Error()}
	case err != nil:
		return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage", Message: err.Error()}
	}
	e.keys.Consume(opened.Used)
	return opened.Plaintext, nil
}

func (e *recordEnd) open(m interop.Message) (session.Opened, error) {
	message, err := session.Parse(m.Bytes)
	if err != nil {
		return session.Opened{}, err
	}
	return e.record.Decrypt(message, &e.identity, e.keys.Find(message.Handshake()), e.now)
}

func (e *recordEnd) Snapshot() ([]byte, error) {
	return e.keys.Append(e.record.Append(nil)), nil
}

func (e *recordEnd) Restart() error {
	before, err := e.Snapshot()
	if err != nil {
		return err
	}
	if e.record, err = session.ParseRecord(e.record.Append(nil)); err != nil {
		return err
	}
	if e.keys, err = pqxdh.ParseKeys(e.keys.Append(nil)); err != nil {
		return err
	}
	after, err := e.Snapshot()
	if err == nil && !bytes.Equal(before, after) {
		err = errors.New("a record that was read back is not what was written out")
	}
	return err
}

// The labels and the layout of chate2e/v1, as docs/PROTOCOL.md has them.
var chate2eSuite = interop.Args{
	"rootInfo":    "ChatE2E v1 root step",
	"messageInfo": "ChatE2E v1 message key",
	"layout":      []string{"hex:0102", "ratchetKey", "counter", "previousCounter", "salt", "extra"},
}

// handshake is what precedes the message in a PreKey message of chate2e/v1.
func handshake(h *pqxdh.Header) []byte {
	flags := byte(0)
	if h.OneTimePreKeyID != nil {
		flags = 1
	}
	b := []byte{1, 3, flags}
	b = append(b, h.IdentityKey[:]...)
	b = append(b, h.BaseKey[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.SignedPreKeyID))
	b = binary.BigEndian.AppendUint32(b, uint32(*h.KEMPreKeyID))
	if h.OneTimePreKeyID != nil {
		b = binary.BigEndian.AppendUint32(b, uint32(*h.OneTimePreKeyID))
	}
	return append(b, h.KEMCiphertext...)
}

// pqMessage is the message of the post-quantum ratchet in a message of chate2e/v1 that has a handshake of
// that many bytes in front; nil if there is none.
func pqMessage(b []byte, handshake int) []byte {
	const at = 2 + 32 + 4 + 4 + 16 // version, type, ratchet key, N, PN, salt
	if len(b) <= handshake+at {
		return nil
	}
	b = b[handshake+at:]
	if size := int(b[0]); size < len(b) {
		return b[1 : 1+size]
	}
	return nil
}

// pythonEnd is an end whose Double Ratchet and encryption are python3-doubleratchet's. The handshake, which
// needs ML-KEM, is ours, and so is the post-quantum ratchet that runs beside: Python gets its key for each
// message, and bytes to carry that mean nothing to it. From the root key on nothing else of ours is involved.
type pythonEnd struct {
	device
	peer   *interop.Peer
	party  string
	pq     *spqr.State // nil until the Python side knows the root key
	before int         // bytes of the handshake in front of first messages, if they began
	opened bool        // a message has opened
}

func newPythonEnd(peer *interop.Peer, name, them string, oneTime int) (*pythonEnd, error) {
	d, err := newDevice(name, them, oneTime)
	if err != nil {
		return nil, err
	}
	e := &pythonEnd{device: d, peer: peer, party: name}
	return e, e.call("party", interop.Args{"name": name, "suite": chate2eSuite}, nil)
}

func (e *pythonEnd) call(op string, args interop.Args, v any) error {
	request := interop.Args{"party": e.party, "remote": interop.Address{Name: e.them.Name, Device: 1}}
	maps.Copy(request, args)
	reply, err := e.peer.Call(op, request)
	if err != nil || v == nil {
		return err
	}
	return reply.Decode(v)
}

func (e *pythonEnd) Begin(invitation json.RawMessage) error {
	bundle, err := e.parse(invitation)
	if err != nil {
		return err
	}
	agreed, header, err := pqxdh.Initiate(pqxdh.Chate2eV1, &e.identity, e.them, bundle, e.now)
	if err != nil {
		return err
	}
	if e.pq, err = spqr.New(spqr.Initiator, agreed.PQ, spqr.Config{}); err != nil {
		return err
	}
	return e.call("ratchet", interop.Args{
		"role":            "initiator",
		"sharedSecret":    agreed.Root.Bytes(),
		"theirRatchetKey": agreed.TheirRatchetKey[:],
		"associatedData":  agreed.Transcript[:],
		"ourPrefix":       handshake(header),
	}, nil)
}

func (e *pythonEnd) Encrypt(plaintext []byte) (interop.Message, error) {
	if e.pq == nil {
		return interop.Message{}, errors.New("no session")
	}
	step, err := e.pq.Send()
	if err != nil {
		return interop.Message{}, err
	}
	var m interop.Message
	err = e.call("encrypt", interop.Args{"plaintext": plaintext, "messageSalt": step.Key(), "extra": step.Message()}, &m)
	if err != nil {
		step.Discard()
		return interop.Message{}, err
	}
	step.Commit()
	return m, nil
}

func (e *pythonEnd) Decrypt(m interop.Message) ([]byte, error) {
	if e.pq != nil && (e.opened || e.before == 0) {
		return e.decrypt(m)
	}
	header, own, err := e.accept(m)
	if err != nil {
		return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage", Message: err.Error()}
	}
	plaintext, err := e.decrypt(m)
	if err != nil {
		e.pq, e.before = nil, 0
		return nil, errors.Join(err, e.call("session", interop.Args{"del": true}, nil))
	}
	e.keys.Consume(pqxdh.Consumed(header, own))
	return plaintext, nil
}

// accept computes the root key from a first message and gives it to the Python side.
func (e *pythonEnd) accept(m interop.Message) (*pqxdh.Header, pqxdh.PreKeys, error) {
	message, err := session.Parse(m.Bytes)
	if err != nil {
		return nil, pqxdh.PreKeys{}, err
	}
	header := message.Handshake()
	if header == nil || !bytes.HasPrefix(m.Bytes, handshake(header)) {
		return nil, pqxdh.PreKeys{}, errors.New("no handshake in front")
	}
	own := e.keys.Find(header)
	agreed, err := pqxdh.Accept(pqxdh.Chate2eV1, &e.identity, e.them, header, own, e.now)
	if err != nil {
		return nil, pqxdh.PreKeys{}, err
	}
	if e.pq, err = spqr.New(spqr.Responder, agreed.PQ, spqr.Config{}); err != nil {
		return nil, pqxdh.PreKeys{}, err
	}
	e.before = len(handshake(header))
	return header, own, e.call("ratchet", interop.Args{
		"role":              "responder",
		"sharedSecret":      agreed.Root.Bytes(),
		"ourRatchetPrivate": agreed.OurRatchetKey.Bytes(),
		"associatedData":    agreed.Transcript[:],
		"theirPrefix":       handshake(header),
	}, nil)
}

func (e *pythonEnd) decrypt(m interop.Message) ([]byte, error) {
	before := 0
	if session.Type(m.Type) == session.TypePreKey {
		before = e.before
	}
	step, err := e.pq.Receive(pqMessage(m.Bytes, before))
	switch {
	case errors.Is(err, spqr.ErrDuplicate):
		return nil, &interop.Error{Op: "decrypt", Name: "DuplicatedMessage", Message: err.Error()}
	case err != nil:
		return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage", Message: err.Error()}
	}
	var reply struct{ Plaintext []byte }
	if err := e.call("decrypt", interop.Args{"type": m.Type, "message": m.Bytes, "messageSalt": step.Key()}, &reply); err != nil {
		step.Discard()
		return nil, err
	}
	step.Commit()
	e.opened = true
	return reply.Plaintext, nil
}

func (e *pythonEnd) Snapshot() ([]byte, error) {
	var s sessionReply
	if err := e.call("session", nil, &s); err != nil {
		return nil, err
	}
	b := e.keys.Append(s.Record)
	if e.pq != nil {
		b = e.pq.Append(b)
	}
	return b, nil
}

func (e *pythonEnd) Restart() error {
	var before, after sessionReply
	if err := e.call("session", nil, &before); err != nil || !before.Exists {
		return err
	}
	if err := e.call("session", interop.Args{"del": true}, nil); err != nil {
		return err
	}
	if err := e.call("session", interop.Args{"set": before.Record}, &after); err != nil {
		return err
	}
	if !bytes.Equal(before.Record, after.Record) {
		return errors.New("a session that was read back is not what was written out")
	}
	var err error
	e.pq, err = spqr.Parse(e.pq.Append(nil), spqr.Config{})
	return err
}

// TestChate2eWithPython has our suite and python3-doubleratchet with AES-256-GCM talk to each other: how the
// two ratchets of chate2e/v1 come together, and every byte of its messages, as another implementation of the
// Double Ratchet sees them.
func TestChate2eWithPython(t *testing.T) {
	t.Parallel()
	peer := start(t, pythonCommand(t))
	cfg := specification
	cfg.Window = 40 // keys of a chain that was left are kept, unlike libsignal's chains
	epochs := uint64(0)
	play(t, ours, cfg, func(seed uint64) (interop.Endpoint, interop.Endpoint, func() error, error) {
		oneTime := int(seed / 2 % 2)
		left, err := newRecordEnd("gopher", "python", oneTime)
		if err != nil {
			return nil, nil, nil, err
		}
		right, err := newPythonEnd(peer, "python", "gopher", oneTime)
		forget := func() error {
			epochs += right.pq.Status().Completed
			return right.call("forgetParty", nil, nil)
		}
		return left, right, forget, err
	})
	t.Logf("%d epochs of the post-quantum ratchet", epochs)
	if epochs == 0 {
		t.Error("no epoch of the post-quantum ratchet was completed")
	}
}

// TestChate2eWithItself plays the schedules that take two of us: both starting at once.
func TestChate2eWithItself(t *testing.T) {
	t.Parallel()
	cfg := interop.Config{Window: 40, Refusals: specification.Refusals}
	play(t, 2*theirs, cfg, func(seed uint64) (interop.Endpoint, interop.Endpoint, func() error, error) {
		left, err := newRecordEnd("alice", "bob", int(seed/3%2))
		if err != nil {
			return nil, nil, nil, err
		}
		right, err := newRecordEnd("bob", "alice", int(seed/6%2))
		return left, right, func() error { return nil }, err
	})
}
