package electiontest

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/seed-885536be/p2p/election"
)

// Config describes a Network.
type Config struct {
	New election.New
	// Members is how many candidates there are. They are numbered 1 to
	// Members, and a greater number is a higher rank. The coordinator that
	// is gone was number Members+1.
	Members int
	Seed    uint64
	Timing  election.Timing
	// MinDelay and MaxDelay bound the delay of a packet; 1 ms each if both are
	// zero.
	MinDelay, MaxDelay time.Duration
	// Loss and Duplicate are the probabilities that a receiver does not get a
	// packet, or gets it twice.
	Loss, Duplicate float64
	// Detect is the time after which members find that their coordinator
	// crashed; 10 RTO if zero. Each adds a random part of one RTO to it.
	Detect time.Duration
	// Trace, if not nil, is told each event in one line.
	Trace func(line string)
}

// Network is a group of electors in virtual time, with callers that do for
// them what a membership protocol would: the winner announces a view, the
// others adopt the highest view they hear of, and a member whose coordinator
// crashes begins an election. A run is a function of its Config and of the
// calls made; nothing depends on the clock.
type Network struct {
	// Sent counts the messages of the electors by kind; one to the group
	// counts once.
	Sent map[election.Kind]int
	// Wins lists every verdict, in order.
	Wins []Win
	// Faults lists what no Elector may do: win without a round, stay overdue
	// after Tick, send to somebody who is no candidate.
	Faults []string
	// OnWin, if not nil, is called at each verdict, before the announcement.
	OnWin func(Win)

	config  Config
	rand    *rand.Rand
	now     time.Duration
	queue   queue
	seq     uint64
	members []*member // by number-1
	cut     map[[2]int]bool
}

// Win is one verdict.
type Win struct {
	Member int
	Term   uint64 // counter of the epoch that the winner opens
	At     time.Duration
}

// start is the instant 0 of virtual time. It is not the zero time, which means
// "never" where an Elector names a deadline.
var start = time.Unix(0, 0)

// view is what the callers agree on.
type view struct {
	base   election.Base
	leader int
	others []int // the members without the leader, the highest first
}

func (v *view) less(o *view) bool {
	return cmp.Or(cmp.Compare(v.base.Ctr, o.base.Ctr), cmp.Compare(v.leader, o.leader)) < 0
}

type member struct {
	id      int
	elector election.Elector
	view    *view
	alive   bool
	begun   bool // a round was begun and not yet decided
	hears   bool // it hears the coordinator of its view, who is gone for others
	proof   bool // it knows for certain that the coordinator of its view is gone
	away    bool // it belongs to another group
	wake    time.Duration
}

// NewNetwork returns a network whose coordinator is gone, and of whose members
// none has noticed yet.
func NewNetwork(c Config) *Network {
	if c.MinDelay == 0 && c.MaxDelay == 0 {
		c.MinDelay, c.MaxDelay = time.Millisecond, time.Millisecond
	}
	c.Timing = c.Timing.WithDefaults()
	if c.Detect == 0 {
		c.Detect = 10 * c.Timing.RTO
	}
	n := &Network{
		Sent:   make(map[election.Kind]int),
		config: c,
		rand:   rand.New(rand.NewPCG(c.Seed, 1)),
		cut:    make(map[[2]int]bool),
	}
	v := &view{base: election.Base{Ctr: 1, Leader: Key(c.Members + 1), Inc: 1}, leader: c.Members + 1}
	for id := c.Members; id > 0; id-- {
		v.others = append(v.others, id)
	}
	for id := 1; id <= c.Members; id++ {
		n.members = append(n.members, &member{
			id: id, view: v, alive: true,
			elector: c.New(election.Config{Timing: c.Timing, Rand: rand.New(rand.NewPCG(c.Seed, uint64(id)+1))}),
		})
	}
	return n
}

// Key is the key of the member with the given number.
func Key(id int) (k election.Key) {
	binary.BigEndian.PutUint64(k[8:], uint64(id))
	return k
}

// id is the number of the member with the given key; keys that Key did not
// make have none.
func id(k election.Key) int {
	if binary.BigEndian.Uint64(k[:8]) != 0 {
		return 0
	}
	return int(binary.BigEndian.Uint64(k[8:]))
}

