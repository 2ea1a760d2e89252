package server_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
	"github.com/chate2e/chate2e/internal/server"
	"github.com/chate2e/chate2e/signal/curve"
)

func TestRegisterAndLookUp(t *testing.T) {
	n := start(t, open())
	alice := n.stranger(t)
	ctx := t.Context()
	wantCode(t, "login before registering", alice.client.LogIn(ctx), relay.CodeBadProof)
	r := relayclient.Registration{DeviceList: alice.list, Username: "alice", Prekeys: standing()}
	for i := range 2 { // the answer to the first may have been lost
		if err := alice.client.Register(ctx, r); err != nil {
			t.Fatalf("registration %d: %v", i, err)
		}
	}
	got, err := alice.client.Account(ctx)
	if err != nil || got.UserID != alice.address.User || got.Device != 1 || got.Username != "alice" || !bytes.Equal(got.DeviceList, alice.list) {
		t.Errorf("account %+v, %v", got, err)
	}
	if err := alice.client.LogIn(ctx); err != nil {
		t.Errorf("login: %v", err)
	}

	bob := n.register(t)
	user, err := bob.client.Username(ctx, "alice")
	if err != nil || user != alice.address.User {
		t.Errorf("username: %v, %v", user, err)
	}
	list, err := bob.client.Devices(ctx, user)
	if err != nil || !bytes.Equal(list, alice.list) {
		t.Errorf("devices: %v", err)
	}
	_, err = bob.client.Username(ctx, "alicia")
	wantCode(t, "an unknown name", err, relay.CodeUnknownUsername)
	_, err = bob.client.Username(ctx, "no name/..")
	wantCode(t, "no name at all", err, relay.CodeUnknownUsername)
	_, err = bob.client.Devices(ctx, relay.UserID{1})
	wantCode(t, "an unknown user", err, relay.CodeUnknownUser)

	carol := n.stranger(t)
	wantCode(t, "a taken name", carol.client.Register(ctx, relayclient.Registration{DeviceList: carol.list, Username: "alice", Prekeys: standing()}), relay.CodeUsernameTaken)
	r.Username = "other"
	wantCode(t, "the same account under another name", alice.client.Register(ctx, r), relay.CodeAccountExists)
	r.Username = "alice"
	r.DeviceList = alice.sign(t, 2, account.Device{Number: 1, IdentityKey: alice.identity.PublicKey(), Added: time.Now()})
	wantCode(t, "the same account with another list", alice.client.Register(ctx, r), relay.CodeAccountExists)

	// The name is free when its owner has gone.
	if err := alice.client.DeleteAccount(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = bob.client.Username(ctx, "alice")
	wantCode(t, "the name of a deleted account", err, relay.CodeUnknownUsername)
	wantCode(t, "login to a deleted account", alice.client.LogIn(ctx), relay.CodeBadProof)
	if err := carol.client.Register(ctx, relayclient.Registration{DeviceList: carol.list, Username: "alice", Prekeys: standing()}); err != nil {
		t.Errorf("taking a free name: %v", err)
	}
}

func TestRegistrationRefuses(t *testing.T) {
	n := start(t, open())
	ctx := t.Context()
	mallory, alice := n.stranger(t), n.stranger(t)
	register := func(p *person, r relayclient.Registration) error {
		return p.client.Register(ctx, r)
	}
	broken := func(change func(b []byte)) []byte {
		b := bytes.Clone(alice.list)
		change(b)
		return b
	}
	wantCode(t, "no list", register(alice, relayclient.Registration{Prekeys: standing()}), relay.CodeBadDeviceList)
	wantCode(t, "a forged signature", register(alice, relayclient.Registration{DeviceList: broken(func(b []byte) { b[len(b)-1] ^= 1 }), Prekeys: standing()}), relay.CodeBadDeviceList)
	wantCode(t, "another identity key on the list", register(alice, relayclient.Registration{DeviceList: broken(func(b []byte) { b[60] ^= 1 }), Prekeys: standing()}), relay.CodeBadDeviceList)
	// Alice's list, which is public, and Mallory's proof.
	wantCode(t, "somebody else's list", register(mallory, relayclient.Registration{DeviceList: alice.list, Prekeys: standing()}), relay.CodeBadProof)
	posing := n.client(t, alice.address, mallory.identity)
	wantCode(t, "posing as somebody else", posing.Register(ctx, relayclient.Registration{DeviceList: alice.list, Prekeys: standing()}), relay.CodeBadProof)
	wantCode(t, "no prekeys", register(alice, relayclient.Registration{DeviceList: alice.list}), relay.CodeBadRequest)
	wantCode(t, "no last-resort prekey", register(alice, relayclient.Registration{DeviceList: alice.list, Prekeys: standing()[:1]}), relay.CodeBadRequest)
	wantCode(t, "two signed prekeys", register(alice, relayclient.Registration{DeviceList: alice.list, Prekeys: append(standing(), relay.Prekey{Kind: relay.PrekeySigned, ID: 9, Key: []byte("x")})}), relay.CodeBadRequest)
	wantCode(t, "a bad name", register(alice, relayclient.Registration{DeviceList: alice.list, Username: "Alice", Prekeys: standing()}), relay.CodeBadJSON)
	two := n.client(t, relay.Address{User: alice.address.User, Device: 2}, alice.identity)
	wantCode(t, "a device that is not listed", two.Register(ctx, relayclient.Registration{DeviceList: alice.list, Prekeys: standing()}), relay.CodeBadRequest)
	huge := alice.sign(t, 1<<63, account.Device{Number: 1, IdentityKey: alice.identity.PublicKey(), Added: time.Now()})
	wantCode(t, "a version no database can store", register(alice, relayclient.Registration{DeviceList: huge, Prekeys: standing()}), relay.CodeBadDeviceList)
	// Nothing of all that is there.
	_, err := n.store.Account(ctx, alice.address.User)
	if err == nil {
		t.Error("a refused registration left an account")
	}
	if err := register(alice, relayclient.Registration{DeviceList: alice.list, Prekeys: standing()}); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// A proof for one relay is of no use at another.
func TestProofsAreBoundToTheOrigin(t *testing.T) {
	o := open()
	o.server.Origins = []relay.Origin{"https://chat.example.org:443", "http://relay.test:80"}
	n := start(t, o)
	alice := n.register(t)
	elsewhere, err := relayclient.New(relayclient.Config{
		Server: "http://chat.example.org:80", Address: alice.address, Identity: alice.identity, DialContext: n.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, "an origin that is not ours", elsewhere.LogIn(t.Context()), relay.CodeWrongOrigin)

	// A relay in the middle passes our challenge on, and the answer back: the
	// signature names the relay that the client dialled.
	c := n.challenge(t)
	signed := alice.identity.Sign(relay.LoginMessage("https://mallory.example:443", c, alice.address))
	wantCode(t, "a signature for another origin", n.logIn(t, alice.address, relay.Proof{Origin: n.origin, Challenge: c, Signature: signed}), relay.CodeBadProof)
	c = n.challenge(t)
	wantCode(t, "a signature that says so", n.logIn(t, alice.address, relay.Proof{Origin: "https://mallory.example:443", Challenge: c, Signature: signed}), relay.CodeWrongOrigin)
}

// proof answers a challenge as the device of p at n.
func (p *person) proof(n *node, challenge []byte) relay.Proof {
	return relay.Proof{Origin: n.origin, Challenge: challenge, Signature: p.identity.Sign(relay.LoginMessage(n.origin, challenge, p.address))}
}

func TestChallenges(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice, bob := n.register(t), n.register(t)

		c := n.challenge(t)
		if err := n.logIn(t, alice.address, alice.proof(n, c)); err != nil {
			t.Fatalf("the first answer: %v", err)
		}
		wantCode(t, "the same answer again", n.logIn(t, alice.address, alice.proof(n, c)), relay.CodeBadChallenge)
		wantCode(t, "the same challenge for somebody else", n.logIn(t, bob.address, bob.proof(n, c)), relay.CodeBadChallenge)

		c = n.challenge(t)
		wantCode(t, "another's signature", n.logIn(t, bob.address, alice.proof(n, c)), relay.CodeBadProof)
		wantCode(t, "a device that is not there", n.logIn(t, relay.Address{User: alice.address.User, Device: 2}, alice.proof(n, c)), relay.CodeBadProof)
		wantCode(t, "a user who is not there", n.logIn(t, relay.Address{User: relay.UserID{1}, Device: 1}, alice.proof(n, c)), relay.CodeBadProof)
		if err := n.logIn(t, alice.address, alice.proof(n, c)); err != nil {
			t.Errorf("a refused answer used up the challenge: %v", err)
		}
		// A registration's signature is no login, and the other way round.
		c = n.challenge(t)
		registration := relay.Proof{Origin: n.origin, Challenge: c, Signature: alice.identity.Sign(relay.RegisterMessage(n.origin, c, alice.address, alice.list, ""))}
		wantCode(t, "a signature made to register", n.logIn(t, alice.address, registration), relay.CodeBadProof)

		for i := range c {
			forged := bytes.Clone(c)
			forged[i] ^= 1
			wantCode(t, "a forged challenge", n.logIn(t, alice.address, alice.proof(n, forged)), relay.CodeBadChallenge)
		}
		wantCode(t, "a challenge cut short", n.logIn(t, alice.address, alice.proof(n, c[:len(c)-1])), relay.CodeBadChallenge)
		wantCode(t, "an empty challenge", n.logIn(t, alice.address, alice.proof(n, nil)), relay.CodeBadChallenge)

		// Challenges and their use outlive a restart; time ends them.
		used := n.challenge(t)
		if err := n.logIn(t, alice.address, alice.proof(n, used)); err != nil {
			t.Fatal(err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n = start(t, o)
		wantCode(t, "a used challenge after a restart", n.logIn(t, alice.address, alice.proof(n, used)), relay.CodeBadChallenge)
		time.Sleep(59 * time.Second)
		if err := n.logIn(t, alice.address, alice.proof(n, c)); err != nil {
			t.Errorf("after 59 seconds and a restart: %v", err)
		}
		c = n.challenge(t)
		time.Sleep(time.Minute)
		wantCode(t, "after 60 seconds", n.logIn(t, alice.address, alice.proof(n, c)), relay.CodeBadChallenge)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A login that fails takes as long for a device that is not there. Other work on the
// machine disturbs the measurement, so one good round of a few is enough; without
// the signature to verify, the difference is a third of the whole.
func TestLoginsTakeTheirTime(t *testing.T) {
	o := open()
	o.tcp = true
	n := start(t, o)
	alice, mallory := n.register(t), n.stranger(t)
	try := func(address relay.Address) time.Duration {
		c := n.challenge(t)
		proof := relay.Proof{Origin: n.origin, Challenge: c, Signature: mallory.identity.Sign(relay.LoginMessage(n.origin, c, address))}
		began := time.Now()
		wantCode(t, "a stranger's login", n.logIn(t, address, proof), relay.CodeBadProof)
		return time.Since(began)
	}
	quarter := func(times []time.Duration) time.Duration {
		slices.Sort(times)
		return times[len(times)/4]
	}
	for round := 0; ; round++ {
		var there, absent []time.Duration
		for range 100 {
			there = append(there, try(alice.address))
			absent = append(absent, try(mallory.address))
		}
		a, b := quarter(there), quarter(absent)
		if ratio := float64(b) / float64(a); ratio > 0.85 && ratio < 1.18 {
			return
		}
		if round == 9 {
			t.Fatalf("%v for a device that is there, %v for one that is not", a, b)
		}
	}
}

func TestTokensExpire(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := open()
		o.path = filepath.Join(dir, "relay.db")
		n := start(t, o)
		alice := n.register(t)
		token := n.token(t, alice)
		status := func() int { return n.http(t, "GET", "/v1/account", token, nil).status }
		if got := status(); got != 200 {
			t.Fatalf("status %d", got)
		}
		time.Sleep(time.Hour - time.Second)
		if got := status(); got != 200 {
			t.Errorf("after an hour less a second: status %d", got)
		}
		time.Sleep(time.Second)
		if got := status(); got != 401 {
			t.Errorf("after an hour: status %d", got)
		}
		// The client logs in again by itself.
		if _, err := alice.client.Account(t.Context()); err != nil {
			t.Errorf("the client: %v", err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeviceLists(t *testing.T) {
	n := start(t, open())
	ctx := t.Context()
	alice, bob := n.register(t), n.register(t)
	first := account.Device{Number: 1, IdentityKey: alice.identity.PublicKey(), Added: time.Now()}
	phone := curve.GenerateKey()
	second := account.Device{Number: 2, IdentityKey: phone.PublicKey(), Added: time.Now()}

	if err := alice.client.UpdateDevices(ctx, alice.sign(t, 2, first, second)); err != nil {
		t.Fatal(err)
	}
	phoneClient := n.client(t, relay.Address{User: alice.address.User, Device: 2}, phone)
	conn, err := phoneClient.Dial(ctx)
	if err != nil {
		t.Fatalf("the new device: %v", err)
	}
	defer func() { _ = conn.Close() }()
	drain(t, conn)
	wantMismatch(t, "sending to one of two devices", bob.client.Send(ctx, alice.address.User, outgoing("x")), []relay.DeviceNumber{2}, nil)
	both := append(outgoing("x"), relay.Outgoing{Device: 2, ID: relay.NewEnvelopeID(), Body: []byte("for the phone")})
	if err := bob.client.Send(ctx, alice.address.User, both); err != nil {
		t.Fatal(err)
	}
	if got := envelope(t, conn); string(got.Body) != "for the phone" {
		t.Errorf("the phone got %q", got.Body)
	}

	wantCode(t, "an older list", alice.client.UpdateDevices(ctx, alice.list), relay.CodeDeviceListConflict)
	wantCode(t, "another list of the same version", alice.client.UpdateDevices(ctx, alice.sign(t, 2, first)), relay.CodeDeviceListConflict)
	wantCode(t, "somebody else's list", alice.client.UpdateDevices(ctx, bob.sign(t, 9, first)), relay.CodeBadDeviceList)
	forged := alice.sign(t, 3, first)
	forged[len(forged)-1] ^= 1
	wantCode(t, "a forged list", alice.client.UpdateDevices(ctx, forged), relay.CodeBadDeviceList)

	// A device that is removed loses its connection and its token at once.
	if err := alice.client.UpdateDevices(ctx, alice.sign(t, 3, first)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err = conn.Next(ctx); err != nil {
			break
		}
	}
	wantCode(t, "the connection of the removed device", err, relay.CodeUnauthorized)
	_, err = phoneClient.Account(ctx)
	wantCode(t, "the removed device", err, relay.CodeBadProof)
	if err := bob.client.Send(ctx, alice.address.User, outgoing("y")); err != nil {
		t.Errorf("sending to the device that is left: %v", err)
	}
}

func TestRegistrationModes(t *testing.T) {
	n := start(t, option{server: server.Config{Registration: server.RegistrationClosed}, tcp: true})
	p := n.stranger(t)
	wantCode(t, "closed", p.client.Register(t.Context(), relayclient.Registration{DeviceList: p.list, Prekeys: standing()}), relay.CodeRegistrationClosed)

	n = start(t, option{}) // by invitation, and the pipes are not loopback
	p = n.stranger(t)
	r := relayclient.Registration{DeviceList: p.list, Prekeys: standing()}
	wantCode(t, "without an invitation", p.client.Register(t.Context(), r), relay.CodeInviteRequired)
	r.Invite = "made-up"
	wantCode(t, "with a made-up one", p.client.Register(t.Context(), r), relay.CodeInviteInvalid)
	if err := n.store.CreateInvite(t.Context(), mailbox.Invite{Hash: server.InviteHash("good"), Uses: 1, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	r.Invite = "good"
	for range 2 {
		if err := p.client.Register(t.Context(), r); err != nil {
			t.Errorf("with an invitation: %v", err)
		}
	}
	other := n.stranger(t)
	wantCode(t, "with a used one", other.client.Register(t.Context(), relayclient.Registration{DeviceList: other.list, Invite: "good", Prekeys: standing()}), relay.CodeInviteInvalid)
}
