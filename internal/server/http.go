package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

var (
	errUnauthorized = &relay.Error{Code: relay.CodeUnauthorized, Detail: "log in first"}
	errTooLarge     = &relay.Error{Code: relay.CodeTooLarge, Detail: "an envelope is too large"}
)

// call is one request on its way to a handler.
type call struct {
	*http.Request

	client  client
	session mailbox.Session // of the credential; zero on a path that is open
	now     time.Time
}

// handler answers a call with a value to be written as JSON; nil means 204.
type handler func(*Server, *call) (any, error)

// body makes a handler out of one that takes a JSON body.
func body[T any](h func(*Server, *call, *T) (any, error)) func(limit int64) handler {
	return func(limit int64) handler {
		return func(s *Server, c *call) (any, error) {
			var v T
			if err := readBody(c.Request, limit, &v); err != nil {
				return nil, err
			}
			return h(s, c, &v)
		}
	}
}

func readBody(r *http.Request, limit int64, v any) error {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || media != "application/json" || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return &relay.Error{Code: relay.CodeUnsupportedType, Detail: "the body must be application/json"}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" {
		return &relay.Error{Code: relay.CodeUnsupportedType, Detail: "the body must not be encoded"}
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return &relay.Error{Code: relay.CodeTooLarge, Detail: "the body is too large"}
	}
	if err != nil {
		return &relay.Error{Code: relay.CodeBadRequest, Detail: "the body could not be read"}
	}
	if err := relay.DecodeJSON(data, v); err != nil {
		return &relay.Error{Code: relay.CodeBadJSON, Detail: strings.TrimPrefix(err.Error(), "relay: ")}
	}
	return nil
}

// routes builds the handler of all requests. Who may ask is decided before what is
// asked for: without a credential every path that is not open answers alike,
// whether there is such a path or not.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	open := make(map[string]bool)
	for _, rt := range routeTable {
		if rt.open {
			open[rt.path] = true
		}
		if rt.path == descriptionPath {
			rt.page = serveDescription()
		}
		if rt.page != nil {
			mux.HandleFunc(rt.method+" "+rt.path, rt.page)
			continue
		}
		h := rt.handle
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
			c := r.Context().Value(callKey{}).(*call)
			c.Request = r
			result, err := h(s, c)
			s.answer(w, result, err, rt.created)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &countingWriter{ResponseWriter: w, s: s}
		defer counted.count()
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		c := &call{Request: r, client: s.client(r), now: time.Now()}
		if r.URL.Path == socketPath && r.Method == http.MethodGet && isUpgrade(r) {
			s.serveSocket(counted, r, c.client)
			return
		}
		if !open[r.URL.Path] {
			session, err := s.authorize(r)
			if err != nil {
				s.refuse(counted, s.refusal(err))
				return
			}
			c.session = session
			if err := s.admit(r.Context(), session.Address); err != nil {
				s.refuse(counted, s.refusal(err))
				return
			}
			defer s.requests.leave(session.Address)
		}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		if _, pattern := mux.Handler(r); pattern == "" {
			s.refuse(counted, s.noRoute(mux, r))
			return
		}
		mux.ServeHTTP(counted, r) // which also fills in the parts of the path
	})
}

type callKey struct{}

// noRoute says whether the path or the method is wrong.
func (s *Server) noRoute(mux *http.ServeMux, r *http.Request) *relay.Error {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			return &relay.Error{Code: relay.CodeMethodNotAllowed}
		}
	}
	return &relay.Error{Code: relay.CodeNotFound}
}

// authorize returns whose credential a request carries.
func (s *Server) authorize(r *http.Request) (mailbox.Session, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return mailbox.Session{}, errUnauthorized
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return mailbox.Session{}, errUnauthorized
	}
	token, err := relay.ParseToken(text)
	if err != nil {
		return mailbox.Session{}, errUnauthorized
	}
	return s.store.Session(r.Context(), token.Hash(), time.Now())
}

