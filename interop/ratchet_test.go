package interop_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"testing"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/interop"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// agreement is what a handshake would have led to, in the form in which the Python side invents it.
type agreement struct {
	SharedSecret   []byte `json:"sharedSecret"`
	RatchetKey     []byte `json:"ratchetKey"`
	AssociatedData []byte `json:"associatedData"`
}

// ratchetEnd is an end over a ratchet.State and AES-256-GCM, with the Python side's own labels and layout:
// ratchet key ‖ N ‖ PN ‖ salt ‖ ciphertext.
type ratchetEnd struct {
	state   *ratchet.State // nil until a first message is sent or opened
	agreed  agreement
	private *curve.PrivateKey // of the agreement's ratchet key, if it is ours
}

var ratchetRules = ratchet.Rules{
	RootInfo: "DoubleRatchet root", MaxForward: 2000, MaxSkipped: 2000, MaxChains: 1,
}

func (e *ratchetEnd) Invite() (json.RawMessage, error) {
	e.private = curve.GenerateKey()
	public := e.private.PublicKey()
	e.agreed = agreement{make([]byte, 32), public[:], make([]byte, 32)}
	_, _ = rand.Read(e.agreed.SharedSecret) // never fails
	_, _ = rand.Read(e.agreed.AssociatedData)
	return json.Marshal(e.agreed)
}

func (e *ratchetEnd) root() secret.Key { return secret.NewKey([32]byte(e.agreed.SharedSecret)) }

func (e *ratchetEnd) Begin(invitation json.RawMessage) error {
	if err := json.Unmarshal(invitation, &e.agreed); err != nil {
		return err
	}
	e.state = ratchet.NewInitiator(ratchetRules, e.root(), curve.PublicKey(e.agreed.RatchetKey))
	return nil
}

// aead returns the cipher and the nonce of one message.
func (e *ratchetEnd) aead(seed, salt []byte) (cipher.AEAD, []byte, error) {
	keys, err := hkdf.Key(sha256.New, append(bytes.Clone(seed), salt...), nil, "DoubleRatchet message", 32+12)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, keys[32:], err
}

func (e *ratchetEnd) Encrypt(plaintext []byte) (interop.Message, error) {
	if e.state == nil {
		return interop.Message{}, errors.New("no session")
	}
	h, seed, err := e.state.Send()
	if err != nil {
		return interop.Message{}, err
	}
	b := bytes.Clone(h.RatchetKey[:])
	b = binary.BigEndian.AppendUint32(b, h.N)
	b = binary.BigEndian.AppendUint32(b, h.PN)
	var salt [16]byte
	_, _ = rand.Read(salt[:])
	b = append(b, salt[:]...)
	aead, nonce, err := e.aead(seed.Bytes(), salt[:])
	if err != nil {
		return interop.Message{}, err
	}
	b = aead.Seal(b, nonce, plaintext, append(bytes.Clone(e.agreed.AssociatedData), b...))
	return interop.Message{Type: 2, Bytes: b}, nil
}

func (e *ratchetEnd) Decrypt(m interop.Message) ([]byte, error) {
	const headerSize = 32 + 4 + 4 + 16
	if len(m.Bytes) < headerSize {
		return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage", Message: "too short"}
	}
	state := e.state
	if state == nil {
		state = ratchet.NewResponder(ratchetRules, e.root(), e.private)
	}
	header, ciphertext := m.Bytes[:headerSize], m.Bytes[headerSize:]
	opening, err := state.Receive(ratchet.Header{
		RatchetKey: curve.PublicKey(header),
		N:          binary.BigEndian.Uint32(header[32:]),
		PN:         binary.BigEndian.Uint32(header[36:]),
	})
	switch {
	case errors.Is(err, ratchet.ErrDuplicate):
		return nil, &interop.Error{Op: "decrypt", Name: "DuplicatedMessage", Message: err.Error()}
	case err != nil:
		return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage", Message: err.Error()}
	}
	aead, nonce, err := e.aead(opening.Seed()[:], header[40:])
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nonce, ciphertext, append(bytes.Clone(e.agreed.AssociatedData), header...))
	if err != nil {
		opening.Discard()
		return nil, &interop.Error{Op: "decrypt", Name: "InvalidMessage", Message: err.Error()}
	}
	opening.Commit()
	e.state = state
	return plaintext, nil
}

func (e *ratchetEnd) Snapshot() ([]byte, error) {
	if e.state == nil {
		return nil, nil
	}
	return e.state.Append(nil), nil
}

func (e *ratchetEnd) Restart() error {
	if e.state == nil {
		return nil
	}
	before := e.state.Append(nil)
	state, err := ratchet.Parse(ratchetRules, before)
	if err != nil {
		return err
	}
	if !bytes.Equal(before, state.Append(nil)) {
		return errors.New("a state that was read back is not what was written out")
	}
	e.state = state
	return nil
}

// TestRatchetWithPython has our Double Ratchet alone and python3-doubleratchet talk to each other, in both
// roles, with AES-256-GCM on either side.
func TestRatchetWithPython(t *testing.T) {
	t.Parallel()
	peer := start(t, pythonCommand(t))
	cfg := specification
	cfg.Window = 64
	cfg.Stragglers = 0.02
	play(t, ours, cfg, func(seed uint64) (interop.Endpoint, interop.Endpoint, func() error, error) {
		unused, right, err := interop.Pair(peer, peer, seed, interop.PairConfig{})
		if err != nil {
			return nil, nil, nil, err
		}
		forget := func() error { return errors.Join(unused.Forget(), right.Forget()) }
		return new(ratchetEnd), right, forget, nil
	})
}
