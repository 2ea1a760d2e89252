package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chate2e/chate2e/internal/client"
	"github.com/chate2e/chate2e/internal/mailbox/sqlite"
)

// marker is in every text, and must be in nothing that the relay gets.
const marker = "canary"

// historySize is more than any conversation has.
const historySize = 10_000

// look holds what a person sees against what must be true at any moment.
func (w *world) look(p *person) { p.command(func(c *client.Client) { w.lookAt(p, c) }) }

func (w *world) lookAt(p *person, c *client.Client) {
	ctx := w.t.Context()
	for _, other := range w.people {
		if other == p {
			continue
		}
		items, err := c.History(ctx, other.id, "", historySize)
		if err != nil {
			if w.exchanged(p, other) {
				w.fault("%s has no conversation with %s: %v", p.name, other.name, err)
			}
			continue
		}
		w.checkOwn(p, other, items)
		w.checkOrder(p.name, items)
		w.checkOnce(p, other, items)
		w.checkStable(p, other, items)
	}
	arrivals, err := c.TakeArrivals(ctx, historySize)
	if err != nil {
		w.fault("%s: %v", p.name, err)
	}
	for _, item := range arrivals {
		if item.Kind == client.KindMissing {
			continue
		}
		if p.printed[item.ID] {
			w.fault("P1: %s was given %.20q twice", p.name, item.Text)
		}
		p.printed[item.ID] = true
	}
}

// brief cuts texts down to their numbers.
func brief(texts []string) []string {
	var numbers []string
	for _, text := range texts {
		numbers = append(numbers, strings.Fields(text)[1])
	}
	return numbers
}

// exchanged reports whether there must be a conversation.
func (w *world) exchanged(p, other *person) bool { return len(w.accepted[[2]*person{p, other}]) > 0 }

// checkOwn is P2 at the sender: what Send has accepted is there, in its order.
func (w *world) checkOwn(p, other *person, items []client.Item) {
	var got []string
	for _, item := range items {
		if item.Direction != client.DirectionOut || item.Kind != client.KindText {
			continue
		}
		got = append(got, item.Text)
		if item.State != client.StateQueued && item.State != client.StateSent {
			w.fault("P2: %.20q of %s is %s", item.Text, p.name, item.State)
		}
	}
	if want := w.accepted[[2]*person{p, other}]; !slices.Equal(got, want) {
		w.fault("P2: %s has accepted %q for %s, and keeps %q", p.name, brief(want), other.name, brief(got))
	}
}

// checkOrder is P4: both sides' items in the order of their numbers, with every
// hole marked.
func (w *world) checkOrder(who string, items []client.Item) {
	last := map[client.Direction]uint64{}
	for i, item := range items {
		if item.Seq == 0 {
			continue
		}
		before := last[item.Direction]
		if item.Seq <= before {
			w.fault("P4: %s sees number %d of %s after %d", who, item.Seq, item.FromName, before)
			continue
		}
		last[item.Direction] = item.Seq
		hole := item.Seq - before - 1
		marked := i > 0 && items[i-1].Kind == client.KindMissing && items[i-1].GapBefore == hole
		if item.GapBefore != hole || hole > 0 && !marked {
			w.fault("P4: of %d missing before number %d of %s, %s sees %d", hole, item.Seq, item.FromName, who, item.GapBefore)
		}
	}
}

