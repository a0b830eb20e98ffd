package core

import (
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// link is the stream to one endpoint.
type link struct {
	addr    netip.AddrPort
	key     membership.Key // zero: not known yet
	member  bool           // of the present view
	up      bool
	due     time.Time // when to dial, if it is a member's and not up
	control [][]byte
	queued  bool // listed in Ready.Pump
	turn    bool // of the direct messages, before the log
	rest    bool // the next sign of life may be left out
}

// Links is how many streams are open.
func (c *Core) Links() int {
	n := 0
	for _, l := range c.links {
		if l.up {
			n++
		}
	}
	return n
}

func (c *Core) link(addr netip.AddrPort) *link {
	l := c.links[addr]
	if l == nil {
		l = &link{addr: addr}
		c.links[addr] = l
	}
	return l
}

// identify notes whose endpoint a link leads to.
func (c *Core) identify(now time.Time, l *link, k membership.Key) {
	if l.key == k {
		return
	}
	if l.key != (membership.Key{}) && c.peers[l.key] == l { // another process took the endpoint over
		c.linked(now, l.key, false)
		delete(c.peers, l.key)
	}
	if old := c.peers[k]; old != nil { // the peer moved to another endpoint
		if old.member {
			return // what the view says is right until another view says otherwise
		}
		c.linked(now, k, false)
		old.key = membership.Key{}
	}
	l.key = k
	c.peers[k] = l
	if l.up {
		c.linked(now, k, true)
	}
}

// linked notes that the stream to a peer came up or broke.
func (c *Core) linked(now time.Time, k membership.Key, up bool) {
	c.log.Link(now, k, up)
	c.mail.link(now, k, up)
}

func (c *Core) down(now time.Time, e transport.Event) {
	if l := c.links[e.Peer]; l != nil {
		if l.up && l.key != (membership.Key{}) {
			c.linked(now, l.key, false)
		}
		// What the driver kept for the stream is lost, and with it the reason to
		// call Next.
		l.up, l.due, l.control, l.queued = false, now.Add(redial), nil, false
		switch {
		case l.member:
			c.dial = earlier(c.dial, l.due)
		case e.Cause != transport.Reset:
			c.drop(now, l)
		}
	}
	c.group.Step(now, membership.Down{Addr: e.Peer, Cause: membership.Cause(e.Cause)})
}

func (c *Core) drop(now time.Time, l *link) {
	if l.key != (membership.Key{}) && c.peers[l.key] == l {
		if l.up {
			c.linked(now, l.key, false)
		}
		delete(c.peers, l.key)
	}
	delete(c.links, l.addr)
}

// redial asks for streams to the members that have none and are due.
func (c *Core) redial(now time.Time) {
	c.dial = time.Time{}
	for _, m := range c.group.View().Members {
		l := c.links[m.Addr]
		if l == nil || l.up {
			continue
		}
		if !l.due.After(now) {
			l.due = now.Add(redial)
			l.control = append(l.control, encodeLog(c.sender(), c.log.Beat(now)))
			c.pump(l)
		}
		c.dial = earlier(c.dial, l.due)
	}
}

func (c *Core) pump(l *link) {
	if !l.queued {
		l.queued = true
		c.out.Pump = append(c.out.Pump, l.addr)
	}
}

// Gather says that the transport takes frames in parts: then Next makes frames
// of many blocks of the log's own memory, and copies nothing.
func (c *Core) Gather() { c.gather = true }

// Next returns the next frame for an endpoint's stream, in parts, or nil.
func (c *Core) Next(now time.Time, addr netip.AddrPort) [][]byte {
	l := c.links[addr]
	if l == nil {
		return nil
	}
	l.queued = false
	if len(l.control) > 0 {
		f := l.control[0]
		l.control = l.control[1:]
		return [][]byte{f}
	}
	if !l.up || l.key == (membership.Key{}) {
		return nil
	}
	// Log and direct messages take turns.
	if l.turn = !l.turn; l.turn {
		if f := c.nextDirect(l); f != nil {
			return [][]byte{f}
		}
	}
	if m := c.log.Next(now, l.key); m != nil {
		return c.encodeLog(m)
	}
	if f := c.nextDirect(l); f != nil {
		return [][]byte{f}
	}
	return nil
}

func (c *Core) nextDirect(l *link) []byte {
	m := c.mail.nextFor(l.key)
	if m == nil {
		return nil
	}
	f := encodeDirect(c.sender(), m)
	if signed(f[0]) {
		f = c.signs.sign(f)
	}
	return f
}

// encoded is a message and its frame. Live blocks go to all peers, so they are
// encoded once.
type encoded struct {
	m     *causal.Blocks
	by    sender
	parts [][]byte
}

func (c *Core) encodeLog(m causal.Protocol) [][]byte {
	by := c.sender()
	blocks, ok := m.(*causal.Blocks)
	if !ok {
		return c.encode(by, m)
	}
	for _, e := range c.recent {
		if e.m == blocks && e.by == by {
			return e.parts
		}
	}
	e := encoded{m: blocks, by: by, parts: c.encode(by, m)}
	c.recent[c.oldest] = e
	c.oldest = (c.oldest + 1) % len(c.recent)
	return e.parts
}

func (c *Core) encode(by sender, m causal.Protocol) [][]byte {
	if c.gather {
		return encodeLogParts(by, m)
	}
	return [][]byte{encodeLog(by, m)}
}
