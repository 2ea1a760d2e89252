package spqr

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/internal/kdf"
)

// macSize is the size of the MACs in bytes.
const macSize = sha256.Size

// authenticator holds the keys that bind the exchanges of one epoch to the
// handshake and to all epochs before.
type authenticator struct {
	root, mac secret.Key
}

func newAuthenticator(handshakeKey secret.Key) authenticator {
	zero := authenticator{root: secret.NewKey([32]byte{})}
	return zero.update(1, handshakeKey)
}

// update returns the authenticator after key, the secret of an epoch, was mixed
// in. It leaves a as it was.
func (a authenticator) update(epoch uint64, key secret.Key) authenticator {
	ikm := append(append(make([]byte, 0, 64), a.root.Bytes()...), key.Bytes()...)
	out := kdf.HKDF(ikm, kdf.Zero[:], withEpoch(kdf.SPQRAuthenticator, epoch), 64)
	next := authenticator{root: secret.NewKey([32]byte(out[:32])), mac: secret.NewKey([32]byte(out[32:]))}
	clear(ikm)
	clear(out)
	return next
}

func (a authenticator) wipe() {
	a.root.Wipe()
	a.mac.Wipe()
}

func (a authenticator) headerMAC(epoch uint64, header []byte) []byte {
	return a.sum(kdf.SPQRHeaderMAC, epoch, header)
}

func (a authenticator) ciphertextMAC(epoch uint64, ciphertext1, ciphertext2 []byte) []byte {
	return a.sum(kdf.SPQRCiphertextMAC, epoch, ciphertext1, ciphertext2)
}

func (a authenticator) sum(label kdf.Label, epoch uint64, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, a.mac.Bytes())
	mac.Write([]byte(withEpoch(label, epoch)))
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// epochSecret turns the shared secret of an epoch's KEM into the epoch's secret.
func epochSecret(epoch uint64, shared []byte) secret.Key {
	out := kdf.HKDF(shared, kdf.Zero[:], withEpoch(kdf.SPQREpochKey, epoch), 32)
	key := secret.NewKey([32]byte(out))
	clear(out)
	return key
}

// withEpoch returns a label followed by the epoch's eight bytes, big-endian.
func withEpoch(label kdf.Label, epoch uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(label.String()), epoch))
}
