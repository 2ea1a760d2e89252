package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"slices"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/cbc"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/internal/wire"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
)

// The messages of the official library: a version byte, a protobuf, and in a
// SignalMessage eight bytes of MAC. The version byte holds the session version
// in its high half and the newest version its sender knows, 4, in its low half;
// readers look at the high half.
const (
	libsignalNewest = 4
	macSize         = 8

	fieldRatchetKey      = 1 // SignalMessage
	fieldCounter         = 2
	fieldPreviousCounter = 3
	fieldCiphertext      = 4
	fieldPQRatchet       = 5
	fieldAddresses       = 6

	fieldPreKeyID       = 1 // PreKeySignalMessage
	fieldBaseKey        = 2
	fieldIdentityKey    = 3
	fieldMessage        = 4
	fieldRegistrationID = 5
	fieldSignedPreKeyID = 6
	fieldKyberPreKeyID  = 7
	fieldKyberCipher    = 8
)

// libsignalCipher seals with AES-256-CBC and a truncated HMAC-SHA256 over both
// identity keys and the message.
type libsignalCipher struct {
	version byte
	pq      bool // with the sparse post-quantum ratchet
}

func (c libsignalCipher) versionByte() byte { return c.version<<4 | libsignalNewest }

func (c libsignalCipher) seal(r *Record, s *state, h header, from seeds, plaintext []byte) []byte {
	keys := libsignalKeys(from)
	defer keys.wipe()
	// The official library sends the index of the previous chain's last message
	// rather than their number, and never reads it.
	h.PN = max(h.PN, 1) - 1
	var addresses []byte
	if c.pq && s.pending != nil {
		addresses = libsignalAddresses(r.us, r.them)
	}
	b := c.encodeMessage(h, keys.encrypt(plaintext), addresses)
	b = append(b, keys.mac(s.ourIdentity, s.theirIdentity, b)...)
	if s.pending == nil {
		return b
	}
	return c.encodePreKey(s.pending, b)
}

// encodeMessage encodes a SignalMessage up to its MAC, for which there is room.
func (c libsignalCipher) encodeMessage(h header, ciphertext, addresses []byte) []byte {
	ratchetKey := h.RatchetKey.Encode()
	b := make([]byte, 0, 1+2+len(ratchetKey)+6+6+6+len(ciphertext)+2+len(h.pq)+2+len(addresses)+macSize)
	b = append(b, c.versionByte())
	b = wire.AppendBytes(b, fieldRatchetKey, ratchetKey[:])
	b = wire.AppendNumber(b, fieldCounter, h.N)
	b = wire.AppendNumber(b, fieldPreviousCounter, h.PN)
	b = wire.AppendBytes(b, fieldCiphertext, ciphertext)
	if c.pq {
		b = wire.AppendBytes(b, fieldPQRatchet, h.pq)
	}
	if addresses != nil {
		b = wire.AppendBytes(b, fieldAddresses, addresses)
	}
	return b
}

// encodePreKey encodes a PreKeySignalMessage around a SignalMessage.
func (c libsignalCipher) encodePreKey(h *pqxdh.Header, message []byte) []byte {
	b := make([]byte, 0, len(message)+kem.EncodedCiphertextSize+2*curve.EncodedKeySize+64)
	b = append(b, c.versionByte())
	if h.OneTimePreKeyID != nil {
		b = wire.AppendNumber(b, fieldPreKeyID, uint32(*h.OneTimePreKeyID))
	}
	base, identity := h.BaseKey.Encode(), h.IdentityKey.Encode()
	b = wire.AppendBytes(b, fieldBaseKey, base[:])
	b = wire.AppendBytes(b, fieldIdentityKey, identity[:])
	b = wire.AppendBytes(b, fieldMessage, message)
	b = wire.AppendNumber(b, fieldRegistrationID, h.RegistrationID)
	b = wire.AppendNumber(b, fieldSignedPreKeyID, uint32(h.SignedPreKeyID))
	if h.KEMPreKeyID != nil {
		b = wire.AppendNumber(b, fieldKyberPreKeyID, uint32(*h.KEMPreKeyID))
		b = wire.AppendBytes(b, fieldKyberCipher, h.KEMCiphertext)
	}
	return b
}

