package kdf

import "crypto/sha256"

// Fill fills out with HKDF-SHA256 (RFC 5869), as [HKDF] does, for what every
// message derives. It is written out, on the hash function, because crypto/hkdf
// makes twenty allocations where this makes none: a forged index of 25,000 would
// otherwise leave 38 MB of garbage behind before the message could be refused. It
// panics when out has more than 8,160 bytes.
func Fill(out, secret []byte, salt *[sha256.Size]byte, info []byte) {
	if len(out) > 255*sha256.Size {
		panic("kdf: too much output asked for")
	}
	prk := hmacSHA256(salt, secret, nil, nil)
	var t [sha256.Size]byte
	previous := t[:0]
	for counter := byte(1); len(out) > 0; counter++ {
		t = hmacSHA256(&prk, previous, info, []byte{counter})
		out = out[copy(out, t[:]):]
		previous = t[:]
	}
	clear(prk[:])
	clear(t[:])
}

// hmacSHA256 is HMAC-SHA256, with a 32-byte key, of a message in three parts.
func hmacSHA256(key *[sha256.Size]byte, first, second, third []byte) [sha256.Size]byte {
	// Room for what messages derive; what is longer goes to the heap.
	var room [sha256.BlockSize + 2*sha256.BlockSize]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	inner := room[:sha256.BlockSize]
	for i := range inner {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i, k := range key {
		inner[i] ^= k
		outer[i] ^= k
	}
	inner = append(append(append(inner, first...), second...), third...)
	digest := sha256.Sum256(inner)
	copy(outer[sha256.BlockSize:], digest[:])
	mac := sha256.Sum256(outer[:])
	clear(inner)
	clear(room[:])
	clear(outer[:])
	return mac
}
