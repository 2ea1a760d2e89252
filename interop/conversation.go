package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
)

// Address names a party as the other parties see it. Names are UUIDs, since the official library treats
// those as service IDs and then puts both addresses into first messages.
type Address struct {
	Name   string `json:"name"`
	Device int    `json:"device"`
}

// Message is one ciphertext as it goes over the wire. Type is libsignal's: 2 for a message of an
// established session, 3 for a first message.
type Message struct {
	Type  int    `json:"type"`
	Bytes []byte `json:"message"`
}

// Endpoint is one end of a conversation, wherever it lives.
type Endpoint interface {
	// Invite returns what the other end needs to begin: a prekey bundle or the like.
	Invite() (json.RawMessage, error)

	// Begin starts a session from the other end's invitation. Nothing is sent yet.
	Begin(invitation json.RawMessage) error

	// Encrypt returns the next message to the other end.
	Encrypt(plaintext []byte) (Message, error)

	// Decrypt opens a message from the other end. A refusal is an [*Error].
	Decrypt(Message) ([]byte, error)

	// Snapshot returns all that a refused message must leave as it was.
	Snapshot() ([]byte, error)

	// Restart writes the session out, forgets it, and reads it back.
	Restart() error
}

// Conversation is an [Endpoint]: one party of a peer, together with the address of the other end.
type Conversation struct {
	peer   *Peer
	party  string // label
	local  Address
	remote Address
	bundle Args // options of the invitation
}

// PairConfig says what two parties offer each other. Its zero value is PQXDH: bundles with a KEM prekey.
type PairConfig struct {
	Classical bool // bundles without a KEM prekey: X3DH
}

// Pair makes a new party on each of two peers (which may be the same one) and returns the two ends of
// their conversation. Names, and whether bundles carry one-time or last-resort keys, follow from seed.
// Forget frees the parties.
func Pair(left, right *Peer, seed uint64, cfg PairConfig) (l, r *Conversation, err error) {
	rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // names must be repeatable, not secret
	a := Address{Name: uuid(rng), Device: 1 + rng.IntN(127)}
	b := Address{Name: uuid(rng), Device: 1 + rng.IntN(127)}
	options := func() Args {
		return Args{
			"oneTime":        rng.IntN(4) > 0,
			"preKeyId":       1 + rng.IntN(1<<24-1),
			"signedPreKeyId": 1 + rng.IntN(1<<24-1),
			"kyberPreKeyId":  1 + rng.IntN(1<<24-1),
			"kyber":          !cfg.Classical,
			"lastResort":     rng.IntN(2) == 0 && !cfg.Classical,
		}
	}
	if l, err = newConversation(left, a, b, options()); err != nil {
		return nil, nil, err
	}
	if r, err = newConversation(right, b, a, options()); err != nil {
		return nil, nil, errors.Join(err, l.Forget())
	}
	return l, r, nil
}

func newConversation(peer *Peer, local, remote Address, bundle Args) (*Conversation, error) {
	c := &Conversation{peer: peer, party: local.Name, local: local, remote: remote, bundle: bundle}
	if err := c.call("party", Args{"name": local.Name, "device": local.Device}, nil); err != nil {
		return nil, err
	}
	return c, nil
}

// call asks the peer on behalf of the party and reads the reply into v, unless v is nil.
func (c *Conversation) call(op string, args Args, v any) error {
	request := Args{"party": c.party}
	maps.Copy(request, args)
	reply, err := c.peer.Call(op, request)
	if err != nil || v == nil {
		return err
	}
	return reply.Decode(v)
}

// Invite asks the party for a prekey bundle.
func (c *Conversation) Invite() (json.RawMessage, error) {
	var reply struct{ Bundle json.RawMessage }
	err := c.call("bundle", c.bundle, &reply)
	return reply.Bundle, err
}

// Begin has the party process the other end's bundle.
func (c *Conversation) Begin(bundle json.RawMessage) error {
	return c.call("processBundle", Args{"remote": c.remote, "bundle": bundle}, nil)
}

// Encrypt has the party encrypt for the other end.
func (c *Conversation) Encrypt(plaintext []byte) (Message, error) {
	var m Message
	err := c.call("encrypt", Args{"remote": c.remote, "plaintext": plaintext}, &m)
	return m, err
}

// Decrypt has the party open a message from the other end.
func (c *Conversation) Decrypt(m Message) ([]byte, error) {
	var reply struct{ Plaintext []byte }
	err := c.call("decrypt", Args{"remote": c.remote, "type": m.Type, "message": m.Bytes}, &reply)
	return reply.Plaintext, err
}

type record struct {
	Exists bool
	Bytes  int
	Record []byte
}

// Snapshot returns the session record, the identity key known of the other end and the prekeys left.
// Parts that the peer does not have are left out.
func (c *Conversation) Snapshot() ([]byte, error) {
	var snapshot bytes.Buffer
	for _, part := range []struct {
		op   string
		args Args
	}{
		{"session", Args{"remote": c.remote}},
		{"identity", Args{"remote": c.remote}},
		{"prekeys", nil},
	} {
		var fields map[string]json.RawMessage
		err := c.call(part.op, part.args, &fields)
		if refused, ok := errors.AsType[*Error](err); ok && refused.Name == "Unsupported" {
			continue
		}
		if err != nil {
			return nil, err
		}
		delete(fields, "id")
		text, err := json.Marshal(fields) // with sorted keys
		if err != nil {
			return nil, fmt.Errorf("encoding a snapshot: %w", err)
		}
		snapshot.Write(text)
	}
	return snapshot.Bytes(), nil
}

// Restart takes the session record from the party, deletes it there, sees that it is gone, and gives it
// back. A party without a session is left alone.
func (c *Conversation) Restart() error {
	var before, gone, after record
	if err := c.call("session", Args{"remote": c.remote}, &before); err != nil || !before.Exists {
		return err
	}
	if err := c.call("session", Args{"remote": c.remote, "del": true}, &gone); err != nil {
		return err
	}
	if gone.Exists {
		return errors.New("a deleted session is still there")
	}
	if err := c.call("session", Args{"remote": c.remote, "set": before.Record}, &after); err != nil {
		return err
	}
	if !after.Exists || !bytes.Equal(before.Record, after.Record) {
		return errors.New("a session that was read back is not what was written out")
	}
	return nil
}

// Forget deletes the party and everything it holds.
func (c *Conversation) Forget() error {
	return c.call("forgetParty", nil, nil)
}

func uuid(rng *rand.Rand) string {
	b := make([]byte, 16)
	fill(rng, b)
	b[6] = b[6]&0x0f | 0x40 // version 4
	b[8] = b[8]&0x3f | 0x80 // RFC 9562 variant
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func fill(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.UintN(256)) //nolint:gosec // fits
	}
}
