package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// weather is how the network treats connections that are made under it. In the
// zero weather everything arrives at once.
type weather struct {
	latency   time.Duration // what passes takes up to this long, each part its own time
	lifetime  int           // bytes after which a connection breaks, at random up to twice as many; 0: never
	blackHole float64       // how often it does not break then, but swallows everything from there on
	lose      float64       // frames of a WebSocket that never arrive
	repeat    float64       // frames that arrive twice
	replay    float64       // pushes that bring an old envelope again
	shuffle   float64       // pushes whose envelopes change places
}

var (
	fair  = weather{}
	rough = weather{latency: 300 * time.Millisecond, lifetime: 10_000, repeat: 0.1, replay: 0.1, shuffle: 0.3}
	awful = weather{
		latency: 3 * time.Second, lifetime: 6_000, blackHole: 0.2,
		lose: 0.05, repeat: 0.2, replay: 0.2, shuffle: 0.5,
	}
)

// network is between the people and the relay: one address that can be dialled,
// and somebody in the middle.
type network struct {
	tape *tape

	mu       sync.Mutex
	r        *rand.Rand // draws the seed of each connection; guarded by mu, as all below
	listener *listener  // nil: nobody listens
	down     bool
	weather  weather
	links    []*link
}

type listener struct {
	process *process
	queue   chan *end
	closed  chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// listen makes a process of the relay the one that is dialled.
func (n *network) listen(p *process) net.Listener {
	l := &listener{process: p, queue: make(chan *end), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listener = l
	return l
}

func (n *network) setWeather(w weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.weather = w
}

// cut breaks all connections and, until mend, lets no new one be made.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	for _, l := range n.links {
		l.breakOff()
	}
	n.links = nil
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// breakProcess breaks all connections of a process that is gone. What it had
// written and what is on its way may still arrive, or not.
func (n *network) breakProcess(p *process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		for _, e := range l.ends {
			if e.process != p {
				continue
			}
			if l.chance(0.25) {
				l.breakOff()
			} else {
				e.flush()
				e.out.finish()
				e.in.breakOff()
			}
		}
	}
}

var errRefused = errors.New("connection refused")

// dialer returns the way of one person's process to the relay.
func (n *network) dialer(who string, number byte, p *process) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		n.mu.Lock()
		target, down := n.listener, n.down
		n.mu.Unlock()
		if target == nil || down || p.isGone() {
			return nil, errRefused
		}
		l := n.newLink(who, number, p, target.process)
		select {
		case target.queue <- l.ends[1]:
		case <-target.closed:
			return nil, errRefused
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.down {
			l.breakOff()
		}
		n.links = append(n.links, l)
		return l.ends[0], nil
	}
}

// link is one connection.
type link struct {
	tape    *tape
	who     string // the person at the first end
	weather weather

	mu   sync.Mutex
	r    *rand.Rand // guarded by mu, as all below
	left int        // bytes it still lasts; negative: for ever
	hole bool       // what comes when they are used up
	lost bool       // they are

	ends [2]*end // the person's, the relay's
}

func (n *network) newLink(who string, number byte, person, relay *process) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &link{tape: n.tape, who: who, weather: n.weather, r: rand.New(rand.NewPCG(n.r.Uint64(), 0)), left: -1}
	if n.weather.lifetime > 0 {
		l.left = 1 + l.r.IntN(2*n.weather.lifetime)
		l.hole = l.r.Float64() < n.weather.blackHole
	}
	up, down := newStream(), newStream()
	here := &net.TCPAddr{IP: net.IPv4(10, 0, 0, number), Port: 1024}
	there := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}
	l.ends[0] = &end{link: l, process: person, in: down, out: up, local: here, remote: there}
	l.ends[1] = &end{link: l, process: relay, in: up, out: down, local: there, remote: here}
	for i, e := range l.ends {
		e.frames = &frames{link: l, fromRelay: i == 1}
	}
	return l
}

func (l *link) chance(p float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Float64() < p
}

// intN returns a number from 0 to n-1.
func (l *link) intN(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.IntN(n)
}

func (l *link) delay() time.Duration {
	if l.weather.latency == 0 {
		return 0
	}
	return time.Duration(l.intN(int(l.weather.latency)))
}

