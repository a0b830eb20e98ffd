package causal

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Blocks without messages: they change the digest all the same, and the numbers
// of the messages around them not at all, also when some of those are still to
// be put into a block.

// strangers returns the first blocks of n writers whom nobody follows yet. Their
// keys are counted from the given one.
func strangers(first, n int) (frames [][]byte) {
	for i := range n {
		raw, _ := newForger(testKey(first+i), "test", 1).block(body{}, fmt.Sprint("stranger ", first+i))
		frames = append(frames, raw)
	}
	return frames
}

func TestI17I18BlocksWithoutMessages(t *testing.T) {
	for _, row := range []struct {
		name   string
		heads  int
		blocks [2]int                                  // without messages, after none and after some
		write  func(m *Memory, say func(at time.Time)) // say appends
	}{
		{"more heads than a message can follow", 2*MaxDeps + 2, [2]int{2, 2}, func(m *Memory, say func(time.Time)) {
			say(m.now)
			m.Tick(m.openUntil)
		}},
		{"many heads in silence", mergeHeads, [2]int{1, 1}, func(m *Memory, say func(time.Time)) {
			at := m.mergeAt
			say(at.Add(-flushDelay / 2))
			m.Tick(at)
		}},
		{"a vote", 1, [2]int{2, 1}, func(m *Memory, say func(time.Time)) {
			at := m.now.Add(time.Hour)
			say(at)
			m.Tick(at)
		}},
		{"a vote beside many heads", 2*MaxDeps + 2, [2]int{3, 3}, func(m *Memory, say func(time.Time)) {
			at := m.now.Add(time.Hour)
			m.mergeAt = at.Add(time.Hour)
			say(at)
			m.Tick(at)
		}},
	} {
		for k, said := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s, after %d messages", row.name, said), func(t *testing.T) {
				m, err := NewMemory(Config{
					Key: testKey(1), Group: "test", Rand: source(1),
					Compaction: Compaction{Age: time.Minute, Away: time.Minute, Blocks: 1, Keep: true},
				})
				require.NoError(t, err)
				other := benchLog(t, 2)
				other.cfg.Group, other.hash = "test", newHasher("test")
				ids := make(map[MessageID]string)
				say := func(at time.Time) {
					text := fmt.Sprint("message ", len(ids))
					id, err := m.Append(at, []byte(text))
					require.NoError(t, err)
					ids[id] = text
				}
				for range said {
					say(benchNow)
				}
				require.NoError(t, m.Flush(benchNow))
				m.Step(benchNow, Key{}, &Blocks{Frames: strangers(100, row.heads)})
				require.Equal(t, modelOf(t, m).digest(), m.Digest())
				row.write(m, func(at time.Time) { say(at); say(at) })
				require.Equal(t, modelOf(t, m).digest(), m.Digest(), "while messages wait for a block")
				require.NoError(t, m.Flush(m.now))

				empty := 0
				for _, b := range modelOf(t, m) {
					if b.count == 0 {
						empty++
					}
				}
				require.Equal(t, row.blocks[k], empty)
				require.Equal(t, modelOf(t, m).digest(), m.Digest())
				modelOf(t, m).checkNumbers(t)
				require.Len(t, ids, said+2)
				for id, text := range ids {
					x, ok := m.Lookup(id)
					require.True(t, ok)
					require.Equal(t, text, string(x.Data))
				}
				// Another, that is given one block after the other, thinks the same.
				for i := range m.blocks.n {
					other.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{m.raw(i)}})
					require.Equal(t, modelOf(t, other).digest(), other.Digest())
				}
				require.Empty(t, other.Stats().Refused)
				require.Equal(t, m.Digest(), other.Digest())
			})
		}
	}
}

// crowded is a random schedule in which so many writers come that heads are
// drawn together by blocks without messages, of some nodes at the same time.
func crowded(t require.TestingT, seed uint64, each func(g *group, n *node)) {
	rng := rand.New(rand.NewPCG(seed, 30))
	g := newGroup(t, 2+rng.IntN(2), seed)
	g.check = func(n *node) { each(g, n) }
	g.mesh(true)
	came := 100
	for round := range 6 {
		i := rng.IntN(len(g.nodes))
		for range rng.IntN(3) {
			id, err := g.nodes[i].Append(g.now, fmt.Append(nil, rng.Uint64()))
			require.NoError(t, err)
			g.nodes[i].ids = append(g.nodes[i].ids, id)
		}
		n := []int{1, mergeHeads, MaxDeps + 2}[rng.IntN(3)]
		quiet := []time.Duration{flushDelay / 2, 20 * time.Millisecond, mergeAfter + mergeRange}[rng.IntN(3)]
		if round == 0 { // at least once
			n, quiet = MaxDeps+2, mergeAfter+mergeRange
		}
		g.nodes[i].Step(g.now, Key{}, &Blocks{Frames: strangers(came, n)})
		g.pump(g.nodes[i])
		came += n
		g.run(quiet)
	}
	g.settle(time.Minute)
	empty := 0
	for _, b := range modelOf(t, g.nodes[0].Memory) {
		if b.count == 0 {
			empty++
		}
	}
	require.NotZero(t, empty)
	for _, n := range g.nodes {
		for _, id := range n.ids {
			_, ok := g.nodes[0].Lookup(id)
			require.True(t, ok)
		}
		require.Empty(t, n.Stats().Refused["links"])
	}
}

func TestI17EqualDigestsInACrowd(t *testing.T) {
	schedules(t, 8, func(t require.TestingT, seed uint64) {
		crowded(t, seed, func(_ *group, n *node) {
			require.Equal(t, modelOf(t, n.Memory).digest(), n.Digest())
		})
	})
}

func TestI18NumbersHaveNoHolesInACrowd(t *testing.T) {
	schedules(t, 8, func(t require.TestingT, seed uint64) {
		crowded(t, seed, func(_ *group, n *node) {
			modelOf(t, n.Memory).checkNumbers(t)
			next := make(map[WriterID]uint64)
			for x := range n.Deliveries(0) {
				next[x.ID.Writer]++
				require.Equal(t, next[x.ID.Writer], x.ID.N)
			}
		})
	})
}

// The number that a block without messages would give its first one is checked
// as any other, and so is that of the block after it.
func TestI18NumbersOfBlocksWithoutMessagesAreChecked(t *testing.T) {
	evil := newForger(testKey(50), "test", 1)
	genesis, first := evil.block(body{}, "one", "two")
	sound, merge := evil.block(first.after())
	require.EqualValues(t, kindMerge, merge.kind)
	changed := func(x body, by int, text ...string) []byte {
		x.first += uint64(by)
		raw, _ := evil.block(x, text...)
		return raw
	}
	for _, row := range []struct {
		name   string
		frames [][]byte
		taken  uint32
	}{
		{"sound", [][]byte{genesis, sound, changed(merge.after(), 0, "three")}, 3},
		{"too low", [][]byte{genesis, changed(first.after(), -1)}, 1},
		{"too high", [][]byte{genesis, changed(first.after(), 1)}, 1},
		{"too low after it", [][]byte{genesis, sound, changed(merge.after(), -1, "three")}, 2},
		{"too high after it", [][]byte{genesis, sound, changed(merge.after(), 1, "three")}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := benchLog(t, 1)
			m.cfg.Group, m.hash = "test", newHasher("test")
			for _, f := range row.frames {
				m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{f}})
			}
			require.Equal(t, row.taken, m.blocks.n)
			require.EqualValues(t, len(row.frames)-int(row.taken), m.Stats().Refused["links"])
		})
	}
}
