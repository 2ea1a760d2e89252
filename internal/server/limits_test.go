package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
	"github.com/chate2e/chate2e/signal/curve"
)

// registerStatus tries to register a fresh person with a request made by hand.
func (n *node) registerStatus(t *testing.T, headers ...string) answer {
	t.Helper()
	p := n.stranger(t)
	a := n.http(t, "POST", "/v1/challenge", "", nil, headers...)
	if a.status == 429 {
		return a
	}
	c := n.challenge(t)
	message := relay.RegisterMessage(n.origin, c, p.address, p.list, "")
	return n.http(t, "POST", "/v1/register", "", relay.RegisterRequest{
		DeviceList: p.list, Device: 1, Prekeys: standing(),
		Proof: relay.Proof{Origin: n.origin, Challenge: c, Signature: p.identity.Sign(message)},
	}, headers...)
}

// Whoever sits at this computer may register without an invitation, and without
// limits; whoever only seems to, may not.
func TestOnlyLoopbackIsLoopback(t *testing.T) {
	o := option{tcp: true}
	o.server.Limits.RegistrationsPerHour = 3
	n := start(t, o)
	for range 10 {
		if got := n.registerStatus(t); got.status != 201 {
			t.Fatalf("directly: status %d %s", got.status, got.body)
		}
	}
	_, port, err := net.SplitHostPort(n.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port, "127.0.0.1"} {
		if got := n.registerStatus(t, "Host", host); got.status != 201 {
			t.Errorf("as %s: status %d", host, got.status)
		}
	}
	refused := 0
	for _, headers := range [][]string{
		{"Host", "chat.example.org"},
		{"Host", "localhost.example.org"},
		{"Host", "127.0.0.1.example.org:80"},
		{"Host", "10.0.0.1"},
		{"X-Forwarded-For", "127.0.0.1"},
		{"X-Forwarded-For", ""},
		{"Forwarded", "for=127.0.0.1"},
		{"X-Real-IP", "127.0.0.1"},
		{"Via", "1.1 proxy"},
		{"X-Forwarded-Proto", "https"},
		{"X-Forwarded-Host", "localhost"},
		{"CF-Connecting-IP", "127.0.0.1"},
	} {
		got := n.registerStatus(t, headers...)
		if got.problem.Code != relay.CodeInviteRequired && got.problem.Code != relay.CodeRateLimited {
			t.Errorf("with %q: status %d %s", headers, got.status, got.body)
		}
		if got.problem.Code == relay.CodeRateLimited {
			refused++
		}
	}
	if refused == 0 {
		t.Error("requests through a proxy have no limit")
	}

	// On a relay that has a public name a proxy may be who comes, such as nginx, which
	// says nothing unless it is told to.
	o.server.Origins = []relay.Origin{n.origin, "https://chat.example.org:443"}
	public := start(t, o)
	if got := public.registerStatus(t, "Host", public.addr); got.problem.Code != relay.CodeInviteRequired {
		t.Errorf("over loopback to a relay with a public name: status %d %s", got.status, got.body)
	}

	// A listener that others can reach is not a loopback listener.
	wide := start(t, option{tcp: true, listen: "0.0.0.0:0"})
	if got := wide.registerStatus(t); got.problem.Code != relay.CodeInviteRequired {
		t.Errorf("over loopback to a listener on all addresses: status %d %s", got.status, got.body)
	}
}

