package safety

import (
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode"
)

const (
	// NumberLength is the length of a safety number in digits.
	NumberLength = 60
	// GroupLength is the length in digits of the groups in which a safety number
	// is shown, and NumberLength / GroupLength is how many there are.
	GroupLength = 5

	// DefaultIterations is how often a key is hashed.
	DefaultIterations = 5200
	minIterations     = 2
	maxIterations     = 1_000_000

	// DefaultVersion is the display version of numbers over stable IDs.
	DefaultVersion = 2
	minVersion     = 1

	// MaxIDSize bounds a party's ID, in bytes.
	MaxIDSize = 1024
	// MaxKeySize bounds a party's encoded key, in bytes.
	MaxKeySize = 4096

	hashSize = 32 // of a full hash, what the scannable form carries

	// maxInput bounds what a person can have typed or pasted: 60 digits of three
	// bytes with plenty of white space.
	maxInput = 1024
)

var (
	// ErrParty is returned by New for a missing or too long ID or key.
	ErrParty = errors.New("safety: an ID has 1 to 1024 bytes, a key 1 to 4096")
	// ErrConfig is returned by New for an unknown version or iterations out of
	// bounds.
	ErrConfig = errors.New("safety: iterations lie between 2 and 1,000,000, the version is 1 or 2")
	// ErrNumber is wrapped by every error for text that is no safety number.
	ErrNumber = errors.New("safety: not a safety number")
)

// Party is one of the two people: a stable ID and the long-term public key that
// the safety number authenticates.
type Party struct {
	ID  []byte // 1 to 1024 bytes that never change for this person
	Key []byte // the encoded public key, 1 to 4096 bytes; 33 for a curve key
}

// Config adapts a number to another application. The zero value is right for
// numbers compared between ChatE2E clients.
type Config struct {
	// Iterations is how often each key is hashed, 2 to 1,000,000; zero means
	// [DefaultIterations]. Both sides must use the same.
	Iterations int
	// Version is the display version, 1 (telephone numbers as IDs) or 2 (stable
	// IDs); zero means [DefaultVersion]. Only the scannable form carries it.
	Version uint32
}

// Number is a safety number: 60 digits over two public keys and the IDs of
// their owners, equal on both sides exactly when both see the same keys. Make
// one with [New]; the zero Number equals nothing. A Number is not secret.
type Number struct {
	digits  [NumberLength]byte
	version uint32 // 0 only in the zero Number
	local   [hashSize]byte
	remote  [hashSize]byte
}

// New computes the safety number between our party and their party; it takes a
// few milliseconds, on purpose: every guess of a key that gives a similar number
// costs as much. It returns [ErrParty] or [ErrConfig].
func New(our, their Party, cfg Config) (*Number, error) {
	for _, party := range []Party{our, their} {
		if len(party.ID) == 0 || len(party.ID) > MaxIDSize || len(party.Key) == 0 || len(party.Key) > MaxKeySize {
			return nil, ErrParty
		}
	}
	if cfg.Iterations == 0 {
		cfg.Iterations = DefaultIterations
	}
	if cfg.Version == 0 {
		cfg.Version = DefaultVersion
	}
	if cfg.Iterations < minIterations || cfg.Iterations > maxIterations ||
		cfg.Version < minVersion || cfg.Version > DefaultVersion {
		return nil, ErrConfig
	}

	ours, theirs := iterate(our, cfg.Iterations), iterate(their, cfg.Iterations)
	first, second := half(&ours), half(&theirs)
	if string(first[:]) > string(second[:]) {
		first, second = second, first
	}
	n := &Number{
		version: cfg.Version,
		local:   [hashSize]byte(ours[:]),
		remote:  [hashSize]byte(theirs[:]),
	}
	copy(n.digits[:], first[:])
	copy(n.digits[len(first):], second[:])
	return n, nil
}

// iterate is Signal's hash of one party: SHA-512 over a zero version, the key,
// the ID and the key, then again over the result and the key.
func iterate(party Party, iterations int) [sha512.Size]byte {
	h := sha512.New()
	h.Write([]byte{0, 0})
	h.Write(party.Key)
	h.Write(party.ID)
	h.Write(party.Key)
	var sum [sha512.Size]byte
	h.Sum(sum[:0])
	for range iterations - 1 {
		h.Reset()
		h.Write(sum[:])
		h.Write(party.Key)
		h.Sum(sum[:0])
	}
	return sum
}

// half returns one party's 30 digits: six groups, each made of five bytes,
// big-endian, modulo 100,000.
func half(sum *[sha512.Size]byte) (digits [NumberLength / 2]byte) {
	const groups = NumberLength / 2 / GroupLength
	for group := range groups {
		var wide [8]byte
		copy(wide[3:], sum[5*group:5*group+5])
		value := binary.BigEndian.Uint64(wide[:])
		for i := GroupLength - 1; i >= 0; i-- {
			digits[group*GroupLength+i] = byte('0' + value%10)
			value /= 10
		}
	}
	return digits
}

// String returns the 60 digits without spaces.
func (n *Number) String() string { return string(n.digits[:]) }

// Groups returns the number as it is shown and read aloud: twelve groups of five
// digits.
func (n *Number) Groups() [NumberLength / GroupLength]string {
	var groups [NumberLength / GroupLength]string
	for i := range groups {
		groups[i] = string(n.digits[i*GroupLength : (i+1)*GroupLength])
	}
	return groups
}

// Matches reports, in constant time, whether a number that a person typed or
// pasted is this one. It takes what [ParseNumber] takes, and returns its errors.
func (n *Number) Matches(input string) (bool, error) {
	digits, err := ParseNumber(input)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare([]byte(digits), n.digits[:]) == 1, nil
}

// ParseNumber returns the 60 ASCII digits of a safety number that a person typed
// or pasted. White space of any kind is dropped, full-width digits (０ to ９, as
// Chinese and Japanese keyboards make them) count as digits; anything else,
// including digits of other scripts, is an error that wraps [ErrNumber] and says
// what is wrong.
func ParseNumber(input string) (string, error) {
	if len(input) > maxInput {
		return "", fmt.Errorf("%w: the text is longer than %d bytes", ErrNumber, maxInput)
	}
	digits := make([]byte, 0, NumberLength)
	count, position := 0, 0
	for _, r := range input {
		position++
		var value rune
		switch {
		case unicode.IsSpace(r):
			continue
		case r >= '0' && r <= '9':
			value = r - '0'
		case r >= '０' && r <= '９':
			value = r - '０'
		default:
			return "", fmt.Errorf("%w: character %d is neither a digit nor a space", ErrNumber, position)
		}
		count++
		if count <= NumberLength {
			digits = append(digits, "0123456789"[value])
		}
	}
	if count != NumberLength {
		return "", fmt.Errorf("%w: it has %d digits, this text has %d", ErrNumber, NumberLength, count)
	}
	return string(digits), nil
}
