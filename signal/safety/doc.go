// Package safety makes the things that people look at to be sure of a key:
// safety numbers, which two people compare, and key fingerprints, which tell
// one public key from another on a screen.
//
//	number, err := safety.New(
//		safety.Party{ID: ourID, Key: ourKey},
//		safety.Party{ID: theirID, Key: theirKey},
//		safety.Config{})
//	fmt.Println(number)                          // 60 digits, the same on both sides
//	same, err := number.Matches(whatTheyReadOut)
//	same, err = number.Compare(scannedCode)
//
// The construction is Signal's, so the numbers agree with the official
// library's when it is given the same keys and IDs. It works over any pair of
// public keys: pass elliptic-curve keys in their 33-byte encoding (type byte
// first), others in whatever encoding both sides share.
//
// Everything here is public. Nothing of a private or shared key may be passed
// in: a hash of a secret is shown as openly as a hash of a public key.
//
// The package remembers nothing. Whether a contact counts as verified, and what
// happens when the number changes, is the caller's decision.
package safety
