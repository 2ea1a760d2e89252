package pqxdh

import (
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chate2e/chate2e/signal/curve"
)

// Keys is one device's own prekeys in chate2e/v1, with the replay table of its
// last-resort KEM prekeys: all that [Accept] needs to know about the past. It is
// a plain value without storage; write [Keys.Append]'s bytes, encrypted, in the
// transaction that also stores the session. Applications with a database may
// keep the parts in tables of their own instead, and with the time of each erase
// one-time prekeys that were handed out and never used, which a Keys keeps.
//
// A Keys is not safe for concurrent use. The zero Keys has nothing to offer; make one
// with [NewKeys] or [ParseKeys].
type Keys struct {
	signed     []*SignedPreKeyPair // newest first
	lastResort []*KEMPreKeyPair    // newest first
	kemOneTime []*KEMPreKeyPair    // in the order they are handed out
	oneTime    []*OneTimePreKeyPair
	used       []LastResortUse

	// How many from the front of each list of one-time prekeys are handed out.
	kemOffered, offered int
}

// NewKeys makes a signed prekey, a last-resort KEM prekey and as many one-time
// prekeys of both kinds as asked for. It returns [signal.ErrAddress].
func NewKeys(owner *Identity, oneTime int, now time.Time) (*Keys, error) {
	k := new(Keys)
	if err := k.Rotate(owner, now); err != nil {
		return nil, err
	}
	if err := k.Refill(owner, oneTime, now); err != nil {
		return nil, err
	}
	return k, nil
}

// Refill makes new one-time prekeys until n of each kind are there to be handed
// out. It returns [signal.ErrAddress].
func (k *Keys) Refill(owner *Identity, n int, now time.Time) error {
	for len(k.kemOneTime)-k.kemOffered < n {
		pair, err := k.newKEM(owner, false, now)
		if err != nil {
			return err
		}
		k.kemOneTime = append(k.kemOneTime, pair)
	}
	for len(k.oneTime)-k.offered < n {
		k.oneTime = append(k.oneTime, k.newOneTime())
	}
	return nil
}

// The three functions below make prekeys whose IDs are not taken: an ID of 24
// random bits is sometimes.

func (k *Keys) newSigned(owner *Identity, now time.Time) (*SignedPreKeyPair, error) {
	for {
		pair, err := NewSignedPreKey(Chate2eV1, owner, now)
		if err != nil || k.findSigned(pair.ID) == nil {
			return pair, err
		}
	}
}

func (k *Keys) newKEM(owner *Identity, lastResort bool, now time.Time) (*KEMPreKeyPair, error) {
	for {
		pair, err := NewKEMPreKey(Chate2eV1, owner, lastResort, now)
		if err != nil || k.findKEM(pair.ID) == nil {
			return pair, err
		}
	}
}

func (k *Keys) newOneTime() *OneTimePreKeyPair {
	for {
		if pair := NewOneTimePreKey(); k.findOneTime(pair.ID) == nil {
			return pair
		}
	}
}

// Rotate replaces the signed and the last-resort prekey by new ones, and erases
// every prekey whose grace time has passed, with its part of the replay table. It
// also erases the one-time KEM prekeys that nobody was given and that would
// expire before the next rotation; Refill replaces them. It is due every
// [RotateAfter], and returns [signal.ErrAddress].
func (k *Keys) Rotate(owner *Identity, now time.Time) error {
	signed, err := k.newSigned(owner, now)
	if err != nil {
		return err
	}
	lastResort, err := k.newKEM(owner, true, now)
	if err != nil {
		return err
	}
	k.signed = slices.Insert(k.signed, 0, signed)
	k.lastResort = slices.Insert(k.lastResort, 0, lastResort)

	k.signed = slices.DeleteFunc(k.signed, func(p *SignedPreKeyPair) bool { return grace(p.Expires).passed(now) })
	dead := func(p *KEMPreKeyPair) bool { return grace(p.Expires).passed(now) }
	k.lastResort = slices.DeleteFunc(k.lastResort, dead)
	erase(&k.kemOneTime, &k.kemOffered, dead)
	left := slices.DeleteFunc(k.kemOneTime[k.kemOffered:], func(p *KEMPreKeyPair) bool {
		return p.Expires.passed(now.Add(RotateAfter))
	})
	k.kemOneTime = k.kemOneTime[:k.kemOffered+len(left)]
	k.used = slices.DeleteFunc(k.used, func(u LastResortUse) bool {
		return k.findSigned(u.SignedPreKey) == nil || k.findKEM(u.KEMPreKey) == nil
	})
	return nil
}

// Offer returns a bundle for one initiator. It hands out each one-time prekey
// once; when none is left, the bundle has no one-time prekey, and the KEM prekey
// of last resort.
func (k *Keys) Offer(owner *Identity) *Bundle {
	b := &Bundle{
		IdentityKey:  owner.Key.PublicKey(),
		SignedPreKey: k.signed[0].SignedPreKey,
		KEMPreKey:    new(k.lastResort[0].KEMPreKey),
	}
	if k.kemOffered < len(k.kemOneTime) {
		b.KEMPreKey = new(k.kemOneTime[k.kemOffered].KEMPreKey)
		k.kemOffered++
	}
	if k.offered < len(k.oneTime) {
		b.OneTimePreKey = new(k.oneTime[k.offered].OneTimePreKey)
		k.offered++
	}
	return b
}

