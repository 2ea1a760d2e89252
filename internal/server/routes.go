package server

import (
	"net/http"

	"github.com/chate2e/chate2e/internal/relay"
)

const (
	socketPath      = "/v1/ws"
	descriptionPath = "/openapi.json" // served by routes: the table cannot refer to what is made of it
)

// route is one operation: what the mux needs to serve it, and what the API
// description says about it.
type route struct {
	method, path string
	// open: answers without a credential.
	open bool
	// created: success is 201 and not 200.
	created bool

	handle handler
	page   http.HandlerFunc // instead of handle, for what is not JSON

	name, summary string
	description   string
	query         []parameter
	request       any // a value of the type of the body; nil for none
	response      any // the same of the answer; nil for 204
	media         string
	codes         []relay.Code // refusals beyond those every operation may give
}

type parameter struct {
	name, kind, description string
}

// Sizes of request bodies in bytes.
const (
	smallBody = 64 << 10
	// prekeyBody has room for all prekeys there may be, in base64.
	prekeyBody = relay.MaxRequest
	// sendBody has room for an envelope of the largest size for each of 16
	// devices, in base64.
	sendBody = relay.MaxRequest
)

// routeTable is all there is. The mux, the API description and the question what
// is open come from it.
var routeTable = []route{
	{
		method: http.MethodGet, path: "/healthz", open: true, name: "healthz", handle: health,
		summary: "Is the process there?", response: relay.StatusResponse{},
	},
	{
		method: http.MethodGet, path: "/readyz", open: true, name: "readyz", handle: ready,
		summary: "Does the node take requests?", response: relay.StatusResponse{},
		codes: []relay.Code{relay.CodeUnavailable},
	},
	{
		method: http.MethodGet, path: descriptionPath, open: true, name: "openapi",
		summary: "This description", media: "application/json",
	},
	{
		method: http.MethodGet, path: "/add", open: true, name: "add", page: serveAdd,
		summary:     "What a contact link or an invitation is",
		description: "A page for people who open such a link in a browser. What comes after # is not sent to the relay.",
		media:       "text/html; charset=utf-8",
	},
	{
		method: http.MethodPost, path: "/v1/challenge", open: true, name: "challenge", handle: limitLogins(challenge),
		summary:     "Get a challenge to sign",
		description: "Good for one login or registration within 60 seconds. There is no body.",
		response:    relay.ChallengeResponse{},
		codes:       []relay.Code{relay.CodeRateLimited},
	},
	{
		method: http.MethodPost, path: "/v1/token", open: true, name: "token", handle: limitLogins(body(token)(smallBody)),
		summary: "Log in",
		description: "The signature is over \"ChatE2E relay login v1\" 0x00 ‖ length of origin (2 bytes, big-endian) ‖ origin ‖ " +
			"length of challenge (1) ‖ challenge ‖ user ID (20) ‖ device number (1). A login revokes the other tokens of the device and ends " +
			"their connections, so that whoever holds them logs in again and is told of it in logins_before; " +
			"where there are such connections, four times an hour at most.",
		request: relay.TokenRequest{}, response: relay.TokenResponse{},
		codes: []relay.Code{relay.CodeBadChallenge, relay.CodeBadProof, relay.CodeWrongOrigin, relay.CodeAccountDisabled, relay.CodeRateLimited},
	},
	{
		method: http.MethodPost, path: "/v1/register", open: true, created: true, name: "register", handle: limitRegistrations(body(register)(prekeyBody)),
		summary: "Make an account",
		description: "All of it is stored at once or not at all. The same request with a new proof may be repeated when the answer was lost. " +
			"The signature is over \"ChatE2E relay register v1\" 0x00 ‖ origin, challenge, user ID and device number as for a login ‖ " +
			"SHA-256 of device_list (32) ‖ length of username (1) ‖ username.",
		request: relay.RegisterRequest{}, response: relay.RegisterResponse{},
		codes: []relay.Code{
			relay.CodeBadDeviceList, relay.CodeBadChallenge, relay.CodeBadProof, relay.CodeWrongOrigin, relay.CodeRegistrationClosed,
			relay.CodeInviteRequired, relay.CodeInviteInvalid, relay.CodeAccountExists, relay.CodeUsernameTaken, relay.CodeAccountDisabled,
			relay.CodeRateLimited, relay.CodeStorageFull,
		},
	},
	{
		method: http.MethodGet, path: "/v1/account", name: "account", handle: ownAccount,
		summary: "One's own account", response: relay.AccountResponse{},
	},
	{
		method: http.MethodDelete, path: "/v1/account", name: "deleteAccount", handle: deleteAccount,
		summary: "Delete one's account, with all its mailboxes, prekeys and tokens",
	},
	{
		method: http.MethodPut, path: "/v1/account/devices", name: "updateDevices", handle: body(updateDevices)(smallBody),
		summary: "Replace one's device list by a newer one", request: relay.DevicesRequest{},
		codes: []relay.Code{relay.CodeBadDeviceList, relay.CodeDeviceListConflict, relay.CodeStorageFull},
	},
	{
		method: http.MethodGet, path: "/v1/prekeys", name: "countPrekeys", handle: countPrekeys,
		summary: "What is left of one's prekeys", response: relay.PrekeysResponse{},
	},
	{
		method: http.MethodPut, path: "/v1/prekeys", name: "putPrekeys", handle: body(putPrekeys)(prekeyBody),
		summary:     "Upload prekeys",
		description: "A signed or last-resort prekey takes the place of the one before, one-time prekeys are added. One that was handed out is not offered again, however often it is uploaded.",
		request:     relay.PrekeysRequest{}, response: relay.PrekeysResponse{},
		codes: []relay.Code{relay.CodeStorageFull},
	},
	{
		method: http.MethodGet, path: "/v1/users/{user_id}/devices", name: "devices", handle: devices,
		summary: "The device list of a user, signed by her account key", response: relay.DevicesResponse{},
		codes: []relay.Code{relay.CodeUnknownUser},
	},
	{
		method: http.MethodPost, path: "/v1/users/{user_id}/bundles", name: "bundles", handle: body(bundles)(smallBody),
		summary:     "Fetch what sessions with a user's devices start from",
		description: "A one-time prekey is handed out once, even if the answer gets lost.",
		request:     relay.BundlesRequest{}, response: relay.BundlesResponse{},
		codes: []relay.Code{relay.CodeUnknownUser, relay.CodeNoPrekeys, relay.CodeRateLimited},
	},
	{
		method: http.MethodGet, path: "/v1/usernames/{username}", name: "username", handle: username,
		summary: "Whose name is it?", response: relay.UsernameResponse{},
		description: "The answer is the relay's word: a convenience, until the person is verified.",
		codes:       []relay.Code{relay.CodeUnknownUsername, relay.CodeRateLimited},
	},
	{
		method: http.MethodPost, path: "/v1/messages", name: "send", handle: body(send)(sendBody),
		summary:     "Send",
		description: "Answered after the envelopes are durable. Sending the same ID with the same bytes again is no error.",
		request:     relay.SendRequest{},
		codes: []relay.Code{
			relay.CodeUnknownUser, relay.CodeDeviceMismatch, relay.CodeEnvelopeConflict, relay.CodeMailboxFull, relay.CodeStorageFull,
		},
	},
	{
		method: http.MethodGet, path: "/v1/messages", name: "pull", handle: pull,
		summary:     "Read one's mailbox",
		description: "Envelopes stay until they are acknowledged or 30 days old.",
		query: []parameter{
			{"after", "integer", "the sequence number of the last envelope read; 0 if left out"},
			{"limit", "integer", "how many at most, 1 to 1000; 100 if left out"},
		},
		response: relay.PullResponse{},
	},
	{
		method: http.MethodPost, path: "/v1/messages/ack", name: "ack", handle: body(ack)(smallBody * 2),
		summary: "Acknowledge envelopes that are stored at the recipient's", request: relay.AckRequest{},
		description: "They are deleted when the answer comes.",
	},
	{
		method: http.MethodGet, path: socketPath, name: "socket", handle: socketWithoutUpgrade,
		summary: "The WebSocket",
		description: "Binary messages: a type byte and a protobuf body, as in internal/relay/frames.proto. The first frame carries the token; " +
			"the upgrade itself needs no credential, a request without upgrade does.",
		codes: []relay.Code{relay.CodeUpgradeRequired, relay.CodeTooManyConnections},
	},
}