// Now is the present instant.
func (n *Network) Now() time.Duration { return n.now }

// Verify makes a member find, now, that its coordinator is gone, as it would by
// its own evidence. It may be wrong about that, but not if it is the
// coordinator.
func (n *Network) Verify(id int) {
	if m := n.members[id-1]; m.alive && m.view.leader != id {
		m.hears = false
		n.begin(m, false)
	}
}

// Prove is Verify by proof, such as a host that answers that no process listens
// any more. Nobody who still hears the coordinator can contradict it.
func (n *Network) Prove(id int) {
	n.members[id-1].proof = true
	n.Verify(id)
}

// VerifyAll makes each member find that the coordinator is gone, at a random
// instant within the given time, unless it knows of another by then.
func (n *Network) VerifyAll(within time.Duration) {
	for _, m := range n.members {
		n.detect(m, n.jitter(within))
	}
}

// Hears sets whether a member hears the coordinator of its view, who is gone in
// the eyes of others. Such a member says so to those who stand for election.
func (n *Network) Hears(id int, hears bool) { n.members[id-1].hears = hears }

// Away makes a member one that has gone over to another group, whose
// coordinator it hears.
func (n *Network) Away(id int) {
	m := n.members[id-1]
	n.cancel(m)
	m.away, m.hears = true, true
	m.view = &view{base: election.Base{Ctr: 1000, Leader: Key(len(n.members) + 2), Inc: 1}, leader: len(n.members) + 2}
}

// Crash ends a member for good.
func (n *Network) Crash(id int) {
	n.trace("%d crashes", id)
	n.members[id-1].alive = false
	for _, m := range n.members {
		if m.view.leader == id {
			m.hears = false
			n.detect(m, n.config.Detect+n.jitter(n.config.Timing.RTO))
		}
	}
}

// Cut breaks the link from one member to another, in that direction only, or
// repairs it.
func (n *Network) Cut(from, to int, broken bool) {
	if broken {
		n.cut[[2]int{from, to}] = true
	} else {
		delete(n.cut, [2]int{from, to})
	}
}

// Inject hands a message to a member's elector as if its sender had sent it,
// without what a caller would do first.
func (n *Network) Inject(id int, msg election.Message) {
	if m := n.members[id-1]; m.alive {
		m.elector.Step(n.time(), msg, m.hears)
		n.drain(m)
	}
}

// Run runs for the given time.
func (n *Network) Run(d time.Duration) {
	end := n.now + d
	for len(n.queue) > 0 && n.queue[0].at <= end {
		n.step()
	}
	n.now = end
}

// Settle runs until all members that are alive follow one that is alive and no
// round runs. It returns its number, or 0 if that has not come about within the
// given time.
func (n *Network) Settle(within time.Duration) int {
	for end := n.now + within; ; n.step() {
		if leader := n.Leader(); leader != 0 {
			return leader
		}
		if len(n.queue) == 0 || n.queue[0].at > end {
			return 0
		}
	}
}

// Leader is the member that all members that are alive and not away follow, or
// 0 if they differ, or if it is not alive, or if a round runs.
func (n *Network) Leader() int {
	leader := 0
	for _, m := range n.members {
		switch {
		case !m.alive, m.away:
		case m.begun || leader != 0 && m.view.leader != leader:
			return 0
		default:
			leader = m.view.leader
		}
	}
	if leader == 0 || leader > len(n.members) || !n.members[leader-1].alive {
		return 0
	}
	return leader
}

// Messages is how many messages the electors have sent in all, and one for each
// winner's announcement.
func (n *Network) Messages() int {
	sum := len(n.Wins)
	for _, c := range n.Sent {
		sum += c
	}
	return sum
}

// String lists the messages sent, by kind.
func (n *Network) String() string {
	var b strings.Builder
	for k := election.KindElection; k <= election.KindRingProbeOK; k++ {
		if c := n.Sent[k]; c > 0 {
			fmt.Fprintf(&b, "%v %d, ", k, c)
		}
	}
	fmt.Fprintf(&b, "announcements %d", len(n.Wins))
	return b.String()
}

