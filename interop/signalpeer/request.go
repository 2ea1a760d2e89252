package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/sealed"
	"github.com/chate2e/chate2e/signal/senderkey"
	"github.com/chate2e/chate2e/signal/session"
)

// refusal is the error of a reply. Names and codes are the official library's where it has any.
type refusal struct {
	Name    string `json:"name"`
	Code    *int   `json:"code"`
	Message string `json:"message"`
}

func (r *refusal) Error() string { return r.Name + ": " + r.Message }

func badRequest(format string, args ...any) error {
	return &refusal{Name: "BadRequest", Message: fmt.Sprintf(format, args...)}
}

// names gives the library's errors the names that callers of the protocol know.
var names = []struct {
	err  error
	name string
	code int
}{
	{session.ErrDuplicate, "DuplicatedMessage", 1},
	{session.ErrIdentity, "UntrustedIdentity", 3},
	{session.ErrNoSession, "SessionNotFound", 0},
	{session.ErrStale, "SessionNotFound", 0}, // what the official library calls it
	{session.ErrMalformed, "InvalidMessage", 0},
	{session.ErrDecrypt, "InvalidMessage", 0},
	{session.ErrSuite, "InvalidMessage", 0},
	{session.ErrEncoding, "InvalidRecord", 0},
	{pqxdh.ErrPreKey, "InvalidPreKeyId", 0},
	{pqxdh.ErrReplay, "ReusedBaseKey", 0},
	{pqxdh.ErrSignature, "InvalidSignature", 0},
	{pqxdh.ErrKEM, "InvalidKey", 0},
	{curve.ErrPublicKey, "InvalidKey", 0},
	{curve.ErrPrivateKey, "InvalidKey", 0},
	{curve.ErrLowOrder, "InvalidKey", 0},
	{kem.ErrPublicKey, "InvalidKey", 0},
	{senderkey.ErrDuplicate, "DuplicatedMessage", 1},
	{senderkey.ErrNoChain, "SessionNotFound", 0},
	{senderkey.ErrMalformed, "InvalidMessage", 0},
	{senderkey.ErrDecrypt, "InvalidMessage", 0},
	{senderkey.ErrSuite, "InvalidMessage", 0},
	{sealed.ErrMalformed, "InvalidMessage", 0},
	{sealed.ErrOpen, "InvalidMessage", 0},
	{sealed.ErrCertificate, "InvalidSignature", 0},
	{safety.ErrScannable, "InvalidFingerprint", 0},
	{safety.ErrVersion, "InvalidFingerprint", 0},
	{safety.ErrParty, "InvalidFingerprint", 0},
	{safety.ErrConfig, "InvalidFingerprint", 0},
}

func refusalOf(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	for _, n := range names {
		if errors.Is(err, n.err) {
			return &refusal{Name: n.name, Code: &n.code, Message: err.Error()}
		}
	}
	general := 0
	return &refusal{Name: "Error", Code: &general, Message: err.Error()}
}

// blob is a field in standard base64; nil if it is missing.
type blob []byte

// UnmarshalJSON is strict: one encoding for each value.
func (b *blob) UnmarshalJSON(text []byte) error {
	var s string
	if string(text) == "null" {
		return nil
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	value, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(value) != s {
		return errors.New("standard base64 is required")
	}
	*b = value
	return nil
}

func (b blob) require(field string) error {
	if b == nil {
		return badRequest("%s: missing", field)
	}
	return nil
}

func (b blob) publicKey(field string) (curve.PublicKey, error) {
	if err := b.require(field); err != nil {
		return curve.PublicKey{}, err
	}
	return curve.ParsePublicKey(b)
}

func (b blob) privateKey(field string) (*curve.PrivateKey, error) {
	if err := b.require(field); err != nil {
		return nil, err
	}
	return curve.NewPrivateKey(b)
}

// require returns a bad request unless all fields are there.
func require(fields map[string]blob) error {
	for name, value := range fields {
		if err := value.require(name); err != nil {
			return err
		}
	}
	return nil
}

// or returns the value of an optional field.
func or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// address is a party as the others see it.
type address struct {
	Name   *string `json:"name"`
	Device *uint32 `json:"device"`
}

const maxDevice = 127

func (a *address) parse(field string) (signal.Address, error) {
	if a == nil {
		return signal.Address{}, badRequest("%s: missing", field)
	}
	if a.Name == nil {
		return signal.Address{}, badRequest("%s.name: missing", field)
	}
	parsed := signal.Address{Name: *a.Name, Device: or(a.Device, 1)}
	if parsed.Validate() != nil || parsed.Device > maxDevice {
		return signal.Address{}, badRequest("%s: a name, and a device from 1 to %d, are required", field, maxDevice)
	}
	return parsed, nil
}

// now is the time of an operation: given in milliseconds, or the clock's.
func now(ms *int64) time.Time {
	if ms == nil {
		return time.Now()
	}
	return time.UnixMilli(*ms)
}
