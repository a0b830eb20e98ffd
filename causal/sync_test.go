package causal

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTwoConverge(t *testing.T) {
	g := newGroup(t, 2, 1)
	g.mesh(true)
	g.run(50 * time.Millisecond)
	for i := range 10 {
		g.say(i%2, fmt.Sprint("message ", i))
		g.run(5 * time.Millisecond)
	}
	g.settle(time.Second)
	require.EqualValues(t, 10, g.nodes[0].Len())
	require.Equal(t, string(g.nodes[0].text()), string(g.nodes[1].text()))
}

func TestLateJoinerTakesAll(t *testing.T) {
	g := newGroup(t, 4, 2)
	for a := range 3 {
		for b := range a {
			g.link(a, b, true)
		}
	}
	for i := range 300 {
		g.say(i%3, fmt.Sprint("message ", i))
		if i%7 == 0 {
			g.run(time.Millisecond)
		}
	}
	g.run(time.Second)
	for b := range 3 {
		g.link(3, b, true)
	}
	took := g.settle(time.Second)
	require.LessOrEqual(t, took, 50*time.Millisecond)
	require.EqualValues(t, 300, g.nodes[3].Len())
	for m := range g.nodes[3].Deliveries(0) {
		require.True(t, m.Backlog)
	}
	require.EqualValues(t, 1, g.nodes[3].Stats().Pulls)
	require.Equal(t, string(g.nodes[0].text()), string(g.nodes[3].text()))
}
