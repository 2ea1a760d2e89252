package client_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/ratchet"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/session"
)

// Offsets in a signed device list with one device (docs/PROTOCOL.md).
var listParts = map[string][2]int{
	"format": {0, 1}, "account key": {1, 33}, "version": {33, 41}, "time": {41, 49}, "count": {49, 50},
	"device number": {50, 51}, "identity key": {51, 83}, "added": {83, 91}, "signature": {91, 155},
}

// A relay that forges any part of a bundle gets no message, and does no lasting
// harm: what was held goes out when it gives the right keys.
func TestForgedBundlesAreHeld(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := testrand.New(t)
		mallory := w.puppet()
		mallorys := mallory.prekeys.Offer(mallory.identity)
		bob := w.puppet()
		newer := bob.sign(2, bob.identity.Key.PublicKey())

		forgeries := map[string]func(*relay.BundlesResponse){
			"no list":              func(b *relay.BundlesResponse) { b.DeviceList = relay.Bytes{} },
			"cut list":             func(b *relay.BundlesResponse) { b.DeviceList = b.DeviceList[:len(b.DeviceList)-1] },
			"Mallory's list":       func(b *relay.BundlesResponse) { b.DeviceList = mallory.list },
			"Mallory's everything": func(b *relay.BundlesResponse) { *b = mallory.bundles() },
			"Mallory's key in a list of Bob's device": func(b *relay.BundlesResponse) {
				b.DeviceList = mallory.sign(1, bob.identity.Key.PublicKey())
			},
			"rolled back": nil, // the list that was registered; a newer one is seen first
			"fork": func(b *relay.BundlesResponse) {
				b.DeviceList = bob.signAt(2, bob.identity.Key.PublicKey(), time.Now().Add(time.Hour))
			},
			"another device": func(b *relay.BundlesResponse) { b.DeviceList = newer; b.Bundles[0].Device = 2 },
			"Mallory's signed prekey": func(b *relay.BundlesResponse) {
				b.DeviceList = newer
				b.Bundles[0].Signed.Key = mallorys.SignedPreKey.Append(nil)
			},
			"Mallory's KEM prekey": func(b *relay.BundlesResponse) {
				b.DeviceList = newer
				b.Bundles[0].KEM.Key = mallorys.KEMPreKey.Append(nil)
			},
			"garbage prekey":     func(b *relay.BundlesResponse) { b.DeviceList = newer; b.Bundles[0].Signed.Key = []byte("garbage") },
			"garbage KEM prekey": func(b *relay.BundlesResponse) { b.DeviceList = newer; b.Bundles[0].KEM.Key = []byte("garbage") },
			"garbage one-time prekey": func(b *relay.BundlesResponse) {
				b.DeviceList = newer
				b.Bundles[0].OneTime = &relay.Prekey{Kind: relay.PrekeyECOneTime, ID: 7, Key: []byte("garbage")}
			},
			"bit of a signed prekey": func(b *relay.BundlesResponse) {
				b.DeviceList = newer
				key := bytes.Clone(b.Bundles[0].Signed.Key)
				key[2+r.IntN(len(key)-2)] ^= 1 << r.IntN(8)
				b.Bundles[0].Signed.Key = key
			},
		}
		for part, at := range listParts {
			forgeries["list: "+part] = func(b *relay.BundlesResponse) {
				list := bytes.Clone(newer)
				list[at[0]+r.IntN(at[1]-at[0])] ^= byte(1 + r.IntN(255))
				b.DeviceList = list
			}
		}
		names := make([]string, 0, len(forgeries))
		for name := range forgeries {
			names = append(names, name)
		}
		slices.Sort(names)

		alice := w.register("alice")
		h := alice.corrupt()
		// The newest list is known before: from a look at the safety number.
		h.onAnswer("GET /devices", func(string, []byte) []byte {
			return []byte(`{"device_list":"` + encode(newer) + `"}`)
		})
		if _, err := alice.AddContact(t.Context(), bob.id()); err != nil {
			t.Fatal(err)
		}
		number, err := alice.Safety(t.Context(), bob.id())
		if err != nil {
			t.Fatal(err)
		}
		h.onAnswer("GET /devices", nil)
		sent, err := alice.Send(t.Context(), bob.id(), "for Bob's eyes only", client.SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		posted := 0
		h.onAnswer("POST /messages", func(_ string, answer []byte) []byte { posted++; return answer })
		for _, name := range names {
			forge := forgeries[name]
			if forge == nil {
				forge = func(*relay.BundlesResponse) {}
			}
			h.onBundles(forge)
			if err := alice.Flush(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := alice.state(sent.ID); got != client.StateHeld {
				t.Errorf("%s: the message is %s", name, got)
			}
			if status, err := alice.ContactStatus(t.Context(), bob.id()); err != nil || status.Reason != "key_mismatch" || status.Held != 2 {
				t.Errorf("%s: %+v, %v", name, status, err)
			}
		}
		if posted != 0 {
			t.Errorf("%d messages were posted", posted)
		}
		if after, err := alice.Safety(t.Context(), bob.id()); err != nil || after != number {
			t.Errorf("the safety number changed: %+v, %v", after, err)
		}
		events, err := alice.Protocol(t.Context(), bob.id(), 10)
		if err != nil || len(events) == 0 || events[0].Kind != "refused" || events[0].Steps[0].Reason != "key_mismatch" {
			t.Errorf("protocol events: %+v, %v", events, err)
		}

		h.onBundles(func(b *relay.BundlesResponse) { b.DeviceList = newer })
		if err := alice.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := alice.state(sent.ID); got != client.StateSent || posted != 2 {
			t.Errorf("the message is %s, %d were posted", got, posted)
		}
	})
}

