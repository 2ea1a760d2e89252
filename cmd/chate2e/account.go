package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/localapi"
	"github.com/chate2e/chate2e/internal/relay"
)

type registerCmd struct {
	Name        string `arg:"" help:"Username: 3 to 24 letters a-z, digits and _."`
	DisplayName string `placeholder:"NAME" help:"Name that contacts see (the username)."`
	Invite      string `placeholder:"INVITE" help:"Invitation or its link, if the relay wants one."`
}

func (c *registerCmd) Run(ctx context.Context, e *env) error {
	dir, err := e.profileDir()
	if err != nil {
		return err
	}
	if client.Exists(dir) {
		return profileExists("the profile %q exists; choose another with --profile NAME", e.Profile)
	}
	return e.register(ctx, dir, client.Registration{
		Server: e.Server, Username: c.Name, DisplayName: c.DisplayName, Invite: c.Invite,
	})
}

func profileExists(format string, args ...any) error {
	return &client.Error{Code: client.CodeProfileExists, Message: fmt.Sprintf(format, args...)}
}

func (e *env) register(ctx context.Context, dir string, account client.Registration) error {
	if err := account.Check(); err != nil {
		return err // before a password is asked for
	}
	server, err := relay.ParseServer(account.Server)
	if err != nil {
		return err
	}
	e.warnOfPlain(server.Origin.URL())
	account.Invite = inviteToken(account.Invite)
	password, err := e.readPassword(ctx, e.PasswordFile, "New password", true)
	if err != nil {
		return err
	}
	defer clear(password)
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the profile's folder: %w", err)
	}
	engine, err := client.Create(ctx, dir, password, account, e.engineConfig(), func(p client.Progress) {
		e.note("[%d/%d] %s", p.Done, p.Total, progressText[p.Step])
	})
	if err != nil {
		_ = os.Remove(dir) // if nothing is in it
		return registrationError(err, server.Origin)
	}
	s := e.host(ctx, engine)
	self, err := s.Self(ctx)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	return e.printSelf(self)
}

// registrationError adds to an error of a registration what to do about it.
func registrationError(err error, server relay.Origin) error {
	failed, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	var advice string
	refused, _ := errors.AsType[*relay.Error](err)
	switch {
	case failed.Code == client.CodeUnreachable && server.Loopback():
		advice = "start one with chate2e-server, or name another with --server URL"
	case failed.Code == client.CodeUnreachable:
		advice = "check the address and your connection, or name another with --server URL"
	case failed.Code == client.CodeNameTaken:
		advice = "choose another"
	case refused != nil && refused.Code == relay.CodeInviteRequired:
		advice = "ask its operator for an invitation, and say --server LINK"
	case refused != nil && refused.Code == relay.CodeInviteInvalid:
		advice = "ask for a new one"
	default:
		return err
	}
	message := strings.Replace(failed.Message, "the relay does not answer", "the relay at "+server.URL()+" does not answer", 1)
	return &client.Error{Code: failed.Code, Err: err, Message: message + "; " + advice}
}

// withoutTLS reports whether what goes to the relay at url can be seen on the way.
func withoutTLS(url string) bool {
	origin, err := relay.ParseOrigin(url)
	return err == nil && strings.HasPrefix(string(origin), "http:") && !origin.Loopback()
}

// warnOfPlain says so if the relay at url is reached without TLS over a network.
func (e *env) warnOfPlain(url string) {
	if withoutTLS(url) {
		e.note("Warning: %s is reached without TLS. What you write stays encrypted, but whoever is on the way "+
			"sees who writes to whom and when, and can act in your name at the relay. Use https:// where you can.", clean(url))
	}
}

// inviteToken returns the invitation in a text that is one, or the link of one.
func inviteToken(text string) string {
	if link, err := relay.ParseServer(text); err == nil && link.Invite != "" {
		return link.Invite
	}
	return text
}

var progressText = map[client.ProgressStep]string{
	client.ProgressVault:        "encrypted database, under your password",
	client.ProgressAccountKey:   "account key: your user ID is its fingerprint",
	client.ProgressIdentityKey:  "identity key of this device",
	client.ProgressSignedPreKey: "signed prekey and post-quantum prekey",
	client.ProgressOneTime:      "one-time prekeys",
	client.ProgressUpload:       "public parts are at the relay",
}

func (e *env) printSelf(self client.Self) error {
	return e.result(self, table([][]string{
		{"username", clean(self.Username)},
		{"display name", clean(self.DisplayName)},
		{"user ID", groups(self.UserID)},
		{"device", fmt.Sprint(self.Device)},
		{"server", clean(self.Server)},
		{"address", clean(self.Address)},
		{"link", clean(self.Link)},
	}))
}

