//go:build unix

package lan_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
	"github.com/seed-885536be/p2p/transport/lan"
)

// run runs a command on a host.
func run(t *testing.T, h *lab.Host, command string) string {
	t.Helper()
	args := strings.Fields(command)
	out, err := h.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%s: %s", command, out)
	return string(out)
}

// rules gives a host a packet filter of its own.
func rules(t *testing.T, h *lab.Host, lines ...string) {
	t.Helper()
	text := "table inet firewall\ndelete table inet firewall\ntable inet firewall {\nchain in { type filter hook input priority 0;\n"
	var out string
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, "out "); ok {
			out += rest + "\n"
		} else {
			text += strings.TrimPrefix(l, "in ") + "\n"
		}
	}
	cmd := h.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text + "}\nchain out { type filter hook output priority 0;\n" + out + "}\n}\n")
	b, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", b)
}

// What keeps the multicast of the group from a host, or on it.
const (
	noIn   = "in iifname eth0 pkttype multicast udp dport 7712 drop"
	noOut4 = "out oifname eth0 ip daddr 224.0.0.0/4 drop"
	noOut6 = "out oifname eth0 ip6 daddr ff10::/12 drop"
)

// settled waits until all IPv6 addresses of a host can be used.
func settled(t *testing.T, h *lab.Host) {
	t.Helper()
	for end := time.Now().Add(lab.Patience); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		if run(t, h, "ip -6 addr show dev eth0 tentative") == "" && strings.Contains(run(t, h, "ip -6 addr show dev eth0"), "fe80") {
			return
		}
	}
	require.FailNow(t, "no IPv6 address")
}

// hears checks that what one sends to the group comes once to another, under the
// name that the first has.
func hears(t *testing.T, from, to *process) {
	t.Helper()
	text := fmt.Sprint("to all ", time.Now().UnixNano())
	require.Equal(t, "<nil>", from.do("multicast %s", text))
	to.await("datagram %v %s", from.at, text)
	require.Equal(t, "<nil>", from.do("unicast %v last", to.at))
	require.Equal(t, fmt.Sprintf("datagram %v last", from.at), to.next(), "it came twice")
}

// talks checks that there is a stream from one to another.
func talks(t *testing.T, from, to *process) {
	t.Helper()
	text := fmt.Sprint("to one ", time.Now().UnixNano())
	require.Equal(t, "<nil>", from.do("stream %v %s", to.at, text))
	to.await("frame %v %s", from.at, text)
}

// Three hosts with IPv4 and IPv6, with nothing but a link-local IPv6 address,
// and with IPv4 only. The two that have nothing in common both reach the first.
func TestBothFamiliesAreOneGroup(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 3)
	run(t, net.Host(2), "ip addr del 10.77.0.2/24 dev eth0")
	run(t, net.Host(3), "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
	settled(t, net.Host(1))
	settled(t, net.Host(2))
	both := spawn(t, net.Host(1), lan.Config{})
	six := spawn(t, net.Host(2), lan.Config{})
	four := spawn(t, net.Host(3), lan.Config{})
	require.Equal(t, "10.77.0.1", both.at.Addr().String(), "IPv4 is preferred")
	require.True(t, six.at.Addr().IsLinkLocalUnicast() && six.at.Addr().Zone() == "", "%v", six.at)
	require.Contains(t, six.do("interfaces"), "Used:true Why:IPv6 only")
	require.Contains(t, four.do("interfaces"), "Used:true Why:IPv4 only")
	for range 3 {
		hears(t, both, six)
		hears(t, six, both)
		hears(t, both, four)
		hears(t, four, both)
	}
	talks(t, six, both)
	talks(t, both, six)
	talks(t, four, both)
	for _, p := range []*process{both, six, four} {
		require.Equal(t, "[]", p.do("warnings"))
	}
	require.NotEqual(t, "<nil>", six.do("unicast %v hello", four.at))
	require.Equal(t, "<nil>", four.do("stream %v hello", six.at))
	six.until(fmt.Sprintf("[{Code:other_family Interface: Text:%v cannot be reached: all that is known of it is IPv4, and this node has IPv6 only; give one of the two hosts both}]", four.at), "warnings")
	four.until(fmt.Sprintf("[{Code:other_family Interface: Text:%v cannot be reached: all that is known of it is IPv6, and this node has IPv4 only; give one of the two hosts both}]", six.at), "warnings")
	require.Equal(t, "[]", both.do("warnings"))
	for _, p := range []*process{both, six, four} {
		require.Equal(t, "map[]", p.do("drops"))
	}
	require.NoError(t, both.Kill())
	six.await("down %v reset", both.at)
	six.await("down %v refused", both.at) // although its name is an IPv4 address
}

