package curve_test

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"testing"

	"github.com/chate2e/chate2e/signal/curve"
)

// Each benchmark has the standard library's primitive beside it ("floor"), so
// that the ratio can be read. XEdDSA has no such primitive: its floor is
// Ed25519, whose signer keeps the public key ready.

func BenchmarkGenerateKey(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			curve.GenerateKey()
		}
	})
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(ecdh.X25519().GenerateKey(nil))
		}
	})
}

func BenchmarkECDH(b *testing.B) {
	our, their := curve.GenerateKey(), curve.GenerateKey().PublicKey()
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(our.ECDH(their))
		}
	})
	b.Run("ours, loading the key", func(b *testing.B) {
		raw := our.Bytes()
		b.ReportAllocs()
		for b.Loop() {
			must(must(curve.NewPrivateKey(raw)).ECDH(their))
		}
	})
	b.Run("floor", func(b *testing.B) {
		std, public := must(ecdh.X25519().NewPrivateKey(our.Bytes())), must(ecdh.X25519().NewPublicKey(their[:]))
		b.ReportAllocs()
		for b.Loop() {
			must(std.ECDH(public))
		}
	})
	b.Run("floor, loading the key", func(b *testing.B) {
		raw := our.Bytes()
		b.ReportAllocs()
		for b.Loop() {
			must(must(ecdh.X25519().NewPrivateKey(raw)).ECDH(must(ecdh.X25519().NewPublicKey(their[:]))))
		}
	})
}

var message = make([]byte, 100) // about what a prekey signature covers

func BenchmarkSign(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		key := curve.GenerateKey()
		b.ReportAllocs()
		for b.Loop() {
			key.Sign(message)
		}
	})
	b.Run("floor", func(b *testing.B) {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			ed25519.Sign(key, message)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		key := curve.GenerateKey()
		public, signature := key.PublicKey(), key.Sign(message)
		b.ReportAllocs()
		for b.Loop() {
			public.Verify(message, signature)
		}
	})
	b.Run("floor", func(b *testing.B) {
		public, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			b.Fatal(err)
		}
		signature := ed25519.Sign(key, message)
		b.ReportAllocs()
		for b.Loop() {
			ed25519.Verify(public, message, signature)
		}
	})
}

func BenchmarkIsCanonical(b *testing.B) {
	public := curve.GenerateKey().PublicKey()
	b.ReportAllocs()
	for b.Loop() {
		public.IsCanonical()
	}
}
