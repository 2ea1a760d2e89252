package relayclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/chate2e/chate2e/internal/relay"
)

const (
	// pingEvery is how often a connection says that it is there.
	pingEvery = 30 * time.Second
	// silence is how long the relay may say nothing until it is taken for gone.
	silence = 90 * time.Second
	// writeTimeout is how long a frame may take to be written.
	writeTimeout = 20 * time.Second

	// A relay pushes no more than a window of envelopes before it wants
	// acknowledgements. One that goes far beyond wants our memory.
	maxEvents     = 20_000
	maxEventBytes = 16 << 20
)

// ErrClosed is returned by the methods of a connection after Close.
var ErrClosed = errors.New("relayclient: connection closed")

// Event is what a connection brings: an [Envelope], [Drained] or a [Topic].
type Event interface{ event() }

// Envelope is an envelope from one's mailbox. It comes again on the next
// connection unless it is acknowledged.
type Envelope struct{ relay.Incoming }

// Drained says that the mailbox held nothing more after the envelopes before this
// event. It comes once after connecting, and again after later envelopes.
type Drained struct{}

// Topic is the news of a topic that was subscribed to.
type Topic struct{ relay.TopicUpdate }

func (Envelope) event() {}
func (Drained) event()  {}
func (Topic) event()    {}

// queued is an event that Next has not returned yet.
type queued struct {
	event Event
	bytes int // the memory it holds, roughly
}

// Conn is a WebSocket to the relay. Its methods are safe for concurrent use, but
// only one goroutine may call Next. When the connection breaks, all of them return
// the reason.
type Conn struct {
	ws       *websocket.Conn
	patience time.Duration // with the answer to a send
	workers  sync.WaitGroup
	done     chan struct{} // closed with err set
	arrived  chan struct{} // capacity 1: events is not empty

	mu         sync.Mutex
	err        error // why the connection ended; guarded by mu, as all below
	events     []queued
	eventBytes int // in events
	refs       uint64
	waiting    map[uint64]chan error // by ref; capacity 1
}

// Dial opens a WebSocket and logs in on it.
func (c *Client) Dial(ctx context.Context) (*Conn, error) {
	var conn *Conn
	err := c.withToken(ctx, func(ctx context.Context, token relay.Token) (err error) {
		conn, err = c.dial(ctx, token)
		return err
	})
	return conn, err
}

func (c *Client) dial(ctx context.Context, token relay.Token) (*Conn, error) {
	asked := time.Now()
	ws, res, err := websocket.Dial(ctx, string(c.cfg.Server)+"/v1/ws", &websocket.DialOptions{ //nolint:bodyclose // Dial has closed it
		HTTPClient:      &http.Client{Transport: c.http.Transport, CheckRedirect: c.http.CheckRedirect},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		if res != nil && res.StatusCode == http.StatusTooManyRequests {
			return nil, &relay.Error{Code: relay.CodeTooManyConnections, Detail: "too many connections from this address"}
		}
		return nil, fmt.Errorf("relayclient: opening the connection: %w", withoutURL(err))
	}
	ws.SetReadLimit(relay.MaxFrame)
	if err := greet(ctx, ws, token, c.cfg.Address); err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	c.noteClock(res.Header, asked)
	conn := &Conn{
		ws: ws, patience: 2 * c.cfg.Timeout, done: make(chan struct{}), arrived: make(chan struct{}, 1),
		waiting: make(map[uint64]chan error),
	}
	// The connection outlives the call that opens it; Close ends it.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	conn.workers.Go(func() {
		defer end()
		conn.fail(conn.read(life))
	})
	conn.workers.Go(func() { conn.keepAlive(life) })
	return conn, nil
}

// greet sends the token and waits for the relay to take it.
func greet(ctx context.Context, ws *websocket.Conn, token relay.Token, address relay.Address) error {
	if err := ws.Write(ctx, websocket.MessageBinary, relay.AppendAuth(nil, token)); err != nil {
		return fmt.Errorf("relayclient: logging in: %w", err)
	}
	_, frame, err := ws.Read(ctx)
	if err != nil {
		return fmt.Errorf("relayclient: logging in: %w", err)
	}
	t, body, err := relay.SplitFrame(frame)
	if err != nil {
		return err
	}
	switch t {
	case relay.FrameReady:
		ready, err := relay.ParseReady(body)
		if err == nil && ready != address {
			err = fmt.Errorf("%w (another account)", ErrNotARelay)
		}
		return err
	case relay.FrameBye:
		e, err := relay.ParseBye(body)
		if err != nil {
			return err
		}
		return e
	default:
		return fmt.Errorf("%w (unexpected frame)", ErrNotARelay)
	}
}

