package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/relay"
)

// The benchmarks drive a relay in a process of its own over loopback, through the
// socket that clients use, and count what recipients got. What they got had been made
// durable before: the relay reads it from its database.

const (
	benchUsers = 200 // in pairs, each writing to the other
	benchBody  = 300 // bytes
)

// benchRelay is a relay to be measured, with its users.
type benchRelay struct {
	*process

	data   string
	people []*person
	tokens []relay.Token
}

func newBenchRelay(b *testing.B, users int) *benchRelay {
	b.Helper()
	r := &benchRelay{data: filepath.Join(b.TempDir(), "data")}
	r.process = serveProcess(b, nil, "serve", "--data", r.data, "--listen", freePort(b), "--mailbox-messages", "10000000", "--mailbox-bytes", "100000000000")
	r.people, r.tokens = make([]*person, users), make([]relay.Token, users)
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < users; i = int(next.Add(1)) - 1 {
				r.people[i] = newPerson(b)
				token, err := registerByHand(b, r.origin, r.people[i])
				if err != nil {
					b.Errorf("registering: %v", err)
					return
				}
				r.tokens[i] = token
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return r
}

// registerByHand makes an account and returns the token that comes with it, which the
// client keeps for itself.
func registerByHand(b *testing.B, origin relay.Origin, p *person) (relay.Token, error) {
	post := func(path string, body, response any) error {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, string(origin)+path, bytes.NewReader(encoded))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode > 299 {
			return fmt.Errorf("%s: status %d", path, res.StatusCode)
		}
		return json.NewDecoder(res.Body).Decode(response)
	}
	var challenge relay.ChallengeResponse
	if err := post("/v1/challenge", struct{}{}, &challenge); err != nil {
		return relay.Token{}, err
	}
	r := p.registration("")
	message := relay.RegisterMessage(origin, challenge.Challenge, p.address, r.DeviceList, "")
	var response relay.RegisterResponse
	if err := post("/v1/register", relay.RegisterRequest{
		DeviceList: r.DeviceList, Device: 1, Prekeys: r.Prekeys,
		Proof: relay.Proof{Origin: origin, Challenge: challenge.Challenge, Signature: p.identity.Sign(message)},
	}, &response); err != nil {
		return relay.Token{}, err
	}
	return relay.ParseToken(response.Token)
}

// wire is a WebSocket that costs as little as can be, so that it is the relay that is
// measured: frames are masked with zeros, and written together.
type wire struct {
	net.Conn

	in *bufio.Reader

	mu  sync.Mutex
	out []byte // written by flush; guarded by mu
}

// connect opens a connection of user i and reads until its mailbox is drained. The
// envelopes on the way are counted and, if ack is true, acknowledged.
func (r *benchRelay) connect(i int, ack bool) (*wire, int, error) {
	_, address, _ := strings.Cut(string(r.origin), "://")
	conn, err := net.Dial("tcp", address) //nolint:noctx // loopback, and it ends with the relay
	if err != nil {
		return nil, 0, err
	}
	w := &wire{Conn: conn, in: bufio.NewReaderSize(conn, 2048)}
	if _, err := fmt.Fprintf(conn, "GET /v1/ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", address); err != nil {
		return nil, 0, err
	}
	for line := ""; line != "\r\n"; {
		if line, err = w.in.ReadString('\n'); err != nil {
			return nil, 0, err
		}
	}
	w.add(relay.AppendAuth(nil, r.tokens[i]))
	if err := w.flush(); err != nil {
		return nil, 0, err
	}
	count := 0
	for {
		frame, err := w.read()
		if err != nil {
			return nil, 0, err
		}
		if relay.FrameType(frame[0]) != relay.FramePush {
			continue
		}
		p, err := relay.ParsePush(frame[1:])
		if err != nil {
			return nil, 0, err
		}
		count += len(p.Envelopes)
		if ack && len(p.Envelopes) > 0 {
			w.ack(p.Envelopes)
			if err := w.flush(); err != nil {
				return nil, 0, err
			}
		}
		if p.Drained {
			return w, count, nil
		}
	}
}

// add queues a frame.
func (w *wire) add(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = append(w.out, 0x82)
	if n := len(frame); n < 126 {
		w.out = append(w.out, 0x80|byte(n))
	} else {
		w.out = append(w.out, 0x80|126)
		w.out = binary.BigEndian.AppendUint16(w.out, uint16(n))
	}
	w.out = append(append(w.out, 0, 0, 0, 0), frame...)
}

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.Write(w.out)
	w.out = w.out[:0]
	return err
}

