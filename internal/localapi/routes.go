package localapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// route is one verb: where it is reached, what it takes and answers, and how it
// is done. A verb without a request is a GET, any other a POST with a body, so
// that names and texts are in no address.
type route struct {
	method  string
	path    string
	summary string
	in, out reflect.Type // in is nil for a GET
	handler func(*Server) http.Handler
}

// Prefix is where all paths begin.
const Prefix = "/api/v1/"

// Bounds of requests.
const (
	maxList = 1000
	maxWait = 10 * time.Minute
)

var routes = []route{
	get("self", "Who we are.",
		func(ctx context.Context, e *client.Client) (client.Self, error) { return e.Self(ctx) }),
	get("status", "Connection and queue.",
		func(ctx context.Context, e *client.Client) (Status, error) {
			status, err := e.Status(ctx)
			return wireStatus(status), err
		}),
	get("settings", "All settings.",
		func(ctx context.Context, e *client.Client) (Settings, error) {
			settings, err := e.Settings(ctx)
			return Settings{settings}, err
		}),
	post("settings/set", "Change a setting.",
		func(ctx context.Context, e *client.Client, in SettingRequest) (Done, error) {
			return Done{}, e.SetSetting(ctx, in.Key, in.Value)
		}),

	get("contacts", "All contacts.",
		func(ctx context.Context, e *client.Client) (Contacts, error) {
			contacts, err := e.Contacts(ctx)
			return Contacts{append([]client.Contact{}, contacts...)}, err
		}),
	post("contacts/find", "One of the contacts.",
		func(ctx context.Context, e *client.Client, in Who) (client.Contact, error) {
			return e.Contact(ctx, in.Who)
		}),
	post("contacts/lookup", "Who somebody is, before she is added.",
		func(ctx context.Context, e *client.Client, in Who) (client.Found, error) {
			return e.LookUp(ctx, in.Who)
		}),
	post("contacts/add", "Add a contact, and ask to be one.",
		func(ctx context.Context, e *client.Client, in Who) (client.Contact, error) {
			return e.AddContact(ctx, in.Who)
		}),
	post("contacts/accept", "Accept a request.",
		func(ctx context.Context, e *client.Client, in Who) (client.Contact, error) {
			return e.AcceptContact(ctx, in.Who)
		}),
	post("contacts/block", "Block a contact.",
		func(ctx context.Context, e *client.Client, in Who) (client.Contact, error) {
			return e.BlockContact(ctx, in.Who)
		}),
	post("contacts/remove", "Remove a contact.",
		func(ctx context.Context, e *client.Client, in Who) (client.Contact, error) {
			return e.RemoveContact(ctx, in.Who)
		}),
	post("contacts/status", "The sessions with a contact.",
		func(ctx context.Context, e *client.Client, in Who) (ContactStatus, error) {
			status, err := e.ContactStatus(ctx, in.Who)
			return ContactStatus{status, status.Reason}, err
		}),

	get("chats", "All conversations.",
		func(ctx context.Context, e *client.Client) (Chats, error) {
			chats, err := e.Chats(ctx)
			return wireChats(chats), err
		}),
	post("chats/history", "Part of a conversation, oldest first.",
		func(ctx context.Context, e *client.Client, in HistoryRequest) (Items, error) {
			if err := checkLimit(in.Limit); err != nil {
				return Items{}, err
			}
			items, err := e.History(ctx, in.Who, in.Before, in.Limit)
			return wireItems(items), err
		}),
	post("chats/read", "Note that a conversation was read.",
		func(ctx context.Context, e *client.Client, in ReadRequest) (Done, error) {
			return Done{}, e.MarkRead(ctx, in.Who, in.Upto)
		}),
	post("chats/draft", "Keep a text that was not sent yet.",
		func(ctx context.Context, e *client.Client, in DraftRequest) (Done, error) {
			return Done{}, e.SetDraft(ctx, in.Who, in.Text)
		}),

	post("messages/send", "Send a text. It is accepted before the answer and survives any crash.", send),
	post("messages/arrivals", "Items in the order in which they became visible.",
		func(ctx context.Context, e *client.Client, in ArrivalsRequest) (Items, error) {
			if err := checkLimit(in.Limit); err != nil {
				return Items{}, err
			}
			items, err := e.Arrivals(ctx, in.After, in.Limit)
			return wireItems(items), err
		}),
	post("messages/take", "Items that this verb has not returned yet.",
		func(ctx context.Context, e *client.Client, in TakeRequest) (Items, error) {
			if err := checkLimit(in.Limit); err != nil {
				return Items{}, err
			}
			items, err := e.TakeArrivals(ctx, in.Limit)
			return wireItems(items), err
		}),
	post("messages/search", "Items with the words of a query.",
		func(ctx context.Context, e *client.Client, in SearchRequest) (Items, error) {
			if err := checkLimit(in.Limit); err != nil {
				return Items{}, err
			}
			items, err := e.Search(ctx, in.Query, in.Limit)
			return wireItems(items), err
		}),
	post("flush", "Try at once to send what waits.",
		func(ctx context.Context, e *client.Client, _ Done) (Done, error) { return Done{}, e.Flush(ctx) }),

	post("safety", "The safety number shared with a contact.",
		func(ctx context.Context, e *client.Client, in Who) (client.Safety, error) {
			return e.Safety(ctx, in.Who)
		}),
	post("safety/verify", "Compare a safety number, and mark the contact verified.",
		func(ctx context.Context, e *client.Client, in VerifyRequest) (client.Safety, error) {
			return e.Verify(ctx, in.Who, in.Number)
		}),
	post("safety/accept-key", "Take the account that a contact's username names now.",
		func(ctx context.Context, e *client.Client, in Who) (client.Safety, error) {
			return e.AcceptKey(ctx, in.Who)
		}),
	post("protocol", "The newest protocol events, oldest first.",
		func(ctx context.Context, e *client.Client, in ProtocolRequest) (Protocol, error) {
			if err := checkLimit(in.Limit); err != nil {
				return Protocol{}, err
			}
			events, err := e.Protocol(ctx, in.Who, in.Limit)
			return Protocol{append([]client.ProtocolEvent{}, events...)}, err
		}),

	post("password", "Change the password.",
		func(ctx context.Context, e *client.Client, in PasswordRequest) (Done, error) {
			current, next := []byte(in.Current), []byte(in.Next)
			defer clear(current)
			defer clear(next)
			return Done{}, e.ChangePassword(ctx, current, next)
		}),
	post("account/delete", "Delete the account.",
		func(ctx context.Context, e *client.Client, in DeleteRequest) (Done, error) {
			password := []byte(in.Password)
			defer clear(password)
			return Done{}, e.DeleteAccount(ctx, password)
		}),
	{
		method: http.MethodPost, path: Prefix + "lock", summary: "Forget the keys, and stop.",
		in: reflect.TypeFor[Done](), out: reflect.TypeFor[Done](), handler: (*Server).lock,
	},
	{
		method: http.MethodGet, path: Prefix + "events",
		summary: "Everything that happens from now on: one JSON object a line, until one side closes.",
		out:     reflect.TypeFor[Event](), handler: (*Server).events,
	},
}

