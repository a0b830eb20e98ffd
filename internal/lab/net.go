//go:build unix

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// RequireNetns is the environment variable that, if it is "1", turns the skip
// of a test that cannot have network namespaces into a failure.
const RequireNetns = "P2P_REQUIRE_NETNS"

// Net is a network of hosts on one bridge, each a network namespace of its
// own with the addresses 10.77.0.1, 10.77.0.2, … on an interface eth0. It
// exists in the kernel of this machine and touches none of its networks.
type Net struct {
	t      testing.TB
	bridge string // the namespace that the bridge is in
	hosts  []*Host

	cuts map[[2]int]bool // from, to
	mute map[int]bool    // hosts whose multicast does not get out
	deaf map[int]bool    // hosts that no multicast gets to
}

// Host is one host of a Net.
type Host struct {
	net *Net
	n   int
	ns  string
}

const nsPrefix = "p2plab-"

var netCount atomic.Int64

// NewNet makes a network of n hosts, numbered from 1. It is removed at the end
// of the test. Where network namespaces are not to be had the test is skipped.
func NewNet(t testing.TB, n int) *Net {
	t.Helper()
	if err := netns(); err != nil {
		if os.Getenv(RequireNetns) == "1" {
			t.Fatalf("network namespaces are required and not to be had: %v", err)
		}
		t.Skipf("no network namespaces: %v", err)
	}
	name := fmt.Sprintf("%s%d-%d", nsPrefix, os.Getpid(), netCount.Add(1))
	net := &Net{t: t, bridge: name + "-b", cuts: map[[2]int]bool{}, mute: map[int]bool{}, deaf: map[int]bool{}}
	t.Cleanup(net.remove)

	net.must(run("", "ip", "netns", "add", net.bridge))
	net.must(run("", "ip", "-n", net.bridge, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"))
	var links, ports strings.Builder
	fmt.Fprintln(&ports, "link set br0 up")
	for i := 1; i <= n; i++ {
		h := &Host{net: net, n: i, ns: fmt.Sprintf("%s-%d", name, i)}
		net.hosts = append(net.hosts, h)
		net.must(run("", "ip", "netns", "add", h.ns))
		fmt.Fprintf(&links, "link add name eth0 netns %s type veth peer name %s netns %s\n", h.ns, h.port(), net.bridge)
		fmt.Fprintf(&ports, "link set %s master br0 up\n", h.port())
	}
	net.must(run(links.String(), "ip", "-batch", "-"))
	net.must(run(ports.String(), "ip", "-n", net.bridge, "-batch", "-"))
	for _, h := range net.hosts {
		net.must(run(fmt.Sprintf("link set lo up\naddr add %v/24 dev eth0\nlink set eth0 up\n", h.Addr()), "ip", "-n", h.ns, "-batch", "-"))
		net.must(nft(h.ns, hostRules))
	}
	net.must(nft(net.bridge, bridgeRules))
	return net
}

const bridgeRules = `
table bridge lab {
	set cuts { type ifname . ifname; }
	set mute { type ifname; }
	set deaf { type ifname; }
	chain forwarding {
		type filter hook forward priority 0; policy accept;
		iifname . oifname @cuts drop
		iifname @mute ip daddr 224.0.0.0/4 drop
		oifname @deaf ip daddr 224.0.0.0/4 drop
		iifname @mute ip6 daddr ff10::/12 drop
		oifname @deaf ip6 daddr ff10::/12 drop
	}
}
`

const hostRules = `
table inet lab {
	chain loss {
		type filter hook input priority -300; policy accept;
	}
}
`

// netns reports why there can be no Net, asking the machine once.
var netns = sync.OnceValue(func() error {
	if runtime.GOOS != "linux" {
		return errors.New("they need Linux")
	}
	if os.Geteuid() != 0 {
		return errors.New("they need root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	removeStale()
	probe := fmt.Sprintf("%s%d-probe", nsPrefix, os.Getpid())
	if err := run("", "ip", "netns", "add", probe); err != nil {
		return err
	}
	defer func() { _ = run("", "ip", "netns", "del", probe) }()
	return nft(probe, bridgeRules+hostRules)
})

// removeStale removes what a test left that was killed.
func removeStale() {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest, ours := strings.CutPrefix(name, nsPrefix)
		pid, err := strconv.Atoi(rest[:max(0, strings.IndexByte(rest, '-'))])
		if ours && err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = run("", "ip", "netns", "del", name) // another test may have been faster
		}
	}
}

// run runs a command with the given standard input.
func run(stdin, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// nft gives rules to the packet filter of a namespace, all or none.
func nft(ns, rules string) error { return run(rules, "ip", "netns", "exec", ns, "nft", "-f", "-") }

func (n *Net) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// remove takes the network down; it may be half made.
func (n *Net) remove() {
	for _, h := range n.hosts {
		_ = run("", "ip", "netns", "del", h.ns)
	}
	_ = run("", "ip", "netns", "del", n.bridge)
}

// Host returns host i, from 1.
func (n *Net) Host(i int) *Host { return n.hosts[i-1] }

// Command is exec.Command on that host.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.ns, name}, args...)...)
}

// Run runs a command on that host, which must succeed.
func (h *Host) Run(name string, args ...string) {
	h.net.t.Helper()
	if out, err := h.Command(name, args...).CombinedOutput(); err != nil {
		h.net.t.Fatalf("%s: %s %s: %v: %s", h.ns, name, strings.Join(args, " "), err, out)
	}
}

// Second gives every host another interface, eth1, on the same bridge, with
// the addresses 10.78.0.1, 10.78.0.2, …
func (n *Net) Second() {
	n.t.Helper()
	for _, h := range n.hosts {
		port := h.port() + "b"
		n.must(run("", "ip", "link", "add", "name", "eth1", "netns", h.ns, "type", "veth", "peer", "name", port, "netns", n.bridge))
		n.must(run("", "ip", "-n", n.bridge, "link", "set", port, "master", "br0", "up"))
		n.must(run(fmt.Sprintf("addr add 10.78.0.%d/24 dev eth1\nlink set eth1 up\n", h.n), "ip", "-n", h.ns, "-batch", "-"))
	}
}

// Addr is the host's address.
func (h *Host) Addr() netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(h.n)}) }

