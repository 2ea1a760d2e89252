package sealed

import (
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
)

// The versions of a sealed message.
const (
	version1         = 0x11
	version2Received = 0x22
	version2Sent     = 0x23 // a receiver takes either
)

// Unverified is content that was unsealed, of whose sender we only know that it
// has the key in its certificate.
type Unverified struct{ content *Content }

// Unseal opens a sealed message of either version with our identity key. It
// returns [ErrOpen].
func Unseal(our *curve.PrivateKey, b []byte) (*Unverified, error) {
	if len(b) == 0 {
		return nil, ErrOpen
	}
	var content *Content
	switch b[0] {
	case version1:
		content = unsealV1(our, b[1:])
	case version2Received, version2Sent:
		content = unsealV2(our, b[1:])
	}
	if content == nil {
		return nil, ErrOpen
	}
	return &Unverified{content}, nil
}

// Verify returns the content if its sender is who the certificate says, see
// [Trust.Verify], and is not this device itself, at us. It returns
// [ErrCertificate], [ErrExpired] or [ErrSelf].
func (u *Unverified) Verify(trust *Trust, us signal.Address, now time.Time) (*Content, error) {
	if err := trust.Verify(u.content.Sender, now); err != nil {
		return nil, err
	}
	if sender := u.content.Sender.Sender; sender.Device == us.Device && sameName(sender.Name, us.Name) {
		return nil, ErrSelf
	}
	return u.content, nil
}

// Claims returns the content unverified: its sender is whoever had a certificate
// made, by anybody.
func (u *Unverified) Claims() *Content { return u.content }
