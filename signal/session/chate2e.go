package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

// The messages of chate2e/v1 (docs/PROTOCOL.md, Messages).
const (
	chate2eVersion = 1

	saltSize    = 16 // random bytes in each message
	tagSize     = 16
	messageSize = 2 + curve.KeySize + 4 + 4 + saltSize + 1 // bytes before the post-quantum part

	flagOneTime = 1
)

// chate2eCipher seals with AES-256-GCM. Key and nonce come from the seeds of both
// ratchets and 16 random bytes carried in the message: a key is used once even if
// a restored backup makes the ratchets repeat themselves.
type chate2eCipher struct{}

func (chate2eCipher) seal(_ *Record, s *state, h header, keys seeds, plaintext []byte) []byte {
	size := messageSize + len(h.pq) + len(plaintext) + tagSize
	if s.pending != nil {
		size += 3 + 2*curve.KeySize + 12 + kem.EncodedCiphertextSize
	}
	b := make([]byte, 0, size)
	if s.pending != nil {
		b = appendHandshake(b, s.pending)
	}
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails
	b = appendHeader(b, h, salt[:])
	aead, nonce := chate2eKeys(keys, salt[:])
	return aead.Seal(b, nonce, plaintext, s.associated(b))
}

func (chate2eCipher) open(_ *Record, s *state, m *Message, keys seeds) ([]byte, bool) {
	covered := m.raw[:len(m.raw)-len(m.ciphertext)]
	aead, nonce := chate2eKeys(keys, m.salt)
	plaintext, err := aead.Open(nil, nonce, m.ciphertext, s.associated(covered))
	return plaintext, err == nil
}

// chate2eKeys derives the cipher and nonce of one message.
func chate2eKeys(from seeds, salt []byte) (cipher.AEAD, []byte) {
	var input [32 + saltSize]byte
	copy(input[:], from.seed[:])
	copy(input[32:], salt)
	keys := make([]byte, 32+12)
	kdf.Fill(keys, input[:], from.salt(), []byte(kdf.Chate2eMessage.String()))
	clear(input[:])
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		panic("session: " + err.Error()) // wrong length only
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("session: " + err.Error()) // AES has the right block size
	}
	clear(keys[:32])
	return aead, keys[32:]
}

// associated returns the associated data: the transcript of the handshake, and
// all bytes of the message before the ciphertext.
func (s *state) associated(covered []byte) []byte {
	b := make([]byte, 0, len(s.transcript)+len(covered))
	b = append(b, s.transcript[:]...)
	return append(b, covered...)
}

// appendHeader appends what precedes the ciphertext in a message.
func appendHeader(b []byte, h header, salt []byte) []byte {
	b = append(b, chate2eVersion, byte(TypeMessage))
	b = append(b, h.RatchetKey[:]...)
	b = binary.BigEndian.AppendUint32(b, h.N)
	b = binary.BigEndian.AppendUint32(b, h.PN)
	b = append(b, salt...)
	b = append(b, byte(len(h.pq))) //nolint:gosec // at most spqr.MaxMessageSize
	return append(b, h.pq...)
}

// appendHandshake appends what precedes the message in a PreKey message.
func appendHandshake(b []byte, h *pqxdh.Header) []byte {
	flags := byte(0)
	if h.OneTimePreKeyID != nil {
		flags |= flagOneTime
	}
	b = append(b, chate2eVersion, byte(TypePreKey), flags)
	b = append(b, h.IdentityKey[:]...)
	b = append(b, h.BaseKey[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.SignedPreKeyID))
	b = binary.BigEndian.AppendUint32(b, uint32(*h.KEMPreKeyID))
	if h.OneTimePreKeyID != nil {
		b = binary.BigEndian.AppendUint32(b, uint32(*h.OneTimePreKeyID))
	}
	return append(b, h.KEMCiphertext...)
}

// Parse decodes a message of chate2e/v1. Nothing in it is authenticated yet. It
// returns [ErrMalformed].
func Parse(b []byte) (*Message, error) {
	m := &Message{suite: pqxdh.Chate2eV1, kind: TypeMessage, raw: slices.Clone(b)}
	in := cryptobyte.String(m.raw)
	if len(b) >= 2 && Type(b[1]) == TypePreKey {
		m.kind = TypePreKey
		m.handshake = new(pqxdh.Header)
		if !readHandshake(&in, m.handshake) {
			return nil, ErrMalformed
		}
	}
	var version, kind uint8
	if !in.ReadUint8(&version) || version != chate2eVersion || !in.ReadUint8(&kind) || Type(kind) != TypeMessage ||
		!in.CopyBytes(m.header.RatchetKey[:]) || !in.ReadUint32(&m.header.N) || !in.ReadUint32(&m.header.PN) ||
		!in.ReadBytes(&m.salt, saltSize) ||
		!in.ReadUint8LengthPrefixed((*cryptobyte.String)(&m.header.pq)) || len(m.header.pq) == 0 || len(in) < tagSize {
		return nil, ErrMalformed
	}
	m.ciphertext = in
	return m, nil
}

func readHandshake(in *cryptobyte.String, h *pqxdh.Header) bool {
	var version, kind, flags uint8
	h.KEMPreKeyID = new(pqxdh.PreKeyID)
	if !in.ReadUint8(&version) || version != chate2eVersion || !in.ReadUint8(&kind) || Type(kind) != TypePreKey ||
		!in.ReadUint8(&flags) || flags&^flagOneTime != 0 ||
		!in.CopyBytes(h.IdentityKey[:]) || !in.CopyBytes(h.BaseKey[:]) ||
		!in.ReadUint32((*uint32)(&h.SignedPreKeyID)) || !in.ReadUint32((*uint32)(h.KEMPreKeyID)) {
		return false
	}
	if flags&flagOneTime != 0 {
		h.OneTimePreKeyID = new(pqxdh.PreKeyID)
		if !in.ReadUint32((*uint32)(h.OneTimePreKeyID)) {
			return false
		}
	}
	return in.ReadBytes(&h.KEMCiphertext, kem.EncodedCiphertextSize) &&
		kem.Kind(h.KEMCiphertext[0]) == kem.MLKEM1024
}
