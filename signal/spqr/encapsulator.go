package spqr

import (
	"crypto/hmac"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/spqr/internal/erasure"
	"github.com/chate2e/chate2e/signal/spqr/internal/mlkem768"
)

// The phases of the party that encapsulates. Between the two halves it keeps the
// 32-byte message of the encapsulation and derives the rest from it again.

type keyHeader [mlkem768.HeaderSize]byte

type noHeaderReceived struct {
	header *erasure.Decoder
}

type headerReceived struct {
	header keyHeader
}

type ct1Sampled struct {
	half   half
	ct1    *erasure.Encoder
	vector *erasure.Decoder
}

type ekReceivedCt1Sampled struct {
	ct1 *erasure.Encoder
	ct2 []byte // with its MAC
}

type ct1Acknowledged struct {
	half   half
	ct1    []byte
	vector *erasure.Decoder
}

type ct2Sampled struct {
	ct2 *erasure.Encoder
}

// half is an encapsulation of which the first half is done.
type half struct {
	header keyHeader
	m      secret.Key
}

// finish computes the second half, now that the vector is there, and its MAC. An
// error says that the vector is not the one the header names.
func (h *half) finish(b *braid, vector, ct1 []byte) (ct2 []byte, err error) {
	header := [mlkem768.HeaderSize]byte(h.header)
	ct2, err = mlkem768.Encapsulate2(&header, h.m, vector)
	if err != nil {
		return nil, err
	}
	return append(ct2, b.auth.ciphertextMAC(b.epoch, ct1, ct2)...), nil
}

func awaitHeader() *noHeaderReceived {
	return &noHeaderReceived{header: decoder(headerMessage)}
}

func (*noHeaderReceived) name() Phase     { return NoHeaderReceived }
func (*headerReceived) name() Phase       { return HeaderReceived }
func (*ct1Sampled) name() Phase           { return Ct1Sampled }
func (*ekReceivedCt1Sampled) name() Phase { return EkReceivedCt1Sampled }
func (*ct1Acknowledged) name() Phase      { return Ct1Acknowledged }
func (*ct2Sampled) name() Phase           { return Ct2Sampled }

func (*noHeaderReceived) wipe()     {}
func (*headerReceived) wipe()       {}
func (p *ct1Sampled) wipe()         { p.half.m.Wipe() }
func (*ekReceivedCt1Sampled) wipe() {}
func (p *ct1Acknowledged) wipe()    { p.half.m.Wipe() }
func (*ct2Sampled) wipe()           {}

func (p *noHeaderReceived) codes() (*erasure.Encoder, *erasure.Decoder)     { return nil, p.header }
func (*headerReceived) codes() (*erasure.Encoder, *erasure.Decoder)         { return nil, nil }
func (p *ct1Sampled) codes() (*erasure.Encoder, *erasure.Decoder)           { return p.ct1, p.vector }
func (p *ekReceivedCt1Sampled) codes() (*erasure.Encoder, *erasure.Decoder) { return p.ct1, nil }
func (p *ct1Acknowledged) codes() (*erasure.Encoder, *erasure.Decoder)      { return nil, p.vector }
func (p *ct2Sampled) codes() (*erasure.Encoder, *erasure.Decoder)           { return p.ct2, nil }

func (*noHeaderReceived) send(*braid, entropy) (sent, error) { return sent{payload: None}, nil }

func (p *noHeaderReceived) receive(b *braid, m *message) (turn, error) {
	if m.payload != Header {
		return turn{}, nil
	}
	whole, t := gather(p.header, m)
	if whole == nil {
		return t, nil
	}
	header, mac := whole[:mlkem768.HeaderSize], whole[mlkem768.HeaderSize:]
	if !hmac.Equal(b.auth.headerMAC(b.epoch, header), mac) {
		return turn{}, errHeaderMAC
	}
	t.next = &headerReceived{header: keyHeader(header)}
	return t, nil
}

// send encapsulates: from here on this party has the epoch's secret.
func (p *headerReceived) send(b *braid, random entropy) (sent, error) {
	m := secret.NewKey([32]byte{})
	random(m.Bytes())
	header := [mlkem768.HeaderSize]byte(p.header)
	ct1, shared := mlkem768.Encapsulate1(&header, m)
	code := encoder(ct1)
	out := due(Ciphertext1, code)
	out.secret = epochSecret(b.epoch, shared.Bytes())
	shared.Wipe()
	auth := b.auth.update(b.epoch, out.secret)
	out.auth = &auth
	out.next = &ct1Sampled{half: half{header: p.header, m: m}, ct1: code, vector: decoder(vectorMessage)}
	return out, nil
}

func (*headerReceived) receive(*braid, *message) (turn, error) { return turn{}, nil }

func (p *ct1Sampled) send(*braid, entropy) (sent, error) { return due(Ciphertext1, p.ct1), nil }

// receive gathers the vector. An acknowledgement counts only together with a
// chunk of it.
func (p *ct1Sampled) receive(b *braid, m *message) (turn, error) {
	if m.payload != Vector && m.payload != VectorAck {
		return turn{}, nil
	}
	vector, t := gather(p.vector, m)
	if vector == nil {
		if m.payload == VectorAck {
			t.next = &ct1Acknowledged{half: p.half, ct1: p.ct1.Data(), vector: p.vector}
		}
		return t, nil
	}
	ct2, err := p.half.finish(b, vector, p.ct1.Data())
	if err != nil {
		return turn{}, err
	}
	t.spent = p.half.m
	if m.payload == VectorAck {
		t.next = &ct2Sampled{ct2: encoder(ct2)}
	} else {
		t.next = &ekReceivedCt1Sampled{ct1: p.ct1, ct2: ct2}
	}
	return t, nil
}

func (p *ekReceivedCt1Sampled) send(*braid, entropy) (sent, error) {
	return due(Ciphertext1, p.ct1), nil
}

func (p *ekReceivedCt1Sampled) receive(_ *braid, m *message) (turn, error) {
	if m.payload != Ack && m.payload != VectorAck {
		return turn{}, nil
	}
	return turn{next: &ct2Sampled{ct2: encoder(p.ct2)}}, nil
}

func (*ct1Acknowledged) send(*braid, entropy) (sent, error) { return sent{payload: None}, nil }

func (p *ct1Acknowledged) receive(b *braid, m *message) (turn, error) {
	if m.payload != Vector && m.payload != VectorAck {
		return turn{}, nil
	}
	vector, t := gather(p.vector, m)
	if vector == nil {
		return t, nil
	}
	ct2, err := p.half.finish(b, vector, p.ct1)
	if err != nil {
		return turn{}, err
	}
	t.spent = p.half.m
	t.next = &ct2Sampled{ct2: encoder(ct2)}
	return t, nil
}

func (p *ct2Sampled) send(*braid, entropy) (sent, error) { return due(Ciphertext2, p.ct2), nil }

func (*ct2Sampled) receive(*braid, *message) (turn, error) { return turn{}, nil }
