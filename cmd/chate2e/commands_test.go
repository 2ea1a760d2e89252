package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The whole story: two people on one computer, each command a process of its own.
func TestStory(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	home := t.TempDir()
	alice := newUser(t, home, "alice", server.url(), "alice's password")
	bob := newUser(t, home, "bob", server.url(), "bob's password")

	alice.fails(exitError, "no_profile", "whoami")
	her := alice.one("register", "alice", "--display-name", "Alice")
	his := bob.one("login", "bob", "--display-name", "Bob")
	equal(t, "username", her["username"], "alice")
	equal(t, "device", her["device"], 1)
	equal(t, "address", her["address"], her.str("user_id")+"@"+strings.TrimPrefix(server.url(), "http://"))
	equal(t, "link", her["link"], server.url()+"/add#"+her.str("user_id"))
	equal(t, "whoami", alice.one("whoami"), her)
	equal(t, "login again", bob.one("login", "bob"), his)
	alice.fails(exitError, "profile_exists", "register", "alice2")
	alice.fails(exitError, "profile_exists", "login", "somebody")
	alice.with(bob.password).fails(exitWrongPassword, "wrong_password", "whoami")
	taken := newUser(t, home, "taken", server.url(), "p")
	taken.fails(exitError, "name_taken", "register", "alice")
	if entries, _ := os.ReadDir(filepath.Join(home, "profiles")); len(entries) != 2 {
		t.Errorf("profiles: %v, want those of alice and bob alone", entries)
	}

	// Alice adds Bob, who is not there.
	contact := alice.one("contacts", "add", his.str("link"))
	equal(t, "state", contact["state"], "requested")
	equal(t, "user_id", contact["user_id"], his["user_id"])
	alice.one("send", "bob", "before you accept")
	equal(t, "the name that the relay gave", alice.one("status", "bob")["verified"], false)
	alice.fails(exitError, "self", "contacts", "add", "alice")
	alice.fails(exitError, "not_found", "contacts", "add", "nobody_at_all")

	request := bob.list("recv")
	if len(request) != 2 || request[0]["kind"] != "request" || request[0]["from_name"] != "Alice" ||
		request[0]["request"] != true || request[1]["text"] != "before you accept" {
		t.Fatalf("Bob got %v, want a request and a text", request)
	}
	equal(t, "incoming", bob.list("contacts", "list")[0]["state"], "incoming")
	equal(t, "accepted", bob.one("contacts", "accept", "alice")["state"], "accepted")
	if got := alice.list("recv"); len(got) != 1 || got[0]["kind"] != "accepted" || got[0]["from"] != his["user_id"] {
		t.Fatalf("Alice got %v, want that Bob has accepted", got)
	}
	equal(t, "accepted", alice.list("contacts", "list")[0]["state"], "accepted")

	// They talk both ways. The text is hostile to terminals.
	const hostile = "<b>hi</b> \x1b[31mred\x1b[0m \u202eabc\u200b 你好\nsecond line"
	sent := alice.one("send", "Bob", hostile)
	equal(t, "state", sent["state"], "sent")
	got := bob.list("recv")
	equal(t, "Bob reads", texts(got), []string{hostile})
	equal(t, "id", got[0]["id"], sent["id"])
	equal(t, "sent_at", got[0]["sent_at"], sent["sent_at"])
	equal(t, "not again", bob.list("recv"), []object(nil))
	r := bob.run("from standard input\n\n", "send", "Alice")
	if r.code != 0 || r.out != "sent\n" {
		t.Errorf("send: exit %d, %q, %q", r.code, r.out, r.errs)
	}
	equal(t, "Alice reads", texts(alice.list("recv")), []string{"from standard input\n"})
	shown := bob.run("", "log", "alice")
	if strings.ContainsAny(shown.out, "\x1b\u202e\u200b") || !strings.Contains(shown.out, `\u001b[31mred`) {
		t.Errorf("log shows %q", shown.out)
	}

	// History is there, and the same.
	before := bob.run("", "log", "alice", "--json")
	after := bob.run("", "log", "alice", "--json")
	if before.out != after.out || before.code != 0 || len(objects(t, before.out)) < 4 {
		t.Errorf("log before:\n%s\nafter:\n%s", before.out, after.out)
	}
	items := objects(t, before.out)
	last := items[len(items)-1]
	equal(t, "direction", last["direction"], "out")
	equal(t, "state", last["state"], "sent")
	equal(t, "limit", bob.list("log", "alice", "--limit", "1"), []object{last})
	equal(t, "before", bob.list("log", "alice", "--limit", "1", "--before", last.str("id")), items[len(items)-2:len(items)-1])
	equal(t, "found in Chinese", texts(alice.list("search", "好")), []string{hostile})
	equal(t, "not found", alice.list("search", "nothing like that"), []object(nil))

	// The safety number.
	hers, theirs := alice.one("safety", "bob"), bob.one("safety", "alice")
	equal(t, "safety numbers", hers["number"], theirs["number"])
	if n := hers.str("number"); len(n) != 60 || hers["verified"] != false {
		t.Errorf("safety: %v", hers)
	}
	wrong := []byte(hers.str("number"))
	wrong[59] = '0' + (wrong[59]-'0'+1)%10
	alice.fails(exitError, "number_mismatch", "verify", "bob", string(wrong))
	number := hers.str("number")
	equal(t, "verified", alice.one("verify", "bob", number[:5], number[5:30]+" "+number[30:])["verified"], true)
	equal(t, "verified", alice.one("status", "bob")["verified"], true)

	// The machinery.
	status := alice.one("status")
	equal(t, "status", []any{status["connected"], status["outbox"], status["error"]}, []any{true, 0, ""})
	if left, _ := status["prekeys_left"].(float64); left <= 0 {
		t.Errorf("prekeys_left: %v", status)
	}
	session := alice.one("status", "bob")
	equal(t, "pq", session["pq"], true)
	if steps, _ := session["ratchet_steps"].(float64); steps < 2 {
		t.Errorf("ratchet_steps: %v", session)
	}
	pq, _ := session["pq_ratchet"].(map[string]any)
	equal(t, "epoch", []any{session["epoch"], session["completed_at"], pq["epoch"]}, []any{1, nil, 1})
	if text := alice.run("", "status", "bob").out; !strings.Contains(text, "epoch of the post-quantum ratchet") ||
		!strings.Contains(text, " sent") || !strings.Contains(text, "none yet") {
		t.Errorf("status for people: %s", text)
	}
	if text := alice.run("", "inspect", "bob").out; !strings.Contains(text, "carries chunk 0") || !strings.Contains(text, "Chunks of epoch 1 now: ") {
		t.Errorf("inspect for people: %s", text)
	}
	kinds := map[any]int{}
	for _, e := range alice.list("inspect", "bob") {
		kinds[e["kind"]]++
	}
	if kinds["handshake"] == 0 || kinds["encrypted"] == 0 || kinds["decrypted"] == 0 {
		t.Errorf("inspect: %v", kinds)
	}
	equal(t, "setting", alice.one("settings", "auto-accept", "on"), object{"auto-accept": "on"})
	equal(t, "setting", alice.one("settings")["auto-accept"], "on")
	alice.fails(exitUsage, "usage", "settings", "no-such-thing", "on")
	alice.fails(exitUsage, "usage", "settings", "auto-accept", "perhaps")

	// Another password.
	next := newUser(t, home, "alice", server.url(), "another password")
	alice.one("passwd", "--new-password-file", next.password)
	alice.fails(exitWrongPassword, "wrong_password", "whoami")
	equal(t, "whoami", next.one("whoami"), her)

	// Blocked, removed, deleted.
	equal(t, "blocked", bob.one("contacts", "block", "alice")["state"], "blocked")
	bob.fails(exitError, "blocked", "send", "alice", "no")
	bob.one("contacts", "remove", "alice")
	equal(t, "no contacts", bob.list("contacts", "list"), []object(nil))
	bob.with(next.password).fails(exitWrongPassword, "wrong_password", "account", "delete")
	bob.one("account", "delete")
	bob.fails(exitError, "no_profile", "whoami")
	if entries, _ := os.ReadDir(filepath.Join(home, "profiles")); len(entries) != 1 {
		t.Errorf("profiles: %v, want that of alice alone", entries)
	}
	next.one("contacts", "remove", "bob")
	next.fails(exitError, "not_found", "contacts", "add", "bob")
}

