package localapi

import (
	"encoding/json"
	"net/http"
)

// events streams what the engine publishes as lines of JSON. The subscription
// stands when the headers are sent: a client that has them, and reads the state
// only then, misses nothing. One that reads too slowly gets an event "lagged".
func (s *Server) events() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		events, cancel := s.engine.Subscribe()
		defer cancel()
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff") // else a browser waits for more
		flush := http.NewResponseController(w).Flush
		if flush() != nil {
			return
		}
		out := json.NewEncoder(w)
		for {
			select {
			case <-r.Context().Done():
				return
			case e, open := <-events:
				if !open || out.Encode(wireEvent(e)) != nil || flush() != nil {
					return
				}
			}
		}
	})
}
