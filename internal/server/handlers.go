package server

import (
	"crypto/sha256"
	"errors"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/signal/curve"
)

func badRequest(detail string) error {
	return &relay.Error{Code: relay.CodeBadRequest, Detail: detail}
}

// limit takes one out of the quota of a key.
func limit[K comparable](q *quota[K], key K, now time.Time, detail string) error {
	if wait, ok := q.take(key, now); !ok {
		return &relay.Error{Code: relay.CodeRateLimited, Detail: detail, RetryAfter: wait}
	}
	return nil
}

// limited makes a handler that first takes one out of a quota of the caller's
// address, unless she sits at this computer. It does so before h reads the body: who
// has asked too often shall not make the relay hold bodies.
func limited(q func(*Server) *quota[netip.Prefix], detail string, h handler) handler {
	return func(s *Server, c *call) (any, error) {
		if !c.client.direct {
			if err := limit(q(s), c.client.network, c.now, detail); err != nil {
				return nil, err
			}
		}
		return h(s, c)
	}
}

func limitLogins(h handler) handler {
	return limited(func(s *Server) *quota[netip.Prefix] { return s.logins }, "too many logins from this address", h)
}

func limitRegistrations(h handler) handler {
	return limited(func(s *Server) *quota[netip.Prefix] { return s.registrations }, "too many registrations from this address", h)
}

// ── Logging in ──────────────────────────────────────────────────────────────

func challenge(s *Server, c *call) (any, error) {
	b, expires := s.challenges.issue(c.now)
	return relay.ChallengeResponse{Challenge: b, ExpiresAt: relay.MillisOf(expires)}, nil
}

// checkProof checks everything about a proof but its signature.
func (s *Server) checkProof(p *relay.Proof, now time.Time) (nonce [challengeNonce]byte, expires time.Time, err error) {
	if !slices.Contains(s.cfg.Origins, p.Origin) {
		return nonce, expires, &relay.Error{Code: relay.CodeWrongOrigin, Detail: "the proof is for another relay, or the relay does not know this name of its own"}
	}
	return s.challenges.check(p.Challenge, now)
}

// newLogin makes a token for a device that has proved itself.
func (s *Server) newLogin(c *call, address relay.Address, proof *relay.Proof, nonce [challengeNonce]byte, expires time.Time) (relay.Token, mailbox.Login) {
	token := relay.NewToken()
	return token, mailbox.Login{
		ID:      relay.LoginIDOf(proof.Challenge),
		Address: address, TokenHash: token.Hash(), Expires: c.now.Add(s.cfg.TokenLife).Truncate(time.Millisecond),
		Challenge: nonce, ChallengeExpires: expires,
	}
}

func token(s *Server, c *call, body *relay.TokenRequest) (any, error) {
	nonce, expires, err := s.checkProof(&body.Proof, c.now)
	if err != nil {
		return nil, err
	}
	address := relay.Address{User: body.UserID, Device: body.Device}
	key, err := s.store.IdentityKey(c.Context(), address)
	known := err == nil
	if errors.Is(err, mailbox.ErrUnknownDevice) {
		key = s.nobody // whether there is such a device is not said, not by the time it takes either
	} else if err != nil {
		return nil, err
	}
	message := relay.LoginMessage(body.Proof.Origin, body.Proof.Challenge, address)
	if !curve.PublicKey(key).Verify(message, body.Proof.Signature) || !known {
		return nil, errBadProof
	}
	fresh, login := s.newLogin(c, address, &body.Proof, nonce, expires)
	if body.Replaces != "" {
		replaced, err := relay.ParseToken(body.Replaces)
		if err != nil {
			return nil, badRequest("what it replaces is no token")
		}
		hash := replaced.Hash()
		login.Keep = &hash
	}
	login.Alone = s.mayTakeOver(&login, c.now)
	before, err := s.store.LogIn(c.Context(), login, c.now)
	if err != nil {
		if errors.Is(err, mailbox.ErrUnknownDevice) {
			return nil, errBadProof
		}
		return nil, err
	}
	s.takeOver(&login)
	return relay.TokenResponse{Token: fresh.Text(), ExpiresAt: relay.MillisOf(login.Expires), Before: before}, nil
}

// mayTakeOver reports whether a login may end the device's other connections and
// revoke its other tokens. Where there are no connections it may: such tokens are
// those of processes that have ended, as a rule.
func (s *Server) mayTakeOver(login *mailbox.Login, now time.Time) bool {
	others := false
	s.each(login.Address, func(conn *conn) {
		others = others || login.Keep == nil || conn.token != *login.Keep
	})
	if !others {
		return true
	}
	_, ok := s.takeovers.take(login.Address, now)
	return ok
}