// bundles is what the relay would say of the puppet.
func (p *puppet) bundles() relay.BundlesResponse {
	b := p.prekeys.Offer(p.identity)
	return relay.BundlesResponse{DeviceList: p.list, Bundles: []relay.Bundle{{
		Device: 1,
		Signed: relay.Prekey{Kind: relay.PrekeySigned, ID: 1, Key: b.SignedPreKey.Append(nil)},
		KEM:    relay.Prekey{Kind: relay.PrekeyKEMOneTime, ID: 2, Key: b.KEMPreKey.Append(nil)},
	}}}
}

func encode(b []byte) string {
	text, _ := relay.Bytes(b).MarshalText()
	return string(text)
}

// First messages that prove nothing are refused and leave no trace: no contact, no
// session, no used prekey.
func TestForgedFirstMessagesAreRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := testrand.New(t)
		bob := w.register("bob").run()
		alice := w.register("alice").run() // whom Mallory wants to be
		mallory := w.puppet()
		settle()

		first := func(us *pqxdh.Identity, list []byte) []byte {
			return mallory.seal(mallory.start(bob.id, us), content.Content{DeviceList: list, Message: mallory.message(1, content.Text{Text: "forged"})}.Pad())
		}
		own := mallory.identity
		stolen := &pqxdh.Identity{Address: own.Address, Key: curve.GenerateKey()}
		forgeries := map[string][]byte{
			"no list":                 first(own, nil),
			"garbage list":            first(own, []byte("garbage")),
			"cut list":                first(own, mallory.list[:len(mallory.list)-1]),
			"another identity key":    first(stolen, mallory.list),
			"another device number":   first(&pqxdh.Identity{Address: signal.Address{Name: mallory.id(), Device: 2}, Key: own.Key}, mallory.list),
			"a list that nobody owns": first(own, w.puppet().list),
			"posing as Alice":         first(&pqxdh.Identity{Address: signal.Address{Name: alice.id, Device: 1}, Key: own.Key}, mallory.list),
			"unreadable content":      mallory.seal(mallory.start(bob.id, own), []byte("no padding")),
			"no content":              mallory.seal(mallory.start(bob.id, own), content.Content{DeviceList: mallory.list, Message: []byte{0xff}}.Pad()),
			"garbage":                 r.Bytes(2000),
			"a byte":                  {1},
			"cut":                     first(own, mallory.list)[:1000],
		}
		for part, at := range listParts {
			list := bytes.Clone(mallory.list)
			list[at[0]+r.IntN(at[1]-at[0])] ^= byte(1 + r.IntN(255))
			forgeries["list: "+part] = first(own, list)
		}
		for name, forged := range forgeries {
			mallory.post(bob.id, forged)
			settle()
			contacts, err := bob.Contacts(t.Context())
			if err != nil || len(contacts) != 0 {
				t.Fatalf("%s: Bob has %+v, %v", name, contacts, err)
			}
		}
		// A relay that changes the name outside gains nothing either.
		genuine := first(own, mallory.list)
		h := bob.corrupt()
		h.onPush(func(in relay.Incoming) []relay.Incoming {
			var user relay.UserID
			if err := user.UnmarshalText([]byte(alice.id)); err != nil {
				t.Error(err)
			}
			in.From.User = user
			return []relay.Incoming{in}
		})
		bob.run()
		settle()
		mallory.post(bob.id, genuine)
		settle()
		if contacts, err := bob.Contacts(t.Context()); err != nil || len(contacts) != 0 {
			t.Fatalf("relabelled: Bob has %+v, %v", contacts, err)
		}
		h.onPush(nil)

		mallory.say(bob.id, "honest at last")
		settle()
		if contacts, err := bob.Contacts(t.Context()); err != nil || len(contacts) != 1 || contacts[0].UserID != mallory.id() {
			t.Errorf("Bob has %+v, %v", contacts, err)
		}
	})
}

