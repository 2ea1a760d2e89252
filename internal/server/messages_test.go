package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/server"
	"github.com/chate2e/chate2e/internal/testrand"
)

func TestPushAndAcknowledge(t *testing.T) {
	n := start(t, open())
	ctx := t.Context()
	alice, bob := n.register(t), n.register(t)
	from, to := alice.connect(t), bob.connect(t)
	if got := drain(t, to); len(got) != 0 {
		t.Fatalf("a new mailbox holds %d envelopes", len(got))
	}
	out := outgoing("over the socket")
	for range 2 { // sent twice, stored once
		if err := from.Send(ctx, bob.address.User, out); err != nil {
			t.Fatal(err)
		}
	}
	if err := alice.client.Send(ctx, bob.address.User, outgoing("by REST")); err != nil {
		t.Fatal(err)
	}
	first, second := envelope(t, to), envelope(t, to)
	if string(first.Body) != "over the socket" || first.From != alice.address || first.ID != out[0].ID || time.Since(first.ReceivedAt.Time()) > time.Minute {
		t.Errorf("the first envelope: %+v", first)
	}
	if string(second.Body) != "by REST" || second.Seq <= first.Seq {
		t.Errorf("the second envelope: %+v", second)
	}

	// What is not acknowledged comes again, on the next connection and by REST.
	if err := to.Ack(ctx, first.Handle); err != nil {
		t.Fatal(err)
	}
	// An acknowledgement has no answer; but what comes after it does.
	if err := to.Send(ctx, alice.address.User, outgoing("a round trip")); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	to = bob.connect(t)
	if got := drain(t, to); len(got) != 1 || got[0].Handle != second.Handle {
		t.Errorf("after reconnecting: %+v", got)
	}
	pulled, more, err := bob.client.Pull(ctx, 0, 10)
	if err != nil || more {
		t.Fatal(more, err)
	}
	if diff := cmp.Diff([]relay.Incoming{second}, pulled); diff != "" {
		t.Errorf("by REST (-want +got):\n%s", diff)
	}
	if err := bob.client.Ack(ctx, second.Handle, second.Handle); err != nil {
		t.Fatal(err)
	}
	if pulled, _, err := bob.client.Pull(ctx, 0, 10); err != nil || len(pulled) != 0 {
		t.Errorf("after acknowledging: %+v, %v", pulled, err)
	}

	wantCode(t, "other bytes under the same ID", errors.Join(
		alice.client.Send(ctx, bob.address.User, []relay.Outgoing{out[0]}), // gone by now, so it is new
		from.Send(ctx, bob.address.User, []relay.Outgoing{{Device: 1, ID: out[0].ID, Body: []byte("changed")}}),
	), relay.CodeEnvelopeConflict)
	wantCode(t, "to nobody", from.Send(ctx, relay.UserID{1}, outgoing("x")), relay.CodeUnknownUser)
	wantCode(t, "to nobody by REST", alice.client.Send(ctx, relay.UserID{1}, outgoing("x")), relay.CodeUnknownUser)
	wantCode(t, "to no device", from.Send(ctx, bob.address.User, nil), relay.CodeDeviceMismatch)
	wantMismatch(t, "to another device", from.Send(ctx, bob.address.User, []relay.Outgoing{{Device: 7, ID: relay.NewEnvelopeID(), Body: []byte("x")}}),
		[]relay.DeviceNumber{1}, []relay.DeviceNumber{7})
	largest := strings.Repeat("x", relay.MaxBody)
	wantCode(t, "too large", from.Send(ctx, bob.address.User, outgoing(largest+"x")), relay.CodeTooLarge)
	wantCode(t, "too large by REST", alice.client.Send(ctx, bob.address.User, outgoing(largest+"x")), relay.CodeTooLarge)
	for _, send := range []func(context.Context, relay.UserID, []relay.Outgoing) error{from.Send, alice.client.Send} {
		if err := send(ctx, bob.address.User, outgoing(largest)); err != nil {
			t.Errorf("the largest: %v", err)
		}
	}
	got := drainUntil(t, to, 3)
	if string(got[1].Body) != largest || string(got[2].Body) != largest {
		t.Error("the largest envelopes came back changed")
	}
}

// drainUntil returns the next count envelopes.
func drainUntil(t *testing.T, conn *relayclient.Conn, count int) (envelopes []relay.Incoming) {
	t.Helper()
	for range count {
		envelopes = append(envelopes, envelope(t, conn))
	}
	return envelopes
}

