package p2pchat_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/p2pchat"
)

// TestCauseOfANewCoordinator: who missed the first view of a reign still says
// one of the causes that a CoordinatorEvent has.
func TestCauseOfANewCoordinator(t *testing.T) {
	old, other := p2pchat.PeerID{1}, p2pchat.PeerID{2}
	without := p2pchat.View{Members: []p2pchat.Peer{{Key: other}}}
	with := p2pchat.View{Members: []p2pchat.Peer{{Key: other}, {Key: old}}}
	for _, c := range []p2pchat.Cause{p2pchat.CauseElected, p2pchat.CauseHandover, p2pchat.CauseMerge} {
		require.Equal(t, c, p2pchat.Succession(c, with, old))
		require.Equal(t, c, p2pchat.Succession(c, without, old))
	}
	for _, c := range []p2pchat.Cause{p2pchat.CauseFirst, p2pchat.CauseJoin, p2pchat.CauseLeave, p2pchat.CauseDead, p2pchat.CauseRename} {
		require.Equal(t, p2pchat.CauseMerge, p2pchat.Succession(c, with, old), c)
		require.Equal(t, p2pchat.CauseElected, p2pchat.Succession(c, without, old), c)
	}
}
