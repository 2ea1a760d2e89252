package content

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/chate2e/chate2e/internal/content/contentpb"
	"github.com/chate2e/chate2e/internal/secret"
)

// Sizes in bytes.
const (
	// MessageIDSize is the size of a message ID.
	MessageIDSize = 16
	// TopicIDSize is the size of a topic's ID; its key has 32.
	TopicIDSize = 16

	// MaxText is the largest text of a message, in bytes of UTF-8.
	MaxText = 32 << 10
	// MaxPlaintext is the largest padded content that Parse looks at.
	MaxPlaintext = 64 << 10

	maxDeviceList = 8 << 10
	maxUsername   = 64
	maxName       = 64 // characters
	maxRelay      = 512
)

const (
	// MaxSeq is the highest number of a message: 2^53-1, exact in JSON.
	MaxSeq = 1<<53 - 1
	// maxVersion is the highest version of a device list: a signed 64-bit number.
	maxVersion = 1<<63 - 1
	// maxTime is the last millisecond of the year 9999.
	maxTime = 253402300799999
)

var (
	// ErrMalformed is wrapped by every error for bytes that are no content, or no
	// message. It quotes nothing.
	ErrMalformed = errors.New("content: malformed")
	// ErrTooLarge is returned by [Message.Encode] for a text above [MaxText].
	ErrTooLarge = errors.New("content: the text is too long")
)

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// MessageID names a message on both sides: 128 random bits.
type MessageID [MessageIDSize]byte

// Hash is the SHA-256 of a device list or of a message.
type Hash [sha256.Size]byte

// messageLabel separates hashes of messages from every other use of SHA-256.
const messageLabel = "ChatE2E v1 message"

// HashMessage returns the hash of an encoded message, as it travelled: what the
// other side's next message names as Prev.
func HashMessage(encoded []byte) Hash {
	h := sha256.New()
	h.Write([]byte(messageLabel))
	h.Write(encoded)
	return Hash(h.Sum(nil))
}

// ListRef names one version of a device list. The zero value names none.
type ListRef struct {
	Version uint64
	Hash    Hash
}

// Content is what one ciphertext contains.
type Content struct {
	OwnList    ListRef // the sender's own device list
	PeerList   ListRef // the receiver's, as the sender last saw it
	DeviceList []byte  // OwnList itself, signed, while the handshake travels along; not looked into
	Message    []byte  // an encoded [Message]
}

// Pad returns the plaintext to encrypt: the content, encoded and padded. The
// Message must come from [Message.Encode] and the DeviceList have at most 8 KiB.
func (c Content) Pad() []byte {
	b, err := proto.Marshal(&contentpb.Content{
		OwnList:    encodeRef(c.OwnList),
		PeerList:   encodeRef(c.PeerList),
		DeviceList: c.DeviceList,
		Message:    c.Message,
	})
	if err != nil {
		panic("content: " + err.Error()) // no strings in it, so nothing can be wrong
	}
	return pad(b)
}

// Parse removes the padding and reads a content. It returns an error that wraps
// [ErrMalformed].
func Parse(plaintext []byte) (Content, error) {
	if len(plaintext) > MaxPlaintext {
		return Content{}, malformed("too large")
	}
	b, ok := unpad(plaintext)
	if !ok {
		return Content{}, malformed("padding")
	}
	var p contentpb.Content
	if err := proto.Unmarshal(b, &p); err != nil {
		return Content{}, malformed("encoding")
	}
	own, ok := parseRef(p.OwnList)
	peer, ok2 := parseRef(p.PeerList)
	switch {
	case !ok || !ok2:
		return Content{}, malformed("reference to a device list")
	case len(p.DeviceList) > maxDeviceList:
		return Content{}, malformed("device list")
	case len(p.Message) == 0:
		return Content{}, malformed("no message")
	}
	return Content{OwnList: own, PeerList: peer, DeviceList: p.DeviceList, Message: p.Message}, nil
}

