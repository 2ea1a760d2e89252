package sealed

import (
	"errors"
	"slices"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/wire"
)

// ErrCertificate is returned for a certificate that proves nothing: signed by a
// server that no root has signed, that was revoked or is unknown, or changed
// since.
var ErrCertificate = errors.New("sealed: certificate does not verify")

// revokedServer is the ID of the one server certificate that the official library
// refuses by its number.
const revokedServer = 0xDEADC357

// maxDevice is the largest number of a device of the official library.
const maxDevice = 127

// The fields of the official library's certificates.
const (
	fieldCertificate wire.Field = 1 // of both
	fieldSignature   wire.Field = 2

	fieldServerID  wire.Field = 1 // ServerCertificate.Certificate
	fieldServerKey wire.Field = 2

	fieldDevice   wire.Field = 2 // SenderCertificate.Certificate; 1 is a phone number
	fieldExpires  wire.Field = 3
	fieldKey      wire.Field = 4
	fieldSigner   wire.Field = 5 // a ServerCertificate
	fieldUUID     wire.Field = 6 // as text
	fieldUUIDRaw  wire.Field = 7 // in 16 bytes
	fieldSignerID wire.Field = 8 // of a ServerCertificate known to the receiver
)

// ServerCertificate is what a trust root says of a server: that it may certify
// senders.
type ServerCertificate struct {
	ID  uint32
	Key curve.PublicKey

	raw, signed, signature []byte
}

// NewServerCertificate certifies a server's key with a trust root's.
func NewServerCertificate(id uint32, key curve.PublicKey, root *curve.PrivateKey) *ServerCertificate {
	encoded := key.Encode()
	b := wire.AppendNumber(nil, fieldServerID, id)
	b = wire.AppendBytes(b, fieldServerKey, encoded[:])
	c := &ServerCertificate{ID: id, Key: key, signed: b, signature: root.Sign(b)}
	c.raw = appendSigned(c.signed, c.signature)
	return c
}

func appendSigned(signed, signature []byte) []byte {
	b := wire.AppendBytes(make([]byte, 0, len(signed)+len(signature)+8), fieldCertificate, signed)
	return wire.AppendBytes(b, fieldSignature, signature)
}

func parseSigned(b []byte) (signed, signature []byte, ok bool) {
	outer, ok := wire.Parse(b, nil, []wire.Field{fieldCertificate, fieldSignature})
	if !ok || !outer.Has(fieldCertificate, fieldSignature) || len(outer.Bytes[fieldSignature]) != curve.SignatureSize {
		return nil, nil, false
	}
	return outer.Bytes[fieldCertificate], outer.Bytes[fieldSignature], true
}

// ParseServerCertificate decodes a server certificate; nothing of it is verified.
// It returns [ErrMalformed].
func ParseServerCertificate(b []byte) (*ServerCertificate, error) {
	c := &ServerCertificate{raw: slices.Clone(b)}
	var ok bool
	if c.signed, c.signature, ok = parseSigned(c.raw); !ok {
		return nil, ErrMalformed
	}
	inner, ok := wire.Parse(c.signed, []wire.Field{fieldServerID}, []wire.Field{fieldServerKey})
	if !ok || !inner.Has(fieldServerID, fieldServerKey) {
		return nil, ErrMalformed
	}
	key, err := curve.ParsePublicKey(inner.Bytes[fieldServerKey])
	if err != nil {
		return nil, ErrMalformed
	}
	c.ID, c.Key = inner.Numbers[fieldServerID], key
	return c, nil
}

// Bytes returns the certificate as it was made or received.
func (c *ServerCertificate) Bytes() []byte { return slices.Clone(c.raw) }

// SenderCertificate is what a server says of a device: that it has this identity
// key. It proves nothing before [Trust.Verify].
type SenderCertificate struct {
	Sender  signal.Address
	Key     curve.PublicKey
	Expires uint64 // the last millisecond since 1970 at which it is good

	signer   *ServerCertificate // nil: named by signerID
	signerID uint32

	raw, signed, signature []byte
}

