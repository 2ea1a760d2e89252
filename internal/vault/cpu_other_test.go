//go:build !unix

package vault_test

import "time"

func cpuTime() time.Duration { return 0 }

func residentKiB() int { return 0 }
