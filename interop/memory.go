package interop

import (
	"encoding/binary"
	"errors"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// memory says which messages of a schedule the official library does not open any more, from what travels
// in the clear: it keeps the receiving chains of the last five ratchet keys in each session, and the
// post-quantum ratchet's chains of the epoch that it sends in and of the one before. A message that finds
// neither is lost, however it comes.
type memory struct {
	begun   int
	inUse   [2]int                 // the session that each end sends in; 0 is none
	session [2]map[int]*remembered // what each end has of each session
	epochs  uint64                 // completed, in any session
}

// remembered is what an end has of a session.
type remembered struct {
	chains []string        // ratchet keys of the other end whose chains are kept, oldest first
	known  map[string]bool // all that have been
	epoch  uint64          // of the newest key that was sent with
}

const keptChains = 5

// place is where a message belongs.
type place struct {
	session    int
	ratchetKey string
	epoch      uint64 // of the post-quantum key
}

func newMemory() *memory {
	return &memory{session: [2]map[int]*remembered{{}, {}}}
}

func (m *memory) of(end, session int) *remembered {
	r := m.session[end][session]
	if r == nil {
		r = &remembered{known: map[string]bool{}}
		m.session[end][session] = r
	}
	return r
}

// begin notes that an end starts a session.
func (m *memory) begin(end int) {
	m.begun++
	m.inUse[end] = m.begun
	// The official library counts the other end's prekey as the first chain.
	m.of(end, m.begun).chains = []string{""}
}

// send notes a message of an end, and returns its place.
func (m *memory) send(end int, message Message) (place, error) {
	key, epoch, err := readPlace(message)
	if err != nil {
		return place{}, err
	}
	p := place{session: m.inUse[end], ratchetKey: key, epoch: epoch}
	r := m.of(end, p.session)
	r.epoch = max(r.epoch, epoch)
	m.epochs = max(m.epochs, epoch)
	return p, nil
}

// forgotten reports whether the end has nothing left to open the message with.
func (m *memory) forgotten(end int, p place) bool {
	r := m.of(end, p.session)
	return r.known[p.ratchetKey] && !slices.Contains(r.chains, p.ratchetKey) || p.epoch+1 < r.epoch
}

// open notes that the end opened the message.
func (m *memory) open(end int, p place) {
	m.inUse[end] = p.session
	r := m.of(end, p.session)
	if r.known[p.ratchetKey] {
		return
	}
	r.known[p.ratchetKey] = true
	r.chains = append(r.chains, p.ratchetKey)
	if len(r.chains) > keptChains {
		r.chains = r.chains[1:]
	}
}

var errPlace = errors.New("a message of libsignal was expected")

// readPlace reads the ratchet key and the epoch of the post-quantum key from a libsignal message.
func readPlace(m Message) (ratchetKey string, epoch uint64, err error) {
	const (
		inner, key, pq = 4, 1, 5
		macSize        = 8
	)
	b := m.Bytes
	if m.Type == 3 {
		if b = readField(b, 0, inner); b == nil {
			return "", 0, errPlace
		}
	}
	k, ratchet := readField(b, macSize, key), readField(b, macSize, pq)
	if k == nil {
		return "", 0, errPlace
	}
	if ratchet == nil {
		return string(k), 0, nil
	}
	// A version byte, and the epoch under way: keys are of the one before.
	epoch, n := binary.Uvarint(ratchet[1:])
	if n <= 0 || epoch == 0 {
		return "", 0, errPlace
	}
	return string(k), epoch - 1, nil
}

// readField returns a field of bytes of the protobuf between a version byte and a trailer, nil if there is
// none.
func readField(b []byte, trailer int, field protowire.Number) []byte {
	if len(b) < 1+trailer {
		return nil
	}
	for b = b[1 : len(b)-trailer]; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return nil
		}
		if number == field && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b[n:])
			return value
		}
		b = b[n+size:]
	}
	return nil
}
