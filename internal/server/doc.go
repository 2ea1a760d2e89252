// Package server is one node of a relay: the REST calls under /v1, the WebSocket
// connections, and their limits, over a store and a bus.
//
//	s, err := server.New(store, bus.NewLocal(), server.Config{Origins: origins})
//	err = s.Serve(ctx, listener) // until ctx ends or the store fails
//
// A send goes through one goroutine that commits what has gathered, in one
// transaction, and answers after that. A connection has one goroutine that reads,
// and a second one only while there is something to write: it looks into the
// mailbox from a cursor on, and the database is the queue.
//
// The package cannot read messages, and it writes down nobody's address, name or
// correspondent: not in logs, and not in metrics.
package server
