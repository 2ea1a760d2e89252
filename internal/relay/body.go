package relay

import (
	"errors"
	"fmt"
)

// The JSON bodies of the REST calls. The struct tags say all there is: the JSON
// name, whether a key may be left out, and what the API description says.

// ChallengeResponse answers POST /v1/challenge.
type ChallengeResponse struct {
	Challenge Bytes  `json:"challenge" doc:"opaque, to be signed once, at most 64 bytes"`
	ExpiresAt Millis `json:"expires_at" doc:"60 seconds from now"`
}

// Proof is what a device signs to prove itself; see [LoginMessage] and
// [RegisterMessage].
type Proof struct {
	Origin    Origin `json:"origin" doc:"the scheme, host and port the client dialled"`
	Challenge Bytes  `json:"challenge" doc:"as given out by /v1/challenge"`
	Signature Bytes  `json:"signature" doc:"XEdDSA by the device's identity key, 64 bytes"`
}

// TokenRequest is the body of POST /v1/token.
type TokenRequest struct {
	UserID UserID       `json:"user_id"`
	Device DeviceNumber `json:"device" doc:"1 to 127"`
	Proof  Proof        `json:"proof"`
	// Replaces may be left out.
	Replaces string `json:"replaces,omitempty" doc:"the token that the same process used until now; its connections go on, those of other tokens of the device end"`
}

// TokenResponse answers POST /v1/token. Token is a secret: parse it with
// [ParseToken] and drop this value.
type TokenResponse struct {
	Token     string `json:"token" doc:"43 characters of URL-safe base64, for the Authorization header and the first frame"`
	ExpiresAt Millis `json:"expires_at"`
	// Before is missing from the answers of relays that do not remember logins.
	Before []LoginID `json:"logins_before,omitempty" doc:"the logins and the registration of the device before this one, oldest first, at most 8: of each, the first 16 bytes of SHA-256(\"ChatE2E relay login ID v1\" 0x00 ‖ its challenge)"`
}

// RegisterRequest is the body of POST /v1/register. Everything in it is stored in
// one transaction, so that an account either does not exist or can be written to.
type RegisterRequest struct {
	DeviceList Bytes        `json:"device_list" doc:"signed by the account key"`
	Device     DeviceNumber `json:"device" doc:"the device that registers; it must be on the list"`
	Proof      Proof        `json:"proof" doc:"by the identity key of that device"`
	Username   Username     `json:"username,omitempty" doc:"3 to 24 characters out of a-z, 0-9 and _"`
	Invite     string       `json:"invite,omitempty" doc:"the invitation, if the relay wants one"`
	Prekeys    []Prekey     `json:"prekeys" doc:"at least one signed and one kem_last_resort"`
}

// RegisterResponse answers POST /v1/register. Token is a secret, as in
// [TokenResponse].
type RegisterResponse struct {
	UserID    UserID       `json:"user_id"`
	Device    DeviceNumber `json:"device"`
	Token     string       `json:"token"`
	ExpiresAt Millis       `json:"expires_at"`
}

// AccountResponse answers GET /v1/account.
type AccountResponse struct {
	UserID     UserID       `json:"user_id"`
	Device     DeviceNumber `json:"device" doc:"the device that asks"`
	Username   Username     `json:"username,omitempty"`
	DeviceList Bytes        `json:"device_list"`
}

// DevicesRequest is the body of PUT /v1/account/devices.
type DevicesRequest struct {
	DeviceList Bytes `json:"device_list" doc:"signed by the account key, of a higher version; what belongs to devices no longer listed is deleted"`
}

// DevicesResponse answers GET /v1/users/{user_id}/devices.
type DevicesResponse struct {
	DeviceList Bytes `json:"device_list"`
}

// PrekeyKind says what a prekey is for.
type PrekeyKind string

// The kinds of prekeys.
const (
	PrekeySigned        PrekeyKind = "signed"          // one at a time
	PrekeyKEMLastResort PrekeyKind = "kem_last_resort" // one at a time
	PrekeyKEMOneTime    PrekeyKind = "kem_one_time"    // handed out once
	PrekeyECOneTime     PrekeyKind = "ec_one_time"     // handed out once
)

