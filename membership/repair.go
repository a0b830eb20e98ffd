package membership

import (
	"net/netip"
	"slices"
	"time"
)

// repairState is that of a node that asks for a view it missed.
type repairState struct {
	key   Key
	to    netip.AddrPort
	tries int
	sent  time.Time
}

// maxDatagram is what the body of a message to the group may be estimated at,
// so that it fits a datagram with all that is put around it.
const maxDatagram = 900

const repairTries = 5

// change describes v as a change to prev.
func (c *Coordinated) change(prev, v View, cause ViewCause, left []Departure) ViewChange {
	joined, gone := difference(prev, v)
	for i, d := range gone {
		for _, l := range left {
			if l.Key == d.Key && l.Inc == d.Inc {
				gone[i].Reason = l.Reason
			}
		}
		if t, ok := c.tombs[d.Key]; ok && t.inc == d.Inc {
			gone[i].Reason = t.reason
		}
	}
	return ViewChange{ID: v.ID, Base: prev.ID, Class: v.Class, Number: v.Number, NextID: v.NextID,
		Cause: cause, Joined: joined, Left: gone}
}

// whole describes the present view in full. Left then only tells why members
// are gone that the receiver may know.
func (c *Coordinated) whole() ViewChange {
	v := c.view
	vc := ViewChange{ID: v.ID, Class: v.Class, Number: v.Number, NextID: v.NextID, Cause: c.history[len(c.history)-1].cause, Joined: v.Members}
	for _, old := range c.history {
		for _, m := range old.view.Members {
			if t, ok := c.tombs[m.Key]; ok && t.inc == m.Inc && t.reason == ReasonLeft && !c.lists(m.Key, m.Inc) &&
				!slices.ContainsFunc(vc.Left, func(d Departure) bool { return d.Key == m.Key }) {
				vc.Left = append(vc.Left, Departure{Key: m.Key, Inc: m.Inc, Reason: t.reason})
			}
		}
	}
	return vc
}

// size is an upper estimate of what a view change takes on the wire.
func size(vc ViewChange) int {
	n := 160 + 40*len(vc.Left)
	for _, m := range vc.Joined {
		n += 90 + len(m.Name) + len(m.Addr.Addr().Zone())
	}
	return n
}

// known returns a view by its ID, if it is among the last ones.
func (c *Coordinated) known(id ViewID) (View, bool) {
	for _, h := range c.history {
		if h.view.ID == id {
			return h.view, true
		}
	}
	return View{}, false
}

// bring sends the present view to a member that has an older one: as a change
// if that is small, else in full. At most one in a round trip.
func (c *Coordinated) bring(k Key, to netip.AddrPort, have ViewID) {
	p := c.peers[k]
	if p == nil || k == c.self.Key || !p.repaired.IsZero() && c.now.Sub(p.repaired) < c.RTO() {
		return
	}
	p.repaired = c.now
	c.stats.Repairs++
	if base, ok := c.known(have); ok {
		if vc := c.change(base, c.view, c.history[len(c.history)-1].cause, nil); size(vc) <= maxDatagram {
			c.to(to, vc)
			return
		}
	}
	c.stream(to, c.whole())
}

// request asks a node for its view, until it comes.
func (c *Coordinated) request(k Key, from netip.AddrPort) {
	if c.repair.to == from && c.repair.tries > 0 && !c.due[timerRepair].IsZero() {
		return
	}
	c.repair = repairState{key: k, to: from}
	c.repeatRepair()
}

// requestLater is request after a random time in which the view may well come
// by itself.
func (c *Coordinated) requestLater(k Key, from netip.AddrPort) {
	if c.due[timerRepair].IsZero() {
		c.repair = repairState{key: k, to: from}
		c.set(timerRepair, c.RTO()+c.jitter(c.RTO()))
	}
}

