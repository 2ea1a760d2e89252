package erasure_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/spqr/internal/erasure"
)

// product multiplies in GF(2)[x]/0x1100b by the definition.
func product(a, b uint16) uint16 {
	var p uint32
	for i := range 16 {
		if b>>i&1 != 0 {
			p ^= uint32(a) << i
		}
	}
	for i := 31; i >= 16; i-- {
		if p>>i&1 != 0 {
			p ^= 0x1100b << (i - 16)
		}
	}
	return uint16(p)
}

// inverse returns a^(2¹⁶-2).
func inverse(a uint16) uint16 {
	out := uint16(1)
	for range 15 {
		a = product(a, a)
		out = product(out, a)
	}
	return out
}

// chunkByDefinition evaluates the sixteen polynomials of a message one by one.
func chunkByDefinition(message []byte, x uint16) (chunk erasure.Chunk) {
	for lane := range 16 {
		var values []uint16
		for at := 2 * lane; at < len(message); at += 32 {
			values = append(values, binary.BigEndian.Uint16(message[at:]))
		}
		var sum uint16
		for j, value := range values {
			denominator := uint16(1)
			for l := range values {
				if l != j {
					value = product(value, x^uint16(l))
					denominator = product(denominator, uint16(j^l))
				}
			}
			sum ^= product(value, inverse(denominator))
		}
		binary.BigEndian.PutUint16(chunk[2*lane:], sum)
	}
	return chunk
}

// chunkAt returns one chunk of message.
func chunkAt(t *testing.T, message []byte, x uint16) erasure.Chunk {
	t.Helper()
	e, err := erasure.ResumeEncoder(message, x)
	if err != nil {
		t.Fatal(err)
	}
	point, chunk := e.Next()
	if point != x {
		t.Fatalf("chunk %d is due, want %d", point, x)
	}
	return chunk
}

// decode feeds chunks at the given points to a decoder and returns what the last
// of them completes.
func decode(t *testing.T, message []byte, points []uint16) []byte {
	t.Helper()
	d, err := erasure.NewDecoder(len(message))
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for i, x := range points {
		chunk := chunkAt(t, message, x)
		got = d.Complete(x, &chunk)
		if (got != nil) != (i == len(points)-1) {
			t.Fatalf("after chunk %d of %d: complete is %v", i, len(points), got != nil)
		}
		d.Add(x, &chunk)
	}
	return got
}

func TestVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Message testvectors.Hex
			Chunks  []struct {
				Index uint16
				Data  testvectors.Hex
			}
		}
		Triples []struct{ A, B, Product, Quotient uint16 } `json:"gf_triples"`
	}
	testvectors.Official(t, "spqr_chunks.json", &file)
	chunks := 0
	for i, c := range file.Cases {
		message := []byte(c.Message)
		for _, want := range c.Chunks {
			chunk := chunkAt(t, message, want.Index)
			if !bytes.Equal(chunk[:], want.Data) {
				t.Errorf("case %d, chunk %d: got %x, want %x", i, want.Index, chunk, want.Data)
			}
			chunks++
		}
		// The last chunks of each case, most of them redundant, give the message.
		needed := erasure.Pieces(len(message))
		if len(c.Chunks) < needed {
			continue
		}
		var points []uint16
		for _, chunk := range c.Chunks[len(c.Chunks)-needed:] {
			points = append(points, chunk.Index)
		}
		if !bytes.Equal(decode(t, message, points), message) {
			t.Errorf("case %d: the last chunks give another message", i)
		}
	}
	for _, v := range file.Triples {
		byTable, byRow := erasure.Multiply(v.A, v.B)
		if byTable != v.Product || byRow != v.Product {
			t.Errorf("%d·%d = %d by table, %d by row, want %d", v.A, v.B, byTable, byRow, v.Product)
		}
		if v.B != 0 {
			byTable, byRow = erasure.Multiply(v.Quotient, v.B)
			if byTable != v.A || byRow != v.A {
				t.Errorf("%d/%d is not %d", v.A, v.B, v.Quotient)
			}
		}
	}
	t.Logf("%d chunks, %d triples", chunks, len(file.Triples))
}

func TestMultiplyAgainstDefinition(t *testing.T) {
	r := testrand.New(t)
	for range 100_000 {
		a, b := uint16(r.Uint32()), uint16(r.Uint32())
		byTable, byRow := erasure.Multiply(a, b)
		if want := product(a, b); byTable != want || byRow != want {
			t.Fatalf("%d·%d = %d by table, %d by row, want %d", a, b, byTable, byRow, want)
		}
	}
}

