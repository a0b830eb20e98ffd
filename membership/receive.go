package membership

import "net/netip"

// Stats counts what a Coordinated did not act on, and a few things that it did.
type Stats struct {
	Malformed   uint64 // impossible content: zero keys, invalid views, strange bodies
	Counter     uint64 // an epoch counter out of range, or too far ahead
	Stale       uint64 // from an incarnation that has been replaced
	Limited     uint64 // JOINs over the rate
	Diverged    uint64 // heartbeats whose view hash differs from ours for the same view
	Suspicions  uint64 // of the coordinator
	Elections   uint64 // rounds asked for on own verification
	Evictions   uint64 // members evicted by this node
	Repairs     uint64 // views sent to members that were behind
	Verified    uint64 // members that a verification found alive
	Heartbeats  uint64 // sent
	ViewsMade   uint64
	ViewsTaken  uint64 // installed, made by others
	MergesAsked uint64 // MERGE_REQ sent
}

// Stats returns the counters.
func (c *Coordinated) Stats() Stats { return c.stats }

func (c *Coordinated) receive(from netip.AddrPort, p Packet) {
	h := p.Header
	if h.From == (Key{}) || h.Inc >= maxCtr || p.Body == nil || c.state == idle {
		c.stats.Malformed++
		return
	}
	if h.From == c.self.Key {
		c.twin(from, h, p.Body)
		return
	}
	if !c.learn(h.View.Epoch.Ctr) {
		return
	}
	c.observe(from, h, p.Body)
	switch b := p.Body.(type) {
	case Join:
		c.onJoin(from, h, b)
	case Welcome:
		if c.learn(b.View.ID.Epoch.Ctr) {
			c.onWelcome(from, h, b)
		}
	case Heartbeat:
		c.onHeartbeat(from, h, b)
	case KeepAlive:
		c.onKeepAlive(from, h, b)
	case ViewChange:
		if c.learn(b.ID.Epoch.Ctr) {
			c.onViewChange(from, h, b)
		}
	case ViewReq:
		c.onViewReq(from, h, b)
	case NotMember:
		c.onNotMember(h, b)
	case Suspect:
		c.onSuspect(from, h, b)
	case Alive:
		c.onAlive(h, b)
	case Probe:
		c.onProbe(from, h, b)
	case ProbeAck:
		c.onProbeAck(h, b)
	case ProbeReq:
		c.onProbeReq(from, h, b)
	case MergeReq:
		if c.learn(b.View.ID.Epoch.Ctr) && c.learn(b.MaxCtr) {
			c.onMergeReq(from, h, b)
		}
	case MergeAck:
		c.onMergeAck(from, h, b)
	case Redirect:
		if c.learn(b.View.Epoch.Ctr) {
			c.onRedirect(h, b)
		}
	case Leave:
		c.onLeave(from, h)
	case Handover:
		c.onHandover(h)
	case Bye:
		c.onBye(h)
	case JoinReject:
		c.onJoinReject(b)
	case RetryAfter:
		c.onRetryAfter(b)
	case Foreign:
		if c.learn(b.View.Epoch.Ctr) {
			c.onForeign(from, h, b)
		}
	case Call:
		c.onCall(h)
	default:
		c.stats.Malformed++
	}
}

// twin handles a message that carries this node's own key: its own, come back
// by multicast, one of an earlier run, or one of another process with the same
// identity. Of two such processes the older incarnation stops.
func (c *Coordinated) twin(from netip.AddrPort, h Header, b Body) {
	switch {
	case h.Inc > c.self.Inc:
		c.fail(ErrDuplicateIdentity)
	case h.Inc < c.self.Inc:
		c.stats.Stale++
		if _, ok := b.(Join); ok {
			c.to(from, JoinReject{Known: c.self.Inc})
		}
	}
}

// observe takes from any message what does not depend on its kind: a sign of
// life, and whether its sender has a newer view.
func (c *Coordinated) observe(from netip.AddrPort, h Header, b Body) {
	c.lagging(from, h)
	m, ok := c.member(h.From)
	if !ok {
		return
	}
	if h.Inc < m.Inc {
		c.stats.Stale++
		return
	}
	switch c.state {
	case following:
		if h.From != c.view.ID.Epoch.Leader {
			return
		}
		if h.Inc > m.Inc {
			// Its process was started anew and knows nothing of the group: as
			// good as its own death notice.
			c.prove(ReasonFailed)
		} else if _, beat := b.(Heartbeat); !beat && continues(h.View.Epoch, c.view.ID.Epoch) {
			// Heartbeats are told from older ones by their numbers, and count
			// where they are handled.
			c.coordinatorWell(c.now, true)
		}
	case leading:
		if h.Inc != m.Inc {
			return
		}
		if e := h.View.Epoch; e.Compare(c.view.ID.Epoch) > 0 && e.Leader != c.self.Key {
			// It follows another coordinator by now, and is not ours to watch.
			switch b.(type) {
			case ViewChange, Welcome: // brings it
			default:
				c.query(h.From)
			}
			return
		}
		c.markSeen(h.From)
	}
}

// lagging asks for the view of a sender that has a newer one of the same
// coordinator, if it does not come by itself.
func (c *Coordinated) lagging(from netip.AddrPort, h Header) {
	if c.state == following && continues(h.View.Epoch, c.view.ID.Epoch) && h.View.Compare(c.view.ID) > 0 {
		c.requestLater(h.From, from)
	}
}

// continues reports whether e is an epoch of the same coordinator as o, and
// not before it.
func continues(e, o Epoch) bool { return e.Leader == o.Leader && e.Inc == o.Inc && e.Ctr >= o.Ctr }

func (c *Coordinated) heardFrom(k Key, inc uint64) {
	if c.state == leading && k != c.self.Key && c.lists(k, inc) {
		c.markSeen(k)
	}
}
