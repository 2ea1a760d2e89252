package sealed_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/wire"
	"github.com/chate2e/chate2e/signal/sealed"
)

// TestOfficialSealedSender opens messages of version 1 that the official library
// has made.
func TestOfficialSealedSender(t *testing.T) {
	var file struct {
		Cases []struct {
			Version   string
			Sealed    testvectors.Hex
			Recipient testvectors.Hex `json:"recipient_identity_private"`
			Root      testvectors.Hex `json:"trust_root"`
			Sender    string          `json:"expected_sender_uuid"`
			Content   testvectors.Hex `json:"expected_content"`
		}
	}
	testvectors.Official(t, "sealedsender.json", &file)
	if len(file.Cases) == 0 {
		t.Fatal("no cases")
	}
	for i, c := range file.Cases {
		our := must(curve.NewPrivateKey(c.Recipient))
		trust := &sealed.Trust{Roots: []curve.PublicKey{must(curve.ParsePublicKey(c.Root))}}
		unverified, err := sealed.Unseal(our, c.Sealed)
		if err != nil {
			t.Errorf("%d, %s: %v", i, c.Version, err)
			continue
		}
		content, err := unverified.Verify(trust, libsignalBob, noon.AddDate(-40, 0, 0))
		if err != nil {
			t.Errorf("%d, %s: %v", i, c.Version, err)
			continue
		}
		if content.Sender.Sender.Name != c.Sender || !bytes.Equal(content.Message, c.Content) {
			t.Errorf("%d, %s: got %x from %v, want %x from %s", i, c.Version, content.Message, content.Sender.Sender, c.Content, c.Sender)
		}
		if _, err := unverified.Verify(&sealed.Trust{}, libsignalBob, noon); !errors.Is(err, sealed.ErrCertificate) {
			t.Errorf("%d, %s: without a root: %v", i, c.Version, err)
		}
	}
}

// correspondents are Alice, who has a certificate, and Bob.
type correspondents struct {
	*authority
	alice, bob  *curve.PrivateKey
	certificate *sealed.SenderCertificate
}

func newCorrespondents(tb testing.TB) *correspondents {
	tb.Helper()
	c := &correspondents{authority: newAuthority(1), alice: curve.GenerateKey(), bob: curve.GenerateKey()}
	c.certificate = c.certify(tb, libsignalAlice, c.alice.PublicKey())
	return c
}

func (c *correspondents) content(message []byte) *sealed.Content {
	return &sealed.Content{Type: sealed.TypeGroup, Sender: c.certificate, Message: message}
}

func (c *correspondents) toBob() []sealed.Recipient {
	return []sealed.Recipient{{
		ID: must(sealed.ParseServiceID(bobUUID)), Identity: c.bob.PublicKey(), Devices: []sealed.Device{{ID: 2, Registration: 0x1234}},
	}}
}

// received is what the only recipient gets of a sent message.
func received(tb testing.TB, sent []byte) []byte {
	tb.Helper()
	s, err := sealed.ParseSent(sent)
	if err != nil || len(s.Recipients) != 1 {
		tb.Fatalf("got %v, %v", s, err)
	}
	return s.For(&s.Recipients[0])
}

