package session_test

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chate2e/chate2e/internal/testleak"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/kem"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/session"
)

// cannotHoldSecrets returns the path of a field that could hold a secret, at any
// depth, or "". Allowed are numbers of at most 64 bits, truth values, times and
// fingerprints, and structs, slices and pointers of these.
func cannotHoldSecrets(typ reflect.Type, path string) string {
	switch typ {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[safety.Fingerprint]():
		return ""
	}
	switch typ.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return ""
	case reflect.Slice:
		// Small numbers in a row are bytes.
		if size := typ.Elem().Size(); typ.Elem().Kind() != reflect.Struct || size < 16 {
			return path + " " + typ.String()
		}
		return cannotHoldSecrets(typ.Elem(), path+"[]")
	case reflect.Pointer:
		return cannotHoldSecrets(typ.Elem(), path)
	case reflect.Struct:
		for field := range typ.Fields() {
			if found := cannotHoldSecrets(field.Type, path+"."+field.Name); found != "" {
				return found
			}
		}
		return ""
	default:
		return path + " " + typ.String()
	}
}

func TestTraceCannotHoldSecrets(t *testing.T) {
	if found := cannotHoldSecrets(reflect.TypeFor[session.Trace](), "Trace"); found != "" {
		t.Errorf("%s could hold a secret", found)
	}
	// The check itself finds what it looks for.
	type deep struct {
		Number int
		Inner  *struct {
			List []struct {
				A, B uint64
				Key  any
			}
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[struct{ A string }](), reflect.TypeFor[struct{ A []byte }](), reflect.TypeFor[struct{ A [32]byte }](),
		reflect.TypeFor[struct{ a *[6]byte }](), reflect.TypeFor[struct{ A any }](), reflect.TypeFor[struct{ A error }](),
		reflect.TypeFor[struct{ A map[int]int }](), reflect.TypeFor[struct{ A []uint64 }](), reflect.TypeFor[struct{ A float64 }](),
		reflect.TypeFor[struct{ A curve.PublicKey }](), reflect.TypeFor[struct{ A complex128 }](), reflect.TypeFor[deep](),
		reflect.TypeFor[struct{ A []struct{ B byte } }](),
	} {
		if cannotHoldSecrets(typ, "") == "" {
			t.Errorf("%v is taken for harmless", typ)
		}
	}
}

func print32(k curve.PublicKey) safety.Fingerprint {
	encoded := k.Encode()
	return safety.FingerprintOf(encoded[:])
}

// checkTrace compares traces but for the post-quantum ratchet, which has a test of
// its own: see TestTracesOfThePostQuantumRatchet.
func checkTrace(t *testing.T, what string, got, want session.Trace) {
	t.Helper()
	for _, trace := range []*session.Trace{&got, &want} {
		trace.PQ, trace.Counters.PQ = nil, nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// The traces of a conversation tell all that happens, step by step.
func TestTraces(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := pair(suite)
		ours := suite == pqxdh.Chate2eV1
		root, message := "WhisperRatchet", "WhisperMessageKeys"
		if ours {
			root, message = "ChatE2E v1 root step", "ChatE2E v1 message key"
		}
		label := func(name string) session.Label {
			for l := session.Label(1); l.String() != ""; l++ {
				if l.String() == name {
					return l
				}
			}
			t.Fatalf("no label %q", name)
			return 0
		}
		rootLabel, messageLabel := label(root), label(message)
		limits := session.Counters{SkippedLimit: 2_000}

		// Alice starts.
		bundle := bob.preKeys.offer(true, start)
		trace, err := alice.record.Initiate(alice.id, bundle, start)
		if err != nil {
			t.Fatal(err)
		}
		prekey := print32(bundle.SignedPreKey.Key)
		handshake := session.Handshake{
			Initiator: true, OurIdentity: print32(alice.id.Key.PublicKey()), TheirIdentity: print32(bob.id.Key.PublicKey()),
			BaseKey: trace.Session, SignedPreKey: prekey, SignedPreKeyID: bundle.SignedPreKey.ID,
			HasOneTimePreKey: true, OneTimePreKey: print32(bundle.OneTimePreKey.Key), OneTimePreKeyID: bundle.OneTimePreKey.ID,
		}
		if ours {
			handshake.Expires = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
		}
		if kind := suite.KEM(); kind != 0 {
			handshake.KEM, handshake.KEMPreKeyID = kind, bundle.KEMPreKey.ID
			handshake.KEMPreKey = safety.FingerprintOf(bundle.KEMPreKey.Key.Encode())
		}
		counters := limits
		counters.TheirKey, counters.Unanswered = prekey, true
		checkTrace(t, "initiated", trace, session.Trace{
			Suite: suite, Session: trace.Session, Handshake: &handshake, Counters: counters,
			Steps: []session.Step{{Kind: session.StepInitiated}},
		})

		// Her first message makes a ratchet key.
		letters := alice.sendMany(t, 3)
		m := must(parse(suite, letters[0].kind, letters[0].bytes))
		if got := print32(m.Handshake().BaseKey); got != trace.Session {
			t.Errorf("the session is named %v, want %v", trace.Session, got)
		}
		aliceKey := print32(m.Header().RatchetKey)
		counters.RootSteps, counters.Sent, counters.OurKey = 1, 1, aliceKey
		checkTrace(t, "sealed first", letters[0].trace, session.Trace{
			Suite: suite, Session: trace.Session, Counters: counters,
			PlaintextSize: len(letters[0].plaintext), MessageSize: len(letters[0].bytes),
			Steps: []session.Step{
				{Kind: session.StepRootSending, Label: rootLabel, N: 1, Our: aliceKey, Their: prekey},
				{Kind: session.StepChainSending, N: 0},
				{Kind: session.StepSealed, Label: messageLabel, N: 0},
			},
		})
		counters.Sent = 2
		checkTrace(t, "sealed second", letters[1].trace, session.Trace{
			Suite: suite, Session: trace.Session, Counters: counters,
			PlaintextSize: len(letters[1].plaintext), MessageSize: len(letters[1].bytes),
			Steps: []session.Step{{Kind: session.StepChainSending, N: 1}, {Kind: session.StepSealed, Label: messageLabel, N: 1}},
		})

		// Bob accepts; the first message is missing.
		opened := bob.opens(t, letters[1])
		handshake.Initiator = false
		handshake.OurIdentity, handshake.TheirIdentity = handshake.TheirIdentity, handshake.OurIdentity
		counters = limits
		counters.RootSteps, counters.Received, counters.Skipped, counters.TheirKey = 1, 2, 1, aliceKey
		checkTrace(t, "accepted", opened.Trace, session.Trace{
			Suite: suite, Session: trace.Session, Handshake: &handshake, Counters: counters,
			PlaintextSize: len(letters[1].plaintext), MessageSize: len(letters[1].bytes),
			Steps: []session.Step{
				{Kind: session.StepAccepted},
				{Kind: session.StepRootReceiving, Label: rootLabel, N: 1, Our: prekey, Their: aliceKey},
				{Kind: session.StepSkipped, Count: 1, N: 0, Their: aliceKey},
				{Kind: session.StepChainReceiving, N: 1},
				{Kind: session.StepOpened, Label: messageLabel, N: 1},
			},
		})
		opened = bob.opens(t, letters[0])
		counters.Skipped = 0
		checkTrace(t, "late", opened.Trace, session.Trace{
			Suite: suite, Session: trace.Session, Counters: counters,
			PlaintextSize: len(letters[0].plaintext), MessageSize: len(letters[0].bytes),
			Steps: []session.Step{
				{Kind: session.StepSkippedKeyUsed, N: 0}, {Kind: session.StepOpened, Label: messageLabel, N: 0},
			},
		})

		// He answers, and her third message is still missing when the next chain begins.
		answer := bob.send(t)
		bobKey := print32(must(parse(suite, answer.kind, answer.bytes)).Header().RatchetKey)
		opened = alice.opens(t, answer)
		counters = limits
		counters.RootSteps, counters.Received, counters.Previous, counters.TheirKey = 2, 1, 3, bobKey
		checkTrace(t, "answered", opened.Trace, session.Trace{
			Suite: suite, Session: trace.Session, Counters: counters,
			PlaintextSize: len(answer.plaintext), MessageSize: len(answer.bytes),
			Steps: []session.Step{
				{Kind: session.StepRootReceiving, Label: rootLabel, N: 2, Our: aliceKey, Their: bobKey},
				{Kind: session.StepChainReceiving, N: 0},
				{Kind: session.StepOpened, Label: messageLabel, N: 0},
			},
		})
		next := alice.send(t)
		nextKey := print32(must(parse(suite, next.kind, next.bytes)).Header().RatchetKey)
		opened = bob.opens(t, next)
		counters = limits
		counters.RootSteps, counters.Received, counters.Previous, counters.TheirKey = 3, 1, 1, nextKey
		steps := []session.Step{
			{Kind: session.StepRootReceiving, Label: rootLabel, N: 3, Our: bobKey, Their: nextKey},
			{Kind: session.StepChainReceiving, N: 0},
			{Kind: session.StepOpened, Label: messageLabel, N: 0},
		}
		if ours {
			counters.Skipped = 1
			steps = append([]session.Step{{Kind: session.StepSkipped, Count: 1, N: 2, Their: aliceKey}}, steps...)
		}
		checkTrace(t, "next chain", opened.Trace, session.Trace{
			Suite: suite, Session: trace.Session, Counters: counters, Steps: steps,
			PlaintextSize: len(next.plaintext), MessageSize: len(next.bytes),
		})
		status, err := bob.record.Status()
		if err != nil {
			t.Fatal(err)
		}
		checkTrace(t, "status", status, session.Trace{Suite: suite, Session: trace.Session, Counters: counters})

		// A new session puts this one aside, and a late message brings it back.
		late := alice.send(t)
		fresh := alice.initiate(t, bob)
		if got, want := fresh.Steps, []session.Step{{Kind: session.StepInitiated}, {Kind: session.StepArchived}}; !cmp.Equal(got, want) {
			t.Errorf("steps %v, want %v", got, want)
		}
		if fresh.Counters.Archived != 1 || fresh.Session == trace.Session {
			t.Errorf("trace %+v", fresh)
		}
		opened = bob.opens(t, alice.send(t))
		if got, want := opened.Trace.Steps[:2], []session.Step{{Kind: session.StepAccepted}, {Kind: session.StepArchived}}; !cmp.Equal(got, want) {
			t.Errorf("steps %v, want %v", got, want)
		}
		opened = bob.opens(t, late)
		if got := opened.Trace.Steps[len(opened.Trace.Steps)-1]; got != (session.Step{Kind: session.StepPromoted}) || opened.Trace.Session != trace.Session {
			t.Errorf("trace %+v", opened.Trace)
		}
	})
}

// A refusal tells why, of the message and of the session in use, but of nothing
// that the message did.
func TestTracesOfRefusals(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		l := alice.send(t)
		bob.opens(t, l)
		header := must(parse(suite, l.kind, l.bytes)).Header()
		status := must(bob.record.Status())
		check := func(what string, got session.Trace, size int, step session.Step) {
			t.Helper()
			step.Kind = session.StepRefused
			want := status
			want.MessageSize, want.Steps = size, []session.Step{step}
			checkTrace(t, what, got, want)
		}
		theirs := print32(header.RatchetKey)
		check("duplicate", bob.refuses(t, l, session.ErrDuplicate), len(l.bytes),
			session.Step{Reason: session.ReasonDuplicate, Their: theirs})

		next := alice.send(t)
		spoilt := next
		spoilt.bytes = flip(next.bytes, len(next.bytes)-1)
		check("tag", bob.refuses(t, spoilt, session.ErrDecrypt), len(next.bytes),
			session.Step{Reason: session.ReasonTag, N: 1, Their: theirs})
		far := forge(t, suite, next, nil, 30_000)
		check("too far", bob.refuses(t, far, session.ErrDecrypt), len(far.bytes),
			session.Step{Reason: session.ReasonTooFar, N: 30_000, Their: theirs})

		stranger, _ := pair(suite)
		stranger.initiate(t, bob)
		first := stranger.send(t)
		theirs = print32(must(parse(suite, first.kind, first.bytes)).Header().RatchetKey)
		check("identity", bob.refuses(t, first, session.ErrIdentity), len(first.bytes),
			session.Step{Reason: session.ReasonIdentity, Their: theirs})

		alice.initiate(t, bob)
		first = alice.send(t)
		m := must(parse(suite, first.kind, first.bytes))
		theirs = print32(m.Header().RatchetKey)
		own := bob.preKeys.find(m.Handshake())
		decrypt := func(what string, us *pqxdh.Identity, own pqxdh.PreKeys, now time.Time, reason session.Reason) {
			t.Helper()
			opened, err := bob.record.Decrypt(m, us, own, now)
			if err == nil {
				t.Fatalf("%s: opened", what)
			}
			check(what, opened.Trace, len(first.bytes), session.Step{Reason: reason, Their: theirs})
		}
		replayed := own
		replayed.Replayed = true
		decrypt("replay", bob.id, replayed, start, session.ReasonReplay)
		decrypt("prekey", bob.id, pqxdh.PreKeys{}, start, session.ReasonPreKey)
		decrypt("device", alice.id, own, start, session.ReasonWrongDevice)
		if suite == pqxdh.Chate2eV1 {
			decrypt("expired", bob.id, own, start.Add(keep), session.ReasonExpired)
		}

		other := pqxdh.LibsignalPQXDH
		if suite == other {
			other = pqxdh.Chate2eV1
		}
		carol, _ := talking(t, other)
		foreign := carol.send(t)
		m = must(parse(other, foreign.kind, foreign.bytes))
		opened, _ := bob.record.Decrypt(m, bob.id, pqxdh.PreKeys{}, start)
		check("suite", opened.Trace, len(foreign.bytes),
			session.Step{Reason: session.ReasonWrongSuite, Their: print32(m.Header().RatchetKey)})

		_, empty := pair(suite)
		status = session.Trace{Suite: suite}
		check("no session", empty.refuses(t, l, session.ErrNoSession), len(l.bytes),
			session.Step{Reason: session.ReasonNoSession, Their: print32(header.RatchetKey)})
	})
}

