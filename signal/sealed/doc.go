// Package sealed hides from the relay who writes to whom: it wraps a finished
// message so that only the recipient's device learns who sent it.
//
// In chate2e/v1 the sender seals for a key that the recipient's device publishes
// under its own signature:
//
//	published, err := sealed.ParseSignedKey(b)
//	key, err := published.Verify(theirIdentityKey, theirAddress, now)
//	envelope, err := sealed.Seal(key, theirAddress, sealed.Letter{From: ourAddress, Message: message})
//
//	e, err := sealed.Parse(envelope)
//	letter, err := e.Open(ourKeys[e.KeyID()], ourAddress)
//
// The envelope gives confidentiality to one recipient, against quantum computers
// too. It does not authenticate: anybody can seal anything in anybody's name. Who
// sent a letter is known once the message inside has opened in a session with
// that address, whose identity key the signed device list proves. A letter that
// does not open there came from nobody. Nor does it hide sizes; the message inside
// is padded before it is encrypted.
//
// # The official library's sealed sender
//
// There a server certifies who holds an identity key. [SealV1] seals a [Content]
// for one device, [SealV2] for all devices of many recipients at once, in a form
// that the server takes apart (see [Sent]). [Unseal] opens either; who sent it is
// proved by [Unverified.Verify] and not before.
//
// Everything here is a pure function over values. Nothing prints a secret, and all
// that does not open returns one error.
package sealed
