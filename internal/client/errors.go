package client

import "fmt"

// Code tells errors apart. The list is closed; faces map it to exit codes, HTTP
// statuses and words.
type Code string

// The codes.
const (
	CodeUsage         Code = "usage"          // a value that cannot be: the caller's mistake
	CodeWrongPassword Code = "wrong_password" // or a key file that was tampered with
	CodeProfileExists Code = "profile_exists"
	CodeNoProfile     Code = "no_profile"
	CodeProfileInUse  Code = "profile_in_use"
	CodeNameTaken     Code = "name_taken"
	CodeNotFound      Code = "not_found" // nobody is known, here or at the relay, by that name
	CodeAmbiguous     Code = "ambiguous" // several contacts have that name
	CodeSelf          Code = "self"      // it is ourselves
	CodeBlocked       Code = "blocked"   // the contact is blocked
	CodeClientID      Code = "client_id" // used before for another text or chat
	CodeTooLarge      Code = "too_large"
	CodeKeyMismatch   Code = "key_mismatch"    // keys that do not belong to the user ID
	CodeMismatch      Code = "number_mismatch" // the safety number is another one
	CodeNoKey         Code = "no_key"          // the contact's account key is not known yet
	CodeUnreachable   Code = "unreachable"     // the relay does not answer
	CodeRefused       Code = "refused"         // the relay refuses: registration closed, too many requests, …
	CodeReadOnly      Code = "read_only"       // the disk failed; nothing can be written
	CodeDamaged       Code = "damaged"         // the vault is damaged
	CodeClosed        Code = "closed"          // the engine has stopped
	CodeInternal      Code = "internal"        // a bug of ours
)

// Error is an error for people: a code and one clear line, without secrets.
type Error struct {
	Code    Code
	Message string
	Err     error // the cause, for logs; may be nil
}

// Error returns the line.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is compare codes.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code && other.Message == ""
}

func fail(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: cause}
}
