package server

// The description of the API in both forms.
var (
	DescriptionJSON = descriptionJSON
	DescriptionYAML = descriptionYAML
)

// Patterns returns "METHOD /path" for everything the mux serves.
func (s *Server) Patterns() (patterns []string) {
	for _, rt := range routeTable {
		patterns = append(patterns, rt.method+" "+rt.path)
	}
	return patterns
}
