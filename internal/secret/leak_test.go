package secret_test

import (
	"reflect"
	"testing"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testleak"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
)

// plant makes the bytes of a secret, without zeros: six zeros in some notation
// might be found in anything.
func plant(r *testrand.Rand, size int) []byte {
	b := r.Bytes(size)
	for i := range b {
		b[i] = max(b[i], 1)
	}
	return b
}

func TestNothingPrints(t *testing.T) {
	r := testrand.New(t)
	t.Run("Key", func(t *testing.T) {
		planted := plant(r, 32)
		key, err := secret.ParseKey(planted)
		if err != nil {
			t.Fatal(err)
		}
		testleak.Check(t, key, planted)
		testleak.Check(t, struct{ secret.Key }{key}, planted) // embedded
		testleak.Check(t, secret.NewBox(struct{ Value secret.Key }{key}), planted)
	})
	t.Run("Box", func(t *testing.T) {
		planted := plant(r, 64)
		testleak.Check(t, secret.NewBox([64]byte(planted)), planted)
		testleak.Check(t, secret.NewBox(planted), planted)
		testleak.Check(t, secret.NewBox(string(planted)), planted)
		testleak.Check(t, secret.NewBox(map[string][]byte{"a": planted}), planted)
		testleak.Check(t, secret.NewBox(struct{ value []byte }{planted}), planted)
	})
	t.Run("curve", func(t *testing.T) {
		for _, used := range []bool{false, true} {
			planted := plant(r, 32)
			key, err := curve.NewPrivateKey(planted)
			if err != nil {
				t.Fatal(err)
			}
			if used {
				key.PublicKey() // loads the standard library's key
			}
			testleak.Check(t, key, planted, key.Bytes())
			testleak.Check(t, dereferenced(key), planted, key.Bytes())
		}
	})
	t.Run("kem", func(t *testing.T) {
		for _, used := range []bool{false, true} {
			planted := plant(r, 64)
			key, err := kem.NewPrivateKey(kem.MLKEM1024, planted)
			if err != nil {
				t.Fatal(err)
			}
			if used {
				key.PublicKey()
			}
			testleak.Check(t, key, planted)
			testleak.Check(t, dereferenced(key), planted)
		}
	})
}

// dereferenced returns what a pointer points to, which has no methods of the
// pointer's to redact it: only how it holds its bytes does.
func dereferenced(pointer any) any { return reflect.ValueOf(pointer).Elem().Interface() }
