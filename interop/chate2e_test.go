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
	"layout":      []string{"hex:0102", "ratchetKey", "counter", "previousCounter", "salt"},
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

// pythonEnd is an end whose ratchet and encryption are python3-doubleratchet's. The handshake, which needs
// ML-KEM, is ours; from the root key on nothing of ours is involved.
type pythonEnd struct {
	device
	peer   *interop.Peer
	party  string
	agreed bool // the Python side knows the root key, and a message has opened if we did not begin
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
	e.agreed = true
	return e.call("ratchet", interop.Args{
		"role":            "initiator",
		"sharedSecret":    agreed.Root.Bytes(),
		"theirRatchetKey": agreed.TheirRatchetKey[:],
		"associatedData":  agreed.Transcript[:],
		"ourPrefix":       handshake(header),
	}, nil)
}

func (e *pythonEnd) Encrypt(plaintext []byte) (interop.Message, error) {
	var m interop.Message
	err := e.call("encrypt", interop.Args{"plaintext": plaintext}, &m)
	return m, err
}

func (e *pythonEnd) Decrypt(m interop.Message) ([]byte, error) {
	if e.agreed {
		return e.decrypt(m)
	}
	header, own, err := e.accept(m)
	if err != nil {
		return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage", Message: err.Error()}
	}
	plaintext, err := e.decrypt(m)
	if err != nil {
		return nil, errors.Join(err, e.call("session", interop.Args{"del": true}, nil))
	}
	e.keys.Consume(pqxdh.Consumed(header, own))
	e.agreed = true
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
	return header, own, e.call("ratchet", interop.Args{
		"role":              "responder",
		"sharedSecret":      agreed.Root.Bytes(),
		"ourRatchetPrivate": agreed.OurRatchetKey.Bytes(),
		"associatedData":    agreed.Transcript[:],
		"theirPrefix":       handshake(header),
	}, nil)
}

func (e *pythonEnd) decrypt(m interop.Message) ([]byte, error) {
	var reply struct{ Plaintext []byte }
	err := e.call("decrypt", interop.Args{"type": m.Type, "message": m.Bytes}, &reply)
	return reply.Plaintext, err
}

func (e *pythonEnd) Snapshot() ([]byte, error) {
	var s sessionReply
	err := e.call("session", nil, &s)
	return e.keys.Append(s.Record), err
}

func (e *pythonEnd) Restart() error {
	var before, after sessionReply
	if err := e.call("session", nil, &before); err != nil || !before.Exists {
		return err
	}
	if err := e.call("session", interop.Args{"del": true}, nil); err != nil {
		return err
	}
	err := e.call("session", interop.Args{"set": before.Record}, &after)
	if err == nil && !bytes.Equal(before.Record, after.Record) {
		err = errors.New("a session that was read back is not what was written out")
	}
	return err
}

// TestChate2eWithPython has our suite and python3-doubleratchet with AES-256-GCM talk to each other: the
// classical part of chate2e/v1, and every byte of its messages, as another implementation sees them.
func TestChate2eWithPython(t *testing.T) {
	t.Parallel()
	peer := start(t, pythonCommand(t))
	cfg := ratchet
	cfg.Window = 40 // keys of a chain that was left are kept, unlike libsignal's chains
	play(t, ours, cfg, func(seed uint64) (interop.Endpoint, interop.Endpoint, func() error, error) {
		oneTime := int(seed / 2 % 2)
		left, err := newRecordEnd("gopher", "python", oneTime)
		if err != nil {
			return nil, nil, nil, err
		}
		right, err := newPythonEnd(peer, "python", "gopher", oneTime)
		forget := func() error { return right.call("forgetParty", nil, nil) }
		return left, right, forget, err
	})
}

// TestChate2eWithItself plays the schedules that take two of us: both starting at once.
func TestChate2eWithItself(t *testing.T) {
	t.Parallel()
	cfg := interop.Config{Window: 40, Refusals: ratchet.Refusals}
	play(t, 2*theirs, cfg, func(seed uint64) (interop.Endpoint, interop.Endpoint, func() error, error) {
		left, err := newRecordEnd("alice", "bob", int(seed/3%2))
		if err != nil {
			return nil, nil, nil, err
		}
		right, err := newRecordEnd("bob", "alice", int(seed/6%2))
		return left, right, func() error { return nil }, err
	})
}
