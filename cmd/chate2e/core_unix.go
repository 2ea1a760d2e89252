//go:build unix

package main

import "syscall"

// noCoreFiles keeps the memory of this process, keys and all, out of files when it
// crashes.
func noCoreFiles() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
