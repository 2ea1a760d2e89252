package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"golang.org/x/crypto/acme/autocert"

	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

const (
	defaultListen       = "127.0.0.1:5000"
	defaultListenDomain = ":443"
	databaseName        = "relay.db"
	lockName            = "lock"
)

// settings are what flags, environment and configuration file say, in this order
// of precedence.
type settings struct {
	fs      *flag.FlagSet
	visited map[string]bool // set by flags, environment or file

	config, data, listen, domain, metricsListen string
	acmeDirectory                               string
	publicURLs, trustedProxies                  list
	insecure                                    bool
	registration                                string
	maxMessageBytes, mailboxMessages            int
	mailboxBytes                                int64
	retentionDays                               int
	limits                                      server.Limits
	uses                                        int
	expires                                     time.Duration
}

// list is a flag that may be given several times, or once with commas.
type list []string

// String implements [flag.Value].
func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements [flag.Value].
func (l *list) Set(s string) error {
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l = append(*l, item)
		}
	}
	return nil
}

func newSettings() *settings {
	c := &settings{fs: flag.NewFlagSet("chate2e-server", flag.ContinueOnError), visited: make(map[string]bool)}
	fs := c.fs
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.config, "config", "", "read settings from this TOML `FILE`; its keys are the names of the flags")
	fs.StringVar(&c.data, "data", defaultData(), "keep everything in this `DIR`")
	fs.StringVar(&c.listen, "listen", "", "listen on this `ADDRESS` ("+defaultListen+", or "+defaultListenDomain+" with --domain)")
	fs.StringVar(&c.domain, "domain", "", "serve HTTPS under this `NAME`, with a certificate that is fetched by itself")
	fs.StringVar(&c.acmeDirectory, "acme-directory", autocert.DefaultACMEDirectory, "fetch the certificate for --domain from the authority with this ACME directory `URL`")
	fs.Var(&c.publicURLs, "public-url", "the `URL` that clients dial, if a proxy stands in front; may be repeated")
	fs.BoolVar(&c.insecure, "insecure", false, "listen beyond this computer without TLS")
	fs.StringVar(&c.registration, "registration", "invite", "who may make an account: `open|invite|closed`")
	fs.Var(&c.trustedProxies, "trusted-proxy", "believe X-Forwarded-For of this `NETWORK` or address; may be repeated")
	fs.StringVar(&c.metricsListen, "metrics-listen", "", "serve Prometheus metrics at /metrics on this `ADDRESS`")
	fs.IntVar(&c.maxMessageBytes, "max-message-bytes", relay.MaxBody, "largest body of an envelope")
	fs.IntVar(&c.mailboxMessages, "mailbox-messages", mailbox.DefaultMailboxMessages, "most envelopes in a mailbox")
	fs.Int64Var(&c.mailboxBytes, "mailbox-bytes", mailbox.DefaultMailboxBytes, "most bytes in a mailbox")
	fs.IntVar(&c.retentionDays, "retention-days", int(mailbox.DefaultRetention/(24*time.Hour)), "how long an envelope waits to be fetched")
	fs.IntVar(&c.limits.ConnectionsPerAddress, "connections-per-address", server.DefaultConnectionsPerAddress, "WebSockets of one address (IPv6: /64), and as many connections beside them; -1 for no limit, as below")
	fs.IntVar(&c.limits.BundlesPerHour, "bundles-per-hour", server.DefaultBundlesPerHour, "prekey bundles one account may fetch")
	fs.IntVar(&c.limits.OneTimePerHour, "one-time-prekeys-per-hour", server.DefaultOneTimePerHour, "bundles of one user that come with one-time prekeys")
	fs.IntVar(&c.limits.LookupsPerHour, "lookups-per-hour", server.DefaultLookupsPerHour, "usernames one account may look up")
	fs.IntVar(&c.limits.RegistrationsPerHour, "registrations-per-hour", server.DefaultRegistrationsPerHour, "registrations of one address")
	fs.IntVar(&c.limits.LoginsPerHour, "logins-per-hour", server.DefaultLoginsPerHour, "challenges and logins of one address")
	fs.IntVar(&c.uses, "uses", 1, "how many may use the invitation")
	fs.DurationVar(&c.expires, "expires", 7*24*time.Hour, "how long the invitation is good")
	return c
}

// parse reads flags and words in any order and returns the words; with
// [flag.ErrHelp] those before it.
func (c *settings) parse(args []string) (words []string, err error) {
	for {
		if err := c.fs.Parse(args); err != nil {
			return words, err
		}
		if c.fs.NArg() == 0 {
			return words, nil
		}
		// After "--" everything is a word.
		if before := len(args) - c.fs.NArg() - 1; before >= 0 && args[before] == "--" {
			return append(words, c.fs.Args()...), nil
		}
		words = append(words, c.fs.Arg(0))
		args = c.fs.Args()[1:]
	}
}

