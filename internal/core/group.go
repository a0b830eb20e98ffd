package core

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
)

// GroupConfig configures a Group.
type GroupConfig struct {
	Self     membership.Member // Key, Inc, Addr and Name; the ID is assigned later
	Timing   membership.Timing
	Elector  election.New
	Election election.Timing
	// Rand is the only source of randomness.
	Rand      *rand.Rand
	Seniority bool // the oldest member wins an election, instead of the highest ID
	Detector  membership.NewDetector
	// Membership makes the Membership; nil means membership.NewCoordinated.
	Membership func(membership.Config) (membership.Membership, error)
}

// Group is who is there and who coordinates: a Membership and an Elector, and
// between them the translation that lets neither know the other. Like both it
// is a state machine without I/O, clock or goroutine.
type Group struct {
	mem   membership.Membership
	el    election.Elector
	self  membership.Key
	round *membership.Round // the election that runs, or nil
	asker struct {          // the sender of the last message of an election
		key  membership.Key
		addr netip.AddrPort
	}
	out GroupReady
}

// GroupReady is what a Group wants done.
type GroupReady struct {
	Send []GroupSend
	// Notes are what happened, in order: a membership.Event or an ElectionStep.
	Notes []any
	Left  bool  // the departure is complete
	Err   error // the group cannot be taken part in any more
}

// GroupSend is a message to send: Body, or Election if that is not nil.
type GroupSend struct {
	Group    bool // to every node on the multicast address; else to To
	To       netip.AddrPort
	Reliable bool // by the stream
	Routine  bool // any sign of life will do in its place
	Header   membership.Header
	Body     membership.Body
	Election *election.Message
}

// ElectionStep is something that happened in an election.
type ElectionStep struct {
	Term  uint64 // that is being elected for
	Phase Phase
	Kind  string         // for Sent and Received: the message
	From  membership.Key // zero: this node
	To    membership.Key // zero: all
}

// Phase is what an ElectionStep is about.
type Phase string

// The phases.
const (
	Started  Phase = "start"
	Sent     Phase = "send"
	Received Phase = "recv"
	Won      Phase = "win"   // by this node
	Lost     Phase = "lose"  // somebody else was announced
	Aborted  Phase = "abort" // the coordinator was heard after all
)

// announcement is how traces call the first view of a new coordinator.
const announcement = "COORDINATOR"

// NewGroup makes a Group.
func NewGroup(cfg GroupConfig) (*Group, error) {
	if cfg.Elector == nil {
		cfg.Elector = election.NewBully
	}
	if cfg.Membership == nil {
		cfg.Membership = func(c membership.Config) (membership.Membership, error) { return membership.NewCoordinated(c) }
	}
	mem, err := cfg.Membership(membership.Config{
		Self: cfg.Self, Timing: cfg.Timing, Rand: cfg.Rand, Seniority: cfg.Seniority, Detector: cfg.Detector,
	})
	if err != nil {
		return nil, err
	}
	el := cfg.Elector(election.Config{Timing: cfg.Election, Rand: cfg.Rand})
	return &Group{mem: mem, el: el, self: cfg.Self.Key}, nil
}

// Step passes one input to the membership.
func (g *Group) Step(now time.Time, in membership.Input) {
	g.mem.Step(now, in)
	g.settle(now)
}

// StepElection takes an elector's message.
func (g *Group) StepElection(now time.Time, from netip.AddrPort, h membership.Header, m election.Message) {
	m.From, m.Inc = h.From, h.Inc
	g.asker.key, g.asker.addr = h.From, from
	base := viewID(m.Base)
	in := membership.Campaign{From: from, Header: h, Base: base, Candidacy: m.Candidacy(), Candidate: m.Candidate()}
	g.trace(ElectionStep{Term: base.Epoch.Ctr + 1, Phase: Received, Kind: m.Kind.String(), From: h.From, To: g.self})
	g.Step(now, in)
	g.el.Step(now, m, g.mem.Live(now, base))
	g.settle(now)
}

// Tick makes both machines notice the time.
func (g *Group) Tick(now time.Time) {
	g.mem.Tick(now)
	g.settle(now)
	g.el.Tick(now)
	g.settle(now)
}

// Deadline is when Tick is due next; the zero time means never.
func (g *Group) Deadline() time.Time { return earlier(g.mem.Deadline(), g.el.Deadline()) }

// View is the view installed last.
func (g *Group) View() membership.View { return g.mem.View() }

// Follows reports whether this node is a member that hears its coordinator.
func (g *Group) Follows(now time.Time) bool {
	v := g.mem.View()
	return len(v.Members) > 0 && v.ID.Epoch.Leader != g.self && g.mem.Live(now, v.ID)
}

// Leads reports whether this node is the coordinator.
func (g *Group) Leads(now time.Time) bool {
	v := g.mem.View()
	return len(v.Members) > 0 && v.ID.Epoch.Leader == g.self && g.mem.Live(now, v.ID)
}

