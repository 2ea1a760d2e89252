package server

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/signal/curve"
)

// Registration says who may make an account.
type Registration int

// The ways of registration.
const (
	// RegistrationInvite takes people with an invitation, and whoever comes
	// directly over loopback.
	RegistrationInvite Registration = iota
	// RegistrationOpen takes everybody.
	RegistrationOpen
	// RegistrationClosed takes nobody.
	RegistrationClosed
)

// ParseRegistration reads "invite", "open" or "closed".
func ParseRegistration(s string) (Registration, error) {
	switch s {
	case "invite":
		return RegistrationInvite, nil
	case "open":
		return RegistrationOpen, nil
	case "closed":
		return RegistrationClosed, nil
	default:
		return 0, errors.New("registration is open, invite or closed")
	}
}

// Config is what may be chosen. The zero value of each field but Origins is the
// default.
type Config struct {
	// Origins are what clients may dial. Proofs for any other are refused, which
	// keeps another relay from passing on a login to this one.
	Origins      []relay.Origin
	Registration Registration
	// TrustedProxies may say in X-Forwarded-For whose request they pass on.
	TrustedProxies []netip.Prefix
	Limits         Limits
	// TokenLife is how long a token is good (one hour).
	TokenLife time.Duration
	// Logger gets a handful of lines; nil drops them.
	Logger *slog.Logger
}

// Server is one node of a relay.
type Server struct {
	cfg    Config
	limits Limits
	log    *slog.Logger
	store  mailbox.Store
	bus    bus.Bus

	challenges     challenger
	ingest         *ingest
	metrics        metrics
	handler        http.Handler
	originPatterns []string
	loopback       atomic.Bool // the listener is on loopback
	public         bool        // clients elsewhere know the relay by a name
	nobody         [32]byte    // a public key that no device has
	numbers        atomic.Uint64

	bundles       *quota[relay.UserID]
	oneTime       *quota[relay.UserID]
	lookups       *quota[relay.UserID]
	topicFrames   *quota[relay.Address]
	takeovers     *quota[relay.Address]
	registrations *quota[netip.Prefix]
	logins        *quota[netip.Prefix]
	sockets       *counter[netip.Prefix]
	plain         *counter[netip.Prefix] // connections that are not WebSockets
	requests      *gates[relay.Address]

	mu       sync.Mutex
	draining bool                             // guarded by mu
	taken    uint64                           // logins that took the place of others; guarded by mu
	conns    map[relay.Address]map[*conn]bool // guarded by mu
	fresh    map[*conn]bool                   // that have not logged in; guarded by mu
	live     sync.WaitGroup                   // connections; added to under mu while not draining
}

const (
	// topicsPerHour is how many frames about topics one device may send: twice as many
	// as a client sends that has all the topics it may have, and repeats its values every
	// two minutes (docs/PROTOCOL.md, Presence).
	topicsPerHour = 2 * 30 * relay.MaxTopics
	// takeoversPerHour is how many logins of one device end other connections of it. It
	// keeps two copies of a profile from throwing each other out for ever: they have
	// noticed by then, and share the mailbox.
	takeoversPerHour = 4
	// requestsAtATime is how many requests of one device are served at a time;
	// others wait, for admitTimeout at most.
	requestsAtATime = 8
	admitTimeout    = 20 * time.Second
)

