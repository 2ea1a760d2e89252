package sealed

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/gcmsiv"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

// Sealed sender, version 2: one ciphertext for many. A secret of the message gives
// the key of the content and an ephemeral key, with which the secret is covered
// for each recipient; a tag proves to each of them who sent it.

const (
	secretSize    = 32
	tag2Size      = 16
	recipientSize = secretSize + tag2Size // bytes for each recipient

	deviceMore      = 0x8000 // another device follows
	maxRegistration = 0x3fff
	noDevice        = 0 // in the place of the devices of an excluded account
)

// ErrRecipients is returned for recipients that a message cannot have: none, one
// twice, one that is excluded as well, or one without devices or with impossible
// ones.
var ErrRecipients = errors.New("sealed: impossible recipients")

// Recipient is an account to seal for, in version 2.
type Recipient struct {
	ID       ServiceID
	Identity curve.PublicKey // of all its devices
	Devices  []Device
}

// Device is a device of a recipient.
type Device struct {
	ID           uint8  // 1 to 127
	Registration uint16 // 14 bits; tells one installation from the next
}

// message2 are the secrets of one message.
type message2 struct {
	m         secret.Key
	ephemeral *curve.PrivateKey
	key       secret.Key
}

func newMessage2(m secret.Key) *message2 {
	private := kdf.HKDF(m.Bytes(), kdf.Zero[:], kdf.LibsignalSealed2Private.String(), curve.KeySize)
	key := kdf.HKDF(m.Bytes(), kdf.Zero[:], kdf.LibsignalSealed2Key.String(), gcmsiv.KeySize)
	defer clear(private)
	defer clear(key)
	ephemeral, err := curve.NewPrivateKey(private)
	if err != nil {
		panic("sealed: " + err.Error()) // wrong length only
	}
	return &message2{m: m, ephemeral: ephemeral, key: secret.NewKey([gcmsiv.KeySize]byte(key))}
}

func (s *message2) wipe() {
	s.m.Wipe()
	s.key.Wipe()
}

// nonce2 is fixed: every message has a key of its own.
var nonce2 [gcmsiv.NonceSize]byte

// cover covers, and uncovers, a message's secret with what only the ephemeral key
// and the recipient's can compute.
func cover(m *[secretSize]byte, shared secret.Key, ephemeral, recipient curve.PublicKey) [secretSize]byte {
	e, r := ephemeral.Encode(), recipient.Encode()
	input := slices.Concat(shared.Bytes(), e[:], r[:])
	mask := kdf.HKDF(input, kdf.Zero[:], kdf.LibsignalSealed2Recipient.String(), secretSize)
	var covered [secretSize]byte
	subtle.XORBytes(covered[:], m[:], mask)
	clear(input)
	clear(mask)
	shared.Wipe()
	return covered
}

// tag2 proves the sender to a recipient.
func tag2(shared secret.Key, ephemeral curve.PublicKey, covered *[secretSize]byte, sender, recipient curve.PublicKey) []byte {
	e, s, r := ephemeral.Encode(), sender.Encode(), recipient.Encode()
	input := slices.Concat(shared.Bytes(), e[:], covered[:], s[:], r[:])
	tag := kdf.HKDF(input, kdf.Zero[:], kdf.LibsignalSealed2Sender.String(), tag2Size)
	clear(input)
	shared.Wipe()
	return tag
}

// SealV2 seals content for all devices of the recipients, in version 2, and
// returns the form that goes to the server: see [Sent]. our is the identity key
// that the content's certificate is about. Excluded accounts get nothing; that
// they are named shows the server that nobody was forgotten.
//
// It returns [ErrContent], [ErrRecipients], or [curve.ErrLowOrder] for a
// recipient's key of low order.
func SealV2(our *curve.PrivateKey, content *Content, recipients []Recipient, excluded []ServiceID) ([]byte, error) {
	plaintext, err := encode(our, content)
	if err != nil {
		return nil, err
	}
	if err := checkRecipients(recipients, excluded); err != nil {
		return nil, err
	}
	var random [secretSize]byte
	_, _ = rand.Read(random[:]) // never fails
	s := newMessage2(secret.NewKey(random))
	clear(random[:])
	defer s.wipe()
	return s.seal(our, plaintext, recipients, excluded)
}

