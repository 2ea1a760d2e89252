package session_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/session"
)

func parseKey(t *testing.T, encoded []byte) curve.PublicKey {
	t.Helper()
	key, err := curve.ParsePublicKey(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The official library's messages: we read the fields out of them, encode the
// fields as the same bytes, and compute the same MAC.
func TestOfficialMessages(t *testing.T) {
	type hex = testvectors.Hex
	var file struct {
		Cases []struct {
			Type       string
			Serialized hex

			// of a SignalMessage
			MACKey           hex `json:"mac_key"`
			RatchetKey       hex `json:"ratchet_key"`
			Counter          uint32
			PreviousCounter  uint32 `json:"previous_counter"`
			Ciphertext       hex
			SenderIdentity   hex `json:"sender_identity"`
			ReceiverIdentity hex `json:"receiver_identity"`

			// of a PreKeySignalMessage
			RegistrationID  uint32          `json:"registration_id"`
			PreKeyID        *pqxdh.PreKeyID `json:"pre_key_id"`
			SignedPreKeyID  pqxdh.PreKeyID  `json:"signed_pre_key_id"`
			KyberPreKeyID   pqxdh.PreKeyID  `json:"kyber_pre_key_id"`
			KyberCiphertext hex             `json:"kyber_ciphertext"`
			BaseKey         hex             `json:"base_key"`
		}
	}
	testvectors.Official(t, "messages.json", &file)
	seen := map[string]int{}
	for i, c := range file.Cases {
		seen[c.Type]++
		switch c.Type {
		case "signal_message":
			m, err := session.ParseLibsignal(pqxdh.LibsignalPQXDH, session.TypeMessage, c.Serialized)
			if err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			want := ratchet.Header{RatchetKey: parseKey(t, c.RatchetKey), N: c.Counter, PN: c.PreviousCounter}
			if m.Header() != want {
				t.Errorf("%d: header %+v, want %+v", i, m.Header(), want)
			}
			if got := session.Ciphertext(m); !bytes.Equal(got, c.Ciphertext) {
				t.Errorf("%d: ciphertext %x, want %x", i, got, c.Ciphertext)
			}
			if got := session.Encode(m); !bytes.Equal(got, c.Serialized) {
				t.Errorf("%d: encoded again %x, want %x", i, got, c.Serialized)
			}
			covered, mac := c.Serialized[:len(c.Serialized)-8], c.Serialized[len(c.Serialized)-8:]
			sender, receiver := parseKey(t, c.SenderIdentity), parseKey(t, c.ReceiverIdentity)
			if got := session.MAC(c.MACKey, sender, receiver, covered); !bytes.Equal(got, mac) {
				t.Errorf("%d: MAC %x, want %x", i, got, mac)
			}
			if got := session.MAC(c.MACKey, receiver, sender, covered); bytes.Equal(got, mac) {
				t.Errorf("%d: the MAC does not know the direction", i)
			}
		case "prekey_signal_message":
			m, err := session.ParseLibsignal(pqxdh.LibsignalPQXDH, session.TypePreKey, c.Serialized)
			if err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			h := m.Handshake()
			if h.RegistrationID != c.RegistrationID || h.SignedPreKeyID != c.SignedPreKeyID || *h.KEMPreKeyID != c.KyberPreKeyID ||
				(h.OneTimePreKeyID == nil) != (c.PreKeyID == nil) || c.PreKeyID != nil && *h.OneTimePreKeyID != *c.PreKeyID ||
				h.BaseKey != parseKey(t, c.BaseKey) || !bytes.Equal(h.KEMCiphertext, c.KyberCiphertext) {
				t.Errorf("%d: handshake %+v", i, h)
			}
			if got := session.Encode(m); !bytes.Equal(got, c.Serialized) {
				t.Errorf("%d: encoded again %x, want %x", i, got, c.Serialized)
			}
		}
	}
	if seen["signal_message"] == 0 || seen["prekey_signal_message"] == 0 {
		t.Errorf("messages are missing: %v", seen)
	}
}

// ── protobuf that is not as we would write it ───────────────────────────────

// fields encodes fields in the given order; a number is a varint field.
func fields(version byte, all ...any) []byte {
	b := []byte{version}
	for i := 0; i < len(all); i += 2 {
		number := protowire.Number(all[i].(int))
		switch v := all[i+1].(type) {
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(v))
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
		}
	}
	return b
}

func TestSignalMessageDecoding(t *testing.T) {
	ratchetKey := curve.GenerateKey().PublicKey()
	encoded := ratchetKey.Encode()
	key, ciphertext, mac := encoded[:], make([]byte, 16), make([]byte, 8)
	parse := func(b []byte) (*session.Message, error) {
		return session.ParseLibsignal(pqxdh.LibsignalPQXDH, session.TypeMessage, append(b, mac...))
	}
	for name, b := range map[string][]byte{
		"as we write it":          fields(0x44, 1, key, 2, 7, 3, 5, 4, ciphertext),
		"in another order":        fields(0x44, 4, ciphertext, 3, 5, 2, 7, 1, key),
		"the last counts":         fields(0x44, 2, 99, 1, make([]byte, 33), 3, 1, 1, key, 2, 7, 4, []byte{1}, 3, 5, 4, ciphertext),
		"with unknown fields":     fields(0x44, 1, key, 2, 7, 3, 5, 4, ciphertext, 5, []byte("pq"), 6, []byte("addresses"), 1000, 1),
		"a newer low half":        fields(0x4F, 1, key, 2, 7, 3, 5, 4, ciphertext),
		"an older low half":       fields(0x43, 1, key, 2, 7, 3, 5, 4, ciphertext),
		"a varint in more bytes":  append(fields(0x44, 1, key, 3, 5, 4, ciphertext), 0x10, 0x87, 0x00),
		"a group nobody knows":    append(fields(0x44, 1, key, 2, 7, 3, 5, 4, ciphertext), 0x53, 0x54),
		"an unknown fixed number": append(fields(0x44, 1, key, 2, 7, 3, 5, 4, ciphertext), 0x4D, 1, 2, 3, 4),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if want := (ratchet.Header{RatchetKey: ratchetKey, N: 7, PN: 5}); m.Header() != want {
				t.Errorf("header %+v, want %+v", m.Header(), want)
			}
			if !bytes.Equal(session.Ciphertext(m), ciphertext) || !bytes.Equal(m.Bytes(), append(bytes.Clone(b), mac...)) {
				t.Error("ciphertext or bytes differ")
			}
		})
	}
	if m, err := parse(fields(0x44, 1, key, 2, 7, 4, ciphertext)); err != nil || m.Header().PN != 0 {
		t.Errorf("without a previous counter: %+v, %v", m, err)
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":                    {nil, session.ErrMalformed},
		"a version alone":            {[]byte{0x44}, session.ErrMalformed},
		"no ratchet key":             {fields(0x44, 2, 7, 3, 5, 4, ciphertext), session.ErrMalformed},
		"no counter":                 {fields(0x44, 1, key, 3, 5, 4, ciphertext), session.ErrMalformed},
		"no ciphertext":              {fields(0x44, 1, key, 2, 7, 3, 5), session.ErrMalformed},
		"a short ratchet key":        {fields(0x44, 1, key[:32], 2, 7, 4, ciphertext), session.ErrMalformed},
		"a long ratchet key":         {fields(0x44, 1, append(bytes.Clone(key), 0), 2, 7, 4, ciphertext), session.ErrMalformed},
		"another type of key":        {fields(0x44, 1, append([]byte{6}, key[1:]...), 2, 7, 4, ciphertext), session.ErrMalformed},
		"the counter as bytes":       {fields(0x44, 1, key, 2, []byte{7}, 4, ciphertext), session.ErrMalformed},
		"the ratchet key a number":   {fields(0x44, 1, 5, 2, 7, 4, ciphertext), session.ErrMalformed},
		"a counter of 2^32":          {fields(0x44, 1, key, 2, 1<<32, 4, ciphertext), session.ErrMalformed},
		"a previous counter of 2^63": {fields(0x44, 1, key, 2, 7, 3, -1<<63, 4, ciphertext), session.ErrMalformed},
		"a varint cut off":           {append(fields(0x44, 1, key, 4, ciphertext), 0x10, 0x87), session.ErrMalformed},
		"bytes cut off":              {append(fields(0x44, 1, key, 2, 7), 0x22, 0x7F, 1), session.ErrMalformed},
		"2^63 bytes":                 {append(fields(0x44, 1, key, 2, 7), 0x22, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F), session.ErrMalformed},
		"field 0":                    {append(fields(0x44, 1, key, 2, 7, 4, ciphertext), 0x00), session.ErrMalformed},
		"a group without an end":     {append(fields(0x44, 1, key, 2, 7, 4, ciphertext), 0x53), session.ErrMalformed},
		"groups in groups":           {append(fields(0x44, 1, key, 2, 7, 4, ciphertext), bytes.Repeat([]byte{0x53}, 100_000)...), session.ErrMalformed},
		"version 3":                  {fields(0x34, 1, key, 2, 7, 4, ciphertext), session.ErrSuite},
		"version 5":                  {fields(0x54, 1, key, 2, 7, 4, ciphertext), session.ErrSuite},
		"version 0":                  {fields(0x04, 1, key, 2, 7, 4, ciphertext), session.ErrSuite},
	} {
		t.Run(name, func(t *testing.T) {
			b := append(c.b, mac...)
			if c.b == nil {
				b = nil
			}
			m, err := session.ParseLibsignal(pqxdh.LibsignalPQXDH, session.TypeMessage, b)
			if !errors.Is(err, c.want) || m != nil {
				t.Errorf("got %v, %v; want %v", m, err, c.want)
			}
		})
	}
}

