package sealed

import (
	"crypto/hpke"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

const (
	typeEnvelope = 9 // beside the types of messages

	encapsulatedSize = 1088 + 32 // of ML-KEM-768 and X25519
	tagSize          = 16
	headerSize       = 2 + len(KeyID{})

	// Overhead is how many bytes an envelope is longer than the message inside and
	// the name of its sender.
	Overhead = headerSize + encapsulatedSize + 1 + 4 + tagSize
)

// Letter is what an envelope contains.
type Letter struct {
	// From is where the letter says it comes from. Nothing proves it but the message,
	// by opening in a session with this address.
	From    signal.Address
	Message []byte // of package session or senderkey
}

// Seal puts a letter into an envelope for the device at to, whose verified key
// this is. It returns [signal.ErrAddress], or [ErrPublicKey] for a key of low order.
func Seal(key *PublicKey, to signal.Address, letter Letter) ([]byte, error) {
	if to.Validate() != nil || letter.From.Validate() != nil {
		return nil, signal.ErrAddress
	}
	encapsulated, sender, err := hpke.NewSender(key.key, hpke.HKDFSHA256(), hpke.AES256GCM(), info(to))
	if err != nil {
		return nil, ErrPublicKey
	}
	id := key.ID()
	b := make([]byte, 0, Overhead+len(letter.From.Name)+len(letter.Message))
	b = append(b, version, typeEnvelope)
	b = append(b, id[:]...)
	plaintext := append(letter.From.Append(nil), letter.Message...)
	ciphertext, err := sender.Seal(b, plaintext)
	clear(plaintext)
	if err != nil {
		panic("sealed: " + err.Error()) // the first message of a fresh context
	}
	b = append(b, encapsulated...)
	return append(b, ciphertext...), nil
}

// info binds an envelope to its recipient. Without the address, somebody who
// publishes another's key as its own could have it open letters that were meant
// for somebody else.
func info(to signal.Address) []byte { return to.Append([]byte(kdf.Chate2eSealed.String())) }

// Envelope is a parsed envelope, of which nothing is authenticated yet.
type Envelope struct {
	id                               KeyID
	header, encapsulated, ciphertext []byte
}

// Parse decodes an envelope. It returns [ErrMalformed].
func Parse(b []byte) (*Envelope, error) {
	b = slices.Clone(b)
	in := cryptobyte.String(b)
	e := new(Envelope)
	var v, kind uint8
	if !in.ReadUint8(&v) || v != version || !in.ReadUint8(&kind) || kind != typeEnvelope || !in.CopyBytes(e.id[:]) ||
		!in.ReadBytes(&e.encapsulated, encapsulatedSize) || len(in) < tagSize {
		return nil, ErrMalformed
	}
	e.header, e.ciphertext = b[:headerSize], in
	return e, nil
}

// KeyID says which of our keys the envelope is sealed for.
func (e *Envelope) KeyID() KeyID { return e.id }

// Open opens the envelope as the device at us, with the key that the envelope
// names. It returns [ErrSelf], or [ErrOpen] for everything that is not a letter to
// this device under this key; also without a key.
func (e *Envelope) Open(key *PrivateKey, us signal.Address) (*Letter, error) {
	if key == nil || key.public.ID() != e.id {
		return nil, ErrOpen
	}
	recipient, err := hpke.NewRecipient(e.encapsulated, *key.key.Reveal(), hpke.HKDFSHA256(), hpke.AES256GCM(), info(us))
	if err != nil {
		return nil, ErrOpen
	}
	plaintext, err := recipient.Open(e.header, e.ciphertext)
	if err != nil {
		return nil, ErrOpen
	}
	in := cryptobyte.String(plaintext)
	letter := new(Letter)
	if !letter.From.Read(&in) {
		return nil, ErrOpen
	}
	if letter.From == us {
		return nil, ErrSelf
	}
	letter.Message = in
	return letter, nil
}
