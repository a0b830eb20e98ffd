//go:build unix

package main_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/p2pchat"
	"github.com/seed-885536be/p2p/transport/lan"
)

// What bad situations do, and which test shows it; those of this package run
// the whole program.
//
//	malformed or hostile packets           TestGarbage, TestSituationHostileStranger; transport/lan TestHostile*, TestNoise*
//	a hostile member                       TestSituationHostileMember; p2pchat TestAFloodOfForgedBlocksDelaysNobody
//	another group on one address or port   TestSituationGroupsOnOnePort, TestSituationForeignGroup; transport/lan TestGroupsOnOneAddressDoNotMeet
//	a wrong passphrase                     TestSituationOtherKey; p2pchat TestGroupsTellStrangersWhy
//	sealed and open mixed                  TestSituationOtherKey
//	who has not the passphrase, listening  TestSituationCapturedSealed, TestSituationCapturedOpen
//	and replaying                          TestSituationCapturedSealed; transport/seal TestReplayed*, TestOwnPacketsThrownBackAreNotTaken
//	another wire version                   TestSituationNewerGroup, TestSituationNewerJoiner; transport/lan TestOtherVersionIsToldSo
//	equal nicks                            TestSituationEqualNicks
//	an ambiguous name, who has gone        TestSituationAmbiguousName, TestFindPeer; p2pchat TestDirectMessagesToWhoIsGone
//	a direct message across a split        TestSituationDirectAcrossASplit; p2pchat TestDirectMessagesOutliveACut
//	one ID on both sides of a split        TestSituationSameIDOnBothSides, TestSituationRenumbered
//	several processes on a machine         TestFourOnLoopback, TestTenAtTheSameInstant, TestMany
//	no usable interface                    TestSituationLoopbackOnly, which awaits the warning; TestSituationNoInterface
//	multicast filtered, on all hosts       TestSituationNoMulticast; from the start, with a seed: TestSituationSeed, which awaits the warning
//	what a firewall shuts, and -check      TestSituationCheck; transport/lan TestCheckFindsTheHalfThatIsShut
//	on one host, in either direction       TestDeaf, TestSituationMuteNewcomer
//	several interfaces, bridges            TestSituationTwoInterfaces; transport/lan TestChoose
//	IPv6 only                              TestSituationIPv6Only; transport/lan TestADeafLoopbackMattersOnlyAlone
//	IPv4 only beside IPv6 only             TestSituationBothFamilies; transport/lan TestBothFamiliesAreOneGroup
//	interface gone and back                TestSituationInterfaceGone, TestUnplugged; transport/lan TestConnectionsFromALostAddressAreAbandoned
//	roaming                                TestSituationRoaming; transport/lan TestRoaming; p2pchat TestGroupLearnsANewEndpoint
//	sleep                                  TestSituationSleep, which awaits the warning, TestSituationAllSleep, TestFrozenCoordinator, TestFrozenFollower
//	one-way link                           TestOneWay
//	flapping peer                          TestSituationFlapping, TestSituationFlappingProcess, which awaits the warning; membership TestFlappingMemberHasToWait
//	clocks differ                          p2pchat TestADayApart, TestClocksThatDiffer: no process has a time of day of its own
//	slow program                           TestReaderStuck, TestReaderGone; p2pchat TestSlowReaderOfEventsIsTold
//	slow or stuck peer                     TestSituationStuckMember; transport/lan TestStalledPeer*
//	flood from one member                  TestSituationFlood; causal TestAFloodOfOrphansStarvesNobody
//	disk full                              TestSituationDiskFull; p2pchat TestAFullDisk; causal/boltstore TestFull
//	the end of a write is missing          p2pchat TestATornWriteIsReported; causal/boltstore TestDamage
//	store locked                           TestSituationStoreLocked; causal/boltstore TestLocked
//	store corrupt                          TestSituationStoreCorrupt; causal/boltstore TestDamage, TestRot
//	an author who forks its history        TestSituationForked; causal TestI10ForksAreEvidenceEverywhere, TestForkProofsAreChecked
//	a copied data directory                TestSituationCopiedDataDirectory
//	forged, altered or replayed blocks     TestGarbage, TestSituationHostileStranger; causal TestI11ForgeriesChangeNothing
//	heights and numbers beyond measure     causal TestBlocksThatContradictTheirParents, TestI16AnyInput
//	process killed                         TestThreeDieTogether, TestFourOnLoopback
//	terminal closed, signals               TestSituationGoodbye
//	control characters                     TestSituationControlCharacters, TestHostileNickAndText
//	cut, loss and delay by command         TestSituationCutByCommand, TestSituationBadNetworkByCommand, TestFault

