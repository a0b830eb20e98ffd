package core

import (
	"errors"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// A node that has another key, or speaks another version of the wire format,
// cannot be talked to, but it can be told so: by the coordinator alone, and
// seldom, as whoever asks may have lied about where it is.
//
// A newcomer that is told so believes it when it has heard it often enough and
// nobody welcomes it all the same. Nothing that it is told is proven. Whoever is
// on its network and forges such answers can keep it from founding a group, as
// long as no group answers it; it can keep nobody out of a group, and moves no
// member.
const (
	refusalsEach   = 5    // to one endpoint within refusalSpan
	refusalsAll    = 20   // within a second: several newcomers may come at once
	refusalSources = 1024 // watched at once
	refusalSpan    = time.Minute
	believed       = 3 // refusals for one reason, after which they are believed
)

// Refusal is what is to be told to a stranger; see transport.Refuser.
type Refusal struct {
	To  netip.AddrPort
	Err error
}

// refusals is how often strangers were told, and how often this node was.
type refusals struct {
	each   map[netip.AddrPort]tally
	all    tally
	heard  map[string]int // by reason, while this node looks for a group
	reason error          // that is believed
	due    time.Time      // when Join fails for it
}

// tally counts from a time on.
type tally struct {
	since time.Time
	n     int
}

// take counts one, if there are less than limit in the span.
func (t *tally) take(now time.Time, span time.Duration, limit int) bool {
	if now.Sub(t.since) >= span {
		*t = tally{since: now}
	}
	if t.n >= limit {
		return false
	}
	t.n++
	return true
}

// answers reports whether a stranger is to be told, and counts that.
func (c *Core) answers(now time.Time, from netip.AddrPort) bool {
	if !c.group.Leads(now) || !from.IsValid() {
		return false
	}
	r := &c.refused
	each, known := r.each[from]
	if !known && len(r.each) >= refusalSources {
		for a, t := range r.each {
			if now.Sub(t.since) >= refusalSpan {
				delete(r.each, a)
			}
		}
		if len(r.each) >= refusalSources {
			return false
		}
	}
	if !r.all.take(now, time.Second, refusalsAll) || !each.take(now, refusalSpan, refusalsEach) {
		return false
	}
	r.each[from] = each
	return true
}

// rejected hears that somebody does not understand this node.
func (c *Core) rejected(now time.Time, err error) {
	c.drops["rejected"]++
	why := reason(err)
	if why == "" || len(c.group.View().Members) > 0 {
		return
	}
	r := &c.refused
	r.heard[why]++
	if r.heard[why] > believed {
		return
	}
	c.group.Step(now, membership.Refused{Wait: 2 * refusalPatience}) // there is somebody: no group is founded yet
	if r.heard[why] == believed && r.due.IsZero() {
		r.reason, r.due = err, now.Add(refusalPatience)
	}
}

// refusalPatience is how long a newcomer waits for a welcome after it was told
// often enough that there is none.
const refusalPatience = 100 * time.Millisecond

// reason tells the reasons apart.
func reason(err error) string {
	var auth *transport.AuthError
	var version *transport.VersionError
	switch {
	case errors.As(err, &auth):
		return auth.Error()
	case errors.As(err, &version):
		return "version"
	}
	return ""
}

// unsealed handles a frame that this node should never see: the transport of a
// sealed node opens it, and that of an open one does not know it.
func (c *Core) unsealed(now time.Time, e transport.Event) {
	if err, ok := transport.ParseNotice(e.Frame, false); ok {
		c.rejected(now, err)
		return
	}
	c.drops["sealed"]++
	err := &transport.AuthError{Sealed: true}
	if c.answers(now, e.Peer) {
		c.out.Out = append(c.out.Out, Out{To: e.Peer, Frame: err.Notice()})
	}
}

// believe ends the search of a node that every group refuses.
func (c *Core) believe(now time.Time) {
	r := &c.refused
	if r.due.IsZero() || now.Before(r.due) {
		return
	}
	r.due = time.Time{}
	if len(c.group.View().Members) == 0 {
		c.over, c.out.Err = true, r.reason
	}
}