func (w *wire) ack(envelopes []relay.Incoming) {
	for part := range slices.Chunk(envelopes, relay.MaxAcks) {
		handles := make([]relay.Handle, len(part))
		for i, in := range part {
			handles[i] = in.Handle
		}
		w.add(relay.AppendAck(nil, handles))
	}
}

// read returns the next frame.
func (w *wire) read() ([]byte, error) {
	var head [10]byte
	if _, err := io.ReadFull(w.in, head[:2]); err != nil {
		return nil, err
	}
	length := uint64(head[1])
	switch length {
	case 126:
		if _, err := io.ReadFull(w.in, head[:2]); err != nil {
			return nil, err
		}
		length = uint64(binary.BigEndian.Uint16(head[:2]))
	case 127:
		if _, err := io.ReadFull(w.in, head[:8]); err != nil {
			return nil, err
		}
		length = binary.BigEndian.Uint64(head[:8])
	}
	if head[0] != 0x82 && length < 1 || length > relay.MaxFrame {
		return nil, errors.New("not a frame")
	}
	frame := make([]byte, length)
	_, err := io.ReadFull(w.in, frame)
	return frame, err
}

// cpu returns the processor time the relay has used.
func (r *benchRelay) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, f := range fields[11:13] { // utime and stime, of 10 ms each
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// rss returns the memory the relay holds, in bytes.
func (r *benchRelay) rss(b *testing.B) int {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return n << 10
}

// report prints what a phase of so many messages took.
func report(b *testing.B, what string, messages int, took, cpu time.Duration) {
	b.Helper()
	b.ReportMetric(float64(messages)/took.Seconds(), what+"/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/1e3/float64(messages), what+"-cpu-µs")
}

// send adds a frame with one message. Its body begins with the time.
func (r *benchRelay) send(w *wire, to int, ref uint64, now time.Time) {
	body := make([]byte, benchBody)
	binary.BigEndian.PutUint64(body, uint64(now.UnixNano()))
	w.add(relay.AppendSend(nil, relay.Send{
		Ref: ref, To: r.people[to].address.User,
		Envelopes: []relay.Outgoing{{Device: 1, ID: relay.NewEnvelopeID(), Body: body}},
	}))
}

// converse connects everybody and lets both of each pair write to each other, count
// messages in all, until everything has arrived. first says how many each may send at
// once; then each gets as many more as were made durable, unless pace paces them. It
// returns the times the messages were under way.
func (r *benchRelay) converse(b *testing.B, count, first int, pace func(add func(user int))) []time.Duration {
	b.Helper()
	wires := make([]*wire, benchUsers)
	for i := range wires {
		var err error
		if wires[i], _, err = r.connect(i, true); err != nil {
			b.Fatal(err)
		}
	}
	var (
		left, missing atomic.Int64 // to be sent, to be received
		done          = make(chan struct{})
		wg            sync.WaitGroup
		mu            sync.Mutex
		times         []time.Duration // guarded by mu
	)
	left.Store(int64(count))
	missing.Store(int64(count))
	more := func(i, n int) {
		for ; n > 0 && left.Add(-1) >= 0; n-- {
			r.send(wires[i], i^1, 1, time.Now())
		}
	}
	b.ResetTimer()
	began, cpu := time.Now(), r.cpu(b)
	for i, w := range wires {
		wg.Go(func() {
			var own []time.Duration
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				times = append(times, own...)
			}()
			for {
				frame, err := w.read()
				if err != nil {
					return // closed below
				}
				switch relay.FrameType(frame[0]) {
				case relay.FrameSent:
					refs, err := relay.ParseSent(frame[1:])
					if err != nil {
						b.Error(err)
						return
					}
					if pace == nil {
						more(i, len(refs))
					}
				case relay.FramePush:
					p, err := relay.ParsePush(frame[1:])
					if err != nil {
						b.Error(err)
						return
					}
					now := time.Now().UnixNano()
					for _, in := range p.Envelopes {
						own = append(own, time.Duration(now-int64(binary.BigEndian.Uint64(in.Body))))
					}
					w.ack(p.Envelopes)
					if n := int64(len(p.Envelopes)); n > 0 && missing.Add(-n) == 0 {
						close(done)
					}
				case relay.FrameRefused, relay.FrameBye:
					b.Errorf("the relay refuses: %q", frame)
					return
				default: // what the relay never sends, or what a benchmark does not look at
				}
				// What belongs together goes together.
				if w.in.Buffered() == 0 && w.flush() != nil {
					return
				}
			}
		})
	}
	if pace == nil {
		for i, w := range wires {
			more(i, first)
			_ = w.flush() // the reader sees a connection that has broken
		}
	} else {
		pace(func(i int) {
			more(i, 1)
			_ = wires[i].flush() // as above
		})
	}
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		b.Errorf("%d messages have not arrived", missing.Load())
	}
	b.StopTimer()
	report(b, "msg", count, time.Since(began), r.cpu(b)-cpu)
	for _, w := range wires {
		_ = w.Close()
	}
	wg.Wait()
	return times
}

