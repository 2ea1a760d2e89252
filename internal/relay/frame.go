package relay

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n -modfile=../../tools/go.mod protoc-gen-go) --go_out=framespb --go_opt=paths=source_relative frames.proto"

// FrameType is the first byte of a frame; frames.proto has the body of each. A
// frame of an unknown type is skipped by either side.
type FrameType byte

// The frames of a client, below 0x40, and of the relay.
const (
	FrameAuth        FrameType = 0x01
	FrameSend        FrameType = 0x02
	FrameAck         FrameType = 0x03
	FrameSubscribe   FrameType = 0x04
	FrameUnsubscribe FrameType = 0x05
	FramePublish     FrameType = 0x06
	FrameRetract     FrameType = 0x07
	FramePing        FrameType = 0x08

	FrameReady   FrameType = 0x41
	FrameSent    FrameType = 0x42
	FrameRefused FrameType = 0x43
	FramePush    FrameType = 0x44
	FrameTopic   FrameType = 0x45
	FramePong    FrameType = 0x46
	FrameBye     FrameType = 0x47
)

// ErrFrame is wrapped by the errors of all Parse functions of frames.
var ErrFrame = errors.New("relay: malformed frame")

// SplitFrame returns the type and the body of a frame.
func SplitFrame(b []byte) (FrameType, []byte, error) {
	if len(b) == 0 {
		return 0, nil, fmt.Errorf("%w: empty", ErrFrame)
	}
	return FrameType(b[0]), b[1:], nil
}

// Send is the body of a [FrameSend]: one envelope for every device of a user, or
// for every one but the sender's own.
type Send struct {
	Ref       uint64
	To        UserID
	Envelopes []Outgoing
}

// Refused is the body of a [FrameRefused].
type Refused struct {
	Ref uint64
	Err *Error
}

// Push is the body of a [FramePush].
type Push struct {
	Envelopes []Incoming
	// Drained says that the mailbox holds nothing more at this moment.
	Drained bool
}

// TopicUpdate is the body of a [FrameTopic]: a topic's new value, or its
// tombstone.
type TopicUpdate struct {
	Topic   TopicID
	Payload []byte
	// Gone says that the value was retracted or its publisher has gone. It is a
	// hint: a relay can withhold and invent it.
	Gone bool
}

// AppendAuth appends the frame that a client sends first.
func AppendAuth(b []byte, token Token) []byte {
	b = append(b, byte(FrameAuth))
	return appendBytes(b, 1, token.key.Bytes())
}

// ParseAuth reads the body of a [FrameAuth].
func ParseAuth(b []byte) (Token, error) {
	var raw []byte
	err := fields(b, func(n protowire.Number, v value) (err error) {
		if n == 1 {
			raw, err = v.sized(TokenSize)
		}
		return err
	})
	if err != nil || len(raw) != TokenSize {
		return Token{}, fmt.Errorf("%w: no token", ErrFrame)
	}
	return tokenOf([TokenSize]byte(raw)), nil
}

// AppendSend appends a whole frame.
func AppendSend(b []byte, s Send) []byte {
	b = append(b, byte(FrameSend))
	b = appendUint(b, 1, s.Ref)
	b = appendBytes(b, 2, s.To[:])
	for _, e := range s.Envelopes {
		size := sizeUint(1, uint64(e.Device)) + sizeBytes(2, EnvelopeIDSize) + sizeBytes(3, len(e.Body))
		b = appendHead(b, 3, size)
		b = appendUint(b, 1, uint64(e.Device))
		b = appendBytes(b, 2, e.ID[:])
		b = appendBytes(b, 3, e.Body)
	}
	return b
}

// ParseSend reads the body of a [FrameSend]. The bodies of the envelopes are
// slices of b. It appends to into.Envelopes[:0], so that a caller may use the
// same value again.
func ParseSend(b []byte, into *Send) error {
	*into = Send{Envelopes: into.Envelopes[:0]}
	var to []byte
	err := fields(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			into.Ref, err = v.uint()
		case 2:
			to, err = v.sized(UserIDSize)
		case 3:
			var inner []byte
			if inner, err = v.bytes(); err != nil {
				return err
			}
			var e Outgoing
			if e, err = parseOutgoing(inner); err == nil {
				into.Envelopes = append(into.Envelopes, e)
			}
			if len(into.Envelopes) > MaxDevice {
				return fmt.Errorf("%w: too many envelopes", ErrFrame)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(to) != UserIDSize {
		return fmt.Errorf("%w: no recipient", ErrFrame)
	}
	into.To = UserID(to)
	return nil
}

func parseOutgoing(b []byte) (Outgoing, error) {
	var (
		e      Outgoing
		id     []byte
		device uint64
	)
	err := fields(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			device, err = v.uint()
		case 2:
			id, err = v.sized(EnvelopeIDSize)
		case 3:
			e.Body, err = v.bytes()
		}
		return err
	})
	if err != nil {
		return Outgoing{}, err
	}
	if e.Device, err = parseDevice(device); err != nil {
		return Outgoing{}, err
	}
	if len(id) != EnvelopeIDSize || len(e.Body) == 0 {
		return Outgoing{}, fmt.Errorf("%w: incomplete envelope", ErrFrame)
	}
	e.ID = EnvelopeID(id)
	return e, nil
}

func parseDevice(n uint64) (DeviceNumber, error) {
	if n < 1 || n > MaxDevice {
		return 0, fmt.Errorf("%w: device number out of range", ErrFrame)
	}
	return DeviceNumber(n), nil
}

// AppendAck appends a whole frame.
func AppendAck(b []byte, handles []Handle) []byte {
	b = append(b, byte(FrameAck))
	for _, h := range handles {
		b = appendHead(b, 1, sizeUint(1, h.Seq)+sizeBytes(2, EnvelopeIDSize))
		b = appendUint(b, 1, h.Seq)
		b = appendBytes(b, 2, h.ID[:])
	}
	return b
}

// ParseAck reads the body of a [FrameAck] and appends the handles to into.
func ParseAck(b []byte, into []Handle) ([]Handle, error) {
	count := 0
	err := fields(b, func(n protowire.Number, v value) error {
		if n != 1 {
			return nil
		}
		inner, err := v.bytes()
		if err != nil {
			return err
		}
		if count++; count > MaxAcks {
			return fmt.Errorf("%w: too many acknowledgements", ErrFrame)
		}
		var (
			h  Handle
			id []byte
		)
		err = fields(inner, func(n protowire.Number, v value) (err error) {
			switch n {
			case 1:
				h.Seq, err = v.uint()
			case 2:
				id, err = v.sized(EnvelopeIDSize)
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(id) != EnvelopeIDSize {
			return fmt.Errorf("%w: incomplete handle", ErrFrame)
		}
		h.ID = EnvelopeID(id)
		into = append(into, h)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return into, nil
}

// AppendTopics appends a whole [FrameSubscribe] or [FrameUnsubscribe].
func AppendTopics(b []byte, t FrameType, topics []TopicID) []byte {
	b = append(b, byte(t))
	for _, id := range topics {
		b = appendBytes(b, 1, id[:])
	}
	return b
}

// ParseTopics reads the body of a [FrameSubscribe] or [FrameUnsubscribe].
func ParseTopics(b []byte) ([]TopicID, error) {
	var topics []TopicID
	err := fields(b, func(n protowire.Number, v value) error {
		if n != 1 {
			return nil
		}
		id, err := v.sized(TopicIDSize)
		if err != nil {
			return err
		}
		if len(topics) == MaxTopics {
			return fmt.Errorf("%w: too many topics", ErrFrame)
		}
		topics = append(topics, TopicID(id))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return topics, nil
}

// AppendPublish appends a whole frame.
func AppendPublish(b []byte, topic TopicID, payload []byte) []byte {
	b = append(b, byte(FramePublish))
	b = appendBytes(b, 1, topic[:])
	return appendBytes(b, 2, payload)
}

// ParsePublish reads the body of a [FramePublish]. The payload is a slice of b.
func ParsePublish(b []byte) (TopicID, []byte, error) {
	u, err := ParseTopic(b)
	if err != nil {
		return TopicID{}, nil, err
	}
	return u.Topic, u.Payload, nil
}

// AppendRetract appends a whole frame.
func AppendRetract(b []byte, topic TopicID) []byte {
	b = append(b, byte(FrameRetract))
	return appendBytes(b, 1, topic[:])
}

// ParseRetract reads the body of a [FrameRetract].
func ParseRetract(b []byte) (TopicID, error) {
	u, err := ParseTopic(b)
	return u.Topic, err
}

// AppendPing appends a whole [FramePing] or [FramePong].
func AppendPing(b []byte, t FrameType, nonce uint64) []byte {
	b = append(b, byte(t))
	return appendUint(b, 1, nonce)
}

// ParsePing reads the body of a [FramePing] or [FramePong].
func ParsePing(b []byte) (nonce uint64, err error) {
	err = fields(b, func(n protowire.Number, v value) (err error) {
		if n == 1 {
			nonce, err = v.uint()
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return nonce, nil
}

// AppendReady appends a whole frame.
func AppendReady(b []byte, address Address) []byte {
	b = append(b, byte(FrameReady))
	b = appendBytes(b, 1, address.User[:])
	return appendUint(b, 2, uint64(address.Device))
}

// ParseReady reads the body of a [FrameReady].
func ParseReady(b []byte) (Address, error) {
	var (
		user   []byte
		device uint64
	)
	err := fields(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			user, err = v.sized(UserIDSize)
		case 2:
			device, err = v.uint()
		}
		return err
	})
	if err != nil {
		return Address{}, err
	}
	number, err := parseDevice(device)
	if err != nil || len(user) != UserIDSize {
		return Address{}, fmt.Errorf("%w: no address", ErrFrame)
	}
	return Address{User: UserID(user), Device: number}, nil
}

// AppendSent appends a whole frame.
func AppendSent(b []byte, refs []uint64) []byte {
	b = append(b, byte(FrameSent))
	return appendPacked(b, 1, refs)
}

// ParseSent reads the body of a [FrameSent].
func ParseSent(b []byte) (refs []uint64, err error) {
	err = fields(b, func(n protowire.Number, v value) (err error) {
		if n == 1 {
			refs, err = v.packed(refs)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return refs, nil
}

// AppendRefused appends a whole frame.
func AppendRefused(b []byte, ref uint64, e *Error) []byte {
	b = append(b, byte(FrameRefused))
	b = appendUint(b, 1, ref)
	b = appendBytes(b, 2, []byte(e.Code))
	b = appendBytes(b, 3, []byte(e.Detail))
	b = appendUint(b, 4, uint64(max(e.RetryAfter.Milliseconds(), 0))) // not negative
	b = appendPacked(b, 5, e.Missing)
	return appendPacked(b, 6, e.Extra)
}

// ParseRefused reads the body of a [FrameRefused].
func ParseRefused(b []byte) (Refused, error) {
	var (
		r     Refused
		p     Problem
		retry uint64
	)
	err := fields(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			r.Ref, err = v.uint()
		case 2:
			p.Code, err = text[Code](v)
		case 3:
			p.Detail, err = text[string](v)
		case 4:
			retry, err = v.uint()
		case 5:
			p.Missing, err = v.devices(p.Missing)
		case 6:
			p.Extra, err = v.devices(p.Extra)
		}
		return err
	})
	if err != nil {
		return Refused{}, err
	}
	p.RetryAfterMS = int64(min(retry, uint64(MaxRetryAfter/time.Millisecond))) // an hour at most
	r.Err = p.Err()
	return r, nil
}

// AppendBye appends a whole frame.
func AppendBye(b []byte, e *Error) []byte {
	b = append(b, byte(FrameBye))
	b = appendBytes(b, 1, []byte(e.Code))
	return appendBytes(b, 2, []byte(e.Detail))
}

// ParseBye reads the body of a [FrameBye].
func ParseBye(b []byte) (*Error, error) {
	var p Problem
	err := fields(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			p.Code, err = text[Code](v)
		case 2:
			p.Detail, err = text[string](v)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return p.Err(), nil
}

// AppendPush appends a whole frame.
func AppendPush(b []byte, p Push) []byte {
	b = append(b, byte(FramePush))
	for _, in := range p.Envelopes {
		b = AppendPushed(b, in)
	}
	return AppendDrained(b, p.Drained)
}

// AppendPushed appends one envelope to a frame that begins with [FramePush], for
// a relay that reads envelopes one after the other.
func AppendPushed(b []byte, in Incoming) []byte {
	b = appendHead(b, 1, sizeIncoming(in))
	b = appendUint(b, 1, in.Seq)
	b = appendUint(b, 2, uint64(in.Kind))
	b = appendBytes(b, 3, in.ID[:])
	if in.From.Device != 0 {
		b = appendBytes(b, 4, in.From.User[:])
	}
	b = appendUint(b, 5, uint64(in.From.Device))
	b = appendUint(b, 6, uint64(in.ReceivedAt)) //nolint:gosec // of the relay's own clock
	return appendBytes(b, 7, in.Body)
}

// AppendDrained ends a frame of [AppendPushed] envelopes.
func AppendDrained(b []byte, drained bool) []byte {
	if drained {
		b = appendUint(b, 2, 1)
	}
	return b
}

func sizeIncoming(in Incoming) int {
	size := sizeUint(1, in.Seq) + sizeUint(2, uint64(in.Kind)) + sizeBytes(3, EnvelopeIDSize) +
		sizeUint(5, uint64(in.From.Device)) + sizeUint(6, uint64(in.ReceivedAt)) + sizeBytes(7, len(in.Body)) //nolint:gosec // of the relay's own clock
	if in.From.Device != 0 {
		size += sizeBytes(4, UserIDSize)
	}
	return size
}

// ParsePush reads the body of a [FramePush]. The bodies of the envelopes are
// slices of b.
func ParsePush(b []byte) (Push, error) {
	var p Push
	err := fields(b, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			inner, err := v.bytes()
			if err != nil {
				return err
			}
			in, err := parseIncoming(inner)
			if err != nil {
				return err
			}
			p.Envelopes = append(p.Envelopes, in)
		case 2:
			drained, err := v.uint()
			if err != nil {
				return err
			}
			p.Drained = drained != 0
		}
		return nil
	})
	if err != nil {
		return Push{}, err
	}
	return p, nil
}

func parseIncoming(b []byte) (Incoming, error) {
	var (
		in                     Incoming
		id, from               []byte
		kind, device, received uint64
	)
	err := fields(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			in.Seq, err = v.uint()
		case 2:
			kind, err = v.uint()
		case 3:
			id, err = v.sized(EnvelopeIDSize)
		case 4:
			from, err = v.sized(UserIDSize)
		case 5:
			device, err = v.uint()
		case 6:
			received, err = v.uint()
		case 7:
			in.Body, err = v.bytes()
		}
		return err
	})
	if err != nil {
		return Incoming{}, err
	}
	if len(id) != EnvelopeIDSize || received > uint64(maxMillis) {
		return Incoming{}, fmt.Errorf("%w: incomplete envelope", ErrFrame)
	}
	in.ID = EnvelopeID(id)
	in.ReceivedAt = Millis(received) // checked above
	if kind > uint64(KindExpired) || device > MaxDevice {
		return Incoming{}, fmt.Errorf("%w: %w", ErrFrame, ErrEnvelope)
	}
	in.Kind = IncomingKind(kind)
	in.From.Device = DeviceNumber(device)
	if in.Kind == KindMessage && len(from) != UserIDSize {
		return Incoming{}, fmt.Errorf("%w: %w", ErrFrame, ErrEnvelope)
	}
	copy(in.From.User[:], from)
	if err := in.Validate(); err != nil {
		return Incoming{}, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return in, nil
}

// AppendTopic appends a whole frame.
func AppendTopic(b []byte, u TopicUpdate) []byte {
	b = append(b, byte(FrameTopic))
	b = appendBytes(b, 1, u.Topic[:])
	b = appendBytes(b, 2, u.Payload)
	if u.Gone {
		b = appendUint(b, 3, 1)
	}
	return b
}

// ParseTopic reads the body of a [FrameTopic]. The payload is a slice of b.
func ParseTopic(b []byte) (TopicUpdate, error) {
	var (
		u  TopicUpdate
		id []byte
	)
	err := fields(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			id, err = v.sized(TopicIDSize)
		case 2:
			u.Payload, err = v.bytes()
		case 3:
			var gone uint64
			gone, err = v.uint()
			u.Gone = gone != 0
		}
		return err
	})
	if err != nil {
		return TopicUpdate{}, err
	}
	if len(id) != TopicIDSize || len(u.Payload) > MaxTopicPayload {
		return TopicUpdate{}, fmt.Errorf("%w: no topic or too large a payload", ErrFrame)
	}
	u.Topic = TopicID(id)
	return u, nil
}

// ── protobuf ────────────────────────────────────────────────────────────────

// value is one field of a protobuf message. Its methods return an error when the
// field has another wire type than asked for: protobuf would skip such a field,
// but nobody who speaks this protocol sends one.
type value struct {
	wire   protowire.Type
	number uint64 // wire type varint
	data   []byte // wire type bytes
}

var errField = fmt.Errorf("%w: field", ErrFrame)

func (v value) uint() (uint64, error) {
	if v.wire != protowire.VarintType {
		return 0, errField
	}
	return v.number, nil
}

func (v value) bytes() ([]byte, error) {
	if v.wire != protowire.BytesType {
		return nil, errField
	}
	return v.data, nil
}

func (v value) sized(n int) ([]byte, error) {
	if v.wire != protowire.BytesType || len(v.data) != n {
		return nil, errField
	}
	return v.data, nil
}

// text returns a short UTF-8 string.
func text[S ~string](v value) (S, error) {
	if v.wire != protowire.BytesType || len(v.data) > 1<<10 || !utf8.Valid(v.data) {
		return "", errField
	}
	return S(v.data), nil
}

// packed appends a repeated number in either of protobuf's two forms.
func (v value) packed(into []uint64) ([]uint64, error) {
	switch v.wire {
	case protowire.VarintType:
		return append(into, v.number), nil
	case protowire.BytesType:
		for b := v.data; len(b) > 0; {
			x, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return nil, errField
			}
			into = append(into, x)
			b = b[n:]
		}
		return into, nil
	default:
		return nil, errField
	}
}

func (v value) devices(into []DeviceNumber) ([]DeviceNumber, error) {
	numbers, err := v.packed(nil)
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		device, err := parseDevice(n)
		if err != nil {
			return nil, err
		}
		into = append(into, device)
	}
	if len(into) > MaxDevice {
		return nil, errField
	}
	return into, nil
}

// fields calls f for each field of the message b, in order.
func fields(b []byte, f func(protowire.Number, value) error) error {
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 || !number.IsValid() {
			return errField
		}
		b = b[n:]
		v := value{wire: wire}
		switch wire {
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.data, n = protowire.ConsumeBytes(b)
		case protowire.StartGroupType, protowire.EndGroupType: // long gone from protobuf, and nested
			return errField
		default:
			n = protowire.ConsumeFieldValue(number, wire, b)
		}
		if n < 0 {
			return errField
		}
		b = b[n:]
		if err := f(number, v); err != nil {
			return err
		}
	}
	return nil
}

// Like the generated code, the append functions leave a zero value out.

func appendUint(b []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, number, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func sizeUint(number protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(number) + protowire.SizeVarint(v)
}

func appendBytes(b []byte, number protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, number, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func sizeBytes(number protowire.Number, length int) int {
	if length == 0 {
		return 0
	}
	return protowire.SizeTag(number) + protowire.SizeBytes(length)
}

// appendHead begins a nested message of the given size.
func appendHead(b []byte, number protowire.Number, size int) []byte {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size)) //nolint:gosec // a length
}

func appendPacked[N ~uint8 | ~uint64](b []byte, number protowire.Number, values []N) []byte {
	if len(values) == 0 {
		return b
	}
	size := 0
	for _, v := range values {
		size += protowire.SizeVarint(uint64(v))
	}
	b = appendHead(b, number, size)
	for _, v := range values {
		b = protowire.AppendVarint(b, uint64(v))
	}
	return b
}
