package membership

import (
	"net/netip"
	"time"
)

// departState is that of a node that takes its leave.
type departState struct {
	limit time.Duration
	until time.Time // it goes then, whatever happened
	since time.Time // the departure began, or the present view did
	heir  int       // to whom a coordinator offers its office, by rank
	tries int       // to that one, or to the coordinator
}

const (
	departLimit = 280 * time.Millisecond // people wait for it
	departTries = 5                      // at least
	departHeirs = 2                      // to how many a coordinator offers its office
)

func (d *departState) again(now time.Time) { d.since, d.heir, d.tries = now, 0, 0 }

// leave begins the departure: a member asks to be released, a coordinator
// hands over first.
func (c *Coordinated) leave(limit time.Duration) {
	if c.depart != nil {
		return
	}
	if c.state != following && c.state != leading || len(c.view.Members) == 1 {
		c.gone()
		return
	}
	c.cancelRound()
	if c.state == leading {
		c.passOn()
		c.stopYielding()
	}
	if limit <= 0 {
		limit = departLimit
	}
	limit = max(limit, time.Millisecond)
	c.depart = &departState{limit: limit, until: c.now.Add(limit), since: c.now}
	c.repeatDepart()
}

func (c *Coordinated) repeatDepart() {
	d := c.depart
	if d == nil {
		return
	}
	switch {
	case c.state == joining:
		c.gone()
	case c.state == following:
		if d.tries == departTries || !c.now.Before(d.until) {
			c.gone()
			return
		}
		c.to(c.coordinator().Addr, Leave{})
		c.set(timerDepart, min(c.rto(c.view.ID.Epoch.Leader), d.limit/departTries))
	default:
		heirs := min(departHeirs, len(c.view.Members)-1)
		share := d.limit / time.Duration(max(heirs, 1))
		if heir := int(c.now.Sub(d.since) / share); heir != d.heir {
			d.heir, d.tries = heir, 0
		}
		if d.heir >= heirs || !c.now.Before(d.until) {
			c.toGroup(Bye{})
			c.toGroup(Bye{})
			c.gone()
			return
		}
		var ranked []Member
		for _, m := range rank(c.view.Members, c.seniority) {
			if m.Key != c.self.Key {
				ranked = append(ranked, m)
			}
		}
		heir := ranked[d.heir]
		c.to(heir.Addr, Handover{})
		c.set(timerDepart, min(c.rto(heir.Key)<<min(d.tries, 8), share/departTries))
	}
	d.tries++
}

// gone completes the departure.
func (c *Coordinated) gone() {
	c.stop()
	c.out.Left = true
}

// onHandover: the coordinator passes its office on. It counts in exactly the
// view in which it was offered.
func (c *Coordinated) onHandover(h Header) {
	switch c.state {
	case following:
		if h.From != c.view.ID.Epoch.Leader || h.Inc != c.view.ID.Epoch.Inc {
			return
		}
		switch cmp := h.View.Compare(c.view.ID); {
		case cmp > 0:
			c.request(h.From, c.coordinator().Addr)
		case cmp == 0:
			c.cancelRound()
			c.succeed(CauseHandover, c.departed(ReasonLeft))
		}
	case leading:
		// It has not heard that it was heard.
		if old, ok := c.known(h.View); ok && old.ID.Compare(c.view.ID) < 0 {
			if m, ok := old.Find(h.From); ok {
				c.to(m.Addr, NotMember{Max: c.max})
			}
		}
	}
}

// onBye: the coordinator went without having handed over.
func (c *Coordinated) onBye(h Header) {
	if c.state == following && h.From == c.view.ID.Epoch.Leader && h.Inc == c.view.ID.Epoch.Inc {
		c.prove(ReasonLeft)
	}
}

// changeSelf changes this node's own entry; see checkSelf.
func (c *Coordinated) changeSelf(name string, addr netip.AddrPort) {
	if len(name) > MaxName {
		c.stats.Malformed++
		return
	}
	c.self.Name, c.self.Addr = name, addr
	if c.state == following || c.state == leading {
		c.rename = 0
		c.checkSelf()
	}
}

// checkSelf makes sure that the view says of this node what it says itself.
func (c *Coordinated) checkSelf() {
	m, _ := c.member(c.self.Key)
	if m.Name == c.self.Name && (m.Addr == c.self.Addr || !c.self.Addr.IsValid() || c.self.Addr.Addr().IsUnspecified()) {
		c.clear(timerRename)
		c.rename = 0
		return
	}
	if c.due[timerRename].IsZero() {
		c.set(timerRename, 1)
	}
}

// ownEntry is this member's entry as it should be, if the view has another one.
func (c *Coordinated) ownEntry() []Member {
	m, ok := c.member(c.self.Key)
	self := c.self
	if !self.Addr.IsValid() || self.Addr.Addr().IsUnspecified() {
		self.Addr = m.Addr
	}
	if !ok || m == self {
		return nil
	}
	return []Member{self}
}

func (c *Coordinated) repeatRename() {
	switch c.state {
	case following:
		c.to(c.coordinator().Addr, c.joinBody())
	case leading:
		for _, self := range c.ownEntry() {
			c.lead.joiners[self.Key] = joiner{member: self}
			c.admitSoon()
		}
	default:
		return
	}
	if m, _ := c.member(c.self.Key); m.Name != c.self.Name || m.Addr != c.self.Addr {
		c.set(timerRename, min(c.rto(c.view.ID.Epoch.Leader)<<min(c.rename, 8), c.t.H))
		c.rename++
	}
}
