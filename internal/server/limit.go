package server

import (
	"context"
	"sync"
	"time"

	"github.com/chate2e/chate2e/internal/relay"
)

// Limits bound what one client can take. The zero value of a field means its
// default, a negative one no limit.
type Limits struct {
	// MaxBody is the largest body of an envelope in bytes (64 KiB, which is also
	// the most there can be).
	MaxBody int
	// ConnectionsPerAddress is how many WebSockets one address may have, and how
	// many connections for requests beside them (256). An address is an IPv4
	// address or an IPv6 network of 64 bits.
	ConnectionsPerAddress int
	// BundlesPerHour is how many bundles one account may fetch (300), with all its
	// devices, of which it can have many. Beyond it are refusals.
	BundlesPerHour int
	// OneTimePerHour is how many bundles of one user come with one-time prekeys
	// (100). Beyond it they come without.
	OneTimePerHour int
	// LookupsPerHour is how many usernames one account may look up (300).
	LookupsPerHour int
	// RegistrationsPerHour and LoginsPerHour are per address (30 and 1,200).
	RegistrationsPerHour int
	LoginsPerHour        int
}

// Default limits.
const (
	DefaultConnectionsPerAddress = 256
	DefaultBundlesPerHour        = 300
	DefaultOneTimePerHour        = 100
	DefaultLookupsPerHour        = 300
	DefaultRegistrationsPerHour  = 30
	DefaultLoginsPerHour         = 1200
)

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.MaxBody, relay.MaxBody},
		{&l.ConnectionsPerAddress, DefaultConnectionsPerAddress},
		{&l.BundlesPerHour, DefaultBundlesPerHour},
		{&l.OneTimePerHour, DefaultOneTimePerHour},
		{&l.LookupsPerHour, DefaultLookupsPerHour},
		{&l.RegistrationsPerHour, DefaultRegistrationsPerHour},
		{&l.LoginsPerHour, DefaultLoginsPerHour},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if l.MaxBody < 0 || l.MaxBody > relay.MaxBody {
		l.MaxBody = relay.MaxBody
	}
	return l
}

// quota lets every key have so much in an hour: that much at once when it was
// quiet for an hour, and a steady trickle otherwise (a token bucket).
type quota[K comparable] struct {
	perHour float64 // negative for no limit

	mu      sync.Mutex
	buckets map[K]bucket // guarded by mu
	swept   time.Time    // guarded by mu
}

// bucket is how much is left of a quota. A key without one has all of it.
type bucket struct {
	left float64
	at   time.Time
}

// maxBuckets bounds the memory of a quota.
const maxBuckets = 200_000

func newQuota[K comparable](perHour int) *quota[K] {
	return &quota[K]{perHour: float64(perHour), buckets: make(map[K]bucket)}
}

// take takes one out of a key's quota, and returns how long to wait if there is
// none left.
func (q *quota[K]) take(key K, now time.Time) (wait time.Duration, ok bool) {
	if q.perHour < 0 {
		return 0, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sweep(now)
	b, known := q.buckets[key]
	if !known {
		b = bucket{left: q.perHour}
	} else {
		b.left = q.level(b, now)
	}
	b.at = now
	if b.left < 1 {
		q.buckets[key] = b
		return time.Duration((1 - b.left) / q.perHour * float64(time.Hour)), false
	}
	b.left--
	q.buckets[key] = b
	return 0, true
}

func (q *quota[K]) level(b bucket, now time.Time) float64 {
	return min(q.perHour, b.left+max(now.Sub(b.at).Hours(), 0)*q.perHour)
}

// sweep forgets full buckets: now and then, and whenever there are too many. If
// that is not enough, somebody has more addresses than we have memory, and
// forgetting all is better than growing. q.mu is held.
func (q *quota[K]) sweep(now time.Time) {
	if len(q.buckets) < maxBuckets && now.Sub(q.swept) < time.Hour {
		return
	}
	q.swept = now
	for key, b := range q.buckets {
		if q.level(b, now) >= q.perHour {
			delete(q.buckets, key)
		}
	}
	if len(q.buckets) >= maxBuckets {
		clear(q.buckets)
	}
}

// counter counts what there is at a time of each key.
type counter[K comparable] struct {
	limit int // negative for no limit

	mu     sync.Mutex
	counts map[K]int // guarded by mu
}

func newCounter[K comparable](limit int) *counter[K] {
	return &counter[K]{limit: limit, counts: make(map[K]int)}
}

// add reports false, and adds nothing, if the key has as many as it may.
func (c *counter[K]) add(key K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit >= 0 && c.counts[key] >= c.limit {
		return false
	}
	c.counts[key]++
	return true
}

// enter adds in any case, and reports whether the key has no more than it may.
func (c *counter[K]) enter(key K) (within bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[key]++
	return c.limit < 0 || c.counts[key] <= c.limit
}

func (c *counter[K]) remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[key]--; c.counts[key] == 0 {
		delete(c.counts, key)
	}
}

// gates let a few at a time of each key in; the others wait.
type gates[K comparable] struct {
	width int

	mu    sync.Mutex
	gates map[K]*gate // guarded by mu
}

type gate struct {
	inside chan struct{}
	users  int // inside or waiting; guarded by mu of gates
}

func newGates[K comparable](width int) *gates[K] {
	return &gates[K]{width: width, gates: make(map[K]*gate)}
}

// enter waits until there is room, but not longer than ctx; false if it ended
// first. Whoever got in calls leave.
func (s *gates[K]) enter(ctx context.Context, key K) bool {
	s.mu.Lock()
	g := s.gates[key]
	if g == nil {
		g = &gate{inside: make(chan struct{}, s.width)}
		s.gates[key] = g
	}
	g.users++
	s.mu.Unlock()
	select {
	case g.inside <- struct{}{}:
		return true
	case <-ctx.Done():
		s.forget(key, g)
		return false
	}
}

func (s *gates[K]) leave(key K) {
	s.mu.Lock()
	g := s.gates[key]
	s.mu.Unlock()
	<-g.inside
	s.forget(key, g)
}

func (s *gates[K]) forget(key K, g *gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.users--; g.users == 0 {
		delete(s.gates, key)
	}
}
