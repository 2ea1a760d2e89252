//go:build unix

package vault_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuTime returns the processor time this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentKiB returns the memory this process has, where the system says so.
func residentKiB() int {
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.SplitN(after, "\n", 2)[0], "kB")))
	return n
}
