package localapi

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/chate2e/chate2e/internal/client"
)

// What a face needs that adds routes of its own to those of a [Server].

// Decode reads the body of a request into v, a pointer to a flat struct, as the
// routes of this package do: strictly, and at most 256 KiB. Its errors never
// repeat the input.
func Decode(r *http.Request, v any) error { return decode(r, v) }

// Answer writes v as JSON.
func Answer(w http.ResponseWriter, v any) { write(w, http.StatusOK, v) }

// Fail answers with an error: one for people as it is, any other one without its
// cause.
func Fail(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		e = &client.Error{Code: client.CodeInternal, Message: "something went wrong inside the program"}
	}
	write(w, statusOf(e.Code), Failure{ErrorBody{e.Code, e.Message}})
}

// DialSocket connects to the socket in the folder dir that [Listen] has opened.
func DialSocket(ctx context.Context, dir string) (net.Conn, error) { return dialSocket(ctx, dir) }

// Refuse answers with a status, a code and a line of the face's own.
func Refuse(w http.ResponseWriter, status int, code client.Code, message string) {
	write(w, status, Failure{ErrorBody{code, message}})
}
