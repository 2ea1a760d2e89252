package pqxdh

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

var (
	// ErrPreKey is returned by Accept when a prekey that the header names is not
	// among those given: unknown, used or erased.
	ErrPreKey = errors.New("pqxdh: unknown prekey")
	// ErrReplay is returned by Accept for a first message that was accepted
	// before on the same last-resort KEM prekey.
	ErrReplay = errors.New("pqxdh: first message was used before")
	// ErrBaseKey is returned by Accept for a base key that is not canonical.
	ErrBaseKey = errors.New("pqxdh: base key is not canonical")
)

// Header is what the initiator sends with her first messages, so that the
// responder can compute the root key.
type Header struct {
	IdentityKey     curve.PublicKey // the initiator's
	BaseKey         curve.PublicKey // her ephemeral key EK
	SignedPreKeyID  PreKeyID
	KEMPreKeyID     *PreKeyID // nil in a suite without a KEM
	KEMCiphertext   []byte    // type byte and 1,568 bytes; nil in a suite without a KEM
	OneTimePreKeyID *PreKeyID // nil if the bundle had none
	RegistrationID  uint32    // libsignal suites only
}

// Agreed is the result of a handshake.
type Agreed struct {
	// Root is the root key with which the Double Ratchet starts.
	Root secret.Key
	// PQ is the key with which the sparse post-quantum ratchet starts; zero in
	// suites without one.
	PQ secret.Key
	// Transcript is the hash of everything both sides agreed on, for the
	// associated data of messages: suite, both addresses and identity keys in
	// the order initiator, responder, and all public keys used. It is zero in
	// the libsignal suites.
	Transcript [sha256.Size]byte
	// OurRatchetKey is the responder's first ratchet key pair, her signed prekey;
	// nil for the initiator.
	OurRatchetKey *curve.PrivateKey
	// TheirRatchetKey is the responder's first ratchet key, for the initiator.
	TheirRatchetKey curve.PublicKey
}

// PreKeys are the responder's own prekeys that a first message names. Those it
// does not name, or that the device does not have, are nil.
type PreKeys struct {
	Signed  *SignedPreKeyPair
	KEM     *KEMPreKeyPair
	OneTime *OneTimePreKeyPair
	// Replayed reports that this KEM prekey, being one of last resort, was used
	// before with the same signed prekey and base key.
	Replayed bool
}

// Used says which prekeys a first message has consumed, once it has
// authenticated. In the same transaction that stores the session, the one-time
// ones are to be erased and a last-resort use is to be remembered.
type Used struct {
	OneTime       *PreKeyID // erase
	KEMOneTime    *PreKeyID // erase
	KEMLastResort *LastResortUse
}

// LastResortUse is an entry of the replay table of a last-resort KEM prekey. It
// can be forgotten together with the private half of the KEM prekey or of the
// signed prekey.
type LastResortUse struct {
	KEMPreKey    PreKeyID
	SignedPreKey PreKeyID
	BaseKey      curve.PublicKey
}

