package membership

import (
	"net/netip"
	"slices"
	"time"
)

// watchCoordinator arms the timer of suspicion.
func (c *Coordinated) watchCoordinator() {
	at := c.watch.heard.Add(c.watch.patience() + c.watch.jitter)
	c.set(timerSilence, at.Sub(c.now))
}

func (c *Coordinated) checkSilence() {
	if c.state != following || c.watch.suspecting {
		return
	}
	if c.silence() < c.watch.patience()+c.watch.jitter || c.round != nil && c.round.call {
		c.watchCoordinator()
		return
	}
	c.suspect("silent")
}

// suspect begins the verification of the coordinator: SUSPECT to the group
// until an answer comes or W is over.
func (c *Coordinated) suspect(why string) {
	if c.state != following || c.watch.suspecting || c.watch.proven {
		return
	}
	c.suspected(why)
	c.watch.since = c.now
	c.clear(timerSilence)
	c.set(timerSuspect, c.jitter(c.RTO()*3/2))
	c.awaitVerdict()
}

// suspected notes the suspicion, once an episode.
func (c *Coordinated) suspected(why string) {
	if c.watch.suspecting {
		return
	}
	c.watch.suspecting, c.watch.asked = true, false
	c.stats.Suspicions++
	c.event(Suspected{Member: c.coordinator(), Silent: c.silence(), Why: why})
}

// awaitVerdict arms the timer of the election: TElect of silence, and W of
// unanswered SUSPECTs. The second matters after this process was suspended,
// when silence exceeds TElect before anything was asked.
func (c *Coordinated) awaitVerdict() {
	at := c.watch.heard.Add(c.watch.patience() + c.t.TElect - c.t.TProbe + c.watch.jitter)
	if w := c.watch.since.Add(c.t.W); w.After(at) {
		at = w
	}
	c.set(timerElect, at.Sub(c.now))
}

func (c *Coordinated) sendSuspect() {
	if c.state != following || !c.watch.suspecting || c.watch.proven || c.round != nil {
		return
	}
	c.toGroup(Suspect{Epoch: c.view.ID.Epoch})
	if c.watch.asked {
		// The group address may not work for this node.
		c.to(c.coordinator().Addr, Suspect{Epoch: c.view.ID.Epoch})
	}
	c.watch.asked = true
	c.set(timerSuspect, c.t.W/3)
}

// verified: nobody vouched for the coordinator.
func (c *Coordinated) verified(late time.Duration) {
	if c.state != following || !c.watch.suspecting || c.watch.proven {
		return
	}
	if late > c.t.W/3 {
		// This process was suspended meanwhile, and may not have heard the
		// answers: ask again.
		c.watch.since = c.now
		c.set(timerSuspect, c.jitter(c.RTO()))
		c.awaitVerdict()
		return
	}
	c.stats.Elections++
	c.watch.reason = ReasonFailed
	c.beginRound(false)
}

// prove notes evidence that the coordinator is gone, and begins an election
// without waiting for silence.
func (c *Coordinated) prove(r Reason) {
	if c.state != following || c.watch.proven {
		return
	}
	c.watch.proven, c.watch.provenAt, c.watch.reason = true, c.now, r
	c.clear(timerSilence, timerSuspect, timerElect)
	if c.depart != nil {
		c.gone()
		return
	}
	c.stats.Elections++
	if top := rank(c.view.Members, c.seniority); r == ReasonFailed && !c.watch.doubted &&
		slices.ContainsFunc(top[:min(len(top), 4)], func(m Member) bool { return m.Key == c.self.Key }) {
		// Not all have a stream to the coordinator that can break. A few
		// voices are enough.
		c.toGroup(Suspect{Epoch: c.view.ID.Epoch, Proof: true})
	}
	c.beginRound(false)
}

