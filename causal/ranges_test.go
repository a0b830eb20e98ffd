package causal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/codec"
)

// forest makes blocks of many writers, each after some of those before it, in
// causal order.
type forest struct {
	rng    *rand.Rand
	frames [][]byte
	blocks []modelBlock
	place  map[Hash]int
	tips   map[int]modelBlock
	by     []*forger
}

func newForest(seed uint64, writers int) *forest {
	f := &forest{rng: rand.New(rand.NewPCG(seed, 4)), place: make(map[Hash]int), tips: make(map[int]modelBlock)}
	for w := range writers {
		key := make([]byte, ed25519.SeedSize)
		binary.BigEndian.PutUint64(key, uint64(w)+1000)
		f.by = append(f.by, newForger(ed25519.NewKeyFromSeed(key), "bench", 1))
	}
	return f
}

// grow adds a block of a writer that follows up to so many others.
func (f *forest) grow(w, others int) {
	x := body{wall: 1}
	if tip, ok := f.tips[w]; ok {
		x = tip.after()
		x.wall = 1
	}
	for range others {
		if len(f.blocks) == 0 {
			break
		}
		b := f.blocks[len(f.blocks)-1-f.rng.IntN(min(len(f.blocks), 50))]
		if !slices.ContainsFunc(x.deps, func(r Ref) bool { return r.Hash == b.hash }) && b.hash != x.prev {
			x.deps = append(x.deps, b.ref())
			x.height = max(x.height, b.height+1)
		}
	}
	raw, b := f.by[w].block(x, fmt.Sprint("block ", len(f.blocks)))
	b.parents = nil
	if b.n > 1 {
		b.parents = append(b.parents, b.prev)
	}
	for _, d := range b.deps {
		b.parents = append(b.parents, d.Hash)
	}
	f.place[b.hash] = len(f.blocks)
	f.frames, f.blocks = append(f.frames, raw), append(f.blocks, b)
	f.tips[w] = b
}

// plant gives a log the blocks that keep says, but those that lack a parent.
func (f *forest) plant(t require.TestingT, m *Memory, keep func(i int) bool) {
	has := make([]bool, len(f.blocks))
	var some [][]byte
	for i, b := range f.blocks {
		if has[i] = keep(i); !has[i] {
			continue
		}
		for _, p := range b.parents {
			has[i] = has[i] && has[f.place[p]]
		}
		if has[i] {
			some = append(some, f.frames[i])
		}
	}
	for c := range slices.Chunk(some, 1000) {
		m.Step(benchNow, Key{9}, &Blocks{Frames: c})
		m.Ready()
	}
	require.Empty(t, m.Stats().Refused)
	require.Empty(t, m.pending.byHash)
}

// exchanged is what two logs have sent each other.
type exchanged struct {
	bytes  [2]int // by each
	search [2]int // of them Ranges, Diffs and Pulls
	rounds [2]int // Ranges sent by each
	pulls  [2]int
	acks   [2]int
}

// converge links two logs and lets them exchange what they want to, until they
// are quiet for a while. No message may be too large (see checkSize), and each
// Pull after the first of a search must have found the one before to be of use
// (I7).
func converge(t require.TestingT, logs [2]*Memory) (x exchanged) {
	now := logs[0].now
	if now.IsZero() {
		now = benchNow
	}
	for k, m := range logs {
		m.SetPeers(now, []Key{logs[0].self, logs[1].self})
		m.Link(now, logs[1-k].self, true)
		m.Ready()
	}
	var had [2]uint64
	for range 200 {
		for quiet := 0; quiet < 2; quiet++ {
			for k, m := range logs {
				for {
					msg := m.Next(now, logs[1-k].self)
					if msg == nil {
						break
					}
					quiet = 0
					checkSize(t, msg)
					size := len(codec.Append(nil, msg))
					x.bytes[k] += size
					switch msg := msg.(type) {
					case *Ranges:
						x.rounds[k]++
						x.search[k] += size
					case *Diffs:
						x.search[k] += size
					case *Ack:
						x.acks[k]++
					case *Pull:
						x.pulls[k]++
						x.search[k] += size
						if msg.Ranged && x.pulls[k] > 1 && len(msg.Parts) > 0 {
							require.Greater(t, m.count, had[k], "a Pull brought nothing")
						}
						had[k] = m.count
					}
					logs[1-k].Step(now, m.self, msg)
					logs[1-k].Ready()
				}
			}
		}
		now = now.Add(ackDelay)
		for _, m := range logs {
			m.Tick(now)
			m.Ready()
		}
		if logs[0].Digest() == logs[1].Digest() && logs[0].pull == nil && logs[1].pull == nil {
			break
		}
	}
	return x
}

