package relayclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/chate2e/chate2e/internal/relay"
)

// Signer signs with a device's identity key (XEdDSA, 64 bytes).
type Signer interface {
	Sign(message []byte) []byte
}

// Logins remembers the logins of a device. A login that it was not told of beforehand
// was made by somebody else with the device's keys.
type Logins interface {
	// LoggingIn is told of a login, or a registration, that is about to be made. The
	// ID is durable when it returns: one whose answer gets lost is our own as well.
	LoggingIn(ctx context.Context, id relay.LoginID) error
	// LoggedIn is told, after it, of those that the relay says came before: at most
	// [relay.MaxLogins], and none before a registration.
	LoggedIn(ctx context.Context, before []relay.LoginID) error
}

// Config says which relay, and who we are. Server, Address and Identity are
// needed.
type Config struct {
	Server   relay.Origin
	Address  relay.Address
	Identity Signer

	// Logins is nil for a device that does not care who else uses its keys.
	Logins Logins
	// Timeout bounds every call, with the logins it takes (30 seconds).
	Timeout time.Duration
	// DialContext opens connections, for networks other than the computer's own.
	// With it no proxy is used.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is for relays with a certificate of their own making; nil means the
	// computer's usual trust.
	TLS *tls.Config
}

// Client speaks to one relay for one device. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client

	ahead atomic.Int64 // of the relay's clock, in nanoseconds

	// login holds the token, or the zero Token, and is taken out by whoever uses
	// or renews it: a lock that heeds contexts.
	login chan relay.Token
}

// maxResponse is the largest answer in bytes: a page of envelopes in base64.
const maxResponse = 8 << 20

