package lan_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/transport"
	"github.com/seed-885536be/p2p/transport/lan"
)

// The connections from an address that the host has lost are given up, and
// opened again from another; those from an address that it has stay.
func TestConnectionsFromALostAddressAreAbandoned(t *testing.T) {
	c := config(t)
	events := make(chan transport.Event, 100)
	peer := opened(t, c, func(transport.Event) {})
	node := opened(t, c, func(e transport.Event) {
		if e.Kind == transport.Up || e.Kind == transport.Down {
			events <- e
		}
	})
	expect := func(k transport.Kind) transport.Event {
		t.Helper()
		select {
		case e := <-events:
			require.Equal(t, k, e.Kind)
			return e
		case <-time.After(20 * time.Second):
			require.FailNow(t, "no event came")
			panic("not reached")
		}
	}
	require.NoError(t, node.Stream(peer.Addr(), []byte("hello")))
	expect(transport.Up)
	lan.Abandon(node, netip.MustParseAddr("127.0.0.1"))
	require.NoError(t, node.Stream(peer.Addr(), []byte("still here")))
	require.Empty(t, events)
	lan.Abandon(node, netip.MustParseAddr("10.9.8.7"))
	require.Equal(t, transport.Reset, expect(transport.Down).Cause)
	expect(transport.Up)
	require.Empty(t, events)
}

// So are those of which the handler is just being told.
func TestAConnectionIsAbandonedBeforeAnythingReadsFromIt(t *testing.T) {
	c := config(t)
	peer := opened(t, c, func(transport.Event) {})
	kinds := make(chan transport.Kind, 100)
	var node *lan.Transport
	lost := false
	node = opened(t, c, func(e transport.Event) {
		if e.Kind == transport.Up && !lost {
			lost = true
			lan.Abandon(node, netip.MustParseAddr("10.9.8.7"))
		}
		if e.Kind == transport.Up || e.Kind == transport.Down {
			kinds <- e.Kind
		}
	})
	require.NoError(t, node.Stream(peer.Addr(), []byte("hello")))
	for _, k := range []transport.Kind{transport.Up, transport.Down, transport.Up} {
		select {
		case got := <-kinds:
			require.Equal(t, k, got)
		case <-time.After(20 * time.Second):
			require.FailNow(t, "no event came")
		}
	}
}
