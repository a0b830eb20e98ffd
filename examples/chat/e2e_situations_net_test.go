//go:build unix

package main_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

// startWith starts one more process, with more flags than the others.
func (g *group) startWith(host *lab.Host, flags ...string) *node {
	g.t.Helper()
	usual := g.flags
	g.flags = append(slices.Clone(usual), flags...)
	defer func() { g.flags = usual }()
	return g.start(host)
}

// joinWith starts it and waits until it is a member.
func (g *group) joinWith(host *lab.Host, flags ...string) *node {
	g.t.Helper()
	n := g.startWith(host, flags...)
	n.ready()
	return n
}

// sealedBy are the flags of a process that has a passphrase.
func sealedBy(t *testing.T, passphrase string) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "passphrase")
	require.NoError(t, os.WriteFile(name, []byte(passphrase+"\n"), 0o600))
	return []string{"-pass-file", name}
}

// once runs the program, as a person without a terminal does, and returns
// what it wrote to both outputs, and its exit code.
func once(t *testing.T, host *lab.Host, flags ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command(lab.Build(t, chatPath), flags...)
	if host != nil {
		cmd = host.Command(lab.Build(t, chatPath), flags...)
	}
	b, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	t.Logf("%v\n%s", flags, b)
	return string(b), cmd.ProcessState.ExitCode()
}

// refused checks that a process was refused by its group, for that reason.
func (n *node) refused(code, text string) {
	n.g.t.Helper()
	require.Equal(n.g.t, 4, n.Exit())
	failed := lab.As[struct{ Code, Text string }](n.g.t, n.Await(0, "join", func(e lab.Event) bool {
		return lab.As[struct{ Phase string }](n.g.t, e).Phase == "failed"
	}))
	require.Equal(n.g.t, code, failed.Code)
	require.Contains(n.g.t, failed.Text, text)
	require.Equal(n.g.t, 4, lab.As[struct{ Code int }](n.g.t, n.Await(0, "bye", nil)).Code)
	n.never(0, "view", "coord", "elect")
}

// TestSituationOtherKey lets somebody in who has not the group's passphrase, or
// one where the group has none. It is told why it cannot join, in both faces, and
// nobody else notices.
func TestSituationOtherKey(t *testing.T) {
	t.Parallel()
	right, wrong := sealedBy(t, "correct horse"), sealedBy(t, "battery staple")
	for name, c := range map[string]struct {
		group, joiner []string
		text          string
	}{
		"wrong passphrase": {right, wrong, "this group uses another passphrase"},
		"open joiner":      {right, nil, "this group is sealed, you are open"},
		"sealed joiner":    {nil, wrong, "this group is open, you are sealed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := onLoopback(t, unhurried...)
			for range 3 {
				g.joinWith(nil, c.group...)
			}
			members := g.nodes
			waitMembers(t, members)
			from := marks(members)
			g.startWith(nil, c.joiner...).refused("auth", c.text)
			out, code := once(t, nil, append(slices.Clone(g.flags), c.joiner...)...)
			require.Equal(t, 4, code)
			require.Contains(t, out, "chat: "+c.text)
			for _, n := range members {
				n.never(from[n], "view", "coord", "elect", "peer")
			}
			g.whole(members)
		})
	}
}

// TestSituationNewerGroup joins a group whose coordinator speaks another version
// of the wire format: a socket that says no more than that.
func TestSituationNewerGroup(t *testing.T) {
	t.Parallel()
	g := onLoopback(t, calm...)
	address := netip.MustParseAddrPort(g.flags[slices.Index(g.flags, "-group")+1])
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	c, err := net.ListenMulticastUDP("udp4", lo, net.UDPAddrFromAddrPort(address))
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 2048); ; {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n > prefixSize && b[kindAt] == 'd' {
				_, _ = c.WriteToUDPAddrPort(refusal(b, 2), from)
			}
		}
	}()
	defer func() { c.Close(); <-done }()
	const text = "this group speaks wire 2, you speak 1"
	g.start(nil).refused("version", text)
	out, code := once(t, nil, g.flags...)
	require.Equal(t, 4, code)
	require.Contains(t, out, "chat: "+text)
}

// What begins a packet of transport/lan, whatever its version.
const (
	prefixSize = 16
	kindAt     = 3
	minAt      = 4
	maxAt      = 5
	instanceAt = 16
)

// refusal is what a node says that speaks one version only, to the sender of a
// packet.
func refusal(packet []byte, version byte) []byte {
	b := bytes.Clone(packet[:prefixSize])
	b[kindAt], b[minAt], b[maxAt] = 'r', version, version
	return b
}

