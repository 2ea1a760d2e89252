package senderkey_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/chate2e/chate2e/internal/testcost"
	"github.com/chate2e/chate2e/internal/testleak"
	"github.com/chate2e/chate2e/internal/testrand"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/internal/kdf"
	"github.com/chate2e/chate2e/signal/internal/wire"
	"github.com/chate2e/chate2e/signal/senderkey"
)

var (
	alice = signal.Address{Name: "alice", Device: 1}
	bob   = signal.Address{Name: "bob", Device: 1}
	group = senderkey.GroupID{1, 2, 3}
)

const (
	maxForward = 25_000
	maxSkipped = 2_000
	maxChains  = 5
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// both runs a test for each suite.
func both(t *testing.T, f func(t *testing.T, suite senderkey.Suite)) {
	t.Helper()
	for _, suite := range []senderkey.Suite{senderkey.Chate2eV1, senderkey.Libsignal} {
		t.Run(suite.String(), func(t *testing.T) { f(t, suite) })
	}
}

// pair returns Alice's sender and a receiver who has its distribution message.
func pair(tb testing.TB, suite senderkey.Suite) (*senderkey.Sender, *senderkey.Receiver) {
	tb.Helper()
	s, err := senderkey.NewSender(suite, group, alice)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := senderkey.NewReceiver(suite, group, alice)
	if err != nil {
		tb.Fatal(err)
	}
	process(tb, r, s.Distribution())
	return s, r
}

func process(tb testing.TB, r *senderkey.Receiver, distribution []byte) {
	tb.Helper()
	if err := r.Process(distribution); err != nil {
		tb.Fatal(err)
	}
}

func encrypt(tb testing.TB, s *senderkey.Sender, text string) []byte {
	tb.Helper()
	b, err := s.Encrypt([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// suiteOf is the suite of a message, by its first byte.
func suiteOf(b []byte) senderkey.Suite {
	if b[0] == 0x33 {
		return senderkey.Libsignal
	}
	return senderkey.Chate2eV1
}

func decrypt(r *senderkey.Receiver, b []byte) ([]byte, error) {
	m, err := senderkey.Parse(suiteOf(b), b)
	if err != nil {
		return nil, err
	}
	return r.Decrypt(m)
}

func opens(tb testing.TB, r *senderkey.Receiver, b []byte, want string) {
	tb.Helper()
	if got, err := decrypt(r, b); err != nil || string(got) != want {
		tb.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// refuses sees that a message does not open, and changes nothing.
func refuses(tb testing.TB, r *senderkey.Receiver, b []byte, want error) {
	tb.Helper()
	before := r.Append(nil)
	if got, err := decrypt(r, b); got != nil || !errors.Is(err, want) {
		tb.Errorf("got %q, %v, want %v", got, err, want)
	}
	if !bytes.Equal(before, r.Append(nil)) {
		tb.Error("a refused message changed the receiver")
	}
}

// The end of an encoded sender: iteration, chain key, signing key.
const (
	fromEndIteration = 32 + 32 + 4
	fromEndChain     = 32 + 32
)

// edit returns a sender in another state.
func edit(tb testing.TB, s *senderkey.Sender, f func(b []byte)) *senderkey.Sender {
	tb.Helper()
	b := s.Append(nil)
	f(b)
	edited, err := senderkey.ParseSender(b)
	if err != nil {
		tb.Fatal(err)
	}
	return edited
}

// advance has the sender be silent about n messages.
func advance(tb testing.TB, s *senderkey.Sender, n uint32) *senderkey.Sender {
	tb.Helper()
	return edit(tb, s, func(b []byte) {
		at := len(b) - fromEndIteration
		binary.BigEndian.PutUint32(b[at:], binary.BigEndian.Uint32(b[at:])+n)
		chain := [32]byte(b[at+4:])
		for range n {
			chain = kdf.Next(&chain)
		}
		copy(b[at+4:], chain[:])
	})
}

func TestGroup(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		r := testrand.New(t)
		sender, receiver := pair(t, suite)
		seen := map[string]bool{}
		for i, size := range []int{0, 1, 15, 16, 17, 256, 70_000} {
			plaintext := r.Bytes(size)
			if got := sender.Iteration(); got != uint32(i) {
				t.Errorf("iteration %d, want %d", got, i)
			}
			b := must(sender.Encrypt(plaintext))
			if seen[string(b)] {
				t.Error("two messages are the same")
			}
			seen[string(b)] = true
			m, err := senderkey.Parse(suite, b)
			if err != nil {
				t.Fatal(err)
			}
			clear(b) // Parse has copied it
			if m.Group() != group || m.ChainID() != sender.ChainID() || m.Iteration() != uint32(i) {
				t.Errorf("got group %x, chain %d, iteration %d", m.Group(), m.ChainID(), m.Iteration())
			}
			if got, err := receiver.Decrypt(m); err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, size)
			}
		}
	})
}

// A message costs so many bytes (docs/PROTOCOL.md, Groups).
func TestOverhead(t *testing.T) {
	sender, _ := pair(t, senderkey.Chate2eV1)
	if got, want := len(encrypt(t, sender, "12345")), 5+154; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if got, want := len(sender.Distribution()), 90; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}

func TestOrder(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		texts := []string{"0", "1", "2", "3", "4", "5"}
		var messages [][]byte
		for _, text := range texts {
			messages = append(messages, encrypt(t, sender, text))
		}
		for i, n := range []int{2, 0, 5, 4, 1, 3} {
			opens(t, receiver, messages[n], texts[n])
			for _, again := range []int{2, 0, 5, 4, 1, 3}[:i+1] {
				refuses(t, receiver, messages[again], senderkey.ErrDuplicate)
			}
		}
		opens(t, receiver, encrypt(t, sender, "6"), "6")
	})
}