// coordinatorWell: the coordinator was heard at the given time, directly or by
// a witness.
func (c *Coordinated) coordinatorWell(at time.Time, direct bool) {
	w := &c.watch
	if c.state != following || w.proven && (!direct || c.now.Sub(w.provenAt) < c.t.RTO) {
		// What was on its way when the evidence came proves nothing.
		return
	}
	if direct {
		w.detector.Arrived(at)
	}
	if at.After(w.heard) {
		w.heard = at
	}
	if c.round != nil && c.round.call {
		return // it is a candidate like the others
	}
	silence := c.silence()
	if direct || !w.doubted && silence < w.patience() {
		c.trustAgain()
		return
	}
	if silence < c.t.TElect {
		c.cancelRound()
	}
	if w.suspecting {
		w.since = c.now
		c.set(timerSuspect, c.t.W/3)
		c.awaitVerdict()
	}
}

func (c *Coordinated) trustAgain() {
	c.cancelRound()
	w := &c.watch
	if w.suspecting {
		c.event(Restored{Member: c.coordinator()})
	}
	w.doubted = false
	if w.suspecting || w.proven {
		c.clear(timerSuspect, timerElect)
		w.jitter = c.jitter(c.t.H / 10)
		w.suspecting, w.proven, w.returned = false, false, nil
	}
	c.watchCoordinator()
}

// onSuspect: somebody does not hear its coordinator.
func (c *Coordinated) onSuspect(from netip.AddrPort, h Header, b Suspect) {
	if !c.learn(b.Epoch.Ctr) {
		return
	}
	if b.Proof && c.state == following && b.Epoch == c.view.ID.Epoch && c.lists(h.From, h.Inc) {
		c.watch.doubted = true
		c.suspect("refused")
		return
	}
	c.vouch(from, h, b.Epoch, Key{}, false)
	if c.state == following && b.Epoch == c.view.ID.Epoch && c.watch.suspecting && !c.due[timerSuspect].IsZero() {
		// One voice is enough: a dead coordinator must not cost a message of
		// every member.
		c.set(timerSuspect, c.t.W/3+c.jitter(c.RTO()))
	}
}

// vouch answers a node that suspects the coordinator of an epoch, or holds an
// election about it, if there is an answer. The candidate is who is to be
// answered, if that is not the sender.
func (c *Coordinated) vouch(from netip.AddrPort, h Header, e Epoch, candidate Key, always bool) {
	mine := c.view.ID.Epoch
	listed := c.lists(h.From, h.Inc)
	addr := from
	if m, ok := c.member(candidate); ok {
		addr = m.Addr
	}
	switch c.state {
	case leading:
		switch {
		case !listed:
			if e.Compare(mine) <= 0 {
				c.to(from, NotMember{Max: c.max})
			}
		case e == mine:
			c.to(addr, Alive{Epoch: e})
			c.beatNow()
		case e.Compare(mine) < 0:
			c.bring(h.From, from, h.View)
		default:
			c.query(h.From)
		}
	case following:
		if !listed || c.watch.proven || c.watch.doubted {
			return
		}
		live := c.silence() < c.watch.patience()
		switch {
		case e == mine:
			if live && h.From != mine.Leader && (c.isWitness(h.From) || always) {
				c.to(addr, Alive{Epoch: e, Age: c.silence()})
			}
		case e.Compare(mine) < 0:
			if live && c.isWitness(h.From) {
				c.bring(h.From, from, h.View)
			}
		default:
			c.request(h.From, from)
		}
	}
}

// onAlive: the coordinator itself, or a witness, answers.
func (c *Coordinated) onAlive(h Header, b Alive) {
	if c.state != following || b.Age < 0 || !continues(b.Epoch, c.view.ID.Epoch) {
		return
	}
	if h.From == c.view.ID.Epoch.Leader {
		return // a sign of life, which observe has noted
	}
	// A witness that this view does not list yet has one that continues it.
	newer := continues(h.View.Epoch, c.view.ID.Epoch) && h.View.Compare(c.view.ID) > 0
	if (newer || c.lists(h.From, h.Inc)) && b.Age < c.t.TElect {
		c.coordinatorWell(c.now.Add(-b.Age), false)
	}
}
