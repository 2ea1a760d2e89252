package main

// restrictFiles has nothing to do: on Windows a file takes the permissions of its
// folder, which is the user's own.
func restrictFiles() {}
