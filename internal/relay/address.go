package relay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/chate2e/chate2e/internal/secret"
)

// Sizes in bytes.
const (
	UserIDSize     = 20
	EnvelopeIDSize = 16
	TopicIDSize    = 16
	LoginIDSize    = 16
	TokenSize      = 32
)

// Limits that both sides hold to. A relay may be configured to smaller ones.
const (
	// MaxBody is the largest body of an envelope, in bytes.
	MaxBody = 64 << 10
	// MaxFrame is the largest WebSocket message in either direction, in bytes.
	MaxFrame = 256 << 10
	// MaxTopicPayload is the largest payload of a topic, in bytes.
	MaxTopicPayload = 1 << 10
	// MaxTopics is how many topics a connection may be subscribed to, and how
	// many it may have published to, at a time.
	MaxTopics = 1000
	// MaxPrekey is the largest public prekey with its signature, in bytes.
	MaxPrekey = 4 << 10
	// MaxOneTimePrekeys is how many one-time prekeys of a kind the relay keeps
	// for a device.
	MaxOneTimePrekeys = 200
	// MaxDeviceList is the largest signed device list, in bytes.
	MaxDeviceList = 8 << 10
	// MaxDevice is the highest device number.
	MaxDevice = 127
	// MaxLogins is how many logins of a device a relay remembers.
	MaxLogins = 8
	// MaxRequest is the largest JSON body of a request, in bytes.
	MaxRequest = 2 << 20
)

// UserID names an account: a hash of its account key. As text it is 32 lower-case
// base32 characters.
type UserID [UserIDSize]byte

var userIDEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrUserID is returned for text that is not a user ID in canonical form.
var ErrUserID = errors.New("relay: not a user ID")

// String returns the canonical form.
func (id UserID) String() string { return userIDEncoding.EncodeToString(id[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (id UserID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts the canonical
// form alone.
func (id *UserID) UnmarshalText(text []byte) error {
	if len(text) != userIDEncoding.EncodedLen(UserIDSize) {
		return ErrUserID
	}
	var parsed UserID
	if n, err := userIDEncoding.Decode(parsed[:], text); err != nil || n != UserIDSize {
		return ErrUserID
	}
	*id = parsed
	return nil
}

// DeviceNumber counts the devices of an account, from 1 to [MaxDevice].
type DeviceNumber uint8

// Valid reports whether n is in range.
func (n DeviceNumber) Valid() bool { return n >= 1 && n <= MaxDevice }

// ErrDevice is returned for a number that no device can have.
var ErrDevice = errors.New("relay: not a device number")

// MarshalJSON implements [json.Marshaler]: without it, encoding/json would write
// a list of device numbers as base64.
func (n DeviceNumber) MarshalJSON() ([]byte, error) {
	return strconv.AppendUint(nil, uint64(n), 10), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *DeviceNumber) UnmarshalJSON(b []byte) error {
	parsed, err := strconv.ParseUint(string(b), 10, 8)
	if err != nil || !DeviceNumber(parsed).Valid() {
		return ErrDevice
	}
	*n = DeviceNumber(parsed)
	return nil
}

// Address names a device: a user ID and a device number.
type Address struct {
	User   UserID
	Device DeviceNumber
}

// String returns user_id.device. It is for tests and tools: the relay logs no
// addresses.
func (a Address) String() string {
	return a.User.String() + "." + strconv.Itoa(int(a.Device))
}

// Username is a name in a relay's directory, [a-z0-9_]{3,24}.
type Username string

// ErrUsername is returned for text that is not a username.
var ErrUsername = errors.New("relay: not a username")

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *Username) UnmarshalText(text []byte) error {
	if len(text) < 3 || len(text) > 24 {
		return ErrUsername
	}
	for _, c := range text {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return ErrUsername
		}
	}
	*n = Username(text)
	return nil
}

// EnvelopeID is chosen at random by the sender, one per recipient device, so that
// a retry of the same bytes is recognised. As text it is 32 hexadecimal digits.
type EnvelopeID [EnvelopeIDSize]byte

// NewEnvelopeID returns a random ID.
func NewEnvelopeID() EnvelopeID {
	var id EnvelopeID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return id
}

// String returns the ID in hexadecimal.
func (id EnvelopeID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (id EnvelopeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts lower-case
// digits alone.
func (id *EnvelopeID) UnmarshalText(text []byte) error { return unmarshalHex(id[:], text) }

// TopicID is the unguessable name of a topic.
type TopicID [TopicIDSize]byte

// NewTopicID returns a random ID.
func NewTopicID() TopicID {
	var id TopicID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return id
}

// LoginID names one login of a device, or one registration: see [LoginIDOf]. A device
// that writes its own down can tell them from those of a copy of its keys. As text it
// is 32 hexadecimal digits.
type LoginID [LoginIDSize]byte

// MarshalText implements [encoding.TextMarshaler].
func (id LoginID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts lower-case
// digits alone.
func (id *LoginID) UnmarshalText(text []byte) error { return unmarshalHex(id[:], text) }

var errHex = errors.New("relay: not lower-case hexadecimal of the right length")

func unmarshalHex(dst, text []byte) error {
	if len(text) != 2*len(dst) {
		return errHex
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return errHex
		}
	}
	_, err := hex.Decode(dst, text)
	return err
}

// Bytes is a byte string that is written in JSON as base64 (RFC 4648, Section 4,
// padded). Unlike []byte it accepts one encoding per value: no line breaks, no
// stray bits.
type Bytes []byte

var errBase64 = errors.New("relay: not base64")

// MarshalText implements [encoding.TextMarshaler].
func (b Bytes) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bytes) UnmarshalText(text []byte) error {
	for _, c := range text {
		if c == '\n' || c == '\r' { // which the decoder would skip
			return errBase64
		}
	}
	decoded, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil {
		return errBase64
	}
	*b = decoded
	return nil
}

// Token proves to the relay that a device has logged in. It is random; the relay
// stores its SHA-256 alone. It does not print and does not marshal; [Token.Text]
// is written where it is sent, and nowhere else.
type Token struct {
	key secret.Key
}

// ErrToken is returned for text or bytes that are no token.
var ErrToken = errors.New("relay: not a token")

// NewToken returns a random token.
func NewToken() Token {
	var b [TokenSize]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return tokenOf(b)
}

func tokenOf(b [TokenSize]byte) Token { return Token{key: secret.NewKey(b)} }

// ParseToken reads what [Token.Text] returns.
func ParseToken(text string) (Token, error) {
	if len(text) != base64.RawURLEncoding.EncodedLen(TokenSize) {
		return Token{}, ErrToken
	}
	var b [TokenSize]byte
	if n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(text)); err != nil || n != TokenSize {
		return Token{}, ErrToken
	}
	return tokenOf(b), nil
}

// Text returns the token as it goes into the Authorization header and into
// responses: 43 characters of URL-safe base64.
func (t Token) Text() string { return base64.RawURLEncoding.EncodeToString(t.key.Bytes()) }

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.key.IsZero() }

// Hash returns the SHA-256 of the token, which is all that a relay keeps of it.
func (t Token) Hash() [sha256.Size]byte { return sha256.Sum256(t.key.Bytes()) }

// Millis is a time in JSON and in frames: milliseconds since 1970, UTC.
type Millis int64

// MillisOf returns t as [Millis].
func MillisOf(t time.Time) Millis { return Millis(t.UnixMilli()) }

// Time returns m as a UTC time.
func (m Millis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }
