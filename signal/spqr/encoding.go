package spqr

import (
	"crypto/mlkem"
	"encoding/binary"
	"errors"
	"math"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/spqr/internal/erasure"
)

// ErrEncoding is returned by Parse for bytes that [State.Append] did not make.
var ErrEncoding = errors.New("spqr: not an encoded state")

// encodingVersion is the first byte of an encoded state.
const encodingVersion = 1

// maxEpoch is more than any conversation reaches; it keeps sums of epochs from
// overflowing.
const maxEpoch = math.MaxUint64 / 4

// Append appends the encoded state to b: version, role, phase, whether the state
// has sent in the epoch (each one byte), epoch (8), the authenticator's root and
// MAC key, the root of the chains, the chains, and what the phase knows; integers
// big-endian. How many chains there are follows from the epoch.
//
// It holds all keys in the clear and must be stored encrypted. Equal states have
// equal encodings. The [Config] is not part of it.
func (s *State) Append(b []byte) []byte {
	phase := s.braid.phase.name()
	behind := byte(0)
	if s.chains.sending < s.braid.epoch-1 {
		behind = 1
	}
	b = append(b, encodingVersion, byte(s.chains.role), byte(phase), behind)
	b = binary.BigEndian.AppendUint64(b, s.braid.epoch)
	b = append(b, s.braid.auth.root.Bytes()...)
	b = append(b, s.braid.auth.mac.Bytes()...)
	b = append(b, s.chains.root.Bytes()...)
	for i, l := range s.chains.links {
		if s.chains.oldest()+uint64(i) >= s.chains.sending {
			b = l.send.append(b)
		}
		b = l.receive.append(b)
		b = l.appendSkipped(b)
	}
	return s.braid.phase.append(b)
}

// Parse decodes a state. It returns [ErrEncoding] for anything that Append does
// not make, trailing bytes included.
func Parse(b []byte, config Config) (*State, error) {
	in := cryptobyte.String(b)
	s := &State{config: config}
	if !s.parse(&in) || !in.Empty() {
		return nil, ErrEncoding
	}
	return s, nil
}

func (s *State) parse(in *cryptobyte.String) bool {
	var format, role, phase, behind uint8
	if !in.ReadUint8(&format) || format != encodingVersion ||
		!in.ReadUint8(&role) || !in.ReadUint8(&phase) || !in.ReadUint8(&behind) ||
		!in.ReadUint64(&s.braid.epoch) ||
		!readKey(in, &s.braid.auth.root) || !readKey(in, &s.braid.auth.mac) {
		return false
	}
	s.chains.role = Role(role)
	if !s.chains.place(s.braid.epoch, Phase(phase), behind) || !s.chains.parse(in) {
		return false
	}
	s.braid.phase = parsePhase(in, Phase(phase))
	return s.braid.phase != nil
}

// place sets the epochs that the chains are in, given where the braid stands, or
// reports that nobody can stand there.
func (c *chains) place(epoch uint64, phase Phase, behind uint8) bool {
	if c.role != Initiator && c.role != Responder || epoch == 0 || epoch > maxEpoch || phase == 0 || phase >= phases {
		return false
	}
	// The initiator holds the key in odd epochs.
	if phase.holdsKey() != ((epoch%2 == 1) == (c.role == Initiator)) {
		return false
	}
	c.latest, c.sending = epoch-1, epoch-1
	if phase.hasSecret() {
		c.latest = epoch
	}
	switch behind {
	case 0:
		return true
	case 1:
		// Nothing was sent yet since the epoch began.
		c.sending--
		return epoch > 1 && (phase == KeysUnsampled || phase == NoHeaderReceived || phase == HeaderReceived)
	default:
		return false
	}
}

func (c *chains) parse(in *cryptobyte.String) bool {
	if !readKey(in, &c.root) {
		return false
	}
	oldest := c.sending
	if oldest > 0 {
		oldest-- // late messages of the previous epoch can still be read
	}
	for epoch := oldest; epoch <= c.latest; epoch++ {
		l := new(link)
		if epoch >= c.sending && !l.send.parse(in) {
			return false
		}
		if !l.receive.parse(in) || !l.parseSkipped(in) {
			return false
		}
		c.links = append(c.links, l)
	}
	return true
}

