package localapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// maxAnswer is the largest answer in bytes: a list of the longest texts.
const maxAnswer = 256 << 20

// Client calls the local API. Its methods are the engine's; an error that the
// engine tells is an *[client.Error] with the same code and words here.
type Client struct {
	http *http.Client
}

// NewClient returns a Client that reaches the API through dial.
func NewClient(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		ResponseHeaderTimeout: maxWait + time.Minute,
		DisableCompression:    true,
	}}}
}

// Close ends the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding a request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://chate2e"+Prefix+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &client.Error{Code: client.CodeClosed, Message: "the engine does not answer", Err: err}
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	var f Failure
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxBody)).Decode(&f); err != nil || f.Error.Code == "" {
		return nil, &client.Error{Code: client.CodeInternal, Message: "the local API answered " + answer.Status, Err: err}
	}
	return nil, &client.Error{Code: f.Error.Code, Message: f.Error.Message}
}

func call[Out any](ctx context.Context, c *Client, method, path string, in any) (out Out, err error) {
	answer, err := c.do(ctx, method, path, in)
	if err != nil {
		return out, err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&out); err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		return out, &client.Error{Code: client.CodeClosed, Message: "the engine stopped while it answered", Err: err}
	}
	return out, nil
}

func read[Out any](ctx context.Context, c *Client, path string) (Out, error) {
	return call[Out](ctx, c, http.MethodGet, path, nil)
}

func ask[Out any](ctx context.Context, c *Client, path string, in any) (Out, error) {
	return call[Out](ctx, c, http.MethodPost, path, in)
}

func tell(ctx context.Context, c *Client, path string, in any) error {
	_, err := call[Done](ctx, c, http.MethodPost, path, in)
	return err
}

// Self returns who we are.
func (c *Client) Self(ctx context.Context) (client.Self, error) {
	return read[client.Self](ctx, c, "self")
}

// Status returns the state of connection and queue.
func (c *Client) Status(ctx context.Context) (client.Status, error) {
	return read[client.Status](ctx, c, "status")
}

// Settings returns all settings.
func (c *Client) Settings(ctx context.Context) (map[string]string, error) {
	settings, err := read[Settings](ctx, c, "settings")
	return settings.Settings, err
}

// SetSetting changes a setting.
func (c *Client) SetSetting(ctx context.Context, key, value string) error {
	return tell(ctx, c, "settings/set", SettingRequest{key, value})
}

// Contacts returns all contacts.
func (c *Client) Contacts(ctx context.Context) ([]client.Contact, error) {
	contacts, err := read[Contacts](ctx, c, "contacts")
	return contacts.Contacts, err
}

// Contact returns one of the contacts.
func (c *Client) Contact(ctx context.Context, who string) (client.Contact, error) {
	return ask[client.Contact](ctx, c, "contacts/find", Who{who})
}

// AddContact adds a contact, and asks to be one.
func (c *Client) AddContact(ctx context.Context, who string) (client.Contact, error) {
	return ask[client.Contact](ctx, c, "contacts/add", Who{who})
}

// AcceptContact accepts a request.
func (c *Client) AcceptContact(ctx context.Context, who string) (client.Contact, error) {
	return ask[client.Contact](ctx, c, "contacts/accept", Who{who})
}

// BlockContact blocks a contact.
func (c *Client) BlockContact(ctx context.Context, who string) (client.Contact, error) {
	return ask[client.Contact](ctx, c, "contacts/block", Who{who})
}

// RemoveContact removes a contact.
func (c *Client) RemoveContact(ctx context.Context, who string) (client.Contact, error) {
	return ask[client.Contact](ctx, c, "contacts/remove", Who{who})
}

// ContactStatus returns the state of the sessions with a contact.
func (c *Client) ContactStatus(ctx context.Context, who string) (ContactStatus, error) {
	return ask[ContactStatus](ctx, c, "contacts/status", Who{who})
}

// Send sends a text.
func (c *Client) Send(ctx context.Context, in SendRequest) (Sending, error) {
	return ask[Sending](ctx, c, "messages/send", in)
}

// TakeArrivals returns up to limit items that it has not returned before.
func (c *Client) TakeArrivals(ctx context.Context, limit int) ([]Item, error) {
	items, err := ask[Items](ctx, c, "messages/take", TakeRequest{limit})
	return items.Items, err
}

// History returns up to limit items of a conversation, oldest first: the newest,
// or those before the item with the given ID.
func (c *Client) History(ctx context.Context, who, before string, limit int) ([]Item, error) {
	items, err := ask[Items](ctx, c, "chats/history", HistoryRequest{who, before, limit})
	return items.Items, err
}

// Search returns up to limit items with the words of the query.
func (c *Client) Search(ctx context.Context, query string, limit int) ([]Item, error) {
	items, err := ask[Items](ctx, c, "messages/search", SearchRequest{query, limit})
	return items.Items, err
}

// Flush tries at once to send what waits.
func (c *Client) Flush(ctx context.Context) error { return tell(ctx, c, "flush", Done{}) }

// Safety returns the safety number shared with a contact.
func (c *Client) Safety(ctx context.Context, who string) (client.Safety, error) {
	return ask[client.Safety](ctx, c, "safety", Who{who})
}

// Verify compares a safety number and marks the contact verified.
func (c *Client) Verify(ctx context.Context, who, number string) (client.Safety, error) {
	return ask[client.Safety](ctx, c, "safety/verify", VerifyRequest{who, number})
}

// AcceptKey takes the account that a contact's username names now.
func (c *Client) AcceptKey(ctx context.Context, who string) (client.Safety, error) {
	return ask[client.Safety](ctx, c, "safety/accept-key", Who{who})
}

// Protocol returns the newest protocol events, oldest first.
func (c *Client) Protocol(ctx context.Context, who string, limit int) ([]client.ProtocolEvent, error) {
	events, err := ask[Protocol](ctx, c, "protocol", ProtocolRequest{who, limit})
	return events.Events, err
}

// ChangePassword makes next the profile's password.
func (c *Client) ChangePassword(ctx context.Context, current, next string) error {
	return tell(ctx, c, "password", PasswordRequest{current, next})
}

// DeleteAccount deletes the account.
func (c *Client) DeleteAccount(ctx context.Context, password string) error {
	return tell(ctx, c, "account/delete", DeleteRequest{password})
}

// Lock makes the process that runs the engine forget the keys and end.
func (c *Client) Lock(ctx context.Context) error { return tell(ctx, c, "lock", Done{}) }

// Stream is a stream of events.
type Stream struct {
	lines *bufio.Reader
	body  io.Closer
}

// Events opens the stream of events; it ends with ctx. What happens after Events
// has returned comes through the stream.
func (c *Client) Events(ctx context.Context) (*Stream, error) {
	answer, err := c.do(ctx, http.MethodGet, "events", nil) //nolint:bodyclose // Stream.Close does
	if err != nil {
		return nil, err
	}
	return &Stream{bufio.NewReader(answer.Body), answer.Body}, nil
}

// Next waits for the next event. It returns [io.EOF] when the engine has stopped.
func (s *Stream) Next() (Event, error) {
	var e Event
	line, err := s.lines.ReadBytes('\n')
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return Event{}, err
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, fmt.Errorf("reading an event: %w", err)
	}
	return e, nil
}

// Close ends the stream.
func (s *Stream) Close() error { return s.body.Close() }
