package webui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

// A program that is started again finds the one that runs by a socket in the
// folder of the window's files, and asks it for one more window.

const controlPath = "/window"

type controlRequest struct {
	// Open asks for a window; else the answer is a link, for a person who takes her
	// time to open it.
	Open bool `json:"open"`
}

type controlAnswer struct {
	URL string `json:"url"` // empty if a window was opened
}

// launchFor is how long a link is good that a browser opens at once.
const launchFor = 2 * time.Minute

// Control opens windows on the page at the given address, and gives out links of
// it; it is for the socket that [localapi.Listen] opens in the folder of the
// window's files. Where no window can be opened it gives a link.
func (a *App) Control(at net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+controlPath, handle(func(r *http.Request, in controlRequest) (controlAnswer, error) {
		if in.Open {
			err := a.Open(r.Context(), at, Window{})
			if !errors.Is(err, ErrNoBrowser) {
				return controlAnswer{}, err
			}
		}
		return controlAnswer{a.Link(at)}, nil
	}))
	return mux
}

// Running asks the program whose window's files are in the folder state for one
// more window, or for a link if open is false; ok is false if none runs. A link that
// was not asked for means that no window could be opened.
func Running(ctx context.Context, state string, open bool) (link string, ok bool, err error) {
	conn, err := localapi.DialSocket(ctx, state)
	if err != nil {
		return "", false, nil // nobody listens
	}
	_ = conn.Close()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return localapi.DialSocket(ctx, state) },
	}
	defer transport.CloseIdleConnections()
	body, err := json.Marshal(controlRequest{open})
	if err != nil {
		panic("webui: " + err.Error()) // our own type: cannot fail
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://chate2e"+controlPath, bytes.NewReader(body))
	if err != nil {
		return "", true, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return "", true, &client.Error{Code: client.CodeProfileInUse, Message: "the window that is open does not answer", Err: err}
	}
	defer func() { _ = answer.Body.Close() }()
	var out controlAnswer
	err = json.NewDecoder(io.LimitReader(answer.Body, 4<<10)).Decode(&out)
	if err == nil && (answer.StatusCode != http.StatusOK || out.URL == "" && !open) {
		err = errors.New("no window")
	}
	if err != nil {
		return "", true, &client.Error{Code: client.CodeProfileInUse, Message: "the window that is open does not answer", Err: err}
	}
	return out.URL, true, nil
}
