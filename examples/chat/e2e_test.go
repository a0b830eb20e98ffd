//go:build unix

package main_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/internal/schema"
	"github.com/seed-885536be/p2p/internal/sim/trace"
)

// The tests of this file run the program itself, in as many processes as it
// takes, on this host or on hosts made of network namespaces.

// chatPath is the package of the program.
const chatPath = "github.com/seed-885536be/p2p/examples/chat"

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// checkLine holds a line that a process has printed against the schema.
var checkLine = func() func([]byte) error {
	text, err := os.ReadFile("protocol.schema.json")
	if err != nil {
		panic(err)
	}
	s, err := schema.Parse(text)
	if err != nil {
		panic(err)
	}
	return func(line []byte) error { return s.Validate("event", line) }
}()

// Fields of events and replies, as PROTOCOL.md has them.
type (
	peer struct {
		ID   int
		Node string
		Nick string
	}
	view struct {
		Term, VID uint64
		Coord     int
		Members   []struct {
			peer
			Addr string
		}
		Joined []peer
		Left   []struct {
			peer
			Why string
		}
		Cause string
	}
	coord struct {
		Old, New *peer
		Term     uint64
		Cause    string
		GapMS    int64 `json:"gap_ms"`
	}
	message struct {
		M                 string
		From              peer
		Room, Text        string
		Pos               uint64
		Inserted, Backlog bool
	}
)

func (v view) ids() (ids []int) {
	for _, m := range v.Members {
		ids = append(ids, m.ID)
	}
	return ids
}

// coordinator is the member that leads.
func (v view) coordinator() peer {
	for _, m := range v.Members {
		if m.ID == v.Coord {
			return m.peer
		}
	}
	return peer{}
}

// group is the processes of one test.
type group struct {
	t     *testing.T
	flags []string
	all   []*node           // that were started
	nodes []*node           // that the test goes on with
	sent  map[string]string // text of each message sent, by its key
}

// node is one chat process.
type node struct {
	*lab.Process
	g  *group
	id int // as assigned when it joined
}

// onLoopback makes a group that no other on this host meets.
func onLoopback(t *testing.T, flags ...string) *group {
	addr := fmt.Sprintf("239.255.%d.%d:%d", 1+rand.IntN(250), 1+rand.IntN(250), 20000+rand.IntN(10000))
	return newGroup(t, append([]string{"-iface", "lo", "-group", addr}, flags...))
}

// slow are flags for a group in which whoever is cut off is missed after some
// seconds, and nobody else.
var slow = []string{"-heartbeat", "2s", "-timeout", "8s"}

// calm are flags for a group in which a busy machine changes nothing: who comes
// looks for the group for two seconds before it founds one, and is not missed for
// a minute. Whoever dies is missed at once all the same.
var calm = []string{"-heartbeat", "2s", "-timeout", "1m"}

// onNet makes a group for hosts of a lab.Net, with no flags but those given.
func onNet(t *testing.T, flags ...string) *group {
	return newGroup(t, flags)
}

// newGroup makes a group. At the end of the test, the views that its processes
// installed are checked against the safety properties of the protocol.
func newGroup(t *testing.T, flags []string) *group {
	g := &group{t: t, flags: flags, sent: map[string]string{}}
	t.Cleanup(func() {
		var c trace.Checker
		for _, n := range g.all {
			var lines bytes.Buffer
			for _, e := range n.Events() {
				lines.Write(append(e.Line, '\n'))
			}
			require.NoError(t, c.Read(n.Name(), &lines))
		}
	})
	return g
}

// start starts one more process, on this host if host is nil.
func (g *group) start(host *lab.Host) *node {
	g.t.Helper()
	name := fmt.Sprintf("n%d", len(g.all)+1)
	n := &node{g: g, Process: lab.Start(g.t, lab.Config{
		Path: lab.Build(g.t, chatPath),
		Args: append([]string{"-json", "-nick", name}, g.flags...),
		Host: host, Name: name, Check: checkLine,
	})}
	g.all, g.nodes = append(g.all, n), append(g.nodes, n)
	return n
}

// joinAll starts a process on each of the hosts from 1 to n, the next when the
// last one is a member.
func (g *group) joinAll(net *lab.Net, n int) {
	g.t.Helper()
	for i := 1; i <= n; i++ {
		g.join(net.Host(i))
	}
}

