package testcost_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/testcost"
)

var sink []byte

// What is measured grows with what is done.
func TestOf(t *testing.T) {
	work := make([]byte, 1<<20)
	took, allocated := testcost.Of(func() {
		for range 10 {
			sha256.Sum256(work)
		}
	})
	if took < 100*time.Microsecond {
		t.Errorf("hashing 10 MB took %v", took)
	}
	if allocated > 1<<10 {
		t.Errorf("hashing allocated %d bytes", allocated)
	}
	took, allocated = testcost.Of(func() { sink = make([]byte, 100_000) })
	if took > testcost.Slowdown*10*time.Millisecond {
		t.Errorf("an allocation took %v", took)
	}
	if allocated < 100_000 || allocated > 200_000 {
		t.Errorf("100,000 bytes were allocated as %d", allocated)
	}
}
