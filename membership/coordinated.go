package membership

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Config configures a Coordinated.
type Config struct {
	// Self is this node: Key, Inc, Addr and Name. The ID is ignored; the
	// coordinator assigns it.
	Self Member
	// Timing is the profile; the zero value means Default.
	Timing Timing
	// Rand is the only source of randomness. Nil means a fixed seed.
	Rand *rand.Rand
	// Seniority ranks the longest-serving member highest, as JGroups does,
	// instead of the one with the highest ID.
	Seniority bool
	// Detector says how long a peer may be silent; nil means NewFixed.
	Detector NewDetector
}

// state is what a Coordinated is at present; see the package doc for the
// transitions between the states.
type state uint8

const (
	idle      state = iota // before Start
	joining                // looks for a group, or for its way back into one
	following              // a member
	leading                // the coordinator
	stopped                // for good
)

func (s state) String() string {
	return [...]string{"idle", "joining", "following", "leading", "stopped"}[s]
}

// timer names what happens when its time has come.
type timer uint8

const (
	timerJoin      timer = iota // repeat JOIN
	timerFound                  // nobody answered: found a group
	timerAdmit                  // joiners and leavers were collected: make the view
	timerBeat                   // heartbeat
	timerBurst                  // additional heartbeats of a new coordinator
	timerEcho                   // repeat the change that led to the view
	timerMembers                // look for silent members
	timerKeepAlive              // keep-alive
	timerSilence                // the coordinator may be silent
	timerSuspect                // repeat SUSPECT
	timerElect                  // verification may be over
	timerRepair                 // repeat VIEW_REQ
	timerYield                  // repeat MERGE_REQ
	timerMerge                  // yielding groups were collected: make the view
	timerRename                 // repeat JOIN with changed data
	timerDepart                 // repeat LEAVE or HANDOVER
	timerCall                   // repeat CALL
	timerCallEnd                // an election by CALL took too long
	numTimers
)

// Coordinated is the Membership in which one member, the coordinator, makes
// all views. Make one with NewCoordinated.
type Coordinated struct {
	t         Timing
	rng       *rand.Rand
	seniority bool
	detector  NewDetector

	now   time.Time
	due   [numTimers]time.Time // zero: not set
	woke  time.Time            // when it last noticed that it had stood still
	out   Ready
	stats Stats

	state state
	self  Member // its ID is that of the view
	max   uint64 // the highest counter ever seen

	// view is the view installed last, which no later one is below, and index
	// where each member is in it. history holds the last views, this included.
	view      View
	hash      [8]byte
	index     map[Key]int
	history   []past
	installed time.Time // when view was
	peers     map[Key]*peer
	tombs     map[Key]tomb
	rtt       rtt // over all peers

	join    joinState
	lead    leadState
	watch   watchState // of the coordinator, by a follower
	round   *roundState
	repair  repairState
	yield   *yieldState
	merging map[Key]pendingMerge
	rename  int // tries so far
	depart  *departState
	relays  relayState
	teller  Key // who sent the last view that could be adopted
}

// peer is what a node knows of another member of its view.
type peer struct {
	rtt      rtt
	seen     time.Time // its last sign of life
	detector Detector
	verify   *verification // the coordinator is verifying it
	deaf     bool          // it does not hear the group address
	repaired time.Time     // when it was last sent a view
	queried  time.Time     // when it was last asked for one
	since    uint64        // number of the last heartbeat before it was a member
}

// past is a view installed before.
type past struct {
	view  View
	cause ViewCause
}

// tomb remembers a departed member.
type tomb struct {
	inc    uint64
	reason Reason
	at     time.Time
}

const tombLife = time.Minute

var _ Membership = (*Coordinated)(nil)

