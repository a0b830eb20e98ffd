package membership

import (
	"net/netip"
	"slices"
	"time"
)

// leadState is that of a coordinator.
type leadState struct {
	seq      uint64                     // heartbeats sent
	beats    [16]time.Time              // when the last of them were, by number
	burst    int                        // additional heartbeats still to send
	gap      time.Duration              // before the next of them
	change   ViewChange                 // that led to the present view
	echoes   int                        // how often it was repeated
	joiners  map[Key]joiner             // waiting for the next view
	leavers  []Departure                // likewise
	admitted time.Time                  // when a view last admitted or released somebody
	flaps    map[Key][]time.Time        // evictions within the last minute
	buckets  map[netip.AddrPort]*bucket // JOINs by source
	told     map[Key]time.Time          // rivals and when they were last sent a heartbeat

	// After this process stood still, until when it is not sure that it still
	// coordinates anybody, and how many heartbeats it had sent before.
	unsure time.Time
	slept  uint64
}

// sure reports whether this coordinator may change its group. One that knows
// that most of it has gone over to another one may not: the next view could open
// an epoch above that one's, which would yield in its turn. One that stood still
// may have that yet to read. So it waits for one member to answer a heartbeat,
// or for as long as they would need to elect.
func (c *Coordinated) sure() bool {
	if y := c.yield; y != nil && c.outgrown(y.view.Epoch, y.size) {
		return false
	}
	return !c.now.Before(c.lead.unsure)
}

type joiner struct {
	member Member
	from   netip.AddrPort
}

// bucket limits the rate of JOINs from one source.
type bucket struct {
	at   time.Time
	used int
}

const (
	probesInW      = 10   // how often a silent member is asked
	joinsPerSecond = 20   // that one source may send
	maxJoiners     = 4096 // waiting at once
	maxSources     = 4096 // whose rate is watched at once
	flapsAllowed   = 3    // evictions within a minute before a member has to wait
)

// verification is that of a silent member.
type verification struct {
	since, next, sent time.Time
	probes            int
	nonce             uint64
}

// enterLead is the part of install that concerns the coordinator.
func (c *Coordinated) enterLead(was state, cause ViewCause) {
	c.state = leading
	c.clear(timerKeepAlive, timerSilence, timerRename)
	c.watch = watchState{}
	for _, m := range c.view.Members {
		p := c.peers[m.Key]
		if was != leading || p.detector == nil {
			p.seen, p.verify, p.detector = c.now, nil, c.detector(c.t.TMember)
			p.detector.Arrived(c.now)
			p.deaf, p.since = false, c.lead.seq
		}
	}
	if was != leading {
		c.lead = leadState{
			joiners: map[Key]joiner{}, flaps: map[Key][]time.Time{},
			buckets: map[netip.AddrPort]*bucket{}, told: map[Key]time.Time{},
		}
		for _, p := range c.peers {
			p.since = 0
		}
		c.yield = nil
		clear(c.merging)
		c.clear(timerYield, timerMerge, timerAdmit, timerDepart)
		if c.depart != nil {
			c.depart.again(c.now)
			c.set(timerDepart, 1)
		}
	}
	if c.due[timerBeat].IsZero() {
		c.set(timerBeat, c.t.H)
	}
	if cause == CauseElected || cause == CauseHandover || cause == CauseMerge || cause == CauseFirst && c.join.others {
		c.lead.burst, c.lead.gap = 5, c.RTO()
		c.set(timerBurst, c.lead.gap)
	}
	c.watchMembers()
}

// beat sends a heartbeat. A coordinator that takes part in an election by CALL
// is a candidate like the others, and silent.
func (c *Coordinated) beat() {
	if c.state != leading || c.round != nil {
		return
	}
	c.lead.seq++
	c.stats.Heartbeats++
	c.lead.beats[c.lead.seq%uint64(len(c.lead.beats))] = c.now
	hb := c.heartbeat()
	c.toGroup(hb)
	hb.Seq = 0
	for _, m := range c.view.Members {
		if c.peers[m.Key].deaf {
			c.to(m.Addr, hb)
		}
	}
	c.set(timerBeat, c.t.H)
	c.watchMembers() // all well: no wake-up for that alone
}