// checkOnce is P1 in the conversation, and what an event has shown stays.
func (w *world) checkOnce(p, other *person, items []client.Item) {
	texts, ids := map[string]bool{}, map[string]bool{}
	for _, item := range items {
		if ids[item.ID] || item.Kind == client.KindText && texts[item.Text] {
			w.fault("P1: %s sees %.20q twice", p.name, item.Text)
		}
		ids[item.ID] = true
		if item.Kind == client.KindText {
			texts[item.Text] = true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, chat := range p.onShow {
		if chat == other.id && !ids[id] {
			w.faults = append(w.faults, fmt.Sprintf("%s was shown an item of %s that is gone", p.name, other.name))
			delete(p.onShow, id)
		}
	}
}

// checkStable: what was shown keeps its order; others may come between.
func (w *world) checkStable(p, other *person, items []client.Item) {
	var now []string
	for _, item := range items {
		if item.Kind != client.KindMissing {
			now = append(now, item.ID)
		}
	}
	rest := now
	for _, id := range p.seen[other.id] {
		i := slices.Index(rest, id)
		if i < 0 {
			w.fault("P4: what %s saw of %s has moved or is gone", p.name, other.name)
			break
		}
		rest = rest[i+1:]
	}
	p.seen[other.id] = now
}

// finish holds the end against what must be true when everything has come to
// rest: accepted is displayed, and nothing is left over.
func (w *world) finish() {
	ctx := w.t.Context()
	for _, p := range w.people {
		w.look(p)
		status, err := p.c.Status(ctx)
		if err != nil || status.Outbox != 0 || !status.Connected {
			w.fault("P5: at the end %s has %+v, %v", p.name, status, err)
		}
		for _, other := range w.people {
			if p != other {
				w.finishPair(p, other)
			}
		}
		arrived, err := p.c.Arrivals(ctx, 0, historySize)
		if err != nil {
			w.fault("%s: %v", p.name, err)
		}
		for _, item := range arrived {
			if !p.printed[item.ID] {
				w.fault("P5: %s was never given %.20q", p.name, item.Text)
			}
		}
	}
	w.tape.mu.Lock()
	w.faults = append(w.faults, w.tape.faults...)
	for _, envelopes := range w.tape.mailbox {
		for _, in := range envelopes {
			if bytes.Contains(in.Body, []byte(marker)) {
				w.faults = append(w.faults, "a text passed in the clear")
			}
		}
	}
	w.tape.mu.Unlock()
}

// finishPair looks at what p has of other.
func (w *world) finishPair(p, other *person) {
	ctx := w.t.Context()
	wanted := w.accepted[[2]*person{other, p}]
	items, err := p.c.History(ctx, other.id, "", historySize)
	if err != nil {
		if len(wanted) > 0 {
			w.fault("P5: %s has nothing of %s: %v", p.name, other.name, err)
		}
		return
	}
	var got []string
	ciphertexts := 0 // that these items stand for, from p to other
	for _, item := range items {
		switch {
		case item.Direction == client.DirectionOut:
			ciphertexts++
			if item.State != client.StateSent {
				w.fault("P5: %.20q of %s is %s in the end", item.Text, p.name, item.State)
			}
		case item.Kind == client.KindText:
			got = append(got, item.Text)
		case item.Kind == client.KindAccepted:
			ciphertexts++ // is answered with a topic
		case item.Kind == client.KindMissing, item.Kind == client.KindUndecryptable:
			w.fault("P5: %s sees %q (%s) of %s in the end", p.name, item.Kind, item.Reason, other.name)
		case item.Kind == client.KindKeyChange:
			w.fault("P5: %s is told of a key change of %s", p.name, other.name)
		case item.Kind == client.KindRequest:
		}
	}
	if !slices.Equal(got, wanted) {
		w.fault("P5: %s sees of %s: %q, and accepted was %q", p.name, other.name, brief(got), brief(wanted))
	}
	if seen := w.tape.ciphertexts(p, other); seen != ciphertexts {
		w.fault("P3: %s has %d things to say to %s, and %d ciphertexts were seen", p.name, ciphertexts, other.name, seen)
	}
	events, err := p.c.Protocol(ctx, other.id, historySize)
	if err != nil {
		w.fault("%s: %v", p.name, err)
	}
	started := 0
	for _, e := range events {
		if e.Kind == "handshake" && e.Setup.Initiator {
			started++
		}
	}
	if started > 1 {
		w.fault("%s has started %d sessions with %s", p.name, started, other.name)
	}
}

// left looks at the files of the relay, which does not run any more.
func (w *world) left() {
	report, err := sqlite.Inspect(w.t.Context(), w.relay.database(), time.Now())
	if err != nil || len(report.Problems) > 0 || report.Messages != 0 {
		w.fault("P5: in the end the relay has %+v, %v", report, err)
	}
	entries, err := os.ReadDir(w.relay.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(w.relay.dir, entry.Name()))
		if err != nil {
			w.t.Fatal(err)
		}
		if bytes.Contains(data, []byte(marker)) {
			w.fault("the relay's %s contains a text", entry.Name())
		}
	}
}