// TestSituationNewerJoiner asks a group for admission in another version of the
// wire format. The coordinator tells what it speaks, and nobody else does.
func TestSituationNewerJoiner(t *testing.T) {
	t.Parallel()
	g := onLoopback(t, unhurried...)
	address := netip.MustParseAddrPort(g.flags[slices.Index(g.flags, "-group")+1])
	collect := tap(t, address)
	for range 3 {
		g.join(nil)
	}
	coordinator := lab.As[struct{ Addr string }](t, g.nodes[0].Events()[0]).Addr
	waitMembers(t, g.nodes)
	packets := collect()
	require.NotEmpty(t, packets)
	from := marks(g.nodes)
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer c.Close()
	want := refusal(packets[0], 1)
	answers := 0
	for b := make([]byte, 2048); answers < 2; {
		newer := bytes.Clone(packets[0])
		newer[minAt], newer[maxAt] = 2, 3
		_, err := c.WriteToUDPAddrPort(newer, address)
		require.NoError(t, err)
		// Each is told a few times a second at most.
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		n, at, err := c.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, coordinator, at.String())
		require.Equal(t, want[:6], b[:6], "%x", b[:n])
		require.Equal(t, want[8:prefixSize], b[8:n], "the group, and no more")
		answers++
	}
	for _, n := range g.nodes {
		n.never(from[n], "view", "coord", "elect", "peer")
	}
	g.whole(g.nodes)
}

// withIPv6 gives a host a link-local address that can be used at once, and not
// after seconds.
func withIPv6(h *lab.Host) {
	h.Run("ip", "link", "set", "eth0", "down")
	h.Run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
	h.Run("ip", "link", "set", "eth0", "up")
}

// onlyIPv6 takes all other addresses from it.
func onlyIPv6(h *lab.Host) {
	withIPv6(h)
	h.Run("ip", "-4", "addr", "flush", "dev", "eth0")
	h.Run("ip", "-4", "addr", "flush", "dev", "lo")
}

// TestSituationIPv6Only is hosts that have no IPv4 address at all.
func TestSituationIPv6Only(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 5)
	for i := 1; i <= 5; i++ {
		onlyIPv6(net.Host(i))
	}
	g := onNet(t, calm...)
	life(t, g, net.Host)
	for _, n := range g.all {
		at := netip.MustParseAddrPort(lab.As[struct{ Addr string }](t, n.Events()[0]).Addr)
		require.True(t, at.Addr().Is6(), "%v", at)
	}
}

// TestSituationBothFamilies is a host with IPv4 alone and one with IPv6 alone,
// and one with both. As long as that one leads, all three are a group, although
// the other two never hear each other: what one says reaches the other, but none
// of them knows that they have the same; and each is told why. When the one that
// leads dies, each goes on alone, with all that was said.
func TestSituationBothFamilies(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 3)
	withIPv6(net.Host(1))
	onlyIPv6(net.Host(2))
	net.Host(3).Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	g := onNet(t, slow...)
	g.joinAll(net, 3)
	v := waitMembers(t, g.nodes)
	require.Equal(t, 1, v.Coord)
	g.say(g.nodes, 5)
	for _, n := range g.nodes {
		n.wait("message", lab.Args{"n": len(g.sent)})
	}
	g.check(g.nodes)
	six, four := g.nodes[1], g.nodes[2]
	const text = " cannot be reached: all that is known of it is %s, and this node has %s only; give one of the two hosts both"
	require.Equal(t, v.Members[2].Addr+fmt.Sprintf(text, "IPv4", "IPv6"), six.warned(0, "other_family"))
	require.Equal(t, v.Members[1].Addr+fmt.Sprintf(text, "IPv6", "IPv4"), four.warned(0, "other_family"))
	for _, e := range g.nodes[0].Events() {
		require.NotContains(t, string(e.Line), "other_family")
	}
	g.nodes[0].Kill()
	for _, n := range []*node{six, four} {
		require.Equal(t, n.id, waitMembers(t, []*node{n}).Coord)
		g.check([]*node{n})
	}
}

// warned waits for a warning and returns what it says.
func (n *node) warned(from lab.Mark, code string) string {
	n.g.t.Helper()
	return lab.As[struct{ Text string }](n.g.t, n.Await(from, "warn", func(e lab.Event) bool {
		return lab.As[struct{ Code string }](n.g.t, e).Code == code
	})).Text
}

