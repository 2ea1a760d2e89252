package main

import (
	"context"
	"strings"
	"unicode"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/relay"
)

type contactsCmd struct {
	List   contactsListCmd   `cmd:"" help:"List all contacts."`
	Add    contactsAddCmd    `cmd:"" help:"Add a contact, and ask to be one."`
	Accept contactsAcceptCmd `cmd:"" help:"Accept a request, or unblock a contact."`
	Block  contactsBlockCmd  `cmd:"" help:"Block a contact."`
	Remove contactsRemoveCmd `cmd:"" help:"Remove a contact and the conversation."`
}

// who is the argument that names somebody.
type who struct {
	Who string `arg:"" help:"User ID, link, username or a contact's name."`
}

type contactsListCmd struct{}

func (*contactsListCmd) Run(ctx context.Context, e *env) error {
	return e.with(ctx, func(s *session) error {
		contacts, err := s.Contacts(ctx)
		if err != nil {
			return err
		}
		if e.json {
			for _, c := range contacts {
				if err := e.result(contactObject(c), ""); err != nil {
					return err
				}
			}
			return nil
		}
		if len(contacts) == 0 {
			e.note("No contacts yet. Add one with: %s contacts add WHO", e.program())
			return nil
		}
		var rows [][]string
		for _, c := range contacts {
			rows = append(rows, contactRow(c))
		}
		return e.result(nil, table(rows))
	})
}

func contactRow(c client.Contact) []string {
	notes := []string{string(c.State)}
	if c.Verified {
		notes = append(notes, "verified")
	}
	if c.KeyChanged {
		notes = append(notes, "KEY CHANGED")
	}
	switch {
	case c.Presence == client.PresenceOffline && c.LastSeen != nil:
		notes = append(notes, "last seen "+local(*c.LastSeen))
	case c.Presence != client.PresenceUnknown:
		notes = append(notes, string(c.Presence))
	}
	return []string{clean(contactName(c)), clean(c.Username), c.UserID, strings.Join(notes, ", ")}
}

func contactName(c client.Contact) string {
	switch {
	case c.DisplayName != "":
		return c.DisplayName
	case c.Username != "":
		return c.Username
	default:
		return shortID(c.UserID)
	}
}

// shortID is the beginning of a user ID, for where all of it would not fit.
func shortID(id string) string {
	if len(id) < 8 {
		return id
	}
	return id[:4] + " " + id[4:8] + " …"
}

// change runs a verb on one contact and prints what it is afterwards.
func (e *env) change(ctx context.Context, verb func(*session) (client.Contact, error)) error {
	return e.with(ctx, func(s *session) error {
		c, err := verb(s)
		if err != nil {
			return err
		}
		return e.result(contactObject(c), table([][]string{contactRow(c)}))
	})
}

type contactsAddCmd struct{ who }

func (c *contactsAddCmd) Run(ctx context.Context, e *env) error {
	return e.change(ctx, func(s *session) (client.Contact, error) {
		contact, err := s.AddContact(ctx, c.Who)
		if err == nil {
			err = e.warnOfOtherRelay(ctx, s, c.Who)
		}
		return contact, err
	})
}

// warnOfOtherRelay says so if a link names another relay than ours, or the same by
// another name.
func (e *env) warnOfOtherRelay(ctx context.Context, s *session, who string) error {
	link, err := account.ParseLink(who)
	if err != nil {
		return nil //nolint:nilerr // somebody may be named otherwise
	}
	self, err := s.Self(ctx)
	if err != nil {
		return err
	}
	theirs, err := relay.ParseOrigin(link.Server())
	if err != nil || theirs.URL() == self.Server {
		return nil //nolint:nilerr // a server that cannot be is nobody's
	}
	e.note("Warning: the link is of the relay %s, and your account is at %s. "+
		"If these are two relays, the request waits: people at different relays cannot write to each other yet.",
		clean(theirs.URL()), clean(self.Server))
	return nil
}

