package membership

import (
	"net/netip"
	"time"
)

// joinState is that of a node that looks for a group.
type joinState struct {
	tries   int
	others  bool          // other newcomers were heard
	beats   int           // heartbeats were heard
	stood   int           // how often founding was put off because this process had stood still
	latest  time.Time     // it does not give way beyond this
	backoff time.Duration // until the next JOIN
	sent    time.Time     // the last JOIN; its answer is a round trip if it is the only one
}

// search begins to look for a group, and founds one if none was heard of after
// the given time.
func (c *Coordinated) search(patience time.Duration) {
	c.cancelRound()
	c.state = joining
	window := c.deferral()
	c.join = joinState{backoff: c.t.JoinWin / 8, latest: c.now.Add(time.Duration(c.t.JoinMaxTry) * window)}
	c.yield, c.lead, c.watch = nil, leadState{}, watchState{}
	clear(c.merging)
	c.due = [numTimers]time.Time{timerDepart: c.due[timerDepart]}
	c.set(timerFound, patience+c.jitter(c.t.JoinWin/20))
	c.sendJoin()
}

func (c *Coordinated) sendJoin() {
	if c.state != joining {
		return
	}
	c.join.tries++
	c.join.sent = c.now
	c.event(Searching{Try: c.join.tries})
	c.toGroup(c.joinBody())
	d := c.join.backoff
	c.set(timerJoin, d*4/5+c.jitter(d*2/5))
	c.join.backoff = min(2*d, c.t.JoinWin/2)
}

func (c *Coordinated) joinBody() Join {
	return Join{MaxCtr: c.max, Addr: c.self.Addr, Name: c.self.Name}
}

// muteBeats is after how many heartbeats a newcomer that was not admitted sends
// its JOINs to the coordinator that it hears: its multicast may not get out.
const muteBeats = 3

// maxStood is how often a process that stands still puts founding off: one that
// always does must found a group in the end.
const maxStood = 3

// joinWithin makes sure that the next JOIN is sent soon.
func (c *Coordinated) joinWithin(d time.Duration) {
	if at := c.now.Add(d); c.due[timerJoin].After(at) {
		c.set(timerJoin, d)
	}
}

// foundBy makes sure that no group is founded within d.
func (c *Coordinated) foundBy(d time.Duration) {
	if at := c.now.Add(d); c.due[timerFound].Before(at) {
		c.set(timerFound, d+c.jitter(c.t.JoinWin/20))
	}
}

// refused: the group that is here does not understand this node.
func (c *Coordinated) refused(wait time.Duration) {
	if c.state == joining {
		c.foundBy(max(c.t.JoinWin, wait))
		c.joinWithin(c.t.RTO)
	}
}

// foundGroup makes this node the coordinator of a group of its own: nobody
// coordinates within its hearing.
func (c *Coordinated) foundGroup(late time.Duration) {
	if c.state != joining {
		return
	}
	if late > c.t.RTO && c.join.stood < maxStood {
		// It stood still, and what it was answered meanwhile it has not read yet.
		c.join.stood++
		c.foundBy(c.t.JoinWin / 2)
		return
	}
	ctr := c.nextCtr()
	if ctr >= maxCtr {
		c.fail(ErrExhausted)
		return
	}
	c.stats.ViewsMade++
	c.install(found(c.self, ctr, c.view.Number), CauseFirst, nil)
	c.beat()
}

// deferTo gives way to another newcomer with a higher key, so that of many
// that start at once one founds the group and the others join it. It is bounded
// in time: newcomers that come and go must not keep others from founding.
func (c *Coordinated) deferTo(k Key) {
	c.join.others = true
	if d := c.deferral(); above(k, c.self.Key) && !c.now.Add(d).After(c.join.latest) {
		c.foundBy(d)
	}
}

// deferral is for how long one JOIN of a higher key keeps a newcomer from
// founding a group: until the other must have founded it.
func (c *Coordinated) deferral() time.Duration { return c.t.JoinWin + c.t.JoinWin/4 }

func (c *Coordinated) onWelcome(from netip.AddrPort, h Header, b Welcome) {
	if h.From != b.View.ID.Epoch.Leader || h.Inc != b.View.ID.Epoch.Inc {
		c.stats.Malformed++ // only the holder of an epoch admits
		return
	}
	trip, once := c.now.Sub(c.join.sent), c.state == joining && c.join.tries == 1
	c.adopt(from, h, b.View, CauseJoin, nil)
	if once && c.state == following {
		c.measured(h.From, trip)
	}
}

// onJoinReject: the group knows a later run of this node. Its counter is then
// not to be trusted, and the next free one is taken.
func (c *Coordinated) onJoinReject(b JoinReject) {
	if c.state != joining || b.Known < c.self.Inc {
		return
	}
	if b.Known >= maxCtr-1 {
		c.stats.Counter++
		return
	}
	c.self.Inc = b.Known + 1
	c.out.Inc = c.self.Inc
	c.joinWithin(c.jitter(c.t.RTO))
}

func (c *Coordinated) onRetryAfter(b RetryAfter) {
	if c.state != joining || b.After <= 0 {
		return
	}
	wait := min(b.After, maxRetryAfter)
	c.set(timerJoin, wait)
	c.foundBy(wait + c.t.JoinWin)
}

const maxRetryAfter = time.Minute