// spend returns how many of n bytes pass, and whether the connection breaks
// behind them.
func (l *link) spend(n int) (pass int, breaks bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.left < 0:
		return n, false
	case l.lost:
		return 0, false // into the hole
	case n < l.left:
		l.left -= n
		return n, false
	}
	l.lost = true
	return l.left, !l.hole
}

// breakOff breaks the connection; what is on its way is gone.
func (l *link) breakOff() {
	for _, e := range l.ends {
		e.in.breakOff()
		e.out.breakOff()
	}
}

// end is what one side has of a connection.
type end struct {
	link          *link
	process       *process
	in, out       *stream
	local, remote net.Addr
	frames        *frames

	mu sync.Mutex // one Write at a time
}

func (e *end) Read(b []byte) (int, error) {
	if e.process.isGone() {
		return 0, net.ErrClosed
	}
	n, err := e.in.read(b)
	if n > 0 && e.process.step() {
		e.process.kill() // it has arrived, and is never looked at
		e.process.report()
		return 0, net.ErrClosed
	}
	return n, err
}

func (e *end) Write(b []byte) (int, error) {
	if e.process.isGone() {
		return 0, net.ErrClosed
	}
	if e.process.step() {
		// The process dies before, in, or after this write. Whatever allows it to be
		// written has been stored before: so the files are copied first.
		e.process.kill()
		switch e.link.intN(4) {
		case 0:
		case 1:
			_, _ = e.write(b[:e.link.intN(len(b)+1)])
		default:
			_, _ = e.write(b)
		}
		e.process.report()
		return 0, net.ErrClosed
	}
	return e.write(b)
}

func (e *end) write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.frames.split(b) {
		if err := e.pass(p); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// pass puts a part on its way.
func (e *end) pass(p part) error {
	n, breaks := e.link.spend(len(p.b))
	if n > 0 {
		at := time.Now().Add(e.link.delay())
		torn := n < len(p.b) // and so nothing may come behind it
		if err := e.out.put(p.b[:n], at, p.inOrder || torn); err != nil {
			return err
		}
	}
	if breaks {
		e.link.breakOff()
		return io.ErrClosedPipe
	}
	return nil
}

// flush puts the torn frame on its way that a dead process has left.
func (e *end) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.pass(part{b: e.frames.torn(), inOrder: true})
}

func (e *end) Close() error {
	e.out.finish()
	e.in.breakOff()
	return nil
}

func (e *end) LocalAddr() net.Addr  { return e.local }
func (e *end) RemoteAddr() net.Addr { return e.remote }

func (e *end) SetDeadline(t time.Time) error      { return e.SetReadDeadline(t) }
func (e *end) SetReadDeadline(t time.Time) error  { e.in.setDeadline(t); return nil }
func (e *end) SetWriteDeadline(_ time.Time) error { return nil } // a write does not wait

// stream is one direction of a connection.
type stream struct {
	mu       sync.Mutex
	parts    []arriving // by the time of their arrival
	last     time.Time  // when the last of them arrives
	finished bool       // nothing is put any more
	broken   bool
	deadline time.Time
	change   chan struct{} // closed at the next change
}

type arriving struct {
	at    time.Time
	b     []byte
	begun bool // a piece of it was read
}

func newStream() *stream { return &stream{change: make(chan struct{})} }

func (s *stream) changed() {
	close(s.change)
	s.change = make(chan struct{})
}

// put adds bytes that arrive at a time, or later if they must not overtake.
func (s *stream) put(b []byte, at time.Time, inOrder bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken || s.finished {
		return io.ErrClosedPipe
	}
	if inOrder && at.Before(s.last) {
		at = s.last
	}
	if at.After(s.last) {
		s.last = at
	}
	i := len(s.parts)
	for i > 0 && s.parts[i-1].at.After(at) && !s.parts[i-1].begun {
		i--
	}
	s.parts = append(s.parts, arriving{})
	copy(s.parts[i+1:], s.parts[i:])
	s.parts[i] = arriving{at: at, b: append([]byte(nil), b...)}
	s.changed()
	return nil
}

func (s *stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	s.changed()
}

