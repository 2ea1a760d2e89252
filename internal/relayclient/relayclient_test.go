package relayclient_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
)

// The client against an honest relay is tested in package server. Here the relay
// is anything but.

type signer struct{}

func (signer) Sign([]byte) []byte { return make([]byte, 64) }

var us = relay.Address{User: relay.UserID{1, 2, 3}, Device: 1}

// hostile is a relay made of handlers; what has none logs in as usual.
type hostile struct {
	*http.ServeMux

	tokens atomic.Int64
}

func newHostile() *hostile {
	h := &hostile{ServeMux: http.NewServeMux()}
	h.HandleFunc("POST /v1/challenge", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, relay.ChallengeResponse{Challenge: []byte("challenge"), ExpiresAt: 1})
	})
	h.HandleFunc("POST /v1/token", func(w http.ResponseWriter, _ *http.Request) {
		h.tokens.Add(1)
		answer(w, relay.TokenResponse{Token: relay.NewToken().Text(), ExpiresAt: 1})
	})
	return h
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, e *relay.Error) {
	w.Header().Set("Content-Type", relay.ProblemType)
	w.WriteHeader(e.Code.Status())
	_ = json.NewEncoder(w).Encode(e.Problem())
}

func clientOf(t *testing.T, h http.Handler) *relayclient.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	origin, err := relay.ParseOrigin(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := relayclient.New(relayclient.Config{Server: origin, Address: us, Identity: signer{}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNewWantsItsConfig(t *testing.T) {
	for _, cfg := range []relayclient.Config{
		{}, {Server: "http://h:80", Address: us}, {Server: "http://h:80", Identity: signer{}}, {Address: us, Identity: signer{}},
	} {
		if _, err := relayclient.New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// A token the relay no longer takes is replaced, once; a relay that takes none is
// not asked for ever.
func TestLoggingInAgain(t *testing.T) {
	h := newHostile()
	var refusals atomic.Int64
	h.HandleFunc("GET /v1/account", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" || refusals.Add(-1) >= 0 {
			refuse(w, &relay.Error{Code: relay.CodeUnauthorized})
			return
		}
		answer(w, relay.AccountResponse{UserID: us.User, Device: 1})
	})
	c := clientOf(t, h)
	for range 3 {
		if _, err := c.Account(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.tokens.Load(); got != 1 {
		t.Errorf("%d logins for three calls", got)
	}
	refusals.Store(1)
	if _, err := c.Account(t.Context()); err != nil {
		t.Errorf("after the token was refused: %v", err)
	}
	if got := h.tokens.Load(); got != 2 {
		t.Errorf("%d logins, want 2", got)
	}
	refusals.Store(1000)
	if _, err := c.Account(t.Context()); !errors.Is(err, &relay.Error{Code: relay.CodeUnauthorized}) {
		t.Errorf("a relay that takes no token: %v", err)
	}
	if got := h.tokens.Load(); got != 3 {
		t.Errorf("%d logins, want 3", got)
	}
}

// A login says which token it replaces, also when others have failed since that one was
// refused: else the relay would end the connections of our own.
func TestLoginsSayWhatTheyReplace(t *testing.T) {
	h := &hostile{ServeMux: http.NewServeMux()}
	h.HandleFunc("POST /v1/challenge", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, relay.ChallengeResponse{Challenge: []byte("challenge"), ExpiresAt: 1})
	})
	var good, replaced string
	var failures int
	h.HandleFunc("POST /v1/token", func(w http.ResponseWriter, r *http.Request) {
		var body relay.TokenRequest
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if failures--; failures >= 0 {
			refuse(w, &relay.Error{Code: relay.CodeUnavailable})
			return
		}
		good, replaced = relay.NewToken().Text(), body.Replaces
		answer(w, relay.TokenResponse{Token: good, ExpiresAt: 1})
	})
	h.HandleFunc("GET /v1/account", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+good {
			refuse(w, &relay.Error{Code: relay.CodeUnauthorized})
			return
		}
		answer(w, relay.AccountResponse{UserID: us.User, Device: 1})
	})
	c := clientOf(t, h)
	if _, err := c.Account(t.Context()); err != nil || replaced != "" {
		t.Fatalf("the first login replaces %q, %v", replaced, err)
	}
	first := good
	good, failures = "", 3
	for range 3 {
		if _, err := c.Account(t.Context()); !errors.Is(err, &relay.Error{Code: relay.CodeUnavailable}) {
			t.Errorf("with a login that fails: %v", err)
		}
	}
	if _, err := c.Account(t.Context()); err != nil || replaced != first {
		t.Errorf("the login afterwards replaces %q, want %q; %v", replaced, first, err)
	}
}

// An answer has 8 MiB at most. Of a longer one, be it without end, no more is read.
func TestLargestAnswer(t *testing.T) {
	const largest = 8 << 20
	var size, written atomic.Int64
	h := newHostile()
	h.HandleFunc("GET /v1/account", func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.Marshal(relay.AccountResponse{UserID: us.User, Device: 1})
		if err != nil {
			t.Error(err)
		}
		spaces := bytes.Repeat([]byte(" "), 1<<16)
		for left := size.Load() - int64(len(b)); left > 0; {
			n, err := w.Write(spaces[:min(left, int64(len(spaces)))])
			if err != nil {
				return // it has gone
			}
			written.Add(int64(n))
			left -= int64(n)
		}
		_, _ = w.Write(b)
	})
	c := clientOf(t, h)
	for n, ok := range map[int64]bool{largest: true, largest + 1: false, 1 << 40: false} {
		size.Store(n)
		written.Store(0)
		if _, err := c.Account(t.Context()); (err == nil) != ok {
			t.Errorf("an answer of %d bytes: %v", n, err)
		}
		if got := written.Load(); got > 4*largest {
			t.Errorf("%d MiB were read of an answer of %d bytes", got>>20, n)
		}
	}
}

func TestAnswersOfAHostileRelay(t *testing.T) {
	bundle := func(change func(*relay.Bundle)) relay.BundlesResponse {
		b := relay.Bundle{
			Device: 1, Signed: relay.Prekey{Kind: relay.PrekeySigned, Key: []byte("x")},
			KEM: relay.Prekey{Kind: relay.PrekeyKEMLastResort, Key: []byte("x")},
		}
		change(&b)
		return relay.BundlesResponse{Bundles: []relay.Bundle{b}}
	}
	incoming := func(change func(*relay.IncomingJSON)) relay.PullResponse {
		in := relay.IncomingJSON{Seq: 5, ID: relay.NewEnvelopeID(), From: us.User, Device: 1, ReceivedAt: 1, Body: []byte("x")}
		change(&in)
		return relay.PullResponse{Envelopes: []relay.IncomingJSON{in}}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		call    func(ctx context.Context, c *relayclient.Client) error
		// want is nil for any error that is no refusal.
		want *relay.Error
	}{
		"too large": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				chunk := make([]byte, 1<<20)
				for range 10 {
					_, _ = w.Write(chunk)
				}
			},
		},
		"no JSON": {handler: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>log in to our network</html>"))
		}},
		"nothing":       {handler: func(http.ResponseWriter, *http.Request) {}},
		"another page":  {handler: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) }},
		"a broken list": {handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"user_id":"x"}`)) }},
		"a redirect": {handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/account" {
				answer(w, relay.AccountResponse{UserID: us.User, Device: 1}) // the redirect was followed
				return
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}},
		"an unknown code": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", relay.ProblemType)
				w.WriteHeader(418)
				_, _ = w.Write([]byte(`{"code":"teapot","detail":"\u001b[31mshort and stout"}`))
			},
			want: &relay.Error{Code: relay.CodeInternal},
		},
		"hangs up": {handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"a bundle of device 0": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, bundle(func(b *relay.Bundle) { b.Device = 0 }))
			},
			call: bundles,
		},
		"a bundle with a last-resort prekey for a signed one": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, bundle(func(b *relay.Bundle) { b.Signed.Kind = relay.PrekeyKEMLastResort }))
			},
			call: bundles,
		},
		"a bundle with an EC prekey for a KEM prekey": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, bundle(func(b *relay.Bundle) { b.KEM.Kind = relay.PrekeyECOneTime }))
			},
			call: bundles,
		},
		"a bundle with too large a prekey": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, bundle(func(b *relay.Bundle) { b.OneTime = &relay.Prekey{Kind: relay.PrekeyECOneTime, Key: make([]byte, 5000)} }))
			},
			call: bundles,
		},
		"an envelope without a sender": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, incoming(func(in *relay.IncomingJSON) { in.Device = 0 }))
			},
			call: pull,
		},
		"an envelope without a body": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, incoming(func(in *relay.IncomingJSON) { in.Body = nil }))
			},
			call: pull,
		},
		"an envelope from before the cursor": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, incoming(func(in *relay.IncomingJSON) { in.Seq = 3 }))
			},
			call: pull,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostile()
			h.HandleFunc("/", test.handler)
			call := test.call
			if call == nil {
				call = func(ctx context.Context, c *relayclient.Client) error {
					_, err := c.Account(ctx)
					return err
				}
			}
			err := call(t.Context(), clientOf(t, h))
			e, isRefusal := errors.AsType[*relay.Error](err)
			switch {
			case err == nil:
				t.Error("accepted")
			case test.want == nil && isRefusal, test.want != nil && !errors.Is(err, test.want):
				t.Errorf("%v", err)
			case isRefusal && strings.Contains(e.Detail, "\x1b"):
				t.Errorf("detail %q", e.Detail)
			}
			if strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), us.User.String()) {
				t.Errorf("the error names somebody: %v", err)
			}
		})
	}
}

func bundles(ctx context.Context, c *relayclient.Client) error {
	_, err := c.Bundles(ctx, us.User)
	return err
}

func pull(ctx context.Context, c *relayclient.Client) error {
	_, _, err := c.Pull(ctx, 4, 10)
	return err
}

func TestAHostileLogin(t *testing.T) {
	for name, handlers := range map[string]map[string]any{
		"a challenge without end": {"POST /v1/challenge": relay.ChallengeResponse{Challenge: make([]byte, 65)}},
		"an empty challenge":      {"POST /v1/challenge": relay.ChallengeResponse{}},
		"no token":                {"POST /v1/challenge": relay.ChallengeResponse{Challenge: []byte("c")}, "POST /v1/token": relay.TokenResponse{Token: "short"}},
	} {
		mux := http.NewServeMux()
		for pattern, response := range handlers {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { answer(w, response) })
		}
		if err := clientOf(t, mux).LogIn(t.Context()); !errors.Is(err, relayclient.ErrNotARelay) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := newHostile()
	h.HandleFunc("POST /v1/register", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, relay.RegisterResponse{UserID: relay.UserID{9}, Device: 1, Token: relay.NewToken().Text()})
	})
	if err := clientOf(t, h).Register(t.Context(), relayclient.Registration{}); !errors.Is(err, relayclient.ErrNotARelay) {
		t.Errorf("another account: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	h := newHostile()
	released := make(chan struct{})
	h.HandleFunc("GET /v1/account", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	c := clientOf(t, h)
	defer close(released)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Account(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a relay that does not answer: %v", err)
	}
	// The lock on the token is free again.
	if err := c.LogIn(t.Context()); err != nil {
		t.Error(err)
	}
}

// socket makes a relay whose WebSocket does what f does after the login.
func socket(t *testing.T, f func(ctx context.Context, ws *websocket.Conn)) *relayclient.Client {
	t.Helper()
	h := newHostile()
	h.HandleFunc("GET /v1/ws", func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		ws.SetReadLimit(relay.MaxFrame)
		if _, _, err := ws.Read(r.Context()); err == nil {
			f(r.Context(), ws)
		}
	})
	return clientOf(t, h)
}

func write(ctx context.Context, ws *websocket.Conn, frame []byte) {
	_ = ws.Write(ctx, websocket.MessageBinary, frame)
}

func TestAHostileSocket(t *testing.T) {
	ready := relay.AppendReady(nil, us)
	envelope := relay.AppendPush(nil, relay.Push{Envelopes: []relay.Incoming{{
		Handle: relay.Handle{Seq: 1}, From: us, ReceivedAt: 1, Body: make([]byte, relay.MaxBody),
	}}})
	for name, f := range map[string]func(ctx context.Context, ws *websocket.Conn){
		"another account": func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, ws, relay.AppendReady(nil, relay.Address{User: us.User, Device: 2}))
		},
		"something else": func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, ws, relay.AppendPing(nil, relay.FramePong, 1))
		},
		"an empty frame":    func(ctx context.Context, ws *websocket.Conn) { write(ctx, ws, nil) },
		"a malformed ready": func(ctx context.Context, ws *websocket.Conn) { write(ctx, ws, []byte{byte(relay.FrameReady), 0xFF}) },
		"goodbye": func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, ws, relay.AppendBye(nil, &relay.Error{Code: relay.CodeUnavailable}))
		},
		"silence": func(context.Context, *websocket.Conn) {},
		"malformed push": func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, ws, ready)
			write(ctx, ws, []byte{byte(relay.FramePush), 0xFF})
		},
		"empty later": func(ctx context.Context, ws *websocket.Conn) { write(ctx, ws, ready); write(ctx, ws, nil) },
		"text": func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, ws, ready)
			_ = ws.Write(ctx, websocket.MessageText, []byte("x"))
		},
		"too large a frame": func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, ws, ready)
			write(ctx, ws, make([]byte, relay.MaxFrame+2))
		},
		"goodbye later": func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, ws, ready)
			write(ctx, ws, relay.AppendBye(nil, &relay.Error{Code: relay.CodeUnavailable}))
		},
		"envelopes for ever": func(ctx context.Context, ws *websocket.Conn) {
			write(ctx, ws, ready)
			var err error
			for err == nil { // until the client has had enough
				err = ws.Write(ctx, websocket.MessageBinary, envelope)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := socket(t, f).Dial(t.Context())
			if err != nil {
				return // refused at once
			}
			defer func() { _ = conn.Close() }()
			// Nobody calls Next: what comes piles up, and must end by itself.
			select {
			case <-conn.Done():
			case <-time.After(time.Minute):
				t.Fatal("the connection goes on")
			}
			for err == nil {
				_, err = conn.Next(t.Context())
			}
			if strings.HasPrefix(name, "goodbye") != errors.Is(err, &relay.Error{Code: relay.CodeUnavailable}) {
				t.Errorf("ended with %v", err)
			}
			if err := conn.Send(t.Context(), us.User, nil); err == nil {
				t.Error("a send on a connection that has ended succeeded")
			}
		})
	}
}

// What counts against a relay that sends without end is what waits for Next, and
// not what it has sent in all: a large mailbox comes to its end though it is never
// quite empty on the way.
func TestALargeMailbox(t *testing.T) {
	const count = 600 // of 64 KiB each
	c := socket(t, func(ctx context.Context, ws *websocket.Conn) {
		body := make([]byte, relay.MaxBody)
		seq := uint64(0)
		push := func() {
			seq++
			write(ctx, ws, relay.AppendPush(nil, relay.Push{Envelopes: []relay.Incoming{{
				Handle: relay.Handle{Seq: seq}, From: us, ReceivedAt: 1, Body: body,
			}}}))
		}
		write(ctx, ws, relay.AppendReady(nil, us))
		push()
		for {
			_, frame, err := ws.Read(ctx)
			if err != nil {
				return
			}
			var s relay.Send
			if err := relay.ParseSend(frame[1:], &s); err != nil {
				return
			}
			push()
			write(ctx, ws, relay.AppendSent(nil, []uint64{s.Ref}))
		}
	})
	conn, err := c.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for i := range uint64(count) {
		// When this is answered, the envelope after the next one has arrived as well.
		if err := conn.Send(t.Context(), us.User, []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: []byte("go on")}}); err != nil {
			t.Fatalf("after %d of %d envelopes: %v", i, count, err)
		}
		e, err := conn.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := e.(relayclient.Envelope); !ok || e.Seq != i+1 {
			t.Fatalf("event %d is %T", i, e)
		}
	}
}

// Answers find their sends; one that nobody waits for, and one given twice, do no
// harm; a send whose answer never comes ends with its context.
func TestAnswersToSends(t *testing.T) {
	c := socket(t, func(ctx context.Context, ws *websocket.Conn) {
		write(ctx, ws, relay.AppendReady(nil, us))
		for {
			_, frame, err := ws.Read(ctx)
			if err != nil {
				return
			}
			if relay.FrameType(frame[0]) != relay.FrameSend {
				continue
			}
			var s relay.Send
			if err := relay.ParseSend(frame[1:], &s); err != nil {
				return
			}
			switch string(s.Envelopes[0].Body) {
			case "yes":
				write(ctx, ws, relay.AppendSent(nil, []uint64{s.Ref, s.Ref, 1 << 60}))
			case "no":
				write(ctx, ws, relay.AppendRefused(nil, s.Ref, &relay.Error{Code: relay.CodeMailboxFull}))
			case "end":
				write(ctx, ws, relay.AppendBye(nil, &relay.Error{Code: relay.CodeBadRequest, Detail: "malformed frame"}))
				return
			}
		}
	})
	conn, err := c.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	send := func(ctx context.Context, body string) error {
		return conn.Send(ctx, us.User, []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: []byte(body)}})
	}
	results := make(chan error, 20)
	for range 20 {
		go func() { results <- send(t.Context(), "yes") }()
	}
	for range 20 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := send(t.Context(), "no"); !errors.Is(err, &relay.Error{Code: relay.CodeMailboxFull}) {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := send(ctx, "silence"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without an answer: %v", err)
	}
	if err := send(t.Context(), "yes"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := send(t.Context(), strings.Repeat("x", relay.MaxFrame)); !errors.Is(err, &relay.Error{Code: relay.CodeTooLarge}) {
		t.Errorf("too large for a frame: %v", err)
	}
	for range 2 { // while the connection ends, and afterwards: neither send was refused
		_, refused := errors.AsType[*relay.Error](send(t.Context(), "end"))
		if err := send(t.Context(), "end"); err == nil || refused {
			t.Errorf("a send on a connection that ends: %v, refused %v", err, refused)
		}
	}
	if _, err := conn.Next(t.Context()); !errors.Is(err, &relay.Error{Code: relay.CodeBadRequest}) {
		t.Errorf("the connection ended with %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := send(t.Context(), "yes"); err == nil {
		t.Error("a send after Close succeeded")
	}
}

// pipes is a network inside a bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, open := <-p; open {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p <- theirs
	return ours, nil
}

// A relay that has lost a send, and answers everything else, loses the connection:
// the next one begins afresh.
func TestSendThatIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHostile()
		h.HandleFunc("GET /v1/ws", func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = ws.CloseNow() }()
			for ctx, greeted := r.Context(), false; ; greeted = true {
				_, frame, err := ws.Read(ctx)
				switch {
				case err != nil:
					return
				case !greeted:
					write(ctx, ws, relay.AppendReady(nil, us))
				case relay.FrameType(frame[0]) == relay.FramePing:
					write(ctx, ws, relay.AppendPing(nil, relay.FramePong, 1))
				}
			}
		})
		network := make(pipes)
		s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
		served := make(chan error, 1)
		go func() { served <- s.Serve(network) }()
		c, err := relayclient.New(relayclient.Config{
			Server: "http://relay.test:80", Address: us, Identity: signer{}, DialContext: network.dial,
		})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := c.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		select {
		case <-conn.Done():
			t.Fatal("the connection ended by itself")
		default:
		}
		began := time.Now()
		err = conn.Send(t.Context(), us.User, []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: []byte("x")}})
		if took := time.Since(began); err == nil || took != time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
		<-conn.Done()
		_ = conn.Close()
		c.Close()
		close(network)
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the relay: %v", err)
		}
		_ = s.Close()
	})
}

// What the relay's answers say of its clock, on whatever way they come.
func TestClockAhead(t *testing.T) {
	date := ""
	h := newHostile()
	h.HandleFunc("GET /v1/account", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", date)
		answer(w, relay.AccountResponse{UserID: us.User, Device: 1})
	})
	c := clientOf(t, h)
	ask := func(t *testing.T) {
		t.Helper()
		if _, err := c.Account(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.ClockAhead(); got != 0 {
		t.Errorf("before any answer: %s", got)
	}
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, off := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute, 0, 400 * 24 * time.Hour} {
		date = at(off)
		ask(t)
		// The header has whole seconds, and the answer took its time.
		if got := c.ClockAhead(); got < off-5*time.Second || got > off+5*time.Second || off == 0 && got != 0 {
			t.Errorf("%s off: %s", off, got)
		}
	}
	before := c.ClockAhead()
	date = "yesterday"
	ask(t)
	if got := c.ClockAhead(); got != before {
		t.Errorf("after an answer without a date: %s", got)
	}

	// What does not come from a relay says nothing of its clock.
	c = clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", at(time.Hour))
		_, _ = w.Write([]byte("Please log in to the café's network"))
	}))
	if _, err := c.Account(t.Context()); !errors.Is(err, relayclient.ErrNotARelay) {
		t.Fatal(err)
	}
	if got := c.ClockAhead(); got != 0 {
		t.Errorf("after somebody else's answer: %s", got)
	}
}

func TestReady(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, relay.StatusResponse{Status: "ok"}) })
	c := clientOf(t, mux)
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(string(c.Server()), "http://127.0.0.1:") {
		t.Errorf("server %s", c.Server())
	}
	mux = http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, &relay.Error{Code: relay.CodeUnavailable, Detail: "stopping"})
	})
	err := clientOf(t, mux).Ready(t.Context())
	e, ok := errors.AsType[*relay.Error](err)
	if !ok || e.Code != relay.CodeUnavailable || !e.Temporary() {
		t.Error(fmt.Sprint(err))
	}
}