func TestRangesMakeAnyTwoLogsEqual(t *testing.T) {
	schedules(t, 12, func(t require.TestingT, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 5))
		writers := []int{4, 30, 200, 2000}[seed%4]
		f := newForest(seed, writers)
		for w := range writers {
			f.grow(w, rng.IntN(3))
		}
		for range rng.IntN(2*writers + 1000) {
			f.grow(rng.IntN(writers), rng.IntN(4))
		}
		logs := [2]*Memory{benchLog(t, 0), benchLog(t, 1)}
		for k, m := range logs {
			m.limits.tips = 0
			if seed%3 == 0 {
				m.limits.small = 4
			}
			var keep func(i int) bool
			switch rng.IntN(4) {
			case 0: // all up to a time
				last := rng.IntN(len(f.blocks))
				keep = func(i int) bool { return i <= last }
			case 1: // most, and of the others what follows none of them
				p := rng.Float64() / 50
				keep = func(int) bool { return rng.Float64() >= p }
			case 2: // nothing of some
				p := rng.IntN(writers)
				keep = func(i int) bool { return i%(p+2) != k }
			case 3:
				keep = func(int) bool { return true }
			}
			f.plant(t, m, keep)
		}
		had := [2]Stats{logs[0].Stats(), logs[1].Stats()}
		x := converge(t, logs)
		require.Equal(t, logs[0].Digest(), logs[1].Digest(), "%d writers, %d and %d blocks, %+v", writers, had[0].Blocks, had[1].Blocks, x)
		for _, m := range logs {
			require.Empty(t, m.Stats().Refused)
			if writers <= 200 {
				modelOf(t, m).checkOrder(t)
			}
			require.LessOrEqual(t, m.Stats().Pulls, uint64(2))
		}
	})
}

// What differs may be more than one Pull can name.
func TestHalvesThatShareNothing(t *testing.T) {
	const writers = 1000
	f := newForest(1, writers)
	for i := range 4 * writers {
		f.grow(i%writers, 0)
	}
	logs := [2]*Memory{benchLog(t, 0), benchLog(t, 1)}
	for k, m := range logs {
		f.plant(t, m, func(i int) bool { return i%2 == k })
	}
	x := converge(t, logs)
	require.Equal(t, logs[0].Digest(), logs[1].Digest())
	require.EqualValues(t, 4*writers, logs[0].Len())
	for k, m := range logs {
		require.EqualValues(t, 1, m.Stats().Pulls)
		require.Greater(t, x.pulls[k], 1)
		require.LessOrEqual(t, x.pulls[k], 4)
	}
	t.Log(x)
}

// bruteForce is the fingerprint of a range without any of the code under test.
func bruteForce(all []modelBlock, from, to Bound) []byte {
	sum, n := new(big.Int), uint64(0)
	for _, b := range all {
		at := Bound{b.height, binary.BigEndian.Uint64(b.hash[:8])}
		less := func(a, b Bound) bool { return a.Height < b.Height || a.Height == b.Height && a.Part < b.Part }
		if less(at, from) || !less(at, to) {
			continue
		}
		le := slices.Clone(b.hash[:])
		slices.Reverse(le)
		sum.Add(sum, new(big.Int).SetBytes(le))
		n++
	}
	sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 256))
	out := sum.FillBytes(make([]byte, 32))
	slices.Reverse(out)
	h := sha256.Sum256(binary.LittleEndian.AppendUint64(out, n))
	return h[:16]
}

