package webui

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// Preferences are how the window looks. They are needed before the profile is
// unlocked, so they are kept beside it, and hold nothing that is said or known in
// there.
type Preferences struct {
	Theme       string `json:"theme"`        // system, light or dark
	Language    string `json:"language"`     // auto, en or zh
	TextSize    int    `json:"text_size"`    // percent
	EnterSends  bool   `json:"enter_sends"`  // else Ctrl Enter does
	LockMinutes int    `json:"lock_minutes"` // idle time before the profile is locked; 0: never
	Inspector   bool   `json:"inspector"`    // shown beside the chat
	ListWidth   int    `json:"list_width"`   // pixels
	EmojiTone   int    `json:"emoji_tone"`   // 0, none, to 5
	Notify      string `json:"notify"`       // what a notification shows: text, name, nothing; off for none
	KeepRunning bool   `json:"keep_running"` // after the last window is closed

	// ConflictSeen is the time of the newest conflict (see [client.Status]) that was
	// taken note of, as the status writes it; empty for none.
	ConflictSeen string `json:"conflict_seen"`
}

var defaultPreferences = Preferences{
	Theme: "system", Language: "auto", TextSize: 100, EnterSends: true, ListWidth: 332,
	Notify: notifyName,
}

func (p Preferences) valid() bool {
	return slices.Contains([]string{"system", "light", "dark"}, p.Theme) &&
		slices.Contains([]string{"auto", "en", "zh"}, p.Language) &&
		p.TextSize >= 50 && p.TextSize <= 300 &&
		p.LockMinutes >= 0 && p.LockMinutes <= 24*60 &&
		p.ListWidth >= 100 && p.ListWidth <= 1000 &&
		slices.Contains([]string{notifyText, notifyName, notifyNothing, notifyOff}, p.Notify) &&
		p.EmojiTone >= 0 && p.EmojiTone <= 5 &&
		(p.ConflictSeen == "" || isTime(p.ConflictSeen))
}

func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339, s)
	return err == nil
}

func preferencesFile(state string) string { return filepath.Join(state, "preferences.json") }

// readPreferences returns what is stored, or the defaults: a file that is damaged
// must not keep the window from opening.
func readPreferences(state string) Preferences {
	p := defaultPreferences
	text, err := os.ReadFile(preferencesFile(state))
	if err != nil || json.Unmarshal(text, &p) != nil || !p.valid() {
		return defaultPreferences
	}
	return p
}

// prefer stores the preferences.
func (a *App) prefer(p Preferences) error {
	if !p.valid() {
		return &client.Error{Code: client.CodeUsage, Message: "there is no such preference"}
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic("webui: " + err.Error()) // our own type: cannot fail
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := replaceFile(preferencesFile(a.cfg.State), text); err != nil {
		return &client.Error{Code: client.CodeReadOnly, Message: "the preferences could not be written", Err: err}
	}
	a.prefs = p
	return nil
}

// replaceFile writes a file that only its user can read, whole or not at all.
func replaceFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