// join starts one more process and waits until it is a member.
func (g *group) join(host *lab.Host) *node {
	g.t.Helper()
	n := g.start(host)
	n.ready()
	return n
}

// ready waits until the process is a member and takes note of its ID.
func (n *node) ready() {
	n.g.t.Helper()
	n.wait("ready", nil)
	events := n.Events()
	n.id = events[len(events)-1].ID
}

// wait gives the command wait and returns what made its condition true.
func (n *node) wait(what string, args lab.Args) lab.Reply {
	n.g.t.Helper()
	all := lab.Args{"for": what, "timeout_ms": lab.Patience.Milliseconds()}
	maps.Copy(all, args)
	return n.Do("wait", all)
}

// waitMembers waits until all of the nodes have one view, with as many members,
// and returns it.
func waitMembers(t *testing.T, nodes []*node) view {
	t.Helper()
	for {
		latest, same := view{}, true
		for i, n := range nodes {
			v := lab.As[view](t, n.wait("members", lab.Args{"n": len(nodes)}))
			same = same && (i == 0 || reflect.DeepEqual(v, latest))
			if v.VID > latest.VID {
				latest = v
			}
		}
		if same {
			return latest
		}
		// Some had not heard of the latest yet.
		for _, n := range nodes {
			n.Await(0, "view", func(e lab.Event) bool { return lab.As[view](t, e).VID >= latest.VID })
		}
	}
}

// say sends as many messages from each of the nodes at once.
func (g *group) say(nodes []*node, each int) {
	g.t.Helper()
	var pending []*lab.Pending
	var texts []string
	for i := range each {
		for _, n := range nodes {
			text := fmt.Sprintf("%s says %d of %d", n.Name(), i+1, len(g.sent))
			pending = append(pending, n.Begin("send", lab.Args{"text": text}))
			texts = append(texts, text)
		}
	}
	for i, p := range pending {
		m := lab.As[struct{ M string }](g.t, p.OK()).M
		_, twice := g.sent[m] // NotContains would look at each of them
		require.False(g.t, twice, m)
		g.sent[m] = texts[i]
	}
}

// converge waits until all nodes say that the members hold as many messages
// as were sent, and the same.
func (g *group) converge(nodes []*node, from map[*node]lab.Mark) {
	g.t.Helper()
	g.convergeOn(nodes, len(g.sent), from)
}

func (g *group) convergeOn(nodes []*node, messages int, from map[*node]lab.Mark) {
	g.t.Helper()
	hists := map[string]bool{}
	for _, n := range nodes {
		var c struct {
			Members, N int
			Hist       string
		}
		n.Await(from[n], "converged", func(e lab.Event) bool {
			c = lab.As[struct {
				Members, N int
				Hist       string
			}](g.t, e)
			return c.Members == len(nodes) && c.N == messages
		})
		hists[c.Hist] = true
	}
	require.Len(g.t, hists, 1)
}

// history reads the whole converged history of a node.
func (n *node) history() []message {
	n.g.t.Helper()
	var all []message
	for since := uint64(0); ; {
		page := lab.As[struct {
			Items []message
			Hist  string
			N     int
			Next  *uint64
		}](n.g.t, n.Do("history", lab.Args{"since": since}))
		all = append(all, page.Items...)
		if page.Next == nil {
			require.Len(n.g.t, all, page.N)
			return all
		}
		require.Greater(n.g.t, *page.Next, since)
		since = *page.Next
	}
}

// check checks that each node has every message that was sent, delivered each
// exactly once and each author's in its order, and that all have one history
// in one order.
func (g *group) check(nodes []*node) {
	g.t.Helper()
	var first []string
	for i, n := range nodes {
		delivered := map[string]string{}
		last := map[string]int{}
		for _, e := range n.Events() {
			if e.Ev != "msg" {
				continue
			}
			msg := lab.As[message](g.t, e)
			_, twice := delivered[msg.M]
			require.False(g.t, twice, "%s: %s was delivered twice", n.Name(), msg.M)
			delivered[msg.M] = msg.Text
			writer, number, _ := strings.Cut(msg.M, ":")
			k, err := strconv.Atoi(number)
			require.NoError(g.t, err)
			require.Greater(g.t, k, last[writer], "%s: %s is out of its author's order", n.Name(), msg.M)
			last[writer] = k
		}
		require.Equal(g.t, g.sent, delivered, "%s: what was sent and what was delivered", n.Name())

		var order []string
		for pos, msg := range n.history() {
			require.EqualValues(g.t, pos, msg.Pos)
			require.Equal(g.t, g.sent[msg.M], msg.Text)
			order = append(order, msg.M)
		}
		require.Len(g.t, order, len(g.sent))
		if i == 0 {
			first = order
		}
		require.Equal(g.t, first, order, "the histories of %s and %s", nodes[0].Name(), n.Name())
	}
}

