package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
)

// output is where a command writes: either JSON, one object on a line, or text.
type output struct {
	json bool
	out  io.Writer // the result and nothing else
	errs io.Writer // progress and errors
}

// result prints v as JSON, or else the text.
func (o *output) result(v any, text string) error {
	if !o.json {
		_, err := io.WriteString(o.out, text)
		return err
	}
	line, err := marshal(v)
	if err != nil {
		return err
	}
	_, err = o.out.Write(line)
	return err
}

// note prints a line for people beside the result.
func (o *output) note(format string, args ...any) {
	_, _ = fmt.Fprintf(o.errs, format+"\n", args...)
}

// failure prints an error, which is one line.
func (o *output) failure(err error) {
	e := describe(err)
	if !o.json {
		o.note("chate2e: %s", clean(e.Message))
		return
	}
	line, err := marshal(localapi.Failure{Error: e})
	if err == nil {
		_, _ = o.errs.Write(line)
	}
}

// errInterrupted ends a command that was interrupted before it was done.
var errInterrupted = errors.New("interrupted")

func describe(err error) localapi.ErrorBody {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return localapi.ErrorBody{Code: e.Code, Message: e.Message}
	}
	return localapi.ErrorBody{Code: client.CodeInternal, Message: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// marshal returns v as one line of JSON that a terminal can show: characters that
// it would obey, or not show, are written as escapes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("printing the result: %w", err)
	}
	line := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	out := make([]byte, 0, len(line)+1)
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		switch {
		case isVisible(r), r == '\ufe0f':
			out = append(out, line[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		line = line[size:]
	}
	return append(out, '\n'), nil
}

// stamp is a time as programs read it: RFC 3339 in UTC with milliseconds.
type stamp string

func stampOf(t time.Time) stamp { return stamp(t.UTC().Format("2006-01-02T15:04:05.000Z")) }

func optionalStamp(t *time.Time) *stamp {
	if t == nil {
		return nil
	}
	s := stampOf(*t)
	return &s
}

// The objects that programs read are the engine's; an outer field replaces an
// inner one of the same name.

type contactJSON struct {
	client.Contact
	LastSeen *stamp `json:"last_seen"`
}

func contactObject(c client.Contact) contactJSON {
	return contactJSON{c, optionalStamp(c.LastSeen)}
}

type sendingJSON struct {
	client.Sending
	SentAt stamp `json:"sent_at"`
}

type itemJSON struct {
	client.Item
	SentAt     stamp  `json:"sent_at"`
	ReceivedAt *stamp `json:"received_at"`
}

func itemObject(i localapi.Item) itemJSON {
	return itemJSON{i.Item, stampOf(i.SentAt), optionalStamp(i.ReceivedAt)}
}

type logJSON struct {
	itemJSON
	Direction client.Direction    `json:"direction"`
	State     client.MessageState `json:"state"`
}

func logObject(i localapi.Item) logJSON { return logJSON{itemObject(i), i.Direction, i.State} }

type foundJSON struct {
	logJSON
	Snippet string `json:"snippet"`
}

type statusJSON struct {
	client.Status
	Conflict *stamp `json:"conflict"`
	Error    string `json:"error"`
}

func statusObject(s client.Status) statusJSON {
	return statusJSON{s, optionalStamp(s.Conflict), s.Error}
}

type contactStatusJSON struct {
	client.ContactStatus
	CompletedAt *stamp `json:"completed_at"`
}

func contactStatusObject(s client.ContactStatus) contactStatusJSON {
	return contactStatusJSON{s, optionalStamp(s.CompletedAt)}
}

type protocolJSON struct {
	client.ProtocolEvent
	At    stamp      `json:"at"`
	Setup *setupJSON `json:"setup"`
}

type setupJSON struct {
	client.ProtocolSetup
	Expires *stamp `json:"signed_prekey_expires"`
}

func protocolObject(e client.ProtocolEvent) protocolJSON {
	out := protocolJSON{ProtocolEvent: e, At: stampOf(e.At)}
	if e.Setup != nil {
		out.Setup = &setupJSON{*e.Setup, optionalStamp(e.Setup.Expires)}
	}
	if e.Steps == nil {
		out.Steps = []client.ProtocolStep{}
	}
	return out
}

// local writes a time for people, in the time zone of this computer.
func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
