package seal

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// phase is how far the inner transport's stream to a peer is.
type phase int

const (
	unused   phase = iota // there is none, and none is wanted
	dialing               // Up, or Down with Refused or Timeout, follows
	standing              // it can be written
)

// peer is the stream to one endpoint, on top of the inner transport's.
type peer struct {
	t    *Transport
	addr netip.AddrPort

	// order is held while Up, Writable or Down is reported, so that they are
	// in order. It is taken before mu; a Handler that calls the transport needs
	// mu alone.
	order sync.Mutex

	mu       sync.Mutex
	gone     bool // no longer in Transport.peers
	phase    phase
	up       bool      // Up was reported, and no Down since
	waiting  bool      // Down with Reset was reported, and what follows was not
	greeting *greeting // an own hello that is not answered yet
	out      *outbound
	in       []*inbound

	control []written // hellos and answers that wait
	sealed  written   // a frame that waits, numbered
	queue   []queued  // frames that have no number yet
	bytes   int       // what those cost
	full    bool      // the inner transport has no room
	owed    bool      // ErrFull was returned, and Writable is owed
	hung    bool      // hung up, but something is queued
	timer   *time.Timer
	watched uint64 // timers so far
}

// written is what is passed to the inner transport: bytes, or what makes them
// when it writes them.
type written struct {
	bytes []byte
	later *numbered
}

func (w written) none() bool { return w.bytes == nil && w.later == nil }

// write passes something to the inner transport.
func (p *peer) write(w written) error {
	if w.later == nil {
		return p.t.inner.Stream(p.addr, w.bytes)
	}
	err := p.t.later.StreamLater(p.addr, w.later)
	if err == errors.ErrUnsupported {
		return p.t.inner.Stream(p.addr, w.later.bytes())
	}
	return err
}

// queued is a frame of the caller's, in parts or not.
type queued struct {
	plain []byte
	rest  [][]byte
}

func (q queued) cost() int { return sizeOf(q.plain, q.rest) + queueCost }

// seal gives the next frame its number, and seals it if the inner transport
// cannot wait with that.
func (p *peer) seal(q queued) {
	f := p.out.next(q.plain, q.rest)
	if p.sealed = (written{later: f}); p.t.later == nil {
		p.sealed = written{bytes: f.bytes()}
	}
}

// queueCost is what a frame in the queue costs besides its bytes.
const queueCost = 32

var errSilent = errors.New("seal: the peer does not answer: it has another key, or is stuck")

// peer returns what is known of an endpoint, or makes it known. It returns nil
// if there is nothing, or no room for one more.
func (t *Transport) peer(addr netip.AddrPort, create bool) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[addr]
	if p == nil && create && len(t.peers) < maxPeers {
		p = &peer{t: t, addr: addr}
		t.peers[addr] = p
	}
	return p
}

// Stream implements transport.Transport. Its limit is MaxFrame.
func (t *Transport) Stream(to netip.AddrPort, frame []byte) error {
	return t.stream(to, queued{plain: frame})
}

// StreamParts implements transport.Gatherer. The limit is MaxFrame.
func (t *Transport) StreamParts(to netip.AddrPort, parts [][]byte) error {
	if len(parts) == 0 {
		return t.Stream(to, nil)
	}
	return t.stream(to, queued{plain: parts[0], rest: parts[1:]})
}

func (t *Transport) stream(to netip.AddrPort, q queued) error {
	if err := t.check(sizeOf(q.plain, q.rest), transport.MaxFrame); err != nil {
		return err
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	for {
		p := t.peer(to, true)
		if p == nil {
			return fmt.Errorf("seal: there are %d peers, and no room for another", maxPeers)
		}
		if err := p.push(q); err != errGone {
			return err
		}
	}
}

var errGone = errors.New("seal: the peer was forgotten")

// push takes a frame of the caller's.
func (p *peer) push(q queued) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return errGone
	case p.hung, p.out != nil && (p.full || !p.sealed.none() || len(p.queue) > 0):
		p.owed = true
		return transport.ErrFull
	case p.out != nil:
		p.seal(q)
		p.flush()
		if p.greeting == nil && (p.out.n >= p.t.cfg.rekey || p.out.bytes >= rekeyBytes) {
			p.greet()
		}
		return nil
	}
	cost := q.cost()
	if p.bytes > 0 && p.bytes+cost > p.t.cfg.Queue {
		p.owed = true
		return transport.ErrFull
	}
	p.bytes += cost
	p.queue = append(p.queue, q)
	if p.phase != dialing && p.greeting == nil {
		p.greet()
	}
	return nil
}

