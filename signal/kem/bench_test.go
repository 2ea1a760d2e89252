package kem_test

import (
	"crypto/mlkem"
	"testing"

	"github.com/chate2e/chate2e/signal/kem"
)

// Each benchmark has the standard library's primitive beside it ("floor"), so
// that the ratio can be read.

func eachKindBench(b *testing.B, bench func(b *testing.B, kind kem.Kind)) {
	b.Helper()
	for _, kind := range []kem.Kind{kem.MLKEM1024, kem.Kyber1024} {
		b.Run(kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			bench(b, kind)
		})
	}
}

func BenchmarkGenerateKey(b *testing.B) {
	eachKindBench(b, func(b *testing.B, kind kem.Kind) {
		for b.Loop() {
			kem.GenerateKey(kind).PublicKey()
		}
	})
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(mlkem.GenerateKey1024()).EncapsulationKey().Bytes()
		}
	})
}

func BenchmarkParsePublicKey(b *testing.B) {
	eachKindBench(b, func(b *testing.B, kind kem.Kind) {
		encoded := kem.GenerateKey(kind).PublicKey().Encode()
		for b.Loop() {
			must(kem.ParsePublicKey(encoded))
		}
	})
	b.Run("floor", func(b *testing.B) {
		encoded := must(mlkem.GenerateKey1024()).EncapsulationKey().Bytes()
		b.ReportAllocs()
		for b.Loop() {
			must(mlkem.NewEncapsulationKey1024(encoded))
		}
	})
}

func BenchmarkEncapsulate(b *testing.B) {
	eachKindBench(b, func(b *testing.B, kind kem.Kind) {
		public := kem.GenerateKey(kind).PublicKey()
		for b.Loop() {
			public.Encapsulate()
		}
	})
	b.Run("floor", func(b *testing.B) {
		public := must(mlkem.GenerateKey1024()).EncapsulationKey()
		b.ReportAllocs()
		for b.Loop() {
			public.Encapsulate()
		}
	})
}

func BenchmarkDecapsulate(b *testing.B) {
	eachKindBench(b, func(b *testing.B, kind kem.Kind) {
		key := kem.GenerateKey(kind)
		_, ciphertext := key.PublicKey().Encapsulate()
		for b.Loop() {
			must(key.Decapsulate(ciphertext))
		}
	})
	b.Run("floor", func(b *testing.B) {
		key := must(mlkem.GenerateKey1024())
		_, ciphertext := key.EncapsulationKey().Encapsulate()
		b.ReportAllocs()
		for b.Loop() {
			must(key.Decapsulate(ciphertext))
		}
	})
}
