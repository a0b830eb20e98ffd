package causal

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func benchLog(t require.TestingT, i int) *Memory {
	m, err := NewMemory(Config{Key: testKey(i), Group: "bench", Rand: source(uint64(i))})
	require.NoError(t, err)
	return m
}

var benchNow = time.Unix(1_700_000_000, 0)

// pair returns two linked logs that serve each other.
func pair(t require.TestingT) (a, b *Memory) {
	a, b = benchLog(t, 0), benchLog(t, 1)
	for _, l := range [][2]*Memory{{a, b}, {b, a}} {
		l[0].SetPeers(benchNow, []Key{a.self, b.self})
		l[0].Link(benchNow, l[1].self, true)
	}
	exchange(a, b)
	return a, b
}

// exchange hands over what two logs have for each other until there is nothing.
func exchange(a, b *Memory) (bytes int) {
	for quiet := 0; quiet < 2; a, b = b, a {
		quiet++
		for {
			m := a.Next(a.now, b.self)
			if m == nil {
				break
			}
			quiet = 0
			switch m := m.(type) {
			case *Blocks:
				for _, f := range m.Frames {
					bytes += len(f)
				}
			case *Batch:
				for _, f := range m.Frames {
					bytes += len(f)
				}
			}
			b.Step(a.now, a.self, m)
			b.Ready()
		}
	}
	return bytes
}

// fill appends n messages of the given size in full blocks.
func fill(m *Memory, n, size int) {
	data := make([]byte, size)
	for range n {
		m.Append(benchNow, data)
	}
	m.Flush(benchNow)
	m.Ready()
}

// BenchmarkAppend is one message of 100 bytes, its share of signature and hash
// included.
func BenchmarkAppend(b *testing.B) {
	m := benchLog(b, 0)
	data := make([]byte, 100)
	b.ReportAllocs()
	b.SetBytes(100)
	for b.Loop() {
		m.Append(benchNow, data)
	}
}

// BenchmarkReceive is one message of 100 bytes in full blocks, received live in
// order, verified and delivered.
func BenchmarkReceive(b *testing.B) {
	from := benchLog(b, 0)
	to := benchLog(b, 1)
	fill(from, b.N, 100)
	b.ReportAllocs()
	b.SetBytes(100)
	b.ResetTimer()
	var frames [][]byte
	size := 0
	for i := range from.blocks.n {
		raw := from.raw(i)
		if size += len(raw); size > sendBytes && frames != nil {
			to.Step(benchNow, from.self, &Blocks{Frames: frames})
			frames, size = frames[:0], len(raw)
		}
		frames = append(frames, raw)
	}
	to.Step(benchNow, from.self, &Blocks{Frames: frames})
	if to.Len() != uint64(b.N) {
		b.Fatal(to.Len(), to.Stats())
	}
}

// BenchmarkSync is the whole of taking over 100,000 messages of 100 bytes, by
// how many share a block.
func BenchmarkSync(b *testing.B) {
	for _, per := range []int{1, 16, 1000} {
		b.Run(fmt.Sprintf("perBlock=%d", per), func(b *testing.B) {
			from := benchLog(b, 0)
			data := make([]byte, 100)
			for i := range 100_000 {
				from.Append(benchNow, data)
				if i%per == per-1 {
					from.Flush(benchNow)
				}
			}
			from.Flush(benchNow)
			for b.Loop() {
				to := benchLog(b, 1)
				for _, l := range [][2]*Memory{{from, to}, {to, from}} {
					l[0].SetPeers(benchNow, []Key{from.self, to.self})
					l[0].Link(benchNow, l[1].self, false)
					l[0].Link(benchNow, l[1].self, true)
				}
				exchange(from, to)
				require.EqualValues(b, 100_000, to.Len())
			}
		})
	}
}

// BenchmarkDeliveries is reading one message.
func BenchmarkDeliveries(b *testing.B) {
	m := benchLog(b, 0)
	fill(m, b.N, 100)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for msg := range m.Deliveries(0) {
		n += len(msg.Data)
	}
	require.Equal(b, 100*b.N, n)
}

// BenchmarkPage reads 50 messages from the middle of 1,000,000.
func BenchmarkPage(b *testing.B) {
	m := benchLog(b, 0)
	for i := range 20_000 {
		fill(m, 50, 10)
		_ = i
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range m.History(m.Len()/2+7, true) {
			if n++; n == 50 {
				break
			}
		}
	}
}

// BenchmarkMemory reports the bytes held for each of a million messages beyond
// their 100 bytes.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := benchLog(b, 0)
		fill(m, 1_000_000, 100)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6-100, "overhead-B/msg")
		runtime.KeepAlive(m)
	}
}
