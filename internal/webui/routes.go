package webui

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
	"github.com/chate2e/chate2e/internal/webui/qrcode"
)

// The routes that the window has beside those of the local API: what is needed
// before a profile is open.
const (
	appPath         = localapi.Prefix + "app"
	createPath      = localapi.Prefix + "app/create"
	unlockPath      = localapi.Prefix + "app/unlock"
	preferencesPath = localapi.Prefix + "app/preferences"
	qrPath          = localapi.Prefix + "app/qr"
	scanPath        = localapi.Prefix + "app/scan"
	pagePath        = localapi.Prefix + "app/page"
	labPath         = localapi.Prefix + "app/lab"
	labSendPath     = localapi.Prefix + "app/lab/send"
	labEnvelopePath = localapi.Prefix + "app/lab/envelope"
	labResetPath    = localapi.Prefix + "app/lab/reset"
	focusPath       = localapi.Prefix + "app/focus"
	eventsPath      = localapi.Prefix + "events"
)

// State is what the page needs to begin.
type State struct {
	Profile     string      `json:"profile"`
	State       string      `json:"state"`   // none, locked or open
	Name        string      `json:"name"`    // whose the profile is, once it was open
	UserID      string      `json:"user_id"` // the same
	Server      string      `json:"server"`  // offered to a new account
	Version     string      `json:"version"`
	Preferences Preferences `json:"preferences"`
}

type createRequest struct {
	Username    string `json:"username"`
	DisplayName string `json:"display_name"`
	Server      string `json:"server"`
	Password    string `json:"password"`
	Invite      string `json:"invite"`
}

// createLine is one line of the answer to a createRequest.
type createLine struct {
	Progress *progress           `json:"progress,omitempty"`
	Error    *localapi.ErrorBody `json:"error,omitempty"`
	Done     bool                `json:"done,omitempty"`
}

type progress struct {
	Step  client.ProgressStep `json:"step"`
	Done  int                 `json:"done"`
	Total int                 `json:"total"`
}

type unlockRequest struct {
	Password string `json:"password"`
}

type focusRequest struct {
	Focused bool `json:"focused"`
}

type qrRequest struct {
	Text string `json:"text"`
}

type qrAnswer struct {
	Rows []string `json:"rows"` // of 1, black, and 0
}

// routes serves the window's own routes, and those of the engine while there is
// one.
func (a *App) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+appPath, a.state)
	mux.HandleFunc("POST "+createPath, a.create)
	mux.HandleFunc("POST "+unlockPath, handle(func(r *http.Request, in unlockRequest) (localapi.Done, error) {
		password := []byte(in.Password)
		defer clear(password)
		return localapi.Done{}, a.Unlock(r.Context(), password)
	}))
	mux.HandleFunc("POST "+preferencesPath, handle(func(_ *http.Request, in Preferences) (localapi.Done, error) {
		return localapi.Done{}, a.prefer(in)
	}))
	mux.HandleFunc("POST "+qrPath, handle(func(_ *http.Request, in qrRequest) (qrAnswer, error) { return code(in.Text) }))
	mux.HandleFunc("POST "+scanPath, a.scan)
	mux.HandleFunc("POST "+focusPath, handle(func(r *http.Request, in focusRequest) (localapi.Done, error) {
		a.pages.focus(sessionOf(r), in.Focused)
		return localapi.Done{}, nil
	}))
	mux.HandleFunc("GET "+pagePath, a.page)
	mux.HandleFunc("GET "+labPath, func(w http.ResponseWriter, _ *http.Request) {
		lab, err := a.laboratory(false)
		if err != nil {
			localapi.Fail(w, err)
			return
		}
		localapi.Answer(w, lab.State())
	})
	mux.HandleFunc("POST "+labSendPath, handle(func(_ *http.Request, in labSend) (client.LabState, error) {
		return a.inLab(false, func(l *client.Lab) error { return l.Send(in.From, in.Text, time.Now()) })
	}))
	mux.HandleFunc("POST "+labEnvelopePath, handle(func(_ *http.Request, in labVerb) (client.LabState, error) {
		return a.inLab(false, func(l *client.Lab) error { return in.do(l) })
	}))
	mux.HandleFunc("POST "+labResetPath, handle(func(_ *http.Request, _ localapi.Done) (client.LabState, error) {
		return a.inLab(true, func(*client.Lab) error { return nil })
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		switch h := a.engine(); {
		case strings.HasPrefix(r.URL.Path, appPath+"/") || r.URL.Path == appPath:
			localapi.Refuse(w, http.StatusNotFound, client.CodeUsage, "there is no such path and method")
		case h == nil:
			localapi.Fail(w, &client.Error{Code: client.CodeClosed, Message: "the profile is locked"})
		case r.URL.Path == eventsPath:
			defer a.pages.here(sessionOf(r))()
			h.api.ServeHTTP(w, r)
		default:
			h.api.ServeHTTP(w, r)
		}
	})
	return mux
}

