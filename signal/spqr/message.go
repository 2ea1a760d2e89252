package spqr

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"github.com/chate2e/chate2e/signal/spqr/internal/erasure"
)

// version is the first byte of every message.
const version = 1

// MaxMessageSize is the size of the longest message in bytes: version, epoch (10),
// index (5), payload, chunk index (3), chunk (32).
const MaxMessageSize = 1 + binary.MaxVarintLen64 + binary.MaxVarintLen32 + 1 + binary.MaxVarintLen16 + erasure.ChunkSize

// ErrMessage is returned by Receive for bytes that are not a message of this
// version of the protocol in its one encoding.
var ErrMessage = errors.New("spqr: not a message")

// Payload says what a message carries for the key exchange.
type Payload uint8

// The payloads. All but None and Ack come with a chunk.
const (
	None        Payload = iota // nothing
	Header                     // of an encapsulation key, with its MAC
	Vector                     // the rest of the key
	VectorAck                  // the same, and: Ciphertext1 is complete
	Ack                        // Ciphertext1 is complete
	Ciphertext1                // the part that the header suffices for
	Ciphertext2                // the rest, with the MAC of both parts
	payloads
)

// HasChunk reports whether a chunk comes with the payload.
func (p Payload) HasChunk() bool { return p != None && p != Ack && p < payloads }

// String returns a word or two for people.
func (p Payload) String() string {
	if p >= payloads {
		return "unknown"
	}
	return [payloads]string{
		"none", "header", "vector", "vector and ack", "ack", "ciphertext 1", "ciphertext 2",
	}[p]
}

// message is what travels in the header of each message of the conversation. Its
// key is the index-th of the epoch before.
type message struct {
	epoch   uint64
	index   uint32
	payload Payload
	point   uint16 // of the chunk
	chunk   erasure.Chunk
}

// append appends the message's encoding to b.
func (m *message) append(b []byte) []byte {
	b = append(b, version)
	b = binary.AppendUvarint(b, m.epoch)
	b = binary.AppendUvarint(b, uint64(m.index))
	b = append(b, byte(m.payload))
	if m.payload.HasChunk() {
		b = binary.AppendUvarint(b, uint64(m.point))
		b = append(b, m.chunk[:]...)
	}
	return b
}

// parseMessage decodes a message. It refuses what append does not make: another
// version, epoch 0, integers out of range or longer than necessary, a payload
// that does not exist, a chunk that is short, trailing bytes.
func parseMessage(b []byte) (m message, err error) {
	if len(b) == 0 || len(b) > MaxMessageSize || b[0] != version {
		return message{}, ErrMessage
	}
	b = b[1:]
	epoch, b, ok := readVarint(b, math.MaxUint64)
	if !ok || epoch == 0 {
		return message{}, ErrMessage
	}
	index, b, ok := readVarint(b, math.MaxUint32)
	if !ok || len(b) == 0 || b[0] >= byte(payloads) {
		return message{}, ErrMessage
	}
	m = message{epoch: epoch, index: uint32(index), payload: Payload(b[0])} //nolint:gosec // readVarint has checked it
	b = b[1:]
	if m.payload.HasChunk() {
		point, rest, ok := readVarint(b, math.MaxUint16)
		if !ok || len(rest) != erasure.ChunkSize {
			return message{}, ErrMessage
		}
		m.point, m.chunk = uint16(point), erasure.Chunk(rest) //nolint:gosec // readVarint has checked it
		b = nil
	}
	if len(b) != 0 {
		return message{}, ErrMessage
	}
	return m, nil
}

// readVarint reads an unsigned varint (little-endian groups of seven bits) in its
// shortest form.
func readVarint(b []byte, limit uint64) (v uint64, rest []byte, ok bool) {
	v, size := binary.Uvarint(b)
	if size <= 0 || size != max(1, (bits.Len64(v)+6)/7) || v > limit {
		return 0, nil, false
	}
	return v, b[size:], true
}
