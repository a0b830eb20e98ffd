package causal

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// half is a group that has agreed on a checkpoint, of 0, 1 and 3, and one that is
// to keep all, 2, that ended before. It holds every other block of what that
// sums up: so many that several Pulls by ranges must bring the others.
func half(t require.TestingT) *group {
	g := compacting(t, 4, 2, 0, 1, 2)
	for _, n := range g.nodes {
		n.cfg.Compaction.Age = time.Minute
	}
	g.view(0, 1)
	g.view(2, 3)
	for i := range 1500 {
		g.say(2*(i%2), fmt.Sprint("message ", i))
		g.run(2 * time.Millisecond)
	}
	g.run(time.Second)
	require.Zero(t, g.nodes[2].base.height)
	require.EqualValues(t, 750, g.nodes[2].Len())
	g.crash(2, 0)
	g.view(0, 1, 3)
	for i := range 3 {
		g.say([]int{0, 1, 3}[i], "together again")
		g.run(time.Second)
	}
	g.run(3 * time.Minute)
	whole := g.nodes[0]
	require.Greater(t, whole.base.height, uint64(750))
	require.Zero(t, whole.order.floor)
	require.EqualValues(t, 1503, whole.Len())
	return g
}

// come starts the one that was away.
func (g *group) come() (late *node) {
	late = g.nodes[2]
	g.start(2, late.store)
	return late
}

// A checkpoint follows what it stands for. With several Pulls it follows the
// first part of that, and must wait for the last: before, it does not sum up
// what is held.
func TestACheckpointWaitsForTheLastPull(t *testing.T) {
	g := half(t)
	whole, late := g.nodes[0], g.come()
	sessions, waited := make(map[uint64]bool), make(map[uint64]bool)
	g.check = func(n *node) {
		if q := n.pull; n == late && q != nil && q.search != nil {
			sessions[q.session] = true
			if q.last != nil {
				waited[q.session] = true
			}
		}
		if n == late && n.base.height > 0 {
			require.Equal(t, whole.count, n.count, "not all has come")
		}
	}
	g.view(0, 2)
	g.run(10 * time.Second)
	require.Greater(t, len(sessions), 2)
	require.Greater(t, len(waited), 1, "it came more than once too early")
	require.Zero(t, late.order.floor, "it is to keep all")
	require.Equal(t, whole.base.commit, late.base.commit)
	require.Equal(t, string(whole.text()), string(late.text()))
	require.Equal(t, whole.Digest(), late.Digest())
	lost, rebased := late.displaced()
	require.Empty(t, lost)
	require.Zero(t, rebased)
}

// Who has said what the checkpoint does not sum up takes it all the same, in the
// end: else the two would differ for good.
func TestACheckpointThatExcludesSomethingIsTakenAtLast(t *testing.T) {
	g := half(t)
	late := g.come()
	late.cfg.Compaction.Age = time.Hour // it does not agree with itself
	g.say(2, "alone")
	g.run(time.Second)
	require.Less(t, late.order.top(), g.nodes[0].base.height)
	held, pulls, total := uint64(0), uint64(0), g.nodes[0].count
	g.check = func(n *node) {
		if n == late && n.base.height == 0 {
			held, pulls = n.count, n.pulls
		}
	}
	g.view(0, 2)
	g.settle2(10*time.Second, 0, 2)
	require.EqualValues(t, total+1, held, "all had come before it was taken, beside what was said alone")
	require.EqualValues(t, 1, pulls, "it is taken with what was asked for at first")
	require.Equal(t, g.nodes[0].base.commit, late.base.commit)
	lost, rebased := late.displaced()
	require.Empty(t, lost)
	require.Equal(t, 1, rebased)
	for _, i := range []int{0, 2} {
		require.Equal(t, 1, g.nodes[i].count2()["alone"])
	}
}

// Between two Pulls the one that is asked may give up what is asked for. That its
// last answer came whole does not mean that this one will: another may have all.
func TestACheckpointInPlaceOfTheNextPull(t *testing.T) {
	g := half(t)
	late, other := g.come(), g.nodes[1]
	g.view(1, 2)
	first := uint64(0)
	for range 10_000 {
		g.run(100 * time.Microsecond)
		if q := late.pull; q != nil && q.search != nil && q.search.pulled {
			if first == 0 {
				first = q.session
				g.view(0, 1, 2)
			} else if q.session > first && q.last != nil {
				break
			}
		}
	}
	require.NotNil(t, late.pull, "there is a second Pull")
	require.Equal(t, other.name(), late.pull.from.key)
	require.Less(t, late.count, other.count)
	other.cfg.Compaction.Keep = false
	other.discard()
	g.run(10 * time.Second)
	require.NotZero(t, other.order.floor)
	require.Zero(t, late.order.floor, "it is to keep all")
	require.Equal(t, g.nodes[0].base.commit, late.base.commit)
	require.Equal(t, string(g.nodes[0].text()), string(late.text()))
}