// page is an answer that lasts while there is no engine: a page that is open keeps
// it, or the stream of events, so that we know of it, and it of us.
func (a *App) page(w http.ResponseWriter, r *http.Request) {
	defer a.pages.here(sessionOf(r))()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	if http.NewResponseController(w).Flush() != nil {
		return
	}
	<-r.Context().Done()
}

// handle makes a handler of a function from a request's body to an answer.
func handle[In, Out any](do func(*http.Request, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		err := localapi.Decode(r, &in)
		var out Out
		if err == nil {
			out, err = do(r, in)
		}
		if err != nil {
			localapi.Fail(w, err)
			return
		}
		localapi.Answer(w, out)
	}
}

func (a *App) state(w http.ResponseWriter, _ *http.Request) {
	h := a.engine()
	a.mu.Lock()
	s := State{
		Profile: a.cfg.Profile, State: "none", Server: a.cfg.Server, Version: a.cfg.Version,
		Name: a.last.DisplayName, UserID: a.last.UserID, Preferences: a.prefs,
	}
	a.mu.Unlock()
	switch {
	case h != nil:
		s.State = "open"
	case client.Exists(a.cfg.Dir):
		s.State = "locked"
	}
	localapi.Answer(w, s)
}

// create answers with a line for each step that is done, and one for the end.
func (a *App) create(w http.ResponseWriter, r *http.Request) {
	var in createRequest
	if err := localapi.Decode(r, &in); err != nil {
		localapi.Fail(w, err)
		return
	}
	password := []byte(in.Password)
	defer clear(password)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	out, flush := json.NewEncoder(w), http.NewResponseController(w).Flush
	line := func(l createLine) {
		if out.Encode(l) == nil { // a page that has gone does not stop what was begun
			_ = flush()
		}
	}
	err := a.Create(r.Context(), password, client.Registration{
		Server: in.Server, Username: in.Username, DisplayName: in.DisplayName, Invite: in.Invite,
	}, func(p client.Progress) { line(createLine{Progress: &progress{p.Step, p.Done, p.Total}}) })
	if err != nil {
		body := localapi.ErrorBody{Code: client.CodeInternal, Message: "something went wrong inside the program"}
		if e, ok := errors.AsType[*client.Error](err); ok {
			body = localapi.ErrorBody{Code: e.Code, Message: e.Message}
		}
		line(createLine{Error: &body})
		return
	}
	line(createLine{Done: true})
}

// code makes a QR code.
func code(text string) (qrAnswer, error) {
	if text == "" || len(text) > qrcode.MaxText {
		return qrAnswer{}, &client.Error{Code: client.CodeUsage, Message: "the text of a code has 1 to 512 bytes"}
	}
	c, err := qr.Encode(text, qr.M)
	if err != nil {
		return qrAnswer{}, &client.Error{Code: client.CodeUsage, Message: "the text does not fit into a code", Err: err}
	}
	rows := make([]string, c.Size)
	for y := range rows {
		row := make([]byte, c.Size)
		for x := range row {
			row[x] = '0'
			if c.Black(x, y) {
				row[x] = '1'
			}
		}
		rows[y] = string(row)
	}
	return qrAnswer{rows}, nil
}
