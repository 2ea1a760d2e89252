package client_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

// puppet is a person without an engine: an account whose keys the test has in its
// hands, so that it can say and sign what no engine would.
type puppet struct {
	t        *testing.T
	account  account.PrivateKey
	identity *pqxdh.Identity
	prekeys  *pqxdh.Keys
	relay    *relayclient.Client
	list     []byte
	to       map[string]*session.Record
	seq      uint64
}

func (w *world) puppet() *puppet {
	w.t.Helper()
	return w.puppetAt(origin, w.relay.pipe.dial)
}

// puppetAt makes a puppet at a relay.
func (w *world) puppetAt(url string, dial func(context.Context, string, string) (net.Conn, error)) *puppet {
	w.t.Helper()
	p := &puppet{t: w.t, account: account.GenerateKey(), to: map[string]*session.Record{}}
	p.identity = &pqxdh.Identity{Address: signal.Address{Name: p.id(), Device: 1}, Key: curve.GenerateKey()}
	var err error
	if p.prekeys, err = pqxdh.NewKeys(p.identity, 5, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	p.relay, err = relayclient.New(relayclient.Config{
		Server: relay.Origin(url), Address: relay.Address{User: relay.UserID(p.user()), Device: 1},
		Identity: p.identity.Key, DialContext: dial,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.relay.Close)
	p.list = p.sign(1, p.identity.Key.PublicKey())
	bundle := p.prekeys.Offer(p.identity)
	err = p.relay.Register(w.t.Context(), relayclient.Registration{DeviceList: p.list, Prekeys: []relay.Prekey{
		{Kind: relay.PrekeySigned, ID: 1, Key: bundle.SignedPreKey.Append(nil)},
		{Kind: relay.PrekeyKEMLastResort, ID: 2, Key: bundle.KEMPreKey.Append(nil)},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (p *puppet) user() account.UserID { return p.account.Public().UserID() }
func (p *puppet) id() string           { return p.user().String() }

// sign signs a device list with one device, number 1.
func (p *puppet) sign(version uint64, identity curve.PublicKey) []byte {
	return p.signAt(version, identity, time.Now())
}

func (p *puppet) signAt(version uint64, identity curve.PublicKey, at time.Time) []byte {
	p.t.Helper()
	list, err := p.account.SignDeviceList(account.DeviceList{
		Version: version, Time: at,
		Devices: []account.Device{{Number: 1, IdentityKey: identity, Added: at}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// fetch returns a bundle of somebody's only device.
func (p *puppet) fetch(id string) *pqxdh.Bundle {
	p.t.Helper()
	user, err := account.ParseUserID(id)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := p.relay.Bundles(p.t.Context(), relay.UserID(user))
	if err != nil {
		p.t.Fatal(err)
	}
	parsed, err := account.ParseDeviceList(answer.DeviceList)
	if err != nil {
		p.t.Fatal(err)
	}
	list, err := parsed.Verify(user, account.Seen{})
	if err != nil {
		p.t.Fatal(err)
	}
	b := answer.Bundles[0]
	bundle := &pqxdh.Bundle{IdentityKey: list.List().Devices[0].IdentityKey}
	signed, err := pqxdh.ParseSignedPreKey(b.Signed.Key)
	if err != nil {
		p.t.Fatal(err)
	}
	bundle.SignedPreKey = *signed
	if bundle.KEMPreKey, err = pqxdh.ParseKEMPreKey(b.KEM.Key); err != nil {
		p.t.Fatal(err)
	}
	if b.OneTime != nil {
		if bundle.OneTimePreKey, err = pqxdh.ParseOneTimePreKey(b.OneTime.Key); err != nil {
			p.t.Fatal(err)
		}
	}
	return bundle
}

// start starts a session with somebody, as the address us.
func (p *puppet) start(id string, us *pqxdh.Identity) *session.Record {
	p.t.Helper()
	record, err := session.New(pqxdh.Chate2eV1, us.Address, signal.Address{Name: id, Device: 1})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := record.Initiate(us, p.fetch(id), time.Now()); err != nil {
		p.t.Fatal(err)
	}
	return record
}

// text returns an encoded message with the next number.
func (p *puppet) text(text string) []byte {
	p.t.Helper()
	p.seq++
	return p.message(p.seq, content.Text{Text: text})
}

func (p *puppet) message(seq uint64, body content.Body) []byte {
	p.t.Helper()
	encoded, err := content.Message{
		ID: content.MessageID(vault.NewMessageID()), Seq: seq, SentAt: time.Now(), Body: body,
	}.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	return encoded
}

// seal encrypts a plaintext.
func (p *puppet) seal(record *session.Record, plaintext []byte) []byte {
	p.t.Helper()
	sealed, err := record.Encrypt(plaintext, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	return sealed.Bytes
}

// post sends a ciphertext to somebody's only device.
func (p *puppet) post(id string, body []byte) {
	p.t.Helper()
	var user relay.UserID
	if err := user.UnmarshalText([]byte(id)); err != nil {
		p.t.Fatal(err)
	}
	err := p.relay.Send(p.t.Context(), user, []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: body}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// say sends a text in a session that is started if there is none.
func (p *puppet) say(id, text string) {
	p.t.Helper()
	if p.to[id] == nil {
		p.to[id] = p.start(id, p.identity)
	}
	p.post(id, p.seal(p.to[id], content.Content{DeviceList: p.list, Message: p.text(text)}.Pad()))
}

// receive takes what lies in the puppet's mailbox, and opens it with record.
func (p *puppet) receive(record *session.Record) []content.Message {
	p.t.Helper()
	envelopes, _, err := p.relay.Pull(p.t.Context(), 0, 100)
	if err != nil {
		p.t.Fatal(err)
	}
	var messages []content.Message
	for _, in := range envelopes {
		parsed, err := session.Parse(in.Body)
		if err != nil {
			p.t.Fatal(err)
		}
		opened, err := record.Decrypt(parsed, p.identity, pqxdh.PreKeys{}, time.Now())
		if err != nil {
			p.t.Fatal(err)
		}
		c, err := content.Parse(opened.Plaintext)
		if err != nil {
			p.t.Fatal(err)
		}
		m, err := content.ParseMessage(c.Message)
		if err != nil {
			p.t.Fatal(err)
		}
		messages = append(messages, m)
		if err := p.relay.Ack(p.t.Context(), in.Handle); err != nil {
			p.t.Fatal(err)
		}
	}
	return messages
}