// TestSituationSeed is a network without multicast. The processes find each
// other by way of one that they are told of, which is not the coordinator; and
// it is not needed any more when it dies. They say what is wrong with the network.
func TestSituationSeed(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 4)
	for i := 1; i <= 4; i++ {
		net.Mute(i)
		net.Deafen(i)
	}
	g := onNet(t, calm...)
	g.joinWith(net.Host(1), "-listen", ":7001")
	seed := g.joinWith(net.Host(2), "-listen", ":7002", "-peer", "10.77.0.1:7001")
	for i := 3; i <= 4; i++ {
		g.joinWith(net.Host(i), "-peer", "10.77.0.2:7002")
	}
	require.Equal(t, 1, waitMembers(t, g.nodes).Coord)
	g.whole(g.nodes)
	rest := without(g.nodes, seed)
	from := marks(rest)
	seed.Kill()
	require.Equal(t, 1, waitMembers(t, rest).Coord)
	g.whole(rest)
	for _, n := range rest {
		n.never(from[n], "elect", "coord")
		require.Contains(t, n.warned(0, "no_multicast"), "eth0")
	}
}

// TestSituationRoaming gives a host another address while its process talks. It
// remains a member, and all know where it is now.
func TestSituationRoaming(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 3)
	g := onNet(t, calm...) // on a busy machine, moving takes some seconds
	for i := 1; i <= 3; i++ {
		net.Host(i).Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
		g.join(net.Host(i))
	}
	waitMembers(t, g.nodes)
	from := marks(g.nodes)
	g.say(g.nodes, 5)
	net.Host(3).Run("ip", "addr", "del", "10.77.0.3/24", "dev", "eth0")
	net.Host(3).Run("ip", "addr", "add", "10.77.0.103/24", "dev", "eth0")
	g.say(g.nodes, 5)
	for _, n := range g.nodes {
		n.Await(from[n], "view", func(e lab.Event) bool {
			return slices.ContainsFunc(lab.As[view](t, e).Members, func(m struct {
				peer
				Addr string
			}) bool {
				return m.ID == 3 && strings.HasPrefix(m.Addr, "10.77.0.103:")
			})
		})
	}
	g.whole(g.nodes)
	for _, n := range g.nodes {
		n.never(from[n], "elect", "coord")
		for _, e := range n.Since(from[n]) {
			if e.Ev == "view" {
				require.Empty(t, lab.As[view](t, e).Left, "%s: %s", n.Name(), e.Line)
			}
		}
	}
}

// person is a process with the face for people, and what it has written.
type person struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

