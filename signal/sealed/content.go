package sealed

import (
	"errors"
	"slices"

	"github.com/chate2e/chate2e/signal/internal/wire"
)

// ErrContent is returned for content that cannot be sealed: of an unknown type,
// or with a certificate for another key than the sender's.
var ErrContent = errors.New("sealed: not content of this sender")

// Type says what kind of message a [Content] has. The numbers are those of the
// official library.
type Type uint8

const (
	// TypeMessage is a message in a session that both sides know.
	TypeMessage Type = 2
	// TypePreKey is a message that carries the handshake before it.
	TypePreKey Type = 3
	// TypeGroup is a message of package senderkey.
	TypeGroup Type = 7
	// TypePlaintext is the complaint about a message that could not be opened.
	TypePlaintext Type = 8
)

// wireTypes are the numbers that stand for the types within a sealed message.
var wireTypes = map[Type]uint32{TypePreKey: 1, TypeMessage: 2, TypeGroup: 7, TypePlaintext: 8}

// Hint says what the receiver may do about content that does not open.
type Hint uint32

const (
	// HintNone says that the sender cannot send it again: say that something is missing.
	HintNone Hint = 0
	// HintResendable says that the sender can send it again.
	HintResendable Hint = 1
	// HintImplicit says that nobody would miss it.
	HintImplicit Hint = 2
)

// The fields of the official library's UnidentifiedSenderMessage.Message.
const (
	fieldContentType   wire.Field = 1
	fieldContentSender wire.Field = 2
	fieldContent       wire.Field = 3
	fieldHint          wire.Field = 4
	fieldGroup         wire.Field = 5
)

// Content is what the official library seals: a finished message and who sent it.
type Content struct {
	Type    Type
	Sender  *SenderCertificate
	Message []byte
	Hint    Hint
	Group   []byte // the ID of the group that the message is about; nil: none
}

// Append appends the encoding of the content to b. It returns [ErrContent] for an
// unknown type, or without a certificate.
func (c *Content) Append(b []byte) ([]byte, error) {
	wireType, ok := wireTypes[c.Type]
	if !ok || c.Sender == nil {
		return nil, ErrContent
	}
	b = wire.AppendNumber(b, fieldContentType, wireType)
	b = wire.AppendBytes(b, fieldContentSender, c.Sender.raw)
	b = wire.AppendBytes(b, fieldContent, c.Message)
	if c.Hint != HintNone {
		b = wire.AppendNumber(b, fieldHint, uint32(c.Hint))
	}
	if len(c.Group) > 0 {
		b = wire.AppendBytes(b, fieldGroup, c.Group)
	}
	return b, nil
}

// ParseContent decodes what [Content.Append] made. It returns [ErrMalformed].
func ParseContent(b []byte) (*Content, error) {
	fields, ok := wire.Parse(slices.Clone(b),
		[]wire.Field{fieldContentType, fieldHint}, []wire.Field{fieldContentSender, fieldContent, fieldGroup})
	if !ok || !fields.Has(fieldContentType, fieldContentSender, fieldContent) {
		return nil, ErrMalformed
	}
	c := &Content{Message: fields.Bytes[fieldContent], Hint: Hint(fields.Numbers[fieldHint])}
	for kind, number := range wireTypes {
		if number == fields.Numbers[fieldContentType] {
			c.Type = kind
		}
	}
	if group := fields.Bytes[fieldGroup]; len(group) > 0 {
		c.Group = group
	}
	var err error
	if c.Sender, err = ParseSenderCertificate(fields.Bytes[fieldContentSender]); err != nil || c.Type == 0 {
		return nil, ErrMalformed
	}
	return c, nil
}