// Who joins late opens what comes from then on.
func TestJoin(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		before := encrypt(t, sender, "before")
		joined := must(senderkey.NewReceiver(suite, group, alice))
		refuses(t, joined, before, senderkey.ErrNoChain)
		process(t, joined, sender.Distribution())
		refuses(t, joined, before, senderkey.ErrDuplicate)
		after := encrypt(t, sender, "after")
		opens(t, joined, after, "after")
		opens(t, receiver, after, "after")
		opens(t, receiver, before, "before")
	})
}

// A distribution message that comes again, or one of the same chain from before
// or after, turns nothing back and skips nothing.
func TestRepeatedDistribution(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		first := sender.Distribution()
		zero, one := encrypt(t, sender, "0"), encrypt(t, sender, "1")
		opens(t, receiver, one, "1")
		unchanged := receiver.Append(nil)
		for _, distribution := range [][]byte{first, sender.Distribution(), advance(t, sender, 7).Distribution()} {
			process(t, receiver, distribution)
			if !bytes.Equal(unchanged, receiver.Append(nil)) {
				t.Error("the receiver was changed")
			}
		}
		refuses(t, receiver, one, senderkey.ErrDuplicate)
		opens(t, receiver, zero, "0")
		opens(t, receiver, encrypt(t, sender, "2"), "2")
	})
}

// A chain under a known number with another signing key takes the old one's place.
func TestReplacedSigningKey(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		other := must(senderkey.NewSender(suite, group, alice))
		process(t, receiver, other.Distribution())
		old := encrypt(t, sender, "old")
		anew := edit(t, sender, func(b []byte) {
			fresh := must(senderkey.NewSender(suite, group, alice)).Append(nil)
			copy(b[len(b)-fromEndChain:], fresh[len(fresh)-fromEndChain:])
		})
		refuses(t, receiver, encrypt(t, anew, "not yet"), senderkey.ErrDecrypt)
		process(t, receiver, anew.Distribution())
		refuses(t, receiver, old, senderkey.ErrDecrypt)
		opens(t, receiver, encrypt(t, anew, "new"), "new")
		opens(t, receiver, encrypt(t, other, "other"), "other")
		for range 4 { // one more would be too much if the old one were still there
			process(t, receiver, must(senderkey.NewSender(suite, group, alice)).Distribution())
		}
		refuses(t, receiver, encrypt(t, other, "other"), senderkey.ErrNoChain)
		opens(t, receiver, encrypt(t, anew, "new"), "new")
	})
}

