package pqxdh

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
)

// The encodings of chate2e/v1 (docs/PROTOCOL.md, Prekeys). The official
// library's prekeys travel as the fields of its own server's JSON, and have no
// encoding here.

// ErrEncoding is returned for bytes that are not the encoding asked for.
var ErrEncoding = errors.New("pqxdh: malformed encoding")

const (
	encodingVersion = 1

	// SignedPreKeySize is the size of an encoded signed prekey in bytes.
	SignedPreKeySize = 2 + 4 + 4 + curve.KeySize + curve.SignatureSize
	// KEMPreKeySize is the size of an encoded KEM prekey in bytes.
	KEMPreKeySize = 2 + 4 + 4 + kem.EncodedPublicKeySize + curve.SignatureSize
	// OneTimePreKeySize is the size of an encoded one-time prekey in bytes.
	OneTimePreKeySize = 2 + 4 + curve.KeySize
	// MaxBundleSize is the size in bytes of an encoded bundle with all its parts.
	MaxBundleSize = 1 + curve.KeySize + SignedPreKeySize + KEMPreKeySize + 1 + OneTimePreKeySize
)

func appendStart(b []byte, p purpose, id PreKeyID) []byte {
	return binary.BigEndian.AppendUint32(append(b, encodingVersion, byte(p)), uint32(id))
}

func readStart(in *cryptobyte.String, id *PreKeyID, allowed ...purpose) (purpose, bool) {
	var version, p uint8
	if !in.ReadUint8(&version) || version != encodingVersion || !in.ReadUint8(&p) || !in.ReadUint32((*uint32)(id)) {
		return 0, false
	}
	return purpose(p), slices.Contains(allowed, purpose(p))
}

func readDay(in *cryptobyte.String, d *Day) bool { return in.ReadUint32((*uint32)(d)) && *d <= MaxDay }

func readPublic(in *cryptobyte.String, k *curve.PublicKey) bool { return in.CopyBytes(k[:]) }

// readPrivate reads a private key and checks that it belongs to public.
func readPrivate(in *cryptobyte.String, public curve.PublicKey) (*curve.PrivateKey, bool) {
	var b []byte
	if !in.ReadBytes(&b, curve.KeySize) {
		return nil, false
	}
	key, err := curve.ParsePrivateKey(b)
	if err != nil || key.PublicKey() != public {
		return nil, false
	}
	return key, true
}

func readSignature(in *cryptobyte.String, signature *[]byte) bool {
	*signature = make([]byte, curve.SignatureSize)
	return in.CopyBytes(*signature)
}

// Append appends the encoding of the signed prekey to b:
// [SignedPreKeySize] bytes.
func (k *SignedPreKey) Append(b []byte) []byte {
	b = appendStart(b, purposeSigned, k.ID)
	b = binary.BigEndian.AppendUint32(b, uint32(k.Expires))
	b = append(b, k.Key[:]...)
	return append(b, k.Signature...)
}

func (k *SignedPreKey) read(in *cryptobyte.String) bool {
	_, ok := readStart(in, &k.ID, purposeSigned)
	return ok && readDay(in, &k.Expires) && readPublic(in, &k.Key) && readSignature(in, &k.Signature)
}

// ParseSignedPreKey decodes a signed prekey; its signature is not checked. It
// returns [ErrEncoding].
func ParseSignedPreKey(b []byte) (*SignedPreKey, error) { return parse(b, (*SignedPreKey).read) }

// Append appends the encoding of the KEM prekey to b: [KEMPreKeySize] bytes.
func (k *KEMPreKey) Append(b []byte) []byte {
	b = appendStart(b, k.purpose(), k.ID)
	b = binary.BigEndian.AppendUint32(b, uint32(k.Expires))
	b = append(b, k.Key.Encode()...)
	return append(b, k.Signature...)
}

func (k *KEMPreKey) read(in *cryptobyte.String) bool {
	p, ok := readStart(in, &k.ID, purposeKEMOneTime, purposeKEMLast)
	k.LastResort = p == purposeKEMLast
	var key []byte
	if !ok || !readDay(in, &k.Expires) || !in.ReadBytes(&key, kem.EncodedPublicKeySize) {
		return false
	}
	public, err := kem.ParsePublicKey(key)
	if err != nil || public.Kind() != kem.MLKEM1024 {
		return false
	}
	k.Key = public
	return readSignature(in, &k.Signature)
}

// ParseKEMPreKey decodes a KEM prekey; its signature is not checked. It returns
// [ErrEncoding].
func ParseKEMPreKey(b []byte) (*KEMPreKey, error) { return parse(b, (*KEMPreKey).read) }

