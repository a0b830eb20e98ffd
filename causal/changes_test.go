package causal

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// follower shows a history by what Changes says of it.
type follower struct {
	mark  Mark
	shown []MessageID // by position; zero for what is gone
	seen  map[MessageID]int
}

// look brings what is shown up to date, and compares it with what there is.
func (f *follower) look(t require.TestingT, m *Memory) {
	pos, now := m.Changes(f.mark)
	require.LessOrEqual(t, pos, m.Len())
	if now.Begun == f.mark.Begun {
		require.LessOrEqual(t, pos, uint64(len(f.shown)))
		for x := range m.Deliveries(f.mark.Index) {
			require.GreaterOrEqual(t, x.Pos, pos)
			require.Equal(t, f.seen[x.ID], 0, "a message came twice")
			f.seen[x.ID]++
		}
	} else {
		require.Zero(t, pos)
		clear(f.seen)
		for x := range m.Deliveries(0) {
			f.seen[x.ID]++
		}
	}
	f.mark, f.shown = now, f.shown[:min(pos, uint64(len(f.shown)))]
	for x := range m.History(pos, false) {
		for uint64(len(f.shown)) < x.Pos {
			f.shown = append(f.shown, MessageID{})
		}
		f.shown = append(f.shown, x.ID)
	}
	for uint64(len(f.shown)) < m.Len() { // what is gone at the end
		f.shown = append(f.shown, MessageID{})
	}
	n := 0
	for x := range m.History(0, false) {
		require.Equal(t, x.ID, f.shown[x.Pos])
		require.Equal(t, 1, f.seen[x.ID])
		n++
	}
	require.EqualValues(t, m.Len()-m.order.under, n)
	require.LessOrEqual(t, len(f.shown), int(m.Len()))
}

func TestChangesThroughMerges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 3
		g := compacting(t, n, rapid.Uint64().Draw(t, "seed"))
		all := make([]follower, n)
		for i := range all {
			all[i].seen = make(map[MessageID]int)
		}
		g.view(0, 1, 2)
		said := 0
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, n-1).Draw(t, "node")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				g.view((i+1)%n, (i+2)%n)
				g.view(i)
			case 1:
				g.view(0, 1, 2)
			case 2, 3:
				all[i].look(t, g.nodes[i].Memory)
			case 4:
				g.run(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			default:
				for range rapid.IntRange(1, 12).Draw(t, "messages") {
					g.say(i, fmt.Sprint("message ", said))
					said++
					g.run(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
				}
			}
		}
		g.view(0, 1, 2)
		g.settle(2 * time.Minute)
		for i := range all {
			all[i].look(t, g.nodes[i].Memory)
		}
	})
}
