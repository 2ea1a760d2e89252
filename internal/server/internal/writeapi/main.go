// Command writeapi writes the description of the relay's REST calls into the file
// named by its argument.
package main

import (
	"fmt"
	"os"

	"github.com/chate2e/chate2e/internal/server"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: writeapi FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], server.DescriptionYAML(), 0o644); err != nil { //nolint:gosec // documentation, for everybody
		fmt.Fprintln(os.Stderr, "writeapi:", err)
		os.Exit(1)
	}
}
