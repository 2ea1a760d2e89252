package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/chate2e/chate2e/internal/account"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

// withStore runs f on the database of a relay that has been started before. The
// relay may be running.
func withStore(c *settings, f func(*sqlite.DB) error) (err error) {
	if err := c.started(); err != nil {
		return err
	}
	store, err := c.openStore()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return f(store)
}

// started returns an error unless there is a database.
func (c *settings) started() error {
	if _, err := os.Stat(c.database()); err != nil {
		return fmt.Errorf("no relay has been started with --data %s", c.data)
	}
	return nil
}

// inviteIDBytes is how much of an invitation's hash is its ID.
const inviteIDBytes = 6

func inviteCreate(ctx context.Context, c *settings, _ []string, stdout, _ io.Writer) error {
	if c.uses < 1 || c.expires <= 0 {
		return fmt.Errorf("%w: --uses and --expires are greater than 0", errUsage)
	}
	_, port, err := net.SplitHostPort(c.address())
	if err != nil {
		return fmt.Errorf("%w: --listen %s is not HOST:PORT", errUsage, c.address())
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("%w: --listen %s has no port number", errUsage, c.address())
	}
	origins, err := c.origins(number)
	if err != nil {
		return err
	}
	return withStore(c, func(store *sqlite.DB) error {
		link, err := createInvite(ctx, store, origins[0], c.uses, c.expires)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, link)
		return err
	})
}

func inviteList(ctx context.Context, c *settings, _ []string, stdout, _ io.Writer) error {
	return withStore(c, func(store *sqlite.DB) error {
		invites, err := store.Invites(ctx, time.Now())
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		for _, i := range invites {
			uses := "uses"
			if i.Uses == 1 {
				uses = "use"
			}
			_, _ = fmt.Fprintf(w, "%s\t%d %s left\tuntil %s\n", hex.EncodeToString(i.Hash[:inviteIDBytes]), i.Uses, uses, i.Expires.Local().Format(time.DateTime))
		}
		return w.Flush()
	})
}

func inviteRevoke(ctx context.Context, c *settings, args []string, stdout, _ io.Writer) error {
	id, err := hex.DecodeString(args[0])
	if err != nil || len(id) != inviteIDBytes {
		return fmt.Errorf("%w: %s is not the ID of an invitation; see invite list", errUsage, args[0])
	}
	return withStore(c, func(store *sqlite.DB) error {
		invites, err := store.Invites(ctx, time.Now())
		if err != nil {
			return err
		}
		for _, i := range invites {
			if !bytes.Equal(i.Hash[:inviteIDBytes], id) {
				continue
			}
			if err := store.RevokeInvite(ctx, i.Hash); err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdout, "revoked")
			return err
		}
		return fmt.Errorf("there is no invitation %s", args[0])
	})
}

func userList(ctx context.Context, c *settings, _ []string, stdout, _ io.Writer) error {
	return withStore(c, func(store *sqlite.DB) error {
		w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		var after relay.UserID
		for {
			accounts, err := store.Accounts(ctx, after, 500)
			if err != nil {
				return err
			}
			for _, a := range accounts {
				state := "active"
				if a.Disabled {
					state = "disabled"
				}
				name := string(a.Username)
				if name == "" {
					name = "-"
				}
				_, _ = fmt.Fprintf(w, "%s\t%s\t%s\tsince %s\n", a.User, name, state, a.Created.Format(time.DateOnly))
				after = a.User
			}
			if len(accounts) == 0 {
				return w.Flush()
			}
		}
	})
}

// findUser reads a user ID or a username.
func findUser(ctx context.Context, store *sqlite.DB, text string) (relay.UserID, error) {
	if id, err := account.ParseUserID(text); err == nil {
		return relay.UserID(id), nil
	}
	name, err := account.ParseUsername(text)
	if err != nil {
		return relay.UserID{}, fmt.Errorf("%w: neither a user ID nor a username", errUsage)
	}
	user, err := store.Username(ctx, relay.Username(name))
	if errors.Is(err, mailbox.ErrUnknownUsername) {
		return user, errors.New("there is no such user")
	}
	return user, err
}

// changeUser does something to the account that the argument names.
func changeUser(ctx context.Context, c *settings, args []string, stdout io.Writer, done string, change func(*sqlite.DB, relay.UserID) error) error {
	return withStore(c, func(store *sqlite.DB) error {
		user, err := findUser(ctx, store, args[0])
		if err != nil {
			return err
		}
		err = change(store, user)
		if errors.Is(err, mailbox.ErrUnknownUser) {
			return errors.New("there is no such user")
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, done)
		return err
	})
}

