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
// folder of the window's files, and asks it for a link of its own.

const controlPath = "/window"

type controlRequest struct {
	Lasting bool `json:"lasting"` // the link is for a person, who takes her time
}

type controlAnswer struct {
	URL string `json:"url"`
}

// LaunchFor is how long a link is good that a browser opens at once.
const LaunchFor = 2 * time.Minute

// Control gives out links of the page at the given address; it is for the socket
// that [localapi.Listen] opens in the folder of the window's files.
func (a *App) Control(at net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+controlPath, handle(func(_ *http.Request, in controlRequest) (controlAnswer, error) {
		ends := time.Time{}
		if !in.Lasting {
			ends = time.Now().Add(LaunchFor)
		}
		return controlAnswer{a.Link(at, ends)}, nil
	}))
	return mux
}

// Running asks the program whose window's files are in the folder state for a link;
// ok is false if none runs.
func Running(ctx context.Context, state string, lasting bool) (link string, ok bool, err error) {
	conn, err := localapi.DialSocket(ctx, state)
	if err != nil {
		return "", false, nil // nobody listens
	}
	_ = conn.Close()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return localapi.DialSocket(ctx, state) },
	}
	defer transport.CloseIdleConnections()
	body, err := json.Marshal(controlRequest{lasting})
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
	if err == nil && out.URL == "" {
		err = errors.New("no address")
	}
	if err != nil {
		return "", true, &client.Error{Code: client.CodeProfileInUse, Message: "the window that is open does not answer", Err: err}
	}
	return out.URL, true, nil
}
