package client

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/chate2e/chate2e/internal/content"
	"github.com/chate2e/chate2e/internal/vault"
	"github.com/chate2e/chate2e/signal/safety"
	"github.com/chate2e/chate2e/signal/session"
)

// Safety returns the safety number shared with a contact. It is over the two
// account keys and user IDs, so it stays the same as devices come and go. Before
// anything was exchanged the relay is asked for the contact's key, which is
// checked against the user ID.
//
// It returns [CodeNotFound], [CodeAmbiguous]; [CodeNoKey] if the key is not known
// yet and the relay does not answer, and [CodeKeyMismatch].
func (c *Client) Safety(ctx context.Context, who string) (Safety, error) {
	contact, err := c.withKey(ctx, who)
	if err != nil {
		return Safety{}, err
	}
	number, err := c.number(contact)
	if err != nil {
		return Safety{}, err
	}
	return Safety{
		Number: number.String(), Code: codeOf(number), Verified: contact.Verified, KeyChanged: contact.KeyChanged(),
	}, nil
}

// The text of a safety number's QR code is codePrefix and the number's scannable
// form in base32 without padding: both are of the characters that a code stores
// most densely, and no reader takes them for bytes in some character set.
const (
	codePrefix  = "CHATE2E:SAFETY:"
	maxCodeText = 256 // bytes
)

var codeEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

func codeOf(number *safety.Number) string {
	return codePrefix + codeEncoding.EncodeToString(number.Scannable())
}

// comparison returns how to compare what was read from the other screen: the 60
// digits, or the text of the code. It returns [CodeUsage] for what is neither.
func comparison(text string) (func(*safety.Number) (bool, error), error) {
	if encoded, ok := strings.CutPrefix(text, codePrefix); ok && len(text) <= maxCodeText {
		scanned, err := codeEncoding.DecodeString(encoded)
		if err != nil {
			return nil, fail(CodeUsage, err, "that is no safety number's code")
		}
		return func(ours *safety.Number) (bool, error) { return ours.Compare(scanned) }, nil
	}
	digits, err := safety.ParseNumber(text)
	if err != nil {
		return nil, fail(CodeUsage, err, "a safety number has 60 digits")
	}
	return func(ours *safety.Number) (bool, error) { return ours.Matches(digits) }, nil
}

// withKey returns a contact whose account key is known.
func (c *Client) withKey(ctx context.Context, who string) (vault.Contact, error) {
	find := func() (contact vault.Contact, err error) {
		err = c.view(ctx, func(tx *vault.Tx) (err error) {
			contact, err = c.find(tx, who)
			return err
		})
		return contact, err
	}
	contact, err := find()
	if err != nil || contact.AccountKey != nil {
		return contact, err
	}
	if err := c.fetchKey(ctx, contact.User); err != nil {
		return vault.Contact{}, err
	}
	return find()
}

// fetchKey asks the relay for the account key of somebody. It returns [CodeNoKey]
// or [CodeKeyMismatch].
func (c *Client) fetchKey(ctx context.Context, id string) error {
	user, err := parseUserID(id)
	if err != nil {
		return err
	}
	switch _, err := c.fetchDevices(ctx, user); {
	case errors.Is(err, &Error{Code: CodeKeyMismatch}):
		return err
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fail(CodeNoKey, err, "the contact's key is not known yet, and the relay did not give it")
	default:
		return nil
	}
}

// number computes the safety number shared with a contact. Each party's identifier
// is its user ID with the other one's behind it: a user ID follows from its account
// key, so that both halves of the number change when either key does, and whoever
// compares a few groups only compares both keys.
func (c *Client) number(contact vault.Contact) (*safety.Number, error) {
	us, them := c.me.id(), contact.User
	number, err := safety.New(
		safety.Party{ID: []byte(us + them), Key: c.me.accountKey[:]},
		safety.Party{ID: []byte(them + us), Key: contact.AccountKey},
		safety.Config{})
	if err != nil {
		return nil, fail(CodeInternal, err, "the safety number could not be computed")
	}
	return number, nil
}

