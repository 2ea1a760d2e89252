package account

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// IdentityKeySize is the size of a device's identity key in bytes: an X25519
// u-coordinate without a type byte.
const IdentityKeySize = 32

// MaxDevices is the largest number of devices on one list, and the highest
// device number.
const MaxDevices = 127

// DeviceNumber counts the devices of an account: 1, 2, … [MaxDevices].
type DeviceNumber uint8

// Device is one installation.
type Device struct {
	Number DeviceNumber
	// IdentityKey is the device's own long-term key: sessions, prekey
	// signatures and the proof to the relay are made with it.
	IdentityKey [IdentityKeySize]byte
	// Added is when the device was put on the list, in whole milliseconds.
	Added time.Time
}

// DeviceList says which devices belong to an account. It is the value that
// [PrivateKey.SignDeviceList] signs and [UnverifiedDeviceList.Verify] returns.
type DeviceList struct {
	AccountKey PublicKey
	// Version starts at 1 and grows with every list signed.
	Version uint64
	// Time is when the list was signed, in whole milliseconds.
	Time time.Time
	// Devices is in ascending order of Number, and never empty.
	Devices []Device
}

// A signed device list is
//
//	format       1   0x01
//	account key  32
//	version      8   big-endian, as all numbers; at least 1
//	time         8   milliseconds since 1970
//	count        1   1 to 127
//	devices      count × { number 1, identity key 32, added 8 }, numbers ascending
//	signature    64  Ed25519 over deviceListLabel ‖ all bytes before it
//
// and nothing after it. Numbers and identity keys occur once.
const (
	deviceListFormat = 1
	deviceListHead   = 1 + PublicKeySize + 8 + 8 + 1
	deviceSize       = 1 + IdentityKeySize + 8

	// MaxDeviceListSize is the size in bytes of the largest signed device list.
	MaxDeviceListSize = deviceListHead + MaxDevices*deviceSize + ed25519.SignatureSize
)

// deviceListLabel separates device lists from whatever else an Ed25519 key signs.
const deviceListLabel = "ChatE2E device list v1\x00"

// maxTime is the last millisecond of the year 9999, beyond which times cannot be
// written down in RFC 3339.
const maxTime = 253402300799999

// The reasons why a device list is refused.
var (
	// ErrMalformed: the bytes are not a device list.
	ErrMalformed = errors.New("account: malformed device list")
	// ErrOwner: the account key on the list does not hash to the user ID, so the
	// list is another person's.
	ErrOwner = errors.New("account: the device list belongs to another user ID")
	// ErrSignature: the list was not signed by the account key on it.
	ErrSignature = errors.New("account: the device list is not signed by its account key")
	// ErrRollback: a newer list of this person has been seen before.
	ErrRollback = errors.New("account: the device list is older than one seen before")
	// ErrFork: another list of the same version has been seen before.
	ErrFork = errors.New("account: two different device lists have the same version")
	// ErrNotListed: the identity key in use is not on the list under that number.
	ErrNotListed = errors.New("account: the device is not on the device list")
)

// SignDeviceList signs a new list and returns its encoding. The AccountKey in the
// list is ignored and set to k's. It returns [ErrMalformed] for a list that could
// not be parsed again: no or too many devices, numbers not ascending, an identity
// key twice or zero, version 0, times before 1970 or after 9999.
func (k PrivateKey) SignDeviceList(list DeviceList) ([]byte, error) {
	list.AccountKey = k.Public()
	if err := list.validate(); err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(deviceListFormat)
	b.AddBytes(list.AccountKey[:])
	b.AddUint64(list.Version)
	b.AddUint64(uint64(list.Time.UnixMilli())) // validate refuses times before 1970
	b.AddUint8(uint8(len(list.Devices)))       //nolint:gosec // validate refuses more than 127
	for _, d := range list.Devices {
		b.AddUint8(uint8(d.Number))
		b.AddBytes(d.IdentityKey[:])
		b.AddUint64(uint64(d.Added.UnixMilli())) // validate refuses times before 1970
	}
	body := b.BytesOrPanic()
	return append(body, k.sign(signedBytes(body))...), nil
}

func signedBytes(body []byte) []byte {
	return append([]byte(deviceListLabel), body...)
}

func (l DeviceList) validate() error {
	if len(l.Devices) == 0 || len(l.Devices) > MaxDevices {
		return fmt.Errorf("%w: %d devices", ErrMalformed, len(l.Devices))
	}
	if l.Version == 0 {
		return fmt.Errorf("%w: version 0", ErrMalformed)
	}
	if !validTime(l.Time) {
		return fmt.Errorf("%w: time out of range", ErrMalformed)
	}
	seen := make(map[[IdentityKeySize]byte]struct{}, len(l.Devices))
	last := DeviceNumber(0)
	for _, d := range l.Devices {
		if d.Number <= last || d.Number > MaxDevices {
			return fmt.Errorf("%w: device numbers do not ascend", ErrMalformed)
		}
		last = d.Number
		if _, twice := seen[d.IdentityKey]; twice || d.IdentityKey == ([IdentityKeySize]byte{}) {
			return fmt.Errorf("%w: identity key listed twice or zero", ErrMalformed)
		}
		seen[d.IdentityKey] = struct{}{}
		if !validTime(d.Added) {
			return fmt.Errorf("%w: time out of range", ErrMalformed)
		}
	}
	return nil
}

