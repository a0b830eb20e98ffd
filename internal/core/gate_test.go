package core

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
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

// A member's stream is left alone for the rest of a second when enough of what
// came by it was refused, whatever it was; others' are not, nor are its packets.
func TestAStreamOfRefusedFramesIsHeld(t *testing.T) {
	_, eve := testSigner(2, "group")
	signs, _ := testSigner(2, "group")
	header := membership.Header{From: eve, Inc: 5, View: testView}
	badly := func(n int) *causal.Blocks {
		b := new(causal.Blocks)
		for range n {
			b.Frames = append(b.Frames, []byte("no block"))
		}
		return b
	}
	forged := signs.sign(encodeMembership(header, membership.KeepAlive{}, nil))
	forged[len(forged)-1] ^= 1
	right := 0
	for name, row := range map[string]struct {
		frame func() []byte
		taken int // before the stream is held
	}{
		"malformed":       {func() []byte { return []byte{0x7f} }, faultsEach},
		"forged":          {func() []byte { return forged }, faultsEach},
		"bad blocks":      {func() []byte { return encodeLog(sender{From: eve, Inc: 5}, badly(1)) }, faultsEach},
		"many bad blocks": {func() []byte { return encodeLog(sender{From: eve, Inc: 5}, badly(40)) }, (faultsEach + 39) / 40},
		"signed, but many": {func() []byte {
			right++
			h := header
			h.Inc = uint64(right)
			return signs.sign(encodeMembership(h, membership.KeepAlive{}, nil))
		}, faultsEach * faultCost / checkCost},
	} {
		t.Run(name, func(t *testing.T) {
			c, now := founded(t)
			c.Handle(now, transport.Event{Kind: transport.Up, Peer: from(1, 1)})
			held := 0
			taken := 0
			for ; c.Hold(now, from(1, 1)).IsZero(); taken++ {
				require.LessOrEqual(t, taken, row.taken)
				c.Handle(now, transport.Event{Kind: transport.Frame, Peer: from(1, 1), Frame: row.frame()})
				for _, note := range c.Ready().Notes {
					if h, ok := note.(Held); ok {
						require.Equal(t, from(1, 1), h.Addr)
						held++
					}
				}
			}
			require.Equal(t, row.taken, taken)
			require.Equal(t, 1, held)
			require.Equal(t, now.Add(time.Second), c.Hold(now, from(1, 1)))
			require.Zero(t, c.Hold(now, from(1, 2)))
			require.False(t, c.gate.shut(now, from(1, 1)), "anybody can say a packet is of that address")
			require.Zero(t, c.Hold(now.Add(time.Second), from(1, 1)))
		})
	}
}
