package kem_test

import (
	"crypto/mlkem"
	"testing"

	"github.com/chate2e/chate2e/signal/kem"
)

// Each benchmark has the standard library's primitive beside it ("floor"), so
// that the ratio can be read.

func BenchmarkGenerateKey(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				kem.GenerateKey(kind).PublicKey()
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(mlkem.GenerateKey1024()).EncapsulationKey().Bytes()
		}
	})
}

func BenchmarkParsePublicKey(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			encoded := kem.GenerateKey(kind).PublicKey().Encode()
			for b.Loop() {
				must(kem.ParsePublicKey(encoded))
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		encoded := must(mlkem.GenerateKey1024()).EncapsulationKey().Bytes()
		b.ReportAllocs()
		for b.Loop() {
			must(mlkem.NewEncapsulationKey1024(encoded))
		}
	})
}

func BenchmarkEncapsulate(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			public := kem.GenerateKey(kind).PublicKey()
			for b.Loop() {
				public.Encapsulate()
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		public := must(mlkem.GenerateKey1024()).EncapsulationKey()
		b.ReportAllocs()
		for b.Loop() {
			public.Encapsulate()
		}
	})
}

func BenchmarkDecapsulate(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			key := kem.GenerateKey(kind)
			_, ciphertext := key.PublicKey().Encapsulate()
			for b.Loop() {
				must(key.Decapsulate(ciphertext))
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		key := must(mlkem.GenerateKey1024())
		_, ciphertext := key.EncapsulationKey().Encapsulate()
		b.ReportAllocs()
		for b.Loop() {
			must(key.Decapsulate(ciphertext))
		}
	})
}
