package core

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// withAda is a founder with one other member, to which the stream is up.
func withAda(t *testing.T) (c *Core, now time.Time, at netip.AddrPort) {
	c, now = founded(t)
	s, ada := testSigner(7, "group")
	at = from(3, 1)
	join := s.sign(encodeMembership(membership.Header{From: ada, Inc: 5}, membership.Join{Addr: at, Name: "ada"}, nil))
	c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: at, Frame: join})
	require.Len(t, c.Group().View().Members, 2)
	c.Handle(now, transport.Event{Kind: transport.Up, Peer: at})
	c.Ready()
	for c.Next(now, at) != nil {
	}
	return c, now, at
}

// A stream that breaks while its driver waits for room on it is written again
// when it is back.
func TestAStreamThatBrokeWhileItWasFullIsWrittenAgain(t *testing.T) {
	c, now, at := withAda(t)
	say := func() {
		_, err := c.Append(now, []byte("hi"))
		require.NoError(t, err)
		require.NoError(t, c.Flush(now))
	}
	say()
	require.Contains(t, c.Ready().Pump, at)
	// The driver has a frame that does not go out, and so does not call Next.
	say()
	require.NotContains(t, c.Ready().Pump, at)
	c.Handle(now, transport.Event{Kind: transport.Down, Peer: at, Cause: transport.Reset})
	c.Handle(now, transport.Event{Kind: transport.Up, Peer: at})
	require.Contains(t, c.Ready().Pump, at)
	require.NotNil(t, c.Next(now, at))
}

// A member to which no stream can be opened is dialed again and again.
func TestAMemberIsDialedUntilItsStreamIsUp(t *testing.T) {
	c, now, at := withAda(t)
	ada := c.links[at].key
	for end := now.Add(3 * redial); now.Before(end); c.Tick(now) {
		now = c.Deadline()
		c.Step(now, membership.Heard{Key: ada, Inc: 5})
	}
	require.True(t, c.dial.IsZero(), "there is nobody to dial")
	c.Handle(now, transport.Event{Kind: transport.Down, Peer: at, Cause: transport.Reset})
	for range 3 {
		c.Handle(now, transport.Event{Kind: transport.Down, Peer: at, Cause: transport.Timeout})
		c.Ready()
		dialed := false
		for end := now.Add(2 * redial); now.Before(end) && !dialed; {
			now = c.Deadline()
			c.Step(now, membership.Heard{Key: ada, Inc: 5})
			c.Tick(now)
			for _, peer := range c.Ready().Pump {
				dialed = dialed || peer == at && c.Next(now, at) != nil
			}
		}
		require.True(t, dialed)
	}
}