type loginCmd struct {
	Name        string `arg:"" help:"Username."`
	DisplayName string `placeholder:"NAME" help:"Name that contacts see, of a new account."`
	Invite      string `placeholder:"INVITE" help:"Invitation or its link, if the relay wants one for a new account."`
}

func (c *loginCmd) Run(ctx context.Context, e *env) error {
	dir, err := e.profileDir()
	if err != nil {
		return err
	}
	if !client.Exists(dir) {
		return e.register(ctx, dir, client.Registration{
			Server: e.Server, Username: c.Name, DisplayName: c.DisplayName, Invite: c.Invite,
		})
	}
	return e.with(ctx, func(s *session) error {
		self, err := s.Self(ctx)
		if err != nil {
			return err
		}
		if self.Username != c.Name {
			return profileExists("the profile %q belongs to %s; choose another with --profile NAME", e.Profile, self.Username)
		}
		e.warnOfPlain(self.Server)
		return e.printSelf(self)
	})
}

type whoamiCmd struct{}

func (*whoamiCmd) Run(ctx context.Context, e *env) error {
	return e.with(ctx, func(s *session) error {
		self, err := s.Self(ctx)
		if err != nil {
			return err
		}
		return e.printSelf(self)
	})
}

type passwdCmd struct {
	NewPasswordFile string `placeholder:"FILE" help:"File with the new password; - is standard input (asks at the terminal)."`
}

func (c *passwdCmd) Run(ctx context.Context, e *env) error {
	if c.NewPasswordFile == "-" && e.PasswordFile == "-" {
		return usageError("standard input cannot be both passwords")
	}
	dir, err := e.existing()
	if err != nil {
		return err
	}
	current, err := e.readPassword(ctx, e.PasswordFile, "Password", false)
	if err != nil {
		return err
	}
	next, err := e.readPassword(ctx, c.NewPasswordFile, "New password", true)
	if err != nil {
		return err
	}
	return e.withPassword(ctx, dir, current, func(s *session) error {
		if err := s.ChangePassword(ctx, string(current), string(next)); err != nil {
			return err
		}
		return e.result(map[string]bool{"changed": true}, "The password is changed.\n")
	})
}

// withPassword is with for commands that need the password even if a daemon runs.
func (e *env) withPassword(ctx context.Context, dir string, password []byte, do func(*session) error) (err error) {
	var s *session
	if api, ok := localapi.Dial(ctx, dir); ok {
		s = e.through(ctx, api)
	} else {
		engine, locked := e.unlock(ctx, dir, password, nil)
		if locked != nil {
			return locked
		}
		s = e.host(ctx, engine)
	}
	err = do(s)
	if closing := s.Close(); err == nil {
		err = closing
	}
	return err
}

type accountCmd struct {
	Delete deleteCmd `cmd:"" help:"Delete the account at the relay, and this profile with its messages and keys."`
}

type deleteCmd struct{}

func (*deleteCmd) Run(ctx context.Context, e *env) error {
	dir, err := e.existing()
	if err != nil {
		return err
	}
	if e.PasswordFile == "" {
		e.note("This deletes the account and everything in the profile %q. It cannot be undone.", e.Profile)
	}
	password, err := e.readPassword(ctx, e.PasswordFile, "Password", false)
	if err != nil {
		return err
	}
	defer clear(password)
	err = e.withPassword(ctx, dir, password, func(s *session) error { return s.DeleteAccount(ctx, string(password)) })
	if err != nil {
		return err
	}
	_ = os.Remove(dir) // if nothing is in it
	return e.result(map[string]bool{"deleted": true}, "The account is deleted.\n")
}

type lockCmd struct{}

func (*lockCmd) Run(ctx context.Context, e *env) error {
	dir, err := e.existing()
	if err != nil {
		return err
	}
	api, ok := localapi.Dial(ctx, dir)
	if !ok {
		return e.result(map[string]bool{"locked": true}, "Nothing has the profile open.\n")
	}
	defer api.Close()
	if err := api.Lock(ctx); err != nil {
		return err
	}
	for { // until the socket is gone
		if _, ok := localapi.Dial(ctx, dir); !ok {
			break
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return e.result(map[string]bool{"locked": true}, "The profile is locked.\n")
}

type versionCmd struct{}

func (*versionCmd) Run(e *env) error {
	v := version()
	return e.result(map[string]string{"version": v}, "chate2e "+v+"\n")
}