// In an existing conversation, what is forged is one calm line, and the
// conversation goes on.
func TestGarbageInAConversation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := testrand.New(t)
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		h := bob.corrupt()
		bob.run()
		settle()
		var last relay.Incoming
		h.onPush(func(in relay.Incoming) []relay.Incoming {
			if in.Kind == relay.KindMessage {
				last = in
			}
			return []relay.Incoming{in}
		})
		alice.send(bob, "one")
		settle()
		session := sessionOf(t, bob, alice)
		mallory := w.puppet()
		first := mallory.seal(mallory.start(bob.id, mallory.identity), content.Content{DeviceList: mallory.list, Message: mallory.text("forged")}.Pad())
		for i := range 1100 {
			forged := last
			forged.Handle = relay.Handle{Seq: 1 << 40, ID: relay.NewEnvelopeID()}
			forged.Body = bytes.Clone(last.Body)
			what := i % 4
			if i >= 1000 {
				what = 4
			}
			switch what {
			case 4: // a first message, of somebody else or of nobody
				forged.Body = bytes.Clone(first)
				if i%2 == 0 {
					forged.Body[r.IntN(len(first))] ^= byte(1 + r.IntN(255))
				}
			case 0:
				forged.Body = r.Bytes(1 + r.IntN(3000))
			case 1: // of a message that has not come
				forged.Body[34+r.IntN(4)] ^= byte(1 + r.IntN(255))
			case 2:
				forged.Body[r.IntN(len(forged.Body))] ^= byte(1 + r.IntN(255))
			case 3:
				forged.Body = forged.Body[:r.IntN(len(forged.Body))+1]
			}
			h.inject(relay.AppendPush(nil, relay.Push{Envelopes: []relay.Incoming{forged}, Drained: true}))
			if i%50 == 0 {
				settle()
			}
		}
		settle()
		alice.send(bob, "two")
		settle()
		bob.send(alice, "three")
		settle()
		var got []string
		for line := range strings.SplitSeq(bob.conversation(alice), "\n") {
			if !strings.HasPrefix(line, "< undecryptable") {
				got = append(got, line)
			}
		}
		want := []string{"< request", "> accepted", "< one", "< two", "> three"}
		if !slices.Equal(got, want) {
			t.Errorf("Bob sees %q, want %q", got, want)
		}
		if !strings.Contains(alice.conversation(bob), "< three") {
			t.Error("Alice does not see the answer")
		}
		if after := sessionOf(t, bob, alice); after != session {
			t.Errorf("session %s became %s", session, after)
		}
	})
}

