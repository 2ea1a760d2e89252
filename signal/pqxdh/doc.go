// Package pqxdh is the handshake: X3DH with a key encapsulation mixed in, which
// makes the first message safe against a quantum computer of the future (the
// PQXDH specification, Sections 2 and 3).
//
// The responder publishes a [Bundle]: her identity key, a signed prekey, a KEM
// prekey and perhaps a one-time prekey. The initiator agrees with it on a root
// key while the responder is offline, and sends a [Header] with her first
// message, from which the responder computes the same key.
//
//	agreed, header, err := pqxdh.Initiate(suite, us, them, bundle, now)
//	agreed, err := pqxdh.Accept(suite, us, them, header, prekeys, now)
//
// A [Suite] fixes everything at once; nothing is negotiated, and the post-quantum
// part cannot be left out of a suite that has one. All signatures are checked
// with the identity key that enters the key agreement.
//
// Most callers want package session, which carries the handshake inside the
// first messages. [Keys] is a ready-made collection of one device's own prekeys.
package pqxdh