// marks takes note of where the nodes' events end now.
func marks(nodes []*node) map[*node]lab.Mark {
	m := map[*node]lab.Mark{}
	for _, n := range nodes {
		m[n] = n.Mark()
	}
	return m
}

func without(nodes []*node, gone ...*node) []*node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return slices.Contains(gone, n) })
}

// awaitCoordinator waits until a node has announced its new coordinator.
func (n *node) awaitCoordinator(from lab.Mark, id int) coord {
	n.g.t.Helper()
	return lab.As[coord](n.g.t, n.Await(from, "coord", func(e lab.Event) bool {
		c := lab.As[coord](n.g.t, e)
		return c.New != nil && c.New.ID == id
	}))
}

// beats waits for some heartbeats at each node and checks that all are of the
// one coordinator.
func beats(t *testing.T, nodes []*node, coordinator, count int) {
	t.Helper()
	from := marks(nodes)
	for _, n := range nodes {
		n.Do("subscribe", lab.Args{"what": "hb"})
	}
	for _, n := range nodes {
		heard := 0
		n.Await(from[n], "hb", func(e lab.Event) bool {
			hb := lab.As[struct{ From peer }](t, e)
			require.Equal(t, coordinator, hb.From.ID, "%s: only the coordinator has a heartbeat", n.Name())
			heard++
			return heard == count
		})
	}
	for _, n := range nodes {
		n.Do("unsubscribe", lab.Args{"what": "hb"})
	}
}

// life is what four processes go through: they find each other, talk, lose
// their coordinator, elect another, take in a newcomer and let one go.
func life(t *testing.T, g *group, host func(i int) *lab.Host) {
	for i := 1; i <= 4; i++ {
		n := g.join(host(i))
		require.Equal(t, i, n.id)
		last := map[bool]string{true: "first", false: "ready"}[i == 1]
		n.Await(0, "join", func(e lab.Event) bool { return lab.As[struct{ Phase string }](t, e).Phase == last })
	}
	v := waitMembers(t, g.nodes)
	require.Equal(t, []int{1, 2, 3, 4}, v.ids())
	require.Equal(t, 1, v.Coord)
	beats(t, g.nodes, 1, 3)

	g.say(g.nodes, 100)
	g.converge(g.nodes, nil)
	g.check(g.nodes)

	// The coordinator is killed.
	first, rest := g.nodes[0], g.nodes[1:]
	from := marks(rest)
	first.Kill()
	terms := map[uint64]bool{}
	for _, n := range rest {
		c := n.awaitCoordinator(from[n], 4)
		require.Equal(t, 1, c.Old.ID)
		require.Equal(t, "elected", c.Cause)
		terms[c.Term] = true
		n.Await(from[n], "peer", func(e lab.Event) bool {
			p := lab.As[struct {
				Peer  peer
				State string
			}](t, e)
			return p.Peer.ID == 1 && p.State == "dead"
		})
		left := lab.As[view](t, n.Await(from[n], "view", func(e lab.Event) bool { return len(lab.As[view](t, e).Left) > 0 })).Left
		require.Len(t, left, 1)
		require.Equal(t, 1, left[0].ID)
		require.Equal(t, "dead", left[0].Why)
	}
	require.Len(t, terms, 1, "all survivors name one term")
	require.Greater(t, slices.Collect(maps.Keys(terms))[0], v.Term)
	require.Equal(t, []int{2, 3, 4}, waitMembers(t, rest).ids())
	g.say(rest, 10)
	g.converge(rest, nil)
	g.check(rest)
	beats(t, rest, 4, 3)

	// A newcomer gets a fresh ID, and what was said before it came.
	late := g.join(host(5))
	require.Equal(t, 5, late.id)
	rest = append(rest[:3:3], late)
	require.Equal(t, []int{2, 3, 4, 5}, waitMembers(t, rest).ids())
	g.converge(rest, nil)
	g.check(rest)
	for _, e := range late.Events() {
		if e.Ev == "msg" {
			require.True(t, lab.As[message](t, e).Backlog, "%s", e.Line)
		}
	}
	from = marks(rest)
	g.say(rest, 1)
	g.converge(rest, nil)
	for _, n := range rest {
		for _, e := range n.Since(from[n]) {
			if e.Ev == "msg" {
				require.False(t, lab.As[message](t, e).Backlog, "%s", e.Line)
			}
		}
	}

	// One says goodbye, and nobody has to suspect it first.
	gone := rest[0]
	rest = without(rest, gone)
	from = marks(rest)
	gone.Do("quit", nil)
	bye := gone.Await(0, "bye", nil)
	require.Zero(t, lab.As[struct{ Code int }](t, bye).Code)
	require.Zero(t, gone.Exit())
	for _, n := range rest {
		e := n.Await(from[n], "view", func(e lab.Event) bool { return len(lab.As[view](t, e).Left) > 0 })
		left := lab.As[view](t, e)
		require.Equal(t, 2, left.Left[0].ID)
		require.Equal(t, "left", left.Left[0].Why)
		require.Equal(t, "leave", left.Cause)
		for _, e := range n.Since(from[n]) {
			if e.Ev == "peer" {
				require.Equal(t, "left", lab.As[struct{ State string }](t, e).State, "%s", e.Line)
			}
		}
	}
	require.Equal(t, []int{3, 4, 5}, waitMembers(t, rest).ids())

	// The coordinator says goodbye: it hands over, and no election is needed.
	from = marks(rest)
	rest[1].Do("quit", nil)
	require.Zero(t, rest[1].Exit())
	rest = without(rest, rest[1])
	for _, n := range rest {
		require.Equal(t, "handover", n.awaitCoordinator(from[n], 5).Cause)
		for _, e := range n.Since(from[n]) {
			require.NotEqual(t, "elect", e.Ev, "%s", e.Line)
		}
	}
	g.say(rest, 5)
	g.converge(rest, nil)
	g.check(rest)
}

