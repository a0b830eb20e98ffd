package membership

import (
	"net/netip"
	"time"
)

// relayState remembers whom this node probes on behalf of others.
type relayState struct {
	slots [32]relayed
	next  int
}

type relayed struct {
	subject Key
	inc     uint64
	nonce   uint64
	origin  netip.AddrPort
	at      time.Time
}

// onProbe: an answer is given for the very incarnation that was asked for.
// Another run under the same key says nothing of it.
func (c *Coordinated) onProbe(from netip.AddrPort, h Header, b Probe) {
	if b.Subject != c.self.Key || b.Inc != c.self.Inc {
		return
	}
	c.to(from, ProbeAck(b))
	if c.state == following && h.From == h.View.Epoch.Leader && h.From != c.view.ID.Epoch.Leader && h.View.Compare(c.view.ID) < 0 {
		// A coordinator that still counts us among its members.
		c.to(from, c.redirect())
	}
}

func (c *Coordinated) onProbeReq(from netip.AddrPort, h Header, b ProbeReq) {
	m, ok := c.member(b.Subject)
	if !ok || m.Inc != b.Inc || m.Key == c.self.Key || !c.lists(h.From, h.Inc) {
		return
	}
	r := &c.relays
	r.slots[r.next] = relayed{subject: b.Subject, inc: b.Inc, nonce: b.Nonce, origin: from, at: c.now}
	r.next = (r.next + 1) % len(r.slots)
	c.to(m.Addr, Probe{Subject: b.Subject, Inc: b.Inc, Nonce: b.Nonce})
}

func (c *Coordinated) onProbeAck(h Header, b ProbeAck) {
	if h.From == b.Subject {
		// To the coordinator itself it was a sign of life, noted already.
		if h.Inc != b.Inc || h.View.Epoch.Compare(c.view.ID.Epoch) > 0 {
			return
		}
		for _, r := range c.relays.slots {
			if r.subject == b.Subject && r.inc == b.Inc && r.nonce == b.Nonce && c.now.Sub(r.at) <= c.t.W {
				c.to(r.origin, ProbeAck{Subject: b.Subject, Inc: b.Inc, Nonce: b.Nonce})
				return
			}
		}
		return
	}
	if c.state != leading || !c.lists(h.From, h.Inc) || !c.lists(b.Subject, b.Inc) || b.Subject == c.self.Key {
		return
	}
	if v := c.peers[b.Subject].verify; v != nil && v.nonce == b.Nonce {
		v.probes = 0 // the detour is no measure of the round trip
		c.markSeen(b.Subject)
	}
}
