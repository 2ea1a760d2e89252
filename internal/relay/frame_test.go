package relay_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relay/framespb"
)

func user(n byte) relay.UserID { return relay.UserID(bytes.Repeat([]byte{n}, relay.UserIDSize)) }

func envelopeID(n byte) relay.EnvelopeID {
	return relay.EnvelopeID(bytes.Repeat([]byte{n}, relay.EnvelopeIDSize))
}

// one parses a frame with the hand-written code and gives back what it understood
// as the generated type, so that both decoders can be compared.
func one(t relay.FrameType, body []byte) (proto.Message, error) {
	switch t {
	case relay.FrameAuth:
		token, err := relay.ParseAuth(body)
		if err != nil {
			return nil, err
		}
		_, b, _ := relay.SplitFrame(relay.AppendAuth(nil, token))
		m := new(framespb.Auth)
		return m, proto.Unmarshal(b, m)
	case relay.FrameSend:
		var s relay.Send
		if err := relay.ParseSend(body, &s); err != nil {
			return nil, err
		}
		m := &framespb.Send{Ref: s.Ref, To: s.To[:]}
		for _, e := range s.Envelopes {
			m.Envelopes = append(m.Envelopes, &framespb.Outgoing{Device: uint32(e.Device), Id: e.ID[:], Body: e.Body})
		}
		return m, nil
	case relay.FrameAck:
		handles, err := relay.ParseAck(body, nil)
		m := new(framespb.Ack)
		for _, h := range handles {
			m.Envelopes = append(m.Envelopes, &framespb.Handle{Seq: h.Seq, Id: h.ID[:]})
		}
		return m, err
	case relay.FrameSubscribe:
		topics, err := relay.ParseTopics(body)
		m := new(framespb.Subscribe)
		for _, id := range topics {
			m.Topics = append(m.Topics, id[:])
		}
		return m, err
	case relay.FrameUnsubscribe:
		topics, err := relay.ParseTopics(body)
		m := new(framespb.Unsubscribe)
		for _, id := range topics {
			m.Topics = append(m.Topics, id[:])
		}
		return m, err
	case relay.FramePublish:
		id, payload, err := relay.ParsePublish(body)
		return &framespb.Publish{Topic: id[:], Payload: payload}, err
	case relay.FrameRetract:
		id, err := relay.ParseRetract(body)
		return &framespb.Retract{Topic: id[:]}, err
	case relay.FramePing:
		nonce, err := relay.ParsePing(body)
		return &framespb.Ping{Nonce: nonce}, err
	case relay.FramePong:
		nonce, err := relay.ParsePing(body)
		return &framespb.Pong{Nonce: nonce}, err
	case relay.FrameReady:
		a, err := relay.ParseReady(body)
		return &framespb.Ready{User: a.User[:], Device: uint32(a.Device)}, err
	case relay.FrameSent:
		refs, err := relay.ParseSent(body)
		return &framespb.Sent{Refs: refs}, err
	case relay.FrameRefused:
		r, err := relay.ParseRefused(body)
		if err != nil {
			return nil, err
		}
		m := &framespb.Refused{
			Ref: r.Ref, Code: string(r.Err.Code), Detail: r.Err.Detail,
			RetryAfterMs: uint64(r.Err.RetryAfter.Milliseconds()),
		}
		for _, d := range r.Err.Missing {
			m.Missing = append(m.Missing, uint32(d))
		}
		for _, d := range r.Err.Extra {
			m.Extra = append(m.Extra, uint32(d))
		}
		return m, nil
	case relay.FramePush:
		p, err := relay.ParsePush(body)
		m := &framespb.Push{Drained: p.Drained}
		for _, in := range p.Envelopes {
			e := &framespb.Incoming{
				Seq: in.Seq, Kind: uint32(in.Kind), Id: in.ID[:],
				Device: uint32(in.From.Device), ReceivedAt: uint64(in.ReceivedAt), Body: in.Body,
			}
			if in.From.Device != 0 {
				e.From = in.From.User[:]
			}
			m.Envelopes = append(m.Envelopes, e)
		}
		return m, err
	case relay.FrameTopic:
		u, err := relay.ParseTopic(body)
		return &framespb.Topic{Topic: u.Topic[:], Payload: u.Payload, Gone: u.Gone}, err
	case relay.FrameBye:
		e, err := relay.ParseBye(body)
		if err != nil {
			return nil, err
		}
		return &framespb.Bye{Code: string(e.Code), Detail: e.Detail}, nil
	default:
		return nil, errors.New("unknown type")
	}
}

