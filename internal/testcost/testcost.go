// Package testcost measures what a call costs, for tests that hold it to a limit
// on a machine that others use as well. Only tests import it.
//
//	took, allocated := testcost.Of(func() { record.Decrypt(forged, …) })
//	if took > testcost.Slowdown*time.Millisecond { … }
package testcost

import (
	"math"
	"runtime"
	"time"
)

// Of calls f ten times on one thread and returns the smallest processor time and
// the smallest number of bytes allocated of any call: whatever else runs only ever
// adds to either. Where the processor time of a thread cannot be had, it is the
// time that passed.
func Of(f func()) (time.Duration, uint64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best, least := time.Duration(math.MaxInt64), uint64(math.MaxUint64)
	for range 10 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := threadTime()
		f()
		best = min(best, threadTime()-begin)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return best, least
}
