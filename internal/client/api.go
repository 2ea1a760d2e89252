package client

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// The verbs of the engine and the values they take and give. Two faces use them:
// the local API, through which every command goes too, and the tests. The JSON
// names are those that programs outside rely on; times are UTC.

// Config says how an engine is to run. The zero Config is the default.
type Config struct {
	Log *slog.Logger // nil: nothing is logged

	// DialContext replaces the way to the relay in tests; nil means the network.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TestKDF makes the password's key derivation as cheap as it can be: such a
	// profile is not protected against guessing, and opens only with TestKDF.
	TestKDF bool
}

// Registration is what a new account starts with.
type Registration struct {
	Server      string // URL of the relay
	Username    string // "" for none
	DisplayName string // "" : the username
	Invite      string // an invitation, if the relay wants one
}

// Progress is told while an account is made, one call for each finished step.
type Progress struct {
	Step  ProgressStep
	Done  int
	Total int
}

// ProgressStep names a step of making an account.
type ProgressStep string

// The steps, in their order.
const (
	ProgressVault        ProgressStep = "vault"         // the password's key, the encrypted database
	ProgressAccountKey   ProgressStep = "account_key"   // the account key and the user ID
	ProgressIdentityKey  ProgressStep = "identity_key"  // this device's identity key
	ProgressSignedPreKey ProgressStep = "signed_prekey" // signed prekey and KEM prekey of last resort
	ProgressOneTime      ProgressStep = "one_time"      // one-time prekeys of both kinds
	ProgressUpload       ProgressStep = "upload"        // the relay has the public parts
)

// Self is what an account knows of itself.
type Self struct {
	UserID      string `json:"user_id"`
	Username    string `json:"username"`
	DisplayName string `json:"display_name"`
	Server      string `json:"server"`
	Device      uint32 `json:"device"`
	Address     string `json:"address"` // user_id@host
	Link        string `json:"link"`    // https://host/add#user_id
}

// ContactState says how far two people know each other.
type ContactState string

// The states of a contact.
const (
	ContactRequested ContactState = "requested" // we asked
	ContactIncoming  ContactState = "incoming"  // they asked, or wrote first
	ContactAccepted  ContactState = "accepted"
	ContactBlocked   ContactState = "blocked"
)

// Presence is what a contact lets others know.
type Presence string

// The presences; the zero value is not known.
const (
	PresenceUnknown Presence = ""
	PresenceOnline  Presence = "online"
	PresenceAway    Presence = "away"
	PresenceBusy    Presence = "busy"
	PresenceOffline Presence = "offline"
)

// Contact is another account as it is known here.
type Contact struct {
	UserID      string       `json:"user_id"`
	Username    string       `json:"username"`
	DisplayName string       `json:"display_name"`
	State       ContactState `json:"state"`
	Verified    bool         `json:"verified"`
	KeyChanged  bool         `json:"key_changed"`
	Presence    Presence     `json:"presence"`
	LastSeen    *time.Time   `json:"last_seen"`
}

// Found is somebody who was looked up, a contact or not.
type Found struct {
	UserID   string   `json:"user_id"`  // a hash of the account key, and so its fingerprint
	Username string   `json:"username"` // by which the relay knows her, if it was asked; else ""
	Checked  bool     `json:"checked"`  // her keys are known, and belong to the user ID
	Contact  *Contact `json:"contact"`  // nil for a stranger
}

// MessageState is how far an outgoing message has come.
type MessageState string

// The states of a message.
const (
	StateQueued    MessageState = "queued"
	StateSent      MessageState = "sent"
	StateDelivered MessageState = "delivered"
	StateRead      MessageState = "read"
	StateFailed    MessageState = "failed"
	StateHeld      MessageState = "held"
)

// Kind says what an item of a conversation is.
type Kind string

// The kinds of items.
const (
	KindText          Kind = "text"
	KindRequest       Kind = "request"       // someone asks to be a contact
	KindAccepted      Kind = "accepted"      // a contact has accepted
	KindMissing       Kind = "missing"       // gap_before messages did not arrive; stands directly before the item that has the same gap_before
	KindUndecryptable Kind = "undecryptable" // a message that did not open
	KindKeyChange     Kind = "key_change"    // the username names another account now
)

// Item is one entry of a conversation.
type Item struct {
	ID         string       `json:"id"`
	Chat       string       `json:"chat"` // user ID of the contact
	From       string       `json:"from"` // user ID of the sender
	FromName   string       `json:"from_name"`
	Seq        uint64       `json:"seq"`
	Kind       Kind         `json:"kind"`
	Text       string       `json:"text"`
	SentAt     time.Time    `json:"sent_at"`
	ReceivedAt *time.Time   `json:"received_at"` // nil for our own
	GapBefore  uint64       `json:"gap_before"`  // messages of its sender missing directly before it; see KindMissing
	Request    bool         `json:"request"`
	Direction  Direction    `json:"-"`
	State      MessageState `json:"-"`
	Reason     string       `json:"-"` // why it did not open, of KindUndecryptable
	Late       bool         `json:"-"` // came after its gap had been shown
	Snippet    string       `json:"-"` // search only
	Arrival    int64        `json:"-"` // order of becoming visible, 1, 2, …; 0 for our own
}