// takeOver ends the connections of the tokens that a login has revoked: a profile is
// open once, so they are left over, or those of a copy of it. Whoever holds one logs
// in again and is told of this login. Connections of the token it replaces go on as
// connections of the new one.
func (s *Server) takeOver(login *mailbox.Login) {
	s.mu.Lock()
	s.taken++ // connections that are not registered yet look again
	s.mu.Unlock()
	s.each(login.Address, func(conn *conn) {
		switch {
		case login.Keep != nil && conn.token == *login.Keep:
			conn.token = login.TokenHash
		case login.Alone && conn.token != login.TokenHash:
			conn.close(websocket.StatusPolicyViolation, &relay.Error{
				Code: relay.CodeUnauthorized, Detail: "a newer login of the same device took its place",
			})
		}
	})
}

// ── Registration and the directory ──────────────────────────────────────────

func register(s *Server, c *call, body *relay.RegisterRequest) (any, error) {
	invite, err := s.mayRegister(c, body.Invite)
	if err != nil {
		return nil, err
	}
	nonce, expires, err := s.checkProof(&body.Proof, c.now)
	if err != nil {
		return nil, err
	}
	parsed, err := account.ParseDeviceList(body.DeviceList)
	if err != nil {
		return nil, badDeviceList(err)
	}
	// The account key on the list says who registers; that she holds it is what
	// the signature says.
	list, err := parsed.Verify(parsed.UserID(), account.Seen{})
	if err != nil {
		return nil, badDeviceList(err)
	}
	stored, err := deviceList(list)
	if err != nil {
		return nil, err
	}
	user := relay.UserID(list.UserID())
	i := slices.IndexFunc(stored.Devices, func(d mailbox.Device) bool { return d.Number == body.Device })
	if i < 0 {
		return nil, badRequest("the device is not on the list")
	}
	address := relay.Address{User: user, Device: body.Device}
	message := relay.RegisterMessage(body.Proof.Origin, body.Proof.Challenge, address, body.DeviceList, body.Username)
	if !curve.PublicKey(stored.Devices[i].IdentityKey).Verify(message, body.Proof.Signature) {
		return nil, errBadProof
	}
	if err := checkPrekeys(body.Prekeys); err != nil {
		return nil, err
	}
	for _, kind := range []relay.PrekeyKind{relay.PrekeySigned, relay.PrekeyKEMLastResort} {
		if !slices.ContainsFunc(body.Prekeys, func(p relay.Prekey) bool { return p.Kind == kind }) {
			return nil, badRequest("a signed and a last-resort prekey are needed")
		}
	}
	fresh, login := s.newLogin(c, address, &body.Proof, nonce, expires)
	if _, err := s.store.Register(c.Context(), mailbox.Registration{
		User: user, List: stored, Username: body.Username, Prekeys: body.Prekeys, Invite: invite, Login: login,
	}, c.now); err != nil {
		return nil, err
	}
	return relay.RegisterResponse{
		UserID: user, Device: body.Device, Token: fresh.Text(), ExpiresAt: relay.MillisOf(login.Expires),
	}, nil
}

// mayRegister returns the invitation that has to be used up, if any.
func (s *Server) mayRegister(c *call, invite string) (*[32]byte, error) {
	switch s.cfg.Registration {
	case RegistrationClosed:
		return nil, &relay.Error{Code: relay.CodeRegistrationClosed, Detail: "this relay takes no new accounts"}
	case RegistrationOpen:
		return nil, nil
	case RegistrationInvite:
	}
	if c.client.direct {
		return nil, nil
	}
	if invite == "" {
		return nil, &relay.Error{Code: relay.CodeInviteRequired, Detail: "this relay takes new accounts by invitation"}
	}
	hash := InviteHash(invite)
	return &hash, nil
}

// InviteHash returns what a store keeps of the token of an invitation.
func InviteHash(token string) [32]byte {
	return sha256.Sum256([]byte("ChatE2E invitation v1\x00" + token))
}

func badDeviceList(err error) error {
	detail := "malformed"
	if errors.Is(err, account.ErrSignature) {
		detail = "not signed by its account key"
	} else if errors.Is(err, account.ErrOwner) {
		detail = "of another account"
	}
	return &relay.Error{Code: relay.CodeBadDeviceList, Detail: "the device list is " + detail}
}

// deviceList returns a verified list as the store takes it.
func deviceList(list *account.SignedDeviceList) (mailbox.DeviceList, error) {
	l := list.List()
	if l.Version > math.MaxInt64 { // no database counts further
		return mailbox.DeviceList{}, &relay.Error{Code: relay.CodeBadDeviceList, Detail: "the version of the device list is out of range"}
	}
	stored := mailbox.DeviceList{Encoded: list.Encoded(), Version: l.Version}
	for _, d := range l.Devices {
		stored.Devices = append(stored.Devices, mailbox.Device{Number: relay.DeviceNumber(d.Number), IdentityKey: d.IdentityKey})
	}
	return stored, nil
}

