//go:build unix

package main_test

import (
	"flag"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

var many = flag.Int("many", 64, "how many processes TestMany starts at once")

// TestMany starts many processes at one instant on this machine, which settle
// into one group, and lose their coordinator.
func TestMany(t *testing.T) {
	n := *many
	if lab.Race {
		n = min(n, 12) // the detector makes each as heavy as five
	}
	g := onLoopback(t)
	for range n {
		g.start(nil)
	}
	v := waitMembers(t, g.nodes)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(v.ids()))), n, "an ID for each")
	for _, n := range g.nodes {
		n.ready()
	}
	g.say(g.nodes[:4], 5)
	g.converge(g.nodes, nil)
	g.check(g.nodes)

	i := slices.IndexFunc(g.nodes, func(n *node) bool { return n.id == v.Coord })
	victim := g.nodes[i]
	g.nodes = without(g.nodes, victim)
	victim.Kill()
	waitMembers(t, g.nodes)
	g.say(g.nodes[:4], 5)
	g.converge(g.nodes, nil)
	g.check(g.nodes)
}
