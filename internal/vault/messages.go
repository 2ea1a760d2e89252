package vault

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"
)

// Address is one device: the user ID of its account and its number there.
type Address struct {
	User   string
	Device uint32
}

// MessageID names a message on both sides: 128 random bits.
type MessageID [16]byte

// NewMessageID returns a random ID.
func NewMessageID() MessageID {
	var id MessageID
	_, _ = rand.Read(id[:])
	return id
}

// ParseMessageID reads what [MessageID.String] wrote: 32 lower-case hex digits.
func ParseMessageID(s string) (MessageID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(MessageID{}) || hex.EncodeToString(b) != s {
		return MessageID{}, errors.New("vault: not a message ID")
	}
	return MessageID(b), nil
}

func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id names nothing.
func (id MessageID) IsZero() bool { return id == MessageID{} }

// ChatID names a conversation within this vault.
type ChatID int64

// State is how far an outgoing message has come. Messages of others are
// [Delivered] and nothing else.
type State string

// The states.
const (
	Queued    State = "queued"    // accepted: it is in the outbox
	Sent      State = "sent"      // the relay says it has it
	Delivered State = "delivered" // the receiver's device says it has it
	Read      State = "read"      // the receiver has seen it
	Failed    State = "failed"    // given up
	Held      State = "held"      // waits for a decision of the user
)

// Message is one item of a conversation.
type Message struct {
	ID   MessageID
	Chat ChatID
	From Address // zero for a line of our own program
	Out  bool    // sent by this account
	Seq  uint64  // 1, 2, 3, … per sending device and chat; 0 for an item outside that order

	Kind   string
	Text   string // shown and searched
	Detail []byte // what the kind needs beside text; opaque

	State    State
	ClientID string // makes a scripted retry harmless; "" for none
	Prev     []byte // hash of the last message of the other side that the sender had seen

	SentAt     time.Time // by the sender's clock
	ReceivedAt time.Time // by ours; zero for our own

	Request bool // its sender was a stranger when it came
	Unread  bool
	Late    bool // came after its gap had been shown

	// GapBefore is the number of messages of the same device that are missing
	// directly before this one. It shrinks when they arrive late.
	GapBefore uint64
	// Arrival counts the items of the vault in the order in which they became
	// visible; 0 while the message waits for an earlier one.
	Arrival int64
}

// selectMessage reads messages; conditions name the tables m, s and h.
const selectMessage = `
	SELECT m.msg_id, m.chat, s.user_id, s.device, m.out, m.seq, m.kind, m.body, m.detail, m.state,
		m.client_id, m.prev, m.sent_at, m.received_at, m.request, m.unread, m.late,
		h.last - h.first + 1, m.shown
	FROM messages m
	LEFT JOIN streams s ON s.id = m.stream
	LEFT JOIN holes h ON h.stream = m.stream AND h.last = m.seq - 1 AND h.shown = 1 `

func scanMessage(row scanner) (Message, error) {
	var m Message
	var id []byte
	var user, client nullable[string]
	var device nullable[uint32]
	var gap nullable[uint64]
	var arrival nullable[int64]
	err := row.Scan(&id, &m.Chat, &user, &device, &m.Out, &m.Seq, &m.Kind, &m.Text, &m.Detail, &m.State,
		&client, &m.Prev, timestamp{&m.SentAt}, timestamp{&m.ReceivedAt}, &m.Request, &m.Unread, &m.Late,
		&gap, &arrival)
	if err != nil {
		return Message{}, err
	}
	copy(m.ID[:], id)
	m.From = Address{User: user.V, Device: device.V}
	m.ClientID, m.GapBefore, m.Arrival = client.V, gap.V, arrival.V
	return m, nil
}

func (tx *Tx) message(condition string, a ...any) (Message, error) {
	found, err := list(tx, scanMessage, selectMessage+condition, a...)
	if err != nil {
		return Message{}, err
	}
	if len(found) == 0 {
		return Message{}, ErrNotFound
	}
	return found[0], nil
}

// Message returns one message, visible or not, or [ErrNotFound].
func (tx *Tx) Message(id MessageID) (Message, error) {
	return tx.message(`WHERE m.msg_id = ?`, id[:])
}

// MessageByClientID returns the message that was added with clientID, or
// [ErrNotFound].
func (tx *Tx) MessageByClientID(clientID string) (Message, error) {
	return tx.message(`WHERE m.client_id = ?`, clientID)
}

// Advance moves an outgoing message of chat forward: queued or held, sent,
// delivered, read. It reports whether that changed anything: a step back, a
// failed message, a message of another chat and an unknown one change nothing,
// so a receipt may come late, twice, or for something that is not its sender's
// to acknowledge.
func (tx *Tx) Advance(chat ChatID, id MessageID, to State) (bool, error) {
	var now State
	err := tx.row(`SELECT state FROM messages WHERE msg_id = ? AND chat = ? AND out = 1`, args(id[:], chat), &now)
	if errors.Is(err, ErrNotFound) || err == nil && (now == Failed || progress[to] <= progress[now]) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, tx.SetState(id, to)
}

// progress orders the states that follow each other.
var progress = map[State]int{Queued: 1, Held: 1, Sent: 2, Delivered: 3, Read: 4}

// SetState sets the state of an outgoing message whatever it was, or returns
// [ErrNotFound].
func (tx *Tx) SetState(id MessageID, to State) error {
	n, err := tx.exec(`UPDATE messages SET state = ? WHERE msg_id = ? AND out = 1`, to, id[:])
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// MarkRead takes the unread mark off every message of chat up to and including
// upto, in the order of the screen, and returns those that had it, for receipts.
func (tx *Tx) MarkRead(chat ChatID, upto MessageID) ([]MessageID, error) {
	return list(tx, scanMessageID, `
		UPDATE messages SET unread = 0
		WHERE chat = ?1 AND unread = 1 AND shown IS NOT NULL
			AND (place, seq) <= (SELECT place, seq FROM messages WHERE msg_id = ?2 AND chat = ?1)
		RETURNING msg_id`, chat, upto[:])
}

func scanMessageID(row scanner) (MessageID, error) {
	var id MessageID
	var b []byte
	err := row.Scan(&b)
	copy(id[:], b)
	return id, err
}

// CountMessages returns how many items chat has, visible or not.
func (tx *Tx) CountMessages(chat ChatID) (int, error) {
	var n int
	err := tx.row(`SELECT count(*) FROM messages WHERE chat = ?`, args(chat), &n)
	return n, err
}