func TestI12RangesEqualBruteForce(t *testing.T) {
	schedules(t, 20, func(t require.TestingT, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 6))
		f := newForest(seed, 60)
		for range 100 + rng.IntN(400) {
			f.grow(rng.IntN(60), rng.IntN(3))
		}
		m := benchLog(t, 0)
		f.plant(t, m, func(int) bool { return true })
		bound := func() Bound {
			b := f.blocks[rng.IntN(len(f.blocks))]
			return []Bound{
				{Height: b.height}, {b.height, part(&b.hash)}, {b.height, part(&b.hash) + 1},
				{rng.Uint64N(m.order.top() + 40), rng.Uint64()}, {}, endless,
			}[rng.IntN(6)]
		}
		for range 10 {
			var bounds []Bound
			for range 2 + rng.IntN(20) {
				bounds = append(bounds, bound())
			}
			slices.SortFunc(bounds, Bound.compare)
			tally := m.tally()
			low := tally.upTo(bounds[0])
			for i, b := range bounds[1:] {
				high := tally.upTo(b)
				require.Equal(t, bruteForce(f.blocks, bounds[i], b), high.minus(low).print())
				require.Len(t, m.shorts(bounds[i], b, 7), int(high.blocks-low.blocks))
				low = high
			}
		}
		sorted := model(f.blocks).sorted()
		for n, b := range sorted {
			h, rest := m.order.nth(uint64(n))
			require.Equal(t, b.height, h)
			require.Equal(t, n-int(rest), slices.IndexFunc(sorted, func(x modelBlock) bool { return x.height == h }))
		}
	})
}

// What an answer costs must not depend on how much is equal.
func TestAFewBlocksAreFoundInManyCheaply(t *testing.T) {
	f := newForest(1, 600)
	for w := range 600 {
		f.grow(w, 1)
	}
	for i := range 20_000 {
		f.grow(i%600, 2)
	}
	logs := [2]*Memory{benchLog(t, 0), benchLog(t, 1)}
	f.plant(t, logs[0], func(i int) bool { return true })
	f.plant(t, logs[1], func(i int) bool { return i < len(f.blocks)-40 })
	logs[1].Step(benchNow, logs[0].self, logs[0].Beat(benchNow))
	x := converge(t, logs)
	require.Equal(t, logs[0].Digest(), logs[1].Digest())
	for k := range logs { // the other cannot see that it lacks nothing: there are too many heads for a Beat
		require.Equal(t, 1, x.pulls[k])
		require.LessOrEqual(t, x.rounds[k], 4)
	}
	require.LessOrEqual(t, x.search[0]+x.search[1], 16<<10)
	t.Log(x)
}

