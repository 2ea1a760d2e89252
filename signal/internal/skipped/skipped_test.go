package skipped_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/internal/skipped"
)

// chain returns the seeds of messages from to to-1, and message to's chain key.
func chain(key [32]byte, from, to uint32) (seeds map[uint32][32]byte, next [32]byte) {
	seeds = map[uint32][32]byte{}
	for ; from < to; from++ {
		seeds[from], key = kdf.Step(&key)
	}
	return seeds, key
}

// watch returns a function that shows the memory in which seeds are now.
func watch(k *skipped.Keys) func() []byte {
	var seeds []*[32]byte
	for i := range k.Len() {
		seeds = append(seeds, k.Seed(i))
	}
	return func() []byte {
		var b []byte
		for _, s := range seeds {
			b = append(b, s[:]...)
		}
		return b
	}
}

func TestSkip(t *testing.T) {
	start := [32]byte(testrand.New(t).Bytes(32))
	for _, c := range []struct{ from, to, limit, left uint32 }{
		{0, 0, 5, 0},
		{0, 1, 5, 1},
		{7, 12, 5, 5},
		{7, 13, 5, 5},
		{0, 100, 5, 5},
		{math.MaxUint32 - 3, math.MaxUint32, 2, 2},
	} {
		want, next := chain(start, c.from, c.to)
		var k skipped.Keys
		key := start
		k.Skip(&key, c.from, c.to, int(c.limit))
		if key != next {
			t.Errorf("%+v: the chain key is not message %d's", c, c.to)
		}
		if k.Len() != int(c.left) {
			t.Errorf("%+v: %d seeds", c, k.Len())
		}
		for n := c.from; n < c.to; n++ {
			i, found := k.Find(n)
			if found != (n >= c.to-c.left) || found && *k.Seed(i) != want[n] {
				t.Errorf("%+v: seed %d found: %t", c, n, found)
			}
		}
		for _, n := range []uint32{c.from - 1, c.to, c.to + 1} {
			if _, found := k.Find(n); found {
				t.Errorf("%+v: seed %d is found", c, n)
			}
		}
	}
}

// A chain that moves on in several steps has the seeds of all of them, in order.
func TestMoveOn(t *testing.T) {
	start := [32]byte(testrand.New(t).Bytes(32))
	want, _ := chain(start, 0, 20)
	var k, more skipped.Keys
	key := start
	k.Skip(&key, 0, 5, 100)
	_, key = kdf.Step(&key) // message 5 is used
	k.Skip(&key, 6, 10, 100)
	more.Skip(&key, 10, 20, 100)
	k.Join(&more)
	if k.Len() != 19 || more.Len() != 0 {
		t.Errorf("%d seeds after Join, %d are left", k.Len(), more.Len())
	}
	k.Join(&more)  // nothing more
	k.Drop(0, 2)   // 0 and 1
	k.Drop(1, 2)   // 3
	k.Drop(16, 16) // none
	k.Drop(15, 16) // 19
	gone := []uint32{0, 1, 3, 5, 19}
	for n := range uint32(20) {
		i, found := k.Find(n)
		if found == slices.Contains(gone, n) || found && *k.Seed(i) != want[n] {
			t.Errorf("seed %d found: %t", n, found)
		}
	}
}

// A seed that is dropped, or whose place changes, is nowhere afterwards.
func TestErase(t *testing.T) {
	start := [32]byte(testrand.New(t).Bytes(32))
	seeds, _ := chain(start, 0, 10)
	filled := func() (k skipped.Keys, key [32]byte) {
		key = start
		k.Skip(&key, 0, 6, 100)
		return k, key
	}
	check := func(what string, memory []byte, gone ...uint32) {
		t.Helper()
		for _, n := range gone {
			seed := seeds[n]
			if bytes.Contains(memory, seed[:]) {
				t.Errorf("%s: seed %d is still there", what, n)
			}
		}
	}
	k, _ := filled()
	memory := watch(&k)
	check("before", memory())
	if seed := seeds[3]; !bytes.Contains(memory(), seed[:]) {
		t.Fatal("the memory that is watched is not where the seeds are")
	}
	k.Drop(2, 4)
	check("Drop", memory(), 2, 3)
	k.Drop(0, k.Len())
	check("Drop of all", memory(), 0, 1, 2, 3, 4, 5)

	k, _ = filled()
	memory = watch(&k)
	k.Wipe()
	check("Wipe", memory(), 0, 1, 2, 3, 4, 5)
	if k.Len() != 0 {
		t.Error("Wipe leaves seeds")
	}

	k, key := filled()
	memory = watch(&k)
	k.Skip(&key, 6, 10, 100)
	check("Skip, where they were", memory(), 0, 1, 2, 3, 4, 5)

	k, key = filled()
	var more skipped.Keys
	more.Skip(&key, 6, 10, 100)
	memory, joined := watch(&k), watch(&more)
	k.Join(&more)
	check("Join, where they were", slices.Concat(memory(), joined()), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	if k.Len() != 10 {
		t.Errorf("%d seeds after Join", k.Len())
	}
}

func TestEncoding(t *testing.T) {
	key := [32]byte(testrand.New(t).Bytes(32))
	var k skipped.Keys
	k.Skip(&key, 3, 6, 100)
	good := k.Append([]byte{})
	read := func(b []byte, below uint32, limit int) (*skipped.Keys, bool) {
		in := cryptobyte.String(b)
		k := new(skipped.Keys)
		ok := k.Read(&in, below, limit)
		if !ok && k.Len() != 0 {
			t.Error("seeds were read from what is no encoding")
		}
		return k, ok && in.Empty()
	}
	again, ok := read(good, 6, 3)
	if !ok || !bytes.Equal(again.Append([]byte{}), good) {
		t.Fatalf("%x is not read back", good)
	}
	if empty, ok := read([]byte{0, 0}, 0, 0); !ok || empty.Len() != 0 {
		t.Error("no seeds are not read back")
	}
	for size := range len(good) {
		if _, ok := read(good[:size], 6, 3); ok {
			t.Errorf("%d of %d bytes are read", size, len(good))
		}
	}
	counter := func(i int, n uint32) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[2+36*i:], n)
		return b
	}
	for name, c := range map[string]struct {
		b     []byte
		below uint32
		limit int
	}{
		"more than the limit":    {good, 6, 2},
		"a seed still to come":   {good, 5, 3},
		"the same counter twice": {counter(1, 3), 6, 3},
		"counters that descend":  {counter(2, 0), 6, 3},
		"a count without seeds":  {[]byte{0xFF, 0xFF}, 6, math.MaxInt},
	} {
		if _, ok := read(c.b, c.below, c.limit); ok {
			t.Errorf("%s: is read", name)
		}
	}
}
