//go:build unix

package sqlite

import "syscall"

func noSpace(e syscall.Errno) bool { return e == syscall.ENOSPC || e == syscall.EDQUOT }