// Where there is no multicast at all, one seed is enough.
func TestSeedsInsteadOfMulticast(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	for i := 1; i <= 4; i++ {
		rules(t, net.Host(i), noIn, noOut4, noOut6)
	}
	all := []*process{spawn(t, net.Host(1), lan.Config{Listen: ":7000"})}
	for i := 2; i <= 4; i++ {
		all = append(all, spawn(t, net.Host(i), lan.Config{Peers: []string{"10.77.0.1:7000"}}))
	}
	meet(t, all)
	require.NoError(t, all[0].Kill())
	meet(t, all[1:]) // they know each other
}

// meet waits until what each sends to the group reaches every other.
func meet(t *testing.T, all []*process) {
	t.Helper()
	for _, from := range all {
		for _, to := range all {
			if from == to {
				continue
			}
			for n, found := 0, false; !found; n++ {
				require.Less(t, n, 300, "%v does not hear %v", to.at, from.at)
				_ = from.do("multicast try %d", n)
				for wait := time.After(100 * time.Millisecond); !found; {
					select {
					case line := <-to.lines:
						found = strings.HasPrefix(line, fmt.Sprintf("datagram %v try", from.at))
						continue
					case <-wait:
					}
					break
				}
			}
		}
	}
}

// One host without multicast is in the group of the others by way of a seed.
func TestSeedForOneHost(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	rules(t, net.Host(4), noIn, noOut4, noOut6)
	all := []*process{spawn(t, net.Host(1), lan.Config{}), spawn(t, net.Host(2), lan.Config{Listen: ":7000"}), spawn(t, net.Host(3), lan.Config{})}
	meet(t, all)
	meet(t, append(all, spawn(t, net.Host(4), lan.Config{Peers: []string{"10.77.0.2:7000"}})))
}

// A host gets another address: its streams are dialed again, by the old name
// and by the new one.
func TestRoaming(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 2)
	for i := 1; i <= 2; i++ {
		run(t, net.Host(i), "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
	}
	a, b := spawn(t, net.Host(1), lan.Config{}), spawn(t, net.Host(2), lan.Config{})
	talks(t, a, b)
	run(t, net.Host(1), "ip addr del 10.77.0.1/24 dev eth0")
	run(t, net.Host(1), "ip addr add 10.77.0.101/24 dev eth0")
	a.until("10.77.0.101", "addr")
	b.await("up %v ", a.at) // it is still known by its old name
	b.do("stream %v by the old name", a.at)
	a.await("frame %v by the old name", b.at)
	old := a.at
	a.at = netipPort("10.77.0.101", a.at.Port())
	require.Equal(t, "<nil>", b.do("unicast %v by the new name", a.at))
	a.await("datagram %v by the new name", b.at)
	hears(t, a, b)
	require.NotEqual(t, old, a.at)
}

// A host whose network was gone for a moment has told that it is at a loopback
// address. That nobody is there on another host is no proof that it is dead; and
// what is on this host is known to be there.
func TestALoopbackAddressOfAnotherHostProvesNothing(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 1)
	host := net.Host(1)
	a := spawn(t, host, lan.Config{})
	require.Equal(t, "10.77.0.1", a.at.Addr().String())
	for _, at := range []netip.AddrPort{netipPort("127.0.0.1", 9), netipPort("127.0.0.1", a.at.Port())} {
		a.tell("stream %v are you dead?", at)
		a.await("down %v timeout", at)
	}
	here := spawn(t, host, lan.Config{Interfaces: []string{"lo"}})
	hears(t, here, a)
	talks(t, a, here)
	require.NoError(t, here.Kill())
	a.await("down %v reset", here.at)
	a.await("down %v refused", here.at)
	alone := spawn(t, host, lan.Config{Interfaces: []string{"lo"}})
	alone.tell("stream %v are you dead?", here.at)
	alone.await("down %v refused", here.at)
}

