package membership

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// epoch0 is when every virtual run begins.
var epoch0 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// network runs machines in virtual time on one goroutine. Each has a trivial
// elector: the highest ranked candidate that runs wins at once, as far as the
// asking node knows; messages of electors are a CAMPAIGN to the group.
type network struct {
	rng   *rand.Rand
	now   time.Time
	queue itemQueue
	seq   int
	nodes []*node
	delay func() time.Duration
	// drop decides whether a message is lost.
	drop    func(from, to *node, s Send) bool
	trace   func(format string, args ...any)
	check   func(n *node, ev Installed)
	sent    map[Kind]int
	sending func(from *node, s Send)
}

type node struct {
	net       *network
	name      string
	addr      netip.AddrPort
	self      Member
	m         *Coordinated
	up        bool
	suspended bool
	backlog   []func()
	wake      time.Time
	round     *Round
	left      bool
	err       error
	events    []Event
	views     []Installed
}

type item struct {
	at  time.Time
	seq int
	do  func()
}

type itemQueue []item

func (q itemQueue) Len() int { return len(q) }
func (q itemQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q itemQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *itemQueue) Push(x any)   { *q = append(*q, x.(item)) }
func (q *itemQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

func newNetwork(seed uint64) *network {
	n := &network{rng: rand.New(rand.NewPCG(seed, 7)), now: epoch0, sent: map[Kind]int{}}
	n.delay = func() time.Duration { return time.Millisecond }
	n.drop = func(*node, *node, Send) bool { return false }
	n.trace = func(string, ...any) {}
	n.check = func(*node, Installed) {}
	n.sending = func(*node, Send) {}
	return n
}

func (n *network) after(d time.Duration, do func()) {
	n.seq++
	heap.Push(&n.queue, item{at: n.now.Add(d), seq: n.seq, do: do})
}

// keyOf makes keys that sort by i.
func keyOf(i int) (k Key) {
	k[0], k[1] = byte(i>>8), byte(i)
	k[15] = 1
	return k
}

func addrOf(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7000)
}

// add starts a node. i decides its key and its address.
func (n *network) add(i int, inc uint64, cfg Config) *node {
	cfg.Self = Member{Key: keyOf(i), Inc: inc, Addr: addrOf(i), Name: fmt.Sprintf("n%d", i)}
	cfg.Rand = rand.New(rand.NewPCG(n.rng.Uint64(), uint64(i)))
	m, err := NewCoordinated(cfg)
	if err != nil {
		panic(err)
	}
	nd := &node{net: n, name: cfg.Self.Name, addr: cfg.Self.Addr, self: cfg.Self, m: m, up: true}
	n.nodes = append(n.nodes, nd)
	return nd
}

func (n *network) at(addr netip.AddrPort) *node {
	for _, nd := range n.nodes {
		if nd.addr == addr && nd.up {
			return nd
		}
	}
	return nil
}

// input gives a node something now.
func (nd *node) input(in Input) {
	if !nd.up || nd.left || nd.err != nil {
		return
	}
	if nd.suspended {
		nd.backlog = append(nd.backlog, func() { nd.input(in) })
		return
	}
	nd.m.Step(nd.net.now, in)
	nd.settle()
}

func (nd *node) settle() {
	n := nd.net
	for {
		r := nd.m.Ready()
		for _, s := range r.Send {
			n.transmit(nd, s)
		}
		for _, e := range r.Events {
			nd.events = append(nd.events, e)
			n.trace("%s %s", nd.name, describe(e))
			if in, ok := e.(Installed); ok {
				nd.views = append(nd.views, in)
				n.check(nd, in)
			}
		}
		if r.Cancel {
			nd.round = nil
		}
		if r.Inc != 0 {
			n.trace("%s incarnation %d", nd.name, r.Inc)
		}
		if r.Left {
			nd.left, nd.up = true, false
			n.trace("%s left", nd.name)
		}
		if r.Err != nil {
			nd.err, nd.up = r.Err, false
			n.trace("%s stops: %v", nd.name, r.Err)
		}
		if r.Round == nil {
			break
		}
		n.trace("%s election of %v among %d%s", nd.name, r.Round.Base, len(r.Round.Candidates), map[bool]string{true: ", invited"}[r.Round.Invited])
		nd.round = r.Round
		nd.elect(r.Round, 0)
	}
	nd.schedule()
}

// elect is the trivial elector: a candidate announces itself, waits for 50 ms
// times its position, and has won unless the round was cancelled.
func (nd *node) elect(r *Round, _ int) {
	n := nd.net
	if !r.Invited {
		for _, to := range n.nodes {
			if to != nd && to.up && !n.drop(nd, to, Send{Group: true, Packet: Packet{Header: nd.m.Header()}}) {
				h := nd.m.Header()
				n.after(n.delay(), func() {
					to.input(Campaign{From: nd.addr, Header: h, Base: r.Base, Candidacy: true, Candidate: h.From})
				})
			}
		}
	}
	pos := slices.IndexFunc(r.Candidates, func(m Member) bool { return m.Key == nd.self.Key })
	n.after(time.Duration(pos)*50*time.Millisecond, func() {
		if nd.round != nil && nd.round.Base == r.Base && nd.up && !nd.suspended {
			nd.round = nil
			nd.input(Won{Base: r.Base})
		} else if nd.suspended {
			nd.backlog = append(nd.backlog, func() { nd.input(Won{Base: r.Base}) })
		}
	})
}