// NewCoordinated makes a machine that does nothing until Start. The error
// joins all faults of the configuration and wraps ErrConfig.
func NewCoordinated(cfg Config) (*Coordinated, error) {
	if cfg.Timing == (Timing{}) {
		cfg.Timing = Default()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- a run without randomness is one that can be replayed
	}
	if cfg.Detector == nil {
		cfg.Detector = NewFixed
	}
	var errs []error
	if cfg.Self.Key == (Key{}) {
		errs = append(errs, fmt.Errorf("%w: Self.Key is zero", ErrConfig))
	}
	if cfg.Self.Inc >= maxCtr {
		errs = append(errs, fmt.Errorf("%w: Self.Inc is %d, out of range", ErrConfig, cfg.Self.Inc))
	}
	if len(cfg.Self.Name) > MaxName {
		errs = append(errs, fmt.Errorf("%w: Self.Name has %d bytes, more than %d", ErrConfig, len(cfg.Self.Name), MaxName))
	}
	if err := cfg.Timing.Validate(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	cfg.Self.ID = 0
	return &Coordinated{
		t: cfg.Timing, rng: cfg.Rand, seniority: cfg.Seniority, detector: cfg.Detector,
		self: cfg.Self, peers: map[Key]*peer{}, tombs: map[Key]tomb{}, merging: map[Key]pendingMerge{},
	}, nil
}

// Step implements Membership.
func (c *Coordinated) Step(now time.Time, in Input) {
	before := c.now
	c.advance(now)
	if c.state == stopped {
		return
	}
	if c.now.Sub(before) > wakeBeats*c.t.H {
		c.checkLate() // before what came meanwhile sets the timers anew
	}
	switch in := in.(type) {
	case Start:
		if c.state == idle {
			c.search(c.t.JoinWin)
		}
	case Receive:
		c.receive(in.From, in.Packet)
	case Heard:
		c.heardFrom(in.Key, in.Inc)
	case Campaign:
		c.campaign(in)
	case Down:
		c.down(in)
	case Refused:
		c.refused(in.Wait)
	case Slept:
		c.wake(in.For)
	case Won:
		c.won(in.Base)
	case Elect:
		c.call()
	case Rename:
		c.changeSelf(in.Name, c.self.Addr)
	case Move:
		c.changeSelf(c.self.Name, in.Addr)
	case Depart:
		c.leave(in.Limit)
	}
}

// Tick implements Membership.
func (c *Coordinated) Tick(now time.Time) {
	c.advance(now)
	c.checkLate()
	for t := range numTimers {
		due := c.due[t]
		if due.IsZero() || c.now.Before(due) {
			continue
		}
		c.due[t] = time.Time{}
		if c.state != stopped {
			c.fire(t, c.now.Sub(due))
		}
	}
}

// checkLate finds out, by timers that are late, that this process stood still.
func (c *Coordinated) checkLate() {
	var late time.Duration
	for _, due := range c.due {
		if due.IsZero() {
			continue
		}
		if due.Before(c.woke) {
			due = c.woke
		}
		late = max(late, c.now.Sub(due))
	}
	if late > wakeBeats*c.t.H {
		c.wake(late)
	}
}

// wakeBeats is how many heartbeats late a timer is of a process that slept.
const wakeBeats = 3

// wake looks after the group at once: an answer to a keep-alive says whether it
// went on without this node.
func (c *Coordinated) wake(after time.Duration) {
	if c.state == idle || c.state == stopped {
		return
	}
	c.woke = c.now
	c.event(Woke{After: after})
	switch c.state {
	case following:
		c.set(timerKeepAlive, 1)
	case leading:
		c.set(timerBeat, 1)
		c.lead.unsure, c.lead.slept = c.now.Add(c.t.TElect), c.lead.seq
	}
}

func (c *Coordinated) fire(t timer, late time.Duration) {
	switch t {
	case timerJoin:
		c.sendJoin()
	case timerFound:
		c.foundGroup(late)
	case timerAdmit:
		c.admit()
	case timerBeat:
		c.beat()
	case timerBurst:
		c.burst()
	case timerEcho:
		c.echo()
	case timerMembers:
		c.checkMembers(late)
	case timerKeepAlive:
		c.keepAlive()
	case timerSilence:
		c.checkSilence()
	case timerSuspect:
		c.sendSuspect()
	case timerElect:
		c.verified(late)
	case timerRepair:
		c.repeatRepair()
	case timerYield:
		c.repeatYield()
	case timerMerge:
		c.mergeGroups()
	case timerRename:
		c.repeatRename()
	case timerDepart:
		c.repeatDepart()
	case timerCall:
		c.repeatCall()
	case timerCallEnd:
		c.endCall()
	}
}

// Deadline implements Membership.
func (c *Coordinated) Deadline() time.Time {
	var first time.Time
	for _, due := range c.due {
		if !due.IsZero() && (first.IsZero() || due.Before(first)) {
			first = due
		}
	}
	return first
}

// Ready implements Membership.
func (c *Coordinated) Ready() Ready {
	r := c.out
	c.out = Ready{}
	return r
}

// View implements Membership.
func (c *Coordinated) View() View { return c.view }

// Header implements Membership.
func (c *Coordinated) Header() Header {
	return Header{From: c.self.Key, Inc: c.self.Inc, View: c.view.ID}
}

// Inc is this node's incarnation. It can differ from the configured one after
// Ready.Inc said so.
func (c *Coordinated) Inc() uint64 { return c.self.Inc }

// RTO is the present estimate, over all peers, of the time after which an
// answer is overdue.
func (c *Coordinated) RTO() time.Duration { return c.rtt.rto(&c.t) }

// measured takes one round trip to a node, which need not be a member.
func (c *Coordinated) measured(k Key, d time.Duration) {
	c.rtt.sample(d)
	if p := c.peers[k]; p != nil {
		p.rtt.sample(d)
	}
}

// rto is after which time an answer of one node is overdue.
func (c *Coordinated) rto(k Key) time.Duration {
	if p := c.peers[k]; p != nil && p.rtt.smooth != 0 {
		return p.rtt.rto(&c.t)
	}
	return c.RTO()
}

// Live implements Membership.
func (c *Coordinated) Live(now time.Time, base ViewID) bool {
	c.advance(now)
	if c.round != nil && c.round.call || base.Epoch != c.view.ID.Epoch {
		return false
	}
	switch c.state {
	case leading:
		return true
	case following:
		return !c.watch.proven && !c.watch.doubted && c.silence() < c.watch.patience()
	}
	return false
}

func (c *Coordinated) advance(now time.Time) {
	if now.After(c.now) {
		c.now = now
	}
}

// set arms a timer after d, which must be positive so that time goes on.
func (c *Coordinated) set(t timer, d time.Duration) {
	c.due[t] = c.now.Add(max(d, 1))
}

func (c *Coordinated) clear(ts ...timer) {
	for _, t := range ts {
		c.due[t] = time.Time{}
	}
}

// jitter is a random time up to d.
func (c *Coordinated) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(c.rng.Int64N(int64(d)))
}