func validTime(t time.Time) bool {
	ms := t.UnixMilli()
	return ms >= 0 && ms <= maxTime
}

// UnverifiedDeviceList has the layout of a device list; nothing it says may be
// believed yet. The zero value verifies as nothing.
type UnverifiedDeviceList struct {
	encoded []byte
	list    DeviceList
}

// ParseDeviceList reads the layout of a signed device list. It keeps a copy of b.
// It returns [ErrMalformed] for bytes that [PrivateKey.SignDeviceList] could not
// have returned, whatever the signature.
func ParseDeviceList(b []byte) (UnverifiedDeviceList, error) {
	if len(b) > MaxDeviceListSize {
		return UnverifiedDeviceList{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	s := cryptobyte.String(b)
	var (
		format, count         uint8
		accountKey, sig       []byte
		version, milliseconds uint64
	)
	if !s.ReadUint8(&format) || format != deviceListFormat ||
		!s.ReadBytes(&accountKey, PublicKeySize) ||
		!s.ReadUint64(&version) || !s.ReadUint64(&milliseconds) || !s.ReadUint8(&count) {
		return UnverifiedDeviceList{}, ErrMalformed
	}
	if count > MaxDevices || milliseconds > maxTime {
		return UnverifiedDeviceList{}, ErrMalformed
	}
	list := DeviceList{
		AccountKey: PublicKey(accountKey),
		Version:    version,
		Time:       time.UnixMilli(int64(milliseconds)).UTC(), // at most maxTime
		Devices:    make([]Device, count),
	}
	for i := range list.Devices {
		var (
			number uint8
			key    []byte
			added  uint64
		)
		if !s.ReadUint8(&number) || !s.ReadBytes(&key, IdentityKeySize) || !s.ReadUint64(&added) || added > maxTime {
			return UnverifiedDeviceList{}, ErrMalformed
		}
		list.Devices[i] = Device{
			Number:      DeviceNumber(number),
			IdentityKey: [IdentityKeySize]byte(key),
			Added:       time.UnixMilli(int64(added)).UTC(), // at most maxTime
		}
	}
	if !s.ReadBytes(&sig, ed25519.SignatureSize) || !s.Empty() {
		return UnverifiedDeviceList{}, ErrMalformed
	}
	if err := list.validate(); err != nil {
		return UnverifiedDeviceList{}, err
	}
	return UnverifiedDeviceList{encoded: append([]byte(nil), b...), list: list}, nil
}

// UserID returns the user ID whose list this claims to be. A registration has
// nothing else to compare the list with; everybody else knows whom to expect.
func (u UnverifiedDeviceList) UserID() UserID { return u.list.AccountKey.UserID() }

// Seen is the newest device list of a person that was believed before. The zero
// value is for a person seen for the first time.
type Seen struct {
	Version uint64
	Hash    [sha256.Size]byte
}

// Verify checks that the list is user's, that the account key signed it, and that
// it is not older than, or different from, the one seen before. It returns
// [ErrOwner], [ErrSignature], [ErrRollback] or [ErrFork].
func (u UnverifiedDeviceList) Verify(user UserID, seen Seen) (*SignedDeviceList, error) {
	if u.encoded == nil {
		return nil, ErrMalformed
	}
	if u.UserID() != user {
		return nil, ErrOwner
	}
	body := u.encoded[:len(u.encoded)-ed25519.SignatureSize]
	sig := u.encoded[len(body):]
	if !ed25519.Verify(u.list.AccountKey[:], signedBytes(body), sig) {
		return nil, ErrSignature
	}
	hash := sha256.Sum256(u.encoded)
	switch {
	case u.list.Version < seen.Version:
		return nil, ErrRollback
	case u.list.Version == seen.Version && hash != seen.Hash:
		return nil, ErrFork
	}
	return &SignedDeviceList{encoded: u.encoded, list: u.list, hash: hash}, nil
}

// SignedDeviceList is a device list whose owner and signature were checked.
type SignedDeviceList struct {
	encoded []byte
	list    DeviceList
	hash    [sha256.Size]byte
}

// List returns what the list says.
func (l *SignedDeviceList) List() DeviceList {
	list := l.list
	list.Devices = append([]Device(nil), list.Devices...)
	return list
}

// Encoded returns the signed bytes. The caller must not change them.
func (l *SignedDeviceList) Encoded() []byte { return l.encoded }

// UserID returns whose list it is.
func (l *SignedDeviceList) UserID() UserID { return l.list.AccountKey.UserID() }

// Seen returns version and SHA-256 of the signed bytes: what a later list is
// checked against, and what every content carries.
func (l *SignedDeviceList) Seen() Seen { return Seen{Version: l.list.Version, Hash: l.hash} }

// Check reports whether the device is listed with this identity key. It returns
// [ErrNotListed] otherwise: such a device is neither written to nor believed.
func (l *SignedDeviceList) Check(number DeviceNumber, identityKey [IdentityKeySize]byte) error {
	for _, d := range l.list.Devices {
		if d.Number == number && d.IdentityKey == identityKey {
			return nil
		}
	}
	return ErrNotListed
}
