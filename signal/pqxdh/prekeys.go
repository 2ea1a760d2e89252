package pqxdh

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/day"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/kem"
)

var (
	// ErrSuite is returned for an unknown suite, or for a prekey of another one.
	ErrSuite = errors.New("pqxdh: wrong suite")
	// ErrSignature is returned when a prekey's signature does not verify for the
	// identity key, owner, purpose, ID and expiry.
	ErrSignature = errors.New("pqxdh: prekey signature does not verify")
	// ErrExpired is returned for a prekey past its expiry, or without a possible one
	// (a bundle's), or past its expiry and the grace time (our own).
	ErrExpired = errors.New("pqxdh: prekey has expired")
	// ErrKEM is returned when the KEM prekey or its ciphertext is missing, of
	// another kind, or present in a suite that has none.
	ErrKEM = errors.New("pqxdh: wrong KEM part")
)

// Identity is one device's own long-term key and where it lives.
type Identity struct {
	Address        signal.Address
	Key            *curve.PrivateKey
	RegistrationID uint32 // libsignal suites only: 14 bits
}

// PreKeyID names a prekey among those of its kind of one device. New ones are
// random, so that they do not tell how many came before.
type PreKeyID uint32

func newPreKeyID() PreKeyID {
	var b [4]byte
	_, _ = rand.Read(b[:])                              // never fails
	return PreKeyID(binary.BigEndian.Uint32(b[:]) >> 8) // 24 bits: what the official library takes
}

// Day is a whole day since 1970-01-01 UTC; 0 means never. An expiry in days
// tells nobody the hour at which a device made its keys.
type Day uint32

// MaxDay is the last day that a prekey of chate2e/v1 may expire on, that of the year
// 9999.
const MaxDay Day = day.Max

// DayOf returns the day of t in UTC, or 1 for a t before the first day or too late for
// a prekey made then to expire by [MaxDay].
func DayOf(t time.Time) Day { return Day(day.Of(t)) }

// Start returns the first moment of the day, UTC.
func (d Day) Start() time.Time { return day.Start(uint32(d)) }

// passed reports whether d, not being "never", begins at or before now.
func (d Day) passed(now time.Time) bool { return d != 0 && !now.Before(d.Start()) }

// usable reports whether an initiator may use a prekey of chate2e/v1 with this expiry.
func (d Day) usable(now time.Time) bool { return d != 0 && d <= MaxDay && !d.passed(now) }

// Lifetimes of prekeys (docs/PROTOCOL.md, Prekeys).
const (
	// RotateAfter is the age at which a signed or last-resort prekey is replaced.
	RotateAfter = day.RotateAfter
	// ValidDays is how many days after it was made a prekey may still be used by
	// an initiator.
	ValidDays = day.Valid
	// GraceDays is how many days after the expiry the private half is kept for
	// messages under way.
	GraceDays = day.Grace
)

// purpose says what a prekey may be used for; it is signed.
type purpose byte

const (
	purposeSigned     purpose = 1
	purposeKEMOneTime purpose = 2
	purposeKEMLast    purpose = 3
	purposeOneTime    purpose = 4 // one-time prekeys are not signed; their encoding says what they are
)

// SignedPreKey is the public half of a medium-term prekey.
type SignedPreKey struct {
	ID        PreKeyID
	Expires   Day // first day on which it may not be used; 0 in the libsignal suites
	Key       curve.PublicKey
	Signature []byte // 64 bytes, by the identity key
}

// KEMPreKey is the public half of a KEM prekey.
type KEMPreKey struct {
	ID         PreKeyID
	LastResort bool // handed out again and again when no one-time KEM prekey is left
	Expires    Day
	Key        *kem.PublicKey
	Signature  []byte // 64 bytes, by the identity key
}

func (k *KEMPreKey) purpose() purpose {
	if k.LastResort {
		return purposeKEMLast
	}
	return purposeKEMOneTime
}

// OneTimePreKey is the public half of a one-time prekey. It is not signed: with
// a wrong one the first message does not open, no more.
type OneTimePreKey struct {
	ID  PreKeyID
	Key curve.PublicKey
}

// SignedPreKeyPair is a signed prekey with its private half.
type SignedPreKeyPair struct {
	SignedPreKey
	Private *curve.PrivateKey
}

// KEMPreKeyPair is a KEM prekey with its private half.
type KEMPreKeyPair struct {
	KEMPreKey
	Private *kem.PrivateKey
}

// OneTimePreKeyPair is a one-time prekey with its private half.
type OneTimePreKeyPair struct {
	OneTimePreKey
	Private *curve.PrivateKey
}

// NewSignedPreKey makes a signed prekey for the device. In chate2e/v1 it expires
// [ValidDays] after now. It returns [ErrSuite] or [signal.ErrAddress].
func NewSignedPreKey(suite Suite, owner *Identity, now time.Time) (*SignedPreKeyPair, error) {
	r, err := checkOwner(suite, owner)
	if err != nil {
		return nil, err
	}
	private := curve.GenerateKey()
	pair := &SignedPreKeyPair{
		SignedPreKey: SignedPreKey{ID: newPreKeyID(), Expires: r.expiry(now), Key: private.PublicKey()},
		Private:      private,
	}
	pair.Signature = owner.Key.Sign(pair.signed(r, owner.Address))
	return pair, nil
}

// NewKEMPreKey makes a KEM prekey for the device. In chate2e/v1 it expires
// [ValidDays] after now. It returns [ErrSuite], [signal.ErrAddress], or [ErrKEM] if the
// suite has no KEM.
func NewKEMPreKey(suite Suite, owner *Identity, lastResort bool, now time.Time) (*KEMPreKeyPair, error) {
	r, err := checkOwner(suite, owner)
	if err != nil {
		return nil, err
	}
	if r.kem == 0 {
		return nil, ErrKEM
	}
	private := kem.GenerateKey(r.kem)
	pair := &KEMPreKeyPair{
		KEMPreKey: KEMPreKey{
			ID: newPreKeyID(), LastResort: lastResort, Expires: r.expiry(now), Key: private.PublicKey(),
		},
		Private: private,
	}
	pair.Signature = owner.Key.Sign(pair.signed(r, owner.Address))
	return pair, nil
}

// NewOneTimePreKey makes a one-time prekey.
func NewOneTimePreKey() *OneTimePreKeyPair {
	private := curve.GenerateKey()
	return &OneTimePreKeyPair{
		OneTimePreKey: OneTimePreKey{ID: newPreKeyID(), Key: private.PublicKey()},
		Private:       private,
	}
}

func checkOwner(suite Suite, owner *Identity) (*rules, error) {
	r := suite.rules()
	if r == nil {
		return nil, ErrSuite
	}
	return r, owner.Address.Validate()
}

func (r *rules) expiry(now time.Time) Day {
	if !r.bound {
		return 0
	}
	return DayOf(now) + ValidDays
}

// signed returns what the signature covers.
func (k *SignedPreKey) signed(r *rules, owner signal.Address) []byte {
	encoded := k.Key.Encode()
	return r.signed(purposeSigned, owner, k.ID, k.Expires, encoded[:])
}

func (k *KEMPreKey) signed(r *rules, owner signal.Address) []byte {
	return r.signed(k.purpose(), owner, k.ID, k.Expires, k.Key.Encode())
}

func (r *rules) signed(p purpose, owner signal.Address, id PreKeyID, expires Day, key []byte) []byte {
	if !r.bound {
		return key
	}
	b := []byte(kdf.Chate2ePreKey.String())
	b = append(b, byte(r.label), byte(p))
	b = owner.Append(b)
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	b = binary.BigEndian.AppendUint32(b, uint32(expires))
	return append(b, key...)
}

// Bundle is what a device publishes so that others can start a session with it.
type Bundle struct {
	IdentityKey    curve.PublicKey
	SignedPreKey   SignedPreKey
	KEMPreKey      *KEMPreKey     // nil only in a suite without a KEM
	OneTimePreKey  *OneTimePreKey // nil if none was left
	RegistrationID uint32         // libsignal suites only
}

// Verify checks everything about a bundle of the given device that can be
// checked without starting a session: both signatures with the bundle's identity
// key, the expiries, and that the KEM prekey is there and of the suite's kind.
// Whether the identity key is hers is for the caller to know. It returns
// [ErrSuite], [signal.ErrAddress], [ErrKEM], [ErrSignature] or [ErrExpired].
func (b *Bundle) Verify(suite Suite, owner signal.Address, now time.Time) error {
	r := suite.rules()
	if r == nil {
		return ErrSuite
	}
	if err := owner.Validate(); err != nil {
		return err
	}
	if (r.kem == 0) != (b.KEMPreKey == nil) {
		return ErrKEM
	}
	if !b.IdentityKey.Verify(b.SignedPreKey.signed(r, owner), b.SignedPreKey.Signature) {
		return ErrSignature
	}
	if r.bound && !b.SignedPreKey.Expires.usable(now) {
		return ErrExpired
	}
	if b.KEMPreKey == nil {
		return nil
	}
	if b.KEMPreKey.Key == nil || b.KEMPreKey.Key.Kind() != r.kem {
		return ErrKEM
	}
	if !b.IdentityKey.Verify(b.KEMPreKey.signed(r, owner), b.KEMPreKey.Signature) {
		return ErrSignature
	}
	if r.bound && !b.KEMPreKey.Expires.usable(now) {
		return ErrExpired
	}
	return nil
}