// fault gives the command fault to all nodes.
func (g *group) fault(nodes []*node, args lab.Args) {
	g.t.Helper()
	for _, n := range nodes {
		n.Do("fault", args)
	}
}

// TestSituationCutByCommand splits a group by the command fault, twice in
// different ways, and heals it. It takes no privileges.
func TestSituationCutByCommand(t *testing.T) {
	t.Parallel()
	g := four(t, nil, slow...)
	g.say(g.nodes, 5)
	g.converge(g.nodes, nil)
	from := marks(g.nodes)
	g.fault(g.nodes, lab.Args{"cut": [][]int{{1, 2}, {3, 4}}})
	require.Equal(t, 1, waitMembers(t, g.nodes[:2]).Coord)
	require.Equal(t, 4, waitMembers(t, g.nodes[2:]).Coord)
	g.say(g.nodes, 5)
	g.convergeOn(g.nodes[:2], 30, from)
	g.convergeOn(g.nodes[2:], 30, from)

	// Who is cut off is known by its ID although it is no member any more. A
	// newcomer is in no list, as is who is not named.
	g.fault(g.nodes, lab.Args{"cut": [][]int{{2}}})
	late := g.start(nil)
	rest := without(g.nodes, g.nodes[1])
	late.ready()
	waitMembers(t, rest)
	waitMembers(t, g.nodes[1:2])
	g.converge(rest, nil)

	g.fault(g.nodes, lab.Args{"clear": true})
	g.whole(g.nodes)
	for _, n := range g.nodes[:4] {
		require.Positive(t, lab.As[struct{ Drops map[string]int }](t, n.Do("status", nil)).Drops["fault"], "%s: it lost something", n.Name())
	}
}

// TestSituationBadNetworkByCommand loses a third of all packets and delays the
// others, by the command fault.
func TestSituationBadNetworkByCommand(t *testing.T) {
	t.Parallel()
	g := four(t, nil)
	g.fault(g.nodes, lab.Args{"loss": 30, "delay_ms": 50})
	g.say(g.nodes, 20)
	g.converge(g.nodes, nil)
	g.fault(g.nodes, lab.Args{"clear": true})
	g.whole(g.nodes)
}