// Verify marks a contact as verified if number is the safety number shared with
// her: 60 digits, spaces allowed, or the text of the QR code that her screen shows,
// [Safety.Code]. It returns [CodeUsage] for something that is neither; [CodeMismatch] for another one, or if the contact's username
// names another account now; and the errors of [Client.Safety].
func (c *Client) Verify(ctx context.Context, who, number string) (Safety, error) {
	compare, err := comparison(number)
	if err != nil {
		return Safety{}, err
	}
	known, err := c.withKey(ctx, who)
	if err != nil {
		return Safety{}, err
	}
	var s Safety
	err = c.update(ctx, func(tx *vault.Tx, ch *change) error {
		contact, err := tx.Contact(known.User)
		if err != nil {
			return notFound(err, "the contact is gone")
		}
		if contact.KeyChanged() {
			return fail(CodeMismatch, nil, "the contact's username names another account now; decide about that first")
		}
		ours, err := c.number(contact)
		if err != nil {
			return err
		}
		equal, err := compare(ours)
		switch {
		case errors.Is(err, safety.ErrVersion):
			return fail(CodeUsage, err, "the code is of another version of the program; compare the digits")
		case err != nil:
			return fail(CodeUsage, err, "that is no safety number's code")
		case !equal:
			return fail(CodeMismatch, nil, "that is not the safety number shared with this contact; do not send secrets")
		}
		contact.Verified = true
		ch.contact(contact.User)
		s = Safety{Number: ours.String(), Code: codeOf(ours), Verified: true}
		_, err = tx.PutContact(contact)
		return err
	})
	return s, err
}

// AcceptKey makes a contact stand for the account that her username names now. She
// is not verified then, and is asked to be a contact again, unless she has asked
// already. Texts that were held, or were not encrypted yet, are sent to the new
// account; those that were encrypted for the old one are given up.
//
// The relay is asked for the new account first: it returns [CodeNoKey] or
// [CodeKeyMismatch], and nothing has changed then. For a contact whose key has not
// changed it is [Client.Safety].
func (c *Client) AcceptKey(ctx context.Context, who string) (Safety, error) {
	var old vault.Contact
	err := c.view(ctx, func(tx *vault.Tx) (err error) {
		old, err = c.findChanged(tx, who)
		return err
	})
	if err != nil {
		return Safety{}, err
	}
	if !old.KeyChanged() {
		return c.Safety(ctx, old.User)
	}
	if err := c.fetchKey(ctx, old.NewUser); err != nil {
		return Safety{}, err
	}
	err = c.update(ctx, func(tx *vault.Tx, ch *change) error {
		contact, err := tx.Contact(old.User)
		if err != nil {
			return notFound(err, "the contact is gone")
		}
		if contact.NewUser != old.NewUser {
			return fail(CodeKeyMismatch, nil, "the username names yet another account now; look again")
		}
		return c.moveContact(tx, ch, contact)
	})
	if err != nil {
		return Safety{}, err
	}
	return c.Safety(ctx, old.NewUser)
}

// findChanged returns the contact that who names, rather one whose key has
// changed.
func (c *Client) findChanged(tx *vault.Tx, who string) (vault.Contact, error) {
	p, err := parseWho(who)
	if err != nil {
		return vault.Contact{}, err
	}
	contact, err := c.findAmong(tx, p, vault.Contact.KeyChanged)
	if errors.Is(err, &Error{Code: CodeNotFound}) {
		return c.find(tx, who)
	}
	return contact, err
}

// moveContact makes a contact stand for the account NewUser.
func (c *Client) moveContact(tx *vault.Tx, ch *change, old vault.Contact) error {
	to := old.NewUser
	unsent, err := c.takeUnsent(tx, ch, old)
	if err != nil {
		return err
	}
	// She may have asked already: then two conversations become one.
	asked, err := tx.Contact(to)
	switch {
	case errors.Is(err, vault.ErrNotFound):
	case err != nil:
		return err
	case asked.State == vault.Blocked:
		return fail(CodeBlocked, nil, "the username names a contact now who is blocked")
	default:
		if err := tx.AbsorbContact(to, old.User); err != nil {
			return err
		}
	}
	if err := tx.MoveContact(old.User, to); err != nil {
		return err
	}
	ch.removed = append(ch.removed, old.User)
	ch.contact(to)
	ch.presence = true
	contact, err := tx.Contact(to)
	if err != nil {
		return err
	}
	if contact.AccountKey, err = storedKey(tx, to); err != nil {
		return err
	}
	contact.TopicIn, contact.TopicOut, contact.LastSeen = asked.TopicIn, asked.TopicOut, asked.LastSeen
	switch asked.State {
	case vault.Incoming:
		contact, err = c.accept(tx, ch, contact)
	case vault.Accepted, vault.Requested:
		contact.State = asked.State
		contact, err = tx.PutContact(contact)
	default:
		contact, err = c.request(tx, ch, contact)
	}
	if err != nil {
		return err
	}
	for _, m := range unsent {
		row := vault.Message{ID: m.ID, Kind: m.Kind, Text: m.Text, ClientID: m.ClientID, SentAt: m.SentAt}
		if _, err := c.compose(tx, ch, contact, row, content.Text{Text: m.Text}); err != nil {
			return err
		}
	}
	return nil
}

