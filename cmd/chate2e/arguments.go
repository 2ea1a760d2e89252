package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// span is a length of time in an argument.
type span time.Duration

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a length of time such as 5s, 1m or 1h30m", text)
	}
	*s = span(d)
	return nil
}

// count is a number in an argument.
type count int

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *count) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a number", text)
	}
	*c = count(n)
	return nil
}

// argumentError puts into words what kong says of the arguments, and adds where help
// is.
func argumentError(args []string, err error) error {
	message, command := err.Error(), commandOf(args, err)
	help := strings.TrimSpace("chate2e " + command)
	switch name, value, isValue := strings.Cut(message, ": expected "); {
	case isValue && strings.Contains(value, " value but got "): // nothing, or another flag
		message = name + " needs a value"
	case strings.HasPrefix(message, "unexpected argument "):
		argument, similar, _ := strings.Cut(strings.TrimPrefix(message, "unexpected argument "), ", did you mean ")
		switch command {
		case "", "contacts", "account":
			message = fmt.Sprintf("there is no command %q", strings.TrimSpace(command+" "+argument))
			if similar != "" {
				message += " (did you mean " + similar + ")"
			}
		case "send":
			message = fmt.Sprintf("%q is one argument too many: a text with spaces goes between quotation marks", argument)
		default:
			message = fmt.Sprintf("%q is one argument too many", argument)
		}
	case strings.HasPrefix(message, `expected "<`):
		message = strings.Trim(strings.TrimPrefix(message, "expected "), `"`) + " is missing"
	}
	return usageError("%s; see %s --help", message, help)
}

// commandOf returns the command that was typed, as far as kong has come; "" for
// none, even if there is one that runs then.
func commandOf(args []string, err error) string {
	parse, ok := errors.AsType[*kong.ParseError](err)
	if !ok {
		return ""
	}
	var command []string
	for _, step := range parse.Context.Path {
		if step.Command != nil && slices.Contains(args, step.Command.Name) {
			command = append(command, step.Command.Name)
		}
	}
	return strings.Join(command, " ")
}
