package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/mailbox"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

type demoCmd struct {
	Text bool   `help:"Play it in the terminal."`
	Lang string `enum:",en,zh" default:"" placeholder:"en|zh" help:"Language (that of the locale)."`
}

func (c *demoCmd) Run(ctx context.Context, e *env) error {
	out := e.out
	if e.json { // the result is the sum; the story is for people
		out = e.errs
	}
	d := &demo{script: scripts[language(c.Lang)], stage: &stage{out: out, colour: hasColours(out)}}
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

func (d *demo) run(ctx context.Context) (sum demoSum, err error) {
	d.home, err = os.MkdirTemp("", "chate2e-demo-")
	if err != nil {
		return demoSum{}, fmt.Errorf("making a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.home)) }()

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d.stage.failed = func(err error) { stop(err) }
	d.relay, err = startRelay(ctx, filepath.Join(d.home, "relay"), func(err error) {
		stop(&client.Error{Code: client.CodeUnreachable, Message: d.stopped, Err: err})
	})
	if err != nil {
		return demoSum{}, err
	}
	defer func() { err = errors.Join(err, d.relay.Close()) }()
	d.alice = &actor{demo: d, name: "Alice", username: "alice", colour: pink}
	d.bob = &actor{demo: d, name: "Bob", username: "bob", colour: green}
	for _, a := range []*actor{d.alice, d.bob} {
		defer func() { err = errors.Join(err, a.leave()) }()
	}
	sum, err = d.play(ctx)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx) // why, not what it led to
	}
	return sum, err
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
		text = pad(text, 46)
		for i, key := range keys {
			if i > 0 {
				text += " × "
			}
			text += d.paint(bold, key)
		}
		d.line("  ", d.paint(pink, pad(label, 6)), strings.TrimRight(text, " "))
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
	t := d.script
	for _, s := range e.Steps {
		switch s.Kind {
		case "root_sending":
			d.detail(a.colour, fmt.Sprintf(t.rootSending, s.N, s.Our, s.Their))
		case "root_receiving":
			d.detail(a.colour, fmt.Sprintf(t.rootReceiving, s.N, s.Their, s.Our))
		case "chain_sending":
			d.detail(a.colour, fmt.Sprintf(t.chainSending, s.N))
		case "chain_receiving":
			d.detail(a.colour, fmt.Sprintf(t.chainReceiving, s.N))
		case "skipped":
			d.detail(a.colour, fmt.Sprintf(t.skipped, s.Count))
		case "skipped_key_used":
			d.detail(a.colour, fmt.Sprintf(t.skippedUsed, s.N))
		case "sealed":
			d.detail(a.colour, fmt.Sprintf(t.sealed, e.Plain, e.Size))
		case "opened":
			d.detail(a.colour, fmt.Sprintf(t.opened, e.Plain))
		default:
			d.detail(a.colour, s.Text)
		}
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
		var number []byte
		for i := range len(screen.number) {
			if i > 0 && i%5 == 0 {
				number = append(number, ' ')
			}
			number = append(number, screen.number[i])
		}
		d.says(screen.colour, fmt.Sprintf(t.safetyShows, screen.name), d.paint(bold, string(number)))
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
		}
		d.says(a.colour, a.name, fmt.Sprintf(t.counters, a.name, last.RootSteps, sealed, opened))
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
	d.line("  ", t.bye)
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
	err = filepath.WalkDir(d.relay.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		count(data)
		return err
	})
	return found, err
}

// late says why something did not come.
func (d *demo) late(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &client.Error{Code: client.CodeUnreachable, Message: d.slow}
	}
	return err
}

// patience is how long the demo waits for what should come at once.
const patience = 10 * time.Second

// actor is a person with an engine.
type actor struct {
	*demo
	name, username, colour string

	self     client.Self
	engine   *client.Client
	password []byte
	stop     func() error // ends the engine; nil: it does not run

	mu      sync.Mutex
	events  []client.ProtocolEvent // not yet awaited; guarded by mu
	items   []client.Item          // likewise
	sealed  int                    // messages encrypted so far; guarded by mu
	numbers map[int64]int          // which of them an event is about; guarded by mu
	news    chan struct{}
}

func (a *actor) dir() string { return filepath.Join(a.home, a.username) }

// join makes the account, showing each step.
func (a *actor) join(ctx context.Context) error {
	a.password = []byte(rand.Text())
	a.numbers = make(map[int64]int)
	a.news = make(chan struct{}, 1)
	engine, err := client.Create(ctx, a.dir(), a.password, client.Registration{
		Server: a.relay.url, Username: a.username, DisplayName: a.name,
	}, client.Config{}, func(p client.Progress) {
		a.says(a.colour, a.name, fmt.Sprintf(a.progress, p.Done, p.Total, a.script.step[string(p.Step)]))
	})
	if err != nil {
		return err
	}
	a.run(ctx, engine)
	if a.self, err = engine.Self(ctx); err != nil {
		return err
	}
	return engine.SetSetting(ctx, client.SettingAutoAccept, "on")
}

// back opens the profile again.
func (a *actor) back(ctx context.Context) error {
	engine, err := client.Open(ctx, a.dir(), a.password, client.Config{})
	if err != nil {
		return err
	}
	a.run(ctx, engine)
	return nil
}

// run starts the engine, and notes what it publishes.
func (a *actor) run(ctx context.Context, engine *client.Client) {
	a.engine = engine
	events, unsubscribe := engine.Subscribe()
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	var failure error
	working.Go(func() { failure = engine.Run(ctx) })
	working.Go(func() {
		for {
			select {
			case e, open := <-events:
				if !open {
					return
				}
				a.note(e)
			case <-ctx.Done():
				return
			}
		}
	})
	a.stop = func() error {
		cancel()
		working.Wait()
		unsubscribe()
		if errors.Is(failure, context.Canceled) {
			failure = nil
		}
		return errors.Join(failure, engine.Close())
	}
}