// PrekeyKinds returns all kinds.
func PrekeyKinds() []PrekeyKind {
	return []PrekeyKind{PrekeySigned, PrekeyKEMLastResort, PrekeyKEMOneTime, PrekeyECOneTime}
}

// Valid reports whether k is one of the kinds.
func (k PrekeyKind) Valid() bool {
	return k == PrekeySigned || k == PrekeyKEMLastResort || k.OneTime()
}

// OneTime reports whether a prekey of this kind is handed out once.
func (k PrekeyKind) OneTime() bool { return k == PrekeyKEMOneTime || k == PrekeyECOneTime }

// Prekey is a public prekey. The relay does not look into Key: it holds the key,
// its signature and whatever else the protocol signs.
type Prekey struct {
	Kind      PrekeyKind `json:"kind" doc:"signed, kem_last_resort, kem_one_time or ec_one_time"`
	ID        uint32     `json:"id" doc:"chosen at random by the device"`
	Key       Bytes      `json:"key" doc:"opaque to the relay, at most 4,096 bytes"`
	ExpiresAt Millis     `json:"expires_at,omitempty" doc:"not handed out from this time on; never, if left out"`
}

// Validate returns an error, fit to be shown, for a prekey no relay would take.
func (p Prekey) Validate() error {
	switch {
	case !p.Kind.Valid():
		return fmt.Errorf("unknown kind of prekey")
	case len(p.Key) == 0 || len(p.Key) > MaxPrekey:
		return fmt.Errorf("a prekey has 1 to %d bytes", MaxPrekey)
	case p.ExpiresAt < 0 || p.ExpiresAt > maxMillis:
		return fmt.Errorf("expiry of a prekey out of range")
	default:
		return nil
	}
}

// maxMillis is the last millisecond of the year 9999.
const maxMillis Millis = 253402300799999

// PrekeysRequest is the body of PUT /v1/prekeys. A signed or last-resort prekey
// takes the place of the one before; one-time prekeys are added.
type PrekeysRequest struct {
	Prekeys []Prekey `json:"prekeys"`
}

// PrekeysResponse answers GET and PUT /v1/prekeys: what the relay holds for the
// device that asks.
type PrekeysResponse struct {
	Signed        *PrekeyInfo `json:"signed,omitempty"`
	KEMLastResort *PrekeyInfo `json:"kem_last_resort,omitempty"`
	KEMOneTime    int         `json:"kem_one_time" doc:"how many are left"`
	ECOneTime     int         `json:"ec_one_time" doc:"how many are left"`
}

// PrekeyInfo names a prekey without its bytes.
type PrekeyInfo struct {
	ID        uint32 `json:"id"`
	ExpiresAt Millis `json:"expires_at,omitempty"`
}

// BundlesRequest is the body of POST /v1/users/{user_id}/bundles.
type BundlesRequest struct {
	Devices []DeviceNumber `json:"devices,omitempty" doc:"of which devices; all, if left out"`
}

// BundlesResponse answers POST /v1/users/{user_id}/bundles.
type BundlesResponse struct {
	DeviceList Bytes    `json:"device_list"`
	Bundles    []Bundle `json:"bundles" doc:"one for each device asked for whose prekeys have not expired"`
}

// Bundle is what a session with a device starts from.
type Bundle struct {
	Device  DeviceNumber `json:"device"`
	Signed  Prekey       `json:"signed"`
	KEM     Prekey       `json:"kem" doc:"of kind kem_one_time, or kem_last_resort when none is left or too many were asked for"`
	OneTime *Prekey      `json:"one_time,omitempty" doc:"of kind ec_one_time, if one is left"`
}

// UsernameResponse answers GET /v1/usernames/{username}.
type UsernameResponse struct {
	UserID UserID `json:"user_id"`
}

// Outgoing is an envelope on its way to one device of the recipient.
type Outgoing struct {
	Device DeviceNumber `json:"device" doc:"1 to 127"`
	ID     EnvelopeID   `json:"id" doc:"random; a retry carries the same"`
	Body   Bytes        `json:"body" doc:"opaque to the relay, at most 65,536 bytes"`
}

// SendRequest is the body of POST /v1/messages: one envelope for every device of
// the recipient (but the sender's own), stored together or not at all.
type SendRequest struct {
	To        UserID     `json:"to"`
	Envelopes []Outgoing `json:"envelopes"`
}