// TestSituationGroupsOnOnePort runs two groups whose addresses differ and whose
// port does not, and beside them one that has another name only. They never
// meet.
func TestSituationGroupsOnOnePort(t *testing.T) {
	t.Parallel()
	one := onLoopback(t)
	address := netip.MustParseAddrPort(one.flags[slices.Index(one.flags, "-group")+1])
	next := netip.AddrPortFrom(address.Addr().Next(), address.Port())
	two := newGroup(t, []string{"-iface", "lo", "-group", next.String()})
	for range 2 {
		one.join(nil)
		two.join(nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lab.Patience)
	defer cancel()
	named, err := p2pchat.New(p2pchat.WithName("named"), p2pchat.WithTransport(
		lan.New(lan.Config{Group: address.String(), Name: "other", Interfaces: []string{"lo"}})))
	require.NoError(t, err)
	defer named.Close()
	require.NoError(t, named.Join(ctx))
	_, err = named.Send(ctx, "lobby", []byte("nobody hears this"))
	require.NoError(t, err)

	for _, g := range []*group{one, two} {
		g.say(g.nodes, 5)
		g.converge(g.nodes, nil)
		waitMembers(t, g.nodes)
		g.check(g.nodes)
	}
	require.Len(t, named.View().Members, 1)
	for _, n := range one.nodes {
		_, by := n.drops()
		require.Positive(t, by["foreign_group"], "%s: %v", n.Name(), by)
	}
	require.Positive(t, named.Status().Drops["foreign_group"])
}

// TestSituationEqualNicks is three people of one name. Their IDs tell them
// apart.
func TestSituationEqualNicks(t *testing.T) {
	t.Parallel()
	g := onLoopback(t, append(slices.Clone(calm), "-nick", "eve")...)
	for range 3 {
		g.join(nil)
	}
	v := waitMembers(t, g.nodes)
	require.Equal(t, []int{1, 2, 3}, v.ids())
	for _, m := range v.Members {
		require.Equal(t, "eve", m.Nick)
	}
	g.whole(g.nodes)
	for _, n := range g.nodes {
		from := map[int]int{}
		for _, m := range n.history() {
			from[m.From.ID]++
		}
		require.Equal(t, map[int]int{1: 5, 2: 5, 3: 5}, from)
	}
}

// TestSituationSameIDOnBothSides lets both sides of a split give out the same
// ID. One of the two gets another when they merge, and what it said stays its
// own.
func TestSituationSameIDOnBothSides(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	g := onNet(t, slow...)
	g.join(net.Host(1))
	g.join(net.Host(2))
	waitMembers(t, g.nodes)
	net.Split([]int{1, 3}, []int{2, 4})
	waitMembers(t, g.nodes[:1])
	waitMembers(t, g.nodes[1:])
	a, b := g.join(net.Host(3)), g.join(net.Host(4))
	require.Equal(t, 3, a.id)
	require.Equal(t, 3, b.id)
	from := marks(g.nodes)
	g.say(g.nodes, 5)
	g.convergeOn([]*node{g.nodes[0], a}, 10, from)
	g.convergeOn([]*node{g.nodes[1], b}, 10, from)
	from = marks(g.nodes)
	net.Heal()
	g.whole(g.nodes)

	ids := waitMembers(t, g.nodes).ids()
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), 4, "each has an ID of its own: %v", ids)
	renumbered := 0
	for _, n := range g.nodes {
		for _, e := range n.Since(from[n]) {
			if e.Ev == "view" {
				renumbered += len(lab.As[struct{ Renumbered []peer }](t, e).Renumbered)
			}
		}
	}
	require.Positive(t, renumbered, "it is told who has another ID now")
	authors := map[string]string{}
	for _, m := range g.nodes[0].history() {
		name, _, _ := strings.Cut(m.Text, " ")
		if node := authors[name]; node != "" {
			require.Equal(t, node, m.From.Node, "%s: %s", name, m.Text)
		}
		authors[name] = m.From.Node
	}
	require.Len(t, authors, 4)
}

// TestSituationLoopbackOnly is a host without a network: its processes talk to
// each other all the same, and say that it is this machine only.
func TestSituationLoopbackOnly(t *testing.T) {
	t.Parallel()
	host := lab.NewNet(t, 1).Host(1)
	host.Run("ip", "link", "set", "eth0", "down")
	g := onNet(t)
	g.join(host)
	g.join(host)
	g.whole(g.nodes)
	for _, n := range g.nodes {
		require.True(t, lab.As[struct {
			LocalOnly bool `json:"local_only"`
		}](t, n.Do("status", nil)).LocalOnly)
		require.Contains(t, n.warned(0, "local_only"), "this machine only")
	}
}

// TestSituationNoInterface is a host that has not even a loopback interface.
func TestSituationNoInterface(t *testing.T) {
	t.Parallel()
	host := lab.NewNet(t, 1).Host(1)
	host.Run("ip", "link", "set", "eth0", "down")
	host.Run("ip", "link", "set", "lo", "down")
	n := onNet(t).start(host)
	require.Equal(t, 3, n.Exit())
	failed := lab.As[struct{ Phase, Code string }](t, n.Await(0, "join", nil))
	require.Equal(t, "failed", failed.Phase)
	require.Equal(t, "no_network", failed.Code)
}

