package sealed

import (
	"encoding/hex"
	"strings"
)

// ServiceID names an account of the official library: its kind (0 for an ACI, 1
// for a PNI) and a UUID.
type ServiceID [1 + 16]byte

const (
	uuidTextSize = 36
	pniPrefix    = "PNI:"
)

// ParseServiceID reads a UUID in its usual form, with "PNI:" before it if it is
// one of a phone number. It returns [ErrMalformed].
func ParseServiceID(s string) (ServiceID, error) {
	var id ServiceID
	text, pni := strings.CutPrefix(s, pniPrefix)
	if pni {
		id[0] = 1
	}
	if len(text) != uuidTextSize || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ServiceID{}, ErrMalformed
	}
	digits := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	if _, err := hex.Decode(id[1:], []byte(digits)); err != nil {
		return ServiceID{}, ErrMalformed
	}
	return id, nil
}

// String returns the form that [ParseServiceID] reads, with small letters.
func (id ServiceID) String() string {
	var b strings.Builder
	if id[0] != 0 {
		b.WriteString(pniPrefix)
	}
	for i, part := range [...][]byte{id[1:5], id[5:7], id[7:9], id[9:11], id[11:]} {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(hex.EncodeToString(part))
	}
	return b.String()
}

// sameName reports whether two names name one account: service IDs have more than
// one spelling.
func sameName(a, b string) bool {
	idA, errA := ParseServiceID(a)
	idB, errB := ParseServiceID(b)
	if errA == nil && errB == nil {
		return idA == idB
	}
	return a == b
}
