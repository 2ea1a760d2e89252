// Package session is what most callers of the Signal Protocol want: sessions
// between two devices, started while one of them is offline, and messages in
// them.
//
// A [Record] holds all sessions with one peer device. The one that starts calls
// [Record.Initiate] with the peer's bundle; from then on both call
// [Record.Encrypt] and [Record.Decrypt]. The first messages carry the handshake
// until the peer has answered. If both start at once, both sessions work, and the
// two records settle on one.
//
//	alice, err := session.New(pqxdh.Chate2eV1, aliceAddress, bobAddress)
//	_, err = alice.Initiate(aliceIdentity, bundle, now)
//	sealed, err := alice.Encrypt(plaintext, now)
//	... sealed.Bytes travels ...
//	message, err := session.Parse(sealed.Bytes)
//	opened, err := bob.Decrypt(message, bobIdentity, bobKeys.Find(message.Handshake()), now)
//
// Everything here is a pure function over values. The package stores nothing and
// calls nobody back: the record is read before and written after, and what an
// opened message has consumed is said in [Opened.Used]. For safety against crashes
// the caller writes the record in one transaction with what it belongs to: with
// the ciphertext before it is sent, with the plaintext before it is acknowledged.
//
// A message that does not open leaves the record byte by byte as it was. One
// that opened once does not open again.
//
// Every result carries a [Trace], which describes the steps taken for people who
// want to watch the protocol at work. It has no field that could hold a secret.
package session
