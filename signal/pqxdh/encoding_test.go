package pqxdh_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
)

// codec is an encoding with its type left out.
type codec struct {
	good  []byte
	size  int // 0: it varies
	parse func([]byte) (func([]byte) []byte, error)
}

func codecOf[T any](good []byte, size int, parse func([]byte) (*T, error), encode func(*T, []byte) []byte) codec {
	return codec{good, size, func(b []byte) (func([]byte) []byte, error) {
		v, err := parse(b)
		if err != nil {
			if v != nil {
				panic("an error came with a value")
			}
			return nil, err
		}
		return func(b []byte) []byte { return encode(v, b) }, nil
	}}
}

func codecs(t testing.TB) map[string]codec {
	bob := identity("bob", 1)
	keys, err := pqxdh.NewKeys(bob, 2, start)
	if err != nil {
		t.Fatal(err)
	}
	full := keys.Offer(bob)
	short := keys.Offer(bob)
	short.OneTimePreKey = nil
	keys.Consume(pqxdh.Used{KEMLastResort: &pqxdh.LastResortUse{
		KEMPreKey: 1, SignedPreKey: 2, BaseKey: bob.Key.PublicKey(),
	}})
	if err := keys.Rotate(bob, start); err != nil {
		t.Fatal(err)
	}
	lastResort := keys.Offer(bob).KEMPreKey
	signedPair, err := pqxdh.NewSignedPreKey(pqxdh.Chate2eV1, bob, start)
	if err != nil {
		t.Fatal(err)
	}
	kemPair, err := pqxdh.NewKEMPreKey(pqxdh.Chate2eV1, bob, true, start)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]codec{
		"bundle": codecOf(full.Append(nil), pqxdh.MaxBundleSize, pqxdh.ParseBundle, (*pqxdh.Bundle).Append),
		"bundle without a one-time prekey": codecOf(short.Append(nil), pqxdh.MaxBundleSize-pqxdh.OneTimePreKeySize,
			pqxdh.ParseBundle, (*pqxdh.Bundle).Append),
		"signed prekey": codecOf(full.SignedPreKey.Append(nil), pqxdh.SignedPreKeySize,
			pqxdh.ParseSignedPreKey, (*pqxdh.SignedPreKey).Append),
		"KEM prekey": codecOf(full.KEMPreKey.Append(nil), pqxdh.KEMPreKeySize,
			pqxdh.ParseKEMPreKey, (*pqxdh.KEMPreKey).Append),
		"KEM prekey of last resort": codecOf(lastResort.Append(nil), pqxdh.KEMPreKeySize,
			pqxdh.ParseKEMPreKey, (*pqxdh.KEMPreKey).Append),
		"one-time prekey": codecOf(full.OneTimePreKey.Append(nil), pqxdh.OneTimePreKeySize,
			pqxdh.ParseOneTimePreKey, (*pqxdh.OneTimePreKey).Append),
		"signed prekey pair": codecOf(signedPair.Append(nil), pqxdh.SignedPreKeySize+32,
			pqxdh.ParseSignedPreKeyPair, (*pqxdh.SignedPreKeyPair).Append),
		"KEM prekey pair": codecOf(kemPair.Append(nil), pqxdh.KEMPreKeySize+kem.SeedSize,
			pqxdh.ParseKEMPreKeyPair, (*pqxdh.KEMPreKeyPair).Append),
		"one-time prekey pair": codecOf(pqxdh.NewOneTimePreKey().Append(nil), pqxdh.OneTimePreKeySize+32,
			pqxdh.ParseOneTimePreKeyPair, (*pqxdh.OneTimePreKeyPair).Append),
		"keys": codecOf(keys.Append(nil), 0, pqxdh.ParseKeys, (*pqxdh.Keys).Append),
	}
}