func TestEncoderAgainstDefinition(t *testing.T) {
	r := testrand.New(t)
	for range 15 {
		message := r.Bytes(2 * (1 + r.IntN(erasure.MaxMessageSize/2)))
		for range 4 {
			x := uint16(r.IntN(1 << (1 + r.IntN(16))))
			if diff := cmp.Diff(chunkByDefinition(message, x), chunkAt(t, message, x)); diff != "" {
				t.Fatalf("%d bytes, chunk %d (-want +got):\n%s", len(message), x, diff)
			}
		}
	}
}

func TestAnyChunksDecode(t *testing.T) {
	r := testrand.New(t)
	for round := range 300 {
		size := []int{96, 160, 960, 1152, 2 * (1 + r.IntN(erasure.MaxMessageSize/2))}[round%5]
		message := r.Bytes(size)
		// Points from a narrow window collide with the systematic ones often.
		window := []int{erasure.Pieces(size) + 1, 100, 1 << 16}[r.IntN(3)]
		var points []uint16
		for _, x := range r.Perm(window)[:erasure.Pieces(size)] {
			points = append(points, uint16(x))
		}
		if got := decode(t, message, points); !bytes.Equal(got, message) {
			t.Fatalf("%d bytes from %v: another message", size, points)
		}
	}
}

func TestEncoderWraps(t *testing.T) {
	message := testrand.New(t).Bytes(96)
	e, err := erasure.ResumeEncoder(message, 65534)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint16{65534, 65535, 0, 1} {
		point, chunk := e.Next()
		if again, same := e.Next(); again != point || same != chunk {
			t.Fatal("Next changes the encoder")
		}
		if point != want || chunk != chunkAt(t, message, want) {
			t.Fatalf("got chunk %d, want %d", point, want)
		}
		e.Advance()
	}
}

func TestDecoderIgnoresRepeats(t *testing.T) {
	r := testrand.New(t)
	message := r.Bytes(96)
	d, err := erasure.NewDecoder(len(message))
	if err != nil {
		t.Fatal(err)
	}
	first, other := chunkAt(t, message, 5), erasure.Chunk{1}
	d.Add(5, &first)
	for range 10 {
		if d.Complete(5, &other) != nil {
			t.Fatal("complete with one chunk")
		}
		d.Add(5, &other)
	}
	if point, chunk := d.Chunk(0); d.Held() != 1 || point != 5 || !bytes.Equal(chunk, first[:]) {
		t.Fatal("a repeated chunk replaced the first")
	}
	for x := range uint16(100) {
		chunk := chunkAt(t, message, x)
		d.Add(x, &chunk)
	}
	if d.Held() >= d.Needed() {
		t.Fatalf("%d chunks held, %d needed", d.Held(), d.Needed())
	}
}

func TestSizesRefused(t *testing.T) {
	for _, size := range []int{0, 1, 31, 1151, 1153, 1154, 1 << 20} {
		if _, err := erasure.NewEncoder(make([]byte, size)); err == nil {
			t.Errorf("encoder of %d bytes accepted", size)
		}
		if _, err := erasure.NewDecoder(size); err == nil {
			t.Errorf("decoder of %d bytes accepted", size)
		}
	}
	if _, err := erasure.NewDecoder(-2); err == nil {
		t.Error("decoder of a negative size accepted")
	}
}

func BenchmarkSystematicChunk(b *testing.B) {
	benchmarkChunk(b, 1152, 3)
}

func BenchmarkRedundantChunkOf36(b *testing.B) {
	benchmarkChunk(b, 1152, 100)
}

func BenchmarkRedundantChunkOf3(b *testing.B) {
	benchmarkChunk(b, 96, 100)
}

func benchmarkChunk(b *testing.B, size int, x uint16) {
	b.Helper()
	e, err := erasure.ResumeEncoder(make([]byte, size), x)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Next()
	}
}

// BenchmarkDecodeRedundant reads a message from redundant chunks alone, the worst
// case, which occurs at most once an epoch.
func BenchmarkDecodeRedundant(b *testing.B) {
	message := make([]byte, 1152)
	for i := range message {
		message[i] = byte(i * i)
	}
	e, err := erasure.ResumeEncoder(message, 100)
	if err != nil {
		b.Fatal(err)
	}
	d, err := erasure.NewDecoder(len(message))
	if err != nil {
		b.Fatal(err)
	}
	for d.Held()+1 < d.Needed() {
		x, chunk := e.Next()
		d.Add(x, &chunk)
		e.Advance()
	}
	x, chunk := e.Next()
	b.ReportAllocs()
	for b.Loop() {
		if !bytes.Equal(d.Complete(x, &chunk), message) {
			b.Fatal("another message")
		}
	}
}
