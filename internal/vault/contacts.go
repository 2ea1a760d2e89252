package vault

import (
	"errors"
	"time"
)

// ContactState says how far two people know each other.
type ContactState string

// The states.
const (
	Requested ContactState = "requested" // we asked
	Incoming  ContactState = "incoming"  // they asked, or wrote first
	Accepted  ContactState = "accepted"
	Blocked   ContactState = "blocked"
)

// Contact is another account, with its conversation.
type Contact struct {
	User        string // user ID
	AccountKey  []byte // public; nil until a bundle or first message brought it
	Username    string
	DisplayName string
	Relay       string // URL of the contact's relay; "" for ours
	State       ContactState
	ByUsername  bool   // added by a name that the relay resolved: trust on first use
	Verified    bool   // safety numbers were compared
	NewUser     string // whom the username names now, if not User: the contact's key changed

	TopicOut, TopicIn Topic
	LastSeen          time.Time
	AddedAt           time.Time

	Chat ChatID // set by the vault
}

// KeyChanged reports whether the username names another account now.
func (c Contact) KeyChanged() bool { return c.NewUser != "" }

// Topic is one direction of the presence channel between two contacts; both
// fields are nil while there is none.
type Topic struct{ ID, Key []byte }

// PutContact stores a contact or replaces the one with the same User, and
// returns it with its Chat, which it gets once and keeps.
func (tx *Tx) PutContact(c Contact) (Contact, error) {
	if c.AddedAt.IsZero() {
		c.AddedAt = tx.Now
	}
	var row int64
	err := tx.row(`
		INSERT INTO contacts (user_id, account_key, username, display_name, relay, state, by_username, verified,
			new_user_id, topic_out, topic_out_key, topic_in, topic_in_key, last_seen, added_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (user_id) DO UPDATE SET account_key = excluded.account_key, username = excluded.username,
			display_name = excluded.display_name, relay = excluded.relay, state = excluded.state,
			by_username = excluded.by_username, verified = excluded.verified, new_user_id = excluded.new_user_id,
			topic_out = excluded.topic_out, topic_out_key = excluded.topic_out_key,
			topic_in = excluded.topic_in, topic_in_key = excluded.topic_in_key,
			last_seen = excluded.last_seen, added_at = excluded.added_at
		RETURNING id`,
		args(c.User, c.AccountKey, c.Username, c.DisplayName, c.Relay, c.State, c.ByUsername, c.Verified,
			absent(c.NewUser), c.TopicOut.ID, c.TopicOut.Key, c.TopicIn.ID, c.TopicIn.Key,
			stamp(c.LastSeen), stamp(c.AddedAt)), &row)
	if err != nil {
		return Contact{}, err
	}
	if _, err := tx.exec(`INSERT INTO chats (contact) VALUES (?) ON CONFLICT DO NOTHING`, row); err != nil {
		return Contact{}, err
	}
	err = tx.row(`SELECT id FROM chats WHERE contact = ?`, args(row), &c.Chat)
	return c, err
}

const selectContact = `
	SELECT k.user_id, k.account_key, k.username, k.display_name, k.relay, k.state, k.by_username, k.verified,
		k.new_user_id, k.topic_out, k.topic_out_key, k.topic_in, k.topic_in_key, k.last_seen, k.added_at, c.id
	FROM contacts k JOIN chats c ON c.contact = k.id `

func scanContact(row scanner) (Contact, error) {
	var c Contact
	var newUser nullable[string]
	err := row.Scan(&c.User, &c.AccountKey, &c.Username, &c.DisplayName, &c.Relay, &c.State, &c.ByUsername, &c.Verified,
		&newUser, &c.TopicOut.ID, &c.TopicOut.Key, &c.TopicIn.ID, &c.TopicIn.Key,
		timestamp{&c.LastSeen}, timestamp{&c.AddedAt}, &c.Chat)
	c.NewUser = newUser.V
	return c, err
}

func (tx *Tx) contact(condition string, a ...any) (Contact, error) {
	found, err := list(tx, scanContact, selectContact+condition, a...)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Contact{}, err
	}
	return found[0], nil
}

// Contact returns the contact with a user ID, or [ErrNotFound].
func (tx *Tx) Contact(user string) (Contact, error) { return tx.contact(`WHERE k.user_id = ?`, user) }

// ContactOf returns the contact that a chat is with, or [ErrNotFound].
func (tx *Tx) ContactOf(chat ChatID) (Contact, error) { return tx.contact(`WHERE c.id = ?`, chat) }

// Contacts returns all contacts in the order they were added.
func (tx *Tx) Contacts() ([]Contact, error) {
	return list(tx, scanContact, selectContact+`ORDER BY k.id`)
}

// CountContacts returns how many contacts have a state.
func (tx *Tx) CountContacts(state ContactState) (int, error) {
	var n int
	err := tx.row(`SELECT count(*) FROM contacts WHERE state = ?`, args(state), &n)
	return n, err
}

