package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chate2e/chate2e/internal/bus"
	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
	"github.com/chate2e/chate2e/internal/relay"
	"github.com/chate2e/chate2e/internal/server"
)

const origin = "http://relay.test:80"

var password = []byte("correct horse battery staple")

// world is a relay, the network and the people, in a bubble of its own time. One
// goroutine drives it; what fails is noted, for there may be more to see.
type world struct {
	t       *testing.T
	r       *rand.Rand
	dir     string
	folders int
	network *network
	tape    *tape
	relay   *node
	people  []*person
	died    chan *process

	accepted map[[2]*person][]string // texts whose Send has returned, by sender and receiver
	friends  map[[2]*person]bool     // the second has let the first in
	events   []string                // what was done, for a failing run

	mu     sync.Mutex
	faults []string
}

func newWorld(t *testing.T, r *rand.Rand, people int) *world {
	t.Helper()
	tape := newTape()
	w := &world{
		t: t, r: r, dir: t.TempDir(), tape: tape, died: make(chan *process, 100),
		network:  &network{tape: tape, r: rand.New(rand.NewPCG(r.Uint64(), 1))},
		accepted: map[[2]*person][]string{}, friends: map[[2]*person]bool{},
	}
	w.relay = &node{w: w, dir: w.folder("relay")}
	w.relay.start()
	t.Cleanup(func() {
		for _, p := range w.people {
			p.close()
		}
		w.relay.stop()
	})
	for i, name := range []string{"alice", "bob", "carol", "dave"}[:people] {
		w.people = append(w.people, w.register(name, name, byte(1+i)))
	}
	return w
}

