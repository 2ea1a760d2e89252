// Package spqr is the Sparse Post-Quantum Ratchet, version 1: the half of the
// Triple Ratchet that keeps healing a conversation against an adversary with a
// quantum computer, as pure functions over a state.
//
//	alice, err := spqr.New(spqr.Initiator, handshakeKey, spqr.Config{})
//	bob, err := spqr.New(spqr.Responder, handshakeKey, spqr.Config{})
//
//	step, err := alice.Send()        // alice is unchanged
//	... seal with step.Key() as the salt, step.Message() in the header ...
//	step.Commit()
//
//	step, err := bob.Receive(message) // bob is unchanged
//	... open with step.Key() as the salt ...
//	step.Commit()                     // only if it opened
//
// Every message of the conversation carries one message of this package, about 40
// bytes, and takes one key from it, which goes into the derivation of the message
// key beside the seed of the Double Ratchet. Nothing in a state changes before
// [Step.Commit], so that a message that does not authenticate, or a chunk that
// does not fit, leaves it as it was. What goes into the clear here is
// authenticated by the message that carries it, and by MACs of its own.
//
// # Epochs
//
// The two parties take turns at making an ML-KEM-768 key pair. Key and ciphertext
// are too large for one message, so they travel in chunks of 32 bytes under an
// erasure code: lost, repeated and reordered messages do no harm, any
// sufficiently many chunks do. The first part of the ciphertext depends only on
// the key's header and is sent while the rest of the key is still arriving: the
// ML-KEM Braid, a machine of eleven states ([Phase]). With both ends of a
// ciphertext an epoch is complete; its secret starts a pair of chains, one for
// each direction, from which message keys are taken. When messages alternate,
// that is about every 87 messages.
//
// Once a side sends in an epoch it still finds the keys of that one and of the epoch
// before, so that messages that come late by more than one epoch are lost.
//
// # What it does not do
//
// It negotiates nothing: both parties must have agreed on it, and a message
// without it, or of another version, is an error. It is not safe for concurrent
// use. Most callers want package session.
package spqr
