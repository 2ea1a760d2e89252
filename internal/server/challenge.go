package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"time"

	"github.com/chate2e/chate2e/internal/relay"
)

// A challenge is made without storing anything, so that nobody can fill the store
// with challenges, and every node can check those of the others:
//
//	nonce    16  random
//	expires   8  milliseconds since 1970, big-endian
//	tag      16  first bytes of HMAC-SHA256(challenge key, label ‖ nonce ‖ expires)
//
// Answering it stores the nonce until the challenge would have expired anyway;
// that makes it good for one answer.
const (
	challengeNonce = 16
	challengeTag   = 16
	challengeSize  = challengeNonce + 8 + challengeTag

	challengeLife  = time.Minute
	challengeLabel = "ChatE2E relay challenge v1\x00"
)

type challenger struct {
	key [32]byte
}

func (c *challenger) tag(body []byte) []byte {
	h := hmac.New(sha256.New, c.key[:])
	h.Write([]byte(challengeLabel))
	h.Write(body)
	return h.Sum(nil)[:challengeTag]
}

// issue makes a challenge.
func (c *challenger) issue(now time.Time) (challenge []byte, expires time.Time) {
	expires = now.Add(challengeLife).Truncate(time.Millisecond)
	b := make([]byte, challengeNonce, challengeSize)
	_, _ = rand.Read(b)                                               // never fails: crypto/rand ends the process instead
	b = binary.BigEndian.AppendUint64(b, uint64(expires.UnixMilli())) // after 1970
	return append(b, c.tag(b)...), expires
}

var (
	errBadChallenge = &relay.Error{Code: relay.CodeBadChallenge, Detail: "the challenge is unknown, expired or used"}
	errBadProof     = &relay.Error{Code: relay.CodeBadProof, Detail: "the proof is not by this device"}
)

// check returns the nonce and the expiry of a challenge that this relay has made
// and that has not expired.
func (c *challenger) check(challenge []byte, now time.Time) (nonce [challengeNonce]byte, expires time.Time, err error) {
	if len(challenge) != challengeSize {
		return nonce, expires, errBadChallenge
	}
	body, tag := challenge[:challengeNonce+8], challenge[challengeNonce+8:]
	if subtle.ConstantTimeCompare(tag, c.tag(body)) != 1 {
		return nonce, expires, errBadChallenge
	}
	expires = time.UnixMilli(int64(binary.BigEndian.Uint64(body[challengeNonce:]))) //nolint:gosec // ours, by the tag
	if !now.Before(expires) {
		return nonce, expires, errBadChallenge
	}
	copy(nonce[:], body)
	return nonce, expires, nil
}
