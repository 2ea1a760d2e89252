// Package mailboxtest is the suite that every driver of package mailbox passes.
//
//	func TestStore(t *testing.T) {
//		mailboxtest.Run(t, func(t *testing.T, limits mailbox.Limits) mailboxtest.Open {
//			path := filepath.Join(t.TempDir(), "relay.db")
//			return func() (mailbox.Store, error) { return sqlite.Open(path, sqlite.Config{Limits: limits}) }
//		})
//	}
//
// It tests what the interface promises and nothing else; how a driver keeps its
// promises when the disk fails is for its own tests.
package mailboxtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
)

// Open opens a store, or opens it again after it was closed: with all that was
// stored in it before.
type Open func() (mailbox.Store, error)

// Fresh makes a place for an empty store, which is removed when the test ends.
type Fresh func(t *testing.T, limits mailbox.Limits) Open

// Run runs the suite.
func Run(t *testing.T, fresh Fresh) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *fixture){
		"ChallengeKey":              testChallengeKey,
		"Register":                  testRegister,
		"RegisterAgain":             testRegisterAgain,
		"RegisterIsAtomic":          testRegisterIsAtomic,
		"Invites":                   testInvites,
		"Usernames":                 testUsernames,
		"Tokens":                    testTokens,
		"Logins":                    testLogins,
		"ChallengesAreUsedOnce":     testChallengesAreUsedOnce,
		"Disable":                   testDisable,
		"UpdateDevices":             testUpdateDevices,
		"DeleteAccount":             testDeleteAccount,
		"Accounts":                  testAccounts,
		"Prekeys":                   testPrekeys,
		"PrekeysExpire":             testPrekeysExpire,
		"PrekeysUploadedTwice":      testPrekeysUploadedTwice,
		"TooManyPrekeys":            testTooManyPrekeys,
		"ParallelClaims":            testParallelClaims,
		"PutAfterAck":               testPutAfterAck,
		"SameEnvelopeAgain":         testSameEnvelopeAgain,
		"SameIDFromAnotherSender":   testSameIDFromAnotherSender,
		"DeviceMismatch":            testDeviceMismatch,
		"SeveralDevicesAllOrNone":   testSeveralDevicesAllOrNone,
		"AckOnlyOnesOwn":            testAckOnlyOnesOwn,
		"NumbersAreNotUsedAgain":    testNumbersAreNotUsedAgain,
		"AfterInParts":              testAfterInParts,
		"QuotaOfMessages":           testQuotaOfMessages,
		"QuotaOfBytes":              testQuotaOfBytes,
		"Expire":                    testExpire,
		"ExpireToldToNobodyTwice":   testExpireNotes,
		"BatchesFromManyGoroutines": testManyGoroutines,
		"SenderOfADeletedAccount":   testSenderGone,
		"Closed":                    testClosed,
		"HostileStrings":            testHostileStrings,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, newFixture(t, fresh, mailbox.Limits{}))
		})
	}
	t.Run("Model", func(t *testing.T) { testModel(t, fresh) })
}

// fixture is a store and the time it is told.
type fixture struct {
	fresh Fresh
	open  Open
	store mailbox.Store
	ctx   context.Context //nolint:containedctx // a test's own
	now   time.Time
	nonce uint64
}

func newFixture(t *testing.T, fresh Fresh, limits mailbox.Limits) *fixture {
	t.Helper()
	f := &fixture{
		fresh: fresh, open: fresh(t, limits), ctx: context.Background(),
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	f.reopen(t)
	t.Cleanup(func() { _ = f.store.Close() })
	return f
}

// reopen closes the store, if it is open, and opens it again.
func (f *fixture) reopen(t *testing.T) {
	t.Helper()
	if f.store != nil {
		if err := f.store.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	store, err := f.open()
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	f.store = store
}

func userID(n int) relay.UserID {
	sum := sha256.Sum256(fmt.Appendf(nil, "user %d", n))
	return relay.UserID(sum[:])
}

func number(n int) relay.DeviceNumber { return relay.DeviceNumber(n) } //nolint:gosec // a few

func identityKey(n int) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "key %d", n)) }

func envelopeID(n int) relay.EnvelopeID {
	sum := sha256.Sum256(fmt.Appendf(nil, "envelope %d", n))
	return relay.EnvelopeID(sum[:])
}

func (f *fixture) login(user, device int) mailbox.Login {
	f.nonce++
	var challenge [16]byte
	binary.BigEndian.PutUint64(challenge[:], f.nonce)
	return mailbox.Login{
		Address:          relay.Address{User: userID(user), Device: number(device)},
		TokenHash:        sha256.Sum256(challenge[:]),
		Expires:          f.now.Add(time.Hour),
		Challenge:        challenge,
		ChallengeExpires: f.now.Add(time.Minute),
		ID:               challenge,
	}
}

func deviceList(user int, version uint64, devices ...int) mailbox.DeviceList {
	list := mailbox.DeviceList{Version: version, Encoded: fmt.Appendf(nil, "list of %d, version %d, devices %v", user, version, devices)}
	for _, d := range devices {
		list.Devices = append(list.Devices, mailbox.Device{Number: number(d), IdentityKey: identityKey(100*user + d)})
	}
	return list
}

func prekey(kind relay.PrekeyKind, id int) relay.Prekey {
	return relay.Prekey{Kind: kind, ID: uint32(id), //nolint:gosec // not negative
		Key: fmt.Appendf(nil, "%s %d", kind, id)}
}

func standing() []relay.Prekey {
	return []relay.Prekey{prekey(relay.PrekeySigned, 1), prekey(relay.PrekeyKEMLastResort, 2)}
}

func (f *fixture) registration(user int, name string, devices ...int) mailbox.Registration {
	if len(devices) == 0 {
		devices = []int{1}
	}
	return mailbox.Registration{
		User: userID(user), List: deviceList(user, 1, devices...), Username: relay.Username(name),
		Prekeys: standing(), Login: f.login(user, devices[0]),
	}
}

// register makes an account and returns the mailboxes of its devices.
func (f *fixture) register(t *testing.T, user int, devices ...int) []mailbox.ID {
	t.Helper()
	r := f.registration(user, "", devices...)
	if created, err := f.store.Register(f.ctx, r, f.now); err != nil || !created {
		t.Fatalf("Register = %v, %v", created, err)
	}
	boxes := []mailbox.ID{f.session(t, r.Login).Mailbox}
	for _, d := range r.List.Devices[1:] {
		boxes = append(boxes, f.logIn(t, user, int(d.Number)))
	}
	return boxes
}

func (f *fixture) logIn(t *testing.T, user, device int) mailbox.ID {
	t.Helper()
	login := f.login(user, device)
	if err := f.tryLogIn(login); err != nil {
		t.Fatalf("LogIn: %v", err)
	}
	return f.session(t, login).Mailbox
}

func (f *fixture) tryLogIn(login mailbox.Login) error {
	_, err := f.store.LogIn(f.ctx, login, f.now)
	return err
}

func (f *fixture) session(t *testing.T, login mailbox.Login) mailbox.Session {
	t.Helper()
	s, err := f.store.Session(f.ctx, login.TokenHash, f.now)
	if err != nil {
		t.Fatalf("Session: %v", err)
	}
	if s.Address != login.Address {
		t.Fatalf("the session is of %v, want %v", s.Address, login.Address)
	}
	return s
}

