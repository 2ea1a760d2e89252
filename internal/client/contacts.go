package client

import (
	"context"
	"errors"
	"strings"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/vault"
)

// Limits of what strangers can leave here (see [Client.AcceptContact]).
const (
	maxRequests        = 100 // contacts that wait to be accepted
	maxRequestMessages = 20  // of each of them
)

// maxWho is the longest way to name somebody, in bytes.
const maxWho = 512

// Contacts returns all contacts in the order they were added.
func (c *Client) Contacts(ctx context.Context) ([]Contact, error) {
	contacts := []Contact{}
	err := c.view(ctx, func(tx *vault.Tx) error {
		stored, err := tx.Contacts()
		for _, contact := range stored {
			contacts = append(contacts, c.contact(contact))
		}
		return err
	})
	return contacts, err
}

// Contact returns the contact that who names: a user ID, a link, an address, a
// username or a name. It returns [CodeNotFound], [CodeAmbiguous] or [CodeSelf].
func (c *Client) Contact(ctx context.Context, who string) (Contact, error) {
	var contact Contact
	err := c.view(ctx, func(tx *vault.Tx) error {
		found, err := c.find(tx, who)
		contact = c.contact(found)
		return err
	})
	if err != nil {
		return Contact{}, err
	}
	return contact, nil
}

// contact shows a contact as faces see it.
func (c *Client) contact(stored vault.Contact) Contact {
	contact := Contact{
		UserID: stored.User, Username: stored.Username, DisplayName: stored.DisplayName,
		State: ContactState(stored.State), Verified: stored.Verified, KeyChanged: stored.KeyChanged(),
		Presence: c.presence.of(stored),
	}
	if !stored.LastSeen.IsZero() && stored.State == vault.Accepted {
		contact.LastSeen = &stored.LastSeen
	}
	return contact
}

// person is what somebody may be named by.
type person struct {
	id    account.UserID // if hasID
	hasID bool
	relay string // URL, from a link
	name  string // else; of whoever, a username that the relay knows
}

// parseWho reads a user ID, a link, an address or a name.
func parseWho(who string) (person, error) {
	who = strings.TrimSpace(who)
	if who == "" || len(who) > maxWho {
		return person{}, fail(CodeUsage, nil, "whom do you mean? A user ID, a link, a username or a name")
	}
	if id, err := account.ParseUserID(who); err == nil {
		return person{id: id, hasID: true}, nil
	}
	if link, err := account.ParseLink(who); err == nil {
		return person{id: link.User, hasID: true, relay: link.Server()}, nil
	}
	if address, err := account.ParseAddress(who); err == nil {
		return person{id: address.User, hasID: true}, nil
	}
	return person{name: who}, nil
}

// find returns the contact that who names. Names that strangers have given
// themselves count.
func (c *Client) find(tx *vault.Tx, who string) (vault.Contact, error) {
	p, err := parseWho(who)
	if err != nil {
		return vault.Contact{}, err
	}
	return c.findAmong(tx, p, func(vault.Contact) bool { return true })
}

// findAmong looks among the contacts for which eligible is true.
func (c *Client) findAmong(tx *vault.Tx, p person, eligible func(vault.Contact) bool) (vault.Contact, error) {
	if p.hasID {
		if p.id == c.me.user {
			return vault.Contact{}, fail(CodeSelf, nil, "that is your own user ID")
		}
		contact, err := tx.Contact(p.id.String())
		return contact, notFound(err, "no contact has that user ID; to add its owner: contacts add "+p.id.String())
	}
	contacts, err := tx.Contacts()
	if err != nil {
		return vault.Contact{}, err
	}
	var found []vault.Contact
	name := content.CleanName(p.name)
	for _, contact := range contacts {
		named := contact.Username != "" && contact.Username == p.name ||
			contact.DisplayName != "" && strings.EqualFold(contact.DisplayName, name)
		if named && eligible(contact) {
			found = append(found, contact)
		}
	}
	switch {
	case len(found) > 1:
		return vault.Contact{}, fail(CodeAmbiguous, nil, "%d contacts have that name; use the user ID", len(found))
	case len(found) == 1:
		return found[0], nil
	case p.name == c.me.username:
		return vault.Contact{}, fail(CodeSelf, nil, "that is your own username")
	default:
		return vault.Contact{}, fail(CodeNotFound, nil, "no contact has the username or name %q; to add somebody: contacts add WHO", p.name)
	}
}

