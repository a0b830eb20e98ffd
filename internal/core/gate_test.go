package core

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// Who floods a node with forgeries is looked at so often in a second, and
// others as ever.
func TestForgersAreLookedAtSeldom(t *testing.T) {
	c, now := founded(t)
	eve, _ := testSigner(2, "group")
	ada, key := testSigner(3, "group")
	forged := eve.sign(encodeMembership(membership.Header{From: key, Inc: 5, View: testView}, membership.Heartbeat{Class: 3, Size: 9}, nil))
	flood := func(host, n int) (looked, limited uint64) {
		before := c.drops["forged"]
		passed := c.drops["limited"]
		for range n {
			c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: from(host, 1), Frame: forged})
		}
		return c.drops["forged"] - before, c.drops["limited"] - passed
	}
	looked, limited := flood(1, 1000)
	require.EqualValues(t, faultsEach, looked)
	require.EqualValues(t, 1000-faultsEach, limited)
	looked, _ = flood(2, 10)
	require.EqualValues(t, 10, looked, "another source")

	join := ada.sign(encodeMembership(membership.Header{From: key, Inc: 5}, membership.Join{Addr: from(3, 1), Name: "ada"}, nil))
	c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: from(3, 1), Frame: join})
	require.Len(t, c.Group().View().Members, 2, "an honest one is let in meanwhile")

	now = now.Add(time.Second)
	looked, _ = flood(1, 1000)
	require.EqualValues(t, faultsEach, looked, "and again in the next second")

	// Many sources share what is left, and nothing grows.
	now = now.Add(time.Second)
	looked = 0
	for i := range 4 * maxFaulters {
		n, _ := flood(100+i, 10)
		looked += n
	}
	require.EqualValues(t, 10*maxFaulters+faultsRest, looked)
	require.Len(t, c.gate.sources, maxFaulters)
	now = now.Add(time.Second)
	flood(1, 1)
	require.Len(t, c.gate.sources, 1)
}
