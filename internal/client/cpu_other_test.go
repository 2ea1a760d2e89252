//go:build !unix

package client_test

import "time"

var started = time.Now()

// cpuTime stands in with the wall clock.
func cpuTime() time.Duration { return time.Since(started) }
