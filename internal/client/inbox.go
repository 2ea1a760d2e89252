package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal/curve"
	"github.com/chate2e/chate2e/signal/pqxdh"
	"github.com/chate2e/chate2e/signal/session"
)

// inboxBatch is how many envelopes are processed in one transaction.
const inboxBatch = 64

// receive processes envelopes in one transaction. When it returns nil they are
// stored and may be acknowledged. It returns errors of the vault alone; whatever is
// wrong with an envelope is an outcome.
func (c *Client) receive(ctx context.Context, envelopes []relay.Incoming) error {
	return c.update(ctx, func(tx *vault.Tx, ch *change) error {
		in := &inbox{c: c, tx: tx, ch: ch, records: map[vault.Address]*opened{}, lists: map[string]account.Seen{}}
		for _, envelope := range envelopes {
			if err := in.receive(envelope); err != nil {
				return err
			}
		}
		return in.store("")
	})
}

// inbox is one transaction's receiving. Its methods return errors of the vault
// alone, which undo the whole transaction; what they refuse they refuse before
// they have changed anything.
type inbox struct {
	c       *Client
	tx      *vault.Tx
	ch      *change
	records map[vault.Address]*opened // loaded in this transaction
	lists   map[string]account.Seen   // newest device lists, likewise
}

// opened is a loaded record, and whether it has moved.
type opened struct {
	record *session.Record
	moved  bool
}

// record returns the record of a device, loaded once in a transaction.
func (in *inbox) record(device vault.Address) (*opened, error) {
	if o := in.records[device]; o != nil {
		return o, nil
	}
	record, err := loadRecord(in.tx, in.c.me.identity, device)
	if err != nil {
		return nil, err
	}
	o := &opened{record: record}
	in.records[device] = o
	return o, nil
}