func get[Out any](path, summary string, do func(context.Context, *client.Client) (Out, error)) route {
	return route{
		method: http.MethodGet, path: Prefix + path, summary: summary, out: reflect.TypeFor[Out](),
		handler: func(s *Server) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery != "" {
					s.fail(w, r, usage("this path takes no parameters"))
					return
				}
				out, err := do(r.Context(), s.engine)
				if err != nil {
					s.fail(w, r, err)
					return
				}
				write(w, http.StatusOK, out)
			})
		},
	}
}

func post[In, Out any](path, summary string, do func(context.Context, *client.Client, In) (Out, error)) route {
	return route{
		method: http.MethodPost, path: Prefix + path, summary: summary,
		in: reflect.TypeFor[In](), out: reflect.TypeFor[Out](),
		handler: func(s *Server) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var in In
				if err := decode(r, &in); err != nil {
					s.fail(w, r, err)
					return
				}
				out, err := do(r.Context(), s.engine, in)
				if err != nil {
					s.fail(w, r, err)
					return
				}
				write(w, http.StatusOK, out)
			})
		},
	}
}

func checkLimit(n int) error {
	if n < 1 || n > maxList {
		return usage("limit must be from 1 to 1000")
	}
	return nil
}

func send(ctx context.Context, e *client.Client, in SendRequest) (Sending, error) {
	wait := time.Duration(in.WaitMS) * time.Millisecond
	if in.WaitMS < 0 || wait > maxWait {
		return Sending{}, usage("wait_ms must be from 0 to 600000")
	}
	sending, err := e.Send(ctx, in.Who, in.Text, client.SendOptions{ClientID: in.ClientID})
	if err != nil || wait == 0 {
		return wireSending(sending), err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	later, err := e.AwaitSending(waiting, sending.ID)
	switch {
	case err == nil:
		sending = later
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil: // it stays queued
	default:
		return Sending{}, err
	}
	return wireSending(sending), nil
}

// lock ends the process that runs the engine.
func (s *Server) lock() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := decode(r, &Done{}); err != nil {
			s.fail(w, r, err)
			return
		}
		if s.stop == nil {
			s.fail(w, r, usage("this process is not one to be stopped"))
			return
		}
		write(w, http.StatusOK, Done{})
		s.stop()
	})
}
