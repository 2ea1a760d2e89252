package vault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/chate2e/chate2e/internal/secret"
	"github.com/chate2e/chate2e/internal/vault"
)

// forms returns how a text may lie in a file: plain, hex, base64, UTF-16.
func forms(text string) map[string][]byte {
	all := map[string][]byte{
		"plain": []byte(text),
		"hex":   []byte(hex.EncodeToString([]byte(text))),
		"HEX":   []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))),
	}
	// In base64 a text looks different at each of three offsets; its first and last
	// characters depend on what is around it.
	for offset := range 3 {
		padded := append(make([]byte, offset), text...)
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(padded)
			all[name+" at "+string(rune('0'+offset))] = []byte(encoded[4*min(offset, 1) : len(encoded)-4])
		}
	}
	var little, big []byte
	for _, u := range utf16.Encode([]rune(text)) {
		little = append(little, byte(u), byte(u>>8))
		big = append(big, byte(u>>8), byte(u))
	}
	all["UTF-16LE"], all["UTF-16BE"] = little, big
	return all
}

// scan reads every file under dir and returns where it finds which text.
func scan(t *testing.T, dir string, canaries []string) (found []string) {
	t.Helper()
	files := 0
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found = append(found, scanBytes(filepath.Base(path), data, canaries)...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if files < 3 {
		t.Errorf("%d files scanned only", files)
	}
	return found
}

func scanBytes(where string, data []byte, canaries []string) (found []string) {
	for _, canary := range canaries {
		for form, needle := range forms(canary) {
			if bytes.Contains(data, needle) {
				found = append(found, where+": "+canary+" in "+form)
			}
		}
	}
	return found
}

const canaryPassword = "canary-password-Zxq"

// plant stores canaries everywhere and returns them.
func plant(t *testing.T, db *vault.DB) []string {
	t.Helper()
	update(t, db, func(tx *vault.Tx) error {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(tx.PutOwn(vault.Own{
			User: user("canaryown"), Username: "canary-username", DisplayName: "canary-own-name", Relay: "https://canary-relay.example",
			Device: 1, AccountKey: []byte("canary-account-key"), SealedAccount: []byte("canary-sealed-account"),
			Identity: secret.NewBox([]byte("canary-identity-key")),
		}))
		c, err := tx.PutContact(vault.Contact{
			User: user("canarycontact"), DisplayName: "canary-contact-name 金丝雀联系人", State: vault.Accepted,
			TopicOut: vault.Topic{ID: []byte("canary-topic-out"), Key: []byte("canary-topic-key")},
		})
		must(err)
		m, err := tx.AddMessage(vault.Message{Chat: c.Chat, Out: true, Kind: "text", Text: "canary-message-text 金丝雀消息正文", ClientID: "canary-client-id", Detail: []byte("canary-detail")})
		must(err)
		job, err := tx.Enqueue(vault.Job{Peer: c.User, Message: m.ID, Content: []byte("canary-job-content")})
		must(err)
		_, err = tx.PutSealed(job, vault.Address{User: c.User, Device: 1}, []byte("canary-ciphertext"))
		must(err)
		must(tx.SetDraft(c.Chat, "canary-draft-text"))
		must(tx.SetSetting("canary-setting-key", "canary-setting-value"))
		must(tx.PutRecord(bob, []byte("canary-session-record")))
		must(tx.PutPreKeys(vault.PreKey{PreKeyRef: vault.PreKeyRef{Kind: vault.SignedPreKey, ID: 1}, Record: secret.NewBox([]byte("canary-prekey-record")), CreatedAt: tx.Now}))
		must(tx.AddEvents(c.User, []byte("canary-event")))
		must(tx.KeepUndecryptable(bob, []byte("canary-undecryptable")))
		return nil
	})
	return []string{
		canaryPassword, "canaryown", "canary-username", "canary-own-name", "canary-relay.example", "canary-account-key",
		"canary-sealed-account", "canary-identity-key", "canarycontact", "canary-contact-name", "金丝雀联系人",
		"canary-topic-out", "canary-topic-key", "canary-message-text", "金丝雀消息正文", "canary-client-id", "canary-detail",
		"canary-job-content", "canary-ciphertext", "canary-draft-text", "canary-setting-key", "canary-setting-value",
		"canary-session-record", "canary-prekey-record", "canary-event", "canary-undecryptable",
		// What SQLite itself would write.
		"SQLite format 3", "CREATE TABLE", "messages_page", "display_name",
	}
}

func TestNothingReadableOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	db, err := vault.Create(t.Context(), dir, []byte(canaryPassword), fast)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	canaries := plant(t, db)
	if _, err := os.Stat(filepath.Join(dir, vault.DatabaseName+"-wal")); err != nil {
		t.Errorf("no write-ahead log to scan: %v", err)
	}
	if found := scan(t, dir, canaries); len(found) > 0 {
		t.Errorf("in the open profile:\n%s", strings.Join(found, "\n"))
	}
	// The scan would find them: they are there, under the cipher.
	var plain []byte
	for _, name := range []string{vault.DatabaseName, vault.DatabaseName + "-wal"} {
		data, err := vault.Decrypted(dir, name, []byte(canaryPassword))
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, data...)
	}
	for _, canary := range canaries[1:] {
		if len(scanBytes("", plain, []string{canary})) == 0 {
			t.Errorf("%s was not stored at all", canary)
		}
	}
	if err := db.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.ChangePassword(t.Context(), []byte(canaryPassword), []byte(canaryPassword+"2")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if found := scan(t, dir, canaries); len(found) > 0 {
		t.Errorf("in the locked profile:\n%s", strings.Join(found, "\n"))
	}

	// The scan finds every form in a file that is not encrypted.
	const canary = "canary-planted-金丝雀"
	for form, encoded := range forms(canary) {
		write(t, filepath.Join(dir, "planted"), append([]byte("around "), append(encoded, " it"...)...))
		if len(scan(t, dir, []string{canary})) == 0 {
			t.Errorf("the scan misses a planted text in %s", form)
		}
	}
	for offset := range 3 {
		whole := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + canary + "tail"))
		write(t, filepath.Join(dir, "planted"), []byte(whole))
		if len(scan(t, dir, []string{canary})) == 0 {
			t.Errorf("the scan misses a planted text in base64 at offset %d", offset)
		}
	}
}