// schedule makes sure that Tick is called at the deadline.
func (nd *node) schedule() {
	at := nd.m.Deadline()
	if at.IsZero() || at.Equal(nd.wake) {
		return
	}
	nd.wake = at
	nd.net.seq++
	when := at
	if when.Before(nd.net.now) {
		when = nd.net.now
	}
	heap.Push(&nd.net.queue, item{at: when, seq: nd.net.seq, do: func() { nd.tick(at) }})
}

func (nd *node) tick(at time.Time) {
	if !nd.up || !nd.wake.Equal(at) {
		return
	}
	if nd.suspended {
		nd.backlog = append(nd.backlog, func() { nd.tick(at) })
		return
	}
	nd.wake = time.Time{}
	nd.m.Tick(nd.net.now)
	nd.settle()
}

func (n *network) transmit(from *node, s Send) {
	n.sent[s.Packet.Body.Kind()]++
	n.sending(from, s)
	for _, to := range n.nodes {
		if !to.up || to == from || !s.Group && to.addr != s.To || n.drop(from, to, s) {
			continue
		}
		n.after(n.delay(), func() { to.input(Receive{From: from.addr, Packet: s.Packet}) })
	}
}

// run lets virtual time pass.
func (n *network) run(d time.Duration) {
	end := n.now.Add(d)
	for len(n.queue) > 0 && !n.queue[0].at.After(end) {
		it := heap.Pop(&n.queue).(item)
		n.now = it.at
		it.do()
	}
	n.now = end
}

func (nd *node) start() { nd.input(Start{}) }

func (nd *node) kill() { nd.up = false }

func (nd *node) suspend() { nd.suspended = true }

func (nd *node) resume() {
	nd.suspended = false
	backlog := nd.backlog
	nd.backlog = nil
	for _, do := range backlog {
		do()
	}
}

// checkInstalled checks what must hold of every view that anybody installs.
func checkInstalled(t require.TestingT, nd *node, in Installed) {
	v := in.View
	require.NoError(t, check(v))
	require.Positive(t, v.ID.Compare(in.Prev.ID), "views ascend")
	require.True(t, v.Lists(nd.m.self.Key, nd.m.self.Inc), "it is in each of its views")
	if in.Prev.Members != nil && v.ID.Epoch == in.Prev.ID.Epoch {
		require.GreaterOrEqual(t, v.NextID, in.Prev.NextID)
	}
	for _, other := range nd.net.nodes {
		for _, o := range other.views {
			if o.View.ID == v.ID {
				require.True(t, o.View.Equal(v), "equal IDs mean equal views")
			}
		}
	}
	if v.ID.Epoch == in.Prev.ID.Epoch && v.ID.Seq == in.Prev.ID.Seq+1 {
		for _, m := range v.Members {
			if old, ok := in.Prev.Find(m.Key); ok {
				require.Equal(t, old.ID, m.ID, "IDs are kept")
			}
		}
	}
}

func (nd *node) leads() bool { return nd.up && nd.m.state == leading }

// coordinators lists those that lead.
func (n *network) coordinators() (out []*node) {
	for _, nd := range n.nodes {
		if nd.leads() {
			out = append(out, nd)
		}
	}
	return out
}

// agreed reports whether all that run have one view, which is all of them.
func (n *network) agreed() error {
	var first *node
	up := 0
	for _, nd := range n.nodes {
		if !nd.up {
			continue
		}
		up++
		if first == nil {
			first = nd
		}
		if nd.m.state != leading && nd.m.state != following {
			return fmt.Errorf("%s is %v", nd.name, nd.m.state)
		}
		if !nd.m.View().Equal(first.m.View()) {
			return fmt.Errorf("%s has %s, %s has %s", nd.name, show(nd.m.View()), first.name, show(first.m.View()))
		}
	}
	if first != nil && len(first.m.View().Members) != up {
		return fmt.Errorf("%d nodes run, the view is %s", up, show(first.m.View()))
	}
	return nil
}

// show writes a view as [coordinator|term.number] (size) [members].
func show(v View) string {
	if v.Members == nil {
		return "none"
	}
	var b strings.Builder
	l, _ := v.Coordinator()
	fmt.Fprintf(&b, "[%s|%d.%d] (%d) [", l.Name, v.ID.Epoch.Ctr, v.ID.Seq, len(v.Members))
	for i, m := range v.Members {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s#%d", m.Name, m.ID)
		if m.Inc != 1 {
			fmt.Fprintf(&b, "/%d", m.Inc)
		}
	}
	b.WriteByte(']')
	return b.String()
}

func describe(e Event) string {
	switch e := e.(type) {
	case Searching:
		return fmt.Sprintf("searching %d", e.Try)
	case Installed:
		s := fmt.Sprintf("view %s %s", show(e.View), e.Cause)
		for _, m := range e.Joined {
			s += fmt.Sprintf(" +%s", m.Name)
		}
		for _, d := range e.Left {
			m, _ := e.Prev.Find(d.Key)
			s += fmt.Sprintf(" -%s(%s)", m.Name, d.Reason)
		}
		return s
	case Suspected:
		return fmt.Sprintf("suspects %s: %s", e.Member.Name, e.Why)
	case Restored:
		return fmt.Sprintf("restores %s", e.Member.Name)
	case Evicted:
		return "was evicted"
	case Woke:
		return fmt.Sprintf("woke after %v", e.After.Round(time.Second))
	}
	return fmt.Sprintf("%T", e)
}
