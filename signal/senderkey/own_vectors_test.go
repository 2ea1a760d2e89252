package senderkey_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/cryptotest"

	"github.com/chate2e/chate2e/internal/testvectors"
	"github.com/chate2e/chate2e/signal"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/senderkey"
)

var update = flag.Bool("update", false, "write the test vectors anew")

// TestVectors checks the files of testdata/vectors that are about groups.
func TestVectors(t *testing.T) {
	testvectors.Own{
		Folder: "../../testdata/vectors", Kinds: []string{"group", "distribution"}, Made: makeVectors(t),
		Outcomes: map[string]error{
			"success": nil, "malformed": senderkey.ErrMalformed, "unknown chain": senderkey.ErrNoChain,
			"duplicate": senderkey.ErrDuplicate, "decrypt": senderkey.ErrDecrypt,
		},
		Check: checkVector,
	}.Run(t, *update)
}

func checkVector(t *testing.T, kind string, f *testvectors.File) error {
	name, device := f.Address(t, "them")
	id := senderkey.GroupID(f.Hex(t, "group"))
	receiver, err := senderkey.NewReceiver(senderkey.Chate2eV1, id, signal.Address{Name: name, Device: device})
	if err != nil {
		t.Fatal(err)
	}
	if kind == "distribution" {
		return receiver.Process(f.Body)
	}
	for _, before := range f.All("before") {
		b := testvectors.Unhex(t, before)
		if len(b) > 1 && b[1] == 8 { // a distribution message
			err = receiver.Process(b)
		} else {
			_, err = openVector(receiver, b)
		}
		if err != nil {
			t.Fatalf("before: %v", err)
		}
	}
	stored := receiver.Append(nil)
	plaintext, err := openVector(receiver, f.Body)
	if err != nil {
		if !bytes.Equal(receiver.Append(nil), stored) {
			t.Error("the refused message has changed the receiver")
		}
		return err
	}
	if want := f.Hex(t, "plaintext"); !bytes.Equal(plaintext, want) {
		t.Errorf("plaintext %x, want %x", plaintext, want)
	}
	return nil
}

func openVector(r *senderkey.Receiver, b []byte) ([]byte, error) {
	m, err := senderkey.Parse(senderkey.Chate2eV1, b)
	if err != nil {
		return nil, err
	}
	return r.Decrypt(m)
}