func want(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (f *fixture) put(t *testing.T, puts ...mailbox.Put) []error {
	t.Helper()
	batch := &mailbox.Batch{Puts: puts}
	if err := f.store.Commit(f.ctx, batch, f.now); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	var errs []error
	for _, p := range batch.Puts {
		errs = append(errs, p.Err)
	}
	return errs
}

func (f *fixture) ack(t *testing.T, acks ...mailbox.Ack) {
	t.Helper()
	if err := f.store.Commit(f.ctx, &mailbox.Batch{Acks: acks}, f.now); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func from(user int) relay.Address { return relay.Address{User: userID(user), Device: 1} }

// message is a Put of one envelope to device 1.
func message(sender, to, id int, body string) mailbox.Put {
	return mailbox.Put{From: from(sender), To: userID(to), Envelopes: []relay.Outgoing{{Device: 1, ID: envelopeID(id), Body: []byte(body)}}}
}

// all returns everything in a mailbox.
func (f *fixture) all(t *testing.T, box mailbox.ID) []relay.Incoming {
	t.Helper()
	envelopes, more, err := f.store.After(f.ctx, box, 0, 100_000, 1<<30, nil)
	if err != nil || more {
		t.Fatalf("After: more %v, %v", more, err)
	}
	for i := 1; i < len(envelopes); i++ {
		if envelopes[i].Seq <= envelopes[i-1].Seq {
			t.Fatalf("sequence numbers %d, %d do not ascend", envelopes[i-1].Seq, envelopes[i].Seq)
		}
	}
	return envelopes
}

func bodies(envelopes []relay.Incoming) []string {
	var s []string
	for _, e := range envelopes {
		s = append(s, string(e.Body))
	}
	return s
}

func (f *fixture) wantBodies(t *testing.T, box mailbox.ID, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, bodies(f.all(t, box)), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the mailbox differs (-want +got):\n%s", diff)
	}
}

func testChallengeKey(t *testing.T, f *fixture) {
	first, err := f.store.ChallengeKey(f.ctx)
	if err != nil || first == ([32]byte{}) {
		t.Fatalf("ChallengeKey = %x, %v", first, err)
	}
	f.reopen(t)
	again, err := f.store.ChallengeKey(f.ctx)
	if err != nil || again != first {
		t.Fatalf("the key changed, or %v", err)
	}
	other := newFixture(t, f.fresh, mailbox.Limits{})
	if key, err := other.store.ChallengeKey(other.ctx); err != nil || key == first {
		t.Fatalf("two stores have the same key, or %v", err)
	}
}

func testRegister(t *testing.T, f *fixture) {
	r := f.registration(1, "alice", 1, 3)
	if created, err := f.store.Register(f.ctx, r, f.now); err != nil || !created {
		t.Fatalf("Register = %v, %v", created, err)
	}
	f.reopen(t)
	account, err := f.store.Account(f.ctx, userID(1))
	if err != nil {
		t.Fatal(err)
	}
	expected := mailbox.Account{
		User: userID(1), Username: "alice", List: r.List.Encoded, ListVersion: 1,
		Created: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(expected, account); diff != "" {
		t.Errorf("account (-want +got):\n%s", diff)
	}
	for _, d := range []int{1, 3} {
		key, err := f.store.IdentityKey(f.ctx, relay.Address{User: userID(1), Device: number(d)})
		if err != nil || key != identityKey(100+d) {
			t.Errorf("identity key of device %d: %x, %v", d, key, err)
		}
	}
	f.session(t, r.Login)
	response, err := f.store.ClaimBundles(f.ctx, userID(1), nil, true, f.now)
	if err != nil || len(response.Bundles) != 1 || response.Bundles[0].Device != 1 || !bytes.Equal(response.DeviceList, r.List.Encoded) {
		t.Errorf("bundles after registration: %+v, %v", response, err)
	}

	_, err = f.store.Account(f.ctx, userID(2))
	want(t, "Account of nobody", err, mailbox.ErrUnknownUser)
	_, err = f.store.IdentityKey(f.ctx, relay.Address{User: userID(1), Device: 2})
	want(t, "IdentityKey of no device", err, mailbox.ErrUnknownDevice)
	_, err = f.store.ClaimBundles(f.ctx, userID(2), nil, true, f.now)
	want(t, "ClaimBundles of nobody", err, mailbox.ErrUnknownUser)
	_, err = f.store.ClaimBundles(f.ctx, userID(2), nil, false, f.now)
	want(t, "ClaimBundles of nobody", err, mailbox.ErrUnknownUser)
}

func testRegisterAgain(t *testing.T, f *fixture) {
	hash := sha256.Sum256([]byte("invite"))
	if err := f.store.CreateInvite(f.ctx, mailbox.Invite{Hash: hash, Uses: 1, Expires: f.now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	r := f.registration(1, "alice")
	r.Invite = &hash
	if created, err := f.store.Register(f.ctx, r, f.now); err != nil || !created {
		t.Fatalf("Register = %v, %v", created, err)
	}
	r.Login = f.login(1, 1)
	if created, err := f.store.Register(f.ctx, r, f.now); err != nil || created {
		t.Fatalf("the same once more = %v, %v", created, err)
	}
	f.session(t, r.Login)

	other := r
	other.List, other.Login = deviceList(1, 2, 1), f.login(1, 1)
	_, err := f.store.Register(f.ctx, other, f.now)
	want(t, "another list", err, mailbox.ErrAccountExists)
	other = r
	other.Username, other.Login = "alice2", f.login(1, 1)
	_, err = f.store.Register(f.ctx, other, f.now)
	want(t, "another name", err, mailbox.ErrAccountExists)

	if err := f.store.SetDisabled(f.ctx, userID(1), true); err != nil {
		t.Fatal(err)
	}
	r.Login = f.login(1, 1)
	_, err = f.store.Register(f.ctx, r, f.now)
	want(t, "registering a disabled account", err, mailbox.ErrDisabled)
}

// A registration that is refused leaves nothing behind: not the name, not a use of
// the invitation, not the challenge.
func testRegisterIsAtomic(t *testing.T, f *fixture) {
	hash := sha256.Sum256([]byte("invite"))
	if err := f.store.CreateInvite(f.ctx, mailbox.Invite{Hash: hash, Uses: 1, Expires: f.now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	used := f.login(1, 1)
	first := f.registration(1, "")
	first.Login = used
	if _, err := f.store.Register(f.ctx, first, f.now); err != nil {
		t.Fatal(err)
	}

	r := f.registration(2, "bob")
	r.Invite = &hash
	r.Login.Challenge = used.Challenge
	_, err := f.store.Register(f.ctx, r, f.now)
	want(t, "a used challenge", err, mailbox.ErrChallengeUsed)
	r.Login = f.login(2, 1)
	r.Prekeys = nil
	for i := range relay.MaxOneTimePrekeys + 1 {
		r.Prekeys = append(r.Prekeys, prekey(relay.PrekeyECOneTime, i))
	}
	_, err = f.store.Register(f.ctx, r, f.now)
	want(t, "too many prekeys", err, mailbox.ErrTooManyPrekeys)

	_, err = f.store.Account(f.ctx, userID(2))
	want(t, "Account", err, mailbox.ErrUnknownUser)
	_, err = f.store.Username(f.ctx, "bob")
	want(t, "Username", err, mailbox.ErrUnknownUsername)

	r.Prekeys = standing()
	if created, err := f.store.Register(f.ctx, r, f.now); err != nil || !created {
		t.Fatalf("the third try = %v, %v", created, err)
	}
}

func testInvites(t *testing.T, f *fixture) {
	one, many := sha256.Sum256([]byte("one")), sha256.Sum256([]byte("many"))
	for _, i := range []mailbox.Invite{{Hash: one, Uses: 1, Expires: f.now.Add(time.Hour)}, {Hash: many, Uses: 2, Expires: f.now.Add(2 * time.Hour)}} {
		if err := f.store.CreateInvite(f.ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.store.Invites(f.ctx, f.now)
	expected := []mailbox.Invite{{Hash: one, Uses: 1, Expires: f.now.Add(time.Hour)}, {Hash: many, Uses: 2, Expires: f.now.Add(2 * time.Hour)}}
	if diff := cmp.Diff(expected, got); diff != "" || err != nil {
		t.Errorf("invites (-want +got):\n%s %v", diff, err)
	}
	use := func(user int, hash [32]byte) error {
		r := f.registration(user, "")
		r.Invite = &hash
		_, err := f.store.Register(f.ctx, r, f.now)
		return err
	}
	want(t, "first use", use(1, one), nil)
	want(t, "second use of one", use(2, one), mailbox.ErrInvite)
	want(t, "unknown invitation", use(2, [32]byte{}), mailbox.ErrInvite)
	want(t, "first use of two", use(2, many), nil)
	// Whoever is not invited does not learn which names are taken; and a name that is
	// taken costs an invited person nothing.
	named := func(user int, hash [32]byte) error {
		r := f.registration(user, "alice")
		r.Invite = &hash
		_, err := f.store.Register(f.ctx, r, f.now)
		return err
	}
	last := sha256.Sum256([]byte("last"))
	if err := f.store.CreateInvite(f.ctx, mailbox.Invite{Hash: last, Uses: 2, Expires: f.now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	want(t, "a name by invitation", named(4, last), nil)
	want(t, "a taken name without an invitation", named(5, [32]byte{}), mailbox.ErrInvite)
	want(t, "a taken name with an invitation", named(5, last), mailbox.ErrUsernameTaken)
	want(t, "the invitation afterwards", use(5, last), nil)
	f.now = f.now.Add(2 * time.Hour)
	want(t, "expired invitation", use(3, many), mailbox.ErrInvite)
	f.now = f.now.Add(-time.Hour)
	if err := f.store.RevokeInvite(f.ctx, many); err != nil {
		t.Fatal(err)
	}
	want(t, "revoked invitation", use(3, many), mailbox.ErrInvite)
	want(t, "revoking twice", f.store.RevokeInvite(f.ctx, many), mailbox.ErrInvite)
	if got, err := f.store.Invites(f.ctx, f.now); err != nil || len(got) != 0 {
		t.Errorf("invites left: %v, %v", got, err)
	}
}

func testUsernames(t *testing.T, f *fixture) {
	if _, err := f.store.Register(f.ctx, f.registration(1, "alice"), f.now); err != nil {
		t.Fatal(err)
	}
	_, err := f.store.Register(f.ctx, f.registration(2, "alice"), f.now)
	want(t, "a taken name", err, mailbox.ErrUsernameTaken)
	if _, err := f.store.Register(f.ctx, f.registration(2, ""), f.now); err != nil {
		t.Fatalf("without a name: %v", err)
	}
	if _, err := f.store.Register(f.ctx, f.registration(3, ""), f.now); err != nil {
		t.Fatalf("a second one without a name: %v", err)
	}
	if user, err := f.store.Username(f.ctx, "alice"); err != nil || user != userID(1) {
		t.Errorf("Username = %v, %v", user, err)
	}
	_, err = f.store.Username(f.ctx, "alic")
	want(t, "Username", err, mailbox.ErrUnknownUsername)

	// Of many at once, one gets the name.
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		r := f.registration(10+i, "wanted")
		wg.Go(func() { _, errs[i] = f.store.Register(f.ctx, r, f.now) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			want(t, "losing the race", err, mailbox.ErrUsernameTaken)
		}
	}
	if won != 1 {
		t.Errorf("%d registrations got the same name", won)
	}
}

func testTokens(t *testing.T, f *fixture) {
	f.register(t, 1, 1, 2)
	login := f.login(1, 2)
	if err := f.tryLogIn(login); err != nil {
		t.Fatal(err)
	}
	f.reopen(t)
	f.session(t, login)
	_, err := f.store.Session(f.ctx, [32]byte{1}, f.now)
	want(t, "an unknown token", err, mailbox.ErrNoToken)
	_, err = f.store.Session(f.ctx, login.TokenHash, f.now.Add(time.Hour))
	want(t, "an expired token", err, mailbox.ErrNoToken)
	want(t, "login of nobody", f.tryLogIn(f.login(2, 1)), mailbox.ErrUnknownDevice)
	want(t, "login of no device", f.tryLogIn(f.login(1, 3)), mailbox.ErrUnknownDevice)

	// The oldest token makes room, and only those of the same device.
	f.now = f.now.Add(time.Second)
	for range mailbox.MaxTokens - 1 {
		if err := f.tryLogIn(f.login(1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	f.session(t, login)
	var logins []mailbox.Login
	for range mailbox.MaxTokens {
		f.now = f.now.Add(time.Second)
		logins = append(logins, f.login(1, 2))
		if err := f.tryLogIn(logins[len(logins)-1]); err != nil {
			t.Fatal(err)
		}
	}
	_, err = f.store.Session(f.ctx, login.TokenHash, f.now)
	want(t, "the oldest token", err, mailbox.ErrNoToken)
	for _, l := range logins {
		f.session(t, l)
	}
}

// testLogins: a device is told of its logins before, and can revoke all tokens but
// the one that the new one replaces.
func testLogins(t *testing.T, f *fixture) {
	r := f.registration(1, "", 1, 2)
	if _, err := f.store.Register(f.ctx, r, f.now); err != nil {
		t.Fatal(err)
	}
	made := []relay.LoginID{r.Login.ID}
	other := f.login(1, 2)
	if before, err := f.store.LogIn(f.ctx, other, f.now); err != nil || len(before) != 0 {
		t.Errorf("the first login of a device: %v, %v", before, err)
	}
	for i := range relay.MaxLogins + 3 {
		if i == 2 {
			f.reopen(t)
		}
		login := f.login(1, 1)
		before, err := f.store.LogIn(f.ctx, login, f.now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(made[max(0, len(made)-relay.MaxLogins):], before); diff != "" {
			t.Errorf("before login %d (-want +got):\n%s", i, diff)
		}
		made = append(made, login.ID)
	}
	// A refused login leaves nothing behind.
	refused := f.login(1, 1)
	refused.Challenge = r.Login.Challenge
	want(t, "a used challenge", f.tryLogIn(refused), mailbox.ErrChallengeUsed)
	first, second, third := f.login(1, 1), f.login(1, 1), f.login(1, 1)
	third.Alone, third.Keep = true, &second.TokenHash
	for _, login := range []mailbox.Login{first, second, third} {
		before, err := f.store.LogIn(f.ctx, login, f.now)
		if err != nil || before[len(before)-1] != made[len(made)-1] {
			t.Errorf("after a refused login: %v, %v", before, err)
		}
		made = append(made, login.ID)
	}
	_, err := f.store.Session(f.ctx, first.TokenHash, f.now)
	want(t, "a revoked token", err, mailbox.ErrNoToken)
	for _, login := range []mailbox.Login{second, third, other} {
		f.session(t, login)
	}
	alone := f.login(1, 1)
	alone.Alone = true
	if err := f.tryLogIn(alone); err != nil {
		t.Fatal(err)
	}
	_, err = f.store.Session(f.ctx, third.TokenHash, f.now)
	want(t, "the token before", err, mailbox.ErrNoToken)
	f.session(t, alone)
	f.session(t, other)
}

func testChallengesAreUsedOnce(t *testing.T, f *fixture) {
	f.register(t, 1)
	f.register(t, 2)
	login := f.login(1, 1)
	if err := f.tryLogIn(login); err != nil {
		t.Fatal(err)
	}
	f.reopen(t)
	again := f.login(2, 1)
	again.Challenge = login.Challenge
	want(t, "a used challenge", f.tryLogIn(again), mailbox.ErrChallengeUsed)
	_, err := f.store.Session(f.ctx, again.TokenHash, f.now)
	want(t, "the token of a refused login", err, mailbox.ErrNoToken)

	fresh := f.login(1, 1)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		l := fresh
		l.TokenHash = sha256.Sum256([]byte{byte(i)})
		wg.Go(func() { errs[i] = f.tryLogIn(l) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		}
	}
	if won != 1 {
		t.Errorf("one challenge gave %d tokens", won)
	}
	// Once it would have expired it need not be remembered.
	if _, _, err := f.store.Expire(f.ctx, f.now.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func testDisable(t *testing.T, f *fixture) {
	box := f.register(t, 1)[0]
	f.register(t, 2)
	login := f.login(1, 1)
	if err := f.tryLogIn(login); err != nil {
		t.Fatal(err)
	}
	if err := f.store.SetDisabled(f.ctx, userID(1), true); err != nil {
		t.Fatal(err)
	}
	_, err := f.store.Session(f.ctx, login.TokenHash, f.now)
	want(t, "the token of a disabled account", err, mailbox.ErrNoToken)
	want(t, "login to a disabled account", f.tryLogIn(f.login(1, 1)), mailbox.ErrDisabled)
	_, _, err = f.store.After(f.ctx, box, 0, 10, 1000, nil)
	want(t, "the mailbox of a disabled account", err, mailbox.ErrUnknownDevice)
	if a, err := f.store.Account(f.ctx, userID(1)); err != nil || !a.Disabled {
		t.Errorf("Account = %+v, %v", a, err)
	}
	if errs := f.put(t, message(2, 1, 1, "for later")); errs[0] != nil {
		t.Errorf("sending to a disabled account: %v", errs[0])
	}
	if err := f.store.SetDisabled(f.ctx, userID(1), false); err != nil {
		t.Fatal(err)
	}
	if got := f.logIn(t, 1, 1); got != box {
		t.Errorf("mailbox %d, was %d", got, box)
	}
	f.wantBodies(t, box, "for later")
	want(t, "disabling nobody", f.store.SetDisabled(f.ctx, userID(3), true), mailbox.ErrUnknownUser)
}

func testUpdateDevices(t *testing.T, f *fixture) {
	boxes := f.register(t, 1, 1, 2, 3)
	f.register(t, 9)
	three := f.login(1, 3)
	if err := f.tryLogIn(three); err != nil {
		t.Fatal(err)
	}
	send := func(devices ...int) error {
		p := mailbox.Put{From: from(9), To: userID(1)}
		for _, d := range devices {
			p.Envelopes = append(p.Envelopes, relay.Outgoing{Device: number(d), ID: relay.NewEnvelopeID(), Body: []byte("x")})
		}
		return f.put(t, p)[0]
	}
	want(t, "sending", send(1, 2, 3), nil)

	same := deviceList(1, 1, 1, 2, 3)
	if removed, err := f.store.UpdateDevices(f.ctx, userID(1), same, f.now); err != nil || removed != nil {
		t.Errorf("the same list: %v, %v", removed, err)
	}
	_, err := f.store.UpdateDevices(f.ctx, userID(1), deviceList(1, 1, 1), f.now)
	want(t, "another list of the same version", err, mailbox.ErrListConflict)
	_, err = f.store.UpdateDevices(f.ctx, userID(2), deviceList(2, 2, 1), f.now)
	want(t, "the list of nobody", err, mailbox.ErrUnknownUser)

	// Device 3 goes, device 2 gets another identity key, device 4 comes.
	list := deviceList(1, 5, 1, 2, 4)
	list.Devices[1].IdentityKey = identityKey(999)
	removed, err := f.store.UpdateDevices(f.ctx, userID(1), list, f.now)
	if diff := cmp.Diff([]relay.DeviceNumber{2, 3}, removed); diff != "" || err != nil {
		t.Fatalf("removed (-want +got):\n%s %v", diff, err)
	}
	_, err = f.store.UpdateDevices(f.ctx, userID(1), deviceList(1, 4, 1), f.now)
	want(t, "an older list", err, mailbox.ErrListConflict)
	if a, err := f.store.Account(f.ctx, userID(1)); err != nil || a.ListVersion != 5 || !bytes.Equal(a.List, list.Encoded) {
		t.Errorf("Account = %+v, %v", a, err)
	}
	_, err = f.store.Session(f.ctx, three.TokenHash, f.now)
	want(t, "the token of a removed device", err, mailbox.ErrNoToken)
	want(t, "login of a removed device", f.tryLogIn(f.login(1, 3)), mailbox.ErrUnknownDevice)
	for _, box := range boxes[1:] {
		_, _, err = f.store.After(f.ctx, box, 0, 10, 1000, nil)
		want(t, "the mailbox of a removed device", err, mailbox.ErrUnknownDevice)
	}
	f.wantBodies(t, boxes[0], "x")
	if key, err := f.store.IdentityKey(f.ctx, relay.Address{User: userID(1), Device: 2}); err != nil || key != identityKey(999) {
		t.Errorf("identity key of the new device 2: %x, %v", key, err)
	}
	for _, d := range []int{2, 4} {
		box := f.logIn(t, 1, d)
		if slices.Contains(boxes, box) {
			t.Errorf("device %d got an old mailbox", d)
		}
		f.wantBodies(t, box)
	}
	var mismatch *mailbox.DeviceMismatchError
	if err := send(1, 2, 3); !errors.As(err, &mismatch) {
		t.Errorf("sending to the old devices: %v", err)
	} else if diff := cmp.Diff(&mailbox.DeviceMismatchError{Missing: []relay.DeviceNumber{4}, Extra: []relay.DeviceNumber{3}}, mismatch); diff != "" {
		t.Errorf("mismatch (-want +got):\n%s", diff)
	}
	want(t, "sending to the new devices", send(1, 2, 4), nil)
	response, err := f.store.ClaimBundles(f.ctx, userID(1), nil, true, f.now)
	if err != nil || len(response.Bundles) != 1 || response.Bundles[0].Device != 1 {
		t.Errorf("bundles: %+v, %v", response.Bundles, err)
	}
}

func testDeleteAccount(t *testing.T, f *fixture) {
	r := f.registration(1, "alice")
	if _, err := f.store.Register(f.ctx, r, f.now); err != nil {
		t.Fatal(err)
	}
	box := f.session(t, r.Login).Mailbox
	f.register(t, 2)
	f.put(t, message(2, 1, 1, "x"))
	if err := f.store.DeleteAccount(f.ctx, userID(1)); err != nil {
		t.Fatal(err)
	}
	want(t, "deleting twice", f.store.DeleteAccount(f.ctx, userID(1)), mailbox.ErrUnknownUser)
	want(t, "sending to a deleted account", f.put(t, message(2, 1, 2, "x"))[0], mailbox.ErrUnknownUser)
	_, err := f.store.Session(f.ctx, r.Login.TokenHash, f.now)
	want(t, "the token of a deleted account", err, mailbox.ErrNoToken)
	_, _, err = f.store.After(f.ctx, box, 0, 10, 1000, nil)
	want(t, "the mailbox of a deleted account", err, mailbox.ErrUnknownDevice)
	want(t, "prekeys for a deleted account", f.store.PutPrekeys(f.ctx, box, standing(), f.now), mailbox.ErrUnknownDevice)
	_, err = f.store.ClaimBundles(f.ctx, userID(1), nil, false, f.now)
	want(t, "bundles of a deleted account", err, mailbox.ErrUnknownUser)

	// The name is free, and who comes next gets another mailbox.
	next := f.registration(3, "alice")
	if _, err := f.store.Register(f.ctx, next, f.now); err != nil {
		t.Fatal(err)
	}
	if got := f.session(t, next.Login).Mailbox; got == box {
		t.Error("a mailbox was given to another device")
	}
	f.register(t, 1)
}

func testAccounts(t *testing.T, f *fixture) {
	var users []relay.UserID
	for i := range 7 {
		f.register(t, i)
		users = append(users, userID(i))
	}
	slices.SortFunc(users, func(a, b relay.UserID) int { return bytes.Compare(a[:], b[:]) })
	var got []relay.UserID
	var after relay.UserID
	for {
		page, err := f.store.Accounts(f.ctx, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page {
			got = append(got, a.User)
		}
		if len(page) < 3 {
			break
		}
		after = page[2].User
	}
	if diff := cmp.Diff(users, got); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
}

func testPrekeys(t *testing.T, f *fixture) {
	box := f.register(t, 1)[0]
	if err := f.store.PutPrekeys(f.ctx, box, []relay.Prekey{
		prekey(relay.PrekeyKEMOneTime, 10), prekey(relay.PrekeyKEMOneTime, 11), prekey(relay.PrekeyECOneTime, 10),
	}, f.now); err != nil {
		t.Fatal(err)
	}
	f.reopen(t)
	count := func() relay.PrekeysResponse {
		t.Helper()
		c, err := f.store.CountPrekeys(f.ctx, box, f.now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	standingInfo := relay.PrekeysResponse{Signed: &relay.PrekeyInfo{ID: 1}, KEMLastResort: &relay.PrekeyInfo{ID: 2}}
	full := standingInfo
	full.KEMOneTime, full.ECOneTime = 2, 1
	if diff := cmp.Diff(full, count()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	// Without one-time keys nothing is used up.
	for range 3 {
		got, err := f.store.ClaimBundles(f.ctx, userID(1), nil, false, f.now)
		expected := []relay.Bundle{{Device: 1, Signed: prekey(relay.PrekeySigned, 1), KEM: prekey(relay.PrekeyKEMLastResort, 2)}}
		if diff := cmp.Diff(expected, got.Bundles); diff != "" || err != nil {
			t.Errorf("bundle (-want +got):\n%s %v", diff, err)
		}
	}
	if diff := cmp.Diff(full, count()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	seen := make(map[uint32]bool)
	for i := range 4 {
		got, err := f.store.ClaimBundles(f.ctx, userID(1), []relay.DeviceNumber{1}, true, f.now)
		if err != nil || len(got.Bundles) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		b := got.Bundles[0]
		if i < 2 {
			if b.KEM.Kind != relay.PrekeyKEMOneTime || seen[b.KEM.ID] {
				t.Errorf("claim %d: %+v", i, b.KEM)
			}
			seen[b.KEM.ID] = true
		} else if diff := cmp.Diff(prekey(relay.PrekeyKEMLastResort, 2), b.KEM); diff != "" {
			t.Errorf("claim %d (-want +got):\n%s", i, diff)
		}
		if (b.OneTime != nil) != (i == 0) {
			t.Errorf("claim %d: one-time prekey %v", i, b.OneTime)
		}
	}
	if diff := cmp.Diff(standingInfo, count()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if got, err := f.store.ClaimBundles(f.ctx, userID(1), []relay.DeviceNumber{2}, true, f.now); err != nil || len(got.Bundles) != 0 {
		t.Errorf("bundles of a device that is not there: %+v, %v", got, err)
	}
	// Signed and last-resort prekeys are replaced.
	if err := f.store.PutPrekeys(f.ctx, box, []relay.Prekey{prekey(relay.PrekeySigned, 7), prekey(relay.PrekeyKEMLastResort, 8)}, f.now); err != nil {
		t.Fatal(err)
	}
	got, err := f.store.ClaimBundles(f.ctx, userID(1), nil, true, f.now)
	expected := []relay.Bundle{{Device: 1, Signed: prekey(relay.PrekeySigned, 7), KEM: prekey(relay.PrekeyKEMLastResort, 8)}}
	if diff := cmp.Diff(expected, got.Bundles); diff != "" || err != nil {
		t.Errorf("bundle (-want +got):\n%s %v", diff, err)
	}
	want(t, "prekeys for no mailbox", f.store.PutPrekeys(f.ctx, box+1000, standing(), f.now), mailbox.ErrUnknownDevice)
}

func testPrekeysExpire(t *testing.T, f *fixture) {
	box := f.register(t, 1)[0]
	expiring := func(kind relay.PrekeyKind, id int, after time.Duration) relay.Prekey {
		p := prekey(kind, id)
		p.ExpiresAt = relay.MillisOf(f.now.Add(after))
		return p
	}
	if err := f.store.PutPrekeys(f.ctx, box, []relay.Prekey{
		expiring(relay.PrekeySigned, 3, 3*time.Hour), expiring(relay.PrekeyKEMLastResort, 4, 2*time.Hour),
		expiring(relay.PrekeyKEMOneTime, 5, time.Hour), prekey(relay.PrekeyECOneTime, 6),
	}, f.now); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(time.Hour)
	if c, err := f.store.CountPrekeys(f.ctx, box, f.now); err != nil || c.KEMOneTime != 0 || c.ECOneTime != 1 {
		t.Errorf("counts %+v, %v", c, err)
	}
	got, err := f.store.ClaimBundles(f.ctx, userID(1), nil, true, f.now)
	if err != nil || len(got.Bundles) != 1 || got.Bundles[0].KEM.ID != 4 || got.Bundles[0].OneTime == nil {
		t.Errorf("bundles %+v, %v", got, err)
	}
	f.now = f.now.Add(time.Hour)
	for _, oneTime := range []bool{true, false} {
		if got, err := f.store.ClaimBundles(f.ctx, userID(1), nil, oneTime, f.now); err != nil || len(got.Bundles) != 0 || got.DeviceList == nil {
			t.Errorf("bundles after the last-resort prekey has expired: %+v, %v", got, err)
		}
	}
	if c, err := f.store.CountPrekeys(f.ctx, box, f.now); err != nil || c.KEMLastResort != nil || c.Signed == nil {
		t.Errorf("counts %+v, %v", c, err)
	}
}

// A device that did not see the answer to its upload repeats it; by then some of
// the keys may have been handed out.
func testPrekeysUploadedTwice(t *testing.T, f *fixture) {
	box := f.register(t, 1)[0]
	upload := []relay.Prekey{prekey(relay.PrekeyKEMOneTime, 1), prekey(relay.PrekeyKEMOneTime, 2), prekey(relay.PrekeyECOneTime, 1)}
	put := func() {
		t.Helper()
		if err := f.store.PutPrekeys(f.ctx, box, upload, f.now); err != nil {
			t.Fatal(err)
		}
	}
	put()
	put()
	if c, err := f.store.CountPrekeys(f.ctx, box, f.now); err != nil || c.KEMOneTime != 2 || c.ECOneTime != 1 {
		t.Fatalf("counts %+v, %v", c, err)
	}
	handed := make(map[string]int)
	for range 4 {
		got, err := f.store.ClaimBundles(f.ctx, userID(1), nil, true, f.now)
		if err != nil {
			t.Fatal(err)
		}
		if b := got.Bundles[0]; b.KEM.Kind == relay.PrekeyKEMOneTime {
			handed[string(b.KEM.Key)]++
		}
		if b := got.Bundles[0]; b.OneTime != nil {
			handed[string(b.OneTime.Key)]++
		}
		put()
		f.reopen(t)
	}
	for key, n := range handed {
		if n != 1 {
			t.Errorf("%q was handed out %d times", key, n)
		}
	}
	if len(handed) != 3 {
		t.Errorf("%d keys were handed out, want 3", len(handed))
	}
}

func testTooManyPrekeys(t *testing.T, f *fixture) {
	box := f.register(t, 1)[0]
	var upload []relay.Prekey
	for i := range relay.MaxOneTimePrekeys {
		upload = append(upload, prekey(relay.PrekeyKEMOneTime, i), prekey(relay.PrekeyECOneTime, i))
	}
	if err := f.store.PutPrekeys(f.ctx, box, upload, f.now); err != nil {
		t.Fatalf("as many as allowed: %v", err)
	}
	more := []relay.Prekey{prekey(relay.PrekeySigned, 77), prekey(relay.PrekeyKEMOneTime, 1<<20)}
	want(t, "one more", f.store.PutPrekeys(f.ctx, box, more, f.now), mailbox.ErrTooManyPrekeys)
	c, err := f.store.CountPrekeys(f.ctx, box, f.now)
	if err != nil || c.KEMOneTime != relay.MaxOneTimePrekeys || c.Signed == nil || c.Signed.ID != 1 {
		t.Errorf("counts after a refused upload: %+v, %v", c, err)
	}
}

func testParallelClaims(t *testing.T, f *fixture) {
	box := f.register(t, 1)[0]
	var upload []relay.Prekey
	for i := range 150 {
		upload = append(upload, prekey(relay.PrekeyKEMOneTime, i), prekey(relay.PrekeyECOneTime, i))
	}
	if err := f.store.PutPrekeys(f.ctx, box, upload, f.now); err != nil {
		t.Fatal(err)
	}
	var (
		mu     sync.Mutex
		handed = make(map[string]int)
		wg     sync.WaitGroup
	)
	for range 200 {
		wg.Go(func() {
			got, err := f.store.ClaimBundles(f.ctx, userID(1), nil, true, f.now)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || len(got.Bundles) != 1 {
				t.Errorf("ClaimBundles = %+v, %v", got, err)
				return
			}
			handed[string(got.Bundles[0].KEM.Key)]++
			if k := got.Bundles[0].OneTime; k != nil {
				handed[string(k.Key)]++
			}
		})
	}
	wg.Wait()
	lastResort := prekey(relay.PrekeyKEMLastResort, 2)
	if n := handed[string(lastResort.Key)]; n != 50 {
		t.Errorf("the last-resort prekey was handed out %d times, want 50", n)
	}
	delete(handed, string(lastResort.Key))
	for key, n := range handed {
		if n != 1 {
			t.Errorf("%q was handed out %d times", key, n)
		}
	}
	if len(handed) != 300 {
		t.Errorf("%d keys were handed out, want 300", len(handed))
	}
}

func testPutAfterAck(t *testing.T, f *fixture) {
	alice, bob := f.register(t, 1)[0], f.register(t, 2)[0]
	for _, err := range f.put(t, message(1, 2, 1, "one"), message(2, 1, 2, "for alice"), message(1, 2, 3, "two")) {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.reopen(t)
	got := f.all(t, bob)
	expected := []relay.Incoming{
		{Handle: relay.Handle{ID: envelopeID(1)}, From: from(1), ReceivedAt: relay.MillisOf(f.now), Body: []byte("one")},
		{Handle: relay.Handle{ID: envelopeID(3)}, From: from(1), ReceivedAt: relay.MillisOf(f.now), Body: []byte("two")},
	}
	if diff := cmp.Diff(expected, got, cmpopts.IgnoreFields(relay.Handle{}, "Seq")); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	f.wantBodies(t, alice, "for alice")

	// A cursor skips what was read, acknowledging deletes it.
	rest, more, err := f.store.After(f.ctx, bob, got[0].Seq, 10, 1000, nil)
	if err != nil || more || len(rest) != 1 || rest[0].Seq != got[1].Seq {
		t.Errorf("After = %v, %v, %v", rest, more, err)
	}
	f.ack(t, mailbox.Ack{Mailbox: bob, Handle: got[0].Handle})
	f.wantBodies(t, bob, "two")
	f.reopen(t)
	f.wantBodies(t, bob, "two")
	f.ack(t, mailbox.Ack{Mailbox: bob, Handle: got[0].Handle}, mailbox.Ack{Mailbox: bob, Handle: got[1].Handle})
	f.wantBodies(t, bob)
	f.wantBodies(t, alice, "for alice")

	// One batch may store and acknowledge.
	f.put(t, message(1, 2, 4, "three"))
	batch := &mailbox.Batch{Puts: []mailbox.Put{message(1, 2, 5, "four")}, Acks: []mailbox.Ack{{Mailbox: bob, Handle: f.all(t, bob)[0].Handle}}}
	if err := f.store.Commit(f.ctx, batch, f.now); err != nil || batch.Puts[0].Err != nil {
		t.Fatal(err, batch.Puts[0].Err)
	}
	f.wantBodies(t, bob, "four")
	if err := f.store.Commit(f.ctx, &mailbox.Batch{}, f.now); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
}

func testSameEnvelopeAgain(t *testing.T, f *fixture) {
	f.register(t, 1)
	bob := f.register(t, 2)[0]
	p := message(1, 2, 1, "x")
	for i, err := range f.put(t, p, p) {
		if err != nil {
			t.Errorf("put %d: %v", i, err)
		}
	}
	f.reopen(t)
	want(t, "the same later", f.put(t, p)[0], nil)
	f.wantBodies(t, bob, "x")
	want(t, "other bytes", f.put(t, message(1, 2, 1, "y"))[0], mailbox.ErrConflict)
	want(t, "more bytes", f.put(t, message(1, 2, 1, "xx"))[0], mailbox.ErrConflict)
	f.wantBodies(t, bob, "x")
	// A refused Put leaves the others of its batch alone.
	errs := f.put(t, message(1, 2, 5, "before"), message(1, 2, 1, "y"), message(1, 2, 6, "after"))
	want(t, "before", errs[0], nil)
	want(t, "conflict", errs[1], mailbox.ErrConflict)
	want(t, "after", errs[2], nil)
	f.wantBodies(t, bob, "x", "before", "after")
}

// Whoever learns an envelope's ID cannot keep it from arriving, nor have it
// deleted.
func testSameIDFromAnotherSender(t *testing.T, f *fixture) {
	f.register(t, 1)
	f.register(t, 3, 1, 2)
	bob := f.register(t, 2)[0]
	for i, p := range []mailbox.Put{message(3, 2, 1, "mallory's"), message(1, 2, 1, "alice's"), message(3, 2, 1, "mallory's"), message(1, 2, 1, "alice's")} {
		want(t, fmt.Sprintf("put %d", i), f.put(t, p)[0], nil)
	}
	other := message(3, 2, 1, "another device's")
	other.From.Device = 2
	want(t, "from another device", f.put(t, other)[0], nil)
	want(t, "other bytes", f.put(t, message(1, 2, 1, "changed"))[0], mailbox.ErrConflict)
	f.wantBodies(t, bob, "mallory's", "alice's", "another device's")
	f.ack(t, mailbox.Ack{Mailbox: bob, Handle: f.all(t, bob)[0].Handle})
	f.wantBodies(t, bob, "alice's", "another device's")
	want(t, "again", f.put(t, message(1, 2, 1, "alice's"))[0], nil)
	f.wantBodies(t, bob, "alice's", "another device's")
}

func testDeviceMismatch(t *testing.T, f *fixture) {
	own := f.register(t, 1, 1, 2, 3)
	boxes := f.register(t, 2, 1, 2)
	put := func(sender, to int, devices ...int) error {
		p := mailbox.Put{From: from(sender), To: userID(to)}
		for _, d := range devices {
			p.Envelopes = append(p.Envelopes, relay.Outgoing{Device: number(d), ID: relay.NewEnvelopeID(), Body: []byte("x")})
		}
		return f.put(t, p)[0]
	}
	for _, c := range []struct {
		to             int
		devices        []int
		missing, extra []relay.DeviceNumber
	}{
		{2, []int{1}, []relay.DeviceNumber{2}, nil},
		{2, []int{1, 2, 3}, nil, []relay.DeviceNumber{3}},
		{2, []int{4}, []relay.DeviceNumber{1, 2}, []relay.DeviceNumber{4}},
		{2, nil, []relay.DeviceNumber{1, 2}, nil},
		{2, []int{1, 2, 1}, nil, []relay.DeviceNumber{1}},
		{1, []int{1, 2, 3}, nil, []relay.DeviceNumber{1}}, // to oneself, but not to the sending device
		{1, []int{2}, []relay.DeviceNumber{3}, nil},
	} {
		var mismatch *mailbox.DeviceMismatchError
		err := put(1, c.to, c.devices...)
		if !errors.As(err, &mismatch) {
			t.Errorf("to %d, devices %v: %v", c.to, c.devices, err)
			continue
		}
		if diff := cmp.Diff(&mailbox.DeviceMismatchError{Missing: c.missing, Extra: c.extra}, mismatch); diff != "" {
			t.Errorf("to %d, devices %v (-want +got):\n%s", c.to, c.devices, diff)
		}
	}
	for _, box := range append(boxes, own...) {
		f.wantBodies(t, box)
	}
	want(t, "all devices", put(1, 2, 2, 1), nil)
	want(t, "one's other devices", put(1, 1, 2, 3), nil)
	want(t, "nobody", put(1, 3, 1), mailbox.ErrUnknownUser)
	f.wantBodies(t, boxes[0], "x")
	f.wantBodies(t, boxes[1], "x")
	f.wantBodies(t, own[0])
	f.wantBodies(t, own[1], "x")

	f.register(t, 4)
	var mismatch *mailbox.DeviceMismatchError
	if err := put(4, 4, 1); !errors.As(err, &mismatch) || len(mismatch.Extra) != 1 {
		t.Errorf("to one's only device: %v", err)
	}
	want(t, "to one's other devices, when there are none", put(4, 4), nil)
}

func testSeveralDevicesAllOrNone(t *testing.T, f *fixture) {
	small := newFixture(t, f.fresh, mailbox.Limits{MailboxMessages: 2})
	f = small
	f.register(t, 1)
	boxes := f.register(t, 2, 1, 2)
	both := func(id1, id2 int, body string) mailbox.Put {
		return mailbox.Put{From: from(1), To: userID(2), Envelopes: []relay.Outgoing{
			{Device: 1, ID: envelopeID(id1), Body: []byte(body)}, {Device: 2, ID: envelopeID(id2), Body: []byte(body)},
		}}
	}
	want(t, "first", f.put(t, both(1, 2, "x"))[0], nil)
	want(t, "second", f.put(t, both(3, 4, "y"))[0], nil)
	// The first device has read, the second has not.
	first := f.all(t, boxes[0])
	f.ack(t, mailbox.Ack{Mailbox: boxes[0], Handle: first[0].Handle})
	want(t, "one mailbox full", f.put(t, both(5, 6, "z"))[0], mailbox.ErrMailboxFull)
	f.wantBodies(t, boxes[0], "y")
	f.wantBodies(t, boxes[1], "x", "y")
	want(t, "conflict in the second", f.put(t, both(7, 4, "other"))[0], mailbox.ErrConflict)
	f.wantBodies(t, boxes[0], "y")
	want(t, "a retry", f.put(t, both(3, 4, "y"))[0], nil)
	f.wantBodies(t, boxes[0], "y")
	f.wantBodies(t, boxes[1], "x", "y")
}

func testAckOnlyOnesOwn(t *testing.T, f *fixture) {
	alice, bob := f.register(t, 1)[0], f.register(t, 2)[0]
	f.put(t, message(1, 2, 1, "x"))
	handle := f.all(t, bob)[0].Handle
	wrongID := handle
	wrongID.ID = envelopeID(2)
	wrongSeq := handle
	wrongSeq.Seq++
	f.ack(t,
		mailbox.Ack{Mailbox: alice, Handle: handle},
		mailbox.Ack{Mailbox: bob, Handle: wrongID},
		mailbox.Ack{Mailbox: bob, Handle: wrongSeq},
		mailbox.Ack{Mailbox: bob + 100, Handle: handle},
		mailbox.Ack{Mailbox: bob, Handle: relay.Handle{Seq: 1 << 63, ID: handle.ID}},
		mailbox.Ack{Mailbox: bob},
	)
	f.wantBodies(t, bob, "x")
	f.ack(t, mailbox.Ack{Mailbox: bob, Handle: handle})
	f.wantBodies(t, bob)
}

func testNumbersAreNotUsedAgain(t *testing.T, f *fixture) {
	f.register(t, 1)
	bob := f.register(t, 2)[0]
	last := uint64(0)
	for i := range 5 {
		f.put(t, message(1, 2, i, "x"))
		got := f.all(t, bob)
		if len(got) != 1 || got[0].Seq <= last {
			t.Fatalf("sequence numbers %v after %d", got, last)
		}
		last = got[0].Seq
		f.ack(t, mailbox.Ack{Mailbox: bob, Handle: got[0].Handle})
		if i%2 == 0 {
			f.reopen(t)
		}
	}
}

func testAfterInParts(t *testing.T, f *fixture) {
	f.register(t, 1)
	bob := f.register(t, 2)[0]
	var puts []mailbox.Put
	var all []string
	for i := range 20 {
		body := string(bytes.Repeat([]byte{byte('a' + i)}, 100))
		puts = append(puts, message(1, 2, i, body))
		all = append(all, body)
	}
	f.put(t, puts...)
	read := func(limit, maxBytes int) (parts []int) {
		var got []relay.Incoming
		cursor := uint64(0)
		for {
			before := len(got)
			var more bool
			var err error
			got, more, err = f.store.After(f.ctx, bob, cursor, limit, maxBytes, got)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, len(got)-before)
			if !more {
				break
			}
			cursor = got[len(got)-1].Seq
		}
		if diff := cmp.Diff(all, bodies(got)); diff != "" {
			t.Errorf("limit %d, %d bytes (-want +got):\n%s", limit, maxBytes, diff)
		}
		return parts
	}
	if diff := cmp.Diff([]int{7, 7, 6}, read(7, 1<<20)); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{10, 10}, read(10, 1<<20)); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if parts := read(100, 250); len(parts) < 6 {
		t.Errorf("250 bytes at a time gave parts %v", parts)
	}
	if parts := read(100, 1); len(parts) != 20 {
		t.Errorf("a byte at a time gave parts %v", parts)
	}
	if got, more, err := f.store.After(f.ctx, bob, 1<<62, 10, 10, nil); err != nil || more || len(got) != 0 {
		t.Errorf("After the end = %v, %v, %v", got, more, err)
	}
}

func testQuotaOfMessages(t *testing.T, f *fixture) {
	f = newFixture(t, f.fresh, mailbox.Limits{MailboxMessages: 3})
	f.register(t, 1)
	bob := f.register(t, 2)[0]
	f.register(t, 3)
	for i := range 3 {
		want(t, "put", f.put(t, message(1, 2, i, "x"))[0], nil)
	}
	want(t, "one more", f.put(t, message(1, 2, 3, "x"))[0], mailbox.ErrMailboxFull)
	want(t, "one more in the same batch", f.put(t, message(1, 3, 3, "x"), message(1, 2, 3, "x"))[1], mailbox.ErrMailboxFull)
	want(t, "a retry", f.put(t, message(1, 2, 1, "x"))[0], nil)
	want(t, "a retry with other bytes", f.put(t, message(1, 2, 1, "y"))[0], mailbox.ErrConflict)
	f.reopen(t)
	want(t, "after reopening", f.put(t, message(1, 2, 3, "x"))[0], mailbox.ErrMailboxFull)
	handle := f.all(t, bob)[0].Handle
	f.ack(t, mailbox.Ack{Mailbox: bob, Handle: handle})
	f.ack(t, mailbox.Ack{Mailbox: bob, Handle: handle}) // counts once
	want(t, "after an acknowledgement", f.put(t, message(1, 2, 3, "x"))[0], nil)
	want(t, "and one more", f.put(t, message(1, 2, 4, "x"))[0], mailbox.ErrMailboxFull)
}

func testQuotaOfBytes(t *testing.T, f *fixture) {
	f = newFixture(t, f.fresh, mailbox.Limits{MailboxBytes: 1000})
	f.register(t, 1)
	bob := f.register(t, 2)[0]
	big := string(make([]byte, 400))
	want(t, "first", f.put(t, message(1, 2, 1, big))[0], nil)
	want(t, "second", f.put(t, message(1, 2, 2, big))[0], nil)
	want(t, "third", f.put(t, message(1, 2, 3, big))[0], mailbox.ErrMailboxFull)
	want(t, "a small one", f.put(t, message(1, 2, 4, "x"))[0], nil)
	f.reopen(t)
	want(t, "after reopening", f.put(t, message(1, 2, 3, big))[0], mailbox.ErrMailboxFull)
	f.ack(t, mailbox.Ack{Mailbox: bob, Handle: f.all(t, bob)[0].Handle})
	want(t, "after an acknowledgement", f.put(t, message(1, 2, 3, big))[0], nil)
}

func testExpire(t *testing.T, f *fixture) {
	f = newFixture(t, f.fresh, mailbox.Limits{Retention: 24 * time.Hour})
	alice, bob := f.register(t, 1)[0], f.register(t, 2)[0]
	start := f.now
	f.put(t, message(1, 2, 1, "old"))
	f.now = start.Add(12 * time.Hour)
	f.put(t, message(1, 2, 2, "young"))
	f.now = start.Add(24 * time.Hour)
	if n, woken, err := f.store.Expire(f.ctx, f.now); err != nil || n != 0 || woken != nil {
		t.Fatalf("Expire on time = %d, %v, %v", n, woken, err)
	}
	f.now = f.now.Add(time.Second)
	n, woken, err := f.store.Expire(f.ctx, f.now)
	if err != nil || n != 1 || len(woken) != 1 || woken[0] != from(1) {
		t.Fatalf("Expire = %d, %v, %v", n, woken, err)
	}
	f.wantBodies(t, bob, "young")
	expected := []relay.Incoming{{Handle: relay.Handle{ID: envelopeID(1)}, Kind: relay.KindExpired, ReceivedAt: relay.MillisOf(f.now)}}
	got := f.all(t, alice)
	if diff := cmp.Diff(expected, got, cmpopts.IgnoreFields(relay.Handle{}, "Seq")); diff != "" {
		t.Fatalf("the sender's mailbox (-want +got):\n%s", diff)
	}
	f.ack(t, mailbox.Ack{Mailbox: alice, Handle: got[0].Handle})
	f.wantBodies(t, alice)
	if n, _, err := f.store.Expire(f.ctx, f.now); err != nil || n != 0 {
		t.Errorf("Expire again = %d, %v", n, err)
	}
	// Many at once take several calls.
	var puts []mailbox.Put
	for i := range 1200 {
		puts = append(puts, message(1, 2, 100+i, "x"))
	}
	f.put(t, puts...)
	f.now = f.now.Add(48 * time.Hour)
	total := 0
	for calls := 0; ; calls++ {
		n, _, err := f.store.Expire(f.ctx, f.now)
		if err != nil || calls > 100 {
			t.Fatalf("%d calls of Expire, %v", calls, err)
		}
		if n == 0 {
			break
		}
		total += n
	}
	if total != 1201 {
		t.Errorf("%d envelopes expired, want 1,201", total)
	}
	f.wantBodies(t, bob)
	// The quota knows that they are gone.
	want(t, "put", f.put(t, message(1, 2, 5000, "x"))[0], nil)
	if got := f.all(t, alice); len(got) != 1201 {
		t.Errorf("%d notes, want 1,201", len(got))
	}
}

func testExpireNotes(t *testing.T, f *fixture) {
	f = newFixture(t, f.fresh, mailbox.Limits{Retention: time.Hour})
	alice := f.register(t, 1)[0]
	f.register(t, 2)
	f.put(t, message(1, 2, 1, "x"))
	// Alice happens to have an envelope with this very ID.
	f.put(t, message(2, 1, 1, "hers"))
	f.now = f.now.Add(time.Hour + time.Second)
	f.put(t, message(2, 1, 2, "new"))
	for range 3 {
		if _, _, err := f.store.Expire(f.ctx, f.now); err != nil {
			t.Fatal(err)
		}
	}
	var notes int
	for _, in := range f.all(t, alice) {
		if in.Kind == relay.KindExpired {
			notes++
		}
	}
	if notes != 1 {
		t.Errorf("%d notes, want 1", notes)
	}
	// Notes expire without a word.
	f.now = f.now.Add(2 * time.Hour)
	for range 3 {
		if _, _, err := f.store.Expire(f.ctx, f.now); err != nil {
			t.Fatal(err)
		}
	}
	for _, in := range f.all(t, alice) {
		if in.ID == envelopeID(1) {
			t.Errorf("a note of a note: %+v", in)
		}
	}
}

func testSenderGone(t *testing.T, f *fixture) {
	f = newFixture(t, f.fresh, mailbox.Limits{Retention: time.Hour})
	f.register(t, 1)
	bob := f.register(t, 2)[0]
	f.put(t, message(1, 2, 1, "x"))
	if err := f.store.DeleteAccount(f.ctx, userID(1)); err != nil {
		t.Fatal(err)
	}
	f.wantBodies(t, bob, "x")
	f.now = f.now.Add(2 * time.Hour)
	if n, woken, err := f.store.Expire(f.ctx, f.now); err != nil || n != 1 || woken != nil {
		t.Errorf("Expire = %d, %v, %v", n, woken, err)
	}
}

func testManyGoroutines(t *testing.T, f *fixture) {
	const people, each = 8, 40
	var boxes []mailbox.ID
	for i := range people {
		boxes = append(boxes, f.register(t, i)[0])
	}
	var wg sync.WaitGroup
	for i := range people {
		wg.Go(func() {
			for j := range each {
				batch := &mailbox.Batch{}
				for to := range people {
					if to != i {
						batch.Puts = append(batch.Puts, message(i, to, 1000*i+j, fmt.Sprintf("%d/%d", i, j)))
					}
				}
				if err := f.store.Commit(f.ctx, batch, f.now); err != nil {
					t.Errorf("Commit: %v", err)
					return
				}
				for _, p := range batch.Puts {
					if p.Err != nil {
						t.Errorf("put: %v", p.Err)
					}
				}
				// What is committed is seen by the next read.
				if _, err := f.store.Account(f.ctx, userID(i)); err != nil {
					t.Errorf("Account: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for i, box := range boxes {
		next := make(map[string]int)
		got := f.all(t, box)
		if len(got) != (people-1)*each {
			t.Errorf("mailbox %d holds %d envelopes, want %d", i, len(got), (people-1)*each)
		}
		for _, in := range got { // in order per sender
			var sender, n int
			if _, err := fmt.Sscanf(string(in.Body), "%d/%d", &sender, &n); err != nil {
				t.Fatal(err)
			}
			if key := fmt.Sprint(sender); next[key] != n {
				t.Fatalf("mailbox %d: message %d of %d came instead of %d", i, n, sender, next[key])
			} else {
				next[key]++
			}
		}
	}
}

func testClosed(t *testing.T, f *fixture) {
	box := f.register(t, 1)[0]
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := f.store.Account(f.ctx, userID(1))
	want(t, "Account", err, mailbox.ErrFailed)
	want(t, "Commit", f.store.Commit(f.ctx, &mailbox.Batch{Puts: []mailbox.Put{message(1, 1, 1, "x")}}, f.now), mailbox.ErrFailed)
	_, _, err = f.store.After(f.ctx, box, 0, 1, 1, nil)
	want(t, "After", err, mailbox.ErrFailed)
	want(t, "Check", f.store.Check(f.ctx), mailbox.ErrFailed)
	if err := f.store.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	f.store = nil
	f.reopen(t)
	want(t, "Check", f.store.Check(f.ctx), nil)
	canceled, cancel := context.WithCancel(f.ctx)
	cancel()
	if err := f.store.DeleteAccount(canceled, userID(1)); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
}

// Text that means something in SQL is text like any other.
func testHostileStrings(t *testing.T, f *fixture) {
	box := f.register(t, 1)[0]
	f.register(t, 2)
	hostile := []string{"'; DROP TABLE messages; --", `" OR 1=1`, "%", "_", "\x00", "a\x00b", "\\", "%s%n", "NEAR(", "*", "é\u202e", "\xff\xfe"}
	for i, s := range hostile {
		if user, err := f.store.Username(f.ctx, relay.Username(s)); !errors.Is(err, mailbox.ErrUnknownUsername) {
			t.Errorf("Username(%q) = %v, %v", s, user, err)
		}
		want(t, fmt.Sprintf("a message %q", s), f.put(t, message(2, 1, i, s))[0], nil)
	}
	f.wantBodies(t, box, hostile...)
}
