package spqr

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

const (
	// When a chain holds trimAt skipped keys, those more than keepSkipped behind
	// its newest key are dropped: now and then many, rather than one each time.
	keepSkipped = 2000
	trimAt      = keepSkipped + keepSkipped/10 + 1
)

var (
	// ErrExhausted is returned by Send when a chain has no numbers left.
	ErrExhausted = errors.New("spqr: chain exhausted")
	// ErrDuplicate is returned by Receive when the key of this message was used
	// already, or dropped as one of too many skipped keys.
	ErrDuplicate = errors.New("spqr: message key already used")
	// ErrTooFar is returned by Receive for an index beyond [Config.MaxJump].
	ErrTooFar = errors.New("spqr: message too far ahead")
	// ErrEpoch is returned by Receive for an epoch whose chains are not known: it
	// is over for too long, or the braid cannot have reached it.
	ErrEpoch = errors.New("spqr: no chains for this epoch")
)

// chains are the symmetric half: for each epoch that is still in use one chain of
// message keys in each direction.
type chains struct {
	role    Role
	root    secret.Key // becomes the next epoch's chains, with its secret
	latest  uint64     // the newest epoch
	sending uint64     // the epoch of the last key that was sent with
	links   []*link    // ascending; the last is that of latest
}

// link is one epoch's pair of chains.
type link struct {
	send    chain // closed once a later epoch is sent in
	receive chain
	skipped secret.Box[[]skippedKey] // of receive, indices ascending
}

// chain is where one direction stands: the key of step index.
type chain struct {
	key   secret.Key // zero when the chain is closed
	index uint32     // of the newest key that was derived, from 1; 0 at the start
}

type skippedKey struct {
	index uint32
	key   [32]byte
}

// newChains returns the chains of epoch 0.
func newChains(role Role, handshakeKey secret.Key) chains {
	out := kdf.HKDF(handshakeKey.Bytes(), kdf.Zero[:], kdf.SPQRChainStart.String(), 96)
	root, first := splitEpoch(role, out)
	return chains{role: role, root: root, links: []*link{first}}
}

// extension is the next epoch, derived but not yet entered.
type extension struct {
	root secret.Key
	link *link
}

// extend derives the epoch after the latest from its secret.
func (c *chains) extend(epochSecret secret.Key) *extension {
	out := kdf.HKDF(epochSecret.Bytes(), c.root.Bytes(), kdf.SPQRChainEpoch.String(), 96)
	root, next := splitEpoch(c.role, out)
	return &extension{root: root, link: next}
}

func splitEpoch(role Role, out []byte) (root secret.Key, l *link) {
	root = secret.NewKey([32]byte(out[:32]))
	l = &link{
		send:    chain{key: secret.NewKey([32]byte(out[32:64]))},
		receive: chain{key: secret.NewKey([32]byte(out[64:]))},
	}
	if role == Responder {
		l.send, l.receive = l.receive, l.send
	}
	clear(out)
	return root, l
}

// enter makes an extension the latest epoch.
func (c *chains) enter(e *extension) {
	c.root.Wipe()
	c.root = e.root
	c.links = append(c.links, e.link)
	c.latest++
}

// oldest is the first epoch whose chains are held.
func (c *chains) oldest() uint64 { return c.latest + 1 - uint64(len(c.links)) }

// link returns the chains of epoch, or nil.
func (c *chains) link(epoch uint64) *link {
	if epoch < c.oldest() || epoch > c.latest {
		return nil
	}
	return c.links[epoch-c.oldest()]
}

// sendIn notes that a key of epoch was sent with. Sending chains of earlier
// epochs are closed, and epochs before the previous one forgotten.
func (c *chains) sendIn(epoch uint64) {
	if epoch <= c.sending {
		return
	}
	c.sending = epoch
	for e := c.oldest(); e < epoch; e++ {
		l := c.link(e)
		l.send.key.Wipe()
		l.send = chain{}
	}
	for c.oldest()+1 < epoch {
		c.links[0].wipe()
		c.links = slices.Delete(c.links, 0, 1)
	}
}

func (l *link) wipe() {
	l.send.key.Wipe()
	l.receive.key.Wipe()
	if !l.skipped.IsZero() {
		clear(*l.skipped.Reveal())
	}
}

