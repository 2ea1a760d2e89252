// Signalpeer is a test peer over this repository's libsignal suites: JSON lines on standard input and
// output, as interop/README.md describes them. State is in memory; one process holds several parties.
//
//	signalpeer [-spqr required|off]
//
// With the post-quantum ratchet it speaks to the official library of today, and to those of its early
// releases that had it; without it, to older ones. Sessions of version 3 never have it.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/chate2e/chate2e/signal/pqxdh"
)

const maxLine = 32 << 20 // bytes of a request; the largest real one is a session record of a few MB

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "signalpeer:", err)
		os.Exit(2)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("signalpeer", flag.ContinueOnError)
	spqr := flags.String("spqr", "required", "the post-quantum ratchet: required or off")
	if err := flags.Parse(args); err != nil {
		return err
	}
	suite, ok := map[string]pqxdh.Suite{"required": pqxdh.LibsignalTriple, "off": pqxdh.LibsignalPQXDH}[*spqr]
	if !ok || flags.NArg() > 0 {
		return errors.New("usage: signalpeer [-spqr required|off]")
	}
	return serve(newPeer(*spqr, suite), bufio.NewReaderSize(in, 64<<10), out)
}

// serve answers lines until there are no more.
func serve(p *peer, in *bufio.Reader, out io.Writer) error {
	for {
		line, err := readLine(in)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errTooLong):
			err = reply(out, nil, nil, err)
		case err == nil && len(bytes.TrimSpace(line)) > 0:
			id, result, refused := p.answer(line)
			err = reply(out, id, result, refused)
		}
		if err != nil {
			return err
		}
	}
}

var errTooLong = badRequest("line too long")

// readLine reads one line, of which it keeps at most maxLine bytes. It returns io.EOF at the end, and
// errTooLong after a line that was thrown away.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	tooLong := false
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			tooLong, line = true, nil
		}
		if !tooLong {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (tooLong || len(line) > 0):
		case err != nil:
			return nil, err
		}
		if tooLong {
			return nil, errTooLong
		}
		return line, nil
	}
}

// reply writes one line: the result's fields beside id and ok, or the refusal.
func reply(out io.Writer, id json.RawMessage, result any, refused error) error {
	if id == nil {
		id = json.RawMessage("null")
	}
	var line []byte
	var err error
	if refused != nil {
		line, err = json.Marshal(struct {
			ID    json.RawMessage `json:"id"`
			OK    bool            `json:"ok"`
			Error *refusal        `json:"error"`
		}{id, false, refusalOf(refused)})
	} else {
		line, err = json.Marshal(result)
		if err == nil {
			head := append(append([]byte(`{"id":`), id...), `,"ok":true`...)
			if len(line) > len("{}") {
				head = append(head, ',')
			}
			line = append(head, line[1:]...)
		}
	}
	if err != nil {
		return fmt.Errorf("encoding a reply: %w", err)
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing a reply: %w", err)
	}
	return nil
}
