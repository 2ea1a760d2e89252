package spqr

import (
	"crypto/hmac"
	"crypto/mlkem"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/spqr/internal/erasure"
	"github.com/chate2e/chate2e/signal/spqr/internal/mlkem768"
)

// The phases of the key holder. She keeps the 64-byte seed of her key pair and
// makes the pair from it whenever she needs it: twice an epoch after the first
// time, against 2,400 bytes in every stored state.

type seed = secret.Box[[mlkem.SeedSize]byte]

// keyPair returns the key pair of a seed.
func keyPair(s seed) (*mlkem.DecapsulationKey768, error) {
	return mlkem.NewDecapsulationKey768(s.Reveal()[:])
}

type keysUnsampled struct{}

type keysSampled struct {
	seed   seed
	header *erasure.Encoder
}

type headerSent struct {
	seed   seed
	vector *erasure.Encoder
	ct1    *erasure.Decoder
}

type ct1Received struct {
	seed   seed
	vector *erasure.Encoder
	ct1    []byte
}

type ekSentCt1Received struct {
	seed seed
	ct1  []byte
	ct2  *erasure.Decoder
}

func (keysUnsampled) name() Phase      { return KeysUnsampled }
func (*keysSampled) name() Phase       { return KeysSampled }
func (*headerSent) name() Phase        { return HeaderSent }
func (*ct1Received) name() Phase       { return Ct1Received }
func (*ekSentCt1Received) name() Phase { return EkSentCt1Received }

func (keysUnsampled) wipe()        {}
func (p *keysSampled) wipe()       { p.seed.Wipe() }
func (p *headerSent) wipe()        { p.seed.Wipe() }
func (p *ct1Received) wipe()       { p.seed.Wipe() }
func (p *ekSentCt1Received) wipe() { p.seed.Wipe() }

func (keysUnsampled) codes() (*erasure.Encoder, *erasure.Decoder)        { return nil, nil }
func (p *keysSampled) codes() (*erasure.Encoder, *erasure.Decoder)       { return p.header, nil }
func (p *headerSent) codes() (*erasure.Encoder, *erasure.Decoder)        { return p.vector, p.ct1 }
func (p *ct1Received) codes() (*erasure.Encoder, *erasure.Decoder)       { return p.vector, nil }
func (p *ekSentCt1Received) codes() (*erasure.Encoder, *erasure.Decoder) { return nil, p.ct2 }

// send makes the epoch's key pair.
func (keysUnsampled) send(b *braid, random entropy) (sent, error) {
	s := secret.NewBox([mlkem.SeedSize]byte{})
	random(s.Reveal()[:])
	dk, err := keyPair(s)
	if err != nil {
		return sent{}, err
	}
	header, _ := mlkem768.Split(dk.EncapsulationKey())
	code := encoder(header[:], b.auth.headerMAC(b.epoch, header[:]))
	out := due(Header, code)
	out.next = &keysSampled{seed: s, header: code}
	return out, nil
}

func (keysUnsampled) receive(*braid, *message) (turn, error) { return turn{}, nil }

func (p *keysSampled) send(*braid, entropy) (sent, error) { return due(Header, p.header), nil }

// receive takes the first chunk of the ciphertext as the sign that the header has
// arrived.
func (p *keysSampled) receive(_ *braid, m *message) (turn, error) {
	if m.payload != Ciphertext1 {
		return turn{}, nil
	}
	dk, err := keyPair(p.seed)
	if err != nil {
		return turn{}, err
	}
	_, vector := mlkem768.Split(dk.EncapsulationKey())
	return turn{useful: true, next: &headerSent{
		seed:   p.seed,
		vector: encoder(vector),
		ct1:    startGathering(ct1Message, m),
	}}, nil
}

func (p *headerSent) send(*braid, entropy) (sent, error) { return due(Vector, p.vector), nil }

func (p *headerSent) receive(_ *braid, m *message) (turn, error) {
	if m.payload != Ciphertext1 {
		return turn{}, nil
	}
	ct1, t := gather(p.ct1, m)
	if ct1 != nil {
		t.next = &ct1Received{seed: p.seed, vector: p.vector, ct1: ct1}
	}
	return t, nil
}

func (p *ct1Received) send(*braid, entropy) (sent, error) { return due(VectorAck, p.vector), nil }

// receive takes the first chunk of the second ciphertext as the sign that the
// vector has arrived.
func (p *ct1Received) receive(_ *braid, m *message) (turn, error) {
	if m.payload != Ciphertext2 {
		return turn{}, nil
	}
	return turn{useful: true, next: &ekSentCt1Received{
		seed: p.seed,
		ct1:  p.ct1,
		ct2:  startGathering(ct2Message, m),
	}}, nil
}

func (p *ekSentCt1Received) send(*braid, entropy) (sent, error) { return sent{payload: Ack}, nil }

// receive completes the epoch with the last chunk. Decapsulation does not fail:
// for a ciphertext that was not made for this key it returns a secret that nobody
// else has, so that the MAC cannot be right.
func (p *ekSentCt1Received) receive(b *braid, m *message) (turn, error) {
	if m.payload != Ciphertext2 {
		return turn{}, nil
	}
	whole, t := gather(p.ct2, m)
	if whole == nil {
		return t, nil
	}
	ct2, mac := whole[:mlkem768.Ciphertext2Size], whole[mlkem768.Ciphertext2Size:]
	dk, err := keyPair(p.seed)
	if err != nil {
		return turn{}, err
	}
	shared, err := dk.Decapsulate(append(append(make([]byte, 0, mlkem.CiphertextSize768), p.ct1...), ct2...))
	if err != nil {
		return turn{}, err
	}
	t.secret = epochSecret(b.epoch, shared)
	clear(shared)
	auth := b.auth.update(b.epoch, t.secret)
	if !hmac.Equal(auth.ciphertextMAC(b.epoch, p.ct1, ct2), mac) {
		auth.wipe()
		t.secret.Wipe()
		return turn{}, errCiphertextMAC
	}
	t.auth = &auth
	t.next, t.nextEpoch = awaitHeader(), true
	t.spent = p.seed
	return t, nil
}
