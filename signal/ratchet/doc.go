// Package ratchet is the Double Ratchet (Signal's Double Ratchet specification,
// Sections 3 and 5) as pure functions over a state: no network, no disk, no
// clock, no randomness but fresh ratchet keys.
//
//	alice := ratchet.NewInitiator(rules, root, bobsSignedPreKey)
//	bob := ratchet.NewResponder(rules, root, bobsSignedPreKeyPair)
//
//	header, seed, err := alice.Send()        // seal with seed, send header ‖ ciphertext
//	opening, err := bob.Receive(header)      // bob is unchanged
//	... open with opening.Seed() ...
//	opening.Commit()                         // only if it opened
//
// A state yields one 32-byte seed a message; how a seed becomes a cipher key,
// and what a header looks like on the wire, is the caller's. Nothing in a state
// changes before [Opening.Commit], so a forged message leaves it as it was.
//
// New ratchet keys are made when the next message is sent, not when one is
// received (Section 3.4 leaves the choice): receiving needs no randomness, our
// previous private ratchet key leaves the state at once, and a forged ratchet key
// costs at most one key agreement.
//
// Most callers want package session, which adds the handshake, the messages and
// the storage of several sessions with one peer.
package ratchet
