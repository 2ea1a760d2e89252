package localapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/chate2e/chate2e/internal/client"
)

// maxBody is the largest request in bytes: the longest text, every byte of it
// written as an escape of six characters, and room for the rest.
const maxBody = 256 << 10

func usage(message string) error { return &client.Error{Code: client.CodeUsage, Message: message} }

// decode reads the body of a request into v, a pointer to a struct whose fields
// are strings, numbers and truth values. It refuses keys that are unknown, in
// another case, missing or given twice, null, nested values, invalid UTF-8, and
// bytes after the object. Its errors never repeat the input.
func decode(r *http.Request, v any) error {
	// A page of another origin can post text without being asked, but not this type.
	if mime, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(mime) != "application/json" {
		return usage("the body must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &client.Error{Code: client.CodeTooLarge, Message: "the body is too large"}
		}
		return usage("the body could not be read")
	}
	return decodeObject(body, v)
}

func decodeObject(body []byte, v any) error {
	if !utf8.Valid(body) {
		return usage("the body is not UTF-8")
	}
	missing := make(map[string]bool) // known keys: whether they must be given
	for f := range reflect.TypeOf(v).Elem().Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		missing[name] = options != "omitzero"
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return usage("the body is not a JSON object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return usage("the body is not JSON")
		}
		name, _ := key.(string)
		if _, known := missing[name]; !known {
			return usage("the body has an unknown key, or one twice")
		}
		delete(missing, name) // known once
		switch value, err := d.Token(); value.(type) {
		case string, float64, bool:
			if err != nil {
				return usage("the body is not JSON")
			}
		default: // null, or a bracket
			return usage(name + " has a value of the wrong type")
		}
	}
	if _, err := d.Token(); err != nil { // the closing bracket
		return usage("the body is not JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return usage("the body has more than one JSON value")
	}
	for name, required := range missing {
		if required {
			return usage(name + " is missing")
		}
	}
	if err := json.Unmarshal(body, v); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return usage(e.Field + " has a value of the wrong type")
		}
		return usage("the body is not JSON")
	}
	return nil
}
