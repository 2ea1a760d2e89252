package session_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/session"
)

var update = flag.Bool("update", false, "write the test vectors anew")

// expectations are the outcomes a vector can name, with the error that each is.
var expectations = map[string]error{
	"success":        nil,
	"malformed":      errMalformed,
	"signature":      pqxdh.ErrSignature,
	"expired":        pqxdh.ErrExpired,
	"unknown prekey": pqxdh.ErrPreKey,
	"replay":         pqxdh.ErrReplay,
	"identity":       session.ErrIdentity,
	"duplicate":      session.ErrDuplicate,
	"no session":     session.ErrNoSession,
	"decrypt":        session.ErrDecrypt,
}

var errMalformed = errors.New("malformed")

// vector is a file of testdata/vectors.
type vector struct{ *testvectors.File }

func (v vector) address(t *testing.T, name string) signal.Address {
	t.Helper()
	user, device := v.Address(t, name)
	return signal.Address{Name: user, Device: device}
}

// TestVectors checks the files of testdata/vectors that are about handshakes,
// ratchets and messages.
func TestVectors(t *testing.T) {
	testvectors.Own{
		Folder: "../../testdata/vectors", Kinds: []string{"bundle", "message", "ratchet"},
		Made: makeVectors(t), Outcomes: expectations,
		Check: func(t *testing.T, kind string, f *testvectors.File) error {
			v := vector{f}
			switch kind {
			case "bundle":
				return v.checkBundle(t)
			case "message":
				return v.checkMessage(t)
			default:
				return v.checkRatchet(t)
			}
		},
	}.Run(t, *update)
}

func (v vector) checkBundle(t *testing.T) error {
	bundle, err := pqxdh.ParseBundle(v.Body)
	if err != nil {
		return errMalformed
	}
	return bundle.Verify(pqxdh.Chate2eV1, v.address(t, "them"), v.Time(t, "now"))
}

