package relay

import (
	"fmt"
	"slices"
	"time"
)

// Code says why the relay refused something. The list is closed: a client may
// switch over it.
type Code string

// All codes there are.
const (
	CodeBadJSON            Code = "bad_json"               // not the strict JSON of this endpoint
	CodeBadRequest         Code = "bad_request"            // a value that cannot be right; the detail says which
	CodeBadDeviceList      Code = "bad_device_list"        // a device list that does not verify
	CodeUnauthorized       Code = "unauthorized"           // no credential, or one that has expired
	CodeBadChallenge       Code = "bad_challenge"          // unknown, expired or used before
	CodeBadProof           Code = "bad_proof"              // not signed by this device
	CodeWrongOrigin        Code = "wrong_origin"           // signed for another relay
	CodeRegistrationClosed Code = "registration_closed"    // this relay takes no new accounts
	CodeInviteRequired     Code = "invite_required"        // this relay takes new accounts by invitation
	CodeInviteInvalid      Code = "invite_invalid"         // unknown, expired or used up
	CodeAccountDisabled    Code = "account_disabled"       // by the operator of the relay
	CodeNotFound           Code = "not_found"              // no such path
	CodeUnknownUser        Code = "unknown_user"           // no such account
	CodeUnknownUsername    Code = "unknown_username"       // no such name in the directory
	CodeNoPrekeys          Code = "no_prekeys"             // the account is there, but its prekeys have expired
	CodeMethodNotAllowed   Code = "method_not_allowed"     //
	CodeAccountExists      Code = "account_exists"         // with another device list or username
	CodeUsernameTaken      Code = "username_taken"         //
	CodeDeviceListConflict Code = "device_list_conflict"   // older than the relay's, or another of the same version
	CodeDeviceMismatch     Code = "device_mismatch"        // not the recipient's devices; see Missing and Extra
	CodeEnvelopeConflict   Code = "envelope_conflict"      // the same envelope ID with other bytes
	CodeTooLarge           Code = "too_large"              //
	CodeUnsupportedType    Code = "unsupported_media_type" // the body must be application/json
	CodeUpgradeRequired    Code = "upgrade_required"       // this is a WebSocket
	CodeRateLimited        Code = "rate_limited"           // see RetryAfter
	CodeTooManyConnections Code = "too_many_connections"   // from one address
	CodeInternal           Code = "internal"               // a fault of the relay
	CodeUnavailable        Code = "unavailable"            // the relay is stopping or its disk has failed
	CodeMailboxFull        Code = "mailbox_full"           // the recipient's
	CodeStorageFull        Code = "storage_full"           // the relay's disk
)

var statuses = map[Code]int{
	CodeBadJSON:            400,
	CodeBadRequest:         400,
	CodeBadDeviceList:      400,
	CodeUnauthorized:       401,
	CodeBadChallenge:       401,
	CodeBadProof:           401,
	CodeWrongOrigin:        403,
	CodeRegistrationClosed: 403,
	CodeInviteRequired:     403,
	CodeInviteInvalid:      403,
	CodeAccountDisabled:    403,
	CodeNotFound:           404,
	CodeUnknownUser:        404,
	CodeUnknownUsername:    404,
	CodeNoPrekeys:          404,
	CodeMethodNotAllowed:   405,
	CodeAccountExists:      409,
	CodeUsernameTaken:      409,
	CodeDeviceListConflict: 409,
	CodeDeviceMismatch:     409,
	CodeEnvelopeConflict:   409,
	CodeTooLarge:           413,
	CodeUnsupportedType:    415,
	CodeUpgradeRequired:    426,
	CodeRateLimited:        429,
	CodeTooManyConnections: 429,
	CodeInternal:           500,
	CodeUnavailable:        503,
	CodeMailboxFull:        507,
	CodeStorageFull:        507,
}

// titles are the statuses above in words (RFC 9110, Section 15).
var titles = map[int]string{
	400: "Bad Request",
	401: "Unauthorized",
	403: "Forbidden",
	404: "Not Found",
	405: "Method Not Allowed",
	409: "Conflict",
	413: "Content Too Large",
	415: "Unsupported Media Type",
	426: "Upgrade Required",
	429: "Too Many Requests",
	500: "Internal Server Error",
	503: "Service Unavailable",
	507: "Insufficient Storage",
}