// Every kind of step and every reason has a name of its own.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for k := range session.StepRefused + 3 {
		name := k.String()
		if seen[name] || name == "" {
			t.Errorf("step %d is %q", k, name)
		}
		seen[name] = true
		if unknown := strings.HasPrefix(name, "unknown step"); unknown != (k == 0 || k > session.StepRefused) {
			t.Errorf("step %d is %q", k, name)
		}
	}
	for r := range session.ReasonWrongDevice + 3 {
		name := r.String()
		if seen[name] || name == "" {
			t.Errorf("reason %d is %q", r, name)
		}
		seen[name] = true
		if unknown := strings.HasPrefix(name, "unknown reason"); unknown != (r > session.ReasonWrongDevice) {
			t.Errorf("reason %d is %q", r, name)
		}
	}
	if kem.Kind(0).String() == "" {
		t.Error("a suite without a KEM has no name for that")
	}
}

func TestNothingPrints(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite pqxdh.Suite) {
		alice, bob := talking(t, suite)
		alice.initiate(t, bob)
		late := alice.sendMany(t, 3)
		opened := bob.opens(t, late[2])
		sealed := bob.send(t)

		// Of each session the root key, our ratchet key and a chain key.
		b := bob.record.Append(nil)
		var secrets [][]byte
		for _, state := range session.RatchetStates(bob.record) {
			const ourAt, sendAt = 1 + 32 + 4 + 4, 1 + 32 + 4 + 4 + 64 + 32
			secrets = append(secrets, state[1:33], state[ourAt:ourAt+32], state[sendAt:sendAt+32])
			for _, s := range secrets {
				if !strings.Contains(string(b), string(s)) {
					t.Fatal("what is looked for is not in the record")
				}
			}
		}
		if len(secrets) != 6 {
			t.Fatalf("%d secrets", len(secrets))
		}
		testleak.Check(t, bob.record, secrets...)
		testleak.Check(t, *bob.record, secrets...)
		if suite == pqxdh.Chate2eV1 { // the same type in every suite
			testleak.Check(t, opened.Trace, secrets...)
			testleak.Check(t, sealed.trace, secrets...)
		}
	})
}