// store writes the records of one account that have moved, of all with user "",
// and forgets them.
func (in *inbox) store(user string) error {
	for device, o := range in.records {
		if user != "" && device.User != user {
			continue
		}
		delete(in.records, device)
		if !o.moved {
			continue
		}
		if err := in.tx.PutRecord(device, o.record.Append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// list returns what is known of the newest device list of an account.
func (in *inbox) list(user string) (account.Seen, error) {
	if seen, loaded := in.lists[user]; loaded {
		return seen, nil
	}
	seen, err := seenList(in.tx, user)
	if err == nil {
		in.lists[user] = seen
	}
	return seen, err
}

// loadRecord returns the stored record of a device, or a new one.
func loadRecord(tx *vault.Tx, us *pqxdh.Identity, device vault.Address) (*session.Record, error) {
	stored, err := tx.Record(device)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return session.New(suite, us.Address, sessionAddress(device))
	}
	record, err := session.ParseRecord(stored)
	if err != nil {
		return nil, fail(CodeDamaged, err, "a session in the profile is damaged")
	}
	return record, nil
}

// receive processes one envelope.
func (in *inbox) receive(envelope relay.Incoming) error {
	if envelope.Kind != relay.KindMessage {
		// The relay says that it has dropped something of ours. That is its word
		// alone, and the outbox has forgotten which ciphertext it was.
		in.c.log.Info("the relay reports an expired envelope")
		return nil
	}
	seen, err := in.tx.Seen(envelope.Body)
	if err != nil || seen {
		return err
	}
	from := vaultAddress(envelope.From)
	welcome, err := in.welcome(from)
	if err != nil {
		return err
	}
	if welcome {
		if err := in.open(from, envelope.Body); err != nil {
			return err
		}
	}
	return in.tx.MarkSeen(envelope.Body)
}

// welcome reports whether something from this sender is looked at. What strangers
// send is bounded, and what those send who are blocked is dropped: without opening
// it, so that it costs nothing and leaves a gap if they are accepted later.
func (in *inbox) welcome(from vault.Address) (bool, error) {
	if from.User == in.c.me.id() {
		return false, nil // there are no other devices of ours yet
	}
	contact, err := in.tx.Contact(from.User)
	switch {
	case errors.Is(err, vault.ErrNotFound):
		waiting, err := in.tx.CountContacts(vault.Incoming)
		if err != nil || waiting < maxRequests {
			return err == nil, err
		}
		_, err = in.tx.AddToCounter(droppedRequests, 1)
		return false, err
	case err != nil:
		return false, err
	case contact.State == vault.Blocked:
		return false, nil
	case contact.State == vault.Incoming:
		stored, err := in.tx.CountMessages(contact.Chat)
		if err != nil || stored < maxRequestMessages {
			return err == nil, err
		}
		_, err = in.tx.AddToCounter(droppedFrom(contact.User), 1)
		in.ch.contact(contact.User)
		return false, err
	default:
		return true, nil
	}
}

// droppedRequests counts what was dropped of strangers who had no place left.
const droppedRequests = "dropped requests"

// droppedFrom names the counter of what was dropped of one who waits to be
// accepted.
func droppedFrom(user string) string { return "dropped " + user }

// opening is one message on its way from ciphertext to conversation.
type opening struct {
	from    vault.Address
	sealed  *session.Message
	opened  session.Opened
	list    *account.SignedDeviceList // that came along, verified
	content content.Content
	message content.Message
	hash    content.Hash
}

// open decrypts one ciphertext and applies what it says, or refuses it.
func (in *inbox) open(from vault.Address, ciphertext []byte) error {
	o := &opening{from: from}
	var err error
	if o.sealed, err = session.Parse(ciphertext); err != nil {
		return in.refuse(o, ciphertext, reasonMalformed, session.Trace{})
	}
	rec, err := in.record(from)
	if err != nil {
		return err
	}
	var before []byte // with a handshake, which may be refused after it was opened
	if o.sealed.Handshake() != nil {
		before = rec.record.Append(nil)
	} else if reason, err := in.listed(from, rec.record); err != nil {
		return err
	} else if reason != "" {
		return in.refuse(o, ciphertext, reason, session.Trace{})
	}
	// A handshake that is repeated until we answer needs no prekeys any more.
	o.opened, err = rec.record.Decrypt(o.sealed, in.c.me.identity, pqxdh.PreKeys{}, in.tx.Now)
	if errors.Is(err, pqxdh.ErrPreKey) {
		own, err := in.preKeys(o.sealed.Handshake())
		if err != nil {
			return err
		}
		o.opened, err = rec.record.Decrypt(o.sealed, in.c.me.identity, own, in.tx.Now)
		if errors.Is(err, pqxdh.ErrPreKey) {
			if err := in.renew(from.User); err != nil {
				return err
			}
		}
		if err != nil {
			return in.refuse(o, ciphertext, reasonOf(err), o.opened.Trace)
		}
	} else if err != nil {
		return in.refuse(o, ciphertext, reasonOf(err), o.opened.Trace)
	}
	reason := o.read()
	if before != nil && reason == "" {
		if reason, err = in.authenticate(o); err != nil {
			return err
		}
	}
	switch {
	case reason != "" && before != nil:
		// Nothing is believed of it: it has not opened.
		if rec.record, err = session.ParseRecord(before); err != nil {
			return fail(CodeInternal, err, "a session could not be restored")
		}
		return in.refuse(o, ciphertext, reason, session.Trace{})
	case reason != "":
		// The ratchet has moved, whatever the content is worth.
		rec.moved = true
		return in.refuse(o, ciphertext, reason, o.opened.Trace)
	default:
		rec.moved = true
		return in.apply(o, ciphertext)
	}
}

// renewalEvery bounds how often a contact is answered who uses prekeys that are
// gone: the message that did so may be anybody's.
const renewalEvery = 6 * time.Hour

func counterRenewal(user string) string { return "renewal " + user }

// renew answers an accepted contact who has begun a session with prekeys that are
// gone. All that she sends in it is lost on us, and she does not know. The answer
// travels in the session that is in use here: when she opens it, that one comes into
// use there as well. Nothing is reset for a message that proves nothing.
func (in *inbox) renew(user string) error {
	contact, err := in.tx.Contact(user)
	if err != nil || contact.State != vault.Accepted {
		return ignoreNotFound(err)
	}
	last, err := storedTime(in.tx, counterRenewal(user))
	if err != nil || in.tx.Now.Sub(last) < renewalEvery {
		return err
	}
	if err := storeCounter(in.tx, counterRenewal(user), in.tx.Now.Unix()); err != nil {
		return err
	}
	return in.c.whisper(in.tx, in.ch, contact, content.Renewal{})
}

// listed returns why messages of an existing session with a device are not
// believed, or "".
func (in *inbox) listed(device vault.Address, record *session.Record) (reason string, err error) {
	identity, known := record.Identity()
	if !known {
		return "", nil // no session: Decrypt says so
	}
	return in.checkIdentity(device, identity)
}

// preKeys loads our prekeys that a handshake names.
func (in *inbox) preKeys(h *pqxdh.Header) (pqxdh.PreKeys, error) {
	var own pqxdh.PreKeys
	refs := []vault.PreKeyRef{{Kind: vault.SignedPreKey, ID: uint64(h.SignedPreKeyID)}}
	if h.KEMPreKeyID != nil {
		refs = append(refs,
			vault.PreKeyRef{Kind: vault.KEMOneTimePreKey, ID: uint64(*h.KEMPreKeyID)},
			vault.PreKeyRef{Kind: vault.KEMLastResort, ID: uint64(*h.KEMPreKeyID)})
	}
	if h.OneTimePreKeyID != nil {
		refs = append(refs, vault.PreKeyRef{Kind: vault.OneTimePreKey, ID: uint64(*h.OneTimePreKeyID)})
	}
	stored, err := in.tx.PreKeys(refs...)
	if err != nil {
		return own, err
	}
	for _, k := range stored {
		if err := parsePreKey(k, &own); err != nil {
			return pqxdh.PreKeys{}, fail(CodeDamaged, err, "a prekey in the profile is damaged")
		}
	}
	return own, nil
}

// read parses the content of a message that has opened, and returns why it cannot
// be used, or "".
func (o *opening) read() (reason string) {
	var err error
	if o.content, err = content.Parse(o.opened.Plaintext); err != nil {
		return reasonContent
	}
	if o.message, err = content.ParseMessage(o.content.Message); err != nil {
		return reasonContent
	}
	o.hash = content.HashMessage(o.content.Message)
	return ""
}

// authenticate finds out whether the identity key of a handshake is the sender's:
// it must be on her newest device list, which comes along and is verified. Then it
// stores what the handshake has consumed; with a reason it has changed nothing.
func (in *inbox) authenticate(o *opening) (reason string, err error) {
	reason, err = in.verify(o)
	if err != nil || reason != "" {
		return reason, err
	}
	if use := o.opened.Used.KEMLastResort; use != nil {
		// The memory goes with the prekey; that another signed prekey was used with
		// the same base key makes it no less a replay.
		switch err := in.tx.NoteLastResort(uint64(use.KEMPreKey), use.BaseKey[:]); {
		case errors.Is(err, vault.ErrDuplicate):
			return reasonReplay, nil
		case err != nil:
			return "", err
		}
	}
	return "", in.consume(o.opened.Used)
}

// verify checks the device list that came with a handshake, and the identity key
// against it.
func (in *inbox) verify(o *opening) (reason string, err error) {
	seen, err := in.list(o.from.User)
	if err != nil {
		return "", err
	}
	if seen.Version > 0 && sha256.Sum256(o.content.DeviceList) == seen.Hash {
		return in.checkIdentity(o.from, o.opened.IdentityKey) // the very list that was verified before
	}
	user, err := parseUserID(o.from.User)
	if err != nil {
		return "", err
	}
	unverified, err := account.ParseDeviceList(o.content.DeviceList)
	if err != nil {
		return reasonMismatch, nil
	}
	list, err := unverified.Verify(user, seen)
	switch {
	case errors.Is(err, account.ErrRollback):
		// An older message, overtaken by a newer one: the newer list counts.
		return in.checkIdentity(o.from, o.opened.IdentityKey)
	case errors.Is(err, account.ErrFork):
		return reasonFork, nil
	case err != nil:
		return reasonMismatch, nil
	}
	if list.Check(account.DeviceNumber(o.from.Device), o.opened.IdentityKey) != nil { //nolint:gosec // at most 127
		return reasonMismatch, nil
	}
	o.list = list
	return "", nil
}

// checkIdentity returns why a device with this identity key is not believed, or
// "": it must be on the newest device list.
func (in *inbox) checkIdentity(device vault.Address, identity curve.PublicKey) (reason string, err error) {
	switch err := in.tx.CheckIdentity(device, identity[:]); {
	case errors.Is(err, vault.ErrNotFound), errors.Is(err, vault.ErrConflict):
		return reasonMismatch, nil
	default:
		return "", err
	}
}

// consume erases the one-time prekeys that a handshake has used.
func (in *inbox) consume(used pqxdh.Used) error {
	var refs []vault.PreKeyRef
	if used.OneTime != nil {
		refs = append(refs, vault.PreKeyRef{Kind: vault.OneTimePreKey, ID: uint64(*used.OneTime)})
	}
	if used.KEMOneTime != nil {
		refs = append(refs, vault.PreKeyRef{Kind: vault.KEMOneTimePreKey, ID: uint64(*used.KEMOneTime)})
	}
	if len(refs) > 0 || used.KEMLastResort != nil {
		in.ch.upkeep = true
	}
	return in.tx.DeletePreKeys(refs...)
}

// apply stores what an authentic message says.
func (in *inbox) apply(o *opening, ciphertext []byte) error {
	contact, err := in.sender(o)
	if err != nil {
		return err
	}
	if o.list != nil {
		// A new list erases the records of devices that are not on it any more: none
		// of them may come back from memory.
		if err := in.store(contact.User); err != nil {
			return err
		}
		if err := believe(in.tx, in.ch, o.list); err != nil {
			return err
		}
		delete(in.lists, contact.User)
		if contact, err = in.tx.Contact(contact.User); err != nil {
			return err
		}
	}
	if err := in.compareLists(o); err != nil {
		return err
	}
	id := vault.MessageID(o.message.ID)
	seen, err := in.tx.SeenMessage(id)
	if err != nil {
		return err
	}
	var item vault.MessageID
	if o.message.Seq > 0 {
		item = id
	}
	in.ch.note(in.tx.Now, o.from, o.opened.Trace, item)
	if seen {
		return nil // the same message in another ciphertext
	}
	contact, answer, err := in.effect(contact, o.message.Body)
	if err != nil {
		return err
	}
	if err := in.show(contact, o, ciphertext); err != nil || answer == nil {
		return err
	}
	return answer()
}

// sender returns the contact who has sent a message, made now for a stranger.
func (in *inbox) sender(o *opening) (vault.Contact, error) {
	contact, err := in.tx.Contact(o.from.User)
	if !errors.Is(err, vault.ErrNotFound) {
		return contact, err
	}
	in.ch.contact(o.from.User)
	return in.tx.PutContact(vault.Contact{User: o.from.User, State: vault.Incoming})
}

// effect is what a body changes beside the conversation, and the answer that is to
// be queued after it was stored.
func (in *inbox) effect(contact vault.Contact, body content.Body) (vault.Contact, func() error, error) {
	before := contact
	accept := func() error {
		_, err := in.c.accept(in.tx, in.ch, contact)
		return err
	}
	var answer func() error
	switch body := body.(type) {
	case content.Request:
		learn(&contact, body.Profile)
		if contact.State == vault.Requested || contact.State == vault.Accepted {
			answer = accept // we have asked, too; or she has forgotten that we did
		}
	case content.Accept:
		learn(&contact, body.Profile)
		contact.TopicIn = vault.Topic{ID: body.Topic.ID[:], Key: bytes.Clone(body.Topic.Key.Bytes())}
		if contact.State == vault.Requested || contact.State == vault.Accepted {
			contact.State = vault.Accepted
			topic := ownTopic(&contact)
			answer = func() error { return in.c.whisper(in.tx, in.ch, contact, content.Offer{Topic: topic}) }
		}
	case content.Offer:
		contact.TopicIn = vault.Topic{ID: body.ID[:], Key: bytes.Clone(body.Key.Bytes())}
	default:
	}
	if contact.State == vault.Incoming {
		automatic, err := setting(in.tx, SettingAutoAccept)
		if err != nil {
			return contact, nil, err
		}
		if automatic == "on" {
			contact.State = vault.Accepted
			answer = accept
		}
	}
	if sameContact(before, contact) {
		return contact, answer, nil
	}
	in.ch.contact(contact.User)
	in.ch.presence = true
	if contact.Username != before.Username {
		in.ch.upkeep = true // the directory may know better
	}
	contact, err := in.tx.PutContact(contact)
	return contact, answer, err
}

// learn takes over what a contact says of herself. A username that the relay has
// resolved for us is not hers to change.
func learn(contact *vault.Contact, p content.Profile) {
	if username, err := account.ParseUsername(p.Username); err == nil && !contact.ByUsername {
		contact.Username = username
	}
	if p.DisplayName != "" {
		contact.DisplayName = p.DisplayName
	}
	if p.Relay != "" && contact.Relay == "" {
		contact.Relay = p.Relay
	}
}

func sameContact(a, b vault.Contact) bool {
	return a.State == b.State && a.Username == b.Username && a.DisplayName == b.DisplayName && a.Relay == b.Relay &&
		bytes.Equal(a.TopicIn.ID, b.TopicIn.ID) && bytes.Equal(a.TopicIn.Key, b.TopicIn.Key) &&
		bytes.Equal(a.TopicOut.ID, b.TopicOut.ID)
}

// show stores a numbered message as an item of the conversation.
func (in *inbox) show(contact vault.Contact, o *opening, ciphertext []byte) error {
	id := vault.MessageID(o.message.ID)
	if o.message.Seq == 0 {
		return in.tx.MarkSeenMessage(id)
	}
	row := vault.Message{
		ID: id, Chat: contact.Chat, From: o.from, Seq: o.message.Seq,
		Detail: o.hash[:], SentAt: o.message.SentAt,
		Unread: true, Request: contact.State == vault.Incoming,
	}
	if o.message.Prev != (content.Hash{}) {
		row.Prev = o.message.Prev[:]
	}
	switch body := o.message.Body.(type) {
	case content.Text:
		row.Kind, row.Text = string(KindText), body.Text
	case content.Request:
		row.Kind = string(KindRequest)
		row.Unread = row.Request // one that was accepted by itself asks for nothing
	case content.Accept:
		row.Kind, row.Unread = string(KindAccepted), false
	default:
		// Its number is taken, and its bytes wait for a version that knows them.
		row.Kind, row.Detail = string(KindUndecryptable), undecryptable(reasonUnknown, o.content.Message)
	}
	in.ch.gaps = true
	_, err := in.tx.AddMessage(row)
	switch {
	case errors.Is(err, vault.ErrDuplicate):
		return nil
	case errors.Is(err, vault.ErrConflict):
		return in.line(contact, o.from, ciphertext, reasonNumber) // two messages have one number: a copy of her device
	default:
		return err
	}
}

// compareLists compares what the sender says of device lists with what is known
// here: a list that was withheld from one side or forked shows.
func (in *inbox) compareLists(o *opening) error {
	known, err := in.list(o.from.User)
	if err != nil {
		return err
	}
	own, err := in.list(in.c.me.id())
	if err != nil {
		return err
	}
	theirs, ours := o.content.OwnList, o.content.PeerList
	switch {
	case theirs.Version == known.Version && theirs.Hash != content.Hash(known.Hash),
		ours.Version == own.Version && ours.Hash != content.Hash(own.Hash), ours.Version > own.Version:
		if in.c.outdated.add(o.from.User, forked) {
			in.c.log.Warn("two device lists have the same version, or one was made up")
			in.ch.noteRefused(in.tx.Now, o.from, reasonFork)
		}
	case theirs.Version > known.Version:
		// The relay is asked for what it has not shown.
		in.ch.upkeep = in.c.outdated.add(o.from.User, withheld) || in.ch.upkeep
	}
	return nil
}

// refuse keeps a ciphertext that did not open, or was not believed.
func (in *inbox) refuse(o *opening, ciphertext []byte, reason string, trace session.Trace) error {
	contact, err := in.tx.Contact(o.from.User)
	if errors.Is(err, vault.ErrNotFound) {
		return in.tx.KeepUndecryptable(o.from, ciphertext) // nobody knows whose it is
	}
	if err != nil {
		return err
	}
	if trace.Steps != nil {
		in.ch.note(in.tx.Now, o.from, trace, vault.MessageID{})
	} else {
		in.ch.noteRefused(in.tx.Now, o.from, reason)
	}
	return in.line(contact, o.from, ciphertext, reason)
}

// line keeps a ciphertext and shows one line for it, unless one like it is the
// newest thing shown already.
func (in *inbox) line(contact vault.Contact, from vault.Address, ciphertext []byte, reason string) error {
	if err := in.tx.KeepUndecryptable(from, ciphertext); err != nil {
		return err
	}
	newest, err := in.tx.Newest(contact.Chat, 1)
	if err != nil {
		return err
	}
	if len(newest) > 0 && newest[0].Kind == string(KindUndecryptable) && parseUndecryptable(newest[0].Detail) == reason {
		return nil
	}
	_, err = in.tx.AddMessage(vault.Message{
		Chat: contact.Chat, Kind: string(KindUndecryptable), Detail: undecryptable(reason, nil),
		Unread: true, Request: contact.State == vault.Incoming,
	})
	return err
}

// Reasons why a message did not open or was not believed, beside those of the
// library (see trace.go).
const (
	reasonMalformed = "malformed" // not a message
	reasonContent   = "content"   // it opened, and is no content
	reasonUnknown   = "unknown"   // of a kind that a later version knows
	reasonNumber    = "number"    // its number was used before: the sender's device may have been copied
	reasonFork      = "fork"      // two device lists of one version
)

// undecryptable encodes why a message is shown as undecryptable, and its bytes if
// they are worth something.
func undecryptable(reason string, kept []byte) []byte {
	b := append([]byte(reason), 0)
	return append(b, kept...)
}

func parseUndecryptable(detail []byte) string {
	reason, _, _ := bytes.Cut(detail, []byte{0})
	return string(reason)
}
