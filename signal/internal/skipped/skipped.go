// Package skipped keeps the seeds of messages that a chain has moved past before
// they arrived.
package skipped

import (
	"cmp"
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

// Keys are the seeds of skipped messages of one chain, counters ascending. The
// zero Keys are empty. A seed that is dropped is overwritten.
type Keys struct {
	box secret.Box[[]entry] // zero when empty
}

type entry struct {
	n    uint32
	seed [32]byte
}

const entrySize = 4 + 32

func (k *Keys) list() []entry {
	if k.box.IsZero() {
		return nil
	}
	return *k.box.Reveal()
}

// replace takes over list, whose entries from the front are copies of all there were.
func (k *Keys) replace(list []entry) {
	clear(k.list())
	if len(list) > 0 {
		k.box = secret.NewBox(list)
	}
}

// Len returns how many seeds there are.
func (k *Keys) Len() int { return len(k.list()) }

// Find returns the position of message n's seed.
func (k *Keys) Find(n uint32) (int, bool) {
	return slices.BinarySearchFunc(k.list(), n, func(e entry, n uint32) int { return cmp.Compare(e.n, n) })
}

// Seed returns the 32 bytes at position i, not a copy.
func (k *Keys) Seed(i int) *[32]byte { return &k.list()[i].seed }

// Skip moves key, which is message from's chain key, on to message to's, and adds
// the seeds of the messages between, the newest limit of them. All that are there
// already are of messages before from.
func (k *Keys) Skip(key *[32]byte, from, to uint32, limit int) {
	for ; uint64(to-from) > uint64(limit); from++ { //nolint:gosec // a small positive limit
		*key = kdf.Next(key)
	}
	if from == to {
		return
	}
	list := make([]entry, k.Len(), k.Len()+int(to-from))
	copy(list, k.list())
	for ; from < to; from++ {
		e := entry{n: from}
		e.seed, *key = kdf.Step(key)
		list = append(list, e)
	}
	k.replace(list)
}

// Join adds more, all of which are of later messages. What more held is erased.
func (k *Keys) Join(more *Keys) {
	if more.Len() == 0 {
		return
	}
	k.replace(slices.Concat(k.list(), more.list()))
	more.Wipe()
}

// Drop erases the seeds from position i up to j.
func (k *Keys) Drop(i, j int) {
	list := slices.Delete(k.list(), i, j) // zeroes the tail
	if len(list) == 0 {
		k.box = secret.Box[[]entry]{}
		return
	}
	*k.box.Reveal() = list
}

// Wipe erases all.
func (k *Keys) Wipe() {
	clear(k.list())
	k.box = secret.Box[[]entry]{}
}

// Append appends the number of seeds in two bytes, and for each the counter in
// four and the seed.
func (k *Keys) Append(b []byte) []byte {
	list := k.list()
	b = binary.BigEndian.AppendUint16(b, uint16(len(list))) //nolint:gosec // callers have far lower limits
	for i := range list {
		b = binary.BigEndian.AppendUint32(b, list[i].n)
		b = append(b, list[i].seed[:]...)
	}
	return b
}

// Read reads what Append wrote off the front of in. It returns false unless there
// are at most limit seeds, counters ascending and below.
func (k *Keys) Read(in *cryptobyte.String, below uint32, limit int) bool {
	var count uint16
	if !in.ReadUint16(&count) || int(count) > limit || len(*in) < int(count)*entrySize {
		return false
	}
	list := make([]entry, count)
	for i := range list {
		e := &list[i]
		if !in.ReadUint32(&e.n) || !in.CopyBytes(e.seed[:]) || e.n >= below || (i > 0 && e.n <= list[i-1].n) {
			return false
		}
	}
	k.replace(list)
	return true
}