// A search can be led on without end only by what it brings.
func TestARangeThatAlwaysDiffersCostsLittle(t *testing.T) {
	for name, answer := range map[string]func(r *Ranges, i int) Diff{
		"many":   func(r *Ranges, i int) Diff { return Diff{Index: uint32(i), Blocks: 1 << 40} },
		"few":    func(r *Ranges, i int) Diff { return Diff{Index: uint32(i), Blocks: 1} },
		"listed": func(r *Ranges, i int) Diff { return Diff{Index: uint32(i), Blocks: 1, Short: make([]byte, 8)} },
		"false": func(r *Ranges, i int) Diff {
			return Diff{Index: uint32(i), Blocks: 2, Short: make([]byte, 8)}
		},
		"wrong": func(r *Ranges, i int) Diff { return Diff{Index: 1 << 20} },
	} {
		t.Run(name, func(t *testing.T) {
			m := benchLog(t, 0)
			f := newForest(1, 500)
			const blocks = 6000
			for i := range blocks {
				f.grow(i%500, 1)
			}
			f.plant(t, m, func(int) bool { return true })
			m.limits.small = 2
			evil := Key{7}
			m.SetPeers(benchNow, []Key{evil})
			m.Link(benchNow, evil, true)
			m.Step(benchNow, evil, &Beat{Count: 1 << 30, Height: 1 << 30, Heads: []Ref{{N: 1, Hash: Hash{1}}}})
			now, asked, pulls := benchNow, 0, 0
			for range 1000 {
				for msg := m.Next(now, evil); msg != nil; msg = m.Next(now, evil) {
					checkSize(t, msg)
					switch msg := msg.(type) {
					case *Ranges:
						asked++
						d := &Diffs{Session: msg.Session}
						for i, r := range msg.Ranges {
							if len(r.Print) > 0 {
								d.Diffs = append(d.Diffs, answer(msg, i))
							}
						}
						m.Step(now, evil, d)
					case *Pull:
						pulls++
						m.Step(now, evil, &Batch{Session: msg.Session})
					}
					if s := m.pull; s != nil && s.search != nil {
						require.LessOrEqual(t, len(s.search.open), maxOpen)
						require.LessOrEqual(t, asked, 9*(maxRounds+blocks/256+1))
					}
				}
				now = now.Add(100 * time.Millisecond)
				m.Step(now, evil, &Beat{Count: 1 << 30, Height: 1 << 30, Heads: []Ref{{N: 1, Hash: Hash{1}}}})
				m.Tick(now)
				m.Ready()
			}
			// 100 seconds, in which the waits have grown from one second to one minute.
			require.LessOrEqual(t, m.Stats().Pulls, uint64(8))
			require.Positive(t, m.Stats().Pulls)
			require.LessOrEqual(t, pulls, 8)
			if name != "many" && name != "listed" {
				require.Positive(t, m.Stats().Refused["ranges"])
			}
			t.Log(m.Stats().Pulls, asked, pulls, m.Stats().Refused)
		})
	}
}

func TestHostileRangesAreRefused(t *testing.T) {
	a, b := pair(t)
	fill(a, 100, 10)
	exchange(a, b)
	print := make([]byte, 16)
	one := []Range{{To: Bound{Height: 2}, Print: print}}
	many := make([]Range, maxRanges+1)
	for i := range many {
		many[i].To.Height = uint64(i) + 1
	}
	parts := make([]Part, maxParts+1)
	for i := range parts {
		parts[i] = Part{From: Bound{Height: uint64(i)}, To: Bound{Height: uint64(i) + 1}}
	}
	long := make([]uint64, small+1)
	for i := range long {
		long[i] = uint64(i)
	}
	up, down := make([]byte, 16), make([]byte, 16)
	up[15], down[7] = 1, 1
	for name, msg := range map[string]Protocol{
		"too many ranges":      &Ranges{Ranges: many},
		"short fingerprint":    &Ranges{Ranges: []Range{{To: Bound{Height: 2}, Print: print[:15]}}},
		"ranges that descend":  &Ranges{From: Bound{Height: 3}, Ranges: one},
		"an empty range":       &Ranges{From: Bound{Height: 2}, Ranges: one},
		"too many parts":       &Pull{Ranged: true, Parts: parts},
		"tips and parts":       &Pull{Ranged: true, Tips: []Tip{{N: 1}}},
		"parts that overlap":   &Pull{Ranged: true, Parts: []Part{{To: Bound{Height: 3}}, {From: Bound{Height: 2}, To: Bound{Height: 4}}}},
		"an empty part":        &Pull{Ranged: true, Parts: []Part{{From: Bound{Height: 3}, To: Bound{Height: 3}}}},
		"half a hash":          &Pull{Ranged: true, Parts: []Part{{To: endless, Short: up[:12]}}},
		"too long a list":      &Pull{Ranged: true, Parts: []Part{{To: endless, Short: packShorts(long)}}},
		"a list that descends": &Pull{Ranged: true, Parts: []Part{{To: endless, Short: down}}},
	} {
		before := a.Stats().Refused["ranges"]
		a.Step(benchNow, b.self, msg)
		require.Equal(t, before+1, a.Stats().Refused["ranges"], name)
		require.Nil(t, a.peers[b.self].compare, name)
		require.Nil(t, a.peers[b.self].serving, name)
	}
	a.Step(benchNow, b.self, &Pull{Ranged: true, Parts: []Part{{To: endless, Short: up}}})
	require.NotNil(t, a.peers[b.self].serving)
	// Questions are answered when there is room for the answer, the last one of
	// those that came meanwhile, and so many in a second.
	before, answers := a.Stats().Refused["ranges"], 0
	for i := range 3 * maxBurst {
		a.Step(benchNow, b.self, &Ranges{Session: uint64(i), Ranges: one})
		if i%2 == 0 {
			continue
		}
		for msg := a.Next(benchNow, b.self); msg != nil; msg = a.Next(benchNow, b.self) {
			if d, ok := msg.(*Diffs); ok {
				require.EqualValues(t, i, d.Session)
				answers++
			}
		}
	}
	require.EqualValues(t, maxBurst/2, answers)
	require.EqualValues(t, 2*maxBurst, a.Stats().Refused["ranges"]-before)
	later := benchNow.Add(time.Second)
	a.Step(later, b.self, &Ranges{Ranges: one})
	require.NotNil(t, a.peers[b.self].compare)
}