func ownAccount(s *Server, c *call) (any, error) {
	a, err := s.store.Account(c.Context(), c.session.Address.User)
	if err != nil {
		return nil, err
	}
	return relay.AccountResponse{
		UserID: a.User, Device: c.session.Address.Device, Username: a.Username, DeviceList: a.List,
	}, nil
}

func deleteAccount(s *Server, c *call) (any, error) {
	user := c.session.Address.User
	numbers, err := s.devicesOf(c, user)
	if err != nil {
		return nil, err
	}
	if err := s.store.DeleteAccount(c.Context(), user); err != nil {
		return nil, err
	}
	s.dismiss(user, numbers)
	return nil, nil
}

// devicesOf returns the numbers of a user's devices.
func (s *Server) devicesOf(c *call, user relay.UserID) (numbers []relay.DeviceNumber, err error) {
	a, err := s.store.Account(c.Context(), user)
	if err != nil {
		return nil, err
	}
	list, err := account.ParseDeviceList(a.List)
	if err != nil {
		return nil, err
	}
	signed, err := list.Verify(account.UserID(user), account.Seen{})
	if err != nil {
		return nil, err
	}
	for _, d := range signed.List().Devices {
		numbers = append(numbers, relay.DeviceNumber(d.Number))
	}
	return numbers, nil
}

// dismiss ends the connections of devices that are no more.
func (s *Server) dismiss(user relay.UserID, devices []relay.DeviceNumber) {
	for _, d := range devices {
		address := relay.Address{User: user, Device: d}
		s.each(address, (*conn).recheck)
		s.bus.Wake(address) // for other nodes
	}
}

func updateDevices(s *Server, c *call, body *relay.DevicesRequest) (any, error) {
	user := c.session.Address.User
	parsed, err := account.ParseDeviceList(body.DeviceList)
	if err != nil {
		return nil, badDeviceList(err)
	}
	list, err := parsed.Verify(account.UserID(user), account.Seen{})
	if err != nil {
		return nil, badDeviceList(err)
	}
	stored, err := deviceList(list)
	if err != nil {
		return nil, err
	}
	removed, err := s.store.UpdateDevices(c.Context(), user, stored, c.now)
	if err != nil {
		return nil, err
	}
	s.dismiss(user, removed)
	return nil, nil
}

// pathUser reads {user_id}. What is no user ID names nobody.
func pathUser(c *call) (user relay.UserID, err error) {
	if err := user.UnmarshalText([]byte(c.PathValue("user_id"))); err != nil {
		return user, mailbox.ErrUnknownUser
	}
	return user, nil
}

func devices(s *Server, c *call) (any, error) {
	user, err := pathUser(c)
	if err != nil {
		return nil, err
	}
	a, err := s.store.Account(c.Context(), user)
	if err != nil {
		return nil, err
	}
	return relay.DevicesResponse{DeviceList: a.List}, nil
}

func username(s *Server, c *call) (any, error) {
	if err := limit(s.lookups, c.session.Address.User, c.now, "too many usernames looked up"); err != nil {
		return nil, err
	}
	var name relay.Username
	if err := name.UnmarshalText([]byte(c.PathValue("username"))); err != nil {
		return nil, mailbox.ErrUnknownUsername
	}
	user, err := s.store.Username(c.Context(), name)
	if err != nil {
		return nil, err
	}
	return relay.UsernameResponse{UserID: user}, nil
}

// ── Prekeys ─────────────────────────────────────────────────────────────────

func checkPrekeys(prekeys []relay.Prekey) error {
	if len(prekeys) > 2*relay.MaxOneTimePrekeys+2 {
		return badRequest("too many prekeys")
	}
	type name struct {
		kind relay.PrekeyKind
		id   uint32
	}
	seen := make(map[name]bool, len(prekeys))
	single := make(map[relay.PrekeyKind]bool)
	for _, p := range prekeys {
		if err := p.Validate(); err != nil {
			return badRequest(err.Error())
		}
		n := name{p.Kind, p.ID}
		if seen[n] || single[p.Kind] {
			return badRequest("a prekey is given twice")
		}
		seen[n] = true
		single[p.Kind] = !p.Kind.OneTime()
	}
	return nil
}

func countPrekeys(s *Server, c *call) (any, error) {
	return s.store.CountPrekeys(c.Context(), c.session.Mailbox, c.now)
}

