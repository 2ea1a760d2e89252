// Package webui is the desktop window: it serves the page that is built from the
// folder ui, and the local API to it, on loopback alone, and opens a browser
// window on it.
//
//	app := webui.New(webui.Config{Dir: profile, State: folder, …})
//	link, err := app.Link(listener.Addr())  // what the window is to open
//	err = app.Run(ctx, listener)
//
// Whoever reaches the port gets the page, which is the same for everybody, and
// nothing else: the API wants a session key, which is given once for each launch
// token, to requests that name the exact host and come from the page itself. The
// token reaches the browser through a file that only its user can read, never
// through an argument.
package webui