// folder makes a new folder.
func (w *world) folder(name string) string {
	w.t.Helper()
	w.folders++
	dir := filepath.Join(w.dir, fmt.Sprintf("%s-%d", name, w.folders))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// fault notes that something is not as it must be.
func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// did notes what the driver has done.
func (w *world) did(format string, args ...any) {
	w.events = append(w.events, time.Now().Format("02T15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// rest lets time pass. A process that dies meanwhile comes back at once.
func (w *world) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case p := <-w.died:
			w.revive(p)
		case <-timer.C:
			w.settle()
			return
		}
	}
}

// settle lets everything happen that takes no time.
func (w *world) settle() {
	for {
		synctest.Wait()
		select {
		case p := <-w.died:
			w.revive(p)
		default:
			return
		}
	}
}

// revive starts a program again that has died at work, unless the driver has seen
// to it already.
func (w *world) revive(died *process) {
	if w.relay.process == died && w.relay.end != nil {
		w.did("the relay has died at work")
		w.relay.stop()
		w.relay.start()
		return
	}
	for _, p := range w.people {
		if p.process == died && p.c != nil {
			w.did("%s has died at work", p.name)
			p.close()
			p.open()
			p.run()
			return
		}
	}
}

// inherit makes the folder with which a program goes on that was killed, and
// removes the one it had.
func (w *world) inherit(p *process, name string) string {
	next := w.folder(name)
	if err := p.takeFiles(next); err != nil {
		w.t.Fatal(err)
	}
	if err := os.RemoveAll(p.dir); err != nil {
		w.t.Error(err)
	}
	return next
}

// node is the relay.
type node struct {
	w       *world
	dir     string
	process *process
	end     func() // stops what runs; nil: nothing does
}

func (n *node) database() string { return filepath.Join(n.dir, "relay.db") }

// start opens the database and serves it.
func (n *node) start() {
	n.w.t.Helper()
	store, err := sqlite.Open(n.database(), sqlite.Config{})
	if err != nil {
		n.w.t.Fatalf("the relay does not start: %v", err)
	}
	s, err := server.New(store, bus.NewLocal(), server.Config{
		Origins: []relay.Origin{origin}, Registration: server.RegistrationOpen,
		Limits: server.Limits{BundlesPerHour: -1, LookupsPerHour: -1, RegistrationsPerHour: -1, LoginsPerHour: -1, ConnectionsPerAddress: -1},
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.process = &process{dir: n.dir, died: n.w.died}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	l := n.w.network.listen(n.process)
	go func() { done <- s.Serve(ctx, l) }()
	n.end = func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			n.w.fault("the relay: %v", err)
		}
	}
}

// stop ends the relay as a signal would, or clears away what is left of it if it
// has died.
func (n *node) stop() {
	if n.end == nil {
		return
	}
	alive := n.process.disarm()
	if !alive {
		n.w.network.breakProcess(n.process)
	}
	n.end()
	n.end = nil
	if !alive {
		n.dir = n.w.inherit(n.process, "relay")
	}
	n.process.end()
}

// kill ends the relay where it is.
func (n *node) kill() {
	n.process.kill()
	n.stop()
}

// person is one account with its profile.
type person struct {
	w      *world
	name   string
	number byte
	id     string
	dir    string

	c       *client.Client // nil: closed
	process *process
	running context.CancelFunc // of Run; nil: it does not
	ended   chan error
	screen  sync.WaitGroup

	printed map[string]bool     // IDs that TakeArrivals has returned
	seen    map[string][]string // IDs of the items last seen of each contact
	onShow  map[string]string   // contact of each item that an event has told of; guarded by w.mu
}

func (p *person) config() client.Config {
	return client.Config{DialContext: p.w.network.dialer(p.name, p.number, p.process), TestKDF: true}
}

// register makes an account. Its engine does not run yet. The test calls the person
// by a name of its own.
func (w *world) register(name, username string, number byte) *person {
	w.t.Helper()
	dir := w.folder(name)
	p := &person{
		w: w, name: name, number: number, dir: dir, process: &process{dir: dir, died: w.died},
		printed: map[string]bool{}, seen: map[string][]string{}, onShow: map[string]string{},
	}
	c, err := client.Create(w.t.Context(), p.dir, password, client.Registration{Server: origin, Username: username}, p.config(), nil)
	if err != nil {
		w.t.Fatalf("registering %s: %v", name, err)
	}
	self, err := c.Self(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	p.id = self.UserID
	var id relay.UserID
	if err := id.UnmarshalText([]byte(p.id)); err != nil {
		w.t.Fatal(err)
	}
	w.tape.know(name, id)
	p.use(c)
	return p
}

func (p *person) use(c *client.Client) {
	p.c = c
	events, _ := c.Subscribe()
	process := p.process
	p.screen.Go(func() { p.watch(c, process, events) })
}

// watch is the screen: it draws the conversation that an event tells of. What was
// told of must be there.
func (p *person) watch(c *client.Client, process *process, events <-chan client.Event) {
	for e := range events {
		if e.Kind != client.EventItem || e.Item.Direction != client.DirectionIn || process.isGone() {
			continue
		}
		items, err := c.History(context.Background(), e.Item.Chat, "", historySize)
		if err != nil {
			continue // closing
		}
		p.w.checkOrder(p.name, items)
		if e.Item.Kind == client.KindMissing {
			continue // it may be filled
		}
		if !slices.ContainsFunc(items, func(item client.Item) bool { return item.ID == e.Item.ID }) {
			p.w.fault("%s was shown an item that is not stored: %s", p.name, e.Item.Kind)
		}
		p.w.mu.Lock()
		if !process.isGone() {
			p.onShow[e.Item.ID] = e.Item.Chat
		}
		p.w.mu.Unlock()
	}
}

// open unlocks the profile.
func (p *person) open() {
	p.w.t.Helper()
	p.process = &process{dir: p.dir, died: p.w.died}
	c, err := client.Open(p.w.t.Context(), p.dir, password, p.config())
	if err != nil {
		p.w.t.Fatalf("%s cannot open her profile: %v", p.name, err)
	}
	p.use(c)
}

// run starts the engine.
func (p *person) run() {
	ctx, cancel := context.WithCancel(context.Background())
	p.running, p.ended = cancel, make(chan error, 1)
	c, ended := p.c, p.ended
	go func() { ended <- c.Run(ctx) }()
}

// pause stops the engine and leaves the profile open.
func (p *person) pause() {
	switch {
	case p.running == nil:
	case p.process.disarm():
		p.halt()
	default: // it has died
		p.close()
		p.open()
	}
}

func (p *person) halt() {
	p.running()
	p.running = nil
	if err := <-p.ended; err != nil {
		p.w.fault("%s: Run: %v", p.name, err)
	}
}

// close stops the engine and locks the profile, or clears away what is left of the
// program if it has died.
func (p *person) close() {
	if p.c == nil {
		return
	}
	alive := p.process.disarm()
	if !alive {
		p.w.network.breakProcess(p.process)
	}
	if p.running != nil {
		p.halt()
	}
	if err := p.c.Close(); err != nil {
		p.w.fault("%s: Close: %v", p.name, err)
	}
	p.screen.Wait()
	p.c = nil
	if !alive {
		p.dir = p.w.inherit(p.process, p.name)
	}
	p.process.end()
}

// kill ends the program where it is.
func (p *person) kill() {
	p.process.kill()
	p.close()
}

// command does something with the engine, which does not die meanwhile.
func (p *person) command(do func(c *client.Client)) {
	p.process.busy.Lock()
	for p.process.isGone() {
		p.process.busy.Unlock()
		p.w.settle()
		p.process.busy.Lock()
	}
	defer p.process.busy.Unlock()
	do(p.c)
}