// Codes returns the closed list in alphabetical order.
func Codes() []Code {
	codes := make([]Code, 0, len(statuses))
	for c := range statuses {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	return codes
}

// Status returns the HTTP status that goes with the code, 500 for a code that is
// not on the list.
func (c Code) Status() int {
	if status, ok := statuses[c]; ok {
		return status
	}
	return 500
}

// Error is a refusal by the relay.
type Error struct {
	Code Code
	// Detail says more, for people. It never repeats what was sent.
	Detail string
	// RetryAfter is how long to wait before another try; zero if unknown.
	RetryAfter time.Duration
	// Missing and Extra come with [CodeDeviceMismatch]: the recipient's devices
	// that no envelope was for, and the devices that are not hers.
	Missing, Extra []DeviceNumber
}

// Error implements error.
func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("relay: refused (%s)", e.Code)
	}
	return fmt.Sprintf("relay: refused (%s): %s", e.Code, e.Detail)
}

// Is makes errors.Is(err, &Error{Code: c}) compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Temporary reports whether the same request may succeed later without anything
// else changing on the caller's side.
func (e *Error) Temporary() bool {
	switch e.Code {
	case CodeRateLimited, CodeTooManyConnections, CodeInternal, CodeUnavailable, CodeMailboxFull, CodeStorageFull, CodeBadChallenge:
		return true
	default:
		return false
	}
}

// ProblemType is the media type of a [Problem] (RFC 9457).
const ProblemType = "application/problem+json"

// Problem is the JSON body of every refusal (RFC 9457). Type is always
// "about:blank": the code says what happened.
type Problem struct {
	Type         string         `json:"type" doc:"always about:blank"`
	Title        string         `json:"title" doc:"the HTTP status in words"`
	Status       int            `json:"status" doc:"the HTTP status"`
	Code         Code           `json:"code" doc:"why, out of a closed list"`
	Detail       string         `json:"detail,omitempty" doc:"more, for people"`
	RetryAfterMS int64          `json:"retry_after_ms,omitempty" doc:"how long to wait before another try, in milliseconds"`
	Missing      []DeviceNumber `json:"missing,omitempty" doc:"with device_mismatch: devices that no envelope was for"`
	Extra        []DeviceNumber `json:"extra,omitempty" doc:"with device_mismatch: devices that are not the recipient's"`
}

// Problem returns the body for e.
func (e *Error) Problem() Problem {
	status := e.Code.Status()
	return Problem{
		Type:         "about:blank",
		Title:        titles[status],
		Status:       status,
		Code:         e.Code,
		Detail:       e.Detail,
		RetryAfterMS: e.RetryAfter.Milliseconds(),
		Missing:      e.Missing,
		Extra:        e.Extra,
	}
}

// Err returns the error that p describes. A code that is not on the list, from a
// relay of another version or one that lies, becomes [CodeInternal].
func (p Problem) Err() *Error {
	e := &Error{Code: p.Code, Detail: printable(p.Detail), Missing: p.Missing, Extra: p.Extra}
	if _, known := statuses[p.Code]; !known {
		e.Code = CodeInternal
	}
	if p.RetryAfterMS > 0 {
		e.RetryAfter = min(time.Duration(min(p.RetryAfterMS, maxRetryAfterMS))*time.Millisecond, MaxRetryAfter)
	}
	return e
}

// MaxRetryAfter bounds what a client believes of a relay's wish.
const MaxRetryAfter = time.Hour

const maxRetryAfterMS = int64(MaxRetryAfter / time.Millisecond)

// printable shortens a relay's words for people and drops what is not plain
// ASCII: they may end on a terminal.
func printable(s string) string {
	const longest = 200
	b := make([]byte, 0, min(len(s), longest))
	for i := 0; i < len(s) && len(b) < longest; i++ {
		if s[i] >= ' ' && s[i] < 0x7F {
			b = append(b, s[i])
		}
	}
	return string(b)
}
