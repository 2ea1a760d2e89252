package senderkey_test

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"math/big"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/senderkey"
)

// A sender can give two members different chain keys. AES-GCM would then let it
// make one ciphertext, with one valid signature, that opens for both, to different
// texts; here the second member refuses it, whichever is second.
func TestCommitment(t *testing.T) {
	r := testrand.New(t)
	signing := curve.GenerateKey()
	var keys [2][32]byte
	var receivers [2]*senderkey.Receiver
	for i := range keys {
		keys[i] = [32]byte(r.Bytes(32))
		receivers[i] = must(senderkey.NewReceiver(senderkey.Chate2eV1, group, alice))
		process(t, receivers[i], senderkey.AppendDistribution(senderkey.Chate2eV1, senderkey.Distribution{
			Group: group, ChainID: 5, ChainKey: keys[i], Signing: signing.PublicKey(),
		}))
	}
	address := append([]byte{byte(len(alice.Name))}, alice.Name...)
	address = binary.BigEndian.AppendUint32(address, alice.Device)
	salt := r.Bytes(16)
	for committed := range keys {
		var seeds [2][32]byte
		for i := range keys {
			seeds[i], _ = kdf.Step(&keys[i])
		}
		_, _, commitment := senderkey.Chate2eKeys(&seeds[committed], salt)
		header := slices.Concat([]byte{1, 7}, group[:], []byte{0, 0, 0, 5, 0, 0, 0, 0}, salt, commitment)
		associated := slices.Concat(address, header)
		ciphertext := forTwo(t, seeds, salt, associated, r.Bytes(64))
		message := slices.Concat(header, ciphertext)
		message = append(message, signing.Sign(slices.Concat([]byte("ChatE2E v1 group signature"), address, message))...)

		var texts [2][]byte
		for i := range seeds {
			aead, nonce, _ := senderkey.Chate2eKeys(&seeds[i], salt)
			text, err := aead.Open(nil, nonce, ciphertext, associated)
			if err != nil {
				t.Fatalf("AES-GCM alone does not open for %d: the attack is none", i)
			}
			texts[i] = text
		}
		if bytes.Equal(texts[0], texts[1]) {
			t.Fatal("both texts are the same: the attack is none")
		}
		refuses(t, receivers[1-committed], message, senderkey.ErrDecrypt)
		b := receivers[committed].Append(nil)
		opens(t, must(senderkey.ParseReceiver(b)), message, string(texts[committed]))
	}
}

// forTwo returns a ciphertext with a tag that is right under both keys, made from
// the blocks given: the first of them is solved for.
func forTwo(t *testing.T, seeds [2][32]byte, salt, associated, ciphertext []byte) []byte {
	t.Helper()
	ciphertext = bytes.Clone(ciphertext)
	clear(ciphertext[:16])
	var tags, factors [2]*big.Int
	exponent := len(ciphertext)/16 + 1 // of the first block, the length counts as well
	for i := range seeds {
		input := slices.Concat(seeds[i][:], salt)
		derived := kdf.HKDF(input, kdf.Zero[:], kdf.Chate2eGroupMessage.String(), 44)
		block := must(aes.NewCipher(derived[:32]))
		var b [16]byte
		block.Encrypt(b[:], b[:])
		h := element(b[:])
		sum := new(big.Int)
		lengths := binary.BigEndian.AppendUint64(nil, uint64(8*len(associated)))
		lengths = binary.BigEndian.AppendUint64(lengths, uint64(8*len(ciphertext)))
		padded := append(bytes.Clone(associated), make([]byte, (16-len(associated)%16)%16)...)
		for part := range slices.Chunk(slices.Concat(padded, ciphertext, lengths), 16) {
			sum = multiply(sum.Xor(sum, element(part)), h)
		}
		mask := append(bytes.Clone(derived[32:]), 0, 0, 0, 1)
		block.Encrypt(mask, mask)
		tags[i] = sum.Xor(sum, element(mask))
		factors[i] = big.NewInt(1)
		for range exponent {
			factors[i] = multiply(factors[i], h)
		}
	}
	// first · factor0 + tag0 = first · factor1 + tag1
	inverse := big.NewInt(1)
	for base, i := new(big.Int).Xor(factors[0], factors[1]), 0; i < 128; i++ { // to the power of 2^128 - 2
		if i > 0 {
			inverse = multiply(inverse, base)
		}
		base = multiply(base, base)
	}
	first := multiply(new(big.Int).Xor(tags[0], tags[1]), inverse)
	copy(ciphertext, octets(first))
	return append(ciphertext, octets(tags[0].Xor(tags[0], multiply(first, factors[0])))...)
}

// element reads a block as GCM does: the first bit is the coefficient of 1.
func element(b []byte) *big.Int {
	x := new(big.Int)
	for i := range 128 {
		x.SetBit(x, i, uint(b[i/8]>>(7-i%8)&1))
	}
	return x
}

func octets(x *big.Int) []byte {
	b := make([]byte, 16)
	for i := range 128 {
		b[i/8] |= byte(x.Bit(i)) << (7 - i%8)
	}
	return b
}

// multiply multiplies modulo x^128 + x^7 + x^2 + x + 1.
func multiply(a, b *big.Int) *big.Int {
	product := new(big.Int)
	for i := range b.BitLen() {
		if b.Bit(i) == 1 {
			product.Xor(product, new(big.Int).Lsh(a, uint(i)))
		}
	}
	modulus := new(big.Int).SetBit(big.NewInt(0x87), 128, 1)
	for product.BitLen() > 128 {
		product.Xor(product, new(big.Int).Lsh(modulus, uint(product.BitLen()-129)))
	}
	return product
}
