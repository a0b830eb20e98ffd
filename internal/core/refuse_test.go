package core

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

var wrongKey = &transport.AuthError{Sealed: true, OwnSealed: true}

// founded is a node that coordinates a group of itself.
func founded(t *testing.T) (c *Core, now time.Time) {
	c, now = newTestCore(t, 1), time.Unix(1000, 0)
	c.Step(now, membership.Start{})
	for len(c.Group().View().Members) == 0 {
		now = c.Deadline()
		c.Tick(now)
	}
	c.Ready()
	return c, now
}

func from(host, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(host >> 8), byte(host)}), uint16(port))
}

func TestOnlyTheCoordinatorRefusesAndSeldom(t *testing.T) {
	c, now := founded(t)
	told := func(peer netip.AddrPort) int {
		c.Handle(now, transport.Event{Kind: transport.Stranger, Peer: peer, Err: wrongKey})
		r := c.Ready().Refuse
		for _, x := range r {
			require.Equal(t, Refusal{To: peer, Err: wrongKey}, x)
		}
		return len(r)
	}
	n := 0
	for range 60 {
		n += told(from(1, 1))
		now = now.Add(time.Second)
	}
	require.Equal(t, refusalsEach, n, "to one within a minute")
	require.Equal(t, 1, told(from(1, 1)), "and again in the next")
	now = now.Add(time.Second)
	n = 0
	for i := range 100 {
		n += told(from(i, 1))
	}
	require.Equal(t, refusalsAll, n, "within a second")
	for i := range 10 * refusalSources {
		if i%refusalsAll == 0 {
			now = now.Add(time.Second)
		}
		told(from(i, 2))
		require.LessOrEqual(t, len(c.refused.each), refusalSources)
	}
	c.Handle(now, transport.Event{Kind: transport.Stranger, Peer: from(1, 3), Err: transport.ErrFull})
	require.Empty(t, c.Ready().Refuse, "a reason that nobody understands")

	joiner := newTestCore(t, 1)
	joiner.Step(now, membership.Start{})
	joiner.Handle(now, transport.Event{Kind: transport.Stranger, Peer: from(1, 1), Err: wrongKey})
	require.Empty(t, joiner.Ready().Refuse)
}

// An open node knows a sealed one by its frames, and tells it so itself.
func TestOpenNodesTellSealedOnes(t *testing.T) {
	c, now := founded(t)
	for range 2 * refusalsEach {
		c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: from(1, 1), Frame: []byte{transport.FirstSealed, 1, 2, 3}})
		now = now.Add(time.Second)
	}
	out := c.Ready().Out
	require.Len(t, out, refusalsEach)
	e, ok := transport.ParseNotice(out[0].Frame, true)
	require.True(t, ok)
	require.Equal(t, &transport.AuthError{OwnSealed: true}, e, "this group is open")
	drops := map[string]uint64{}
	c.Drops(drops)
	require.Equal(t, map[string]uint64{"sealed": 2 * refusalsEach}, drops)
}

// search starts a node, which looks for a group, and feeds it what at says
// until it has a view or gives up.
func search(t *testing.T, at func(c *Core, now time.Time, sent int)) (c *Core, took time.Duration, err error) {
	c = newTestCore(t, 1)
	start := time.Unix(1000, 0)
	now := start
	c.Step(now, membership.Start{})
	for sent := 0; ; {
		r := c.Ready()
		if r.Err != nil || len(c.Group().View().Members) > 0 {
			return c, now.Sub(start), r.Err
		}
		for _, o := range r.Out {
			if o.Group {
				sent++
				at(c, now, sent)
			}
		}
		if c.out.Err == nil {
			now = c.Deadline()
			c.Tick(now)
		}
	}
}

func reject(err error) func(*Core, time.Time, int) {
	return func(c *Core, now time.Time, _ int) {
		c.Handle(now, transport.Event{Kind: transport.Rejected, Peer: from(9, 9), Err: err})
	}
}

func TestNewcomerBelievesThreeRefusals(t *testing.T) {
	version := &transport.VersionError{Min: 2, Max: 2, OwnMin: 1, OwnMax: 1}
	for _, want := range []error{wrongKey, &transport.AuthError{Sealed: true}, version} {
		c, took, err := search(t, reject(want))
		require.Equal(t, want, err)
		require.Empty(t, c.Group().View().Members)
		require.Less(t, took, 2*time.Second)
		require.Zero(t, c.Deadline())
		c.Tick(time.Unix(2000, 0))
		require.Empty(t, c.Ready(), "it is over")
	}
	// A sealed node's notice, as an open one hears it.
	_, _, err := search(t, func(c *Core, now time.Time, _ int) {
		c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: from(9, 9), Frame: (&transport.AuthError{OwnSealed: true}).Notice()})
	})
	require.Equal(t, &transport.AuthError{Sealed: true}, err)
}

func TestNewcomerDoesNotBelieveLess(t *testing.T) {
	two := 0
	c, _, err := search(t, func(c *Core, now time.Time, _ int) {
		if two++; two <= believed-1 {
			reject(wrongKey)(c, now, 0)
		}
	})
	require.NoError(t, err)
	require.Len(t, c.Group().View().Members, 1)

	// Three for different reasons, and any number for none.
	each := []error{wrongKey, &transport.AuthError{Sealed: true}, &transport.VersionError{}, transport.ErrFull, nil, nil, nil, nil}
	c, _, err = search(t, func(c *Core, now time.Time, _ int) {
		if len(each) > 0 {
			reject(each[0])(c, now, 0)
			each = each[1:]
		}
	})
	require.NoError(t, err)
	require.Len(t, c.Group().View().Members, 1)
}

// A flood of forged refusals does not keep a node from a group that welcomes
// it, and moves no member.
func TestRefusalsMoveNobodyElse(t *testing.T) {
	ada, key := testSigner(2, "group")
	self := newTestCore(t, 1).self
	v := membership.View{
		ID: membership.ViewID{Epoch: membership.Epoch{Ctr: 5, Leader: key, Inc: 1}}, Class: 1, Number: 4, NextID: 3,
		Members: []membership.Member{{Key: key, Inc: 1, ID: 1, Addr: from(2, 2), Name: "ada"}, {Key: self, Inc: 1, ID: 2, Addr: testAddr, Name: "n"}},
	}
	welcome := ada.sign(encodeMembership(membership.Header{From: key, Inc: 1, View: v.ID}, membership.Welcome{View: v}, nil))
	c, _, err := search(t, func(c *Core, now time.Time, _ int) {
		for range 100 {
			reject(wrongKey)(c, now, 0)
		}
		c.Handle(now, transport.Event{Kind: transport.Frame, Peer: from(2, 2), Frame: welcome})
	})
	require.NoError(t, err)
	require.Equal(t, v.ID, c.Group().View().ID)
	now := c.refused.due.Add(time.Second)
	for range 100 {
		reject(wrongKey)(c, now, 0)
	}
	c.Tick(now)
	require.NoError(t, c.Ready().Err)
	drops := map[string]uint64{}
	c.Drops(drops)
	require.Equal(t, uint64(200), drops["rejected"])
}

// Answers that get lost come in the end, as nobody founds a group meanwhile.
func TestNewcomerWaitsForLostRefusals(t *testing.T) {
	_, _, err := search(t, func(c *Core, now time.Time, sent int) {
		if sent%2 == 0 {
			reject(wrongKey)(c, now, sent)
		}
	})
	require.Equal(t, wrongKey, err)
}