func (g *group) person(flags ...string) *person {
	g.t.Helper()
	cmd := exec.Command(lab.Build(g.t, chatPath), append(slices.Clone(g.flags), flags...)...)
	in, err := cmd.StdinPipe()
	require.NoError(g.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(g.t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(g.t, cmd.Start())
	p := &person{t: g.t, in: in, lines: make(chan string, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	return p
}

func (p *person) types(format string, args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintf(p.in, format+"\n", args...)
	require.NoError(p.t, err)
}

// reads waits for a line that contains something.
func (p *person) reads(part string) {
	p.t.Helper()
	for late := time.After(lab.Patience); ; {
		select {
		case line := <-p.lines:
			if strings.Contains(line, part) {
				return
			}
			p.t.Log(line)
		case <-late:
			require.FailNow(p.t, "nobody says it", part)
		}
	}
}

// TestSituationAmbiguousName speaks to somebody by a name that several have, and
// to somebody who has gone, as a program and as a person do.
func TestSituationAmbiguousName(t *testing.T) {
	t.Parallel()
	g := onLoopback(t, append(slices.Clone(calm), "-nick", "eve")...)
	for range 3 {
		g.join(nil)
	}
	ada := g.person("-nick", "ada")
	ada.reads("you are #4")
	g.nodes[0].wait("members", lab.Args{"n": 4})
	fails := func(to, code string) string {
		t.Helper()
		r := g.nodes[0].Begin("dm", lab.Args{"to": to, "text": "who is it?"}).Reply()
		require.False(t, r.OK)
		require.Equal(t, code, r.Err.Code)
		return r.Err.Text
	}
	const all = `"eve" is ambiguous: eve#1, eve#2, eve#3`
	require.Equal(t, all, fails("eve", "ambiguous_name"))
	ada.types("/msg eve who is it?")
	ada.reads("  ! " + all)
	for _, to := range []string{"eve#2", "2"} {
		g.nodes[0].Do("dm", lab.Args{"to": to, "text": "to " + to})
	}
	ada.types("/msg eve#2 from ada")
	heard := func(text string) {
		t.Helper()
		g.nodes[1].Await(0, "dm", func(e lab.Event) bool { return lab.As[struct{ Text string }](t, e).Text == text })
	}
	heard("to eve#2")
	heard("to 2")
	heard("from ada")
	g.nodes[2].never(0, "dm")

	g.nodes[2].Do("quit", nil)
	require.Zero(t, g.nodes[2].Exit())
	g.nodes[0].wait("members", lab.Args{"n": 3})
	fails("eve#3", "no_such_peer")
	ada.reads("eve#3 left")
	ada.types("/msg eve#3 are you there?")
	ada.reads(`  ! nobody here is called "eve#3"`)
}

// TestSituationDirectAcrossASplit says something to one who cannot be reached.
// It arrives when the split is over, in order and once, although each has given
// up the other meanwhile.
func TestSituationDirectAcrossASplit(t *testing.T) {
	t.Parallel()
	net := lab.NewNet(t, 2)
	g := onNet(t, slow...)
	g.join(net.Host(1))
	g.join(net.Host(2))
	a, b := g.nodes[0], g.nodes[1]
	waitMembers(t, g.nodes)
	a.Do("dm", lab.Args{"to": 2, "text": "0"})
	net.Split([]int{1}, []int{2})
	var pending []*lab.Pending
	for i := 1; i <= 5; i++ {
		pending = append(pending, a.Begin("dm", lab.Args{"to": 2, "text": fmt.Sprint(i)}))
	}
	waitMembers(t, []*node{a})
	waitMembers(t, []*node{b})
	net.Heal()
	for _, p := range pending {
		p.OK()
	}
	waitMembers(t, g.nodes)
	a.Do("dm", lab.Args{"to": 2, "text": "6"})
	var got []string
	b.Await(0, "dm", func(e lab.Event) bool {
		got = append(got, lab.As[struct{ Text string }](t, e).Text)
		return got[len(got)-1] == "6"
	})
	require.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6"}, got)
}

// TestSituationCheck asks, from a host beside one with a chat, how well the group
// can be reached.
func TestSituationCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		firewall string // of the host that asks
		cut      func(*lab.Net)
		code     int
		want     []string
	}{
		"all well":                 {code: 0, want: []string{"all is well", "node      10.77.0.2:7002", "interface eth0"}},
		"multicast is filtered":    {cut: func(n *lab.Net) { n.Mute(1); n.Deafen(1) }, code: 3, want: []string{"multicast does not get out", "multicast does not get in"}},
		"no connections get in":    {firewall: "chain in { type filter hook input priority 0; iifname eth0 tcp flags & (syn | ack) == syn drop; }", code: 3, want: []string{"TCP does not get in"}},
		"no multicast of the host": {firewall: "chain out { type filter hook output priority 0; oifname eth0 pkttype multicast drop; oifname eth0 ip daddr 224.0.0.0/4 drop; }", code: 3, want: []string{"multicast does not come back to this host"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := lab.NewNet(t, 2)
			for i := 1; i <= 2; i++ {
				net.Host(i).Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
			}
			g := onNet(t)
			n := g.joinWith(net.Host(2), "-listen", ":7002")
			if c.firewall != "" {
				net.Host(1).Run("nft", "table inet firewall {\n"+c.firewall+"\n}\n")
			}
			if c.cut != nil {
				c.cut(net)
			}
			from := n.Mark()
			out, code := once(t, net.Host(1), "-check", "-peer", "10.77.0.2:7002")
			require.Equal(t, c.code, code)
			for _, part := range c.want {
				require.Contains(t, out, part)
			}
			require.Equal(t, c.code == 0, !strings.Contains(out, "fault "))
			n.never(from, "view", "peer", "elect")
			for _, w := range n.warnings(from) {
				// That it is alone, or that multicast is kept back, it says after 10 s, as
				// long as a slow check takes.
				require.Regexp(t, "^(only this node is heard|nodes on other hosts are heard, but none by multicast) on eth0", w)
			}
		})
	}
	t.Run("no network", func(t *testing.T) {
		t.Parallel()
		host := lab.NewNet(t, 1).Host(1)
		host.Run("ip", "link", "set", "eth0", "down")
		host.Run("ip", "link", "set", "lo", "down")
		out, code := once(t, host, "-check")
		require.Equal(t, 3, code)
		require.Contains(t, out, "chat: no usable network")
	})
}
