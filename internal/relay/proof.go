package relay

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Labels separate the things a device signs for a relay from one another and from
// everything else its identity key signs.
const (
	loginLabel    = "ChatE2E relay login v1\x00"
	registerLabel = "ChatE2E relay register v1\x00"
	loginIDLabel  = "ChatE2E relay login ID v1\x00"
)

// MaxChallenge is the largest challenge a client signs, in bytes.
const MaxChallenge = 64

// LoginIDOf returns the ID of the login that answers a challenge: the first 16 bytes
// of
//
//	SHA-256("ChatE2E relay login ID v1" 0x00 ‖ challenge)
//
// Whoever logs in cannot choose it, since a challenge is good for one answer: a copy
// of a device's keys cannot pass its login off as one that the device has made.
func LoginIDOf(challenge []byte) LoginID {
	hash := sha256.New()
	hash.Write([]byte(loginIDLabel))
	hash.Write(challenge)
	return LoginID(hash.Sum(nil)[:LoginIDSize])
}

// LoginMessage returns what a device signs to get a token:
//
//	"ChatE2E relay login v1" 0x00
//	length of origin (2, big-endian) ‖ origin
//	length of challenge (1) ‖ challenge
//	user ID (20) ‖ device number (1)
//
// The origin keeps a relay from passing a challenge of another relay on. The
// caller must have checked that challenge has at most [MaxChallenge] bytes.
func LoginMessage(origin Origin, challenge []byte, address Address) []byte {
	return appendProof([]byte(loginLabel), origin, challenge, address)
}

// RegisterMessage returns what a device signs to register:
//
//	"ChatE2E relay register v1" 0x00
//	origin, challenge, user ID and device number as in [LoginMessage]
//	SHA-256 of the signed device list (32)
//	length of username (1) ‖ username
func RegisterMessage(origin Origin, challenge []byte, address Address, deviceList []byte, username Username) []byte {
	b := appendProof([]byte(registerLabel), origin, challenge, address)
	hash := sha256.Sum256(deviceList)
	b = append(b, hash[:]...)
	b = append(b, byte(len(username))) //nolint:gosec // at most 24
	return append(b, username...)
}

func appendProof(b []byte, origin Origin, challenge []byte, address Address) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(origin))) //nolint:gosec // an Origin is shorter than 300 bytes
	b = append(b, origin...)
	b = append(b, byte(len(challenge))) //nolint:gosec // at most MaxChallenge
	b = append(b, challenge...)
	b = append(b, address.User[:]...)
	return append(b, byte(address.Device))
}

// Origin is what a client dials: scheme://host:port, lower-case, the port always
// written. Values come from [ParseOrigin].
type Origin string

// ErrServer is returned for text that is not the URL of a relay.
var ErrServer = errors.New("relay: not the URL of a relay, such as https://chat.example.org")

// ParseOrigin returns the origin of a relay's URL: https or http, a host, perhaps
// a port, and no path but "/".
func ParseOrigin(s string) (Origin, error) {
	if len(s) > 512 {
		return "", ErrServer
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery ||
		u.Fragment != "" || strings.Contains(s, "#") || (u.Path != "" && u.Path != "/") {
		return "", ErrServer
	}
	return originOf(u)
}

func originOf(u *url.URL) (Origin, error) {
	var port string
	switch u.Scheme {
	case "https":
		port = "443"
	case "http":
		port = "80"
	default:
		return "", ErrServer
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", ErrServer
		}
		port = strconv.FormatUint(n, 10)
	} else if strings.HasSuffix(u.Host, ":") {
		return "", ErrServer
	}
	host := strings.ToLower(u.Hostname())
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return "", ErrServer
		}
		if host = addr.String(); addr.Is6() {
			host = "[" + host + "]"
		}
	} else if !isHost(host) {
		return "", ErrServer
	}
	return Origin(u.Scheme + "://" + host + ":" + port), nil
}

func isHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// URL returns the origin without the port that its scheme implies.
func (o Origin) URL() string {
	if s, ok := strings.CutSuffix(string(o), ":443"); ok && strings.HasPrefix(s, "https:") {
		return s
	}
	if s, ok := strings.CutSuffix(string(o), ":80"); ok && strings.HasPrefix(s, "http:") {
		return s
	}
	return string(o)
}

// Loopback reports whether the origin is this computer.
func (o Origin) Loopback() bool {
	_, hostport, _ := strings.Cut(string(o), "://")
	host := hostport[:max(strings.LastIndexByte(hostport, ':'), 0)]
	return IsLoopbackHost(strings.Trim(host, "[]"))
}

// IsLoopbackHost reports whether host, without port or brackets, is a name or
// address of this computer.
func IsLoopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts the canonical
// form alone.
func (o *Origin) UnmarshalText(text []byte) error {
	parsed, err := ParseOrigin(string(text))
	if err != nil || string(parsed) != string(text) {
		return ErrServer
	}
	*o = parsed
	return nil
}

// Server is where a relay is, and perhaps the invitation to it.
type Server struct {
	Origin Origin
	// Invite is the token of an invitation; empty without one.
	Invite string
}

// invitePrefix comes before the token in the fragment of an invitation link. The
// fragment is not sent by browsers.
const invitePrefix = "invite="

// ParseServer reads what a person gives as the relay to use: its URL, or the link
// of an invitation, https://host/add#invite=TOKEN.
func ParseServer(s string) (Server, error) {
	base, fragment, has := strings.Cut(s, "#")
	if !has {
		origin, err := ParseOrigin(s)
		return Server{Origin: origin}, err
	}
	invite, ok := strings.CutPrefix(fragment, invitePrefix)
	if !ok || !validInvite(invite) {
		return Server{}, ErrServer
	}
	base, ok = strings.CutSuffix(base, "/add")
	if !ok {
		return Server{}, ErrServer
	}
	origin, err := ParseOrigin(base)
	if err != nil {
		return Server{}, err
	}
	return Server{Origin: origin, Invite: invite}, nil
}

// InviteLink returns the link of an invitation.
func (s Server) InviteLink() string { return s.Origin.URL() + "/add#" + invitePrefix + s.Invite }

// validInvite bounds an invitation to what travels unescaped in a URL.
func validInvite(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
