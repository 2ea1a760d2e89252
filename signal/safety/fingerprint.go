package safety

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// FingerprintSize is the size of a [Fingerprint] in bytes.
const FingerprintSize = 6

// fingerprintDomain separates fingerprints from every other use of SHA-256. It
// has 22 bytes, so that with a 33-byte key it fills one SHA-256 block.
const fingerprintDomain = "ChatE2E fingerprint v1"

// ErrFingerprint is returned for text that is no fingerprint.
var ErrFingerprint = errors.New("safety: not a fingerprint")

// Fingerprint is a short name for a public key, for display: 48 bits tell keys
// apart on a screen, but are too few to authenticate one. Use [Number] for that.
type Fingerprint [FingerprintSize]byte

// FingerprintOf returns the fingerprint of an encoded public key: the first 48
// bits of SHA-256("ChatE2E fingerprint v1" ‖ encoded). Never pass anything
// secret, nor the hash of it: fingerprints are shown, logged and stored openly.
func FingerprintOf(encoded []byte) Fingerprint {
	block := append(make([]byte, 0, sha256.BlockSize), fingerprintDomain...)
	digest := sha256.Sum256(append(block, encoded...))
	return Fingerprint(digest[:FingerprintSize])
}

// String returns the fingerprint as "XXXX·XXXX·XXXX", in upper-case hexadecimal
// digits.
func (f Fingerprint) String() string {
	text := strings.ToUpper(hex.EncodeToString(f[:]))
	return text[0:4] + "·" + text[4:8] + "·" + text[8:12]
}

// MarshalText implements [encoding.TextMarshaler] with the form of String.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It takes exactly the form
// of String and returns [ErrFingerprint] for anything else, leaving f alone.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	var parsed Fingerprint
	if len(text) != len(parsed.String()) {
		return ErrFingerprint
	}
	digits := strings.ReplaceAll(string(text), "·", "")
	if len(digits) != hex.EncodedLen(FingerprintSize) {
		return ErrFingerprint
	}
	if _, err := hex.Decode(parsed[:], []byte(digits)); err != nil {
		return ErrFingerprint
	}
	if parsed.String() != string(text) {
		return ErrFingerprint // lower case, or a dot elsewhere
	}
	*f = parsed
	return nil
}
