package senderkey_test

import (
	"testing"

	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/senderkey"
)

// What signing and verifying cost alone ("floor") is nearly all of it.

func BenchmarkEncrypt(b *testing.B) {
	plaintext := make([]byte, 256)
	for _, suite := range suites {
		b.Run(suite.String(), func(b *testing.B) {
			sender, _ := pair(b, suite)
			b.ReportAllocs()
			for b.Loop() {
				must(sender.Encrypt(plaintext))
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		key := curve.GenerateKey()
		b.ReportAllocs()
		for b.Loop() {
			key.Sign(plaintext)
		}
	})
}

func BenchmarkDecrypt(b *testing.B) {
	plaintext := make([]byte, 256)
	for _, suite := range suites {
		b.Run(suite.String(), func(b *testing.B) {
			sender, receiver := pair(b, suite)
			start := receiver.Append(nil)
			var messages []*senderkey.Message
			for range 256 {
				messages = append(messages, must(senderkey.Parse(suite, must(sender.Encrypt(plaintext)))))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%len(messages) == 0 {
					receiver = must(senderkey.ParseReceiver(start))
				}
				must(receiver.Decrypt(messages[i%len(messages)]))
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		key := curve.GenerateKey()
		public, signature := key.PublicKey(), key.Sign(plaintext)
		b.ReportAllocs()
		for b.Loop() {
			public.Verify(plaintext, signature)
		}
	})
}