// Many people at once; each reads what was sent to her, in order per sender,
// reconnecting now and then without acknowledging everything.
func TestManyConversations(t *testing.T) {
	n := start(t, open())
	const people, each = 6, 60
	var persons []*person
	for range people {
		persons = append(persons, n.register(t))
	}
	var wg sync.WaitGroup
	for i, p := range persons {
		wg.Go(func() { // sends
			conn, err := p.client.Dial(t.Context())
			if err != nil {
				t.Errorf("dialling: %v", err)
				return
			}
			defer func() { _ = conn.Close() }()
			for k := range each {
				for j, other := range persons {
					if i == j {
						continue
					}
					if err := conn.Send(t.Context(), other.address.User, outgoing(fmt.Sprintf("%d %d", i, k))); err != nil {
						t.Errorf("sending: %v", err)
						return
					}
				}
			}
		})
		rnd := testrand.New(t)
		wg.Go(func() { // receives
			seen := make(map[relay.EnvelopeID]bool)
			next := make([]int, people)
			for total := 0; total < (people-1)*each; {
				conn, err := p.client.Dial(t.Context())
				if err != nil {
					t.Errorf("dialling: %v", err)
					return
				}
				for range 1 + rnd.IntN(100) {
					e, err := conn.Next(t.Context())
					if err != nil {
						t.Errorf("receiving: %v", err)
						return
					}
					in, ok := e.(relayclient.Envelope)
					if !ok {
						continue
					}
					if !seen[in.ID] {
						seen[in.ID] = true
						total++
						var sender, k int
						if _, err := fmt.Sscanf(string(in.Body), "%d %d", &sender, &k); err != nil || next[sender] != k {
							t.Errorf("message %q came where %d of that sender was due", in.Body, next[sender])
						}
						next[sender]++
					}
					if rnd.IntN(4) > 0 {
						_ = conn.Ack(t.Context(), in.Handle)
					}
					if total == (people-1)*each {
						break
					}
				}
				_ = conn.Close()
			}
		})
	}
	wg.Wait()
}

// The window: a client that does not acknowledge gets so much and no more, and
// the rest when it does.
func TestWindow(t *testing.T) {
	n := start(t, open())
	ctx := t.Context()
	alice, bob := n.register(t), n.register(t)
	from := alice.connect(t)
	const count = 3500
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			for i := range count / 10 {
				if err := from.Send(ctx, bob.address.User, outgoing(fmt.Sprint(w, i))); err != nil {
					t.Errorf("sending: %v", err)
				}
			}
		})
	}
	wg.Wait()
	to := bob.connect(t)
	var got []relay.Incoming
	read := func() (drained bool) {
		quiet, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		for {
			e, err := to.Next(quiet)
			if err != nil {
				return false
			}
			switch e := e.(type) {
			case relayclient.Envelope:
				got = append(got, e.Incoming)
			case relayclient.Drained:
				return true
			}
		}
	}
	if read() || len(got) < 1000 || len(got) > 1300 {
		t.Fatalf("%d envelopes without an acknowledgement", len(got))
	}
	for round, acked := 0, 0; ; round++ {
		var handles []relay.Handle
		for _, in := range got[acked:] {
			handles = append(handles, in.Handle)
		}
		// Over the connection or with a request, it makes no difference.
		var err error
		if acked = len(got); round%2 == 0 {
			err = to.Ack(ctx, handles...)
		} else {
			for part := range slices.Chunk(handles, relay.MaxAcks) {
				err = errors.Join(err, bob.client.Ack(ctx, part...))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if read() {
			break
		}
		if len(got) == acked {
			t.Fatalf("nothing more after %d envelopes", acked)
		}
	}
	if len(got) != count {
		t.Errorf("%d envelopes, want %d", len(got), count)
	}
}

// socket is a WebSocket made by hand, for what the client would not do.
type socket struct {
	*websocket.Conn
}

func (n *node) socket(t *testing.T) socket {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), string(n.origin)+"/v1/ws", &websocket.DialOptions{HTTPClient: n.httpClient()}) //nolint:bodyclose // of a WebSocket
	if err != nil {
		t.Fatalf("dialling: %v", err)
	}
	ws.SetReadLimit(relay.MaxFrame)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return socket{ws}
}

func (s socket) write(t *testing.T, frame []byte) {
	t.Helper()
	if err := s.Write(t.Context(), websocket.MessageBinary, frame); err != nil {
		t.Fatalf("writing: %v", err)
	}
}

// next returns the next frame of this type, skipping others.
func (s socket) next(t *testing.T, want relay.FrameType) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		_, frame, err := s.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for frame %#x: %v", want, err)
		}
		if relay.FrameType(frame[0]) == want {
			return frame[1:]
		}
	}
}