func (c *chain) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, c.index)
	return append(b, c.key.Bytes()...)
}

func (c *chain) parse(in *cryptobyte.String) bool {
	return in.ReadUint32(&c.index) && readKey(in, &c.key)
}

func (l *link) appendSkipped(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(l.held())) //nolint:gosec // less than trimAt
	if l.held() == 0 {
		return b
	}
	for _, k := range *l.skipped.Reveal() {
		b = binary.BigEndian.AppendUint32(b, k.index)
		b = append(b, k.key[:]...)
	}
	return b
}

func (l *link) parseSkipped(in *cryptobyte.String) bool {
	const size = 4 + secret.KeySize
	var count uint16
	var list []byte
	if !in.ReadUint16(&count) || count >= trimAt || !in.ReadBytes(&list, int(count)*size) {
		return false
	}
	if count == 0 {
		return true
	}
	skipped := make([]skippedKey, 0, count)
	last := uint32(0)
	for ; len(list) > 0; list = list[size:] {
		k := skippedKey{index: binary.BigEndian.Uint32(list), key: [32]byte(list[4:size])}
		if k.index <= last || k.index >= l.receive.index {
			return false
		}
		last = k.index
		skipped = append(skipped, k)
	}
	l.skipped = secret.NewBox(skipped)
	return true
}

func (keysUnsampled) append(b []byte) []byte { return b }

func (p *keysSampled) append(b []byte) []byte {
	return appendEncoder(append(b, p.seed.Reveal()[:]...), p.header)
}

func (p *headerSent) append(b []byte) []byte {
	b = appendEncoder(append(b, p.seed.Reveal()[:]...), p.vector)
	return appendDecoder(b, p.ct1)
}

func (p *ct1Received) append(b []byte) []byte {
	b = appendEncoder(append(b, p.seed.Reveal()[:]...), p.vector)
	return append(b, p.ct1...)
}

func (p *ekSentCt1Received) append(b []byte) []byte {
	b = append(append(b, p.seed.Reveal()[:]...), p.ct1...)
	return appendDecoder(b, p.ct2)
}

func (p *noHeaderReceived) append(b []byte) []byte { return appendDecoder(b, p.header) }

func (p *headerReceived) append(b []byte) []byte { return append(b, p.header[:]...) }

func (p *ct1Sampled) append(b []byte) []byte {
	return appendDecoder(appendEncoder(p.half.append(b), p.ct1), p.vector)
}

func (p *ekReceivedCt1Sampled) append(b []byte) []byte {
	return append(appendEncoder(b, p.ct1), p.ct2...)
}

func (p *ct1Acknowledged) append(b []byte) []byte {
	return appendDecoder(append(p.half.append(b), p.ct1...), p.vector)
}

func (p *ct2Sampled) append(b []byte) []byte { return appendEncoder(b, p.ct2) }

func (h *half) append(b []byte) []byte {
	return append(append(b, h.header[:]...), h.m.Bytes()...)
}