// Close ends the connection and waits for its goroutines.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	c.workers.Wait()
	return nil
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// fail ends the connection for a reason, unless it has ended before.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.done)
	c.mu.Unlock()
	if errors.Is(err, ErrClosed) {
		// Says goodbye in its own time; the reader ends with it.
		c.workers.Go(func() { _ = c.ws.Close(websocket.StatusNormalClosure, "") })
		return
	}
	_ = c.ws.CloseNow()
}

func (c *Conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// read is the goroutine that reads. It returns why it ended.
func (c *Conn) read(ctx context.Context) error {
	for {
		typ, frame, err := c.readFrame(ctx)
		if err != nil {
			return fmt.Errorf("relayclient: connection lost: %w", err)
		}
		t, body, err := relay.SplitFrame(frame)
		if err != nil || typ != websocket.MessageBinary {
			return fmt.Errorf("%w (malformed frame)", ErrNotARelay)
		}
		if err := c.handle(t, body); err != nil {
			return err
		}
	}
}

func (c *Conn) readFrame(ctx context.Context) (websocket.MessageType, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	return c.ws.Read(ctx)
}

func (c *Conn) handle(t relay.FrameType, body []byte) error {
	switch t {
	case relay.FramePush:
		p, err := relay.ParsePush(body)
		if err != nil {
			return err
		}
		events := make([]queued, 0, len(p.Envelopes)+1)
		for _, in := range p.Envelopes {
			events = append(events, queued{Envelope{in}, len(in.Body)})
		}
		if p.Drained {
			events = append(events, queued{Drained{}, 0})
		}
		return c.add(events...)
	case relay.FrameTopic:
		u, err := relay.ParseTopic(body)
		if err != nil {
			return err
		}
		return c.add(queued{Topic{u}, len(body)})
	case relay.FrameSent:
		refs, err := relay.ParseSent(body)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			c.answer(ref, nil)
		}
		return nil
	case relay.FrameRefused:
		r, err := relay.ParseRefused(body)
		if err != nil {
			return err
		}
		c.answer(r.Ref, r.Err)
		return nil
	case relay.FrameBye:
		e, err := relay.ParseBye(body)
		if err != nil {
			return err
		}
		return e
	default:
		return nil // a pong, or a frame of a later version
	}
}

// add queues events for Next.
func (c *Conn) add(events ...queued) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(events) == 0 {
		return nil
	}
	c.events = append(c.events, events...)
	for _, e := range events {
		c.eventBytes += e.bytes
	}
	if len(c.events) > maxEvents || c.eventBytes > maxEventBytes {
		return fmt.Errorf("%w (it sends without end)", ErrNotARelay)
	}
	select {
	case c.arrived <- struct{}{}:
	default:
	}
	return nil
}

