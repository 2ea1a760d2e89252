package spqr_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/signal/spqr"
)

var update = flag.Bool("update", false, "write the test vectors anew")

const vectorFile = "../../testdata/vectors/spqr-conversation"

// reasons are the names that the vectors give to errors. "exchange" stands for
// every failure of the key exchange itself.
var reasons = map[string]error{
	"malformed": spqr.ErrMessage,
	"epoch":     spqr.ErrEpoch,
	"duplicate": spqr.ErrDuplicate,
	"too far":   spqr.ErrTooFar,
}

func reason(err error) string {
	for name, known := range reasons {
		if errors.Is(err, known) {
			return name
		}
	}
	return "exchange"
}

// TestVectors replays a recorded conversation, line by line.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	data, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	header, body, ok := strings.Cut(string(data), "\n\n")
	if !ok {
		t.Fatal("no blank line")
	}
	_, handshake, ok := strings.Cut(header, "handshake: ")
	if !ok {
		t.Fatal("no handshake key")
	}
	alice, bob := pair(t, unhex(t, handshake), spqr.Config{})
	parties := map[string]*spqr.State{"alice": alice, "bob": bob}
	var sent []envelope
	counts := make(map[string]int)
	for i, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		words := strings.Fields(line)
		if len(words) < 3 || parties[words[0]] == nil {
			t.Fatalf("line %d: %q", i, line)
		}
		s, verb, arguments := parties[words[0]], words[1], words[2:]
		counts[verb]++
		switch verb {
		case "sends":
			var random []byte
			if len(arguments) == 3 {
				random = unhex(t, arguments[2])
			}
			step, err := s.SendWith(func(b []byte) { random = random[copy(b, random):] })
			if err != nil {
				t.Fatalf("line %d: %v", i, err)
			}
			e := envelope{message: unhex(t, arguments[0]), key: unhex(t, arguments[1])}
			if !bytes.Equal(step.Message(), e.message) || !bytes.Equal(step.Key(), e.key) || len(random) > 0 {
				t.Fatalf("line %d: sends %x with another key or from other random bytes", i, step.Message())
			}
			step.Commit()
			sent = append(sent, e)
		case "receives":
			n, err := strconv.Atoi(arguments[0])
			if err != nil || n < 1 || n > len(sent) {
				t.Fatalf("line %d: %q", i, line)
			}
			receive(t, s, sent[n-1])
		case "refuses":
			message := unhex(t, arguments[0])
			want := strings.Join(arguments[1:], " ")
			refused(t, s, message, reasons[want])
			if _, err := s.Receive(message); reason(err) != want {
				t.Fatalf("line %d: refuses as %q, want %q", i, reason(err), want)
			}
		case "is":
			if got := sha256.Sum256(s.Append(nil)); hex.EncodeToString(got[:]) != arguments[0] {
				t.Fatalf("line %d: the encoded state is another one", i)
			}
		default:
			t.Fatalf("line %d: %q", i, line)
		}
	}
	t.Logf("%v", counts)
	if counts["refuses"] < counts["sends"] {
		t.Errorf("only %d failures", counts["refuses"])
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeVectors records a conversation over a channel that loses and reorders. What
// was recorded before stays the same as long as the protocol and the encoding of
// states do.
func writeVectors(t *testing.T) {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 11))
	source := rand.NewChaCha8([32]byte{3})
	var handshake [32]byte
	_, _ = source.Read(handshake[:])
	var out strings.Builder
	fmt.Fprintf(&out, "kind: spqr\ncomment: two epochs over a channel that loses and reorders\nhandshake: %x\n\n", handshake)

	names := [2]string{"alice", "bob"}
	var parties [2]*spqr.State
	for i, role := range []spqr.Role{spqr.Initiator, spqr.Responder} {
		s, err := spqr.New(role, secret.NewKey(handshake), spqr.Config{})
		if err != nil {
			t.Fatal(err)
		}
		parties[i] = s
	}
	type parcel struct {
		envelope
		number int
	}
	var waiting [2][]parcel
	refuse := func(to int, message []byte) {
		step, err := parties[to].Receive(message)
		if err != nil {
			fmt.Fprintf(&out, "%s refuses %x %s\n", names[to], message, reason(err))
			return
		}
		step.Discard()
	}
	const epochs = 2
	completed := uint64(0)
	for n := 1; parties[0].Status().Completed < epochs || parties[1].Status().Completed < epochs; n++ {
		from := r.IntN(2)
		if r.IntN(3) > 0 {
			from = n % 2
		}
		to := 1 - from
		var drawn []byte
		step, err := parties[from].SendWith(func(b []byte) {
			_, _ = source.Read(b)
			drawn = append(drawn, b...)
		})
		if err != nil {
			t.Fatal(err)
		}
		p := parcel{number: n, envelope: envelope{message: step.Message(), key: bytes.Clone(step.Key())}}
		fmt.Fprintf(&out, "%s sends %x %x", names[from], p.message, p.key)
		if drawn != nil {
			fmt.Fprintf(&out, " %x", drawn)
		}
		out.WriteByte('\n')
		step.Commit()
		if r.IntN(10) > 0 {
			waiting[to] = append(waiting[to], p)
		}
		for len(waiting[to]) > r.IntN(4) {
			i := r.IntN(len(waiting[to]))
			p := waiting[to][i]
			waiting[to] = append(waiting[to][:i], waiting[to][i+1:]...)
			for _, altered := range alter(r, p.message) {
				refuse(to, altered)
			}
			step, err := parties[to].Receive(p.message)
			if errors.Is(err, spqr.ErrEpoch) {
				refuse(to, p.message)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s receives %d\n", names[to], p.number)
			step.Commit()
			if r.IntN(8) == 0 {
				refuse(to, p.message)
			}
		}
		if now := min(parties[0].Status().Completed, parties[1].Status().Completed); now > completed {
			completed = now
			for i, s := range parties {
				fmt.Fprintf(&out, "%s is %x\n", names[i], sha256.Sum256(s.Append(nil)))
			}
		}
	}
	if err := os.WriteFile(vectorFile, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// alter returns messages that differ from m in one thing.
func alter(r *rand.Rand, m []byte) [][]byte {
	epoch, size := binary.Uvarint(m[1:])
	rest := m[1+size:]
	withEpoch := func(epoch uint64) []byte {
		return append(binary.AppendUvarint([]byte{m[0]}, epoch), rest...)
	}
	index, indexSize := binary.Uvarint(rest)
	withIndex := func(index uint64) []byte {
		return append(binary.AppendUvarint(bytes.Clone(m[:1+size]), index), rest[indexSize:]...)
	}
	flipped := bytes.Clone(m)
	flipped[len(flipped)-1] ^= 1
	out := [][]byte{flipped} // refused only where it completes something
	switch r.IntN(10) {
	case 0:
		out = append(out, append([]byte{2}, m[1:]...))
	case 1:
		out = append(out, withEpoch(0))
	case 2:
		out = append(out, withEpoch(epoch+2))
	case 3:
		out = append(out, withIndex(0))
	case 4:
		out = append(out, withIndex(index+spqr.DefaultMaxJump+100))
	case 5:
		out = append(out, withIndex(1<<32))
	case 6:
		out = append(out, append(bytes.Clone(m), 0))
	case 7:
		out = append(out, m[:len(m)-1])
	case 8:
		long := append(bytes.Clone(m[:1]), byte(epoch)|0x80, 0)
		out = append(out, append(long, rest...))
	case 9:
		unknown := bytes.Clone(m)
		unknown[1+size+indexSize] = 7
		out = append(out, unknown)
	}
	return out
}