// Each value has one encoding, of which no byte can be left out or added, and
// what parses encodes as the bytes it came from.
func TestEncodings(t *testing.T) {
	for name, c := range codecs(t) {
		t.Run(name, func(t *testing.T) {
			encode, err := c.parse(c.good)
			if err != nil {
				t.Fatal(err)
			}
			if got := encode([]byte("before")); !bytes.Equal(got, append([]byte("before"), c.good...)) {
				t.Errorf("encodes as %x, want %x behind what was there", got, c.good)
			}
			if c.size != 0 && len(c.good) != c.size {
				t.Errorf("%d bytes, want %d", len(c.good), c.size)
			}
			for size := 0; size < len(c.good); size += 1 + len(c.good)/500 {
				if _, err := c.parse(c.good[:size]); !errors.Is(err, pqxdh.ErrEncoding) {
					t.Fatalf("%d of %d bytes: %v", size, len(c.good), err)
				}
			}
			if _, err := c.parse(append(bytes.Clone(c.good), 0)); !errors.Is(err, pqxdh.ErrEncoding) {
				t.Errorf("a byte too much: %v", err)
			}
			r := testrand.New(t)
			for range 500 {
				b := bytes.Clone(c.good)
				b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
				encode, err := c.parse(b)
				if err != nil {
					continue
				}
				if got := encode(nil); !bytes.Equal(got, b) {
					t.Fatalf("%x parses, and encodes as %x", b, got)
				}
			}
		})
	}
}

// Fields that have few valid values have no others.
func TestEncodingsAreStrict(t *testing.T) {
	all := codecs(t)
	const (
		kemAt     = 1 + 32 + pqxdh.SignedPreKeySize
		oneTimeAt = kemAt + pqxdh.KEMPreKeySize
	)
	for name, c := range map[string]struct {
		codec  string
		at     int
		values []byte // the only ones that are valid
	}{
		"version of a bundle":              {"bundle", 0, []byte{1}},
		"version within a bundle":          {"bundle", 1 + 32, []byte{1}},
		"purpose within a bundle":          {"bundle", 1 + 32 + 1, []byte{1}},
		"KEM purpose within a bundle":      {"bundle", kemAt + 1, []byte{2, 3}},
		"type of the KEM key":              {"bundle", kemAt + 10, []byte{byte(kem.MLKEM1024)}},
		"one-time prekey in a bundle":      {"bundle", oneTimeAt, []byte{1}},
		"one-time prekey not in a bundle":  {"bundle without a one-time prekey", oneTimeAt, []byte{0}},
		"purpose of a one-time prekey":     {"bundle", oneTimeAt + 2, []byte{4}},
		"version of a signed prekey":       {"signed prekey", 0, []byte{1}},
		"purpose of a signed prekey":       {"signed prekey", 1, []byte{1}},
		"version of a KEM prekey":          {"KEM prekey", 0, []byte{1}},
		"purpose of a KEM prekey":          {"KEM prekey", 1, []byte{2, 3}},
		"version of a one-time prekey":     {"one-time prekey", 0, []byte{1}},
		"purpose of a one-time prekey too": {"one-time prekey", 1, []byte{4}},
		"version of keys":                  {"keys", 0, []byte{1}},
	} {
		t.Run(name, func(t *testing.T) {
			for v := range 256 {
				b := bytes.Clone(all[c.codec].good)
				b[c.at] = byte(v)
				_, err := all[c.codec].parse(b)
				if got, want := err == nil, bytes.IndexByte(c.values, byte(v)) >= 0; got != want {
					t.Errorf("%d: %v", v, err)
				}
			}
		})
	}
	// An expiry is a day that there is.
	for _, name := range []string{"signed prekey", "KEM prekey", "signed prekey pair", "KEM prekey pair"} {
		for expires, want := range map[pqxdh.Day]error{
			0: nil, 1: nil, pqxdh.MaxDay: nil, pqxdh.MaxDay + 1: pqxdh.ErrEncoding, 1<<32 - 1: pqxdh.ErrEncoding,
		} {
			b := bytes.Clone(all[name].good)
			binary.BigEndian.PutUint32(b[6:], uint32(expires))
			if _, err := all[name].parse(b); !errors.Is(err, want) {
				t.Errorf("%s that expires on day %d: %v", name, expires, err)
			}
		}
	}
	// Private halves come clamped, and belong to the public ones.
	for name, size := range map[string]int{"signed prekey pair": pqxdh.SignedPreKeySize, "one-time prekey pair": pqxdh.OneTimePreKeySize} {
		for _, c := range []struct {
			at  int
			bit byte
		}{{0, 1}, {0, 4}, {31, 0x80}, {31, 0x40}, {5, 1}, {-1, 1}} {
			b := bytes.Clone(all[name].good)
			b[size+c.at] ^= c.bit
			if name == "signed prekey pair" && c.at == -1 {
				continue // a byte of the signature
			}
			if _, err := all[name].parse(b); !errors.Is(err, pqxdh.ErrEncoding) {
				t.Errorf("%s, byte %d, bit %#x: %v", name, c.at, c.bit, err)
			}
		}
	}
}

