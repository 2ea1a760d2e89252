package pqxdh_test

import (
	"testing"

	"github.com/chate2e/chate2e/internal/testleak"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

func TestNothingPrints(t *testing.T) {
	h := newHandshake(t, pqxdh.Chate2eV1, false, true)
	keys := newKeys(t, h.bob, 1)
	bundle := keys.Offer(h.bob)
	found := keys.Find(&pqxdh.Header{
		SignedPreKeyID: bundle.SignedPreKey.ID, KEMPreKeyID: &bundle.KEMPreKey.ID, OneTimePreKeyID: &bundle.OneTimePreKey.ID,
	})
	secrets := [][]byte{
		h.bob.Key.Bytes(), found.Signed.Private.Bytes(), found.KEM.Private.Seed(), found.OneTime.Private.Bytes(),
	}
	testleak.Check(t, keys, secrets...)
	testleak.Check(t, *keys, secrets...)
	testleak.Check(t, found, secrets...)
	testleak.Check(t, *h.bob, secrets...)

	initiated, header := h.initiate(t)
	accepted, err := h.accept(header)
	if err != nil {
		t.Fatal(err)
	}
	secrets = [][]byte{
		initiated.Root.Bytes(), h.own.Signed.Private.Bytes(), h.own.KEM.Private.Seed(), h.own.OneTime.Private.Bytes(),
		h.alice.Key.Bytes(),
	}
	testleak.Check(t, initiated, secrets...)
	testleak.Check(t, *accepted, secrets...)
	testleak.Check(t, h, secrets...)
	_, err = h.accept(&pqxdh.Header{})
	testleak.Check(t, err, secrets...)
}
