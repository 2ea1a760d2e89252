package webui

import (
	"net/http"
	"strings"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

// policy lets the page load what is served beside it, and nothing else in any way;
// text can become markup only in the framework's own templates.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types svelte-trusted-html"

const (
	apiPrefix = "/api/"
	tokenPath = localapi.Prefix + "token"
	bearer    = "Bearer "
)

// guard lets through to next what the page itself asks for with a session key, and
// to static whoever wants to see the page. host is what the listener is called:
// a page of another origin, or a name that was made to point here, has another.
func (a *App) guard(host string, next, static http.Handler) http.Handler {
	origin := "http://" + host
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(self), microphone=(), geolocation=(), payment=(), usb=()")

		api := strings.HasPrefix(r.URL.Path, apiPrefix)
		if r.Host != host || !sameOrigin(r, origin) || !fromPage(r, api) {
			refuse(w, http.StatusForbidden, "this request does not come from the window")
			return
		}
		if !api {
			static.ServeHTTP(w, r)
			return
		}
		text, ok := strings.CutPrefix(r.Header.Get("Authorization"), bearer)
		if r.URL.Path == tokenPath {
			if !ok || r.Method != http.MethodPost || !a.tokens.take(text, time.Now()) {
				refuse(w, http.StatusUnauthorized, "the launch token is not valid")
				return
			}
			localapi.Answer(w, sessionKey{a.sessions.add(time.Time{})})
			return
		}
		if !ok || !a.sessions.has(text, time.Now()) {
			refuse(w, http.StatusUnauthorized, "the session key is not valid")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sessionOf returns the session key of a request that was let through.
func sessionOf(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), bearer)
}

type sessionKey struct {
	Key string `json:"key"`
}

// sameOrigin reports whether the request names our origin, if it names any.
// Browsers name it with everything that is no plain reading.
func sameOrigin(r *http.Request, origin string) bool {
	for _, o := range r.Header.Values("Origin") {
		if o != origin {
			return false
		}
	}
	return true
}

// fromPage reports whether the browser says that our own page asks, or a person:
// opening the page from elsewhere, such as the launch page, is a navigation of a
// whole window. Programs that are no browsers say nothing.
func fromPage(r *http.Request, api bool) bool {
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		switch {
		case site == "same-origin":
		case api:
			return false
		case site == "none":
		case r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
			r.Header.Get("Sec-Fetch-Dest") == "document":
		default:
			return false
		}
	}
	return true
}

// refuse answers without having read the body, and reads none afterwards.
func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Connection", "close")
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	localapi.Refuse(w, status, client.CodeUsage, message)
}