// Limits per address count addresses, and not what a client says of itself.
func TestLimitsPerAddress(t *testing.T) {
	proxied := func(o option) *node {
		o.tcp = true
		o.server.Registration = server.RegistrationOpen
		o.server.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")}
		return start(t, o)
	}
	var o option
	o.server.Limits.RegistrationsPerHour = 3
	n := proxied(o)
	for i := range 5 {
		// What stands before the proxy's own entry is the client's invention.
		got := n.registerStatus(t, "X-Forwarded-For", fmt.Sprintf("9.9.9.%d, 198.51.100.7", i))
		if want := i < 3; (got.status == 201) != want {
			t.Errorf("registration %d from one address: status %d", i, got.status)
		}
		if got.status == 429 {
			if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 1201 || got.problem.RetryAfterMS <= 0 {
				t.Errorf("Retry-After %q, retry_after_ms %d", got.header.Get("Retry-After"), got.problem.RetryAfterMS)
			}
		}
	}
	if got := n.registerStatus(t, "X-Forwarded-For", "198.51.100.8"); got.status != 201 {
		t.Errorf("from another address: status %d", got.status)
	}
	if got := n.registerStatus(t, "X-Forwarded-For", "198.51.100.7, 10.1.2.3"); got.status != 429 {
		t.Errorf("through two proxies: status %d", got.status)
	}
	for i, text := range []string{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "[2001:db8:1:2:8::1]:4444", "2001:db8:1:2::5", "2001:DB8:1:2::6"} {
		if got := n.registerStatus(t, "X-Forwarded-For", text); (got.status == 201) != (i < 3) {
			t.Errorf("registration %d from one /64: status %d", i, got.status)
		}
	}
	if got := n.registerStatus(t, "X-Forwarded-For", "2001:db8:1:3::1"); got.status != 201 {
		t.Errorf("from the next /64: status %d", got.status)
	}
	for i, text := range []string{"198.51.100.9", "::ffff:198.51.100.9", "198.51.100.9:1", "198.51.100.9:2"} {
		if got := n.registerStatus(t, "X-Forwarded-For", text); (got.status == 201) != (i < 3) {
			t.Errorf("registration %d from one IPv4 address: status %d", i, got.status)
		}
	}
	// An entry that cannot be read is not followed further.
	for i := range 4 {
		if got := n.registerStatus(t, "X-Forwarded-For", fmt.Sprintf("198.51.%d.1, garbage", i)); (got.status == 201) != (i < 3) {
			t.Errorf("registration %d behind garbage: status %d", i, got.status)
		}
	}

	o = option{}
	o.server.Limits.LoginsPerHour = 5
	n = proxied(o)
	for i := range 8 {
		got := n.http(t, "POST", "/v1/challenge", "", nil, "X-Forwarded-For", "203.0.113.1")
		if (got.status == 200) != (i < 5) {
			t.Errorf("challenge %d: status %d", i, got.status)
		}
	}
	if got := n.http(t, "POST", "/v1/token", "", "{}", "X-Forwarded-For", "203.0.113.2"); got.status != 400 {
		t.Errorf("another address: status %d", got.status)
	}

	// Without a trusted proxy the header changes nothing.
	o = open()
	o.server.Limits.LoginsPerHour = 5
	n = start(t, o)
	for i := range 8 {
		got := n.http(t, "POST", "/v1/challenge", "", nil, "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i))
		if (got.status == 200) != (i < 5) {
			t.Errorf("challenge %d with a made-up address: status %d", i, got.status)
		}
	}
}

// The limits do not depend on how a request is written down.
func TestLimitsOfOddRequests(t *testing.T) {
	o := open()
	o.server.Limits.LoginsPerHour = 4
	n := start(t, o)
	_, host, _ := strings.Cut(string(n.origin), "://")
	ask := func(path, version string) string {
		t.Helper()
		c, err := n.dial(t.Context(), "tcp", host) // from another port each time
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := fmt.Fprintf(c, "POST %s %s\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", path, version, host); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 12)
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
		return string(answer[9:])
	}
	for _, path := range []string{"/V1/challenge", "/v1/Challenge", "/v1/CHALLENGE", "/v1/challenge/", "/v1//challenge", "//v1/challenge", "/v1/./challenge"} {
		if got := ask(path, "HTTP/1.1"); got == "200" {
			t.Errorf("%s is answered", path)
		}
	}
	answered := 0
	for i := range 12 {
		path, version := "/v1/challenge", "HTTP/1.1"
		if i%2 == 1 {
			version = "HTTP/1.0"
		}
		switch i % 3 {
		case 1:
			path = "/v1/%63hallenge"
		case 2:
			path = "http://" + host + "/v1/challenge?x=1"
		}
		switch got := ask(path, version); got {
		case "200":
			answered++
		case "429":
		default:
			t.Errorf("%s %s: status %s", version, path, got)
		}
	}
	if answered != 4 {
		t.Errorf("%d challenges were given, want 4", answered)
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	o := open()
	o.server.Limits.ConnectionsPerAddress = 3
	n := start(t, o)
	var persons []*person
	for range 4 {
		persons = append(persons, n.register(t))
	}
	for _, p := range persons[:3] {
		p.connect(t)
	}
	_, err := persons[3].client.Dial(t.Context())
	wantCode(t, "the fourth connection", err, relay.CodeTooManyConnections)

	o.tcp = true // direct
	n = start(t, o)
	for range 6 {
		n.register(t).connect(t)
	}
}

// Connections that are no WebSockets, or not yet, are counted as well: a stranger who
// says nothing, slowly, has a few of them and not all there are.
func TestPlainConnectionsPerAddress(t *testing.T) {
	o := open()
	o.tcp, o.listen = true, "0.0.0.0:0" // so that loopback is an address like any other
	o.server.Limits.ConnectionsPerAddress = 3
	n := start(t, o)
	dial := func() (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return conn, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		return conn, err
	}
	var conns []net.Conn
	for i := range 5 {
		conn, err := dial()
		if (err == nil) != (i < 3) {
			t.Errorf("connection %d: %v", i, err)
		}
		conns = append(conns, conn)
	}
	if err := conns[0].Close(); err != nil {
		t.Fatal(err)
	}
	// The relay notices in its own time.
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err := dial(); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("after one was closed: %v", err)
		}
	}
	// WebSockets are counted for themselves: these three do not keep others from
	// making requests.
	for _, conn := range conns {
		_ = conn.Close()
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := dial()
		_ = conn.Close()
		if err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("after all were closed: %v", err)
		}
	}
}