// whoever returns the user ID of somebody who need not be a contact: a username
// that no contact has is looked up at the relay. What strangers call themselves
// does not count, so that nobody can get between two people by a name.
func (c *Client) whoever(ctx context.Context, who string) (p person, err error) {
	if p, err = parseWho(who); err != nil {
		return p, err
	}
	var known vault.Contact
	err = c.view(ctx, func(tx *vault.Tx) (err error) {
		known, err = c.findAmong(tx, p, func(contact vault.Contact) bool { return contact.State != vault.Incoming })
		return err
	})
	switch {
	case err == nil:
		p.id, err = parseUserID(known.User)
		p.name = ""
		return p, err
	case !errors.Is(err, &Error{Code: CodeNotFound}):
		return p, err
	case p.hasID:
		return p, nil
	}
	username, err := account.ParseUsername(p.name)
	if err != nil {
		return p, fail(CodeNotFound, nil, "no contact has the name %q; and it is no user ID (32 characters out of a-z and 2-7), no link with one, and no username (3 to 24 out of a-z, 0-9 and _)", p.name)
	}
	id, err := c.relay.Username(ctx, relay.Username(username))
	if errors.Is(err, &relay.Error{Code: relay.CodeUnknownUsername}) {
		return p, fail(CodeNotFound, err, "no contact has the name %q, and nobody at the relay has it as a username", p.name)
	}
	if err != nil {
		return p, unreachable(ctx, err)
	}
	if p.id = account.UserID(id); p.id == c.me.user {
		return p, fail(CodeSelf, nil, "that is your own username")
	}
	return p, nil
}

// LookUp finds out who somebody is before she is added: nothing is stored, and she
// is not told. The keys that the relay has for a user ID are checked against it.
//
// It returns [CodeNotFound], also for an account that the relay does not have,
// [CodeAmbiguous], [CodeSelf] and [CodeKeyMismatch]; and [CodeUnreachable] or
// [CodeRefused] for a username that no contact has. Somebody named by ID is found
// without the relay's answer, unchecked.
func (c *Client) LookUp(ctx context.Context, who string) (Found, error) {
	p, err := c.whoever(ctx, who)
	if err != nil {
		return Found{}, err
	}
	if p.id == c.me.user {
		return Found{}, fail(CodeSelf, nil, "that is your own user ID")
	}
	found := Found{UserID: p.id.String(), Username: p.name}
	var seen account.Seen
	err = c.view(ctx, func(tx *vault.Tx) error {
		stored, err := tx.Contact(found.UserID)
		switch {
		case errors.Is(err, vault.ErrNotFound):
		case err != nil:
			return err
		default:
			known := c.contact(stored)
			found.Contact, found.Checked = &known, stored.AccountKey != nil
		}
		seen, err = seenList(tx, found.UserID)
		return err
	})
	if err != nil || found.Checked {
		return found, err
	}
	signed, err := c.relay.Devices(ctx, relay.UserID(p.id))
	switch {
	case err == nil:
		list, err := account.ParseDeviceList(signed)
		if err == nil {
			_, err = list.Verify(p.id, seen)
		}
		if err != nil {
			return Found{}, mismatch(err)
		}
		found.Checked = true
		return found, nil
	case ctx.Err() != nil:
		return Found{}, ctx.Err()
	case errors.Is(err, &relay.Error{Code: relay.CodeUnknownUser}):
		return Found{}, fail(CodeNotFound, err, "the relay knows nobody with that user ID")
	case p.name != "":
		return Found{}, unreachable(ctx, err)
	default:
		return found, nil // she can be added: the question waits in the outbox
	}
}

// AddContact asks somebody to be a contact: anybody with a user ID, or with a
// username at the relay, which is asked for it. A contact who has asked before is
// accepted; one who is known already is returned as she is.
//
// It returns [CodeNotFound], [CodeAmbiguous], [CodeSelf], [CodeBlocked], or
// [CodeUnreachable] for a username that no contact has.
func (c *Client) AddContact(ctx context.Context, who string) (Contact, error) {
	p, err := c.whoever(ctx, who)
	if err != nil {
		return Contact{}, err
	}
	return c.changeContact(ctx, p, c.befriend)
}

// changeContact runs change for the person in a transaction and returns the
// contact afterwards.
func (c *Client) changeContact(ctx context.Context, p person,
	do func(*vault.Tx, *change, person) (vault.Contact, error),
) (Contact, error) {
	var stored vault.Contact
	err := c.update(ctx, func(tx *vault.Tx, ch *change) (err error) {
		stored, err = do(tx, ch, p)
		return err
	})
	if err != nil {
		return Contact{}, err
	}
	return c.contact(stored), nil
}

// befriend makes sure that somebody is a contact who was asked or accepted.
func (c *Client) befriend(tx *vault.Tx, ch *change, p person) (vault.Contact, error) {
	if p.id == c.me.user {
		return vault.Contact{}, fail(CodeSelf, nil, "that is your own user ID")
	}
	contact, err := tx.Contact(p.id.String())
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return c.request(tx, ch, vault.Contact{User: p.id.String(), Username: p.name, ByUsername: p.name != "", Relay: p.relay})
	case err != nil:
		return vault.Contact{}, err
	case contact.State == vault.Blocked:
		return vault.Contact{}, fail(CodeBlocked, nil, "that contact is blocked; to unblock: contacts accept WHO")
	case contact.State == vault.Incoming:
		return c.accept(tx, ch, contact)
	case contact.Username == "" && p.name != "": // known by ID so far, and now by name
		contact.Username = p.name
		ch.contact(contact.User)
		return tx.PutContact(contact)
	default:
		return contact, nil
	}
}

