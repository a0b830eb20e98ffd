package memnet

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// What Event.Err says for each cause; a stream that the peer closed ends with
// io.EOF.
var (
	errRefused  = errors.New("memnet: connection refused")
	errTimeout  = errors.New("memnet: no answer")
	errReplaced = errors.New("memnet: the peer opened another stream")
)

// stream is a host's side of the stream to a peer. Those of a host that are
// connected or being dialed are in Host.streams.
type stream struct {
	host *Host
	peer netip.AddrPort

	conn    *conn
	out     *pipe // of conn
	since   time.Time
	attempt int // counts dials, so that a late answer to an old one is known

	waiting [][]byte // frames for the next conn
	bytes   int      // of frames taken and not yet delivered
	full    bool     // ErrFull was returned and Writable is owed
	hung    bool     // hung up: nothing is reported
	over    bool
}

// conn joins the streams of two hosts.
type conn struct {
	net   *Network
	pipes [2]*pipe
	timer *time.Timer // runs while a direction is cut
}

// pipe is one direction of a conn. Its goroutine belongs to the receiver.
type pipe struct {
	conn     *conn
	from, to *stream
	parcels  []parcel
	open     bool // the link is not cut
	ready    bool // the receiver has handled Up
	stopped  bool
	kick     chan struct{}
}

// parcel is a frame on its way, or the end of the stream.
type parcel struct {
	at    time.Time
	frame []byte
	eof   bool
}

// open starts a stream to a peer.
func (h *Host) open(peer netip.AddrPort) *stream {
	s := &stream{host: h, peer: peer}
	h.streams[peer] = s
	s.dial()
	return s
}

// after calls f with net.mu held.
func (n *Network) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		f()
	})
}

// dial begins an attempt to connect, after a pause if there were many.
func (s *stream) dial() {
	n := s.host.net
	s.attempt++
	attempt := s.attempt
	current := func() bool { return !s.over && !s.host.dead && s.conn == nil && s.attempt == attempt }
	reachable := func() bool {
		_, known := n.known[s.peer]
		return known && n.weather.Open(s.host.addr, s.peer) && n.weather.Open(s.peer, s.host.addr)
	}
	timeout := func(d time.Duration) {
		n.after(d, func() {
			if current() {
				s.fail(transport.Timeout, errTimeout)
			}
		})
	}
	n.after(s.host.redial.Next(s.peer, time.Now()), func() {
		if !current() {
			return
		}
		if !reachable() {
			timeout(n.cfg.DialTimeout)
			return
		}
		trip := n.weather.Delay(s.host.addr, s.peer) + n.weather.Delay(s.peer, s.host.addr)
		if trip > n.cfg.DialTimeout {
			timeout(n.cfg.DialTimeout)
			return
		}
		n.after(trip, func() {
			if !current() {
				return
			}
			peer := n.at(s.peer)
			switch {
			case !reachable():
				timeout(n.cfg.DialTimeout - trip)
			case peer == nil || peer == s.host:
				s.fail(transport.Refused, errRefused)
			default:
				connect(s, peer)
			}
		})
	})
}

// fail ends a stream that could not be connected.
func (s *stream) fail(cause transport.Cause, err error) {
	s.over = true
	if s.hung {
		return
	}
	delete(s.host.streams, s.peer)
	s.report(transport.Down, cause, err, nil)
}

// connect joins a stream that was dialed with the peer's.
func connect(s *stream, peer *Host) {
	n := s.host.net
	t := peer.streams[s.host.addr]
	if t == nil {
		t = &stream{host: peer, peer: s.host.addr}
		peer.streams[t.peer] = t
	} else if t.conn != nil {
		// The peer dials only without a connection, so the old one is none.
		// What is still on its way there is delivered.
		t.out.stop()
		t.reset(errReplaced)
	}
	c := &conn{net: n}
	for i, p := range []*pipe{{from: s, to: t}, {from: t, to: s}} {
		p.conn = c
		p.open = true
		p.kick = make(chan struct{}, 1)
		c.pipes[i] = p
	}
	n.conns[c] = struct{}{}
	c.look()
	s.connected(c, c.pipes[0], c.pipes[1])
	t.connected(c, c.pipes[1], c.pipes[0])
}

// connected gives a stream its conn.
func (s *stream) connected(c *conn, out, in *pipe) {
	s.conn, s.out, s.since = c, out, time.Now()
	for _, f := range s.waiting {
		out.push(parcel{frame: f})
	}
	s.waiting = nil
	if s.hung {
		s.shut()
		return
	}
	s.host.wg.Go(in.run)
	s.report(transport.Up, 0, nil, func() {
		in.ready = true
		kick(in.kick)
	})
}

// send takes a frame.
func (s *stream) send(frame []byte) error {
	if s.bytes > 0 && s.bytes+len(frame) > s.host.net.cfg.Queue {
		s.full = true
		return transport.ErrFull
	}
	s.bytes += len(frame)
	if s.out == nil {
		s.waiting = append(s.waiting, frame)
	} else {
		s.out.push(parcel{frame: frame})
	}
	return nil
}

