package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

const (
	// authTimeout is how long a connection has for its first frame.
	authTimeout = 10 * time.Second
	// idleTimeout is how long it may say nothing after that. Clients send pings.
	idleTimeout = 2 * time.Minute
	// writeTimeout is how long a frame may take to be written.
	writeTimeout = 20 * time.Second
	// byeTimeout is how long the last words may take.
	byeTimeout = 2 * time.Second

	// authLimit is the largest first frame in bytes.
	authLimit = 256
	// maxQueued bounds what waits to be written to a connection, in bytes. Who
	// reads too slowly for it is disconnected; envelopes do not count, they wait
	// in the mailbox.
	maxQueued = 256 << 10
	// maxNews is the same for topics: the news of each that one may be subscribed
	// to, since all of them come at once when it subscribes.
	maxNews = relay.MaxTopics * (relay.TopicIDSize + relay.MaxTopicPayload)
	// window and windowBytes bound what was pushed and not acknowledged.
	window      = 1000
	windowBytes = 1 << 20
	// maxInFlight and maxInFlightBytes bound the sends of one connection that
	// wait for their commit; then it is not read from.
	maxInFlight      = 256
	maxInFlightBytes = 1 << 20
	// pushEnvelopes and pushBytes bound one push frame: what they allow, with one
	// more envelope of the largest size, is smaller than relay.MaxFrame.
	pushEnvelopes = 256
	pushBytes     = 128 << 10
	// maxPerDevice is how many connections one device may have; a new one takes
	// the place of the oldest.
	maxPerDevice = 4
)

// conn is one WebSocket connection. One goroutine reads, in run; a second one, write,
// is there only while there is something to write.
type conn struct {
	s       *Server
	ws      *websocket.Conn
	raw     net.Conn // for deadlines, which cost less there than contexts do
	number  uint64   // grows with every connection
	session mailbox.Session
	token   [32]byte // SHA-256 of the token it goes by; guarded by s.mu once registered
	taken   uint64   // places taken by logins before the token was looked at
	member  bus.Member

	writers sync.WaitGroup

	mu      sync.Mutex
	closing *closing // set once; guarded by mu, as all below
	writing bool     // the goroutine write is running
	look    bool     // there may be something new in the mailbox
	check   bool     // the device may be gone

	queue  [][]byte // frames to be written
	queued int      // bytes in queue
	sent   []uint64 // sends to be answered

	news      map[relay.TopicID]relay.TopicUpdate // the latest of each topic, to be written
	due       []relay.TopicID                     // the topics in news, in order
	newsBytes int

	inFlight      int // sends handed to ingest
	inFlightBytes int
	room          sync.Cond // there are fewer of them, or the connection is closing

	unacked      int // envelopes pushed
	unackedBytes int

	// The rest belongs to whoever is in write.
	cursor  uint64 // the last envelope pushed
	drained bool   // the client was told that there is nothing more
	broken  bool   // a write has failed
}

// closing says how a connection ends.
type closing struct {
	status websocket.StatusCode
	err    *relay.Error // said in a last frame; nil to go without a word
}

// serveSocket is GET /v1/ws with an upgrade. When the client has logged in, the
// connection goes on in a goroutine of its own: that of the request has a large stack
// by then, and holds much that is of no use any more.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request, c client) {
	raw, ok := r.Context().Value(rawConnKey{}).(net.Conn)
	if !ok || r.ProtoMajor != 1 {
		s.refuse(w, &relay.Error{Code: relay.CodeUpgradeRequired, Detail: "a WebSocket needs HTTP/1.1"})
		return
	}
	if !c.direct && !s.sockets.add(c.network) {
		s.refuse(w, &relay.Error{Code: relay.CodeTooManyConnections, Detail: "too many connections from this address"})
		return
	}
	leave := func() {
		if !c.direct {
			s.sockets.remove(c.network)
		}
	}
	conn := &conn{s: s, raw: raw, number: s.numbers.Add(1)}
	conn.room.L = &conn.mu
	if !s.begin(conn) {
		leave()
		s.refuse(w, errStopping)
		return
	}
	defer s.settled(conn)
	up := &upgrade{ResponseWriter: w}
	var err error
	conn.ws, err = websocket.Accept(up, r, &websocket.AcceptOptions{
		CompressionMode: websocket.CompressionDisabled,
		OriginPatterns:  s.originPatterns,
		OnPingReceived:  conn.pinged,
	})
	if err != nil {
		leave()
		s.live.Done()
		if !up.hijacked {
			s.refuse(w, up.refusal())
		}
		return
	}
	conn.ws.SetReadLimit(authLimit)
	welcome := conn.authenticate(context.WithoutCancel(r.Context()))
	go func() { //nolint:contextcheck // the context of the request ends here
		defer s.live.Done()
		defer leave()
		conn.run(welcome)
	}()
}