// TestSituationNoMulticast takes all multicast away from a group that is
// formed. It stays whole, and talks.
func TestSituationNoMulticast(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	g := four(t, net, long...)
	from := marks(g.nodes)
	for i := 1; i <= 4; i++ {
		net.Deafen(i)
	}
	g.nodes[0].pass(threeTimeouts)
	g.say(g.nodes, 5)
	g.converge(g.nodes, nil)
	for _, n := range g.nodes {
		n.never(from[n], "coord", "view")
	}
	net.Heal()
	g.whole(g.nodes)
}

// TestSituationMuteNewcomer is a host whose multicast does not get out: nobody
// hears it ask for the group, but it hears the group.
func TestSituationMuteNewcomer(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 3)
	net.Mute(3)
	g := onNet(t)
	g.joinAll(net, 3)
	g.whole(g.nodes)
}

// TestSituationTwoInterfaces is hosts that are on one network twice, and have
// interfaces that are none of a network's. A packet that comes twice counts
// once.
func TestSituationTwoInterfaces(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 3)
	net.Second()
	for i := 1; i <= 3; i++ {
		host := net.Host(i)
		host.Run("ip", "link", "add", "docker0", "type", "bridge")
		host.Run("ip", "addr", "add", "172.17.0.1/16", "dev", "docker0")
		host.Run("ip", "link", "set", "docker0", "up")
	}
	g := onNet(t)
	g.joinAll(net, 3)
	g.whole(g.nodes)
	for _, n := range g.nodes {
		_, by := n.drops()
		require.Positive(t, by["duplicate"], "%s: %v", n.Name(), by)
		used := map[string]bool{}
		for _, i := range lab.As[struct {
			Ifaces []struct {
				Name, Why string
				Use       bool
			}
		}](t, n.Events()[0]).Ifaces {
			used[i.Name] = i.Use
			require.True(t, i.Use || i.Why != "", "%s is not used, and nobody knows why", i.Name)
		}
		require.Equal(t, map[string]bool{"lo": true, "eth0": true, "eth1": true, "docker0": false}, used)
	}
}

// TestSituationInterfaceGone takes a host's interface away for so long that the
// others give it up, and then gives it back.
func TestSituationInterfaceGone(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 3)
	g := onNet(t)
	g.joinAll(net, 3)
	waitMembers(t, g.nodes)
	host, gone, rest := net.Host(3), g.nodes[2], g.nodes[:2]
	host.Run("ip", "link", "set", "eth0", "down")
	host.Run("ip", "addr", "flush", "dev", "eth0")
	waitMembers(t, rest)
	waitMembers(t, []*node{gone})
	g.say(g.nodes, 5)
	host.Run("ip", "addr", "add", host.Addr().String()+"/24", "dev", "eth0")
	host.Run("ip", "link", "set", "eth0", "up")
	g.whole(g.nodes)
}

// asleep is how many heartbeats of the others a process of
// TestSituationSleep sleeps: 41 s with the usual times.
const asleep = 82

// TestSituationSleep lets a member sleep for long. When it wakes, it looks for
// the others before it gives anybody up, and takes over what it missed.
func TestSituationSleep(t *testing.T) {
	t.Parallel()
	// Those who are awake are given up by nobody, although a busy machine makes
	// their heartbeats late.
	g := onLoopback(t, "-heartbeat", "100ms", "-timeout", "5s")
	for range 3 {
		g.join(nil)
	}
	waitMembers(t, g.nodes)
	sleeper, rest := g.nodes[2], g.nodes[:2]
	from := marks(g.nodes)
	sleeper.Freeze()
	waitMembers(t, rest)
	g.say(rest, 5)
	rest[0].pass(asleep)
	sleeper.Thaw()
	g.whole(g.nodes)
	require.Contains(t, sleeper.warned(from[sleeper], "woke"), "woke after")
	for _, e := range sleeper.Since(from[sleeper]) {
		require.NotEqual(t, "elect", e.Ev, "%s", e.Line)
		if e.Ev == "peer" {
			require.NotEqual(t, "dead", lab.As[struct{ State string }](t, e).State, "%s", e.Line)
		}
	}
}

