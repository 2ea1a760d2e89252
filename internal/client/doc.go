// Package client is the engine of the messenger: one account on this computer,
// its contacts, its conversations, its connection to the relay.
//
//	c, err := client.Open(ctx, dir, password, client.Config{})
//	go c.Run(ctx)                                // outbox, inbox, prekeys, presence
//	sending, err := c.Send(ctx, "bob", "hello", client.SendOptions{})
//
// Every verb that changes something is one transaction of the vault, and works
// without a connection unless it says otherwise: [Client.Send] returns when the
// message and its job in the outbox are durable, and [Client.Run] does the rest.
//
// # How a message travels
//
// Sending. The outbox takes the jobs of each contact in their order. It fetches
// the bundles of devices without a session; then one transaction stores the
// advanced session records and the finished ciphertexts; then the same bytes are
// posted until the relay acknowledges. Nothing is ever encrypted anew by itself.
//
// Receiving. The inbox takes envelopes from the relay; one transaction for each,
// or for several together, decrypts, stores record, prekeys, message, protocol
// event and the memory of having seen it; then the envelopes are acknowledged.
//
// Subscribers are told after the commit, see [Client.Subscribe].
//
// # What is believed
//
// The relay is not. Whose message it is follows from the keys that opened it;
// whose keys they are follows from a device list signed by the account key; and
// the account key hashes to the user ID. What fails one of these checks is
// refused and changes nothing.
//
// # Goroutines
//
// [Client.Run] owns all goroutines: the connection with its inbox, the outbox,
// the maintenance and the presence. It waits for them before it returns, and
// [Client.Close] waits for it.
package client