// What a relay says outside of the encryption changes nothing that is shown: a
// message stands with its true sender, time and number, or does not open at all.
func TestRewrittenEnvelopes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := testrand.New(t)
		alice, bob, carol := w.register("alice").run(), w.register("bob").run(), w.register("carol").run()
		settle()
		befriend(alice, bob)
		befriend(carol, bob)
		h := bob.corrupt()
		bob.run()
		settle()
		var carols relay.UserID
		if err := carols.UnmarshalText([]byte(carol.id)); err != nil {
			t.Fatal(err)
		}
		for what, rewrite := range map[string]func(*relay.Incoming){
			"sender":         func(in *relay.Incoming) { in.From.User = carols },
			"unknown sender": func(in *relay.Incoming) { in.From.User[3] ^= 1 },
			"sending device": func(in *relay.Incoming) { in.From.Device = 2 },
			"envelope ID":    func(in *relay.Incoming) { in.ID = relay.NewEnvelopeID() },
			"sequence":       func(in *relay.Incoming) { in.Seq = 1 + r.Uint64N(1<<40) },
			"time":           func(in *relay.Incoming) { in.ReceivedAt = relay.MillisOf(time.Now().Add(-1000 * time.Hour)) },
			"kind":           func(in *relay.Incoming) { in.Kind, in.From, in.Body = relay.KindExpired, relay.Address{}, nil },
		} {
			before := bob.conversation(carol)
			h.onPush(func(in relay.Incoming) []relay.Incoming {
				rewrite(&in)
				return []relay.Incoming{in}
			})
			sent := alice.send(bob, what)
			settle()
			h.onPush(nil)
			bob.pause() // what was not acknowledged by its own name comes again
			bob.run()
			settle()
			shown := 0
			for _, item := range bob.log(alice) {
				if item.ID != sent.ID {
					continue
				}
				shown++
				if item.From != alice.id || item.Text != what || !item.SentAt.Equal(sent.SentAt) || item.Chat != alice.id {
					t.Errorf("%s: Bob sees %+v", what, item)
				}
			}
			if shown > 1 {
				t.Errorf("%s: shown %d times", what, shown)
			}
			for line := range strings.SplitSeq(strings.TrimPrefix(bob.conversation(carol), before), "\n") {
				if line != "" && !strings.HasPrefix(line, "< undecryptable") {
					t.Errorf("%s: as Carol's, Bob sees %q", what, line)
				}
			}
		}
		alice.send(bob, "in the end")
		carol.send(bob, "hers")
		settle()
		if got := bob.conversation(alice); !strings.HasSuffix(got, "< in the end") {
			t.Errorf("Bob sees\n%s", got)
		}
		if got := bob.conversation(carol); !strings.HasSuffix(got, "< hers") {
			t.Errorf("Bob sees\n%s", got)
		}
	})
}