func TestForwardLimit(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		far := advance(t, sender, maxForward)
		further := advance(t, far, 1)
		refuses(t, receiver, encrypt(t, further, "too far"), senderkey.ErrDecrypt)
		opens(t, receiver, encrypt(t, far, "far"), "far")
		if got, want := len(receiver.Append(nil)), encodedReceiver(1, maxSkipped); got != want {
			t.Errorf("the receiver has %d bytes, want %d", got, want)
		}
		// The newest of the skipped keys are there, and no older ones.
		for _, n := range []uint32{0, maxForward - maxSkipped - 1} {
			refuses(t, receiver, encrypt(t, advance(t, sender, n), "late"), senderkey.ErrDuplicate)
		}
		for _, n := range []uint32{maxForward - maxSkipped, maxForward - 1} {
			opens(t, receiver, encrypt(t, advance(t, sender, n), "late"), "late")
		}
		// Two gaps count together.
		opens(t, receiver, encrypt(t, advance(t, far, 100), "further"), "further")
		if got, want := len(receiver.Append(nil)), encodedReceiver(1, maxSkipped); got != want {
			t.Errorf("the receiver has %d bytes, want %d", got, want)
		}
		const oldest = maxForward - maxSkipped + 99 // 2 opened, 99 new ones
		refuses(t, receiver, encrypt(t, advance(t, sender, oldest-2), "late"), senderkey.ErrDuplicate)
		opens(t, receiver, encrypt(t, advance(t, sender, oldest), "late"), "late")
		opens(t, receiver, encrypt(t, advance(t, far, 50), "late"), "late")
	})
}

// encodedReceiver is the size of an encoded receiver of Alice's in which one chain
// has skipped keys.
func encodedReceiver(chains, skipped int) int {
	return 2 + 16 + 1 + len(alice.Name) + 4 + 1 + chains*(4+32+4+32+2) + skipped*36
}

func TestChainLimit(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		receiver := must(senderkey.NewReceiver(suite, group, alice))
		var senders []*senderkey.Sender
		for range maxChains {
			senders = append(senders, must(senderkey.NewSender(suite, group, alice)))
			process(t, receiver, senders[len(senders)-1].Distribution())
		}
		late := encrypt(t, senders[0], "late")
		for _, s := range senders {
			opens(t, receiver, encrypt(t, s, "x"), "x")
		}
		process(t, receiver, must(senderkey.NewSender(suite, group, alice)).Distribution())
		refuses(t, receiver, late, senderkey.ErrNoChain)
		refuses(t, receiver, encrypt(t, senders[0], "x"), senderkey.ErrNoChain)
		for _, s := range senders[1:] {
			opens(t, receiver, encrypt(t, s, "x"), "x")
		}
	})
}

// Group, sender and suite are what the receiver was made for.
func TestWrongPlace(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		b := encrypt(t, sender, "here")

		elsewhere := must(senderkey.NewSender(suite, senderkey.GroupID{9}, alice))
		before := receiver.Append(nil)
		if err := receiver.Process(elsewhere.Distribution()); !errors.Is(err, senderkey.ErrMalformed) {
			t.Errorf("a distribution message of another group: %v", err)
		}
		if !bytes.Equal(before, receiver.Append(nil)) {
			t.Error("it changed the receiver")
		}
		refuses(t, receiver, encrypt(t, elsewhere, "elsewhere"), senderkey.ErrNoChain)
		// The same chain, said to be in another group.
		same := edit(t, sender, func(b []byte) { b[2] ^= 1 })
		refuses(t, receiver, encrypt(t, same, "elsewhere"), senderkey.ErrNoChain)

		other := senderkey.Chate2eV1 + senderkey.Libsignal - suite
		_, others := pair(t, other)
		if got, err := others.Decrypt(must(senderkey.Parse(suite, b))); got != nil || !errors.Is(err, senderkey.ErrSuite) {
			t.Errorf("another suite: got %q, %v", got, err)
		}
		if err := others.Process(sender.Distribution()); !errors.Is(err, senderkey.ErrMalformed) {
			t.Errorf("a distribution message of another suite: %v", err)
		}
		if err := receiver.Process(b); !errors.Is(err, senderkey.ErrMalformed) {
			t.Errorf("a message as distribution message: %v", err)
		}
	})
	// In chate2e/v1 the sender is bound: Bob cannot pass Alice's chain off as his.
	for _, us := range []signal.Address{bob, {Name: alice.Name, Device: 2}} {
		sender, _ := pair(t, senderkey.Chate2eV1)
		receiver := must(senderkey.NewReceiver(senderkey.Chate2eV1, group, us))
		process(t, receiver, sender.Distribution())
		refuses(t, receiver, encrypt(t, sender, "hello"), senderkey.ErrDecrypt)
	}
}

