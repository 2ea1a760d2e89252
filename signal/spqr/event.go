package spqr

// Event says what a step does. Its fields are numbers and truth values, so that
// it cannot hold a secret.
type Event struct {
	Epoch   uint64  // the exchange that the message belongs to, from 1
	Payload Payload // what it carries for that exchange
	Point   uint16  // the number of its chunk, if it has one
	New     bool    // received: a chunk that was of use

	KeyEpoch uint64 // the epoch whose chain the message key is from: Epoch-1
	KeyIndex uint32 // its number in the chain, from 1; 0 if there is none
	Late     bool   // received: the key was one of the skipped ones
	Skipped  uint32 // received: keys skipped on the way to this one

	Phase     Phase  // where the exchange stands after the step
	Completed uint64 // the epoch whose chains the step starts, or 0
}

// event describes a step that makes the turn t.
func (s *State) event(m *message, t *turn) Event {
	e := Event{
		Epoch:    m.epoch,
		Payload:  m.payload,
		Point:    m.point,
		New:      t.useful,
		KeyEpoch: m.epoch - 1,
		KeyIndex: m.index,
		Phase:    s.braid.phase.name(),
	}
	if t.next != nil {
		e.Phase = t.next.name()
	}
	if !t.secret.IsZero() {
		e.Completed = s.braid.epoch
	}
	return e
}

// Status says where a state stands.
type Status struct {
	Epoch     uint64 // the exchange under way, from 1
	Phase     Phase  // of that exchange
	Completed uint64 // the newest epoch that has chains
	Sending   uint64 // the epoch of the key that Send would return
	Sent      int    // chunks sent of what is being sent, if anything is
	Held      int    // chunks held of what is being gathered
	Needed    int    // chunks that it takes; 0 if nothing is being gathered
}

// Status returns where the state stands.
func (s *State) Status() Status {
	status := Status{
		Epoch:     s.braid.epoch,
		Phase:     s.braid.phase.name(),
		Completed: s.chains.latest,
		Sending:   s.braid.epoch - 1,
	}
	sending, gathering := s.braid.phase.codes()
	if sending != nil {
		status.Sent = int(sending.Point())
	}
	if gathering != nil {
		status.Held, status.Needed = gathering.Held(), gathering.Needed()
	}
	return status
}