// Next returns what the connection brings next, waiting for it if need be. What
// arrived before the connection broke is still returned; then the reason is.
func (c *Conn) Next(ctx context.Context) (Event, error) {
	for {
		c.mu.Lock()
		if len(c.events) > 0 {
			e := c.events[0]
			c.events[0] = queued{}
			c.events = c.events[1:]
			c.eventBytes -= e.bytes
			if len(c.events) == 0 {
				c.events = nil
			}
			c.mu.Unlock()
			return e.event, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-c.arrived:
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// answer gives the result of a send to whoever waits for it.
func (c *Conn) answer(ref uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waiter, ok := c.waiting[ref]; ok {
		delete(c.waiting, ref)
		waiter <- err
	}
}

// Send is [Client.Send] over the connection. If it returns because ctx has ended
// or the connection broke, the envelopes may be stored; sending the same bytes
// again does no harm. A [*relay.Error] is the answer to this send alone: what a relay
// says when it ends the connection refuses none. One that does not answer within
// twice the time that Config gives a request has lost something: that is the end of
// the connection.
func (c *Conn) Send(ctx context.Context, to relay.UserID, envelopes []relay.Outgoing) error {
	waiter := make(chan error, 1)
	c.mu.Lock()
	c.refs++
	ref := c.refs
	c.waiting[ref] = waiter
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, ref)
	}()
	frame := relay.AppendSend(nil, relay.Send{Ref: ref, To: to, Envelopes: envelopes})
	if len(frame) > relay.MaxFrame {
		return &relay.Error{Code: relay.CodeTooLarge, Detail: "too large for a frame"}
	}
	if err := c.write(ctx, frame); err != nil {
		return noRefusal(err)
	}
	patience := time.NewTimer(c.patience)
	defer patience.Stop()
	select {
	case err := <-waiter:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-patience.C:
		c.fail(errors.New("relayclient: connection lost: a send was not answered"))
	case <-c.done:
	}
	select {
	case err := <-waiter: // the answer came first
		return err
	default:
		return noRefusal(c.reason())
	}
}

// noRefusal makes the reason why a connection ended one that nobody takes for the
// relay's answer to a send.
func noRefusal(err error) error {
	if _, ok := errors.AsType[*relay.Error](err); ok {
		return fmt.Errorf("relayclient: connection lost: %v", err) //nolint:errorlint // which is the point
	}
	return err
}

// Ack tells the relay that envelopes are stored here and may be deleted there.
// There is no answer: one that gets lost is made up for by another delivery.
func (c *Conn) Ack(ctx context.Context, handles ...relay.Handle) error {
	for len(handles) > 0 {
		n := min(len(handles), relay.MaxAcks)
		if err := c.write(ctx, relay.AppendAck(nil, handles[:n])); err != nil {
			return err
		}
		handles = handles[n:]
	}
	return nil
}

// Subscribe asks for the news of topics, beginning with the values they have. More
// than [relay.MaxTopics] in all end the connection.
func (c *Conn) Subscribe(ctx context.Context, topics ...relay.TopicID) error {
	return c.topics(ctx, relay.FrameSubscribe, topics)
}

// Unsubscribe ends that.
func (c *Conn) Unsubscribe(ctx context.Context, topics ...relay.TopicID) error {
	return c.topics(ctx, relay.FrameUnsubscribe, topics)
}

func (c *Conn) topics(ctx context.Context, t relay.FrameType, topics []relay.TopicID) error {
	if len(topics) > relay.MaxTopics {
		return &relay.Error{Code: relay.CodeBadRequest, Detail: "too many topics"}
	}
	return c.write(ctx, relay.AppendTopics(nil, t, topics))
}

// Publish gives a topic a value, at most [relay.MaxTopicPayload] bytes. The relay
// keeps it while this connection lasts.
func (c *Conn) Publish(ctx context.Context, topic relay.TopicID, payload []byte) error {
	if len(payload) > relay.MaxTopicPayload {
		return &relay.Error{Code: relay.CodeTooLarge, Detail: "too large for a topic"}
	}
	return c.write(ctx, relay.AppendPublish(nil, topic, payload))
}

// Retract takes back the value this connection gave a topic.
func (c *Conn) Retract(ctx context.Context, topic relay.TopicID) error {
	return c.write(ctx, relay.AppendRetract(nil, topic))
}

// write sends a frame. A frame that was begun is finished even if ctx ends: half a
// frame would be the end of the connection.
func (c *Conn) write(ctx context.Context, frame []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.reason(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageBinary, frame); err != nil {
		// The reader is about to see it too, and may know better why: from a frame
		// that says goodbye.
		select {
		case <-c.done:
		case <-time.After(time.Second):
			c.fail(fmt.Errorf("relayclient: connection lost: %w", err))
		}
		return c.reason()
	}
	return nil
}

// keepAlive sends pings until ctx ends.
func (c *Conn) keepAlive(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for nonce := uint64(1); ; nonce++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if c.write(ctx, relay.AppendPing(nil, relay.FramePing, nonce)) != nil {
				return // the reader sees it as well
			}
		}
	}
}
