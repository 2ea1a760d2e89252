package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/chate2e/chate2e/internal/client"
)

// maxPassword is the longest password in bytes.
const maxPassword = 4096

func usageError(format string, args ...any) error {
	return &client.Error{Code: client.CodeUsage, Message: fmt.Sprintf(format, args...)}
}

// readPassword takes a password from the file ("-" is standard input), or else
// asks for it at the terminal: twice if it is a new one.
func (e *env) readPassword(ctx context.Context, file, prompt string, isNew bool) ([]byte, error) {
	switch file {
	case "":
		return e.askPassword(ctx, prompt, isNew)
	case "-":
		return passwordFrom(e.in, "standard input", isNew)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, usageError("the password file: %v", err)
	}
	defer func() { _ = f.Close() }()
	return passwordFrom(f, "the password file", isNew)
}

func passwordFrom(r io.Reader, name string, isNew bool) ([]byte, error) {
	password, err := io.ReadAll(io.LimitReader(r, maxPassword+3))
	if err != nil {
		return nil, usageError("reading the password from %s: %v", name, err)
	}
	password = cutLineEnd(password)
	switch {
	case len(password) > maxPassword:
		return nil, usageError("%s has more than %d bytes", name, maxPassword)
	case isNew && len(password) == 0:
		return nil, usageError("%s is empty: a password is needed", name)
	}
	return password, nil
}

// cutLineEnd removes one line ending.
func cutLineEnd(b []byte) []byte {
	if line, cut := bytes.CutSuffix(b, []byte("\r\n")); cut {
		return line
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

func (e *env) askPassword(ctx context.Context, prompt string, isNew bool) ([]byte, error) {
	terminal, done, err := openTerminal()
	if err != nil {
		return nil, usageError("no terminal to ask for the password; say --password-file FILE")
	}
	defer done()
	ask := func(prompt string) ([]byte, error) {
		_, _ = fmt.Fprint(e.errs, prompt)
		// A signal must not leave the terminal without echo.
		echo, unknown := term.GetState(int(terminal.Fd()))
		if unknown != nil {
			return nil, fmt.Errorf("reading the password: %w", unknown)
		}
		type answer struct {
			password []byte
			err      error
		}
		answered := make(chan answer, 1) // a read from a terminal cannot be stopped: it ends with the process
		go func() {
			typed, failure := term.ReadPassword(int(terminal.Fd()))
			answered <- answer{typed, failure}
		}()
		select {
		case a := <-answered:
			e.note("")
			if errors.Is(a.err, io.EOF) {
				return nil, usageError("no password was given")
			}
			return a.password, a.err
		case <-ctx.Done():
			_ = term.Restore(int(terminal.Fd()), echo)
			e.note("")
			return nil, errInterrupted
		}
	}
	password, err := ask(prompt + ": ")
	if err != nil || !isNew {
		return password, err
	}
	if len(password) == 0 {
		return nil, usageError("a password is needed")
	}
	again, err := ask(prompt + ", again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(password, again) {
		return nil, usageError("the two passwords are not the same")
	}
	return password, nil
}

// openTerminal returns the terminal of this process, be it standard input or not.
func openTerminal() (terminal *os.File, done func(), err error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return os.Stdin, func() {}, nil
	}
	f, err := os.Open("/dev/tty")
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil
}
