package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/relayclient"
)

// whyOffline says in words what keeps us from the relay, which is "it" in them; ""
// for nothing that would tell people more than that it does not answer. The words
// are ours: an error of the network may name more than people should see.
func whyOffline(err error) string {
	if refused, ok := errors.AsType[*relay.Error](err); ok {
		return refusal(refused).Message
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return "nobody knows its name"
		}
		return "its name could not be looked up"
	}
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	timeout, ok := errors.AsType[net.Error](err)
	isTimeout := ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	switch {
	case badCertificate:
		return "its certificate is not valid"
	case errors.Is(err, relayclient.ErrNotARelay):
		return "what answers at its address is no relay"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at its address"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return "no way leads to its address"
	case isTimeout:
		return "it does not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, relayclient.ErrClosed):
		return "it closed the connection"
	default:
		return ""
	}
}