// greet begins a handshake. While there is a session already it goes on until
// the answer comes.
func (p *peer) greet() {
	g, hello, err := p.t.greet()
	if err != nil {
		return // the system gives no random numbers; the timer ends it
	}
	p.greeting = g
	if p.phase == unused {
		p.phase = dialing
	} else {
		p.watch()
	}
	p.send(hello)
}

// send sends a message of a handshake.
func (p *peer) send(msg []byte) {
	if len(p.control) >= maxControl {
		p.t.drop(dropOverflow) // whoever waits for it gives up in the end
		return
	}
	p.control = append(p.control, written{bytes: msg})
	p.flush()
}

// flush passes on what the inner transport has room for.
func (p *peer) flush() {
	for !p.full {
		var w written
		switch {
		case len(p.control) > 0:
			w = p.control[0]
		case !p.sealed.none():
			w = p.sealed
		case p.out != nil && len(p.queue) > 0:
			p.seal(p.queue[0])
			p.bytes -= p.queue[0].cost()
			p.queue[0] = queued{}
			if p.queue = p.queue[1:]; len(p.queue) == 0 {
				p.queue = nil
			}
			continue
		default:
			return
		}
		if p.write(w) == transport.ErrFull {
			p.full = true
			return
		}
		// Any other error says that it is closed.
		if len(p.control) > 0 {
			p.control = p.control[1:]
		} else {
			p.sealed = written{}
		}
	}
}

// idle tells whether nothing waits to be written.
func (p *peer) idle() bool { return len(p.control) == 0 && p.sealed.none() && len(p.queue) == 0 }

// room tells whether Writable is due, and takes note that it is reported.
func (p *peer) room() bool {
	if !p.owed || p.hung || p.full || !p.sealed.none() || p.out != nil && len(p.queue) > 0 || p.bytes > p.t.cfg.Queue/2 {
		return false
	}
	p.owed = false
	return true
}

// report calls the handler. Only order is held.
func (p *peer) report(k transport.Kind, c transport.Cause, err error) {
	p.t.handler.Handle(transport.Event{Kind: k, Peer: p.addr, Cause: c, Err: err})
}

// reset forgets what belongs to the present stream of the inner transport.
func (p *peer) reset() {
	p.greeting, p.out, p.control, p.sealed, p.full = nil, nil, nil, written{}, false
}

// forget drops what was queued by the caller.
func (p *peer) forget() { p.queue, p.bytes, p.owed = nil, 0, false }

// remove takes a peer of which nothing is left, and nothing is wanted, from the
// list.
func (p *peer) remove() {
	if p.gone || p.phase != unused || p.up || p.waiting || !p.idle() || p.hung {
		return
	}
	p.gone = true
	p.unwatch()
	p.t.mu.Lock()
	delete(p.t.peers, p.addr)
	p.t.mu.Unlock()
}

// watch gives the peer time for its part of the handshake.
func (p *peer) watch() {
	if p.timer != nil {
		return
	}
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if p.t.closed {
		return
	}
	p.t.timers.Add(1)
	p.watched++
	n := p.watched
	p.timer = time.AfterFunc(handshakeTimeout, func() {
		defer p.t.timers.Done()
		p.silent(n)
	})
}

// unwatch ends that.
func (p *peer) unwatch() {
	if p.timer != nil && p.timer.Stop() {
		p.t.timers.Done()
	}
	p.timer = nil
}

// connected is told that the inner transport's stream can be written. It
// returns false if the peer was forgotten meanwhile.
func (p *peer) connected() bool {
	p.order.Lock()
	defer p.order.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	p.phase = standing
	p.watch()
	// A hello that was sent in order to dial is on its way. Where nothing is
	// wanted of the peer, it has to begin.
	if p.greeting == nil && (p.waiting || len(p.queue) > 0 || len(p.in) > 0) {
		p.greet()
	}
	p.flush()
	return true
}

// writable is told that the inner transport has room.
func (p *peer) writable() {
	p.order.Lock()
	defer p.order.Unlock()
	p.mu.Lock()
	p.full = false
	p.flush()
	p.settle()
	p.mu.Unlock()
	p.relieve()
}

