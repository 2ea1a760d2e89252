package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// killedAt runs a command under strace, which kills it when it enters the n-th of
// the given system calls, and returns what it had printed. It reports false if the
// command came to its end before.
func (u *user) killedAt(call string, n int, args ...string) (out string, killed bool) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), deadline)
	defer cancel()
	plain := u.command(ctx, args...)
	cmd := exec.CommandContext(ctx, "strace", append([]string{
		"-f", "-qq", "-o", os.DevNull, "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n),
	}, plain.Args...)...)
	cmd.Env = plain.Env
	b, err := cmd.Output()
	if ctx.Err() != nil {
		u.t.Fatalf("%s %q killed at %s %d does not end", u.profile, args, call, n)
	}
	return string(b), err != nil
}

// killPoints has a program killed at each of its syncs and many of its writes.
func killPoints(t *testing.T, try func(call string, n int) (killed bool)) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a hundred programs")
	}
	if err := exec.CommandContext(t.Context(), "strace", "-f", "-qq", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("strace does not run here: %v", err)
	}
	points := 0
	for call, step := range map[string]int{"fdatasync": 1, "pwrite64": 5} {
		for n := 1; try(call, n); n += step {
			points++
		}
	}
	if points < 6 {
		t.Errorf("killed at %d points only", points)
	}
	t.Logf("killed at %d points", points)
}

// Wherever send dies, the retry with the same client ID makes it one message: that
// which it had reported, if it had.
func TestSendKilledAtSystemCalls(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	befriend(alice, bob)
	var want []string
	killPoints(t, func(call string, n int) bool {
		text := fmt.Sprintf("%s %d", call, n)
		args := []string{"send", "bob", text, "--client-id", text, "--json"}
		printed, killed := alice.killedAt(call, n, args...)
		again := alice.one(args[:5]...)
		if printed != "" && objects(t, printed)[0]["id"] != again["id"] {
			t.Errorf("killed at %s: it printed %q, and a retry %v", text, printed, again)
		}
		want = append(want, text)
		return killed
	})
	if len(want) > 0 {
		equal(t, "Alice's log", texts(alice.list("log", "bob")), want)
		equal(t, "Bob reads", texts(bob.list("recv")), want)
		equal(t, "Bob's log", texts(bob.list("log", "alice")), want)
		equal(t, "nothing missing", bob.one("status", "alice")["missing"], 0)
		equal(t, "conflict", alice.one("status")["conflict"], nil) // logins of killed programs are our own
	}
}

// Wherever recv dies, no message is lost, and none is there twice.
func TestRecvKilledAtSystemCalls(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	befriend(alice, bob)
	bob.list("recv", "--wait", "100ms")
	var want, printed []string
	killPoints(t, func(call string, n int) bool {
		text := fmt.Sprintf("%s %d", call, n)
		equal(t, "sent", alice.one("send", "bob", text)["state"], "sent")
		want = append(want, text)
		out, killed := bob.killedAt(call, n, "recv", "--wait", "400ms", "--json")
		if end := strings.LastIndexByte(out, '\n'); end >= 0 { // a line may be torn
			printed = append(printed, texts(objects(t, out[:end+1]))...)
		}
		return killed
	})
	if len(want) == 0 {
		return
	}
	printed = append(printed, texts(bob.list("recv"))...)
	equal(t, "Bob's log", texts(bob.list("log", "alice")), want)
	equal(t, "nothing missing", bob.one("status", "alice")["missing"], 0)
	// What was stored as printed when the program died before it printed is in the
	// log; nothing is printed twice, and all in order.
	last := -1
	for _, text := range printed {
		at := slices.Index(want, text)
		if at <= last {
			t.Errorf("%q was printed after %q", text, want[last])
		}
		last = at
	}
	equal(t, "printed in the end", printed[len(printed)-1], want[len(want)-1])
}