// A trace can be stored and shown as JSON.
func TestTraceAsJSON(t *testing.T) {
	alice, bob := pair(pqxdh.Chate2eV1)
	trace := alice.initiate(t, bob)
	b, err := json.Marshal(trace)
	if err != nil {
		t.Fatal(err)
	}
	var again session.Trace
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	checkTrace(t, "read back", again, trace)

	// Whatever expiry a peer has published and we have accepted.
	for _, expires := range []pqxdh.Day{pqxdh.MaxDay, pqxdh.MaxDay + 1, 1<<32 - 1} {
		bundle := bob.preKeys.offer(true, start)
		signed := &bundle.SignedPreKey
		key := signed.Key.Encode()
		covered := bob.id.Address.Append([]byte("ChatE2E v1 prekey signature\x01\x01"))
		covered = binary.BigEndian.AppendUint32(covered, uint32(signed.ID))
		covered = binary.BigEndian.AppendUint32(covered, uint32(expires))
		signed.Expires, signed.Signature = expires, bob.id.Key.Sign(append(covered, key[:]...))
		trace, err := alice.record.Initiate(alice.id, bundle, start)
		if (err == nil) != (expires <= pqxdh.MaxDay) {
			t.Errorf("expires on day %d: %v", expires, err)
		}
		if _, err := json.Marshal(trace); err != nil {
			t.Errorf("expires on day %d: %v", expires, err)
		}
	}
}
