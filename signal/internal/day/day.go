// Package day counts whole days since 1970-01-01 UTC, in which published keys
// expire: an hour would tell everybody when a device made its keys.
package day

import "time"

// The lifetimes of published keys (docs/PROTOCOL.md, Prekeys).
const (
	RotateAfter = 7 * 24 * time.Hour // the age at which a key is replaced
	Valid       = 30                 // days after it was made until it may not be used any more
	Grace       = 30                 // days after that until its private half is erased
)

// Max is the last day that a published key may carry, that of the year 9999: later
// times have no form in RFC 3339, and so none in JSON.
const Max = 2_932_896

const seconds = 24 * 60 * 60

// Of returns the day of t in UTC. A clock that is so wrong that there is no such day,
// or that nothing made on it could expire by Max, is taken to be at day 1: what is
// made then is of no use to anybody.
func Of(t time.Time) uint32 {
	days := t.Unix() / seconds
	if days < 1 || days > Max-Valid {
		return 1
	}
	return uint32(days)
}

// Start returns the first moment of day d, UTC.
func Start(d uint32) time.Time { return time.Unix(int64(d)*seconds, 0).UTC() }
