package mailbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chate2e/chate2e/internal/relay"
)

// ID names a device's mailbox inside a store. It is never used for another
// device, not even after the first one was deleted.
type ID int64

// Limits of a store. The zero value means the defaults.
type Limits struct {
	// MailboxMessages and MailboxBytes bound one mailbox (50,000 and 256 MB).
	MailboxMessages int
	MailboxBytes    int64
	// Retention is how long an envelope waits to be fetched (30 days).
	Retention time.Duration
}

// Default limits.
const (
	DefaultMailboxMessages = 50_000
	DefaultMailboxBytes    = 256 << 20
	DefaultRetention       = 30 * 24 * time.Hour
)

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	if l.MailboxMessages == 0 {
		l.MailboxMessages = DefaultMailboxMessages
	}
	if l.MailboxBytes == 0 {
		l.MailboxBytes = DefaultMailboxBytes
	}
	if l.Retention == 0 {
		l.Retention = DefaultRetention
	}
	return l
}

// Errors that callers branch on. Every other error means that the call may be
// tried again.
var (
	ErrUnknownUser     = errors.New("mailbox: no such user")
	ErrUnknownUsername = errors.New("mailbox: no such username")
	ErrUnknownDevice   = errors.New("mailbox: no such device")
	ErrDisabled        = errors.New("mailbox: account is disabled")
	ErrNoToken         = errors.New("mailbox: no such token")
	ErrChallengeUsed   = errors.New("mailbox: challenge was used before")
	ErrAccountExists   = errors.New("mailbox: account exists with another device list or username")
	ErrUsernameTaken   = errors.New("mailbox: username is taken")
	ErrInvite          = errors.New("mailbox: no such invitation, or it is used up")
	ErrListConflict    = errors.New("mailbox: device list is not newer than the one stored")
	ErrTooManyPrekeys  = errors.New("mailbox: too many one-time prekeys")
	ErrConflict        = errors.New("mailbox: envelope ID was used for other bytes")
	ErrMailboxFull     = errors.New("mailbox: mailbox is full")
	// ErrStorageFull: the disk is. Reading and acknowledging go on.
	ErrStorageFull = errors.New("mailbox: storage is full")
	// ErrFailed: the disk has failed, or the store is closed. Nothing works any
	// more; what was not acknowledged may or may not be stored.
	ErrFailed = errors.New("mailbox: storage has failed")
)

// DeviceMismatchError is the error of a [Put] whose envelopes are not for exactly the
// recipient's devices.
type DeviceMismatchError struct {
	Missing, Extra []relay.DeviceNumber
}

// Error implements error.
func (e *DeviceMismatchError) Error() string {
	return fmt.Sprintf("mailbox: not the recipient's devices (%d missing, %d too many)", len(e.Missing), len(e.Extra))
}

// Device is a device as the directory knows it.
type Device struct {
	Number      relay.DeviceNumber
	IdentityKey [32]byte
}

// DeviceList is a signed device list with what the relay needs of it. The caller
// has verified it.
type DeviceList struct {
	Encoded []byte
	Version uint64
	Devices []Device
}

// Login is a new token, and the challenge that was answered for it.
type Login struct {
	Address relay.Address
	// TokenHash is the SHA-256 of the token.
	TokenHash [32]byte
	Expires   time.Time
	// Challenge names the challenge. It is remembered until ChallengeExpires so
	// that it is used once.
	Challenge        [16]byte
	ChallengeExpires time.Time
	// ID is remembered, to be told to the logins that follow.
	ID relay.LoginID
	// Alone revokes the device's other tokens, but for the one with the SHA-256 Keep,
	// if that is not nil.
	Alone bool
	Keep  *[32]byte
}

// Registration is a new account: everything in it is stored in one transaction.
type Registration struct {
	User     relay.UserID
	List     DeviceList
	Username relay.Username // empty for none
	Prekeys  []relay.Prekey
	// Invite is the SHA-256 of an invitation to use; nil if none is needed.
	Invite *[32]byte
	Login  Login
}

// Account is what the directory knows of a person.
type Account struct {
	User        relay.UserID
	Username    relay.Username // empty for none
	List        []byte
	ListVersion uint64
	Disabled    bool
	// Created is the day of registration; the hour is not kept.
	Created time.Time
}

// Session is who holds a token.
type Session struct {
	Address relay.Address
	Mailbox ID
}

// Invite is an invitation to register. Its token is known to the store by its
// hash alone.
type Invite struct {
	Hash    [32]byte
	Uses    int
	Expires time.Time
}

// Put stores one envelope for every device of a user.
type Put struct {
	From      relay.Address
	To        relay.UserID
	Envelopes []relay.Outgoing

	// Err is the result: nil if all of them are stored, now or before; else
	// [ErrUnknownUser], a *[DeviceMismatchError], [ErrConflict], [ErrMailboxFull] or
	// [ErrStorageFull], and none is stored.
	Err error
}

// Ack deletes an envelope from a mailbox. One that is not there is no error: it
// was acknowledged before.
type Ack struct {
	Mailbox ID
	Handle  relay.Handle
}

// Batch is what one transaction does on the path of messages.
type Batch struct {
	Puts []Put
	Acks []Ack
}