func putPrekeys(s *Server, c *call, body *relay.PrekeysRequest) (any, error) {
	if err := checkPrekeys(body.Prekeys); err != nil {
		return nil, err
	}
	if err := s.store.PutPrekeys(c.Context(), c.session.Mailbox, body.Prekeys, c.now); err != nil {
		return nil, err
	}
	return s.store.CountPrekeys(c.Context(), c.session.Mailbox, c.now)
}

func bundles(s *Server, c *call, body *relay.BundlesRequest) (any, error) {
	user, err := pathUser(c)
	if err != nil {
		return nil, err
	}
	if len(body.Devices) > relay.MaxDevice {
		return nil, badRequest("too many devices")
	}
	if err := limit(s.bundles, c.session.Address.User, c.now, "too many bundles fetched"); err != nil {
		return nil, err
	}
	// Whoever it is that asks too often for one user's keys, others still get
	// bundles: from then on without one-time keys, and not refused.
	_, oneTime := s.oneTime.take(user, c.now)
	response, err := s.store.ClaimBundles(c.Context(), user, body.Devices, oneTime, c.now)
	if err != nil {
		return nil, err
	}
	if len(response.Bundles) == 0 && len(body.Devices) == 0 {
		return nil, &relay.Error{Code: relay.CodeNoPrekeys, Detail: "the prekeys of all devices have expired"}
	}
	return response, nil
}

// ── Messages ────────────────────────────────────────────────────────────────

func send(s *Server, c *call, body *relay.SendRequest) (any, error) {
	if len(body.Envelopes) > relay.MaxDevice {
		return nil, badRequest("too many envelopes")
	}
	sending := &sending{
		put:    mailbox.Put{From: c.session.Address, To: body.To, Envelopes: body.Envelopes},
		result: make(chan error, 1),
	}
	for _, e := range body.Envelopes {
		switch {
		case len(e.Body) == 0:
			return nil, badRequest("an envelope is empty")
		case len(e.Body) > s.limits.MaxBody:
			return nil, errTooLarge
		}
		sending.bytes += len(e.Body)
	}
	if err := s.ingest.send(sending); err != nil {
		return nil, err
	}
	return nil, <-sending.result // a commit takes no longer than the request may
}

// Limits of one answer to a pull.
const (
	defaultPull  = 100
	maxPull      = 1000
	maxPullBytes = 4 << 20
)

func pull(s *Server, c *call) (any, error) {
	after, limit := uint64(0), defaultPull
	query, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return nil, badRequest("malformed parameters")
	}
	for key, values := range query {
		if len(values) != 1 {
			return nil, badRequest("a parameter is given twice")
		}
		switch key {
		case "after":
			after, err = strconv.ParseUint(values[0], 10, 63)
		case "limit":
			limit, err = strconv.Atoi(values[0])
		default:
			err = strconv.ErrSyntax
		}
		if err != nil || limit < 1 || limit > maxPull {
			return nil, badRequest("the parameters are after (a sequence number) and limit (1 to 1000)")
		}
	}
	envelopes, more, err := s.store.After(c.Context(), c.session.Mailbox, after, limit, maxPullBytes, nil)
	if err != nil {
		return nil, err
	}
	response := relay.PullResponse{Envelopes: make([]relay.IncomingJSON, len(envelopes)), More: more}
	for i, in := range envelopes {
		response.Envelopes[i] = in.JSON()
	}
	return response, nil
}

func ack(s *Server, c *call, body *relay.AckRequest) (any, error) {
	if len(body.Envelopes) > relay.MaxAcks {
		return nil, badRequest("too many acknowledgements")
	}
	acks := make([]mailbox.Ack, len(body.Envelopes))
	for i, h := range body.Envelopes {
		acks[i] = mailbox.Ack{Mailbox: c.session.Mailbox, Handle: h}
	}
	// Not through ingest: the answer says that they are deleted.
	if err := s.store.Commit(c.Context(), &mailbox.Batch{Acks: acks}, c.now); err != nil {
		return nil, err
	}
	// They may have been pushed over a connection, which waits for this.
	s.each(c.session.Address, func(conn *conn) { conn.acknowledged(len(acks)) })
	return nil, nil
}

// ── The node itself ─────────────────────────────────────────────────────────

func health(*Server, *call) (any, error) { return relay.StatusResponse{Status: "ok"}, nil }

func ready(s *Server, c *call) (any, error) {
	s.mu.Lock()
	draining := s.draining
	s.mu.Unlock()
	if draining {
		return nil, errStopping
	}
	if err := s.store.Check(c.Context()); err != nil {
		return nil, &relay.Error{Code: relay.CodeUnavailable, Detail: "the storage cannot be read"}
	}
	return relay.StatusResponse{Status: "ok"}, nil
}

func socketWithoutUpgrade(*Server, *call) (any, error) {
	return nil, &relay.Error{Code: relay.CodeUpgradeRequired, Detail: "this is a WebSocket"}
}