// Initiate agrees on a root key with the device them, whose bundle this is. It
// checks the bundle first, see [Bundle.Verify], whose errors it returns, and
// [curve.ErrLowOrder].
func Initiate(suite Suite, us *Identity, them signal.Address, bundle *Bundle, now time.Time) (*Agreed, *Header, error) {
	if err := us.Address.Validate(); err != nil {
		return nil, nil, err
	}
	if err := bundle.Verify(suite, them, now); err != nil {
		return nil, nil, err
	}
	r := suite.rules()
	ephemeral := curve.GenerateKey()
	header := &Header{
		IdentityKey:    us.Key.PublicKey(),
		BaseKey:        ephemeral.PublicKey(),
		SignedPreKeyID: bundle.SignedPreKey.ID,
		RegistrationID: us.RegistrationID,
	}
	agreements := []agreement{
		{us.Key, bundle.SignedPreKey.Key},    // DH1: IK_A, SPK_B
		{ephemeral, bundle.IdentityKey},      // DH2: EK_A, IK_B
		{ephemeral, bundle.SignedPreKey.Key}, // DH3: EK_A, SPK_B
	}
	t := transcript{
		initiator: us.Address, responder: them,
		initiatorKey: header.IdentityKey, responderKey: bundle.IdentityKey,
		signed: &bundle.SignedPreKey, kem: bundle.KEMPreKey, oneTime: bundle.OneTimePreKey, header: header,
	}
	if bundle.OneTimePreKey != nil {
		agreements = append(agreements, agreement{ephemeral, bundle.OneTimePreKey.Key}) // DH4: EK_A, OPK_B
		header.OneTimePreKeyID = new(bundle.OneTimePreKey.ID)
	}
	var shared secret.Key
	if bundle.KEMPreKey != nil {
		shared, header.KEMCiphertext = bundle.KEMPreKey.Key.Encapsulate()
		header.KEMPreKeyID = new(bundle.KEMPreKey.ID)
	}
	agreed, err := r.agree(agreements, shared, &t)
	if err != nil {
		return nil, nil, err
	}
	agreed.TheirRatchetKey = bundle.SignedPreKey.Key
	return agreed, header, nil
}

// Accept agrees on a root key with the device them, which sent this header. The
// result is worth nothing until a message has authenticated under it: only then
// may the prekeys be consumed, see [Consumed].
//
// It returns [ErrSuite], [signal.ErrAddress], [ErrKEM], [ErrBaseKey], [ErrPreKey],
// [ErrReplay], [ErrExpired] or [curve.ErrLowOrder].
func Accept(suite Suite, us *Identity, them signal.Address, header *Header, own PreKeys, now time.Time) (*Agreed, error) {
	r, err := checkOwner(suite, us)
	if err != nil {
		return nil, err
	}
	if err := them.Validate(); err != nil {
		return nil, err
	}
	if err := r.check(header, &own, now); err != nil {
		return nil, err
	}
	agreements := []agreement{
		{own.Signed.Private, header.IdentityKey}, // DH1
		{us.Key, header.BaseKey},                 // DH2
		{own.Signed.Private, header.BaseKey},     // DH3
	}
	t := transcript{
		initiator: them, responder: us.Address,
		initiatorKey: header.IdentityKey, responderKey: us.Key.PublicKey(),
		signed: &own.Signed.SignedPreKey, header: header,
	}
	if own.OneTime != nil {
		agreements = append(agreements, agreement{own.OneTime.Private, header.BaseKey}) // DH4
		t.oneTime = &own.OneTime.OneTimePreKey
	}
	var shared secret.Key
	if own.KEM != nil {
		if shared, err = own.KEM.Private.Decapsulate(header.KEMCiphertext); err != nil {
			return nil, ErrKEM
		}
		t.kem = &own.KEM.KEMPreKey
	}
	agreed, err := r.agree(agreements, shared, &t)
	if err != nil {
		return nil, err
	}
	agreed.OurRatchetKey = own.Signed.Private
	return agreed, nil
}

// check makes sure that own holds just the prekeys that the header names, and
// that they may be used.
func (r *rules) check(h *Header, own *PreKeys, now time.Time) error {
	if (r.kem == 0) != (h.KEMPreKeyID == nil) || (r.kem == 0) != (h.KEMCiphertext == nil) {
		return ErrKEM
	}
	if !h.BaseKey.IsCanonical() {
		return ErrBaseKey
	}
	if own.Signed == nil || own.Signed.ID != h.SignedPreKeyID {
		return ErrPreKey
	}
	if !names(h.KEMPreKeyID, own.KEM != nil, func() PreKeyID { return own.KEM.ID }) ||
		!names(h.OneTimePreKeyID, own.OneTime != nil, func() PreKeyID { return own.OneTime.ID }) {
		return ErrPreKey
	}
	if own.Replayed {
		return ErrReplay
	}
	if grace(own.Signed.Expires).passed(now) || (own.KEM != nil && grace(own.KEM.Expires).passed(now)) {
		return ErrExpired
	}
	return nil
}

