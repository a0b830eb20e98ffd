package lan

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// link is the stream to a peer from the first frame, or the first connection
// from the peer, until it is hung up or can be opened no longer. Its goroutine
// dials, writes, and alone reports Up, Writable and Down, which are therefore
// in order.
type link struct {
	t    *Transport
	peer netip.AddrPort
	wake chan struct{} // something below has changed
	over chan struct{} // closed at the end

	ctx    context.Context // until abort, or the end
	cancel context.CancelFunc

	mu      sync.Mutex
	queue   []outgoing
	bytes   int     // taken and not yet written
	small   []byte  // room for straight
	full    bool    // ErrFull was returned and Writable is owed
	conns   []*conn // with the peer, that can be written to, the oldest first
	reading map[*conn]struct{}
	current *conn // the one written to
	open    *conn // the same, after Up was reported and as long as it lasts
	hung    bool  // hung up: nothing is reported
	aborted bool  // the transport closes
	gone    bool  // over: nothing can be added
	wanted  bool  // a connection is, for a frame or in place of one that broke
	attempt int   // counts dials
	dialing bool
	failed  error // what became of the last dial
}

// frameCost is what a frame costs besides its bytes.
const frameCost = 32

var errReplaced = errors.New("lan: the peer opened another connection")

// Stream implements transport.Transport.
func (t *Transport) Stream(to netip.AddrPort, frame []byte) error {
	return t.stream(to, outgoing{frame: frame})
}

// StreamParts implements transport.Gatherer.
func (t *Transport) StreamParts(to netip.AddrPort, parts [][]byte) error {
	if len(parts) == 0 {
		return t.Stream(to, nil)
	}
	return t.stream(to, outgoing{frame: parts[0], rest: parts[1:]})
}

// StreamLater implements transport.Deferrer.
func (t *Transport) StreamLater(to netip.AddrPort, f transport.Encoder) error {
	return t.stream(to, outgoing{later: f})
}

func (t *Transport) stream(to netip.AddrPort, o outgoing) error {
	if size := o.size(); size > maxFrame {
		if err := t.usable(); err != nil {
			return err
		}
		return &transport.TooLargeError{Size: size, Limit: maxFrame}
	}
	to = plain(to)
	for {
		l, _ := t.link(to, nil)
		if l == nil {
			return transport.ErrClosed
		}
		if err := l.push(o); err != errGone {
			return err
		}
	}
}

// Hangup implements transport.Transport.
func (t *Transport) Hangup(peer netip.AddrPort) {
	peer = plain(peer)
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.links[peer]
	if l == nil || t.closed {
		return
	}
	delete(t.links, peer)
	t.streams.Add(-1)
	t.hung[l] = struct{}{}
	l.mu.Lock()
	l.hung = true
	l.mu.Unlock()
	l.poke()
}

// attach gives a connection that the peer opened to the peer's link.
func (t *Transport) attach(peer netip.AddrPort, c *conn) {
	for {
		l, made := t.link(peer, c)
		if l == nil {
			c.Close()
			return
		}
		if made || l.add(c) {
			return
		}
	}
}

