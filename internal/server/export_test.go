package server

// Patterns returns "METHOD /path" for everything the mux serves.
func (s *Server) Patterns() (patterns []string) {
	for _, rt := range routeTable {
		patterns = append(patterns, rt.method+" "+rt.path)
	}
	return patterns
}
