// Package membershiptest is a conformance suite for implementations of
// membership.Membership. It runs groups of machines in virtual time over a
// network of its own, with a trivial elector, and checks what any of them must
// promise whatever its protocol.
//
//	func TestMembership(t *testing.T) {
//		membershiptest.Run(t, func(self membership.Member, timing membership.Timing, rng *rand.Rand) membership.Membership {
//			return mine.New(self, timing, rng)
//		})
//	}
package membershiptest

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/membership"
)

// Factory makes a machine that is not started yet.
type Factory func(self membership.Member, timing membership.Timing, rng *rand.Rand) membership.Membership

// Run runs the suite.
func Run(t *testing.T, factory Factory) {
	cases := []struct {
		name string
		run  func(t *testing.T, w *world)
	}{
		{"FoundsAlone", foundsAlone},
		{"ManyAtOnce", manyAtOnce},
		{"Join", join},
		{"CoordinatorCrashes", coordinatorCrashes},
		{"MemberCrashes", memberCrashes},
		{"RefusedEndpoint", refusedEndpoint},
		{"Leave", leave},
		{"CoordinatorLeaves", coordinatorLeaves},
		{"Restart", restart},
		{"Rename", rename},
		{"SplitAndHeal", splitAndHeal},
		{"Loss", loss},
		{"LateAndTwice", lateAndTwice},
		{"Elect", elect},
		{"Silence", silence},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(5) {
				w := &world{t: t, seed: seed, factory: factory, rng: rand.New(rand.NewPCG(seed, 3)), timing: membership.Default(),
					now: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), views: map[membership.ViewID]membership.View{}, delay: time.Millisecond}
				c.run(t, w)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

func foundsAlone(t *testing.T, w *world) {
	p := w.add(1)
	p.start()
	w.run(w.timing.JoinWin / 2)
	require.Empty(t, p.m.View().Members, "founded before anybody could answer")
	w.run(2 * w.timing.JoinWin)
	v := p.m.View()
	require.Len(t, v.Members, 1)
	require.EqualValues(t, 1, v.Members[0].ID)
	w.run(time.Minute)
	require.Equal(t, v.ID, p.m.View().ID, "nothing happens to it")
}

func manyAtOnce(t *testing.T, w *world) {
	for i := 1; i <= 10; i++ {
		w.add(i).start()
	}
	w.agree(10 * time.Second)
	require.Len(t, w.view().Members, 10)
}

func join(t *testing.T, w *world) {
	w.group(3)
	old := w.view()
	p := w.add(4)
	p.start()
	w.agree(2 * time.Second)
	v := w.view()
	for _, m := range old.Members {
		now, ok := v.Find(m.Key)
		require.True(t, ok)
		require.Equal(t, m.ID, now.ID, "IDs are kept")
	}
	me, _ := v.Find(p.key)
	require.GreaterOrEqual(t, me.ID, old.NextID, "an ID that nobody had")
	require.Equal(t, p.addr, me.Addr)
	require.Equal(t, "n4", me.Name)
}

func coordinatorCrashes(t *testing.T, w *world) {
	w.group(5)
	old := w.coordinator()
	old.up = false
	w.agree(20 * time.Second)
	require.Len(t, w.view().Members, 4)
	for _, p := range w.running() {
		require.Contains(t, p.departed, departure{old.key, membership.ReasonFailed})
		require.LessOrEqual(t, p.coordinators, 2, "one change, after the first")
	}
}

func memberCrashes(t *testing.T, w *world) {
	w.group(5)
	leader := w.coordinator()
	var victim *process
	for _, p := range w.running() {
		if p != leader {
			victim = p
		}
	}
	victim.up = false
	w.agree(20 * time.Second)
	require.Equal(t, leader, w.coordinator(), "the coordinator stays")
	for _, p := range w.running() {
		require.Contains(t, p.departed, departure{victim.key, membership.ReasonFailed})
	}
}

func refusedEndpoint(t *testing.T, w *world) {
	w.group(5)
	old := w.coordinator()
	old.up = false
	for _, p := range w.running() {
		p.input(membership.Down{Addr: old.addr, Cause: membership.CauseRefused})
	}
	w.agree(w.timing.TElect / 2)
	require.Len(t, w.view().Members, 4)
}

func leave(t *testing.T, w *world) {
	w.group(4)
	var p *process
	for _, q := range w.running() {
		if q != w.coordinator() {
			p = q
		}
	}
	p.input(membership.Depart{})
	w.run(300 * time.Millisecond)
	require.True(t, p.left)
	w.agree(time.Second)
	for _, q := range w.running() {
		require.Contains(t, q.departed, departure{p.key, membership.ReasonLeft})
	}
}

func coordinatorLeaves(t *testing.T, w *world) {
	w.group(4)
	for len(w.running()) > 1 {
		p := w.coordinator()
		p.input(membership.Depart{})
		w.run(300 * time.Millisecond)
		require.True(t, p.left)
		w.agree(time.Second)
		for _, q := range w.running() {
			require.Contains(t, q.departed, departure{p.key, membership.ReasonLeft})
		}
	}
	last := w.running()[0]
	last.input(membership.Depart{})
	require.True(t, last.left, "alone it goes at once")
	require.True(t, last.m.Deadline().IsZero())
}

func restart(t *testing.T, w *world) {
	w.group(4)
	for _, p := range w.running() {
		p.up = false
		q := w.add(int(p.key[1]))
		q.inc = p.inc + 1
		q.make()
		q.start()
		w.agree(20 * time.Second)
		m, _ := w.view().Find(q.key)
		require.Equal(t, q.inc, m.Inc)
		require.Len(t, w.view().Members, 4)
	}
}

func rename(t *testing.T, w *world) {
	w.group(3)
	for i, p := range w.running() {
		name := fmt.Sprintf("other %d", i)
		p.input(membership.Rename{Name: name})
		w.run(time.Second)
		w.agree(time.Second)
		m, _ := w.view().Find(p.key)
		require.Equal(t, name, m.Name)
	}
}

func splitAndHeal(t *testing.T, w *world) {
	w.group(6)
	w.cut = func(a, b *process) bool { return a.key[1]%2 != b.key[1]%2 }
	w.run(20 * time.Second)
	sizes := 0
	for _, p := range w.running() {
		require.Len(t, p.m.View().Members, 3, "each half goes on by itself")
		sizes++
	}
	a, b := w.add(7), w.add(8)
	a.start()
	b.start()
	w.run(3 * time.Second)
	w.cut = nil
	w.agree(10 * time.Second)
	require.Len(t, w.view().Members, sizes+2)
}

func loss(t *testing.T, w *world) {
	w.loss = 0.2
	w.group(6)
	leader := w.coordinator()
	w.run(2 * time.Minute)
	w.loss = 0
	w.agree(10 * time.Second)
	require.Equal(t, leader, w.coordinator(), "a healthy coordinator stays")
}

func lateAndTwice(t *testing.T, w *world) {
	w.twice, w.late = 0.3, 0.1
	w.group(5)
	w.coordinator().up = false
	w.run(30 * time.Second)
	w.add(9).start()
	w.run(10 * time.Second)
	w.twice, w.late = 0, 0
	w.agree(20 * time.Second)
	require.Len(t, w.view().Members, 5)
}

func elect(t *testing.T, w *world) {
	w.group(4)
	old := w.view()
	w.running()[1].input(membership.Elect{})
	w.run(2 * time.Second)
	w.agree(2 * time.Second)
	require.Positive(t, w.view().ID.Epoch.Compare(old.ID.Epoch))
	require.Len(t, w.view().Members, 4, "nobody is removed")
}

// silence: what has stopped, or was never started, says nothing.
func silence(t *testing.T, w *world) {
	p := w.add(1)
	require.True(t, p.m.Deadline().IsZero())
	p.start()
	w.run(3 * time.Second)
	p.input(membership.Depart{})
	require.True(t, p.left)
	p.up, p.left = true, false
	h := membership.Header{From: key(2), Inc: 1}
	for _, b := range []membership.Body{membership.Join{Addr: address(2)}, membership.Heartbeat{}, membership.Suspect{}, membership.Bye{}} {
		p.m.Step(w.now, membership.Receive{From: address(2), Packet: membership.Packet{Header: h, Body: b}})
	}
	p.m.Step(w.now, membership.Start{})
	p.m.Tick(w.now.Add(time.Hour))
	require.Equal(t, membership.Ready{}, p.m.Ready())
	require.True(t, p.m.Deadline().IsZero())
}

// world is a network of processes in virtual time.
type world struct {
	t       *testing.T
	seed    uint64
	factory Factory
	rng     *rand.Rand
	timing  membership.Timing
	now     time.Time
	queue   queue
	seq     int
	all     []*process
	views   map[membership.ViewID]membership.View

	delay time.Duration
	loss  float64
	twice float64                  // share of messages that come twice
	late  float64                  // share of messages that come late, up to a second
	cut   func(a, b *process) bool // whether a link is down
}

type departure struct {
	key    membership.Key
	reason membership.Reason
}

// process is one machine and what was seen of it.
type process struct {
	w            *world
	key          membership.Key
	inc          uint64
	addr         netip.AddrPort
	m            membership.Membership
	up, left     bool
	wake         time.Time
	round        *membership.Round
	departed     []departure
	coordinators int
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func key(i int) membership.Key { return membership.Key{0, byte(i), 1} }

func address(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 7000)
}

func (w *world) at(at time.Time, do func()) {
	w.seq++
	heap.Push(&w.queue, event{at, w.seq, do})
}

func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

func (w *world) add(i int) *process {
	p := &process{w: w, key: key(i), inc: 1, addr: address(i), up: true}
	p.make()
	w.all = append(w.all, p)
	return p
}

func (p *process) make() {
	self := membership.Member{Key: p.key, Inc: p.inc, Addr: p.addr, Name: fmt.Sprintf("n%d", p.key[1])}
	p.m = p.w.factory(self, p.w.timing, rand.New(rand.NewPCG(p.w.seed, uint64(p.key[1]))))
}

// group starts n processes one after the other and waits until they agree.
func (w *world) group(n int) {
	for i := 1; i <= n; i++ {
		w.add(i).start()
		w.run(w.timing.JoinWin * 2)
	}
	w.agree(20 * time.Second)
	require.Len(w.t, w.view().Members, n)
}

func (w *world) running() (out []*process) {
	for _, p := range w.all {
		if p.up {
			out = append(out, p)
		}
	}
	return out
}

func (w *world) view() membership.View { return w.running()[0].m.View() }

func (w *world) coordinator() *process {
	for _, p := range w.running() {
		if p.key == w.view().ID.Epoch.Leader {
			return p
		}
	}
	require.FailNow(w.t, "the coordinator does not run")
	return nil
}

// agree waits until all that run have one view, which lists just them.
func (w *world) agree(limit time.Duration) {
	w.t.Helper()
	end := w.now.Add(limit)
	for !w.agreed() {
		if w.now.After(end) {
			for _, p := range w.running() {
				w.t.Logf("%x: %v, %d members", p.key[:2], p.m.View().ID, len(p.m.View().Members))
			}
			require.FailNow(w.t, fmt.Sprintf("seed %d: not agreed after %v", w.seed, limit))
		}
		w.run(5 * time.Millisecond)
	}
}

func (w *world) agreed() bool {
	running := w.running()
	v := running[0].m.View()
	for _, p := range running {
		if !p.m.View().Equal(v) || !v.Lists(p.key, p.inc) {
			return false
		}
	}
	return len(v.Members) == len(running)
}

func (p *process) start() { p.input(membership.Start{}) }

func (p *process) input(in membership.Input) {
	if p.up {
		p.m.Step(p.w.now, in)
		p.settle()
	}
}

func (p *process) settle() {
	w := p.w
	r := p.m.Ready()
	for _, s := range r.Send {
		w.send(p, s)
	}
	for _, e := range r.Events {
		if in, ok := e.(membership.Installed); ok {
			p.installed(in)
		}
	}
	if r.Cancel {
		p.round = nil
	}
	if r.Inc != 0 {
		p.inc = r.Inc
	}
	require.NoError(w.t, r.Err)
	if r.Left {
		p.left, p.up = true, false
		return
	}
	if r.Round != nil {
		p.elect(r.Round)
	}
	deadline := p.m.Deadline()
	if deadline.IsZero() || deadline.Equal(p.wake) {
		return
	}
	p.wake = deadline
	at := deadline
	if at.Before(w.now) {
		at = w.now
	}
	w.at(at, func() {
		if p.up && p.wake.Equal(deadline) {
			p.wake = time.Time{}
			p.m.Tick(w.now)
			require.NotEqual(w.t, deadline, p.m.Deadline(), "Tick at the deadline must move it")
			p.settle()
		}
	})
}

// elect is the elector: each candidate waits for the better ones to announce
// themselves, and has won if none did.
func (p *process) elect(r *membership.Round) {
	w := p.w
	p.round = r
	pos := slices.IndexFunc(r.Candidates, func(m membership.Member) bool { return m.Key == p.key })
	require.GreaterOrEqual(w.t, pos, 0, "asked for an election that it is not part of")
	if !r.Invited {
		h := p.m.Header()
		for _, q := range w.running() {
			if q != p && !w.lost(p, q) {
				w.at(w.now.Add(w.delay), func() {
					q.input(membership.Campaign{From: p.addr, Header: h, Base: r.Base, Candidacy: true, Candidate: p.key})
				})
			}
		}
	}
	w.at(w.now.Add(time.Duration(pos)*100*time.Millisecond), func() {
		if p.up && p.round != nil && p.round.Base == r.Base {
			p.round = nil
			p.input(membership.Won{Base: r.Base})
		}
	})
}

func (w *world) lost(p, q *process) bool {
	return w.cut != nil && w.cut(p, q) || w.rng.Float64() < w.loss
}

func (w *world) send(p *process, s membership.Send) {
	require.Equal(w.t, p.key, s.Packet.Header.From)
	for _, q := range w.all {
		if q == p || !s.Group && q.addr != s.To || w.lost(p, q) {
			continue
		}
		deliver := func() { q.input(membership.Receive{From: p.addr, Packet: s.Packet}) }
		d := w.delay
		if w.rng.Float64() < w.late {
			d += time.Duration(w.rng.Int64N(int64(time.Second)))
		}
		w.at(w.now.Add(d), deliver)
		if w.rng.Float64() < w.twice {
			w.at(w.now.Add(d+time.Duration(w.rng.Int64N(int64(time.Second)))), deliver)
		}
	}
}

// installed checks what must hold of every view.
func (p *process) installed(in membership.Installed) {
	t, v := p.w.t, in.View
	if in.Prev.Members != nil {
		require.Positive(t, v.ID.Compare(in.Prev.ID), "views ascend")
	}
	require.True(t, v.Equal(p.m.View()) || p.m.View().ID.Compare(v.ID) > 0)
	require.True(t, v.Lists(p.key, p.inc), "a node is in each of its views")
	coordinator, ok := v.Coordinator()
	require.True(t, ok, "the coordinator is a member")
	require.Equal(t, v.ID.Epoch.Inc, coordinator.Inc)
	if old, ok := p.w.views[v.ID]; ok {
		require.True(t, v.Equal(old), "equal IDs mean equal views")
	}
	p.w.views[v.ID] = v
	var last uint32
	for _, m := range v.Members {
		require.Greater(t, m.ID, last, "IDs are distinct, and ascend")
		last = m.ID
	}
	require.Greater(t, v.NextID, last)
	for _, m := range in.Joined {
		require.True(t, v.Lists(m.Key, m.Inc))
	}
	for _, d := range in.Left {
		_, still := v.Find(d.Key)
		require.False(t, still)
		p.departed = append(p.departed, departure{d.Key, d.Reason})
	}
	if in.Prev.ID.Epoch.Leader != v.ID.Epoch.Leader {
		p.coordinators++
	}
}