// end reads to the end and returns the last words and the close code.
func (s socket) end(t *testing.T) (*relay.Error, websocket.StatusCode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var bye *relay.Error
	for {
		_, frame, err := s.Read(ctx)
		if err != nil {
			return bye, websocket.CloseStatus(err)
		}
		if relay.FrameType(frame[0]) == relay.FrameBye {
			if bye, err = relay.ParseBye(frame[1:]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (n *node) authenticated(t *testing.T, p *person) socket {
	t.Helper()
	s := n.socket(t)
	token, err := relay.ParseToken(n.token(t, p))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, relay.AppendAuth(nil, token))
	s.next(t, relay.FrameReady)
	return s
}

func TestTheFirstFrame(t *testing.T) {
	n := start(t, open())
	alice := n.register(t)
	for name, frame := range map[string][]byte{
		"no token":        {byte(relay.FrameAuth)},
		"a made-up token": relay.AppendAuth(nil, relay.NewToken()),
		"a ping":          relay.AppendPing(nil, relay.FramePing, 1),
		"a send":          relay.AppendSend(nil, relay.Send{To: alice.address.User, Envelopes: outgoing("x")}),
		"nothing":         {},
		"garbage":         bytes.Repeat([]byte{0xFF}, 100),
	} {
		s := n.socket(t)
		s.write(t, frame)
		bye, status := s.end(t)
		if bye == nil || bye.Code != relay.CodeUnauthorized || status != websocket.StatusPolicyViolation {
			t.Errorf("%s: %v, status %v", name, bye, status)
		}
	}
	s := n.socket(t)
	s.write(t, bytes.Repeat([]byte{1}, 300))
	if _, status := s.end(t); status != websocket.StatusMessageTooBig {
		t.Errorf("a first frame of 300 bytes: status %v", status)
	}
	s = n.socket(t)
	if err := s.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if bye, status := s.end(t); bye == nil || status != websocket.StatusPolicyViolation {
		t.Errorf("text: %v, status %v", bye, status)
	}
}

// Whoever is refused a WebSocket is told so as everywhere else.
func TestRefusedUpgrades(t *testing.T) {
	n := start(t, open())
	good := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	replaced := func(name string, value ...string) []string {
		i := slices.Index(good, name)
		return slices.Concat(good[:i], value, good[i+2:])
	}
	for name, test := range map[string]struct {
		headers []string
		code    relay.Code
	}{
		"a page of another origin": {append(slices.Clone(good), "Origin", "https://evil.example"), relay.CodeWrongOrigin},
		"a file":                   {append(slices.Clone(good), "Origin", "null"), relay.CodeWrongOrigin},
		"no key":                   {replaced("Sec-WebSocket-Key"), relay.CodeBadRequest},
		"a bad key":                {replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key", "x"), relay.CodeBadRequest},
		"an old version":           {replaced("Sec-WebSocket-Version", "Sec-WebSocket-Version", "8"), relay.CodeBadRequest},
		"no Connection":            {replaced("Connection"), relay.CodeUpgradeRequired},
	} {
		if got := n.http(t, "GET", "/v1/ws", "", nil, test.headers...); got.problem.Code != test.code {
			t.Errorf("%s: status %d %s", name, got.status, got.body)
		}
	}
	own, _, err := websocket.Dial(t.Context(), string(n.origin)+"/v1/ws", &websocket.DialOptions{ //nolint:bodyclose // of a WebSocket
		HTTPClient: n.httpClient(), HTTPHeader: http.Header{"Origin": {"http://relay.test"}},
	})
	if err != nil {
		t.Fatalf("a page of the relay's own origin: %v", err)
	}
	_ = own.CloseNow()
	var metrics bytes.Buffer
	if err := n.server.WriteMetrics(&metrics); err != nil || !strings.Contains(metrics.String(), `requests_total{status="4xx"} 6`) {
		t.Errorf("metrics: %v\n%s", err, metrics.String())
	}
}

func TestHostileFrames(t *testing.T) {
	o := open()
	o.tcp = true // a pipe holds nothing, so both sides would wait for each other
	n := start(t, o)
	alice, bob := n.register(t), n.register(t)
	bobs := bob.connect(t)
	drain(t, bobs)
	for name, frame := range map[string][]byte{
		"empty":                   {},
		"a malformed send":        {byte(relay.FrameSend), 0xFF},
		"a malformed ack":         {byte(relay.FrameAck), 0x0A, 50},
		"a malformed publish":     {byte(relay.FramePublish), 1},
		"a malformed ping":        {byte(relay.FramePing), 0x08},
		"too many topics":         relay.AppendTopics(nil, relay.FrameSubscribe, make([]relay.TopicID, 1001)),
		"an envelope to device 0": relay.AppendSend(nil, relay.Send{To: bob.address.User, Envelopes: []relay.Outgoing{{Device: 0, Body: []byte("x")}}}),
		"an empty envelope":       relay.AppendSend(nil, relay.Send{To: bob.address.User, Envelopes: []relay.Outgoing{{Device: 1}}}),
	} {
		s := n.authenticated(t, alice)
		s.write(t, frame)
		bye, status := s.end(t)
		if bye == nil || bye.Code != relay.CodeBadRequest || status != websocket.StatusPolicyViolation {
			t.Errorf("%s: %v, status %v", name, bye, status)
		}
	}
	s := n.authenticated(t, alice)
	s.write(t, make([]byte, relay.MaxFrame+1))
	if _, status := s.end(t); status != websocket.StatusMessageTooBig {
		t.Errorf("too large a frame: status %v", status)
	}
	s = n.authenticated(t, alice)
	if err := s.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, status := s.end(t); status != websocket.StatusUnsupportedData {
		t.Errorf("text: status %v", status)
	}

	// Frames of later versions, and frames a client does not send, are skipped.
	s = n.authenticated(t, alice)
	for _, typ := range []byte{0x00, 0x3F, 0x41, 0x44, 0xFF} {
		s.write(t, append([]byte{typ}, "whatever"...))
	}
	s.write(t, relay.AppendPing(nil, relay.FramePing, 7))
	if nonce, err := relay.ParsePing(s.next(t, relay.FramePong)); err != nil || nonce != 7 {
		t.Errorf("pong %d, %v", nonce, err)
	}
	// Too large an envelope is refused, and the connection goes on.
	s.write(t, relay.AppendSend(nil, relay.Send{Ref: 9, To: bob.address.User, Envelopes: outgoing(strings.Repeat("x", relay.MaxBody+1))}))
	refused, err := relay.ParseRefused(s.next(t, relay.FrameRefused))
	if err != nil || refused.Ref != 9 || refused.Err.Code != relay.CodeTooLarge {
		t.Errorf("refused %+v, %v", refused, err)
	}
	// Random bytes after a valid type: whatever happens, the relay goes on.
	rnd := testrand.New(t)
	for range 200 {
		s := n.authenticated(t, alice)
		for range 5 {
			frame := rnd.Bytes(1 + rnd.IntN(60))
			frame[0] = byte(1 + rnd.IntN(8))
			_ = s.Write(t.Context(), websocket.MessageBinary, frame)
		}
		_ = s.CloseNow()
	}
	if err := alice.client.Send(t.Context(), bob.address.User, outgoing("still there")); err != nil {
		t.Fatal(err)
	}
	if got := envelope(t, bobs); string(got.Body) != "still there" {
		t.Errorf("got %q", got.Body)
	}
}

// A client that does not read is disconnected when it is owed too much; what was
// for it stays in the mailbox.
func TestSlowReader(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice, bob := n.register(t), n.register(t)
		s := n.authenticated(t, bob) // reads no more from here on
		body := strings.Repeat("x", 50_000)
		for i := range 10 {
			if err := alice.client.Send(t.Context(), bob.address.User, outgoing(fmt.Sprint(i, body))); err != nil {
				t.Fatal(err)
			}
		}
		// A pipe holds nothing, so the first push blocks until its deadline.
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if err := s.readAll(t.Context()); err == nil {
			t.Error("the slow reader is still connected")
		}
		conn := bob.connect(t)
		got := drain(t, conn)
		if len(got) != 10 {
			t.Errorf("%d envelopes afterwards, want 10", len(got))
		}
		_ = conn.Close()

		// The same for answers: a client that pings and does not read.
		s = n.authenticated(t, bob)
		wrote := 0
		for ; wrote < 1_000_000; wrote++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := s.Write(ctx, websocket.MessageBinary, relay.AppendPing(nil, relay.FramePing, 1<<60))
			cancel()
			if err != nil {
				break
			}
		}
		if wrote == 1_000_000 {
			t.Error("a client may ping without end and read nothing")
		}
		_ = s.CloseNow()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// readAll reads until the connection ends or has been silent for a second.
func (s socket) readAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		if _, _, err := s.Read(ctx); err != nil {
			return err
		}
	}
}

// An idle connection is held by pings alone, and one that falls silent is given up
// by both sides.
func TestSilence(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice, bob, carol := n.register(t), n.register(t), n.register(t)
		conn := bob.connect(t)
		drain(t, conn)
		silent := n.authenticated(t, carol)
		time.Sleep(24 * time.Hour)
		if err := alice.client.Send(t.Context(), bob.address.User, outgoing("a day later")); err != nil {
			t.Fatal(err)
		}
		if got := envelope(t, conn); string(got.Body) != "a day later" {
			t.Errorf("got %q", got.Body)
		}
		if err := silent.readAll(t.Context()); err == nil {
			t.Error("a connection that says nothing for a day is still open")
		}
		_ = silent.CloseNow()
		// An upgrade without a first frame.
		s := n.socket(t)
		time.Sleep(11 * time.Second)
		if err := s.readAll(t.Context()); err == nil {
			t.Error("a connection without a first frame is still open")
		}
		_ = s.CloseNow()
		_ = conn.Close()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Many WebSocket libraries keep a connection alive with pings of the WebSocket
// protocol itself. Those are answered, and hold a connection that has logged in as
// well as ours do; one that has not gets no more time for them.
func TestWebSocketPings(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice, bob := n.register(t), n.register(t)
		ping := func(s socket) error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return s.Ping(ctx)
		}
		s := n.authenticated(t, bob)
		s.next(t, relay.FramePush) // drained
		got := make(chan string, 1)
		go func() { // a ping is answered while somebody reads
			defer close(got)
			_, frame, err := s.Read(t.Context())
			if err != nil {
				return
			}
			if p, err := relay.ParsePush(frame[1:]); err == nil && len(p.Envelopes) == 1 {
				got <- string(p.Envelopes[0].Body)
			}
		}()
		for i := range 60 {
			time.Sleep(30 * time.Second)
			if err := ping(s); err != nil {
				t.Fatalf("ping %d: %v", i, err)
			}
		}
		if err := alice.client.Send(t.Context(), bob.address.User, outgoing("after half an hour")); err != nil {
			t.Fatal(err)
		}
		if body := <-got; body != "after half an hour" {
			t.Errorf("got %q", body)
		}
		_ = s.CloseNow()

		s = n.socket(t)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _, _ = s.Read(t.Context())
		}()
		for range 4 {
			time.Sleep(3 * time.Second)
			_ = ping(s)
		}
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("pings hold a connection without a first frame")
		}
		_ = s.CloseNow()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A wake that is lost costs a minute, and no message.
func TestLostWake(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice, bob := n.register(t), n.register(t)
		conn := bob.connect(t)
		drain(t, conn)
		// Stored behind the relay's back, as by another node whose wake got lost.
		batch := &mailbox.Batch{Puts: []mailbox.Put{{From: alice.address, To: bob.address.User, Envelopes: outgoing("unannounced")}}}
		if err := n.store.Commit(t.Context(), batch, time.Now()); err != nil || batch.Puts[0].Err != nil {
			t.Fatal(err, batch.Puts[0].Err)
		}
		start := time.Now()
		if got := envelopeWithin(t, conn, 2*time.Minute); string(got.Body) != "unannounced" {
			t.Errorf("got %q", got.Body)
		}
		if took := time.Since(start); took > 61*time.Second {
			t.Errorf("it took %v", took)
		}
		// An account disabled by a command loses its connection as soon.
		if err := n.store.SetDisabled(t.Context(), bob.address.User, true); err != nil {
			t.Fatal(err)
		}
		var err error
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		for err == nil {
			_, err = conn.Next(ctx)
		}
		wantCode(t, "the connection of a disabled account", err, relay.CodeUnauthorized)
		_ = conn.Close()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func envelopeWithin(t *testing.T, conn *relayclient.Conn, patience time.Duration) relay.Incoming {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		e, err := conn.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for an envelope: %v", err)
		}
		if e, ok := e.(relayclient.Envelope); ok {
			return e.Incoming
		}
	}
}

