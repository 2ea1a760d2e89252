//go:build !linux

package testcost

import "time"

var began = time.Now()

func threadTime() time.Duration { return time.Since(began) }
