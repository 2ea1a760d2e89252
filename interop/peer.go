package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	defaultTimeout = 20 * time.Second
	maxReply       = 64 << 20 // bytes of one reply line; a session record of thousands of skipped keys has a few MB
	stderrTail     = 8 << 10  // bytes of standard error kept for the report of a failure
)

// Command says how a peer is started.
type Command struct {
	Path string   // of the program
	Args []string // without the program's name

	// Timeout bounds the start, each call and the end. Zero is 20 seconds: the first call after the
	// start waits for a run-time to load, on a busy machine.
	Timeout time.Duration
}

// Args are the fields of one request. Byte slices travel as standard base64.
type Args map[string]any

// Reply is one reply, still in JSON.
type Reply []byte

// Decode reads the reply's fields into v as [json.Unmarshal] does: fields v lacks are ignored.
func (r Reply) Decode(v any) error {
	if err := json.Unmarshal(r, v); err != nil {
		return fmt.Errorf("reading a reply: %w", err)
	}
	return nil
}

// Error is a peer's refusal of one request. The peer works on.
type Error struct {
	Op      string
	Name    string // the kind of refusal: "DuplicatedMessage", "UntrustedIdentity", "Unsupported", …
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s refused: %s: %s", e.Op, e.Name, e.Message)
}

// Peer is a running process that speaks JSON lines. Its methods may be called from several goroutines;
// requests are answered one after the other.
type Peer struct {
	cmd     *exec.Cmd
	timeout time.Duration

	mu     sync.Mutex // one request at a time
	in     *os.File
	out    *os.File
	lines  *bufio.Reader
	id     uint64
	broken error // why no more requests are possible

	stderr tail
}

// Start starts a peer and waits until it has answered "hello". The process is killed when ctx ends;
// the caller must Close the peer.
func Start(ctx context.Context, c Command) (*Peer, error) {
	p := &Peer{timeout: c.Timeout}
	if p.timeout == 0 {
		p.timeout = defaultTimeout
	}
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting a peer: %w", err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a peer: %w", err), inRead.Close(), inWrite.Close())
	}
	p.in, p.out = inWrite, outRead
	p.lines = bufio.NewReaderSize(outRead, 64<<10)

	p.cmd = exec.CommandContext(ctx, c.Path, c.Args...) //nolint:gosec // tests choose the programs they run
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = inRead, outWrite, &p.stderr
	p.cmd.WaitDelay = p.timeout
	err = p.cmd.Start()
	if closing := errors.Join(inRead.Close(), outWrite.Close()); err == nil {
		err = closing // the child holds its own copies
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a peer: %w", err), inWrite.Close(), outRead.Close())
	}
	if _, err := p.Call("hello", nil); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Call sends one request and waits for its reply. A refusal by the peer is an [*Error]. Any other error
// means that the peer is gone: it died, was silent for the timeout or spoke nonsense; the error quotes
// the end of its standard error, and every later call fails alike.
func (p *Peer) Call(op string, args Args) (Reply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return nil, p.broken
	}
	p.id++
	request := Args{"id": p.id, "op": op}
	maps.Copy(request, args)
	line, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding a request for %s: %w", op, err)
	}
	line, err = p.exchange(append(line, '\n'))
	if err != nil {
		return nil, p.fail(fmt.Errorf("%s: %w", op, err))
	}
	var head struct {
		ID    uint64
		OK    *bool
		Error struct{ Name, Message string }
	}
	switch err := json.Unmarshal(line, &head); {
	case err != nil:
		return nil, p.fail(fmt.Errorf("%s: reading the reply: %w", op, err))
	case head.ID != p.id || head.OK == nil:
		return nil, p.fail(fmt.Errorf("%s: the reply answers another request", op))
	case !*head.OK:
		return nil, &Error{Op: op, Name: head.Error.Name, Message: head.Error.Message}
	}
	return line, nil
}

// exchange writes one line and reads one.
func (p *Peer) exchange(line []byte) ([]byte, error) {
	deadline := time.Now().Add(p.timeout)
	if err := errors.Join(p.in.SetWriteDeadline(deadline), p.out.SetReadDeadline(deadline)); err != nil {
		return nil, fmt.Errorf("setting deadlines: %w", err)
	}
	if _, err := p.in.Write(line); err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	var reply []byte
	for {
		part, err := p.lines.ReadSlice('\n')
		if len(reply)+len(part) > maxReply {
			return nil, errors.New("the reply is too long")
		}
		reply = append(reply, part...)
		if err == nil {
			return reply, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("waiting for the reply: %w", err)
		}
	}
}

// fail ends a process that can no longer be talked to and keeps the reason. The caller holds p.mu.
func (p *Peer) fail(cause error) error {
	_ = p.cmd.Process.Kill() // it may have died already, which is then in the wait status
	_ = p.cmd.Wait()         // says what ProcessState says
	p.broken = fmt.Errorf("peer %s: %w (%s)%s", strings.Join(p.cmd.Args, " "), cause, p.cmd.ProcessState, p.stderr.quote())
	return p.broken
}

// Close ends the process by closing its standard input, or by force after the timeout, and waits for it.
// It returns an error if the process did not end well.
func (p *Peer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	closing := p.in.Close()
	defer func() { _ = p.out.Close() }() // only read from
	if p.broken != nil {
		return nil // told by the call that broke it
	}
	p.broken = errors.New("peer closed")
	kill := time.AfterFunc(p.timeout, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("ending peer %s: %w%s", strings.Join(p.cmd.Args, " "), err, p.stderr.quote())
	}
	return closing
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - stderrTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) == 0 {
		return ""
	}
	return "; its standard error ends with:\n" + string(t.buf)
}
