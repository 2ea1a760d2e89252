// Package localapi offers the engine to programs on this computer: JSON over
// HTTP, one route for each verb, and one stream of events. The commands use it,
// whether a daemon runs the engine or they do so themselves:
//
//	server := localapi.New(engine, localapi.Config{})
//	err := localapi.Serve(ctx, listener, server)
//
//	api := localapi.Dial(dir)                    // a daemon's socket
//	api := localapi.NewClient(pipe.DialContext)  // our own engine, in memory
//	self, err := api.Self(ctx)
//
// docs/openapi-local.yaml describes the routes; it is made from them.
//
// A [Server] lets in whoever reaches it. Who that is, is decided before: an
// in-memory [Pipe] is reached by its own process alone, and the socket of
// [Listen] by processes of the same user.
package localapi