// Store is the relay's database. Its methods are safe for concurrent use. A method
// that changes something returns after the change is durable: a power cut right
// after it takes nothing back.
//
// Besides the errors named, every method may return [ErrFailed], and those that
// write [ErrStorageFull].
type Store interface {
	// ChallengeKey returns 32 random bytes, made when the store was and the same
	// on every node.
	ChallengeKey(ctx context.Context) ([32]byte, error)

	// Register creates an account. Registering the same list and username again
	// is no error, uses up no invitation and reports false, so that a device may
	// retry when it did not see the answer. Whoever has no good invitation learns
	// nothing about names. It returns [ErrAccountExists],
	// [ErrUsernameTaken], [ErrInvite], [ErrChallengeUsed], [ErrDisabled] or
	// [ErrTooManyPrekeys].
	Register(ctx context.Context, r Registration, now time.Time) (created bool, err error)
	// Account returns [ErrUnknownUser].
	Account(ctx context.Context, user relay.UserID) (Account, error)
	// Accounts returns up to limit accounts in the order of user IDs, those after
	// the one given.
	Accounts(ctx context.Context, after relay.UserID, limit int) ([]Account, error)
	// Username returns whose name it is, or [ErrUnknownUsername].
	Username(ctx context.Context, name relay.Username) (relay.UserID, error)
	// UpdateDevices replaces the device list by a newer one. Devices that are no
	// longer on it, or have another identity key now, lose mailbox, tokens and
	// prekeys; their numbers are returned. The same list again is no error. It
	// returns [ErrUnknownUser] or [ErrListConflict].
	UpdateDevices(ctx context.Context, user relay.UserID, list DeviceList, now time.Time) (removed []relay.DeviceNumber, err error)
	// DeleteAccount deletes all there is of an account. It returns
	// [ErrUnknownUser].
	DeleteAccount(ctx context.Context, user relay.UserID) error
	// SetDisabled lets an account log in no more, and revokes its tokens, or lets
	// it in again. It returns [ErrUnknownUser].
	SetDisabled(ctx context.Context, user relay.UserID, disabled bool) error

	// IdentityKey returns a device's identity key, or [ErrUnknownDevice].
	IdentityKey(ctx context.Context, address relay.Address) ([32]byte, error)
	// LogIn stores a token, and returns the IDs of the device's logins before it,
	// oldest first, at most [relay.MaxLogins]. A device has at most [MaxTokens]; the
	// oldest make room. It returns [ErrUnknownDevice], [ErrDisabled] or
	// [ErrChallengeUsed].
	LogIn(ctx context.Context, login Login, now time.Time) (before []relay.LoginID, err error)
	// Session returns who holds the token with this SHA-256, or [ErrNoToken].
	Session(ctx context.Context, tokenHash [32]byte, now time.Time) (Session, error)

	// PutPrekeys stores prekeys as [relay.PrekeysRequest] says. A one-time prekey
	// that was handed out is not taken again. It returns [ErrUnknownDevice] or
	// [ErrTooManyPrekeys].
	PutPrekeys(ctx context.Context, mailbox ID, prekeys []relay.Prekey, now time.Time) error
	// CountPrekeys returns what is there to be handed out.
	CountPrekeys(ctx context.Context, mailbox ID, now time.Time) (relay.PrekeysResponse, error)
	// ClaimBundles returns the bundles of the devices given, or of all if there
	// are none given. Of one-time prekeys each is returned once, if oneTime, and
	// none if not. A device whose signed or last-resort prekey has expired, or
	// that is not there, has no bundle. It returns [ErrUnknownUser].
	ClaimBundles(ctx context.Context, user relay.UserID, devices []relay.DeviceNumber, oneTime bool, now time.Time) (relay.BundlesResponse, error)

	// CreateInvite stores an invitation.
	CreateInvite(ctx context.Context, invite Invite) error
	// Invites returns the invitations that can still be used.
	Invites(ctx context.Context, now time.Time) ([]Invite, error)
	// RevokeInvite deletes an invitation, or returns [ErrInvite].
	RevokeInvite(ctx context.Context, hash [32]byte) error

	// Commit does what the batch says in one transaction and sets the result of
	// each Put. An error means that none of it happened, as far as is known.
	Commit(ctx context.Context, batch *Batch, now time.Time) error
	// After appends the envelopes in a mailbox whose sequence number is greater
	// than after to into, in order: at most limit, and no more once their bodies
	// have maxBytes, but at least one. more says that there are others. It
	// returns [ErrUnknownDevice] if the mailbox is gone or its account disabled.
	After(ctx context.Context, mailbox ID, after uint64, limit, maxBytes int, into []relay.Incoming) (envelopes []relay.Incoming, more bool, err error)

	// Expire deletes a bounded number of things that are past their time and
	// reports how many envelopes were among them; whoever wants all calls it
	// until that is 0. The sender of an expired envelope gets a note in her
	// mailbox; woken are those who got one.
	Expire(ctx context.Context, now time.Time) (deleted int, woken []relay.Address, err error)

	// Check returns an error if the store cannot be read.
	Check(ctx context.Context) error
	// Failed is closed when the disk has failed: the process should end.
	Failed() <-chan struct{}
	// Close waits for what is under way.
	Close() error
}

// MaxTokens is how many valid tokens a device may have.
const MaxTokens = 8

// ClaimedFor is how long a store remembers which one-time prekeys were handed
// out, so that an upload that is repeated does not offer them again.
const ClaimedFor = 60 * 24 * time.Hour
