package server

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// metrics counts what happens on a node. There is nothing in it about anybody: no
// label holds a user, an address or a mailbox.
type metrics struct {
	connections atomic.Int64
	requests    [6]atomic.Int64 // by the first digit of the status
	stored      atomic.Int64
	acked       atomic.Int64
	pushed      atomic.Int64
	refused     atomic.Int64
	expired     atomic.Int64

	commits       atomic.Int64
	commitNanos   atomic.Int64
	commitsWithin [len(commitBounds)]atomic.Int64
}

// commitBounds are the upper bounds of the histogram of commits.
var commitBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second,
}

func (m *metrics) committed(stored, refused, acked int, took time.Duration) {
	m.stored.Add(int64(stored))
	m.refused.Add(int64(refused))
	m.acked.Add(int64(acked))
	m.commits.Add(1)
	m.commitNanos.Add(int64(took))
	for i, bound := range commitBounds {
		if took <= bound {
			m.commitsWithin[i].Add(1)
		}
	}
}

// WriteMetrics writes the metrics of the node in the text format of Prometheus.
func (s *Server) WriteMetrics(w io.Writer) error {
	m := &s.metrics
	var b []byte
	metric := func(name, kind, help string) {
		b = fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	single := func(name, kind, help string, value int64) {
		metric(name, kind, help)
		b = fmt.Appendf(b, "%s %d\n", name, value)
	}
	single("chate2e_connections", "gauge", "WebSocket connections that have logged in.", m.connections.Load())
	single("chate2e_sends_stored_total", "counter", "Sends made durable, repeated ones included.", m.stored.Load())
	single("chate2e_sends_refused_total", "counter", "Sends refused.", m.refused.Load())
	single("chate2e_envelopes_pushed_total", "counter", "Envelopes written to connections.", m.pushed.Load())
	single("chate2e_envelopes_acknowledged_total", "counter", "Acknowledgements received.", m.acked.Load())
	single("chate2e_envelopes_expired_total", "counter", "Envelopes nobody fetched in time.", m.expired.Load())
	metric("chate2e_requests_total", "counter", "HTTP requests by class of status.")
	for i := 1; i < len(m.requests); i++ {
		b = fmt.Appendf(b, "chate2e_requests_total{status=\"%dxx\"} %d\n", i, m.requests[i].Load())
	}
	metric("chate2e_commit_seconds", "histogram", "Transactions with sends or acknowledgements.")
	for i, bound := range commitBounds {
		b = fmt.Appendf(b, "chate2e_commit_seconds_bucket{le=\"%g\"} %d\n", bound.Seconds(), m.commitsWithin[i].Load())
	}
	count := m.commits.Load()
	b = fmt.Appendf(b, "chate2e_commit_seconds_bucket{le=\"+Inf\"} %d\n", count)
	b = fmt.Appendf(b, "chate2e_commit_seconds_sum %g\n", time.Duration(m.commitNanos.Load()).Seconds())
	b = fmt.Appendf(b, "chate2e_commit_seconds_count %d\n", count)
	_, err := w.Write(b)
	return err
}