// heartbeat is the body of the last heartbeat. One that is sent to a single
// node has number 0: it says nothing of whether the group address works.
func (c *Coordinated) heartbeat() Heartbeat {
	return Heartbeat{Class: c.view.Class, Size: uint32(len(c.view.Members)), Seq: c.lead.seq, Hash: c.hash}
}

// beatNow sends a heartbeat out of turn, at most one in a round trip.
func (c *Coordinated) beatNow() {
	if last := c.lead.beats[c.lead.seq%uint64(len(c.lead.beats))]; c.lead.seq == 0 || c.now.Sub(last) >= c.RTO() {
		c.beat()
	}
}

// burst sends the heartbeats by which a coordinator that is new to some makes
// itself known quickly though packets get lost: 1, 2, 4, 8 and 16 RTO after the
// view.
func (c *Coordinated) burst() {
	if c.state != leading || c.lead.burst == 0 {
		return
	}
	c.beat()
	c.lead.burst--
	if c.lead.burst > 0 {
		c.set(timerBurst, c.lead.gap)
		c.lead.gap *= 2
	}
}

// onJoin: only a coordinator answers.
func (c *Coordinated) onJoin(from netip.AddrPort, h Header, b Join) {
	m := Member{Key: h.From, Inc: h.Inc, Addr: b.Addr, Name: b.Name}
	if !m.Addr.IsValid() || m.Addr.Addr().IsUnspecified() {
		m.Addr = from
	}
	if !sound(m) {
		c.stats.Malformed++
		return
	}
	if !c.learn(b.MaxCtr) {
		return
	}
	switch c.state {
	case joining:
		c.deferTo(h.From)
	case following:
		if h.From == c.view.ID.Epoch.Leader && h.Inc > c.view.ID.Epoch.Inc {
			c.watch.returned = &joiner{member: m, from: from}
		}
	case leading:
		if c.limit(from) {
			c.stats.Limited++
			return
		}
		c.register(joiner{member: m, from: from}, b.MaxCtr)
	}
}

// register answers a JOIN.
func (c *Coordinated) register(j joiner, seen uint64) {
	old, present := c.member(j.member.Key)
	switch {
	case present && old.Inc == j.member.Inc:
		j.member.ID = old.ID
		if seen <= c.view.ID.Epoch.Ctr && j.member == old {
			c.stream(j.from, Welcome{View: c.view}) // the first one was lost
			return
		}
	case present && old.Inc > j.member.Inc:
		c.to(j.from, JoinReject{Known: old.Inc})
		return
	case !present:
		if inc := c.saidGoodbye(j.member.Key); inc != 0 && j.member.Inc <= inc {
			c.to(j.from, JoinReject{Known: inc})
			return
		}
		if wait := c.penalty(j.member.Key); wait > 0 {
			c.to(j.from, RetryAfter{After: wait})
			return
		}
		if len(c.view.Members)+len(c.lead.joiners) >= MaxMembers || len(c.lead.joiners) >= maxJoiners {
			c.stats.Limited++
			return
		}
	}
	if c.yield != nil || c.round != nil || c.depart != nil {
		return // it will ask again
	}
	c.lead.joiners[j.member.Key] = j
	c.admitSoon()
}

// limit reports whether a source sends more JOINs than it may.
func (c *Coordinated) limit(from netip.AddrPort) bool {
	b := c.lead.buckets[from]
	if b == nil {
		if len(c.lead.buckets) >= maxSources {
			clear(c.lead.buckets)
		}
		b = &bucket{at: c.now}
		c.lead.buckets[from] = b
	}
	if c.now.Sub(b.at) >= time.Second {
		b.at, b.used = c.now, 0
	}
	b.used++
	return b.used > joinsPerSecond
}

// penalty is how long a member must wait that was evicted again and again: 2,
// 4, 8 … H after its fourth, fifth, sixth … eviction within a minute.
func (c *Coordinated) penalty(k Key) time.Duration {
	times := slices.DeleteFunc(c.lead.flaps[k], func(at time.Time) bool { return c.now.Sub(at) > time.Minute })
	if len(times) == 0 {
		delete(c.lead.flaps, k)
		return 0
	}
	c.lead.flaps[k] = times
	n := len(times) - flapsAllowed
	if n <= 0 {
		return 0
	}
	return min(c.t.H<<min(n, 16), maxRetryAfter) - c.now.Sub(times[len(times)-1])
}

// admitSoon makes a view at once if none was made just before, so that a lone
// joiner does not wait and a hundred at once share a few views.
func (c *Coordinated) admitSoon() {
	if c.due[timerAdmit].IsZero() {
		if c.now.Sub(c.lead.admitted) >= c.t.JoinBatch {
			c.admit()
		} else {
			c.set(timerAdmit, c.t.JoinBatch)
		}
	}
}

// admit makes the view of those who wait to be admitted or released.
func (c *Coordinated) admit() { c.amend(nil) }

// amend makes the next view: without the failed, and with all that waits.
func (c *Coordinated) amend(failed []Departure) {
	if c.state != leading || c.round != nil || c.depart != nil {
		return
	}
	if !c.sure() {
		c.set(timerAdmit, c.t.W) // those who wait ask again, too
		return
	}
	var joined []Member
	var welcome []joiner
	fresh, renamed := false, false
	if c.yield == nil {
		// Members come in the order of their keys, so that a run can be replayed.
		for _, j := range c.lead.joiners {
			welcome = append(welcome, j)
		}
		slices.SortFunc(welcome, func(a, b joiner) int {
			if above(a.member.Key, b.member.Key) {
				return 1
			}
			return -1
		})
		for _, j := range welcome {
			joined = append(joined, j.member)
			old, _ := c.member(j.member.Key)
			j.member.ID = old.ID
			renamed = renamed || old.Inc == j.member.Inc && old != j.member
			fresh = fresh || c.max > c.view.ID.Epoch.Ctr
		}
	}
	clear(c.lead.joiners)
	left := slices.Concat(failed, c.lead.leavers)
	c.lead.leavers = nil
	c.clear(timerAdmit)
	left = slices.DeleteFunc(left, func(d Departure) bool {
		return d.Key == c.self.Key || !c.lists(d.Key, d.Inc) ||
			slices.ContainsFunc(joined, func(m Member) bool { return m.Key == d.Key && m.Inc == d.Inc })
	})
	if len(joined)+len(left) == 0 {
		return
	}
	cause := CauseLeave
	switch {
	case len(failed) > 0:
		cause = CauseDead
	case len(joined) > 0 && !(renamed && len(joined) == 1):
		cause = CauseJoin
	case len(joined) > 0:
		cause = CauseRename
	}
	ctr := c.nextCtr()
	if ctr >= maxCtr {
		c.fail(ErrExhausted)
		return
	}
	c.lead.admitted = c.now
	c.publish(amend(c.view, ctr, fresh, joined, left), cause, left)
	for _, j := range welcome {
		c.stream(j.from, Welcome{View: c.view})
	}
}

// publish installs a view that this node made and announces it.
func (c *Coordinated) publish(v View, cause ViewCause, left []Departure) {
	prev := c.view
	c.stats.ViewsMade++
	c.install(v, cause, left)
	if c.state != leading || len(prev.Members) <= 1 && len(v.Members) <= 1 {
		return
	}
	change := c.change(prev, v, cause, left)
	if size(change) > maxDatagram {
		for _, m := range prev.Members {
			if now, ok := c.member(m.Key); ok && now.Inc == m.Inc && m.Key != c.self.Key {
				c.stream(now.Addr, change)
			}
		}
		return
	}
	c.toGroup(change)
	for _, m := range v.Members {
		if c.peers[m.Key].deaf {
			c.stream(m.Addr, change)
		}
	}
	c.lead.change, c.lead.echoes = change, 0
	c.set(timerEcho, c.RTO())
}

// echo repeats the change that led to the present view. Where packets get lost
// it is in all likelihood lost to somebody, who would not notice before the
// next heartbeat.
func (c *Coordinated) echo() {
	if c.state != leading || c.lead.change.ID != c.view.ID || c.depart != nil {
		return
	}
	c.toGroup(c.lead.change)
	if c.lead.echoes++; c.lead.echoes < 2 {
		c.set(timerEcho, 2*c.RTO())
	}
}

// onKeepAlive: a member is well (which observe has noted), or thinks that it
// is a member, or is behind.
func (c *Coordinated) onKeepAlive(from netip.AddrPort, h Header, b KeepAlive) {
	if c.state != leading && c.state != following {
		return
	}
	if !c.lists(h.From, h.Inc) {
		if c.state == leading {
			c.to(from, NotMember{Max: c.max})
		}
		return
	}
	if c.state == leading && c.now.Before(c.lead.unsure) && b.Seq > c.lead.slept && continues(c.view.ID.Epoch, h.View.Epoch) {
		c.lead.unsure = time.Time{}
		c.admit()
	}
	if h.View.Compare(c.view.ID) < 0 {
		if c.state == following || c.now.Sub(c.installed) > c.RTO() {
			c.bring(h.From, from, h.View)
		}
		return
	}
	if c.state == leading {
		c.checkDeaf(c.peers[h.From], b.Seq)
	}
}

// checkDeaf finds out whether a member hears the group address, from the
// number of the last heartbeat that it heard there. One that missed three in a
// row, over two intervals, is sent its own copies.
func (c *Coordinated) checkDeaf(p *peer, heard uint64) {
	heard = max(heard, p.since)
	if heard >= c.lead.seq {
		p.deaf = false
		return
	}
	missed := c.lead.seq - heard
	if missed >= uint64(len(c.lead.beats)) {
		p.deaf = true
	} else if first := c.lead.beats[(heard+1)%uint64(len(c.lead.beats))]; missed >= 3 && c.now.Sub(first) >= 2*c.t.H {
		p.deaf = true
	} else if missed < 2 {
		p.deaf = false
	}
}

// markSeen notes a sign of life of a member.
func (c *Coordinated) markSeen(k Key) {
	p := c.peers[k]
	p.seen = c.now
	p.detector.Arrived(c.now)
	if v := p.verify; v != nil {
		p.verify = nil
		c.stats.Verified++
		if v.probes == 1 {
			c.measured(k, c.now.Sub(v.sent))
		}
		m, _ := c.member(k)
		c.event(Restored{Member: m})
	}
}

// watchMembers arms the timer for the first member whose turn it is to be
// looked at. The granularity bounds the work in large groups.
func (c *Coordinated) watchMembers() {
	next := c.now.Add(c.t.TMember)
	for _, m := range c.view.Members {
		if m.Key == c.self.Key {
			continue
		}
		p := c.peers[m.Key]
		at := p.seen.Add(p.detector.Patience())
		if v := p.verify; v != nil {
			at = v.next
			if end := v.since.Add(c.t.W); end.Before(at) {
				at = end
			}
		}
		if at.Before(next) {
			next = at
		}
	}
	c.set(timerMembers, max(next.Sub(c.now), c.t.W/20))
}

// checkMembers verifies silent members and evicts those that did not answer,
// all in one view.
func (c *Coordinated) checkMembers(late time.Duration) {
	if c.state != leading {
		return
	}
	// Where one is silent because a link is cut others will be: they are
	// verified together, so that they go in one view and not one by one.
	together := false
	for _, m := range c.view.Members {
		p := c.peers[m.Key]
		together = together || m.Key != c.self.Key && p.verify == nil && c.now.Sub(p.seen) >= p.detector.Patience()
	}
	var failed []Departure
	for _, m := range c.view.Members {
		if m.Key == c.self.Key {
			continue
		}
		p := c.peers[m.Key]
		v := p.verify
		if v == nil {
			if silent := c.now.Sub(p.seen); silent >= p.detector.Patience() || together && silent >= 2*c.t.H {
				c.verify(m, "silent")
			}
			continue
		}
		if late > c.t.W/3 {
			// This process itself was suspended: what has not been asked
			// could not be answered.
			v.since, v.probes = c.now, 0
			v.next = c.now
		}
		if c.now.Sub(v.since) >= c.t.W && v.probes >= 2 {
			failed = append(failed, Departure{Key: m.Key, Inc: m.Inc, Reason: ReasonFailed})
		} else if !c.now.Before(v.next) {
			c.probe(m, v)
		}
	}
	if len(failed) > 0 {
		c.evict(failed)
	}
	if c.state == leading {
		c.watchMembers()
	}
}

