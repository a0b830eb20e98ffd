package core

import (
	"crypto/ed25519"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/seed-885536be/p2p/causal"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// Times and bounds of a Core.
const (
	// redial is how long a link to a member may be down before it is tried
	// again, and how long a member leaves the dialing to the other end.
	redial = time.Second
	// maxControl bounds the frames of membership that wait for one stream.
	maxControl = 256
	// syncPatience is how long a newcomer waits for the history before it is
	// told that it is a member all the same.
	syncPatience = 10 * time.Second
)

// Core is a whole node but for its clock and its network: a Group and a Log,
// fed with what the transport says, and saying what the transport is to do.
type Core struct {
	group *Group
	log   causal.Log
	self  membership.Key
	signs *signer
	mail  *direct

	spread   spread // of own blocks
	cast     *cast  // of many
	appended int    // calls of Append since Flush
	links    map[netip.AddrPort]*link
	peers    map[membership.Key]*link // those of links whose key is known
	dial     time.Time                // when to look after links that are down

	syncing time.Time // when patience for the first sync ends; zero: it is complete
	drops   map[string]uint64
	refused refusals
	gate    gate           // of datagrams
	streams gate           // of streams
	source  netip.AddrPort // of the frame that is being handled,
	loose   bool           // and that it is a datagram
	over    bool           // Ready.Err was said
	gather  bool
	recent  [8]encoded // what went to one peer and may go to others
	oldest  int        // of recent
	out     Ready
}

// Ready is what a Core wants done: first the datagrams, then the streams.
type Ready struct {
	Out []Out
	// Refuse are strangers to be told why they are not understood.
	Refuse []Refusal
	// Pump are endpoints for which Next has frames.
	Pump []netip.AddrPort
	// Hangup are endpoints whose stream is no longer needed.
	Hangup []netip.AddrPort
	// Notes are what happened, in order: a membership.Event, an ElectionStep,
	// a Beat, a Synced, a Held or a DirectDone.
	Notes []any
	// Direct says that TakeDirect has something.
	Direct bool
	Log    causal.Ready
	Left   bool
	Err    error
}

// Out is a datagram.
type Out struct {
	Group bool // to all; else to To
	To    netip.AddrPort
	Frame []byte
}

// Beat notes that the coordinator's heartbeat was sent, or heard.
type Beat struct {
	From membership.Key
	View membership.ViewID
	Sent bool
}

// Synced notes that this node has taken over the history that was there when
// it became a member.
type Synced struct{}

// Held notes that the stream of a peer is left alone until the next second,
// because of what came by it.
type Held struct {
	Addr netip.AddrPort
	Key  membership.Key // as which it last spoke; zero: it has not
}

// New makes a Core, which signs what it says with key, for the named group.
func New(g *Group, log causal.Log, key ed25519.PrivateKey, group string) *Core {
	return &Core{
		group: g, log: log, self: g.self, signs: newSigner(key, group), mail: newDirect(g.self, group),
		spread: newSpread(log), cast: newCast(log, g.self), links: make(map[netip.AddrPort]*link), peers: make(map[membership.Key]*link),
		drops:   make(map[string]uint64),
		gate:    gate{sources: make(map[netip.AddrPort]*tally)},
		streams: gate{sources: make(map[netip.AddrPort]*tally)},
		refused: refusals{each: make(map[netip.AddrPort]tally), heard: make(map[string]int)},
	}
}

// Cast lets own blocks go to the group by multicast when the streams cannot keep
// up, if its members are on so many hosts; zero is never.
func (c *Core) Cast(hosts int) {
	if c.cast.log != nil {
		c.cast.least = hosts
	}
}

// Group is the node's group, to be read only.
func (c *Core) Group() *Group { return c.group }

// Log is the node's log, to be read only.
func (c *Core) Log() causal.Log { return c.log }

// Drops adds up, by reason, what was refused.
func (c *Core) Drops(sum map[string]uint64) {
	for reason, n := range c.drops {
		sum[reason] += n
	}
	for reason, n := range c.log.Stats().Refused {
		sum[reason] += n
	}
	m := c.group.Stats()
	for _, d := range []struct {
		reason string
		n      uint64
	}{{"malformed", m.Malformed}, {"counter", m.Counter}, {"stale", m.Stale}, {"limited", m.Limited},
		{"forged", c.mail.count.Forged}, {"replayed", c.mail.count.Replayed}, {"not_member", c.mail.count.Strange}} {
		if d.n > 0 {
			sum[d.reason] += d.n
		}
	}
}

// Step passes one input to the membership.
func (c *Core) Step(now time.Time, in membership.Input) {
	c.group.Step(now, in)
	c.settle(now)
}

// Append adds own messages to the history. They may wait for Flush.
func (c *Core) Append(now time.Time, data ...[]byte) (causal.MessageID, error) {
	c.appended++
	return c.log.Append(now, data...)
}

// Flush lets go what was appended.
func (c *Core) Flush(now time.Time) error {
	err := c.log.Flush(now)
	c.multicast(c.spread.flushed(now, c.appended, len(c.group.View().Members)))
	c.appended = 0
	c.cast.flushed(now)
	c.settle(now)
	return err
}

// SendTo queues a direct message to a member of the present view. What becomes
// of it is said by a DirectDone with the ticket. The error is a *DirectError, or
// ErrDirectFull if it must wait for those before it.
func (c *Core) SendTo(now time.Time, to membership.Key, data []byte) (ticket uint64, err error) {
	ticket, err = c.mail.send(now, to, data)
	c.settle(now)
	return ticket, err
}

// Abandon says that nobody waits for a direct message any more. It may still be
// sent.
func (c *Core) Abandon(ticket uint64) { c.mail.abandon(ticket) }

// TakeDirect removes the oldest direct message from those that arrived.
func (c *Core) TakeDirect(now time.Time) (m DirectMessage, ok bool) {
	m, ok = c.mail.take()
	c.settle(now)
	return m, ok
}

// CastStats are the counters of what went to the group in pieces.
func (c *Core) CastStats() CastStats { return c.cast.count }

// DirectStats are the counters of the direct messages.
func (c *Core) DirectStats() DirectStats {
	s := c.mail.count
	s.Unread = len(c.mail.inbox)
	for _, m := range c.mail.mails {
		s.Waiting += len(m.waiting) + len(m.flight)
	}
	return s
}

// Handle takes what the transport says. Writable is the driver's business.
func (c *Core) Handle(now time.Time, e transport.Event) {
	if c.over {
		return
	}
	switch e.Kind {
	case transport.Datagram, transport.Frame:
		if len(e.Frame) > 0 && e.Frame[0] >= transport.FirstSealed {
			c.unsealed(now, e)
			break
		}
		if e.Kind == transport.Datagram && c.gate.shut(now, e.Peer) {
			c.drops["limited"]++
			return
		}
		c.source, c.loose = e.Peer, e.Kind == transport.Datagram
		defer func() { c.source = netip.AddrPort{} }()
		f, idle, err := c.open(now, e)
		switch {
		case err != nil:
			c.fault(now, e)
			if errors.Is(err, errForged) {
				c.drops["forged"]++
			} else {
				c.drops["malformed"]++
			}
			return
		case idle:
			return
		}
		if f.header.From == c.self && f.body == nil {
			c.drops["own"]++ // membership wants to know of a second process with this key
			return
		}
		c.receive(now, e, f)
	case transport.Up:
		l := c.link(e.Peer)
		if l.up = true; l.key != (membership.Key{}) {
			c.linked(now, l.key, true)
		}
	case transport.Down:
		c.down(now, e)
	case transport.Stranger:
		if reason(e.Err) != "" && c.answers(now, e.Peer) {
			c.out.Refuse = append(c.out.Refuse, Refusal{To: e.Peer, Err: e.Err})
		}
	case transport.Rejected:
		c.rejected(now, e.Err)
	}
	c.settle(now)
}

// Hold is until when no more is to be taken from the stream of a peer, because
// what came by it lately was refused too often, or was too much; the zero time
// if there is no reason to wait. What the peer sends meanwhile waits with it.
func (c *Core) Hold(now time.Time, peer netip.AddrPort) time.Time { return c.streams.opens(now, peer) }

// fault notes a frame that was refused.
func (c *Core) fault(now time.Time, e transport.Event) {
	if e.Kind == transport.Frame {
		c.charge(now, e.Peer, faultCost)
	} else {
		c.gate.charge(now, e.Peer, faultCost)
	}
}

// charge notes work that the peer of a stream caused.
func (c *Core) charge(now time.Time, peer netip.AddrPort, cost int) {
	if !c.streams.charge(now, peer, cost) {
		return
	}
	note := Held{Addr: peer}
	if l := c.links[peer]; l != nil {
		note.Key = l.key
	}
	c.out.Notes = append(c.out.Notes, note)
}

// open decodes a frame, and checks who sent it. It checks no signature of a
// frame that would change nothing: many nodes that look for a group at one
// instant would otherwise keep each other busy with nothing else.
func (c *Core) open(now time.Time, e transport.Event) (f frame, idle bool, err error) {
	if len(e.Frame) > 0 && !signed(e.Frame[0]) && travels(e.Frame[0], e.Kind) {
		f, err = decode(e.Frame)
		if err == nil && e.Key != nil && keyOf(e.Key) != f.header.From {
			err = errForged // another member than it says
		}
		return f, false, err
	}
	b, err := cut(e.Frame)
	if err != nil {
		return f, false, err
	}
	if f, err = decode(b); err != nil {
		return f, false, err
	}
	if f.body != nil && f.body.Kind() == membership.KindJoin && c.group.Follows(now) {
		// Only a coordinator answers it. To the others it says something if it
		// is their coordinator that lost its state, or somebody with their key.
		if from := f.header.From; from != c.group.View().ID.Epoch.Leader && from != c.self {
			return f, true, nil
		}
	}
	if err = c.signs.verify(e.Frame, f.header.From); err == nil && e.Kind == transport.Frame {
		c.charge(now, e.Peer, checkCost)
	}
	return f, false, err
}

func (c *Core) receive(now time.Time, e transport.Event, f frame) {
	switch {
	case f.body != nil:
		if f.body.Kind() == membership.KindHeartbeat {
			c.out.Notes = append(c.out.Notes, Beat{From: f.header.From, View: f.header.View})
		}
		c.group.Step(now, membership.Receive{From: e.Peer, Packet: membership.Packet{Header: f.header, Body: f.body}})
		if f.beat != nil {
			c.log.Step(now, f.header.From, f.beat)
		}
	case f.election != nil:
		c.group.StepElection(now, e.Peer, f.header, *f.election)
	case f.cast != nil:
		c.receiveCast(now, e, f)
	case f.log != nil && f.log.Kind() == causal.KindFresh:
		if l := c.from(e, f); l != nil {
			c.log.Step(now, l.key, f.log)
			c.unicast(l, c.spread.took(now, l.key))
		}
	case f.log != nil && e.Kind == transport.Datagram:
		if l := c.from(e, f); l != nil {
			c.unicast(l, c.spread.wanted(now, f.log.(*causal.Want)))
		}
	default:
		if e.Kind != transport.Frame {
			c.drops["not_by_stream"]++
			return
		}
		c.identify(now, c.link(e.Peer), f.header.From)
		c.group.Step(now, membership.Heard{Key: f.header.From, Inc: f.header.Inc})
		if f.direct != nil {
			forged := c.mail.count.Forged
			c.mail.step(now, f.header.From, f.header.Inc, f.direct)
			if c.mail.count.Forged > forged {
				c.charge(now, e.Peer, faultCost)
			}
		} else {
			c.log.Step(now, f.header.From, f.log)
		}
	}
}

// Tick makes the node notice the time.
func (c *Core) Tick(now time.Time) {
	if c.believe(now); c.over {
		return
	}
	c.group.Tick(now)
	c.log.Tick(now)
	c.mail.tick(now)
	c.multicast(c.spread.tick(now))
	c.cast.tick(now)
	if !c.dial.IsZero() && !now.Before(c.dial) {
		c.redial(now)
	}
	if !c.syncing.IsZero() && !now.Before(c.syncing) {
		c.synced()
	}
	c.settle(now)
}

// Deadline is when Tick is due next; the zero time means never.
func (c *Core) Deadline() time.Time {
	if c.over {
		return time.Time{}
	}
	due := earlier(earlier(c.group.Deadline(), c.log.Deadline()), earlier(c.mail.deadline(), c.spread.deadline()))
	return earlier(earlier(earlier(due, c.cast.deadline()), c.refused.due), earlier(c.dial, c.syncing))
}

// Ready returns what has accumulated since the last call, and forgets it.
func (c *Core) Ready() Ready {
	r := c.out
	c.out = Ready{}
	return r
}

// settle carries what the group and the log have to say to each other and to
// the network.
func (c *Core) settle(now time.Time) {
	g := c.group.Ready()
	for _, note := range g.Notes {
		if in, ok := note.(membership.Installed); ok {
			c.installed(now, in)
		}
		c.out.Notes = append(c.out.Notes, note)
	}
	for _, s := range g.Send {
		c.send(now, s)
	}
	c.out.Left = c.out.Left || g.Left
	if g.Err != nil {
		c.out.Err = g.Err
	}

	c.sendCast()
	// SendBeat is left alone: what a Beat to the group would say is in the Acks
	// on every stream, which are not lost and cost nobody a signature.
	r := c.log.Ready()
	switch {
	case r.Faults == 0 || !c.source.IsValid():
	case c.loose:
		c.gate.charge(now, c.source, r.Faults*faultCost)
	default:
		c.charge(now, c.source, r.Faults*faultCost)
	}
	for _, k := range r.Peers {
		if l := c.peers[k]; l != nil {
			c.pump(l)
		}
	}
	if r.Synced && !c.syncing.IsZero() {
		c.synced()
	}
	c.merge(r)

	m := c.mail.ready()
	for _, k := range m.peers {
		if l := c.peers[k]; l != nil {
			c.pump(l)
		}
	}
	for _, done := range m.done {
		c.out.Notes = append(c.out.Notes, done)
	}
	c.out.Direct = c.out.Direct || m.came
}

// merge adds what the log said to what the driver has not taken yet.
func (c *Core) merge(r causal.Ready) {
	o := &c.out.Log
	o.Delivered = o.Delivered || r.Delivered
	if r.Inserted > 0 {
		if o.Inserted == 0 || r.InsertedAt < o.InsertedAt {
			o.InsertedAt = r.InsertedAt
		}
		o.Inserted += r.Inserted
	}
	o.Digest = o.Digest || r.Digest
	o.Gap = o.Gap || r.Gap
	o.Rebased = o.Rebased || r.Rebased
	o.Displaced = append(o.Displaced, r.Displaced...)
	o.Forgotten += r.Forgotten
	o.Stable = append(o.Stable, r.Stable...)
	o.Forks = append(o.Forks, r.Forks...)
	if r.Err != nil {
		o.Err = r.Err
	}
}

func (c *Core) synced() {
	c.syncing = time.Time{}
	c.out.Notes = append(c.out.Notes, Synced{})
}

func (c *Core) send(now time.Time, s GroupSend) {
	if l := c.links[s.To]; s.Routine && l != nil && l.up && len(l.control) == 0 {
		// On a stream what this node holds is a sign of life, too, and costs
		// neither end a signature. It does not get lost, so that every second
		// one is enough.
		if l.rest = !l.rest; l.rest {
			return
		}
		l.control = append(l.control, encodeLog(c.sender(), c.log.Beat(now)))
		c.pump(l)
		return
	}
	var f []byte
	if s.Election != nil {
		f = encodeElection(s.Header, *s.Election)
	} else {
		var beat *causal.Beat
		switch s.Body.Kind() {
		case membership.KindHeartbeat:
			beat = c.log.Beat(now)
			c.out.Notes = append(c.out.Notes, Beat{From: c.self, View: s.Header.View, Sent: true})
		case membership.KindKeepAlive:
			beat = c.log.Beat(now)
		}
		f = encodeMembership(s.Header, s.Body, beat)
	}
	f = c.signs.sign(f)
	switch {
	case !s.Group && (s.Reliable || len(f) > transport.MaxDatagram):
		l := c.link(s.To)
		if len(l.control) == maxControl {
			c.drops["control_overflow"]++
			l.control = l.control[1:]
		}
		l.control = append(l.control, f)
		c.pump(l)
	case len(f) > transport.MaxDatagram:
		c.drops["oversize"]++ // membership keeps what it multicasts small
	default:
		c.out.Out = append(c.out.Out, Out{Group: s.Group, To: s.To, Frame: f})
		if l := c.links[s.To]; verifies(s.Body) && l != nil && l.up && len(l.control) == 0 {
			l.control = append(l.control, f)
			c.pump(l)
		}
	}
}

// verifies reports whether a message asks whether a member is well, or answers
// that. It goes by the stream, too, if there is one: whoever forges a member's
// address can make its datagrams be taken for a flood, but not break into a
// stream.
func verifies(b membership.Body) bool {
	switch b.(type) {
	case membership.Suspect, membership.Alive, membership.Probe, membership.ProbeAck:
		return true
	}
	return false
}

// installed makes the links follow the view.
func (c *Core) installed(now time.Time, in membership.Installed) {
	v := in.View
	members := make([]membership.Key, 0, len(v.Members))
	for _, m := range v.Members {
		members = append(members, m.Key)
	}
	for _, l := range c.links {
		l.member = false
	}
	// Of two members the one that came later dials at once, so that they do not
	// dial each other; the other does when that has not worked for a while.
	due := now
	for _, m := range v.Members {
		if m.Key == c.self {
			due = now.Add(redial)
			continue
		}
		l := c.link(m.Addr)
		c.identify(now, l, m.Key)
		if l.member = true; !slices.ContainsFunc(in.Prev.Members, func(p membership.Member) bool { return p.Key == m.Key && p.Addr == m.Addr }) {
			l.due = due
		}
	}
	for _, l := range c.links {
		if !l.member && len(l.control) == 0 && slices.ContainsFunc(in.Prev.Members, func(m membership.Member) bool { return m.Addr == l.addr }) {
			c.drop(now, l)
			c.out.Hangup = append(c.out.Hangup, l.addr)
		}
	}
	c.log.SetPeers(now, members)
	c.cast.view(v)
	c.mail.view(now, v, in.Left, func(k membership.Key) bool { l := c.peers[k]; return l != nil && l.up })
	if in.Prev.Members == nil {
		c.syncing = now
		if len(members) > 1 {
			c.syncing = now.Add(syncPatience)
		}
	}
	c.redial(now)
}

func (c *Core) sender() sender {
	h := c.group.Header()
	return sender{From: h.From, Inc: h.Inc}
}

// from is the member that a datagram of a log came from, as far as its address
// and what it says tell. Nothing in it is signed but blocks, by their authors.
func (c *Core) from(e transport.Event, f frame) *link {
	if l := c.peers[f.header.From]; l != nil && l.member && l.addr == e.Peer {
		return l
	}
	return nil
}

// unicast sends a datagram of a log to a member, if there is one.
func (c *Core) unicast(l *link, m causal.Protocol) {
	if m != nil {
		c.out.Out = append(c.out.Out, Out{To: l.addr, Frame: encodeLog(c.sender(), m)})
	}
}

// sendCast passes on what the cast has to say.
func (c *Core) sendCast() {
	for _, o := range c.cast.out {
		f, l := encodeCast(c.sender(), o.body), c.peers[o.to]
		switch {
		case o.group:
			c.out.Out = append(c.out.Out, Out{Group: true, Frame: f})
		case l != nil:
			c.out.Out = append(c.out.Out, Out{To: l.addr, Frame: f})
		}
	}
	c.cast.out = nil
}

// receiveCast takes a message of a cast. Nothing in it is signed but the blocks
// that the pieces make.
func (c *Core) receiveCast(now time.Time, e transport.Event, f frame) {
	l := c.from(e, f)
	if l == nil {
		return
	}
	switch m := f.cast.(type) {
	case *missing:
		c.cast.heard(now, l.key, m)
	case *piece:
		if m.Size == 0 {
			c.cast.asks(now, l.key)
		} else if block := c.cast.take(now, l.key, m); block != nil {
			c.cast.log.Apart(now, l.key, block)
		}
	}
}

// multicast sends own blocks to the group, if there are any.
func (c *Core) multicast(m *causal.Fresh) {
	if m != nil {
		c.out.Out = append(c.out.Out, Out{Group: true, Frame: encodeLog(c.sender(), m)})
	}
}
