package e2e_test

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

// The environment of the random schedules.
const (
	seedVariable  = "CHATE2E_E2E_SEED"      // run this one schedule
	countVariable = "CHATE2E_E2E_SCHEDULES" // run so many schedules
)

// Without a number, schedules are run until this much time has passed, but not
// fewer than the least number.
const (
	budget = 20 * time.Second
	least  = 2
)

// TestSchedules lets people write to each other while everything goes wrong that
// may. What a run draws follows from its seed; how its goroutines interleave does
// not, so that a rare failure may need several runs of its seed.
func TestSchedules(t *testing.T) {
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 16, 64)
		if err != nil {
			t.Fatalf("%s is no seed: it is a hexadecimal number", seedVariable)
		}
		runSchedule(t, seed)
		return
	}
	count := 0
	if text := os.Getenv(countVariable); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 1 {
			t.Fatalf("%s is no number of schedules", countVariable)
		}
	}
	began := time.Now()
	done := 0
	for ; done < count || count == 0 && (done < least || time.Since(began) < budget); done++ {
		var b [8]byte
		_, _ = crand.Read(b[:]) // never fails
		seed := binary.BigEndian.Uint64(b[:])
		if !t.Run(fmt.Sprintf("%016x", seed), func(t *testing.T) { runSchedule(t, seed) }) {
			t.Logf("repeat with %s=%016x", seedVariable, seed)
			done++
			break
		}
	}
	t.Logf("%d schedules in %.1f s", done, time.Since(began).Seconds())
}

func runSchedule(t *testing.T, seed uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, r, 2+r.IntN(3))
		for _, p := range w.people {
			p.run()
			if r.IntN(2) == 0 {
				if err := p.c.SetSetting(t.Context(), client.SettingAutoAccept, "on"); err != nil {
					t.Fatal(err)
				}
			}
		}
		s := &schedule{world: w, days: 20}
		for range 30 + r.IntN(40) {
			s.step()
			if len(w.faults) > 0 {
				break
			}
		}
		s.quiesce()
		w.finish()
		for _, p := range w.people {
			p.close()
		}
		w.relay.stop()
		w.left()
		if len(w.faults) > 0 {
			t.Errorf("%s\n\nwhat was done:\n%s", strings.Join(w.faults, "\n"), strings.Join(w.events, "\n"))
		}
	})
}

// schedule is the driver's part of a run.
type schedule struct {
	*world
	texts int
	days  int // that may still pass: nothing is to expire
}

// step does one thing by chance.
func (s *schedule) step() {
	p := s.people[s.r.IntN(len(s.people))]
	switch s.r.IntN(20) {
	case 0, 1, 2, 3, 4:
		s.say(p, s.anotherThan(p), 1+s.r.IntN(3))
	case 5, 6: // at the same instant
		other := s.anotherThan(p)
		s.say(p, other, 1)
		s.say(other, p, 1)
	case 7:
		s.letIn(p)
	case 8:
		s.bringUp(p)
		s.look(p)
	case 9:
		s.did("%s stops and starts", p.name)
		p.close()
		s.bringUp(p)
	case 10:
		if p.c != nil {
			s.did("%s is killed", p.name)
			p.kill()
		}
		s.bringUp(p)
	case 11, 12:
		s.bringUp(p)
		n := 1 + s.r.IntN(30)
		s.did("%s will die in %d operations", p.name, n)
		p.process.arm(n)
	case 13:
		if s.r.IntN(2) == 0 {
			s.did("%s goes offline", p.name)
			p.pause()
		} else {
			s.did("%s closes", p.name)
			p.close()
		}
	case 14, 18:
		s.troubleRelay()
	case 15:
		w := []weather{fair, rough, awful}[s.r.IntN(3)]
		s.did("the weather turns: %+v", w)
		s.network.setWeather(w)
	case 16:
		s.did("all connections break")
		s.network.cut()
		s.rest(time.Duration(s.r.IntN(90)) * time.Second)
		s.network.mend()
	case 17:
		s.pass()
	default:
	}
	s.rest([]time.Duration{
		0, time.Duration(s.r.IntN(50)) * time.Millisecond,
		time.Duration(s.r.IntN(3000)) * time.Millisecond, time.Duration(s.r.IntN(120)) * time.Second,
	}[s.r.IntN(4)])
}