// leave closes the profile.
func (a *actor) leave() error {
	if a.stop == nil {
		return nil
	}
	stop := a.stop
	a.stop = nil
	return stop()
}

func (a *actor) note(e client.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case e.Protocol != nil:
		a.events = append(a.events, *e.Protocol)
		if e.Protocol.Kind == "encrypted" {
			a.numbers[e.Protocol.ID] = a.sealed
			a.sealed++
		}
	case e.Item != nil:
		a.items = append(a.items, *e.Item)
	default:
		return
	}
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// await waits for a protocol event and takes it, with those before it.
func (a *actor) await(ctx context.Context, wanted func(client.ProtocolEvent) bool) (found client.ProtocolEvent, err error) {
	err = a.until(ctx, func() bool {
		for n, e := range a.events {
			if wanted(e) {
				found, a.events = e, a.events[n+1:]
				return true
			}
		}
		return false
	})
	return found, err
}

// awaitItem is await for what appears in a conversation.
func (a *actor) awaitItem(ctx context.Context, wanted func(client.Item) bool) error {
	return a.until(ctx, func() bool {
		for n, i := range a.items {
			if wanted(i) {
				a.items = a.items[n+1:]
				return true
			}
		}
		return false
	})
}

func (a *actor) until(ctx context.Context, found func() bool) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a.mu.Lock()
		done := found()
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-a.news:
		case <-waiting.Done():
			return a.late(ctx, waiting.Err())
		}
	}
}

// demoRelay is a whole relay with its database in a folder.
type demoRelay struct {
	url   string
	dir   string
	store *tap
	cut   func() // ends it at once
	stop  func() error
}

// startRelay starts a relay on port 5000, or a free one if that is taken. If it
// ends before it is closed it calls gone.
func startRelay(ctx context.Context, dir string, gone func(error)) (*demoRelay, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:5000")
	if err != nil {
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("starting the relay: %w", err)
		}
	}
	r := &demoRelay{url: "http://" + listener.Addr().String(), dir: dir}
	fail := func(err error) (*demoRelay, error) {
		return nil, fmt.Errorf("starting the relay: %w", errors.Join(err, listener.Close()))
	}
	origin, err := relay.ParseOrigin(r.url)
	if err != nil {
		return fail(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fail(err)
	}
	db, err := sqlite.Open(filepath.Join(dir, "relay.db"), sqlite.Config{})
	if err != nil {
		return fail(err)
	}
	r.store = &tap{Store: db, news: make(chan struct{}, 1)}
	node, err := server.New(r.store, bus.NewLocal(), server.Config{
		Origins: []relay.Origin{origin}, Registration: server.RegistrationOpen,
	})
	if err != nil {
		return fail(errors.Join(err, db.Close()))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cut = cancel
	var running sync.WaitGroup
	var failure error
	closing := false // set before the end that is asked for
	var mu sync.Mutex
	running.Go(func() {
		failure = node.Serve(ctx, listener)
		mu.Lock()
		defer mu.Unlock()
		if !closing {
			gone(failure)
		}
	})
	r.stop = func() error {
		mu.Lock()
		closing = true
		mu.Unlock()
		cancel()
		running.Wait()
		return errors.Join(failure, db.Close())
	}
	return r, nil
}

// Close ends the relay.
func (r *demoRelay) Close() error { return r.stop() }

// envelope waits for the envelope that carries a message which an actor has
// encrypted. An engine sends to one contact in the order in which it encrypts.
func (r *demoRelay) envelope(ctx context.Context, from *actor, sealed client.ProtocolEvent) ([]byte, error) {
	from.mu.Lock()
	number := from.numbers[sealed.ID]
	from.mu.Unlock()
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		sent := r.store.from(from.self.UserID)
		if number < len(sent) {
			if body := sent[number]; len(body) == sealed.Size {
				return body, nil
			}
			return nil, fmt.Errorf(from.wrong, "size")
		}
		select {
		case <-r.store.news:
		case <-waiting.Done():
			return nil, waiting.Err()
		}
	}
}

func (r *demoRelay) totals() (envelopes, size int) {
	for _, body := range r.bodies() {
		envelopes++
		size += len(body)
	}
	return envelopes, size
}

func (r *demoRelay) bodies() [][]byte { return r.store.from("") }

// tap is a relay's store that keeps a copy of every envelope.
type tap struct {
	mailbox.Store
	news chan struct{}

	mu   sync.Mutex
	seen []tapped // guarded by mu
}

type tapped struct {
	from string
	body []byte
}

// Commit implements [mailbox.Store].
func (t *tap) Commit(ctx context.Context, batch *mailbox.Batch, now time.Time) error {
	if err := t.Store.Commit(ctx, batch, now); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, put := range batch.Puts {
		if put.Err != nil {
			continue
		}
		for _, e := range put.Envelopes {
			t.seen = append(t.seen, tapped{put.From.User.String(), bytes.Clone(e.Body)})
		}
	}
	select {
	case t.news <- struct{}{}:
	default:
	}
	return nil
}

// from returns the envelopes of one user, or of all, in their order.
func (t *tap) from(user string) [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	var bodies [][]byte
	for _, e := range t.seen {
		if user == "" || e.from == user {
			bodies = append(bodies, e.body)
		}
	}
	return bodies
}
