package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// Config says how a [Server] is to run. The zero Config is the default.
type Config struct {
	Log *slog.Logger // nil: nothing is logged
	// Stop is called once the answer to the verb lock is written: the process is
	// to close the engine and end. Nil: lock is refused.
	Stop func()
}

// Server serves the local API. It is an [http.Handler]; see [Serve].
type Server struct {
	engine *client.Client
	log    *slog.Logger
	stop   func()
	mux    *http.ServeMux
}

// New returns a Server over the engine, which stays the caller's to close.
func New(engine *client.Client, cfg Config) *Server {
	s := &Server{engine: engine, log: cfg.Log, stop: cfg.Stop, mux: http.NewServeMux()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, r := range routes {
		s.mux.Handle(r.method+" "+r.path, r.handler(s))
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		status, message := http.StatusNotFound, "there is no such path"
		if known(r.URL.Path) {
			status, message = http.StatusMethodNotAllowed, "this path takes another method"
		}
		write(w, status, Failure{ErrorBody{client.CodeUsage, message}})
	})
	return s
}

func known(path string) bool {
	for _, r := range routes {
		if r.path == path {
			return true
		}
	}
	return false
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Serve answers the requests that come through l until ctx ends; that ends the
// requests too. It closes l.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil { // answers that are still being written
			_ = server.Close()
		}
	})
	err := server.Serve(l)
	if !unregister() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func write(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic("localapi: " + err.Error()) // our own types: cannot fail
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(encoded, '\n')) // whoever has gone does not miss it
}

// fail answers with an error. What is not an error for people is logged, and told
// without its cause.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case ok:
	case r.Context().Err() != nil:
		e = &client.Error{Code: client.CodeClosed, Message: "the request was given up"}
	default:
		e = &client.Error{Code: client.CodeInternal, Message: "something went wrong inside the program"}
	}
	if e.Code == client.CodeInternal {
		s.log.ErrorContext(r.Context(), "local API", "path", r.URL.Path, "error", err)
	}
	write(w, statusOf(e.Code), Failure{ErrorBody{e.Code, e.Message}})
}

func statusOf(code client.Code) int {
	switch code {
	case client.CodeUsage:
		return http.StatusBadRequest
	case client.CodeWrongPassword:
		return http.StatusForbidden
	case client.CodeNotFound, client.CodeNoProfile:
		return http.StatusNotFound
	case client.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case client.CodeRefused:
		return http.StatusBadGateway
	case client.CodeUnreachable, client.CodeClosed:
		return http.StatusServiceUnavailable
	case client.CodeReadOnly:
		return http.StatusInsufficientStorage
	case client.CodeDamaged, client.CodeInternal:
		return http.StatusInternalServerError
	default: // what is asked for does not go with what is there
		return http.StatusConflict
	}
}