// Two copies of one profile send from the same place of a ratchet: no key is used
// for both, and the receiver shows one text, and that a device may have been copied.
func TestCopiedProfile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		alice.send(bob, "before")
		settle()
		h := bob.corrupt()
		var bodies [][]byte
		h.onPush(func(in relay.Incoming) []relay.Incoming {
			// The copies end each other's connections: what was not confirmed by then
			// is sent again, the same bytes.
			if !slices.ContainsFunc(bodies, func(b []byte) bool { return bytes.Equal(b, in.Body) }) {
				bodies = append(bodies, bytes.Clone(in.Body))
			}
			return []relay.Incoming{in}
		})
		bob.run()
		alice.stop()
		twin := &person{t: t, w: w, name: "twin", dir: filepath.Join(t.TempDir(), "twin"), id: alice.id, dial: alice.dial}
		if err := os.CopyFS(twin.dir, os.DirFS(alice.dir)); err != nil {
			t.Fatal(err)
		}
		w.people["twin"] = twin
		alice.reopen().run()
		twin.reopen().run()
		texts := []string{"the original says this", "and the copy says that"}
		alice.send(bob, texts[0])
		settle()
		twin.send(bob, texts[1])
		settle()
		if len(bodies) != 2 || len(bodies[0]) != len(bodies[1]) {
			t.Fatalf("Bob was sent %d envelopes", len(bodies))
		}
		headers := [2]ratchet.Header{}
		for i, body := range bodies {
			m, err := session.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			headers[i] = m.Header()
		}
		if headers[0] != headers[1] {
			t.Errorf("the copies are at different places, %+v and %+v: this proves nothing", headers[0], headers[1])
		}
		// Where the keystreams are the same, the two differ as the texts do.
		a, b := bodies[0][len(bodies[0])-256-16:], bodies[1][len(bodies[1])-256-16:]
		same := 0
		for i := range a[:256] {
			if a[i] == b[i] {
				same++
			}
		}
		if same > 16 { // of 256 equal ones 1 is expected; of padded texts nearly all bytes are equal
			t.Errorf("%d of 256 bytes of the ciphertexts are equal", same)
		}
		bob.sees(alice, "< request", "> accepted", "< before", "< "+texts[0], "< undecryptable: duplicate")
		for _, p := range []*person{alice, twin} {
			if status, err := p.Status(t.Context()); err != nil || status.Conflict == nil {
				t.Errorf("%s has not noticed the other: %+v, %v", p.name, status, err)
			}
		}
		if status, err := bob.Status(t.Context()); err != nil || status.Conflict != nil {
			t.Errorf("Bob has a conflict: %+v, %v", status, err)
		}
	})
}

// sessionOf returns the name of the session in use.
func sessionOf(t *testing.T, p, other *person) string {
	t.Helper()
	events, err := p.Protocol(t.Context(), other.id, 500)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range slices.Backward(events) {
		if e.Kind == "decrypted" || e.Kind == "encrypted" {
			return e.Session
		}
	}
	t.Fatal("no session")
	return ""
}

// What a contact says of device lists is compared with what is known here: two lists
// of one version, and one of ours that was never signed, show once and cost no message;
// of hers that is newer the relay is asked for.
func TestDeviceListsAreCompared(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		alice := w.register("alice")
		h := alice.corrupt()
		asked := 0
		h.onAnswer("GET /devices", func(_ string, answer []byte) []byte { asked++; return answer })
		alice.run()
		settle()
		var user relay.UserID
		if err := user.UnmarshalText([]byte(alice.id)); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			what         string
			change       func(own, peer *content.ListRef)
			forks, asked int
		}{
			{"nothing wrong", func(_, _ *content.ListRef) {}, 0, 0},
			{"another list of hers", func(own, _ *content.ListRef) { own.Hash[0]++ }, 1, 0},
			{"another list of ours", func(_, peer *content.ListRef) { peer.Hash[0]++ }, 1, 0},
			{"a newer list of ours", func(_, peer *content.ListRef) { peer.Version++ }, 1, 0},
			{"has not seen ours at all", func(_, peer *content.ListRef) { *peer = content.ListRef{} }, 0, 0},
			// The last, because it is asked for again and again.
			{"a newer list of hers", func(own, _ *content.ListRef) { own.Version++ }, 0, 1},
		} {
			asked = 0
			bob := w.puppet()
			record := bob.start(alice.id, bob.identity)
			list, err := bob.relay.Devices(ctx, user)
			if err != nil {
				t.Fatal(err)
			}
			own := content.ListRef{Version: 1, Hash: sha256.Sum256(bob.list)}
			peer := content.ListRef{Version: 1, Hash: sha256.Sum256(list)}
			test.change(&own, &peer)
			for range 2 {
				bob.post(alice.id, bob.seal(record, content.Content{
					OwnList: own, PeerList: peer, DeviceList: bob.list, Message: bob.text(test.what),
				}.Pad()))
				settle()
			}
			events, err := alice.Protocol(ctx, bob.id(), 100)
			if err != nil {
				t.Fatal(err)
			}
			forks := 0
			for _, e := range events {
				if e.Kind == "refused" && e.Steps[0].Reason == "fork" {
					forks++
				}
			}
			items, err := alice.History(ctx, bob.id(), "", 10)
			if forks != test.forks || asked != test.asked || len(items) != 2 || err != nil {
				t.Errorf("%s: %d forks, asked %d times, %d messages, %v", test.what, forks, asked, len(items), err)
			}
		}
	})
}

