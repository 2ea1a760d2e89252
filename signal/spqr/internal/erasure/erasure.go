package erasure

import (
	"encoding/binary"
	"errors"
	"slices"
)

const (
	// ChunkSize is the size of a chunk in bytes.
	ChunkSize = 32
	// MaxPieces is the largest number of chunks a message is cut into.
	MaxPieces = 36
	// MaxMessageSize is the size of the longest message in bytes.
	MaxMessageSize = MaxPieces * ChunkSize
)

// A Chunk is one value of a message's code, at a point that is sent along.
type Chunk = [ChunkSize]byte

// Pieces returns the number of chunks that a message of size bytes is read from.
func Pieces(size int) int { return (size + ChunkSize - 1) / ChunkSize }

var errSize = errors.New("erasure: a message has an even number of bytes, from 2 to 1152")

func validSize(size int) bool {
	return size > 0 && size%2 == 0 && size <= MaxMessageSize
}

// An Encoder gives out the chunks of one message, one after the other.
type Encoder struct {
	data []byte // whole pieces
	next uint16
}

// NewEncoder returns an encoder of message that starts at chunk 0. It keeps a
// copy. The message must have an even number of bytes, at most [MaxMessageSize].
func NewEncoder(message []byte) (*Encoder, error) {
	return ResumeEncoder(message, 0)
}

// ResumeEncoder returns an encoder that starts at chunk next.
func ResumeEncoder(message []byte, next uint16) (*Encoder, error) {
	if !validSize(len(message)) {
		return nil, errSize
	}
	data := make([]byte, Pieces(len(message))*ChunkSize)
	copy(data, message)
	if last := len(message) % ChunkSize; last != 0 {
		// The polynomials that have no word in the last piece have one point less
		// than the others. Their value there fills it up.
		whole := len(message) - last
		chunk := chunkAt(data[:whole], uint16(whole/ChunkSize))
		copy(data[len(message):], chunk[last:])
	}
	return &Encoder{data: data, next: next}, nil
}

// Next returns the chunk that is due and its point. It changes nothing:
// [Encoder.Advance] does, once the chunk has been sent.
func (e *Encoder) Next() (point uint16, chunk Chunk) {
	return e.next, chunkAt(e.data, e.next)
}

// Advance makes the following chunk due. After the last chunk comes the first.
func (e *Encoder) Advance() { e.next++ }

// Point returns the point of the chunk that is due.
func (e *Encoder) Point() uint16 { return e.next }

// Data returns the message, filled up to whole chunks. The caller must not change
// it.
func (e *Encoder) Data() []byte { return e.data }

// chunkAt returns the chunk at point x of the message whose pieces data holds.
func chunkAt(data []byte, x uint16) (chunk Chunk) {
	pieces := len(data) / ChunkSize
	if int(x) < pieces {
		return Chunk(data[int(x)*ChunkSize:])
	}
	var points, coefficients [MaxPieces]uint16
	for j := range pieces {
		points[j] = uint16(j)
	}
	f := field()
	f.basis(coefficients[:], points[:pieces], f.weights[pieces], x)
	var rows [MaxPieces]row
	loadRows(rows[:pieces], data)
	return combine(rows[:], coefficients[:pieces]).bytes()
}

func loadRows(rows []row, data []byte) {
	for j := range rows {
		piece := data[j*ChunkSize : (j+1)*ChunkSize]
		for w := range rows[j] {
			rows[j][w] = binary.BigEndian.Uint64(piece[8*w:])
		}
	}
}

func (r row) bytes() (chunk Chunk) {
	for w, v := range r {
		binary.BigEndian.PutUint64(chunk[8*w:], v)
	}
	return chunk
}

// A Decoder gathers chunks of one message. It holds fewer than [Pieces] of them:
// with the last one that is needed the message is complete, and the decoder has
// done its work.
type Decoder struct {
	size   int
	points []uint16 // ascending
	chunks []byte   // in the order of points
}

// NewDecoder returns a decoder for a message of size bytes, an even number of at
// most [MaxMessageSize].
func NewDecoder(size int) (*Decoder, error) {
	if !validSize(size) {
		return nil, errSize
	}
	return &Decoder{size: size}, nil
}

// Held returns the number of chunks held.
func (d *Decoder) Held() int { return len(d.points) }

// Needed returns the number of chunks that the message is read from.
func (d *Decoder) Needed() int { return Pieces(d.size) }

// Has reports whether the chunk at point is held.
func (d *Decoder) Has(point uint16) bool {
	_, found := slices.BinarySearch(d.points, point)
	return found
}

// Chunk returns the point and the bytes of the i-th chunk held, in ascending
// order of points. The caller must not change the bytes.
func (d *Decoder) Chunk(i int) (point uint16, chunk []byte) {
	return d.points[i], d.chunks[i*ChunkSize : (i+1)*ChunkSize]
}

// Complete returns the message that the chunks held and the given one make up, or
// nil if they are not enough. It changes nothing.
func (d *Decoder) Complete(point uint16, chunk *Chunk) []byte {
	at, found := slices.BinarySearch(d.points, point)
	pieces := d.Needed()
	if found || d.Held()+1 < pieces {
		return nil
	}
	var points [MaxPieces]uint16
	copy(points[:], d.points[:at])
	points[at] = point
	copy(points[at+1:], d.points[at:])
	data := make([]byte, 0, pieces*ChunkSize)
	data = append(data, d.chunks[:at*ChunkSize]...)
	data = append(data, chunk[:]...)
	data = append(data, d.chunks[at*ChunkSize:]...)
	return interpolate(points[:pieces], data)[:d.size]
}

// Add keeps a chunk, unless one at the same point is held already, which is then
// the one that counts. A chunk with which the message is complete is not kept:
// [Decoder.Complete] gives the message instead.
func (d *Decoder) Add(point uint16, chunk *Chunk) {
	at, found := slices.BinarySearch(d.points, point)
	if found || d.Held()+1 >= d.Needed() {
		return
	}
	d.points = slices.Insert(d.points, at, point)
	d.chunks = slices.Insert(d.chunks, at*ChunkSize, chunk[:]...)
}

// interpolate returns the message's pieces, given as many chunks as there are
// pieces, in the order of their points.
func interpolate(points []uint16, data []byte) []byte {
	pieces := len(points)
	out := make([]byte, pieces*ChunkSize)
	var rows [MaxPieces]row
	var denominators []uint16
	at := 0
	for x := range uint16(pieces) {
		piece := out[int(x)*ChunkSize:][:ChunkSize]
		if points[at] == x {
			copy(piece, data[at*ChunkSize:])
			at++
			continue
		}
		f := field()
		if denominators == nil {
			denominators = f.denominators(points)
			loadRows(rows[:pieces], data)
		}
		var coefficients [MaxPieces]uint16
		f.basis(coefficients[:], points, denominators, x)
		chunk := combine(rows[:], coefficients[:pieces]).bytes()
		copy(piece, chunk[:])
	}
	return out
}