// A bad disk that lost a record in the middle: what followed it cannot be used
// either, and all of it comes again from others, here and on the disk.
func TestAHoleInTheStoreIsRepaired(t *testing.T) {
	schedules(t, 12, func(t require.TestingT, seed uint64) {
		g := newGroup(t, 3, seed)
		g.ranged = seed%2 == 0
		g.start(0, NewMemoryStore())
		g.mesh(true)
		for i := range 60 {
			g.say(i%3, fmt.Sprint("message ", i))
			if g.rng.IntN(3) == 0 {
				g.run(5 * time.Millisecond)
			}
		}
		g.settle(5 * time.Second)
		want := string(g.nodes[1].text())
		for j := 1; j < 3; j++ {
			g.link(0, j, false)
		}
		n := g.nodes[0]
		require.NoError(t, n.Close())
		hole := g.rng.IntN(len(n.store.recs) - 1)
		switch seed % 3 {
		case 0:
			n.store.recs = slices.Delete(n.store.recs, hole, hole+1)
		case 1:
			raw := n.store.recs[hole].Frame // behind the signature, which nobody needs any more
			raw[frameHead+g.rng.IntN(len(raw)-frameHead)] ^= 1
		case 2:
			n.store.recs[hole].Frame = n.store.recs[hole].Frame[:20]
		}
		g.start(0, n.store)
		require.Less(t, n.Len(), uint64(60))
		modelOf(t, n.Memory).checkOrder(t)
		g.link(0, 1, true)
		g.settle(5 * time.Second)
		require.Equal(t, want, string(n.text()))
		// What came again is on the disk, so that the next start needs nobody.
		g.link(0, 1, false)
		require.NoError(t, n.Close())
		g.start(0, n.store)
		require.Equal(t, want, string(n.text()))
	})
}

