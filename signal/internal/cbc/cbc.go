// Package cbc is AES-256-CBC with PKCS #7 padding (RFC 5652, Section 6.3), with which
// the official library encrypts its messages. It authenticates nothing: that a
// ciphertext comes from who has the key must be known before it is decrypted, or
// the padding would be an oracle.
package cbc

import (
	"crypto/aes"
	"crypto/cipher"
	"slices"
)

const (
	// KeySize is the size of a key in bytes.
	KeySize = 32
	// IVSize is the size of an initialisation vector in bytes.
	IVSize = aes.BlockSize
)

// Encrypt pads plaintext with 1 to 16 bytes and encrypts it.
func Encrypt(key *[KeySize]byte, iv *[IVSize]byte, plaintext []byte) []byte {
	padding := aes.BlockSize - len(plaintext)%aes.BlockSize
	b := make([]byte, len(plaintext)+padding)
	copy(b, plaintext)
	for i := len(plaintext); i < len(b); i++ {
		b[i] = byte(padding)
	}
	cipher.NewCBCEncrypter(block(key), iv[:]).CryptBlocks(b, b)
	return b
}

// Decrypt decrypts what Encrypt made, or returns false.
func Decrypt(key *[KeySize]byte, iv *[IVSize]byte, ciphertext []byte) ([]byte, bool) {
	if len(ciphertext) == 0 || len(ciphertext)%aes.BlockSize != 0 {
		return nil, false
	}
	b := slices.Clone(ciphertext)
	cipher.NewCBCDecrypter(block(key), iv[:]).CryptBlocks(b, b)
	// The sender's own word: there is nothing to learn from how it is checked.
	padding := int(b[len(b)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, false
	}
	for _, p := range b[len(b)-padding:] {
		if int(p) != padding {
			return nil, false
		}
	}
	return b[:len(b)-padding], true
}

func block(key *[KeySize]byte) cipher.Block {
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic("cbc: " + err.Error()) // wrong length only
	}
	return b
}
