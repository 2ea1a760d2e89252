package main

import "runtime/debug"

// version returns the version of the module that this program was built from; of
// a working copy, the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
