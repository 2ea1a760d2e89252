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

// whyOffline says what keeps us from the relay, which is "it" in the words. The words
// are ours: an error of the network may name more than people should see.
func whyOffline(err error) (Offline, string) {
	if refused, ok := errors.AsType[*relay.Error](err); ok {
		own := refusal(refused)
		if own.Code == CodeUnreachable {
			return OfflineUnavailable, own.Message
		}
		return OfflineRefused, own.Message
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return OfflineNetwork, "nobody knows its name"
		}
		return OfflineNetwork, "its name could not be looked up"
	}
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	timeout, ok := errors.AsType[net.Error](err)
	isTimeout := ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	switch {
	case badCertificate:
		return OfflineCertificate, "its certificate is not valid"
	case errors.Is(err, relayclient.ErrNotARelay):
		return OfflineForeign, "what answers at its address is no relay"
	case errors.Is(err, syscall.ECONNREFUSED):
		return OfflineSilent, "nothing listens at its address"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return OfflineNetwork, "no way leads to its address"
	case isTimeout:
		return OfflineSilent, "it does not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, relayclient.ErrClosed):
		return OfflineSilent, "it closed the connection"
	default:
		return OfflineSilent, noAnswer
	}
}

// noAnswer is what can be said of a relay of which nothing is known.
const noAnswer = "it does not answer"
