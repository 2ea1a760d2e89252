package session_test

import (
	"testing"

	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

const (
	maxOverhead    = 120 // bytes that a message adds to its plaintext
	meanRecord     = 3 << 10
	measuredEpochs = 12
)

// TestRecordSizes measures messages and stored records over whole epochs, in
// conversations and on channels of several kinds. What is lost is waited for, two
// epochs long at most: with every fifth message lost, a record is two thirds as large again.
func TestRecordSizes(t *testing.T) {
	for _, c := range []struct {
		name  string
		loss  float64
		stay  float64 // the last sender writes again
		delay int     // messages that may overtake one
		mean  int     // bytes of a record, at most
	}{
		{"ping-pong", 0, 0, 0, meanRecord},
		{"ping-pong, 2 % lost", 0.02, 0, 0, meanRecord},
		{"ping-pong, 20 % lost", 0.2, 0, 0, meanRecord * 5 / 3},
		{"talk", 0, 0.8, 0, meanRecord},
		{"talk, reordered, 2 % lost", 0.02, 0.8, 10, meanRecord},
		{"talk, reordered, 20 % lost", 0.2, 0.8, 10, meanRecord * 5 / 3},
		{"monologues, 2 % lost", 0.02, 0.97, 2, meanRecord},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := testrand.New(t)
			alice, bob := talking(t, pqxdh.Chate2eV1)
			ends := [2]*party{alice, bob}
			var records, overhead figures
			type flight struct {
				to     int
				sealed *session.Sealed
			}
			var flying []flight
			from := 0
			for alice.pq(t).Completed < measuredEpochs {
				if r.Float64() >= c.stay {
					from = 1 - from
				}
				sealed := must(ends[from].record.Encrypt(make([]byte, 100), start))
				if sealed.Type == session.TypeMessage {
					overhead.add(len(sealed.Bytes) - 100)
				}
				if r.Float64() >= c.loss {
					flying = append(flying, flight{1 - from, sealed})
				}
				for len(flying) > c.delay {
					i := r.IntN(len(flying))
					must(ends[flying[i].to].open(flying[i].sealed.Type, flying[i].sealed.Bytes, start))
					flying = append(flying[:i], flying[i+1:]...)
				}
				records.add(len(ends[from].record.Append(nil)))
				records.add(len(ends[1-from].record.Append(nil)))
			}
			t.Logf("%d messages; record: mean %d, most %d bytes; overhead: mean %d, most %d bytes",
				overhead.n, records.mean(), records.most, overhead.mean(), overhead.most)
			if records.mean() > c.mean {
				t.Errorf("a record has %d bytes on average, want at most %d", records.mean(), c.mean)
			}
			if overhead.most > maxOverhead {
				t.Errorf("a message adds %d bytes to its plaintext, want at most %d", overhead.most, maxOverhead)
			}
		})
	}
}

// figures are the mean and the maximum of a series.
type figures struct{ n, sum, most int }

func (f *figures) add(v int) { f.n, f.sum, f.most = f.n+1, f.sum+v, max(f.most, v) }
func (f *figures) mean() int { return f.sum / f.n }