// New returns a relay that is not running yet.
func New(store mailbox.Store, b bus.Bus, cfg Config) (*Server, error) {
	if len(cfg.Origins) == 0 {
		return nil, errors.New("server: no origins: nobody could log in")
	}
	if cfg.TokenLife == 0 {
		cfg.TokenLife = time.Hour
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limits := cfg.Limits.withDefaults()
	s := &Server{
		cfg: cfg, limits: limits, log: cfg.Logger, store: store, bus: b,
		bundles:       newQuota[relay.UserID](limits.BundlesPerHour),
		oneTime:       newQuota[relay.UserID](limits.OneTimePerHour),
		lookups:       newQuota[relay.UserID](limits.LookupsPerHour),
		topicFrames:   newQuota[relay.Address](topicsPerHour),
		takeovers:     newQuota[relay.Address](takeoversPerHour),
		registrations: newQuota[netip.Prefix](limits.RegistrationsPerHour),
		logins:        newQuota[netip.Prefix](limits.LoginsPerHour),
		sockets:       newCounter[netip.Prefix](limits.ConnectionsPerAddress),
		plain:         newCounter[netip.Prefix](limits.ConnectionsPerAddress),
		requests:      newGates[relay.Address](requestsAtATime),
		conns:         make(map[relay.Address]map[*conn]bool),
		fresh:         make(map[*conn]bool),
	}
	for _, o := range cfg.Origins {
		_, host, _ := strings.Cut(string(o), "://")
		_, shown, _ := strings.Cut(o.URL(), "://")
		s.originPatterns = append(s.originPatterns, host, shown)
		s.public = s.public || !o.Loopback()
	}
	s.nobody = curve.GenerateKey().PublicKey()
	s.ingest = newIngest(store, b, &s.metrics)
	s.handler = s.routes()
	return s, nil
}

// Timeouts of HTTP. WebSockets have their own.
const (
	headerTimeout   = 10 * time.Second
	requestTimeout  = time.Minute
	keepAlive       = 2 * time.Minute
	shutdownTimeout = 10 * time.Second
	maxHeader       = 16 << 10
)

type rawConnKey struct{}

// Serve answers on a listener until ctx ends, and then finishes what has begun. It
// closes the listener. It returns nil after a shutdown that was asked for, and
// [mailbox.ErrFailed] when the store has failed: then the process should end.
// Serve can be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// Whoever is told to stop at once stops like everybody else, without an error.
	key, err := s.store.ChallengeKey(context.WithoutCancel(ctx))
	if err != nil {
		return errors.Join(fmt.Errorf("starting: %w", err), l.Close())
	}
	s.challenges.key = key
	s.loopback.Store(addrOf(l.Addr().String()).IsLoopback())

	web := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       keepAlive,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(panicLog{s.log}, "", 0),
		ConnState:         s.count,
		// It would say yes to anybody who asks for "*".
		DisableGeneralOptionsHandler: true,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, rawConnKey{}, c)
		},
		// A request outlives ctx, within shutdownTimeout.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}

	upkeep, stopUpkeep := context.WithCancel(context.WithoutCancel(ctx))
	var workers sync.WaitGroup
	workers.Go(func() { s.ingest.run(context.WithoutCancel(ctx)) })
	workers.Go(func() { s.poll(upkeep) })
	workers.Go(func() { s.expire(upkeep) })

	served := make(chan error, 1)
	workers.Go(func() { served <- web.Serve(l) })

	var result error
	select {
	case <-ctx.Done():
		s.log.InfoContext(ctx, "stopping")
	case <-s.store.Failed():
		s.log.ErrorContext(ctx, "the storage has failed; stopping")
		result = mailbox.ErrFailed
	case err := <-served:
		result = fmt.Errorf("listening: %w", err)
	}
	s.shutdown(ctx, web, result)
	stopUpkeep()
	s.ingest.close()
	workers.Wait()
	return result
}

// count counts the connections of each address that are not WebSockets, and closes
// those that are too many. It is called whenever a connection changes its state.
func (s *Server) count(c net.Conn, state http.ConnState) {
	remote := addrOf(c.RemoteAddr().String())
	if s.exempt(remote) {
		return
	}
	switch state {
	case http.StateNew:
		if !s.plain.enter(networkOf(remote)) {
			_ = c.Close() // whoever serves it finds it closed
		}
	case http.StateHijacked, http.StateClosed:
		s.plain.remove(networkOf(remote))
	case http.StateActive, http.StateIdle:
	}
}