// MoveContact makes a contact with all its history stand for another account,
// whose key the user has taken: unverified, without account key, topics and key
// change. Jobs that were not encrypted yet go to the new account and are released
// from holding. Those that were encrypted for the old one are given up, their
// messages [Failed]: nothing is encrypted anew by itself. The old account's
// sessions and devices are forgotten.
//
// [ErrNotFound]: there is no contact from. [ErrConflict]: to is a contact already.
func (tx *Tx) MoveContact(from, to string) error {
	if _, err := tx.Contact(from); err != nil {
		return err
	}
	if _, err := tx.Contact(to); err == nil {
		return ErrConflict
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	if _, err := tx.exec(`
		UPDATE contacts SET user_id = ?2, account_key = NULL, verified = 0, new_user_id = NULL,
			topic_out = NULL, topic_out_key = NULL, topic_in = NULL, topic_in_key = NULL
		WHERE user_id = ?1`, from, to); err != nil {
		return err
	}
	encrypted, err := list(tx, scanInt, `
		SELECT id FROM jobs WHERE peer = ? AND EXISTS (SELECT 1 FROM sealed WHERE job = jobs.id)`, from)
	if err != nil {
		return err
	}
	for _, job := range encrypted {
		if err := tx.FailJob(JobID(job)); err != nil {
			return err
		}
	}
	if err := tx.Release(from); err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE jobs SET peer = ?2 WHERE peer = ?1`, from, to); err != nil {
		return err
	}
	return tx.forgetAccount(from)
}

// DeleteContact erases a contact with its conversation, sessions and devices, or
// returns [ErrNotFound]. Only the counters of the conversation's numbers stay, so
// that they go on if the two meet again. See [Tx.DeleteMessages] for how
// thoroughly text is erased.
func (tx *Tx) DeleteContact(user string) error {
	c, err := tx.Contact(user)
	if err != nil {
		return err
	}
	if err := tx.ClearChat(c.Chat); err != nil {
		return err
	}
	for _, forget := range []string{
		`DELETE FROM jobs WHERE peer = ?`,
		`DELETE FROM undecryptable WHERE user_id = ?`,
		`DELETE FROM contacts WHERE user_id = ?`,
	} {
		if _, err := tx.exec(forget, user); err != nil {
			return err
		}
	}
	return tx.forgetAccount(user)
}

// forgetAccount erases sessions, devices and the outbox lane of an account.
func (tx *Tx) forgetAccount(user string) error {
	for _, forget := range []string{
		`DELETE FROM records WHERE user_id = ?`,
		`DELETE FROM device_lists WHERE user_id = ?`,
		`DELETE FROM devices WHERE user_id = ?`,
		`DELETE FROM lanes WHERE peer = ?`,
	} {
		if _, err := tx.exec(forget, user); err != nil {
			return err
		}
	}
	return nil
}

// Chat is a conversation as a list of conversations shows it.
type Chat struct {
	ID      ChatID
	Contact Contact
	Draft   string
	DraftAt time.Time // zero without a draft
	Unread  int
	Last    Message // the newest visible item; zero without any
}

// Chats returns all conversations, the one with the newest item first, those
// without items last.
func (tx *Tx) Chats() ([]Chat, error) {
	contacts, err := list(tx, scanContact, selectContact+`
		ORDER BY coalesce((SELECT m.place FROM messages m WHERE m.chat = c.id AND m.shown IS NOT NULL
			ORDER BY m.place DESC, m.seq DESC LIMIT 1), 0) DESC, c.id`)
	if err != nil {
		return nil, err
	}
	chats := make([]Chat, 0, len(contacts))
	for _, contact := range contacts {
		chat, err := tx.chat(contact)
		if err != nil {
			return nil, err
		}
		chats = append(chats, chat)
	}
	return chats, nil
}

// Chat returns one conversation, or [ErrNotFound].
func (tx *Tx) Chat(id ChatID) (Chat, error) {
	contact, err := tx.ContactOf(id)
	if err != nil {
		return Chat{}, err
	}
	return tx.chat(contact)
}

func (tx *Tx) chat(contact Contact) (Chat, error) {
	c := Chat{ID: contact.Chat, Contact: contact}
	err := tx.row(`
		SELECT draft, draft_at,
			(SELECT count(*) FROM messages m WHERE m.chat = chats.id AND m.unread = 1 AND m.shown IS NOT NULL)
		FROM chats WHERE id = ?`, args(c.ID), &c.Draft, timestamp{&c.DraftAt}, &c.Unread)
	if err != nil {
		return Chat{}, err
	}
	last, err := tx.Newest(c.ID, 1)
	if len(last) > 0 {
		c.Last = last[0]
	}
	return c, err
}

// SetDraft stores what the user has typed and not sent; "" removes it.
// [ErrNotFound] if there is no such chat.
func (tx *Tx) SetDraft(chat ChatID, text string) error {
	at := tx.Now
	if text == "" {
		at = time.Time{}
	}
	n, err := tx.exec(`UPDATE chats SET draft = ?, draft_at = ? WHERE id = ?`, text, stamp(at), chat)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
