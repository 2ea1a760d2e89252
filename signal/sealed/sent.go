package sealed

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/gcmsiv"
)

// Sent is a message of version 2 as its sender gives it to the server, which takes
// it apart for the recipients. Nothing of it is authenticated.
type Sent struct {
	Recipients []SentRecipient
	Excluded   []ServiceID
	shared     []byte // what all recipients get
}

// SentRecipient is an account that a message of version 2 is for.
type SentRecipient struct {
	ID      ServiceID
	Devices []Device
	own     []byte // what only this account gets
}

// ParseSent decodes what [SealV2] made. An account may be there several times with
// different devices, as the official library writes it; it is one recipient in
// the result. It returns [ErrMalformed].
func ParseSent(b []byte) (*Sent, error) {
	in := cryptobyte.String(slices.Clone(b))
	var v uint8
	if !in.ReadUint8(&v) || v != version2Sent {
		return nil, ErrMalformed
	}
	count, size := protowire.ConsumeVarint(in)
	if size < 0 || !in.Skip(size) {
		return nil, ErrMalformed
	}
	s := new(Sent)
	at := map[ServiceID]int{}
	for range count { // ends with the input, at the latest
		var r SentRecipient
		if !r.read(&in) {
			return nil, ErrMalformed
		}
		i, again := at[r.ID]
		switch {
		case !again && r.Devices == nil:
			at[r.ID] = -1
			s.Excluded = append(s.Excluded, r.ID)
		case !again:
			at[r.ID] = len(s.Recipients)
			s.Recipients = append(s.Recipients, r)
		case i < 0 || !s.Recipients[i].merge(&r):
			return nil, ErrMalformed
		}
	}
	if len(in) < curve.KeySize+gcmsiv.TagSize {
		return nil, ErrMalformed
	}
	s.shared = in
	return s, nil
}

func (r *SentRecipient) read(in *cryptobyte.String) bool {
	if !in.CopyBytes(r.ID[:]) || r.ID[0] > 1 {
		return false
	}
	for more := true; more; {
		var d Device
		if !in.ReadUint8(&d.ID) {
			return false
		}
		if d.ID == noDevice && r.Devices == nil {
			return true // excluded
		}
		if !in.ReadUint16(&d.Registration) {
			return false
		}
		more = d.Registration&deviceMore != 0
		d.Registration &^= deviceMore
		if d.Registration > maxRegistration || !r.add(d) {
			return false
		}
	}
	return in.ReadBytes(&r.own, recipientSize)
}

func (r *SentRecipient) add(d Device) bool {
	if d.ID == noDevice || d.ID > maxDevice ||
		slices.ContainsFunc(r.Devices, func(o Device) bool { return o.ID == d.ID }) {
		return false
	}
	r.Devices = append(r.Devices, d)
	return true
}

// merge adds the devices of another entry for the same account, which must have
// the same key material.
func (r *SentRecipient) merge(other *SentRecipient) bool {
	if !slices.Equal(r.own, other.own) { // an excluded account has none
		return false
	}
	for _, d := range other.Devices {
		if !r.add(d) {
			return false
		}
	}
	return true
}

// For returns the form in which the message goes to all devices of a recipient,
// one of s.Recipients.
func (s *Sent) For(r *SentRecipient) []byte {
	b := make([]byte, 0, 1+recipientSize+len(s.shared))
	b = append(b, version2Received)
	b = append(b, r.own...)
	return append(b, s.shared...)
}