// No bit of a message can be changed, whether its key is the next, a later or a
// skipped one.
func TestEveryBitCounts(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		r := testrand.New(t)
		sender, receiver := pair(t, suite)
		skipped, next, later := encrypt(t, sender, "skipped"), encrypt(t, sender, "next"), encrypt(t, sender, "later")
		opens(t, receiver, next, "next")
		before := receiver.Append(nil)
		for _, b := range [][]byte{skipped, later} {
			for i := range b {
				flipped := bytes.Clone(b)
				flipped[i] ^= 1 << r.IntN(8)
				m, err := senderkey.Parse(suite, flipped)
				if err == nil {
					var got []byte
					if got, err = receiver.Decrypt(m); got != nil || err == nil {
						t.Errorf("byte %d: opens as %q", i, got)
					}
				} else if !errors.Is(err, senderkey.ErrMalformed) {
					t.Errorf("byte %d: %v", i, err)
				}
			}
			for size := range b {
				if m, err := senderkey.Parse(suite, b[:size]); err == nil {
					if got, err := receiver.Decrypt(m); got != nil || err == nil {
						t.Errorf("%d bytes: opens as %q", size, got)
					}
				}
			}
		}
		if !bytes.Equal(before, receiver.Append(nil)) {
			t.Error("refused messages changed the receiver")
		}
		opens(t, receiver, skipped, "skipped")
		opens(t, receiver, later, "later")
	})
}

// resign signs a message anew that its sender has tampered with.
func resign(s *senderkey.Sender, from signal.Address, b []byte) []byte {
	encoded := s.Append(nil)
	key := must(curve.NewPrivateKey(encoded[len(encoded)-32:]))
	unsigned := b[:len(b)-64]
	covered := unsigned
	if suiteOf(b) == senderkey.Chate2eV1 {
		covered = slices.Concat([]byte("ChatE2E v1 group signature"), []byte{byte(len(from.Name))}, []byte(from.Name),
			binary.BigEndian.AppendUint32(nil, from.Device), unsigned)
	}
	return slices.Concat(unsigned, key.Sign(covered))
}

// A sender that signs nonsense is refused as well, and does not consume keys.
func TestSignedNonsense(t *testing.T) {
	sender, receiver := pair(t, senderkey.Chate2eV1)
	skipped, current, next := encrypt(t, sender, "skipped"), encrypt(t, sender, "current"), encrypt(t, sender, "next")
	opens(t, receiver, current, "current")
	opens(t, receiver, resign(sender, alice, encrypt(t, sender, "again")), "again") // the tool works
	for i := 26; i < len(next)-64; i++ {                                            // salt, commitment, ciphertext, tag
		for _, b := range [][]byte{skipped, next} {
			if i >= len(b)-64 {
				continue
			}
			flipped := bytes.Clone(b)
			flipped[i] ^= 1
			refuses(t, receiver, resign(sender, alice, flipped), senderkey.ErrDecrypt)
		}
	}
	opens(t, receiver, skipped, "skipped")
	opens(t, receiver, next, "next")

	// The official library's messages have padding instead of a tag.
	sender, receiver = pair(t, senderkey.Libsignal)
	const text = "0123456789abcdef" // and a block of padding
	skipped, current = encrypt(t, sender, text), encrypt(t, sender, "current")
	opens(t, receiver, current, "current")
	start := bytes.Index(skipped, []byte{0x22, 32}) + 2 // of the ciphertext
	for _, b := range [][]byte{skipped, encrypt(t, sender, text)} {
		for _, last := range []byte{0, 15, 17, 255} {
			// A bit of one block is a bit of the next in CBC mode.
			changed := bytes.Clone(b)
			changed[start+15] ^= 16 ^ last
			refuses(t, receiver, resign(sender, alice, changed), senderkey.ErrDecrypt)
		}
		for _, size := range []int{0, 15, 31} {
			short := slices.Concat(b[:start-1], []byte{byte(size)}, b[start:start+size], b[len(b)-64:])
			refuses(t, receiver, resign(sender, alice, short), senderkey.ErrDecrypt)
		}
		opens(t, receiver, b, text)
	}
}

