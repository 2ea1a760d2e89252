package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"slices"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/internal/wire"
)

// Sealed sender, version 1: an ephemeral key covers the sender's identity key,
// and that covers the content. The official library's UnidentifiedSenderMessage.
const (
	fieldEphemeral wire.Field = 1
	fieldStatic    wire.Field = 2
	fieldMessage   wire.Field = 3

	sealed1MACSize = 10
)

// SealV1 seals content for one device, in version 1. our is the identity key that
// the content's certificate is about. It returns [ErrContent], or
// [curve.ErrLowOrder] for a recipient's key of low order.
func SealV1(our *curve.PrivateKey, their curve.PublicKey, content *Content) ([]byte, error) {
	plaintext, err := encode(our, content)
	if err != nil {
		return nil, err
	}
	return sealV1(our, their, plaintext)
}

func sealV1(our *curve.PrivateKey, their curve.PublicKey, plaintext []byte) ([]byte, error) {
	ephemeral := curve.GenerateKey()
	outer, err := ephemeral.ECDH(their)
	if err != nil {
		return nil, err
	}
	inner, err := our.ECDH(their)
	if err != nil {
		return nil, err
	}
	static, public := our.PublicKey().Encode(), ephemeral.PublicKey().Encode()
	first := firstKeys(outer, their, ephemeral.PublicKey())
	encryptedStatic := first.seal(static[:])
	second := secondKeys(inner, first, encryptedStatic)
	b := wire.AppendBytes([]byte{version1}, fieldEphemeral, public[:])
	b = wire.AppendBytes(b, fieldStatic, encryptedStatic)
	b = wire.AppendBytes(b, fieldMessage, second.seal(plaintext))
	first.wipe()
	second.wipe()
	return b, nil
}

// encode returns the encoding of content that our identity key may send.
func encode(our *curve.PrivateKey, content *Content) ([]byte, error) {
	b, err := content.Append(nil)
	if err != nil || content.Sender.Key != our.PublicKey() {
		return nil, ErrContent
	}
	return b, nil
}

// unsealV1 opens what follows the version byte, or returns nil.
func unsealV1(our *curve.PrivateKey, b []byte) *Content {
	fields, ok := wire.Parse(b, nil, []wire.Field{fieldEphemeral, fieldStatic, fieldMessage})
	if !ok || !fields.Has(fieldEphemeral, fieldStatic, fieldMessage) {
		return nil
	}
	ephemeral, err := curve.ParsePublicKey(fields.Bytes[fieldEphemeral])
	if err != nil {
		return nil
	}
	outer, err := our.ECDH(ephemeral)
	if err != nil {
		return nil
	}
	first := firstKeys(outer, our.PublicKey(), ephemeral)
	defer first.wipe()
	static, ok := first.open(fields.Bytes[fieldStatic])
	if !ok {
		return nil
	}
	sender, err := curve.ParsePublicKey(static)
	if err != nil {
		return nil
	}
	inner, err := our.ECDH(sender)
	if err != nil {
		return nil
	}
	second := secondKeys(inner, first, fields.Bytes[fieldStatic])
	defer second.wipe()
	plaintext, ok := second.open(fields.Bytes[fieldMessage])
	if !ok {
		return nil
	}
	content, err := ParseContent(plaintext)
	if err != nil || content.Sender.Key != sender {
		return nil
	}
	return content
}

// keys1 are the chain key (32 bytes), cipher key (32) and MAC key (32) of one of
// the two steps.
type keys1 struct{ b secret.Box[[96]byte] }

func derive1(shared secret.Key, salt []byte) keys1 {
	out := kdf.HKDF(shared.Bytes(), salt, "", 96)
	shared.Wipe()
	k := keys1{secret.NewBox([96]byte(out))}
	clear(out)
	return k
}

func firstKeys(shared secret.Key, recipient, ephemeral curve.PublicKey) keys1 {
	to, from := recipient.Encode(), ephemeral.Encode()
	return derive1(shared, slices.Concat([]byte(kdf.LibsignalSealed1.String()), to[:], from[:]))
}

// secondKeys has no use for its chain key.
func secondKeys(shared secret.Key, first keys1, encryptedStatic []byte) keys1 {
	salt := slices.Concat(first.b.Reveal()[:32], encryptedStatic)
	defer clear(salt)
	return derive1(shared, salt)
}

func (k keys1) wipe() { k.b.Wipe() }

// seal encrypts in counter mode from zero (each key is used once), and appends
// the MAC of the ciphertext.
func (k keys1) seal(plaintext []byte) []byte {
	b := make([]byte, len(plaintext), len(plaintext)+sealed1MACSize)
	k.crypt(b, plaintext)
	return append(b, k.mac(b)...)
}

func (k keys1) open(b []byte) ([]byte, bool) {
	if len(b) < sealed1MACSize {
		return nil, false
	}
	ciphertext, mac := b[:len(b)-sealed1MACSize], b[len(b)-sealed1MACSize:]
	if !hmac.Equal(k.mac(ciphertext), mac) {
		return nil, false
	}
	plaintext := make([]byte, len(ciphertext))
	k.crypt(plaintext, ciphertext)
	return plaintext, true
}

func (k keys1) crypt(dst, src []byte) {
	block, err := aes.NewCipher(k.b.Reveal()[32:64])
	if err != nil {
		panic("sealed: " + err.Error()) // wrong length only
	}
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(dst, src) //nolint:gosec // the key serves one message
}

func (k keys1) mac(b []byte) []byte {
	h := hmac.New(sha256.New, k.b.Reveal()[64:])
	h.Write(b)
	return h.Sum(nil)[:sealed1MACSize]
}
