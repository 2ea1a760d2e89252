package localapi

import (
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// The bodies of requests and answers, beside those that are values of the engine.
// All fields of a request must be given, unless they say omitzero.

// Who names a contact, or somebody to become one: a user ID, a link, a username,
// or a contact's display name.
type Who struct {
	Who string `json:"who"`
}

// SendRequest asks to send a text.
type SendRequest struct {
	Who      string `json:"who"`
	Text     string `json:"text"`
	ClientID string `json:"client_id,omitzero"` // makes a retry harmless
	WaitMS   int    `json:"wait_ms,omitzero"`   // how long to wait until the message has left the queue; at most 600,000
}

// Sending says how far a message has come.
type Sending struct {
	client.Sending
	Reason string `json:"reason"` // why it waits
}

// TakeRequest asks for items that recv has not printed yet.
type TakeRequest struct {
	Limit int `json:"limit"` // 1 to 1,000
}

// ArrivalsRequest asks for items in the order in which they became visible.
type ArrivalsRequest struct {
	After int64 `json:"after"` // arrival of the last one that is known; 0 for none
	Limit int   `json:"limit"` // 1 to 1,000
}

// HistoryRequest asks for part of a conversation.
type HistoryRequest struct {
	Who    string `json:"who"`
	Before string `json:"before,omitzero"` // ID of an item; the newest if not given
	Limit  int    `json:"limit"`           // 1 to 1,000
}

// SearchRequest asks for items with the words of the query.
type SearchRequest struct {
	Query string `json:"query"`
	Limit int    `json:"limit"` // 1 to 1,000
}

// Item is an item of a conversation with everything that the engine knows of it.
type Item struct {
	client.Item
	Direction client.Direction    `json:"direction"`
	State     client.MessageState `json:"state"`
	Reason    string              `json:"reason"`  // why it did not open
	Late      bool                `json:"late"`    // came after its gap had been shown
	Snippet   string              `json:"snippet"` // of a search
	Arrival   int64               `json:"arrival"` // order of becoming visible; 0 for our own
}

// Items is a list of items.
type Items struct {
	Items []Item `json:"items"`
}

// Contacts is the list of contacts.
type Contacts struct {
	Contacts []client.Contact `json:"contacts"`
}

// Chat is a conversation as a list of conversations shows it.
type Chat struct {
	Contact client.Contact `json:"contact"`
	Draft   string         `json:"draft"`
	DraftAt *time.Time     `json:"draft_at"`
	Unread  int            `json:"unread"`
	Last    *Item          `json:"last"`
	Dropped int            `json:"dropped"` // messages of a request beyond those that are kept
}

// Chats is the list of conversations.
type Chats struct {
	Chats []Chat `json:"chats"`
}

// ReadRequest notes that a conversation was read.
type ReadRequest struct {
	Who  string `json:"who"`
	Upto string `json:"upto"` // ID of the last item that was seen
}

// DraftRequest keeps a text that was not sent yet.
type DraftRequest struct {
	Who  string `json:"who"`
	Text string `json:"text"` // empty: none
}

// VerifyRequest compares a safety number.
type VerifyRequest struct {
	Who    string `json:"who"`
	Number string `json:"number"` // 60 digits; spaces do not count; or the text of the other side's code
}

// Status is the state of the engine.
type Status struct {
	client.Status
	Offline     client.Offline `json:"offline,omitempty"` // why there is no connection: the kind of error
	NextTry     *time.Time     `json:"next_try"`          // when the relay is tried again; null while that happens, or need not
	ClockAheadS int            `json:"clock_ahead_s"`     // seconds by which the relay's clock was ahead of this computer's
	StorageFull bool           `json:"storage_full"`      // the disk is full: what comes stays at the relay
}

// ContactStatus is the state of the sessions with a contact.
type ContactStatus struct {
	client.ContactStatus
	Reason string `json:"reason"` // why messages wait
}

// ProtocolRequest asks for the newest protocol events.
type ProtocolRequest struct {
	Who   string `json:"who,omitzero"` // all contacts if not given
	Limit int    `json:"limit"`        // 1 to 1,000
}

// Protocol is a list of protocol events, oldest first.
type Protocol struct {
	Events []client.ProtocolEvent `json:"events"`
}

// Settings are the profile's settings.
type Settings struct {
	Settings map[string]string `json:"settings"`
}

// SettingRequest changes a setting.
type SettingRequest struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// PasswordRequest changes the profile's password.
type PasswordRequest struct {
	Current string `json:"current"`
	Next    string `json:"next"`
}

// DeleteRequest deletes the account.
type DeleteRequest struct {
	Password string `json:"password"`
}

// Done is the answer of a verb that has nothing to say.
type Done struct{}

// Event is one line of the event stream. Kind says which of the other fields is set.
type Event struct {
	Kind     client.EventKind      `json:"kind"`
	Item     *Item                 `json:"item,omitempty"`
	Contact  *client.Contact       `json:"contact,omitempty"`
	Removed  string                `json:"removed,omitempty"` // user ID of a contact that was removed
	Status   *Status               `json:"status,omitempty"`
	Protocol *client.ProtocolEvent `json:"protocol,omitempty"`
	Setting  string                `json:"setting,omitempty"` // the key of a setting that changed
}

// Failure is the body of every answer that is an error.
type Failure struct {
	Error ErrorBody `json:"error"`
}

// ErrorBody is an error for people and programs.
type ErrorBody struct {
	Code    client.Code `json:"code"`
	Message string      `json:"message"`
}

func wireItem(i client.Item) Item {
	return Item{
		Item: i, Direction: i.Direction, State: i.State,
		Reason: i.Reason, Late: i.Late, Snippet: i.Snippet, Arrival: i.Arrival,
	}
}

func wireItems(items []client.Item) Items {
	out := Items{Items: make([]Item, len(items))}
	for n, i := range items {
		out.Items[n] = wireItem(i)
	}
	return out
}

func wireStatus(s client.Status) Status {
	return Status{Status: s, Offline: s.Offline, NextTry: s.NextTry, ClockAheadS: int(s.ClockAhead / time.Second), StorageFull: s.StorageFull}
}

func wireSending(s client.Sending) Sending { return Sending{Sending: s, Reason: s.Reason} }

func wireChats(chats []client.Chat) Chats {
	out := Chats{Chats: make([]Chat, len(chats))}
	for n, c := range chats {
		out.Chats[n] = Chat{Contact: c.Contact, Draft: c.Draft, DraftAt: c.DraftAt, Unread: c.Unread, Dropped: c.Dropped}
		if c.Last != nil {
			last := wireItem(*c.Last)
			out.Chats[n].Last = &last
		}
	}
	return out
}

func wireEvent(e client.Event) Event {
	out := Event{
		Kind: e.Kind, Contact: e.Contact, Removed: e.Removed,
		Protocol: e.Protocol, Setting: e.Setting,
	}
	if e.Status != nil {
		status := wireStatus(*e.Status)
		out.Status = &status
	}
	if e.Item != nil {
		item := wireItem(*e.Item)
		out.Item = &item
	}
	return out
}
