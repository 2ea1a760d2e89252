package client

import "sync/atomic"

// signal says "look": it is remembered until somebody looks, and said twice is
// said once.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// atomicCount is a number that several goroutines read.
type atomicCount struct{ n atomic.Int64 }

func (c *atomicCount) store(n int) { c.n.Store(int64(n)) }
func (c *atomicCount) load() int   { return int(c.n.Load()) }
