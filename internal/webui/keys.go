package webui

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

const (
	// keySize is that of tokens and session keys in bytes.
	keySize = 32
	// maxKeys is how many of each kind are kept; then the oldest one goes.
	maxKeys = 64
)

// keyring holds keys as their hashes: finding one tells nothing about the others.
// A key may have an end.
type keyring struct {
	mu   sync.Mutex
	keys []entry // guarded by mu; oldest first
}

type entry struct {
	hash [sha256.Size]byte
	ends time.Time // zero: never
}

// add makes a key that is good until ends.
func (k *keyring) add(ends time.Time) string {
	var raw [keySize]byte
	_, _ = rand.Read(raw[:]) // never fails
	text := base64.RawURLEncoding.EncodeToString(raw[:])
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) == maxKeys {
		k.keys = k.keys[1:]
	}
	k.keys = append(k.keys, entry{sha256.Sum256([]byte(text)), ends})
	return text
}

// has reports whether text is a key that is good at now.
func (k *keyring) has(text string, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.find(text, now) >= 0
}

// take reports the same, and the key is good no more.
func (k *keyring) take(text string, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := k.find(text, now)
	if i < 0 {
		return false
	}
	k.keys = append(k.keys[:i:i], k.keys[i+1:]...)
	return true
}

func (k *keyring) find(text string, now time.Time) int {
	hash := sha256.Sum256([]byte(text))
	for i, e := range k.keys {
		if e.hash == hash && (e.ends.IsZero() || now.Before(e.ends)) {
			return i
		}
	}
	return -1
}