// link returns the link to a peer, which it makes if there is none; then c, if
// not nil, is its first connection, as made tells. It returns nil if the transport is closed, or
// c is from one peer too many.
func (t *Transport) link(peer netip.AddrPort, c *conn) (l *link, made bool) {
	t.mu.RLock()
	l = t.links[peer]
	usable := t.open && !t.closed
	t.mu.RUnlock()
	if !usable {
		return nil, false
	}
	if l != nil {
		return l, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	if l = t.links[peer]; l != nil {
		return l, false
	}
	if c != nil && len(t.links) >= maxPeers {
		t.drops.count(dropOverflow)
		return nil, false
	}
	l = &link{t: t, peer: peer, wake: make(chan struct{}, 1), over: make(chan struct{}), reading: make(map[*conn]struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if c != nil {
		l.conns = []*conn{c}
	}
	t.links[peer] = l
	t.streams.Add(1)
	t.wg.Go(l.run)
	return l, true
}

var errGone = errors.New("lan: the link is over")

// push queues a frame.
func (l *link) push(o outgoing) error {
	cost := o.size() + frameCost
	l.mu.Lock()
	if l.gone || l.hung || l.aborted {
		l.mu.Unlock()
		return errGone
	}
	if l.bytes > 0 && l.bytes+cost > l.t.cfg.Queue {
		l.full = true
		l.mu.Unlock()
		return transport.ErrFull
	}
	if l.bytes == 0 && cost <= smallPart && l.t.streams.Load() <= fewPeers && l.straight(o) {
		l.mu.Unlock()
		return nil
	}
	l.bytes += cost
	l.queue = append(l.queue, o)
	l.wanted = true
	wake := len(l.queue) == 1
	l.mu.Unlock()
	if wake {
		l.poke()
	}
	return nil
}

// fewPeers is up to how many streams frames are written straight away. With more
// the processors are most likely not idle, and whoever writes waits for one while
// it keeps others from going on.
const fewPeers = 8

// straight writes a small frame at once, before which nothing waits, and so
// spares it the way by another goroutine. What cannot be written at once goes
// that way. It returns false if all of it has to.
func (l *link) straight(o outgoing) bool {
	c := l.open
	if c == nil || c.replaced {
		return false
	}
	b := o.appendTo(l.small[:0])
	l.small = b[:0]
	if n := c.tryWrite(b); n < len(b) {
		rest := outgoing{frame: append([]byte(nil), b[n:]...), begun: true}
		l.queue = append(l.queue, rest)
		l.bytes += rest.size() + frameCost
		l.poke()
	}
	return true
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// add takes a connection. It returns false if the link is over.
func (l *link) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.poke()
	if l.aborted || l.gone {
		if c.dialed || l.aborted {
			c.Close()
			return true
		}
		return false
	}
	begin := l.current != nil
	for _, o := range l.conns {
		switch {
		case o.instance != c.instance:
			// That process is dead, and another has its port.
			o.Close()
			l.remove(o)
		case !c.dialed && o.age() > young:
			// The peer dials only without a connection, so this one is none
			// any more on its side. What it sent is still read.
			l.replace(o)
		default:
			continue
		}
		if o == l.current {
			begin = false // only after Down and Up
		}
	}
	if len(l.conns) >= maxConns {
		l.t.drops.count(dropOverflow)
		l.conns[0].Close()
	}
	l.conns = append(l.conns, c)
	if begin {
		l.start(c)
	}
	return true
}

// replace stops writing to a connection.
func (l *link) replace(c *conn) {
	c.replaced = true
	now := time.Now()
	_ = c.SetWriteDeadline(now)
	_ = c.SetReadDeadline(now.Add(stuck))
	l.remove(c)
	l.start(c)
}

// remove takes a connection from the list.
func (l *link) remove(c *conn) {
	conns := l.conns[:0:0]
	for _, o := range l.conns {
		if o != c {
			conns = append(conns, o)
		}
	}
	l.conns = conns
}

// start starts the reader of a connection.
func (l *link) start(c *conn) {
	if c.started {
		return
	}
	c.started = true
	l.reading[c] = struct{}{}
	l.t.wg.Go(func() { l.read(c) })
}

// read hands over what the peer sends, until the connection ends.
func (l *link) read(c *conn) {
	err := c.frames(func(frame []byte, free func()) {
		l.mu.Lock()
		quiet := l.hung || l.aborted
		l.mu.Unlock()
		if !quiet {
			l.t.handler.Handle(transport.Event{Kind: transport.Frame, Peer: l.peer, Frame: frame, Free: free})
		}
	})
	if errors.Is(err, errMalformed) {
		l.t.drops.count(dropMalformed)
	}
	c.Close()
	l.mu.Lock()
	l.remove(c)
	delete(l.reading, c)
	l.mu.Unlock()
	c.err = err
	close(c.done)
	l.poke()
}

// abort ends the link because the transport closes.
func (l *link) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aborted = true
	l.closeConns()
	l.poke()
}

// abandon closes the connections from an address that the host has no longer,
// which nothing can come to any more. The link dials again.
func (l *link) abandon(own func(netip.Addr) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close := func(c *conn) {
		if !own(c.LocalAddr().(*net.TCPAddr).AddrPort().Addr()) {
			c.Close()
		}
	}
	for _, c := range l.conns {
		close(c) // also if nothing reads from it yet
	}
	for c := range l.reading {
		close(c)
	}
}

// closeConns closes all connections, which ends their readers.
func (l *link) closeConns() {
	l.cancel()
	for _, c := range l.conns {
		c.Close()
	}
	for c := range l.reading {
		c.Close()
	}
}

// run is the life of a link.
func (l *link) run() {
	defer l.end()
	var w writer
	for {
		c := l.connected()
		if c == nil {
			return
		}
		l.report(transport.Event{Kind: transport.Up})
		l.mu.Lock()
		for _, c := range l.conns {
			l.start(c)
		}
		// It may have been removed from the list meanwhile.
		l.start(c)
		l.open = c
		l.mu.Unlock()

		err := l.write(c, &w)
		l.mu.Lock()
		l.open = nil
		l.mu.Unlock()
		l.t.redial.Ended(l.peer, c.age())
		if err == nil {
			l.linger(c)
			return
		}
		l.mu.Lock()
		l.current = nil
		l.wanted = true
		l.drain()
		l.mu.Unlock()
		l.report(transport.Event{Kind: transport.Down, Cause: transport.Reset, Err: err})
	}
}

// end leaves no trace of the link.
func (l *link) end() {
	l.mu.Lock()
	l.gone = true
	l.closeConns()
	l.drain()
	l.mu.Unlock()
	l.t.mu.Lock()
	if l.t.links[l.peer] == l {
		delete(l.t.links, l.peer)
		l.t.streams.Add(-1)
	}
	delete(l.t.hung, l)
	l.t.mu.Unlock()
	close(l.over)
}

// drain forgets what is queued.
func (l *link) drain() {
	l.queue, l.bytes, l.full = nil, 0, false
}

// report tells the handler something about the peer, unless it was hung up.
func (l *link) report(e transport.Event) {
	l.mu.Lock()
	quiet := l.hung || l.aborted
	l.mu.Unlock()
	if quiet {
		return
	}
	e.Peer = l.peer
	l.t.handler.Handle(e)
}

// connected returns the connection to write to, once there is one. It dials if
// need be. It returns nil when the link is over.
func (l *link) connected() *conn {
	for {
		l.mu.Lock()
		switch {
		case l.aborted:
			l.mu.Unlock()
			return nil
		case len(l.conns) > 0:
			l.current = l.conns[0]
			l.attempt++ // what becomes of a dial that is under way does not matter
			l.dialing, l.failed = false, nil
			c := l.current
			l.mu.Unlock()
			return c
		case l.hung && (len(l.queue) == 0 || l.failed != nil):
			l.mu.Unlock()
			return nil
		case l.failed != nil:
			err := l.failed
			l.failed, l.wanted = nil, false
			l.drain()
			l.mu.Unlock()
			cause := transport.Timeout
			if notThere(err) {
				cause = transport.Refused
			}
			l.report(transport.Event{Kind: transport.Down, Cause: cause, Err: err})
			// Only now may another link to the peer begin, so that what the
			// two report is in order.
			l.mu.Lock()
			l.gone = len(l.queue) == 0 && len(l.conns) == 0
			gone := l.gone
			l.mu.Unlock()
			if gone {
				return nil
			}
			continue
		case l.wanted && !l.dialing:
			l.dialing = true
			l.attempt++
			attempt := l.attempt
			l.t.wg.Go(func() { l.dial(attempt) })
		}
		l.mu.Unlock()
		<-l.wake
	}
}

// retries are the pauses before dialing again when a connection was taken and
// ended before the answer. As a rule the process at the other end is dying, and
// the system has not yet closed all it had open.
var retries = []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond}

// dial makes one attempt to connect.
func (l *link) dial(attempt int) {
	c, err := l.tryDial()
	if err == nil {
		l.add(c)
		return
	}
	l.mu.Lock()
	if l.attempt == attempt {
		l.dialing, l.failed = false, err
	}
	l.mu.Unlock()
	l.poke()
}

func (l *link) tryDial() (*conn, error) {
	t := l.t
	pause := time.NewTimer(t.redial.Next(l.peer, time.Now()))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-l.ctx.Done():
		return nil, l.ctx.Err()
	}
	ctx, cancel := context.WithTimeout(l.ctx, t.cfg.DialTimeout)
	defer cancel()
	for i := 0; ; i++ {
		c, err := t.dial(ctx, l.peer)
		t.unreached(l.peer, err, time.Now())
		ended := errors.Is(err, errSilent) || isReset(err)
		if !ended || i == len(retries) || ctx.Err() != nil {
			return c, err
		}
		pause.Reset(retries[i])
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// write writes what is queued to a connection until it ends, and then returns
// why; or until the link is hung up and nothing is queued, and then returns nil.
func (l *link) write(c *conn, w *writer) error {
	for {
		l.mu.Lock()
		switch {
		case c.replaced:
			l.mu.Unlock()
			return errReplaced
		case l.aborted:
			l.mu.Unlock()
			c.Close()
			<-c.done
			return net.ErrClosed
		case len(l.queue) > 0:
			cost := w.take(&l.queue)
			l.mu.Unlock()
			if err := w.write(c); err != nil {
				return l.broken(c, err)
			}
			l.written(cost)
		case l.hung:
			l.mu.Unlock()
			return nil
		default:
			l.mu.Unlock()
			select {
			case <-l.wake:
			case <-c.done:
				return c.err
			}
		}
	}
}

// broken ends a connection that could not be written to.
func (l *link) broken(c *conn, err error) error {
	l.mu.Lock()
	replaced := c.replaced
	l.mu.Unlock()
	if replaced {
		_ = c.CloseWrite()
		return errReplaced
	}
	c.Close()
	<-c.done // so that no frame comes after Down
	return err
}

// written makes room.
func (l *link) written(cost int) {
	l.mu.Lock()
	l.bytes -= cost
	room := l.full && l.bytes <= l.t.cfg.Queue/2
	if room {
		l.full = false
	}
	l.mu.Unlock()
	if room {
		l.report(transport.Event{Kind: transport.Writable})
	}
}

// linger waits for the peer to have taken what was written: to close a
// connection that has something to read could destroy it.
func (l *link) linger(c *conn) {
	timer := time.NewTimer(l.t.times.linger)
	defer timer.Stop()
	_ = c.CloseWrite()
	select {
	case <-c.done:
	case <-timer.C:
	case <-l.ctx.Done():
	}
	c.Close()
	<-c.done
}