func (c libsignalCipher) open(r *Record, s *state, m *Message, from seeds) ([]byte, bool) {
	keys := libsignalKeys(from)
	defer keys.wipe()
	covered, mac := m.inner[:len(m.inner)-macSize], m.inner[len(m.inner)-macSize:]
	if !hmac.Equal(keys.mac(s.theirIdentity, s.ourIdentity, covered), mac) {
		return nil, false
	}
	if m.addresses != nil {
		if want := libsignalAddresses(r.them, r.us); want != nil && subtle.ConstantTimeCompare(want, m.addresses) != 1 {
			return nil, false
		}
	}
	return keys.decrypt(m.ciphertext)
}

const addressesSize = 2 * (len(wire.ServiceID{}) + 1)

// libsignalAddresses encodes sender and receiver as the official library does in
// first messages: for each the kind and UUID of its service ID, and the device.
// It returns nil unless both names are service IDs.
func libsignalAddresses(sender, receiver signal.Address) []byte {
	b := make([]byte, 0, addressesSize)
	for _, a := range []signal.Address{sender, receiver} {
		id, ok := wire.ParseServiceID(a.Name)
		if !ok || a.Device > 127 {
			return nil
		}
		b = append(append(b, id[:]...), byte(a.Device))
	}
	return b
}

// libsignalMessageKeys are the cipher key (32 bytes), MAC key (32) and IV (16).
type libsignalMessageKeys struct{ b []byte }

func libsignalKeys(from seeds) libsignalMessageKeys {
	k := libsignalMessageKeys{make([]byte, cbc.KeySize+32+cbc.IVSize)}
	kdf.Fill(k.b, from.seed[:], from.salt(), []byte(kdf.LibsignalMessage.String()))
	return k
}

func (k libsignalMessageKeys) wipe() { clear(k.b) }

func (k libsignalMessageKeys) mac(sender, receiver curve.PublicKey, covered []byte) []byte {
	h := hmac.New(sha256.New, k.b[32:64])
	from, to := sender.Encode(), receiver.Encode()
	h.Write(from[:])
	h.Write(to[:])
	h.Write(covered)
	return h.Sum(nil)[:macSize]
}

func (k libsignalMessageKeys) encrypt(plaintext []byte) []byte {
	return cbc.Encrypt((*[cbc.KeySize]byte)(k.b), (*[cbc.IVSize]byte)(k.b[64:]), plaintext)
}

// decrypt is for a ciphertext whose MAC is right.
func (k libsignalMessageKeys) decrypt(ciphertext []byte) ([]byte, bool) {
	return cbc.Decrypt((*[cbc.KeySize]byte)(k.b), (*[cbc.IVSize]byte)(k.b[64:]), ciphertext)
}

// ParseLibsignal decodes a message of the official library: a
// PreKeySignalMessage or a SignalMessage, which only the type given beside it
// tells apart. The suite must be the one that the message's version calls for.
// As in the official library the last of several equal fields counts and unknown
// fields are skipped; keys must have their exact size. Nothing in the message is
// authenticated yet. It returns [ErrMalformed] or [ErrSuite].
func ParseLibsignal(id pqxdh.Suite, kind Type, b []byte) (*Message, error) {
	suite := suites[id]
	if suite == nil {
		return nil, ErrSuite
	}
	c, ok := suite.cipher.(libsignalCipher)
	if !ok {
		return nil, ErrSuite
	}
	m := &Message{suite: id, kind: kind, raw: slices.Clone(b)}
	switch kind {
	case TypeMessage:
		m.inner = m.raw
	case TypePreKey:
		if err := c.parsePreKey(m); err != nil {
			return nil, err
		}
	default:
		return nil, ErrMalformed
	}
	if err := c.parseMessage(m); err != nil {
		return nil, err
	}
	return m, nil
}

