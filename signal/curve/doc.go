// Package curve is the elliptic-curve ground of the Signal Protocol: X25519 key
// agreement (RFC 7748) and XEdDSA signatures with the same keys (the XEdDSA
// specification, revision 1).
//
//	our := curve.GenerateKey()
//	shared, err := our.ECDH(their.PublicKey())
//	signature := our.Sign(message)
//	ok := our.PublicKey().Verify(message, signature)
//
// Private keys do not print, and are clamped when they are made or loaded. An
// agreement whose result is all zero, which only a low-order public key can
// cause, is an error.
//
// The package does not know identities, prekeys or certificates, and it has no
// Ed25519 keys: an XEdDSA key pair is an X25519 key pair.
package curve
