package spqr

// SendWith is Send with random bytes of the test's choice.
func (s *State) SendWith(random func([]byte)) (*Step, error) { return s.sendWith(random) }

// Labels and limits that the tests state facts about.
const (
	KeepSkipped = keepSkipped
	TrimAt      = trimAt
)
