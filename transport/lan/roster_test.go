package lan

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ep(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// from is a header of a node that says it is at an endpoint.
func from(instance uint64, claimed string) header {
	return header{instance: instance, endpoint: ep(claimed)}
}

func TestOneNameForAllRoutes(t *testing.T) {
	var r roster
	now := time.Unix(1e9, 0)
	h := from(1, "10.0.0.1:70")
	name := ep("10.0.0.1:70")
	require.Equal(t, name, r.hear(h, ep("[fe80::1%eth0]:70"), false, now))
	require.Equal(t, ep("[fe80::1%eth0]:70"), r.routeTo(name), "where it was heard, and not where it says it is")
	require.Equal(t, name, r.hear(h, ep("192.168.1.1:70"), false, now))
	require.Equal(t, ep("192.168.1.1:70"), r.routeTo(name), "where it was heard last")
	require.Equal(t, name, r.hear(h, name, false, now))
	require.Equal(t, name, r.hear(h, ep("192.168.1.1:70"), false, now.Add(time.Second)))
	require.Equal(t, []netip.AddrPort{name, ep("192.168.1.1:70"), ep("[fe80::1%eth0]:70")}, r.routesTo(name), "the name is preferred once it is known to be true")
	r.hear(h, ep("192.168.1.1:70"), false, now.Add(preferName))
	require.Equal(t, ep("192.168.1.1:70"), r.routeTo(name), "but not for ever")

	require.Equal(t, ep("10.0.0.9:1"), r.routeTo(ep("10.0.0.9:1")), "of nobody known")
	require.Equal(t, []netip.AddrPort{ep("10.0.0.9:1")}, r.routesTo(ep("10.0.0.9:1")))
}

// A node whose host had lost its network for a moment says that it is at a loopback
// address, which leads to this host.
func TestALoopbackNameIsNoRouteToAnotherHost(t *testing.T) {
	var r roster
	now := time.Unix(1e9, 0)
	lost := ep("127.0.0.1:70")
	require.False(t, r.here(lost))
	r.hear(from(1, "10.0.0.1:70"), ep("10.0.0.1:70"), false, now)
	r.hear(from(1, "127.0.0.1:70"), ep("10.0.0.2:70"), false, now)
	require.Equal(t, []netip.AddrPort{ep("10.0.0.2:70"), ep("10.0.0.1:70")}, r.routesTo(lost))
	require.False(t, r.here(lost))
	r.hear(from(2, "127.0.0.1:71"), ep("127.0.0.1:71"), true, now)
	require.True(t, r.here(ep("127.0.0.1:71")))
}

func TestLocalNodeIsReachedByItsName(t *testing.T) {
	var r roster
	name := ep("[fe80::1]:70")
	require.Equal(t, name, r.hear(from(1, "[fe80::1]:70"), ep("127.0.0.1:70"), true, time.Now()))
	require.Equal(t, []netip.AddrPort{name}, r.routesTo(name))
}

// What is meant for a node that poses as another goes to itself, and once the
// other was heard where it says it is, nobody can take its name.
func TestNobodyTakesAName(t *testing.T) {
	var r roster
	now := time.Now()
	victim := ep("10.0.0.1:70")
	require.Equal(t, victim, r.hear(from(66, "10.0.0.1:70"), ep("10.0.0.66:66"), false, now))
	require.Equal(t, ep("10.0.0.66:66"), r.routeTo(victim))
	require.Equal(t, victim, r.hear(from(1, "10.0.0.1:70"), victim, false, now))
	require.Equal(t, []netip.AddrPort{victim}, r.routesTo(victim))
	for range 3 {
		require.Equal(t, ep("10.0.0.66:66"), r.hear(from(66, "10.0.0.1:70"), ep("10.0.0.66:66"), false, now))
		require.Equal(t, victim, r.hear(from(1, "10.0.0.1:70"), victim, false, now))
		require.Equal(t, []netip.AddrPort{victim}, r.routesTo(victim))
	}
	// Another process at the endpoint is another matter.
	require.Equal(t, victim, r.hear(from(2, "10.0.0.1:70"), victim, false, now))
	require.Equal(t, []netip.AddrPort{victim}, r.routesTo(victim))
}

// A node that moved keeps its name until the Handler uses the new one.
func TestNameLastsUntilTheNewOneIsUsed(t *testing.T) {
	var r roster
	now := time.Now()
	old, moved := ep("10.0.0.1:70"), ep("10.1.0.1:70")
	r.hear(from(1, "10.0.0.1:70"), old, false, now)
	require.Equal(t, old, r.hear(from(1, "10.1.0.1:70"), moved, false, now.Add(time.Hour)))
	require.Equal(t, moved, r.routeTo(old), "both lead there")
	require.Equal(t, old, r.hear(from(1, "10.1.0.1:70"), moved, false, now))
	require.Equal(t, moved, r.routeTo(moved))
	require.Equal(t, moved, r.hear(from(1, "10.1.0.1:70"), moved, false, now))
}

func TestRosterIsBounded(t *testing.T) {
	var r roster
	now := time.Now()
	for i := range uint64(maxRoster + 100) {
		claimed := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
		h := header{instance: i, endpoint: claimed}
		r.hear(h, claimed, false, now)
		r.hear(from(0, "10.9.9.9:9"), ep("10.9.9.9:9"), false, now)
		for p := range uint16(10) {
			r.hear(h, netip.AddrPortFrom(claimed.Addr(), p+2), false, now)
		}
		require.LessOrEqual(t, len(r.instances[i].routes), maxRoutes)
	}
	require.Len(t, r.instances, maxRoster)
	require.LessOrEqual(t, len(r.names), 2*maxRoster)
	require.Contains(t, r.instances, uint64(0), "the one that was heard is not forgotten")
}

// Whatever packets come, in whatever order, traffic for a name goes to where a
// packet of its holder came from or to the name itself, and a node that was last
// heard at the endpoint that it claims has that name or an older one of its own.
func TestRosterAgainstModel(t *testing.T) {
	ends := []string{"10.0.0.1:1", "10.0.0.2:1", "[fe80::1]:1", "10.0.0.3:1"}
	rapid.Check(t, func(t *rapid.T) {
		var r roster
		now := time.Unix(1e9, 0)
		sources := map[uint64]map[netip.AddrPort]bool{}
		claims := map[uint64]map[netip.AddrPort]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "packets") {
			now = now.Add(time.Second)
			id := rapid.Uint64Range(1, 4).Draw(t, "instance")
			h := from(id, rapid.SampledFrom(ends).Draw(t, "claimed"))
			src := ep(rapid.SampledFrom(ends).Draw(t, "source"))
			if sources[id] == nil {
				sources[id], claims[id] = map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
			}
			sources[id][src], claims[id][h.endpoint] = true, true
			name := r.hear(h, src, false, now)
			if !claims[id][name] && !sources[id][name] {
				t.Fatalf("%d is called %v", id, name)
			}
			if src == h.endpoint && !claims[id][name] && !sources[id][name] {
				t.Fatalf("%d, heard at its endpoint %v, is called %v", id, src, name)
			}
			for _, e := range ends {
				holder := r.names[ep(e)]
				for _, to := range r.routesTo(ep(e)) {
					if to != ep(e) && (holder == nil || !sources[holder.instance][to]) {
						t.Fatalf("for %s to %v", e, to)
					}
				}
			}
		}
	})
}
