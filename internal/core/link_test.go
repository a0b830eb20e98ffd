package core

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// A stream that breaks while its driver waits for room on it is written again
// when it is back.
func TestAStreamThatBrokeWhileItWasFullIsWrittenAgain(t *testing.T) {
	c, now := founded(t)
	s, ada := testSigner(7, "group")
	at := from(3, 1)
	join := s.sign(encodeMembership(membership.Header{From: ada, Inc: 5}, membership.Join{Addr: at, Name: "ada"}, nil))
	c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: at, Frame: join})
	require.Len(t, c.Group().View().Members, 2)
	say := func() {
		_, err := c.Append(now, []byte("hi"))
		require.NoError(t, err)
		require.NoError(t, c.Flush(now))
	}
	c.Handle(now, transport.Event{Kind: transport.Up, Peer: at})
	c.Ready()
	for c.Next(now, at) != nil {
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
