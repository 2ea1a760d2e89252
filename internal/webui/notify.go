package webui

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/chate2e/chate2e/internal/client"
)

// What a notification shows.
const (
	notifyText    = "text"    // who wrote, and the beginning of the text
	notifyName    = "name"    // who wrote
	notifyNothing = "nothing" // that somebody wrote
	notifyOff     = "off"     // there is none
)

// Notice is a notification. Its texts are plain text without control characters.
type Notice struct {
	Title, Text string
	Unread      int // messages that were not read, in all
}

const maxNoticeText = 120 // characters

// noticeWords are the words of a notification.
type noticeWords struct{ message, request, unread string }

var (
	englishNotice = noticeWords{"New message", "Someone wants to chat with you", "%d unread"}
	chineseNotice = noticeWords{"新消息", "有人想和你聊天", "%d 条未读"}
)

// tell shows a notification for what arrives while nobody looks at a page, until
// ctx ends.
func (a *App) tell(ctx context.Context, engine *client.Client) {
	events, cancel := engine.Subscribe()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-events:
			if !open {
				return
			}
			if e.Kind != client.EventItem || !worthTelling(e.Item) || a.pages.looked() {
				continue
			}
			notice, ok, err := a.notice(ctx, engine, *e.Item)
			if err == nil && ok {
				err = a.notify(ctx, notice)
			}
			if err != nil && ctx.Err() == nil {
				a.log.DebugContext(ctx, "no notification", "error", err)
			}
		}
	}
}

func worthTelling(i *client.Item) bool {
	return i.Direction == client.DirectionIn && (i.Kind == client.KindRequest || i.Kind == client.KindText && !i.Request)
}

// notice makes the notification of an item; ok is false if there is to be none.
func (a *App) notice(ctx context.Context, engine *client.Client, item client.Item) (n Notice, ok bool, err error) {
	a.mu.Lock()
	shows := a.prefs.Notify
	a.mu.Unlock()
	if shows == notifyOff {
		return Notice{}, false, nil
	}
	settings, err := engine.Settings(ctx)
	if err != nil {
		return Notice{}, false, err
	}
	chats, err := engine.Chats(ctx)
	if err != nil {
		return Notice{}, false, err
	}
	for _, chat := range chats {
		n.Unread += chat.Unread
		if chat.Contact.UserID == item.Chat && chat.Contact.State == client.ContactBlocked {
			return Notice{}, false, nil
		}
	}
	words := englishNotice
	if settings[client.SettingLanguage] == "zh" {
		words = chineseNotice
	}
	n.Title, n.Text = "ChatE2E", words.message
	switch {
	case item.Kind == client.KindRequest: // what a stranger is called, she has chosen
		n.Text = words.request
	case shows == notifyText:
		n.Title, n.Text = plainLine(item.FromName), plainLine(item.Text)
	case shows == notifyName:
		n.Title = plainLine(item.FromName)
	}
	if n.Title == "" {
		n.Title = "ChatE2E"
	}
	if n.Unread > 1 {
		n.Text += " · " + fmt.Sprintf(words.unread, n.Unread)
	}
	return n, true, nil
}

// plainLine is the beginning of a text on one line, without what turns text around
// or is not seen.
func plainLine(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == maxNoticeText {
			b.WriteString("…")
			break
		}
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsGraphic(r):
			continue
		}
		b.WriteRune(r)
		n++
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