// request stores a contact who is asked, and queues the question.
func (c *Client) request(tx *vault.Tx, ch *change, contact vault.Contact) (vault.Contact, error) {
	contact.State = vault.Requested
	contact, err := tx.PutContact(contact)
	if err != nil {
		return vault.Contact{}, err
	}
	ch.contact(contact.User)
	_, err = c.compose(tx, ch, contact, vault.Message{Kind: string(KindRequest)}, content.Request{Profile: c.me.profile()})
	return contact, err
}

// accept makes somebody an accepted contact, and queues saying so.
func (c *Client) accept(tx *vault.Tx, ch *change, contact vault.Contact) (vault.Contact, error) {
	contact.State = vault.Accepted
	topic := ownTopic(&contact)
	contact, err := tx.PutContact(contact)
	if err != nil {
		return vault.Contact{}, err
	}
	ch.contact(contact.User)
	ch.presence = true
	_, err = c.compose(tx, ch, contact, vault.Message{Kind: string(KindAccepted)},
		content.Accept{Profile: c.me.profile(), Topic: topic})
	return contact, err
}

// AcceptContact accepts somebody who has asked, or unblocks a contact. Until then
// she gets no answer of any kind. It returns [CodeNotFound] or [CodeAmbiguous]. A
// contact that was accepted, or was asked by us, is returned as it is.
func (c *Client) AcceptContact(ctx context.Context, who string) (Contact, error) {
	p, err := parseWho(who)
	if err != nil {
		return Contact{}, err
	}
	return c.changeContact(ctx, p, func(tx *vault.Tx, ch *change, p person) (vault.Contact, error) {
		contact, err := c.findAmong(tx, p, waits)
		if errors.Is(err, &Error{Code: CodeNotFound}) {
			return c.findAmong(tx, p, func(vault.Contact) bool { return true })
		}
		if err != nil {
			return vault.Contact{}, err
		}
		return c.accept(tx, ch, contact)
	})
}

// waits reports whether accepting a contact changes something.
func waits(contact vault.Contact) bool {
	return contact.State == vault.Incoming || contact.State == vault.Blocked
}

// BlockContact blocks somebody, a contact or not: what she sends is dropped, what
// was not yet sent to her is given up, and she is not told. Errors are those of
// [Client.AddContact].
func (c *Client) BlockContact(ctx context.Context, who string) (Contact, error) {
	var known vault.Contact
	err := c.view(ctx, func(tx *vault.Tx) (err error) {
		known, err = c.find(tx, who)
		return err
	})
	var p person
	switch {
	case err == nil:
		p.id, err = parseUserID(known.User)
	case errors.Is(err, &Error{Code: CodeNotFound}):
		p, err = c.whoever(ctx, who)
	}
	if err != nil {
		return Contact{}, err
	}
	return c.changeContact(ctx, p, func(tx *vault.Tx, ch *change, p person) (vault.Contact, error) {
		contact, err := tx.Contact(p.id.String())
		if errors.Is(err, vault.ErrNotFound) {
			contact, err = vault.Contact{User: p.id.String(), Username: p.name, ByUsername: p.name != ""}, nil
		}
		if err != nil {
			return vault.Contact{}, err
		}
		contact.State = vault.Blocked
		contact.TopicOut, contact.TopicIn = vault.Topic{}, vault.Topic{}
		if contact, err = tx.PutContact(contact); err != nil {
			return vault.Contact{}, err
		}
		ch.contact(contact.User)
		ch.presence = true
		jobs, err := tx.Jobs(contact.User, allJobs)
		if err != nil {
			return vault.Contact{}, err
		}
		for _, job := range jobs {
			if err := tx.FailJob(job.ID); err != nil {
				return vault.Contact{}, err
			}
			ch.message(job.Message)
		}
		return contact, nil
	})
}

// RemoveContact erases a contact with the whole conversation, and returns it as it
// was. She is not told; what she sends later is that of a stranger. It returns
// [CodeNotFound] or [CodeAmbiguous].
func (c *Client) RemoveContact(ctx context.Context, who string) (Contact, error) {
	p, err := parseWho(who)
	if err != nil {
		return Contact{}, err
	}
	return c.changeContact(ctx, p, func(tx *vault.Tx, ch *change, p person) (vault.Contact, error) {
		contact, err := c.findAmong(tx, p, func(vault.Contact) bool { return true })
		if err != nil {
			return vault.Contact{}, err
		}
		ch.removed = append(ch.removed, contact.User)
		ch.presence = true
		return contact, tx.DeleteContact(contact.User)
	})
}
