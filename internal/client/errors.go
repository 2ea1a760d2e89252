package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/vault"
)

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

// asError gives errors of the vault and the relay their codes. Errors that have
// one, and those of a context, stay as they are.
func asError(err error) error {
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if refused, ok := errors.AsType[*relay.Error](err); ok {
		return refusal(refused)
	}
	for _, known := range vaultErrors {
		if errors.Is(err, known.is) {
			return fail(known.code, err, "%s", known.message)
		}
	}
	return fail(CodeInternal, err, "something went wrong inside the program")
}

var vaultErrors = []struct {
	is      error
	code    Code
	message string
}{
	{vault.ErrNoVault, CodeNoProfile, "there is no profile here"},
	{vault.ErrExists, CodeProfileExists, "the profile exists already"},
	{vault.ErrInUse, CodeProfileInUse, "the profile is in use by another program"},
	{vault.ErrWrongPassword, CodeWrongPassword, "wrong password"},
	{vault.ErrEmptyPassword, CodeUsage, "the password must not be empty"},
	{vault.ErrTooNew, CodeDamaged, "a newer version of this program has written the profile"},
	{vault.ErrDamaged, CodeDamaged, "the profile is damaged"},
	{vault.ErrReadOnly, CodeReadOnly, "the disk failed: nothing more can be stored"},
	{vault.ErrFull, CodeReadOnly, "the disk is full: nothing was stored"},
	{vault.ErrClosed, CodeClosed, "the engine has stopped"},
}

// refusal tells people what the relay says.
func refusal(e *relay.Error) *Error {
	switch e.Code {
	case relay.CodeUsernameTaken:
		return fail(CodeNameTaken, e, "that username is taken")
	case relay.CodeUnknownUser, relay.CodeUnknownUsername:
		return fail(CodeNotFound, e, "nobody is known by that name at the relay")
	case relay.CodeRegistrationClosed:
		return fail(CodeRefused, e, "the relay takes no new accounts")
	case relay.CodeInviteRequired:
		return fail(CodeRefused, e, "the relay takes new accounts by invitation only")
	case relay.CodeInviteInvalid:
		return fail(CodeRefused, e, "the invitation is unknown, expired or used up")
	case relay.CodeAccountDisabled:
		return fail(CodeRefused, e, "the operator of the relay has disabled the account")
	case relay.CodeBadProof:
		return fail(CodeRefused, e, "the relay does not know this account: is it the one where the account was made?")
	case relay.CodeWrongOrigin:
		return fail(CodeRefused, e, "the relay goes by another name than the one it was reached by")
	case relay.CodeRateLimited, relay.CodeTooManyConnections:
		return fail(CodeRefused, e, "the relay wants a pause: too many requests")
	case relay.CodeUnavailable, relay.CodeInternal, relay.CodeStorageFull, relay.CodeBadChallenge:
		return fail(CodeUnreachable, e, "the relay cannot answer at the moment (%s)", e.Code)
	default:
		return fail(CodeRefused, e, "the relay refuses (%s)", e.Code)
	}
}

// unreachable gives an error of the network its code; refusals of the relay and
// errors of the vault keep theirs, and so does the end of the caller's ctx.
func unreachable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*relay.Error](err); ok {
		return refusal(refused)
	}
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, why := whyOffline(err); why != noAnswer {
		return fail(CodeUnreachable, err, "the relay does not answer: %s", why)
	}
	return fail(CodeUnreachable, err, "the relay does not answer")
}

// notFound gives a missing row its words.
func notFound(err error, message string) error {
	if errors.Is(err, vault.ErrNotFound) {
		return fail(CodeNotFound, err, "%s", message)
	}
	return err
}
