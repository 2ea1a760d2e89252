package curve_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"sync"
	"testing"

	"filippo.io/edwards25519"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/curve"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func privateKey(tb testing.TB, b []byte) *curve.PrivateKey {
	tb.Helper()
	key, err := curve.NewPrivateKey(b)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func agree(tb testing.TB, our *curve.PrivateKey, their curve.PublicKey) []byte {
	tb.Helper()
	shared, err := our.ECDH(their)
	if err != nil {
		tb.Fatal(err)
	}
	return shared.Bytes()
}

func TestAgreement(t *testing.T) {
	for range 20 {
		alice, bob := curve.GenerateKey(), curve.GenerateKey()
		a, b := agree(t, alice, bob.PublicKey()), agree(t, bob, alice.PublicKey())
		if !bytes.Equal(a, b) {
			t.Fatal("the two sides agree on different secrets")
		}
		loaded := privateKey(t, alice.Bytes())
		if loaded.PublicKey() != alice.PublicKey() || !loaded.Equal(alice) || alice.Equal(bob) {
			t.Fatal("a key is not the same after it was stored and loaded")
		}
		if again := agree(t, loaded, bob.PublicKey()); !bytes.Equal(a, again) {
			t.Fatal("a loaded key agrees on another secret")
		}
	}
}

// TestClamping: a private key is clamped wherever it comes from, so that it has
// one form in storage.
func TestClamping(t *testing.T) {
	clamped := func(b []byte) bool { return b[0]&7 == 0 && b[31]&0x80 == 0 && b[31]&0x40 != 0 }
	r := testrand.New(t)
	for range 50 {
		if !clamped(curve.GenerateKey().Bytes()) {
			t.Fatal("a generated key is not clamped")
		}
		raw := r.Bytes(32)
		key := privateKey(t, raw)
		if !clamped(key.Bytes()) {
			t.Fatal("a loaded key is not clamped")
		}
		if want := slices.Concat([]byte{raw[0] &^ 7}, raw[1:31], []byte{raw[31]&^0x80 | 0x40}); !bytes.Equal(key.Bytes(), want) {
			t.Fatal("clamping changes other bits")
		}
		if !privateKey(t, key.Bytes()).Equal(key) {
			t.Fatal("clamping twice gives another key")
		}
	}
}

func TestPrivateKeyRefuses(t *testing.T) {
	for _, size := range []int{0, 31, 33, 64} {
		if key, err := curve.NewPrivateKey(make([]byte, size)); key != nil || !errors.Is(err, curve.ErrPrivateKey) {
			t.Errorf("%d bytes: %v, %v", size, key, err)
		}
		if key, err := curve.ParsePrivateKey(make([]byte, size)); key != nil || !errors.Is(err, curve.ErrPrivateKey) {
			t.Errorf("%d bytes: parsed %v, %v", size, key, err)
		}
	}
}

// What Bytes made is parsed; with one of the five bits that are fixed changed it is not.
func TestParsePrivateKey(t *testing.T) {
	key := curve.GenerateKey()
	stored := key.Bytes()
	if again, err := curve.ParsePrivateKey(stored); err != nil || !again.Equal(key) {
		t.Fatalf("not read back: %v", err)
	}
	for bit := range 256 {
		b := bytes.Clone(stored)
		b[bit/8] ^= 1 << (bit % 8)
		got, err := curve.ParsePrivateKey(b)
		if fixed := bit < 3 || bit >= 254; fixed != errors.Is(err, curve.ErrPrivateKey) || fixed != (got == nil) {
			t.Errorf("bit %d changed: %v, %v", bit, got, err)
		}
	}
}

// TestBytesIsACopy: who stores a key may wipe what Bytes returned.
func TestBytesIsACopy(t *testing.T) {
	raw := testrand.New(t).Bytes(32)
	key := privateKey(t, raw)
	want := key.Bytes()
	clear(raw)
	clear(key.Bytes())
	if !bytes.Equal(key.Bytes(), want) {
		t.Error("the key shares its bytes")
	}
}

