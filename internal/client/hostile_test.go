package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/coder/websocket"

	"github.com/chate2e/chate2e/internal/relay"
)

// hostile stands between one person and the relay, and does as a malicious relay
// would: it speaks the relay's language to both sides. The zero value changes
// nothing.
type hostile struct {
	mu      sync.Mutex
	answers map[string]func(path string, answer []byte) []byte // by method and part of the path; nil: no answer
	pushed  func(relay.Incoming) []relay.Incoming              // what becomes of an envelope
	topic   func(relay.TopicUpdate) []relay.TopicUpdate
	endless bool              // the mailbox is never said to be empty
	twice   string            // method and part of the path of the request that is delivered twice
	conns   []*websocket.Conn // to the person
}

// corrupt puts a hostile relay between a person and the relay. The profile is
// closed and opened for it; the engine does not run afterwards.
func (p *person) corrupt() *hostile {
	p.t.Helper()
	p.stop()
	defer p.reopen()
	return p.between()
}

// between puts a hostile relay into the way that the engine opened next will use.
func (p *person) between() *hostile {
	p.t.Helper()
	h := &hostile{answers: map[string]func(string, []byte) []byte{}}
	network := newPipes()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "relay.test"})
		},
		Transport:      &http.Transport{DialContext: p.w.relay.pipe.dial, DisableKeepAlives: true},
		ModifyResponse: h.answer,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // no answer
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/ws" {
				h.serveSocket(w, r, p.w.relay.pipe.dial)
				return
			}
			h.repeat(r, proxy.Transport)
			proxy.ServeHTTP(w, r)
		}),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	listener := network.listen()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(listener)
	}()
	p.t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	p.dial = network.dial
	return h
}

// repeat delivers a request for the first time that is to be delivered twice, and
// loses the answer.
func (h *hostile) repeat(r *http.Request, to http.RoundTripper) {
	h.mu.Lock()
	method, path, wanted := strings.Cut(h.twice, " ")
	wanted = wanted && r.Method == method && strings.Contains(r.URL.Path, path)
	if wanted {
		h.twice = ""
	}
	h.mu.Unlock()
	if !wanted {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	first := r.Clone(r.Context())
	first.RequestURI, first.URL = "", &url.URL{Scheme: "http", Host: "relay.test", Path: r.URL.Path}
	first.Body = io.NopCloser(bytes.NewReader(body))
	if res, err := to.RoundTrip(first); err == nil {
		_ = res.Body.Close()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
}

// deliverTwice has the next request of a method and path delivered twice.
func (h *hostile) deliverTwice(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.twice = what
}

var errNoAnswer = errors.New("no answer")

func (h *hostile) answer(r *http.Response) error {
	h.mu.Lock()
	var change func(string, []byte) []byte
	for what, c := range h.answers {
		method, path, _ := strings.Cut(what, " ")
		if r.Request.Method == method && strings.Contains(r.Request.URL.Path, path) {
			change = c
		}
	}
	h.mu.Unlock()
	if change == nil {
		return nil
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if b = change(r.Request.URL.Path, b); b == nil {
		return errNoAnswer
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	r.Header.Del("Content-Length")
	return nil
}

// onAnswer changes the answers to a method and path; nil restores them.
func (h *hostile) onAnswer(what string, change func(path string, answer []byte) []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if change == nil {
		delete(h.answers, what)
		return
	}
	h.answers[what] = change
}

// onBundles changes bundles on their way.
func (h *hostile) onBundles(change func(*relay.BundlesResponse)) {
	if change == nil {
		h.onAnswer("POST /bundles", nil)
		return
	}
	h.onAnswer("POST /bundles", func(_ string, answer []byte) []byte {
		var r relay.BundlesResponse
		if err := json.Unmarshal(answer, &r); err != nil || r.DeviceList == nil {
			return answer
		}
		change(&r)
		b, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		return b
	})
}

func (h *hostile) onPush(change func(relay.Incoming) []relay.Incoming) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pushed = change
}

func (h *hostile) neverDrained(endless bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endless = endless
}

func (h *hostile) onTopic(change func(relay.TopicUpdate) []relay.TopicUpdate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.topic = change
}

// inject sends the person a frame of our own.
func (h *hostile) inject(frame []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.Write(context.Background(), websocket.MessageBinary, frame)
	}
}

// serveSocket passes frames on, changed.
func (h *hostile) serveSocket(w http.ResponseWriter, r *http.Request, dial func(context.Context, string, string) (net.Conn, error)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	theirs, _, err := websocket.Dial(ctx, "ws://relay.test/v1/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}) //nolint:bodyclose // the library has replaced it
	if err != nil {
		return
	}
	defer func() { _ = theirs.CloseNow() }()
	ours, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	defer func() { _ = ours.CloseNow() }()
	theirs.SetReadLimit(relay.MaxFrame)
	ours.SetReadLimit(relay.MaxFrame)
	h.mu.Lock()
	h.conns = append(h.conns, ours)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, c := range h.conns {
			if c == ours {
				h.conns = append(h.conns[:i], h.conns[i+1:]...)
				break
			}
		}
	}()
	var both sync.WaitGroup
	both.Go(func() {
		defer cancel()
		for {
			typ, frame, err := ours.Read(ctx)
			if err != nil || theirs.Write(ctx, typ, frame) != nil {
				return
			}
		}
	})
	both.Go(func() {
		defer cancel()
		for {
			typ, frame, err := theirs.Read(ctx)
			if err != nil {
				return
			}
			for _, f := range h.frames(frame) {
				if ours.Write(ctx, typ, f) != nil {
					return
				}
			}
		}
	})
	both.Wait()
}

// frames returns what becomes of a frame of the relay.
func (h *hostile) frames(frame []byte) [][]byte {
	h.mu.Lock()
	pushed, topic, endless := h.pushed, h.topic, h.endless
	h.mu.Unlock()
	t, body, err := relay.SplitFrame(frame)
	if err != nil {
		return [][]byte{frame}
	}
	switch {
	case t == relay.FramePush && (pushed != nil || endless):
		p, err := relay.ParsePush(body)
		if err != nil {
			panic(err)
		}
		changed := relay.Push{Drained: p.Drained && !endless}
		for _, in := range p.Envelopes {
			if pushed == nil {
				changed.Envelopes = append(changed.Envelopes, in)
				continue
			}
			changed.Envelopes = append(changed.Envelopes, pushed(in)...)
		}
		return [][]byte{relay.AppendPush(nil, changed)}
	case t == relay.FrameTopic && topic != nil:
		u, err := relay.ParseTopic(body)
		if err != nil {
			panic(err)
		}
		var frames [][]byte
		for _, c := range topic(u) {
			frames = append(frames, relay.AppendTopic(nil, c))
		}
		return frames
	default:
		return [][]byte{frame}
	}
}
