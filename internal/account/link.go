package account

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxLinkLength bounds what the parsers of this package look at.
const maxLinkLength = 512

// linkPath is the page of a relay that explains a contact link. The user ID
// stays in the fragment, which no browser sends.
const linkPath = "/add"

// ErrLink is returned for text that is not a contact link.
var ErrLink = errors.New("account: not a contact link of the form https://host/add#user_id")

// Link is a contact link: a person and the relay that keeps her mailbox.
type Link struct {
	User UserID
	// Scheme is "https" or "http".
	Scheme string
	// Host is a lower-case DNS name or IP address, with a port if it has one.
	Host string
}

// String returns scheme://host/add#user_id.
func (l Link) String() string { return l.Server() + linkPath + "#" + l.User.String() }

// Server returns the URL of the relay, scheme://host.
func (l Link) Server() string { return l.Scheme + "://" + l.Host }

// ParseLink reads a contact link. It returns [ErrLink] for anything else: another
// path, a query, a user name, a scheme that is neither https nor http.
func ParseLink(s string) (Link, error) {
	if len(s) > maxLinkLength {
		return Link{}, ErrLink
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.EscapedPath() != linkPath {
		return Link{}, ErrLink
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return Link{}, ErrLink
	}
	host, ok := canonicalHost(u.Host)
	if !ok {
		return Link{}, ErrLink
	}
	id, err := ParseUserID(u.Fragment)
	if err != nil {
		return Link{}, ErrLink
	}
	return Link{User: id, Scheme: u.Scheme, Host: host}, nil
}

// canonicalHost returns the one spelling of host[:port]: a lower-case DNS name of
// ASCII labels or an IP address, and the port without leading zeros.
func canonicalHost(s string) (string, bool) {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "", false
		}
		port = ":" + strconv.FormatUint(n, 10)
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", false
		}
		return "[" + addr.String() + "]" + port, true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String() + port, addr.Is4()
	}
	host = strings.ToLower(host)
	if !isDNSName(host) {
		return "", false
	}
	return host + port, true
}

// isDNSName reports whether s consists of labels as in RFC 1123, Section 2.1,
// already in lower case. Names outside ASCII come as "xn--".
func isDNSName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}