// again encodes a message with the hand-written code.
func again(t *testing.T, m proto.Message) []byte {
	t.Helper()
	switch m := m.(type) {
	case *framespb.Auth:
		// A token is only built from its text or its frame, so its frame is compared.
		token, err := relay.ParseAuth(marshal(t, m))
		if err != nil {
			t.Fatal(err)
		}
		return relay.AppendAuth(nil, token)
	case *framespb.Send:
		s := relay.Send{Ref: m.GetRef(), To: relay.UserID(m.GetTo())}
		for _, e := range m.GetEnvelopes() {
			s.Envelopes = append(s.Envelopes, relay.Outgoing{
				Device: relay.DeviceNumber(e.GetDevice()), ID: relay.EnvelopeID(e.GetId()), Body: e.GetBody(),
			})
		}
		return relay.AppendSend(nil, s)
	case *framespb.Ack:
		var handles []relay.Handle
		for _, h := range m.GetEnvelopes() {
			handles = append(handles, relay.Handle{Seq: h.GetSeq(), ID: relay.EnvelopeID(h.GetId())})
		}
		return relay.AppendAck(nil, handles)
	case *framespb.Subscribe:
		return relay.AppendTopics(nil, relay.FrameSubscribe, topics(m.GetTopics()))
	case *framespb.Unsubscribe:
		return relay.AppendTopics(nil, relay.FrameUnsubscribe, topics(m.GetTopics()))
	case *framespb.Publish:
		return relay.AppendPublish(nil, relay.TopicID(m.GetTopic()), m.GetPayload())
	case *framespb.Retract:
		return relay.AppendRetract(nil, relay.TopicID(m.GetTopic()))
	case *framespb.Ping:
		return relay.AppendPing(nil, relay.FramePing, m.GetNonce())
	case *framespb.Pong:
		return relay.AppendPing(nil, relay.FramePong, m.GetNonce())
	case *framespb.Ready:
		return relay.AppendReady(nil, relay.Address{User: relay.UserID(m.GetUser()), Device: relay.DeviceNumber(m.GetDevice())})
	case *framespb.Sent:
		return relay.AppendSent(nil, m.GetRefs())
	case *framespb.Refused:
		e := &relay.Error{
			Code: relay.Code(m.GetCode()), Detail: m.GetDetail(),
			RetryAfter: time.Duration(m.GetRetryAfterMs()) * time.Millisecond,
		}
		for _, d := range m.GetMissing() {
			e.Missing = append(e.Missing, relay.DeviceNumber(d))
		}
		for _, d := range m.GetExtra() {
			e.Extra = append(e.Extra, relay.DeviceNumber(d))
		}
		return relay.AppendRefused(nil, m.GetRef(), e)
	case *framespb.Push:
		p := relay.Push{Drained: m.GetDrained()}
		for _, e := range m.GetEnvelopes() {
			in := relay.Incoming{
				Handle: relay.Handle{Seq: e.GetSeq(), ID: relay.EnvelopeID(e.GetId())}, Kind: relay.IncomingKind(e.GetKind()),
				From: relay.Address{Device: relay.DeviceNumber(e.GetDevice())}, ReceivedAt: relay.Millis(e.GetReceivedAt()), Body: e.GetBody(),
			}
			copy(in.From.User[:], e.GetFrom())
			p.Envelopes = append(p.Envelopes, in)
		}
		return relay.AppendPush(nil, p)
	case *framespb.Topic:
		return relay.AppendTopic(nil, relay.TopicUpdate{Topic: relay.TopicID(m.GetTopic()), Payload: m.GetPayload(), Gone: m.GetGone()})
	case *framespb.Bye:
		return relay.AppendBye(nil, &relay.Error{Code: relay.Code(m.GetCode()), Detail: m.GetDetail()})
	default:
		t.Fatalf("no encoder for %T", m)
		return nil
	}
}

