// Command chate2e is the client: it registers accounts, keeps contacts, sends and
// receives, and shows what the protocol does. "chate2e --help" lists the commands.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"github.com/chate2e/chate2e/internal/client"
)

// Exit codes.
const (
	exitOK            = 0
	exitError         = 1
	exitUsage         = 2
	exitWrongPassword = 3
)

func main() {
	noCoreFiles()
	// Writing to a reader that has gone is an error like others: what was begun is
	// put in order first.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// commands are the flags and commands; kong reads the tags.
type commands struct {
	globals

	App  appCmd  `cmd:"" default:"withargs" help:"Open the window: create or unlock this profile, and chat."`
	Demo demoCmd `cmd:"" help:"Watch Alice and Bob agree on keys and talk, with a relay of their own."`

	Register registerCmd `cmd:"" help:"Make keys, an account and this profile." group:"Account"`
	Login    loginCmd    `cmd:"" help:"Unlock this profile if it exists, else register." group:"Account"`
	Whoami   whoamiCmd   `cmd:"" help:"Show your user ID and link." group:"Account"`
	Passwd   passwdCmd   `cmd:"" help:"Change the password." group:"Account"`
	Account  accountCmd  `cmd:"" help:"Delete the account." group:"Account"`

	Contacts  contactsCmd  `cmd:"" help:"List, add, accept, block, remove contacts." group:"Contacts"`
	Safety    safetyCmd    `cmd:"" help:"Show the safety number shared with a contact." group:"Contacts"`
	Verify    verifyCmd    `cmd:"" help:"Compare a safety number and mark the contact verified." group:"Contacts"`
	AcceptKey acceptKeyCmd `cmd:"" help:"Take the account that a contact's username names now." group:"Contacts"`

	Send   sendCmd   `cmd:"" help:"Send a text." group:"Messages"`
	Recv   recvCmd   `cmd:"" help:"Print what has newly arrived." group:"Messages"`
	Log    logCmd    `cmd:"" help:"Print a conversation, oldest first." group:"Messages"`
	Search searchCmd `cmd:"" help:"Find messages." group:"Messages"`

	Status   statusCmd   `cmd:"" help:"Show connection and queue, or the session with a contact." group:"Machinery"`
	Inspect  inspectCmd  `cmd:"" help:"Show what the protocol did, step by step." group:"Machinery"`
	Settings settingsCmd `cmd:"" help:"Show or change settings." group:"Machinery"`
	Daemon   daemonCmd   `cmd:"" help:"Keep the profile unlocked; other commands go through it." group:"Machinery"`
	Lock     lockCmd     `cmd:"" help:"Make the daemon forget the keys and stop." group:"Machinery"`
	Version  versionCmd  `cmd:"" help:"Print the version." group:"Machinery"`
}

// globals are the flags of all commands, before or after their name.
type globals struct {
	Profile      string `default:"default" placeholder:"NAME" help:"Which profile: one account on this computer (${default})."`
	Home         string `placeholder:"DIR" help:"Folder of the profiles (the system's folder for configuration)."`
	Server       string `default:"http://127.0.0.1:5000" placeholder:"URL" help:"Relay of a new account, or the link of an invitation (${default})."`
	PasswordFile string `placeholder:"FILE" help:"File with the password; - is standard input (asks at the terminal)."`
	JSON         bool   `name:"json" help:"Print JSON, one object on a line."`
	Verbose      bool   `help:"Say on standard error what happens."`
}

// env is what a command runs in.
type env struct {
	globals
	output
	in io.Reader
}

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	var c commands
	e := &env{in: in, output: output{out: out, errs: errs}}
	end, _, _ := cut(args, "--")
	e.json = slices.Contains(end, "--json") // known even if the rest is wrong

	for _, arg := range args {
		if !utf8.ValidString(arg) { // kong would change it silently
			e.failure(usageError("an argument is not UTF-8"))
			return exitUsage
		}
	}
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("chate2e"),
		kong.Description("An end-to-end encrypted messenger. WHO is a user ID, a link, a username or a contact's name."),
		kong.Writers(out, errs),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(e),
	)
	if err != nil {
		panic("chate2e: " + err.Error()) // the tags above
	}
	parser.Model.HelpFlag.Help = "Show this help."
	parsed, err := parser.Parse(args)
	if exited >= 0 { // the help was printed
		return exited
	}
	if err != nil {
		e.failure(argumentError(args, err))
		return exitUsage
	}
	e.globals = c.globals
	err = parsed.Run()
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, syscall.EPIPE):
		return exitError // whoever read has had enough
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	e.failure(err)
	return exitCode(err)
}

func exitCode(err error) int {
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return exitError
	case e.Code == client.CodeUsage:
		return exitUsage
	case e.Code == client.CodeWrongPassword:
		return exitWrongPassword
	default:
		return exitError
	}
}

// cut is [strings.Cut] for arguments.
func cut(args []string, sep string) (before, after []string, found bool) {
	if i := slices.Index(args, sep); i >= 0 {
		return args[:i], args[i+1:], true
	}
	return args, nil, false
}