func (n *Network) begin(m *member, invited bool) {
	r := election.Round{Base: m.view.base, Self: Key(m.id), Invited: invited}
	for _, id := range m.view.others {
		r.Candidates = append(r.Candidates, election.Candidate{Key: Key(id), Inc: 1})
	}
	if !m.begun && !invited {
		n.trace("%d finds %d gone", m.id, m.view.leader)
	}
	m.begun = true
	m.elector.Begin(n.time(), r)
	n.drain(m)
}

// receive is what a caller does with an elector's message.
func (n *Network) receive(m *member, msg election.Message) {
	from := id(msg.From)
	if msg.Base != m.view.base {
		if msg.Base.Ctr <= m.view.base.Ctr && msg.Candidacy() {
			n.post(m.id, from, m.view)
			if c := id(msg.Candidate()); c != from {
				n.post(m.id, c, m.view)
			}
		}
	} else if msg.Candidacy() {
		if m.live(msg.Base) {
			n.vouch(m, id(msg.Candidate()))
		} else if !m.begun {
			n.begin(m, true)
		}
	}
	m.elector.Step(n.time(), msg, m.live(msg.Base))
	n.drain(m)
}

// live reports whether the member hears, or is, the coordinator of its view, and
// that is the view meant.
func (m *member) live(b election.Base) bool {
	return b == m.view.base && (m.hears || m.view.leader == m.id)
}

// vouch tells a candidate that the coordinator is alive.
func (n *Network) vouch(from *member, to int) {
	n.trace("%d→%d ALIVE", from.id, to)
	base := from.view.base
	n.deliver(from.id, to, func(m *member) {
		if m.view.base == base && !m.proof {
			n.cancel(m)
		}
	})
}

// post sends a view from one caller to another.
func (n *Network) post(from, to int, v *view) {
	n.deliver(from, to, func(m *member) { n.install(m, v) })
}

// install takes a view. The present view once more is its coordinator's
// heartbeat.
func (n *Network) install(m *member, v *view) {
	if v != m.view && (!m.view.less(v) || !slices.Contains(v.others, m.id)) {
		return
	}
	if v != m.view {
		n.trace("%d follows %d", m.id, v.leader)
	}
	n.cancel(m)
	m.view, m.hears, m.proof = v, n.members[v.leader-1].alive, false
	if !m.hears {
		n.detect(m, n.config.Detect+n.jitter(n.config.Timing.RTO))
	}
}

func (n *Network) cancel(m *member) {
	if m.begun {
		m.begun = false
		m.elector.Cancel()
		n.drain(m)
	}
}

// detect makes a member begin an election later on, if it does not follow
// another coordinator by then.
func (n *Network) detect(m *member, after time.Duration) {
	v := m.view
	n.after(after, func() {
		if m.alive && m.view == v && v.leader != m.id {
			m.hears = false
			n.begin(m, false)
		}
	})
}

// drain does what the elector wants done.
func (n *Network) drain(m *member) {
	r := m.elector.Ready()
	for _, o := range r.Out {
		n.Sent[o.Msg.Kind]++
		o.Msg.From, o.Msg.Inc = Key(m.id), 1
		if o.To == (election.Key{}) {
			n.trace("%d→all %s", m.id, describe(o.Msg))
			for _, to := range n.members {
				if to != m {
					n.transmit(m.id, to.id, o.Msg)
				}
			}
			continue
		}
		to := id(o.To)
		n.trace("%d→%d %s", m.id, to, describe(o.Msg))
		n.transmit(m.id, to, o.Msg)
	}
	if r.Won {
		n.won(m)
	}
	n.schedule(m)
}