func TestEncoding(t *testing.T) {
	public := curve.GenerateKey().PublicKey()
	encoded := public.Encode()
	if encoded[0] != 0x05 || !bytes.Equal(encoded[1:], public[:]) {
		t.Errorf("Encode gives %x for %x", encoded, public)
	}
	back, err := curve.ParsePublicKey(encoded[:])
	if err != nil || back != public {
		t.Errorf("ParsePublicKey: %x, %v", back, err)
	}
	for name, bad := range map[string][]byte{
		"nothing":           nil,
		"no type byte":      public[:],
		"a missing byte":    encoded[:32],
		"a trailing byte":   append(encoded[:], 0),
		"type 0":            append([]byte{0}, public[:]...),
		"the KEM type 0x08": append([]byte{8}, public[:]...),
	} {
		if key, err := curve.ParsePublicKey(bad); key != (curve.PublicKey{}) || !errors.Is(err, curve.ErrPublicKey) {
			t.Errorf("%s: %x, %v", name, key, err)
		}
	}
}

// TestConcurrentUse is for the race detector: loading is lazy.
func TestConcurrentUse(t *testing.T) {
	key, other := privateKey(t, testrand.New(t).Bytes(32)), curve.GenerateKey()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			message := []byte("message")
			if !key.PublicKey().Verify(message, key.Sign(message)) {
				t.Error("a signature does not verify")
			}
			if _, err := key.ECDH(other.PublicKey()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// The prime of the field and the order of the subgroup.
var (
	fieldPrime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	groupOrder = func() *big.Int {
		order, ok := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
		if !ok {
			panic("a constant is no number")
		}
		return order.Add(order, new(big.Int).Lsh(big.NewInt(1), 252))
	}()
)

// littleEndian returns a number below 2^256 as a public key.
func littleEndian(n *big.Int) (key curve.PublicKey) {
	n.FillBytes(key[:])
	slices.Reverse(key[:])
	return key
}

func number(b []byte) *big.Int {
	b = bytes.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

// lowOrder are all encodings of u-coordinates of low order, on the curve and on
// the twist: 0, 1, -1 and the two of order eight, each also as non-canonical
// number and with the high bit, which X25519 ignores.
func lowOrder() []curve.PublicKey {
	var keys []curve.PublicKey
	for _, u := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	} {
		b, err := hex.DecodeString(u)
		if err != nil {
			panic(err)
		}
		canonical := number(b)
		for _, n := range []*big.Int{canonical, new(big.Int).Add(canonical, fieldPrime)} {
			if n.BitLen() <= 255 {
				key := littleEndian(n)
				keys = append(keys, key)
				key[31] |= 0x80
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func TestLowOrder(t *testing.T) {
	keys := lowOrder()
	if len(keys) != 14 { // 5 canonical, p and p+1, each with and without the high bit
		t.Fatalf("%d encodings of low order", len(keys))
	}
	for _, key := range keys {
		shared, err := curve.GenerateKey().ECDH(key)
		if !errors.Is(err, curve.ErrLowOrder) || !shared.IsZero() {
			t.Errorf("ECDH with %x: %v", key, err)
		}
		if key.IsCanonical() {
			t.Errorf("%x is canonical", key)
		}
	}
}

// canonicalOracle is IsCanonical with big numbers: the high bit is clear,
// u < p, u³ + 486662u² + u is a square, and the order of the subgroup times u is
// the point at infinity.
func canonicalOracle(key curve.PublicKey) bool {
	u := number(key[:])
	if u.Cmp(fieldPrime) >= 0 {
		return false
	}
	right := new(big.Int).Add(u, big.NewInt(486662))
	right.Mul(right, u).Add(right, big.NewInt(1)).Mul(right, u).Mod(right, fieldPrime)
	if big.Jacobi(right, fieldPrime) < 0 {
		return false
	}

	// The Montgomery ladder of RFC 7748, Section 5, with the scalar L.
	mod := func(n *big.Int) *big.Int { return n.Mod(n, fieldPrime) }
	mul := func(a, b *big.Int) *big.Int { return mod(new(big.Int).Mul(a, b)) }
	add := func(a, b *big.Int) *big.Int { return mod(new(big.Int).Add(a, b)) }
	sub := func(a, b *big.Int) *big.Int { return mod(new(big.Int).Sub(a, b)) }
	x2, z2, x3, z3 := big.NewInt(1), big.NewInt(0), u, big.NewInt(1)
	for i := groupOrder.BitLen() - 1; i >= 0; i-- {
		swap := groupOrder.Bit(i) == 1
		if swap {
			x2, z2, x3, z3 = x3, z3, x2, z2
		}
		a, b, c, d := add(x2, z2), sub(x2, z2), add(x3, z3), sub(x3, z3)
		aa, bb, da, cb := mul(a, a), mul(b, b), mul(d, a), mul(c, b)
		e := sub(aa, bb)
		x3 = mul(add(da, cb), add(da, cb))
		z3 = mul(u, mul(sub(da, cb), sub(da, cb)))
		x2 = mul(aa, bb)
		z2 = mul(e, add(aa, mul(big.NewInt(121665), e)))
		if swap {
			x2, z2, x3, z3 = x3, z3, x2, z2
		}
	}
	return z2.Sign() == 0 && x2.Sign() != 0
}

// torsionPoints returns the seven points of low order but the identity.
func torsionPoints(t *testing.T) []*edwards25519.Point {
	t.Helper()
	generator, err := new(edwards25519.Point).SetBytes(unhex(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
	if err != nil {
		t.Fatal(err)
	}
	var points []*edwards25519.Point
	p := edwards25519.NewIdentityPoint()
	for range 7 {
		p = new(edwards25519.Point).Add(p, generator)
		points = append(points, p)
	}
	if new(edwards25519.Point).Add(p, generator).Equal(edwards25519.NewIdentityPoint()) != 1 {
		t.Fatal("the generator of the torsion group is not of order eight")
	}
	return points
}

func TestIsCanonical(t *testing.T) {
	r := testrand.New(t)
	check := func(name string, key curve.PublicKey, want bool) {
		t.Helper()
		if oracle := canonicalOracle(key); oracle != want {
			t.Fatalf("%s, %x: the oracle says %v", name, key, oracle)
		}
		if got := key.IsCanonical(); got != want {
			t.Errorf("%s, %x: IsCanonical says %v", name, key, got)
		}
	}
	check("the base point", curve.PublicKey{9}, true)
	for _, key := range lowOrder() {
		check("low order", key, false)
	}
	for i := range int64(19) { // all numbers that have a second encoding
		check("not below p", littleEndian(new(big.Int).Add(fieldPrime, big.NewInt(i))), false)
	}
	torsion := torsionPoints(t)
	for range 10 {
		private := privateKey(t, r.Bytes(32))
		public := private.PublicKey()
		check("a public key", public, true)
		high := public
		high[31] |= 0x80
		check("the high bit", high, false)

		scalar, err := edwards25519.NewScalar().SetBytesWithClamping(private.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		point := new(edwards25519.Point).ScalarBaseMult(scalar)
		if !bytes.Equal(point.BytesMontgomery(), public[:]) {
			t.Fatal("the Edwards point is another one")
		}
		for _, small := range torsion {
			mixed := new(edwards25519.Point).Add(point, small)
			check("a torsion part", curve.PublicKey(mixed.BytesMontgomery()), false)
		}
	}
	// Half of all numbers are on the twist, seven eighths of the rest have a
	// torsion part.
	for range 60 {
		key := curve.PublicKey(r.Bytes(32))
		key[31] &= 0x7F
		check("a random number", key, canonicalOracle(key))
	}
}

// TestAgreementIgnoresEncoding: ECDH takes identity and ratchet keys as they
// come, like the official library, and gives one result for all encodings of a
// number.
func TestAgreementIgnoresEncoding(t *testing.T) {
	our := curve.GenerateKey()
	for i := range int64(19) {
		small := littleEndian(big.NewInt(i))
		large := littleEndian(new(big.Int).Add(fieldPrime, big.NewInt(i)))
		high := small
		high[31] |= 0x80
		if i < 2 {
			continue // of low order
		}
		want := agree(t, our, small)
		if !bytes.Equal(agree(t, our, large), want) || !bytes.Equal(agree(t, our, high), want) {
			t.Errorf("the encodings of %d give different secrets", i)
		}
	}
}
