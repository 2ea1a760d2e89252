package content_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/content/contentpb"
	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/testrand"
)

var sentAt = time.Date(2026, 11, 23, 8, 0, 0, 123e6, time.UTC)

var profile = content.Profile{Username: "alice", DisplayName: "Alice Liddell", Relay: "https://chat.example.org"}

func message(body content.Body) content.Message {
	return content.Message{ID: content.MessageID{1}, Seq: 7, SentAt: sentAt, Prev: content.Hash{9}, Body: body}
}

var compareKeys = cmp.Comparer(func(a, b secret.Key) bool { return a.Equal(b) })

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, body := range []content.Body{
		content.Text{Text: "hello\x00 世界\n"},
		content.Text{Text: strings.Repeat("x", content.MaxText)},
		content.Request{Profile: profile},
		content.Accept{Profile: profile, Topic: content.NewTopic()},
		content.Offer{Topic: content.NewTopic()},
		content.Renewal{},
	} {
		want := message(body)
		encoded, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		c := content.Content{
			OwnList: content.ListRef{Version: 3, Hash: content.Hash{3}}, PeerList: content.ListRef{Version: 1, Hash: content.Hash{4}},
			DeviceList: []byte("a signed list"), Message: encoded,
		}
		parsed, err := content.Parse(c.Pad())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, parsed); diff != "" {
			t.Error(diff)
		}
		got, err := content.ParseMessage(parsed.Message)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, compareKeys); diff != "" {
			t.Error(diff)
		}
	}
}

func TestReferencesAndDeviceListMayBeMissing(t *testing.T) {
	encoded, err := content.Message{ID: content.MessageID{1}, Body: content.Text{Text: "x"}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c := content.Content{Message: encoded}
	got, err := content.Parse(c.Pad())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Error(diff)
	}
}