// relieve reports Writable if that is due.
func (p *peer) relieve() {
	p.mu.Lock()
	due := p.room()
	p.mu.Unlock()
	if due {
		p.report(transport.Writable, 0, nil)
	}
}

// down is told that the inner transport's stream broke, or could not be opened.
func (p *peer) down(e transport.Event) {
	p.order.Lock()
	defer p.order.Unlock()
	p.mu.Lock()
	if e.Cause == transport.Reset && !p.hung {
		p.broke(dialing, e.Err)
		return
	}
	if p.hung {
		p.t.inner.Hangup(p.addr) // or it would dial again
	}
	p.end(e.Cause, e.Err)
}

// silent is called by the n-th timer.
func (p *peer) silent(n uint64) {
	p.order.Lock()
	defer p.order.Unlock()
	p.mu.Lock()
	if p.timer == nil || p.watched != n || p.gone {
		p.mu.Unlock()
		return
	}
	p.timer = nil
	p.t.inner.Hangup(p.addr)
	p.end(transport.Timeout, errSilent)
}

// cut breaks the stream, because of what came on it, and sets up another.
func (p *peer) cut(err error) {
	p.order.Lock()
	defer p.order.Unlock()
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return
	}
	p.t.inner.Hangup(p.addr)
	p.in = nil
	if p.hung {
		p.end(transport.Reset, err)
		return
	}
	p.broke(unused, err)
	p.mu.Lock()
	if p.phase == unused && p.greeting == nil && (p.waiting || len(p.queue) > 0) {
		p.greet()
	}
	p.remove()
	p.mu.Unlock()
}

// broke is what the end of a stream means after which there is another. What
// nobody knows to be up has not broken: frames wait for the next stream. It
// unlocks mu.
func (p *peer) broke(next phase, err error) {
	p.reset()
	p.phase = next
	// An answer that was written to the stream that broke may not have arrived,
	// though the hello came by another one that the peer has opened since.
	for _, s := range p.in {
		if !s.complete() {
			p.send(s.answer)
		}
	}
	report := p.up
	if report {
		p.up, p.waiting = false, true
		p.forget()
		p.unwatch()
	}
	p.mu.Unlock()
	if report {
		p.report(transport.Down, transport.Reset, err)
	}
}

// end is the end of all attempts. It unlocks mu.
func (p *peer) end(c transport.Cause, err error) {
	report := !p.hung && (p.up || p.waiting || len(p.queue) > 0)
	relieve := p.hung && p.owed
	p.reset()
	p.phase, p.in = unused, nil
	p.up, p.waiting = false, false
	p.forget()
	p.unwatch()
	p.unhang()
	p.mu.Unlock()
	switch {
	case report:
		p.report(transport.Down, c, err)
	case relieve: // for a stream after that which was hung up
		p.report(transport.Writable, 0, nil)
	}
	p.mu.Lock()
	p.remove()
	p.mu.Unlock()
}

// Hangup implements transport.Transport.
func (t *Transport) Hangup(addr netip.AddrPort) {
	if t.check(0, 0) != nil {
		return
	}
	p := t.peer(netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), false)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.hung || p.phase == unused {
		return
	}
	p.up, p.waiting, p.owed, p.hung = false, false, false, true
	t.mu.Lock()
	t.hung++
	t.mu.Unlock()
	if p.sealed.none() && len(p.queue) == 0 {
		p.control = nil
	}
	p.settle()
}

// settle hangs up when all is written.
func (p *peer) settle() {
	if !p.hung || !p.idle() {
		return
	}
	p.t.inner.Hangup(p.addr)
	p.reset()
	p.phase, p.in = unused, nil
	p.unwatch()
	p.unhang()
	p.remove()
}

// unhang notes that a peer that was hung up has nothing queued any more.
func (p *peer) unhang() {
	if !p.hung {
		return
	}
	p.hung = false
	p.t.mu.Lock()
	p.t.hung--
	p.t.mu.Unlock()
	select {
	case p.t.drained <- struct{}{}:
	default:
	}
}

