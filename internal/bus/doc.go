// Package bus carries hints between the connections of a relay, and later between
// its nodes: "look into your mailbox", and the values of topics.
//
//	member := b.Join(address, connection)
//	defer member.Leave()
//	…
//	b.Wake(recipient)
//
// Nothing on the bus is durable, and losing any of it loses no message: the
// database is the queue, and a slow poll covers a wake that got lost. A topic holds
// its last value as long as the connection that published it; when that goes,
// subscribers get a tombstone.
//
// [Local] serves a single node. The bus never looks into a payload.
package bus
