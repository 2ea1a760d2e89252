package signal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/signal"
)

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		address signal.Address
		encoded []byte // nil: not an address
	}{
		{signal.Address{Name: "bob", Device: 0x01020304}, []byte{3, 'b', 'o', 'b', 1, 2, 3, 4}},
		{
			signal.Address{Name: strings.Repeat("x", signal.MaxNameSize), Device: 1<<32 - 1},
			append(append([]byte{255}, strings.Repeat("x", 255)...), 255, 255, 255, 255),
		},
		{signal.Address{Name: "\x00", Device: 1}, []byte{1, 0, 0, 0, 0, 1}}, // names are bytes
		{signal.Address{Name: strings.Repeat("x", signal.MaxNameSize+1), Device: 1}, nil},
		{signal.Address{Device: 1}, nil},
		{signal.Address{Name: "a"}, nil},
		{signal.Address{}, nil},
	} {
		err := c.address.Validate()
		if c.encoded == nil {
			if !errors.Is(err, signal.ErrAddress) {
				t.Errorf("%+v: %v", c.address, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c.address, err)
		}
		if got := c.address.Append([]byte("before")); !bytes.Equal(got, append([]byte("before"), c.encoded...)) {
			t.Errorf("%+v: encodes as %x", c.address, got)
		}
		var again signal.Address
		in := cryptobyte.String(append(bytes.Clone(c.encoded), "behind"...))
		if !again.Read(&in) || again != c.address || string(in) != "behind" {
			t.Errorf("%x is read as %+v, leaving %q", c.encoded, again, in)
		}
		for size := range len(c.encoded) {
			in := cryptobyte.String(c.encoded[:size])
			if again.Read(&in) {
				t.Errorf("%x is read", c.encoded[:size])
			}
		}
	}
	for _, b := range [][]byte{{0, 0, 0, 0, 1}, {1, 'a', 0, 0, 0, 0}} {
		var a signal.Address
		in := cryptobyte.String(b)
		if a.Read(&in) {
			t.Errorf("%x is read, as %+v", b, a)
		}
	}
}