// both seals content for Bob in both versions.
func (c *correspondents) both(tb testing.TB, content *sealed.Content) map[string][]byte {
	tb.Helper()
	v1, err := sealed.SealV1(c.alice, c.bob.PublicKey(), content)
	if err != nil {
		tb.Fatal(err)
	}
	v2, err := sealed.SealV2(c.alice, content, c.toBob(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return map[string][]byte{"v1": v1, "v2": received(tb, v2)}
}

// plain is what tests compare of content.
type plain struct {
	Type    sealed.Type
	Sender  signal.Address
	Key     curve.PublicKey
	Message []byte
	Hint    sealed.Hint
	Group   []byte
}

func plainOf(c *sealed.Content) plain {
	return plain{c.Type, c.Sender.Sender, c.Sender.Key, c.Message, c.Hint, c.Group}
}

func TestSealedSender(t *testing.T) {
	r := testrand.New(t)
	c := newCorrespondents(t)
	for _, content := range []*sealed.Content{
		{Type: sealed.TypeMessage, Message: []byte{}},
		{Type: sealed.TypePreKey, Message: r.Bytes(2000), Hint: sealed.HintResendable},
		{Type: sealed.TypeGroup, Message: r.Bytes(17), Hint: sealed.HintImplicit, Group: r.Bytes(32)},
		{Type: sealed.TypePlaintext, Message: r.Bytes(70_000), Hint: 7, Group: []byte{0}},
	} {
		content.Sender = c.certificate
		for version, b := range c.both(t, content) {
			unverified, err := sealed.Unseal(c.bob, b)
			if err != nil {
				t.Fatalf("%s: %v", version, err)
			}
			clear(b) // Unseal has copied it
			got, err := unverified.Verify(c.trust(), libsignalBob, expires)
			if err != nil {
				t.Fatalf("%s: %v", version, err)
			}
			if diff := cmp.Diff(plainOf(content), plainOf(got)); diff != "" {
				t.Errorf("%s differs (-want +got):\n%s", version, diff)
			}
			if diff := cmp.Diff(plainOf(content), plainOf(unverified.Claims())); diff != "" {
				t.Errorf("%s claims something else (-want +got):\n%s", version, diff)
			}
		}
	}
}

// No bit of a sealed message can be changed, no other key opens it, and no length
// is right but its own.
func TestSealedSenderRefuses(t *testing.T) {
	r := testrand.New(t)
	c := newCorrespondents(t)
	for version, b := range c.both(t, c.content(r.Bytes(20))) {
		refused := func(what string, at int, key *curve.PrivateKey, b []byte) {
			t.Helper()
			if u, err := sealed.Unseal(key, b); u != nil || !errors.Is(err, sealed.ErrOpen) {
				t.Errorf("%s, %s, %d: got %v, %v", version, what, at, u, err)
			}
		}
		for i := range b {
			for bit := range 8 {
				if i > 0 && bit != r.IntN(8) { // all of the version, one or so of the others
					continue
				}
				flipped := bytes.Clone(b)
				flipped[i] ^= 1 << bit
				if version == "v2" && flipped[0] == 0x23 {
					continue // the other version byte that a receiver takes
				}
				refused("flipped", i, c.bob, flipped)
			}
		}
		for _, size := range []int{0, 1, 2, 10, 50, 80, 81, 96, 97, len(b) - 1} {
			refused("truncated", size, c.bob, b[:size])
		}
		refused("longer", 0, c.bob, append(bytes.Clone(b), 0))
		refused("another key", 0, curve.GenerateKey(), b)
		refused("the sender's key", 0, c.alice, b)
		if _, err := sealed.Unseal(c.bob, b); err != nil {
			t.Errorf("%s: unchanged: %v", version, err)
		}
	}
	// Fields that are missing, or too short for their MAC.
	v1 := c.both(t, c.content(nil))["v1"]
	fields, ok := wire.Parse(v1[1:], nil, []wire.Field{1, 2, 3})
	if !ok {
		t.Fatal("not a protobuf")
	}
	for changed := range wire.Field(4) {
		for size := range 13 {
			b := []byte{0x11}
			for field := wire.Field(1); field <= 3; field++ {
				switch {
				case field != changed:
					b = wire.AppendBytes(b, field, fields.Bytes[field])
				case size < 12:
					b = wire.AppendBytes(b, field, fields.Bytes[field][:size])
				}
			}
			if u, err := sealed.Unseal(c.bob, b); (err == nil) != (changed == 0) {
				t.Errorf("field %d of %d bytes: got %v, %v", changed, size, u, err)
			}
		}
	}
	v2 := c.both(t, c.content(nil))["v2"]
	v2[0] = 0x23
	if _, err := sealed.Unseal(c.bob, v2); err != nil {
		t.Errorf("the other version byte: %v", err)
	}
}

// Mallory has no certificate but Alice's, which everybody has that she wrote to.
func TestSealedInAnothersName(t *testing.T) {
	c := newCorrespondents(t)
	mallory := curve.GenerateKey()
	content := c.content([]byte("I am Alice"))
	if b, err := sealed.SealV1(mallory, c.bob.PublicKey(), content); b != nil || !errors.Is(err, sealed.ErrContent) {
		t.Errorf("v1: got %x, %v", b, err)
	}
	if b, err := sealed.SealV2(mallory, content, c.toBob(), nil); b != nil || !errors.Is(err, sealed.ErrContent) {
		t.Errorf("v2: got %x, %v", b, err)
	}
	plaintext := must(content.Append(nil))
	var m [32]byte
	for name, b := range map[string][]byte{
		"v1": must(sealed.SealV1As(mallory, c.bob.PublicKey(), plaintext)),
		"v2": received(t, must(sealed.SealV2As(mallory, m, nil, plaintext, c.toBob()))),
		// Sealed by Alice, but in a way that only she could: the ephemeral key is not
		// the one that follows from the message's secret.
		"v2, another ephemeral key": received(t, must(sealed.SealV2As(c.alice, m, curve.GenerateKey(), plaintext, c.toBob()))),
		"v1, no content":            must(sealed.SealV1As(c.alice, c.bob.PublicKey(), []byte("nothing"))),
		"v2, no content":            received(t, must(sealed.SealV2As(c.alice, m, nil, []byte("nothing"), c.toBob()))),
	} {
		if u, err := sealed.Unseal(c.bob, b); u != nil || !errors.Is(err, sealed.ErrOpen) {
			t.Errorf("%s: got %v, %v", name, u, err)
		}
	}
	for name, b := range map[string][]byte{
		"v1": must(sealed.SealV1As(c.alice, c.bob.PublicKey(), plaintext)),
		"v2": received(t, must(sealed.SealV2As(c.alice, m, nil, plaintext, c.toBob()))),
	} {
		if _, err := sealed.Unseal(c.bob, b); err != nil {
			t.Errorf("%s by Alice herself: %v", name, err)
		}
	}
}

// Keys of low order make secrets that everybody knows.
func TestUnsealLowOrder(t *testing.T) {
	c := newCorrespondents(t)
	low := append([]byte{5}, make([]byte, 32)...)
	// The first layer of version 1, from its description.
	v1 := func(ephemeral *curve.PrivateKey, public, static []byte) []byte {
		shared := make([]byte, 32)
		if ephemeral != nil {
			shared = must(ephemeral.ECDH(c.bob.PublicKey())).Bytes()
		}
		salt := slices.Concat([]byte("UnidentifiedDelivery"), encoded(c.bob.PublicKey()), public)
		keys := must(hkdf.Key(sha256.New, shared, salt, "", 96))
		encrypted := make([]byte, len(static))
		cipher.NewCTR(must(aes.NewCipher(keys[32:64])), make([]byte, 16)).XORKeyStream(encrypted, static)
		mac := hmac.New(sha256.New, keys[64:])
		mac.Write(encrypted)
		b := wire.AppendBytes([]byte{0x11}, 1, public)
		b = wire.AppendBytes(b, 2, append(encrypted, mac.Sum(nil)[:10]...))
		return wire.AppendBytes(b, 3, make([]byte, 50))
	}
	ephemeral := curve.GenerateKey()
	v2 := c.both(t, c.content(nil))["v2"]
	lowSender := c.content(nil)
	lowSender.Sender = c.certify(t, libsignalAlice, curve.PublicKey{})
	for name, b := range map[string][]byte{
		"v1, ephemeral key":     v1(nil, low, encoded(c.alice.PublicKey())),
		"v1, sender":            v1(ephemeral, encoded(ephemeral.PublicKey()), low),
		"v1, malformed sender":  v1(ephemeral, encoded(ephemeral.PublicKey()), low[1:]),
		"v2, ephemeral key":     slices.Concat(v2[:49], make([]byte, 32), v2[81:]),
		"v2, certificate's key": received(t, must(sealed.SealV2As(c.alice, [32]byte{}, nil, must(lowSender.Append(nil)), c.toBob()))),
	} {
		if u, err := sealed.Unseal(c.bob, b); u != nil || !errors.Is(err, sealed.ErrOpen) {
			t.Errorf("%s: got %v, %v", name, u, err)
		}
	}
}

// What comes back to its sender is refused as such, however its name is spelled.
func TestSealedSenderSelf(t *testing.T) {
	c := newCorrespondents(t)
	for _, test := range []struct {
		sender, us signal.Address
		want       error
	}{
		{libsignalAlice, libsignalAlice, sealed.ErrSelf},
		{signal.Address{Name: strings.ToUpper(aliceUUID), Device: 1}, libsignalAlice, sealed.ErrSelf},
		{libsignalAlice, signal.Address{Name: aliceUUID, Device: 2}, nil},
		{libsignalAlice, signal.Address{Name: bobUUID, Device: 1}, nil},
		{libsignalAlice, signal.Address{Name: "PNI:" + aliceUUID, Device: 1}, nil},
		{signal.Address{Name: "alice", Device: 1}, signal.Address{Name: "alice", Device: 1}, sealed.ErrSelf},
		{signal.Address{Name: "alice", Device: 1}, signal.Address{Name: "Alice", Device: 1}, nil},
		{signal.Address{Name: "alice", Device: 1}, libsignalAlice, nil},
	} {
		c.certificate = c.certify(t, test.sender, c.alice.PublicKey())
		for version, b := range c.both(t, c.content(nil)) {
			content, err := must(sealed.Unseal(c.bob, b)).Verify(c.trust(), test.us, expires)
			if !errors.Is(err, test.want) || (content == nil) != (err != nil) {
				t.Errorf("%s: %v for %v: got %v, %v", version, test.sender, test.us, content, err)
			}
		}
	}
	// Who is not believed is not compared either.
	b := c.both(t, c.content(nil))["v1"]
	if _, err := must(sealed.Unseal(c.bob, b)).Verify(&sealed.Trust{}, libsignalAlice, expires); !errors.Is(err, sealed.ErrCertificate) {
		t.Errorf("got %v", err)
	}
}

func TestContent(t *testing.T) {
	c := newCorrespondents(t)
	for _, content := range []*sealed.Content{
		{Sender: c.certificate}, {Type: 1, Sender: c.certificate}, {Type: 9, Sender: c.certificate}, {Type: sealed.TypeGroup},
	} {
		if b, err := content.Append(nil); b != nil || !errors.Is(err, sealed.ErrContent) {
			t.Errorf("type %d: got %x, %v", content.Type, b, err)
		}
		if b, err := sealed.SealV1(c.alice, c.bob.PublicKey(), content); b != nil || !errors.Is(err, sealed.ErrContent) {
			t.Errorf("type %d: v1: got %x, %v", content.Type, b, err)
		}
		if b, err := sealed.SealV2(c.alice, content, c.toBob(), nil); b != nil || !errors.Is(err, sealed.ErrContent) {
			t.Errorf("type %d: v2: got %x, %v", content.Type, b, err)
		}
	}
	certificate := c.certificate.Bytes()
	fields := func(kind uint32, sender, message []byte) []byte {
		var b []byte
		if kind > 0 {
			b = wire.AppendNumber(b, 1, kind)
		}
		if sender != nil {
			b = wire.AppendBytes(b, 2, sender)
		}
		if message != nil {
			b = wire.AppendBytes(b, 3, message)
		}
		return b
	}
	good := fields(7, certificate, []byte("message"))
	for name, b := range map[string][]byte{
		"nothing": nil, "no type": fields(0, certificate, []byte("m")), "type 3": fields(3, certificate, []byte("m")),
		"type 9": fields(9, certificate, []byte("m")), "no sender": fields(7, nil, []byte("m")),
		"malformed sender": fields(7, certificate[1:], []byte("m")), "no message": fields(7, certificate, nil),
		"truncated": good[:len(good)-1], "half a field": append(bytes.Clone(good), 4<<3),
	} {
		if c, err := sealed.ParseContent(b); c != nil || !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
	if b, err := c.content([]byte("message")).Append([]byte{9}); err != nil || !bytes.Equal(b, append([]byte{9}, good...)) {
		t.Errorf("got %x, %v, want %x", b, err, good)
	}
	copied := must(sealed.ParseContent(good))
	clear(good)
	if string(copied.Message) != "message" {
		t.Errorf("ParseContent keeps what it was given: %x", copied.Message)
	}
	good = fields(7, certificate, []byte("message"))
	if c, err := sealed.ParseContent(wire.AppendBytes(good, 5, nil)); err != nil || c.Group != nil || c.Hint != sealed.HintNone {
		t.Errorf("an empty group: got %v, %v", c, err)
	}
}

// One message for many: each account gets what opens for it, with all its
// devices named, and the server learns what it is told and no more.
func TestSealV2Many(t *testing.T) {
	r := testrand.New(t)
	c := newCorrespondents(t)
	var recipients []sealed.Recipient
	var keys []*curve.PrivateKey
	for i := range 5 {
		keys = append(keys, curve.GenerateKey())
		to := sealed.Recipient{ID: sealed.ServiceID(append([]byte{byte(i % 2)}, r.Bytes(16)...)), Identity: keys[i].PublicKey()}
		for id := range r.IntN(4) + 1 {
			to.Devices = append(to.Devices, sealed.Device{ID: uint8(127 - id), Registration: uint16(r.IntN(0x4000))})
		}
		recipients = append(recipients, to)
	}
	excluded := []sealed.ServiceID{{1}, {0: 0, 5: 9}}
	content := c.content(r.Bytes(99))
	sent, err := sealed.SealV2(c.alice, content, recipients, excluded)
	if err != nil {
		t.Fatal(err)
	}

	// As the official library lays it out.
	want := []byte{0x23, 7}
	at := len(want)
	for i := range recipients {
		to := &recipients[i]
		if !bytes.Equal(sent[at:at+17], to.ID[:]) {
			t.Fatalf("recipient %d is %x, want %x", i, sent[at:at+17], to.ID[:])
		}
		at += 17
		for j, d := range to.Devices {
			registration := d.Registration
			if j < len(to.Devices)-1 {
				registration |= 0x8000
			}
			if got := sent[at : at+3]; got[0] != d.ID || binary.BigEndian.Uint16(got[1:]) != registration {
				t.Fatalf("device %x, want %v", got, d)
			}
			at += 3
		}
		at += 48
	}
	for _, id := range excluded {
		if got := sent[at : at+18]; !bytes.Equal(got, append(id[:], 0)) {
			t.Fatalf("excluded is %x, want %x", got, id[:])
		}
		at += 18
	}
	if size := 32 + len(must(content.Append(nil))) + 16; len(sent)-at != size {
		t.Errorf("%d bytes are shared, want %d", len(sent)-at, size)
	}

	s, err := sealed.ParseSent(sent)
	if err != nil {
		t.Fatal(err)
	}
	shared := sent[at:]
	clear(sent[:at]) // ParseSent has copied it
	if !slices.Equal(s.Excluded, excluded) || len(s.Recipients) != len(recipients) {
		t.Errorf("got %d recipients, %d excluded", len(s.Recipients), len(s.Excluded))
	}
	for i := range s.Recipients {
		to := &s.Recipients[i]
		if to.ID != recipients[i].ID || !slices.Equal(to.Devices, recipients[i].Devices) {
			t.Errorf("recipient %d is %v with %v", i, to.ID, to.Devices)
		}
		b := s.For(to)
		if b[0] != 0x22 || !bytes.HasSuffix(b, shared) || len(b) != 1+48+len(shared) {
			t.Errorf("recipient %d gets %d bytes of version %x", i, len(b), b[0])
		}
		for j, key := range keys {
			u, err := sealed.Unseal(key, b)
			if (err == nil) != (i == j) {
				t.Errorf("the message for %d opens for %d: %v", i, j, err)
			}
			if err == nil && !bytes.Equal(u.Claims().Message, content.Message) {
				t.Errorf("the message for %d opens as %x", i, u.Claims().Message)
			}
		}
	}
}

func TestSealV2Recipients(t *testing.T) {
	c := newCorrespondents(t)
	bob := c.toBob()[0]
	edit := func(f func(*sealed.Recipient)) []sealed.Recipient {
		r := bob
		r.Devices = slices.Clone(bob.Devices)
		f(&r)
		return []sealed.Recipient{r}
	}
	low := edit(func(r *sealed.Recipient) { r.Identity = curve.PublicKey{} })
	if b, err := sealed.SealV2(c.alice, c.content(nil), low, nil); b != nil || !errors.Is(err, curve.ErrLowOrder) {
		t.Errorf("a key of low order: got %x, %v", b, err)
	}
	if b, err := sealed.SealV1(c.alice, curve.PublicKey{}, c.content(nil)); b != nil || !errors.Is(err, curve.ErrLowOrder) {
		t.Errorf("v1, a key of low order: got %x, %v", b, err)
	}
	for name, to := range map[string]struct {
		recipients []sealed.Recipient
		excluded   []sealed.ServiceID
	}{
		"nobody":           {nil, nil},
		"only excluded":    {nil, []sealed.ServiceID{{1}}},
		"twice":            {[]sealed.Recipient{bob, bob}, nil},
		"excluded as well": {[]sealed.Recipient{bob}, []sealed.ServiceID{bob.ID}},
		"excluded twice":   {[]sealed.Recipient{bob}, []sealed.ServiceID{{1}, {1}}},
		"excluded kind":    {[]sealed.Recipient{bob}, []sealed.ServiceID{{2}}},
		"no devices":       {edit(func(r *sealed.Recipient) { r.Devices = nil }), nil},
		"device 0":         {edit(func(r *sealed.Recipient) { r.Devices[0].ID = 0 }), nil},
		"device 128":       {edit(func(r *sealed.Recipient) { r.Devices[0].ID = 128 }), nil},
		"device twice":     {edit(func(r *sealed.Recipient) { r.Devices = append(r.Devices, r.Devices[0]) }), nil},
		"registration":     {edit(func(r *sealed.Recipient) { r.Devices[0].Registration = 0x4000 }), nil},
		"kind":             {edit(func(r *sealed.Recipient) { r.ID[0] = 2 }), nil},
	} {
		if b, err := sealed.SealV2(c.alice, c.content(nil), to.recipients, to.excluded); b != nil || !errors.Is(err, sealed.ErrRecipients) {
			t.Errorf("%s: got %x, %v", name, b, err)
		}
	}
}

func TestParseSent(t *testing.T) {
	uuid := must(sealed.ParseServiceID(bobUUID))
	other := sealed.ServiceID{1, 2, 3}
	own, otherOwn := bytes.Repeat([]byte{7}, 48), bytes.Repeat([]byte{8}, 48)
	shared := make([]byte, 32+16)
	entry := func(id sealed.ServiceID, own []byte, devices ...uint16) []byte {
		b := id[:]
		for i, d := range devices {
			registration := d
			if i < len(devices)-1 {
				registration |= 0x8000
			}
			b = binary.BigEndian.AppendUint16(append(b, byte(d)), registration)
		}
		if devices == nil {
			return append(b, 0)
		}
		return append(b, own...)
	}
	sent := func(count byte, parts ...[]byte) []byte {
		return slices.Concat(append([][]byte{{0x23, count}}, append(parts, shared)...)...)
	}

	// An account in two places, as the official library writes what it is given in
	// that order.
	s, err := sealed.ParseSent(sent(4, entry(uuid, own, 1, 2), entry(other, otherOwn, 5), entry(sealed.ServiceID{9: 9}, nil), entry(uuid, own, 3)))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Recipients) != 2 || len(s.Excluded) != 1 || s.Recipients[0].ID != uuid || s.Recipients[1].ID != other {
		t.Errorf("got %v", s)
	}
	if want := []sealed.Device{{1, 1}, {2, 2}, {3, 3}}; !slices.Equal(s.Recipients[0].Devices, want) {
		t.Errorf("got devices %v, want %v", s.Recipients[0].Devices, want)
	}
	if got, want := s.For(&s.Recipients[1]), slices.Concat([]byte{0x22}, otherOwn, shared); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	if s, err := sealed.ParseSent(sent(0)); err != nil || len(s.Recipients) != 0 {
		t.Errorf("for nobody: got %v, %v", s, err)
	}

	whole := sent(3, entry(uuid, own, 1, 2), entry(sealed.ServiceID{9: 9}, nil), entry(other, otherOwn, 5))
	for size := range len(whole) {
		if s, err := sealed.ParseSent(whole[:size]); s != nil || !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%d of %d bytes: got %v, %v", size, len(whole), s, err)
		}
	}
	wide := func(count uint64) []byte { return append(binary.AppendUvarint([]byte{0x23}, count), shared...) }
	for name, b := range map[string][]byte{
		"nothing": nil, "no count": {0x23}, "received form": append([]byte{0x22, 0}, shared...), "half a count": {0x23, 0x80},
		"too few":           sent(2, entry(uuid, own, 1)),
		"too many":          sent(0, entry(uuid, own, 1))[:49],
		"no shared part":    sent(1, entry(uuid, own, 1))[:2+17+3+48],
		"short shared part": append([]byte{0x23, 0}, make([]byte, 47)...),
		"huge":              wide(math.MaxUint32), "huger": wide(1 << 32), "hugest": wide(math.MaxUint64),
		"kind":             sent(1, entry(sealed.ServiceID{2}, own, 1)),
		"device 0":         sent(1, entry(uuid, own, 1, 0)),
		"device 128":       sent(1, entry(uuid, own, 128)),
		"device twice":     sent(1, entry(uuid, own, 1, 1)),
		"registration":     sent(1, entry(uuid, own, 0x4001)),
		"twice":            sent(2, entry(uuid, own, 1), entry(uuid, own, 1)),
		"other keys":       sent(2, entry(uuid, own, 1), entry(uuid, otherOwn, 2)),
		"excluded as well": sent(2, entry(uuid, own, 1), entry(uuid, nil)),
		"excluded before":  sent(2, entry(uuid, nil), entry(uuid, own, 1)),
		"excluded twice":   sent(2, entry(uuid, nil), entry(uuid, nil)),
	} {
		if s, err := sealed.ParseSent(b); s != nil || !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, s, err)
		}
	}
}

