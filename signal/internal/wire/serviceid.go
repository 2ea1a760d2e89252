package wire

import (
	"encoding/hex"
	"strings"
)

// ServiceID is how the official library names an account in a fixed size: its kind
// (0 for an ACI, 1 for a PNI) and a UUID.
type ServiceID [1 + 16]byte

const (
	uuidTextSize = 36
	// PNIPrefix comes before the UUID in the text of a PNI.
	PNIPrefix = "PNI:"
)

// ParseServiceID reads a UUID in its usual form, with "PNI:" before it if it is one of
// a phone number. Its digits may be small or large.
func ParseServiceID(s string) (id ServiceID, ok bool) {
	text, pni := strings.CutPrefix(s, PNIPrefix)
	if len(text) != uuidTextSize || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ServiceID{}, false
	}
	digits := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	if _, err := hex.Decode(id[1:], []byte(digits)); err != nil {
		return ServiceID{}, false
	}
	if pni {
		id[0] = 1
	}
	return id, true
}