// TestDeletedTextIsGone looks under the cipher: after deleting few or many
// messages their words are in no page, used or free, and not in the log.
func TestDeletedTextIsGone(t *testing.T) {
	const few, many = 5, 100
	db, chat := create(t)
	fill(t, db, chat, 1, 300)
	var ids []vault.MessageID
	add := func(n int, text string) {
		ids = nil
		update(t, db, func(tx *vault.Tx) error {
			for range n {
				m, err := tx.AddMessage(vault.Message{Chat: chat, Out: true, Kind: "text", Text: text})
				if err != nil {
					return err
				}
				ids = append(ids, m.ID)
			}
			return nil
		})
	}
	words := []string{"zyxcanary", "wvucanary", "chatcanary", "draftcanary", "contactcanary", "麒麟"}
	lookFor := func(when string, want bool) {
		t.Helper()
		var data []byte
		for _, name := range []string{vault.DatabaseName, vault.DatabaseName + "-wal"} {
			part, err := vault.Decrypted(db.Dir(), name, password)
			if err != nil {
				t.Fatal(err)
			}
			data = append(data, part...)
		}
		for _, w := range words {
			if got := bytes.Contains(data, []byte(w)); got && !want {
				t.Errorf("%s: %q is still there", when, w)
			}
		}
		if want && !bytes.Contains(data, []byte(words[0])) && !bytes.Contains(data, []byte(words[1])) && !bytes.Contains(data, []byte(words[2])) {
			t.Errorf("%s: nothing was there to be deleted", when)
		}
	}

	add(few, "zyxcanary 麒麟 words")
	lookFor("before", true)
	update(t, db, func(tx *vault.Tx) error { _, err := tx.DeleteMessages(ids...); return err })
	lookFor("after deleting few", false)

	add(many, "wvucanary 麒麟 words")
	lookFor("before", true)
	update(t, db, func(tx *vault.Tx) error { _, err := tx.DeleteMessages(ids...); return err })
	lookFor("after deleting many", false)

	add(few, "chatcanary 麒麟 words")
	update(t, db, func(tx *vault.Tx) error { return tx.SetDraft(chat, "draftcanary") })
	lookFor("before", true)
	update(t, db, func(tx *vault.Tx) error { return tx.ClearChat(chat) })
	lookFor("after clearing the chat", false)

	update(t, db, func(tx *vault.Tx) error {
		c, err := tx.Contact(bob.User)
		if err != nil {
			return err
		}
		c.DisplayName = "contactcanary"
		_, err = tx.PutContact(c)
		return err
	})
	add(few, "chatcanary 麒麟 words")
	lookFor("before", true)
	update(t, db, func(tx *vault.Tx) error { return tx.DeleteContact(bob.User) })
	lookFor("after deleting the contact", false)

	view(t, db, func(tx *vault.Tx) error {
		for _, w := range words {
			hits, err := tx.Search(w, 10)
			if err != nil || len(hits) != 0 {
				t.Errorf("search for %q: %d hits, %v", w, len(hits), err)
			}
		}
		return nil
	})
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