func TestEncodeRefusesWhatCouldNotBeParsed(t *testing.T) {
	for name, m := range map[string]content.Message{
		"no ID":         {Body: content.Text{Text: "x"}},
		"no body":       {ID: content.MessageID{1}},
		"unknown body":  {ID: content.MessageID{1}, Body: content.Unknown{}},
		"empty text":    {ID: content.MessageID{1}, Body: content.Text{}},
		"invalid UTF-8": {ID: content.MessageID{1}, Body: content.Text{Text: "\xff"}},
		"no topic":      {ID: content.MessageID{1}, Body: content.Accept{Profile: profile}},
		"number":        {ID: content.MessageID{1}, Seq: content.MaxSeq + 1, Body: content.Text{Text: "x"}},
		"time":          {ID: content.MessageID{1}, SentAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), Body: content.Text{Text: "x"}},
	} {
		if _, err := m.Encode(); !errors.Is(err, content.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
	_, err := message(content.Text{Text: strings.Repeat("x", content.MaxText+1)}).Encode()
	if !errors.Is(err, content.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := &contentpb.Content{Message: []byte{1}}
	with := func(change func(*contentpb.Content)) []byte {
		c := proto.CloneOf(good)
		change(c)
		b, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return append(b, 0x80)
	}
	if _, err := content.Parse(with(func(*contentpb.Content) {})); err != nil {
		t.Fatal(err)
	}
	for name, plaintext := range map[string][]byte{
		"nothing":           nil,
		"zeros":             make([]byte, 256),
		"no mark":           append(with(func(*contentpb.Content) {}), 1),
		"only padding":      {0x80, 0, 0},
		"too large":         append(make([]byte, content.MaxPlaintext), 0x80),
		"not protobuf":      {0xff, 0xff, 0xff, 0x80},
		"no message":        with(func(c *contentpb.Content) { c.Message = nil }),
		"list without hash": with(func(c *contentpb.Content) { c.OwnList = &contentpb.DeviceListRef{Version: 1} }),
		"list version 0":    with(func(c *contentpb.Content) { c.PeerList = &contentpb.DeviceListRef{Hash: make([]byte, 32)} }),
		"list version 2^63": with(func(c *contentpb.Content) {
			c.PeerList = &contentpb.DeviceListRef{Version: 1 << 63, Hash: make([]byte, 32)}
		}),
		"huge list": with(func(c *contentpb.Content) { c.DeviceList = make([]byte, 8<<10+1) }),
	} {
		if got, err := content.Parse(plaintext); !errors.Is(err, content.ErrMalformed) || !cmp.Equal(got, content.Content{}) {
			t.Errorf("%s: got %v, %v, want nothing and ErrMalformed", name, got, err)
		}
	}
}

func TestParseMessageRefuses(t *testing.T) {
	id := bytes.Repeat([]byte{1}, 16)
	for name, m := range map[string]*contentpb.Message{
		"no ID":       {},
		"zero ID":     {Id: make([]byte, 16)},
		"long ID":     {Id: make([]byte, 17)},
		"number 2^53": {Id: id, Seq: 1 << 53},
		"year 10000":  {Id: id, SentAt: 253402300800000},
		"short prev":  {Id: id, Prev: make([]byte, 31)},
		"empty text":  {Id: id, Body: &contentpb.Message_Text{Text: &contentpb.Text{}}},
		"long text":   {Id: id, Body: &contentpb.Message_Text{Text: &contentpb.Text{Text: strings.Repeat("x", content.MaxText+1)}}},
		"no topic":    {Id: id, Body: &contentpb.Message_Accept{Accept: &contentpb.Accept{}}},
		"short topic": {Id: id, Body: &contentpb.Message_Offer{Offer: &contentpb.Topic{Id: make([]byte, 15), Key: make([]byte, 32)}}},
		"short key":   {Id: id, Body: &contentpb.Message_Offer{Offer: &contentpb.Topic{Id: id, Key: make([]byte, 31)}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := content.ParseMessage(b); !errors.Is(err, content.ErrMalformed) || !cmp.Equal(got, content.Message{}) {
			t.Errorf("%s: got %v, %v, want nothing and ErrMalformed", name, got, err)
		}
	}
}

// A later version may add kinds of bodies and fields.
func TestMessagesOfTheFuture(t *testing.T) {
	text, err := message(content.Text{Text: "x"}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	extended := protowire.AppendTag(text, 1000, protowire.BytesType)
	extended = protowire.AppendBytes(extended, []byte("new"))
	got, err := content.ParseMessage(extended)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(message(content.Text{Text: "x"}), got); diff != "" {
		t.Error(diff)
	}

	unknown := protowire.AppendTag(nil, 1, protowire.BytesType)
	unknown = protowire.AppendBytes(unknown, bytes.Repeat([]byte{1}, 16))
	unknown = protowire.AppendTag(unknown, 99, protowire.BytesType)
	unknown = protowire.AppendBytes(unknown, []byte("a poll"))
	got, err = content.ParseMessage(unknown)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Body.(content.Unknown); !ok {
		t.Errorf("got %T, want Unknown", got.Body)
	}
}

func TestOddProfilesCostNoMessage(t *testing.T) {
	b, err := message(content.Request{Profile: content.Profile{
		Username: "../etc", DisplayName: "\u202eecilA\x1b[31m\n\n  Bob\u200b ", Relay: "https://x y",
	}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := content.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	want := content.Request{Profile: content.Profile{DisplayName: "ecilA[31m Bob"}}
	if diff := cmp.Diff(want, m.Body); diff != "" {
		t.Error(diff)
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "",
		" \t\n ":                              "",
		"林晓雨":                                 "林晓雨",
		"a\u00a0\u3000b":                      "a b",
		"e\u0301":                             "e\u0301",
		"\xff\xfe":                            "",
		"\u200fx\u2066y":                      "xy",
		strings.Repeat("é", 1000):             strings.Repeat("é", 64),
		strings.Repeat("\u200b", 1<<20) + "x": "",
	} {
		if got := content.CleanName(in); got != want {
			t.Errorf("CleanName(%.20q) = %q, want %q", in, got, want)
		}
	}
}

func TestHashCoversEveryByte(t *testing.T) {
	b := []byte("a message")
	before := content.HashMessage(b)
	for i := range b {
		b[i] ^= 1
		if content.HashMessage(b) == before {
			t.Errorf("byte %d is not covered", i)
		}
		b[i] ^= 1
	}
}

func TestPaddedSizes(t *testing.T) {
	for n, want := range map[int]int{
		0: 256, 1: 256, 255: 256, 256: 512, 511: 512, 512: 768,
		4095: 4096, 4096: 4352, 8191: 8192, 8192: 8704, 20000: 20480, 32768: 34816, 60000: 61440,
	} {
		if got := content.PaddedSize(n); got != want {
			t.Errorf("PaddedSize(%d) = %d, want %d", n, got, want)
		}
	}
	sizes := map[int]bool{}
	last := 0
	for n := range content.MaxPlaintext {
		got := content.PaddedSize(n)
		sizes[got] = true
		if got <= n || got < last || got%256 != 0 {
			t.Fatalf("PaddedSize(%d) = %d after %d", n, got, last)
		}
		if excess := float64(got-n) / float64(n+1); n > 4096 && excess > 0.13 {
			t.Fatalf("PaddedSize(%d) = %d: %.2f too much", n, got, excess)
		}
		if content.PaddedSize(got-1) != got {
			t.Fatalf("PaddedSize(%d) = %d, want %d", got-1, content.PaddedSize(got-1), got)
		}
		last = got
	}
	if len(sizes) > 110 {
		t.Errorf("%d sizes tell more than they should", len(sizes))
	}
}

func TestPresence(t *testing.T) {
	topic := content.NewTopic()
	for _, state := range []content.PresenceState{content.Online, content.Away, content.Busy, content.Offline} {
		want := content.Presence{State: state, At: sentAt}
		sealed := want.Seal(topic)
		if len(sealed) != content.PresenceSize {
			t.Errorf("%d bytes, want %d", len(sealed), content.PresenceSize)
		}
		got, err := content.OpenPresence(topic, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if bytes.Equal(sealed, want.Seal(topic)) {
			t.Error("two seals are equal")
		}
	}
}

func TestForgedPresence(t *testing.T) {
	r := testrand.New(t)
	topic := content.NewTopic()
	sealed := content.Presence{State: content.Online, At: sentAt}.Seal(topic)
	refused := func(what string, topic content.Topic, b []byte) {
		t.Helper()
		if got, err := content.OpenPresence(topic, b); !errors.Is(err, content.ErrMalformed) || got != (content.Presence{}) {
			t.Errorf("%s: got %v, %v", what, got, err)
		}
	}
	for i := range sealed {
		forged := bytes.Clone(sealed)
		forged[i] ^= byte(1 + r.IntN(255))
		refused("changed byte", topic, forged)
		refused("cut", topic, sealed[:i])
	}
	refused("longer", topic, append(bytes.Clone(sealed), 0))
	other := content.NewTopic()
	refused("another key", content.Topic{ID: topic.ID, Key: other.Key}, sealed)
	refused("another topic under the same key", content.Topic{ID: other.ID, Key: topic.Key}, sealed)
	refused("no state", topic, content.Presence{At: sentAt}.Seal(topic))
}

func FuzzParse(f *testing.F) {
	encoded, err := message(content.Accept{Profile: profile, Topic: content.NewTopic()}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content.Content{OwnList: content.ListRef{Version: 1, Hash: content.Hash{1}}, DeviceList: []byte("list"), Message: encoded}.Pad())
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		c, err := content.Parse(plaintext)
		if err != nil {
			return
		}
		again, err := content.Parse(c.Pad())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	for _, body := range []content.Body{
		content.Text{Text: "hello"},
		content.Request{Profile: profile},
		content.Accept{Profile: profile, Topic: content.NewTopic()},
		content.Offer{Topic: content.NewTopic()},
		content.Renewal{},
	} {
		encoded, err := message(body).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		m, err := content.ParseMessage(encoded)
		if err != nil {
			return
		}
		if _, unknown := m.Body.(content.Unknown); unknown {
			return
		}
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := content.ParseMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again, compareKeys); diff != "" {
			t.Fatal(diff)
		}
	})
}