func (c *Coordinated) event(e Event) { c.out.Events = append(c.out.Events, e) }

// toGroup, to and stream send a body to all, in a datagram, or reliably.
func (c *Coordinated) toGroup(b Body) {
	c.out.Send = append(c.out.Send, Send{Group: true, Packet: Packet{Header: c.Header(), Body: b}})
}

func (c *Coordinated) to(addr netip.AddrPort, b Body) { c.send(addr, false, c.Header(), b) }

func (c *Coordinated) stream(addr netip.AddrPort, b Body) { c.send(addr, true, c.Header(), b) }

func (c *Coordinated) send(addr netip.AddrPort, reliable bool, h Header, b Body) {
	if addr.IsValid() {
		c.out.Send = append(c.out.Send, Send{To: addr, Reliable: reliable, Packet: Packet{Header: h, Body: b}})
	}
}

// lists reports whether the present view lists this incarnation.
func (c *Coordinated) lists(k Key, inc uint64) bool {
	m, ok := c.member(k)
	return ok && m.Inc == inc
}

func (c *Coordinated) member(k Key) (Member, bool) {
	i, ok := c.index[k]
	if !ok {
		return Member{}, false
	}
	return c.view.Members[i], true
}

func (c *Coordinated) coordinator() Member {
	m, _ := c.member(c.view.ID.Epoch.Leader)
	return m
}

// isWitness reports whether this node vouches for the member with key k.
func (c *Coordinated) isWitness(k Key) bool {
	for _, w := range successors(c.view, k, c.t.Witnesses) {
		if w.Key == c.self.Key {
			return true
		}
	}
	return false
}

// fail stops the machine.
func (c *Coordinated) fail(err error) {
	c.stop()
	c.out.Err = err
}