// A device list that is signed anew spreads, and the old one is refused from then
// on.
func TestDeviceListIsRenewed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		settle()
		befriend(alice, bob)
		h := alice.corrupt()
		var lists [][]byte
		h.onAnswer("GET /devices", func(_ string, answer []byte) []byte {
			lists = append(lists, answer)
			return answer
		})
		alice.run()
		bob.stop()
		rest(8 * 24 * time.Hour)
		bob.reopen().run()
		settle()
		bob.send(alice, "a week later")
		settle()
		if len(lists) != 1 {
			t.Fatalf("Alice asked %d times for device lists", len(lists))
		}
		bob.send(alice, "and again")
		settle()
		if len(lists) != 1 {
			t.Errorf("Alice asked %d times for device lists", len(lists))
		}
		if !strings.HasSuffix(alice.conversation(bob), "< a week later\n< and again") {
			t.Errorf("Alice sees\n%s", alice.conversation(bob))
		}
	})
}

// The replay of a handshake on a last-resort prekey is refused even when everything else
// of it was forgotten, and whatever message it comes with.
func TestReplayOnALastResortPreKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob := w.register("bob").run()
		mallory := w.puppet()
		settle()
		bundle := mallory.fetch(bob.id)
		for bundle.OneTimePreKey != nil || !bundle.KEMPreKey.LastResort { // use all the others up
			bundle = mallory.fetch(bob.id)
		}
		record, err := session.New(pqxdh.Chate2eV1, mallory.identity.Address, signal.Address{Name: bob.id, Device: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := record.Initiate(mallory.identity, bundle, time.Now()); err != nil {
			t.Fatal(err)
		}
		first := mallory.seal(record, content.Content{DeviceList: mallory.list, Message: mallory.text("pay me")}.Pad())
		second := mallory.seal(record, content.Content{DeviceList: mallory.list, Message: mallory.text("again")}.Pad())
		mallory.post(bob.id, first)
		settle()
		if contacts, err := bob.Contacts(t.Context()); err != nil || len(contacts) != 1 {
			t.Errorf("Bob has %+v, %v", contacts, err)
		}
		if _, err := bob.RemoveContact(t.Context(), mallory.id()); err != nil {
			t.Fatal(err)
		}
		bob.stop()                    // a month of pings takes its time
		rest(61 * 24 * time.Hour / 2) // within the life of the prekey
		bob.reopen().run()
		for i, replay := range [][]byte{first, second} {
			mallory.post(bob.id, replay)
			settle()
			if contacts, err := bob.Contacts(t.Context()); err != nil || len(contacts) != 0 {
				t.Errorf("replay %d: Bob has %+v, %v", i, contacts, err)
			}
		}
	})
}

