package mlkem768_test

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/rand"
	"crypto/sha3"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/spqr/internal/mlkem768"
)

func key(t *testing.T, b []byte) secret.Key {
	t.Helper()
	k, err := secret.ParseKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// encapsulate runs both halves.
func encapsulate(t *testing.T, ek *mlkem.EncapsulationKey768, m []byte) (ct1, ct2, shared []byte) {
	t.Helper()
	header, vector := mlkem768.Split(ek)
	ct1, k := mlkem768.Encapsulate1(&header, key(t, m))
	ct2, err := mlkem768.Encapsulate2(&header, key(t, m), vector)
	if err != nil {
		t.Fatal(err)
	}
	return ct1, ct2, k.Bytes()
}

func TestAgainstStandardLibrary(t *testing.T) {
	r := testrand.New(t)
	for range 200 {
		dk, err := mlkem.NewDecapsulationKey768(r.Bytes(mlkem.SeedSize))
		if err != nil {
			t.Fatal(err)
		}
		m := r.Bytes(32)
		wantKey, want, err := mlkemtest.Encapsulate768(dk.EncapsulationKey(), m)
		if err != nil {
			t.Fatal(err)
		}
		ct1, ct2, gotKey := encapsulate(t, dk.EncapsulationKey(), m)
		if got := append(ct1, ct2...); !bytes.Equal(got, want) {
			t.Fatal("the halves are not the ciphertext of the standard library")
		}
		if !bytes.Equal(gotKey, wantKey) {
			t.Fatal("the shared secret is not that of the standard library")
		}
		decapsulated, err := dk.Decapsulate(want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(decapsulated, gotKey) {
			t.Fatal("decapsulation gives another secret")
		}
	}
}

// TestLibcrux compares with the incremental interface of libcrux.
func TestLibcrux(t *testing.T) {
	var file struct {
		Cases []struct {
			Seed, PK1, PK2, Message, CT1, CT2 testvectors.Hex
			Shared                            testvectors.Hex `json:"shared_secret"`
		}
	}
	testvectors.Official(t, "libcrux_incremental_mlkem768.json", &file)
	for i, c := range file.Cases {
		dk, err := mlkem.NewDecapsulationKey768(c.Seed)
		if err != nil {
			t.Fatal(err)
		}
		header, vector := mlkem768.Split(dk.EncapsulationKey())
		ct1, ct2, shared := encapsulate(t, dk.EncapsulationKey(), c.Message)
		for _, pair := range []struct {
			name      string
			got, want []byte
		}{
			{"header", header[:], c.PK1},
			{"vector", vector, c.PK2},
			{"ct1", ct1, c.CT1},
			{"ct2", ct2, c.CT2},
			{"shared secret", shared, c.Shared},
		} {
			if !bytes.Equal(pair.got, pair.want) {
				t.Errorf("case %d: %s differs", i, pair.name)
			}
		}
	}
	t.Logf("%d cases", len(file.Cases))
}

// TestACVP runs the encapsulation cases of NIST's validation programme.
func TestACVP(t *testing.T) {
	var file struct {
		KeyGen []struct{ D, Z, EK testvectors.Hex }
		Encaps []struct{ EK, M, C, K testvectors.Hex }
	}
	testvectors.Official(t, "acvp_mlkem768.json", &file)
	for i, c := range file.KeyGen {
		dk, err := mlkem.NewDecapsulationKey768(append(c.D, c.Z...))
		if err != nil {
			t.Fatal(err)
		}
		header, vector := mlkem768.Split(dk.EncapsulationKey())
		if got := append(vector, header[:32]...); !bytes.Equal(got, c.EK) {
			t.Errorf("key generation %d: the parts are not the key", i)
		}
	}
	for i, c := range file.Encaps {
		ek, err := mlkem.NewEncapsulationKey768(c.EK)
		if err != nil {
			t.Fatal(err)
		}
		ct1, ct2, shared := encapsulate(t, ek, c.M)
		if !bytes.Equal(append(ct1, ct2...), c.C) || !bytes.Equal(shared, c.K) {
			t.Errorf("encapsulation %d differs", i)
		}
	}
	t.Logf("%d keys, %d encapsulations", len(file.KeyGen), len(file.Encaps))
}

func TestEncapsulate2RefusesAnotherVector(t *testing.T) {
	r := testrand.New(t)
	dk, err := mlkem.NewDecapsulationKey768(r.Bytes(mlkem.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	header, vector := mlkem768.Split(dk.EncapsulationKey())
	m := key(t, r.Bytes(32))
	refused := func(name string, header [mlkem768.HeaderSize]byte, vector []byte) {
		t.Helper()
		if ct2, err := mlkem768.Encapsulate2(&header, m, vector); err == nil || ct2 != nil {
			t.Errorf("%s: got ct2 %v, error %v", name, ct2 != nil, err)
		}
	}
	refused("short", header, vector[:len(vector)-1])
	refused("long", header, append(bytes.Clone(vector), 0))
	refused("empty", header, nil)
	for range 20 {
		bad := bytes.Clone(vector)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		refused("flipped bit", header, bad)
	}
	other := header
	other[r.IntN(len(other))] ^= 1
	refused("flipped header", other, vector)

	// A vector that its header does name, with a coefficient that is not reduced.
	for _, value := range []int{mlkem768.Q, 4095} {
		for _, position := range []int{0, 1, 767} {
			bad := bytes.Clone(vector)
			at := position / 2 * 3
			x := int(bad[at]) | int(bad[at+1])<<8 | int(bad[at+2])<<16
			if position%2 == 0 {
				x = x&^0xfff | value
			} else {
				x = x&0xfff | value<<12
			}
			bad[at], bad[at+1], bad[at+2] = byte(x), byte(x>>8), byte(x>>16)
			named := header
			hash := sha3.Sum256(append(bytes.Clone(bad), header[:32]...))
			copy(named[32:], hash[:])
			refused("unreduced coefficient", named, bad)
		}
	}
}

func TestReductions(t *testing.T) {
	for a := -1 << 15; a < 1<<15; a++ {
		if got, want := int(mlkem768.Freeze(int16(a))), ((a%mlkem768.Q)+mlkem768.Q)%mlkem768.Q; got != want {
			t.Fatalf("freeze(%d) = %d, want %d", a, got, want)
		}
	}
	r := testrand.New(t)
	bound := mlkem768.Q<<15 - 1
	check := func(a int) {
		t.Helper()
		got := int(mlkem768.MontgomeryReduce(int32(a)))
		if got <= -mlkem768.Q || got >= mlkem768.Q || (got<<16-a)%mlkem768.Q != 0 {
			t.Fatalf("montgomeryReduce(%d) = %d", a, got)
		}
	}
	for range 200_000 {
		check(r.IntN(2*bound+1) - bound)
	}
	for _, a := range []int{-bound, -1, 0, 1, bound} {
		check(a)
	}
}

func TestCompressIsExact(t *testing.T) {
	for a := range mlkem768.Q {
		for _, c := range []struct {
			d   uint
			got int
		}{{10, int(mlkem768.Compress10(uint16(a)))}, {4, int(mlkem768.Compress4(uint16(a)))}} {
			x := big.NewRat(int64(a)<<c.d, mlkem768.Q)
			x.Add(x, big.NewRat(1, 2))
			floor := new(big.Int).Quo(x.Num(), x.Denom())
			if want := int(floor.Int64()) % (1 << c.d); c.got != want {
				t.Fatalf("compress%d(%d) = %d, want %d", c.d, a, c.got, want)
			}
		}
	}
}

// TestNTTAgainstDefinition compares the transform with FIPS 203, Equation 4.11:
// the residues of the polynomial modulo X² - ζ^(2·BitRev7(i)+1).
func TestNTTAgainstDefinition(t *testing.T) {
	r := testrand.New(t)
	var p [256]int16
	for i := range p {
		p[i] = int16(r.IntN(2*mlkem768.Q+1) - mlkem768.Q)
	}
	got := mlkem768.NTT(p)
	for i := range 128 {
		reversed := 0
		for bit := range 7 {
			reversed |= (i >> bit & 1) << (6 - bit)
		}
		root := 1
		for range 2*reversed + 1 {
			root = root * 17 % mlkem768.Q
		}
		var want [2]int
		power := 1
		for j := range 128 {
			want[0] += int(p[2*j]) * power
			want[1] += int(p[2*j+1]) * power
			power = power * root % mlkem768.Q
		}
		for c := range want {
			if (want[c]-int(got[2*i+c]))%mlkem768.Q != 0 {
				t.Fatalf("coefficient %d differs", 2*i+c)
			}
		}
	}
}

// TestSumOfProductsAgainstSchoolbook multiplies by the definition of the ring,
// at random and at the bounds that the reductions allow.
func TestSumOfProductsAgainstSchoolbook(t *testing.T) {
	r := testrand.New(t)
	random := func() int16 { return int16(r.IntN(2*mlkem768.Q+1) - mlkem768.Q) }
	extreme := func() int16 { return mlkem768.Q - int16(r.IntN(2))*2*mlkem768.Q }
	for round := range 30 {
		draw := random
		if round%3 == 0 {
			draw = extreme
		}
		var a, b [3][256]int16
		for i := range a {
			for j := range a[i] {
				a[i][j], b[i][j] = draw(), draw()
			}
		}
		var sum [512]int
		for i := range a {
			for x := range a[i] {
				for y := range b[i] {
					sum[x+y] += int(a[i][x]) * int(b[i][y])
				}
			}
		}
		var want [256]uint16
		for i := range want {
			v := (sum[i] - sum[i+256]) % mlkem768.Q
			want[i] = uint16((v + mlkem768.Q) % mlkem768.Q)
		}
		if diff := cmp.Diff(want, mlkem768.SumOfProducts(a, b)); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
	}
}

// TestSampleUniform compares with FIPS 203, Algorithm 7, taken word for word.
// Enough seeds are tried that some need more than the first three blocks.
func TestSampleUniform(t *testing.T) {
	r := testrand.New(t)
	long := 0
	for range 3000 {
		rho := [32]byte(r.Bytes(32))
		a, b := byte(r.IntN(3)), byte(r.IntN(3))
		stream := sha3.SumSHAKE128(append(rho[:], a, b), 3*1000)
		var want [256]int16
		used := 0
		for j := 0; j < 256; used += 3 {
			c := stream[used : used+3]
			d1 := int16(c[0]) + 256*int16(c[1]%16)
			d2 := int16(c[1]/16) + 16*int16(c[2])
			if d1 < mlkem768.Q {
				want[j] = d1
				j++
			}
			if d2 < mlkem768.Q && j < 256 {
				want[j] = d2
				j++
			}
		}
		if used > 504 {
			long++
		}
		if mlkem768.SampleUniform(&rho, a, b) != want {
			t.Fatal("the sampled polynomial differs")
		}
	}
	if long == 0 {
		t.Error("no seed needed a fourth block")
	}
}

// TestSampleNoise compares with FIPS 203, Algorithm 8, taken word for word.
func TestSampleNoise(t *testing.T) {
	r := testrand.New(t)
	for nonce := range byte(7) {
		key := [32]byte(r.Bytes(32))
		stream := sha3.SumSHAKE256(append(key[:], nonce), 128)
		bit := func(i int) int16 { return int16(stream[i/8] >> (i % 8) & 1) }
		var want [256]int16
		for i := range want {
			want[i] = bit(4*i) + bit(4*i+1) - bit(4*i+2) - bit(4*i+3)
		}
		if diff := cmp.Diff(want, mlkem768.SampleNoise(&key, nonce)); diff != "" {
			t.Fatalf("nonce %d (-want +got):\n%s", nonce, diff)
		}
	}
}

func benchmarkKey(b *testing.B) (ek *mlkem.EncapsulationKey768, m secret.Key) {
	b.Helper()
	dk, err := mlkem.GenerateKey768()
	if err != nil {
		b.Fatal(err)
	}
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		b.Fatal(err)
	}
	return dk.EncapsulationKey(), secret.NewKey(seed)
}

func BenchmarkEncapsulate1(b *testing.B) {
	ek, m := benchmarkKey(b)
	header, _ := mlkem768.Split(ek)
	b.ReportAllocs()
	for b.Loop() {
		mlkem768.Encapsulate1(&header, m)
	}
}

func BenchmarkEncapsulate2(b *testing.B) {
	ek, m := benchmarkKey(b)
	header, vector := mlkem768.Split(ek)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mlkem768.Encapsulate2(&header, m, vector); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFloorEncapsulate is the standard library's encapsulation in one, with
// the matrix expanded beforehand, as its key type does.
func BenchmarkFloorEncapsulate(b *testing.B) {
	ek, _ := benchmarkKey(b)
	b.ReportAllocs()
	for b.Loop() {
		ek.Encapsulate()
	}
}

// BenchmarkFloorParseAndEncapsulate adds the expansion of the matrix, which
// whoever receives a key has to do once.
func BenchmarkFloorParseAndEncapsulate(b *testing.B) {
	ek, _ := benchmarkKey(b)
	raw := ek.Bytes()
	b.ReportAllocs()
	for b.Loop() {
		parsed, err := mlkem.NewEncapsulationKey768(raw)
		if err != nil {
			b.Fatal(err)
		}
		parsed.Encapsulate()
	}
}