func TestConnectionsOfOneDevice(t *testing.T) {
	n := start(t, open())
	bob := n.register(t)
	var conns []*relayclient.Conn
	for range 5 {
		conn := bob.connect(t)
		drain(t, conn)
		conns = append(conns, conn)
	}
	_, err := conns[0].Next(t.Context())
	wantCode(t, "the oldest of five connections", err, relay.CodeTooManyConnections)
	alice := n.register(t)
	if err := alice.client.Send(t.Context(), bob.address.User, outgoing("x")); err != nil {
		t.Fatal(err)
	}
	for _, conn := range conns[1:] {
		if got := envelope(t, conn); string(got.Body) != "x" {
			t.Errorf("got %q", got.Body)
		}
	}
}

// Presence: a topic's news reach who is subscribed and nobody else, the last value
// waits for who comes later, and a tombstone comes when its publisher goes.
func TestTopics(t *testing.T) {
	n := start(t, open())
	ctx := t.Context()
	alice, bob, carol := n.register(t), n.register(t), n.register(t)
	a, b, c := alice.connect(t), bob.connect(t), carol.connect(t)
	topic, other := relay.NewTopicID(), relay.NewTopicID()
	if err := errors.Join(b.Subscribe(ctx, topic), c.Subscribe(ctx, other), a.Publish(ctx, topic, []byte("online"))); err != nil {
		t.Fatal(err)
	}
	news := func(conn *relayclient.Conn) relay.TopicUpdate {
		t.Helper()
		soon, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		for {
			e, err := conn.Next(soon)
			if err != nil {
				t.Fatalf("waiting for news: %v", err)
			}
			if e, ok := e.(relayclient.Topic); ok {
				return e.TopicUpdate
			}
		}
	}
	want := func(conn *relayclient.Conn, u relay.TopicUpdate) {
		t.Helper()
		if diff := cmp.Diff(u, news(conn)); diff != "" {
			t.Errorf("news (-want +got):\n%s", diff)
		}
	}
	want(b, relay.TopicUpdate{Topic: topic, Payload: []byte("online")})
	late := bob.connect(t)
	if err := late.Subscribe(ctx, topic); err != nil {
		t.Fatal(err)
	}
	want(late, relay.TopicUpdate{Topic: topic, Payload: []byte("online")})
	if err := a.Retract(ctx, topic); err != nil {
		t.Fatal(err)
	}
	want(b, relay.TopicUpdate{Topic: topic, Gone: true})
	if err := a.Publish(ctx, topic, nil); err != nil {
		t.Fatal(err)
	}
	if got := news(b); got.Topic != topic || got.Gone || len(got.Payload) != 0 {
		t.Errorf("an empty value: %+v", got)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want(b, relay.TopicUpdate{Topic: topic, Gone: true})
	// Carol, who knows another topic, has heard of none of it.
	if err := b.Publish(ctx, other, []byte("for Carol")); err != nil {
		t.Fatal(err)
	}
	want(c, relay.TopicUpdate{Topic: other, Payload: []byte("for Carol")})
	if err := b.Unsubscribe(ctx, topic); err != nil {
		t.Fatal(err)
	}

	wantCode(t, "too large a value", b.Publish(ctx, topic, make([]byte, relay.MaxTopicPayload+1)), relay.CodeTooLarge)
	s := n.authenticated(t, carol)
	for i := range relay.MaxTopics + 1 {
		s.write(t, relay.AppendPublish(nil, relay.TopicID{byte(i), byte(i >> 8)}, []byte("x")))
	}
	if bye, _ := s.end(t); bye == nil || bye.Code != relay.CodeBadRequest {
		t.Errorf("too many topics: %v", bye)
	}
}

// Whoever comes back gets the values of all her topics at once, and however large
// they may be, that is no reason to take her for a slow reader.
func TestManyTopicsAtOnce(t *testing.T) {
	o := open()
	o.tcp = true
	n := start(t, o)
	ctx := t.Context()
	alice, bob := n.register(t), n.register(t)
	var topics []relay.TopicID
	for range 4 {
		conn := alice.connect(t)
		for range relay.MaxTopics / 4 {
			topics = append(topics, relay.NewTopicID())
			if err := conn.Publish(ctx, topics[len(topics)-1], make([]byte, relay.MaxTopicPayload)); err != nil {
				t.Fatal(err)
			}
		}
		// What comes after the last of them is answered when they are there.
		if err := conn.Send(ctx, bob.address.User, outgoing("x")); err != nil {
			t.Fatal(err)
		}
	}
	to := bob.connect(t)
	if err := to.Subscribe(ctx, topics...); err != nil {
		t.Fatal(err)
	}
	heard := make(map[relay.TopicID]bool)
	for len(heard) < len(topics) {
		soon, cancel := context.WithTimeout(ctx, 30*time.Second)
		e, err := to.Next(soon)
		cancel()
		if err != nil {
			t.Fatalf("after the news of %d topics: %v", len(heard), err)
		}
		if e, ok := e.(relayclient.Topic); ok && len(e.Payload) == relay.MaxTopicPayload {
			heard[e.Topic] = true
		}
	}
}

// Whoever has all the contacts there may be keeps her connection, repeating her
// presence every two minutes for hours; one frame beyond the limit ends it.
func TestTopicQuota(t *testing.T) {
	path := t.TempDir() + "/relay.db"
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = path
		n := start(t, o)
		conn := n.register(t).connect(t)
		publish := func(i int) error {
			return conn.Publish(t.Context(), relay.TopicID{byte(i), byte(i >> 8)}, []byte("here"))
		}
		for range 35 {
			for i := range relay.MaxTopics {
				if err := publish(i); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Minute)
		}
		time.Sleep(time.Hour)
		for range server.TopicsPerHour {
			if err := publish(0); err != nil {
				t.Fatal(err)
			}
		}
		if ended(conn) {
			t.Fatal("the connection ended within the limit")
		}
		_ = publish(0) // which may see the end already
		if !ended(conn) {
			t.Error("the connection goes on beyond the limit")
		}
		if err := publish(0); !errors.Is(err, &relay.Error{Code: relay.CodeRateLimited}) {
			t.Errorf("ended with %v", err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A value is kept as long as its publisher is connected, and nothing else of the
// frame it came in: else a thousand small values could hold 256 MB.
func TestLargeFramesOfSmallValues(t *testing.T) {
	o := open()
	o.tcp = true
	n := start(t, o)
	alice := n.register(t)
	s := n.authenticated(t, alice)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	// An unknown field, which is skipped.
	ballast := append([]byte{0x7A, 0x80, 0x80, 0x0C}, make([]byte, 3<<16)...)
	for i := range 400 {
		s.write(t, append(relay.AppendPublish(nil, relay.TopicID{byte(i), byte(i >> 8)}, []byte("x")), ballast...))
	}
	s.write(t, relay.AppendPing(nil, relay.FramePing, 1))
	s.next(t, relay.FramePong)
	if after := heap(); after > before+20<<20 {
		t.Errorf("400 values of one byte hold %d MiB", (after-before)>>20)
	}
}

// When the storage fails, the relay says so to everybody and ends.
func TestStorageFails(t *testing.T) {
	o := open()
	n := start(t, o)
	alice, bob := n.register(t), n.register(t)
	conn := bob.connect(t)
	drain(t, conn)
	if err := n.store.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "sending", alice.client.Send(t.Context(), bob.address.User, outgoing("x")), relay.CodeUnavailable)
	if got := n.http(t, "GET", "/readyz", "", nil); got.status != 503 {
		t.Errorf("readyz: status %d", got.status)
	}
	if got := n.http(t, "GET", "/healthz", "", nil); got.status != 200 {
		t.Errorf("healthz: status %d", got.status)
	}
	wantCode(t, "sending over the socket", conn.Send(t.Context(), alice.address.User, outgoing("x")), relay.CodeUnavailable)
}

// While the disk is full nothing new is acknowledged, and what is there is read and
// deleted as ever.
func TestDiskIsFull(t *testing.T) {
	o := open()
	o.full = new(atomic.Bool)
	n := start(t, o)
	alice, bob := n.register(t), n.register(t)
	for _, body := range []string{"one", "two"} {
		if err := alice.client.Send(t.Context(), bob.address.User, outgoing(body)); err != nil {
			t.Fatal(err)
		}
	}
	hers := alice.connect(t)
	o.full.Store(true)
	wantCode(t, "sending", alice.client.Send(t.Context(), bob.address.User, outgoing("x")), relay.CodeStorageFull)
	wantCode(t, "sending over the socket", hers.Send(t.Context(), bob.address.User, outgoing("x")), relay.CodeStorageFull)
	body := relay.SendRequest{To: bob.address.User, Envelopes: outgoing("x")}
	if got := n.http(t, "POST", "/v1/messages", n.token(t, alice), body); got.status != 507 || got.problem.Code != relay.CodeStorageFull {
		t.Errorf("status %d %s", got.status, got.body)
	}
	his := bob.connect(t)
	if got := envelope(t, his); string(got.Body) != "one" {
		t.Errorf("pushed %q", got.Body)
	} else if err := his.Ack(t.Context(), got.Handle); err != nil {
		t.Fatal(err)
	}
	left, _, err := bob.client.Pull(t.Context(), 0, 10)
	for err == nil && len(left) == 2 { // the acknowledgement is on its way
		left, _, err = bob.client.Pull(t.Context(), 0, 10)
	}
	if err != nil || len(left) != 1 || string(left[0].Body) != "two" {
		t.Errorf("left are %v, %v", left, err)
	}
	o.full.Store(false)
	if err := alice.client.Send(t.Context(), bob.address.User, outgoing("three")); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// A relay that is told to stop finishes what it has begun, and says goodbye.
func TestStopping(t *testing.T) {
	o := open()
	n := start(t, o)
	alice, bob := n.register(t), n.register(t)
	conn := bob.connect(t)
	drain(t, conn)
	from := alice.connect(t)
	stop := make(chan struct{})
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		acks []string
	)
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				body := fmt.Sprint(w, "-", i)
				if err := from.Send(t.Context(), bob.address.User, outgoing(body)); err != nil {
					e, refused := errors.AsType[*relay.Error](err)
					if refused && e.Code != relay.CodeUnavailable {
						t.Errorf("sending while stopping: %v", err)
					}
					return
				}
				mu.Lock()
				acks = append(acks, body)
				if len(acks) == 500 {
					close(stop)
				}
				mu.Unlock()
			}
		})
	}
	<-stop
	if err := n.stop(); err != nil {
		t.Fatalf("stopping: %v", err)
	}
	wg.Wait()
	for what, conn := range map[string]*relayclient.Conn{"the sending connection": from, "the other connection": conn} {
		var err error
		for err == nil {
			_, err = conn.Next(t.Context())
		}
		wantCode(t, what, err, relay.CodeUnavailable)
	}

	o.path = n.path
	n = start(t, o)
	again := n.client(t, bob.address, bob.identity)
	stored := make(map[string]bool)
	for cursor := uint64(0); ; {
		page, more, err := again.Pull(t.Context(), cursor, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range page {
			stored[string(in.Body)] = true
			cursor = in.Seq
		}
		if !more {
			break
		}
	}
	for _, body := range acks {
		if !stored[body] {
			t.Fatalf("message %s was acknowledged and is lost (%d of %d are there)", body, len(stored), len(acks))
		}
	}
}

