package server_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
)

// notebook is a device's memory of its logins.
type notebook struct {
	mu     sync.Mutex
	own    []relay.LoginID
	before []relay.LoginID // at the newest login
}

func (b *notebook) LoggingIn(_ context.Context, id relay.LoginID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own = append(b.own, id)
	return nil
}

func (b *notebook) LoggedIn(_ context.Context, before []relay.LoginID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = before
	return nil
}

func (b *notebook) foreign() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.before {
		if !slices.Contains(b.own, id) {
			n++
		}
	}
	return n
}

// opened is the same profile opened once more: another process, or a copy.
func (n *node) opened(t *testing.T, p *person, b *notebook) *relayclient.Client {
	t.Helper()
	c, err := relayclient.New(relayclient.Config{
		Server: n.origin, Address: p.address, Identity: p.identity, Logins: b, DialContext: n.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func ended(conn *relayclient.Conn) bool {
	synctest.Wait()
	select {
	case <-conn.Done():
		return true
	default:
		return false
	}
}

// A login ends the connections and tokens of others with the same keys, so that they
// log in again and are told of it; those of the process itself go on.
func TestALoginTakesOver(t *testing.T) {
	path := t.TempDir() + "/relay.db"
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = path
		n := start(t, o)
		alice, bystander := n.register(t), n.register(t)
		var hers, his notebook
		original, twin := n.opened(t, alice, &hers), n.opened(t, alice, &his)
		dial := func(c *relayclient.Client) *relayclient.Conn {
			t.Helper()
			conn, err := c.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			return conn
		}
		first := dial(original)
		others := bystander.connect(t)
		hers.own = append(hers.own, hers.before...) // the registration
		for range 3 {
			if err := original.LogIn(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if ended(first) {
			t.Error("a process has ended its own connection")
		}
		his.own = slices.Clone(hers.own) // the copy is made
		second := dial(twin)
		if !ended(first) {
			t.Error("the connection of the original goes on beside the copy")
		}
		if his.foreign() != 0 || hers.foreign() != 0 {
			t.Error("a login was told of one that came after it")
		}
		if _, err := original.Account(t.Context()); err != nil { // with a token it had
			t.Fatal(err)
		}
		if hers.foreign() != 1 {
			t.Errorf("the original was told of %d logins of the copy", hers.foreign())
		}
		if !ended(second) {
			t.Error("the copy is not told")
		}
		if _, err := twin.Account(t.Context()); err != nil {
			t.Fatal(err)
		}
		if his.foreign() != 1 {
			t.Errorf("the copy was told of %d logins of the original", his.foreign())
		}
		// They do not throw each other out for ever.
		rounds := 0
		for ; rounds < 50; rounds++ {
			a, b := dial(original), dial(twin)
			if !ended(a) && !ended(b) {
				break
			}
		}
		if rounds < 1 || rounds > 4 {
			t.Errorf("they are left alone after %d rounds", rounds)
		}
		if ended(others) {
			t.Error("somebody else's connection has ended")
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// slowLook is a store whose answer about a token may take its time.
type slowLook struct {
	mailbox.Store

	meanwhile atomic.Pointer[func()] // happens once, before the answer comes
}

func (s *slowLook) Session(ctx context.Context, hash [32]byte, now time.Time) (mailbox.Session, error) {
	session, err := s.Store.Session(ctx, hash, now)
	if do := s.meanwhile.Swap(nil); do != nil {
		(*do)()
	}
	return session, err
}

// A connection whose token is revoked while it is being looked at ends like one that
// was there before.
func TestALoginTakesOverWhatIsJustConnecting(t *testing.T) {
	path := t.TempDir() + "/relay.db"
	synctest.Test(t, func(t *testing.T) {
		o, look := open(), new(slowLook)
		o.path = path
		o.wrap = func(store mailbox.Store) mailbox.Store { look.Store = store; return look }
		n := start(t, o)
		alice := n.register(t)
		var hers notebook
		original, twin := n.opened(t, alice, &hers), n.opened(t, alice, new(notebook))
		if err := original.LogIn(t.Context()); err != nil {
			t.Fatal(err)
		}
		hers.own = append(hers.own, hers.before...) // the registration
		look.meanwhile.Store(new(func() {
			if err := twin.LogIn(t.Context()); err != nil {
				t.Error(err)
			}
		}))
		conn, err := original.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if ended(conn) { // it may have got as far as that
			if conn, err = original.Dial(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
		if hers.foreign() != 1 {
			t.Error("the original goes on beside the copy, and is not told")
		}
		// Somebody else's login in that moment ends nothing.
		bob := n.register(t)
		look.meanwhile.Store(new(func() {
			if err := bob.client.LogIn(t.Context()); err != nil {
				t.Error(err)
			}
		}))
		conn, err = original.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if ended(conn) {
			t.Error("it ends with somebody else's login")
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A login has the ID that its challenge gives it, which whoever logs in cannot choose;
// and what it replaces must be a token.
func TestLoginIDs(t *testing.T) {
	n := start(t, open())
	alice := n.register(t)
	var hers notebook
	original := n.opened(t, alice, &hers)
	if err := original.LogIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	hers.own = append(hers.own, hers.before...)
	challenge := n.challenge(t)
	if err := n.logIn(t, alice.address, alice.proof(n, challenge)); err != nil {
		t.Fatal(err)
	}
	if _, err := original.Account(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := hers.foreign(); got != 1 || !slices.Contains(hers.before, relay.LoginIDOf(challenge)) {
		t.Errorf("%d logins of others, want 1: %v", got, hers.before)
	}
	if err := n.logIn(t, alice.address, alice.proof(n, challenge)); !errors.Is(err, &relay.Error{Code: relay.CodeBadChallenge}) {
		t.Errorf("a second login under one ID: %v", err)
	}
	body := relay.TokenRequest{UserID: alice.address.User, Device: 1, Proof: alice.proof(n, n.challenge(t)), Replaces: "no token"}
	if got := n.http(t, "POST", "/v1/token", "", body).status; got != 400 {
		t.Errorf("replacing what is no token: status %d", got)
	}
}
