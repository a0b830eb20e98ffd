//go:build unix

package main_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/lab"
)

// fault gives the command fault to all nodes.
func (g *group) fault(nodes []*node, args lab.Args) {
	g.t.Helper()
	for _, n := range nodes {
		n.Do("fault", args)
	}
}

// TestSituationCutByCommand splits a group by the command fault, twice in
// different ways, and heals it. It takes no privileges.
func TestSituationCutByCommand(t *testing.T) {
	t.Parallel()
	g := four(t, nil)
	g.say(g.nodes, 5)
	g.converge(g.nodes, nil)
	from := marks(g.nodes)
	g.fault(g.nodes, lab.Args{"cut": [][]int{{1, 2}, {3, 4}}})
	require.Equal(t, 1, waitMembers(t, g.nodes[:2]).Coord)
	require.Equal(t, 4, waitMembers(t, g.nodes[2:]).Coord)
	g.say(g.nodes, 5)
	g.convergeOn(g.nodes[:2], 30, from)
	g.convergeOn(g.nodes[2:], 30, from)

	// Who is cut off is known by its ID although it is no member any more. A
	// newcomer is in no list, as is who is not named.
	g.fault(g.nodes, lab.Args{"cut": [][]int{{2}}})
	late := g.start(nil)
	rest := without(g.nodes, g.nodes[1])
	late.ready()
	waitMembers(t, rest)
	waitMembers(t, g.nodes[1:2])
	g.converge(rest, nil)

	g.fault(g.nodes, lab.Args{"clear": true})
	g.whole(g.nodes)
	for _, n := range g.nodes[:4] {
		require.Positive(t, lab.As[struct{ Drops map[string]int }](t, n.Do("status", nil)).Drops["fault"], "%s: it lost something", n.Name())
	}
}

// TestSituationBadNetworkByCommand loses a third of all packets and delays the
// others, by the command fault.
func TestSituationBadNetworkByCommand(t *testing.T) {
	t.Parallel()
	g := four(t, nil)
	g.fault(g.nodes, lab.Args{"loss": 30, "delay_ms": 50})
	g.say(g.nodes, 20)
	g.converge(g.nodes, nil)
	g.fault(g.nodes, lab.Args{"clear": true})
	g.whole(g.nodes)
}
