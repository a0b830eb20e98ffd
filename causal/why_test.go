package causal

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// leadsTo computes from the model which blocks each block follows, however far.
func (d model) leadsTo() map[Hash]map[Hash]bool {
	all := make(map[Hash]map[Hash]bool)
	for _, b := range d {
		s := make(map[Hash]bool)
		for _, p := range b.parents {
			s[p] = true
			for a := range all[p] {
				s[a] = true
			}
		}
		all[b.hash] = s
	}
	return all
}

func TestWhy(t *testing.T) {
	schedules(t, 8, func(t require.TestingT, seed uint64) {
		g := chaos{}.run(t, seed)
		g.heal(seed)
		n := g.nodes[rand.New(rand.NewPCG(seed, 11)).IntN(len(g.nodes))]
		d := modelOf(t, n.Memory)
		seen := d.leadsTo()
		for _, b := range d {
			for k := range b.messages {
				id := MessageID{b.writer, b.first + uint64(k)}
				w, ok := n.Why(id)
				require.True(t, ok)
				require.Equal(t, id, w.ID)
				require.Equal(t, b.ref(), w.Block)
				require.Equal(t, MessageID{b.writer, b.first}, w.First)
				require.Equal(t, len(b.messages), w.Count)
				var after []Hash
				for _, p := range w.After {
					after = append(after, p.Block.Hash)
				}
				require.Equal(t, b.parents, after)
				require.Equal(t, w.Own, w.Via == n.name())
				require.WithinRange(t, w.Came, time.Unix(1_700_000_000, 0), g.now)
				if len(d) <= concurrentReach {
					var want []MessageID
					for _, c := range d.sorted() {
						if c.hash != b.hash && !seen[b.hash][c.hash] && !seen[c.hash][b.hash] && c.count > 0 {
							want = append(want, MessageID{c.writer, c.first})
						}
					}
					require.Equal(t, want, w.Concurrent)
				}
			}
		}
		_, ok := n.Why(MessageID{})
		require.False(t, ok)
	})
}

func TestWhyTellsWhoBroughtIt(t *testing.T) {
	g := newGroup(t, 3, 1)
	g.link(0, 1, true)
	id := g.say(0, "hello")
	g.run(10 * time.Millisecond)
	g.link(1, 2, true)
	g.run(10 * time.Millisecond)
	for i, via := range []int{0, 0, 1} {
		w, ok := g.nodes[i].Why(id)
		require.True(t, ok)
		require.Equal(t, g.nodes[via].name(), w.Via)
		require.True(t, bytes.Equal([]byte("hello"), w.Data))
	}
}