// wrongValue says what a flag does not take.
func wrongValue(f *flag.Flag, value string) string {
	kind := "a value for it"
	if getter, ok := f.Value.(flag.Getter); ok {
		switch getter.Get().(type) {
		case int, int64:
			kind = "a whole number"
		case bool:
			kind = "true or false"
		case time.Duration:
			kind = "a length of time such as 36h"
		}
	}
	return fmt.Sprintf("%q is not %s", value, kind)
}

var badValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-([a-z-]+): `)

// flagError puts into words what package flag says, which has no types for it.
func (c *settings) flagError(err error) error {
	message := err.Error()
	if name, ok := strings.CutPrefix(message, "flag provided but not defined: -"); ok {
		return fmt.Errorf("there is no flag --%s", strings.TrimPrefix(name, "-"))
	}
	if name, ok := strings.CutPrefix(message, "flag needs an argument: -"); ok {
		return fmt.Errorf("--%s needs a value", strings.TrimPrefix(name, "-"))
	}
	if match := badValue.FindStringSubmatch(message); match != nil {
		if value, unquoted := strconv.Unquote(match[1]); unquoted == nil && c.fs.Lookup(match[2]) != nil {
			return fmt.Errorf("--%s: %s", match[2], wrongValue(c.fs.Lookup(match[2]), value))
		}
	}
	return err
}

// given returns the names of the flags that were typed.
func (c *settings) given() (names []string) {
	c.fs.Visit(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

func envName(flag string) string {
	return "CHATE2E_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// complete fills in from the environment and the file what no flag says.
func (c *settings) complete(env func(string) (string, bool)) error {
	for _, name := range c.given() {
		c.visited[name] = true
	}
	var err error
	c.fs.VisitAll(func(f *flag.Flag) {
		value, ok := env(envName(f.Name))
		if err != nil || !ok || c.visited[f.Name] {
			return
		}
		c.visited[f.Name] = true
		if c.fs.Set(f.Name, value) != nil {
			err = fmt.Errorf("%s: %s", envName(f.Name), wrongValue(f, value))
		}
	})
	if err != nil || c.config == "" {
		return err
	}
	return c.readFile(c.config)
}

// oneCommand are flags that make no sense in a file.
var oneCommand = []string{"config", "uses", "expires"}

func (c *settings) readFile(path string) error {
	var values map[string]any
	if _, err := toml.DecodeFile(path, &values); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	for name, value := range values {
		if c.fs.Lookup(name) == nil || slices.Contains(oneCommand, name) {
			return fmt.Errorf("%s: unknown setting %q", path, name)
		}
		if c.visited[name] {
			continue
		}
		items, isList := value.([]any)
		if !isList {
			items = []any{value}
		}
		for _, item := range items {
			var text string
			switch item := item.(type) {
			case string:
				text = item
			case int64:
				text = strconv.FormatInt(item, 10)
			case bool:
				text = strconv.FormatBool(item)
			default:
				return fmt.Errorf("%s: %s has a value of the wrong type", path, name)
			}
			if c.fs.Set(name, text) != nil {
				return fmt.Errorf("%s: %s: %s", path, name, wrongValue(c.fs.Lookup(name), text))
			}
		}
	}
	return nil
}

// database returns where the database is.
func (c *settings) database() string { return filepath.Join(c.data, databaseName) }

// address returns what to listen on.
func (c *settings) address() string {
	switch {
	case c.listen != "":
		return c.listen
	case c.domain != "":
		return defaultListenDomain
	default:
		return defaultListen
	}
}

// loopback reports whether the address to listen on is on this computer alone.
func (c *settings) loopback() bool {
	host, _, err := net.SplitHostPort(c.address())
	return err == nil && relay.IsLoopbackHost(host)
}

// check refuses what would be unsafe or useless.
func (c *settings) check() error {
	if _, _, err := net.SplitHostPort(c.address()); err != nil {
		return fmt.Errorf("%w: --listen %s is not HOST:PORT", errUsage, c.address())
	}
	if err := c.checkDomain(); err != nil {
		return err
	}
	if c.domain == "" && !c.loopback() {
		if !c.insecure {
			return fmt.Errorf("%w: refusing to listen on %s without TLS: say --domain NAME, or --insecure if a proxy does it", errUsage, c.address())
		}
		if len(c.publicURLs) == 0 {
			return fmt.Errorf("%w: --insecure needs --public-url, the URL that clients dial", errUsage)
		}
	}
	if u, err := url.Parse(c.acmeDirectory); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%w: --acme-directory %q is no URL", errUsage, c.acmeDirectory)
	}
	for _, url := range c.publicURLs {
		if _, err := relay.ParseOrigin(url); err != nil {
			return fmt.Errorf("%w: --public-url %q: %w", errUsage, url, err)
		}
	}
	if c.maxMessageBytes < 1 || c.maxMessageBytes > relay.MaxBody {
		return fmt.Errorf("%w: --max-message-bytes is 1 to %d", errUsage, relay.MaxBody)
	}
	if c.mailboxMessages < 1 || c.mailboxBytes < 1 || c.retentionDays < 1 {
		return fmt.Errorf("%w: --mailbox-messages, --mailbox-bytes and --retention-days are at least 1", errUsage)
	}
	return nil
}

func (c *settings) checkDomain() error {
	if c.domain == "" {
		return nil
	}
	if _, err := relay.ParseOrigin("https://" + c.domain); err != nil || strings.ContainsAny(c.domain, ":/") {
		return fmt.Errorf("%w: --domain %q is not a name such as chat.example.org", errUsage, c.domain)
	}
	return nil
}

// origins returns what clients may dial; the first is the one to show. The port is
// the one that is listened on.
func (c *settings) origins(port int) ([]relay.Origin, error) {
	if err := c.checkDomain(); err != nil {
		return nil, err
	}
	var (
		origins []relay.Origin
		errs    []error
	)
	add := func(url string) {
		o, err := relay.ParseOrigin(url)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: %q: %w", errUsage, url, err))
		} else if !slices.Contains(origins, o) {
			origins = append(origins, o)
		}
	}
	for _, url := range c.publicURLs {
		add(url)
	}
	if c.domain != "" {
		add("https://" + c.domain)
		add("https://" + net.JoinHostPort(c.domain, strconv.Itoa(port)))
	} else if c.loopback() {
		host, _, err := net.SplitHostPort(c.address())
		if err != nil {
			return nil, err
		}
		for _, host := range []string{host, "127.0.0.1", "localhost", "::1"} {
			add("http://" + net.JoinHostPort(host, strconv.Itoa(port)))
		}
	}
	if len(origins) == 0 {
		errs = append(errs, fmt.Errorf("%w: no name under which clients could reach the relay", errUsage))
	}
	return origins, errors.Join(errs...)
}

// proxies returns the networks whose X-Forwarded-For is believed.
func (c *settings) proxies() (networks []netip.Prefix, err error) {
	for _, text := range c.trustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, fmt.Errorf("%w: --trusted-proxy %s is no network", errUsage, text)
			}
			p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		}
		networks = append(networks, p.Masked())
	}
	return networks, nil
}

// defaultData returns the place of the operating system for data of programs.
func defaultData() string {
	const name = "chate2e-server"
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	switch runtime.GOOS {
	case "windows":
		if dir := os.Getenv("LocalAppData"); dir != "" {
			return filepath.Join(dir, name)
		}
		return filepath.Join(home, "AppData", "Local", name)
	case "darwin":
		return filepath.Join(home, "Library", "Application Support", name)
	default:
		if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
			return filepath.Join(dir, name)
		}
		return filepath.Join(home, ".local", "share", name)
	}
}

// usage prints the help: that of the command which the words name, or else of all.
func (c *settings) usage(w io.Writer, words []string) {
	const everywhere = "each also an environment variable CHATE2E_… and a key of the TOML file"
	if len(words) > 0 {
		if cmd, _, err := find(words); err == nil {
			_, _ = fmt.Fprintf(w, "Usage: chate2e-server %s [FLAGS]\n\n%s\n\nFlags, %s:\n",
				strings.TrimSpace(cmd.name+" "+cmd.arguments), upperFirst(cmd.summary), everywhere)
			c.flagUsage(w, append(slices.Clone(common), cmd.flags...))
			return
		}
	}
	_, _ = fmt.Fprint(w, "A relay for ChatE2E: it keeps public keys and passes on messages it cannot read.\n\n"+
		"Usage: chate2e-server [COMMAND] [FLAGS]\n\nCommands:\n")
	for _, cmd := range commands {
		_, _ = fmt.Fprintf(w, "  %-22s %s\n", strings.TrimSpace(cmd.name+" "+cmd.arguments), cmd.summary)
	}
	_, _ = fmt.Fprintf(w, "\nFlags, %s:\n", everywhere)
	c.flagUsage(w, common)
	shown := slices.Clone(common)
	for _, cmd := range commands {
		var others []string
		for _, name := range cmd.flags {
			if !slices.Contains(shown, name) {
				others = append(others, name)
			}
		}
		if len(others) > 0 {
			_, _ = fmt.Fprintf(w, "\nFlags of %s:\n", cmd.name)
			c.flagUsage(w, others)
			shown = append(shown, others...)
		}
	}
	_, _ = fmt.Fprint(w, "\nRun \"chate2e-server COMMAND --help\" for the flags of one command.\n")
}

// flagUsage prints what the named flags mean.
func (c *settings) flagUsage(w io.Writer, names []string) {
	for _, name := range names {
		f := c.fs.Lookup(name)
		value, text := flag.UnquoteUsage(f)
		switch value {
		case "int":
			value = "N"
		case "duration":
			value = "TIME"
		}
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (" + strings.TrimSuffix(f.DefValue, "0m0s") + ")"
		}
		_, _ = fmt.Fprintf(w, "  %s\n        %s\n", strings.TrimSpace("--"+name+" "+value), text)
	}
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }
