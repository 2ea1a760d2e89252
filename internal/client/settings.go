package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/chate2e/chate2e/internal/vault"
)

// The settings.
const (
	// SettingAutoAccept accepts whoever asks: on or off.
	SettingAutoAccept = "auto-accept"
	// SettingPresence is what accepted contacts learn: online, away, busy, or off
	// for nothing at all.
	SettingPresence = "presence"
	// SettingLanguage is that of the faces: auto, en or zh.
	SettingLanguage = "language"
)

// settings are all there are, with the values they may have; the first one is the
// default.
var settings = map[string][]string{
	SettingAutoAccept: {"off", "on"},
	SettingPresence:   {string(PresenceOnline), string(PresenceAway), string(PresenceBusy), presenceOff},
	SettingLanguage:   {"auto", "en", "zh"},
}

// Settings returns all settings, those that were never set with their defaults.
func (c *Client) Settings(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	err := c.view(ctx, func(tx *vault.Tx) error {
		for key := range settings {
			value, err := setting(tx, key)
			if err != nil {
				return err
			}
			all[key] = value
		}
		return nil
	})
	return all, err
}

// SetSetting changes a setting. It returns [CodeUsage] for one that there is not,
// or a value that it cannot have.
func (c *Client) SetSetting(ctx context.Context, key, value string) error {
	values, known := settings[key]
	if !known {
		return fail(CodeUsage, nil, "there is no such setting; there are %s", strings.Join(slices.Sorted(maps.Keys(settings)), ", "))
	}
	if !slices.Contains(values, value) {
		return fail(CodeUsage, nil, "%s can be %s", key, strings.Join(values, ", "))
	}
	return c.update(ctx, func(tx *vault.Tx, ch *change) error {
		ch.settings = append(ch.settings, key)
		ch.presence = key == SettingPresence
		return tx.SetSetting(key, value)
	})
}

// setting returns the value of a setting.
func setting(tx *vault.Tx, key string) (string, error) {
	value, err := tx.Setting(key)
	if errors.Is(err, vault.ErrNotFound) || err == nil && !slices.Contains(settings[key], value) {
		return settings[key][0], nil
	}
	return value, err
}
