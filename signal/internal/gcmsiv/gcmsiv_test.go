package gcmsiv_test

import (
	"bytes"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/internal/gcmsiv"
)

type arguments struct {
	key        [gcmsiv.KeySize]byte
	nonce      [gcmsiv.NonceSize]byte
	associated []byte
}

func (a *arguments) seal(plaintext []byte) []byte {
	return gcmsiv.Seal(&a.key, &a.nonce, plaintext, a.associated)
}

func (a *arguments) open(ciphertext []byte) ([]byte, bool) {
	return gcmsiv.Open(&a.key, &a.nonce, ciphertext, a.associated)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of RFC 8452, Appendix C.2, in which the parts have different sizes
// and, in Appendix C.3, the counter wraps.
func TestRFC8452(t *testing.T) {
	for _, c := range []struct{ name, key, nonce, associated, plaintext, result string }{
		{
			"empty",
			"0100000000000000000000000000000000000000000000000000000000000000", "030000000000000000000000", "", "",
			"07f5f4169bbf55a8400cd47ea6fd400f",
		},
		{
			"8 bytes",
			"0100000000000000000000000000000000000000000000000000000000000000", "030000000000000000000000", "", "0100000000000000",
			"c2ef328e5c71c83b843122130f7364b761e0b97427e3df28",
		},
		{
			"counter wraps",
			"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
			"000000000000000000000000000000004db923dc793ee6497c76dcc03a98e108",
			"f3f80f2cf0cb2dd9c5984fcda908456cc537703b5ba70324a6793a7bf218d3eaffffffff000000000000000000000000",
		},
		{
			"counter wraps, other message",
			"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
			"eb3640277c7ffd1303c7a542d02d3e4c0000000000000000",
			"18ce4f0b8cb4d0cac65fea8f79257b20888e53e72299e56dffffffff000000000000000000000000",
		},
	} {
		a := arguments{
			key: [gcmsiv.KeySize]byte(unhex(t, c.key)), nonce: [gcmsiv.NonceSize]byte(unhex(t, c.nonce)),
			associated: unhex(t, c.associated),
		}
		if got := hex.EncodeToString(a.seal(unhex(t, c.plaintext))); got != c.result {
			t.Errorf("%s: got %s, want %s", c.name, got, c.result)
		}
		if got, ok := a.open(unhex(t, c.result)); !ok || hex.EncodeToString(got) != c.plaintext {
			t.Errorf("%s: got %x, %t, want %s", c.name, got, ok, c.plaintext)
		}
	}
}

func TestAppendixC2(t *testing.T) {
	var file struct {
		Cases []struct {
			N                                  int
			Plaintext, AAD, Key, Nonce, Result testvectors.Hex
		}
	}
	testvectors.Official(t, "rfc8452_appendix_c2.json", &file)
	if len(file.Cases) != 24 {
		t.Fatalf("%d cases, want 24", len(file.Cases))
	}
	for _, c := range file.Cases {
		a := arguments{
			key: [gcmsiv.KeySize]byte(c.Key), nonce: [gcmsiv.NonceSize]byte(c.Nonce), associated: c.AAD,
		}
		if got := a.seal(c.Plaintext); !bytes.Equal(got, c.Result) {
			t.Errorf("%d: got %x, want %x", c.N, got, c.Result)
		}
		if got, ok := a.open(c.Result); !ok || !bytes.Equal(got, c.Plaintext) {
			t.Errorf("%d: got %x, %t, want %x", c.N, got, ok, c.Plaintext)
		}
	}
}

func TestWycheproof(t *testing.T) {
	var file struct {
		TestGroups []struct {
			KeySize, IvSize, TagSize int
			Tests                    []struct {
				TcID                       int
				Comment, Result            string
				Key, Iv, AAD, Msg, Ct, Tag testvectors.Hex
			}
		}
	}
	testvectors.Wycheproof(t, "aes_gcm_siv_test.json", &file)
	count := map[string]int{}
	for _, g := range file.TestGroups {
		if g.KeySize != 8*gcmsiv.KeySize {
			continue // AES-128
		}
		for _, c := range g.Tests {
			a := arguments{
				key: [gcmsiv.KeySize]byte(c.Key), nonce: [gcmsiv.NonceSize]byte(c.Iv), associated: c.AAD,
			}
			result := slices.Concat(c.Ct, c.Tag)
			got, ok := a.open(result)
			count[c.Result]++
			switch c.Result {
			case "valid":
				if !ok || !bytes.Equal(got, c.Msg) {
					t.Errorf("%d, %s: got %x, %t, want %x", c.TcID, c.Comment, got, ok, c.Msg)
				}
				if sealed := a.seal(c.Msg); !bytes.Equal(sealed, result) {
					t.Errorf("%d, %s: got %x, want %x", c.TcID, c.Comment, sealed, result)
				}
			case "invalid":
				if ok || got != nil {
					t.Errorf("%d, %s: opens", c.TcID, c.Comment)
				}
			default:
				t.Errorf("%d: result %q", c.TcID, c.Result)
			}
		}
	}
	if count["valid"] < 50 || count["invalid"] < 20 {
		t.Errorf("only %v", count)
	}
}

// Every bit of key, nonce, associated data, ciphertext and tag counts, and so do
// the lengths.
func TestEveryBitCounts(t *testing.T) {
	r := testrand.New(t)
	a := arguments{
		key: [gcmsiv.KeySize]byte(r.Bytes(gcmsiv.KeySize)), nonce: [gcmsiv.NonceSize]byte(r.Bytes(gcmsiv.NonceSize)),
		associated: r.Bytes(21),
	}
	plaintext := r.Bytes(37)
	sealed := a.seal(plaintext)
	refused := func(what string, at int, a arguments, b []byte) {
		t.Helper()
		if got, ok := a.open(b); ok || got != nil {
			t.Errorf("%s, %d: opens", what, at)
		}
	}
	for i := range 8 * len(a.key) {
		b := a
		b.key[i/8] ^= 1 << (i % 8)
		refused("key", i, b, sealed)
	}
	for i := range 8 * len(a.nonce) {
		b := a
		b.nonce[i/8] ^= 1 << (i % 8)
		refused("nonce", i, b, sealed)
	}
	for i := range 8 * len(a.associated) {
		b := a
		b.associated = bytes.Clone(a.associated)
		b.associated[i/8] ^= 1 << (i % 8)
		refused("associated data", i, b, sealed)
	}
	for i := range 8 * len(sealed) {
		b := bytes.Clone(sealed)
		b[i/8] ^= 1 << (i % 8)
		refused("ciphertext", i, a, b)
	}
	for size := range sealed {
		refused("truncated", size, a, sealed[:size])
	}
	refused("longer", len(sealed), a, append(bytes.Clone(sealed), 0))
	b := a
	b.associated = append(bytes.Clone(a.associated), 0) // the same blocks
	refused("longer associated data", 0, b, sealed)
	b.associated = nil
	refused("no associated data", 0, b, sealed)
	if got, ok := a.open(sealed); !ok || !bytes.Equal(got, plaintext) {
		t.Errorf("got %x, %t, want %x", got, ok, plaintext)
	}
}

// The multiplication is that of polynomials, also for factors of zeros and ones,
// where most carries meet.
func TestLowProduct(t *testing.T) {
	r := testrand.New(t)
	naive := func(a, b uint64) uint64 {
		var c uint64
		for i := range 64 {
			c ^= (a << i) & -(b >> i & 1)
		}
		return c
	}
	corners := []uint64{0, 1, 1 << 63, 1<<64 - 1, 0x1111111111111111, 0x8888888888888888, 0x5555555555555555}
	for range 2000 {
		a, b := r.Uint64(), r.Uint64()
		values := append(slices.Clone(corners), a, b, a|b, a&b)
		for _, x := range values {
			for _, y := range values {
				if got, want := gcmsiv.LowProduct(x, y), naive(x, y); got != want {
					t.Fatalf("%x times %x is %x, want %x", x, y, got, want)
				}
			}
		}
	}
}

// POLYVAL against big integers as polynomials, straight from RFC 8452, Section 3.
func TestPolyval(t *testing.T) {
	r := testrand.New(t)
	modulus := new(big.Int)
	for _, bit := range []int{128, 127, 126, 121, 0} {
		modulus.SetBit(modulus, bit, 1)
	}
	element := func(b []byte) *big.Int {
		b = bytes.Clone(b)
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	multiply := func(a, b *big.Int) *big.Int {
		product := new(big.Int)
		for i := range b.BitLen() {
			if b.Bit(i) == 1 {
				product.Xor(product, new(big.Int).Lsh(a, uint(i)))
			}
		}
		for product.BitLen() > 128 {
			product.Xor(product, new(big.Int).Lsh(modulus, uint(product.BitLen()-129)))
		}
		return product
	}
	// x^-128 = x^127 + x^124 + x^121 + x^114 + 1
	inverse := new(big.Int)
	for _, bit := range []int{127, 124, 121, 114, 0} {
		inverse.SetBit(inverse, bit, 1)
	}
	for range 200 {
		key, data := r.Bytes(16), r.Bytes(16*r.IntN(6))
		h := multiply(element(key), inverse)
		want := new(big.Int)
		for block := range slices.Chunk(data, 16) {
			want = multiply(want.Xor(want, element(block)), h)
		}
		if got := gcmsiv.Polyval([16]byte(key), data); element(got[:]).Cmp(want) != 0 {
			t.Fatalf("POLYVAL of %x under %x is %x, want %x", data, key, got, want)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(make([]byte, 44), []byte("associated"), []byte("plaintext"))
	f.Add(bytes.Repeat([]byte{0xff}, 44), []byte{}, make([]byte, 48))
	f.Fuzz(func(t *testing.T, secrets, associated, data []byte) {
		var a arguments
		copy(a.nonce[:], secrets[copy(a.key[:], secrets):])
		a.associated = associated
		sealed := a.seal(data)
		if len(sealed) != len(data)+gcmsiv.TagSize {
			t.Fatalf("%d bytes become %d", len(data), len(sealed))
		}
		if got, ok := a.open(sealed); !ok || !bytes.Equal(got, data) {
			t.Fatalf("%x opens as %x, %t", data, got, ok)
		}
		if got, ok := a.open(data); ok && !bytes.Equal(a.seal(got), data) {
			t.Fatalf("%x opens, and is sealed otherwise", data)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	var a arguments
	plaintext := make([]byte, 1024)
	b.SetBytes(int64(len(plaintext)))
	b.ReportAllocs()
	for b.Loop() {
		a.seal(plaintext)
	}
}
