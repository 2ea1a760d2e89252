package server

import (
	"io"
	"log/slog"
)

// The description of the API in both forms.
var (
	DescriptionJSON = descriptionJSON
	DescriptionYAML = descriptionYAML
)

// RequestsAtATime is how many requests of one device are served at a time.
const RequestsAtATime = requestsAtATime

// PanicLog returns what the log of [http.Server] is written to.
func PanicLog(log *slog.Logger) io.Writer { return panicLog{log} }

// Patterns returns "METHOD /path" for everything the mux serves.
func (s *Server) Patterns() (patterns []string) {
	for _, rt := range routeTable {
		patterns = append(patterns, rt.method+" "+rt.path)
	}
	return patterns
}