func (c libsignalCipher) checkVersion(b []byte) error {
	if len(b) == 0 {
		return ErrMalformed
	}
	if b[0]>>4 != c.version {
		return ErrSuite
	}
	return nil
}

func (c libsignalCipher) parseMessage(m *Message) error {
	if err := c.checkVersion(m.inner); err != nil {
		return err
	}
	if len(m.inner) < 1+macSize {
		return ErrMalformed
	}
	fields, ok := wire.Parse(m.inner[1:len(m.inner)-macSize],
		[]wire.Field{fieldCounter, fieldPreviousCounter}, []wire.Field{fieldRatchetKey, fieldCiphertext, fieldPQRatchet, fieldAddresses})
	if !ok || !fields.Has(fieldRatchetKey, fieldCounter, fieldCiphertext) {
		return ErrMalformed
	}
	key, err := curve.ParsePublicKey(fields.Bytes[fieldRatchetKey])
	if err != nil {
		return ErrMalformed
	}
	m.header.Header = ratchet.Header{RatchetKey: key, N: fields.Numbers[fieldCounter], PN: fields.Numbers[fieldPreviousCounter]}
	if c.pq {
		// The official library leaves the field away rather than empty.
		if m.header.pq = fields.Bytes[fieldPQRatchet]; len(m.header.pq) == 0 {
			return ErrMalformed
		}
		m.addresses = fields.Bytes[fieldAddresses]
	}
	m.ciphertext = fields.Bytes[fieldCiphertext]
	return nil
}

func (c libsignalCipher) parsePreKey(m *Message) error {
	if err := c.checkVersion(m.raw); err != nil {
		return err
	}
	fields, ok := wire.Parse(m.raw[1:],
		[]wire.Field{fieldPreKeyID, fieldRegistrationID, fieldSignedPreKeyID, fieldKyberPreKeyID},
		[]wire.Field{fieldBaseKey, fieldIdentityKey, fieldMessage, fieldKyberCipher})
	if !ok || !fields.Has(fieldBaseKey, fieldIdentityKey, fieldMessage, fieldSignedPreKeyID) {
		return ErrMalformed
	}
	base, errBase := curve.ParsePublicKey(fields.Bytes[fieldBaseKey])
	identity, errIdentity := curve.ParsePublicKey(fields.Bytes[fieldIdentityKey])
	if errBase != nil || errIdentity != nil {
		return ErrMalformed
	}
	h := &pqxdh.Header{
		IdentityKey: identity, BaseKey: base,
		SignedPreKeyID: pqxdh.PreKeyID(fields.Numbers[fieldSignedPreKeyID]),
		RegistrationID: fields.Numbers[fieldRegistrationID],
	}
	if fields.Has(fieldPreKeyID) {
		id := pqxdh.PreKeyID(fields.Numbers[fieldPreKeyID])
		h.OneTimePreKeyID = &id
	}
	// Version 4 has the KEM part and version 3 does not; nothing is optional.
	hasKEM := c.version == libsignalNewest
	if fields.Has(fieldKyberPreKeyID) != hasKEM || fields.Has(fieldKyberCipher) != hasKEM {
		return ErrMalformed
	}
	if hasKEM {
		id := pqxdh.PreKeyID(fields.Numbers[fieldKyberPreKeyID])
		h.KEMPreKeyID = &id
		h.KEMCiphertext = fields.Bytes[fieldKyberCipher]
		if len(h.KEMCiphertext) != kem.EncodedCiphertextSize || kem.Kind(h.KEMCiphertext[0]) != kem.Kyber1024 {
			return ErrMalformed
		}
	}
	m.handshake, m.inner = h, fields.Bytes[fieldMessage]
	return nil
}