// Handle names an envelope in a mailbox; acknowledging takes one. The number is
// the mailbox's own and is never used again.
type Handle struct {
	Seq uint64     `json:"seq" doc:"grows; not without holes"`
	ID  EnvelopeID `json:"id"`
}

// IncomingKind says what an [Incoming] is.
type IncomingKind uint8

// The kinds of incoming envelopes.
const (
	// KindMessage is an envelope from another device.
	KindMessage IncomingKind = 0
	// KindExpired tells the sender of envelope ID, without proof, that the
	// recipient did not fetch it in time. It has no sender and no body.
	KindExpired IncomingKind = 1
)

// MarshalText implements [encoding.TextMarshaler].
func (k IncomingKind) MarshalText() ([]byte, error) {
	if k == KindExpired {
		return []byte("expired"), nil
	}
	return []byte("message"), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *IncomingKind) UnmarshalText(text []byte) error {
	switch string(text) {
	case "message":
		*k = KindMessage
	case "expired":
		*k = KindExpired
	default:
		return fmt.Errorf("relay: unknown kind of envelope")
	}
	return nil
}

// Incoming is an envelope in the mailbox of the device it is for.
type Incoming struct {
	Handle
	Kind IncomingKind
	// From is the sender by the word of the relay; zero for [KindExpired].
	From Address
	// ReceivedAt is when the relay stored it, in milliseconds.
	ReceivedAt Millis
	Body       []byte
}

// Validate returns an error that wraps [ErrEnvelope] for an envelope that no relay
// stores.
func (in Incoming) Validate() error {
	var bad bool
	switch in.Kind {
	case KindMessage:
		bad = !in.From.Device.Valid() || len(in.Body) == 0 || len(in.Body) > MaxBody
	case KindExpired:
		bad = in.From != (Address{}) || len(in.Body) != 0
	default:
		bad = true
	}
	if bad || in.ReceivedAt < 0 || in.ReceivedAt > maxMillis {
		return ErrEnvelope
	}
	return nil
}

// ErrEnvelope is returned for an envelope that cannot be.
var ErrEnvelope = errors.New("relay: malformed envelope")

// IncomingJSON is an [Incoming] as GET /v1/messages writes it.
type IncomingJSON struct {
	Seq        uint64       `json:"seq"`
	ID         EnvelopeID   `json:"id"`
	Kind       IncomingKind `json:"kind" doc:"message, or expired: the recipient did not fetch it in time"`
	From       UserID       `json:"from,omitzero" doc:"missing when expired"`
	Device     DeviceNumber `json:"device,omitempty" doc:"the sender's; missing when expired"`
	ReceivedAt Millis       `json:"received_at"`
	Body       Bytes        `json:"body,omitempty" doc:"missing when expired"`
}

// JSON returns in as it is written in a response.
func (in Incoming) JSON() IncomingJSON {
	return IncomingJSON{
		Seq: in.Seq, ID: in.ID, Kind: in.Kind, From: in.From.User, Device: in.From.Device,
		ReceivedAt: in.ReceivedAt, Body: in.Body,
	}
}

// Incoming is the inverse of [Incoming.JSON].
func (j IncomingJSON) Incoming() Incoming {
	return Incoming{
		Handle: Handle{Seq: j.Seq, ID: j.ID}, Kind: j.Kind,
		From: Address{User: j.From, Device: j.Device}, ReceivedAt: j.ReceivedAt, Body: j.Body,
	}
}

// PullResponse answers GET /v1/messages.
type PullResponse struct {
	Envelopes []IncomingJSON `json:"envelopes" doc:"in order of arrival"`
	More      bool           `json:"more" doc:"there is more after the last one"`
}

// AckRequest is the body of POST /v1/messages/ack.
type AckRequest struct {
	Envelopes []Handle `json:"envelopes" doc:"at most 1,000; those already gone are skipped"`
}

// MaxAcks is how many envelopes one request or frame may acknowledge.
const MaxAcks = 1000

// StatusResponse answers /healthz and /readyz.
type StatusResponse struct {
	Status string `json:"status" doc:"ok"`
}