// TestSituationAllSleep lets the whole group sleep, as on one laptop. Nobody
// gives anybody up.
func TestSituationAllSleep(t *testing.T) {
	t.Parallel()
	g := four(t, nil, long...)
	clock := onLoopback(t, "-heartbeat", "100ms", "-timeout", "10s").join(nil)
	from := marks(g.nodes)
	for _, n := range g.nodes {
		n.Freeze()
	}
	clock.pass(5 * threeTimeouts) // five times as often as the group's
	for _, n := range g.nodes {
		n.Thaw()
	}
	g.whole(g.nodes)
	for _, n := range g.nodes {
		n.never(from[n], "elect", "coord", "view")
	}
}

// TestSituationFlapping cuts one member off again and again, each time until it
// suspects the coordinator, which it does after two heartbeats, and so never for as
// long as the time-out. It stays a member.
func TestSituationFlapping(t *testing.T) {
	t.Parallel()
	// The four are told of a cut, and of its end, one after another, for which a busy
	// machine may take many seconds.
	g := four(t, nil, "-timeout", "1m")
	from, cut := marks(g.nodes), g.nodes[3]
	for range 5 {
		mark := cut.Mark()
		awaits := func(state string) {
			t.Helper()
			cut.Await(mark, "peer", func(e lab.Event) bool {
				p := lab.As[struct {
					Peer  peer
					State string
				}](t, e)
				return p.Peer.ID == 1 && p.State == state
			})
		}
		g.fault(g.nodes, lab.Args{"cut": [][]int{{4}}})
		awaits("suspect")
		mark = cut.Mark()
		g.fault(g.nodes, lab.Args{"clear": true})
		awaits("up")
	}
	for _, n := range g.nodes {
		n.never(from[n], "elect", "coord", "view")
	}
	g.whole(g.nodes)
}

// TestSituationFlappingProcess kills one process again and again, and starts it
// again with the same data. The coordinator says so, and lets it wait, but not
// for ever.
func TestSituationFlappingProcess(t *testing.T) {
	t.Parallel()
	// Nobody is lost but the one that is killed, which is known at once.
	g := onLoopback(t, calm...)
	g.join(nil)
	g.join(nil)
	rest, dir := g.nodes, t.TempDir()
	waitMembers(t, rest)
	for range 4 {
		require.Empty(t, rest[0].warnings(0))
		n := g.stored(dir)
		n.ready()
		n.Kill()
		g.nodes = rest
		waitMembers(t, rest)
	}
	require.Contains(t, rest[0].warned(0, "flapping"), "was lost 4 times within a minute")
	g.stored(dir).ready()
	g.whole(g.nodes)
}

// TestSituationFlood lets one member talk without end. What another one says
// comes through meanwhile.
func TestSituationFlood(t *testing.T) {
	t.Parallel()
	g := onLoopback(t)
	for range 3 {
		g.join(nil)
	}
	waitMembers(t, g.nodes)
	loud, quiet, ear := g.nodes[0], g.nodes[1], g.nodes[2]
	flood := func(count int) (sent []*lab.Pending) {
		for range count {
			sent = append(sent, loud.Begin("send", lab.Args{"text": strings.Repeat("bla", 100)}))
		}
		return sent
	}
	pending := flood(200)
	const lines = 5
	heard := func() (n int) {
		for _, e := range ear.Events() {
			if e.Ev == "msg" && lab.As[message](t, e).From.ID == quiet.id {
				n++
			}
		}
		return n
	}
	for i := range lines {
		g.say([]*node{quiet}, 1)
		for deadline := time.Now().Add(lab.Patience); heard() <= i; {
			require.True(t, time.Now().Before(deadline), "nothing gets through")
			pending = append(pending, flood(50)...)
			pending[len(pending)-1].OK()
		}
	}
	for _, p := range pending {
		g.sent[lab.As[struct{ M string }](t, p.OK()).M] = strings.Repeat("bla", 100)
	}
	g.converge(g.nodes, nil)
	g.check(g.nodes)
}