func encodeRef(r ListRef) *contentpb.DeviceListRef {
	if r == (ListRef{}) {
		return nil
	}
	return &contentpb.DeviceListRef{Version: r.Version, Hash: r.Hash[:]}
}

func parseRef(p *contentpb.DeviceListRef) (ListRef, bool) {
	if p == nil {
		return ListRef{}, true
	}
	if p.Version == 0 || p.Version > maxVersion || len(p.Hash) != len(Hash{}) {
		return ListRef{}, false
	}
	return ListRef{Version: p.Version, Hash: Hash(p.Hash)}, true
}

// Message is what one person says to another, the same for all devices.
type Message struct {
	ID     MessageID
	Seq    uint64 // 1, 2, 3, … per sending device and conversation; 0: outside of that order
	SentAt time.Time
	Prev   Hash // of the last message of the other side that the sender had seen; zero: none
	Body   Body
}

// Body is what a message is about: [Text], [Request], [Accept], [Offer], [Renewal]
// or [Unknown].
type Body interface{ isBody() }

// Text is a text for people.
type Text struct{ Text string }

// Profile is what a person says of herself. It is her word alone.
type Profile struct {
	Username    string // [a-z0-9_]{3,24}, or empty
	DisplayName string // without control characters, at most 64 characters; may be empty
	Relay       string // URL, at most 512 bytes of printable ASCII; may be empty
}

// Request asks to be a contact.
type Request struct{ Profile }

// Accept accepts a request, and offers a topic.
type Accept struct {
	Profile
	Topic Topic
}

// Offer replaces the topic that was offered before.
type Offer struct{ Topic }

// Renewal says nothing; that it opens is enough. It goes to a contact who has begun
// a session with prekeys that are gone: the one it travels in comes into use there
// instead.
type Renewal struct{}

// Topic is where one person publishes her presence for another.
type Topic struct {
	ID  [TopicIDSize]byte
	Key secret.Key
}

// NewTopic returns a topic with a random ID and a random key.
func NewTopic() Topic {
	var b [TopicIDSize + secret.KeySize]byte
	_, _ = rand.Read(b[:]) // never fails
	t := Topic{ID: [TopicIDSize]byte(b[:]), Key: secret.NewKey([secret.KeySize]byte(b[TopicIDSize:]))}
	clear(b[:])
	return t
}

// Unknown is a body that a later version of this program has written.
type Unknown struct{}

func (Text) isBody()    {}
func (Request) isBody() {}
func (Accept) isBody()  {}
func (Offer) isBody()   {}
func (Renewal) isBody() {}
func (Unknown) isBody() {}

// Encode returns the bytes that travel. It returns [ErrTooLarge], or an error that
// wraps [ErrMalformed] for a message that could not be parsed again.
func (m Message) Encode() ([]byte, error) {
	p := &contentpb.Message{
		Id: m.ID[:], Seq: m.Seq,
		SentAt: uint64(max(m.SentAt.UnixMilli(), 0)),
	}
	if m.Prev != (Hash{}) {
		p.Prev = m.Prev[:]
	}
	switch b := m.Body.(type) {
	case Text:
		if len(b.Text) > MaxText {
			return nil, ErrTooLarge
		}
		p.Body = &contentpb.Message_Text{Text: &contentpb.Text{Text: b.Text}}
	case Request:
		p.Body = &contentpb.Message_Request{Request: encodeProfile(b.Profile)}
	case Accept:
		p.Body = &contentpb.Message_Accept{Accept: &contentpb.Accept{Profile: encodeProfile(b.Profile), Topic: encodeTopic(b.Topic)}}
	case Offer:
		p.Body = &contentpb.Message_Offer{Offer: encodeTopic(b.Topic)}
	case Renewal:
		p.Body = &contentpb.Message_Renewal{Renewal: &contentpb.Renewal{}}
	default:
		return nil, malformed("a body that cannot be sent")
	}
	encoded, err := proto.Marshal(p)
	if err != nil {
		return nil, malformed("invalid UTF-8")
	}
	if _, err := ParseMessage(encoded); err != nil {
		return nil, err
	}
	return encoded, nil
}

// ParseMessage reads an encoded message. It returns an error that wraps
// [ErrMalformed].
func ParseMessage(encoded []byte) (Message, error) {
	if len(encoded) > MaxPlaintext {
		return Message{}, malformed("too large")
	}
	var p contentpb.Message
	if err := proto.Unmarshal(encoded, &p); err != nil {
		return Message{}, malformed("encoding")
	}
	switch {
	case len(p.Id) != MessageIDSize || MessageID(p.Id) == MessageID{}:
		return Message{}, malformed("message ID")
	case p.Seq > MaxSeq:
		return Message{}, malformed("number")
	case p.SentAt > maxTime:
		return Message{}, malformed("time")
	case len(p.Prev) != 0 && len(p.Prev) != len(Hash{}):
		return Message{}, malformed("hash")
	}
	m := Message{
		ID: MessageID(p.Id), Seq: p.Seq,
		SentAt: time.UnixMilli(int64(p.SentAt)).UTC(),
	}
	copy(m.Prev[:], p.Prev)
	body, err := parseBody(&p)
	if err != nil {
		return Message{}, err
	}
	m.Body = body
	return m, nil
}

func parseBody(p *contentpb.Message) (Body, error) {
	switch b := p.Body.(type) {
	case *contentpb.Message_Text:
		text := b.Text.GetText()
		if text == "" || len(text) > MaxText {
			return nil, malformed("text")
		}
		return Text{Text: text}, nil
	case *contentpb.Message_Request:
		return Request{parseProfile(b.Request)}, nil
	case *contentpb.Message_Accept:
		topic, ok := parseTopic(b.Accept.GetTopic())
		if !ok {
			return nil, malformed("topic")
		}
		return Accept{Profile: parseProfile(b.Accept.GetProfile()), Topic: topic}, nil
	case *contentpb.Message_Offer:
		topic, ok := parseTopic(b.Offer)
		if !ok {
			return nil, malformed("topic")
		}
		return Offer{topic}, nil
	case *contentpb.Message_Renewal:
		return Renewal{}, nil
	default:
		return Unknown{}, nil
	}
}

func encodeProfile(p Profile) *contentpb.Profile {
	return &contentpb.Profile{Username: p.Username, DisplayName: p.DisplayName, Relay: p.Relay}
}

// parseProfile never fails: what cannot be believed or shown is left out, so that
// an odd name does not cost the message.
func parseProfile(p *contentpb.Profile) Profile {
	return Profile{
		Username:    username(p.GetUsername()),
		DisplayName: CleanName(p.GetDisplayName()),
		Relay:       relayURL(p.GetRelay()),
	}
}

func username(s string) string {
	if len(s) > maxUsername {
		return ""
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return ""
		}
	}
	return s
}

func relayURL(s string) string {
	if len(s) > maxRelay {
		return ""
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return ""
		}
	}
	return s
}

// CleanName returns a name as it may be shown: white space of any kind becomes
// one space, characters that control or have no shape of their own (line ends,
// direction marks, zero-width characters) are dropped, and 64 characters stay.
func CleanName(s string) string {
	if len(s) > maxName*utf8.UTFMax*4 {
		s = strings.ToValidUTF8(s[:maxName*utf8.UTFMax*4], "")
	}
	var b strings.Builder
	count, space := 0, false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = true
			continue
		case r == utf8.RuneError || !unicode.IsPrint(r):
			continue
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
			count++
		}
		space = false
		if count++; count > maxName {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ")
}

func encodeTopic(t Topic) *contentpb.Topic {
	if t.Key.IsZero() {
		return nil // and does not parse again
	}
	return &contentpb.Topic{Id: t.ID[:], Key: t.Key.Bytes()}
}

func parseTopic(p *contentpb.Topic) (Topic, bool) {
	key, err := secret.ParseKey(p.GetKey())
	if err != nil || len(p.GetId()) != TopicIDSize {
		return Topic{}, false
	}
	return Topic{ID: [TopicIDSize]byte(p.Id), Key: key}, true
}