// frame takes a frame from a stream of the inner transport.
func (t *Transport) frame(e transport.Event) {
	switch b := e.Frame; {
	case b[0] == kindHello:
		t.hello(e)
	case b[0] == kindAnswer && len(b) > numberAt:
		t.answer(e)
	case b[0] == kindFrame && len(b) >= frameCost:
		t.data(e)
	default:
		t.drop(dropMalformed)
	}
}

// hello takes a hello. A node that has none on its way says hello first, so
// that the peer has answered when its frames come, and Up comes before them.
func (t *Transport) hello(e transport.Event) {
	s, err := t.welcome(e.Frame)
	switch err {
	case nil:
	case errReplay:
		t.drop(dropReplay)
		return
	default:
		t.stranger(e.Peer, dropAuth)
		return
	}
	p := t.peer(e.Peer, true)
	if p == nil {
		t.drop(dropOverflow)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.hung {
		return
	}
	if p.phase == standing && p.greeting == nil && p.out == nil {
		p.greet()
	}
	p.add(s)
	p.send(s.answer)
}

// add keeps a session, in place of an older one if there are too many: of one
// that was not completed, if there is such a one.
func (p *peer) add(s *inbound) {
	if len(p.in) >= maxInbound {
		i := slices.IndexFunc(p.in, func(o *inbound) bool { return !o.complete() })
		p.in = slices.Delete(p.in, max(i, 0), max(i, 0)+1)
	}
	p.in = append(p.in, s)
}

// answer takes an answer.
func (t *Transport) answer(e transport.Event) {
	p := t.peer(e.Peer, false)
	if p == nil {
		t.drop(dropReplay)
		return
	}
	p.order.Lock()
	defer p.order.Unlock()
	p.mu.Lock()
	g := p.greeting
	if g == nil || g.id != sessionID(e.Frame[1:]) {
		p.mu.Unlock()
		t.drop(dropReplay)
		return
	}
	out, first, err := t.answered(g, e.Frame[numberAt:])
	if err != nil {
		p.mu.Unlock()
		t.stranger(e.Peer, dropAuth)
		return
	}
	p.greeting = nil
	p.unwatch()
	if !p.sealed.none() { // in the session before: it has to go first
		p.control = append(p.control, p.sealed)
		p.sealed = written{}
	}
	p.control = append(p.control, written{bytes: first})
	p.out = out
	p.flush()
	report := !p.up && !p.hung
	if report {
		p.up, p.waiting = true, false
	}
	p.settle()
	p.mu.Unlock()
	if report {
		p.report(transport.Up, 0, nil)
	}
	p.relieve()
}

// data takes a frame of the peer's caller.
func (t *Transport) data(e transport.Event) {
	p := t.peer(e.Peer, false)
	if p == nil {
		t.drop(dropReplay)
		return
	}
	p.mu.Lock()
	i := slices.IndexFunc(p.in, func(s *inbound) bool { return s.id == sessionID(e.Frame[1:]) })
	if i < 0 {
		p.mu.Unlock()
		t.drop(dropReplay)
		return
	}
	s, quiet := p.in[i], p.hung
	p.mu.Unlock()
	plain, begins, err := s.open(e.Frame)
	switch {
	case err == errReplay:
		t.drop(dropReplay)
	case err == errGap:
		p.cut(err)
	case err != nil:
		t.stranger(e.Peer, dropAuth)
	case !begins && !quiet:
		t.handler.Handle(transport.Event{Kind: transport.Frame, Peer: e.Peer, Frame: plain, Key: s.identity, Free: e.Free})
	}
}

// keysChanged takes note of another ring: what was sealed with a key that is not
// accepted any more ends, and what was sealed with one that is not in use
// begins anew.
func (p *peer) keysChanged(r *ring) {
	p.mu.Lock()
	cut := p.out != nil && !r.has(p.out.key) || p.greeting != nil && !r.has(p.greeting.key)
	for _, s := range slices.Backward(p.in) {
		if s.complete() { // this is the one in which the peer writes
			cut = cut || !r.has(s.key)
			break
		}
	}
	p.in = slices.DeleteFunc(p.in, func(s *inbound) bool { return !r.has(s.key) })
	if !cut && !p.gone && p.out != nil && p.out.key != r.use && (p.greeting == nil || p.greeting.key != r.use) {
		p.greet()
	}
	p.mu.Unlock()
	if cut {
		p.cut(errKey)
	}
}

var errKey = errors.New("seal: the key that the peer uses is not accepted any more")