func TestPreKeySignalMessageDecoding(t *testing.T) {
	public := curve.GenerateKey().PublicKey()
	encoded := public.Encode()
	key := encoded[:]
	ciphertext := make([]byte, kem.EncodedCiphertextSize)
	ciphertext[0] = byte(kem.Kyber1024)
	mlkem := bytes.Clone(ciphertext)
	mlkem[0] = byte(kem.MLKEM1024)
	message := func(version byte) []byte {
		return append(fields(version, 1, key, 2, 7, 3, 5, 4, make([]byte, 16)), make([]byte, 8)...)
	}
	four, three := pqxdh.LibsignalPQXDH, pqxdh.LibsignalX3DH
	for name, c := range map[string]struct {
		suite pqxdh.Suite
		b     []byte
		want  error
	}{
		"version 4": {four, fields(0x44, 1, 31, 2, key, 3, key, 4, message(0x44), 5, 6, 6, 8, 7, 9, 8, ciphertext), nil},
		"version 4 without a one-time prekey": {
			four, fields(0x44, 2, key, 3, key, 4, message(0x44), 5, 6, 6, 8, 7, 9, 8, ciphertext), nil,
		},
		"version 4 without a registration ID": {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 8, 7, 9, 8, ciphertext), nil},
		"version 4 with unknown fields": {
			four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 8, 7, 9, 8, ciphertext, 77, []byte("?")), nil,
		},
		"version 4 without a KEM":                {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 8), session.ErrMalformed},
		"version 4 without a KEM ciphertext":     {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 8, 7, 9), session.ErrMalformed},
		"version 4 without a KEM prekey":         {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 8, 8, ciphertext), session.ErrMalformed},
		"version 4 with ML-KEM":                  {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 8, 7, 9, 8, mlkem), session.ErrMalformed},
		"version 4 with a short ciphertext":      {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 8, 7, 9, 8, ciphertext[:1568]), session.ErrMalformed},
		"version 4 with an empty ciphertext":     {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 8, 7, 9, 8, []byte{}), session.ErrMalformed},
		"version 4 around version 3":             {four, fields(0x44, 2, key, 3, key, 4, message(0x34), 6, 8, 7, 9, 8, ciphertext), session.ErrSuite},
		"version 4 without a base key":           {four, fields(0x44, 3, key, 4, message(0x44), 6, 8, 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 4 without an identity key":      {four, fields(0x44, 2, key, 4, message(0x44), 6, 8, 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 4 without a message":            {four, fields(0x44, 2, key, 3, key, 6, 8, 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 4 with an empty message":        {four, fields(0x44, 2, key, 3, key, 4, []byte{}, 6, 8, 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 4 without a signed prekey":      {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 4 with a short base key":        {four, fields(0x44, 2, key[:32], 3, key, 4, message(0x44), 6, 8, 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 4 with a long identity key":     {four, fields(0x44, 2, key, 3, append(bytes.Clone(key), 1), 4, message(0x44), 6, 8, 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 4 with a signed prekey of 2^32": {four, fields(0x44, 2, key, 3, key, 4, message(0x44), 6, 1<<32, 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 3":                              {three, fields(0x34, 1, 31, 2, key, 3, key, 4, message(0x34), 5, 6, 6, 8), nil},
		"version 3, older low half":              {three, fields(0x33, 2, key, 3, key, 4, message(0x33), 5, 6, 6, 8), nil},
		"version 3 with a KEM":                   {three, fields(0x34, 2, key, 3, key, 4, message(0x34), 6, 8, 7, 9, 8, ciphertext), session.ErrMalformed},
		"version 3 with a KEM prekey alone":      {three, fields(0x34, 2, key, 3, key, 4, message(0x34), 6, 8, 7, 9), session.ErrMalformed},
		"version 3 for version 4":                {four, fields(0x34, 2, key, 3, key, 4, message(0x34), 5, 6, 6, 8), session.ErrSuite},
		"version 4 for version 3":                {three, fields(0x44, 2, key, 3, key, 4, message(0x44), 5, 6, 6, 8, 7, 9, 8, ciphertext), session.ErrSuite},
		"nothing":                                {four, nil, session.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := session.ParseLibsignal(c.suite, session.TypePreKey, c.b)
			if !errors.Is(err, c.want) || (err == nil) != (m != nil) {
				t.Fatalf("got %v, %v; want %v", m, err, c.want)
			}
			if err == nil && (m.Handshake().BaseKey != public || m.Handshake().SignedPreKeyID != 8) {
				t.Errorf("handshake %+v", m.Handshake())
			}
		})
	}
}

// A peer that pads wrongly, or encrypts no whole block, is refused like one whose
// MAC is wrong.
func TestPadding(t *testing.T) {
	suite := pqxdh.LibsignalPQXDH
	block := func(end ...byte) []byte { return append(make([]byte, 16-len(end)), end...) }
	for name, c := range map[string]struct {
		padded []byte
		want   error
	}{
		"one byte":          {block(1), nil},
		"three bytes":       {block(3, 3, 3), nil},
		"a whole block":     {slices.Concat(block(9), bytes.Repeat([]byte{16}, 16)), nil},
		"none":              {block(0), session.ErrDecrypt},
		"17 bytes":          {slices.Concat(block(17), bytes.Repeat([]byte{17}, 16)), session.ErrDecrypt},
		"unequal bytes":     {block(3, 2, 3), session.ErrDecrypt},
		"255 bytes":         {block(255), session.ErrDecrypt},
		"no block at all":   {[]byte{}, session.ErrDecrypt},
		"a block and a bit": {append(block(1), 1), session.ErrDecrypt},
	} {
		t.Run(name, func(t *testing.T) {
			alice, bob := talking(t, suite)
			sealed := session.SealPadded(alice.record, c.padded)
			opened, err := bob.open(session.TypeMessage, sealed, start)
			if !errors.Is(err, c.want) || errors.Is(err, errChanged) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && !bytes.HasPrefix(c.padded, opened.Plaintext) {
				t.Errorf("opened %x", opened.Plaintext)
			}
			bob.opens(t, alice.send(t))
		})
	}
}
