package causal

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What a block says of others must be so, whoever signed it. Each row is a
// block that is refused when it comes after what it names.
func TestBlocksThatContradictTheirParents(t *testing.T) {
	evil := newForger(testKey(50), "test", 1)
	other := newForger(testKey(51), "test", 1)
	g0, first := evil.block(body{}, "one", "two")
	g1, second := evil.block(first.after(), "three")
	g2, foreign := other.block(body{}, "four")
	ok := second.after()
	for _, row := range []struct {
		name   string
		reason string
		change func(x *body)
	}{
		{"sound", "", func(*body) {}},
		{"sound, with a dependency", "", func(x *body) { x.deps = []Ref{foreign.ref()} }},
		{"a number is left out", "links", func(x *body) { x.n++ }},
		{"a number is used again", "links", func(x *body) { x.n-- }},
		{"message numbers are left out", "links", func(x *body) { x.first++ }},
		{"message numbers are used again", "links", func(x *body) { x.first-- }},
		{"another's block as its own", "links", func(x *body) { x.prev, x.n, x.first, x.height = foreign.hash, 2, 2, 2 }},
		{"a dependency with another number", "links", func(x *body) { x.deps = []Ref{{foreign.writer, 2, foreign.hash}} }},
		{"a dependency with another writer", "links", func(x *body) { x.deps = []Ref{{WriterID{1}, 1, foreign.hash}} }},
		{"a dependency named twice", "links", func(x *body) {
			x.deps = []Ref{foreign.ref(), {foreign.writer, 2, foreign.hash}}
		}},
		{"too low", "height", func(x *body) { x.height-- }},
		{"too high", "height", func(x *body) { x.height++ }},
		{"its own block as a dependency too", "malformed", func(x *body) { x.deps = []Ref{second.ref()} }},
		{"too many dependencies", "malformed", func(x *body) {
			for i := range MaxDeps + 1 {
				x.deps = append(x.deps, Ref{WriterID{byte(i)}, 1, Hash{byte(i)}})
			}
		}},
		{"more messages than a block may have", "malformed", func(x *body) { x.count = MaxCount + 1 }},
		{"a clock beyond all", "malformed", func(x *body) { x.wall = maxWall }},
		{"no messages", "malformed", func(x *body) { x.kind, x.count = kindMerge, 1 }},
		{"an unknown kind", "malformed", func(x *body) { x.kind = 9 }},
		{"a genesis in the middle", "malformed", func(x *body) { x.kind = kindGenesis }},
	} {
		t.Run(row.name, func(t *testing.T) {
			x := ok
			row.change(&x)
			raw, _ := evil.block(x, "text")
			// In order, and before one or the other, so that it waits.
			for _, frames := range [][][]byte{{g0, g1, g2, raw}, {g0, raw, g2, g1}, {g0, g1, raw, g2}} {
				m := benchLog(t, 1)
				m.cfg.Group, m.hash = "test", newHasher("test")
				for _, f := range frames {
					m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{f}})
				}
				require.Zero(t, m.Stats().Pending)
				if row.reason == "" {
					require.EqualValues(t, 4, m.blocks.n)
					require.Empty(t, m.Stats().Refused)
				} else {
					require.EqualValues(t, 3, m.blocks.n)
					require.Equal(t, map[string]uint64{row.reason: 1}, m.Stats().Refused)
				}
			}
		})
	}
}

// A message of badly signed blocks costs a bounded number of verifications, and
// one of more than may be sent at once costs none. What waits for its parents is
// nobody's fault but its sender's.
func TestABadMessageCostsLittle(t *testing.T) {
	f := newForger(testKey(50), "test", 1)
	other := newForger(testKey(51), "test", 1)
	fresh := func() *Memory {
		m := benchLog(t, 1)
		m.cfg.Group, m.hash = "test", newHasher("test")
		return m
	}
	genesis, first := f.block(body{}, "one")
	var bad [][]byte
	for i := range 100 {
		raw, _ := f.block(first.after(), fmt.Sprint("two ", i))
		raw = slices.Clone(raw)
		raw[5] ^= 1
		bad = append(bad, raw)
	}
	m := fresh()
	m.Step(benchNow, Key{}, &Blocks{Frames: append(bad, genesis)})
	require.Equal(t, map[string]uint64{"signature": maxForged, "unchecked": 100 - maxForged}, m.Stats().Refused)
	require.EqualValues(t, 1, m.Len(), "the one that is good")
	require.Equal(t, maxForged, m.Ready().Faults)
	require.Zero(t, m.Ready().Faults)

	m = fresh()
	var frames [][]byte
	raw, tip := f.block(body{}, "one")
	for size := 0; size <= sendBytes; size += len(raw) {
		frames = append(frames, raw)
		raw, tip = f.block(tip.after(), string(make([]byte, 30<<10)))
	}
	m.Step(benchNow, Key{}, &Blocks{Frames: append(frames, raw)})
	require.Zero(t, m.Len())
	require.Equal(t, map[string]uint64{"too_large": 1}, m.Stats().Refused)
	require.Equal(t, 1, m.Ready().Faults)

	m = fresh()
	lie := first.after()
	lie.height, lie.deps = 9, []Ref{}
	_, foreign := other.block(body{}, "three")
	lie.deps = append(lie.deps, foreign.ref())
	waiting, _ := f.block(lie, "waits, and is wrong")
	m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{genesis, waiting}})
	require.Zero(t, m.Ready().Faults)
	parent, _ := newForger(testKey(51), "test", 1).block(body{}, "three")
	m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{parent}})
	require.EqualValues(t, 1, m.Stats().Refused["height"])
	require.Zero(t, m.Ready().Faults, "not of who brought its parent")
}

