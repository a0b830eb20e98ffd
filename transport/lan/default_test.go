package lan_test

import (
	"testing"
	"time"

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
	events := make(chan transport.Event, 100)
	a := opened(t, c, func(e transport.Event) { events <- e })
	b := opened(t, c, func(transport.Event) {})
	for _, i := range a.Interfaces() {
		t.Logf("%+v", i)
	}
	for range 20 {
		require.NoError(t, b.Multicast([]byte("m")))
		e := <-events
		require.Equal(t, transport.Datagram, e.Kind)
		require.Equal(t, b.Addr(), e.Peer)
	}
	require.NoError(t, b.Stream(a.Addr(), []byte("s")))
	for _, kind := range []transport.Kind{transport.Up, transport.Frame} {
		e := <-events
		require.Equal(t, kind, e.Kind)
		require.Equal(t, b.Addr(), e.Peer)
	}
	// The same packet through several interfaces counts once.
	used := uint64(0)
	for _, i := range a.Interfaces() {
		if i.Used {
			used++
		}
	}
	require.Eventually(t, func() bool { return a.Drops()["duplicate"] == 20*(used-1) }, 10*time.Second, time.Millisecond)
	require.Empty(t, events)
}

// Nodes that use different interfaces of a host have the loopback one in common.
func TestLoopbackAndDefaultMeet(t *testing.T) {
	c := config(t)
	events := make(chan transport.Event, 100)
	record := func(e transport.Event) { events <- e }
	local := opened(t, c, record)
	c.Interfaces = nil
	wide := opened(t, c, record)
	for _, p := range [][2]*lan.Transport{{local, wide}, {wide, local}} {
		require.NoError(t, p[0].Multicast([]byte("m")))
		e := <-events
		require.Equal(t, transport.Datagram, e.Kind)
		require.Equal(t, p[0].Addr(), e.Peer)
		require.NoError(t, p[1].Unicast(e.Peer, []byte("u")))
		e = <-events
		require.Equal(t, "u", string(e.Frame))
		require.Equal(t, p[1].Addr(), e.Peer)
		require.NoError(t, p[1].Stream(p[0].Addr(), []byte("s")))
		for e.Kind != transport.Frame {
			e = <-events
		}
		require.Equal(t, p[1].Addr(), e.Peer)
	}
}
