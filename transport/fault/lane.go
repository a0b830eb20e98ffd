package fault

import (
	"slices"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// lane holds events until their time has come, and hands them over one after
// another. Its goroutine runs only while there are any. All is guarded by
// Transport.mu.
type lane struct {
	t       *Transport
	items   []item // by time
	size    int    // of the frames among them, in bytes
	signs   int    // how many are no frames
	running bool   // somebody hands over
	kick    chan struct{}

	// halted tells whether frames must wait, idled is called when nothing is
	// left; either may be nil.
	halted func() bool
	idled  func()
}

// item is an event that is due at a time.
type item struct {
	at    time.Time
	event transport.Event
}

func newLane(t *Transport) lane { return lane{t: t, kick: make(chan struct{}, 1)} }

// frameCost is what a frame costs besides its bytes.
const frameCost = 64

func cost(e transport.Event) int { return len(e.Frame) + frameCost }

func (l *lane) idle() bool { return !l.running && len(l.items) == 0 }

// put adds an event, behind those due at the same time.
func (l *lane) put(at time.Time, e transport.Event) {
	i := len(l.items)
	for i > 0 && l.items[i-1].at.After(at) {
		i--
	}
	l.items = slices.Insert(l.items, i, item{at, e})
	l.count(e, 1)
}

// count keeps size and signs up to date.
func (l *lane) count(e transport.Event, n int) {
	if e.Kind == transport.Frame {
		l.size += n * cost(e)
	} else {
		l.signs += n
	}
}

// last is when the last event is due, or the zero time.
func (l *lane) last() time.Time {
	if len(l.items) == 0 {
		return time.Time{}
	}
	return l.items[len(l.items)-1].at
}

// pop removes and returns the first event.
func (l *lane) pop() transport.Event {
	e := l.items[0].event
	l.items[0] = item{}
	l.items = l.items[1:]
	l.count(e, -1)
	l.t.room.Broadcast()
	return e
}

// remove removes the frames, or all.
func (l *lane) remove(all bool) {
	l.items = slices.DeleteFunc(l.items, func(i item) bool { return all || i.event.Kind == transport.Frame })
	l.size, l.signs = 0, len(l.items)
	l.t.room.Broadcast()
}

// wait is how long the first event must wait; negative means until a kick.
func (l *lane) wait() time.Duration {
	if len(l.items) == 0 || l.items[0].event.Kind == transport.Frame && l.halted != nil && l.halted() {
		return -1
	}
	return max(0, time.Until(l.items[0].at))
}

// start sees to it that what is there is handed over.
func (l *lane) start() {
	switch {
	case l.running:
		select {
		case l.kick <- struct{}{}:
		default:
		}
	case len(l.items) > 0 && !l.t.closed:
		l.t.busy.Store(true)
		l.running = true
		l.t.wg.Go(l.run)
	}
}

// pass does the same, and hands the event over at once if it is the only one
// and due. It releases Transport.mu, which must be held.
func (l *lane) pass() {
	if t := l.t; !l.running && len(l.items) == 1 && l.wait() == 0 {
		l.running = true
		e := l.pop()
		t.mu.Unlock()
		t.handler.Handle(e)
		t.mu.Lock()
		l.running = false
		if len(l.items) == 0 {
			l.end()
		}
	} else if l.running && len(l.items) > 0 {
		t.busy.Store(true)
	}
	l.start()
	l.t.mu.Unlock()
}

// end is called when the lane has become idle.
func (l *lane) end() {
	if l.idled != nil {
		l.idled()
	}
	l.t.settle()
}

// run hands over what is due.
func (l *lane) run() {
	t := l.t
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		t.mu.Lock()
		if t.closed || len(l.items) == 0 {
			l.running = false
			l.end()
			t.mu.Unlock()
			return
		}
		wait := l.wait()
		var e transport.Event
		if wait == 0 {
			e = l.pop()
		}
		t.mu.Unlock()
		if wait == 0 {
			t.handler.Handle(e)
			continue
		}
		timer.Stop()
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-l.kick:
		case <-timer.C:
		case <-t.done:
		}
	}
}