// Whoever has asked too often is told so before the relay reads, and holds, what
// she sends.
func TestLimitsComeBeforeTheBody(t *testing.T) {
	o := open()
	o.server.Limits.RegistrationsPerHour = 1
	o.server.Limits.LoginsPerHour = 1
	n := start(t, o)
	ask := func(path string) string {
		t.Helper()
		conn, err := n.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return line
	}
	for _, path := range []string{"/v1/register", "/v1/token"} {
		if got := n.http(t, "POST", path, "", "{}"); got.status != 400 {
			t.Errorf("%s: status %d", path, got.status)
		}
		if got := ask(path); !strings.Contains(got, " 429 ") {
			t.Errorf("%s without its body: %s", path, got)
		}
	}
}

// A device has so many requests under way, and its others wait: what they hold, in
// bodies that do not come and answers that are not read, is bounded.
func TestRequestsAtATime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice, bob := n.register(t), n.register(t)
		token, other := n.token(t, alice), n.token(t, bob)
		var slow []net.Conn
		for range server.RequestsAtATime {
			conn, err := n.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprintf(conn, "PUT /v1/prekeys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{", token); err != nil {
				t.Fatal(err)
			}
			slow = append(slow, conn)
		}
		synctest.Wait()
		began := time.Now()
		if got := n.http(t, "GET", "/v1/account", other, nil); got.status != 200 || time.Since(began) != 0 {
			t.Errorf("somebody else: status %d after %v", got.status, time.Since(began))
		}
		got := n.http(t, "GET", "/v1/account", token, nil)
		if took := time.Since(began); got.problem.Code != relay.CodeRateLimited || took < time.Second || took > 30*time.Second {
			t.Errorf("one request too many: status %d after %v", got.status, took)
		}
		// One that waits goes on when another ends.
		time.AfterFunc(5*time.Second, func() { _ = slow[0].Close() })
		began = time.Now()
		if got := n.http(t, "GET", "/v1/account", token, nil); got.status != 200 || time.Since(began) != 5*time.Second {
			t.Errorf("after one has ended: status %d after %v", got.status, time.Since(began))
		}
		// And all of them end by themselves.
		time.Sleep(2 * time.Minute)
		if got := n.http(t, "GET", "/v1/account", token, nil); got.status != 200 {
			t.Errorf("two minutes later: status %d", got.status)
		}
		for _, conn := range slow {
			_ = conn.Close()
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Sends that wait for the store are bounded by what they hold: when it is slow, whoever
// brings more waits before the relay has read it.
func TestSendsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := server.NewIngest()
		const size = 256 << 10
		var (
			wg    sync.WaitGroup
			taken atomic.Int64
		)
		for range 2 * server.MaxPendingBytes / size {
			wg.Go(func() {
				if in.Send(size) {
					taken.Add(size)
				}
			})
		}
		synctest.Wait()
		in.Close() // the others go without
		wg.Wait()
		if n := taken.Load(); n != server.MaxPendingBytes {
			t.Errorf("%d MiB were taken, want %d", n>>20, server.MaxPendingBytes>>20)
		}
	})
}

// stuckStore is a store whose transactions wait until go is closed.
type stuckStore struct {
	mailbox.Store

	proceed chan struct{}
}

func (s *stuckStore) Commit(ctx context.Context, batch *mailbox.Batch, now time.Time) error {
	<-s.proceed
	return s.Store.Commit(ctx, batch, now)
}

