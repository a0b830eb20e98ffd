package core

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/election"
	"github.com/seed-885536be/p2p/membership"
	"github.com/seed-885536be/p2p/transport"
)

// Each reason to refuse something, seen once. The others have tests of their own.
func TestReasonsToRefuse(t *testing.T) {
	self, selfKey := testSigner(1, "group")
	ada, key := testSigner(2, "group")
	datagram := func(f []byte) func(*Core, time.Time) {
		return func(c *Core, now time.Time) {
			c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: from(1, 1), Frame: f})
		}
	}
	far := membership.ViewID{Epoch: membership.Epoch{Ctr: 1 << 40, Leader: key, Inc: 1}}
	join := membership.Join{Addr: from(2, 2), Name: "ada"}
	for reason, do := range map[string]func(*Core, time.Time){
		"malformed":     datagram(ada.sign([]byte{1, 2, 3})),
		"forged":        datagram(ada.sign(encodeMembership(membership.Header{From: selfKey, Inc: 9}, join, nil))),
		"own":           datagram(self.sign(encodeElection(membership.Header{From: selfKey, Inc: 1}, election.Message{Kind: election.KindElection, Base: base(testView)}))),
		"not_by_stream": datagram(ada.sign(encodeDirect(sender{From: key, Inc: 1}, &directHello{Nonce: 1}))),
		"counter":       datagram(ada.sign(encodeMembership(membership.Header{From: key, Inc: 1, View: far}, membership.Heartbeat{}, nil))),
		"stale":         datagram(self.sign(encodeMembership(membership.Header{From: selfKey}, membership.Heartbeat{}, nil))),
		"stranger": func(c *Core, now time.Time) {
			c.Handle(now, transport.Event{Kind: transport.Frame, Peer: from(1, 1), Frame: encodeLog(sender{From: key, Inc: 1}, testBeat)})
		},
		"not_member": func(c *Core, now time.Time) {
			c.Handle(now, transport.Event{Kind: transport.Frame, Peer: from(1, 1), Frame: ada.sign(encodeDirect(sender{From: key, Inc: 1}, &directHello{Nonce: 1}))})
		},
		"control_overflow": func(c *Core, now time.Time) {
			for range maxControl + 1 { // a joiner that does not read its welcomes
				c.Handle(now, transport.Event{Kind: transport.Datagram, Peer: from(2, 2), Frame: ada.sign(encodeMembership(membership.Header{From: key, Inc: 1}, join, nil))})
				now = now.Add(time.Second / 10)
			}
		},
		"oversize": func(c *Core, now time.Time) {
			big := membership.ViewChange{Joined: make([]membership.Member, 100)}
			c.send(now, GroupSend{Group: true, Header: c.Group().Header(), Body: big})
		},
	} {
		c, now := founded(t)
		do(c, now)
		drops := map[string]uint64{}
		c.Drops(drops)
		require.Equal(t, map[string]uint64{reason: 1}, drops)
	}
}