// Find returns the prekeys that a first message names, for [Accept]. Given nil,
// the handshake of a message that is not a first one, it returns none.
func (k *Keys) Find(h *Header) PreKeys {
	if h == nil {
		return PreKeys{}
	}
	own := PreKeys{Signed: k.findSigned(h.SignedPreKeyID)}
	if h.KEMPreKeyID != nil {
		own.KEM = k.findKEM(*h.KEMPreKeyID)
		use := LastResortUse{KEMPreKey: *h.KEMPreKeyID, SignedPreKey: h.SignedPreKeyID, BaseKey: h.BaseKey}
		own.Replayed = slices.Contains(k.used, use)
	}
	if h.OneTimePreKeyID != nil {
		own.OneTime = k.findOneTime(*h.OneTimePreKeyID)
	}
	return own
}

// Consume erases the one-time prekeys that an opened message used, and remembers
// the use of a last-resort one.
func (k *Keys) Consume(used Used) {
	if used.OneTime != nil {
		erase(&k.oneTime, &k.offered, func(p *OneTimePreKeyPair) bool { return p.ID == *used.OneTime })
	}
	if used.KEMOneTime != nil {
		erase(&k.kemOneTime, &k.kemOffered, func(p *KEMPreKeyPair) bool { return p.ID == *used.KEMOneTime })
	}
	if used.KEMLastResort != nil {
		k.used = append(k.used, *used.KEMLastResort)
	}
}

func (k *Keys) findSigned(id PreKeyID) *SignedPreKeyPair {
	return find(k.signed, func(p *SignedPreKeyPair) bool { return p.ID == id })
}

func (k *Keys) findKEM(id PreKeyID) *KEMPreKeyPair {
	is := func(p *KEMPreKeyPair) bool { return p.ID == id }
	if pair := find(k.kemOneTime, is); pair != nil {
		return pair
	}
	return find(k.lastResort, is)
}

func (k *Keys) findOneTime(id PreKeyID) *OneTimePreKeyPair {
	return find(k.oneTime, func(p *OneTimePreKeyPair) bool { return p.ID == id })
}

// erase drops the pairs of list that are dead; offered keeps pointing behind the
// last one handed out.
func erase[T any](list *[]*T, offered *int, dead func(*T) bool) {
	for i, pair := range slices.Backward(*list) {
		if dead(pair) {
			*list = slices.Delete(*list, i, i+1)
			if i < *offered {
				*offered--
			}
		}
	}
}

func find[T any](list []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

// Append appends all prekeys and the replay table to b, in the clear: to be
// stored encrypted.
func (k *Keys) Append(b []byte) []byte {
	b = append(b, encodingVersion)
	b = appendList(b, k.signed, (*SignedPreKeyPair).Append)
	b = appendList(b, k.lastResort, (*KEMPreKeyPair).Append)
	b = appendList(b, k.kemOneTime, (*KEMPreKeyPair).Append)
	b = appendList(b, k.oneTime, (*OneTimePreKeyPair).Append)
	b = binary.BigEndian.AppendUint32(b, uint32(k.kemOffered)) //nolint:gosec // at most the length of the list
	b = binary.BigEndian.AppendUint32(b, uint32(k.offered))    //nolint:gosec // at most the length of the list
	b = binary.BigEndian.AppendUint32(b, uint32(len(k.used)))  //nolint:gosec // far below 2^32
	for _, u := range k.used {
		b = binary.BigEndian.AppendUint32(b, uint32(u.KEMPreKey))
		b = binary.BigEndian.AppendUint32(b, uint32(u.SignedPreKey))
		b = append(b, u.BaseKey[:]...)
	}
	return b
}

func appendList[T any](b []byte, list []*T, each func(*T, []byte) []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(list))) //nolint:gosec // far below 2^32
	for _, v := range list {
		b = each(v, b)
	}
	return b
}

// ParseKeys decodes what [Keys.Append] made. It returns [ErrEncoding].
func ParseKeys(b []byte) (*Keys, error) { return parse(b, (*Keys).read) }

func (k *Keys) read(in *cryptobyte.String) bool {
	var version uint8
	var kemOffered, offered, used uint32
	if !in.ReadUint8(&version) || version != encodingVersion ||
		!readList(in, &k.signed, (*SignedPreKeyPair).read) || !readList(in, &k.lastResort, (*KEMPreKeyPair).read) ||
		!readList(in, &k.kemOneTime, (*KEMPreKeyPair).read) || !readList(in, &k.oneTime, (*OneTimePreKeyPair).read) ||
		!in.ReadUint32(&kemOffered) || !in.ReadUint32(&offered) || !in.ReadUint32(&used) ||
		uint64(kemOffered) > uint64(len(k.kemOneTime)) || uint64(offered) > uint64(len(k.oneTime)) {
		return false
	}
	k.kemOffered, k.offered = int(kemOffered), int(offered)
	for range used {
		var u LastResortUse
		if !in.ReadUint32((*uint32)(&u.KEMPreKey)) || !in.ReadUint32((*uint32)(&u.SignedPreKey)) ||
			!in.CopyBytes(u.BaseKey[:curve.KeySize]) {
			return false
		}
		k.used = append(k.used, u)
	}
	// A device without a current prekey of each kind could not offer a bundle.
	return len(k.signed) > 0 && len(k.lastResort) > 0
}

// readList appends as it reads, so that a forged count allocates nothing.
func readList[T any](in *cryptobyte.String, list *[]*T, each func(*T, *cryptobyte.String) bool) bool {
	var count uint32
	if !in.ReadUint32(&count) {
		return false
	}
	for range count {
		v := new(T)
		if !each(v, in) {
			return false
		}
		*list = append(*list, v)
	}
	return true
}