// Receipts of more writers than an Ack has room for come in several.
func TestAcksOfManyWriters(t *testing.T) {
	const writers = 1000
	f := newForest(1, writers)
	for i := range 2 * writers {
		f.grow(i%writers, 1)
	}
	logs := [2]*Memory{benchLog(t, 0), benchLog(t, 1)}
	for _, m := range logs {
		f.plant(t, m, func(i int) bool { return i < writers })
	}
	stable := func(n uint64) {
		for _, w := range f.by {
			for _, m := range logs {
				require.Equal(t, n, m.Stable(w.id))
			}
		}
	}
	require.Equal(t, [2]int{3, 3}, converge(t, logs).acks)
	stable(1)
	for i := writers; i < 2*writers; i++ {
		for _, m := range logs {
			m.Step(m.now, Key{9}, &Blocks{Frames: f.frames[i : i+1]})
		}
	}
	now := logs[0].now
	acks := 0
	for range 10 {
		now = now.Add(ackDelay)
		for k, m := range logs {
			m.Tick(now)
			sent := 0
			for msg := m.Next(now, logs[1-k].self); msg != nil; msg = m.Next(now, logs[1-k].self) {
				checkSize(t, msg)
				if _, ok := msg.(*Ack); ok {
					sent++
				}
				logs[1-k].Step(now, m.self, msg)
			}
			require.LessOrEqual(t, sent, 1)
			acks += sent
		}
	}
	require.Equal(t, 6, acks)
	stable(2)
}

func FuzzI16Ranges(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1, 2, 3, 40, 0, 200}, 60))
	f.Add(bytes.Repeat([]byte{0, 9, 255}, 100))
	f.Fuzz(func(t *testing.T, in []byte) { searchWith(t, in) })
}

func TestI16AnyRanges(t *testing.T) {
	schedules(t, 200, func(t require.TestingT, seed uint64) {
		in := make([]byte, seed*11%1500)
		source(seed).Read(in)
		searchWith(t, in)
	})
}

// searchWith lets a log search, and be searched, with what is read off the
// input. None of it may change what is held.
func searchWith(t require.TestingT, in []byte) {
	a, b := pair(t)
	for range 3 {
		fill(a, 3, 10)
		exchange(a, b)
		fill(b, 3, 10)
		exchange(b, a)
	}
	a.limits = limits{small: 2, ack: 2}
	before := fingerprint(a)
	r := reader{b: in}
	now := benchNow
	byte1 := func() int { return int(r.bytes(1)[0]) }
	bound := func() Bound {
		if byte1()%3 == 0 {
			return Bound{r.uvarint(), r.uvarint()}
		}
		x := a.blocks.at(uint32(byte1()) % a.blocks.n)
		return Bound{x.height, part(&x.hash) + uint64(byte1()%2)}
	}
	for range 40 {
		if r.bad || len(r.b) == 0 {
			break
		}
		now = now.Add(time.Duration(byte1()) * time.Millisecond)
		switch byte1() % 5 {
		case 0:
			m := &Ranges{Session: r.uvarint(), From: bound()}
			for range byte1() % 5 {
				m.Ranges = append(m.Ranges, Range{To: bound(), Print: r.bytes([]int{0, 16, 16, byte1() % 20}[byte1()%4])})
			}
			a.Step(now, b.self, m)
		case 1:
			m := &Pull{Session: r.uvarint(), Credit: 1 << 20, Ranged: byte1()%8 != 0}
			for range byte1() % 4 {
				m.Parts = append(m.Parts, Part{From: bound(), To: bound(), Only: byte1()%2 == 0, Short: r.bytes(byte1() % 32)})
			}
			a.Step(now, b.self, m)
		case 2:
			if a.pull != nil {
				m := &Diffs{Session: a.pull.session}
				for range byte1() % 5 {
					m.Diffs = append(m.Diffs, Diff{Index: uint32(byte1() % 20), Blocks: r.uvarint(), Short: r.bytes(8 * (byte1() % 4))})
				}
				a.Step(now, b.self, m)
			}
		case 3:
			a.Step(now, b.self, &Beat{Count: r.uvarint(), Height: 9, Heads: []Ref{{N: 1, Hash: Hash(r.bytes(32))}}})
			a.Tick(now)
		case 4:
			if a.pull != nil {
				a.Step(now, b.self, &Batch{Session: a.pull.session})
			}
		}
		for range 50 {
			msg := a.Next(now, b.self)
			if msg == nil {
				break
			}
			checkSize(t, msg)
		}
	}
	require.Equal(t, before, fingerprint(a))
}