// port is the interface of the bridge that the host is connected to.
func (h *Host) port() string { return fmt.Sprintf("p%d", h.n) }

// Cut stops all that goes from one host to another, in that direction.
func (n *Net) Cut(from, to int) {
	n.t.Helper()
	n.cuts[[2]int{from, to}] = true
	n.apply()
}

// Split lets only hosts of the same group reach each other. A host that is in
// no group reaches nobody.
func (n *Net) Split(groups ...[]int) {
	n.t.Helper()
	group := map[int]int{}
	for g, hosts := range groups {
		for _, i := range hosts {
			group[i] = g + 1
		}
	}
	for i := range n.hosts {
		for j := range n.hosts {
			a, b := group[i+1], group[j+1]
			if i != j && (a == 0 || a != b) {
				n.cuts[[2]int{i + 1, j + 1}] = true
			}
		}
	}
	n.apply()
}

// Mute stops the multicast that a host sends.
func (n *Net) Mute(host int) {
	n.t.Helper()
	n.mute[host] = true
	n.apply()
}

// Deafen stops the multicast that a host would receive.
func (n *Net) Deafen(host int) {
	n.t.Helper()
	n.deaf[host] = true
	n.apply()
}

// Heal ends every Cut, Split, Mute and Deafen, but not Loss.
func (n *Net) Heal() {
	n.t.Helper()
	clear(n.cuts)
	clear(n.mute)
	clear(n.deaf)
	n.apply()
}

// apply tells the bridge, in one transaction.
func (n *Net) apply() {
	n.t.Helper()
	var b strings.Builder
	set := func(name string, elements []string) {
		fmt.Fprintf(&b, "flush set bridge lab %s\n", name)
		if len(elements) > 0 {
			fmt.Fprintf(&b, "add element bridge lab %s { %s }\n", name, strings.Join(elements, ", "))
		}
	}
	var cuts []string
	for c := range n.cuts {
		cuts = append(cuts, fmt.Sprintf("%q . %q", n.Host(c[0]).port(), n.Host(c[1]).port()))
	}
	ports := func(hosts map[int]bool) (out []string) {
		for i := range hosts {
			out = append(out, strconv.Quote(n.Host(i).port()))
		}
		return out
	}
	set("cuts", cuts)
	set("mute", ports(n.mute))
	set("deaf", ports(n.deaf))
	n.must(nft(n.bridge, b.String()))
}

// Loss makes every host lose the given percentage of the packets that arrive
// at it, each by chance.
func (n *Net) Loss(percent int) {
	n.t.Helper()
	rules := "flush chain inet lab loss\n"
	if percent > 0 {
		rules += fmt.Sprintf("add rule inet lab loss iifname eth0 numgen random mod 100 < %d drop\n", percent)
	}
	for _, h := range n.hosts {
		n.must(nft(h.ns, rules))
	}
}
