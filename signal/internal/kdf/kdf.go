// Package kdf holds the key derivation functions of the Signal Protocol and, in
// one block, every label that keeps two uses of them apart.
package kdf

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// Label separates one use of a key derivation function, signature or hash from
// every other. No two labels are the same string, and none is a prefix of
// another one of the same suite that takes context after the label.
type Label uint8

// The labels. The zero Label is no label.
const (
	_ Label = iota

	// Chate2eHandshake: PQXDH secrets to the root key; the hash of the transcript follows the label.
	Chate2eHandshake
	// Chate2eTranscript: the hash over everything that both sides of a handshake must agree on.
	Chate2eTranscript
	// Chate2ePreKey: what the signature of a prekey covers.
	Chate2ePreKey
	// Chate2eRoot: a root step of the Double Ratchet.
	Chate2eRoot
	// Chate2eMessage: a message seed to the AES-256-GCM key and nonce.
	Chate2eMessage

	// Chate2eGroupMessage: a seed of a group to the AES-256-GCM key, nonce and key commitment.
	Chate2eGroupMessage
	// Chate2eGroupSignature: what the signature of a group message covers.
	Chate2eGroupSignature

	// Chate2eSealed: what an envelope's encryption is bound to; the recipient's address follows.
	Chate2eSealed
	// Chate2eSealingKey: what the signature of a sealing key covers.
	Chate2eSealingKey
	// Chate2eSealingKeyID: the hash that names a sealing key; the key follows.
	Chate2eSealingKeyID

	// LibsignalPQXDH: the handshake of version-4 sessions.
	LibsignalPQXDH
	// LibsignalX3DH: the handshake of version-3 sessions.
	LibsignalX3DH
	// LibsignalRoot: a root step of the Double Ratchet.
	LibsignalRoot
	// LibsignalMessage: a message seed to the AES-256-CBC key, MAC key and IV.
	LibsignalMessage
	// LibsignalGroupMessage: a seed of a group to the IV and AES-256-CBC key.
	LibsignalGroupMessage
	// LibsignalSealed1: both steps of sealed sender v1; the beginning of a salt.
	LibsignalSealed1
	// LibsignalSealed2Private: a message's secret to its ephemeral key, in sealed sender v2.
	LibsignalSealed2Private
	// LibsignalSealed2Key: a message's secret to the key of its content.
	LibsignalSealed2Key
	// LibsignalSealed2Recipient: what covers the secret for one recipient. Nothing follows.
	LibsignalSealed2Recipient
	// LibsignalSealed2Sender: the tag that proves the sender to one recipient.
	LibsignalSealed2Sender

	// SPQRChainStart: the handshake's key to the chains of epoch 0. Two spaces.
	SPQRChainStart
	// SPQRChainEpoch: the secret of a completed epoch to that epoch's chains.
	SPQRChainEpoch
	// SPQRChainNext: one step of a chain; the counter precedes the label.
	SPQRChainNext
	// SPQREpochKey: an ML-KEM shared secret to the epoch's secret; the epoch follows.
	SPQREpochKey
	// SPQRAuthenticator: an epoch's secret to the MAC key; the epoch follows.
	SPQRAuthenticator
	// SPQRHeaderMAC: the MAC of a key's header; epoch and header follow.
	SPQRHeaderMAC
	// SPQRCiphertextMAC: the MAC of a ciphertext; epoch and ciphertext follow.
	SPQRCiphertextMAC

	labelEnd
)

var labels = [labelEnd]string{
	Chate2eHandshake:  "ChatE2E v1 handshake",
	Chate2eTranscript: "ChatE2E v1 transcript",
	Chate2ePreKey:     "ChatE2E v1 prekey signature",
	Chate2eRoot:       "ChatE2E v1 root step",
	Chate2eMessage:    "ChatE2E v1 message key",

	Chate2eGroupMessage:   "ChatE2E v1 group message key",
	Chate2eGroupSignature: "ChatE2E v1 group signature",

	Chate2eSealed:       "ChatE2E v1 sealed envelope",
	Chate2eSealingKey:   "ChatE2E v1 sealing key signature",
	Chate2eSealingKeyID: "ChatE2E v1 sealing key ID",

	LibsignalPQXDH:        "WhisperText_X25519_SHA-256_CRYSTALS-KYBER-1024",
	LibsignalX3DH:         "WhisperText",
	LibsignalRoot:         "WhisperRatchet",
	LibsignalMessage:      "WhisperMessageKeys",
	LibsignalGroupMessage: "WhisperGroup",

	LibsignalSealed1:          "UnidentifiedDelivery",
	LibsignalSealed2Private:   "Sealed Sender v2: r (2023-08)",
	LibsignalSealed2Key:       "Sealed Sender v2: K",
	LibsignalSealed2Recipient: "Sealed Sender v2: DH",
	LibsignalSealed2Sender:    "Sealed Sender v2: DH-sender",

	SPQRChainStart:    "Signal PQ Ratchet V1 Chain  Start",
	SPQRChainEpoch:    "Signal PQ Ratchet V1 Chain Add Epoch",
	SPQRChainNext:     "Signal PQ Ratchet V1 Chain Next",
	SPQREpochKey:      "Signal_PQCKA_V1_MLKEM768:SCKA Key",
	SPQRAuthenticator: "Signal_PQCKA_V1_MLKEM768:Authenticator Update",
	SPQRHeaderMAC:     "Signal_PQCKA_V1_MLKEM768:ekheader",
	SPQRCiphertextMAC: "Signal_PQCKA_V1_MLKEM768:ciphertext",
}

// String returns the label itself, the bytes that enter the function.
func (l Label) String() string {
	if l >= labelEnd {
		return ""
	}
	return labels[l]
}

// All returns every label.
func All() []Label {
	all := make([]Label, 0, labelEnd-1)
	for l := Label(1); l < labelEnd; l++ {
		all = append(all, l)
	}
	return all
}

// Zero is the salt that stands for "no salt": 32 zero bytes.
var Zero [sha256.Size]byte

// HKDF derives n bytes with HKDF-SHA256 (RFC 5869). An absent salt is
// [Zero]. It panics when n exceeds 8,160.
func HKDF(secret, salt []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, secret, salt, info, n)
	if err != nil {
		panic("kdf: " + err.Error()) // n is a constant of ours
	}
	return out
}

// Step is one step of a symmetric chain (Double Ratchet, Section 5.2): the
// message seed HMAC-SHA256(chain key, 0x01) and the next chain key
// HMAC-SHA256(chain key, 0x02).
func Step(chainKey *[32]byte) (seed, next [32]byte) {
	return hmacSHA256(chainKey, []byte{0x01}, nil, nil), Next(chainKey)
}

// Next returns only the next chain key, for messages whose seed nobody keeps.
func Next(chainKey *[32]byte) [32]byte { return hmacSHA256(chainKey, []byte{0x02}, nil, nil) }