func names(id *PreKeyID, have bool, own func() PreKeyID) bool {
	if id == nil || !have {
		return id == nil && !have
	}
	return *id == own()
}

func grace(expires Day) Day {
	if expires == 0 {
		return 0
	}
	return expires + GraceDays
}

// Consumed says which of the given prekeys the first message with this header
// has consumed. It is to be asked after the message has authenticated.
func Consumed(h *Header, own PreKeys) Used {
	var used Used
	if own.OneTime != nil {
		used.OneTime = new(own.OneTime.ID)
	}
	switch {
	case own.KEM == nil:
	case own.KEM.LastResort:
		used.KEMLastResort = &LastResortUse{KEMPreKey: own.KEM.ID, SignedPreKey: h.SignedPreKeyID, BaseKey: h.BaseKey}
	default:
		used.KEMOneTime = new(own.KEM.ID)
	}
	return used
}

type agreement struct {
	our   *curve.PrivateKey
	their curve.PublicKey
}

// agree makes the key agreements and derives the root key. It wipes shared, the
// secret of the KEM, which is zero in a suite that has none.
func (r *rules) agree(agreements []agreement, shared secret.Key, t *transcript) (*Agreed, error) {
	secrets := make([]secret.Key, 0, len(agreements)+1)
	defer func() {
		shared.Wipe()
		for _, s := range secrets {
			s.Wipe()
		}
	}()
	for i, a := range agreements {
		dh, err := a.our.ECDH(a.their)
		if err != nil {
			return nil, fmt.Errorf("pqxdh: DH%d: %w", i+1, err)
		}
		secrets = append(secrets, dh)
	}
	if !shared.IsZero() {
		secrets = append(secrets, shared)
	}
	agreed := new(Agreed)
	info := r.info.String()
	if r.bound {
		agreed.Transcript = t.hash(r)
		info += string(agreed.Transcript[:])
	}
	agreed.Root, agreed.PQ = r.derive(secrets, info)
	return agreed, nil
}

// derive computes SK = KDF(F ‖ DH1 ‖ DH2 ‖ DH3 [‖ DH4] [‖ SS]) (PQXDH, Section 3.3).
// The key of the post-quantum ratchet is zero in suites without one.
func (r *rules) derive(secrets []secret.Key, info string) (root, pq secret.Key) {
	input := make([]byte, 0, 32*6)
	for range 32 {
		input = append(input, 0xFF)
	}
	for _, s := range secrets {
		input = append(input, s.Bytes()...)
	}
	out := kdf.HKDF(input, kdf.Zero[:], info, r.size)
	root = secret.NewKey([32]byte(out[:32]))
	if r.pq > 0 {
		pq = secret.NewKey([32]byte(out[r.pq:]))
	}
	clear(input)
	clear(out)
	return root, pq
}

// transcript is everything both sides of a handshake must agree on.
type transcript struct {
	initiator, responder       signal.Address
	initiatorKey, responderKey curve.PublicKey
	signed                     *SignedPreKey
	kem                        *KEMPreKey
	oneTime                    *OneTimePreKey
	header                     *Header
}

// hash returns the SHA-256 of the transcript (docs/PROTOCOL.md, Handshake).
func (t *transcript) hash(r *rules) [sha256.Size]byte {
	b := make([]byte, 0, 4096)
	b = append(b, kdf.Chate2eTranscript.String()...)
	b = append(b, byte(r.label))
	b = t.initiator.Append(b)
	b = append(b, t.initiatorKey[:]...)
	b = t.responder.Append(b)
	b = append(b, t.responderKey[:]...)
	b = append(b, t.header.BaseKey[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(t.signed.ID))
	b = append(b, t.signed.Key[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(t.kem.ID))
	b = append(b, t.kem.Key.Encode()...)
	b = append(b, t.header.KEMCiphertext...)
	if t.oneTime == nil {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = binary.BigEndian.AppendUint32(b, uint32(t.oneTime.ID))
		b = append(b, t.oneTime.Key[:]...)
	}
	return sha256.Sum256(b)
}
