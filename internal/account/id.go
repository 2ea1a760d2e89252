package account

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// UserIDSize is the size of a [UserID] in bytes.
const UserIDSize = 20

// userIDLength is the number of characters of a user ID: 160 bits, five to a
// character, no padding.
const userIDLength = 32

// userIDLabel separates this use of SHA-256 from every other.
const userIDLabel = "ChatE2E user ID v1"

// ErrUserID is returned for text that is not a user ID.
var ErrUserID = errors.New("account: a user ID has 32 characters out of a-z and 2-7")

var userIDEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// UserID names a person: the first 20 bytes of
// SHA-256("ChatE2E user ID v1" ‖ account public key).
type UserID [UserIDSize]byte

// UserID derives the user ID of the account that k belongs to.
func (k PublicKey) UserID() UserID {
	h := sha256.New()
	h.Write([]byte(userIDLabel))
	h.Write(k[:])
	return UserID(h.Sum(nil)[:UserIDSize])
}

// String returns the canonical form: 32 lower-case base32 characters.
func (id UserID) String() string { return userIDEncoding.EncodeToString(id[:]) }

// Groups returns the form for people: eight groups of four characters.
func (id UserID) Groups() string {
	s := id.String()
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for i := 0; i < len(s); i += 4 {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s[i : i+4])
	}
	return b.String()
}

// MarshalText implements [encoding.TextMarshaler] with the canonical form.
func (id UserID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText accepts the canonical form alone; what people type goes through
// [ParseUserID].
func (id *UserID) UnmarshalText(text []byte) error {
	parsed, err := parseCanonical(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseUserID reads a user ID as people write it: in groups or not, with spaces
// or hyphens between the groups, in either case. It returns [ErrUserID] for
// anything else; the error does not repeat the text.
func ParseUserID(s string) (UserID, error) {
	if len(s) > 4*userIDLength {
		return UserID{}, ErrUserID
	}
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-' || r == '\t' || r == '\u00a0':
			return -1
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return r
		}
	}, s)
	return parseCanonical(plain)
}

func parseCanonical(s string) (UserID, error) {
	if len(s) != userIDLength {
		return UserID{}, ErrUserID
	}
	var id UserID
	// The decoder skips line breaks, so the number of bytes is checked as well.
	n, err := userIDEncoding.Decode(id[:], []byte(s))
	if err != nil || n != UserIDSize {
		return UserID{}, ErrUserID
	}
	return id, nil
}

// ErrUsername is returned for text that is not a username.
var ErrUsername = errors.New("account: a username has 3 to 24 characters out of a-z, 0-9 and _")

// ParseUsername returns s if it is a username, [a-z0-9_]{3,24}. It changes
// nothing: an upper-case letter is an error, so that a name has one spelling.
func ParseUsername(s string) (string, error) {
	if len(s) < 3 || len(s) > 24 {
		return "", ErrUsername
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return "", ErrUsername
		}
	}
	return s, nil
}

// Address is the full address of a person, user_id@host: her user ID and the
// relay that keeps her mailbox.
type Address struct {
	User UserID
	// Host is a lower-case DNS name or IP address, with a port if it has one.
	Host string
}

// String returns user_id@host.
func (a Address) String() string { return a.User.String() + "@" + a.Host }

// ErrAddress is returned for text that is not a full address.
var ErrAddress = errors.New("account: not an address of the form user_id@host")

// ParseAddress reads user_id@host.
func ParseAddress(s string) (Address, error) {
	if len(s) > maxLinkLength {
		return Address{}, ErrAddress
	}
	user, host, ok := strings.Cut(s, "@")
	if !ok {
		return Address{}, ErrAddress
	}
	id, err := ParseUserID(user)
	if err != nil {
		return Address{}, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	host, ok = canonicalHost(host)
	if !ok {
		return Address{}, ErrAddress
	}
	return Address{User: id, Host: host}, nil
}
