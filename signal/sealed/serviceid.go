package sealed

import (
	"encoding/hex"
	"strings"

	"github.com/chate2e/chate2e/signal/internal/wire"
)

// ServiceID names an account of the official library: its kind (0 for an ACI, 1
// for a PNI) and a UUID.
type ServiceID [1 + 16]byte

// ParseServiceID reads a UUID in its usual form, with "PNI:" before it if it is
// one of a phone number. It returns [ErrMalformed].
func ParseServiceID(s string) (ServiceID, error) {
	id, ok := wire.ParseServiceID(s)
	if !ok {
		return ServiceID{}, ErrMalformed
	}
	return ServiceID(id), nil
}

// String returns the form that [ParseServiceID] reads, with small letters.
func (id ServiceID) String() string {
	var b strings.Builder
	if id[0] != 0 {
		b.WriteString(wire.PNIPrefix)
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
