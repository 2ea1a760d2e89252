package spqr

import (
	"errors"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/spqr/internal/erasure"
	"github.com/chate2e/chate2e/signal/spqr/internal/mlkem768"
)

// Phase is one of the eleven states of the ML-KEM Braid. In each epoch one party
// is the key holder, who goes through the first five, and the other, who
// encapsulates, goes through the others; then they change places. Phases that are
// entered on sending are marked with an arrow.
type Phase uint8

// The phases.
const (
	KeysUnsampled        Phase = iota + 1 // has no key pair yet
	KeysSampled                           // → sends the key's header
	HeaderSent                            // sends the vector, gathers ciphertext 1
	Ct1Received                           // sends the vector and that ciphertext 1 is complete
	EkSentCt1Received                     // gathers ciphertext 2
	NoHeaderReceived                      // gathers the header
	HeaderReceived                        // has the header
	Ct1Sampled                            // → sends ciphertext 1, gathers the vector
	EkReceivedCt1Sampled                  // has the vector, still sends ciphertext 1
	Ct1Acknowledged                       // gathers the vector, sends nothing
	Ct2Sampled                            // sends ciphertext 2
	phases
)

// holdsKey reports whether it is the key holder's.
func (p Phase) holdsKey() bool { return p <= EkSentCt1Received }

// hasSecret reports whether the secret of the epoch is known in this phase. The
// key holder knows it with the last message of an epoch, and then leaves it.
func (p Phase) hasSecret() bool { return p >= Ct1Sampled }

// String returns the specification's name of the phase.
func (p Phase) String() string {
	if p == 0 || p >= phases {
		return "unknown"
	}
	return [phases]string{
		"", "KeysUnsampled", "KeysSampled", "HeaderSent", "Ct1Received", "EkSentCt1Received", "NoHeaderReceived",
		"HeaderReceived", "Ct1Sampled", "EkReceivedCt1Sampled", "Ct1Acknowledged", "Ct2Sampled",
	}[p]
}

// What is sent in chunks: the header and the second part of the ciphertext with a
// MAC each, the others bare; the header names the vector, and the second MAC
// covers both parts of the ciphertext.
const (
	headerMessage = mlkem768.HeaderSize + macSize
	vectorMessage = mlkem768.VectorSize
	ct1Message    = mlkem768.Ciphertext1Size
	ct2Message    = mlkem768.Ciphertext2Size + macSize
)

var (
	errHeaderMAC     = errors.New("spqr: the header of the key does not authenticate")
	errCiphertextMAC = errors.New("spqr: the ciphertext does not authenticate")
)

// braid is the asymmetric half: the key exchange that is under way.
type braid struct {
	epoch uint64 // from 1
	auth  authenticator
	phase phase
}

// phase is where the exchange stands, with what it knows there: one of the eleven
// types below. Values are immutable, but for the encoders and decoders in them,
// which only [turn.apply] changes.
type phase interface {
	name() Phase
	// send returns what the next message carries and what sending it changes.
	send(b *braid, random entropy) (sent, error)
	// receive returns what a message of the same epoch changes.
	receive(b *braid, m *message) (turn, error)
	// codes returns what is being sent and what is being gathered, nil if nothing.
	codes() (*erasure.Encoder, *erasure.Decoder)
	// append appends the encoding of what the phase knows.
	append(b []byte) []byte
	// wipe erases what is secret of it.
	wipe()
}

// entropy fills b with random bytes.
type entropy func(b []byte)

// turn is what a message changes in the braid. The zero turn changes nothing.
type turn struct {
	sending   *erasure.Encoder // moves to the next chunk
	gathering *erasure.Decoder // keeps the chunk
	point     uint16
	chunk     erasure.Chunk
	useful    bool // received: the chunk was kept, or completes something

	next      phase          // nil: the same
	auth      *authenticator // nil: the same
	secret    secret.Key     // of the epoch, if this turn brings it
	nextEpoch bool
	spent     interface{ Wipe() } // what next does not need any more, or nil
}

// sent is a turn together with what the message carries.
type sent struct {
	turn
	payload Payload
}

func newBraid(role Role, handshakeKey secret.Key) braid {
	b := braid{epoch: 1, auth: newAuthenticator(handshakeKey), phase: keysUnsampled{}}
	if role == Responder {
		b.phase = awaitHeader()
	}
	return b
}

// receive returns what a message changes. A message of an earlier epoch changes
// nothing.
func (b *braid) receive(m *message) (turn, error) {
	switch {
	case m.epoch < b.epoch:
		return turn{}, nil
	case m.epoch == b.epoch:
		return b.phase.receive(b, m)
	}
	if _, ok := b.phase.(*ct2Sampled); ok && m.epoch == b.epoch+1 {
		// The peer has gone on: the second ciphertext has arrived.
		return turn{next: keysUnsampled{}, nextEpoch: true}, nil
	}
	return turn{}, ErrEpoch
}

// apply makes the changes.
func (t *turn) apply(b *braid) {
	if t.sending != nil {
		t.sending.Advance()
	}
	if t.gathering != nil {
		t.gathering.Add(t.point, &t.chunk)
	}
	if t.auth != nil {
		b.auth.wipe()
		b.auth = *t.auth
	}
	if t.next != nil {
		b.phase = t.next
	}
	if t.nextEpoch {
		b.epoch++
	}
	if t.spent != nil {
		t.spent.Wipe()
	}
}

// due returns a turn that sends the chunk that is due.
func due(payload Payload, e *erasure.Encoder) sent {
	point, chunk := e.Next()
	return sent{payload: payload, turn: turn{sending: e, point: point, chunk: chunk}}
}

// gather returns what d makes of the chunk in m: the whole message, or a turn in
// which the chunk is kept.
func gather(d *erasure.Decoder, m *message) (whole []byte, t turn) {
	if whole := d.Complete(m.point, &m.chunk); whole != nil {
		return whole, turn{useful: true}
	}
	if d.Has(m.point) {
		return nil, turn{}
	}
	return nil, turn{gathering: d, point: m.point, chunk: m.chunk, useful: true}
}

// encoder returns an encoder of a message of one of the four fixed sizes.
func encoder(parts ...[]byte) *erasure.Encoder {
	var data []byte
	for _, part := range parts {
		data = append(data, part...)
	}
	e, err := erasure.NewEncoder(data)
	if err != nil {
		panic("spqr: " + err.Error()) // the sizes are constants
	}
	return e
}

// decoder returns a decoder for a message of one of the four fixed sizes.
func decoder(size int) *erasure.Decoder {
	d, err := erasure.NewDecoder(size)
	if err != nil {
		panic("spqr: " + err.Error()) // the sizes are constants
	}
	return d
}

// startGathering returns a decoder that holds the chunk in m. One chunk completes
// none of the messages.
func startGathering(size int, m *message) *erasure.Decoder {
	d := decoder(size)
	d.Add(m.point, &m.chunk)
	return d
}
