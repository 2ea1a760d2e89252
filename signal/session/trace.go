package session

import (
	"fmt"
	"time"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/spqr"
)

// Trace describes what happened: in which order, with which public keys, at
// which counters. All its fields, at any depth, are numbers, truth values, times
// and fingerprints of public keys.
type Trace struct {
	Suite     pqxdh.Suite
	Session   safety.Fingerprint // of the initiator's base key: names the session
	Handshake *Handshake         // set when a session was started or accepted
	Steps     []Step
	PQ        *spqr.Event // of the post-quantum ratchet; nil in suites without one
	Counters  Counters    // of the session's ratchet, afterwards

	PlaintextSize int // bytes
	MessageSize   int // bytes, all told
}

// Handshake describes a key agreement.
type Handshake struct {
	Initiator      bool // we started it
	OurIdentity    safety.Fingerprint
	TheirIdentity  safety.Fingerprint
	BaseKey        safety.Fingerprint // the initiator's ephemeral key
	SignedPreKey   safety.Fingerprint
	SignedPreKeyID pqxdh.PreKeyID
	Expires        time.Time // of the signed prekey; zero in the libsignal suites

	HasOneTimePreKey bool // then there are four key agreements, else three
	OneTimePreKey    safety.Fingerprint
	OneTimePreKeyID  pqxdh.PreKeyID

	KEM         kem.Kind // 0: a suite without one
	KEMPreKey   safety.Fingerprint
	KEMPreKeyID pqxdh.PreKeyID
	LastResort  bool // the KEM prekey is the one of last resort
}

// Counters are a ratchet's public numbers.
type Counters struct {
	RootSteps    uint32 // root steps so far
	Sent         uint32 // messages in the current sending chain
	Received     uint32 // messages passed in the current receiving chain
	Previous     uint32 // length of the previous sending chain, PN
	Skipped      int    // skipped keys held
	SkippedLimit int
	Archived     int // other sessions in the record
	OurKey       safety.Fingerprint
	TheirKey     safety.Fingerprint
	Unanswered   bool         // messages still carry the handshake
	PQ           *spqr.Status // of the post-quantum ratchet; nil in suites without one
}

// Label is the label of a key derivation; its String is the label itself.
type Label = kdf.Label

// The labels of the post-quantum ratchet's steps that [Trace.PQ] tells of: its
// chains give a key, and an epoch's secret gives new chains.
const (
	LabelPQKey   = kdf.SPQRChainNext
	LabelPQEpoch = kdf.SPQRChainEpoch
)

// StepKind says what a [Step] did.
type StepKind uint8

// The kinds of steps.
const (
	_                  StepKind = iota
	StepInitiated               // we agreed on a root key with a bundle
	StepAccepted                // we agreed on a root key with a first message
	StepRootSending             // new ratchet key of ours, root step, new sending chain
	StepRootReceiving           // new ratchet key of theirs, root step, new receiving chain
	StepChainSending            // the sending chain moved on by one
	StepChainReceiving          // the receiving chain moved on by one
	StepSkipped                 // Count keys of messages not yet seen were put aside
	StepSkippedKeyUsed          // a late message: its key had been put aside
	StepSealed                  // the message was encrypted
	StepOpened                  // the message was authenticated and decrypted
	StepArchived                // the session in use was put aside for a new one
	StepPromoted                // an archived session came into use again
	StepRefused                 // nothing happened: see Reason
	stepEnd
)

var stepNames = [stepEnd]string{
	StepInitiated: "session initiated", StepAccepted: "session accepted",
	StepRootSending: "DH ratchet step, sending", StepRootReceiving: "DH ratchet step, receiving",
	StepChainSending: "chain step, sending", StepChainReceiving: "chain step, receiving",
	StepSkipped: "keys skipped", StepSkippedKeyUsed: "skipped key used",
	StepSealed: "message encrypted", StepOpened: "message decrypted",
	StepArchived: "session archived", StepPromoted: "archived session promoted",
	StepRefused: "message refused",
}

// String returns a short English name.
func (k StepKind) String() string {
	if k == 0 || k >= stepEnd {
		return fmt.Sprintf("unknown step %d", uint8(k))
	}
	return stepNames[k]
}

// Reason says why a message was refused.
type Reason uint8

// The reasons.
const (
	_                 Reason = iota
	ReasonTag                // no session opens it
	ReasonDuplicate          // its key was used already
	ReasonTooFar             // it skips too many messages
	ReasonReplay             // its handshake was used already
	ReasonPreKey             // it names a prekey that we do not have
	ReasonExpired            // it uses a prekey past its time
	ReasonIdentity           // its identity key is not the one we trust
	ReasonNoSession          // there is no session to open it with
	ReasonWrongSuite         // it belongs to another suite
	ReasonWrongDevice        // it was given to another device of ours
	reasonEnd
)

var reasonNames = [reasonEnd]string{
	ReasonTag: "does not authenticate", ReasonDuplicate: "already received", ReasonTooFar: "skips too many messages",
	ReasonReplay: "handshake already used", ReasonPreKey: "unknown prekey", ReasonExpired: "prekey expired",
	ReasonIdentity: "identity key changed", ReasonNoSession: "no session", ReasonWrongSuite: "other suite",
	ReasonWrongDevice: "other device",
}

// String returns a short English description; "none" for the zero Reason.
func (r Reason) String() string {
	if r == 0 {
		return "none"
	}
	if r >= reasonEnd {
		return fmt.Sprintf("unknown reason %d", uint8(r))
	}
	return reasonNames[r]
}

// Step is one step of the protocol.
type Step struct {
	Kind   StepKind
	Reason Reason             // for StepRefused
	Label  Label              // of the key derivation, where there is one
	Our    safety.Fingerprint // our public key in a root step
	Their  safety.Fingerprint // their public key in a root step, or of the chain with the skipped keys
	N      uint32             // number of the message, of the root step, or of the first key skipped
	Count  uint32             // for StepSkipped
}

func fingerprint(k curve.PublicKey) safety.Fingerprint {
	encoded := k.Encode()
	return safety.FingerprintOf(encoded[:])
}

func optional(k curve.PublicKey) safety.Fingerprint {
	if k == (curve.PublicKey{}) {
		return safety.Fingerprint{}
	}
	return fingerprint(k)
}