func FuzzContent(f *testing.F) {
	c := newCorrespondents(f)
	content := c.content([]byte("message"))
	f.Add(must(content.Append(nil)))
	content.Type, content.Hint, content.Group = sealed.TypePreKey, 3, []byte("group")
	f.Add(must(content.Append(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := sealed.ParseContent(b)
		if err != nil {
			if content != nil {
				t.Error("an error came with a value")
			}
			return
		}
		encoded, err := content.Append(nil)
		if err != nil {
			t.Fatalf("%x parses, and does not encode: %v", b, err)
		}
		again, err := sealed.ParseContent(encoded)
		if err != nil || !cmp.Equal(plainOf(content), plainOf(again)) || !bytes.Equal(content.Sender.Bytes(), again.Sender.Bytes()) {
			t.Errorf("%x is %v, then %v, %v", b, content, again, err)
		}
	})
}

func FuzzUnseal(f *testing.F) {
	c := newCorrespondents(f)
	for _, b := range c.both(f, c.content([]byte("message"))) {
		f.Add(b)
	}
	f.Add([]byte{0x22})
	f.Add([]byte{0x11})
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := sealed.Unseal(c.bob, b)
		if (u == nil) != (err != nil) || err != nil && !errors.Is(err, sealed.ErrOpen) {
			t.Errorf("%x opens as %v, %v", b, u, err)
		}
	})
}

