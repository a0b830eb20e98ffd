package lan

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChoose(t *testing.T) {
	const up = net.FlagUp | net.FlagMulticast | net.FlagBroadcast
	ip := netip.MustParseAddr
	lo := network{name: "lo", index: 1, flags: net.FlagUp | net.FlagLoopback, addr4: ip("127.0.0.1")}
	eth := network{name: "eth0", index: 2, flags: up, addr4: ip("192.0.2.1")}
	wlan := network{name: "wlan0", index: 3, flags: up, addr4: ip("198.51.100.1")}
	docker := network{name: "docker0", index: 4, flags: up, addr4: ip("172.17.0.1")}
	virbr := network{name: "virbr0", index: 5, flags: up, addr4: ip("192.168.122.1")}
	tun := network{name: "tun0", index: 6, flags: up | net.FlagPointToPoint, addr4: ip("10.8.0.2")}
	down := network{name: "eth1", index: 7, flags: net.FlagMulticast, addr4: ip("203.0.113.1")}
	bare := network{name: "eth2", index: 8, flags: up}
	six := network{name: "eth3", index: 11, flags: up, addr6: ip("fe80::3"), addrs: []netip.Addr{ip("fe80::3"), ip("fd00::3")}}
	deaf := network{name: "dummy0", index: 9, flags: net.FlagUp, addr4: ip("203.0.113.9")}
	veth := network{name: "veth12", index: 10, flags: up, addr4: ip("10.0.0.1")}

	type result map[string]string // name to reason; "+" before it if used
	for _, c := range []struct {
		name  string
		all   []network
		named []string
		want  result
	}{
		{"everything", []network{lo, eth, wlan, docker, virbr, tun, down, bare, six, deaf, veth}, nil, result{
			"lo": "+", "eth0": "+", "wlan0": "+", "docker0": "virtual", "virbr0": "virtual", "tun0": "point-to-point",
			"eth1": "down", "eth2": "no address", "eth3": "+", "dummy0": "no multicast", "veth12": "virtual"}},
		{"offline", []network{lo, down}, nil, result{"lo": "+", "eth1": "down"}},
		{"the only one is virtual", []network{lo, veth, down}, nil, result{"lo": "+", "veth12": "+virtual, but the only one", "eth1": "down"}},
		{"several virtual ones", []network{lo, veth, docker}, nil, result{"lo": "+", "veth12": "virtual", "docker0": "virtual"}},
		{"named", []network{lo, eth, wlan}, []string{"wlan0"}, result{"lo": "not named", "eth0": "not named", "wlan0": "+"}},
		{"named though virtual", []network{lo, docker, virbr}, []string{"docker0"}, result{"lo": "not named", "docker0": "+", "virbr0": "not named"}},
		{"named though point-to-point", []network{lo, tun}, []string{"tun0"}, result{"lo": "not named", "tun0": "+"}},
		{"named but down", []network{lo, down}, []string{"eth1"}, result{"lo": "not named", "eth1": "down"}},
		{"named but not there", []network{lo, eth}, []string{"eth9", "eth0"}, result{"lo": "not named", "eth0": "+", "eth9": "no such interface"}},
		{"named by an address", []network{lo, eth, six}, []string{"fd00::3%eth3"}, result{"lo": "not named", "eth0": "not named", "eth3": "+"}},
		{"an address of nobody", []network{lo, eth}, []string{"10.0.0.99"}, result{"lo": "not named", "eth0": "not named", "10.0.0.99": "no such interface"}},
		{"nothing", nil, nil, result{}},
	} {
		got := result{}
		for _, n := range choose(c.all, c.named) {
			why := n.why
			if n.used {
				why = "+" + why
			}
			got[n.name] = why
		}
		require.Equal(t, c.want, got, c.name)
	}

	eth.addr6 = ip("2001:db8::1")
	s := networks{all: choose([]network{lo, tun, six, eth, wlan}, nil), joined: map[outlet]time.Time{}}
	for _, n := range []network{eth, wlan, lo} {
		s.joined[outlet{n.index, false}] = time.Now()
	}
	s.joined[outlet{eth.index, true}], s.joined[outlet{six.index, true}] = time.Now(), time.Now()
	require.Equal(t, eth.addr4, s.primary(), "IPv4 is preferred")
	require.Equal(t, []outlet{{six.index, true}, {eth.index, false}, {eth.index, true}, {wlan.index, false}, {lo.index, false}}, s.outlets(nil), "loopback is last")
	require.False(t, s.onlyLoopback())
	s.all = choose([]network{lo, six}, nil)
	require.Equal(t, six.addr6, s.primary(), "what is link-local is better than loopback")
	require.True(t, s.has(ip("fd00::3")))
	require.False(t, s.has(tun.addr4))
	s.all = choose([]network{lo, six}, []string{"fd00::3"})
	require.Equal(t, ip("fd00::3"), s.primary(), "the address that was named")
	s.all = choose([]network{lo, down}, nil)
	require.Equal(t, lo.addr4, s.primary())
	require.True(t, s.onlyLoopback())
}

func TestInterfaceAddresses(t *testing.T) {
	var n network
	for _, a := range []string{"fe80::1", "10.0.0.1", "2001:db8::1", "10.0.0.2", "2001:db8::2"} {
		n.has(netip.MustParseAddr(a))
	}
	require.Equal(t, "10.0.0.1", n.addr4.String())
	require.Equal(t, "2001:db8::1", n.addr6.String())
	require.Len(t, n.addrs, 5)
}
