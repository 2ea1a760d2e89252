package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/chate2e/chate2e/internal/relay"
)

// client is what is known of who sent a request before it has a credential. It is
// used for limits, and written down nowhere.
type client struct {
	// network is the address: all of an IPv4 address, the first 64 bits of an
	// IPv6 address, of which a household has the rest for itself. It is invalid
	// for a connection that has no address; all those share their limits.
	network netip.Prefix
	// direct says that the request really comes over loopback: to a loopback
	// listener, under a loopback name, and not through a proxy. Such a request is
	// from somebody who sits at this computer, and free of per-address limits. On a
	// relay that has a public name, no request is: the proxy in front of it comes
	// over loopback as well, and some say so under a loopback name and without a
	// word about whose request it is.
	direct bool
}

// forwardingHeaders are what a proxy adds. A request that has one of them, or any
// X-Forwarded header, is not direct.
var forwardingHeaders = []string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"}

func isForwarded(h http.Header) bool {
	for _, name := range forwardingHeaders {
		if _, ok := h[name]; ok {
			return true
		}
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Forwarded") {
			return true
		}
	}
	return false
}

// client says who sent r.
func (s *Server) client(r *http.Request) client {
	remote := addrOf(r.RemoteAddr)
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	c := client{direct: !s.public && s.loopback.Load() && remote.IsLoopback() && relay.IsLoopbackHost(host) && !isForwarded(r.Header)}
	if s.trusted(remote) {
		remote = s.forwarded(remote, r.Header.Values("X-Forwarded-For"))
	}
	c.network = networkOf(remote)
	return c
}

// exempt reports whether the connections of a remote address are not counted: it
// is this computer, a proxy that speaks for many, or not on a network at all.
func (s *Server) exempt(remote netip.Addr) bool {
	return !remote.IsValid() || s.loopback.Load() && remote.IsLoopback() || s.trusted(remote)
}

func addrOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func networkOf(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if a.IsValid() && p.Contains(a) {
			return true
		}
	}
	return false
}

// forwarded returns the address that a trusted proxy saw: the last one in
// X-Forwarded-For that is not itself a trusted proxy. What comes before was
// written by who knows whom. If an entry cannot be read, the proxy that passed it
// on is as far as one can trust.
func (s *Server) forwarded(remote netip.Addr, headers []string) netip.Addr {
	entries := strings.Split(strings.Join(headers, ","), ",")
	for _, entry := range slices.Backward(entries) {
		text := strings.TrimSpace(entry)
		a, err := netip.ParseAddr(strings.Trim(text, "[]"))
		if err != nil {
			if a = addrOf(text); !a.IsValid() {
				return remote
			}
		}
		remote = a.Unmap().WithZone("")
		if !s.trusted(remote) {
			return remote
		}
	}
	return remote
}