// upgrade is the answer to a request for a WebSocket, as [websocket.Accept] writes it.
// It keeps refusals back, which have another form here, and hands the connection over
// with small buffers: those of HTTP are larger than all else of an idle connection.
type upgrade struct {
	http.ResponseWriter

	status   int
	hijacked bool
}

const (
	// readBuffer is for the beginnings of frames; what is longer is read without it.
	readBuffer = 1 << 10
	// writeBuffer is for control frames and goodbyes; writeTurn needs none.
	writeBuffer = 256
)

// WriteHeader implements [http.ResponseWriter].
func (u *upgrade) WriteHeader(status int) {
	if u.status = status; status == http.StatusSwitchingProtocols {
		u.ResponseWriter.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter]. What it gets is the text of a refusal.
func (u *upgrade) Write(p []byte) (int, error) { return len(p), nil }

// Hijack implements [http.Hijacker].
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.hijacked = true
	early, err := rw.Reader.Peek(rw.Reader.Buffered()) // sent before the answer came
	if err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), raw), max(readBuffer, len(early)))
	if _, err := in.Peek(len(early)); err != nil { // into the buffer, which is where they are looked for
		return nil, nil, errors.Join(err, raw.Close())
	}
	return raw, bufio.NewReadWriter(in, bufio.NewWriterSize(raw, writeBuffer)), nil
}

func (u *upgrade) refusal() *relay.Error {
	switch u.status {
	case http.StatusForbidden:
		return &relay.Error{Code: relay.CodeWrongOrigin, Detail: "a page of another origin cannot connect"}
	case http.StatusUpgradeRequired:
		return &relay.Error{Code: relay.CodeUpgradeRequired, Detail: "this is a WebSocket"}
	default:
		return &relay.Error{Code: relay.CodeBadRequest, Detail: "not the beginning of a WebSocket"}
	}
}

// run is the connection's goroutine. Nothing in it ends with a context: deadlines
// bound every read and write, and close makes the connection say goodbye, which is
// all there is to do if the client is not welcome.
func (c *conn) run(welcome bool) {
	defer c.end()
	if !welcome {
		return
	}
	c.s.metrics.connections.Add(1)
	defer c.s.metrics.connections.Add(-1)
	c.enqueue(relay.AppendReady(nil, c.session.Address))
	c.member = c.s.bus.Join(c.session.Address, c)
	defer c.member.Leave()
	// Registered and joined before the first look, so that nothing falls between.
	token := c.token
	doubtful := c.s.register(c)
	defer c.s.unregister(c)
	if doubtful {
		if _, err := c.s.store.Session(context.Background(), token, time.Now()); err != nil {
			c.fail(err)
			return
		}
	}
	c.Wake()
	c.read()
}

// end says the last words, once nobody else writes any more.
func (c *conn) end() {
	defer func() { _ = c.ws.CloseNow() }()      // closes what is left of it
	c.close(websocket.StatusNormalClosure, nil) // unless there was a reason before
	soon := time.Now().Add(byeTimeout)
	// Errors of deadlines come with a closed connection, where nothing blocks.
	_ = c.raw.SetDeadline(soon)
	c.writers.Wait()
	if c.broken {
		return // in the middle of a frame, where no words are heard
	}
	_ = c.raw.SetDeadline(soon)
	if c.closing.err != nil {
		_ = c.ws.Write(context.Background(), websocket.MessageBinary, relay.AppendBye(nil, c.closing.err))
	}
	_ = c.ws.Close(c.closing.status, "")
}

// close begins the end: it makes the reading goroutine stop and say why.
func (c *conn) close(status websocket.StatusCode, err *relay.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(status, err)
}

func (c *conn) closeLocked(status websocket.StatusCode, err *relay.Error) {
	if c.closing != nil {
		return
	}
	c.closing = &closing{status: status, err: err}
	c.room.Broadcast()
	_ = c.raw.SetReadDeadline(time.Unix(1, 0))
}

// await sets the deadline for the next frame; false if the connection is closing.
func (c *conn) await(timeout time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Under the lock, so as not to undo the deadline of closeLocked.
	return c.closing == nil && c.raw.SetReadDeadline(time.Now().Add(timeout)) == nil
}

// pinged is called by the goroutine that reads, for pings of the WebSocket protocol
// itself, which are no frames of ours. It gives the pong its time to be written,
// and the connection another while to say something: many libraries keep their
// connections alive that way.
func (c *conn) pinged(context.Context, []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing != nil {
		return false
	}
	now := time.Now()
	if c.session.Address.Device.Valid() { // logged in
		_ = c.raw.SetReadDeadline(now.Add(idleTimeout)) // fails on a closed connection, as reading does
	}
	return c.raw.SetWriteDeadline(now.Add(writeTimeout)) == nil
}

// authenticate reads the first frame.
func (c *conn) authenticate(ctx context.Context) bool {
	if !c.await(authTimeout) {
		return false
	}
	typ, frame, err := c.ws.Read(ctx) // the deadline is on raw
	if err != nil {
		return false
	}
	t, body, err := relay.SplitFrame(frame)
	if typ != websocket.MessageBinary || err != nil || t != relay.FrameAuth {
		c.close(websocket.StatusPolicyViolation, errUnauthorized)
		return false
	}
	token, err := relay.ParseAuth(body)
	if err != nil {
		c.close(websocket.StatusPolicyViolation, errUnauthorized)
		return false
	}
	c.token, c.taken = token.Hash(), c.s.takenPlaces()
	if c.session, err = c.s.store.Session(ctx, c.token, time.Now()); err != nil {
		c.fail(err)
		return false
	}
	c.ws.SetReadLimit(relay.MaxFrame)
	return true
}

// fail closes because of an error of the store.
func (c *conn) fail(err error) {
	e := c.s.refusal(err)
	status := websocket.StatusTryAgainLater
	if e.Code == relay.CodeUnauthorized {
		status = websocket.StatusPolicyViolation
	}
	c.close(status, e)
}

func (c *conn) read() {
	var handles []relay.Handle
	for c.await(idleTimeout) {
		typ, frame, err := c.ws.Read(context.Background()) // the deadline is on raw
		if err != nil {
			return
		}
		if typ != websocket.MessageBinary {
			c.close(websocket.StatusUnsupportedData, &relay.Error{Code: relay.CodeBadRequest, Detail: "frames are binary"})
			return
		}
		if handles, err = c.handle(frame, handles[:0]); err != nil {
			e, ok := errors.AsType[*relay.Error](err)
			if !ok {
				e = &relay.Error{Code: relay.CodeBadRequest, Detail: "malformed frame"}
			}
			c.close(websocket.StatusPolicyViolation, e)
			return
		}
	}
}

// handle does what a frame says. The frame is the caller's no more; handles is
// room for acknowledgements, returned to be used again. An error ends the
// connection.
func (c *conn) handle(frame []byte, handles []relay.Handle) ([]relay.Handle, error) {
	t, body, err := relay.SplitFrame(frame)
	if err != nil {
		return handles, err
	}
	switch t {
	case relay.FrameSend:
		return handles, c.handleSend(body)
	case relay.FrameAck:
		if handles, err = relay.ParseAck(body, handles); err != nil {
			return handles, err
		}
		c.handleAck(handles)
		return handles, nil
	case relay.FramePing:
		nonce, err := relay.ParsePing(body)
		if err == nil {
			c.enqueue(relay.AppendPing(nil, relay.FramePong, nonce))
		}
		return handles, err
	case relay.FrameSubscribe, relay.FrameUnsubscribe, relay.FramePublish, relay.FrameRetract:
		return handles, c.handleTopic(t, body)
	default:
		return handles, nil // of a later version; or one that a client does not send
	}
}

// sending's room for one envelope is part of it: most sends have one.
func (c *conn) handleSend(body []byte) error {
	s := &sending{conn: c}
	in := relay.Send{Envelopes: s.one[:0]}
	if err := relay.ParseSend(body, &in); err != nil {
		return err
	}
	s.ref = in.Ref
	s.put = mailbox.Put{From: c.session.Address, To: in.To, Envelopes: in.Envelopes}
	for i := range in.Envelopes {
		if len(in.Envelopes[i].Body) > c.s.limits.MaxBody {
			c.enqueue(relay.AppendRefused(nil, in.Ref, errTooLarge))
			return nil
		}
	}
	s.bytes = len(body) // all of the frame waits, whatever else is in it
	if !c.reserve(s.bytes) {
		return nil // closing, as the caller will see
	}
	if err := c.s.ingest.send(s); err != nil {
		s.put.Err = err
		c.stored(s)
	}
	return nil
}

// reserve waits until the connection may have another send in flight.
func (c *conn) reserve(bytes int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.closing == nil && (c.inFlight >= maxInFlight || c.inFlightBytes >= maxInFlightBytes) {
		c.room.Wait()
	}
	c.inFlight++
	c.inFlightBytes += bytes
	return c.closing == nil
}

// stored notes the result of a send, durable by now, to be told to the client.
// The goroutine of ingest calls it.
func (c *conn) stored(s *sending) {
	var refused []byte
	if s.put.Err != nil {
		refused = relay.AppendRefused(nil, s.ref, c.s.refusal(s.put.Err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	c.inFlightBytes -= s.bytes
	c.room.Broadcast()
	if refused != nil {
		c.queue = append(c.queue, refused)
		c.queued += len(refused)
	} else {
		c.sent = append(c.sent, s.ref)
	}
	c.start()
}

func (c *conn) handleAck(handles []relay.Handle) {
	acks := make([]mailbox.Ack, len(handles))
	for i, h := range handles {
		acks[i] = mailbox.Ack{Mailbox: c.session.Mailbox, Handle: h}
	}
	c.s.ingest.ack(acks)
	c.acknowledged(len(handles))
}

// acknowledged makes room for more to be pushed.
func (c *conn) acknowledged(count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := min(count, c.unacked); n > 0 {
		// The client is not asked for sizes; on the average this is right.
		c.unackedBytes -= c.unackedBytes * n / c.unacked
		c.unacked -= n
	}
	c.start()
}

func (c *conn) handleTopic(t relay.FrameType, body []byte) error {
	if wait, ok := c.s.topicFrames.take(c.session.Address, time.Now()); !ok {
		return &relay.Error{Code: relay.CodeRateLimited, Detail: "too many topic frames", RetryAfter: wait}
	}
	var err error
	switch t {
	case relay.FrameSubscribe:
		var topics []relay.TopicID
		if topics, err = relay.ParseTopics(body); err == nil {
			err = c.member.Subscribe(topics)
		}
	case relay.FrameUnsubscribe:
		var topics []relay.TopicID
		if topics, err = relay.ParseTopics(body); err == nil {
			c.member.Unsubscribe(topics)
		}
	case relay.FramePublish:
		var (
			topic   relay.TopicID
			payload []byte
		)
		if topic, payload, err = relay.ParsePublish(body); err == nil {
			// A copy: the frame may be much larger, and would be kept with it.
			err = c.member.Publish(topic, bytes.Clone(payload))
		}
	default:
		var topic relay.TopicID
		if topic, err = relay.ParseRetract(body); err == nil {
			c.member.Retract(topic)
		}
	}
	if errors.Is(err, bus.ErrTooMuch) {
		return &relay.Error{Code: relay.CodeBadRequest, Detail: "too many topics or too large values"}
	}
	return err
}

// Wake implements [bus.Listener].
func (c *conn) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look = true
	c.start()
}

// Topic implements [bus.Listener]. Of several news of one topic only the last
// matters.
func (c *conn) Topic(u relay.TopicUpdate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.news == nil {
		c.news = make(map[relay.TopicID]relay.TopicUpdate)
	}
	before, waiting := c.news[u.Topic]
	if !waiting {
		c.due = append(c.due, u.Topic)
		c.newsBytes += relay.TopicIDSize
	}
	c.news[u.Topic] = u
	c.newsBytes += len(u.Payload) - len(before.Payload)
	c.start()
}

// recheck makes the connection see whether its device is still there.
func (c *conn) recheck() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look, c.check = true, true
	c.start()
}

// enqueue writes a frame in its turn.
func (c *conn) enqueue(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, frame)
	c.queued += len(frame)
	c.start()
}

// start makes sure that what there is to write is written. c.mu is held.
func (c *conn) start() {
	if c.closing != nil {
		return
	}
	if c.queued+8*len(c.sent) > maxQueued || c.newsBytes > maxNews {
		c.closeLocked(websocket.StatusPolicyViolation, &relay.Error{Code: relay.CodeRateLimited, Detail: "read faster"})
		return
	}
	if !c.writing && c.busy() {
		c.writing = true
		c.writers.Go(c.write)
	}
}

// busy reports whether there is something to write or to look for. c.mu is held.
func (c *conn) busy() bool {
	return len(c.queue) > 0 || len(c.due) > 0 || len(c.sent) > 0 || c.check || c.mayLook()
}

// mayLook reports whether it is time to read from the mailbox: there may be
// something, and the client has acknowledged enough of what it was given. c.mu is
// held.
func (c *conn) mayLook() bool {
	return c.look && c.unacked < window && c.unackedBytes < windowBytes
}

// turn is what write takes from the connection at a time.
type turn struct {
	queue       [][]byte
	sent        []uint64
	news        []relay.TopicUpdate
	look, check bool
}