func (s *stream) breakOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	s.changed()
}

func (s *stream) setDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	s.changed()
}

func (s *stream) read(b []byte) (int, error) {
	for {
		n, wait, change, err := s.tryRead(b)
		if n > 0 || err != nil {
			return n, err
		}
		var timer *time.Timer
		var due <-chan time.Time
		if wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-change:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// tryRead reads what has arrived, or says how long to wait: zero for as long as
// nothing changes.
func (s *stream) tryRead(b []byte) (n int, wait time.Duration, change <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case s.broken:
		return 0, 0, nil, io.ErrUnexpectedEOF
	case !s.deadline.IsZero() && !s.deadline.After(now):
		return 0, 0, nil, os.ErrDeadlineExceeded
	case len(s.parts) > 0 && !s.parts[0].at.After(now):
		head := &s.parts[0]
		n = copy(b, head.b)
		head.b, head.begun = head.b[n:], true
		if len(head.b) == 0 {
			s.parts = s.parts[1:]
		}
		return n, 0, nil, nil
	case len(s.parts) == 0 && s.finished:
		return 0, 0, nil, io.EOF
	}
	if len(s.parts) > 0 {
		wait = s.parts[0].at.Sub(now)
	}
	if until := s.deadline.Sub(now); !s.deadline.IsZero() && (wait == 0 || until < wait) {
		wait = until
	}
	return 0, wait, s.change, nil
}

// process is a run of a program, until it is stopped or killed.
type process struct {
	dir  string          // its files
	died chan<- *process // told when it has died at work

	// busy is held while the driver uses the process: it does not die then, for
	// nobody would know what has become of it.
	busy sync.Mutex

	mu    sync.Mutex
	after int               // operations of the network until it dies; 0: it does not
	dead  bool              // nothing of it reaches the network any more
	files map[string][]byte // as they were when it died; nil: they would not keep still
}

// arm makes the process die at its n-th operation from now on.
func (p *process) arm(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = n
}

// disarm reports false if the process has died.
func (p *process) disarm() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = 0
	return !p.dead
}

// step counts an operation, and reports whether the process dies in this one.
func (p *process) step() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after == 0 || p.dead {
		return false
	}
	if p.after > 1 {
		p.after--
		return false
	}
	return p.busy.TryLock() // until report
}

// report tells the driver that the process was killed after step was true.
func (p *process) report() {
	p.busy.Unlock()
	p.died <- p
}

// kill ends the process where it is. It is cut off from the network first, so
// that nothing gets out that is not in the copy of its files; its other threads
// may be in the middle of writing to them.
func (p *process) kill() {
	p.end()
	files := steadyFiles(p.dir)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files = files
}

// end cuts a process off that has stopped.
func (p *process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
}

func (p *process) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// takeFiles writes what the process has left into a new folder. The process has
// come to rest.
func (p *process) takeFiles(to string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	files := p.files
	if files == nil {
		var err error
		if files, err = readFiles(p.dir); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(to, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// steadyFiles returns the files of a folder as they are at one moment, while
// others may write. It returns nil if that does not come about.
//
// Of two readings the first is good if nothing has changed between them, but for
// what was appended to a write-ahead log: SQLite moves a log into its database
// before it begins it anew.
func steadyFiles(dir string) map[string][]byte {
	before, err := readFiles(dir)
	for range 20 {
		if err != nil {
			return nil
		}
		var after map[string][]byte
		if after, err = readFiles(dir); err != nil {
			return nil
		}
		steady := len(before) == len(after)
		for name, data := range before {
			later, there := after[name]
			if strings.HasSuffix(name, "-wal") && len(later) > len(data) {
				later = later[:len(data)]
			}
			steady = steady && there && bytes.Equal(data, later)
		}
		if steady {
			return before
		}
		before = after
	}
	return nil
}

// readFiles reads the files that a process leaves behind when it is killed, the
// log after its database. The shared memory of SQLite is none of them: it dies with
// the last process that has it. The relay's reserve is only space.
func readFiles(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), "-shm") || strings.HasSuffix(entry.Name(), "-reserve") {
			continue
		}
		if files[entry.Name()], err = os.ReadFile(filepath.Join(dir, entry.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}
