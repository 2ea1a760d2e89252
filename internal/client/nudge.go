package client

import "sync/atomic"

// nudge says "look": it is remembered until somebody looks, and said twice is
// said once.
type nudge chan struct{}

func newNudge() nudge { return make(nudge, 1) }

func (s nudge) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// atomicCount is a number that several goroutines read.
type atomicCount struct{ n atomic.Int64 }

func (c *atomicCount) store(n int) { c.n.Store(int64(n)) }
func (c *atomicCount) load() int   { return int(c.n.Load()) }
