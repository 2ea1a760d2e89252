package testcost

import (
	"syscall"
	"time"
)

// threadTime returns the processor time that the calling thread has used.
func threadTime() time.Duration {
	const thread = 1 // RUSAGE_THREAD, which package syscall does not name
	var usage syscall.Rusage
	if err := syscall.Getrusage(thread, &usage); err != nil {
		panic("testcost: " + err.Error()) // since Linux 2.6.26
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