// delivered makes room.
func (s *stream) delivered(size int) {
	s.bytes -= size
	if s.full && s.bytes <= s.host.net.cfg.Queue/2 {
		s.full = false
		s.report(transport.Writable, 0, nil, nil)
	}
}

// lost ends the conn on this side, if c is it, and dials again.
func (s *stream) lost(c *conn, err error) {
	if s.conn != c || s.over {
		return
	}
	for _, p := range c.pipes {
		p.stop()
	}
	s.reset(err)
	s.dial()
}

// reset forgets the conn and says so.
func (s *stream) reset(err error) {
	s.host.redial.Ended(s.peer, time.Since(s.since))
	s.conn, s.out = nil, nil
	s.waiting, s.bytes, s.full = nil, 0, false
	s.report(transport.Down, transport.Reset, err, nil)
}

// hangup takes the stream from its host; what was taken is still delivered.
func (s *stream) hangup() {
	delete(s.host.streams, s.peer)
	s.hung = true
	if s.conn != nil {
		s.host.redial.Ended(s.peer, time.Since(s.since))
		s.shut()
	} else if len(s.waiting) == 0 {
		s.over = true
	}
}

// shut ends a connected stream from this side.
func (s *stream) shut() {
	s.over = true
	s.out.push(parcel{eof: true})
	for _, p := range s.conn.pipes {
		if p != s.out {
			p.stop()
		}
	}
}

// end is what the death of the process does to a stream.
func (s *stream) end() {
	if s.conn != nil {
		s.shut()
	}
	s.over = true
}

// report tells the handler about the stream.
func (s *stream) report(k transport.Kind, c transport.Cause, err error, done func()) {
	s.host.put(0, transport.Event{Kind: k, Peer: s.peer, Cause: c, Err: err}, done)
}

// look adapts the conn to the weather.
func (c *conn) look() {
	n, cut := c.net, false
	for _, p := range c.pipes {
		open := n.weather.Open(p.from.host.addr, p.to.host.addr)
		if open && !p.open {
			p.resend()
		}
		p.open = open
		cut = cut || !open
		kick(p.kick)
	}
	switch {
	case cut && c.timer == nil:
		var timer *time.Timer
		timer = n.after(n.cfg.StreamTimeout, func() {
			if c.timer != timer {
				return
			}
			for _, p := range c.pipes {
				p.to.lost(c, errTimeout)
			}
			for _, p := range c.pipes {
				p.stop()
			}
		})
		c.timer = timer
	case !cut && c.timer != nil:
		c.timer.Stop()
		c.timer = nil
	}
}

// push sends a parcel. It is not handed over before those ahead of it.
func (p *pipe) push(x parcel) {
	if p.stopped {
		return
	}
	at := time.Now().Add(p.conn.net.weather.Delay(p.from.host.addr, p.to.host.addr))
	x.at = at
	p.parcels = append(p.parcels, x)
	kick(p.kick)
}

// resend lets what a cut has held up set out once more.
func (p *pipe) resend() {
	at := time.Now().Add(p.conn.net.weather.Delay(p.from.host.addr, p.to.host.addr))
	for i := range p.parcels {
		if p.parcels[i].at.Before(at) {
			p.parcels[i].at = at
		}
	}
}

// stop ends a pipe; what is in it is lost.
func (p *pipe) stop() {
	if p.stopped {
		return
	}
	p.stopped = true
	p.parcels = nil
	kick(p.kick)
	c := p.conn
	if c.pipes[0].stopped && c.pipes[1].stopped {
		delete(c.net.conns, c)
		if c.timer != nil {
			c.timer.Stop()
			c.timer = nil
		}
	}
}

// run hands over what arrives in the pipe.
func (p *pipe) run() {
	n, h := p.conn.net, p.to.host
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		n.mu.Lock()
		if p.stopped || h.dead {
			p.stop()
			n.mu.Unlock()
			return
		}
		wait := time.Duration(-1)
		var frame []byte
		due := false
		if p.ready && p.open && len(p.parcels) > 0 {
			if wait = time.Until(p.parcels[0].at); wait <= 0 {
				due = true
				x := p.parcels[0]
				p.parcels[0] = parcel{}
				p.parcels = p.parcels[1:]
				if x.eof {
					p.stop()
					p.to.lost(p.conn, io.EOF)
					n.mu.Unlock()
					return
				}
				frame = x.frame
				if p.from.out == p {
					p.from.delivered(len(frame))
				}
			}
		}
		n.mu.Unlock()

		if due {
			own := bytes.Clone(frame)
			// Who uses a frame that it gave back finds nothing of it.
			free := func() { clear(own) }
			h.handler.Handle(transport.Event{Kind: transport.Frame, Peer: p.to.peer, Frame: own, Free: free})
			continue
		}
		timer.Stop()
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-p.kick:
		case <-h.gone:
		case <-timer.C:
		}
	}
}
