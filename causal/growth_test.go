package causal

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a message takes beside itself, on the wire and in memory, does not grow
// with the history that it follows, whoever wrote that: but for the digits of
// its numbers.
func TestOverheadDoesNotGrowWithTheHistory(t *testing.T) {
	m := benchLog(t, 1)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	alone := make(map[int]int) // by the length of the history: of a block with one message
	lengths := []int{1_000, 10_000, 100_000, 1_000_000}
	if testing.Short() {
		lengths = lengths[:3]
	}
	for _, n := range lengths {
		// Writers take turns, each with a hundredth of what is missing.
		for part := (n - int(m.Len())) / 100; int(m.Len()) < n; {
			require.NoError(t, m.rotate())
			fill(m, part, 10)
		}
		require.NoError(t, m.rotate())
		const size = 100
		for range 3 { // the genesis, and two blocks after it
			fill(m, 1, size)
		}
		raw := m.raw(m.blocks.n - 1)
		alone[n] = len(raw) - size
		var f frame
		require.NoError(t, f.decode(m.hash, raw))
		require.Empty(t, f.deps, "all that came before is behind the writer's own block")
	}
	require.LessOrEqual(t, alone[1_000], 67+80)
	for n, over := range alone {
		require.LessOrEqual(t, over, alone[1_000]+4, "after %d messages", n)
	}

	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := float64(after.HeapAlloc-before.HeapAlloc) / float64(m.Len())
	require.Less(t, held-10, 40.0, "bytes of memory for a message beyond its own")
	runtime.KeepAlive(m)
}

// What a block takes, as the operations page has it.
func TestSizesOfABlock(t *testing.T) {
	const size = 100
	body := func(m *Memory) (bytes, deps int) { // of the last block, which has one message
		raw := m.raw(m.blocks.n - 1)
		var f frame
		require.NoError(t, f.decode(m.hash, raw))
		return len(raw) - frameHead - 1 - size, len(f.deps)
	}
	m := benchLog(t, 1)
	fill(m, 1_000, size)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const blocks = 50_000
	for range blocks {
		fill(m, 1, size)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	alone, deps := body(m)
	require.Zero(t, deps)
	held := float64(after.HeapAlloc-before.HeapAlloc) / blocks
	t.Logf("a block: %d bytes, and %d for its body; in memory, with a message of %d, %.0f bytes", frameHead, alone, size, held)
	require.InDelta(t, 70, alone, 5)
	require.InDelta(t, size+300, held, 30)

	// Two who speak at one time.
	a, b := pair(t)
	fill(a, 1, size)
	fill(b, 1, size)
	exchange(a, b)
	fill(a, 1, size)
	both, deps := body(a)
	require.Equal(t, 1, deps)
	fill(a, 1, size)
	alone, deps = body(a)
	require.Zero(t, deps)
	t.Logf("each other head that it follows: %d bytes", both-alone)
	require.InDelta(t, 50, both-alone, 2)
}