// Header is what stands in front of this node's messages now.
func (g *Group) Header() membership.Header { return g.mem.Header() }

// Electing reports whether an election runs.
func (g *Group) Electing() bool { return g.round != nil }

// Stats are the membership's counters, if it has any.
func (g *Group) Stats() membership.Stats {
	if m, ok := g.mem.(interface{ Stats() membership.Stats }); ok {
		return m.Stats()
	}
	return membership.Stats{}
}

// Algorithm is the elector's name.
func (g *Group) Algorithm() string { return g.el.Name() }

// Ready returns what has accumulated since the last call, and forgets it.
func (g *Group) Ready() GroupReady {
	r := g.out
	g.out = GroupReady{}
	return r
}

// settle carries what the machines have to say to each other until neither
// has anything left.
func (g *Group) settle(now time.Time) {
	for {
		r := g.mem.Ready()
		for _, s := range r.Send {
			g.out.Send = append(g.out.Send, GroupSend{Group: s.Group, To: s.To, Reliable: s.Reliable, Routine: s.Routine, Header: s.Packet.Header, Body: s.Packet.Body})
		}
		for _, e := range r.Events {
			g.observe(e)
			g.out.Notes = append(g.out.Notes, e)
		}
		g.out.Left = g.out.Left || r.Left
		if r.Err != nil {
			g.out.Err = r.Err
		}
		if r.Cancel {
			g.el.Cancel()
			g.end(Aborted)
		}
		if r.Round != nil {
			g.begin(now, r.Round)
		}
		e := g.el.Ready()
		for _, o := range e.Out {
			g.send(o)
		}
		if !e.Won {
			return
		}
		if g.round == nil { // cancelled by what the elector has not seen yet
			continue
		}
		base := g.round.Base
		g.trace(ElectionStep{Term: base.Epoch.Ctr + 1, Phase: Won})
		g.round = nil
		g.mem.Step(now, membership.Won{Base: base})
	}
}

func (g *Group) begin(now time.Time, r *membership.Round) {
	if g.round == nil || g.round.Base != r.Base {
		g.trace(ElectionStep{Term: r.Base.Epoch.Ctr + 1, Phase: Started})
	}
	g.round = r
	cands := make([]election.Candidate, len(r.Candidates))
	for i, m := range r.Candidates {
		cands[i] = election.Candidate{Key: m.Key, Inc: m.Inc}
	}
	g.el.Begin(now, election.Round{Base: base(r.Base), Self: g.self, Candidates: cands, Invited: r.Invited, RTO: r.RTO})
}

// observe keeps the trace of elections in step with the views.
func (g *Group) observe(e membership.Event) {
	in, ok := e.(membership.Installed)
	if !ok || in.View.ID.Epoch == in.Prev.ID.Epoch {
		return
	}
	leader, term := in.View.ID.Epoch.Leader, in.View.ID.Epoch.Ctr
	if in.Cause == membership.CauseElected {
		if leader == g.self {
			g.trace(ElectionStep{Term: term, Phase: Sent, Kind: announcement})
		} else {
			g.trace(ElectionStep{Term: term, Phase: Received, Kind: announcement, From: leader, To: g.self})
		}
	}
	if leader != g.self {
		g.end(Lost)
	}
}

func (g *Group) end(p Phase) {
	if g.round != nil {
		g.trace(ElectionStep{Term: g.round.Base.Epoch.Ctr + 1, Phase: p})
		g.round = nil
	}
}

func (g *Group) send(o election.Out) {
	h := g.mem.Header()
	m := o.Msg
	m.From, m.Inc = h.From, h.Inc
	s := GroupSend{Header: h, Election: &m, Group: o.To == election.Key{}}
	if !s.Group {
		switch to, ok := g.mem.View().Find(o.To); {
		case ok:
			s.To = to.Addr
		case o.To == g.asker.key: // no member any more: it learns so from the answer
			s.To = g.asker.addr
		default:
			return
		}
	}
	g.trace(ElectionStep{Term: m.Base.Ctr + 1, Phase: Sent, Kind: m.Kind.String(), To: o.To})
	g.out.Send = append(g.out.Send, s)
}

func (g *Group) trace(s ElectionStep) {
	if s.From == (membership.Key{}) {
		s.From = g.self
	}
	g.out.Notes = append(g.out.Notes, s)
}

func base(v membership.ViewID) election.Base {
	return election.Base{Ctr: v.Epoch.Ctr, Leader: v.Epoch.Leader, Inc: v.Epoch.Inc, Seq: v.Seq}
}

func viewID(b election.Base) membership.ViewID {
	return membership.ViewID{Epoch: membership.Epoch{Ctr: b.Ctr, Leader: b.Leader, Inc: b.Inc}, Seq: b.Seq}
}

// earlier is the earlier of two deadlines, the zero time being never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
