package pqxdh

import (
	"github.com/chate2e/chate2e/internal/secret"
)

// Derive computes the root key of a suite from the results of the key agreements
// and of the KEM, without a transcript.
func Derive(suite Suite, secrets ...[]byte) []byte {
	r := suite.rules()
	keys := make([]secret.Key, len(secrets))
	for i, s := range secrets {
		keys[i] = secret.NewKey([32]byte(s))
	}
	root, _ := r.derive(keys, r.info.String())
	return root.Bytes()
}
