//go:build unix

package main_test

import (
	"flag"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

// four makes a group of four members, on hosts of a net if there is one.
func four(t *testing.T, net *lab.Net, flags ...string) *group {
	t.Helper()
	g := onLoopback(t, flags...)
	if net != nil {
		g = onNet(t, flags...)
	}
	for i := 1; i <= 4; i++ {
		var host *lab.Host
		if net != nil {
			host = net.Host(i)
		}
		g.join(host)
	}
	waitMembers(t, g.nodes)
	return g
}

// pass lets time go by, counted in heartbeats that a node sees.
func (n *node) pass(heartbeats int) {
	n.g.t.Helper()
	from := n.Mark()
	n.Do("subscribe", lab.Args{"what": "hb"})
	n.Await(from, "hb", func(lab.Event) bool { heartbeats--; return heartbeats < 0 })
	n.Do("unsubscribe", lab.Args{"what": "hb"})
}

// never checks that a node has said nothing of some kinds since the mark.
func (n *node) never(from lab.Mark, kinds ...string) {
	n.g.t.Helper()
	for _, e := range n.Since(from) {
		require.NotContains(n.g.t, kinds, e.Ev, "%s: %s", n.Name(), e.Line)
	}
}

// warnings are what a node has warned of since the mark, but that it stood still,
// which a busy machine makes it do.
func (n *node) warnings(from lab.Mark) (texts []string) {
	n.g.t.Helper()
	for _, e := range n.Since(from) {
		if w := lab.As[struct{ Code, Text string }](n.g.t, e); e.Ev == "warn" && w.Code != "woke" {
			texts = append(texts, w.Text)
		}
	}
	return texts
}

// unhurried are flags for a group in which nothing beats, and a busy machine
// makes nothing late that anybody waits for.
var unhurried = []string{"-heartbeat", "30m", "-timeout", "1h"}

// whole checks that the group is one again: one view, one history, and talk
// goes on.
func (g *group) whole(nodes []*node) {
	g.t.Helper()
	g.say(nodes, 5)
	g.converge(nodes, nil)
	waitMembers(g.t, nodes)
	g.check(nodes)
}

func TestFrozenCoordinator(t *testing.T) {
	t.Parallel()
	g := four(t, nil, slow...)
	g.say(g.nodes, 5)
	g.converge(g.nodes, nil)
	first, rest := g.nodes[0], g.nodes[1:]
	from := marks(g.nodes)
	first.Freeze()
	for _, n := range rest {
		n.awaitCoordinator(from[n], 4)
	}
	require.Equal(t, []int{2, 3, 4}, waitMembers(t, rest).ids())
	g.say(rest, 5)
	g.convergeOn(rest, len(g.sent), from)
	rest[2].pass(12) // three times the time-out
	from = marks(g.nodes)
	first.Thaw()
	g.whole(g.nodes)
	for _, n := range rest {
		n.never(from[n], "coord", "elect")
	}
}

func TestFrozenFollower(t *testing.T) {
	t.Parallel()
	g := four(t, nil, slow...)
	top, rest := g.nodes[3], g.nodes[:3]
	from := marks(g.nodes)
	top.Freeze()
	require.Equal(t, []int{1, 2, 3}, waitMembers(t, rest).ids())
	top.Thaw()
	g.whole(g.nodes)
	for _, n := range rest {
		n.never(from[n], "coord", "elect")
	}
}

func TestThreeDieTogether(t *testing.T) {
	t.Parallel()
	g := four(t, nil, calm...)
	g.join(nil)
	waitMembers(t, g.nodes)
	from := marks(g.nodes)
	for _, i := range []int{0, 3, 4} { // the coordinator and the two next in rank
		g.nodes[i].Signal(syscall.SIGKILL)
	}
	rest := g.nodes[1:3]
	for _, n := range rest {
		n.awaitCoordinator(from[n], 3)
	}
	require.Equal(t, []int{2, 3}, waitMembers(t, rest).ids())
	g.whole(rest)
}

// TestUnplugged cuts the coordinator's link, which leaves no evidence.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	g := four(t, net, slow...)
	first, rest := g.nodes[0], g.nodes[1:]
	from := marks(g.nodes)
	net.Split([]int{2, 3, 4})
	var longest int64
	for _, n := range rest {
		c := n.awaitCoordinator(from[n], 4)
		t.Logf("%s: %d ms without a coordinator", n.Name(), c.GapMS)
		longest = max(longest, c.GapMS)
	}
	// Who calls the election has waited for the whole time-out; those it
	// invites may have heard the last heartbeat later.
	require.GreaterOrEqual(t, longest, int64(8000))
	require.Equal(t, []int{2, 3, 4}, waitMembers(t, rest).ids())
	require.Equal(t, []int{1}, waitMembers(t, []*node{first}).ids(), "it coordinates itself alone")
	g.say(g.nodes, 5)
	net.Heal()
	g.whole(g.nodes)
	require.Equal(t, 4, waitMembers(t, g.nodes).Coord, "the larger side's coordinator stays")
}

