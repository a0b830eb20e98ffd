package membership

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// rival is another coordinator.
type rival struct {
	view  ViewID
	class uint8
	size  int // members, or zero if not known
	addr  netip.AddrPort
	via   netip.AddrPort // a member of ours that hears it, if we may not
}

// yieldState is that of a coordinator that asks a higher one to take its
// members over. It goes on coordinating them until a view lists it.
type yieldState struct {
	rival
	to         netip.AddrPort
	heard      time.Time // when the other was last heard of
	sent       time.Time
	tries      int
	unanswered int
	redirects  int
	whole      bool // it asked for the list of members
}

// pendingMerge is a group that asked to be taken over.
type pendingMerge struct {
	view View
	from netip.AddrPort
}

const (
	yieldTries    = 12 // unanswered requests after which a coordinator stops yielding
	yieldTotal    = 60 // requests, answered or not
	yieldPatience = 3  // unanswered requests after which it tries another way
	maxRedirects  = 8
	maxMerging    = 256
	maxTold       = 256
)

// rival decides which of two coordinators yields.
func (c *Coordinated) rival(r rival) {
	e := r.view.Epoch
	if c.state != leading || e.Leader == c.self.Key || e.Leader == (Key{}) || !r.addr.IsValid() {
		return
	}
	if c.lists(e.Leader, e.Inc) && r.view.Compare(c.view.ID) < 0 {
		c.bring(e.Leader, r.addr, r.view) // a member that has not heard of it
		return
	}
	if c.depart != nil || c.round != nil {
		return
	}
	if c.outgrown(e, r.size) || higher(r.class, e, c.view.Class, c.view.ID.Epoch) {
		c.yieldTo(r)
		return
	}
	if y := c.yield; y != nil && y.view.Epoch == e {
		c.stopYielding() // it has shrunk
	}
	if at, ok := c.lead.told[e.Leader]; ok && c.now.Sub(at) < c.t.H/2 {
		return
	}
	if len(c.lead.told) >= maxTold {
		clear(c.lead.told)
	}
	c.lead.told[e.Leader] = c.now
	hb := c.heartbeat()
	hb.Seq = 0
	c.to(r.addr, hb)
	if r.via.IsValid() {
		c.to(r.via, hb)
	}
}

// outgrown reports whether the coordinator of epoch e was elected out of this
// very group and has at least as many members as are left to this one. The
// class of this group is then out of date: it still counts those that went.
func (c *Coordinated) outgrown(e Epoch, size int) bool {
	return c.lists(e.Leader, e.Inc) && e.Compare(c.view.ID.Epoch) > 0 && size >= len(c.view.Members)-size
}

func (c *Coordinated) yieldTo(r rival) {
	y := c.yield
	if y != nil && y.view.Epoch.Leader == r.view.Epoch.Leader {
		if r.view.Compare(y.view) >= 0 {
			if !r.via.IsValid() {
				y.to, r.via = r.addr, y.via
			}
			y.rival, y.heard = r, c.now
		}
		return
	}
	if y != nil && y.unanswered < yieldPatience && (y.tries > 0 || !higher(r.class, r.view.Epoch, y.class, y.view.Epoch)) {
		return // it answers, and redirects us if it yields itself
	}
	c.yield = &yieldState{rival: r, to: r.addr, heard: c.now}
	c.passOn()
	// Where parts meet all that are higher make themselves known at once:
	// turn to the highest.
	c.set(timerYield, c.RTO()/2)
}

// passOn sends those who wanted to be merged into this group to the one that
// it yields to itself.
func (c *Coordinated) passOn() {
	c.clear(timerMerge)
	for _, k := range slices.SortedFunc(maps.Keys(c.merging), compareKeys) {
		c.to(c.merging[k].from, c.redirect())
	}
	clear(c.merging)
}

func (c *Coordinated) redirect() Redirect {
	if y := c.yield; c.state == leading && y != nil {
		return Redirect{View: y.view, Class: y.class, Addr: y.to}
	}
	return Redirect{View: c.view.ID, Class: c.view.Class, Addr: c.coordinator().Addr}
}

func (c *Coordinated) stopYielding() {
	c.yield = nil
	c.clear(timerYield)
}

