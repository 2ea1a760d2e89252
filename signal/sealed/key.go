package sealed

import (
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/day"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

const (
	// SeedSize is the size of a private key in bytes.
	SeedSize = 32
	// PublicKeySize is the size of an encoded public key in bytes: the number of
	// the KEM in HPKE, an ML-KEM-768 encapsulation key and an X25519 key.
	PublicKeySize = 2 + 1184 + 32
	// SignedKeySize is the size of an encoded [SignedKey] in bytes.
	SignedKeySize = 2 + 4 + PublicKeySize + curve.SignatureSize

	version           = 1
	purposeSealingKey = 5 // beside those of prekeys
)

// Lifetimes of sealing keys, which are those of signed prekeys (docs/PROTOCOL.md,
// Sealed envelopes).
const (
	// RotateAfter is the age at which a key is replaced.
	RotateAfter = day.RotateAfter
	// ValidDays is how many days after it was made a key may still be used.
	ValidDays = day.Valid
	// GraceDays is how many days after the expiry the private half is kept for
	// envelopes under way.
	GraceDays = day.Grace
)

var (
	// ErrPrivateKey is returned for bytes that are no private key.
	ErrPrivateKey = errors.New("sealed: not a private key")
	// ErrSignature is returned when the signature of a key does not verify for the
	// identity key, owner and expiry.
	ErrSignature = errors.New("sealed: signature does not verify")
	// ErrExpired is returned for a key, or a certificate, that is past its time.
	ErrExpired = errors.New("sealed: has expired")
)

// KeyID names a sealing key among those of one device. It is computed from the
// key.
type KeyID [4]byte

// PublicKey is the key of a device for which others seal.
type PublicKey struct {
	key hpke.PublicKey
	raw [PublicKeySize]byte
}

// kem is MLKEM768-X25519, also known as X-Wing.
func kem() hpke.KEM { return hpke.MLKEM768X25519() }

func newPublicKey(key hpke.PublicKey) *PublicKey {
	p := &PublicKey{key: key}
	binary.BigEndian.PutUint16(p.raw[:], key.KEM().ID())
	copy(p.raw[2:], key.Bytes())
	return p
}

// ParsePublicKey decodes what [PublicKey.Encode] made. It returns [ErrPublicKey],
// also for an ML-KEM key whose coefficients are not reduced.
func ParsePublicKey(b []byte) (*PublicKey, error) {
	if len(b) != PublicKeySize || binary.BigEndian.Uint16(b) != kem().ID() {
		return nil, ErrPublicKey
	}
	key, err := kem().NewPublicKey(b[2:])
	if err != nil {
		return nil, ErrPublicKey
	}
	return newPublicKey(key), nil
}

// Encode returns the [PublicKeySize] bytes of the key.
func (k *PublicKey) Encode() []byte {
	b := k.raw
	return b[:]
}

// ID returns the key's ID.
func (k *PublicKey) ID() KeyID {
	h := sha256.New()
	h.Write([]byte(kdf.Chate2eSealingKeyID.String()))
	h.Write(k.raw[:])
	return KeyID(h.Sum(nil)[:len(KeyID{})])
}

// PrivateKey opens what was sealed for a device. It prints as "[redacted]".
type PrivateKey struct {
	seed   secret.Key
	key    secret.Box[hpke.PrivateKey]
	public *PublicKey
}

// GenerateKey makes a new key pair.
func GenerateKey() *PrivateKey {
	var seed [SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails
	defer clear(seed[:])
	return newPrivateKey(&seed)
}

// NewPrivateKey loads a private key of [SeedSize] bytes. It returns
// [ErrPrivateKey] for another length.
func NewPrivateKey(b []byte) (*PrivateKey, error) {
	if len(b) != SeedSize {
		return nil, ErrPrivateKey
	}
	seed := [SeedSize]byte(b)
	defer clear(seed[:])
	return newPrivateKey(&seed), nil
}

func newPrivateKey(seed *[SeedSize]byte) *PrivateKey {
	key, err := kem().NewPrivateKey(seed[:])
	if err != nil {
		panic("sealed: " + err.Error()) // any 32 bytes are a key
	}
	return &PrivateKey{seed: secret.NewKey(*seed), key: secret.NewBox(key), public: newPublicKey(key.PublicKey())}
}

// PublicKey returns the public half.
func (k *PrivateKey) PublicKey() *PublicKey { return k.public }

// Bytes returns the [SeedSize] bytes of the private key, for storage. The caller
// owns the copy.
func (k *PrivateKey) Bytes() []byte {
	b := *k.seed.Array()
	return b[:]
}

// Format implements [fmt.Formatter]: every verb prints "[redacted]".
func (*PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue implements [slog.LogValuer].
func (*PrivateKey) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// SignedKey is a public key as its device publishes it. Whoever could put another
// key in its place would learn who writes, so it takes the signature of the
// device's identity key to get at the key.
type SignedKey struct {
	expires   uint32 // the first day since 1970 on which it may not be used
	key       *PublicKey
	signature []byte
}

// Sign publishes the key as that of the device at owner, whose identity key this
// is, for [ValidDays] days. It returns [signal.ErrAddress].
func (k *PublicKey) Sign(identity *curve.PrivateKey, owner signal.Address, now time.Time) (*SignedKey, error) {
	if err := owner.Validate(); err != nil {
		return nil, err
	}
	s := &SignedKey{expires: day.Of(now) + ValidDays, key: k}
	s.signature = identity.Sign(s.signed(owner))
	return s, nil
}

// signed returns what the signature covers.
func (s *SignedKey) signed(owner signal.Address) []byte {
	b := owner.Append([]byte(kdf.Chate2eSealingKey.String()))
	b = binary.BigEndian.AppendUint32(b, s.expires)
	return append(b, s.key.raw[:]...)
}

// Verify returns the key if the device at owner has published it and it may be
// used now. Whether the identity key is that device's is for the caller to know.
// It returns [signal.ErrAddress], [ErrSignature] or [ErrExpired].
func (s *SignedKey) Verify(identity curve.PublicKey, owner signal.Address, now time.Time) (*PublicKey, error) {
	if err := owner.Validate(); err != nil {
		return nil, err
	}
	if !identity.Verify(s.signed(owner), s.signature) {
		return nil, ErrSignature
	}
	if !now.Before(s.Expires()) {
		return nil, ErrExpired
	}
	return s.key, nil
}

// Expires returns the first moment at which the key may not be used, UTC.
func (s *SignedKey) Expires() time.Time { return day.Start(s.expires) }

// Append appends the encoding of the signed key to b: [SignedKeySize] bytes.
func (s *SignedKey) Append(b []byte) []byte {
	b = append(b, version, purposeSealingKey)
	b = binary.BigEndian.AppendUint32(b, s.expires)
	b = append(b, s.key.raw[:]...)
	return append(b, s.signature...)
}

// ParseSignedKey decodes what [SignedKey.Append] made; nothing of it is verified.
// It returns [ErrMalformed].
func ParseSignedKey(b []byte) (*SignedKey, error) {
	in := cryptobyte.String(b)
	s := &SignedKey{signature: make([]byte, curve.SignatureSize)}
	var v, purpose uint8
	var key []byte
	if !in.ReadUint8(&v) || v != version || !in.ReadUint8(&purpose) || purpose != purposeSealingKey ||
		!in.ReadUint32(&s.expires) || s.expires > day.Max || !in.ReadBytes(&key, PublicKeySize) || !in.CopyBytes(s.signature) || !in.Empty() {
		return nil, ErrMalformed
	}
	var err error
	if s.key, err = ParsePublicKey(key); err != nil {
		return nil, ErrMalformed
	}
	return s, nil
}