// takeUnsent ends all jobs of a contact, and takes the texts among them that were
// not encrypted out of the conversation, to be sent elsewhere: their numbers
// belong to the old account.
func (c *Client) takeUnsent(tx *vault.Tx, ch *change, old vault.Contact) ([]vault.Message, error) {
	jobs, err := tx.Jobs(old.User, allJobs)
	if err != nil {
		return nil, err
	}
	var unsent []vault.Message
	var ids []vault.MessageID
	for _, job := range jobs {
		sealed, err := tx.Sealed(job.ID)
		if err != nil {
			return nil, err
		}
		if len(sealed) == 0 && !job.Message.IsZero() {
			m, err := tx.Message(job.Message)
			if err != nil {
				return nil, err
			}
			if m.Kind == string(KindText) {
				unsent, ids = append(unsent, m), append(ids, m.ID)
				continue
			}
		}
		if err := tx.FailJob(job.ID); err != nil {
			return nil, err
		}
		ch.message(job.Message)
	}
	_, err = tx.DeleteMessages(ids...)
	return unsent, err
}

// ContactStatus returns the state of the sessions with a contact.
func (c *Client) ContactStatus(ctx context.Context, who string) (ContactStatus, error) {
	var status ContactStatus
	err := c.view(ctx, func(tx *vault.Tx) error {
		contact, err := c.find(tx, who)
		if err != nil {
			return err
		}
		status = ContactStatus{Verified: contact.Verified, KeyChanged: contact.KeyChanged()}
		if status.Missing, err = tx.Missing(contact.Chat); err != nil {
			return err
		}
		lane, err := tx.Lane(contact.User)
		if err != nil {
			return err
		}
		status.Reason = lane.Reason
		if lane.Held {
			jobs, err := tx.Jobs(contact.User, allJobs)
			if err != nil {
				return err
			}
			for _, job := range jobs {
				if !job.Message.IsZero() {
					status.Held++
				}
			}
		}
		list, err := tx.DeviceList(contact.User)
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return c.sessionStatus(tx, list, &status)
	})
	return status, err
}

// sessionStatus fills in what the session with the first device says that has one.
func (c *Client) sessionStatus(tx *vault.Tx, list vault.DeviceList, status *ContactStatus) error {
	for _, d := range list.Devices {
		record, err := loadRecord(tx, c.me.identity, d.Address)
		if err != nil {
			return err
		}
		trace, err := record.Status()
		if errors.Is(err, session.ErrNoSession) {
			continue
		}
		if err != nil {
			return err
		}
		status.PQ = record.Suite().KEM() != 0 // the suite has no handshake without one
		status.RatchetSteps = trace.Counters.RootSteps
		status.PQRatchet = describePQRatchet(trace.Counters.PQ)
		if status.PQRatchet == nil {
			return nil
		}
		status.Epoch = status.PQRatchet.Epoch
		status.CompletedAt, err = completedAt(tx, d.Address.User, fingerprint(trace.Session))
		return err
	}
	return nil
}

// completedAt returns when the newest epoch of a session was completed, or nil if
// that was before all the protocol events that are kept.
func completedAt(tx *vault.Tx, user, session string) (*time.Time, error) {
	stored, err := tx.Events(user, 0, vault.MaxEvents)
	if err != nil {
		return nil, err
	}
	for _, s := range slices.Backward(stored) {
		var e struct {
			Session string
			PQ      struct{ Completed uint64 }
		}
		if err := json.Unmarshal(s.Event, &e); err != nil {
			return nil, fail(CodeDamaged, err, "a protocol event in the profile is damaged")
		}
		if e.Session == session && e.PQ.Completed > 0 {
			at := s.At.UTC()
			return &at, nil
		}
	}
	return nil, nil
}