// A relay that comes back from an old backup hands out prekeys that were used. An
// accepted contact who begins a session with them is told, in the session that is
// in use; one who was not let in is told nothing; and whoever sends such messages on
// purpose gains one small answer in six hours.
func TestSessionBegunWithUsedPreKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bob := w.register("bob").run()
		settle()
		alice, mallory := w.puppet(), w.puppet()
		bundle := alice.fetch(bob.id)
		begin := func(p *puppet) *session.Record {
			t.Helper()
			record, err := session.New(pqxdh.Chate2eV1, p.identity.Address, signal.Address{Name: bob.id, Device: 1})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := record.Initiate(p.identity, bundle, time.Now()); err != nil {
				t.Fatal(err)
			}
			return record
		}
		seal := func(p *puppet, record *session.Record, text string) []byte {
			t.Helper()
			return p.seal(record, content.Content{DeviceList: p.list, Message: p.text(text)}.Pad())
		}
		first := begin(alice)
		alice.post(bob.id, seal(alice, first, "hello"))
		settle()
		if _, err := bob.AcceptContact(t.Context(), alice.id()); err != nil {
			t.Fatal(err)
		}
		settle()
		accepted := alice.receive(first)
		if len(accepted) != 1 {
			t.Fatalf("Bob's acceptance is %d messages", len(accepted))
		}
		inUse := sessionOf(t, bob, &person{name: "alice", id: alice.id()})
		mallory.say(bob.id, "let me in")
		settle()

		for _, hour := range []int{0, 1, 5} {
			alice.post(bob.id, seal(alice, begin(alice), "with used prekeys"))
			mallory.post(bob.id, seal(mallory, begin(mallory), "with used prekeys"))
			for range 20 { // in Alice's name, and not hers
				garbage := seal(alice, begin(alice), "garbage")
				garbage[len(garbage)-1] ^= 1
				alice.post(bob.id, garbage)
			}
			settle()
			got := alice.receive(first)
			switch {
			case hour > 0:
				if len(got) != 0 {
					t.Errorf("after %d hours: %d more answers", hour, len(got))
				}
			case len(got) != 1:
				t.Errorf("%d answers, want one", len(got))
			default:
				if _, ok := got[0].Body.(content.Renewal); !ok || got[0].Seq != 0 {
					t.Errorf("the answer is %+v", got[0])
				}
			}
			if got := mallory.receive(mallory.to[bob.id]); len(got) != 0 {
				t.Errorf("one who was not let in got %d answers", len(got))
			}
			rest(2 * time.Hour)
		}
		alice.post(bob.id, seal(alice, begin(alice), "with used prekeys"))
		settle()
		if got := alice.receive(first); len(got) != 1 {
			t.Errorf("six hours later: %d answers, want one", len(got))
		}
		if now := sessionOf(t, bob, &person{name: "alice", id: alice.id()}); now != inUse {
			t.Errorf("session %s became %s", inUse, now)
		}
		// What she says in the session that works arrives; that all the rest is lost shows.
		alice.post(bob.id, alice.seal(first, content.Content{Message: alice.text("in the old one")}.Pad()))
		settle()
		items, err := bob.History(t.Context(), alice.id(), "", 1)
		if err != nil || len(items) != 2 || items[0].GapBefore != 64 || items[1].Text != "in the old one" {
			t.Errorf("Bob sees %+v, %v", items, err)
		}
	})
}

