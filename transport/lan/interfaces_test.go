package lan

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChoose(t *testing.T) {
	const up = net.FlagUp | net.FlagMulticast | net.FlagBroadcast
	ip := netip.MustParseAddr
	lo := network{name: "lo", index: 1, flags: net.FlagUp | net.FlagLoopback, addr: ip("127.0.0.1")}
	eth := network{name: "eth0", index: 2, flags: up, addr: ip("192.0.2.1")}
	wlan := network{name: "wlan0", index: 3, flags: up, addr: ip("198.51.100.1")}
	docker := network{name: "docker0", index: 4, flags: up, addr: ip("172.17.0.1")}
	virbr := network{name: "virbr0", index: 5, flags: up, addr: ip("192.168.122.1")}
	tun := network{name: "tun0", index: 6, flags: up | net.FlagPointToPoint, addr: ip("10.8.0.2")}
	down := network{name: "eth1", index: 7, flags: net.FlagMulticast, addr: ip("203.0.113.1")}
	six := network{name: "eth2", index: 8, flags: up}
	deaf := network{name: "dummy0", index: 9, flags: net.FlagUp, addr: ip("203.0.113.9")}
	veth := network{name: "veth12", index: 10, flags: up, addr: ip("10.0.0.1")}

	type result map[string]string // name to reason; "+" before it if used
	for _, c := range []struct {
		name  string
		all   []network
		named []string
		want  result
	}{
		{"everything", []network{lo, eth, wlan, docker, virbr, tun, down, six, deaf, veth}, nil, result{
			"lo": "+", "eth0": "+", "wlan0": "+", "docker0": "virtual", "virbr0": "virtual", "tun0": "point-to-point",
			"eth1": "down", "eth2": "no IPv4 address", "dummy0": "no multicast", "veth12": "virtual"}},
		{"offline", []network{lo, down}, nil, result{"lo": "+", "eth1": "down"}},
		{"the only one is virtual", []network{lo, veth, down}, nil, result{"lo": "+", "veth12": "+virtual, but the only one", "eth1": "down"}},
		{"several virtual ones", []network{lo, veth, docker}, nil, result{"lo": "+", "veth12": "virtual", "docker0": "virtual"}},
		{"named", []network{lo, eth, wlan}, []string{"wlan0"}, result{"lo": "not named", "eth0": "not named", "wlan0": "+"}},
		{"named though virtual", []network{lo, docker, virbr}, []string{"docker0"}, result{"lo": "not named", "docker0": "+", "virbr0": "not named"}},
		{"named though point-to-point", []network{lo, tun}, []string{"tun0"}, result{"lo": "not named", "tun0": "+"}},
		{"named but down", []network{lo, down}, []string{"eth1"}, result{"lo": "not named", "eth1": "down"}},
		{"named but not there", []network{lo, eth}, []string{"eth9", "eth0"}, result{"lo": "not named", "eth0": "+", "eth9": "no such interface"}},
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

	s := networks{all: choose([]network{lo, tun, eth, wlan}, nil)}
	require.Equal(t, eth.addr, s.primary())
	require.Equal(t, []int{eth.index, wlan.index, lo.index}, s.outlets(nil), "loopback is last")
	require.False(t, s.onlyLoopback())
	require.True(t, s.has(wlan.addr))
	require.False(t, s.has(tun.addr))
	s.all = choose([]network{lo, down}, nil)
	require.Equal(t, lo.addr, s.primary())
	require.True(t, s.onlyLoopback())
}