// Messages wait while the relay is away, and a retry with the same client ID is
// one message.
func TestRelayDown(t *testing.T) {
	t.Parallel()
	server, alice, bob := pair(t)
	befriend(alice, bob)
	server.stop()

	queued := alice.one("send", "bob", "one", "--wait", "100ms")
	equal(t, "state", queued["state"], "queued")
	equal(t, "outbox", alice.one("status")["outbox"], 1)
	offline := alice.one("status")
	equal(t, "connected", offline["connected"], false)
	if offline.str("error") == "" {
		t.Errorf("status does not say why there is no connection: %v", offline)
	}
	first := alice.one("send", "bob", "two", "--wait", "0s", "--client-id", "x-1")
	again := alice.one("send", "bob", "two", "--wait", "0s", "--client-id", "x-1")
	equal(t, "retry", again["id"], first["id"])
	alice.fails(exitError, "client_id", "send", "bob", "three", "--client-id", "x-1")
	log := alice.run("", "log", "bob", "--json")

	server.start()
	// Any command that opens the profile sends what waits.
	eventually(t, "the outbox is empty", func() bool {
		alice.one("whoami")
		return alice.one("status")["outbox"] == 0.0
	})
	equal(t, "retry later", alice.one("send", "bob", "two", "--client-id", "x-1")["state"], "sent")
	equal(t, "Bob reads", texts(bob.list("recv")), []string{"one", "two"})
	if now := alice.run("", "log", "bob", "--json"); strings.ReplaceAll(now.out, `"sent"`, `"queued"`) != strings.ReplaceAll(log.out, `"sent"`, `"queued"`) {
		t.Errorf("log before:\n%s\nafter:\n%s", log.out, now.out)
	}
}