// stepKeys is what a step of a chain yields.
type stepKeys struct {
	key     [32]byte // the message key
	next    [32]byte // the chain key after the step; unused for a skipped key
	skipped []skippedKey
}

// wipe erases the keys. Skipped keys that a link has stored are copies.
func (k *stepKeys) wipe() {
	clear(k.key[:])
	clear(k.next[:])
	clear(k.skipped)
	k.skipped = nil
}

// find returns the position of index among the skipped keys.
func (l *link) find(index uint32) (int, bool) {
	if l.skipped.IsZero() {
		return 0, false
	}
	return slices.BinarySearchFunc(*l.skipped.Reveal(), index, func(k skippedKey, index uint32) int {
		return cmp.Compare(k.index, index)
	})
}

// held returns the number of skipped keys.
func (l *link) held() int {
	if l.skipped.IsZero() {
		return 0
	}
	return len(*l.skipped.Reveal())
}

// checkIndex reports whether the key of index can be had: skipped, or at most
// maxJump steps ahead.
func (l *link) checkIndex(index, maxJump uint32) error {
	if index <= l.receive.index {
		if _, found := l.find(index); !found {
			return ErrDuplicate
		}
		return nil
	}
	if index-l.receive.index > maxJump {
		return ErrTooFar
	}
	return nil
}

// derive returns the keys for index, which checkIndex has allowed.
func (l *link) derive(index uint32) (keys stepKeys) {
	if at, found := l.find(index); found {
		keys.key = (*l.skipped.Reveal())[at].key
		return keys
	}
	current := *l.receive.key.Array()
	from := l.receive.index + 1
	if ahead := index - from; ahead > 0 {
		keys.skipped = make([]skippedKey, 0, min(ahead, keepSkipped))
	}
	for i := from; i < index; i++ {
		var key [32]byte
		key, current = nextKey(&current, i)
		if index-i <= keepSkipped {
			keys.skipped = append(keys.skipped, skippedKey{index: i, key: key})
		}
	}
	keys.key, keys.next = nextKey(&current, index)
	clear(current[:])
	return keys
}

// take moves the receiving chain past index with the keys that derive returned.
func (l *link) take(index uint32, keys *stepKeys) {
	if at, found := l.find(index); found {
		list := l.skipped.Reveal()
		*list = slices.Delete(*list, at, at+1)
		return
	}
	l.receive.key.Set(&keys.next)
	l.receive.index = index
	if len(keys.skipped) == 0 {
		return
	}
	if l.skipped.IsZero() {
		l.skipped = secret.NewBox([]skippedKey(nil))
	}
	list := l.skipped.Reveal()
	grown := append(*list, keys.skipped...)
	if len(*list) > 0 && &grown[0] != &(*list)[0] {
		clear(*list)
	}
	if len(grown) >= trimAt {
		keep, _ := slices.BinarySearchFunc(grown, index-min(index, keepSkipped), func(k skippedKey, index uint32) int {
			return cmp.Compare(k.index, index)
		})
		grown = slices.Delete(grown, 0, keep)
	}
	*list = grown
}

// nextSend returns the next key of the sending chain.
func (l *link) nextSend() (index uint32, keys stepKeys, err error) {
	if l.send.index == math.MaxUint32 {
		return 0, stepKeys{}, ErrExhausted
	}
	index = l.send.index + 1
	keys.key, keys.next = nextKey(l.send.key.Array(), index)
	return index, keys, nil
}

// takeSend moves the sending chain past index.
func (l *link) takeSend(index uint32, keys *stepKeys) {
	l.send.key.Set(&keys.next)
	l.send.index = index
}

// nextKey returns the message key and the chain key of step index:
//
//	HKDF-SHA256(salt 0³², chain key, index ‖ label, 64) = next chain key ‖ message key
func nextKey(chainKey *[32]byte, index uint32) (key, next [32]byte) {
	const label = len("Signal PQ Ratchet V1 Chain Next")
	var info [4 + label]byte
	binary.BigEndian.PutUint32(info[:], index)
	copy(info[4:], kdf.SPQRChainNext.String())

	var out [64]byte
	kdf.Fill(out[:], chainKey[:], &kdf.Zero, info[:])
	next, key = [32]byte(out[:32]), [32]byte(out[32:])
	clear(out[:])
	return key, next
}
