package session

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/spqr"
)

// ErrEncoding is returned by ParseRecord for bytes that [Record.Append] did not
// make.
var ErrEncoding = errors.New("session: not an encoded record")

const (
	recordVersion = 1

	recordIdentity = 1 << 0 // the peer's identity key is known
	recordInUse    = 1 << 1 // the first session is in use

	stateInitiator = 1 << 0
	statePending   = 1 << 1
)

// Append appends the encoded record to b, version byte first. It holds private
// keys in the clear and must be stored encrypted.
func (r *Record) Append(b []byte) []byte {
	flags := byte(0)
	if r.identity != nil {
		flags |= recordIdentity
	}
	if r.inUse {
		flags |= recordInUse
	}
	b = append(b, recordVersion, byte(r.suite.id), flags)
	b = r.us.Append(b)
	b = r.them.Append(b)
	if r.identity != nil {
		b = append(b, r.identity[:]...)
	}
	b = append(b, byte(len(r.sessions))) //nolint:gosec // at most 1 + maxArchived
	for _, s := range r.sessions {
		at := len(b)
		b = s.append(append(b, 0, 0, 0, 0), r.suite)
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4)) //nolint:gosec // bounded by the ratchet's limits
	}
	return b
}

func (s *state) append(b []byte, suite *suite) []byte {
	flags := byte(0)
	if s.initiator {
		flags |= stateInitiator
	}
	if s.pending != nil {
		flags |= statePending
	}
	b = append(b, flags)
	b = append(b, s.ourIdentity[:]...)
	b = append(b, s.theirIdentity[:]...)
	b = append(b, s.baseKey[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.created.Unix())) //nolint:gosec // two's complement, read back the same way
	if suite.bound {
		b = append(b, s.transcript[:]...)
	}
	if s.pending != nil {
		b = appendPending(b, s.pending)
	}
	if s.pq != nil {
		at := len(b)
		b = s.pq.Append(append(b, 0, 0, 0, 0))
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4)) //nolint:gosec // bounded by the ratchet's limits
	}
	return s.ratchet.Append(b)
}

// appendPending appends the handshake without the two keys that the state has.
func appendPending(b []byte, h *pqxdh.Header) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(h.SignedPreKeyID))
	b = binary.BigEndian.AppendUint32(b, h.RegistrationID)
	b = appendOptional(b, h.OneTimePreKeyID)
	b = appendOptional(b, h.KEMPreKeyID)
	return append(b, h.KEMCiphertext...)
}

func appendOptional(b []byte, id *pqxdh.PreKeyID) []byte {
	if id == nil {
		return append(b, 0)
	}
	return binary.BigEndian.AppendUint32(append(b, 1), uint32(*id))
}

// ParseRecord decodes what [Record.Append] made. It returns [ErrEncoding],
// trailing bytes included.
func ParseRecord(b []byte) (*Record, error) {
	in := cryptobyte.String(b)
	r := new(Record)
	if !r.read(&in) || !in.Empty() {
		return nil, ErrEncoding
	}
	return r, nil
}

func (r *Record) read(in *cryptobyte.String) bool {
	var version, id, flags, count uint8
	if !in.ReadUint8(&version) || version != recordVersion || !in.ReadUint8(&id) ||
		!in.ReadUint8(&flags) || flags&^(recordIdentity|recordInUse) != 0 ||
		!r.us.Read(in) || !r.them.Read(in) {
		return false
	}
	if r.suite = suites[pqxdh.Suite(id)]; r.suite == nil {
		return false
	}
	if flags&recordIdentity != 0 {
		r.identity = new(curve.PublicKey)
		if !in.CopyBytes(r.identity[:]) {
			return false
		}
	}
	if !in.ReadUint8(&count) || count > 1+maxArchived {
		return false
	}
	r.inUse = flags&recordInUse != 0
	if r.inUse && count == 0 || r.identity == nil && count > 0 {
		return false
	}
	for range count {
		var b []byte
		s := new(state)
		if !readSized(in, &b) || !s.read(b, r) {
			return false
		}
		r.sessions = append(r.sessions, s)
	}
	return true
}

// readSized reads bytes with their length in four bytes before them.
func readSized(in *cryptobyte.String, b *[]byte) bool {
	var size uint32
	return in.ReadUint32(&size) && uint64(size) <= uint64(len(*in)) && in.ReadBytes(b, int(size))
}

func (s *state) read(b []byte, r *Record) bool {
	in := cryptobyte.String(b)
	var flags uint8
	var created uint64
	if !in.ReadUint8(&flags) || flags&^(stateInitiator|statePending) != 0 ||
		!in.CopyBytes(s.ourIdentity[:]) || !in.CopyBytes(s.theirIdentity[:]) || !in.CopyBytes(s.baseKey[:]) ||
		!in.ReadUint64(&created) || (r.suite.bound && !in.CopyBytes(s.transcript[:])) {
		return false
	}
	s.initiator = flags&stateInitiator != 0
	s.created = time.Unix(int64(created), 0).UTC()
	if flags&statePending != 0 && (!s.initiator || !s.readPending(&in, r.suite)) {
		return false
	}
	if r.suite.pq != nil {
		var encoded []byte
		if !readSized(&in, &encoded) {
			return false
		}
		pq, err := spqr.Parse(encoded, *r.suite.pq)
		if err != nil || (pq.Role() == spqr.Initiator) != s.initiator {
			return false
		}
		s.pq = pq
	}
	state, err := ratchet.Parse(r.suite.ratchet, in)
	s.ratchet = state
	return err == nil && s.theirIdentity == *r.identity
}

func (s *state) readPending(in *cryptobyte.String, suite *suite) bool {
	h := &pqxdh.Header{IdentityKey: s.ourIdentity, BaseKey: s.baseKey}
	if !in.ReadUint32((*uint32)(&h.SignedPreKeyID)) || !in.ReadUint32(&h.RegistrationID) ||
		!readOptional(in, &h.OneTimePreKeyID) || !readOptional(in, &h.KEMPreKeyID) {
		return false
	}
	kind := suite.id.KEM()
	if (kind == 0) != (h.KEMPreKeyID == nil) {
		return false
	}
	if kind != 0 {
		h.KEMCiphertext = make([]byte, kem.EncodedCiphertextSize)
		if !in.CopyBytes(h.KEMCiphertext) || kem.Kind(h.KEMCiphertext[0]) != kind {
			return false
		}
	}
	s.pending = h
	return true
}

func readOptional(in *cryptobyte.String, id **pqxdh.PreKeyID) bool {
	var has uint8
	if !in.ReadUint8(&has) || has > 1 {
		return false
	}
	if has == 0 {
		return true
	}
	*id = new(pqxdh.PreKeyID)
	return in.ReadUint32((*uint32)(*id))
}