// Strangers who connect and say nothing do not hold up a relay that stops.
func TestStoppingWithStrangers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		s := n.socket(t)
		heard := make(chan error, 1)
		go func() {
			bye, _ := s.end(t)
			heard <- bye
		}()
		synctest.Wait()
		began := time.Now()
		if err := n.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		wantCode(t, "the stranger", <-heard, relay.CodeUnavailable)
	})
}

// A relay that is told to stop while it is starting has no error to tell of.
func TestStoppedAtOnce(t *testing.T) {
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "relay.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	s, err := server.New(store, bus.NewLocal(), server.Config{Origins: []relay.Origin{"http://relay.test:80"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx, newPipes()); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// Expired envelopes go, and their sender gets a note; all by itself.
func TestExpiry(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice, bob := n.register(t), n.register(t)
		out := outgoing("never fetched")
		if err := alice.client.Send(t.Context(), bob.address.User, out); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30*24*time.Hour - time.Hour)
		conn := alice.connect(t)
		drain(t, conn)
		if got, _, err := bob.client.Pull(t.Context(), 0, 10); err != nil || len(got) != 1 {
			t.Errorf("just before 30 days: %d envelopes, %v", len(got), err)
		}
		note := envelopeWithin(t, conn, 3*time.Hour)
		if note.Kind != relay.KindExpired || note.ID != out[0].ID || note.Body != nil {
			t.Errorf("the note: %+v", note)
		}
		if got, _, err := bob.client.Pull(t.Context(), 0, 10); err != nil || len(got) != 0 {
			t.Errorf("after 30 days: %d envelopes, %v", len(got), err)
		}
		_ = conn.Close()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Logs and metrics say nothing about anybody.
func TestNothingIsWrittenDown(t *testing.T) {
	o := open()
	o.tcp = true
	n := start(t, o)
	alice := n.stranger(t)
	if err := alice.client.Register(t.Context(), relayclient.Registration{DeviceList: alice.list, Username: "canary_name", Prekeys: standing()}); err != nil {
		t.Fatal(err)
	}
	bob := n.register(t)
	token := n.token(t, alice)
	conn := bob.connect(t)
	if err := alice.client.Send(t.Context(), bob.address.User, outgoing("canary body")); err != nil {
		t.Fatal(err)
	}
	envelope(t, conn)
	_, _ = alice.client.Username(t.Context(), "canary_other")
	n.http(t, "GET", "/v1/users/"+bob.address.User.String()+"/devices", "canary-token", nil)
	n.http(t, "POST", "/v1/messages", token, `{"canary_key":1}`)
	var metrics bytes.Buffer
	if err := n.server.WriteMetrics(&metrics); err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"log": n.log.String(), "metrics": metrics.String()} {
		for _, secret := range []string{"canary", token, alice.address.User.String(), bob.address.User.String(), "127.0.0.1"} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s says %q:\n%s", name, secret, text)
			}
		}
	}
	if !strings.Contains(metrics.String(), "chate2e_sends_stored_total 1\n") || !strings.Contains(metrics.String(), "chate2e_connections 1\n") {
		t.Errorf("metrics:\n%s", metrics.String())
	}
}