func TestWhatFollowsARefusedBlockIsDropped(t *testing.T) {
	evil := newForger(testKey(50), "test", 1)
	var frames [][]byte
	raw, first := evil.block(body{}, "one")
	frames = append(frames, raw)
	lie := first.after()
	lie.height = 7
	raw, tip := evil.block(lie, "two")
	frames = append(frames, raw)
	for range 20 {
		raw, tip = evil.block(tip.after(), "more")
		frames = append(frames, raw)
	}
	m := benchLog(t, 1)
	m.cfg.Group, m.hash = "test", newHasher("test")
	for _, f := range append(frames[:1:1], frames[2:]...) {
		m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{f}})
	}
	require.Equal(t, 20, m.Stats().Pending)
	require.EqualValues(t, 1, m.Stats().Missing, "the others are there")
	require.True(t, m.Ready().Gap)
	require.False(t, m.Ready().Gap, "it was said")
	m.Step(benchNow, Key{}, &Blocks{Frames: frames[1:2]})
	require.True(t, m.Ready().Gap, "it is closed")
	require.Zero(t, m.Stats().Pending)
	require.Zero(t, m.Stats().Missing)
	require.EqualValues(t, 1, m.Len())
	require.Empty(t, m.pending.after)
	require.Empty(t, m.pending.shares)
}

func TestAGenesisMustBeWhatItsWriterIsNamedAfter(t *testing.T) {
	thief := newForger(testKey(60), "test", 1)
	victim := newForger(testKey(61), "test", 1)
	raw, _ := thief.block(body{writer: victim.id}, "I am you")
	m := benchLog(t, 1)
	m.cfg.Group, m.hash = "test", newHasher("test")
	m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{raw}})
	require.Zero(t, m.Len())
	require.Equal(t, map[string]uint64{"unknown_writer": 1}, m.Stats().Refused)
}

// A relay can spoil the signature of a block that another vouches for: the
// block is taken all the same, from everybody.
func TestABlockIsAuthenticByWhatFollowsIt(t *testing.T) {
	f := newForger(testKey(50), "test", 1)
	var frames [][]byte
	raw, tip := f.block(body{}, "one")
	frames = append(frames, raw)
	for range 3 {
		raw, tip = f.block(tip.after(), "more")
		frames = append(frames, raw)
	}
	spoil := func(raw []byte) []byte {
		raw = slices.Clone(raw)
		raw[5] ^= 1
		return raw
	}
	fresh := func() *Memory {
		m := benchLog(t, 1)
		m.cfg.Group, m.hash = "test", newHasher("test")
		return m
	}
	t.Run("in one message", func(t *testing.T) {
		m := fresh()
		m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{frames[0], spoil(frames[1]), spoil(frames[2]), frames[3]}})
		require.EqualValues(t, 4, m.Len())
		require.Empty(t, m.Stats().Refused)
	})
	t.Run("one by one", func(t *testing.T) {
		m := fresh()
		step := func(f []byte) { m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{f}}) }
		step(frames[0])
		step(spoil(frames[2])) // nothing vouches for it
		require.EqualValues(t, 1, m.Stats().Refused["signature"])
		step(frames[3])
		step(spoil(frames[2]))
		step(spoil(frames[1]))
		require.EqualValues(t, 4, m.Len())
		require.EqualValues(t, 1, m.Stats().Refused["signature"])
	})
	t.Run("nobody vouches for the last", func(t *testing.T) {
		m := fresh()
		m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{frames[0], frames[1], spoil(frames[2])}})
		require.EqualValues(t, 2, m.Len())
		require.EqualValues(t, 1, m.Stats().Refused["signature"])
	})
}

