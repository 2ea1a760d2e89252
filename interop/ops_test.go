package interop_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/interop"
)

// The addresses of the parties in these tests, which are labelled alice, bob and carol at every peer.
var (
	alice = interop.Address{Name: "9d0652a3-dcc3-4d11-975f-74d61598733f", Device: 1}
	bob   = interop.Address{Name: "796abedb-ca4e-4f18-8803-1fde5b921f9f", Device: 2}
	carol = interop.Address{Name: "6838237d-02f6-4098-b110-698253d15961", Device: 127}
)

const day = 24 * 60 * 60 * 1000 // milliseconds

// call makes a call that must succeed.
func call[R any](t *testing.T, peer *interop.Peer, op string, args interop.Args) R {
	t.Helper()
	var v R
	reply, err := peer.Call(op, args)
	if err != nil {
		t.Fatal(err)
	}
	if err := reply.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// refuse makes a call that must be refused under one of the names; with none, any name will do that says
// that the request was understood.
func refuse(t *testing.T, peer *interop.Peer, op string, args interop.Args, names ...string) {
	t.Helper()
	_, err := peer.Call(op, args)
	refused, ok := errors.AsType[*interop.Error](err)
	switch {
	case !ok:
		t.Errorf("%s: got error %v, want a refusal", op, err)
	case len(names) == 0 && slices.Contains([]string{"BadRequest", "Unsupported", "NoSuchParty"}, refused.Name),
		len(names) > 0 && !slices.Contains(names, refused.Name):
		t.Errorf("%s: got refusal %v, want one of %q", op, refused, names)
	}
}

type empty struct{}

type (
	keys struct{ Private, Public []byte }

	partyReply struct {
		Name            string
		Device          int
		RegistrationID  int
		IdentityKey     []byte
		IdentityPrivate []byte
	}

	bundle map[string]any

	fields struct {
		Version              int
		Counter              int
		PreviousCounter      int
		RatchetKey           []byte
		PQRatchet            []byte
		Addresses            []byte
		CiphertextBytes      int
		PreKeyID             *int
		SignedPreKeyID       *int
		KyberPreKeyID        *int
		KyberCiphertextBytes int
		RegistrationID       int
		BaseKey              []byte
		IdentityKey          []byte
	}

	encrypted struct {
		interop.Message
		Length int `json:"bytes"`
		Fields fields
	}

	decrypted struct{ Plaintext []byte }

	sessionReply struct {
		Exists, HasCurrent bool
		Bytes              int
		Record             []byte
	}

	prekeys struct{ OneTime, Signed, Kyber, KyberUsed []int }

	hello struct {
		Library, Version, SPQR string
		Ops                    []string
	}
)

func lacks(t *testing.T, op string, peers ...*interop.Peer) bool {
	t.Helper()
	return slices.ContainsFunc(peers, func(peer *interop.Peer) bool {
		return !slices.Contains(call[hello](t, peer, "hello", nil).Ops, op)
	})
}

// testOps goes through the operations, one peer against the other; both may be the same implementation.
func testOps(t *testing.T, left, right *interop.Peer, kyber bool) {
	t.Helper()
	t.Run("curve", func(t *testing.T) { testCurve(t, left, right) })
	t.Run("fingerprint", func(t *testing.T) { testFingerprint(t, left, right) })
	t.Run("session", func(t *testing.T) { testSession(t, left, right, kyber) })
	t.Run("prekeys", func(t *testing.T) { testPreKeys(t, left, right, kyber) })
	t.Run("identity", func(t *testing.T) { testIdentity(t, left, right, kyber) })
	t.Run("group", func(t *testing.T) { testGroup(t, left, right) })
	t.Run("sealed", func(t *testing.T) { testSealed(t, left, right, kyber) })
}

func testCurve(t *testing.T, left, right *interop.Peer) {
	t.Helper()
	a, b := call[keys](t, left, "keygen", nil), call[keys](t, right, "keygen", nil)
	if len(a.Private) != 32 || len(a.Public) != 33 || a.Public[0] != 5 {
		t.Errorf("got a key pair of %d and %d bytes, want 32 and 33 with 0x05 in front", len(a.Private), len(a.Public))
	}
	public := call[keys](t, right, "publicKey", interop.Args{"private": a.Private}).Public
	if !bytes.Equal(public, a.Public) {
		t.Errorf("got public key %x, want %x", public, a.Public)
	}
	type agreed struct{ Shared []byte }
	one := call[agreed](t, left, "agree", interop.Args{"private": a.Private, "public": b.Public})
	two := call[agreed](t, right, "agree", interop.Args{"private": b.Private, "public": a.Public})
	if len(one.Shared) != 32 || !bytes.Equal(one.Shared, two.Shared) {
		t.Errorf("got shared secrets %x and %x, want the same 32 bytes", one.Shared, two.Shared)
	}
	if !slices.Contains([]string{"0.44.0", "0.72.1", "0.76.0"}, call[hello](t, left, "hello", nil).Version) {
		// An all-zero result, which older official versions let pass.
		refuse(t, left, "agree", interop.Args{"private": a.Private, "public": append([]byte{5}, make([]byte, 32)...)})
	}
	refuse(t, left, "agree", interop.Args{"private": a.Private, "public": a.Public[:32]})
	refuse(t, left, "publicKey", interop.Args{"private": a.Private[:31]})

	type signed struct{ Signature []byte }
	type verified struct{ Valid bool }
	for range 8 { // the sign bit of the Edwards key is random
		signer := call[keys](t, left, "keygen", nil)
		message := []byte("a message")
		signature := call[signed](t, left, "sign", interop.Args{"private": signer.Private, "message": message}).Signature
		check := func(want bool, message, signature []byte) {
			t.Helper()
			got := call[verified](t, right, "verify", interop.Args{"public": signer.Public, "message": message, "signature": signature})
			if got.Valid != want {
				t.Errorf("signature %x: got valid %t, want %t", signature, got.Valid, want)
			}
		}
		check(true, message, signature)
		check(false, []byte("another"), signature)
		signature[5] ^= 1
		check(false, message, signature)
	}

	if lacks(t, "signAlternateIdentity", left, right) {
		return
	}
	p := call[partyReply](t, left, "party", interop.Args{"party": "alice", "name": alice.Name})
	signature := call[signed](t, left, "signAlternateIdentity", interop.Args{"party": "alice", "other": b.Public}).Signature
	for other, want := range map[*[]byte]bool{&b.Public: true, &a.Public: false} {
		got := call[verified](t, right, "verifyAlternateIdentity",
			interop.Args{"public": p.IdentityKey, "other": *other, "signature": signature})
		if got.Valid != want {
			t.Errorf("alternate identity: got valid %t, want %t", got.Valid, want)
		}
	}
}

func testFingerprint(t *testing.T, left, right *interop.Peer) {
	t.Helper()
	a, b := call[keys](t, left, "keygen", nil).Public, call[keys](t, right, "keygen", nil).Public
	type fingerprint struct {
		Display   string
		Scannable []byte
	}
	one := call[fingerprint](t, left, "fingerprint", interop.Args{
		"localId": []byte("alice"), "localKey": a, "remoteId": []byte("bob"), "remoteKey": b,
	})
	two := call[fingerprint](t, right, "fingerprint", interop.Args{
		"localId": []byte("bob"), "localKey": b, "remoteId": []byte("alice"), "remoteKey": a,
	})
	if len(one.Display) != 60 || one.Display != two.Display {
		t.Errorf("got safety numbers %s and %s, want the same 60 digits", one.Display, two.Display)
	}
	type compared struct{ Same bool }
	if got := call[compared](t, left, "fingerprintCompare", interop.Args{"a": one.Scannable, "b": two.Scannable}); !got.Same {
		t.Error("the two ends of one conversation do not compare as the same")
	}
	if got := call[compared](t, right, "fingerprintCompare", interop.Args{"a": two.Scannable, "b": two.Scannable}); got.Same {
		t.Error("a code compares as the same with itself")
	}
}

// couple makes alice at left and bob at right, both new.
func couple(t *testing.T, left, right *interop.Peer) {
	t.Helper()
	for _, p := range []struct {
		peer  *interop.Peer
		label string
		at    interop.Address
	}{{left, "alice", alice}, {right, "bob", bob}} {
		got := call[partyReply](t, p.peer, "party", interop.Args{"party": p.label, "name": p.at.Name, "device": p.at.Device})
		if got.Name != p.at.Name || got.Device != p.at.Device || len(got.IdentityKey) != 33 || len(got.IdentityPrivate) != 32 {
			t.Errorf("got party %+v, want %v with keys of 33 and 32 bytes", got, p.at)
		}
	}
}

func getBundle(t *testing.T, peer *interop.Peer, args interop.Args) bundle {
	t.Helper()
	return call[struct{ Bundle bundle }](t, peer, "bundle", args).Bundle
}

// begin has alice at left process a bundle of bob's at right, and returns her first message.
func begin(t *testing.T, left, right *interop.Peer, kyber bool, options interop.Args) encrypted {
	t.Helper()
	args := interop.Args{"party": "bob", "kyber": kyber}
	maps.Copy(args, options)
	call[empty](t, left, "processBundle", interop.Args{"party": "alice", "remote": bob, "bundle": getBundle(t, right, args)})
	return encrypt(t, left, "alice", bob, "first")
}

func encrypt(t *testing.T, peer *interop.Peer, party string, remote interop.Address, text string) encrypted {
	t.Helper()
	return call[encrypted](t, peer, "encrypt", interop.Args{"party": party, "remote": remote, "plaintext": []byte(text)})
}

func decryptArgs(party string, remote interop.Address, m interop.Message) interop.Args {
	return interop.Args{"party": party, "remote": remote, "type": m.Type, "message": m.Bytes}
}

func decrypt(t *testing.T, peer *interop.Peer, party string, remote interop.Address, m encrypted, want string) {
	t.Helper()
	if got := call[decrypted](t, peer, "decrypt", decryptArgs(party, remote, m.Message)).Plaintext; string(got) != want {
		t.Errorf("got plaintext %q, want %q", got, want)
	}
}

func testSession(t *testing.T, left, right *interop.Peer, kyber bool) {
	t.Helper()
	couple(t, left, right)
	refuse(t, left, "encrypt", interop.Args{"party": "alice", "remote": bob, "plaintext": []byte("x")}, "SessionNotFound")
	first := begin(t, left, right, kyber, interop.Args{"preKeyId": 7, "signedPreKeyId": 8, "kyberPreKeyId": 9})
	if first.Type != 3 || first.Length != len(first.Bytes) {
		t.Errorf("got a first message of type %d and %d bytes, want 3 and %d", first.Type, first.Length, len(first.Bytes))
	}
	f := first.Fields
	wantVersion, wantKEM := 3, 0
	if kyber {
		wantVersion, wantKEM = 4, 1569
	}
	if f.Version != wantVersion || f.Counter != 0 || f.KyberCiphertextBytes != wantKEM ||
		f.PreKeyID == nil || *f.PreKeyID != 7 || f.SignedPreKeyID == nil || *f.SignedPreKeyID != 8 ||
		kyber != (f.KyberPreKeyID != nil && *f.KyberPreKeyID == 9) ||
		len(f.BaseKey) != 33 || len(f.IdentityKey) != 33 || len(f.RatchetKey) != 33 || f.CiphertextBytes != 16 {
		t.Errorf("got fields %+v, want version %d, prekeys 7, 8 and 9", f, wantVersion)
	}
	inspected := call[struct{ Fields fields }](t, right, "inspect", interop.Args{"type": first.Type, "message": first.Bytes})
	if diff := cmp.Diff(f, inspected.Fields); diff != "" {
		t.Errorf("the other peer reads other fields:\n%s", diff)
	}
	second := encrypt(t, left, "alice", bob, "second")
	decrypt(t, right, "bob", alice, second, "second")
	decrypt(t, right, "bob", alice, first, "first")
	refuse(t, right, "decrypt", decryptArgs("bob", alice, first.Message), "DuplicatedMessage")
	if third := encrypt(t, left, "alice", bob, "third"); third.Type != 3 || third.Fields.Counter != 2 {
		t.Errorf("got type %d and counter %d before the first answer, want 3 and 2", third.Type, third.Fields.Counter)
	}
	answer := encrypt(t, right, "bob", alice, "answer")
	if answer.Type != 2 {
		t.Errorf("got an answer of type %d, want 2", answer.Type)
	}
	decrypt(t, left, "alice", bob, answer, "answer")
	if fourth := encrypt(t, left, "alice", bob, "fourth"); fourth.Type != 2 {
		t.Errorf("got type %d after the first answer, want 2", fourth.Type)
	}
	refuse(t, left, "decrypt", decryptArgs("alice", carol, answer.Message), "SessionNotFound")

	get := interop.Args{"party": "alice", "remote": bob}
	before := call[sessionReply](t, left, "session", get)
	if !before.Exists || !before.HasCurrent || before.Bytes != len(before.Record) {
		t.Errorf("got session %+v, want a current one", before)
	}
	archived := call[sessionReply](t, left, "session", interop.Args{"party": "alice", "remote": bob, "archive": true})
	if !archived.Exists || archived.HasCurrent {
		t.Errorf("got session %+v, want an archived one", archived)
	}
	refuse(t, left, "encrypt", interop.Args{"party": "alice", "remote": bob, "plaintext": []byte("x")}, "SessionNotFound")
	decrypt(t, left, "alice", bob, encrypt(t, right, "bob", alice, "late"), "late") // promotes it again
	if got := call[sessionReply](t, left, "session", get); !got.HasCurrent {
		t.Errorf("got session %+v after a message to the archived one, want it current again", got)
	}
	gone := call[sessionReply](t, left, "session", interop.Args{"party": "alice", "remote": bob, "del": true})
	if gone.Exists || gone.HasCurrent || gone.Bytes != 0 || gone.Record != nil {
		t.Errorf("got session %+v after deleting it, want none", gone)
	}
	back := call[sessionReply](t, left, "session", interop.Args{"party": "alice", "remote": bob, "set": before.Record})
	if diff := cmp.Diff(before, back); diff != "" {
		t.Errorf("a session read back differs:\n%s", diff)
	}
	refuse(t, left, "session", interop.Args{"party": "alice", "remote": bob, "set": []byte("no record")})

	call[empty](t, left, "forgetParty", interop.Args{"party": "alice"})
	refuse(t, left, "session", get, "NoSuchParty")
}

func testPreKeys(t *testing.T, left, right *interop.Peer, kyber bool) {
	t.Helper()
	couple(t, left, right)
	ids := interop.Args{"preKeyId": 7, "signedPreKeyId": 8, "kyberPreKeyId": 9}
	first := begin(t, left, right, kyber, ids)
	want := prekeys{OneTime: []int{7}, Signed: []int{8}, Kyber: []int{9}, KyberUsed: []int{}}
	if !kyber {
		want.Kyber = []int{}
	}
	check := func() {
		t.Helper()
		if diff := cmp.Diff(want, call[prekeys](t, right, "prekeys", interop.Args{"party": "bob"})); diff != "" {
			t.Errorf("prekeys differ (-want +got):\n%s", diff)
		}
	}
	check()
	decrypt(t, right, "bob", alice, first, "first")
	want = prekeys{OneTime: []int{}, Signed: []int{8}, Kyber: []int{}, KyberUsed: []int{}}
	if kyber {
		want.KyberUsed = []int{9}
	}
	check()
	forgetSession := func() {
		t.Helper()
		call[sessionReply](t, right, "session", interop.Args{"party": "bob", "remote": alice, "del": true})
	}
	forgetSession()
	refuse(t, right, "decrypt", decryptArgs("bob", alice, first.Message)) // the one-time prekey is gone

	// A last-resort KEM prekey stays, and refuses a repeated first message by its base key.
	if kyber {
		ids := interop.Args{"oneTime": false, "signedPreKeyId": 8, "kyberPreKeyId": 10, "lastResort": true}
		first = begin(t, left, right, kyber, ids)
		if first.Fields.PreKeyID != nil {
			t.Errorf("got a first message that uses one-time prekey %d, want none", *first.Fields.PreKeyID)
		}
		decrypt(t, right, "bob", alice, first, "first")
		want.Kyber, want.KyberUsed = []int{10}, []int{9, 10}
		check()
		forgetSession()
		refuse(t, right, "decrypt", decryptArgs("bob", alice, first.Message))
		if got := call[sessionReply](t, right, "session", interop.Args{"party": "bob", "remote": alice}); got.Exists {
			t.Error("a refused first message left a session behind")
		}
		decrypt(t, right, "bob", alice, begin(t, left, right, kyber, ids), "first")
	}

	// Both signatures of a bundle are checked, and a session is not begun on a wrong one.
	for _, field := range []string{"signedPreKeySignature", "kyberPreKeySignature"} {
		b := getBundle(t, right, interop.Args{"party": "bob", "kyber": kyber, "preKeyId": 20, "kyberPreKeyId": 20})
		other := getBundle(t, right, interop.Args{"party": "bob", "kyber": kyber, "signedPreKeyId": 21, "kyberPreKeyId": 21})
		if b[field] == nil {
			continue
		}
		b[field] = other[field]
		refuse(t, left, "processBundle", interop.Args{"party": "alice", "remote": carol, "bundle": b})
		if got := call[sessionReply](t, left, "session", interop.Args{"party": "alice", "remote": carol}); got.Exists {
			t.Errorf("a bundle with a wrong %s left a session behind", field)
		}
	}

	// The private halves are those of the public ones.
	b := getBundle(t, right, interop.Args{"party": "bob", "kyber": kyber, "withPrivate": true})
	for public, private := range map[string]string{
		"identityKey": "identityPrivate", "preKey": "preKeyPrivate", "signedPreKey": "signedPreKeyPrivate",
	} {
		got := call[map[string]any](t, left, "publicKey", interop.Args{"private": b[private]})
		if got["public"] != b[public] {
			t.Errorf("%s is not the private half of %s", private, public)
		}
	}
	if _, has := b["kyberPreKeySecret"].(string); has != kyber {
		t.Errorf("a KEM secret is there: %t, want %t", has, kyber)
	}

	// An unacknowledged session is not used for ever.
	begin(t, left, right, kyber, nil)
	now := int64(1_900_000_000_000)
	b = getBundle(t, right, interop.Args{"party": "bob", "kyber": kyber, "preKeyId": 30})
	call[empty](t, left, "processBundle", interop.Args{"party": "alice", "remote": bob, "bundle": b, "now": now})
	args := interop.Args{"party": "alice", "remote": bob, "plaintext": []byte("x"), "now": now + 29*day}
	call[encrypted](t, left, "encrypt", args)
	args["now"] = now + 31*day
	refuse(t, left, "encrypt", args)
}

func testIdentity(t *testing.T, left, right *interop.Peer, kyber bool) {
	t.Helper()
	couple(t, left, right)
	identity := func(args interop.Args) []byte {
		t.Helper()
		args["party"], args["remote"] = "alice", bob
		return call[struct{ IdentityKey []byte }](t, left, "identity", args).IdentityKey
	}
	if got := identity(interop.Args{}); got != nil {
		t.Errorf("got identity key %x of a stranger, want none", got)
	}
	decrypt(t, right, "bob", alice, begin(t, left, right, kyber, nil), "first")
	old := identity(interop.Args{})
	if len(old) != 33 {
		t.Errorf("got identity key %x after a bundle, want 33 bytes", old)
	}

	bobAnew := call[partyReply](t, right, "party", interop.Args{"party": "bob", "name": bob.Name, "device": bob.Device})
	fresh := getBundle(t, right, interop.Args{"party": "bob", "kyber": kyber})
	process := interop.Args{"party": "alice", "remote": bob, "bundle": fresh}
	refuse(t, left, "processBundle", process, "UntrustedIdentity")

	// The other way round: a first message under a changed identity key.
	aliceBundle := getBundle(t, left, interop.Args{"party": "alice", "kyber": kyber})
	call[empty](t, right, "processBundle", interop.Args{"party": "bob", "remote": alice, "bundle": aliceBundle})
	first := encrypt(t, right, "bob", alice, "it is me")
	refuse(t, left, "decrypt", decryptArgs("alice", bob, first.Message), "UntrustedIdentity")
	if got := identity(interop.Args{}); !bytes.Equal(got, old) {
		t.Errorf("got identity key %x after a refusal, want the old %x", got, old)
	}
	if got := identity(interop.Args{"trust": bobAnew.IdentityKey}); !bytes.Equal(got, bobAnew.IdentityKey) {
		t.Errorf("got identity key %x, want the trusted %x", got, bobAnew.IdentityKey)
	}
	decrypt(t, left, "alice", bob, first, "it is me")
	call[empty](t, left, "processBundle", process)

	call[partyReply](t, right, "party", interop.Args{"party": "bob", "name": bob.Name, "device": bob.Device})
	process["bundle"] = getBundle(t, right, interop.Args{"party": "bob", "kyber": kyber})
	identity(interop.Args{"strict": false})
	call[empty](t, left, "processBundle", process)
	identity(interop.Args{"strict": true})
	call[partyReply](t, right, "party", interop.Args{"party": "bob", "name": bob.Name, "device": bob.Device})
	process["bundle"] = getBundle(t, right, interop.Args{"party": "bob", "kyber": kyber})
	refuse(t, left, "processBundle", process, "UntrustedIdentity")
}

const groupID = "d1d1d1d1-7000-11eb-b32a-33b8a8a487a6"

func testGroup(t *testing.T, left, right *interop.Peer) {
	t.Helper()
	couple(t, left, right)
	type distribution struct {
		Message   []byte
		ChainID   uint32
		Iteration int
	}
	args := interop.Args{"party": "alice", "distributionId": groupID}
	made := call[distribution](t, left, "senderKeyDistribution", args)
	say := func(text string) encrypted {
		t.Helper()
		return call[encrypted](t, left, "groupEncrypt",
			interop.Args{"party": "alice", "distributionId": groupID, "plaintext": []byte(text)})
	}
	hear := func(m encrypted) interop.Args {
		return interop.Args{"party": "bob", "sender": alice, "message": m.Bytes}
	}
	missed := say("before bob came")
	if missed.Type != 7 {
		t.Errorf("got type %d, want 7", missed.Type)
	}
	refuse(t, right, "groupDecrypt", hear(missed))
	joined := call[distribution](t, left, "senderKeyDistribution", args)
	if joined.ChainID != made.ChainID || joined.Iteration != 1 {
		t.Errorf("got chain %d at %d, want the same chain %d at 1", joined.ChainID, joined.Iteration, made.ChainID)
	}
	call[empty](t, right, "senderKeyProcess", interop.Args{"party": "bob", "sender": alice, "message": joined.Message})
	refuse(t, right, "groupDecrypt", hear(missed), "DuplicatedMessage")
	one, two := say("one"), say("two")
	for _, m := range []struct {
		encrypted
		want string
	}{{two, "two"}, {one, "one"}} {
		if got := call[decrypted](t, right, "groupDecrypt", hear(m.encrypted)).Plaintext; string(got) != m.want {
			t.Errorf("got plaintext %q, want %q", got, m.want)
		}
		refuse(t, right, "groupDecrypt", hear(m.encrypted), "DuplicatedMessage")
	}
	three := say("three")
	three.Bytes[len(three.Bytes)-1] ^= 1
	refuse(t, right, "groupDecrypt", hear(three))
	three.Bytes[len(three.Bytes)-1] ^= 1
	if got := call[decrypted](t, right, "groupDecrypt", hear(three)).Plaintext; string(got) != "three" {
		t.Errorf("got plaintext %q, want %q", got, "three")
	}
}

func testSealed(t *testing.T, left, right *interop.Peer, kyber bool) {
	t.Helper()
	couple(t, left, right)
	root, server := call[keys](t, left, "keygen", nil), call[keys](t, left, "keygen", nil)
	aliceKey := call[keys](t, left, "publicKey", interop.Args{
		"private": getBundle(t, left, interop.Args{"party": "alice", "kyber": kyber, "withPrivate": true})["identityPrivate"],
	}).Public
	type certificate struct{ Certificate []byte }
	serverCertificate := call[certificate](t, left, "serverCertificate",
		interop.Args{"keyId": 1, "serverKey": server.Public, "trustRootPrivate": root.Private})
	senderCertificate := call[certificate](t, left, "senderCertificate", interop.Args{
		"uuid": alice.Name, "device": alice.Device, "identityKey": aliceKey, "expiration": 1000,
		"serverCertificate": serverCertificate.Certificate, "serverPrivate": server.Private,
	}).Certificate
	type verified struct{ Valid bool }
	for now, want := range map[int]bool{999: true, 1001: false} {
		got := call[verified](t, right, "validateCertificate",
			interop.Args{"certificate": senderCertificate, "trustRoot": root.Public, "time": now})
		if got.Valid != want {
			t.Errorf("at %d: got valid %t, want %t", now, got.Valid, want)
		}
	}

	// Version 1, a first message inside.
	begin(t, left, right, kyber, nil)
	type sealed struct {
		Message      []byte
		Bytes        int
		PerRecipient map[string][]byte
	}
	type opened struct {
		Plaintext    []byte
		SenderUUID   string
		SenderDevice int
	}
	message := call[sealed](t, left, "sealedEncrypt", interop.Args{
		"party": "alice", "remote": bob, "plaintext": []byte("psst"), "senderCertificate": senderCertificate,
	}).Message
	open := interop.Args{"party": "bob", "message": message, "trustRoot": root.Public, "time": 1001}
	refuse(t, right, "sealedDecrypt", open) // expired
	open["time"], open["trustRoot"] = 999, server.Public
	refuse(t, right, "sealedDecrypt", open) // not this root
	open["trustRoot"] = root.Public
	want := opened{Plaintext: []byte("psst"), SenderUUID: alice.Name, SenderDevice: alice.Device}
	if diff := cmp.Diff(want, call[opened](t, right, "sealedDecrypt", open)); diff != "" {
		t.Errorf("sealed message differs (-want +got):\n%s", diff)
	}
	refuse(t, right, "sealedDecrypt", open, "DuplicatedMessage")

	// Version 2, a group message inside.
	distribution := call[sealed](t, left, "senderKeyDistribution", interop.Args{"party": "alice", "distributionId": groupID})
	call[empty](t, right, "senderKeyProcess", interop.Args{"party": "bob", "sender": alice, "message": distribution.Message})
	type content struct {
		Content      []byte
		Type         int
		Contents     []byte
		ContentHint  int
		GroupID      []byte
		SenderUUID   string
		SenderDevice int
		SenderKey    []byte
	}
	inside := call[content](t, left, "sealedContent", interop.Args{
		"party": "alice", "distributionId": groupID, "plaintext": []byte("to all"),
		"senderCertificate": senderCertificate, "contentHint": 1, "groupId": []byte("group"),
	})
	multi := call[sealed](t, left, "sealedMulti",
		interop.Args{"party": "alice", "recipients": []interop.Address{bob}, "content": inside.Content})
	if inside.Type != 7 || multi.Bytes != len(multi.Message) || len(multi.PerRecipient) != 1 {
		t.Errorf("got type %d, %d bytes, %d recipients", inside.Type, multi.Bytes, len(multi.PerRecipient))
	}
	got := call[content](t, right, "sealedToContent", interop.Args{"party": "bob", "message": multi.PerRecipient[bob.Name]})
	wantContent := content{
		Type: 7, Contents: got.Contents, ContentHint: 1, GroupID: []byte("group"),
		SenderUUID: alice.Name, SenderDevice: alice.Device, SenderKey: aliceKey,
	}
	if diff := cmp.Diff(wantContent, got); diff != "" {
		t.Errorf("sealed content differs (-want +got):\n%s", diff)
	}
	plaintext := call[decrypted](t, right, "groupDecrypt",
		interop.Args{"party": "bob", "sender": alice, "message": got.Contents}).Plaintext
	if string(plaintext) != "to all" {
		t.Errorf("got plaintext %q, want %q", plaintext, "to all")
	}

	// What bob sends back when he cannot read a message.
	lost := encrypt(t, left, "alice", bob, "lost")
	complaint := call[sealed](t, right, "decryptionError",
		interop.Args{"original": lost.Bytes, "type": lost.Type, "timestamp": 408, "device": alice.Device}).Message
	if !bytes.Contains(complaint, lost.Fields.RatchetKey) {
		t.Errorf("the complaint %x does not name the ratchet key %x", complaint, lost.Fields.RatchetKey)
	}
}

func TestNodeOps(t *testing.T) {
	for _, pair := range []struct {
		left, right string
		kyber       bool
	}{
		{"0.44.0", "0.44.0", false},
		{"0.44.0", "0.72.1", true},
		{"0.72.1", "0.72.1", true},
		{"0.76.0", "0.103.0", true},
		{"0.103.0", "0.103.0", true},
	} {
		name := strings.Join([]string{pair.left, pair.right}, " with ")
		t.Run(name, func(t *testing.T) {
			testOps(t, nodePeer(t, pair.left), nodePeer(t, pair.right), pair.kyber)
		})
	}
}

// TestNodeVersions sees what the versions make of each other: 0.103 does not talk without the
// post-quantum ratchet, 0.76 uses it where it can.
func TestNodeVersions(t *testing.T) {
	for _, pair := range []struct {
		left, right []string
		opens, pq   bool
	}{
		{[]string{"0.72.1"}, []string{"0.76.0"}, true, false},
		{[]string{"0.76.0"}, []string{"0.76.0"}, true, true},
		{[]string{"0.76.0", "--spqr", "off"}, []string{"0.76.0"}, true, false},
		{[]string{"0.76.0"}, []string{"0.103.0"}, true, true},
		{[]string{"0.76.0", "--spqr", "off"}, []string{"0.103.0"}, false, false},
		{[]string{"0.72.1"}, []string{"0.103.0"}, false, false},
		{[]string{"0.103.0"}, []string{"0.72.1"}, false, true},
	} {
		left, right := nodePeer(t, pair.left[0], pair.left[1:]...), nodePeer(t, pair.right[0], pair.right[1:]...)
		couple(t, left, right)
		first := begin(t, left, right, true, nil)
		if !pair.opens {
			refuse(t, right, "decrypt", decryptArgs("bob", alice, first.Message))
			continue
		}
		decrypt(t, right, "bob", alice, first, "first")
		decrypt(t, left, "alice", bob, encrypt(t, right, "bob", alice, "answer"), "answer")
		if got := len(encrypt(t, left, "alice", bob, "third").Fields.PQRatchet) > 0; got != pair.pq {
			t.Errorf("%v with %v: post-quantum ratchet in use: %t, want %t", pair.left, pair.right, got, pair.pq)
		}
	}
}

// TestNodeLacks sees that what a version cannot do is said plainly.
func TestNodeLacks(t *testing.T) {
	left, right := nodePeer(t, "0.76.0"), nodePeer(t, "0.44.0")
	couple(t, left, right)
	classical := getBundle(t, right, interop.Args{"party": "bob", "kyber": false})
	refuse(t, left, "processBundle", interop.Args{"party": "alice", "remote": bob, "bundle": classical}, "Unsupported")
}
