package ratchet

import "fmt"

// Keys returns where the state keeps its secrets: "root", "sending", and for the
// receiving chains, which are numbered from the oldest, "chain 0" and "seed 3 of 0".
func (s *State) Keys() map[string]*[32]byte {
	keys := map[string]*[32]byte{"root": s.root.Array()}
	if !s.send.key.IsZero() {
		keys["sending"] = s.send.key.Array()
	}
	for i, c := range s.receive {
		if !c.key.IsZero() {
			keys[fmt.Sprintf("chain %d", i)] = c.key.Array()
		}
		for n := range c.index {
			if at, found := c.skipped.Find(n); found {
				keys[fmt.Sprintf("seed %d of %d", n, i)] = c.skipped.Seed(at)
			}
		}
	}
	return keys
}