func TestExhausted(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		at := func(n uint32) *senderkey.Sender {
			return edit(t, sender, func(b []byte) { binary.BigEndian.PutUint32(b[len(b)-fromEndIteration:], n) })
		}
		last := at(math.MaxUint32 - 1)
		distribution := last.Distribution()
		b := encrypt(t, last, "last")
		stored := last.Append(nil)
		if got, err := last.Encrypt(nil); got != nil || !errors.Is(err, senderkey.ErrExhausted) {
			t.Errorf("got %x, %v", got, err)
		}
		if !bytes.Equal(stored, last.Append(nil)) {
			t.Error("a refused message changed the sender")
		}
		refuses(t, receiver, b, senderkey.ErrDecrypt) // too far
		fresh := must(senderkey.NewReceiver(suite, group, alice))
		process(t, fresh, distribution)
		opens(t, fresh, b, "last")
		refuses(t, fresh, b, senderkey.ErrDuplicate)
		process(t, fresh, last.Distribution())

		// A message with a number that no sender uses.
		atEnd := must(senderkey.NewReceiver(suite, group, alice))
		process(t, atEnd, last.Distribution())
		m := encrypt(t, at(5), "x")
		if suite == senderkey.Chate2eV1 {
			binary.BigEndian.PutUint32(m[22:], math.MaxUint32)
			refuses(t, atEnd, resign(sender, alice, m), senderkey.ErrDecrypt)
		}
	})
}

func TestArguments(t *testing.T) {
	for name, a := range map[string]signal.Address{
		"no name": {Device: 1}, "device 0": {Name: "a"}, "overlong": {Name: senderkey.Overlong, Device: 1},
	} {
		if s, err := senderkey.NewSender(senderkey.Chate2eV1, group, a); s != nil || !errors.Is(err, signal.ErrAddress) {
			t.Errorf("%s: got %v, %v", name, s, err)
		}
		if r, err := senderkey.NewReceiver(senderkey.Chate2eV1, group, a); r != nil || !errors.Is(err, signal.ErrAddress) {
			t.Errorf("%s: got %v, %v", name, r, err)
		}
	}
	for _, suite := range []senderkey.Suite{0, 2, 4, 5, 255} {
		if s, err := senderkey.NewSender(suite, group, alice); s != nil || !errors.Is(err, senderkey.ErrSuite) {
			t.Errorf("%v: got %v, %v", suite, s, err)
		}
		if r, err := senderkey.NewReceiver(suite, group, alice); r != nil || !errors.Is(err, senderkey.ErrSuite) {
			t.Errorf("%v: got %v, %v", suite, r, err)
		}
		if m, err := senderkey.Parse(suite, nil); m != nil || !errors.Is(err, senderkey.ErrSuite) {
			t.Errorf("%v: got %v, %v", suite, m, err)
		}
		if want := fmt.Sprintf("unknown suite %d", suite); suite.String() != want {
			t.Errorf("suite %d is %q", suite, suite)
		}
	}
	for range 50 { // 31 bits in the official library
		if id := must(senderkey.NewSender(senderkey.Libsignal, group, alice)).ChainID(); id > math.MaxInt32 {
			t.Errorf("chain ID %d", id)
		}
	}
}

// Whoever is not the sender cannot make a receiver work: not for a counter far
// away, not for one that is too far.
func TestForgedCounters(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		far := encrypt(t, advance(t, sender, maxForward), "x")
		forged := bytes.Clone(far)
		forged[len(forged)-10] ^= 1
		m := must(senderkey.Parse(suite, forged))
		step, _ := testcost.Of(func() {
			key := [32]byte{1}
			for range maxForward {
				key = kdf.Next(&key)
			}
		})
		took, allocated := testcost.Of(func() {
			if _, err := receiver.Decrypt(m); err == nil {
				t.Error("a forged message opens")
			}
		})
		if took > step/4 || allocated > 20_000 {
			t.Errorf("a forged message takes %v and %d bytes, the steps that it asks for take %v", took, allocated, step)
		}
		tooFar := must(senderkey.Parse(suite, encrypt(t, advance(t, sender, maxForward+1), "x")))
		took, allocated = testcost.Of(func() {
			if _, err := receiver.Decrypt(tooFar); err == nil {
				t.Error("a message that is too far away opens")
			}
		})
		if took > step/4 || allocated > 20_000 {
			t.Errorf("a message too far takes %v and %d bytes, the steps that it asks for take %v", took, allocated, step)
		}
	})
}

