package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

type sendCmd struct {
	who
	Text     *string `arg:"" optional:"" help:"The text; without it standard input, less one line ending."`
	Wait     span    `default:"5s" placeholder:"DUR" help:"How long to wait until the message has left (${default})."`
	ClientID string  `placeholder:"ID" help:"Makes a retry harmless: the same ID sends once."`
}

func (c *sendCmd) Run(ctx context.Context, e *env) error {
	if c.Wait < 0 || c.Wait > span(10*time.Minute) {
		return usageError("--wait goes from 0 to 10m")
	}
	text := ""
	switch {
	case c.Text != nil:
		text = *c.Text
	case e.PasswordFile == "-":
		return usageError("standard input cannot be both password and text")
	default:
		read, err := io.ReadAll(io.LimitReader(e.in, client.MaxText+3))
		if err != nil {
			return usageError("reading the text: %v", err)
		}
		text = string(cutLineEnd(read))
		if len(text) > client.MaxText {
			return &client.Error{
				Code:    client.CodeTooLarge,
				Message: fmt.Sprintf("a text has at most %d bytes, and there are more on standard input", client.MaxText),
			}
		}
	}
	if !utf8.ValidString(text) { // JSON would change it silently
		return usageError("the text is not UTF-8")
	}
	return e.with(ctx, func(s *session) error {
		sending, err := s.Send(ctx, localapi.SendRequest{
			Who: c.Who, Text: text, ClientID: c.ClientID, WaitMS: int(time.Duration(c.Wait).Milliseconds()),
		})
		if err != nil {
			return err
		}
		line, reason := string(sending.State), reasonText(sending.Reason)
		if reason == "" && sending.State == client.StateQueued {
			reason = s.whyQueued(ctx)
		}
		if reason != "" {
			line += ": " + reason
		}
		if err := e.result(sendingJSON{sending.Sending, stampOf(sending.SentAt)}, line+"\n"); err != nil {
			return err
		}
		e.warnOfConflict(ctx, s)
		return nil
	})
}

// conflictFor is how long a conflict is warned of with every message; after that it
// is in the status alone.
const conflictFor = 7 * 24 * time.Hour

// warnOfConflict says so if the profile may be in use somewhere else. The message has
// been dealt with by then.
func (e *env) warnOfConflict(ctx context.Context, s *session) {
	status, err := s.Status(ctx)
	if err != nil || status.Conflict == nil || time.Since(*status.Conflict) > conflictFor {
		return
	}
	e.note("Warning: this profile may be in use somewhere else as well: the relay has seen a login with its keys that was not made here (noticed %s). "+
		"Never use two copies of a profile: messages get lost. If you neither copied it nor put an older state of it back, somebody else may have your keys.", local(*status.Conflict))
}

// whyQueued says what becomes of a message that has not left in time.
func (s *session) whyQueued(ctx context.Context) string {
	status, err := s.Status(ctx)
	switch {
	case err == nil && status.Connected:
		return "it leaves as soon as it can"
	case err != nil:
		return ""
	case s.ours:
		return noConnection(status) + "; the next command tries again"
	default:
		return noConnection(status) + "; the daemon goes on trying"
	}
}

// noConnection says that there is none, and why if that is known.
func noConnection(status client.Status) string {
	text := "there is no connection to the relay"
	if status.Error != "" {
		text += " (" + clean(status.Error) + ")"
	}
	return text
}

type recvCmd struct {
	Wait   span `default:"2s" placeholder:"DUR" help:"How long to listen in all (${default})."`
	Follow bool `help:"Go on listening."`
}

// takeAtOnce is how many items are taken in one transaction.
const takeAtOnce = 100

func (c *recvCmd) Run(ctx context.Context, e *env) error {
	return e.with(ctx, func(s *session) error {
		listening, stop := ctx, context.CancelFunc(func() {})
		if !c.Follow {
			listening, stop = context.WithTimeout(ctx, time.Duration(c.Wait))
		}
		defer stop()
		taken := 0
		take := func() error {
			for {
				items, err := s.TakeArrivals(context.WithoutCancel(ctx), takeAtOnce)
				if err != nil {
					return err
				}
				for _, i := range items {
					if err := e.result(itemObject(i), itemText(i, i.Text, e.program())); err != nil {
						return err
					}
				}
				taken += len(items)
				if len(items) < takeAtOnce || ctx.Err() != nil {
					return nil
				}
			}
		}
		err := s.whenever(listening, take, func(event localapi.Event) bool { return event.Kind == client.EventItem })
		if c.Follow && ctx.Err() != nil {
			return nil // following ends so
		}
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return errInterrupted
		case taken == 0 && !e.json:
			e.note("Nothing new.")
		}
		// What waits at the relay did not come: nothing new is not the whole truth.
		if status, err := s.Status(ctx); err == nil && !status.Connected && c.Wait > 0 {
			e.note("Warning: %s; what waits there comes later.", noConnection(status))
		}
		return nil
	})
}

