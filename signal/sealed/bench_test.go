package sealed_test

import (
	"crypto/hpke"
	"testing"

	"github.com/chate2e/chate2e/signal/sealed"
)

// The standard library's HPKE beside it ("floor") shows what an envelope adds.

func BenchmarkSeal(b *testing.B) {
	letter := sealed.Letter{From: alice, Message: make([]byte, 400)}
	b.Run("chate2e/v1", func(b *testing.B) {
		key := sealed.GenerateKey().PublicKey()
		b.ReportAllocs()
		for b.Loop() {
			must(sealed.Seal(key, bob, letter))
		}
	})
	b.Run("floor", func(b *testing.B) {
		key := must(hpke.MLKEM768X25519().GenerateKey()).PublicKey()
		b.ReportAllocs()
		for b.Loop() {
			must(hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), nil, letter.Message))
		}
	})
	c := newCorrespondents(b)
	content := c.content(letter.Message)
	b.Run("v1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(sealed.SealV1(c.alice, c.bob.PublicKey(), content))
		}
	})
	b.Run("v2", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(sealed.SealV2(c.alice, content, c.toBob(), nil))
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	message := make([]byte, 400)
	b.Run("chate2e/v1", func(b *testing.B) {
		key := sealed.GenerateKey()
		envelope := must(sealed.Seal(key.PublicKey(), bob, sealed.Letter{From: alice, Message: message}))
		b.ReportAllocs()
		for b.Loop() {
			must(must(sealed.Parse(envelope)).Open(key, bob))
		}
	})
	b.Run("floor", func(b *testing.B) {
		key := must(hpke.MLKEM768X25519().GenerateKey())
		ciphertext := must(hpke.Seal(key.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), nil, message))
		b.ReportAllocs()
		for b.Loop() {
			must(hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), nil, ciphertext))
		}
	})
	c := newCorrespondents(b)
	for version, sent := range c.both(b, c.content(message)) {
		b.Run(version, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must(must(sealed.Unseal(c.bob, sent)).Verify(c.trust(), libsignalBob, expires))
			}
		})
	}
}