// repeatYield sends MERGE_REQ: the list of members if that fits a datagram or
// was asked for, else only its hash.
func (c *Coordinated) repeatYield() {
	y := c.yield
	if c.state != leading || y == nil {
		return
	}
	if y.unanswered >= yieldTries || y.tries >= yieldTotal || c.depart != nil ||
		y.unanswered > yieldPatience && c.now.Sub(y.heard) > c.t.TElect {
		c.stopYielding()
		return
	}
	c.stats.MergesAsked++
	y.tries++
	y.unanswered++
	y.sent = c.now
	req := MergeReq{View: c.view, Hash: c.hash, MaxCtr: c.max}
	small := size(ViewChange{Joined: c.view.Members}) <= maxDatagram
	relay := y.via.IsValid() && y.unanswered > yieldPatience
	if !small && !y.whole && !relay {
		req.View.Members = nil
	}
	to := y.to
	if relay {
		// The other does not hear us, or we do not hear it: ask through the
		// member that does.
		req.To, to = y.view.Epoch, y.via
	}
	if small {
		c.to(to, req)
	} else {
		c.stream(to, req)
	}
	c.set(timerYield, min(c.RTO()<<min(y.unanswered-1, 6), min(2*time.Second, 10*c.t.RTO))+c.jitter(c.RTO()/4))
}

func (c *Coordinated) onMergeReq(from netip.AddrPort, h Header, b MergeReq) {
	e := b.View.ID.Epoch
	if c.state == following && b.To != (Epoch{}) && h.From == c.view.ID.Epoch.Leader && c.lists(h.From, h.Inc) {
		if f, ok := c.watch.foreign[b.To.Leader]; ok && c.now.Sub(f.at) <= c.t.TMember {
			c.stream(f.addr, b) // on behalf of our coordinator
		}
		return
	}
	if e.Leader == c.self.Key || e.Leader == (Key{}) {
		return
	}
	switch c.state {
	case following:
		c.to(from, c.redirect())
		return
	case leading:
	default:
		return
	}
	if c.depart != nil || c.round != nil {
		return
	}
	if y := c.yield; y != nil {
		if y.view.Epoch.Leader != e.Leader {
			c.to(from, c.redirect())
			return
		}
		// Each yields to the other, having seen an old class: the higher
		// epoch stays.
		if c.view.ID.Epoch.Compare(e) < 0 {
			return
		}
		c.stopYielding()
	}
	if p, ok := c.merging[e.Leader]; ok && p.view.ID == b.View.ID && hash(p.view) == b.Hash {
		c.to(from, MergeAck{View: b.View.ID})
		return
	}
	if len(b.View.Members) == 0 {
		if c.lists(e.Leader, e.Inc) && b.View.ID.Compare(c.view.ID) < 0 {
			c.bring(e.Leader, from, ViewID{})
			return
		}
		c.to(from, MergeAck{View: b.View.ID, Want: true})
		return
	}
	if check(b.View) != nil || hash(b.View) != b.Hash || !b.View.Lists(h.From, h.Inc) {
		c.stats.Malformed++
		return
	}
	if b.View.ID.Compare(c.view.ID) < 0 && c.covers(b.View) {
		if c.lists(e.Leader, e.Inc) {
			c.bring(e.Leader, from, ViewID{}) // the view was lost
		}
		return
	}
	if c.outgrown(e, len(b.View.Members)) {
		c.rival(rival{view: b.View.ID, class: b.View.Class, size: len(b.View.Members), addr: from})
		return
	}
	if len(c.merging) >= maxMerging {
		return
	}
	c.merging[e.Leader] = pendingMerge{view: b.View, from: from}
	c.to(from, MergeAck{View: b.View.ID})
	if c.due[timerMerge].IsZero() {
		c.set(timerMerge, c.t.MergeGap)
	}
}

// covers reports whether the present view lists all members of another, in the
// same run or a later one.
func (c *Coordinated) covers(v View) bool {
	for _, m := range v.Members {
		if mine, ok := c.member(m.Key); (!ok || mine.Inc < m.Inc) && m.Inc > c.saidGoodbye(m.Key) {
			return false
		}
	}
	return true
}

