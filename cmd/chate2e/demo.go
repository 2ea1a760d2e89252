package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/webui"
)

type demoCmd struct {
	Text     bool   `help:"Play it in the terminal."`
	NoWindow bool   `help:"Print the addresses of both windows, and open none."`
	Lang     string `placeholder:"en|zh" help:"Language (that of the locale)."`
}

func (c *demoCmd) Run(ctx context.Context, e *env) error {
	if c.Lang != "" && scripts[c.Lang] == nil {
		return usageError("--lang can be en or zh")
	}
	out := e.out
	if e.json { // the result is the sum; the story is for people
		out = e.errs
	}
	d := &demo{script: scripts[language(c.Lang)], stage: &stage{out: out, colour: hasColours(out)}}
	if !c.Text && (c.NoWindow || webui.HasDisplay()) {
		d.stage = &stage{out: io.Discard}
		return d.windows(ctx, e, c.NoWindow)
	}
	sum, err := d.run(ctx)
	if err != nil || !e.json {
		return err
	}
	return e.result(sum, "")
}

// hasColours reports whether w is a terminal that may be coloured.
func hasColours(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// demo is a relay and two people in one process, and the story they play. All it
// shows comes out of their engines and of what the relay stored.
type demo struct {
	*script
	*stage
	home       string
	relay      *demoRelay
	alice, bob *actor
}

// demoSum is what the demo has shown.
type demoSum struct {
	Messages  int `json:"messages"`
	Envelopes int `json:"envelopes"`
	Bytes     int `json:"bytes"`
	Found     int `json:"plaintext_found"` // how often the relay's files contain a text
}

// run plays the story in the terminal.
func (d *demo) run(ctx context.Context) (sum demoSum, err error) {
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return demoSum{}, err
	}
	defer func() { err = end(err) }()
	return d.play(ctx)
}

