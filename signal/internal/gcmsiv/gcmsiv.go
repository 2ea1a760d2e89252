// Package gcmsiv is AES-256-GCM-SIV (RFC 8452): authenticated encryption that
// survives a repeated nonce. The official library encrypts the content of sealed
// sender messages with it, under a fixed nonce and a key that is used once.
//
//	b := gcmsiv.Seal(key, nonce, plaintext, associated)
//	plaintext, ok := gcmsiv.Open(key, nonce, b, associated)
//
// It runs in constant time wherever the standard library's AES and 64-bit integer
// multiplication do: POLYVAL has neither a table nor a branch that depends on a
// secret.
package gcmsiv

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

const (
	// KeySize is the size of a key in bytes.
	KeySize = 32
	// NonceSize is the size of a nonce in bytes.
	NonceSize = 12
	// TagSize is how many bytes a ciphertext is longer than its plaintext.
	TagSize = 16

	// maxSize bounds plaintext and associated data (RFC 8452, Section 6).
	maxSize = 1 << 36
)

// Seal encrypts plaintext and authenticates it together with associated. It
// panics if either is longer than 64 GiB.
func Seal(key *[KeySize]byte, nonce *[NonceSize]byte, plaintext, associated []byte) []byte {
	if uint64(len(plaintext)) > maxSize || uint64(len(associated)) > maxSize {
		panic("gcmsiv: message too large")
	}
	hash, block := derive(key, nonce)
	tag := hash.tag(block, nonce, plaintext, associated)
	b := make([]byte, len(plaintext)+TagSize)
	count(block, &tag, b, plaintext)
	copy(b[len(plaintext):], tag[:])
	return b
}

// Open decrypts what Seal made, or returns false.
func Open(key *[KeySize]byte, nonce *[NonceSize]byte, ciphertext, associated []byte) ([]byte, bool) {
	if len(ciphertext) < TagSize || uint64(len(ciphertext)) > maxSize+TagSize || uint64(len(associated)) > maxSize {
		return nil, false
	}
	size := len(ciphertext) - TagSize
	tag := [TagSize]byte(ciphertext[size:])
	hash, block := derive(key, nonce)
	plaintext := make([]byte, size)
	count(block, &tag, plaintext, ciphertext[:size])
	want := hash.tag(block, nonce, plaintext, associated)
	if subtle.ConstantTimeCompare(want[:], tag[:]) != 1 {
		clear(plaintext)
		return nil, false
	}
	return plaintext, true
}

// derive makes the keys for one nonce (RFC 8452, Section 4): each block under the
// key-generating key yields eight bytes.
func derive(key *[KeySize]byte, nonce *[NonceSize]byte) (*polyval, cipher.Block) {
	generator := newCipher(key[:])
	var keys [16 + KeySize]byte
	var b [aes.BlockSize]byte
	for i := range len(keys) / 8 {
		binary.LittleEndian.PutUint32(b[:], uint32(i))
		copy(b[4:], nonce[:])
		generator.Encrypt(b[:], b[:])
		copy(keys[8*i:8*i+8], b[:8])
	}
	hash, block := newPolyval((*[16]byte)(keys[:16])), newCipher(keys[16:])
	clear(keys[:])
	clear(b[:])
	return hash, block
}

func newCipher(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("gcmsiv: " + err.Error()) // wrong length only
	}
	return block
}

// tag computes the tag of a plaintext (RFC 8452, Section 4).
func (p *polyval) tag(block cipher.Block, nonce *[NonceSize]byte, plaintext, associated []byte) [TagSize]byte {
	p.update(associated)
	p.update(plaintext)
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(len(associated))*8)
	binary.LittleEndian.PutUint64(b[8:], uint64(len(plaintext))*8)
	p.update(b[:])
	p.sum(&b)
	subtle.XORBytes(b[:], b[:], nonce[:])
	b[15] &= 0x7f
	block.Encrypt(b[:], b[:])
	return b
}

// count encrypts or decrypts in counter mode: the counter is the first four bytes
// of the block, little-endian, and starts at the tag's.
func count(block cipher.Block, tag *[TagSize]byte, dst, src []byte) {
	counter := *tag
	counter[15] |= 0x80
	n := binary.LittleEndian.Uint32(counter[:])
	var stream [aes.BlockSize]byte
	for len(src) > 0 {
		block.Encrypt(stream[:], counter[:])
		done := subtle.XORBytes(dst, src, stream[:])
		dst, src = dst[done:], src[done:]
		n++ // wraps, as it should
		binary.LittleEndian.PutUint32(counter[:], n)
	}
	clear(stream[:])
}
