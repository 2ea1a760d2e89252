//go:build !unix

package main

// noCoreFiles does nothing: this system writes no core files.
func noCoreFiles() {}