// whenever calls do at once, and again after events that matter or may have been
// missed, until ctx ends; that is no error.
func (s *session) whenever(ctx context.Context, do func() error, matters func(localapi.Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	events, err := s.Events(ctx)
	if err != nil {
		defer cancel()
		if ctx.Err() != nil {
			return do()
		}
		return err
	}
	wake := make(chan struct{}, 1) // many events at once are one reason to look
	ended := make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			event, err := events.Next()
			switch {
			case errors.Is(err, io.EOF), err == nil && event.Kind == client.EventClosed:
				ended <- &client.Error{Code: client.CodeClosed, Message: "the engine has stopped"}
				return
			case err != nil:
				ended <- err
				return
			case event.Kind == client.EventLagged || matters(event):
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		}
	})
	defer func() {
		cancel()
		_ = events.Close()
		reading.Wait()
	}()
	for {
		if err := do(); err != nil {
			return err
		}
		select {
		case <-wake:
		case err := <-ended:
			if ctx.Err() != nil {
				return do()
			}
			return err
		case <-ctx.Done():
			return do() // what came with the last event
		}
	}
}

// itemText is an item for people, new if program is how to answer it.
func itemText(i localapi.Item, text, program string) string {
	name := clean(i.FromName)
	if i.Direction == client.DirectionOut {
		name = "I"
		if i.Kind == client.KindText {
			name = "me"
		}
	}
	head := local(i.SentAt) + "  "
	indent := columns(head)
	line := head + name
	switch i.Kind {
	case client.KindText:
		line += ": " + cleanLines(text, indent)
		if i.Request {
			line += "  [request]"
		}
		if i.Direction == client.DirectionOut && i.State != client.StateSent {
			line += "  [" + clean(string(i.State)) + "]"
		}
	case client.KindRequest:
		if i.Direction == client.DirectionOut || program == "" {
			line += " asked to be a contact"
		} else {
			line += " asks to be a contact: " + program + " contacts accept " + clean(i.From)
		}
	case client.KindAccepted:
		line += " accepted the request"
	case client.KindMissing:
		line = head + strconv.FormatUint(i.GapBefore, 10) + " missing from " + name
	case client.KindUndecryptable:
		line += " sent a message that could not be opened"
		if i.Reason != "" {
			line += ": " + clean(i.Reason)
		}
	case client.KindKeyChange:
		line = head + "the username of " + name + " names another account now"
	default:
		line += " sent something that this version does not know"
	}
	return line + "\n"
}

type logCmd struct {
	who
	Limit  count  `default:"100" placeholder:"N" help:"The newest N items (${default})."`
	Before string `placeholder:"ID" help:"Those before this item."`
}

// page is how many items are read at once.
const page = 1000

func (c *logCmd) Run(ctx context.Context, e *env) error {
	if c.Limit < 1 {
		return usageError("--limit begins with 1")
	}
	return e.with(ctx, func(s *session) error {
		var pages [][]localapi.Item // newest first
		before := c.Before
		for left := int(c.Limit); left > 0; {
			items, err := s.History(ctx, c.Who, before, min(left, page))
			if err != nil {
				return err
			}
			if len(items) == 0 {
				break
			}
			pages = append(pages, items)
			before = items[0].ID
			left -= min(left, page)
		}
		if len(pages) == 0 && !e.json {
			e.note("No messages yet.")
		}
		for _, items := range slices.Backward(pages) {
			for _, i := range items {
				if err := e.result(logObject(i), itemText(i, i.Text, "")); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

type searchCmd struct {
	Query string `arg:"" help:"Words, or the beginnings of words; Chinese as it is written."`
	Limit count  `default:"100" placeholder:"N" help:"At most N items (${default})."`
}

func (c *searchCmd) Run(ctx context.Context, e *env) error {
	if c.Limit < 1 || c.Limit > page {
		return usageError("--limit goes from 1 to %d", page)
	}
	return e.with(ctx, func(s *session) error {
		items, err := s.Search(ctx, c.Query, int(c.Limit))
		if err != nil {
			return err
		}
		if len(items) == 0 && !e.json {
			e.note("Nothing found.")
		}
		for _, i := range items {
			if err := e.result(foundJSON{logObject(i), i.Snippet}, itemText(i, i.Snippet, "")); err != nil {
				return err
			}
		}
		return nil
	})
}
