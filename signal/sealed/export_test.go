package sealed

import (
	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
)

// Overlong is a name that an address cannot have.
var Overlong = string(make([]byte, signal.MaxNameSize+1))

// SealV1As is SealV1 for whoever does not keep to the rules: any content, in
// anybody's name.
func SealV1As(our *curve.PrivateKey, their curve.PublicKey, plaintext []byte) ([]byte, error) {
	return sealV1(our, their, plaintext)
}

// SealV2As is SealV2 for whoever does not keep to the rules. ephemeral is nil for
// the one that belongs to the secret.
func SealV2As(our *curve.PrivateKey, m [32]byte, ephemeral *curve.PrivateKey, plaintext []byte, recipients []Recipient) ([]byte, error) {
	s := newMessage2(secret.NewKey(m))
	if ephemeral != nil {
		s.ephemeral = ephemeral
	}
	return s.seal(our, plaintext, recipients, nil)
}