// Direction says who sent an item.
type Direction string

// The directions.
const (
	DirectionIn  Direction = "in"
	DirectionOut Direction = "out"
)

// SendOptions are the optional parts of sending.
type SendOptions struct {
	// ClientID makes a retry harmless: the same ID with the same text and chat
	// returns the first message, with others it is an error ([ErrClientID]).
	ClientID string
}

// Sending is an accepted message and how far it has come.
type Sending struct {
	ID     string       `json:"id"`
	To     string       `json:"to"` // user ID
	State  MessageState `json:"state"`
	SentAt time.Time    `json:"sent_at"`
	Reason string       `json:"-"` // why it waits, see [ContactStatus]; "" for no special reason
}

// Safety is the safety number shared with a contact.
type Safety struct {
	Number     string `json:"number"` // 60 digits
	Code       string `json:"code"`   // for the other side to scan: text of a QR code, and what Verify takes there
	Verified   bool   `json:"verified"`
	KeyChanged bool   `json:"key_changed"`
}

// Offline is a kind of reason why there is no connection to the relay.
type Offline string

// The reasons.
const (
	OfflineNetwork     Offline = "network"     // no way leads from this computer to the relay
	OfflineSilent      Offline = "silent"      // the relay does not answer, or closed the connection
	OfflineCertificate Offline = "certificate" // its certificate is not valid
	OfflineForeign     Offline = "foreign"     // what answers at its address is no relay
	OfflineUnavailable Offline = "unavailable" // it answers that it cannot serve anybody at the moment
	OfflineRefused     Offline = "refused"     // it refuses us, for the reason that Status.Error says
)

// Status is the state of the engine.
type Status struct {
	Connected   bool `json:"connected"`
	Outbox      int  `json:"outbox"`       // messages not yet taken by the relay
	PrekeysLeft int  `json:"prekeys_left"` // one-time prekeys at the relay; -1 if never asked

	// Error says, while there is no connection, why the last attempt failed or what
	// ended it: one line for people. It is "" before the first attempt.
	Error string `json:"error,omitempty"`

	// Conflict is when it was noticed last, by the word of the relay, that somebody
	// else logged in with the keys of this profile, such as a copy of its folder; nil
	// if that never was.
	Conflict *time.Time `json:"conflict"`

	Offline Offline    `json:"-"` // the kind of thing that Error says; "" when that is
	NextTry *time.Time `json:"-"` // when the relay is tried again, while nobody does; else nil

	ClockAhead  time.Duration `json:"-"` // of the relay's clock to this computer's, to the second, when it last answered
	StorageFull bool          `json:"-"` // the disk is full: what comes stays at the relay
}

// ContactStatus is the state of the sessions with a contact.
type ContactStatus struct {
	Verified     bool   `json:"verified"`
	KeyChanged   bool   `json:"key_changed"`
	PQ           bool   `json:"pq"`      // a KEM secret entered the handshake
	Held         int    `json:"held"`    // messages that wait for a decision
	Missing      uint64 `json:"missing"` // messages that did not arrive
	Epoch        uint64 `json:"epoch"`   // the post-quantum ratchet's, under way; 0 without a session
	RatchetSteps uint32 `json:"ratchet_steps"`

	PQRatchet   *PQRatchet `json:"pq_ratchet"`   // nil without a session
	CompletedAt *time.Time `json:"completed_at"` // when its newest epoch was; nil if none was lately
	Reason      string     `json:"-"`            // why messages wait: a reason of the relay (no_prekeys, unknown_user, mailbox_full, …), key_mismatch or key_changed
}

// Chat is a conversation as a list of conversations shows it.
type Chat struct {
	Contact Contact    `json:"contact"`
	Draft   string     `json:"draft"`
	Unread  int        `json:"unread"`
	Last    *Item      `json:"last"`
	Dropped int        `json:"-"`
	DraftAt *time.Time `json:"draft_at"`
}

// EventKind says what an [Event] is about.
type EventKind string

// The kinds of events.
const (
	EventItem       EventKind = "item"       // an item became visible, or changed its state
	EventContact    EventKind = "contact"    // a contact was added, changed or removed
	EventConnection EventKind = "connection" // connected to the relay, or not any more, or a conflict was noticed
	EventProtocol   EventKind = "protocol"   // a protocol event for the inspector
	EventSettings   EventKind = "settings"   // a setting changed
	EventClosed     EventKind = "closed"     // the engine stops
	EventLagged     EventKind = "lagged"     // the subscriber was too slow: read the state anew
)

// Event tells a subscriber what has just been committed.
type Event struct {
	Kind     EventKind
	Item     *Item          // EventItem
	Contact  *Contact       // EventContact
	Removed  string         // EventContact: user ID of a removed contact
	Status   *Status        // EventConnection
	Protocol *ProtocolEvent // EventProtocol
	Setting  string         // EventSettings: its key
}