func (n *Network) won(m *member) {
	if !m.begun {
		n.fault("%d won without a round", m.id)
		return
	}
	if d := m.elector.Deadline(); !d.IsZero() {
		n.fault("%d won, and yet waits until %v", m.id, d.Sub(start))
	}
	m.begun = false
	old := m.view
	w := Win{Member: m.id, Term: old.base.Ctr + 1, At: n.now}
	n.Wins = append(n.Wins, w)
	n.trace("%d wins", m.id)
	m.view = &view{base: election.Base{Ctr: w.Term, Leader: Key(m.id), Inc: 1}, leader: m.id}
	for _, id := range old.others {
		if id != m.id {
			m.view.others = append(m.view.others, id)
		}
	}
	if l := old.leader; l <= len(n.members) && n.members[l-1].alive {
		// It was deposed in error. A membership protocol would merge it in.
		at, _ := slices.BinarySearchFunc(m.view.others, l, func(a, b int) int { return b - a })
		m.view.others = slices.Insert(m.view.others, at, l)
	}
	if n.OnWin != nil {
		n.OnWin(w)
	}
	n.announce(m, m.view, n.config.Timing.RTO)
}

// announce sends a coordinator's view to all, and again after the given time,
// and so on at intervals that grow up to 16 RTO.
func (n *Network) announce(m *member, v *view, again time.Duration) {
	if !m.alive || m.view != v {
		return
	}
	n.after(again, func() { n.announce(m, v, min(2*again, 16*n.config.Timing.RTO)) })
	for _, to := range n.members {
		if to != m {
			n.post(m.id, to.id, v)
		}
	}
}

// schedule sees to it that the elector is woken at its deadline.
func (n *Network) schedule(m *member) {
	deadline := m.elector.Deadline()
	if deadline.IsZero() {
		return
	}
	at := max(deadline.Sub(start), n.now)
	if m.wake > n.now && m.wake <= at {
		return // a wake-up comes before, and will look again
	}
	m.wake = at
	n.after(at-n.now, func() {
		if !m.alive || m.wake != at {
			return
		}
		m.wake = 0
		if d := m.elector.Deadline(); !d.IsZero() && !d.After(n.time()) {
			m.elector.Tick(n.time())
			if d := m.elector.Deadline(); !d.IsZero() && !d.After(n.time()) {
				n.fault("%d is still overdue after Tick", m.id)
				m.alive = false
				return
			}
		}
		n.drain(m)
	})
}

func (n *Network) transmit(from, to int, msg election.Message) {
	n.deliver(from, to, func(m *member) { n.receive(m, msg) })
}

// deliver lets the receiver do something when a packet arrives, if it does.
func (n *Network) deliver(from, to int, do func(*member)) {
	if to < 1 || to > len(n.members) {
		return
	}
	copies := 1
	if n.rand.Float64() < n.config.Duplicate {
		copies = 2
	}
	if n.rand.Float64() < n.config.Loss || n.cut[[2]int{from, to}] {
		copies = 0
	}
	for range copies {
		n.after(n.config.MinDelay+n.jitter(n.config.MaxDelay-n.config.MinDelay+1), func() {
			if m := n.members[to-1]; m.alive {
				do(m)
			}
		})
	}
}

func (n *Network) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(n.rand.Int64N(int64(d)))
}

func (n *Network) time() time.Time { return start.Add(n.now) }

func (n *Network) trace(format string, args ...any) {
	if n.config.Trace != nil {
		n.config.Trace(fmt.Sprintf("%v ", n.now) + fmt.Sprintf(format, args...))
	}
}

func (n *Network) fault(format string, args ...any) {
	n.Faults = append(n.Faults, fmt.Sprintf(format, args...))
}

// describe is a message as traces show it.
func describe(m election.Message) string {
	s := m.Kind.String()
	if m.Cand != (election.Key{}) {
		s += fmt.Sprintf(" of %d.%d", id(m.Cand), m.Attempt)
	}
	if m.Hops > 0 {
		s += fmt.Sprintf(" after %d", m.Hops)
	}
	if m.Refuse {
		s += " refused"
	}
	return s
}

func (n *Network) after(d time.Duration, do func()) {
	n.seq++
	heap.Push(&n.queue, event{at: n.now + d, seq: n.seq, do: do})
}

func (n *Network) step() {
	e := heap.Pop(&n.queue).(event)
	n.now = e.at
	e.do()
}

// event is something that is going to happen.
type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

// queue is a heap of events, ordered by time and then by when they were made.
type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(e any)   { *q = append(*q, e.(event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}