type contactsAcceptCmd struct{ who }

func (c *contactsAcceptCmd) Run(ctx context.Context, e *env) error {
	return e.change(ctx, func(s *session) (client.Contact, error) { return s.AcceptContact(ctx, c.Who) })
}

type contactsBlockCmd struct{ who }

func (c *contactsBlockCmd) Run(ctx context.Context, e *env) error {
	return e.change(ctx, func(s *session) (client.Contact, error) { return s.BlockContact(ctx, c.Who) })
}

type contactsRemoveCmd struct{ who }

func (c *contactsRemoveCmd) Run(ctx context.Context, e *env) error {
	return e.with(ctx, func(s *session) error {
		removed, err := s.RemoveContact(ctx, c.Who)
		if err != nil {
			return err
		}
		return e.result(contactObject(removed), clean(contactName(removed))+" and the conversation are removed.\n")
	})
}

type safetyCmd struct{ who }

func (c *safetyCmd) Run(ctx context.Context, e *env) error {
	return e.safety(ctx, c.Who, func(s *session) (client.Safety, error) { return s.Safety(ctx, c.Who) })
}

type verifyCmd struct {
	who
	Number []string `arg:"" help:"The 60 digits that the other side shows; spaces do not count. Or what its QR code says."`
}

func (c *verifyCmd) Run(ctx context.Context, e *env) error {
	return e.safety(ctx, c.Who, func(s *session) (client.Safety, error) {
		return s.Verify(ctx, c.Who, strings.Join(c.Number, " "))
	})
}

type acceptKeyCmd struct{ who }

func (c *acceptKeyCmd) Run(ctx context.Context, e *env) error {
	return e.safety(ctx, c.Who, func(s *session) (client.Safety, error) { return s.AcceptKey(ctx, c.Who) })
}

func (e *env) safety(ctx context.Context, who string, verb func(*session) (client.Safety, error)) error {
	return e.with(ctx, func(s *session) error {
		safety, err := verb(s)
		if err != nil {
			return err
		}
		return e.result(safety, safetyText(safety, e.program(), who))
	})
}

// safetyText writes the number as the other side sees it too, and what it is worth.
// who is how the contact was named.
func safetyText(s client.Safety, program, who string) string {
	who = retyped(who)
	number := digits(s.Number, 4) + "\n"
	switch {
	case s.KeyChanged:
		return number + "The username names another account now. Look closely before: " + program + " accept-key " + who + "\n"
	case s.Verified:
		return number + "Verified.\n"
	default:
		return number + "Not verified. Compare with the number on the other side, then: " + program + " verify " + who + " NUMBER\n"
	}
}

// retyped is what somebody typed for a contact, to be typed again; WHO if a shell would
// take it for more than a word.
func retyped(who string) string {
	plain := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-@.", r) }
	if strings.ContainsFunc(who, func(r rune) bool { return !plain(r) }) {
		return "WHO"
	}
	return who
}

// digits writes a safety number in groups of five, so many in a line.
func digits(number string, perLine int) string {
	var b strings.Builder
	for i := range len(number) {
		switch {
		case i == 0:
		case i%(5*perLine) == 0:
			b.WriteByte('\n')
		case i%5 == 0:
			b.WriteByte(' ')
		}
		b.WriteByte(number[i])
	}
	return b.String()
}

// reasonText says why a message waits.
func reasonText(reason string) string {
	switch reason {
	case "":
		return ""
	case "no_prekeys":
		return "the contact was away for long: it leaves when she is back"
	case "unknown_user":
		return "the relay does not know this user"
	case "mailbox_full":
		return "the contact's mailbox is full"
	case "key_mismatch":
		return "the relay gives keys that are not the contact's"
	case "key_changed":
		return "the username names another account now: chate2e safety WHO"
	default:
		return strings.ReplaceAll(clean(reason), "_", " ")
	}
}
