//go:build unix

package main

import "syscall"

// restrictFiles makes every file of the process its owner's alone.
func restrictFiles() { syscall.Umask(0o077) }