// Keys know when their own counts are impossible.
func TestKeysEncodingIsStrict(t *testing.T) {
	bob := identity("bob", 1)
	keys := newKeys(t, bob, 1)
	good := keys.Append(nil)
	const (
		signed = pqxdh.SignedPreKeySize + 32
		kemKey = pqxdh.KEMPreKeySize + kem.SeedSize
		once   = pqxdh.OneTimePreKeySize + 32

		lastResortAt = 1 + 4 + signed
		offeredAt    = 1 + 4 + signed + 4 + kemKey + 4 + kemKey + 4 + once
	)
	if len(good) != offeredAt+12 {
		t.Fatalf("%d bytes, want %d", len(good), offeredAt+12)
	}
	put := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[at:], v)
			return b
		}
	}
	for name, change := range map[string]func(b []byte) []byte{
		"no signed prekey": func(b []byte) []byte {
			return append(binary.BigEndian.AppendUint32(bytes.Clone(b[:1]), 0), b[5+signed:]...)
		},
		"no KEM prekey of last resort": func(b []byte) []byte {
			return append(binary.BigEndian.AppendUint32(bytes.Clone(b[:lastResortAt]), 0), b[lastResortAt+4+kemKey:]...)
		},
		"more KEM prekeys offered than there are":      put(offeredAt, 2),
		"more one-time prekeys offered than there are": put(offeredAt+4, 2),
		"2^32 - 1 offered":                             put(offeredAt, 1<<32-1),
		"a use that is not there":                      put(offeredAt+8, 1),
		"2^32 - 1 signed prekeys":                      put(1, 1<<32-1),
		"2^32 - 1 uses":                                put(offeredAt+8, 1<<32-1),
	} {
		t.Run(name, func(t *testing.T) {
			b := change(bytes.Clone(good))
			n := testing.AllocsPerRun(1, func() {
				if _, err := pqxdh.ParseKeys(b); !errors.Is(err, pqxdh.ErrEncoding) {
					t.Errorf("got %v, want %v", err, pqxdh.ErrEncoding)
				}
			})
			if n > 200 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	for offered := range uint32(2) {
		if _, err := pqxdh.ParseKeys(put(offeredAt, offered)(bytes.Clone(good))); err != nil {
			t.Errorf("%d offered: %v", offered, err)
		}
	}
}

func reparse(t *testing.T, keys *pqxdh.Keys) *pqxdh.Keys {
	t.Helper()
	b := keys.Append(nil)
	parsed, err := pqxdh.ParseKeys(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(parsed.Append(nil), b) {
		t.Fatal("the keys encode as other bytes after they were read")
	}
	return parsed
}

// ── fuzzing ─────────────────────────────────────────────────────────────────

// fuzz checks that what parses encodes as the same bytes. The seeds are made
// when it runs: KEM keys are large.
func fuzz(f *testing.F, names ...string) {
	f.Helper()
	all := codecs(f)
	parse := all[names[0]].parse
	for _, name := range names {
		good := all[name].good
		f.Add(good)
		f.Add(good[:len(good)-1])
		f.Add(append(bytes.Clone(good), 0))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		encode, err := parse(b)
		if err != nil {
			if !errors.Is(err, pqxdh.ErrEncoding) {
				t.Errorf("got %v, want %v", err, pqxdh.ErrEncoding)
			}
			return
		}
		if got := encode(nil); !bytes.Equal(got, b) {
			t.Errorf("%x parses, and encodes as %x", b, got)
		}
	})
}

func FuzzParseBundle(f *testing.F)            { fuzz(f, "bundle", "bundle without a one-time prekey") }
func FuzzParseSignedPreKey(f *testing.F)      { fuzz(f, "signed prekey") }
func FuzzParseKEMPreKey(f *testing.F)         { fuzz(f, "KEM prekey", "KEM prekey of last resort") }
func FuzzParseOneTimePreKey(f *testing.F)     { fuzz(f, "one-time prekey") }
func FuzzParseSignedPreKeyPair(f *testing.F)  { fuzz(f, "signed prekey pair") }
func FuzzParseKEMPreKeyPair(f *testing.F)     { fuzz(f, "KEM prekey pair") }
func FuzzParseOneTimePreKeyPair(f *testing.F) { fuzz(f, "one-time prekey pair") }
func FuzzParseKeys(f *testing.F)              { fuzz(f, "keys") }
