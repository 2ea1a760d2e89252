package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// forms are the shapes in which a text may lie about in a file.
func forms(text string) map[string][]byte {
	upper := strings.ToUpper(hex.EncodeToString([]byte(text)))
	all := map[string][]byte{
		"plain":      []byte(text),
		"hex":        []byte(hex.EncodeToString([]byte(text))),
		"upper hex":  []byte(upper),
		"UTF-16 LE":  nil,
		"UTF-16 BE":  nil,
		"lower case": []byte(strings.ToLower(text)),
	}
	for _, unit := range utf16.Encode([]rune(text)) {
		all["UTF-16 LE"] = binary.LittleEndian.AppendUint16(all["UTF-16 LE"], unit)
		all["UTF-16 BE"] = binary.BigEndian.AppendUint16(all["UTF-16 BE"], unit)
	}
	// In base64 the text may begin at any of three places in a group; the
	// characters at its ends depend on what is beside it.
	for shift := range 3 {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(append(make([]byte, shift), text...))
			start := (shift*8 + 5) / 6
			end := (shift + len(text)) * 8 / 6
			all[name+string(rune('0'+shift))] = []byte(encoded[start:end])
		}
	}
	return all
}

// scan returns where in a folder one of the texts lies, in which shape.
func scan(tb testing.TB, dir string, texts []string) (found []string) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, text := range texts {
			for form, shape := range forms(text) {
				if bytes.Contains(data, shape) || bytes.Contains([]byte(path), shape) {
					found = append(found, path+": "+text+" as "+form)
				}
			}
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// The scan finds each text in each shape, wherever it begins.
func TestScanFinds(t *testing.T) {
	const text = "Canary-Text-1234567"
	for form, shape := range forms(text) {
		for _, before := range []string{"", "x", "xy"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "file"), append([]byte(before), shape...), 0o600); err != nil {
				t.Fatal(err)
			}
			if len(scan(t, dir, []string{text})) == 0 {
				t.Errorf("%s is not found", form)
			}
		}
	}
	for _, before := range []string{"", "x", "xy"} {
		dir := t.TempDir()
		encoded := base64.StdEncoding.EncodeToString([]byte(before + text + "and more"))
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(encoded), 0o600); err != nil {
			t.Fatal(err)
		}
		if len(scan(t, dir, []string{text})) == 0 {
			t.Errorf("base64 behind %q is not found", before)
		}
	}
}

// Nothing that people write lies in a profile, at the relay, or in a log.
func TestCanaries(t *testing.T) {
	t.Parallel()
	const (
		password = "Canary-Password-8271"
		toBob    = "Canary-Text-5512 goes to Bob"
		toAlice  = "Canary-Text-9044 goes to Alice"
		display  = "Canary-Name-3310"
		chinese  = "金丝雀的秘密消息"
	)
	server := startServer(t)
	home := t.TempDir()
	alice := newUser(t, home, "alice", server.url(), password)
	bob := newUser(t, home, "bob", server.url(), password+"-bob")
	alice.one("register", "alice_0427", "--display-name", display, "--verbose")
	bob.one("register", "bob_0931", "--verbose")
	alice.one("send", "bob_0931", toBob, "--verbose")
	alice.one("send", "bob_0931", chinese, "--verbose")
	bob.list("recv", "--verbose")
	bob.one("contacts", "accept", display, "--verbose")
	server.stop() // a message that waits lies in the outbox
	bob.one("send", display, toAlice, "--wait", "0s", "--verbose")
	alice.list("log", "bob_0931", "--verbose")
	server.start()
	bob.one("whoami", "--verbose") // and now in the relay's mailbox
	alice.list("search", "Canary", "--verbose")
	// A program that is killed leaves its write-ahead log behind.
	daemon := bob.daemon()
	bob.with("").one("send", display, toAlice, "--wait", "0s")
	_ = daemon.cmd.Process.Kill()
	daemon.wait(t)
	for _, dir := range []string{filepath.Join(home, "profiles", "bob"), server.data} {
		logs, err := filepath.Glob(filepath.Join(dir, "*-wal"))
		if err != nil || len(logs) != 1 {
			t.Errorf("write-ahead logs to scan: %q, %v", logs, err)
		}
	}

	secrets := []string{password, toBob, toAlice, display, chinese}
	logs := t.TempDir()
	for name, log := range map[string]*lockedBuffer{"relay": &server.log, "alice": alice.logs, "bob": bob.logs} {
		if err := os.WriteFile(filepath.Join(logs, name), []byte(log.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{home, logs, server.data} {
		for _, hit := range scan(t, dir, secrets) {
			t.Error(hit)
		}
	}
	// The relay knows usernames, but writes them into no log; a profile hides them.
	for _, dir := range []string{home, logs} {
		for _, hit := range scan(t, dir, []string{"alice_0427", "bob_0931"}) {
			t.Error(hit)
		}
	}
	if len(scan(t, server.data, []string{"alice_0427"})) == 0 {
		t.Error("the scan does not find the username that the relay must know")
	}
}
