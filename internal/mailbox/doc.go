// Package mailbox is what a relay stores: accounts with their device lists and
// usernames, tokens, prekeys, invitations, and the mailboxes, durable queues of
// envelopes, one per device, each kept until it is acknowledged or 30 days old.
//
// [Store] is the interface of the drivers; mailbox/sqlite is one, and
// mailbox/mailboxtest is the suite that every driver passes. Most of what a relay
// does with a store is
//
//	err := store.Commit(ctx, &batch, now)                     // sends and acknowledgements, durable
//	envelopes, more, err := store.After(ctx, box, cursor, …)  // what is there
//
// The sender of an envelope is stored with its body, for the recipient to see,
// and nowhere else: in no other column, index or log.
//
// A store does not verify device lists or signatures, and it looks into nothing
// that is opaque to the relay. It wakes nobody up; that is the bus.
package mailbox
