// Package account is who a person is: her account key, the user ID derived from
// it, the list of her devices that the account key signs, and the ways a user ID
// is written for people.
//
//	list, err := account.ParseDeviceList(bytes)          // layout only
//	verified, err := list.Verify(friend, seen)           // owner, signature, roll-back, fork
//	err = verified.Check(device, identityKey)            // the key in use is listed
//
// Whoever adds a friend by user ID has authenticated her: no relay can put
// another account key in place of the one the ID was derived from.
//
// The package does not know sessions, prekeys or the relay; identity keys are 32
// opaque bytes here. It does not read the clock: times are arguments.
package account
