// Package relayclient speaks to a relay: the REST calls and the WebSocket.
//
//	c, err := relayclient.New(relayclient.Config{Server: origin, Address: address, Identity: key})
//	err = c.Send(ctx, recipient, envelopes)
//
//	conn, err := c.Dial(ctx)
//	for { event, err := conn.Next(ctx); …; conn.Ack(ctx, handle) }
//
// It logs in by itself, when it has no token or the relay knows it no more. It
// does not retry anything else, and it does not reconnect: when to try again is
// for the engine to say. A refusal by the relay is a *[relay.Error]; any other
// error means that there was no answer, and what was asked for may have happened.
//
// A relay is not to be trusted: whatever it answers is bounded in size and checked
// for its form, and no more than that. Device lists, prekeys and envelopes are
// verified by those who use them.
package relayclient