func TestParse(t *testing.T) {
	sender, _ := pair(t, senderkey.Chate2eV1)
	good := encrypt(t, sender, "")
	official, _ := pair(t, senderkey.Libsignal)
	g := encrypt(t, official, "")
	signature := make([]byte, 64)
	fields := func(group, ciphertext []byte, numbers ...uint32) []byte {
		b := wire.AppendBytes([]byte{0x33}, 1, group)
		for i, n := range numbers {
			b = wire.AppendNumber(b, wire.Field(2+i), n)
		}
		if ciphertext != nil {
			b = wire.AppendBytes(b, 4, ciphertext)
		}
		return append(b, signature...)
	}
	for _, b := range [][]byte{fields(group[:], []byte{}, 1, 2), append([]byte{0x3f}, g[1:]...)} {
		if _, err := senderkey.Parse(senderkey.Libsignal, b); err != nil {
			t.Errorf("%x: %v", b, err)
		}
	}
	for name, c := range map[string]struct {
		suite senderkey.Suite
		b     []byte
	}{
		"nothing":          {senderkey.Chate2eV1, nil},
		"version":          {senderkey.Chate2eV1, append([]byte{2}, good[1:]...)},
		"type":             {senderkey.Chate2eV1, append([]byte{1, 8}, good[2:]...)},
		"no room":          {senderkey.Chate2eV1, good[:len(good)-1]},
		"header":           {senderkey.Chate2eV1, good[:70]},
		"official nothing": {senderkey.Libsignal, nil},
		"signature only":   {senderkey.Libsignal, signature},
		"official version": {senderkey.Libsignal, append([]byte{0x44}, g[1:]...)},
		"no group":         {senderkey.Libsignal, append([]byte{0x33}, fields(group[:], []byte{}, 1, 2)[19:]...)},
		"short group":      {senderkey.Libsignal, fields(group[:15], []byte{}, 1, 2)},
		"long group":       {senderkey.Libsignal, fields(append(group[:], 0), []byte{}, 1, 2)},
		"no numbers":       {senderkey.Libsignal, fields(group[:], []byte{})},
		"no iteration":     {senderkey.Libsignal, fields(group[:], []byte{}, 1)},
		"no ciphertext":    {senderkey.Libsignal, fields(group[:], nil, 1, 2)},
	} {
		if m, err := senderkey.Parse(c.suite, c.b); m != nil || !errors.Is(err, senderkey.ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, m, err)
		}
	}

	receiver := must(senderkey.NewReceiver(senderkey.Chate2eV1, group, alice))
	distribution := sender.Distribution()
	for _, b := range [][]byte{
		nil, distribution[:len(distribution)-1], append(bytes.Clone(distribution), 0),
		append([]byte{2}, distribution[1:]...), append([]byte{1, 7}, distribution[2:]...),
	} {
		if err := receiver.Process(b); !errors.Is(err, senderkey.ErrMalformed) {
			t.Errorf("%x: %v", b, err)
		}
	}
	receiver = must(senderkey.NewReceiver(senderkey.Libsignal, group, alice))
	parts := func(key, signing []byte) []byte {
		b := wire.AppendNumber(wire.AppendNumber(wire.AppendBytes([]byte{0x33}, 1, group[:]), 2, 1), 3, 2)
		if key != nil {
			b = wire.AppendBytes(b, 4, key)
		}
		if signing != nil {
			b = wire.AppendBytes(b, 5, signing)
		}
		return b
	}
	key, signing := make([]byte, 32), append([]byte{5}, make([]byte, 32)...)
	process(t, must(senderkey.NewReceiver(senderkey.Libsignal, group, alice)), parts(key, signing))
	for _, b := range [][]byte{
		nil,
		{0x33},
		parts(nil, signing), parts(key, nil), parts(key[:31], signing), parts(append(key, 0), signing),
		parts(key, signing[1:]), parts(key, append(signing, 0)), append([]byte{0x23}, parts(key, signing)[1:]...),
	} {
		if err := receiver.Process(b); !errors.Is(err, senderkey.ErrMalformed) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func TestNothingPrints(t *testing.T) {
	both(t, func(t *testing.T, suite senderkey.Suite) {
		sender, receiver := pair(t, suite)
		b := sender.Append(nil)
		secrets := [][]byte{b[len(b)-64 : len(b)-32], b[len(b)-32:]}
		for range 3 {
			encrypt(t, sender, "skipped")
		}
		b = sender.Append(nil)
		secrets = append(secrets, b[len(b)-64:len(b)-32])
		opens(t, receiver, encrypt(t, sender, "x"), "x")
		b = receiver.Append(nil)
		for at := len(b) - 3*36; at < len(b); at += 36 {
			secrets = append(secrets, b[at+4:at+36])
		}
		secrets = append(secrets, b[len(b)-3*36-2-32:len(b)-3*36-2])
		testleak.Check(t, sender, secrets...)
		testleak.Check(t, *sender, secrets...)
		testleak.Check(t, receiver, secrets...)
		testleak.Check(t, *receiver, secrets...)
	})
}
