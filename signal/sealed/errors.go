package sealed

import "errors"

var (
	// ErrMalformed is returned for bytes that are not the encoding asked for.
	ErrMalformed = errors.New("sealed: malformed encoding")
	// ErrPublicKey is returned for a recipient's key that nothing can be sealed for.
	ErrPublicKey = errors.New("sealed: not a public key")
	// ErrOpen is returned for everything that does not open, without a hint of what
	// was wrong with it.
	ErrOpen = errors.New("sealed: does not open")
	// ErrSelf is returned for what claims to come from the very device that opens
	// it: something of its own that was sent back.
	ErrSelf = errors.New("sealed: sent by this device itself")
)