// TestSituationGoodbye ends a process in each way in which a terminal or a
// system does. It says goodbye, so nobody has to suspect it.
func TestSituationGoodbye(t *testing.T) {
	t.Parallel()
	g := onLoopback(t, calm...)
	g.join(nil)
	stay := g.nodes[:1]
	for _, c := range []struct {
		name, cause string
		end         func(*node)
	}{
		{"end of input", "eof", func(n *node) { n.CloseInput() }},
		{"SIGINT", "signal", func(n *node) { n.Signal(syscall.SIGINT) }},
		{"SIGTERM", "signal", func(n *node) { n.Signal(syscall.SIGTERM) }},
		{"SIGHUP", "signal", func(n *node) { n.Signal(syscall.SIGHUP) }},
	} {
		guest := g.join(nil)
		waitMembers(t, []*node{stay[0], guest})
		from := stay[0].Mark()
		began := time.Now()
		c.end(guest)
		bye := lab.As[struct {
			Code  int
			Cause string
		}](t, guest.Await(0, "bye", nil))
		require.Zero(t, guest.Exit(), c.name)
		t.Logf("%s: gone after %v", c.name, time.Since(began))
		require.Equal(t, c.cause, bye.Cause, c.name)
		e := stay[0].Await(from, "view", nil)
		left := lab.As[view](t, e).Left
		require.Len(t, left, 1, c.name)
		require.Equal(t, "left", left[0].Why, c.name)
		for _, e := range stay[0].Since(from) {
			require.NotContains(t, string(e.Line), `"suspect"`, c.name)
		}
	}
}

// TestSituationControlCharacters sends what would take over a terminal. The
// history keeps it as it is, and no line that is written contains it.
func TestSituationControlCharacters(t *testing.T) {
	t.Parallel()
	nasty := "\x1b[2J\x1b]0;owned\a\u009b31m\u202ereversed\x00\r\ntext"
	g := onLoopback(t, "-nick", "e\x1bve\u202e")
	g.join(nil)
	g.join(nil)
	m := lab.As[struct{ M string }](t, g.nodes[0].Do("send", lab.Args{"text": nasty})).M
	g.sent[m] = nasty
	g.converge(g.nodes, nil)
	g.check(g.nodes)
	for _, n := range g.nodes {
		for _, e := range n.Events() {
			for _, r := range string(e.Line) {
				require.False(t, unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r), "%s: %q", n.Name(), e.Line)
			}
		}
	}
}

// stored starts a process that keeps its history in a directory.
func (g *group) stored(dir string) *node {
	g.t.Helper()
	return g.startWith(nil, "-data", dir)
}

// TestSituationStoreLocked starts a second process on a data directory that is
// in use.
func TestSituationStoreLocked(t *testing.T) {
	t.Parallel()
	g := onLoopback(t)
	dir := t.TempDir()
	first := g.stored(dir)
	first.ready()
	cmd := exec.Command(lab.Build(t, chatPath), append([]string{"-json", "-data", dir}, g.flags...)...)
	out, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Equal(t, "chat: the directory "+dir+" is used by another process: choose another with -data\n", string(out))
	g.say(g.nodes[:1], 3)
	g.converge(g.nodes[:1], nil)
}

// TestSituationStoreCorrupt starts a process whose store is damaged in the
// middle. It says so, and does not go on with half a history.
func TestSituationStoreCorrupt(t *testing.T) {
	t.Parallel()
	g := onLoopback(t)
	dir := t.TempDir()
	n := g.stored(dir)
	n.ready()
	g.say(g.nodes, 50)
	g.converge(g.nodes, nil)
	n.Do("quit", nil)
	require.Zero(t, n.Exit())
	file := filepath.Join(dir, "history.db")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	for i := 2 * os.Getpagesize(); i < len(b); i++ {
		b[i] ^= 0x5a
	}
	require.NoError(t, os.WriteFile(file, b, 0o600))
	cmd := exec.Command(lab.Build(t, chatPath), append([]string{"-json", "-data", dir}, g.flags...)...)
	out, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode(), "%s", out)
	require.Regexp(t, `^chat: p2pchat: data directory `+regexp.QuoteMeta(dir)+`: boltstore: open `+regexp.QuoteMeta(file)+
		`: boltstore: the store is damaged: [^\n]+\n$`, string(out))
}