// New returns a client. It opens no connection.
func New(cfg Config) (*Client, error) {
	if cfg.Server == "" || cfg.Identity == nil || !cfg.Address.Device.Valid() {
		return nil, errors.New("relayclient: server, address and identity are needed")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	transport := &http.Transport{
		DialContext:           cfg.DialContext,
		TLSClientConfig:       cfg.TLS.Clone(),
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: cfg.Timeout,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   4,
		// Secrets and what others may have written must not be compressed together.
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(true) // a WebSocket needs it, and nothing here needs more
	if cfg.DialContext == nil {
		transport.Proxy = http.ProxyFromEnvironment
		transport.DialContext = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	c := &Client{
		cfg: cfg,
		http: &http.Client{
			Transport: transport,
			// A redirect would take the token to who knows where.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		login: make(chan relay.Token, 1),
	}
	c.login <- relay.Token{}
	return c, nil
}

// ClockAhead returns how far the relay's clock was ahead of this computer's at its
// last answer, to the second; negative if it was behind, and 0 if it has not
// answered yet.
func (c *Client) ClockAhead() time.Duration { return time.Duration(c.ahead.Load()) }

// noteClock compares the clocks by an answer to a question that was asked at asked.
// The answer was written at some time from then to now, so of all differences that
// may be it takes the least.
func (c *Client) noteClock(h http.Header, asked time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return // a proxy may have dropped it
	}
	now := time.Now()
	switch ahead, behind := date.Sub(now), date.Add(time.Second).Sub(asked); {
	case ahead > 0:
		c.ahead.Store(int64(ahead))
	case behind < 0:
		c.ahead.Store(int64(behind))
	default:
		c.ahead.Store(0)
	}
}

// Server returns the origin of the relay.
func (c *Client) Server() relay.Origin { return c.cfg.Server }

// Close closes idle connections. Connections made by Dial are closed by
// themselves.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request.
type call struct {
	method, path string
	body         any         // nil for none
	token        relay.Token // zero for none
}

// do makes a request and decodes the answer into response, unless that is nil.
func (c *Client) do(ctx context.Context, q call, response any) error {
	var body io.Reader
	if q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			return fmt.Errorf("relayclient: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, string(c.cfg.Server)+q.path, body)
	if err != nil {
		return fmt.Errorf("relayclient: %w", err)
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !q.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+q.token.Text())
	}
	asked := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("relayclient: %w", withoutURL(err))
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	if err != nil {
		return fmt.Errorf("relayclient: reading the answer: %w", err)
	}
	if len(b) > maxResponse {
		return errors.New("relayclient: the answer is too large")
	}
	media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode >= 400 && err == nil && media == relay.ProblemType {
		var p relay.Problem
		if err := json.Unmarshal(b, &p); err == nil {
			return p.Err()
		}
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("%w (status %d)", ErrNotARelay, res.StatusCode)
	}
	if response == nil {
		return nil
	}
	if err := json.Unmarshal(b, response); err != nil {
		return fmt.Errorf("%w (malformed answer)", ErrNotARelay)
	}
	c.noteClock(res.Header, asked)
	return nil
}

// ErrNotARelay is returned when something answers that is no relay, such as a
// proxy or a login page of a network.
var ErrNotARelay = errors.New("relayclient: the answer is not from a relay")

// withoutURL takes the URL out of an error of net/http: a path may name a user.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// list makes sure that an empty list is written as one, and not as null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// bound gives a call its time.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

// withToken runs f with a token, and once more with a fresh one if the relay does
// not take the first.
func (c *Client) withToken(ctx context.Context, f func(ctx context.Context, token relay.Token) error) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	token, err := c.token(ctx, relay.Token{})
	if err != nil {
		return err
	}
	err = f(ctx, token)
	if !errors.Is(err, &relay.Error{Code: relay.CodeUnauthorized}) {
		return err
	}
	if token, err = c.token(ctx, token); err != nil {
		return err
	}
	return f(ctx, token)
}

// authorized makes a request with a token.
func (c *Client) authorized(ctx context.Context, q call, response any) error {
	return c.withToken(ctx, func(ctx context.Context, token relay.Token) error {
		q.token = token
		return c.do(ctx, q, response)
	})
}

// token returns the token there is, or logs in if there is none, or none but the
// one given, which the relay has refused. That one stays until there is another: the
// login that succeeds in the end says which it replaces.
func (c *Client) token(ctx context.Context, refused relay.Token) (relay.Token, error) {
	var token relay.Token
	select {
	case token = <-c.login:
	case <-ctx.Done():
		return token, ctx.Err()
	}
	defer func() { c.login <- token }()
	if !token.IsZero() && (refused.IsZero() || token.Hash() != refused.Hash()) {
		return token, nil
	}
	fresh, err := c.logIn(ctx, refused)
	if err != nil {
		return relay.Token{}, err
	}
	token = fresh
	return token, nil
}

// challenge gets a challenge to sign.
func (c *Client) challenge(ctx context.Context) ([]byte, error) {
	var r relay.ChallengeResponse
	if err := c.do(ctx, call{method: http.MethodPost, path: "/v1/challenge"}, &r); err != nil {
		return nil, err
	}
	if len(r.Challenge) == 0 || len(r.Challenge) > relay.MaxChallenge {
		return nil, fmt.Errorf("%w (challenge of %d bytes)", ErrNotARelay, len(r.Challenge))
	}
	return r.Challenge, nil
}

// answerChallenge gets a challenge and has it answered. If the relay says that it was
// answered before, a network has delivered the answer twice, and the one to the first
// is lost: another challenge finds out what has become of it.
func (c *Client) answerChallenge(ctx context.Context, answer func(challenge []byte) error) error {
	for attempt := 0; ; attempt++ {
		challenge, err := c.challenge(ctx)
		if err == nil {
			err = c.loggingIn(ctx, challenge)
		}
		if err == nil {
			err = answer(challenge)
		}
		if attempt > 0 || !errors.Is(err, &relay.Error{Code: relay.CodeBadChallenge}) {
			return err
		}
	}
}

// loggingIn notes that a challenge is about to be answered.
func (c *Client) loggingIn(ctx context.Context, challenge []byte) error {
	if c.cfg.Logins == nil {
		return nil
	}
	return c.cfg.Logins.LoggingIn(ctx, relay.LoginIDOf(challenge))
}

// loggedIn notes that the relay has taken the answer.
func (c *Client) loggedIn(ctx context.Context, before []relay.LoginID) error {
	if c.cfg.Logins == nil {
		return nil
	}
	return c.cfg.Logins.LoggedIn(ctx, before)
}

// logIn gets a token that takes the place of the one used until now, if there was
// one.
func (c *Client) logIn(ctx context.Context, replaced relay.Token) (relay.Token, error) {
	request := relay.TokenRequest{UserID: c.cfg.Address.User, Device: c.cfg.Address.Device}
	if !replaced.IsZero() {
		request.Replaces = replaced.Text()
	}
	var r relay.TokenResponse
	if err := c.answerChallenge(ctx, func(challenge []byte) error {
		message := relay.LoginMessage(c.cfg.Server, challenge, c.cfg.Address)
		request.Proof = relay.Proof{Origin: c.cfg.Server, Challenge: challenge, Signature: c.cfg.Identity.Sign(message)}
		return c.do(ctx, call{method: http.MethodPost, path: "/v1/token", body: request}, &r)
	}); err != nil {
		return relay.Token{}, err
	}
	token, err := parseToken(r.Token)
	if err != nil {
		return relay.Token{}, err
	}
	if len(r.Before) > relay.MaxLogins {
		return relay.Token{}, fmt.Errorf("%w (%d logins before)", ErrNotARelay, len(r.Before))
	}
	return token, c.loggedIn(ctx, r.Before)
}

func parseToken(text string) (relay.Token, error) {
	token, err := relay.ParseToken(text)
	if err != nil {
		return relay.Token{}, fmt.Errorf("%w (malformed token)", ErrNotARelay)
	}
	return token, nil
}

// LogIn logs in, even if there is a token. Other calls do so by themselves; this
// one finds out whether the relay knows the device. Refusals: bad_proof for a
// device it does not know, account_disabled, wrong_origin.
func (c *Client) LogIn(ctx context.Context) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var token relay.Token
	select {
	case token = <-c.login:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.login <- token }()
	fresh, err := c.logIn(ctx, token)
	if err != nil {
		return err
	}
	token = fresh
	return nil
}

// Registration is a new account.
type Registration struct {
	// DeviceList is signed by the account key; the client's device is on it.
	DeviceList []byte
	Username   relay.Username // empty for none
	Invite     string         // empty for none
	// Prekeys has at least a signed and a last-resort one.
	Prekeys []relay.Prekey
}

// Register makes the account of the client's address. When the answer was lost it
// may be called again with the same list and username. Refusals: username_taken,
// account_exists, invite_required, invite_invalid, registration_closed,
// bad_device_list, wrong_origin, rate_limited, storage_full.
func (c *Client) Register(ctx context.Context, r Registration) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var response relay.RegisterResponse
	if err := c.answerChallenge(ctx, func(challenge []byte) error {
		message := relay.RegisterMessage(c.cfg.Server, challenge, c.cfg.Address, r.DeviceList, r.Username)
		return c.do(ctx, call{method: http.MethodPost, path: "/v1/register", body: relay.RegisterRequest{
			DeviceList: r.DeviceList, Device: c.cfg.Address.Device, Username: r.Username, Invite: r.Invite, Prekeys: list(r.Prekeys),
			Proof: relay.Proof{Origin: c.cfg.Server, Challenge: challenge, Signature: c.cfg.Identity.Sign(message)},
		}}, &response)
	}); err != nil {
		return err
	}
	if response.UserID != c.cfg.Address.User || response.Device != c.cfg.Address.Device {
		return fmt.Errorf("%w (another account)", ErrNotARelay)
	}
	token, err := parseToken(response.Token)
	if err != nil {
		return err
	}
	if err := c.loggedIn(ctx, nil); err != nil {
		return err
	}
	select {
	case <-c.login:
		c.login <- token
	case <-ctx.Done(): // somebody else is logging in; that token will do as well
	}
	return nil
}