// parsePhase decodes what a phase knows. It returns nil if it cannot.
func parsePhase(in *cryptobyte.String, name Phase) phase {
	var p phase
	ok := true
	switch name {
	case KeysUnsampled:
		p = keysUnsampled{}
	case KeysSampled:
		v := new(keysSampled)
		p, ok = v, readSeed(in, &v.seed) && readEncoder(in, &v.header, headerMessage)
	case HeaderSent:
		v := new(headerSent)
		p, ok = v, readSeed(in, &v.seed) && readEncoder(in, &v.vector, vectorMessage) && readDecoder(in, &v.ct1, ct1Message)
	case Ct1Received:
		v := new(ct1Received)
		p, ok = v, readSeed(in, &v.seed) && readEncoder(in, &v.vector, vectorMessage) && readCopy(in, &v.ct1, ct1Message)
	case EkSentCt1Received:
		v := new(ekSentCt1Received)
		p, ok = v, readSeed(in, &v.seed) && readCopy(in, &v.ct1, ct1Message) && readDecoder(in, &v.ct2, ct2Message)
	case NoHeaderReceived:
		v := new(noHeaderReceived)
		p, ok = v, readDecoder(in, &v.header, headerMessage)
	case HeaderReceived:
		v := new(headerReceived)
		p, ok = v, in.CopyBytes(v.header[:])
	case Ct1Sampled:
		v := new(ct1Sampled)
		p, ok = v, v.half.parse(in) && readEncoder(in, &v.ct1, ct1Message) && readDecoder(in, &v.vector, vectorMessage)
	case EkReceivedCt1Sampled:
		v := new(ekReceivedCt1Sampled)
		p, ok = v, readEncoder(in, &v.ct1, ct1Message) && readCopy(in, &v.ct2, ct2Message)
	case Ct1Acknowledged:
		v := new(ct1Acknowledged)
		p, ok = v, v.half.parse(in) && readCopy(in, &v.ct1, ct1Message) && readDecoder(in, &v.vector, vectorMessage)
	case Ct2Sampled:
		v := new(ct2Sampled)
		p, ok = v, readEncoder(in, &v.ct2, ct2Message)
	default:
		return nil
	}
	if !ok {
		return nil
	}
	return p
}

func (h *half) parse(in *cryptobyte.String) bool {
	return in.CopyBytes(h.header[:]) && readKey(in, &h.m)
}

func readKey(in *cryptobyte.String, key *secret.Key) bool {
	var b []byte
	if !in.ReadBytes(&b, secret.KeySize) {
		return false
	}
	*key = secret.NewKey([secret.KeySize]byte(b))
	return true
}

func readSeed(in *cryptobyte.String, s *seed) bool {
	var b []byte
	if !in.ReadBytes(&b, mlkem.SeedSize) {
		return false
	}
	*s = secret.NewBox([mlkem.SeedSize]byte(b))
	return true
}

func readCopy(in *cryptobyte.String, out *[]byte, size int) bool {
	*out = make([]byte, size)
	return in.CopyBytes(*out)
}

// appendEncoder appends the number of the chunk that is due, and the message.
func appendEncoder(b []byte, e *erasure.Encoder) []byte {
	return append(binary.BigEndian.AppendUint16(b, e.Point()), e.Data()...)
}

func readEncoder(in *cryptobyte.String, out **erasure.Encoder, size int) bool {
	var next uint16
	var data []byte
	if !in.ReadUint16(&next) || !in.ReadBytes(&data, size) {
		return false
	}
	e, err := erasure.ResumeEncoder(data, next)
	*out = e
	return err == nil
}

// appendDecoder appends the number of chunks held, and each with its number, in
// ascending order.
func appendDecoder(b []byte, d *erasure.Decoder) []byte {
	b = append(b, byte(d.Held())) //nolint:gosec // less than 36
	for i := range d.Held() {
		point, chunk := d.Chunk(i)
		b = append(binary.BigEndian.AppendUint16(b, point), chunk...)
	}
	return b
}

func readDecoder(in *cryptobyte.String, out **erasure.Decoder, size int) bool {
	d := decoder(size)
	*out = d
	var count uint8
	if !in.ReadUint8(&count) || int(count) >= d.Needed() {
		return false
	}
	last := -1
	for range count {
		var point uint16
		var chunk erasure.Chunk
		if !in.ReadUint16(&point) || !in.CopyBytes(chunk[:]) || int(point) <= last {
			return false
		}
		last = int(point)
		d.Add(point, &chunk)
	}
	return true
}

// Sizes that the encoding relies on: a message of whole chunks has no other form.
const (
	_ = -uint(headerMessage % erasure.ChunkSize)
	_ = -uint(vectorMessage % erasure.ChunkSize)
	_ = -uint(ct1Message % erasure.ChunkSize)
	_ = -uint(ct2Message % erasure.ChunkSize)
)
