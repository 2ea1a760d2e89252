package webui

import (
	"context"
	"sync"
	"time"
)

// pages counts who has the page open. A page keeps one answer streaming for as
// long as it lives, so that we learn of its end however it comes.
type pages struct {
	patience time.Duration // how long no page must be open until the last one counts as closed

	mu      sync.Mutex
	open    map[*page]struct{} // guarded by mu
	started int                // programs that are opening one; guarded by mu
	changed chan struct{}      // closed, and replaced, with every change; guarded by mu
}

type page struct {
	session string
	focused bool
}

// closingFor is long enough for a page to change its stream, and for a browser that
// runs already to open one.
const closingFor = 5 * time.Second

func newPages() *pages {
	return &pages{patience: closingFor, open: map[*page]struct{}{}, changed: make(chan struct{})}
}

// change runs do and tells those who wait.
func (p *pages) change(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
	close(p.changed)
	p.changed = make(chan struct{})
}

// opening notes that a program opens a page, until ended is closed.
func (p *pages) opening(ended <-chan struct{}) {
	p.change(func() { p.started++ })
	go func() { // ends with the browser, which may outlive us
		<-ended
		p.change(func() { p.started-- })
	}()
}

// here notes a page until the function that it returns is called.
func (p *pages) here(session string) (gone func()) {
	one := &page{session: session}
	p.change(func() { p.open[one] = struct{}{} })
	return func() { p.change(func() { delete(p.open, one) }) }
}

// focus notes whether the pages of a session have the focus.
func (p *pages) focus(session string, focused bool) {
	p.change(func() {
		for one := range p.open {
			if one.session == session {
				one.focused = focused
			}
		}
	})
}

// looked reports whether somebody looks at a page.
func (p *pages) looked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.open {
		if one.focused {
			return true
		}
	}
	return false
}

func (p *pages) state() (some bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)+p.started > 0, p.changed
}

// wait returns when there has been no page for a while.
func (p *pages) wait(ctx context.Context) error {
	for {
		some, changed := p.state()
		var over <-chan time.Time
		if !some {
			over = time.After(p.patience)
		}
		select {
		case <-changed:
		case <-over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next returns when there is a page again.
func (p *pages) next(ctx context.Context) error {
	for {
		some, changed := p.state()
		if some {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
