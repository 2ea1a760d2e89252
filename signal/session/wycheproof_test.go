package session

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/internal/testvectors"
)

// TestWycheproofGCM covers the cipher of chate2e/v1: AES-GCM with a 256-bit key,
// a nonce of 12 bytes and a whole tag.
func TestWycheproofGCM(t *testing.T) {
	var file struct {
		TestGroups []struct {
			KeySize, IVSize, TagSize int
			Tests                    []struct {
				TcID   int
				Result string
				Key    testvectors.Hex
				IV     testvectors.Hex
				AAD    testvectors.Hex
				Msg    testvectors.Hex
				CT     testvectors.Hex
				Tag    testvectors.Hex
			}
		}
	}
	testvectors.Wycheproof(t, "aes_gcm_test.json", &file)
	valid, invalid := 0, 0
	for _, group := range file.TestGroups {
		if group.KeySize != 256 || group.IVSize != 96 || group.TagSize != 8*tagSize {
			continue
		}
		for _, c := range group.Tests {
			block, err := aes.NewCipher(c.Key)
			if err != nil {
				t.Fatal(err)
			}
			aead, err := cipher.NewGCM(block)
			if err != nil {
				t.Fatal(err)
			}
			sealed := slices.Concat(c.CT, c.Tag)
			opened, err := aead.Open(nil, c.IV, sealed, c.AAD)
			if c.Result != "valid" {
				invalid++
				if err == nil || opened != nil {
					t.Errorf("%d opens", c.TcID)
				}
				continue
			}
			valid++
			if err != nil || !bytes.Equal(opened, c.Msg) {
				t.Errorf("%d: %x, %v", c.TcID, opened, err)
			}
			if got := aead.Seal(nil, c.IV, c.Msg, c.AAD); !bytes.Equal(got, sealed) {
				t.Errorf("%d: sealed %x, want %x", c.TcID, got, sealed)
			}
		}
	}
	if valid == 0 || invalid == 0 {
		t.Errorf("%d valid and %d invalid tests ran", valid, invalid)
	}
}