func TestForkProofsAreChecked(t *testing.T) {
	g := newGroup(t, 2, 1)
	evil := newForger(testKey(50), "test", 1)
	raw, first := evil.block(body{}, "genesis")
	a, _ := evil.block(first.after(), "a")
	b, second := evil.block(first.after(), "b")
	c, _ := evil.block(second.after(), "c")
	g.tell(0, evil, raw)
	n := g.nodes[0]
	forks := func() (all []Forked) {
		for _, r := range n.ready {
			all = append(all, r.Forks...)
		}
		return all
	}
	thief, _ := newForger(testKey(51), "test", 1).block(first.after(), "x")
	for _, f := range []Fork{{a, a}, {a, c}, {a, raw}, {a, thief}, {hollow(a), hollow(a)}, {a, b[:20]}} {
		n.Step(g.now, g.nodes[1].name(), &f)
		g.pump(n)
		require.Empty(t, forks())
	}
	n.Step(g.now, g.nodes[1].name(), &Fork{A: hollow(a), B: hollow(b)})
	g.pump(n)
	require.Len(t, forks(), 1)
	require.Equal(t, evil.id, forks()[0].Writer)
	require.EqualValues(t, 2, forks()[0].N)
	require.Equal(t, keyOf(first.pub[:]), forks()[0].Author)
	g.tell(0, evil, a)
	g.tell(0, evil, b)
	require.Len(t, forks(), 1, "reported once")
}

// A process that is copied while it runs, as an image of a machine is, writes
// under one name twice. Each copy goes on under another as soon as it sees that.
// Who finds out that somebody forked tells all that it is linked to.
func TestForkProofsAreTold(t *testing.T) {
	a, b := pair(t)
	evil := newForger(testKey(50), "bench", 1)
	raw, genesis := evil.block(body{}, "genesis")
	left, _ := evil.block(genesis.after(), "left")
	right, _ := evil.block(genesis.after(), "right")
	b.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{raw}})
	a.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{raw, left, right}})
	require.Len(t, a.Ready().Forks, 1)
	told := 0
	for m := a.Next(benchNow, b.self); m != nil; m = a.Next(benchNow, b.self) {
		if f, ok := m.(*Fork); ok {
			b.Step(benchNow, a.self, f)
			told++
		}
	}
	require.Equal(t, 1, told)
	require.Len(t, b.Ready().Forks, 1, "the proof is enough")
}

func TestACopiedProcessGoesOnUnderAnotherName(t *testing.T) {
	a, b := benchLog(t, 7), benchLog(t, 7) // the same key, and the same randomness
	b.cfg.Rand = source(99)
	require.Equal(t, a.Writer(), b.Writer())
	before := a.Writer()
	a.Append(benchNow, []byte("from the one"))
	b.Append(benchNow.Add(time.Second), []byte("from the other"))
	a.Flush(benchNow)
	b.Flush(benchNow.Add(time.Second))
	blocks := func(m *Memory) *Blocks {
		var fs [][]byte
		for i := range m.blocks.n {
			fs = append(fs, m.raw(i))
		}
		return &Blocks{Frames: fs}
	}
	open, err := a.Append(benchNow, []byte("not flushed yet"))
	require.NoError(t, err)
	require.Equal(t, before, open.Writer)
	a.Step(benchNow, Key{}, blocks(b))
	require.NotEqual(t, before, a.Writer())
	require.Len(t, a.Ready().Forks, 1)
	a.Flush(benchNow)
	b.Step(benchNow, Key{}, blocks(a))
	require.NotEqual(t, a.Writer(), b.Writer())
	a.Step(benchNow, Key{}, blocks(b))
	require.Equal(t, a.Digest(), b.Digest())
	require.EqualValues(t, 3, a.Len())
	m, ok := a.Lookup(MessageID{Writer: a.Writer(), N: 1})
	require.True(t, ok)
	require.Equal(t, "not flushed yet", string(m.Data))
}