// With a daemon commands need no password, and see what it sees.
func TestDaemon(t *testing.T) {
	t.Parallel()
	server, alice, bob := pair(t)
	hers, his := alice.daemon(), bob.daemon()
	alice, bob = alice.with(""), bob.with("") // no password from here on
	befriend(alice, bob)

	follow := bob.start("recv", "--follow", "--json")
	inspect := bob.start("inspect", "--follow", "--json")
	sent := alice.one("send", "bob", "hello")
	equal(t, "followed", objects(t, follow.line(t))[0]["id"], sent["id"])
	for item := any(nil); item != sent["id"]; { // there are events before it
		item = objects(t, inspect.line(t))[0]["item"]
	}
	equal(t, "exit", follow.end(t), 0)
	equal(t, "exit", inspect.end(t), 0)
	equal(t, "once", bob.list("recv", "--wait", "0s"), []object(nil))

	// A second daemon is refused at once, before a password is asked for.
	alice.fails(exitError, "profile_in_use", "daemon")
	restored := newUser(t, alice.home, "alice", server.url(), "alice's password")
	restored.fails(exitError, "profile_in_use", "daemon")

	before := alice.run("", "log", "bob", "--json")
	equal(t, "lock", alice.one("lock"), object{"locked": true})
	equal(t, "exit", hers.wait(t), 0)
	equal(t, "lock again", alice.one("lock"), object{"locked": true})
	alice.fails(exitUsage, "usage", "whoami")
	after := restored.run("", "log", "bob", "--json")
	if before.out != after.out || len(objects(t, before.out)) == 0 {
		t.Errorf("log through the daemon:\n%s\nwithout:\n%s", before.out, after.out)
	}

	// A daemon that is killed leaves a socket that is in nobody's way.
	_ = his.cmd.Process.Kill()
	his.wait(t)
	unlocked := newUser(t, bob.home, "bob", server.url(), "bob's password")
	equal(t, "Bob's log", texts(unlocked.list("log", "alice")), []string{"hello"})
	his = unlocked.daemon()
	equal(t, "through the new one", texts(bob.list("log", "alice")), []string{"hello"})
	equal(t, "exit", his.end(t), 0)
}