func TestThreeWaySplit(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 6)
	g := onNet(t)
	g.joinAll(net, 6)
	waitMembers(t, g.nodes)
	net.Split([]int{1, 2}, []int{3, 4}, []int{5, 6})
	for i := 0; i < 6; i += 2 {
		waitMembers(t, g.nodes[i:i+2])
	}
	g.say(g.nodes, 10)
	net.Heal()
	g.whole(g.nodes)
}

// long are flags for a group in which a time-out is ten heartbeats, and more than a
// busy machine makes anything late. threeTimeouts are three of them, in heartbeats.
var long = []string{"-timeout", "5s"}

const threeTimeouts = 30

// TestOneWay cuts what one member would hear of the coordinator. Others vouch
// for it.
func TestOneWay(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	g := four(t, net, long...)
	from := marks(g.nodes)
	net.Cut(1, 4)
	g.nodes[0].pass(threeTimeouts)
	for _, n := range g.nodes {
		n.never(from[n], "coord", "view")
	}
	net.Heal()
	g.whole(g.nodes)
	for _, n := range g.nodes {
		n.never(from[n], "coord", "view")
	}
}

// TestDeaf is a host that no multicast reaches.
func TestDeaf(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	g := four(t, net, long...)
	from := marks(g.nodes)
	net.Deafen(3)
	g.nodes[0].pass(threeTimeouts)
	g.say(g.nodes, 5)
	g.converge(g.nodes, nil)
	for _, n := range g.nodes {
		n.never(from[n], "coord", "view")
	}
}

// TestComesAndGoes is a node that joins and leaves again and again.
func TestComesAndGoes(t *testing.T) {
	t.Parallel()
	g := onLoopback(t, calm...)
	g.join(nil)
	g.join(nil)
	stay := slices.Clone(g.nodes)
	from := marks(stay)
	const times = 50
	for i := range times {
		guest := g.join(nil)
		require.Equal(t, 3+i, guest.id, "an ID is never given out again")
		guest.Do("quit", nil)
		require.Zero(t, guest.Exit())
	}
	for _, n := range stay {
		require.Equal(t, []int{1, 2}, waitMembers(t, stay).ids())
		n.never(from[n], "coord", "elect")
	}
	g.whole(stay)
}

var trials = flag.Int("trials", 3, "how often the coordinator is killed to measure the time until all know the next")

// TestFailoverTime kills the coordinator and measures, at the survivors, how
// long it takes until they have announced the next one.
func TestFailoverTime(t *testing.T) {
	g := four(t, nil, "-timeout", "1m")
	var took []time.Duration
	for range *trials {
		v := waitMembers(t, g.nodes)
		i := slices.IndexFunc(g.nodes, func(n *node) bool { return n.Events()[0].Node == v.coordinator().Node })
		victim, rest := g.nodes[i], without(g.nodes, g.nodes[i])
		from := marks(rest)
		killed := time.Now()
		victim.Kill()
		var last time.Time
		for _, n := range rest {
			if e := n.Await(from[n], "coord", nil); e.T.After(last) {
				last = e.T
			}
		}
		took = append(took, last.Sub(killed))
		g.nodes = rest
		g.join(nil)
	}
	slices.Sort(took)
	t.Logf("%d trials, until all survivors have announced the next coordinator: median %v, max %v, all %v", len(took), took[len(took)/2], took[len(took)-1], took)
	// Evidence, not a time-out: that would take a minute.
	require.Less(t, took[len(took)-1], time.Minute)
}