// admit waits until a device has few enough requests under way. Each may hold some
// megabytes, of a body that comes slowly or an answer that is read slowly.
func (s *Server) admit(ctx context.Context, address relay.Address) error {
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	if !s.requests.enter(ctx, address) {
		return &relay.Error{Code: relay.CodeRateLimited, Detail: "too many requests at a time", RetryAfter: time.Second}
	}
	return nil
}

func isUpgrade(r *http.Request) bool {
	for _, v := range r.Header.Values("Upgrade") {
		if strings.EqualFold(v, "websocket") {
			return true
		}
	}
	return false
}

// answer writes a result or a refusal.
func (s *Server) answer(w http.ResponseWriter, result any, err error, created bool) {
	if err != nil {
		s.refuse(w, s.refusal(err))
		return
	}
	if result == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	b, err := json.Marshal(result)
	if err != nil {
		s.refuse(w, s.refusal(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if created {
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = w.Write(b) // the client has gone; there is nobody to tell
}

// refuse writes a refusal (RFC 9457).
func (s *Server) refuse(w http.ResponseWriter, e *relay.Error) {
	b, err := json.Marshal(e.Problem())
	if err != nil {
		panic("server: a problem cannot be marshalled: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", relay.ProblemType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	switch e.Code {
	case relay.CodeUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case relay.CodeUpgradeRequired:
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade")
	default:
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	w.WriteHeader(e.Code.Status())
	_, _ = w.Write(b) // as in answer
}

// refusals maps the errors of the store to codes.
var refusals = []struct {
	err    error
	code   relay.Code
	detail string
}{
	{mailbox.ErrNoToken, relay.CodeUnauthorized, "the token is unknown or has expired"},
	{mailbox.ErrUnknownDevice, relay.CodeUnauthorized, "the device is not there any more"},
	{mailbox.ErrUnknownUser, relay.CodeUnknownUser, "no such user"},
	{mailbox.ErrUnknownUsername, relay.CodeUnknownUsername, "no such username"},
	{mailbox.ErrDisabled, relay.CodeAccountDisabled, "the operator has disabled the account"},
	{mailbox.ErrChallengeUsed, relay.CodeBadChallenge, errBadChallenge.Detail},
	{mailbox.ErrAccountExists, relay.CodeAccountExists, "the account is there already, with another device list or username"},
	{mailbox.ErrUsernameTaken, relay.CodeUsernameTaken, "the username is taken"},
	{mailbox.ErrInvite, relay.CodeInviteInvalid, "the invitation is unknown, expired or used up"},
	{mailbox.ErrListConflict, relay.CodeDeviceListConflict, "the device list is not newer than the one stored"},
	{mailbox.ErrTooManyPrekeys, relay.CodeBadRequest, "too many one-time prekeys"},
	{mailbox.ErrConflict, relay.CodeEnvelopeConflict, "the envelope ID was used for other bytes"},
	{mailbox.ErrMailboxFull, relay.CodeMailboxFull, "the recipient's mailbox is full"},
	{mailbox.ErrStorageFull, relay.CodeStorageFull, "the relay's disk is full"},
	{mailbox.ErrFailed, relay.CodeUnavailable, "the relay's storage has failed"},
}

// refusal returns what a client is told about an error. An error that has no code
// is a passing trouble of the store, or a fault of ours, and goes to the log.
func (s *Server) refusal(err error) *relay.Error {
	if e, ok := errors.AsType[*relay.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*mailbox.DeviceMismatchError](err); ok {
		return &relay.Error{
			Code: relay.CodeDeviceMismatch, Detail: "the recipient has other devices",
			Missing: e.Missing, Extra: e.Extra,
		}
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return &relay.Error{Code: r.code, Detail: r.detail}
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &relay.Error{Code: relay.CodeUnavailable, Detail: "the request took too long"}
	}
	s.log.Error("a request failed", "error", err)
	return &relay.Error{Code: relay.CodeInternal, Detail: "a fault of the relay"}
}

// countingWriter remembers the class of the status for the metrics.
type countingWriter struct {
	http.ResponseWriter

	s      *Server
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *countingWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *countingWriter) count() {
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	w.s.metrics.requests[status/100%len(w.s.metrics.requests)].Add(1)
}