func (s *schedule) anotherThan(p *person) *person {
	for {
		if other := s.people[s.r.IntN(len(s.people))]; other != p {
			return other
		}
	}
}

// bringUp makes sure that somebody's engine runs.
func (s *schedule) bringUp(p *person) {
	if p.c == nil {
		p.open()
	}
	if p.running == nil {
		p.run()
	}
}

// say sends some texts. Those who write to somebody who has not let them in write
// little, for what strangers leave is bounded.
func (s *schedule) say(from, to *person, n int) {
	pair := [2]*person{from, to}
	if from.c == nil {
		from.open() // and stays offline
	}
	for range n {
		if len(s.accepted[pair]) >= 10 && !s.isIn(from, to) {
			return
		}
		s.texts++
		text := fmt.Sprintf("%s %d from %s %s", marker, s.texts, from.name, strings.Repeat("x", s.r.IntN(600)))
		var err error
		from.command(func(c *client.Client) { _, err = c.Send(s.t.Context(), to.id, text, client.SendOptions{}) })
		if err != nil {
			s.fault("%s cannot send: %v", from.name, err)
			return
		}
		s.accepted[pair] = append(s.accepted[pair], text)
		s.did("%s sends %d to %s", from.name, s.texts, to.name)
	}
}

// isIn reports whether to has accepted from.
func (s *schedule) isIn(from, to *person) bool {
	pair := [2]*person{from, to}
	if !s.friends[pair] && to.c != nil {
		to.command(func(c *client.Client) {
			contact, err := c.Contact(s.t.Context(), from.id)
			s.friends[pair] = err == nil && (contact.State == client.ContactAccepted || contact.State == client.ContactRequested)
		})
	}
	return s.friends[pair]
}

// letIn accepts everybody who asks.
func (s *schedule) letIn(p *person) {
	s.bringUp(p)
	for _, other := range s.people {
		if other == p {
			continue
		}
		p.command(func(c *client.Client) { s.acceptIfAsked(p, c, other) })
	}
}

func (s *schedule) acceptIfAsked(p *person, c *client.Client, other *person) {
	contact, err := c.Contact(s.t.Context(), other.id)
	if err != nil || contact.State != client.ContactIncoming {
		return
	}
	if _, err := c.AcceptContact(s.t.Context(), other.id); err != nil {
		s.fault("%s cannot accept %s: %v", p.name, other.name, err)
	}
	s.did("%s accepts %s", p.name, other.name)
}

// troubleRelay stops, kills or lames the relay.
func (s *schedule) troubleRelay() {
	switch s.r.IntN(4) {
	case 0:
		s.did("the relay restarts")
		s.relay.stop()
		s.rest(time.Duration(s.r.IntN(60)) * time.Second)
		s.relay.start()
	case 1:
		s.did("the relay is killed")
		s.relay.kill()
		s.rest(time.Duration(s.r.IntN(60)) * time.Second)
		s.relay.start()
	default:
		n := 1 + s.r.IntN(25)
		s.did("the relay will die in %d operations", n)
		s.relay.process.arm(n)
	}
}

// pass lets hours or days pass, in which prekeys grow old.
func (s *schedule) pass() {
	d := time.Duration(1+s.r.IntN(5)) * time.Hour
	if days := 1 + s.r.IntN(9); s.r.IntN(2) == 0 && days <= s.days {
		s.days -= days
		d = time.Duration(days) * 24 * time.Hour
		// Days in which somebody is online cost a second each to simulate.
		for _, p := range s.people {
			p.close()
		}
		if s.r.IntN(2) == 0 {
			s.relay.stop()
		}
	}
	s.did("%v pass", d)
	s.rest(d)
	if s.relay.end == nil {
		s.relay.start()
	}
}

// quiesce ends all trouble, and waits until everything has come to rest.
func (s *schedule) quiesce() {
	s.did("the trouble ends")
	s.network.setWeather(fair)
	s.relay.process.disarm()
	for _, p := range s.people {
		s.bringUp(p)
		p.process.disarm()
	}
	s.settle()
	// Twice: what an answer to an acceptance says takes its own way.
	for range 2 {
		s.network.cut()
		s.rest(time.Second)
		s.network.mend()
		s.rest(6 * time.Minute)
		for _, p := range s.people {
			s.letIn(p)
		}
	}
	s.rest(6 * time.Minute)
}