// Account returns what the relay knows of one's own account.
func (c *Client) Account(ctx context.Context) (a relay.AccountResponse, err error) {
	err = c.authorized(ctx, call{method: http.MethodGet, path: "/v1/account"}, &a)
	return a, err
}

// DeleteAccount deletes the account at the relay, with everything that waits for
// it.
func (c *Client) DeleteAccount(ctx context.Context) error {
	return c.authorized(ctx, call{method: http.MethodDelete, path: "/v1/account"}, nil)
}

// UpdateDevices puts a newer device list in the place of the one before. Refusals:
// device_list_conflict, bad_device_list.
func (c *Client) UpdateDevices(ctx context.Context, list []byte) error {
	return c.authorized(ctx, call{method: http.MethodPut, path: "/v1/account/devices", body: relay.DevicesRequest{DeviceList: list}}, nil)
}

// Prekeys returns what the relay holds of one's own prekeys.
func (c *Client) Prekeys(ctx context.Context) (r relay.PrekeysResponse, err error) {
	err = c.authorized(ctx, call{method: http.MethodGet, path: "/v1/prekeys"}, &r)
	return r, err
}

// PutPrekeys uploads prekeys and returns what the relay holds then. It may be
// repeated.
func (c *Client) PutPrekeys(ctx context.Context, prekeys []relay.Prekey) (r relay.PrekeysResponse, err error) {
	err = c.authorized(ctx, call{method: http.MethodPut, path: "/v1/prekeys", body: relay.PrekeysRequest{Prekeys: list(prekeys)}}, &r)
	return r, err
}