// An interface that goes and comes back is used again.
func TestInterfaceGoneAndBack(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 2)
	a, b := spawn(t, net.Host(1), lan.Config{}), spawn(t, net.Host(2), lan.Config{})
	hears(t, b, a)
	run(t, net.Host(1), "ip link set eth0 down")
	a.until("Used:false Why:down", "interfaces")
	require.Equal(t, "127.0.0.1", strings.Split(a.do("addr"), ":")[0], "this machine only")
	run(t, net.Host(1), "ip link set eth0 up")
	a.until("10.77.0.1", "addr")
	meet(t, []*process{a, b}) // the other end of the link may be up a little later
	hears(t, b, a)
	hears(t, a, b)
}

// An interface through which nothing comes but what this host sends is
// reported, and no longer when that has passed.
func TestNoMulticastIsReported(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 3)
	net.Deafen(1)
	blocked := net.Host(3)
	rules(t, blocked, "in iifname eth0 udp dport 7712 drop", noOut4, noOut6)
	a, b, c := spawn(t, net.Host(1), lan.Config{}), spawn(t, net.Host(2), lan.Config{}), spawn(t, blocked, lan.Config{})
	hears(t, a, b)
	require.Equal(t, "[]", a.do("warnings"), "it takes some seconds to know")
	a.until("{Code:no_multicast Interface:eth0 Text:nodes on other hosts are heard,", sustained(b, a))
	require.Contains(t, c.until("Interface:eth0", "warnings"), "does not come back")
	require.Contains(t, a.do("interfaces"), "Used:true Why:no_multicast")
	require.Equal(t, "[]", b.do("warnings"))
	net.Heal()
	a.until("[]", "warnings")
}

// sustained has a node be heard by another by unicast, and returns the command
// that asks that one for its warnings.
func sustained(from, to *process) string {
	from.do("unicast %v hello", to.at)
	return "warnings"
}

func TestAloneIsReported(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 1)
	a := spawn(t, net.Host(1), lan.Config{})
	a.until("only this node is heard on eth0", "warnings")
	require.NotContains(t, a.do("warnings"), "Interface:lo")
}

func TestCheckFindsTheHalfThatIsShut(t *testing.T) {
	t.Parallel()
	const loopback, in, out = "multicast does not come back to this host", "multicast does not get in", "multicast does not get out"
	const syn = "in iifname eth0 tcp flags & (syn | ack) == syn "
	for name, c := range map[string]struct {
		rules []string
		cut   func(*lab.Net)
		want  []string
		also  string
	}{
		"all well":            {also: "; all is well; "},
		"multicast in":        {cut: func(n *lab.Net) { n.Deafen(1) }, want: []string{in}},
		"multicast in, here":  {rules: []string{noIn}, want: []string{loopback, in}},
		"multicast out":       {cut: func(n *lab.Net) { n.Mute(1) }, want: []string{out}},
		"multicast out, here": {rules: []string{noOut4, noOut6}, want: []string{loopback, out}},
		"multicast, both":     {cut: func(n *lab.Net) { n.Deafen(1); n.Mute(1) }, want: []string{out, in}},
		"TCP in, refused":     {rules: []string{syn + "reject with tcp reset"}, want: []string{"TCP does not get in"}, also: "TCP to it: open  TCP from it: refused; "},
		"TCP in, by silence":  {rules: []string{syn + "drop"}, want: []string{"TCP does not get in"}, also: "TCP to it: open  TCP from it: no answer; "},
		"TCP out":             {rules: []string{"out oifname eth0 tcp flags & (syn | ack) == syn drop"}, want: []string{"TCP does not get out"}},
		"unicast UDP":         {rules: []string{"in iifname eth0 pkttype host udp dport != 7712 drop"}, want: []string{"unicast UDP does not pass"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := lab.NewNet(t, 2)
			settled(t, net.Host(1))
			settled(t, net.Host(2))
			there := spawn(t, net.Host(2), lan.Config{Listen: ":7000"})
			rules(t, net.Host(1), c.rules...)
			if c.cut != nil {
				c.cut(net)
			}
			here := spawn(t, net.Host(1), lan.Config{Listen: ":7000", Peers: []string{there.at.String()}})
			got := here.do("check") // its port is taken by the node itself
			t.Log(strings.ReplaceAll(got, "; ", "\n"))
			var faults []string
			for _, line := range strings.Split(got, "; ") {
				if f, ok := strings.CutPrefix(line, "fault     "); ok {
					faults = append(faults, f)
				}
			}
			require.Equal(t, c.want, faults)
			require.Contains(t, got, c.also)
			require.Contains(t, got, there.at.String())
			require.Contains(t, got, here.at.String()+"  (this host)")
			require.Empty(t, there.lines, "no Handler sees it")
		})
	}
}