func makeVectors(t *testing.T) map[string]*testvectors.File {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 2)
	made := map[string]*testvectors.File{}
	address := signal.Address{Name: "j7aqwnsgbuwqjm2zhxv4sbwxe3vyzktp", Device: 1}
	id := senderkey.GroupID([]byte("group of vectors"))
	plaintext := []byte("to all of you")
	put := func(name, kind, expect, comment string, body []byte, before ...[]byte) *testvectors.File {
		f := &testvectors.File{Body: body}
		f.Add("kind", kind)
		f.Add("expect", expect)
		f.Add("comment", comment)
		f.Add("them", fmt.Sprintf("%s/%d", address.Name, address.Device))
		f.AddHex("group", id[:])
		for _, b := range before {
			f.AddHex("before", b)
		}
		if expect == "success" && kind == "group" {
			f.AddHex("plaintext", plaintext)
		}
		if made[kind+"-"+name] != nil {
			t.Fatalf("two vectors %q", name)
		}
		made[kind+"-"+name] = f
		return f
	}
	three := func(s *senderkey.Sender) (distribution []byte, messages [3][]byte) {
		distribution = s.Distribution()
		for i := range messages {
			var err error
			if messages[i], err = s.Encrypt(plaintext); err != nil {
				t.Fatal(err)
			}
		}
		return distribution, messages
	}
	newSender := func() *senderkey.Sender {
		s, err := senderkey.NewSender(senderkey.Chate2eV1, id, address)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	sender := newSender()
	encoded := sender.Append(nil)
	dist, messages := three(sender)
	joined := sender.Distribution()
	last, err := sender.Encrypt(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	otherDist, others := three(newSender())

	put("good", "distribution", "success", "a new chain", dist)
	put("later", "distribution", "success", "a chain at its fourth message", joined)
	for name, b := range map[string][]byte{
		"empty": nil, "version": flip(dist, 0), "type": flip(dist, 1), "other-group": flip(dist, 2),
		"truncated": dist[:len(dist)-1], "trailing": append(bytes.Clone(dist), 0),
	} {
		put(name, "distribution", "malformed", name, b)
	}

	good := messages[0]
	put("first", "group", "success", "the first message of a chain", good, dist)
	put("third", "group", "success", "the third, without the two before", messages[2], dist)
	put("late", "group", "success", "the first after the third", good, dist, messages[2])
	put("joined", "group", "success", "for a member who came after three messages", last, joined)
	put("two-chains", "group", "success", "the chain before the newest", good, dist, otherDist, others[0])
	put("not-rewound", "group", "duplicate", "the chain was distributed again: it stays where it was", good, dist, good, dist)
	put("before-joining", "group", "duplicate", "from before the member came", good, joined)
	put("duplicate", "group", "duplicate", "a second time", good, dist, good)
	put("late-duplicate", "group", "duplicate", "a late one a second time", good, dist, messages[1], good)
	put("no-chain", "group", "unknown chain", "no chain was distributed", good)
	put("other-chain", "group", "unknown chain", "only another chain was distributed", others[0], dist)
	put("other-sender", "group", "decrypt", "said to come from another device", good, dist).
		Replace("them", fmt.Sprintf("%s/%d", address.Name, 2))

	const (
		chainAt      = 2 + 16
		iterationAt  = chainAt + 4
		saltAt       = iterationAt + 4
		commitmentAt = saltAt + 16
		textAt       = commitmentAt + 32
	)
	end := len(good) - curve.SignatureSize
	for _, c := range []struct {
		name, expect string
		at           int
	}{
		{"version", "malformed", 0},
		{"type", "malformed", 1},
		{"group", "unknown chain", 2},
		{"chain", "unknown chain", chainAt},
		{"iteration", "decrypt", iterationAt + 3},
		{"salt", "decrypt", saltAt},
		{"commitment", "decrypt", commitmentAt},
		{"ciphertext", "decrypt", textAt},
		{"tag", "decrypt", end - 1},
		{"signature", "decrypt", end},
		{"signature-s", "decrypt", len(good) - 1},
	} {
		put("flipped-"+c.name, "group", c.expect, "one bit changed", flip(good, c.at), dist)
	}
	put("empty", "group", "malformed", "no message", nil, dist)
	put("no-tag", "group", "malformed", "a byte less than a tag and a signature", good[:textAt+16+curve.SignatureSize-1], dist)
	put("truncated", "group", "decrypt", "the last byte is missing", good[:len(good)-1], dist)
	put("trailing", "group", "decrypt", "a byte too many", append(bytes.Clone(good), 0), dist)

	// What the sender herself could do wrong: signed, and refused all the same.
	signing, err := curve.NewPrivateKey(encoded[len(encoded)-curve.KeySize:])
	if err != nil {
		t.Fatal(err)
	}
	signed := func(unsigned []byte) []byte {
		covered := address.Append([]byte("ChatE2E v1 group signature"))
		return append(bytes.Clone(unsigned), signing.Sign(append(covered, unsigned...))...)
	}
	put("signed-again", "group", "success", "another signature by the same key", signed(good[:end]), dist)
	put("signed-commitment", "group", "decrypt", "a commitment to another key", signed(flip(good, commitmentAt)[:end]), dist)
	put("signed-ciphertext", "group", "decrypt", "another ciphertext", signed(flip(good, textAt)[:end]), dist)
	put("signed-salt", "group", "decrypt", "another salt", signed(flip(good, saltAt)[:end]), dist)
	numbered := func(n uint32) []byte {
		b := bytes.Clone(good[:end])
		binary.BigEndian.PutUint32(b[iterationAt:], n)
		return signed(b)
	}
	put("too-far", "group", "decrypt", "skips 25,001 messages", numbered(25_001), dist)
	put("largest", "group", "decrypt", "the largest number", numbered(1<<32-1), dist)

	failures := 0
	for _, f := range made {
		if !slices.Contains(f.All("expect"), "success") {
			failures++
		}
	}
	if 2*failures < len(made) {
		t.Errorf("%d of %d vectors are failures, want most of them", failures, len(made))
	}
	return made
}

func flip(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 0x10
	return c
}

// The vectors can fail.
func TestVectorsNoticeChanges(t *testing.T) {
	f := makeVectors(t)["group-first"]
	if err := checkVector(t, "group", f); err != nil {
		t.Fatal(err)
	}
	f.Body = flip(f.Body, len(f.Body)-1)
	if err := checkVector(t, "group", f); !errors.Is(err, senderkey.ErrDecrypt) {
		t.Errorf("got %v", err)
	}
}
