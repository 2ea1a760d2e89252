// Command chate2e-server is a ChatE2E relay: it keeps public keys and passes on
// envelopes it cannot read.
//
//	chate2e-server                          serves on http://127.0.0.1:5000
//	chate2e-server --domain chat.example.org
//	chate2e-server invite create
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	restrictFiles()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// command is what a relay can be told to do.
type command struct {
	name      string // one or two words
	arguments string // as usage shows them
	summary   string
	flags     []string // beyond those of every command
	count     int      // of arguments
	run       func(ctx context.Context, c *settings, args []string, stdout, stderr io.Writer) error
}

// common are the flags of every command: where things are.
var common = []string{"config", "data"}

// naming are the flags that say under which names clients reach the relay.
var naming = []string{"listen", "domain", "public-url", "insecure"}

var commands = []command{
	{
		name: "serve", summary: "run the relay (what happens without a command)", run: serve,
		flags: append(slices.Clone(naming), "acme-directory", "trusted-proxy", "registration", "metrics-listen",
			"max-message-bytes", "mailbox-messages", "mailbox-bytes", "retention-days", "connections-per-address",
			"bundles-per-hour", "one-time-prekeys-per-hour", "lookups-per-hour", "registrations-per-hour", "logins-per-hour"),
	},
	{name: "invite create", summary: "make an invitation and print its link", run: inviteCreate, flags: append(slices.Clone(naming), "uses", "expires")},
	{name: "invite list", summary: "list invitations that can still be used", run: inviteList},
	{name: "invite revoke", arguments: "ID", count: 1, summary: "take an invitation back", run: inviteRevoke},
	{name: "user list", summary: "list accounts", run: userList},
	{name: "user disable", arguments: "USER", count: 1, summary: "let an account (user ID or username) log in no more", run: userDisable},
	{name: "user enable", arguments: "USER", count: 1, summary: "let it in again", run: userEnable},
	{name: "user delete", arguments: "USER", count: 1, summary: "delete an account and all that waits for it", run: userDelete},
	{name: "backup", arguments: "FILE", count: 1, summary: "copy the database; the relay may be running", run: backup},
	{name: "doctor", summary: "look for what is wrong", run: doctor, flags: append(slices.Clone(naming), "registration")},
	{name: "version", summary: "print the version", run: version},
}

// errUsage marks an error in what was typed: it is printed with a hint instead of
// this word, and the exit code is 2.
var errUsage = errors.New("usage")

// oneLine is an error as people read it.
func oneLine(err error) string {
	return strings.ReplaceAll(strings.ReplaceAll(err.Error(), errUsage.Error()+": ", ""), "\n", "; ")
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, env, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintf(stderr, "chate2e-server: %s; see chate2e-server --help\n", oneLine(err))
		return 2
	default:
		_, _ = fmt.Fprintf(stderr, "chate2e-server: %s\n", oneLine(err))
		return 1
	}
}

func dispatch(ctx context.Context, args []string, env func(string) (string, bool), stdout, stderr io.Writer) error {
	c := newSettings()
	words, err := c.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		if _, _, unknown := find(words); errors.Is(unknown, errCommand) {
			return unknown
		}
		c.usage(stdout, words)
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, c.flagError(err))
	}
	cmd, rest, err := find(words)
	if err != nil {
		return err
	}
	switch {
	case len(rest) < cmd.count:
		return fmt.Errorf("%w: %s needs %s", errUsage, cmd.name, cmd.arguments)
	case len(rest) > cmd.count:
		return fmt.Errorf("%w: %q is one argument too many for %s", errUsage, rest[cmd.count], cmd.name)
	}
	for _, name := range c.given() {
		if !slices.Contains(common, name) && !slices.Contains(cmd.flags, name) {
			return fmt.Errorf("%w: %s has no flag --%s", errUsage, cmd.name, name)
		}
	}
	if err := c.complete(env); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return cmd.run(ctx, c, rest, stdout, stderr)
}

// errCommand is returned for a command that there is not.
var errCommand = errors.New("there is no command")

// find returns the command that the words begin with, and the words after it.
func find(words []string) (*command, []string, error) {
	if len(words) == 0 {
		return &commands[0], nil, nil
	}
	for i := range commands {
		name := strings.Fields(commands[i].name)
		if len(words) >= len(name) && slices.Equal(words[:len(name)], name) {
			return &commands[i], words[len(name):], nil
		}
	}
	var second []string // of commands with two words
	for _, cmd := range commands {
		if rest, ok := strings.CutPrefix(cmd.name, words[0]+" "); ok {
			second = append(second, rest)
		}
	}
	if len(second) > 0 {
		return nil, nil, fmt.Errorf("%w: say which: %s %s", errUsage, words[0], strings.Join(second, "|"))
	}
	return nil, nil, fmt.Errorf("%w: %w %q", errUsage, errCommand, words[0])
}
