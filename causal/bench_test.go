package causal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
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

// memories runs a benchmark in memory that the process uses for the first time,
// and in memory that it has used before, as one that has run for a while has.
// It prepares that by a call of ready, with the number of bytes that it is
// about to take. The collector is off meanwhile, so that the two differ in the
// memory alone.
func memories(b *testing.B, run func(b *testing.B, ready func(bytes int))) {
	for _, name := range []string{"new", "warm"} {
		b.Run(name, func(b *testing.B) {
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			run(b, func(bytes int) {
				if name == "warm" {
					warm(bytes)
				} else {
					debug.FreeOSMemory()
				}
				b.ResetTimer()
			})
		})
	}
}

// warm leaves the process so many bytes that it has used before, as long as the
// collector is off.
func warm(bytes int) {
	touch(make([]byte, bytes))
	runtime.GC()
}

// touch writes to each page of b.
func touch(b []byte) {
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
}

// benchSize is more than what so many messages of 100 bytes take.
func benchSize(messages int) int { return 128*messages + 16<<20 }

// BenchmarkFirstTouch is what the system takes to give the process a page that
// it does not have yet.
func BenchmarkFirstTouch(b *testing.B) {
	const most = 256 << 20
	page := os.Getpagesize()
	b.SetBytes(int64(page))
	for n := b.N; n > 0; n -= most / page {
		b.StopTimer()
		debug.FreeOSMemory()
		fresh := make([]byte, min(n, most/page)*page)
		b.StartTimer()
		touch(fresh)
	}
}

// BenchmarkAppend is one message of 100 bytes, its share of signature and hash
// included.
func BenchmarkAppend(b *testing.B) {
	memories(b, func(b *testing.B, ready func(int)) {
		m := benchLog(b, 0)
		data := make([]byte, 100)
		b.ReportAllocs()
		b.SetBytes(100)
		ready(benchSize(b.N))
		for range b.N {
			m.Append(benchNow, data)
		}
		m.Flush(benchNow)
	})
}

// BenchmarkReceive is one message of 100 bytes in full blocks, received live in
// order, verified and delivered.
func BenchmarkReceive(b *testing.B) {
	memories(b, func(b *testing.B, ready func(int)) {
		from := benchLog(b, 0)
		to := benchLog(b, 1)
		fill(from, b.N, 100)
		b.ReportAllocs()
		b.SetBytes(100)
		ready(benchSize(b.N))
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
	})
}

// BenchmarkFloor is what no log can do without for a message of 100 bytes in
// full blocks: its share of a copy to where it is kept, of the hash, and of the
// signature, or of its verification.
func BenchmarkFloor(b *testing.B) {
	data := make([]byte, flushBytes)
	const messages = flushBytes / 101
	key := testKey(0)
	pub := key.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(data)
	sig := ed25519.Sign(key, sum[:])
	floor := func(each func(b *testing.B, block int, sum Hash)) func(*testing.B) {
		return func(b *testing.B) {
			memories(b, func(b *testing.B, ready func(int)) {
				var held [][]byte
				var room []byte
				ready(benchSize(b.N))
				for i := 0; i < b.N; i += messages {
					if len(room) < len(data) {
						room = make([]byte, chunkSize)
						held = append(held, room)
					}
					to := room[:len(data)]
					room = room[copy(to, data):]
					each(b, i/messages, sha256.Sum256(to))
				}
				runtime.KeepAlive(held)
			})
		}
	}
	b.Run("append", floor(func(_ *testing.B, _ int, sum Hash) { ed25519.Sign(key, sum[:]) }))
	b.Run("receive", floor(func(b *testing.B, block int, _ Hash) {
		if block%2 == 0 && !ed25519.Verify(pub, sum[:], sig) { // two blocks share a verification
			b.Fatal("signature")
		}
	}))
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

// BenchmarkPage reads 50 messages from somewhere in the middle, by how many
// there are, 50 in a block.
func BenchmarkPage(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := benchLog(b, 0)
			for range n / 50 {
				fill(m, 50, 10)
			}
			b.ReportAllocs()
			pos := m.Len() / 2
			for b.Loop() {
				pos = (pos + m.Len()/3 + 7) % m.Len()
				count := 0
				for range m.History(max(pos, 50), true) {
					if count++; count == 50 {
						break
					}
				}
			}
		})
	}
}

// BenchmarkMemory reports the bytes held for each of a million messages beyond
// their 100 bytes, in full blocks.
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

// BenchmarkInsert is one message of 100 bytes, 16 in a block, received when a
// partition of 100,000 messages ends: appended to an empty history, or inserted
// between 100,000 others, in memory that was used before.
func BenchmarkInsert(b *testing.B) {
	const n = 100_000
	side := func(i int) [][]byte {
		m := benchLog(b, i)
		for range n / 16 {
			fill(m, 16, 100)
		}
		var frames [][]byte
		for k := range m.blocks.n {
			frames = append(frames, m.raw(k))
		}
		return frames
	}
	ours, theirs := side(1), side(2)
	for _, c := range []struct {
		name string
		have [][]byte
	}{{"appended", nil}, {"between", ours}} {
		b.Run(c.name, func(b *testing.B) {
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			for b.Loop() {
				b.StopTimer()
				warm(2 * benchSize(2*n))
				m := benchLog(b, 3)
				step := func(frames [][]byte) {
					for part := range slices.Chunk(frames, 100) {
						m.Step(benchNow, Key{}, &Blocks{Frames: part})
					}
				}
				step(c.have)
				b.StartTimer()
				step(theirs)
				require.EqualValues(b, (len(c.have)+len(theirs))*16, m.Len())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/msg")
		})
	}
}

// BenchmarkWriters reports what a message of 100 bytes in a full block takes on
// the wire beyond itself, by how many writers take turns in the history.
func BenchmarkWriters(b *testing.B) {
	for _, writers := range []int{4, 64, 1024} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			for b.Loop() {
				m, wire := benchLog(b, 1), 0
				for i := range 2 * writers {
					if i < writers {
						require.NoError(b, m.rotate())
					}
					fill(m, 600, 100)
				}
				for i := range m.blocks.n {
					wire += len(m.raw(i))
				}
				n := m.Len()
				b.ReportMetric(float64(wire)/float64(n)-100, "wire-B/msg")
			}
		})
	}
}