func TestAPullThatStallsGoesElsewhere(t *testing.T) {
	g := newGroup(t, 3, 1)
	fill(g.nodes[0].Memory, 1000, 100)
	g.link(0, 1, true)
	g.run(time.Second)
	g.nodes[1].up = false // it hangs: its streams stay up
	g.link(2, 0, true)
	g.link(2, 0, false)
	g.nodes[1].up = true
	g.link(2, 1, true)
	g.nodes[1].up = false
	g.run(100 * time.Millisecond)
	require.Zero(t, g.nodes[2].Len())
	// Its Beat came before it hung.
	g.nodes[2].Step(g.now, g.nodes[1].name(), g.nodes[1].Beat(g.now))
	g.pump(g.nodes[2])
	require.NotNil(t, g.nodes[2].pull)
	g.link(2, 0, true)
	g.run(4 * time.Second)
	require.Zero(t, g.nodes[2].Len())
	g.run(2 * time.Second)
	require.EqualValues(t, 1000, g.nodes[2].Len())
}

func TestAPeerWithoutCreditKeepsNobodyWaiting(t *testing.T) {
	a, b := pair(t)
	fill(a, 20_000, 100)
	a.Step(benchNow, b.self, &Pull{Session: 1, Credit: 1000})
	for a.Next(benchNow, b.self) != nil {
	}
	require.NotNil(t, a.peers[b.self].serving)
	fill(a, 1, 100)
	require.Nil(t, a.Next(benchNow, b.self), "own blocks wait for their turn")
	for now := benchNow; now.Before(benchNow.Add(11 * time.Second)); now = now.Add(100 * time.Millisecond) {
		a.Tick(now)
	}
	require.Nil(t, a.peers[b.self].serving)
	m := a.Next(a.now, b.self)
	if _, ok := m.(*Ack); ok {
		m = a.Next(a.now, b.self)
	}
	require.IsType(t, &Blocks{}, m)
}

// A peer that claims to have what does not exist is asked ever more rarely.
func TestAPeerThatBoastsIsAskedRarely(t *testing.T) {
	a, b := pair(t)
	now := benchNow
	for range 600 { // a minute
		now = now.Add(100 * time.Millisecond)
		a.Step(now, b.self, &Beat{Count: 5, Height: 5, Digest: Digest{Messages: 9, Hash: [16]byte{7}}, Heads: []Ref{{N: 1, Hash: Hash{9}}}})
		a.Tick(now)
		a.Ready()
		for m := a.Next(now, b.self); m != nil; m = a.Next(now, b.self) {
			if p, ok := m.(*Pull); ok {
				a.Step(now, b.self, &Batch{Session: p.Session})
			}
		}
	}
	require.LessOrEqual(t, a.Stats().Pulls, uint64(10))
	require.GreaterOrEqual(t, a.Stats().Pulls, uint64(3))
}

// Streams that stall, break and come back while most datagrams are lost.
func TestABadNetworkLosesNothing(t *testing.T) {
	schedules(t, 4, func(t require.TestingT, seed uint64) {
		g := newGroup(t, 4, seed)
		g.loss, g.delay = 0.5, 20*time.Millisecond
		g.mesh(true)
		rng := rand.New(rand.NewPCG(seed, 10))
		total := 0
		for range 200 {
			for range rng.IntN(3) {
				g.say(rng.IntN(4), fmt.Sprint("message ", total))
				total++
			}
			g.run(20 * time.Millisecond)
			if a, b := rng.IntN(4), rng.IntN(4); a != b && rng.IntN(3) == 0 {
				g.link(a, b, false)
				if rng.IntN(3) > 0 {
					g.link(a, b, true)
				}
			}
		}
		g.mesh(true)
		g.settle(5 * time.Second)
		require.EqualValues(t, total, g.nodes[0].Len())
		for _, n := range g.nodes {
			next := make(map[WriterID]uint64)
			for m := range n.Deliveries(0) {
				next[m.ID.Writer]++
				require.Equal(t, next[m.ID.Writer], m.ID.N)
			}
		}
	})
}

// TestI12OrderAgainstAList puts blocks at random heights, many at one and one
// at many, and compares every rank with counting.
func TestI12OrderAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b blocks
		var o order
		top := uint64(0)
		n := rapid.IntRange(1, 400).Draw(t, "blocks")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		far := rapid.IntRange(1, 4).Draw(t, "far")
		for range n {
			i := b.n
			x := b.add()
			x.height = top + 1
			if rng.IntN(far) > 0 {
				x.height = 1 + rng.Uint64N(top+1)
			}
			top = max(top, x.height)
			x.wall, x.count, x.hash = rng.Int64N(3), rng.Uint32N(4), Hash{byte(rng.Uint32()), byte(i), byte(i >> 8)}
			o.add(&b, i)
		}
		all := make([]uint32, n)
		for i := range all {
			all[i] = uint32(i)
		}
		slices.SortFunc(all, func(i, j uint32) int {
			x, y := b.at(i), b.at(j)
			switch {
			case x.height != y.height:
				return int(x.height) - int(y.height)
			case before(x, y):
				return -1
			}
			return 1
		})
		pos := uint64(0)
		var listed []uint32
		for h := range o.heights {
			listed = o.level(&b, h, listed)
		}
		require.Equal(t, all, listed)
		for _, i := range all {
			require.Equal(t, pos, o.pos(&b, i))
			x := b.at(i)
			for k := range uint64(x.count) {
				h, start := o.find(pos + k)
				require.EqualValues(t, x.height-1, h)
				require.Equal(t, o.below(uint64(h)), start)
				require.LessOrEqual(t, start, pos+k)
			}
			pos += uint64(x.count)
		}
		require.Equal(t, pos, o.msgs)
	})
}

