package client

import "time"

// ProtocolEvent is one line of the inspector: what a real session has just done.
// It is made from the trace that the library returns, whose type cannot hold a
// secret, and kept in the vault, the newest 500 of each contact.
type ProtocolEvent struct {
	ID      int64             `json:"id"`
	At      time.Time         `json:"at"`
	Contact string            `json:"contact"` // user ID
	Device  uint32            `json:"device"`  // the contact's
	Kind    string            `json:"kind"`    // handshake, encrypted, decrypted, refused, prekeys
	Title   string            `json:"title"`   // one English line
	Suite   string            `json:"suite"`
	Session string            `json:"session"` // fingerprint of the base key
	Item    string            `json:"item"`    // ID of the message, if there is one
	Steps   []ProtocolStep    `json:"steps"`
	Setup   *ProtocolSetup    `json:"setup"` // of a handshake
	PQ      *ProtocolPQ       `json:"pq"`    // of a message that was encrypted or decrypted
	Count   *ProtocolCounters `json:"counters"`
	Size    int               `json:"size"`  // bytes of the message, all told
	Plain   int               `json:"plain"` // bytes of the padded plaintext
}

// ProtocolStep is one step: inputs, a key derivation, outputs, none of them secret.
type ProtocolStep struct {
	Kind   string `json:"kind"`
	Text   string `json:"text"`  // one English line
	Label  string `json:"label"` // of the key derivation
	Our    string `json:"our"`   // fingerprint of our public key
	Their  string `json:"their"`
	N      uint32 `json:"n"`
	Count  uint32 `json:"count"`
	Reason string `json:"reason"`
}

// ProtocolSetup describes a handshake.
type ProtocolSetup struct {
	Initiator      bool       `json:"initiator"`
	Agreements     int        `json:"agreements"` // 3, or 4 with a one-time prekey
	OurIdentity    string     `json:"our_identity"`
	TheirIdentity  string     `json:"their_identity"`
	BaseKey        string     `json:"base_key"`
	SignedPreKey   string     `json:"signed_prekey"`
	SignedPreKeyID uint32     `json:"signed_prekey_id"`
	Expires        *time.Time `json:"signed_prekey_expires"`
	OneTimePreKey  string     `json:"one_time_prekey"`
	OneTimeID      uint32     `json:"one_time_prekey_id"`
	KEM            string     `json:"kem"`
	KEMPreKey      string     `json:"kem_prekey"`
	KEMPreKeyID    uint32     `json:"kem_prekey_id"`
	LastResort     bool       `json:"kem_last_resort"`
}

// ProtocolCounters are the ratchet's public numbers after the event.
type ProtocolCounters struct {
	RootSteps    uint32 `json:"root_steps"`
	Sent         uint32 `json:"sent"`
	Received     uint32 `json:"received"`
	Previous     uint32 `json:"previous"`
	Skipped      int    `json:"skipped"`
	SkippedLimit int    `json:"skipped_limit"`
	Archived     int    `json:"archived"`
	OurKey       string `json:"our_key"`
	TheirKey     string `json:"their_key"`
	Unanswered   bool   `json:"unanswered"`

	PQ *PQRatchet `json:"pq"`
}

// ProtocolPQ is what the post-quantum ratchet did with a message: it gave the
// message a key, and the message carried a piece of its key exchange.
type ProtocolPQ struct {
	Epoch     uint64 `json:"epoch"`     // the exchange that the message belongs to, from 1
	Payload   string `json:"payload"`   // none, header, vector, vector_ack, ack, ciphertext_1, ciphertext_2
	Chunk     int    `json:"chunk"`     // its number; -1 if the payload has none
	New       bool   `json:"new"`       // decrypted: the chunk was of use
	KeyEpoch  uint64 `json:"key_epoch"` // whose chain gave the key
	Key       uint32 `json:"key"`       // its number in the chain, from 1
	Late      bool   `json:"late"`      // decrypted: the key had been put aside
	Skipped   uint32 `json:"skipped"`   // decrypted: keys put aside on the way
	Phase     string `json:"phase"`     // of the exchange afterwards, as the specification calls it
	Completed uint64 `json:"completed"` // the epoch that it completed on this side; 0: none
}

// PQRatchet is where the post-quantum ratchet of a session stands.
type PQRatchet struct {
	Epoch     uint64 `json:"epoch"`     // the exchange under way, from 1
	Phase     string `json:"phase"`     // of it, as the specification calls it
	Completed uint64 `json:"completed"` // the newest epoch that has chains
	Sending   uint64 `json:"sending"`   // the epoch that keys for sending come from
	Sent      int    `json:"sent"`      // chunks sent of what is being sent
	Held      int    `json:"held"`      // chunks held of what is being gathered
	Needed    int    `json:"needed"`    // chunks that it takes; 0: nothing is being gathered
}