func TestFourOnLoopback(t *testing.T) {
	t.Parallel()
	life(t, onLoopback(t, calm...), func(int) *lab.Host { return nil })
}

func TestFourOnLoopbackRing(t *testing.T) {
	t.Parallel()
	life(t, onLoopback(t, append(slices.Clone(calm), "-election", "ring")...), func(int) *lab.Host { return nil })
}

func TestFourHosts(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 5)
	life(t, onNet(t, calm...), net.Host)
}

func TestSplitAndHeal(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 6)
	g := onNet(t, slow...)
	g.joinAll(net, 6)
	waitMembers(t, g.nodes)
	g.say(g.nodes, 10)
	g.converge(g.nodes, nil)

	a, b := g.nodes[:3], g.nodes[3:]
	from := marks(g.nodes)
	net.Split([]int{1, 2, 3}, []int{4, 5, 6})
	va, vb := waitMembers(t, a), waitMembers(t, b)
	require.Equal(t, []int{1, 2, 3}, va.ids())
	require.Equal(t, 1, va.Coord, "no election where the coordinator is heard")
	require.Equal(t, []int{4, 5, 6}, vb.ids())
	require.Equal(t, 6, vb.Coord)
	common := len(g.sent)
	g.say(a, 20)
	g.convergeOn(a, common+60, from)
	g.say(b, 30)
	g.convergeOn(b, common+90, from)

	from = marks(g.nodes)
	net.Heal()
	g.converge(g.nodes, from)
	v := waitMembers(t, g.nodes)
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, v.ids())
	g.check(g.nodes)
	for _, n := range g.nodes {
		merged := false
		for _, e := range n.Since(from[n]) {
			merged = merged || e.Ev == "view" && lab.As[view](t, e).Cause == "merge"
		}
		require.True(t, merged, "%s: a view says that groups were merged", n.Name())
	}
	g.say(g.nodes, 2)
	g.converge(g.nodes, from)
	g.check(g.nodes)
}

func TestTenAtTheSameInstant(t *testing.T) {
	t.Parallel()
	g := onLoopback(t, calm...)
	for range 10 {
		g.start(nil)
	}
	v := waitMembers(t, g.nodes)
	ids := v.ids()
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(ids))), 10, "ten IDs")
	for _, n := range g.nodes {
		n.ready()
		require.Contains(t, ids, n.id)
	}
	g.say(g.nodes, 5)
	g.converge(g.nodes, nil)
	g.check(g.nodes)
}

