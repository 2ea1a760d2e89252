package cbc_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/internal/cbc"
)

func TestWycheproof(t *testing.T) {
	var file struct {
		TestGroups []struct {
			KeySize int
			Tests   []struct {
				TcID   int
				Result string
				Key    testvectors.Hex
				IV     testvectors.Hex
				Msg    testvectors.Hex
				CT     testvectors.Hex
			}
		}
	}
	testvectors.Wycheproof(t, "aes_cbc_pkcs5_test.json", &file)
	valid, invalid := 0, 0
	for _, group := range file.TestGroups {
		if group.KeySize != 256 {
			continue
		}
		for _, c := range group.Tests {
			key, iv := [cbc.KeySize]byte(c.Key), [cbc.IVSize]byte(c.IV)
			got, ok := cbc.Decrypt(&key, &iv, c.CT)
			if c.Result != "valid" {
				invalid++
				if ok || got != nil {
					t.Errorf("%d decrypts", c.TcID)
				}
				continue
			}
			valid++
			if !ok || !bytes.Equal(got, c.Msg) {
				t.Errorf("%d: %x, %v", c.TcID, got, ok)
			}
			if got := cbc.Encrypt(&key, &iv, c.Msg); !bytes.Equal(got, c.CT) {
				t.Errorf("%d: encrypted %x, want %x", c.TcID, got, c.CT)
			}
		}
	}
	if valid == 0 || invalid == 0 {
		t.Errorf("%d valid and %d invalid tests ran", valid, invalid)
	}
}

// TestPadding: of all paddings only that which Encrypt makes is taken.
func TestPadding(t *testing.T) {
	var key [cbc.KeySize]byte
	var iv [cbc.IVSize]byte
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	for last := range 256 {
		for wrong := range aes.BlockSize { // how far before the end a byte is wrong; 0: none is
			b := bytes.Repeat([]byte{byte(last)}, 2*aes.BlockSize)
			if wrong > 0 {
				b[len(b)-1-wrong] ^= 1
			}
			sealed := make([]byte, len(b))
			cipher.NewCBCEncrypter(block, iv[:]).CryptBlocks(sealed, b)
			want := last >= 1 && last <= aes.BlockSize && (wrong == 0 || wrong >= last)
			got, ok := cbc.Decrypt(&key, &iv, sealed)
			if ok != want || ok && !bytes.Equal(got, b[:len(b)-last]) || !ok && got != nil {
				t.Errorf("padding %d, the byte %d before the end is wrong: %x, %t", last, wrong, got, ok)
			}
		}
	}
	for _, size := range []int{0, 1, 15, 17, 31, 33} {
		if got, ok := cbc.Decrypt(&key, &iv, make([]byte, size)); ok || got != nil {
			t.Errorf("%d bytes decrypt", size)
		}
	}
}