// A profile that another process has open, without a socket, is waited for.
func TestProfileInUse(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	alice := newUser(t, t.TempDir(), "alice", server.url(), "alice's password")
	alice.one("register", "alice")
	follow := alice.start("recv", "--follow", "--json", "--verbose")
	eventually(t, "the profile is open", func() bool { return alice.run("", "whoami", "--json").code == exitError })
	alice.fails(exitError, "profile_in_use", "whoami")
	equal(t, "exit", follow.end(t), 0)
	alice.one("whoami")
}

// What is wrong with an invocation is said before a password is asked for.
func TestUsage(t *testing.T) {
	t.Parallel()
	alice := newUser(t, t.TempDir(), "alice", "http://127.0.0.1:1", "p")
	for _, args := range [][]string{
		{"bogus"},
		{"send"},
		{"whoami", "more"},
		{"whoami", "--bogus"},
		{"log", "bob", "--limit", "0"},
		{"log", "bob", "--limit", "x"},
		{"send", "bob", "hi", "--wait", "-1s"},
		{"send", "bob", "hi", "--wait", "1"},
		{"search", "x", "--limit", "5000"},
		{"send", "bob", "\xff"},
		{"send", "bob", "--password-file", "-"},
		{"contacts"},
		{"contacts", "add"},
		{"--profile", "../x", "whoami"},
		{"demo", "--lang", "xx"},
	} {
		alice.fails(exitUsage, "usage", args...)
	}
	alice.fails(exitError, "unreachable", "register", "alice")
	alice.fails(exitError, "no_profile", "whoami")
	r := alice.run("", "bogus")
	if r.code != exitUsage || r.out != "" || strings.Count(r.errs, "\n") != 1 {
		t.Errorf("got %+v, want one line on standard error", r)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	for lang, s := range scripts {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			u := &user{t: t, home: t.TempDir(), profile: "unused", server: "http://unused", logs: new(lockedBuffer)}
			r := u.run("", "demo", "--text", "--lang", lang)
			if r.code != 0 || r.errs != "" {
				t.Fatalf("exit %d: %s\n%s", r.code, r.errs, r.out)
			}
			for _, text := range s.texts {
				if strings.Count(r.out, text) != 2 {
					t.Errorf("%q is shown %d times, want typed and read", text, strings.Count(r.out, text))
				}
			}
			if strings.Contains(r.out, "\x1b") {
				t.Error("colours though this is no terminal")
			}
			if strings.Contains(r.out, "%!") {
				t.Errorf("a text does not fit its numbers:\n%s", r.out)
			}
			if entries, _ := os.ReadDir(u.home); len(entries) != 0 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
	t.Run("json", func(t *testing.T) {
		t.Parallel()
		u := &user{t: t, home: t.TempDir(), profile: "unused", server: "http://unused", logs: new(lockedBuffer)}
		sum := u.one("demo")
		equal(t, "texts found at the relay", sum["plaintext_found"], 0)
		equal(t, "messages", sum["messages"], 5)
	})
}

// Programs rely on these names; there may be more.
func TestFields(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	befriend(alice, bob)
	alice.one("send", "bob", "something to find")
	const (
		account = "user_id username display_name server device address link"
		contact = "user_id username display_name state verified key_changed presence last_seen"
		item    = "id chat from from_name seq kind text sent_at received_at gap_before request"
		safety  = "number code verified key_changed"
	)
	for _, c := range []struct {
		user   *user
		fields string
		args   []string
	}{
		{bob, account, []string{"whoami"}},
		{bob, account, []string{"login", "bob"}},
		{bob, contact, []string{"contacts", "list"}},
		{bob, contact, []string{"contacts", "add", "alice"}},
		{bob, contact, []string{"contacts", "accept", "alice"}},
		{alice, "id to state sent_at", []string{"send", "bob", "again"}},
		{bob, item, []string{"recv"}},
		{bob, item + " direction state", []string{"log", "alice"}},
		{bob, item + " direction state snippet", []string{"search", "find"}},
		{bob, safety, []string{"safety", "alice"}},
		{bob, safety, []string{"accept-key", "alice"}},
		{bob, "connected outbox prekeys_left conflict error", []string{"status"}},
		{bob, "verified key_changed pq held missing epoch ratchet_steps", []string{"status", "alice"}},
		{bob, "auto-accept presence language", []string{"settings"}},
		{bob, "version", []string{"version"}},
		{bob, "locked", []string{"lock"}},
		{bob, contact, []string{"contacts", "block", "alice"}},
		{bob, contact, []string{"contacts", "remove", "alice"}},
	} {
		all := c.user.list(c.args...)
		if len(all) == 0 {
			t.Errorf("%q printed nothing", c.args)
		}
		for _, o := range all {
			for field := range strings.FieldsSeq(c.fields) {
				if _, is := o[field]; !is {
					t.Errorf("%q: no %q in %v", c.args, field, o)
				}
			}
		}
	}
}

// What people read: a result, and a hint where there is none.
func TestText(t *testing.T) {
	t.Parallel()
	server, alice, bob := pair(t)
	for _, c := range []struct {
		user      *user
		code      int
		out, errs string // that is printed somewhere
		args      []string
	}{
		{bob, exitOK, "", "No contacts yet. Add one with: chate2e --profile bob contacts add WHO", []string{"contacts", "list"}},
		{bob, exitOK, "", "Nothing new.", []string{"recv", "--wait", "0s"}},
		{bob, exitOK, "", "Nothing found.", []string{"search", "x"}},
		{alice, exitOK, "bob  bob  ", "", []string{"contacts", "add", "bob"}},
		{bob, exitOK, "asks to be a contact: chate2e --profile bob contacts accept ", "", []string{"recv"}},
		{alice, exitOK, "  I asked to be a contact\n", "", []string{"log", "bob"}},
		{bob, exitOK, "  Alice asked to be a contact\n", "", []string{"log", "alice"}},
		{bob, exitOK, "  accepted", "", []string{"contacts", "accept", "alice"}},
		{bob, exitOK, "then: chate2e --profile bob verify alice NUMBER", "", []string{"safety", "alice"}},
		{bob, exitOK, "Alice and the conversation are removed.", "", []string{"contacts", "remove", "alice"}},
		{bob, exitUsage, "", "--lang can be en or zh", []string{"demo", "--lang", "fr"}},
		{newUser(t, bob.home, "new", server.url(), ""), exitError, "", "make one with: chate2e --profile new register NAME", []string{"whoami"}},
		{newUser(t, bob.home, "default", server.url(), ""), exitError, "", "make one with: chate2e register NAME", []string{"whoami"}},
		{newUser(t, bob.home, "new", "http://127.0.0.1:1", "p"), exitError, "", "the relay at http://127.0.0.1:1 does not answer", []string{"register", "new"}},
		{newUser(t, bob.home, "new", "nowhere", "p"), exitUsage, "", "that is not the URL of a relay", []string{"register", "new"}},
		{newUser(t, bob.home, "new", "http://relay.example", ""), exitUsage, "", "Warning: http://relay.example is reached without TLS", []string{"register", "new"}},
		{newUser(t, bob.home, "new", "http://relay.example", ""), exitUsage, "", "Warning: http://relay.example is reached without TLS", []string{"login", "new", "--json"}},
		{newUser(t, bob.home, "new", server.url(), "p"), exitError, "", "that username is taken; choose another", []string{"register", "bob"}},
		{alice, exitError, "", `no contact has the username or name "carol"; to add somebody: contacts add WHO`, []string{"status", "carol"}},
		{alice, exitError, "", `no contact has the username or name "carol"; to add somebody: contacts add WHO`, []string{"log", "carol"}},
		{alice, exitError, "", `no contact has the username or name "carol"; to add somebody: contacts add WHO`, []string{"safety", "carol"}},
		{alice, exitError, "", "no contact has that user ID; to add its owner: contacts add " + strings.Repeat("a", 32), []string{"log", strings.Repeat("a", 32)}},
		{alice, exitError, "", `no contact has the name "carol", and nobody at the relay has it as a username`, []string{"send", "carol", "hi"}},
		{alice, exitError, "", "it is no user ID (32 characters out of a-z and 2-7)", []string{"contacts", "add", strings.Repeat("a", 31)}},
		{alice, exitOK, "", "Warning: the link is of the relay https://relay.example", []string{"contacts", "add", "https://relay.example/add#" + strings.Repeat("a", 32)}},
		{alice, exitOK, "relay                          " + server.url() + "\nconnected to the relay         yes\n", "", []string{"status"}},
		{alice, exitUsage, "", `there is no command "sned"; see chate2e --help`, []string{"sned"}},
		{alice, exitUsage, "", `there is no command "contacts ad" (did you mean "add"?); see chate2e contacts --help`, []string{"contacts", "ad", "bob"}},
		{alice, exitUsage, "", "<who> is missing; see chate2e contacts add --help", []string{"contacts", "add"}},
		{alice, exitUsage, "", `"Bob" is one argument too many: a text with spaces goes between quotation marks; see chate2e send --help`, []string{"send", "bob", "Hello", "Bob"}},
		{alice, exitUsage, "", `--wait: "3" is not a length of time such as 5s, 1m or 1h30m; see chate2e send --help`, []string{"send", "bob", "hi", "--wait", "3"}},
		{alice, exitUsage, "", `--limit: "few" is not a number; see chate2e log --help`, []string{"log", "bob", "--limit", "few"}},
		{alice, exitUsage, "", "--limit needs a value; see chate2e log --help", []string{"log", "bob", "--limit"}},
	} {
		r := c.user.run("", c.args...)
		if r.code != c.code || !strings.Contains(r.out, c.out) || !strings.Contains(r.errs, c.errs) {
			t.Errorf("%s %q: exit %d\n%s%s\nwant exit %d with %q and %q", c.user.profile, c.args, r.code, r.out, r.errs, c.code, c.out, c.errs)
		}
	}
	server.stop()
	says := func(what, text, pattern string) {
		t.Helper()
		if !regexp.MustCompile(`^` + pattern + `\n$`).MatchString(text) {
			t.Errorf("%s says %q, want %s", what, text, pattern)
		}
	}
	says("send without a relay", alice.run("", "send", "bob", "hi", "--wait", "2s").out,
		`queued: there is no connection to the relay \([^()]+\); the next command tries again`)
	alice.run("", "recv", "--wait", "0s") // that Bob has accepted
	says("recv without a relay", alice.run("", "recv").errs,
		`Nothing new\.\nWarning: there is no connection to the relay \([^()]+\); what waits there comes later\.`)
	says("status without a relay", alice.run("", "status").out, `relay .*\nconnected to the relay +no: .+\n.*\n.*`)
	alice.daemon()
	says("send through a daemon without a relay", alice.run("", "send", "bob", "hi", "--wait", "2s").out,
		`queued: there is no connection to the relay \([^()]+\); the daemon goes on trying`)
}