// mergeGroups makes one view of this group and those that asked for it.
func (c *Coordinated) mergeGroups() {
	if c.state != leading || len(c.merging) == 0 {
		return
	}
	if c.round != nil || c.depart != nil || c.yield != nil {
		c.passOn()
		return
	}
	if !c.sure() {
		c.set(timerMerge, c.t.W)
		return
	}
	ctr := c.nextCtr()
	if ctr >= maxCtr {
		c.fail(ErrExhausted)
		return
	}
	var others []View
	var yielders []pendingMerge
	for _, k := range slices.SortedFunc(maps.Keys(c.merging), compareKeys) {
		others = append(others, c.merging[k].view)
		yielders = append(yielders, c.merging[k])
	}
	clear(c.merging)
	v := merge(c.view, others, ctr, c.saidGoodbye)
	if check(v) != nil {
		c.stats.Malformed++
		return
	}
	c.publish(v, CauseMerge, nil)
	for _, y := range yielders {
		c.stream(y.from, c.whole())
		if l, ok := y.view.Coordinator(); ok && l.Addr != y.from {
			c.stream(l.Addr, c.whole())
		}
	}
}

func (c *Coordinated) onMergeAck(from netip.AddrPort, h Header, b MergeAck) {
	switch y := c.yield; {
	case c.state == following:
		c.passBack(h, b)
	case c.state == leading && y != nil && (h.From == y.view.Epoch.Leader || c.lists(h.From, h.Inc)):
		if y.tries == 1 {
			c.measured(h.From, c.now.Sub(y.sent))
		}
		y.unanswered, y.heard = 0, c.now
		if y.whole = b.Want; b.Want {
			c.repeatYield()
		}
	}
}

func (c *Coordinated) onRedirect(h Header, b Redirect) {
	if c.state == following {
		c.passBack(h, b)
		return
	}
	if c.state != leading || !b.Addr.IsValid() {
		return
	}
	r := rival{view: b.View, class: b.Class, addr: b.Addr}
	y := c.yield
	if y == nil {
		c.rival(r)
		return
	}
	if h.From != y.view.Epoch.Leader && (b.View.Epoch.Leader == y.view.Epoch.Leader || !c.lists(h.From, h.Inc)) {
		return // that one is asked already, or it is not for the sender to say
	}
	// Whoever sent it does not take anybody over.
	redirects := y.redirects + 1
	c.stopYielding()
	if redirects <= maxRedirects {
		c.rival(r)
		if c.yield != nil {
			c.yield.redirects = redirects
			c.repeatYield()
		}
	}
}

// passBack hands the answer to a MERGE_REQ that was sent on the coordinator's
// behalf to the coordinator.
func (c *Coordinated) passBack(h Header, b Body) {
	if f, ok := c.watch.foreign[h.From]; ok && c.now.Sub(f.at) <= c.t.TMember {
		c.to(c.coordinator().Addr, b)
	}
}

func (c *Coordinated) onForeign(from netip.AddrPort, h Header, b Foreign) {
	if c.state == leading && c.lists(h.From, h.Inc) {
		c.rival(rival{view: b.View, class: b.Class, size: int(b.Size), addr: b.Addr, via: from})
	}
}

// afterAdoption tells those of the view who may not learn of it otherwise.
func (c *Coordinated) afterAdoption(was state, prev, v View, cause ViewCause) {
	c.stopYielding()
	old := prev.ID.Epoch.Leader
	if was == leading {
		_, fellow := prev.Find(v.ID.Epoch.Leader)
		lacking := false
		for _, m := range prev.Members {
			listed := c.lists(m.Key, m.Inc)
			if listed && m.Key != c.self.Key && m.Key != v.ID.Epoch.Leader && (cause == CauseMerge || !fellow) {
				c.stream(m.Addr, c.whole())
			}
			if now, ok := c.member(m.Key); (!ok || now.Inc < m.Inc) && m.Inc > c.saidGoodbye(m.Key) {
				lacking = true
			}
		}
		if lacking {
			c.stream(c.coordinator().Addr, MergeReq{View: prev, Hash: hash(prev), MaxCtr: c.max})
		}
		return
	}
	// The old coordinator may not hear the new one.
	if m, ok := c.member(old); ok && was == following && cause == CauseMerge && old != v.ID.Epoch.Leader && old != c.teller {
		for _, w := range successors(prev, old, c.t.Witnesses) {
			if w.Key == c.self.Key {
				c.stream(m.Addr, c.whole())
			}
		}
	}
}