// NewSenderCertificate certifies that the sender has the identity key, until
// expires in whole milliseconds. The server that signs is embedded. It returns
// [signal.ErrAddress]; devices of the official library are 1 to 127.
func NewSenderCertificate(sender signal.Address, key curve.PublicKey, expires time.Time,
	server *ServerCertificate, serverKey *curve.PrivateKey,
) (*SenderCertificate, error) {
	if sender.Validate() != nil || sender.Device > maxDevice {
		return nil, signal.ErrAddress
	}
	encoded := key.Encode()
	c := &SenderCertificate{
		Sender: sender, Key: key, Expires: milliseconds(expires), signer: server, signerID: server.ID,
	}
	b := wire.AppendNumber(nil, fieldDevice, sender.Device)
	b = wire.AppendFixed64(b, fieldExpires, c.Expires)
	b = wire.AppendBytes(b, fieldKey, encoded[:])
	b = wire.AppendBytes(b, fieldSigner, server.raw)
	c.signed = wire.AppendBytes(b, fieldUUID, []byte(sender.Name))
	c.signature = serverKey.Sign(c.signed)
	c.raw = appendSigned(c.signed, c.signature)
	return c, nil
}

// milliseconds returns a time as certificates have it. Before 1970 there were
// none.
func milliseconds(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

// ParseSenderCertificate decodes a sender certificate; nothing of it is verified.
// It returns [ErrMalformed], also for one that names sender or signer in two ways.
func ParseSenderCertificate(b []byte) (*SenderCertificate, error) {
	c := &SenderCertificate{raw: slices.Clone(b)}
	var ok bool
	if c.signed, c.signature, ok = parseSigned(c.raw); !ok || !c.parse() {
		return nil, ErrMalformed
	}
	return c, nil
}

func (c *SenderCertificate) parse() bool {
	inner, ok := wire.ParseFixed(c.signed,
		[]wire.Field{fieldDevice, fieldSignerID},
		[]wire.Field{fieldKey, fieldSigner, fieldUUID, fieldUUIDRaw}, []wire.Field{fieldExpires})
	if !ok || !inner.Has(fieldDevice, fieldExpires, fieldKey) ||
		inner.Has(fieldSigner) == inner.Has(fieldSignerID) || inner.Has(fieldUUID) == inner.Has(fieldUUIDRaw) {
		return false
	}
	c.Sender.Device, c.Expires = inner.Numbers[fieldDevice], inner.Fixed64[fieldExpires]
	c.Sender.Name = string(inner.Bytes[fieldUUID])
	if inner.Has(fieldUUIDRaw) {
		raw := inner.Bytes[fieldUUIDRaw]
		if len(raw) != len(ServiceID{})-1 {
			return false
		}
		var id ServiceID
		copy(id[1:], raw)
		c.Sender.Name = id.String()
	}
	if c.Sender.Validate() != nil || c.Sender.Device > maxDevice {
		return false
	}
	var err error
	if c.Key, err = curve.ParsePublicKey(inner.Bytes[fieldKey]); err != nil {
		return false
	}
	c.signerID = inner.Numbers[fieldSignerID]
	if inner.Has(fieldSigner) {
		if c.signer, err = ParseServerCertificate(inner.Bytes[fieldSigner]); err != nil {
			return false
		}
		c.signerID = c.signer.ID
	}
	return true
}

// Bytes returns the certificate as it was made or received.
func (c *SenderCertificate) Bytes() []byte { return slices.Clone(c.raw) }

// SignerID returns the number of the server that signed the certificate.
func (c *SenderCertificate) SignerID() uint32 { return c.signerID }

// Trust says whose certificates a receiver believes.
type Trust struct {
	// Roots are the trust roots, any of which may have signed a server's
	// certificate. Without a root nothing is believed.
	Roots []curve.PublicKey
	// Servers are those that a sender's certificate may name by number alone. A
	// root must have signed them as well.
	Servers []*ServerCertificate
}

// Verify checks that the sender has the certificate's key, as far as the roots are
// to be believed: the server's certificate is signed by one of them and not
// revoked, it has signed the sender's, and that has not expired. It returns
// [ErrCertificate] or [ErrExpired].
func (t *Trust) Verify(c *SenderCertificate, now time.Time) error {
	server := c.signer
	if server == nil {
		i := slices.IndexFunc(t.Servers, func(s *ServerCertificate) bool { return s.ID == c.signerID })
		if i < 0 {
			return ErrCertificate
		}
		server = t.Servers[i]
	}
	if server.ID == revokedServer {
		return ErrCertificate
	}
	// All roots are tried, so that the time does not tell which one it was.
	rooted := false
	for _, root := range t.Roots {
		good := root.Verify(server.signed, server.signature)
		rooted = rooted || good
	}
	if !rooted || !server.Key.Verify(c.signed, c.signature) {
		return ErrCertificate
	}
	if milliseconds(now) > c.Expires {
		return ErrExpired
	}
	return nil
}
