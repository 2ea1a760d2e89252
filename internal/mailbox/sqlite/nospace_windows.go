package sqlite

import "syscall"

func noSpace(e syscall.Errno) bool {
	const handleDiskFull, diskFull = 39, 112 // ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL
	return e == handleDiskFull || e == diskFull
}
