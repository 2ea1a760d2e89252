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

// TopicsPerHour is how many frames about topics one device may send.
const TopicsPerHour = topicsPerHour

// PanicLog returns what the log of [http.Server] is written to.
func PanicLog(log *slog.Logger) io.Writer { return panicLog{log} }

// MaxInFlight and MaxInFlightBytes bound the sends of one connection that wait.
const (
	MaxInFlight      = maxInFlight
	MaxInFlightBytes = maxInFlightBytes
)

// MaxPendingBytes bounds the sends that wait for a transaction.
const MaxPendingBytes = maxPendingBytes

// Ingest is the way of sends into a store, which does not move here.
type Ingest struct{ *ingest }

// NewIngest returns one without a store.
func NewIngest() Ingest { return Ingest{newIngest(nil, nil, new(metrics))} }

// Send hands over a send of so many bytes and reports whether it was taken.
func (in Ingest) Send(size int) bool { return in.send(&sending{bytes: size}) == nil }

// Close lets nothing more in.
func (in Ingest) Close() { in.close() }

// Patterns returns "METHOD /path" for everything the mux serves.
func (s *Server) Patterns() (patterns []string) {
	for _, rt := range routeTable {
		patterns = append(patterns, rt.method+" "+rt.path)
	}
	return patterns
}