func TestThirtyPercentLoss(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	net.Loss(30)
	g := onNet(t)
	for i := 1; i <= 4; i++ {
		g.start(net.Host(i))
	}
	for _, n := range g.nodes {
		n.ready()
	}
	for range 5 {
		g.say(g.nodes, 20)
	}
	g.converge(g.nodes, nil)
	g.check(g.nodes)
}

// TestClassicTiming runs in real time: a heartbeat every 5 s, an election
// after 10 s of silence.
func TestClassicTiming(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 3)
	g := onNet(t, "-heartbeat", "5s", "-timeout", "10s")
	g.joinAll(net, 3)
	v := waitMembers(t, g.nodes)
	require.Equal(t, 1, v.Coord)
	from := marks(g.nodes)
	for _, n := range g.nodes {
		n.Do("subscribe", lab.Args{"what": "hb"})
	}
	coordinator, followers := g.nodes[0], g.nodes[1:]

	// nextBeat awaits a heartbeat after the mark, and returns the mark after it.
	nextBeat := func(n *node, from lab.Mark) (lab.Event, lab.Mark) {
		e := n.Await(from, "hb", nil)
		return e, lab.Mark(e.Seq - n.Events()[0].Seq + 1)
	}
	// A new coordinator repeats its heartbeat for some seconds. After that it
	// comes every 5 s.
	beat, at := nextBeat(coordinator, from[coordinator])
	for steady := 0; steady < 2; {
		next, nextAt := nextBeat(coordinator, at)
		gap := time.Duration(next.MS-beat.MS) * time.Millisecond
		require.Less(t, gap, 6*time.Second)
		if steady++; gap < 4900*time.Millisecond {
			steady = 0
		}
		beat, at = next, nextAt
	}

	for _, n := range followers { // they have heard that one, too
		n.Await(0, "hb", func(e lab.Event) bool { return beat.T.Sub(e.T) < time.Second })
	}

	// One heartbeat is lost. That alone never makes an election.
	quiet := marks(g.nodes)
	net.Mute(1)
	lost, at := nextBeat(coordinator, at)
	require.InDelta(t, 5000, lost.MS-beat.MS, 1000)
	net.Heal()
	for _, n := range followers {
		var last lab.Event // before the loss
		for _, e := range n.Events()[:quiet[n]] {
			if e.Ev == "hb" {
				last = e
			}
		}
		next, _ := nextBeat(n, quiet[n])
		require.Greater(t, next.MS-last.MS, int64(7000), "%s: the heartbeat was lost", n.Name())
	}
	_, _ = nextBeat(coordinator, at)

	// Silence: the coordinator's process stands still, and its host still
	// answers for it, so that nothing but time shows it.
	silent := marks(g.nodes)
	for _, n := range followers {
		nextBeat(n, silent[n])
	}
	for _, n := range g.nodes {
		for _, e := range n.Since(from[n]) {
			require.NotContains(t, []string{"elect", "coord", "view"}, e.Ev, "%s: nothing was to happen: %s", n.Name(), e.Line)
		}
	}
	for _, n := range g.nodes {
		for _, e := range n.Since(from[n]) {
			if e.Ev == "hb" {
				require.Equal(t, 1, lab.As[struct{ From peer }](t, e).From.ID)
			}
		}
	}
	coordinator.Freeze()
	for _, n := range followers {
		c := n.awaitCoordinator(silent[n], 3)
		require.Equal(t, 1, c.Old.ID)
		require.GreaterOrEqual(t, c.GapMS, int64(10000))
		require.Less(t, c.GapMS, int64(16000))
	}
	for _, n := range followers {
		var heard int64
		elected := false
		for _, e := range n.Since(silent[n]) {
			switch e.Ev {
			case "hb":
				hb := lab.As[struct{ From peer }](t, e)
				if hb.From.ID == 1 {
					heard = e.MS
				} else if n.id == 3 {
					require.True(t, elected, "%s: no heartbeat before the election has ended: %s", n.Name(), e.Line)
				}
			case "elect":
				require.Greater(t, e.MS-heard, int64(9000), "%s: an election after 10 s of silence: %s", n.Name(), e.Line)
			case "coord":
				elected = true
			}
		}
	}
}
