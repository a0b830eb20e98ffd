package lan_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// With no setting but the group's address, which is another one here so that
// no real group is disturbed, nodes on one host know each other by the endpoint
// that each has, through whichever interface a packet came.
func TestDefaultInterfaces(t *testing.T) {
	c := config(t)
	c.Interfaces = nil
	r := record(t)
	a := opened(t, c, r.handle)
	b := opened(t, c, func(transport.Event) {})
	for _, i := range a.Interfaces() {
		t.Logf("%+v", i)
	}
	for range 20 {
		require.NoError(t, b.Multicast([]byte("m")))
		r.expect(transport.Datagram, b.Addr(), 0)
	}
	require.NoError(t, b.Stream(a.Addr(), []byte("s")))
	r.expect(transport.Up, b.Addr(), 0)
	r.expect(transport.Frame, b.Addr(), 0)
	// The same packet through several interfaces counts once, and is no fault.
	require.NoError(t, b.Unicast(a.Addr(), nil))
	r.expect(transport.Datagram, b.Addr(), 0)
	require.Empty(t, a.Drops())
	require.Empty(t, r.c)
}

// Nodes that use different interfaces of a host have the loopback one in common.
func TestLoopbackAndDefaultMeet(t *testing.T) {
	c := config(t)
	r := record(t)
	local := opened(t, c, r.handle)
	c.Interfaces = nil
	wide := opened(t, c, r.handle)
	for _, p := range [][2]*lan.Transport{{local, wide}, {wide, local}} {
		require.NoError(t, p[0].Multicast([]byte("m")))
		e := r.expect(transport.Datagram, p[0].Addr(), 0)
		require.NoError(t, p[1].Unicast(e.Peer, []byte("u")))
		r.expect(transport.Datagram, p[1].Addr(), 0)
		require.NoError(t, p[1].Stream(p[0].Addr(), []byte("s")))
		for e.Kind != transport.Frame {
			e = r.next()
		}
		require.Equal(t, p[1].Addr(), e.Peer)
	}
}