func (v vector) checkRatchet(t *testing.T) error {
	our, err := curve.NewPrivateKey(v.Hex(t, "our-private"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := secret.ParseKey(v.Hex(t, "root"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(v.Get(t, "n"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	state := ratchet.NewResponder(chate2eRules, root, our)
	opening, err := state.Receive(ratchet.Header{RatchetKey: curve.PublicKey(v.Hex(t, "ratchet-key")), N: uint32(n)})
	if err != nil {
		return err
	}
	if got, want := opening.Seed()[:], v.Hex(t, "seed"); !bytes.Equal(got, want) {
		t.Errorf("seed %x, want %x", got, want)
	}
	return nil
}

// chate2eRules as docs/PROTOCOL.md states them, on purpose not taken from the
// code under test.
var chate2eRules = ratchet.Rules{RootInfo: "ChatE2E v1 root step", MaxForward: 25_000, MaxSkipped: 2_000, MaxChains: 5}

func (v vector) checkMessage(t *testing.T) error {
	private, err := curve.NewPrivateKey(v.Hex(t, "identity-private"))
	if err != nil {
		t.Fatal(err)
	}
	us := &pqxdh.Identity{Address: v.address(t, "us"), Key: private}
	record, err := session.New(pqxdh.Chate2eV1, us.Address, v.address(t, "them"))
	if err != nil {
		t.Fatal(err)
	}
	if v.Has("trusted") {
		record.Trust(curve.PublicKey(v.Hex(t, "trusted")))
	}
	for _, before := range v.All("before") {
		if _, err := v.deliver(t, record, us, testvectors.Unhex(t, before)); err != nil {
			t.Fatalf("a message before: %v", err)
		}
	}
	stored := record.Append(nil)
	plaintext, err := v.deliver(t, record, us, v.Body)
	if err != nil {
		if !bytes.Equal(record.Append(nil), stored) {
			t.Error("the refused message has changed the record")
		}
		return err
	}
	if want := v.Hex(t, "plaintext"); !bytes.Equal(plaintext, want) {
		t.Errorf("plaintext %x, want %x", plaintext, want)
	}
	return nil
}

func (v vector) deliver(t *testing.T, record *session.Record, us *pqxdh.Identity, b []byte) ([]byte, error) {
	m, err := session.Parse(b)
	if err != nil {
		return nil, errMalformed
	}
	opened, err := record.Decrypt(m, us, v.preKeys(t, m.Handshake()), v.Time(t, "now"))
	return opened.Plaintext, err
}

// preKeys finds the prekeys that h names among those of the header.
func (v vector) preKeys(t *testing.T, h *pqxdh.Header) pqxdh.PreKeys {
	var own pqxdh.PreKeys
	if h == nil {
		return own
	}
	pair := func(name string) []byte { return append(v.Hex(t, name), v.Hex(t, name+"-private")...) }
	if signed, err := pqxdh.ParseSignedPreKeyPair(pair("signed-prekey")); err != nil {
		t.Fatal(err)
	} else if signed.ID == h.SignedPreKeyID {
		own.Signed = signed
	}
	if kemPreKey, err := pqxdh.ParseKEMPreKeyPair(pair("kem-prekey")); err != nil {
		t.Fatal(err)
	} else if kemPreKey.ID == *h.KEMPreKeyID {
		own.KEM = kemPreKey
	}
	if v.Has("one-time-prekey") && h.OneTimePreKeyID != nil {
		if oneTime, err := pqxdh.ParseOneTimePreKeyPair(pair("one-time-prekey")); err != nil {
			t.Fatal(err)
		} else if oneTime.ID == *h.OneTimePreKeyID {
			own.OneTime = oneTime
		}
	}
	use := binary.BigEndian.AppendUint32(nil, uint32(*h.KEMPreKeyID))
	use = binary.BigEndian.AppendUint32(use, uint32(h.SignedPreKeyID))
	use = append(use, h.BaseKey[:]...)
	own.Replayed = slices.Contains(v.All("used"), hex.EncodeToString(use))
	return own
}

// ── making them ─────────────────────────────────────────────────────────────

var vectorNow = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// maker makes vectors from one set of keys. The randomness is seeded, so that it
// makes the same ones every time.
type maker struct {
	t          *testing.T
	alice, bob *pqxdh.Identity
	signed     *pqxdh.SignedPreKeyPair
	kem        *pqxdh.KEMPreKeyPair
	oneTime    *pqxdh.OneTimePreKeyPair // nil: not in the bundle
	vectors    map[string]*testvectors.File
}

func makeVectors(t *testing.T) map[string]*testvectors.File {
	cryptotest.SetGlobalRandom(t, 1)
	vectors := map[string]*testvectors.File{}
	m := newMaker(t, vectors, false)
	m.bundles()
	m.messages()
	newMaker(t, vectors, true).lastResort()
	m.ratchets()
	return vectors
}

func newMaker(t *testing.T, vectors map[string]*testvectors.File, lastResort bool) *maker {
	m := &maker{t: t, vectors: vectors}
	m.alice = &pqxdh.Identity{Address: signal.Address{Name: "j7aqwnsgbuwqjm2zhxv4sbwxe3vyzktp", Device: 1}, Key: curve.GenerateKey()}
	m.bob = &pqxdh.Identity{Address: signal.Address{Name: "pbvk3q2yv3u6mzvdn4g5kqj5lstwxz2a", Device: 2}, Key: curve.GenerateKey()}
	var err error
	if m.signed, err = pqxdh.NewSignedPreKey(pqxdh.Chate2eV1, m.bob, vectorNow); err != nil {
		t.Fatal(err)
	}
	if m.kem, err = pqxdh.NewKEMPreKey(pqxdh.Chate2eV1, m.bob, lastResort, vectorNow); err != nil {
		t.Fatal(err)
	}
	if !lastResort {
		m.oneTime = pqxdh.NewOneTimePreKey()
	}
	return m
}

func (m *maker) bundle() *pqxdh.Bundle {
	b := &pqxdh.Bundle{IdentityKey: m.bob.Key.PublicKey(), SignedPreKey: m.signed.SignedPreKey, KEMPreKey: &m.kem.KEMPreKey}
	if m.oneTime != nil {
		b.OneTimePreKey = &m.oneTime.OneTimePreKey
	}
	return b
}

func (m *maker) put(name string, v *testvectors.File) {
	if m.vectors[name] != nil {
		m.t.Fatalf("two vectors %q", name)
	}
	m.vectors[name] = v
}

func formatAddress(a signal.Address) string { return fmt.Sprintf("%s/%d", a.Name, a.Device) }

func flip(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 0x10
	return c
}

func (m *maker) bundles() {
	put := func(name, expect, comment string, them signal.Address, now time.Time, body []byte) {
		v := &testvectors.File{Body: body}
		v.Add("kind", "bundle")
		v.Add("expect", expect)
		v.Add("comment", comment)
		v.Add("them", formatAddress(them))
		v.Add("now", now.Format(time.RFC3339))
		m.put("bundle-"+name, v)
	}
	good := m.bundle().Append(nil)
	them, now := m.bob.Address, vectorNow
	const (
		signedAt  = 1 + curve.KeySize
		kemAt     = signedAt + pqxdh.SignedPreKeySize
		oneTimeAt = kemAt + pqxdh.KEMPreKeySize
	)
	put("good", "success", "a bundle with a one-time prekey", them, now, good)
	without := m.bundle()
	without.OneTimePreKey = nil
	put("without-one-time", "success", "a bundle without a one-time prekey", them, now, without.Append(nil))
	put("one-time-key-changed", "success", "one-time prekeys are not signed", them, now, flip(good, oneTimeAt+10))
	expiry := m.signed.Expires.Start()
	put("last-second", "success", "the second before the expiry", them, expiry.Add(-time.Second), good)
	put("expired", "expired", "the first second of the day of expiry", them, expiry, good)

	other := them
	other.Device++
	put("other-device", "signature", "the bundle of another device", other, now, good)
	other = them
	other.Name = m.alice.Address.Name
	put("other-user", "signature", "the bundle of another user", other, now, good)
	for _, c := range []struct {
		name, comment string
		at            int
	}{
		{"identity-changed", "a bit of the identity key", 1},
		{"signed-id-changed", "a bit of the signed prekey's ID", signedAt + 2},
		{"signed-expiry-changed", "a bit of the signed prekey's expiry", signedAt + 8},
		{"signed-key-changed", "a bit of the signed prekey", signedAt + 10},
		{"signed-signature-changed", "a bit of its signature", kemAt - 20},
		{"signed-signature-s", "a high bit of its s", kemAt - 1},
		{"kem-id-changed", "a bit of the KEM prekey's ID", kemAt + 2},
		{"kem-expiry-changed", "a bit of the KEM prekey's expiry", kemAt + 8},
		{"kem-rho-changed", "a bit of the KEM prekey's seed", kemAt + 10 + kem.EncodedPublicKeySize - 1},
		{"kem-signature-changed", "a bit of its signature", oneTimeAt - 20},
	} {
		put(c.name, "signature", c.comment, them, now, flip(good, c.at))
	}
	purpose := bytes.Clone(good)
	purpose[kemAt+1] = 3
	put("kem-purpose-changed", "signature", "a KEM prekey for one use shown as one of last resort", them, now, purpose)

	unreduced := bytes.Clone(good)
	unreduced[kemAt+10+1], unreduced[kemAt+10+2] = 0xFF, 0xFF
	kyber := bytes.Clone(good)
	kyber[kemAt+10] = byte(kem.Kyber1024)
	has := bytes.Clone(good)
	has[oneTimeAt] = 2
	expires := func(at int) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[at+6:], uint32(pqxdh.MaxDay+1))
		return b
	}
	swapped := bytes.Clone(good)
	swapped[signedAt+1] = 4
	for name, body := range map[string][]byte{
		"empty": {}, "truncated": good[:len(good)-1], "trailing": append(bytes.Clone(good), 0),
		"version": append([]byte{2}, good[1:]...), "kem-unreduced": unreduced, "kem-kyber": kyber,
		"one-time-flag": has, "one-time-missing": good[:oneTimeAt+1], "signed-purpose": swapped,
		"signed-expiry": expires(signedAt), "kem-expiry": expires(kemAt),
	} {
		put("malformed-"+name, "malformed", strings.ReplaceAll(name, "-", " "), them, now, body)
	}
}

// message starts a vector about a message of Alice to Bob.
func (m *maker) message(expect, comment string, body []byte) *testvectors.File {
	v := &testvectors.File{Body: body}
	v.Add("kind", "message")
	v.Add("expect", expect)
	v.Add("comment", comment)
	v.Add("them", formatAddress(m.alice.Address))
	v.Add("us", formatAddress(m.bob.Address))
	v.Add("now", vectorNow.Format(time.RFC3339))
	v.AddHex("identity-private", m.bob.Key.Bytes())
	v.AddHex("signed-prekey", m.signed.SignedPreKey.Append(nil))
	v.AddHex("signed-prekey-private", m.signed.Private.Bytes())
	v.AddHex("kem-prekey", m.kem.KEMPreKey.Append(nil))
	v.AddHex("kem-prekey-private", m.kem.Private.Seed())
	if m.oneTime != nil {
		v.AddHex("one-time-prekey", m.oneTime.OneTimePreKey.Append(nil))
		v.AddHex("one-time-prekey-private", m.oneTime.Private.Bytes())
	}
	return v
}

func (m *maker) initiate() *session.Record {
	record, err := session.New(pqxdh.Chate2eV1, m.alice.Address, m.bob.Address)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := record.Initiate(m.alice, m.bundle(), vectorNow); err != nil {
		m.t.Fatal(err)
	}
	return record
}

func (m *maker) encrypt(record *session.Record, text string) []byte {
	sealed, err := record.Encrypt([]byte(text), vectorNow)
	if err != nil {
		m.t.Fatal(err)
	}
	return sealed.Bytes
}

// handshakeSize is the size of what precedes the message in a PreKey message
// with a one-time prekey.
const handshakeSize = 3 + 2*curve.KeySize + 12 + kem.EncodedCiphertextSize

func (m *maker) messages() {
	record := m.initiate()
	first := m.encrypt(record, "first")
	second := m.encrypt(record, "second")
	third := m.encrypt(record, "")
	plaintext := func(v *testvectors.File, text string) *testvectors.File {
		v.AddHex("plaintext", []byte(text))
		return v
	}
	before := func(v *testvectors.File, messages ...[]byte) *testvectors.File {
		for _, b := range messages {
			v.AddHex("before", b)
		}
		return v
	}
	transcript, err := m.transcript(first)
	if err != nil {
		m.t.Fatal(err)
	}
	v := plaintext(m.message("success", "a first message", first), "first")
	v.AddHex("transcript", transcript[:])
	m.put("message-first", v)
	m.put("message-second", plaintext(before(m.message("success", "a second PreKey message", second), first), "second"))
	m.put("message-second-first", plaintext(m.message("success", "the second message arrives first", second), "second"))
	m.put("message-late", plaintext(before(m.message("success", "the first message arrives last", first), third, second), "first"))
	m.put("message-empty", plaintext(m.message("success", "an empty plaintext", third), ""))
	m.put("message-without-handshake", before(m.message("decrypt",
		"the message inside of a PreKey message, once the session exists: the handshake is associated data",
		second[handshakeSize:]), first))

	m.put("message-duplicate", before(m.message("duplicate", "delivered twice", first), first))
	m.put("message-late-duplicate", before(m.message("duplicate", "a late message delivered twice", first), second, first))
	m.put("message-no-session", m.message("no session", "a message without a handshake, and no session", first[handshakeSize:]))
	m.put("message-identity", m.message("identity", "another identity key is trusted", first))
	trusted := curve.GenerateKey().PublicKey()
	m.vectors["message-identity"].AddHex("trusted", trusted[:])
	m.put("message-expired", m.message("expired", "30 days after the prekeys' expiry", first).
		Replace("now", m.signed.Expires.Start().AddDate(0, 0, pqxdh.GraceDays).Format(time.RFC3339)))
	m.put("message-grace", plaintext(m.message("success", "the last second of the grace time", first).
		Replace("now", m.signed.Expires.Start().AddDate(0, 0, pqxdh.GraceDays).Add(-time.Second).Format(time.RFC3339)), "first"))
	m.put("message-one-time-used", m.message("unknown prekey", "the one-time prekey was erased", first).
		Without("one-time-prekey", "one-time-prekey-private"))
	device := m.bob.Address
	device.Device++
	m.put("message-other-device", m.message("decrypt", "delivered to another device", first).Replace("us", formatAddress(device)))
	sender := m.alice.Address
	sender.Device++
	m.put("message-other-sender", m.message("decrypt", "said to come from another device", first).Replace("them", formatAddress(sender)))

	const inner = handshakeSize
	ciphertext := inner + 59 + int(first[inner+58])
	for _, c := range []struct {
		name, expect string
		at           int
	}{
		{"version", "malformed", 0},
		{"type", "malformed", 1},
		{"flags", "malformed", 2},
		{"identity-key", "decrypt", 3},
		{"signed-prekey-id", "unknown prekey", 67},
		{"kem-prekey-id", "unknown prekey", 71},
		{"one-time-prekey-id", "unknown prekey", 75},
		{"kem-type", "malformed", 79},
		{"kem-ciphertext", "decrypt", 100},
		{"inner-version", "malformed", inner},
		{"inner-type", "malformed", inner + 1},
		{"ratchet-key", "decrypt", inner + 2},
		{"n", "decrypt", inner + 37},
		{"pn", "decrypt", inner + 41},
		{"salt", "decrypt", inner + 42},
		{"pq-length", "malformed", inner + 58},
		{"pq-version", "decrypt", inner + 59},
		{"pq-epoch", "decrypt", inner + 60},
		{"pq-index", "decrypt", inner + 61},
		{"pq-payload", "decrypt", inner + 62},
		{"pq-chunk", "decrypt", ciphertext - 1},
		{"ciphertext", "decrypt", ciphertext},
		{"tag", "decrypt", len(first) - 1},
	} {
		m.put("message-flipped-"+c.name, m.message(c.expect, "one bit of "+strings.ReplaceAll(c.name, "-", " "), flip(first, c.at)))
	}
	m.put("message-flipped-later-handshake", before(m.message("decrypt",
		"one bit of the KEM ciphertext, once the session exists", flip(second, 100)), first))

	with := func(at int, b ...byte) []byte {
		c := bytes.Clone(first)
		copy(c[at:], b)
		return c
	}
	m.put("message-base-key-low-order", m.message("decrypt", "a base key of low order", with(35, make([]byte, 32)...)))
	unreduced := bytes.Repeat([]byte{0xFF}, 32)
	unreduced[0], unreduced[31] = 0xF6, 0x7F // p + 9
	m.put("message-base-key-unreduced", m.message("decrypt", "a base key of p + 9", with(35, unreduced...)))
	m.put("message-ratchet-key-low-order", m.message("decrypt", "a ratchet key of low order", with(inner+2, make([]byte, 32)...)))
	m.put("message-n-too-far", m.message("decrypt", "N of 25,001", with(inner+34, 0, 0, 0x61, 0xA9)))
	m.put("message-n-largest", m.message("decrypt", "N of 2^32-1", with(inner+34, 0xFF, 0xFF, 0xFF, 0xFF)))
	m.put("message-truncated", m.message("decrypt", "the last byte is missing", first[:len(first)-1]))
	m.put("message-trailing", m.message("decrypt", "a byte too much", append(bytes.Clone(first), 0)))
	m.put("message-no-tag", m.message("malformed", "no room for a tag", first[:ciphertext+15]))
	m.put("message-nothing", m.message("malformed", "no bytes at all", nil))
	m.put("message-nested", m.message("malformed", "a PreKey message in a PreKey message", append(bytes.Clone(first[:inner]), first...)))
}

// transcript computes the hash of the handshake as docs/PROTOCOL.md says, from
// the bytes of a first message.
func (m *maker) transcript(first []byte) ([32]byte, error) {
	parsed, err := session.Parse(first)
	if err != nil {
		return [32]byte{}, err
	}
	h := parsed.Handshake()
	agreed, err := pqxdh.Accept(pqxdh.Chate2eV1, m.bob, m.alice.Address, h,
		pqxdh.PreKeys{Signed: m.signed, KEM: m.kem, OneTime: m.oneTime}, vectorNow)
	if err != nil {
		return [32]byte{}, err
	}
	return agreed.Transcript, nil
}

func (m *maker) lastResort() {
	first := m.encrypt(m.initiate(), "first")
	parsed, err := session.Parse(first)
	if err != nil {
		m.t.Fatal(err)
	}
	h := parsed.Handshake()
	use := binary.BigEndian.AppendUint32(nil, uint32(*h.KEMPreKeyID))
	use = binary.BigEndian.AppendUint32(use, uint32(h.SignedPreKeyID))
	v := m.message("success", "on the KEM prekey of last resort, without a one-time prekey", first)
	v.AddHex("used", append(bytes.Clone(use), make([]byte, 32)...))
	v.AddHex("plaintext", []byte("first"))
	m.put("message-last-resort", v)
	v = m.message("replay", "the same handshake was used before", first)
	v.AddHex("used", append(bytes.Clone(use), h.BaseKey[:]...))
	m.put("message-last-resort-replay", v)
	v = m.message("duplicate", "the same message again, with its session", first)
	v.AddHex("before", first)
	m.put("message-last-resort-duplicate", v)
}

func (m *maker) ratchets() {
	our, their := curve.GenerateKey(), curve.GenerateKey()
	root := secret.NewKey([32]byte(curve.GenerateKey().Bytes()))
	for _, n := range []uint32{0, 1, 2500} {
		state := ratchet.NewResponder(chate2eRules, root.Clone(), our)
		opening, err := state.Receive(ratchet.Header{RatchetKey: their.PublicKey(), N: n})
		if err != nil {
			m.t.Fatal(err)
		}
		v := new(testvectors.File)
		v.Add("kind", "ratchet")
		v.Add("expect", "success")
		v.Add("comment", "a root step and chain steps")
		v.AddHex("root", root.Bytes())
		v.AddHex("our-private", our.Bytes())
		public := their.PublicKey()
		v.AddHex("ratchet-key", public[:])
		v.Add("n", strconv.FormatUint(uint64(n), 10))
		v.AddHex("seed", opening.Seed()[:])
		m.put(fmt.Sprintf("ratchet-%d", n), v)
	}
	if failures := m.failures(); 2*failures < len(m.vectors) {
		m.t.Errorf("%d of %d vectors are failures, want most of them", failures, len(m.vectors))
	}
}

func (m *maker) failures() int {
	n := 0
	for v := range maps.Values(m.vectors) {
		if v.All("expect")[0] != "success" {
			n++
		}
	}
	return n
}
