// Package relay is the language between a client and a relay, that is, all that
// is OUTSIDE the encryption: addresses, envelopes, the JSON bodies of the REST
// calls, the frames of the WebSocket, the proofs a device signs, and the closed
// list of error codes.
//
// Both sides parse at the edge with [DecodeJSON] and the Parse functions of the
// frames into values that are valid by construction.
//
// The package holds values only. It opens no connection, and it knows nothing of
// what an envelope's body or a prekey says: those are opaque bytes here.
package relay
