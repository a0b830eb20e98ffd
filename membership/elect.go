package membership

// roundState is an election that this node asked its caller for.
type roundState struct {
	base    ViewID
	invited bool
	call    bool // begun by CALL: the coordinator is a candidate
	own     bool // this node sent the CALL
}

// callLimit is how many RTO an election by CALL may take. It is over before
// anybody misses the coordinator's heartbeats.
const callLimit = 20

// beginRound asks for an election of the missing coordinator's successor.
func (c *Coordinated) beginRound(invited bool) {
	if r := c.round; r != nil {
		if r.call || !r.invited || invited {
			return
		}
	}
	c.openRound(&roundState{base: c.view.ID, invited: invited})
}

func (c *Coordinated) openRound(r *roundState) {
	c.round = r
	var cands []Member
	for _, m := range rank(c.view.Members, c.seniority) {
		if r.call || m.Key != c.view.ID.Epoch.Leader {
			cands = append(cands, m)
		}
	}
	c.out.Round = &Round{Base: r.base, Candidates: cands, Invited: r.invited, RTO: c.RTO()}
}

// cancelRound says that the election is no longer needed.
func (c *Coordinated) cancelRound() {
	if c.round != nil {
		c.round = nil
		c.out.Round = nil
		c.out.Cancel = true
		c.clear(timerCall, timerCallEnd)
	}
}

// campaign decides what this node makes of an elector's message.
func (c *Coordinated) campaign(in Campaign) {
	h := in.Header
	if h.From == (Key{}) || h.From == c.self.Key || h.Inc >= maxCtr {
		return
	}
	if !c.learn(h.View.Epoch.Ctr) || !c.learn(in.Base.Epoch.Ctr) {
		return
	}
	c.observe(in.From, h, nil)
	if c.state != following && c.state != leading || !in.Candidacy || c.round != nil && c.round.call {
		return
	}
	mine := c.view.ID
	if !c.lists(h.From, h.Inc) || in.Base.Epoch != mine.Epoch || c.Live(c.now, in.Base) {
		// Of another group, about another epoch, or not needed.
		relayed := in.Candidate != (Key{}) && in.Candidate != h.From
		c.vouch(in.From, h, in.Base.Epoch, in.Candidate, relayed)
		return
	}
	if c.state != following || c.depart != nil {
		return
	}
	switch cmp := in.Base.Compare(mine); {
	case cmp > 0:
		c.request(h.From, in.From)
	case cmp < 0:
		c.bring(h.From, in.From, h.View)
	case c.round == nil:
		if c.watch.reason == 0 {
			c.watch.reason = ReasonFailed
		}
		c.beginRound(true)
	}
}

// won makes this node the coordinator.
func (c *Coordinated) won(base ViewID) {
	r := c.round
	if r == nil || r.base != base || base != c.view.ID || c.state != following && c.state != leading {
		return
	}
	c.round = nil
	if r.call && !c.watch.proven {
		c.succeed(CauseElected, nil)
		return
	}
	reason := c.watch.reason
	if reason == 0 {
		reason = ReasonFailed
	}
	c.succeed(CauseElected, c.departed(reason))
}

// departed is the departure of the present coordinator.
func (c *Coordinated) departed(r Reason) []Departure {
	e := c.view.ID.Epoch
	return []Departure{{Key: e.Leader, Inc: e.Inc, Reason: r}}
}

// succeed opens this node's own epoch, in which those who left are missing. If
// the old coordinator has been started anew and asked to join, it stays a
// member, in its new run.
func (c *Coordinated) succeed(cause ViewCause, left []Departure) {
	ctr := c.nextCtr()
	if ctr >= maxCtr {
		c.fail(ErrExhausted)
		return
	}
	c.round = nil
	joined := c.ownEntry()
	returned := c.watch.returned
	if returned != nil && len(left) > 0 && left[0].Key == returned.member.Key {
		joined = append(joined, returned.member)
	} else {
		returned = nil
	}
	c.publish(succeed(c.view, c.self, ctr, joined, left), cause, left)
	if returned != nil && c.state == leading {
		c.stream(returned.from, Welcome{View: c.view})
	}
}

// call begins an election though the coordinator may be well.
func (c *Coordinated) call() {
	if c.state != following && c.state != leading || c.round != nil || c.depart != nil || c.yield != nil {
		return
	}
	c.openRound(&roundState{base: c.view.ID, call: true, own: true})
	c.set(timerCallEnd, callLimit*c.t.RTO)
	c.repeatCall()
}

func (c *Coordinated) repeatCall() {
	if c.round == nil || !c.round.own {
		return
	}
	c.toGroup(Call{})
	c.set(timerCall, c.RTO())
}

// onCall: take part, the coordinator too.
func (c *Coordinated) onCall(h Header) {
	if c.state != following && c.state != leading || !c.lists(h.From, h.Inc) {
		return
	}
	if h.View != c.view.ID || c.round != nil || c.depart != nil || c.yield != nil || c.watch.proven {
		return
	}
	c.openRound(&roundState{base: c.view.ID, call: true, invited: true})
	c.set(timerCallEnd, callLimit*c.t.RTO)
}

// endCall: the election by CALL came to nothing, and all is as before.
func (c *Coordinated) endCall() {
	if c.round == nil || !c.round.call {
		return
	}
	c.cancelRound()
	switch {
	case c.state == leading:
		c.beat()
		c.watchMembers()
	case c.watch.proven:
		c.beginRound(false)
	case c.watch.suspecting:
		c.watch.since = c.now
		c.set(timerSuspect, c.jitter(c.RTO()))
		c.awaitVerdict()
	case c.due[timerSilence].IsZero():
		c.watchCoordinator()
	}
}
