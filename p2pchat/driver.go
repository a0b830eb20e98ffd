package p2pchat

import (
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/transport"
)

// handle is the transport's handler. It is called by a goroutine for each peer's
// stream, and a mutex lets in those who wait in their order once they waited for
// a millisecond: so a peer that floods this node takes turns with the others.
func (n *Node) handle(e transport.Event) {
	if e.Free != nil {
		defer e.Free() // the core keeps no part of a frame
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.Kind == transport.Frame {
		n.hold(e.Peer)
	}
	if n.core == nil || n.phase == PhaseClosed {
		return
	}
	now := time.Now()
	n.notice(now)
	if e.Kind == transport.Writable {
		n.pump(now, e.Peer)
	} else {
		if e.Kind == transport.Down {
			delete(n.full, e.Peer)
		}
		n.core.Handle(now, e)
	}
	n.carry(now)
}

// hold waits, without the lock, as long as nothing is to be taken from a peer's
// stream.
func (n *Node) hold(peer netip.AddrPort) {
	for n.core != nil && n.phase != PhaseClosed {
		now := time.Now()
		until := n.core.Hold(now, peer)
		if until.IsZero() {
			return
		}
		n.mu.Unlock()
		wait := time.NewTimer(until.Sub(now))
		select {
		case <-wait.C:
		case <-n.stop:
			wait.Stop()
		}
		n.mu.Lock()
	}
}

// drive is the driver's goroutine.
func (n *Node) drive() {
	for {
		select {
		case <-n.stop:
			return
		case <-n.wake:
		case <-n.timer.C:
		}
		n.mu.Lock()
		if n.phase == PhaseClosed {
			n.mu.Unlock()
			return
		}
		now := time.Now()
		n.notice(now)
		n.flush(now)
		n.core.Tick(now)
		n.carry(now)
		n.mu.Unlock()
	}
}

// notice looks at what is not told: whether the host slept, and its network. In
// a group that is well the timer may never be due, but something arrives.
func (n *Node) notice(now time.Time) {
	n.slept(now)
	n.look(now)
}

// poke makes the driver run.
func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// flush lets go what programs have appended.
func (n *Node) flush(now time.Time) {
	if !n.appended {
		return
	}
	n.appended = false
	if err := n.core.Flush(now); err != nil {
		n.storeFailed(err)
	}
}

// carry does what the core wants done, until it wants nothing any more, and
// sets the timer. It is called at the end of every step.
func (n *Node) carry(now time.Time) {
	t := n.cfg.transport
	for {
		r := n.core.Ready()
		for _, o := range r.Out {
			// A datagram that cannot be sent is a datagram that is lost.
			if o.Group {
				_ = t.Multicast(o.Frame)
			} else {
				_ = t.Unicast(o.To, o.Frame)
			}
		}
		if refuser, ok := t.(transport.Refuser); ok {
			for _, x := range r.Refuse {
				refuser.Refuse(x.To, x.Err)
			}
		}
		for _, to := range r.Pump {
			if n.full[to] == nil {
				n.pump(now, to)
			}
		}
		for _, peer := range r.Hangup {
			delete(n.full, peer)
			t.Hangup(peer)
		}
		if !n.announce(now, r) && len(r.Out) == 0 && len(r.Pump) == 0 {
			break
		}
	}
	if next := n.deadline(); !next.IsZero() {
		n.timer.Reset(next.Sub(now))
	}
}

// pump writes to a peer's stream until that is full, or nothing is left.
func (n *Node) pump(now time.Time, to netip.AddrPort) {
	frame := n.full[to]
	delete(n.full, to)
	for {
		if frame == nil {
			if frame = n.core.Next(now, to); frame == nil {
				return
			}
		}
		switch err := n.stream(to, frame); err {
		case nil:
		case transport.ErrFull:
			n.full[to] = frame // Writable follows
			return
		default:
			return // Down follows, or the transport is closed
		}
		frame = nil
	}
}

// stream passes a frame in parts to the transport. There is one part unless it
// takes more.
func (n *Node) stream(to netip.AddrPort, parts [][]byte) error {
	if len(parts) == 1 {
		return n.cfg.transport.Stream(to, parts[0])
	}
	return n.cfg.transport.(transport.Gatherer).StreamParts(to, parts)
}

// deadline is when the driver must run next.
func (n *Node) deadline() time.Time {
	next := n.core.Deadline()
	for _, t := range []time.Time{n.said.due, n.drops.due, n.behind.due, n.behind.gapDue} {
		if next.IsZero() || !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}
