package senderkey_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/signal/senderkey"
)

// suites are those that the fuzzer's byte chooses from.
var suites = []senderkey.Suite{senderkey.Chate2eV1, senderkey.Libsignal}

func FuzzMessage(f *testing.F) {
	for i, suite := range suites {
		sender, _ := pair(f, suite)
		f.Add(byte(i), encrypt(f, sender, "hello"))
		f.Add(byte(i), encrypt(f, sender, ""))
	}
	f.Fuzz(func(t *testing.T, i byte, b []byte) {
		suite := suites[int(i)%len(suites)]
		m, err := senderkey.Parse(suite, b)
		if err != nil {
			if m != nil {
				t.Error("an error came with a value")
			}
			return
		}
		if suite == senderkey.Chate2eV1 {
			if again := slices.Concat(m.Parts()...); !bytes.Equal(again, b) {
				t.Errorf("%x parses, and its parts are %x", b, again)
			}
		}
		receiver := must(senderkey.NewReceiver(suite, m.Group(), alice))
		process(t, receiver, senderkey.AppendDistribution(suite, senderkey.Distribution{Group: m.Group(), ChainID: m.ChainID()}))
		if got, err := receiver.Decrypt(m); err == nil || got != nil {
			t.Errorf("%x opens", b)
		}
	})
}

func FuzzDistribution(f *testing.F) {
	for i, suite := range suites {
		sender, _ := pair(f, suite)
		f.Add(byte(i), sender.Distribution())
	}
	f.Fuzz(func(t *testing.T, i byte, b []byte) {
		suite := suites[int(i)%len(suites)]
		d, ok := senderkey.ParseDistribution(suite, b)
		receiver := must(senderkey.NewReceiver(suite, d.Group, alice))
		before := receiver.Append(nil)
		if err := receiver.Process(b); (err == nil) != ok {
			t.Errorf("%x parses: %t, is taken: %v", b, ok, err)
		}
		if !ok {
			if !bytes.Equal(before, receiver.Append(nil)) {
				t.Error("an error changed the receiver")
			}
			return
		}
		again := senderkey.AppendDistribution(suite, d)
		if suite == senderkey.Chate2eV1 && !bytes.Equal(again, b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
		if e, ok := senderkey.ParseDistribution(suite, again); !ok || e != d {
			t.Errorf("%x is read back as something else", b)
		}
	})
}

func FuzzSender(f *testing.F) {
	for _, suite := range suites {
		sender, _ := pair(f, suite)
		f.Add(sender.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := senderkey.ParseSender(b)
		if err != nil {
			if s != nil {
				t.Error("an error came with a value")
			}
			return
		}
		if again := s.Append(nil); !bytes.Equal(again, b) {
			t.Error("what parses encodes as something else")
		}
	})
}

func FuzzReceiver(f *testing.F) {
	for _, suite := range suites {
		sender, receiver := pair(f, suite)
		f.Add(receiver.Append(nil))
		encrypt(f, sender, "skipped")
		encrypt(f, sender, "skipped")
		opens(f, receiver, encrypt(f, sender, "x"), "x")
		process(f, receiver, must(senderkey.NewSender(suite, group, alice)).Distribution())
		f.Add(receiver.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := senderkey.ParseReceiver(b)
		if err != nil {
			if r != nil {
				t.Error("an error came with a value")
			}
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, b) {
			t.Error("what parses encodes as something else")
		}
	})
}