// A table that holds many hashes which an attacker chose to be alike.
func TestTableWithAlikeHashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b blocks
		tab := table{seed: [2]uint64{rapid.Uint64().Draw(t, "a") | 1, rapid.Uint64().Draw(t, "b") | 1}}
		n := rapid.IntRange(0, 500).Draw(t, "n")
		for i := range n {
			b.add().hash = Hash{0: byte(i), 31: byte(i >> 8)}
			tab.add(&b, uint32(i))
		}
		for i := range n + 100 {
			at, ok := tab.find(&b, &Hash{0: byte(i), 31: byte(i >> 8)})
			require.Equal(t, i < n, ok)
			if ok {
				require.EqualValues(t, i, at)
			}
		}
	})
}

// I16: of all that says the same, one encoding is taken.
func TestI16OneEncoding(t *testing.T) {
	f := newForger(testKey(50), "test", 1)
	raw, first := f.block(body{}, "one")
	x := first.after()
	x.count, x.kind = 0, kindMerge
	a, b := Ref{WriterID{1}, 3, Hash{1}}, Ref{WriterID{2}, 3, Hash{2}}
	x.deps = []Ref{a, b}
	good := x.append(nil)
	var y body
	require.NoError(t, y.decode(good))
	require.Equal(t, good, y.append(nil))

	at := 2 + 16 // n, first, count, height, one byte each here
	for k := range 4 {
		long := slices.Concat(good[:at+k], []byte{good[at+k] | 0x80, 0}, good[at+k+1:])
		require.Error(t, y.decode(long), "a longer uvarint")
	}
	x.deps = []Ref{b, a}
	require.Error(t, y.decode(x.append(nil)), "not in order")
	x.deps = []Ref{a, a}
	require.Error(t, y.decode(x.append(nil)), "twice the same")
	require.Error(t, y.decode(append(slices.Clone(good), 0)), "surplus")
	for n := range good {
		require.Error(t, y.decode(good[:n]), "cut short")
	}
	bad := slices.Clone(good)
	bad[0]++
	require.Error(t, y.decode(bad), "another version")

	var fr frame
	h := newHasher("test")
	require.NoError(t, fr.decode(h, raw))
	bad = slices.Clone(raw)
	bad[0] = 2
	require.Error(t, fr.decode(h, bad), "an unknown form")
	merge, _ := f.sign(first.after(), []byte("payload"), 0)
	require.Error(t, fr.decode(h, merge), "a payload of no messages")
	require.Error(t, fr.decode(h, append(slices.Clone(raw), make([]byte, maxPayload)...)), "too large")
}

// A payload that is no list of messages counts as dropped, since whoever has
// the block without its payload cannot tell: all nodes hold the same.
func TestAPayloadThatIsNoMessages(t *testing.T) {
	f := newForger(testKey(50), "test", 1)
	for name, payload := range map[string][]byte{
		"garbage":   {200, 1, 2, 3},
		"too many":  {1, 'a', 1, 'b', 1, 'c'},
		"too few":   {1, 'a'},
		"too long":  append(binary.AppendUvarint(nil, MaxMessage+1), make([]byte, MaxMessage+1)...),
		"long form": {0x81, 0, 'a', 0},
	} {
		t.Run(name, func(t *testing.T) {
			count := uint32(2)
			if name == "too long" {
				count = 1
			}
			raw, _ := f.sign(body{}, payload, count)
			m := benchLog(t, 1)
			m.cfg.Group, m.hash = "test", newHasher("test")
			m.Step(benchNow, Key{}, &Blocks{Frames: [][]byte{raw}})
			require.EqualValues(t, count, m.Len())
			for x := range m.History(0, false) {
				require.Nil(t, x.Data)
			}
			require.Zero(t, m.Stats().Bytes)
		})
	}
}