// Append appends the encoding of the one-time prekey to b:
// [OneTimePreKeySize] bytes.
func (k *OneTimePreKey) Append(b []byte) []byte {
	return append(appendStart(b, purposeOneTime, k.ID), k.Key[:]...)
}

func (k *OneTimePreKey) read(in *cryptobyte.String) bool {
	_, ok := readStart(in, &k.ID, purposeOneTime)
	return ok && readPublic(in, &k.Key)
}

// ParseOneTimePreKey decodes a one-time prekey. It returns [ErrEncoding].
func ParseOneTimePreKey(b []byte) (*OneTimePreKey, error) { return parse(b, (*OneTimePreKey).read) }

// Append appends the encoding of a chate2e/v1 bundle to b. The bundle must have
// its KEM prekey.
func (b *Bundle) Append(out []byte) []byte {
	out = append(out, encodingVersion)
	out = append(out, b.IdentityKey[:]...)
	out = b.SignedPreKey.Append(out)
	out = b.KEMPreKey.Append(out)
	if b.OneTimePreKey == nil {
		return append(out, 0)
	}
	return b.OneTimePreKey.Append(append(out, 1))
}

func (b *Bundle) read(in *cryptobyte.String) bool {
	var version, has uint8
	b.KEMPreKey = new(KEMPreKey)
	if !in.ReadUint8(&version) || version != encodingVersion || !readPublic(in, &b.IdentityKey) ||
		!b.SignedPreKey.read(in) || !b.KEMPreKey.read(in) || !in.ReadUint8(&has) || has > 1 {
		return false
	}
	if has == 0 {
		return true
	}
	b.OneTimePreKey = new(OneTimePreKey)
	return b.OneTimePreKey.read(in)
}

// ParseBundle decodes a chate2e/v1 bundle; its signatures are not checked, see
// [Bundle.Verify]. It returns [ErrEncoding].
func ParseBundle(b []byte) (*Bundle, error) { return parse(b, (*Bundle).read) }

// Append appends the signed prekey and its private half (32 bytes) to b, in the
// clear: to be stored encrypted.
func (k *SignedPreKeyPair) Append(b []byte) []byte {
	return append(k.SignedPreKey.Append(b), k.Private.Bytes()...)
}

func (k *SignedPreKeyPair) read(in *cryptobyte.String) (ok bool) {
	if !k.SignedPreKey.read(in) {
		return false
	}
	k.Private, ok = readPrivate(in, k.Key)
	return ok
}

// ParseSignedPreKeyPair decodes a signed prekey with its private half. It
// returns [ErrEncoding], also if the halves do not belong together.
func ParseSignedPreKeyPair(b []byte) (*SignedPreKeyPair, error) {
	return parse(b, (*SignedPreKeyPair).read)
}

// Append appends the KEM prekey and its private half (a seed of 64 bytes) to b,
// in the clear: to be stored encrypted.
func (k *KEMPreKeyPair) Append(b []byte) []byte {
	return append(k.KEMPreKey.Append(b), k.Private.Seed()...)
}

// read does not check that the halves belong together: that would cost a key
// generation at every load, and a wrong seed only makes a handshake fail.
func (k *KEMPreKeyPair) read(in *cryptobyte.String) bool {
	var seed []byte
	if !k.KEMPreKey.read(in) || !in.ReadBytes(&seed, kem.SeedSize) {
		return false
	}
	private, err := kem.NewPrivateKey(k.Key.Kind(), seed)
	k.Private = private
	return err == nil
}

// ParseKEMPreKeyPair decodes a KEM prekey with its private half. It returns
// [ErrEncoding].
func ParseKEMPreKeyPair(b []byte) (*KEMPreKeyPair, error) { return parse(b, (*KEMPreKeyPair).read) }

// Append appends the one-time prekey and its private half (32 bytes) to b, in
// the clear: to be stored encrypted.
func (k *OneTimePreKeyPair) Append(b []byte) []byte {
	return append(k.OneTimePreKey.Append(b), k.Private.Bytes()...)
}

func (k *OneTimePreKeyPair) read(in *cryptobyte.String) (ok bool) {
	if !k.OneTimePreKey.read(in) {
		return false
	}
	k.Private, ok = readPrivate(in, k.Key)
	return ok
}

// ParseOneTimePreKeyPair decodes a one-time prekey with its private half. It
// returns [ErrEncoding], also if the halves do not belong together.
func ParseOneTimePreKeyPair(b []byte) (*OneTimePreKeyPair, error) {
	return parse(b, (*OneTimePreKeyPair).read)
}

func parse[T any](b []byte, read func(*T, *cryptobyte.String) bool) (*T, error) {
	in := cryptobyte.String(b)
	v := new(T)
	if !read(v, &in) || !in.Empty() {
		return nil, ErrEncoding
	}
	return v, nil
}
