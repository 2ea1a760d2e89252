package secret_test

import (
	"bytes"
	"testing"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testleak"
	"github.com/chate2e/chate2e/internal/testrand"
)

func TestParseKey(t *testing.T) {
	b := testrand.New(t).Bytes(secret.KeySize)
	key, err := secret.ParseKey(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(key.Bytes(), b) || !bytes.Equal(key.Array()[:], b) {
		t.Error("the key has other bytes than it was made from")
	}
	if &key.Bytes()[0] == &b[0] {
		t.Error("the key shares the bytes it was made from")
	}
	for _, size := range []int{0, 1, 31, 33, 64} {
		planted := testrand.New(t).Bytes(size)
		key, err := secret.ParseKey(planted)
		if err == nil || !key.IsZero() {
			t.Errorf("%d bytes are a key", size)
		} else if size > 8 && testleak.Shows(err.Error(), planted) {
			t.Errorf("the error for %d bytes quotes them", size)
		}
	}
}

func TestKeyIsAReference(t *testing.T) {
	r := testrand.New(t)
	first, second := [32]byte(r.Bytes(32)), [32]byte(r.Bytes(32))
	key := secret.NewKey(first)
	alias, clone := key, key.Clone()

	key.Set(&second)
	if !bytes.Equal(alias.Bytes(), second[:]) {
		t.Error("Set does not reach a copy of the key")
	}
	if !bytes.Equal(clone.Bytes(), first[:]) {
		t.Error("Set reaches a clone of the key")
	}
	inside := key.Bytes()
	key.Wipe()
	if !bytes.Equal(inside, make([]byte, 32)) || !bytes.Equal(alias.Bytes(), make([]byte, 32)) {
		t.Error("Wipe leaves bytes behind")
	}
	if !bytes.Equal(clone.Bytes(), first[:]) {
		t.Error("Wipe reaches a clone of the key")
	}
}

func TestKeyEqual(t *testing.T) {
	b := [32]byte(testrand.New(t).Bytes(32))
	key, same := secret.NewKey(b), secret.NewKey(b)
	if !key.Equal(same) || !key.Equal(key) {
		t.Error("equal keys differ")
	}
	for bit := range len(b) * 8 {
		other := b
		other[bit/8] ^= 1 << (bit % 8)
		if key.Equal(secret.NewKey(other)) {
			t.Errorf("keys that differ in bit %d are equal", bit)
		}
	}
	var zero secret.Key
	if key.Equal(zero) || zero.Equal(key) {
		t.Error("a key equals the zero Key")
	}
	if zeros := secret.NewKey([32]byte{}); zero.Equal(zeros) || zeros.Equal(zero) {
		t.Error("the zero Key equals a key of zeros")
	}
	if !zero.Equal(secret.Key{}) {
		t.Error("two zero Keys differ")
	}
}

// TestZeroValuesAreLoud: a key that was never set must not work as a key of
// zeros.
func TestZeroValuesAreLoud(t *testing.T) {
	var (
		key secret.Key
		box secret.Box[[]byte]
	)
	if !key.IsZero() || !key.Clone().IsZero() || !box.IsZero() {
		t.Error("a zero value says that it holds something")
	}
	if secret.NewKey([32]byte{}).IsZero() || secret.NewBox[[]byte](nil).IsZero() {
		t.Error("a key of zeros or a box with nil says that it holds nothing")
	}
	key.Wipe() // must not panic
	box.Wipe()
	for name, use := range map[string]func(){
		"Key.Bytes":  func() { key.Bytes() },
		"Key.Array":  func() { key.Array() },
		"Key.Set":    func() { key.Set(new([32]byte)) },
		"Box.Reveal": func() { box.Reveal() },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("does not panic")
				}
			}()
			use()
		})
	}
}

func TestBox(t *testing.T) {
	planted := [64]byte(testrand.New(t).Bytes(64))
	box := secret.NewBox(planted)
	alias := box
	if *box.Reveal() != planted {
		t.Error("the box holds something else")
	}
	box.Reveal()[0]++
	if alias.Reveal()[0] != planted[0]+1 {
		t.Error("a copy of the box holds a value of its own")
	}
	inside := box.Reveal()
	box.Wipe()
	if *inside != [64]byte{} || *alias.Reveal() != [64]byte{} {
		t.Error("Wipe leaves bytes behind")
	}
}

// TestAllocations: keys are made for every message.
func TestAllocations(t *testing.T) {
	var (
		key secret.Key
		box secret.Box[[64]byte]
	)
	if allocs := testing.AllocsPerRun(100, func() { key = secret.NewKey([32]byte{1}) }); allocs != 1 {
		t.Errorf("a key takes %v allocations", allocs)
	}
	if allocs := testing.AllocsPerRun(100, func() { box = secret.NewBox([64]byte{1}) }); allocs != 1 {
		t.Errorf("a box takes %v allocations", allocs)
	}
	if key.IsZero() || box.IsZero() {
		t.Error("nothing was made")
	}
}