// TestSituationDiskFull keeps a history on a disk that has no room for it. The
// group goes on; the node says what is wrong.
func TestSituationDiskFull(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 2) // for what it takes: to be root on Linux
	g := onNet(t)
	g.join(net.Host(1))
	dir := t.TempDir()
	chat := append([]string{"-json", "-nick", "n2", "-data", dir}, g.flags...)
	n := &node{g: g, Process: lab.Start(t, lab.Config{
		Path: "unshare",
		Args: append([]string{"--mount", "sh", "-c", `mount -t tmpfs -o size=400k disk "$0" && exec "$@"`, dir, lab.Build(t, chatPath)}, chat...),
		Host: net.Host(2), Name: "n2",
	})}
	g.all, g.nodes = append(g.all, n), append(g.nodes, n)
	n.ready()
	waitMembers(t, g.nodes)
	from := n.Mark()
	text := strings.Repeat("full ", 4000)
	for len(g.sent) < 100 {
		g.sent[lab.As[struct{ M string }](t, g.nodes[0].Do("send", lab.Args{"text": text})).M] = text
	}
	warn := lab.As[struct{ Code, Text string }](t, n.Await(from, "warn", func(e lab.Event) bool {
		return lab.As[struct{ Code string }](t, e).Code == "store"
	}))
	t.Logf("%s", warn.Text)
	require.Contains(t, warn.Text, "no space left on device")
	// Nobody else is held up by it.
	g.nodes[0].Do("view", nil)
	g.say(g.nodes[:1], 5)
	g.nodes[0].wait("message", lab.Args{"n": len(g.sent)})
}

// TestSituationCopiedDataDirectory lets two processes go on with one identity,
// from a copied data directory, on two sides of a split. Each writes under a
// name of its own, so nothing forks and all is kept; and when the sides meet,
// one of the two gives way.
func TestSituationCopiedDataDirectory(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	g := onNet(t, slow...)
	g.join(net.Host(1))
	g.join(net.Host(2))
	dir := t.TempDir()
	with := func(host int, dir string) *node { return g.joinWith(net.Host(host), "-data", dir) }
	first := with(3, dir)
	g.say([]*node{first}, 3)
	g.converge(g.nodes, nil)
	first.Kill()
	copied := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	g.nodes = g.nodes[:2]
	waitMembers(t, g.nodes)

	net.Split([]int{1, 3}, []int{2, 4})
	waitMembers(t, g.nodes[:1])
	waitMembers(t, g.nodes[1:])
	a, b := with(3, dir), with(4, copied)
	for i, n := range []*node{a, b} {
		text := fmt.Sprintf("twin %d", i)
		g.sent[lab.As[struct{ M string }](t, n.Do("send", lab.Args{"text": text})).M] = text
		n.wait("message", lab.Args{"text": text})
	}
	require.Len(t, g.sent, 5, "two keys for two messages")
	g.convergeOn([]*node{g.nodes[0], a}, 4, nil)
	g.convergeOn([]*node{g.nodes[1], b}, 4, nil)
	net.Heal()
	for _, n := range g.nodes[:2] {
		n.wait("members", lab.Args{"n": 3})
	}
	gone := make(chan int, 2)
	for _, n := range []*node{a, b} {
		go func() { gone <- n.Exit() }()
	}
	require.Equal(t, 4, <-gone, "the group refuses one of them")
	for _, n := range g.nodes[:2] {
		n.wait("message", lab.Args{"n": len(g.sent)})
		for _, text := range n.warnings(0) {
			// The sides heard each other before they were one. That is told once a minute.
			require.Equal(t, "packets refused: stranger", text)
		}
	}
	g.check(g.nodes[:2])
}
