package senderkey_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/signal/senderkey"
)

// startSize is the size of what senders and receivers begin with: version, suite,
// group, address.
var startSize = 2 + 16 + len(alice.Append(nil))

// TestParseSenderIsStrict: what is not the encoding of a sender gives one error.
func TestParseSenderIsStrict(t *testing.T) {
	sender, _ := pair(t, senderkey.Chate2eV1)
	encrypt(t, sender, "so that the iteration is not zero")
	good := sender.Append(nil)
	if s := must(senderkey.ParseSender(good)); !bytes.Equal(s.Append(nil), good) {
		t.Error("a sender is read back as another one")
	}
	signingAt := startSize + 4 + 4 + 32
	refused := changes(good)
	refused["signing key not clamped below"] = flipped(good, signingAt, 1)
	refused["signing key not clamped above"] = flipped(good, signingAt+31, 0x80)
	for name, b := range refused {
		if s, err := senderkey.ParseSender(b); s != nil || !errors.Is(err, senderkey.ErrEncoding) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// TestParseReceiverIsStrict: the same for a receiver, with its limits.
func TestParseReceiverIsStrict(t *testing.T) {
	sender, receiver := pair(t, senderkey.Chate2eV1)
	encrypt(t, sender, "skipped")
	opens(t, receiver, encrypt(t, sender, "opened"), "opened")
	process(t, receiver, must(senderkey.NewSender(senderkey.Chate2eV1, group, alice)).Distribution())
	good := receiver.Append(nil)
	if r := must(senderkey.ParseReceiver(good)); !bytes.Equal(r.Append(nil), good) {
		t.Error("a receiver is read back as another one")
	}
	const (
		fresh   = 4 + 32 + 4 + 32 + 2 // a chain without skipped keys
		skipped = 4 + 32              // a skipped key
	)
	chainsAt := startSize + 1
	if want := chainsAt + 2*fresh + skipped; len(good) != want {
		t.Fatalf("%d bytes, want %d", len(good), want)
	}
	again := good[chainsAt : chainsAt+fresh]
	refused := changes(good)
	refused["a chain twice"] = slices.Concat(good[:startSize], []byte{2}, again, again)
	many := slices.Concat(good[:startSize], []byte{6})
	for i := range 6 {
		many = append(many, again...)
		binary.BigEndian.PutUint32(many[len(many)-fresh:], uint32(i))
	}
	refused["six chains"] = many
	refused["a skipped key still to come"] = flipped(good, chainsAt+2*fresh+3, 0x80)
	for name, b := range refused {
		if r, err := senderkey.ParseReceiver(b); r != nil || !errors.Is(err, senderkey.ErrEncoding) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	five := bytes.Clone(many[:len(many)-fresh])
	five[startSize] = 5
	if _, err := senderkey.ParseReceiver(five); err != nil {
		t.Errorf("five chains: %v", err)
	}
}

// changes are what neither a sender nor a receiver can be.
func changes(good []byte) map[string][]byte {
	all := map[string][]byte{
		"trailing byte": append(bytes.Clone(good), 0),
		"version":       flipped(good, 0, 2),
		"suite":         flipped(good, 1, 4),
		"device 0":      slices.Concat(good[:startSize-4], make([]byte, 4), good[startSize:]),
	}
	for size := range len(good) {
		all[fmt.Sprintf("the first %d bytes", size)] = good[:size]
	}
	return all
}

func flipped(b []byte, at int, bits byte) []byte {
	b = bytes.Clone(b)
	b[at] ^= bits
	return b
}
