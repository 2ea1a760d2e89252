package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

type statusCmd struct {
	Who string `arg:"" optional:"" help:"User ID, link, username or a contact's name."`
}

// connectFor is how long status gives an engine that has just started to reach
// the relay.
const connectFor = 3 * time.Second

func (c *statusCmd) Run(ctx context.Context, e *env) error {
	return e.with(ctx, func(s *session) error {
		if c.Who != "" {
			status, err := s.ContactStatus(ctx, c.Who)
			if err != nil {
				return err
			}
			return e.result(contactStatusObject(status.ContactStatus), contactStatusText(status))
		}
		status, err := connected(ctx, s)
		if err != nil {
			return err
		}
		self, err := s.Self(ctx)
		if err != nil {
			return err
		}
		left := "not known"
		if status.PrekeysLeft >= 0 {
			left = fmt.Sprint(status.PrekeysLeft)
		}
		server := clean(self.Server)
		if withoutTLS(self.Server) {
			server += ", without TLS: whoever is on the way sees who writes to whom, and when"
		}
		connection := yes(status.Connected)
		if status.Error != "" {
			connection += ": " + clean(status.Error)
		}
		rows := [][]string{
			{"relay", server},
			{"connected to the relay", connection},
			{"messages waiting to leave", fmt.Sprint(status.Outbox)},
			{"one-time prekeys at the relay", left},
		}
		if status.Conflict != nil {
			rows = append(rows, []string{"may be in use somewhere else", "noticed at " + local(*status.Conflict)})
		}
		return e.result(statusObject(status), table(rows))
	})
}