// verify begins to verify a member.
func (c *Coordinated) verify(m Member, why string) {
	p := c.peers[m.Key]
	if p.verify != nil {
		return
	}
	p.verify = &verification{since: c.now, nonce: c.rng.Uint64()}
	c.event(Suspected{Member: m, Silent: c.now.Sub(p.seen), Why: why})
	c.probe(m, p.verify)
}

// probe asks a member whether it is well, every second time through others as
// well.
func (c *Coordinated) probe(m Member, v *verification) {
	v.probes++
	v.sent, v.next = c.now, c.now.Add(c.t.W/probesInW)
	c.to(m.Addr, Probe{Subject: m.Key, Inc: m.Inc, Nonce: v.nonce})
	if v.probes%2 != 0 {
		return
	}
	for _, w := range successors(c.view, m.Key, c.t.Witnesses) {
		c.to(w.Addr, ProbeReq{Subject: m.Key, Inc: m.Inc, Addr: m.Addr, Nonce: v.nonce})
	}
}

// evict makes the view without members that failed.
func (c *Coordinated) evict(failed []Departure) {
	if c.round != nil || c.depart != nil || !c.sure() {
		return // whoever coordinates next will see for itself
	}
	c.stats.Evictions += uint64(len(failed))
	for _, d := range failed {
		if len(c.lead.flaps) >= maxSources {
			clear(c.lead.flaps)
		}
		c.lead.flaps[d.Key] = append(c.lead.flaps[d.Key], c.now)
		if n := len(c.lead.flaps[d.Key]); n > 16 {
			c.lead.flaps[d.Key] = c.lead.flaps[d.Key][n-16:]
		}
		if m, ok := c.member(d.Key); ok && c.penalty(d.Key) > 0 {
			c.event(Flapping{Member: m, Evictions: len(c.lead.flaps[d.Key])})
		}
	}
	c.amend(failed)
}

// onLeave: a member says goodbye.
func (c *Coordinated) onLeave(from netip.AddrPort, h Header) {
	if c.state != leading {
		return
	}
	if !c.lists(h.From, h.Inc) {
		c.to(from, NotMember{Max: c.max})
		return
	}
	d := Departure{Key: h.From, Inc: h.Inc, Reason: ReasonLeft}
	delete(c.lead.joiners, h.From)
	if !slices.Contains(c.lead.leavers, d) {
		c.lead.leavers = append(c.lead.leavers, d)
	}
	c.admitSoon()
}

// down acts on evidence of the transport: a refused connection proves that a
// process is gone, anything else begins its verification early.
func (c *Coordinated) down(in Down) {
	if !in.Addr.IsValid() {
		return
	}
	if y := c.yield; y != nil && y.to == in.Addr && in.Cause == CauseRefused {
		c.stopYielding()
	}
	why, ok := map[Cause]string{CauseReset: "reset", CauseRefused: "refused", CauseTimeout: "timeout"}[in.Cause]
	if !ok {
		return
	}
	switch c.state {
	case leading:
		var failed []Departure
		for _, m := range c.view.Members {
			if m.Addr != in.Addr || m.Key == c.self.Key {
				continue
			}
			if in.Cause != CauseRefused {
				c.verify(m, why)
				continue
			}
			if c.peers[m.Key].verify == nil {
				c.event(Suspected{Member: m, Silent: c.now.Sub(c.peers[m.Key].seen), Why: why})
			}
			failed = append(failed, Departure{Key: m.Key, Inc: m.Inc, Reason: ReasonFailed})
		}
		if len(failed) > 0 {
			c.evict(failed)
		}
		if c.state == leading {
			c.watchMembers()
		}
	case following:
		if m := c.coordinator(); m.Addr == in.Addr {
			if in.Cause == CauseReset {
				c.watch.lost = c.now
			}
			if in.Cause == CauseRefused {
				c.suspected(why)
				c.prove(ReasonFailed)
			} else {
				c.suspect(why)
			}
		}
	}
}
