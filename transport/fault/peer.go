package fault

import (
	"errors"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// What Event.Err says when the wrapped transport has not said it.
var (
	errTimeout = errors.New("fault: the peer is cut off")
	errReset   = errors.New("fault: the stream ended while the peer was cut off")
)

// maxWaiting is how many events of a stream other than frames wait at most
// before the wrapped transport has to.
const maxWaiting = 64

// state is that of a stream.
type state uint8

const (
	none state = iota
	dialing
	up
)

// peer is the stream to a peer. There are two views of it, which differ while
// the peer is cut off: that of the wrapped transport, inner, and outer, which
// is what the handler was told. All is guarded by Transport.mu.
type peer struct {
	t    *Transport
	addr netip.AddrPort
	way  Way

	inner, outer state
	broken       bool            // the inner stream ended and the handler was not told, while outer is up
	why          transport.Event // the last Down that it was not told
	disarm       func()          // stops the time that the cut gives to the outer stream
	armed        bool

	lane  lane
	early []transport.Event // frames of an inner stream of which the handler knows nothing
	size  int               // of early
	epoch int               // counts the ends of streams

	held    []outgoing // frames that the inner stream was not given
	bytes   int        // of held
	full    bool       // ErrFull was returned, or a Writable kept back
	hanging int        // Hangup when so many frames of held are gone; 0: no
}

// peer returns the one at an endpoint.
func (t *Transport) peer(addr netip.AddrPort) *peer {
	p := t.peers[addr]
	if p == nil {
		p = &peer{t: t, addr: addr, way: t.way(addr), lane: newLane(t), disarm: func() {}}
		p.lane.halted = func() bool { return p.way&From != 0 }
		p.lane.idled = p.tidy
		t.peers[addr] = p
	}
	return p
}

// idle tells whether there is nothing to do for the peer but to hand on.
func (p *peer) idle() bool {
	return p.lane.idle() && len(p.held) == 0 && len(p.early) == 0 && !p.armed && !p.broken
}

// tidy forgets the peer if there is nothing to know.
func (p *peer) tidy() {
	if p.inner == none && p.outer == none && p.idle() && p.t.peers[p.addr] == p {
		delete(p.t.peers, p.addr)
	}
}

// Stream implements transport.Transport.
func (t *Transport) Stream(to netip.AddrPort, frame []byte) error {
	return t.StreamParts(to, [][]byte{frame})
}

// StreamParts implements transport.Gatherer.
func (t *Transport) StreamParts(to netip.AddrPort, parts [][]byte) error {
	return t.send(to, outgoing{parts: parts})
}

// StreamLater implements transport.Deferrer, if the wrapped transport does.
func (t *Transport) StreamLater(to netip.AddrPort, f transport.Encoder) error {
	if t.later == nil {
		return errors.ErrUnsupported
	}
	return t.send(to, outgoing{later: f})
}

func (t *Transport) send(to netip.AddrPort, o outgoing) error {
	to = unmap(to)
	t.mu.Lock()
	if err := t.usable(); err != nil {
		t.mu.Unlock()
		return err
	}
	p := t.peer(to)
	if len(p.held) > 0 || p.way&To != 0 || p.way != 0 && p.outer != up {
		defer t.mu.Unlock()
		return p.hold(o)
	}
	begun := p.outer == none
	if begun {
		p.inner, p.outer = dialing, dialing
	}
	t.mu.Unlock()
	err := t.pass(to, o)
	if err != nil && err != transport.ErrFull && begun {
		t.mu.Lock()
		defer t.mu.Unlock()
		if p.outer == dialing {
			p.inner, p.outer = none, none
			p.tidy()
		}
	}
	return err
}

// hold takes a frame that cannot be sent now.
func (p *peer) hold(o outgoing) error {
	defer p.tidy()
	t := p.t
	if err := tooLarge(o.size(), transport.MaxFrame, func(f []byte) error { return t.inner.Stream(p.addr, f) }); err != nil {
		return err
	}
	size := o.cost()
	if p.bytes > 0 && p.bytes+size > t.cfg.Queue {
		p.full = true
		return transport.ErrFull
	}
	p.bytes += size
	p.held = append(p.held, o)
	if p.outer == none {
		p.outer = dialing
		if p.way != 0 {
			p.arm(t.cfg.DialTimeout)
		}
	}
	return nil
}

// forget loses the frames that were not sent.
func (p *peer) forget() { p.held, p.bytes, p.full, p.hanging = nil, 0, false, 0 }

// cease loses the frames that have arrived, and those that wait to.
func (p *peer) cease(all bool) {
	p.epoch++
	p.early, p.size = nil, 0
	p.lane.remove(all)
}

// flush sends what was held.
func (p *peer) flush() {
	for len(p.held) > 0 && p.way == 0 {
		// Any other error means that the frame is lost with its stream.
		if p.t.pass(p.addr, p.held[0]) == transport.ErrFull {
			break
		}
		if p.inner == none {
			p.inner = dialing
		}
		p.bytes -= p.held[0].cost()
		p.held[0] = outgoing{}
		p.held = p.held[1:]
		if p.hanging > 0 {
			if p.hanging--; p.hanging == 0 {
				p.t.inner.Hangup(p.addr)
				p.inner = none
			}
		}
	}
	if p.full && p.way == 0 && p.outer == up && p.bytes <= p.t.cfg.Queue/2 {
		p.full = false
		p.tell(transport.Event{Kind: transport.Writable})
	}
}

// Hangup implements transport.Transport.
func (t *Transport) Hangup(addr netip.AddrPort) {
	addr = unmap(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.usable() != nil {
		return
	}
	p := t.peers[addr]
	if p == nil {
		t.inner.Hangup(addr)
		return
	}
	p.stopTimer()
	p.cease(true)
	p.outer, p.broken, p.full = none, false, false
	if len(p.held) > 0 && p.way == 0 {
		p.hanging = len(p.held)
	} else {
		p.forget()
		t.inner.Hangup(addr)
		p.inner = none
	}
	p.tidy()
	t.settle()
}

// tell lets the handler know something about the stream.
func (p *peer) tell(e transport.Event) {
	e.Peer = p.addr
	p.arrive(e)
	p.lane.start()
}

// arrive puts an event in the lane, as late as the faults make it.
func (p *peer) arrive(e transport.Event) {
	at := time.Now().Add(p.t.lag())
	if last := p.lane.last(); last.After(at) {
		at = last
	}
	p.lane.put(at, e)
}

// lag is how late the next packet of a stream is.
func (t *Transport) lag() (late time.Duration) {
	if t.faults == (Faults{}) {
		return 0
	}
	for again := resend; again < resend<<retries; again *= 2 {
		if plan := t.weather.Plan(netip.AddrPort{}, netip.AddrPort{}, false); len(plan) > 0 {
			return late + plan[0]
		}
		late += again
	}
	return late
}

// After what time a stream sends a packet again, and how often.
const (
	resend  = 200 * time.Millisecond
	retries = 6
)

// frame takes a frame of the inner stream.
func (t *Transport) frame(e transport.Event) {
	t.mu.Lock()
	p := t.peer(e.Peer)
	epoch := p.epoch
	if !p.wait(func() bool { return p.size+p.lane.size > 0 && p.size+p.lane.size+cost(e) > t.cfg.Queue }, epoch) ||
		p.hanging > 0 || p.inner != up && p.way&From != 0 {
		p.tidy()
		t.mu.Unlock()
		return
	}
	if p.inner == up && (p.outer != up || p.broken) {
		p.early = append(p.early, e)
		p.size += cost(e)
		t.mu.Unlock()
		return
	}
	p.arrive(e)
	p.lane.pass()
}

// wait waits while full returns true. It returns false if the stream has ended
// meanwhile.
func (p *peer) wait(full func() bool, epoch int) bool {
	for !p.t.closed && p.epoch == epoch && full() {
		p.t.room.Wait()
	}
	return !p.t.closed && p.epoch == epoch
}

// stream takes any other event of the inner stream.
func (t *Transport) stream(e transport.Event) {
	t.mu.Lock()
	p := t.peer(e.Peer)
	for !t.closed && p.lane.signs >= maxWaiting {
		t.room.Wait()
	}
	if t.closed {
		t.mu.Unlock()
		return
	}
	// Who waited may have been forgotten.
	p = t.peer(e.Peer)
	switch e.Kind {
	case transport.Up:
		p.inner, p.why = up, transport.Event{}
		if p.way == 0 && p.hanging == 0 {
			p.rise()
			p.flush()
		}
	case transport.Writable:
		if p.way != 0 || len(p.held) > 0 {
			p.full = p.full || p.hanging == 0
			p.flush()
		} else if p.outer == up {
			p.arrive(e)
		}
	case transport.Down:
		p.down(e)
	}
	if len(p.lane.items) == 0 {
		p.tidy()
		t.settle()
		t.mu.Unlock()
		return
	}
	p.lane.pass()
}

// rise tells the handler that the stream is up, and what came on it.
func (p *peer) rise() {
	p.outer = up
	p.arrive(transport.Event{Kind: transport.Up, Peer: p.addr})
	for _, e := range p.early {
		p.arrive(e)
	}
	p.early, p.size = nil, 0
}

// down takes the news that the inner stream is down.
func (p *peer) down(e transport.Event) {
	reset := e.Cause == transport.Reset
	p.inner = none
	if reset {
		p.inner = dialing
	}
	switch {
	case p.hanging > 0:
		// What came after Hangup goes to the next stream.
		p.held = p.held[p.hanging:]
		p.bytes, p.hanging = 0, 0
		for _, f := range p.held {
			p.bytes += f.cost()
		}
		p.flush()
	case p.way&From != 0 || p.way != 0 && !(reset && p.outer == up):
		// That the stream ended would have to come from the peer, and no
		// attempt to connect is answered. Of a stream that the handler does
		// not know there is nothing to say.
		p.why = e
		if p.outer == up {
			p.broken = true
			p.cease(false)
		}
	default:
		if e.Cause == transport.Refused {
			delete(p.t.heard, p.addr)
		}
		p.epoch++
		p.early, p.size = nil, 0
		p.forget()
		p.t.room.Broadcast()
		p.stopTimer()
		p.outer = p.inner
		if p.way != 0 {
			p.arm(p.t.cfg.DialTimeout)
		}
		p.arrive(e)
	}
}

// turn changes how the peer is cut off.
func (p *peer) turn(w Way) {
	was := p.way
	p.way = w
	switch {
	case was == 0 && w != 0:
		if p.hanging > 0 {
			p.forget()
			p.t.inner.Hangup(p.addr)
			p.inner = none
		}
		switch p.outer {
		case up:
			p.arm(p.t.cfg.StreamTimeout)
		case dialing:
			p.arm(p.t.cfg.DialTimeout)
		}
	case was != 0 && w == 0:
		p.mend()
	}
	p.lane.start()
	p.tidy()
}

// arm gives the outer stream so much time.
func (p *peer) arm(d time.Duration) {
	p.stopTimer()
	p.armed = true
	p.disarm = p.t.after(d, p.expire)
}

func (p *peer) stopTimer() {
	p.disarm()
	p.disarm, p.armed = func() {}, false
}

// expire ends the outer stream, because the peer was cut off for long. The
// inner one must not outlive it, because frames are missing in it.
func (p *peer) expire() {
	p.disarm, p.armed = func() {}, false
	p.forget()
	p.cease(false)
	p.outer, p.broken = none, false
	p.t.inner.Hangup(p.addr)
	p.inner = none
	p.tell(transport.Event{Kind: transport.Down, Cause: transport.Timeout, Err: errTimeout})
}

// mend brings the outer stream to where the inner one is.
func (p *peer) mend() {
	p.stopTimer()
	if p.broken {
		p.broken = false
		p.forget()
		p.outer = dialing
		p.tell(transport.Event{Kind: transport.Down, Cause: transport.Reset, Err: errReset})
	}
	switch {
	case p.inner == up && p.outer != up:
		p.rise()
	case p.inner == none && p.outer == dialing && len(p.held) == 0:
		p.outer = none
		e := p.why
		if e.Kind == 0 {
			e = transport.Event{Kind: transport.Down, Cause: transport.Timeout, Err: errTimeout}
		}
		p.tell(e)
	}
	p.flush()
	p.lane.start()
}
