package causal

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is withheld comes to nobody by streams, neither by itself nor by a Pull,
// but to those excepted; and when it no longer is, to those who lack it.
func TestWithheldBlocks(t *testing.T) {
	g := newGroup(t, 4, 1)
	g.mesh(true)
	g.run(50 * time.Millisecond)
	a := g.nodes[0]
	for i := range 3 {
		g.say(0, fmt.Sprint("before ", i))
		g.run(5 * time.Millisecond)
	}
	g.settle(time.Second)
	require.Equal(t, 3, a.Made())
	a.Withhold(3, map[Key]bool{g.nodes[3].name(): true})
	for i := range 4 {
		g.say(0, fmt.Sprint("withheld ", i))
	}
	g.run(20 * time.Millisecond)
	require.EqualValues(t, 3, g.nodes[1].Len())
	require.EqualValues(t, 7, g.nodes[3].Len(), "it is excepted")

	// By another way node 1 gets all, in any order, and 2 the last.
	var frames [][]byte
	for place := 3; place < a.Made(); place++ {
		raw, n := a.Own(place)
		require.EqualValues(t, place+1, n)
		frames = append(frames, slices.Clone(raw))
	}
	require.Equal(t, len(slices.Concat(frames[1:]...)), a.OwnBytes(4, 7))
	require.Zero(t, a.OwnBytes(7, 4))
	apart := func(i, frame int) {
		g.nodes[i].Apart(g.now, a.name(), frames[frame])
		g.pump(g.nodes[i])
	}
	n, ok := g.nodes[1].Held(a.name())
	require.True(t, ok)
	require.EqualValues(t, 3, n)
	_, ok = g.nodes[1].Held(Key{1})
	require.False(t, ok)
	for _, frame := range []int{2, 1, 3, 0} {
		apart(1, frame)
	}
	apart(2, 3)
	require.EqualValues(t, 7, g.nodes[1].Len())
	n, _ = g.nodes[1].Held(a.name())
	require.EqualValues(t, 7, n)
	g.run(patience / 2)
	require.EqualValues(t, 3, g.nodes[2].Len(), "it does not ask for what follows by the same way")
	held := map[Key]int{}
	for _, p := range a.Progress() {
		held[p.Key] = p.Held
		require.Equal(t, map[bool]int{false: 3, true: 7}[p.Key != g.nodes[2].name()], p.Sent, "what is held need not be sent")
	}
	require.Equal(t, map[Key]int{g.nodes[1].name(): 7, g.nodes[2].name(): 3, g.nodes[3].name(): 7}, held)

	// Whoever asks node 0 gets none of it.
	a.Step(g.now, g.nodes[2].name(), &Pull{Session: 99, Tips: []Tip{}, Credit: 1 << 20, Parts: []Part{}})
	var got [][]byte
	for m := a.Next(g.now, g.nodes[2].name()); m != nil; m = a.Next(g.now, g.nodes[2].name()) {
		if b, ok := m.(*Batch); ok {
			got = append(got, b.Frames...)
		}
	}
	require.Empty(t, got, "the first three it holds")

	a.Withhold(-1, nil)
	g.pump(a)
	g.settle(time.Second)
	require.EqualValues(t, 7, g.nodes[2].Len())
	require.Equal(t, string(a.text()), string(g.nodes[2].text()))
}