func (s *message2) seal(our *curve.PrivateKey, plaintext []byte, recipients []Recipient, excluded []ServiceID) ([]byte, error) {
	b := protowire.AppendVarint([]byte{version2Sent}, uint64(len(recipients)+len(excluded)))
	for i := range recipients {
		r := &recipients[i]
		b = append(b, r.ID[:]...)
		for j, device := range r.Devices {
			registration := device.Registration
			if j+1 < len(r.Devices) {
				registration |= deviceMore
			}
			b = binary.BigEndian.AppendUint16(append(b, device.ID), registration)
		}
		var err error
		if b, err = s.appendFor(b, our, r.Identity); err != nil {
			return nil, err
		}
	}
	for _, id := range excluded {
		b = append(append(b, id[:]...), noDevice)
	}
	ephemeral := s.ephemeral.PublicKey()
	b = append(b, ephemeral[:]...)
	return append(b, gcmsiv.Seal(s.key.Array(), &nonce2, plaintext, nil)...), nil
}

func checkRecipients(recipients []Recipient, excluded []ServiceID) error {
	if len(recipients) == 0 {
		return ErrRecipients
	}
	seen := make(map[ServiceID]bool, len(recipients)+len(excluded))
	for i := range recipients {
		r := &recipients[i]
		if r.ID[0] > 1 || seen[r.ID] || len(r.Devices) == 0 {
			return ErrRecipients
		}
		seen[r.ID] = true
		for j, d := range r.Devices {
			again := slices.ContainsFunc(r.Devices[:j], func(o Device) bool { return o.ID == d.ID })
			if d.ID == noDevice || d.ID > maxDevice || d.Registration > maxRegistration || again {
				return ErrRecipients
			}
		}
	}
	for _, id := range excluded {
		if id[0] > 1 || seen[id] {
			return ErrRecipients
		}
		seen[id] = true
	}
	return nil
}

// appendFor appends what one recipient needs: the covered secret and the tag.
func (s *message2) appendFor(b []byte, our *curve.PrivateKey, their curve.PublicKey) ([]byte, error) {
	covering, err := s.ephemeral.ECDH(their)
	if err != nil {
		return nil, err
	}
	proving, err := our.ECDH(their)
	if err != nil {
		return nil, err
	}
	ephemeral := s.ephemeral.PublicKey()
	covered := cover(s.m.Array(), covering, ephemeral, their)
	b = append(b, covered[:]...)
	return append(b, tag2(proving, ephemeral, &covered, our.PublicKey(), their)...), nil
}

// unsealV2 opens what follows the version byte in the form that is received, or
// returns nil.
func unsealV2(our *curve.PrivateKey, b []byte) *Content {
	in := cryptobyte.String(b)
	var covered [secretSize]byte
	var tag []byte
	var ephemeral curve.PublicKey
	if !in.CopyBytes(covered[:]) || !in.ReadBytes(&tag, tag2Size) || !in.CopyBytes(ephemeral[:]) {
		return nil
	}
	us := our.PublicKey()
	uncovering, err := our.ECDH(ephemeral)
	if err != nil {
		return nil
	}
	m := cover(&covered, uncovering, ephemeral, us)
	s := newMessage2(secret.NewKey(m))
	clear(m[:])
	defer s.wipe()
	made := s.ephemeral.PublicKey()
	if subtle.ConstantTimeCompare(made[:], ephemeral[:]) != 1 {
		return nil
	}
	plaintext, ok := gcmsiv.Open(s.key.Array(), &nonce2, in, nil)
	if !ok {
		return nil
	}
	content, err := ParseContent(plaintext)
	if err != nil {
		return nil
	}
	proving, err := our.ECDH(content.Sender.Key)
	if err != nil || subtle.ConstantTimeCompare(tag2(proving, ephemeral, &covered, content.Sender.Key, us), tag) != 1 {
		return nil
	}
	return content
}
