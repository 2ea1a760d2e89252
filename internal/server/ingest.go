package server

import (
	"context"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

const (
	// maxBatch is how many sends and how many acknowledgements go into one
	// transaction.
	maxBatch = 1024
	// maxPending is how many of either may wait for it; then whoever brings more
	// waits as well.
	maxPending = 8 * maxBatch
	// maxBatchBytes and maxPendingBytes bound the sends by what they hold, as large
	// as they may be: the log that a transaction is written to, and the memory.
	maxBatchBytes   = 8 << 20
	maxPendingBytes = 64 << 20
)

// ingest is the way of every send and acknowledgement into the store. They gather
// while a transaction is under way and go together into the next one, so that the
// fsync is shared. One goroutine, run, commits.
type ingest struct {
	store   mailbox.Store
	bus     bus.Bus
	metrics *metrics

	mu     sync.Mutex
	change sync.Cond  // something came, or there is room again, or closed
	sends  []*sending // guarded by mu, as all below
	bytes  int        // in sends
	acks   []mailbox.Ack
	closed bool
}

// sending is a Put on its way, from a connection or from a request.
type sending struct {
	put   mailbox.Put
	bytes int // what it holds in memory

	// Of a connection, which is told by [conn.stored].
	conn *conn
	ref  uint64
	one  [1]relay.Outgoing // room for put.Envelopes

	// Of a request: the result, with room for it.
	result chan error
}

// done tells the sender the result, which is durable by now.
func (s *sending) done() {
	if s.conn != nil {
		s.conn.stored(s)
		return
	}
	s.result <- s.put.Err
}

func newIngest(store mailbox.Store, b bus.Bus, m *metrics) *ingest {
	in := &ingest{store: store, bus: b, metrics: m}
	in.change.L = &in.mu
	return in
}

var errStopping = &relay.Error{Code: relay.CodeUnavailable, Detail: "the relay is stopping"}

// send hands a Put over. If it returns an error, nobody will be told.
func (in *ingest) send(s *sending) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	for (len(in.sends) >= maxPending || in.bytes >= maxPendingBytes) && !in.closed {
		in.change.Wait()
	}
	if in.closed {
		return errStopping
	}
	in.sends = append(in.sends, s)
	in.bytes += s.bytes
	in.change.Broadcast()
	return nil
}

// ack hands acknowledgements over. They are not answered: one that gets lost is
// made up for by another delivery.
func (in *ingest) ack(acks []mailbox.Ack) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.acks) >= maxPending && !in.closed {
		in.change.Wait()
	}
	if in.closed {
		return
	}
	in.acks = append(in.acks, acks...)
	in.change.Broadcast()
}

// close lets nothing more in. What is in is still committed.
func (in *ingest) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.change.Broadcast()
}

// take waits for work and returns up to a batch of it; ok is false at the end.
func (in *ingest) take(sends []*sending, acks []mailbox.Ack) (_ []*sending, _ []mailbox.Ack, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.sends) == 0 && len(in.acks) == 0 {
		if in.closed {
			return sends, acks, false
		}
		in.change.Wait()
	}
	n, bytes := 0, 0
	for n < min(len(in.sends), maxBatch) && bytes < maxBatchBytes {
		bytes += in.sends[n].bytes
		n++
	}
	in.bytes -= bytes
	sends, in.sends = shift(sends, in.sends, n)
	acks, in.acks = shift(acks, in.acks, min(len(in.acks), maxBatch))
	in.change.Broadcast()
	return sends, acks, true
}

// shift moves n values from the front of one slice into another, and closes the gap
// without letting go of the memory.
func shift[T any](into, from []T, n int) (_, rest []T) {
	into = append(into, from[:n]...)
	rest = from[:copy(from, from[n:])]
	clear(from[len(rest):])
	return into, rest
}

// run commits until close.
func (in *ingest) run(ctx context.Context) {
	var (
		sends []*sending
		acks  []mailbox.Ack
		batch mailbox.Batch
		woken []relay.Address
		ok    bool
	)
	for {
		clear(sends)
		if sends, acks, ok = in.take(sends[:0], acks[:0]); !ok {
			return
		}
		clear(batch.Puts)
		batch.Puts, batch.Acks = batch.Puts[:0], acks
		for _, s := range sends {
			batch.Puts = append(batch.Puts, s.put)
		}
		start := time.Now()
		err := in.store.Commit(ctx, &batch, start)
		took := time.Since(start)
		stored := 0
		woken = woken[:0]
		for i, s := range sends {
			s.put.Err = batch.Puts[i].Err
			if err != nil {
				s.put.Err = err
			}
			if s.put.Err == nil {
				stored++
				for _, e := range s.put.Envelopes {
					woken = append(woken, relay.Address{User: s.put.To, Device: e.Device})
				}
			}
			s.done()
		}
		in.metrics.committed(stored, len(sends)-stored, len(acks), took)
		in.bus.Wake(woken...)
	}
}