// connected returns the status; of an engine that is ours and new, once it is
// connected, or knows why it is not, or after [connectFor].
func connected(ctx context.Context, s *session) (client.Status, error) {
	if !s.ours {
		return s.Status(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, connectFor)
	defer cancel()
	for {
		status, err := s.Status(ctx)
		if err != nil || status.Connected && status.PrekeysLeft >= 0 || status.Error != "" {
			return status, err
		}
		if pause(waiting) != nil {
			return status, ctx.Err()
		}
	}
}

// pause waits between two looks at something that does not tell when it changes.
func pause(ctx context.Context) error {
	select {
	case <-time.After(20 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func contactStatusText(s localapi.ContactStatus) string {
	rows := [][]string{
		{"safety number compared", yes(s.Verified)},
		{"names another account now", yes(s.KeyChanged)},
		{"post-quantum secret in the handshake", yes(s.PQ)},
		{"ratchet steps", fmt.Sprint(s.RatchetSteps)},
		{"epoch of the post-quantum ratchet", fmt.Sprint(s.Epoch)},
	}
	if pq := s.PQRatchet; pq != nil {
		completed := "none yet"
		switch {
		case s.CompletedAt != nil:
			completed = fmt.Sprintf("%d, at %s", pq.Completed, local(*s.CompletedAt))
		case pq.Completed > 0:
			completed = fmt.Sprint(pq.Completed)
		}
		rows = append(rows,
			[]string{"epoch completed last", completed},
			[]string{"its chunks", chunksText(*pq)})
	}
	rows = append(rows, [][]string{
		{"messages held", fmt.Sprint(s.Held)},
		{"messages missing", fmt.Sprint(s.Missing)},
	}...)
	if reason := reasonText(s.Reason); reason != "" {
		rows = append(rows, []string{"why messages wait", reason})
	}
	return table(rows)
}

// chunksText says how far the exchange of an epoch has come.
func chunksText(pq client.PQRatchet) string {
	text := fmt.Sprintf("%d sent", pq.Sent)
	if pq.Needed > 0 {
		text += fmt.Sprintf(", %d of %d received", pq.Held, pq.Needed)
	}
	return text + " (" + pq.Phase + ")"
}

type inspectCmd struct {
	Who    string `arg:"" optional:"" help:"User ID, link, username or a contact's name; without it everybody."`
	Follow bool   `help:"Go on with what happens."`
	Limit  count  `default:"500" placeholder:"N" help:"The newest N events (${default})."`
}

func (c *inspectCmd) Run(ctx context.Context, e *env) error {
	if c.Limit < 1 || c.Limit > page {
		return usageError("--limit goes from 1 to %d", page)
	}
	return e.with(ctx, func(s *session) error {
		contacts, err := s.Contacts(ctx)
		if err != nil {
			return err
		}
		names := make(map[string]string)
		for _, contact := range contacts {
			names[contact.UserID] = contactName(contact)
		}
		var last int64
		show := func() error {
			events, unread := s.Protocol(ctx, c.Who, int(c.Limit))
			if unread != nil {
				return unread
			}
			for _, event := range events {
				if event.ID <= last {
					continue
				}
				if err = e.result(protocolObject(event), protocolText(event, names)); err != nil {
					return err
				}
				last = event.ID
			}
			return nil
		}
		if !c.Follow {
			return show()
		}
		err = s.whenever(ctx, show, func(event localapi.Event) bool { return event.Kind == client.EventProtocol })
		if ctx.Err() != nil {
			return nil // following ends so
		}
		return err
	})
}

// protocolText is a protocol event for people: a line for what happened, and one
// for each step.
func protocolText(event client.ProtocolEvent, names map[string]string) string {
	name, known := names[event.Contact]
	if !known {
		name = shortID(event.Contact)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s: %s\n", event.At.Local().Format("2006-01-02 15:04:05.000"), clean(name), clean(event.Title))
	if setup := event.Setup; setup != nil {
		rows := [][]string{
			{"", "our identity key", setup.OurIdentity},
			{"", "their identity key", setup.TheirIdentity},
			{"", "base key", setup.BaseKey},
			{"", "signed prekey", setup.SignedPreKey},
		}
		if setup.OneTimePreKey != "" {
			rows = append(rows, []string{"", "one-time prekey", setup.OneTimePreKey})
		}
		if setup.KEM != "" {
			kem := setup.KEM
			if setup.LastResort {
				kem += ", of last resort"
			}
			rows = append(rows, []string{"", "KEM prekey", setup.KEMPreKey, kem})
		}
		b.WriteString(table(rows))
	}
	for _, step := range event.Steps {
		b.WriteString(stepText(step))
	}
	if event.PQ != nil && event.Count != nil && event.Count.PQ != nil {
		pq := *event.Count.PQ
		fmt.Fprintf(&b, "  Chunks of epoch %d now: %s.\n", pq.Epoch, clean(chunksText(pq)))
	}
	return b.String()
}

// stepText is one step, and below it its public keys and the label of its key
// derivation.
func stepText(s client.ProtocolStep) string {
	var details []string
	if s.Our != "" {
		details = append(details, "our key "+s.Our)
	}
	if s.Their != "" {
		details = append(details, "their key "+s.Their)
	}
	if s.Label != "" {
		details = append(details, "KDF “"+s.Label+"”")
	}
	text := "  " + strings.Join(wrap(clean(s.Text), stageWidth-4), "\n    ") + "\n"
	if len(details) > 0 {
		text += "    " + clean(strings.Join(details, " · ")) + "\n"
	}
	return text
}

type settingsCmd struct {
	Key   string  `arg:"" optional:"" help:"auto-accept, language or presence; all without it."`
	Value *string `arg:"" optional:"" help:"Its new value: auto-accept on or off; language auto, en or zh; presence online, away, busy or off."`
}

func (c *settingsCmd) Run(ctx context.Context, e *env) error {
	return e.with(ctx, func(s *session) error {
		if c.Value != nil {
			if err := s.SetSetting(ctx, c.Key, *c.Value); err != nil {
				return err
			}
		}
		settings, err := s.Settings(ctx)
		if err != nil {
			return err
		}
		if c.Key != "" {
			value, known := settings[c.Key]
			if !known {
				return usageError("there is no such setting; there are %s",
					strings.Join(slices.Sorted(maps.Keys(settings)), ", "))
			}
			settings = map[string]string{c.Key: value}
		}
		var rows [][]string
		for _, key := range slices.Sorted(maps.Keys(settings)) {
			rows = append(rows, []string{clean(key), clean(settings[key])})
		}
		return e.result(settings, table(rows))
	})
}
