package main

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/senderkey"
	"github.com/chate2e/chate2e/signal/session"
)

// party is one device with all that it remembers.
type party struct {
	identity pqxdh.Identity
	signed   map[pqxdh.PreKeyID]*pqxdh.SignedPreKeyPair
	kem      map[pqxdh.PreKeyID]*pqxdh.KEMPreKeyPair
	oneTime  map[pqxdh.PreKeyID]*pqxdh.OneTimePreKeyPair
	kemUsed  []pqxdh.PreKeyID
	replays  map[pqxdh.LastResortUse]bool

	known    map[signal.Address]curve.PublicKey
	lenient  map[signal.Address]bool // their identity key may change without a word
	sessions map[signal.Address]*sessions

	registrations map[signal.Address]uint32

	senders   map[senderkey.GroupID]*senderkey.Sender
	receivers map[chain]*senderkey.Receiver
}

const maxRegistrationID = 0x3fff

func newParty(at signal.Address, key *curve.PrivateKey, registrationID *uint32) *party {
	id := 1 + rand.Uint32N(maxRegistrationID-1) //nolint:gosec // a number that tells installations apart
	return &party{
		identity: pqxdh.Identity{Address: at, Key: key, RegistrationID: or(registrationID, id)},
		signed:   map[pqxdh.PreKeyID]*pqxdh.SignedPreKeyPair{},
		kem:      map[pqxdh.PreKeyID]*pqxdh.KEMPreKeyPair{},
		oneTime:  map[pqxdh.PreKeyID]*pqxdh.OneTimePreKeyPair{},
		replays:  map[pqxdh.LastResortUse]bool{},
		known:    map[signal.Address]curve.PublicKey{},
		lenient:  map[signal.Address]bool{},
		sessions: map[signal.Address]*sessions{},

		registrations: map[signal.Address]uint32{},

		senders:   map[senderkey.GroupID]*senderkey.Sender{},
		receivers: map[chain]*senderkey.Receiver{},
	}
}

// preKeys returns the party's prekeys that a first message names.
func (p *party) preKeys(h *pqxdh.Header) pqxdh.PreKeys {
	if h == nil {
		return pqxdh.PreKeys{}
	}
	own := pqxdh.PreKeys{Signed: p.signed[h.SignedPreKeyID]}
	if h.OneTimePreKeyID != nil {
		own.OneTime = p.oneTime[*h.OneTimePreKeyID]
	}
	if h.KEMPreKeyID != nil {
		own.KEM = p.kem[*h.KEMPreKeyID]
		own.Replayed = p.replays[pqxdh.LastResortUse{
			KEMPreKey: *h.KEMPreKeyID, SignedPreKey: h.SignedPreKeyID, BaseKey: h.BaseKey,
		}]
	}
	return own
}

// consume remembers which prekeys an opened message has used.
func (p *party) consume(used pqxdh.Used) {
	if used.OneTime != nil {
		delete(p.oneTime, *used.OneTime)
	}
	var id *pqxdh.PreKeyID
	if used.KEMOneTime != nil {
		id = used.KEMOneTime
		delete(p.kem, *id)
	}
	if used.KEMLastResort != nil {
		id = &used.KEMLastResort.KEMPreKey
		p.replays[*used.KEMLastResort] = true
	}
	if id != nil && !slices.Contains(p.kemUsed, *id) {
		p.kemUsed = append(p.kemUsed, *id)
	}
}

// sessions are all sessions with one remote device. The library keeps a record for each suite, where the
// official one keeps sessions of all versions in one record.
type sessions struct {
	records map[pqxdh.Suite]*session.Record
	inUse   pqxdh.Suite // of the record to send with
}

// record returns the record of a suite, a new one if there is none: it becomes part of the party with use.
// met is the identity key that the operation is about to meet, nil if it meets none.
func (p *party) record(suite pqxdh.Suite, remote signal.Address, met *curve.PublicKey) (*session.Record, error) {
	trusted, known := p.known[remote]
	var record *session.Record
	var err error
	if found := p.sessions[remote]; found != nil && found.records[suite] != nil {
		record = found.records[suite]
	} else if record, err = session.New(suite, p.identity.Address, remote); err != nil {
		return nil, err
	} else if known {
		record.Trust(trusted)
	}
	if known && met != nil && *met != trusted && p.lenient[remote] {
		// On a copy, for nothing is certain before the operation has succeeded.
		if record, err = session.ParseRecord(record.Append(nil)); err != nil {
			return nil, err
		}
		record.Trust(*met)
	}
	return record, nil
}

// trust takes the remote's identity key.
func (p *party) trust(remote signal.Address, key curve.PublicKey) {
	p.known[remote] = key
	if found := p.sessions[remote]; found != nil {
		for _, record := range found.records {
			record.Trust(key)
		}
	}
}

// use stores a record that has begun or opened a session, and sends with it from now on.
func (p *party) use(remote signal.Address, record *session.Record) {
	if p.sessions[remote] == nil {
		p.sessions[remote] = &sessions{records: map[pqxdh.Suite]*session.Record{}}
	}
	p.sessions[remote].records[record.Suite()] = record
	p.sessions[remote].inUse = record.Suite()
	if identity, ok := record.Identity(); ok {
		p.known[remote] = identity
	}
}

// current returns the record to send with, or nil.
func (s *sessions) current() *session.Record {
	if s == nil {
		return nil
	}
	return s.records[s.inUse]
}

// appendTo appends the encoding to b: the suite in use, then each suite and its record.
func (s *sessions) appendTo(b []byte) []byte {
	b = append(b, byte(s.inUse))
	for _, suite := range slices.Sorted(maps.Keys(s.records)) {
		record := s.records[suite].Append(nil)
		b = binary.BigEndian.AppendUint32(b, uint32(len(record))) //nolint:gosec // a few MB
		b = append(b, record...)
	}
	return b
}

func (p *party) parseSessions(remote signal.Address, b []byte) (*sessions, error) {
	in := cryptobyte.String(b)
	s := &sessions{records: map[pqxdh.Suite]*session.Record{}}
	if !in.ReadUint8((*uint8)(&s.inUse)) {
		return nil, session.ErrEncoding
	}
	for len(in) > 0 {
		var size uint32
		var part []byte
		if !in.ReadUint32(&size) || uint64(size) > uint64(len(in)) || !in.ReadBytes(&part, int(size)) {
			return nil, session.ErrEncoding
		}
		record, err := session.ParseRecord(part)
		if err != nil {
			return nil, err
		}
		if record.Us() != p.identity.Address || record.Them() != remote {
			return nil, session.ErrEncoding
		}
		s.records[record.Suite()] = record
	}
	if s.records[s.inUse] == nil {
		return nil, session.ErrEncoding
	}
	return s, nil
}