func topics(raw [][]byte) []relay.TopicID {
	var ids []relay.TopicID
	for _, id := range raw {
		ids = append(ids, relay.TopicID(id))
	}
	return ids
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var samples = map[relay.FrameType][]proto.Message{
	relay.FrameAuth: {&framespb.Auth{Token: bytes.Repeat([]byte{7}, 32)}},
	relay.FrameSend: {
		&framespb.Send{Ref: 1, To: b20(1), Envelopes: []*framespb.Outgoing{
			{Device: 1, Id: b16(1), Body: []byte("x")},
			{Device: 127, Id: b16(2), Body: bytes.Repeat([]byte{9}, relay.MaxBody)},
		}},
		&framespb.Send{Ref: math.MaxUint64, To: b20(0)},
	},
	relay.FrameAck:         {&framespb.Ack{}, &framespb.Ack{Envelopes: []*framespb.Handle{{Seq: 1, Id: b16(1)}, {Seq: 1 << 50, Id: b16(0)}}}},
	relay.FrameSubscribe:   {&framespb.Subscribe{}, &framespb.Subscribe{Topics: [][]byte{b16(1), b16(2)}}},
	relay.FrameUnsubscribe: {&framespb.Unsubscribe{Topics: [][]byte{b16(1)}}},
	relay.FramePublish:     {&framespb.Publish{Topic: b16(3)}, &framespb.Publish{Topic: b16(3), Payload: make([]byte, 1024)}},
	relay.FrameRetract:     {&framespb.Retract{Topic: b16(4)}},
	relay.FramePing:        {&framespb.Ping{}, &framespb.Ping{Nonce: 300}},
	relay.FramePong:        {&framespb.Pong{Nonce: 1}},
	relay.FrameReady:       {&framespb.Ready{User: b20(1), Device: 1}},
	relay.FrameSent:        {&framespb.Sent{}, &framespb.Sent{Refs: []uint64{0, 1, 1 << 40}}},
	relay.FrameRefused: {&framespb.Refused{
		Ref: 9, Code: "device_mismatch", Detail: "other devices", RetryAfterMs: 1500,
		Missing: []uint32{1, 2}, Extra: []uint32{127},
	}},
	relay.FramePush: {
		&framespb.Push{Drained: true},
		&framespb.Push{Envelopes: []*framespb.Incoming{
			{Seq: 5, Id: b16(1), From: b20(2), Device: 3, ReceivedAt: 1_700_000_000_000, Body: []byte("body")},
			{Seq: 6, Kind: 1, Id: b16(2), ReceivedAt: 1},
		}},
	},
	relay.FrameTopic: {&framespb.Topic{Topic: b16(1), Payload: []byte("p")}, &framespb.Topic{Topic: b16(1), Gone: true}},
	relay.FrameBye:   {&framespb.Bye{Code: "unavailable", Detail: "stopping"}},
}

func b20(n byte) []byte { return bytes.Repeat([]byte{n}, 20) }
func b16(n byte) []byte { return bytes.Repeat([]byte{n}, 16) }

// The hand-written encoder writes what the generated code writes, byte for byte,
// and the hand-written decoder reads it back.
func TestFramesAreTheProtobufOfTheSchema(t *testing.T) {
	for typ, messages := range samples {
		for _, m := range messages {
			want := append([]byte{byte(typ)}, marshal(t, m)...)
			if got := again(t, m); !bytes.Equal(got, want) {
				t.Errorf("%T encodes as\n%x, the generated code as\n%x", m, got, want)
				continue
			}
			split, body, err := relay.SplitFrame(want)
			if err != nil || split != typ {
				t.Fatalf("SplitFrame = %v, %v", split, err)
			}
			back, err := one(typ, body)
			if err != nil {
				t.Errorf("%T: %v", m, err)
				continue
			}
			if !proto.Equal(back, m) {
				t.Errorf("%T came back as\n%v, want\n%v", m, back, m)
			}
		}
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	for typ, messages := range samples {
		for _, m := range messages {
			body := marshal(t, m)
			body = append(body, 0xF8, 0x07, 1)                                           // field 127, varint
			body = append(body, 0xFA, 0x07, 2, 'h', 'i')                                 // field 127, bytes
			body = append(body, 0xF9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8, 0xFD, 7, 1, 2, 3, 4) // fixed64, fixed32
			back, err := one(typ, body)
			if err != nil {
				t.Errorf("%T with unknown fields: %v", m, err)
				continue
			}
			if !proto.Equal(back, m) {
				t.Errorf("%T with unknown fields came back as %v", m, back)
			}
		}
	}
}

func TestHostileFrames(t *testing.T) {
	long := func(n int, field byte, inner []byte) (b []byte) {
		for range n {
			b = append(append(b, field, byte(len(inner))), inner...)
		}
		return b
	}
	outgoing := marshal(t, &framespb.Outgoing{Device: 1, Id: b16(1), Body: []byte("x")})
	for name, f := range map[string]struct {
		typ  relay.FrameType
		body []byte
	}{
		"auth without a token":        {relay.FrameAuth, nil},
		"auth with a short token":     {relay.FrameAuth, []byte{0x0A, 1, 1}},
		"auth with a number":          {relay.FrameAuth, []byte{0x08, 1}},
		"send to nobody":              {relay.FrameSend, []byte{0x08, 1}},
		"send to device 0":            {relay.FrameSend, marshal(t, &framespb.Send{To: b20(1), Envelopes: []*framespb.Outgoing{{Id: b16(1), Body: b16(1)}}})},
		"send to device 128":          {relay.FrameSend, marshal(t, &framespb.Send{To: b20(1), Envelopes: []*framespb.Outgoing{{Device: 128, Id: b16(1), Body: b16(1)}}})},
		"send to device 2^32-1":       {relay.FrameSend, marshal(t, &framespb.Send{To: b20(1), Envelopes: []*framespb.Outgoing{{Device: math.MaxUint32, Id: b16(1), Body: b16(1)}}})},
		"send an empty body":          {relay.FrameSend, marshal(t, &framespb.Send{To: b20(1), Envelopes: []*framespb.Outgoing{{Device: 1, Id: b16(1)}}})},
		"send without an ID":          {relay.FrameSend, marshal(t, &framespb.Send{To: b20(1), Envelopes: []*framespb.Outgoing{{Device: 1, Body: b16(1)}}})},
		"send too many":               {relay.FrameSend, append(marshal(t, &framespb.Send{To: b20(1)}), long(128, 0x1A, outgoing)...)},
		"ack too many":                {relay.FrameAck, long(relay.MaxAcks+1, 0x0A, marshal(t, &framespb.Handle{Seq: 1, Id: b16(1)}))},
		"ack without an ID":           {relay.FrameAck, []byte{0x0A, 2, 0x08, 1}},
		"subscribe to too many":       {relay.FrameSubscribe, long(relay.MaxTopics+1, 0x0A, b16(1))},
		"subscribe to a short ID":     {relay.FrameSubscribe, []byte{0x0A, 1, 1}},
		"publish too much":            {relay.FramePublish, marshal(t, &framespb.Publish{Topic: b16(1), Payload: make([]byte, 1025)})},
		"publish without a topic":     {relay.FramePublish, []byte{0x12, 1, 1}},
		"a length beyond the end":     {relay.FrameSend, []byte{0x12, 20, 1}},
		"a length of 2^63":            {relay.FrameSend, []byte{0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}},
		"a varint of eleven bytes":    {relay.FramePing, bytes.Repeat([]byte{0xFF}, 12)},
		"field number 0":              {relay.FramePing, []byte{0x00, 1}},
		"groups, 10,000 deep":         {relay.FramePing, bytes.Repeat([]byte{0x0B}, 10000)},
		"push of an unknown kind":     {relay.FramePush, marshal(t, &framespb.Push{Envelopes: []*framespb.Incoming{{Kind: 2, Id: b16(1)}}})},
		"push from nobody":            {relay.FramePush, marshal(t, &framespb.Push{Envelopes: []*framespb.Incoming{{Id: b16(1), Body: b16(1)}}})},
		"push of an expiry with body": {relay.FramePush, marshal(t, &framespb.Push{Envelopes: []*framespb.Incoming{{Kind: 1, Id: b16(1), Body: b16(1)}}})},
		"push too large a body":       {relay.FramePush, marshal(t, &framespb.Push{Envelopes: []*framespb.Incoming{{Device: 1, From: b20(1), Id: b16(1), Body: make([]byte, relay.MaxBody+1)}}})},
		"refused with invalid UTF-8":  {relay.FrameRefused, []byte{0x1A, 1, 0xFF}},
		"refused for device 0":        {relay.FrameRefused, []byte{0x2A, 1, 0}},
		"ready without an address":    {relay.FrameReady, nil},
	} {
		if _, err := one(f.typ, f.body); !errors.Is(err, relay.ErrFrame) {
			t.Errorf("%s: %v, want ErrFrame", name, err)
		}
	}
	if _, _, err := relay.SplitFrame(nil); !errors.Is(err, relay.ErrFrame) {
		t.Errorf("empty frame: %v, want ErrFrame", err)
	}
}

// A relay may lie in everything it says, and its words may end on a terminal.
func TestRefusalsOfAHostileRelay(t *testing.T) {
	body := marshal(t, &framespb.Refused{Code: "made_up", Detail: "\x1b[2Jgone\u202e" + strings.Repeat("x", 500), RetryAfterMs: math.MaxUint64})
	r, err := relay.ParseRefused(body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Err.Code != relay.CodeInternal || r.Err.RetryAfter != relay.MaxRetryAfter {
		t.Errorf("got %v, retry after %v", r.Err.Code, r.Err.RetryAfter)
	}
	if len(r.Err.Detail) > 200 || strings.ContainsAny(r.Err.Detail, "\x1b\u202e") {
		t.Errorf("detail %q", r.Err.Detail)
	}
	if p := (relay.Problem{Code: "bad_json", RetryAfterMS: math.MinInt64}).Err(); p.RetryAfter != 0 || p.Code != relay.CodeBadJSON {
		t.Errorf("got %+v", p)
	}
}

func TestParsingTwiceIntoOneValue(t *testing.T) {
	frame := relay.AppendSend(nil, relay.Send{Ref: 1, To: user(1), Envelopes: []relay.Outgoing{{Device: 1, ID: envelopeID(1), Body: []byte("a")}, {Device: 2, ID: envelopeID(2), Body: []byte("b")}}})
	other := relay.AppendSend(nil, relay.Send{To: user(2), Envelopes: []relay.Outgoing{{Device: 3, ID: envelopeID(3), Body: []byte("c")}}})
	var s relay.Send
	for _, b := range [][]byte{frame, other} {
		if err := relay.ParseSend(b[1:], &s); err != nil {
			t.Fatal(err)
		}
	}
	want := relay.Send{To: user(2), Envelopes: []relay.Outgoing{{Device: 3, ID: envelopeID(3), Body: []byte("c")}}}
	if diff := cmp.Diff(want, s, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

// FuzzFrame compares both decoders: whatever the hand-written one accepts, the
// generated one accepts and understands alike, and encodes to the same bytes.
func FuzzFrame(f *testing.F) {
	for typ, messages := range samples {
		for _, m := range messages {
			b, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(append([]byte{byte(typ)}, b...))
		}
	}
	f.Add(append([]byte{byte(relay.FrameSubscribe)}, bytes.Repeat(append([]byte{0x0A, 16}, b16(1)...), 3)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, body, err := relay.SplitFrame(b)
		if err != nil {
			return
		}
		ours, err := one(typ, body)
		if err != nil {
			return
		}
		theirs := ours.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(body, theirs); err != nil {
			t.Fatalf("accepted what the generated code refuses: %v", err)
		}
		forget(theirs)
		if !proto.Equal(ours, theirs) {
			t.Fatalf("understood as\n%v, by the generated code as\n%v", ours, theirs)
		}
		encoded := again(t, ours)
		if want := marshal(t, ours); !bytes.Equal(encoded[1:], want) {
			t.Fatalf("encodes as\n%x, by the generated code as\n%x", encoded[1:], want)
		}
	})
}

// forget drops from a message what the hand-written decoder does not keep: unknown
// fields, fields without a meaning in this frame, and the parts of a relay's words
// that are not shown.
func forget(m proto.Message) {
	m.ProtoReflect().SetUnknown(nil)
	switch m := m.(type) {
	case *framespb.Send:
		for _, e := range m.GetEnvelopes() {
			e.ProtoReflect().SetUnknown(nil)
		}
	case *framespb.Ack:
		for _, h := range m.GetEnvelopes() {
			h.ProtoReflect().SetUnknown(nil)
		}
	case *framespb.Push:
		for _, e := range m.GetEnvelopes() {
			e.ProtoReflect().SetUnknown(nil)
		}
	case *framespb.Refused:
		e := relay.Problem{Code: relay.Code(m.GetCode()), Detail: m.GetDetail()}.Err()
		m.Code, m.Detail = string(e.Code), e.Detail
		m.RetryAfterMs = min(m.GetRetryAfterMs(), uint64(relay.MaxRetryAfter.Milliseconds()))
	case *framespb.Bye:
		e := relay.Problem{Code: relay.Code(m.GetCode()), Detail: m.GetDetail()}.Err()
		m.Code, m.Detail = string(e.Code), e.Detail
	}
}
