package content

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// PresenceState is what a person lets her contacts know.
type PresenceState uint8

// The states. The numbers travel.
const (
	Online  PresenceState = 1
	Away    PresenceState = 2
	Busy    PresenceState = 3
	Offline PresenceState = 4
)

// Presence is the value of a topic.
type Presence struct {
	State PresenceState
	// At is when the sender said so, by her clock, in whole milliseconds. A
	// receiver ignores what is not newer than what it has, so that nobody can play
	// old values back.
	At time.Time
}

const (
	presenceVersion   = 1
	presencePlaintext = 32 // kind, state, time, zeros

	// kindPresence is the first byte of the plaintext; other kinds are skipped.
	kindPresence = 1

	// PresenceSize is the size in bytes of every sealed presence.
	PresenceSize = 1 + chacha20poly1305.NonceSizeX + presencePlaintext + chacha20poly1305.Overhead
)

// presenceLabel is the beginning of the associated data; the topic's ID follows.
const presenceLabel = "ChatE2E v1 presence"

// Seal encrypts a presence for those who have the topic's key: [PresenceSize]
// bytes, whatever it says. XChaCha20-Poly1305 takes random nonces without a
// limit that a topic could reach.
func (p Presence) Seal(t Topic) []byte {
	plaintext := make([]byte, presencePlaintext)
	plaintext[0], plaintext[1] = kindPresence, byte(p.State)
	binary.BigEndian.PutUint64(plaintext[2:], uint64(max(p.At.UnixMilli(), 0)))
	b := make([]byte, 1+chacha20poly1305.NonceSizeX, PresenceSize)
	b[0] = presenceVersion
	nonce := b[1:]
	_, _ = rand.Read(nonce) // never fails
	return t.aead().Seal(b, nonce, plaintext, t.associated())
}

// OpenPresence opens a value of topic t. It returns an error that wraps
// [ErrMalformed] for everything that [Presence.Seal] did not make with its key.
func OpenPresence(t Topic, sealed []byte) (Presence, error) {
	if len(sealed) != PresenceSize || sealed[0] != presenceVersion {
		return Presence{}, malformed("presence")
	}
	nonce := sealed[1 : 1+chacha20poly1305.NonceSizeX]
	plaintext, err := t.aead().Open(nil, nonce, sealed[1+len(nonce):], t.associated())
	if err != nil {
		return Presence{}, malformed("presence")
	}
	state, at := PresenceState(plaintext[1]), binary.BigEndian.Uint64(plaintext[2:])
	if plaintext[0] != kindPresence || state < Online || state > Offline || at > maxTime {
		return Presence{}, malformed("presence")
	}
	return Presence{State: state, At: time.UnixMilli(int64(at)).UTC()}, nil
}

func (t Topic) aead() cipher.AEAD {
	aead, err := chacha20poly1305.NewX(t.Key.Bytes())
	if err != nil {
		panic("content: " + err.Error()) // wrong length only
	}
	return aead
}

func (t Topic) associated() []byte { return append([]byte(presenceLabel), t.ID[:]...) }
