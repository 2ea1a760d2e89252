package webui

import (
	"net"
	"net/http"
	"time"
)

// Handler is what [App.Run] serves on a listener that is called host.
func (a *App) Handler(host string) http.Handler {
	return a.guard(host, a.routes(), http.NotFoundHandler())
}

// ShortLink is a link that is good until ends.
func (a *App) ShortLink(at net.Addr, ends time.Time) string { return a.link(at, ends) }

// ClosesAfter sets how long no page must be open.
func (a *App) ClosesAfter(d time.Duration) { a.pages.patience = d }

// Paths of the routes that are the window's own.
var OwnPaths = []string{tokenPath, appPath, createPath, unlockPath, preferencesPath, qrPath, scanPath, pagePath, focusPath, labPath, labSendPath, labEnvelopePath, labResetPath}
