// Package senderkey encrypts for groups: each device of a member has a sending
// chain of its own, whose key it distributes once to every other device through
// 1:1 sessions, and then encrypts every message once for all.
//
//	sender, err := senderkey.NewSender(senderkey.Chate2eV1, group, ourAddress)
//	distribution := sender.Distribution()        // to each member, inside a 1:1 session
//	message, err := sender.Encrypt(plaintext)    // the same bytes for everybody
//
//	receiver, err := senderkey.NewReceiver(senderkey.Chate2eV1, group, theirAddress)
//	err = receiver.Process(distribution)
//	plaintext, err := receiver.Decrypt(message)
//
// Messages are signed with a key of the chain, so that no member can write in the
// name of another. Past messages stay closed to whoever learns a chain key, and
// to members who join later. There is no healing within a chain: a new one, made
// with NewSender, is due whenever a member or a device leaves.
//
// Signatures are not deniable within the group. Everything else is as in package
// session: pure values, one error for whatever does not open, and a message that
// does not open changes nothing.
package senderkey