// A connection is not read from while it has so many sends, or so much of them, that
// wait for the store; all of them are answered in the end.
func TestSendsInFlight(t *testing.T) {
	for what, test := range map[string]struct{ body, most, buffered int }{
		"small ones": {10, server.MaxInFlight, 20},
		"large ones": {relay.MaxBody, server.MaxInFlightBytes / relay.MaxBody, 2},
	} {
		path := filepath.Join(t.TempDir(), "relay.db")
		synctest.Test(t, func(t *testing.T) {
			o, stuck := open(), &stuckStore{proceed: make(chan struct{})}
			o.path = path
			o.wrap = func(store mailbox.Store) mailbox.Store { stuck.Store = store; return stuck }
			n := start(t, o)
			alice, bob := n.register(t), n.register(t)
			s := n.authenticated(t, alice)
			count := 2 * test.most
			var written atomic.Int64
			go func() {
				for ref := range count {
					frame := relay.AppendSend(nil, relay.Send{
						Ref: uint64(ref + 1), To: bob.address.User, Envelopes: outgoing(strings.Repeat("x", test.body)),
					})
					if err := s.Write(t.Context(), websocket.MessageBinary, frame); err != nil {
						t.Errorf("%s: %v", what, err)
						return
					}
					written.Add(1)
				}
			}()
			synctest.Wait()
			if got := int(written.Load()); got < test.most || got > test.most+test.buffered {
				t.Errorf("%s: %d were taken, want %d", what, got, test.most)
			}
			close(stuck.proceed)
			for answered := 0; answered < count; {
				refs, err := relay.ParseSent(s.next(t, relay.FrameSent))
				if err != nil {
					t.Fatal(err)
				}
				answered += len(refs)
			}
			_ = s.CloseNow()
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Strangers who fetch a person's bundles use up at most her quota of one-time
// prekeys, are refused when they ask too often, and keep nobody from reaching her.
func TestBundleQuotas(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		o.server.Limits.BundlesPerHour = 40
		o.server.Limits.OneTimePerHour = 30
		n := start(t, o)
		ctx := t.Context()
		bob, honest := n.register(t), n.register(t)
		var prekeys []relay.Prekey
		for i := range 200 {
			prekeys = append(prekeys,
				relay.Prekey{Kind: relay.PrekeyKEMOneTime, ID: uint32(i), Key: fmt.Appendf(nil, "kem %d", i)},
				relay.Prekey{Kind: relay.PrekeyECOneTime, ID: uint32(i), Key: fmt.Appendf(nil, "ec %d", i)})
		}
		if counts, err := bob.client.PutPrekeys(ctx, prekeys); err != nil || counts.KEMOneTime != 200 || counts.ECOneTime != 200 {
			t.Fatalf("%+v, %v", counts, err)
		}
		limited := 0
		for range 25 {
			stranger := n.register(t)
			for range 41 {
				bundles, err := stranger.client.Bundles(ctx, bob.address.User)
				if errors.Is(err, &relay.Error{Code: relay.CodeRateLimited}) {
					limited++
					continue
				}
				if err != nil || len(bundles.Bundles) != 1 {
					t.Fatalf("%+v, %v", bundles, err)
				}
			}
		}
		if limited != 25 {
			t.Errorf("%d of 25 strangers were refused when they asked too often", limited)
		}
		counts, err := bob.client.Prekeys(ctx)
		if err != nil || counts.KEMOneTime != 170 || counts.ECOneTime != 170 {
			t.Errorf("prekeys left: %+v, %v; want 170", counts, err)
		}
		got, err := honest.client.Bundles(ctx, bob.address.User)
		if err != nil || len(got.Bundles) != 1 || got.Bundles[0].KEM.Kind != relay.PrekeyKEMLastResort || got.Bundles[0].OneTime != nil {
			t.Errorf("an honest contact gets %+v, %v", got, err)
		}
		// An hour later there are one-time keys again.
		time.Sleep(time.Hour)
		got, err = honest.client.Bundles(ctx, bob.address.User)
		if err != nil || got.Bundles[0].KEM.Kind != relay.PrekeyKEMOneTime || got.Bundles[0].OneTime == nil {
			t.Errorf("an hour later: %+v, %v", got, err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestParallelClaimsOverHTTP(t *testing.T) {
	o := open()
	o.server.Limits.OneTimePerHour = -1
	n := start(t, o)
	ctx := t.Context()
	bob, alice := n.register(t), n.register(t)
	var prekeys []relay.Prekey
	for i := range 150 {
		prekeys = append(prekeys, relay.Prekey{Kind: relay.PrekeyKEMOneTime, ID: uint32(i), Key: fmt.Appendf(nil, "kem %d", i)})
	}
	if _, err := bob.client.PutPrekeys(ctx, prekeys); err != nil {
		t.Fatal(err)
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		handed = make(map[uint32]int)
		last   int
	)
	for range 200 {
		wg.Go(func() {
			got, err := alice.client.Bundles(ctx, bob.address.User)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil || len(got.Bundles) != 1:
				t.Errorf("%+v, %v", got, err)
			case got.Bundles[0].KEM.Kind == relay.PrekeyKEMLastResort:
				last++
			default:
				handed[got.Bundles[0].KEM.ID]++
			}
		})
	}
	wg.Wait()
	for id, times := range handed {
		if times != 1 {
			t.Errorf("key %d was handed out %d times", id, times)
		}
	}
	if len(handed) != 150 || last != 50 {
		t.Errorf("%d one-time keys and %d times the last-resort key, want 150 and 50", len(handed), last)
	}
}

func TestLookupQuota(t *testing.T) {
	o := open()
	o.server.Limits.LookupsPerHour = 10
	n := start(t, o)
	alice, bob := n.register(t), n.register(t)
	for i := range 12 {
		_, err := alice.client.Username(t.Context(), relay.Username(fmt.Sprintf("guess_%d", i)))
		code := relay.CodeUnknownUsername
		if i >= 10 {
			code = relay.CodeRateLimited
		}
		wantCode(t, fmt.Sprintf("guess %d", i), err, code)
	}
	_, err := bob.client.Username(t.Context(), "guess")
	wantCode(t, "somebody else", err, relay.CodeUnknownUsername)
	// More devices of an account have no quotas of their own.
	phone := curve.GenerateKey()
	if err := alice.client.UpdateDevices(t.Context(), alice.sign(t, 2,
		account.Device{Number: 1, IdentityKey: alice.identity.PublicKey(), Added: time.Now()},
		account.Device{Number: 2, IdentityKey: phone.PublicKey(), Added: time.Now()},
	)); err != nil {
		t.Fatal(err)
	}
	_, err = n.client(t, relay.Address{User: alice.address.User, Device: 2}, phone).Username(t.Context(), "guess")
	wantCode(t, "her other device", err, relay.CodeRateLimited)
}

func TestPrekeysThatHaveExpired(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice, bob := n.register(t), n.register(t)
		expiring := standing()
		for i := range expiring {
			expiring[i].ExpiresAt = relay.MillisOf(time.Now().Add(30 * 24 * time.Hour))
		}
		if _, err := bob.client.PutPrekeys(t.Context(), expiring); err != nil {
			t.Fatal(err)
		}
		if _, err := alice.client.Bundles(t.Context(), bob.address.User, 1); err != nil {
			t.Error(err)
		}
		time.Sleep(31 * 24 * time.Hour)
		_, err := alice.client.Bundles(t.Context(), bob.address.User)
		wantCode(t, "bundles of somebody long away", err, relay.CodeNoPrekeys)
		_, err = alice.client.Bundles(t.Context(), relay.UserID{1})
		wantCode(t, "bundles of nobody", err, relay.CodeUnknownUser)
		if _, err := bob.client.PutPrekeys(t.Context(), standing()); err != nil {
			t.Fatal(err)
		}
		if got, err := alice.client.Bundles(t.Context(), bob.address.User); err != nil || len(got.Bundles) != 1 {
			t.Errorf("when she is back: %+v, %v", got, err)
		}
		many := make([]relay.Prekey, 0, 201)
		for i := range 201 {
			many = append(many, relay.Prekey{Kind: relay.PrekeyECOneTime, ID: uint32(i), Key: []byte("x")})
		}
		_, err = bob.client.PutPrekeys(t.Context(), many)
		wantCode(t, "too many prekeys", err, relay.CodeBadRequest)
		_, err = bob.client.PutPrekeys(t.Context(), []relay.Prekey{{Kind: "other", Key: []byte("x")}})
		wantCode(t, "an unknown kind", err, relay.CodeBadRequest)
		_, err = bob.client.PutPrekeys(t.Context(), []relay.Prekey{{Kind: relay.PrekeyECOneTime, Key: make([]byte, relay.MaxPrekey+1)}})
		wantCode(t, "too large a prekey", err, relay.CodeBadRequest)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