// begin starts the relay, and returns a context that ends with it. The function that it returns
// ends everything, and says why the demo ended, not what that led to.
func (d *demo) begin(ctx context.Context) (running context.Context, end func(error) error, err error) {
	d.home, err = os.MkdirTemp("", "chate2e-demo-")
	if err != nil {
		return nil, nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	running, stop := context.WithCancelCause(ctx)
	d.stage.failed = func(err error) { stop(err) }
	d.relay, err = startRelay(running, filepath.Join(d.home, "relay"), func(err error) {
		stop(&client.Error{Code: client.CodeUnreachable, Message: d.stopped, Err: err})
	})
	if err != nil {
		stop(nil)
		return nil, nil, errors.Join(err, os.RemoveAll(d.home))
	}
	d.alice = &actor{demo: d, name: "Alice", username: "alice", colour: pink}
	d.bob = &actor{demo: d, name: "Bob", username: "bob", colour: green}
	return running, func(err error) error {
		switch {
		case err == nil:
		case context.Cause(running) != nil:
			err = context.Cause(running)
		case errors.Is(err, &client.Error{Code: client.CodeUnreachable}):
			err = &client.Error{Code: client.CodeUnreachable, Message: d.stopped, Err: err}
		}
		err = errors.Join(err, d.bob.leave(), d.alice.leave(), d.relay.Close(), os.RemoveAll(d.home))
		stop(nil)
		return err
	}, nil
}

func (d *demo) play(ctx context.Context) (demoSum, error) {
	alice, bob, t := d.alice, d.bob, d.script
	d.line()
	d.line("  ", d.paint(bold, "ChatE2E"), "  ", t.title)
	d.line()
	d.explain(t.intro)

	d.act(t.relayHead)
	d.explain(t.relayText)
	d.says(blue, t.relayName, fmt.Sprintf(t.relayAt, d.relay.url))

	d.act(t.keysHead)
	d.explain(t.keysText)
	for _, a := range []*actor{alice, bob} {
		if err := a.join(ctx); err != nil {
			return demoSum{}, err
		}
		d.says(a.colour, t.userID, d.paint(bold, groups(a.self.UserID)))
		d.line()
	}

	if err := d.befriend(ctx); err != nil {
		return demoSum{}, err
	}

	d.act(t.talkHead)
	if err := d.message(ctx, alice, bob, t.texts[0]); err != nil {
		return demoSum{}, err
	}
	d.act(t.backHead)
	d.explain(t.backText)
	if err := d.message(ctx, bob, alice, t.texts[1]); err != nil {
		return demoSum{}, err
	}
	d.explain(t.talkOnText)
	if err := d.message(ctx, bob, alice, t.texts[2]); err != nil {
		return demoSum{}, err
	}

	if err := d.away(ctx); err != nil {
		return demoSum{}, err
	}
	if err := d.compare(ctx); err != nil {
		return demoSum{}, err
	}
	return d.end(ctx)
}

// befriend has Alice add Bob, and shows the key agreement of both sides.
func (d *demo) befriend(ctx context.Context) error {
	alice, bob, t := d.alice, d.bob, d.script
	d.act(t.friendHead)
	d.explain(t.friendText)
	d.says(bob.colour, t.link, bob.self.Link)
	if _, err := alice.engine.AddContact(ctx, bob.self.UserID); err != nil {
		return err
	}
	started, err := alice.await(ctx, func(e client.ProtocolEvent) bool { return e.Setup != nil })
	if err != nil {
		return err
	}
	d.act(t.agreeHead)
	d.explain(t.agreeText)
	d.agreement(started)
	d.act(t.ratchetHead)
	d.explain(t.ratchetText)
	d.explain(t.tripleText)
	request, err := d.sealed(ctx, alice, bob, t.asks)
	if err != nil {
		return err
	}
	d.line()
	d.explain(t.acceptText)
	joined, err := bob.await(ctx, func(e client.ProtocolEvent) bool { return e.Setup != nil })
	if err != nil {
		return err
	}
	switch {
	case joined.Session != started.Session || joined.Setup.BaseKey != started.Setup.BaseKey:
		return fmt.Errorf(t.wrong, "session")
	case joined.Setup.OurIdentity != started.Setup.TheirIdentity || joined.Setup.TheirIdentity != started.Setup.OurIdentity:
		return fmt.Errorf(t.wrong, "identity")
	}
	opened, err := bob.await(ctx, func(e client.ProtocolEvent) bool { return e.Kind == "decrypted" })
	if err != nil {
		return err
	}
	if opened.Plain != request.Plain {
		return fmt.Errorf(t.wrong, "size")
	}
	d.says(bob.colour, bob.name, fmt.Sprintf(t.sameSession, d.paint(bold, joined.Session)))
	d.details(bob, opened)
	d.line()

	// His answer is a message too, and so is what she says to it.
	if _, err := d.sealed(ctx, bob, alice, t.accepts); err != nil {
		return err
	}
	if err := d.unsealed(ctx, alice, t.accepted); err != nil {
		return err
	}
	if err := alice.awaitItem(ctx, func(i client.Item) bool { return i.Kind == client.KindAccepted }); err != nil {
		return err
	}
	if _, err := d.sealed(ctx, alice, bob, t.offers); err != nil {
		return err
	}
	return d.unsealed(ctx, bob, t.offered)
}

// sealed shows the next message that is not a text, up to the relay.
func (d *demo) sealed(ctx context.Context, from, to *actor, what string) (client.ProtocolEvent, error) {
	e, err := from.await(ctx, func(e client.ProtocolEvent) bool { return e.Kind == "encrypted" })
	if err != nil {
		return e, err
	}
	d.says(from.colour, from.name, what)
	d.details(from, e)
	return e, d.envelope(ctx, from, to, e)
}

// unsealed shows it from the relay on.
func (d *demo) unsealed(ctx context.Context, to *actor, what string) error {
	e, err := to.await(ctx, func(e client.ProtocolEvent) bool { return e.Kind == "decrypted" })
	if err != nil {
		return err
	}
	d.details(to, e)
	d.says(to.colour, to.name, what)
	d.line()
	return nil
}

// agreement shows what went into the root key.
func (d *demo) agreement(e client.ProtocolEvent) {
	t, s := d.script, e.Setup
	row := func(label, text string, keys ...string) {
		text = pad(text, 43)
		for i, key := range keys {
			if i > 0 {
				text += "×"
			}
			text += d.paint(bold, key)
		}
		d.line("  ", d.paint(pink, pad(label, 5)), strings.TrimRight(text, " "))
	}
	row("DH1", t.dh1, s.OurIdentity, s.SignedPreKey)
	row("DH2", t.dh2, s.BaseKey, s.TheirIdentity)
	row("DH3", t.dh3, s.BaseKey, s.SignedPreKey)
	if s.OneTimePreKey != "" {
		row("DH4", t.dh4, s.BaseKey, s.OneTimePreKey)
	} else {
		row("DH4", t.noDH4)
	}
	kem := fmt.Sprintf(t.kem, s.KEM)
	if s.LastResort {
		kem += " " + t.lastResort
	}
	row("KEM", kem, s.KEMPreKey)
	row("KDF", t.kdf)
	d.line()
}

// message has one write to the other, and shows it on both sides and between.
func (d *demo) message(ctx context.Context, from, to *actor, text string) error {
	id, err := d.post(ctx, from, to, text)
	if err != nil {
		return err
	}
	return d.arrive(ctx, to, id, text)
}

// post shows a message up to the relay.
func (d *demo) post(ctx context.Context, from, to *actor, text string) (id string, err error) {
	d.says(from.colour, fmt.Sprintf(d.types, from.name), d.paint(bold, text))
	sending, err := from.engine.Send(ctx, to.self.UserID, text, client.SendOptions{})
	if err != nil {
		return "", err
	}
	sealed, err := from.await(ctx, func(e client.ProtocolEvent) bool { return e.Kind == "encrypted" && e.Item == sending.ID })
	if err != nil {
		return "", err
	}
	d.details(from, sealed)
	return sending.ID, d.envelope(ctx, from, to, sealed)
}

// arrive shows a message from the relay on.
func (d *demo) arrive(ctx context.Context, to *actor, id, text string) error {
	opened, err := to.await(ctx, func(e client.ProtocolEvent) bool { return e.Kind == "decrypted" && e.Item == id })
	if err != nil {
		return err
	}
	d.details(to, opened)
	var read string
	err = to.awaitItem(ctx, func(i client.Item) bool {
		read = i.Text
		return i.ID == id && i.Direction == client.DirectionIn
	})
	if err != nil {
		return err
	}
	if read != text {
		return fmt.Errorf(d.wrong, "text")
	}
	d.says(to.colour, fmt.Sprintf(d.reads, to.name), d.paint(bold, clean(read)))
	d.line()
	return nil
}

// details shows what a device did with a message.
func (d *demo) details(a *actor, e client.ProtocolEvent) {
	for _, s := range e.Steps {
		text := d.detailText(s, e)
		if s.Label != "" {
			text += " · KDF “" + strings.ReplaceAll(s.Label, " ", "\u00a0") + "”" // stays on one line
		}
		d.detail(a.colour, text)
	}
}

func (d *demo) detailText(s client.ProtocolStep, e client.ProtocolEvent) string {
	t := d.script
	switch s.Kind {
	case "root_sending":
		return fmt.Sprintf(t.rootSending, s.N, s.Our, s.Their)
	case "root_receiving":
		return fmt.Sprintf(t.rootReceiving, s.N, s.Their, s.Our)
	case "chain_sending":
		return fmt.Sprintf(t.chainSending, s.N)
	case "chain_receiving":
		return fmt.Sprintf(t.chainReceiving, s.N)
	case "pq_key":
		text := t.pqReceiving
		if e.Kind == "encrypted" {
			text = t.pqSending
		}
		return fmt.Sprintf(text, e.PQ.KeyEpoch, e.PQ.Key)
	case "pq_chunk":
		if e.PQ.Chunk < 0 {
			return fmt.Sprintf(t.carries[e.PQ.Payload], e.PQ.Epoch)
		}
		return fmt.Sprintf(t.carries[e.PQ.Payload], e.PQ.Chunk, e.PQ.Epoch)
	case "pq_epoch":
		return fmt.Sprintf(t.pqEpoch, e.PQ.Completed)
	case "skipped":
		return fmt.Sprintf(t.skipped, s.Count)
	case "skipped_key_used":
		return fmt.Sprintf(t.skippedUsed, s.N)
	case "sealed":
		return fmt.Sprintf(t.sealed, e.Plain, e.Size)
	case "opened":
		return fmt.Sprintf(t.opened, e.Plain)
	default:
		return s.Text
	}
}

// envelope shows what the relay has of a message that was encrypted.
func (d *demo) envelope(ctx context.Context, from, to *actor, sealed client.ProtocolEvent) error {
	seen, err := d.relay.envelope(ctx, from, sealed)
	if err != nil {
		return d.late(ctx, err)
	}
	d.says(blue, d.relaySees, fmt.Sprintf(d.relayLine, shortID(from.self.UserID), shortID(to.self.UserID), len(seen)))
	d.bytes(seen)
	return nil
}

// away has Bob leave, Alice write, and Bob come back.
func (d *demo) away(ctx context.Context) error {
	alice, bob, t := d.alice, d.bob, d.script
	d.act(t.offlineHead)
	d.explain(t.offlineText)
	if err := bob.leave(); err != nil {
		return err
	}
	d.says(bob.colour, bob.name, t.bobLeft)
	id, err := d.post(ctx, alice, bob, t.texts[3])
	if err != nil {
		return err
	}
	d.says(blue, t.relayName, t.waiting)
	if err := bob.back(ctx); err != nil {
		return err
	}
	d.says(bob.colour, bob.name, t.bobBack)
	if err := d.arrive(ctx, bob, id, t.texts[3]); err != nil {
		return err
	}
	return d.message(ctx, bob, alice, t.texts[4])
}

// compare has the two compare their safety numbers.
func (d *demo) compare(ctx context.Context) error {
	alice, bob, t := d.alice, d.bob, d.script
	d.act(t.safetyHead)
	d.explain(t.safetyText)
	hers, err := alice.engine.Safety(ctx, bob.self.UserID)
	if err != nil {
		return err
	}
	his, err := bob.engine.Safety(ctx, alice.self.UserID)
	if err != nil {
		return err
	}
	for _, screen := range []struct {
		*actor
		number string
	}{{alice, hers.Number}, {bob, his.Number}} {
		lines := strings.Split(digits(screen.number, 6), "\n")
		d.says(screen.colour, fmt.Sprintf(t.safetyShows, screen.name), d.paint(bold, lines[0]))
		for _, line := range lines[1:] {
			d.says(screen.colour, "", d.paint(bold, line))
		}
	}
	if hers.Number != his.Number {
		return fmt.Errorf(t.wrong, "safety number")
	}
	if _, err := alice.engine.Verify(ctx, bob.self.UserID, his.Number); err != nil {
		return err
	}
	d.says(alice.colour, alice.name, t.verified)
	return nil
}

// end sums up, with a search through all that the relay has stored.
func (d *demo) end(ctx context.Context) (demoSum, error) {
	t := d.script
	d.act(t.endHead)
	sum := demoSum{Messages: len(t.texts)}
	for _, a := range []*actor{d.alice, d.bob} {
		events, err := a.engine.Protocol(ctx, "", 500)
		if err != nil {
			return demoSum{}, err
		}
		var sealed, opened int
		var last client.ProtocolCounters
		var pq client.PQRatchet
		for _, e := range events {
			switch e.Kind {
			case "encrypted":
				sealed++
			case "decrypted":
				opened++
			}
			if e.Count != nil {
				last = *e.Count
			}
			if last.PQ != nil {
				pq = *last.PQ
			}
		}
		d.says(a.colour, a.name, fmt.Sprintf(t.counters, last.RootSteps, sealed, opened))
		d.says(a.colour, "", fmt.Sprintf(t.chunks, pq.Epoch, pq.Sent, pq.Held, pq.Needed))
	}
	sum.Envelopes, sum.Bytes = d.relay.totals()
	d.says(blue, t.relayName, fmt.Sprintf(t.relayTotal, sum.Envelopes, sum.Bytes))
	found, err := d.search()
	if err != nil {
		return demoSum{}, err
	}
	sum.Found = found
	d.says(blue, t.relayName, fmt.Sprintf(t.searched, found))
	d.line()
	for _, line := range wrap(t.bye, stageWidth-2) {
		d.line("  ", line)
	}
	d.line()
	for _, command := range []string{"chate2e-server", "chate2e --profile alice register alice"} {
		d.line("      ", d.paint(bold, command))
	}
	d.line()
	if found > 0 {
		return demoSum{}, fmt.Errorf(t.wrong, "plaintext")
	}
	return sum, nil
}

// search counts the texts in the relay's files and in the envelopes it has passed
// on.
func (d *demo) search() (found int, err error) {
	count := func(data []byte) {
		for _, text := range d.texts {
			found += bytes.Count(data, []byte(text))
		}
	}
	for _, body := range d.relay.bodies() {
		count(body)
	}
	files := os.DirFS(d.relay.dir)
	err = fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		count(data)
		return err
	})
	return found, err
}

// late says why something did not come.
func (d *demo) late(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &client.Error{Code: client.CodeUnreachable, Message: d.stopped}
	}
	return err
}