func TestSafetyNumbers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice").run(), w.register("bob").run()
		carol := w.register("carol").run()
		settle()
		ctx := t.Context()
		alice.add(bob.id)
		bob.add(alice.id)
		alice.add(carol.id)
		settle()
		a, err := alice.Safety(ctx, "bob")
		if err != nil {
			t.Fatal(err)
		}
		b, err := bob.Safety(ctx, "alice")
		if err != nil || a.Number != b.Number || a.Code == b.Code || len(a.Number) != 60 || a.Verified || b.Verified {
			t.Errorf("%+v and %+v, %v", a, b, err)
		}
		c, err := alice.Safety(ctx, carol.id)
		if err != nil || c.Number == a.Number {
			t.Errorf("%+v, %v", c, err)
		}
		_, err = alice.Verify(ctx, bob.id, c.Number)
		wantCode(t, "Carol's number", err, client.CodeMismatch)
		carols, err := carol.Safety(ctx, alice.id)
		if err != nil {
			t.Fatal(err)
		}
		other := b.Code[:len(b.Code)-20] + strings.Map(func(r rune) rune { return 'A' + (r-'A'+1)%26 }, "ABCDEFGHIJKLMNOPQRST")
		for name, c := range map[string]struct {
			code string
			want client.Code
		}{
			"Carol's code":           {carols.Code, client.CodeMismatch},
			"the code we show":       {a.Code, client.CodeMismatch},
			"the code, changed":      {other, client.CodeMismatch},
			"the code, cut":          {b.Code[:len(b.Code)-2], client.CodeUsage},
			"the code and more":      {b.Code + "AA", client.CodeUsage},
			"the code, very long":    {b.Code + strings.Repeat("A", 1000), client.CodeUsage},
			"a code of lower case":   {strings.ToLower(b.Code), client.CodeUsage},
			"a code that is none":    {"CHATE2E:SAFETY:1", client.CodeUsage},
			"a code of nothing":      {"CHATE2E:SAFETY:", client.CodeUsage},
			"a code of version 3":    {strings.Replace(b.Code, ":BABBE", ":BABRE", 1), client.CodeUsage},
			"a contact link":         {"https://relay.test/add#" + bob.id, client.CodeUsage},
			"the code without a tag": {strings.TrimPrefix(b.Code, "CHATE2E:SAFETY:"), client.CodeUsage},
		} {
			_, err = alice.Verify(ctx, bob.id, c.code)
			wantCode(t, name, err, c.want)
		}
		_, err = alice.Verify(ctx, bob.id, "1234")
		wantCode(t, "no number", err, client.CodeUsage)
		if alice.contact(bob).Verified {
			t.Error("verified")
		}
		spaced := ""
		for i := 0; i < 60; i += 5 {
			spaced += a.Number[i:i+5] + " "
		}
		s, err := alice.Verify(ctx, bob.id, spaced)
		if err != nil || !s.Verified || !alice.contact(bob).Verified || bob.contact(alice).Verified {
			t.Errorf("%+v, %v", s, err)
		}
		s, err = bob.Verify(ctx, alice.id, a.Code)
		if err != nil || !s.Verified || s.Code != b.Code || !bob.contact(alice).Verified {
			t.Errorf("by code: %+v, %v", s, err)
		}

		w.relay.pipe.cut()
		dave := "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		if _, err := alice.AddContact(ctx, dave); err != nil {
			t.Fatal(err)
		}
		_, err = alice.Safety(ctx, dave)
		wantCode(t, "offline", err, client.CodeNoKey)
	})
}

// Whoever compares a part of the number only compares both keys: each of the twelve
// groups changes when either account key does.
func TestEveryGroupOfASafetyNumberIsAboutBothKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const trials, groups = 100, safety.NumberLength / safety.GroupLength
		alice, bob := w.register("alice"), w.register("bob")
		numbers := map[*person][]string{}
		for range trials + 1 {
			other := w.puppet()
			for _, p := range []*person{alice, bob} {
				p.add(other.id())
				s, err := p.Safety(t.Context(), other.id())
				if err != nil {
					t.Fatal(err)
				}
				numbers[p] = append(numbers[p], s.Number)
			}
		}
		var theirs, ours [groups]int
		for i := range trials {
			for g := range groups {
				at := func(number string) string { return number[g*safety.GroupLength : (g+1)*safety.GroupLength] }
				if at(numbers[alice][i]) != at(numbers[alice][i+1]) {
					theirs[g]++
				}
				if at(numbers[alice][i]) != at(numbers[bob][i]) {
					ours[g]++
				}
			}
		}
		for g := range groups {
			if theirs[g] < trials*8/10 || ours[g] < trials*8/10 {
				t.Errorf("of %d other keys of theirs %d, and of ours %d, have another group %d", trials, theirs[g], ours[g], g+1)
			}
		}
	})
}