func (c *Coordinated) repeatRepair() {
	if c.repair.tries == repairTries || c.state == idle {
		c.repair = repairState{}
		return
	}
	c.repair.tries++
	c.to(c.repair.to, ViewReq{Have: c.view.ID})
	c.repair.sent = c.now
	c.set(timerRepair, c.rto(c.repair.key)*time.Duration(c.repair.tries))
}

// query asks a member once for its view, at most once in a round trip.
func (c *Coordinated) query(k Key) {
	m, ok := c.member(k)
	if p := c.peers[k]; ok && k != c.self.Key && (p.queried.IsZero() || c.now.Sub(p.queried) >= c.RTO()) {
		p.queried = c.now
		c.to(m.Addr, ViewReq{Have: c.view.ID})
	}
}

// onViewReq: any member can help a fellow; only the coordinator can say that
// somebody is none.
func (c *Coordinated) onViewReq(from netip.AddrPort, h Header, b ViewReq) {
	if c.state != following && c.state != leading || c.view.ID.Compare(b.Have) <= 0 {
		return
	}
	if c.lists(h.From, h.Inc) {
		c.bring(h.From, from, b.Have)
	} else if c.state == leading {
		c.to(from, NotMember{Max: c.max})
	}
}

func (c *Coordinated) onViewChange(from netip.AddrPort, h Header, b ViewChange) {
	if b.ID.Compare(c.view.ID) <= 0 || c.state == idle {
		return
	}
	if r := c.repair; r.tries == 1 && r.key == h.From && (b.Base.IsZero() || b.Base == c.view.ID) {
		c.measured(h.From, c.now.Sub(r.sent))
	}
	var base View
	if !b.Base.IsZero() {
		var ok bool
		if base, ok = c.known(b.Base); !ok {
			c.missedBase(from, h, b)
			return
		}
	}
	v, err := b.view(base)
	if err != nil {
		c.stats.Malformed++
		return
	}
	c.adopt(from, h, v, b.Cause, b.Left)
}

// missedBase: the change is to a view that this node never had.
func (c *Coordinated) missedBase(from netip.AddrPort, h Header, b ViewChange) {
	listed := slices.ContainsFunc(b.Joined, func(m Member) bool { return m.Key == c.self.Key && m.Inc == c.self.Inc })
	if c.state == joining {
		if listed {
			c.requestLater(h.From, from) // the WELCOME is on its way, or lost
		}
		return
	}
	ours := continues(b.ID.Epoch, c.view.ID.Epoch)
	if ours && c.state == following && slices.ContainsFunc(b.Left, func(d Departure) bool {
		return d.Key == c.self.Key && d.Inc == c.self.Inc
	}) {
		c.evicted(b.ID)
		return
	}
	switch {
	case ours || c.lists(h.From, h.Inc):
		c.request(h.From, from)
	case listed:
		c.requestLater(h.From, from)
	}
}

// adopt is the one rule by which the coordinator changes at a node: it
// installs any view that lists this incarnation of it and is above all that it
// ever installed.
func (c *Coordinated) adopt(from netip.AddrPort, h Header, v View, cause ViewCause, left []Departure) {
	if c.state == idle || v.ID.Compare(c.view.ID) <= 0 {
		return
	}
	if err := check(v); err != nil || v.ID.Epoch.Leader == c.self.Key {
		c.stats.Malformed++
		return
	}
	me, listed := v.Find(c.self.Key)
	c.teller = h.From
	switch {
	case listed && me.Inc == c.self.Inc:
		c.install(v, cause, left)
	case c.depart != nil && c.state != joining:
		if _, fellow := c.member(v.ID.Epoch.Leader); fellow {
			c.gone() // the others have gone on
		}
	case listed && me.Inc > c.self.Inc && c.state != joining:
		c.fail(ErrDuplicateIdentity)
	case c.state == following && continues(v.ID.Epoch, c.view.ID.Epoch):
		c.evicted(v.ID)
	}
}