// panicLog gets what [http.Server] logs. It passes a panic of ours on, without the
// address that comes with it, and drops the rest: handshakes that failed, and whose.
type panicLog struct{ log *slog.Logger }

// Write implements [io.Writer].
func (l panicLog) Write(p []byte) (int, error) {
	if text, ok := strings.CutPrefix(string(p), "http: panic serving "); ok {
		_, text, _ = strings.Cut(text, ": ")
		l.log.Error("a request met a fault of the relay", "panic", strings.TrimSpace(text))
	}
	return len(p), nil
}

// shutdown ends requests and connections, letting those that have begun finish.
func (s *Server) shutdown(ctx context.Context, web *http.Server, reason error) {
	status := websocket.StatusServiceRestart
	if reason != nil {
		status = websocket.StatusTryAgainLater
	}
	s.mu.Lock()
	s.draining = true
	for c := range s.fresh {
		c.close(status, errStopping)
	}
	for _, conns := range s.conns {
		for c := range conns {
			c.close(status, errStopping)
		}
	}
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := web.Shutdown(ctx); err != nil {
		_ = web.Close() // whoever is still talking has had his time
	}
	s.live.Wait()
}

// begin makes a connection known that has not logged in yet, until settled; false if
// none may begin any more.
func (s *Server) begin(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.live.Add(1)
	s.fresh[c] = true
	return true
}

func (s *Server) settled(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fresh, c)
}

// takenPlaces returns how many logins have taken the place of others so far.
func (s *Server) takenPlaces() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// register makes a connection known, so that it can be ended with the others. It
// reports whether a login, of whichever device, may have revoked the connection's
// token between the look at it and this.
func (s *Server) register(c *conn) (doubtful bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doubtful = c.taken != s.taken
	if s.draining {
		c.close(websocket.StatusServiceRestart, errStopping)
		return doubtful
	}
	conns := s.conns[c.session.Address]
	if conns == nil {
		conns = make(map[*conn]bool)
		s.conns[c.session.Address] = conns
	}
	if len(conns) >= maxPerDevice {
		oldest := c
		for other := range conns {
			if other.number < oldest.number || oldest == c {
				oldest = other
			}
		}
		oldest.close(websocket.StatusPolicyViolation, &relay.Error{
			Code: relay.CodeTooManyConnections, Detail: "a newer connection of the same device took its place",
		})
	}
	conns[c] = true
	return doubtful
}

func (s *Server) unregister(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := s.conns[c.session.Address]
	delete(conns, c)
	if len(conns) == 0 {
		delete(s.conns, c.session.Address)
	}
}

// each calls f for each connection of a device. f must not wait.
func (s *Server) each(address relay.Address, f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns[address] {
		f(c)
	}
}

const (
	// pollEvery is how long it takes at most until a connection notices what the
	// bus did not tell: a lost wake, an account disabled by a command.
	pollEvery = time.Minute
	// pollSteps spreads the connections over that time, by their numbers.
	pollSteps = 60
	// expireEvery is how often old envelopes are looked for.
	expireEvery = 10 * time.Minute
)

// poll makes every connection look into its mailbox once in pollEvery.
func (s *Server) poll(ctx context.Context) {
	tick := time.NewTicker(pollEvery / pollSteps)
	defer tick.Stop()
	for step := uint64(0); ; step = (step + 1) % pollSteps {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.pollStep(step)
		}
	}
}

func (s *Server) pollStep(step uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conns := range s.conns {
		for c := range conns {
			if c.number%pollSteps == step {
				c.recheck()
			}
		}
	}
}

// expire deletes what is past its time.
func (s *Server) expire(ctx context.Context) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		for {
			n, woken, err := s.store.Expire(ctx, time.Now())
			s.bus.Wake(woken...)
			s.metrics.expired.Add(int64(n))
			if err != nil || n == 0 {
				break // it is tried again; a store that has failed says so elsewhere
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
