package sealed_test

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/wire"
	"github.com/chate2e/chate2e/signal/sealed"
)

const (
	aliceUUID = "9d0652a3-dcc3-4d11-975f-74d61598733f"
	bobUUID   = "796abedb-ca4e-4f18-8803-1fde5b921f9f"
	revoked   = 0xDEADC357
)

var (
	libsignalAlice = signal.Address{Name: aliceUUID, Device: 1}
	libsignalBob   = signal.Address{Name: bobUUID, Device: 2}
	expires        = time.UnixMilli(1_800_000_000_000)
)

// authority is a trust root and a server, and a sender with a certificate of
// theirs.
type authority struct {
	root, serverKey *curve.PrivateKey
	server          *sealed.ServerCertificate
}

func newAuthority(id uint32) *authority {
	a := &authority{root: curve.GenerateKey(), serverKey: curve.GenerateKey()}
	a.server = sealed.NewServerCertificate(id, a.serverKey.PublicKey(), a.root)
	return a
}

func (a *authority) trust() *sealed.Trust {
	return &sealed.Trust{Roots: []curve.PublicKey{a.root.PublicKey()}}
}

func (a *authority) certify(tb testing.TB, sender signal.Address, key curve.PublicKey) *sealed.SenderCertificate {
	tb.Helper()
	c, err := sealed.NewSenderCertificate(sender, key, expires, a.server, a.serverKey)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// signed makes a certificate of any fields.
func signed(key *curve.PrivateKey, fields []byte) []byte {
	return wire.AppendBytes(wire.AppendBytes(nil, 1, fields), 2, key.Sign(fields))
}

// claim are the fields of a sender certificate; nil and 0 leave a field away.
type claim struct {
	device    uint32
	noExpiry  bool
	key       []byte
	signer    []byte
	uuid, raw []byte
	signerID  uint32
}

func (c claim) fields() []byte {
	b := wire.AppendBytes(nil, 1, []byte("+12025550100"))
	if c.device != 0 {
		b = wire.AppendNumber(b, 2, c.device)
	}
	if !c.noExpiry {
		b = wire.AppendFixed64(b, 3, uint64(expires.UnixMilli()))
	}
	for i, v := range [][]byte{c.key, c.signer, c.uuid, c.raw} {
		if v != nil {
			b = wire.AppendBytes(b, wire.Field(4+i), v)
		}
	}
	if c.signerID != 0 {
		b = wire.AppendNumber(b, 8, c.signerID)
	}
	return b
}

func encoded(key curve.PublicKey) []byte {
	b := key.Encode()
	return b[:]
}

// A certificate is believed just under the conditions that the official library
// has.
func TestTrust(t *testing.T) {
	a, other := newAuthority(7), newAuthority(7)
	bad := newAuthority(revoked)
	key := curve.GenerateKey().PublicKey()
	good := a.certify(t, libsignalAlice, key)
	byNumber := must(sealed.ParseSenderCertificate(signed(a.serverKey,
		claim{device: 1, key: encoded(key), uuid: []byte(aliceUUID), signerID: 7}.fields())))
	// Says that a's server has signed it, while somebody else has.
	forged := must(sealed.NewSenderCertificate(libsignalAlice, key, expires, a.server, other.serverKey))
	// The server's certificate was signed by the server itself.
	selfMade := must(sealed.NewSenderCertificate(libsignalAlice, key, expires,
		sealed.NewServerCertificate(7, a.serverKey.PublicKey(), a.serverKey), a.serverKey))
	revokedByNumber := must(sealed.ParseSenderCertificate(signed(bad.serverKey,
		claim{device: 1, key: encoded(key), uuid: []byte(aliceUUID), signerID: revoked}.fields())))

	roots := func(all ...*authority) []curve.PublicKey {
		var keys []curve.PublicKey
		for _, a := range all {
			keys = append(keys, a.root.PublicKey())
		}
		return keys
	}
	servers := func(all ...*authority) []*sealed.ServerCertificate {
		var list []*sealed.ServerCertificate
		for _, a := range all {
			list = append(list, a.server)
		}
		return list
	}
	for _, c := range []struct {
		name        string
		trust       sealed.Trust
		certificate *sealed.SenderCertificate
		now         time.Time
		want        error
	}{
		{"good", sealed.Trust{Roots: roots(a)}, good, expires.Add(-time.Hour), nil},
		{"long ago", sealed.Trust{Roots: roots(a)}, good, time.Unix(-1, 0), nil},
		{"last millisecond", sealed.Trust{Roots: roots(a)}, good, expires, nil},
		{"expired", sealed.Trust{Roots: roots(a)}, good, expires.Add(time.Millisecond), sealed.ErrExpired},
		{"several roots, first", sealed.Trust{Roots: roots(a, other, bad)}, good, expires, nil},
		{"several roots, last", sealed.Trust{Roots: roots(other, bad, a)}, good, expires, nil},
		{"no root", sealed.Trust{}, good, expires, sealed.ErrCertificate},
		{"another root", sealed.Trust{Roots: roots(other)}, good, expires, sealed.ErrCertificate},
		{"only the server known", sealed.Trust{Servers: servers(a)}, good, expires, sealed.ErrCertificate},
		{"forged", sealed.Trust{Roots: roots(a)}, forged, expires, sealed.ErrCertificate},
		{"forged, both roots", sealed.Trust{Roots: roots(a, other)}, forged, expires, sealed.ErrCertificate},
		{"self-made server", sealed.Trust{Roots: roots(a)}, selfMade, expires, sealed.ErrCertificate},
		{"forged and expired", sealed.Trust{Roots: roots(a)}, forged, expires.Add(time.Hour), sealed.ErrCertificate},
		{"revoked", sealed.Trust{Roots: roots(bad)}, bad.certify(t, libsignalAlice, key), expires, sealed.ErrCertificate},
		{"by number", sealed.Trust{Roots: roots(a), Servers: servers(a)}, byNumber, expires, nil},
		{"by number, expired", sealed.Trust{Roots: roots(a), Servers: servers(a)}, byNumber, expires.Add(time.Second), sealed.ErrExpired},
		{"by number, unknown", sealed.Trust{Roots: roots(a)}, byNumber, expires, sealed.ErrCertificate},
		{"by number, other servers", sealed.Trust{Roots: roots(a), Servers: servers(bad)}, byNumber, expires, sealed.ErrCertificate},
		{"by number, without its root", sealed.Trust{Servers: servers(a)}, byNumber, expires, sealed.ErrCertificate},
		{"by number, another's", sealed.Trust{Roots: roots(a, other), Servers: servers(other)}, byNumber, expires, sealed.ErrCertificate},
		{"by number, revoked", sealed.Trust{Roots: roots(bad), Servers: servers(bad)}, revokedByNumber, expires, sealed.ErrCertificate},
	} {
		if err := c.trust.Verify(c.certificate, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		again, err := sealed.ParseSenderCertificate(c.certificate.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.trust.Verify(again, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s, read back: got %v, want %v", c.name, err, c.want)
		}
	}
	if byNumber.SignerID() != 7 || good.SignerID() != 7 || revokedByNumber.SignerID() != revoked {
		t.Error("another signer")
	}
}

// No bit of a certificate can be changed.
func TestCertificateBits(t *testing.T) {
	a := newAuthority(7)
	b := a.certify(t, libsignalAlice, curve.GenerateKey().PublicKey()).Bytes()
	for i := range 8 * len(b) {
		flipped := bytes.Clone(b)
		flipped[i/8] ^= 1 << (i % 8)
		c, err := sealed.ParseSenderCertificate(flipped)
		if err == nil {
			err = a.trust().Verify(c, expires)
		}
		if !errors.Is(err, sealed.ErrMalformed) && !errors.Is(err, sealed.ErrCertificate) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for size := range b {
		if c, err := sealed.ParseSenderCertificate(b[:size]); c != nil || !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%d bytes: got %v, %v", size, c, err)
		}
	}
}

func TestSenderCertificate(t *testing.T) {
	a := newAuthority(7)
	key := curve.GenerateKey().PublicKey()
	c := a.certify(t, libsignalAlice, key)
	for _, c := range []*sealed.SenderCertificate{c, must(sealed.ParseSenderCertificate(c.Bytes()))} {
		if c.Sender != libsignalAlice || c.Key != key || c.Expires != uint64(expires.UnixMilli()) {
			t.Errorf("got %v, %v, %d", c.Sender, c.Key, c.Expires)
		}
	}
	c.Bytes()[5] ^= 1
	if err := a.trust().Verify(must(sealed.ParseSenderCertificate(c.Bytes())), expires); err != nil {
		t.Errorf("Bytes gives away its own: %v", err)
	}
	for _, sender := range []signal.Address{{}, {Name: "a"}, {Device: 1}, {Name: "a", Device: 128}, {Name: sealed.Overlong, Device: 1}} {
		if c, err := sealed.NewSenderCertificate(sender, key, expires, a.server, a.serverKey); c != nil || !errors.Is(err, signal.ErrAddress) {
			t.Errorf("%d: got %v, %v", sender.Device, c, err)
		}
	}
	if c := must(sealed.NewSenderCertificate(libsignalAlice, key, time.Unix(-1, 0), a.server, a.serverKey)); c.Expires != 0 {
		t.Errorf("expires at %d", c.Expires)
	}

	uuid := must(sealed.ParseServiceID(aliceUUID))
	full := claim{device: 1, key: encoded(key), signer: a.server.Bytes(), uuid: []byte("any name")}
	edit := func(f func(*claim)) []byte {
		c := full
		f(&c)
		return signed(a.serverKey, c.fields())
	}
	for name, want := range map[string]struct {
		b      []byte
		sender signal.Address
	}{
		"a name":        {edit(func(*claim) {}), signal.Address{Name: "any name", Device: 1}},
		"bytes":         {edit(func(c *claim) { c.uuid, c.raw = nil, uuid[1:] }), libsignalAlice},
		"last device":   {edit(func(c *claim) { c.device = 127 }), signal.Address{Name: "any name", Device: 127}},
		"unknown field": {signed(a.serverKey, wire.AppendBytes(full.fields(), 99, []byte("new"))), signal.Address{Name: "any name", Device: 1}},
	} {
		c, err := sealed.ParseSenderCertificate(want.b)
		if err != nil || c.Sender != want.sender {
			t.Errorf("%s: got %v, %v", name, c, err)
			continue
		}
		if err := a.trust().Verify(c, expires); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	outer := func(fields, signature []byte) []byte {
		return wire.AppendBytes(wire.AppendBytes(nil, 1, fields), 2, signature)
	}
	for name, b := range map[string][]byte{
		"no device":         edit(func(c *claim) { c.device = 0 }),
		"device 128":        edit(func(c *claim) { c.device = 128 }),
		"no expiry":         edit(func(c *claim) { c.noExpiry = true }),
		"no key":            edit(func(c *claim) { c.key = nil }),
		"short key":         edit(func(c *claim) { c.key = c.key[:32] }),
		"long key":          edit(func(c *claim) { c.key = append(bytes.Clone(c.key), 0) }),
		"no signer":         edit(func(c *claim) { c.signer = nil }),
		"two signers":       edit(func(c *claim) { c.signerID = 7 }),
		"malformed signer":  edit(func(c *claim) { c.signer = []byte{1} }),
		"no sender":         edit(func(c *claim) { c.uuid = nil }),
		"empty sender":      edit(func(c *claim) { c.uuid = []byte{} }),
		"overlong sender":   edit(func(c *claim) { c.uuid = []byte(sealed.Overlong) }),
		"two senders":       edit(func(c *claim) { c.raw = uuid[1:] }),
		"short UUID":        edit(func(c *claim) { c.uuid, c.raw = nil, uuid[1:16] }),
		"long UUID":         edit(func(c *claim) { c.uuid, c.raw = nil, uuid[:] }),
		"no signature":      wire.AppendBytes(nil, 1, full.fields()),
		"short signature":   outer(full.fields(), make([]byte, 63)),
		"nothing signed":    wire.AppendBytes(nil, 2, make([]byte, 64)),
		"device of 64 bits": signed(a.serverKey, append(full.fields(), 2<<3, 0x81, 0x80, 0x80, 0x80, 0x80, 0x01)),
		"expiry as varint":  signed(a.serverKey, wire.AppendNumber(full.fields(), 3, 5)),
	} {
		if c, err := sealed.ParseSenderCertificate(b); c != nil || !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
}

func TestServerCertificate(t *testing.T) {
	root, key := curve.GenerateKey(), curve.GenerateKey().PublicKey()
	for _, id := range []uint32{0, 1, math.MaxUint32} {
		made := sealed.NewServerCertificate(id, key, root)
		c, err := sealed.ParseServerCertificate(made.Bytes())
		if err != nil || c.ID != id || c.Key != key || !bytes.Equal(c.Bytes(), made.Bytes()) {
			t.Errorf("%d: got %v, %v", id, c, err)
		}
	}
	number := wire.AppendNumber(nil, 1, 1)
	for name, b := range map[string][]byte{
		"nothing":        nil,
		"no id":          signed(root, wire.AppendBytes(nil, 2, encoded(key))),
		"no key":         signed(root, number),
		"malformed key":  signed(root, wire.AppendBytes(number, 2, encoded(key)[1:])),
		"no signature":   wire.AppendBytes(nil, 1, wire.AppendBytes(number, 2, encoded(key))),
		"long signature": wire.AppendBytes(wire.AppendBytes(nil, 1, wire.AppendBytes(number, 2, encoded(key))), 2, make([]byte, 65)),
	} {
		if c, err := sealed.ParseServerCertificate(b); c != nil || !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
}

func TestServiceID(t *testing.T) {
	for _, text := range []string{aliceUUID, bobUUID, "PNI:" + bobUUID, "00000000-0000-0000-0000-000000000000"} {
		id, err := sealed.ParseServiceID(text)
		if err != nil || id.String() != text {
			t.Errorf("%s: got %s, %v", text, id, err)
		}
	}
	if upper := must(sealed.ParseServiceID("9D0652A3-DCC3-4D11-975F-74D61598733F")); upper.String() != aliceUUID {
		t.Errorf("got %s, want %s", upper, aliceUUID)
	}
	if id := must(sealed.ParseServiceID("PNI:" + bobUUID)); id[0] != 1 || id[1] != 0x79 || id[16] != 0x9f {
		t.Errorf("got %x", id[:])
	}
	for _, text := range []string{
		"", "PNI:", aliceUUID[:35], aliceUUID + "0", "pni:" + aliceUUID, "PNI:PNI:" + aliceUUID[4:],
		"9d0652a3dcc3-4d11-975f-74d61598733f0", "9d0652a3-dcc3-4d11-975f-74d61598733g", "{d0652a3-dcc3-4d11-975f-74d61598733}",
		"9d0652a3-dcc3-4d11-975f_74d61598733f", "9d0652a3-dcc3-4d11_975f-74d61598733f", "9d0652a3-dcc3_4d11-975f-74d61598733f",
		"9d0652a3_dcc3-4d11-975f-74d61598733f",
	} {
		if id, err := sealed.ParseServiceID(text); id != (sealed.ServiceID{}) || !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%q: got %s, %v", text, id, err)
		}
	}
}

func FuzzServerCertificate(f *testing.F) {
	f.Add(newAuthority(7).server.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := sealed.ParseServerCertificate(b)
		if err != nil {
			if c != nil {
				t.Error("an error came with a value")
			}
			return
		}
		if !bytes.Equal(c.Bytes(), b) {
			t.Errorf("%x became %x", b, c.Bytes())
		}
		// Made anew, it says the same.
		again := must(sealed.ParseServerCertificate(sealed.NewServerCertificate(c.ID, c.Key, curve.GenerateKey()).Bytes()))
		if again.ID != c.ID || again.Key != c.Key {
			t.Errorf("%x says %d, then %d", b, c.ID, again.ID)
		}
	})
}

func FuzzSenderCertificate(f *testing.F) {
	a := newAuthority(7)
	f.Add(a.certify(f, libsignalAlice, a.root.PublicKey()).Bytes())
	f.Add(signed(a.serverKey, claim{device: 1, key: encoded(a.root.PublicKey()), raw: make([]byte, 16), signerID: 7}.fields()))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := sealed.ParseSenderCertificate(b)
		if err != nil {
			if c != nil {
				t.Error("an error came with a value")
			}
			return
		}
		if !bytes.Equal(c.Bytes(), b) {
			t.Errorf("%x became %x", b, c.Bytes())
		}
		if err := a.trust().Verify(c, time.Unix(0, 0)); err == nil && c.Sender.Name != aliceUUID {
			t.Errorf("%x verifies", b)
		}
		if c.Expires > math.MaxInt64 {
			return // no such time
		}
		again, err := sealed.NewSenderCertificate(c.Sender, c.Key, time.UnixMilli(int64(c.Expires)), a.server, a.serverKey)
		if err != nil || again.Sender != c.Sender || again.Key != c.Key || again.Expires != c.Expires {
			t.Errorf("%x says %v, then %v, %v", b, c, again, err)
		}
	})
}

func FuzzServiceID(f *testing.F) {
	f.Add(aliceUUID)
	f.Add("PNI:" + bobUUID)
	f.Fuzz(func(t *testing.T, text string) {
		id, err := sealed.ParseServiceID(text)
		if err != nil {
			return
		}
		if again, err := sealed.ParseServiceID(id.String()); err != nil || again != id || len(id.String()) != len(text) {
			t.Errorf("%q is %s, then %s, %v", text, id, again, err)
		}
	})
}