// take returns what there is to do; false ends the goroutine.
func (c *conn) take(t *turn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing != nil || !c.busy() {
		c.writing = false
		return false
	}
	// The slices change places, so that both are used again.
	c.queue, t.queue = t.queue[:0], c.queue
	c.sent, t.sent = t.sent[:0], c.sent
	t.news = t.news[:0]
	for _, id := range c.due {
		t.news = append(t.news, c.news[id])
	}
	c.due, c.news, c.newsBytes, c.queued = nil, nil, 0, 0
	t.check, c.check = c.check, false
	if t.look = c.mayLook(); t.look {
		c.look = false
	}
	return true
}

// scratch is the memory that write needs, and an idle connection does not.
type scratch struct {
	turn     turn
	incoming []relay.Incoming
	frame    []byte
	out      []byte // frames as they go over the wire
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// write is the second goroutine of a connection.
func (c *conn) write() {
	m := scratches.Get().(*scratch)
	defer scratches.Put(m)
	for c.take(&m.turn) {
		if err := c.writeTurn(m); err != nil {
			// Too slow, or gone. Saying so would take a write.
			c.broken = true
			c.close(websocket.StatusPolicyViolation, nil)
		}
	}
	// What was taken and not written must not keep other people's bytes alive.
	clear(m.turn.queue)
	clear(m.turn.news)
	clear(m.incoming)
}

// writeTurn writes what was taken, in as few writes as can be: each costs more than
// all else that the connection does for a message.
func (c *conn) writeTurn(m *scratch) error {
	m.out = m.out[:0]
	for _, frame := range m.turn.queue {
		if err := c.add(m, frame); err != nil {
			return err
		}
	}
	if len(m.turn.sent) > 0 {
		m.frame = relay.AppendSent(m.frame[:0], m.turn.sent)
		if err := c.add(m, m.frame); err != nil {
			return err
		}
	}
	for _, u := range m.turn.news {
		m.frame = relay.AppendTopic(m.frame[:0], u)
		if err := c.add(m, m.frame); err != nil {
			return err
		}
	}
	if m.turn.check {
		// Far behind everything: this only finds out whether the mailbox is there.
		if _, _, err := c.s.store.After(context.Background(), c.session.Mailbox, 1<<62, 1, 1, nil); err != nil {
			c.fail(err)
			return c.flush(m)
		}
	}
	if m.turn.look {
		if err := c.push(m); err != nil {
			return err
		}
	}
	return c.flush(m)
}

// enough is how much is written at once.
const enough = 64 << 10

// add adds a frame to what is to be written: a binary message in one frame of the
// WebSocket (RFC 6455, Section 5.2). Control frames, which the library writes, may
// come between two writes and not into one.
func (c *conn) add(m *scratch, frame []byte) error {
	if len(m.out) > 0 && len(m.out)+len(frame) > enough {
		if err := c.flush(m); err != nil {
			return err
		}
	}
	const finalBinary = 0x82
	switch n := len(frame); {
	case n < 126:
		m.out = append(m.out, finalBinary, byte(n))
	case n <= math.MaxUint16:
		m.out = binary.BigEndian.AppendUint16(append(m.out, finalBinary, 126), uint16(n))
	default:
		m.out = binary.BigEndian.AppendUint64(append(m.out, finalBinary, 127), uint64(n))
	}
	m.out = append(m.out, frame...)
	return nil
}

// flush writes what was added.
func (c *conn) flush(m *scratch) error {
	if len(m.out) == 0 {
		return nil
	}
	err := c.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = c.raw.Write(m.out)
	}
	m.out = m.out[:0]
	return err
}

// push adds what has come into the mailbox since the last look.
func (c *conn) push(m *scratch) error {
	envelopes, more, err := c.s.store.After(context.Background(), c.session.Mailbox, c.cursor, pushEnvelopes, pushBytes, m.incoming[:0])
	m.incoming = envelopes
	if err != nil {
		c.fail(err)
		return nil
	}
	if len(envelopes) == 0 && c.drained {
		return nil
	}
	m.frame = append(m.frame[:0], byte(relay.FramePush))
	bytes := 0
	for _, in := range envelopes {
		m.frame = relay.AppendPushed(m.frame, in)
		bytes += len(in.Body)
		c.cursor = in.Seq
	}
	c.drained = !more
	m.frame = relay.AppendDrained(m.frame, c.drained)

	// Before the frame is out, lest its acknowledgement comes first.
	c.mu.Lock()
	c.unacked += len(envelopes)
	c.unackedBytes += bytes
	c.look = c.look || more
	c.mu.Unlock()
	c.s.metrics.pushed.Add(int64(len(envelopes)))
	return c.add(m, m.frame)
}