// Two hundred people in pairs, sixteen messages of each on their way at a time.
func BenchmarkRelayOnline(b *testing.B) {
	r := newBenchRelay(b, benchUsers)
	r.converse(b, max(b.N, 20_000), 16, nil)
	b.ReportMetric(float64(r.rss(b))/1e6, "rss-MB")
}

// The same people, ten thousand messages a second between them: how long one is
// under way, from before it is written to after it was read.
func BenchmarkRelayLatency(b *testing.B) {
	const perSecond = 10_000
	r := newBenchRelay(b, benchUsers)
	count := max(b.N, perSecond)
	times := r.converse(b, count, 0, func(add func(int)) {
		began := time.Now()
		for sent := 0; sent < count; {
			for due := min(count, int(time.Since(began).Seconds()*perSecond)); sent < due; sent++ {
				add(sent % benchUsers)
			}
			time.Sleep(200 * time.Microsecond)
		}
	})
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1e3, "p99-ms")
}

// Half of the people write to the other half, who are away and then come back.
func BenchmarkRelayOffline(b *testing.B) {
	r := newBenchRelay(b, benchUsers)
	count := max(b.N/benchUsers*benchUsers, 20_000)
	each := count / (benchUsers / 2)
	var (
		wg    sync.WaitGroup
		wires [benchUsers / 2]*wire
	)
	for i := range wires {
		var err error
		if wires[i], _, err = r.connect(2*i, false); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	began, cpu := time.Now(), r.cpu(b)
	for i, w := range wires {
		wg.Go(func() {
			for sent, stored := 0, 0; stored < each; {
				for ; sent < each && sent-stored < 100; sent++ {
					r.send(w, 2*i+1, 1, began)
				}
				if err := w.flush(); err != nil {
					b.Error(err)
					return
				}
				frame, err := w.read()
				if err != nil {
					b.Error(err)
					return
				}
				if refs, err := relay.ParseSent(frame[1:]); relay.FrameType(frame[0]) == relay.FrameSent && err == nil {
					stored += len(refs)
				} else {
					b.Errorf("the relay says %q", frame)
					return
				}
			}
		})
	}
	wg.Wait()
	report(b, "stored", count, time.Since(began), r.cpu(b)-cpu)
	size := 0
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(filepath.Join(r.data, databaseName+suffix)); err == nil {
			size += int(info.Size())
		}
	}
	began, cpu = time.Now(), r.cpu(b)
	var got atomic.Int64
	for i := range wires {
		wg.Go(func() {
			w, n, err := r.connect(2*i+1, true)
			if err != nil {
				b.Error(err)
				return
			}
			got.Add(int64(n))
			_ = w.Close()
		})
	}
	wg.Wait()
	b.StopTimer()
	if got.Load() != int64(count) {
		b.Errorf("%d of %d messages came", got.Load(), count)
	}
	report(b, "drained", count, time.Since(began), r.cpu(b)-cpu)
	b.ReportMetric(float64(size)/float64(count), "disk-B")
}

// What a connection costs that has logged in and says nothing.
func BenchmarkRelayIdle(b *testing.B) {
	const perDevice = 4 // as many as one may have
	users := max(b.N, 1000)
	r := newBenchRelay(b, users)
	b.ReportMetric(float64(r.rss(b))/1e6, "rest-MB")
	before := r.rss(b)
	b.ResetTimer()
	began := time.Now()
	wires := make(chan *wire, users*perDevice)
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < users*perDevice; i = int(next.Add(1)) - 1 {
				w, _, err := r.connect(i%users, false)
				if err != nil {
					b.Error(err)
					return
				}
				wires <- w
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(users*perDevice)/time.Since(began).Seconds(), "accepted/s")
	time.Sleep(2 * time.Second) // the connections fall silent
	b.ReportMetric(float64(r.rss(b)-before)/float64(users*perDevice), "B/connection")
	close(wires)
	for w := range wires {
		_ = w.Close()
	}
}