func userDisable(ctx context.Context, c *settings, args []string, stdout, _ io.Writer) error {
	return changeUser(ctx, c, args, stdout, "disabled; open connections end within a minute", func(store *sqlite.DB, user relay.UserID) error {
		return store.SetDisabled(ctx, user, true)
	})
}

func userEnable(ctx context.Context, c *settings, args []string, stdout, _ io.Writer) error {
	return changeUser(ctx, c, args, stdout, "enabled", func(store *sqlite.DB, user relay.UserID) error {
		return store.SetDisabled(ctx, user, false)
	})
}

func userDelete(ctx context.Context, c *settings, args []string, stdout, _ io.Writer) error {
	return changeUser(ctx, c, args, stdout, "deleted; open connections end within a minute", func(store *sqlite.DB, user relay.UserID) error {
		return store.DeleteAccount(ctx, user)
	})
}

func backup(ctx context.Context, c *settings, args []string, stdout, _ io.Writer) error {
	if err := c.started(); err != nil {
		return err
	}
	if err := sqlite.Backup(ctx, c.database(), args[0]); err != nil {
		return err
	}
	// A log that a killed relay has left belongs to the old database: beside the copy it
	// would be taken for the copy's own.
	_, err := fmt.Fprintf(stdout, "the copy is complete; to go back to it, stop the relay, put the copy in the place of\n%s and remove %[2]s-wal and %[2]s-shm there\n", c.database(), databaseName)
	return err
}

// doctor prints a line for each thing it has looked at, and returns an error if
// one of them is wrong. It changes nothing.
func doctor(ctx context.Context, c *settings, _ []string, stdout, _ io.Writer) error {
	wrong := 0
	say := func(ok bool, format string, args ...any) {
		mark := "ok    "
		if !ok {
			mark = "WRONG "
			wrong++
		}
		_, _ = fmt.Fprintf(stdout, mark+format+"\n", args...)
	}
	// What is neither right nor wrong is told as well.
	tell := func(format string, args ...any) { _, _ = fmt.Fprintf(stdout, "      "+format+"\n", args...) }

	configErr := c.check()
	if configErr == nil {
		_, configErr = server.ParseRegistration(c.registration)
	}
	say(configErr == nil, "settings: %s", orError("listen on "+c.address()+", registration "+c.registration, configErr))

	info, err := os.Stat(c.data)
	say(err == nil, "data directory: %s", orError(c.data, err))
	if err == nil && runtime.GOOS != "windows" {
		closed, advice := info.Mode().Perm()&0o077 == 0, ""
		if !closed {
			advice = "; to put it right: chmod 700 " + c.data
		}
		say(closed, "only its owner may look into it (mode %04o)%s", info.Mode().Perm(), advice)
	}
	report, err := sqlite.Inspect(ctx, c.database(), time.Now())
	say(err == nil, "database: %s", orError(fmt.Sprintf("schema %d, %d accounts, %d envelopes waiting, %d KiB", report.Version, report.Accounts, report.Messages, report.Bytes>>10), err))
	if err == nil {
		say(len(report.Problems) == 0, "its structure: %s", orText("sound", strings.Join(report.Problems, "; ")))
		room := "enough"
		if report.Full {
			room = "none: the relay takes no new messages until there is"
		}
		say(!report.Full, "room on the disk: %s", room)
		tell("%d invitations can be used", report.Invites)
	}
	if c.domain != "" {
		addresses, err := net.DefaultResolver.LookupHost(ctx, c.domain)
		say(err == nil, "the name %s: %s", c.domain, orError(strings.Join(addresses, ", "), err))
		tell("at https://%s a relay %s", c.domain, running(ctx, "https://"+c.domain))
	} else {
		tell("at http://%s a relay %s", c.address(), running(ctx, "http://"+c.address()))
	}
	for _, url := range c.publicURLs {
		if url = strings.TrimSuffix(url, "/"); c.domain != "" || url != "http://"+c.address() {
			tell("at %s a relay %s", url, running(ctx, url))
		}
	}
	switch wrong {
	case 0:
		return nil
	case 1:
		return errors.New("one of these is wrong")
	default:
		return fmt.Errorf("%d of these are wrong", wrong)
	}
}

func orError(text string, err error) string {
	if missing, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, fs.ErrNotExist) {
		return "there is no " + missing.Path + "; the first start of a relay makes it"
	}
	if err != nil {
		return oneLine(err)
	}
	return text
}

func orText(text, other string) string {
	if other != "" {
		return other
	}
	return text
}

// running says whether something answers like a relay, and if not, why.
func running(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return "cannot be asked"
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return fmt.Sprintf("does not answer (%v)", err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "answers, but takes no requests,"
	}
	return "is running"
}

func version(_ context.Context, _ *settings, _ []string, stdout, _ io.Writer) error {
	v, revision := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(stdout, "chate2e-server %s%s (%s, %s/%s)\n", v, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