func (c *Coordinated) stop() {
	c.cancelRound()
	c.state = stopped
	c.due = [numTimers]time.Time{}
}

// nextCtr is the counter of a new epoch.
func (c *Coordinated) nextCtr() uint64 { return max(c.max, c.view.ID.Epoch.Ctr) + 1 }

// learn raises the highest counter seen. It reports whether the counter is
// believable: a single message cannot drive counters to their end.
func (c *Coordinated) learn(ctr uint64) bool {
	if ctr >= maxCtr || ctr > c.max && ctr-c.max > maxJump {
		c.stats.Counter++
		return false
	}
	c.max = max(c.max, ctr)
	return true
}

// install makes v the view of this node. left says why members are gone, as
// far as that is known.
func (c *Coordinated) install(v View, cause ViewCause, left []Departure) {
	prev := c.view
	was := c.state
	c.cancelRound()
	c.learn(v.ID.Epoch.Ctr)

	ev := Installed{View: v, Prev: prev, Cause: cause}
	known := make(map[Departure]Reason, len(left))
	for _, d := range left {
		known[Departure{Key: d.Key, Inc: d.Inc}] = d.Reason
	}
	joined, gone := difference(prev, v)
	for _, m := range joined {
		if old, ok := c.member(m.Key); !ok || old.Inc != m.Inc {
			ev.Joined = append(ev.Joined, m)
		}
	}
	for _, d := range gone {
		if r, ok := known[Departure{Key: d.Key, Inc: d.Inc}]; ok && (r == ReasonLeft || r == ReasonFailed) {
			d.Reason = r
		}
		ev.Left = append(ev.Left, d)
		c.bury(d)
	}
	changed := prev.ID.Epoch.Leader != v.ID.Epoch.Leader || prev.ID.Epoch.Inc != v.ID.Epoch.Inc
	if changed && prev.Members != nil && was != leading {
		ev.Gap = c.silence()
		if w := c.watch; (w.proven || w.doubted) && w.lost.After(w.heard) {
			ev.Gap = c.now.Sub(w.lost)
		}
	}

	c.view, c.hash, c.installed = v, hash(v), c.now
	c.history = append(c.history, past{view: v, cause: cause})
	if len(c.history) > 12 {
		c.history = append(c.history[:0], c.history[1:]...)
	}
	index := make(map[Key]int, len(v.Members))
	for i, m := range v.Members {
		index[m.Key] = i
		if p := c.peers[m.Key]; p == nil {
			c.peers[m.Key] = &peer{}
		} else if j, ok := c.index[m.Key]; ok && prev.Members[j].Inc != m.Inc {
			*p = peer{}
		}
	}
	c.index = index
	for k := range c.peers {
		if _, ok := c.index[k]; !ok {
			delete(c.peers, k)
		}
	}
	me, _ := c.member(c.self.Key)
	c.self.ID = me.ID

	c.event(ev)
	c.clear(timerJoin, timerFound, timerRepair, timerSuspect, timerElect, timerCall, timerCallEnd)
	c.repair = repairState{}
	if v.ID.Epoch.Leader == c.self.Key {
		c.enterLead(was, cause)
	} else {
		c.enterFollow(was, prev, changed, v, cause)
	}
	c.checkSelf()
}

// bury remembers a departed member for a while.
func (c *Coordinated) bury(d Departure) {
	if len(c.tombs) >= 1024 {
		for k, t := range c.tombs {
			if c.now.Sub(t.at) > tombLife {
				delete(c.tombs, k)
			}
		}
		if len(c.tombs) >= 4*MaxMembers {
			return
		}
	}
	if t, ok := c.tombs[d.Key]; !ok || d.Inc >= t.inc {
		c.tombs[d.Key] = tomb{inc: d.Inc, reason: d.Reason, at: c.now}
	}
}

// saidGoodbye is the incarnation of k that left for good, or zero.
func (c *Coordinated) saidGoodbye(k Key) uint64 {
	if t, ok := c.tombs[k]; ok && t.reason == ReasonLeft && c.now.Sub(t.at) <= tombLife {
		return t.inc
	}
	return 0
}
