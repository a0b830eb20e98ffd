package membership

import (
	"net/netip"
	"time"
)

// watchState is what a follower knows of its coordinator.
type watchState struct {
	heard    time.Time // last sign of life of the present coordinator
	lost     time.Time // when its stream broke last
	seq      uint64    // number of its last heartbeat on the group address
	copied   bool      // it has sent this node a copy of one since the last keep-alive
	detector Detector
	jitter   time.Duration // so that not all suspect at one instant

	suspecting bool
	asked      bool      // at least once in this episode
	since      time.Time // when suspicion began, or was last answered

	proven   bool // there is evidence that it is gone
	provenAt time.Time
	reason   Reason  // why it is gone
	doubted  bool    // another member has such evidence
	returned *joiner // its next run, if that has asked to join

	foreign   map[Key]foreign // other coordinators heard of
	forwarded time.Time       // when one was last forwarded to the coordinator
}

// foreign is another coordinator that a member heard.
type foreign struct {
	view ViewID
	addr netip.AddrPort
	at   time.Time
}

const maxForeign = 32

func (w *watchState) patience() time.Duration { return w.detector.Patience() }

// enterFollow is the part of install that concerns other members than the
// coordinator.
func (c *Coordinated) enterFollow(was state, prev View, changed bool, v View, cause ViewCause) {
	c.state = following
	c.clear(timerBeat, timerBurst, timerEcho, timerMembers, timerAdmit, timerMerge)
	if was == leading {
		c.lead = leadState{}
		clear(c.merging)
		for _, p := range c.peers {
			p.verify, p.detector = nil, nil
		}
	}
	c.stats.ViewsTaken++
	if c.watch.suspecting {
		c.watch.suspecting = false
		if !changed {
			c.event(Restored{Member: c.coordinator()})
		}
	}
	w := watchState{heard: c.now, detector: c.watch.detector, seq: c.watch.seq, foreign: c.watch.foreign}
	if changed || w.detector == nil {
		w.detector, w.seq = c.detector(c.t.TProbe), 0
	}
	w.jitter = c.jitter(c.t.H / 10)
	c.watch = w
	c.watchCoordinator()
	if changed || c.due[timerKeepAlive].IsZero() {
		c.set(timerKeepAlive, c.jitter(c.t.H))
	}
	c.afterAdoption(was, prev, v, cause)
	if c.depart != nil {
		c.depart.again(c.now)
		c.set(timerDepart, 1)
	}
}

func (c *Coordinated) silence() time.Duration {
	if c.state == following {
		return c.now.Sub(c.watch.heard)
	}
	return 0
}

// keepAlive tells the coordinator that this member is well.
func (c *Coordinated) keepAlive() {
	if c.state != following {
		return
	}
	c.to(c.coordinator().Addr, KeepAlive{Seq: c.watch.seq})
	c.watch.copied = false
	c.set(timerKeepAlive, c.t.H-c.t.H/10+c.jitter(c.t.H/5))
}

// together is the size of a group up to which keep-alives are sent when the
// heartbeat comes, so that each node is busy once in H and not once for each
// other. In a larger one so many at one instant could get lost.
const together = 32

// lonely is the silence, in tenths of H, after which a keep-alive does not wait
// for a heartbeat any more.
const lonely = 22

// answerBeat sends the keep-alive with the heartbeat that was just heard, unless
// the last was sent just before. plain says that the coordinator knows all that
// it says.
func (c *Coordinated) answerBeat(plain bool) {
	if c.state != following || len(c.view.Members) > together || c.due[timerKeepAlive].Sub(c.now) > c.t.H*(lonely-6)/10 {
		return
	}
	plain = plain && !c.watch.copied
	c.keepAlive()
	if n := len(c.out.Send); n > 0 {
		c.out.Send[n-1].Routine = plain
	}
	c.set(timerKeepAlive, c.t.H*lonely/10)
}

func (c *Coordinated) onHeartbeat(from netip.AddrPort, h Header, b Heartbeat) {
	e := h.View.Epoch
	if h.From != e.Leader || h.Inc != e.Inc {
		c.stats.Malformed++ // only the holder of an epoch heartbeats
		return
	}
	switch c.state {
	case joining:
		c.foundBy(2 * c.t.H)
		c.joinWithin(c.jitter(2 * c.RTO()))
		if c.join.beats++; c.join.beats > muteBeats {
			c.to(from, c.joinBody())
		}
	case leading:
		c.rival(rival{view: h.View, class: b.Class, size: int(b.Size), addr: from})
	case following:
		if continues(e, c.view.ID.Epoch) {
			c.heardBeat(from, h, b)
		} else {
			c.heardForeign(from, h, b)
		}
	}
}

// heardBeat: a heartbeat of the present coordinator.
func (c *Coordinated) heardBeat(from netip.AddrPort, h Header, b Heartbeat) {
	if b.Seq != 0 {
		if b.Seq <= c.watch.seq {
			return // overtaken by a newer one
		}
		c.watch.seq = b.Seq
	} else {
		c.watch.copied = true
	}
	c.coordinatorWell(c.now, true)
	same := h.View.Compare(c.view.ID)
	switch {
	case same > 0:
		c.request(h.From, from)
	case same == 0 && b.Hash != c.hash:
		c.stats.Diverged++
	}
	c.answerBeat(b.Seq != 0 && same == 0)
}

// heardForeign: a heartbeat of another coordinator.
func (c *Coordinated) heardForeign(from netip.AddrPort, h Header, b Heartbeat) {
	if h.View.Compare(c.view.ID) > 0 && (c.lists(h.From, h.Inc) || c.silence() > c.t.H*12/10) {
		c.request(h.From, from)
	}
	if c.watch.foreign == nil {
		c.watch.foreign = map[Key]foreign{}
	}
	if _, known := c.watch.foreign[h.From]; !known && len(c.watch.foreign) >= maxForeign {
		clear(c.watch.foreign)
	}
	c.watch.foreign[h.From] = foreign{view: h.View, addr: from, at: c.now}
	// Coordinators that do not hear each other find each other through those
	// members that vouch for them.
	leader := c.view.ID.Epoch.Leader
	if c.now.Sub(c.watch.forwarded) >= c.t.H/2 && c.isWitness(leader) {
		c.watch.forwarded = c.now
		c.to(c.coordinator().Addr, Foreign{View: h.View, Addr: from, Class: b.Class, Size: b.Size})
	}
}

// onNotMember: the group went on without this node.
func (c *Coordinated) onNotMember(h Header, b NotMember) {
	if !c.learn(b.Max) {
		return
	}
	_, fellow := c.member(h.From)
	switch {
	case !fellow || h.View.Compare(c.view.ID) <= 0:
	case c.state == following:
		c.evicted(h.View)
	case c.state == leading && c.depart != nil:
		c.gone() // it has taken over
	}
}

// evicted sends this node back to look for its group. The view stays what it
// was: a program always has one.
func (c *Coordinated) evicted(by ViewID) {
	if c.depart != nil {
		c.gone()
		return
	}
	c.event(Evicted{View: by})
	c.search(max(c.t.JoinWin, 2*c.t.H))
}
