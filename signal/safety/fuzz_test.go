package safety_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/signal/safety"
)

// FuzzScannable: whatever parses has exactly one encoding.
func FuzzScannable(f *testing.F) {
	n, err := safety.New(
		safety.Party{ID: []byte("a"), Key: []byte("b")}, safety.Party{ID: []byte("c"), Key: []byte("d")},
		safety.Config{Iterations: 2})
	if err != nil {
		f.Fatal(err)
	}
	good := n.Scannable()
	f.Add(good)
	f.Add(slices.Concat(good[:2], good[2:6], good[42:], good[38:42], good[6:38])) // crossed
	f.Add(good[:len(good)-1])
	f.Add(append([]byte{0x08, 0xff, 0xff, 0xff, 0xff, 0x0f}, good[2:]...))
	f.Add(append([]byte{0x08, 0x82, 0x00}, good[2:]...))
	f.Add(append(bytes.Clone(good), 0x20, 0x01))
	f.Fuzz(func(t *testing.T, b []byte) {
		version, local, remote, err := safety.ParseScannable(b)
		if err != nil {
			if version != 0 || local != [32]byte{} || remote != [32]byte{} {
				t.Error("an error came with a value")
			}
			return
		}
		if again := safety.AppendScannable(nil, version, &local, &remote); !bytes.Equal(again, b) {
			t.Errorf("%x parses, and encodes as %x", b, again)
		}
		same, err := n.Compare(b)
		if same != (err == nil && bytes.Equal(local[:], good[6+36:]) && bytes.Equal(remote[:], good[6:38])) {
			t.Errorf("Compare(%x) = %v, %v", b, same, err)
		}
	})
}

// FuzzParseNumber: whatever parses gives 60 ASCII digits that parse as
// themselves, and are what is left of the text without its white space.
func FuzzParseNumber(f *testing.F) {
	f.Add(strings.Repeat("12345 ", 12))
	f.Add(strings.Repeat("１２３４５　", 12))
	f.Add(strings.Repeat("12345\u00a0\u2007", 12))
	f.Add(strings.Repeat("1", 59) + "\xef\xbc")
	f.Add("")
	f.Fuzz(func(t *testing.T, input string) {
		digits, err := safety.ParseNumber(input)
		if err != nil {
			if digits != "" {
				t.Error("an error came with a value")
			}
			return
		}
		if len(digits) != 60 || strings.Trim(digits, "0123456789") != "" {
			t.Errorf("%q gives %q", input, digits)
		}
		narrow := strings.Map(func(r rune) rune {
			if r >= '０' && r <= '９' {
				return r - '０' + '0'
			}
			return r
		}, strings.Join(strings.Fields(input), ""))
		if narrow != digits {
			t.Errorf("%q gives %q, want %q", input, digits, narrow)
		}
		if again, err := safety.ParseNumber(digits); again != digits || err != nil {
			t.Errorf("%q parses again as %q, %v", digits, again, err)
		}
	})
}

// FuzzFingerprintText: whatever parses has exactly one text.
func FuzzFingerprintText(f *testing.F) {
	f.Add("0123·4567·89AB")
	f.Add("0123·4567·89ab")
	f.Add("0123456789AB")
	f.Add("0123456789ABCDEF")
	f.Fuzz(func(t *testing.T, text string) {
		var fingerprint safety.Fingerprint
		if fingerprint.UnmarshalText([]byte(text)) == nil && fingerprint.String() != text {
			t.Errorf("%q parses, and prints as %s", text, fingerprint)
		}
	})
}