func FuzzParseSent(f *testing.F) {
	c := newCorrespondents(f)
	f.Add(must(sealed.SealV2(c.alice, c.content([]byte("message")), c.toBob(), []sealed.ServiceID{{1}})))
	f.Add(append([]byte{0x23, 0}, make([]byte, 48)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := sealed.ParseSent(b)
		if err != nil {
			if s != nil {
				t.Error("an error came with a value")
			}
			return
		}
		seen := map[sealed.ServiceID]bool{}
		for _, id := range s.Excluded {
			if seen[id] {
				t.Errorf("%x excludes %s twice", b, id)
			}
			seen[id] = true
		}
		for i := range s.Recipients {
			r := &s.Recipients[i]
			if seen[r.ID] || len(r.Devices) == 0 {
				t.Errorf("%x has %s twice or without devices", b, r.ID)
			}
			seen[r.ID] = true
			if got := s.For(r); len(got) > len(b) || got[0] != 0x22 {
				t.Errorf("%x gives %s more than there is", b, r.ID)
			}
			devices := map[uint8]bool{}
			for _, d := range r.Devices {
				if devices[d.ID] || d.ID == 0 || d.ID > 127 || d.Registration > 0x3fff {
					t.Errorf("%x has device %v", b, d)
				}
				devices[d.ID] = true
			}
		}
	})
}