// Devices returns a user's signed device list. Refusal: unknown_user.
func (c *Client) Devices(ctx context.Context, user relay.UserID) ([]byte, error) {
	var r relay.DevicesResponse
	if err := c.authorized(ctx, call{method: http.MethodGet, path: "/v1/users/" + user.String() + "/devices"}, &r); err != nil {
		return nil, err
	}
	return r.DeviceList, nil
}

// Bundles fetches the bundles of a user's devices; without devices given, of all.
// A device whose prekeys have expired has none. Refusals: unknown_user,
// no_prekeys, rate_limited.
func (c *Client) Bundles(ctx context.Context, user relay.UserID, devices ...relay.DeviceNumber) (r relay.BundlesResponse, err error) {
	err = c.authorized(ctx, call{
		method: http.MethodPost, path: "/v1/users/" + user.String() + "/bundles", body: relay.BundlesRequest{Devices: devices},
	}, &r)
	if err != nil {
		return relay.BundlesResponse{}, err
	}
	for _, b := range r.Bundles {
		if !validBundle(b) {
			return relay.BundlesResponse{}, fmt.Errorf("%w (malformed bundle)", ErrNotARelay)
		}
	}
	return r, nil
}

func validBundle(b relay.Bundle) bool {
	return b.Device.Valid() &&
		b.Signed.Validate() == nil && b.Signed.Kind == relay.PrekeySigned &&
		b.KEM.Validate() == nil && (b.KEM.Kind == relay.PrekeyKEMOneTime || b.KEM.Kind == relay.PrekeyKEMLastResort) &&
		(b.OneTime == nil || b.OneTime.Validate() == nil && b.OneTime.Kind == relay.PrekeyECOneTime)
}

// Username returns whose name it is, by the word of the relay. Refusals:
// unknown_username, rate_limited.
func (c *Client) Username(ctx context.Context, name relay.Username) (relay.UserID, error) {
	var r relay.UsernameResponse
	err := c.authorized(ctx, call{method: http.MethodGet, path: "/v1/usernames/" + url.PathEscape(string(name))}, &r)
	return r.UserID, err
}

// Send stores an envelope for every device of a user (but not for our own), all of
// them or none. nil means that they are durable at the relay. Refusals:
// device_mismatch with Missing and Extra, unknown_user, envelope_conflict,
// mailbox_full, storage_full.
func (c *Client) Send(ctx context.Context, to relay.UserID, envelopes []relay.Outgoing) error {
	return c.authorized(ctx, call{method: http.MethodPost, path: "/v1/messages", body: relay.SendRequest{To: to, Envelopes: list(envelopes)}}, nil)
}

// Pull reads up to limit envelopes from one's mailbox, those after the sequence
// number given. more says that there are others.
func (c *Client) Pull(ctx context.Context, after uint64, limit int) (envelopes []relay.Incoming, more bool, err error) {
	query := url.Values{"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(limit)}}
	var r relay.PullResponse
	if err := c.authorized(ctx, call{method: http.MethodGet, path: "/v1/messages?" + query.Encode()}, &r); err != nil {
		return nil, false, err
	}
	for _, j := range r.Envelopes {
		in := j.Incoming()
		if err := in.Validate(); err != nil || in.Seq <= after {
			return nil, false, fmt.Errorf("%w (malformed envelope)", ErrNotARelay)
		}
		after = in.Seq
		envelopes = append(envelopes, in)
	}
	return envelopes, r.More, nil
}

// Ack deletes envelopes from one's mailbox, at most [relay.MaxAcks].
func (c *Client) Ack(ctx context.Context, handles ...relay.Handle) error {
	return c.authorized(ctx, call{method: http.MethodPost, path: "/v1/messages/ack", body: relay.AckRequest{Envelopes: list(handles)}}, nil)
}

// Ready reports whether the relay takes requests. It needs no account.
func (c *Client) Ready(ctx context.Context) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	return c.do(ctx, call{method: http.MethodGet, path: "/readyz"}, nil)
}
