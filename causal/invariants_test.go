package causal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The invariants of the log, by number. Each runs over random schedules of two
// and more logs on a network that loses, repeats and cuts, against a model that
// keeps lists and recomputes everything.

func TestI01DeliveryOrderIsCausal(t *testing.T) {
	schedules(t, 12, func(t require.TestingT, seed uint64) {
		g := chaos{}.run(t, seed)
		g.heal(seed)
		for _, n := range g.nodes {
			d := modelOf(t, n.Memory)
			d.checkOrder(t)
			// What a node says is after all that it had been shown.
			at := make(map[MessageID]int)
			for x := range n.Deliveries(0) {
				at[x.ID] = int(x.Index)
			}
			for i := 1; i < len(n.ids); i++ {
				require.Less(t, at[n.ids[i-1]], at[n.ids[i]])
			}
		}
	})
}

func TestI02SameSetSameHistory(t *testing.T) {
	schedules(t, 12, func(t require.TestingT, seed uint64) {
		g := chaos{}.run(t, seed)
		g.heal(seed)
		first := g.nodes[0]
		var frames [][]byte
		for i := range first.blocks.n {
			frames = append(frames, first.raw(i))
		}
		rng := rand.New(rand.NewPCG(seed, 4))
		checkReads(t, first.Memory, rng)
		for range 3 {
			// The same set again, in any order, in pieces, some of it twice.
			m := benchLog(t, 99)
			m.cfg.Group, m.hash = "test", newHasher("test")
			for m.blocks.n < first.blocks.n {
				rng.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
				for part := range slices.Chunk(frames, 1+rng.IntN(5)) {
					m.Step(benchNow, Key{}, &Blocks{Frames: part})
				}
			}
			require.Equal(t, string(first.text()), string((&node{Memory: m}).text()))
			require.Equal(t, first.Digest(), m.Digest())
			require.Equal(t, modelOf(t, m).digest(), m.Digest())
		}
	})
}

func TestI03PendingIsBounded(t *testing.T) {
	schedules(t, 12, func(t require.TestingT, seed uint64) {
		evicted := uint64(0)
		c := chaos{
			setup: func(_ *node, c *Config) { c.PendingBlocks, c.PendingBytes = 3, 4<<10 },
			each: func(_ *group, n *node) {
				p := &n.pending
				require.LessOrEqual(t, len(p.byHash), 3)
				size, blocks := 0, 0
				for _, e := range p.byHash {
					size += len(e.raw)
					for _, r := range e.missing {
						require.Contains(t, p.after, r.Hash)
					}
				}
				for _, s := range p.shares {
					blocks += s.blocks
				}
				require.Equal(t, p.bytes, size)
				require.LessOrEqual(t, size, 4<<10)
				require.Equal(t, len(p.byHash), blocks)
				waits := 0
				for _, l := range p.after {
					waits += len(l)
				}
				require.LessOrEqual(t, waits, 3*(1+MaxDeps))
			},
		}
		g := c.run(t, seed)
		g.heal(seed) // what was given up comes again
		for _, n := range g.nodes {
			evicted += n.Stats().Refused["pending_full"]
			require.Zero(t, n.Stats().Pending)
		}
	})
}

func TestI04AllConverge(t *testing.T) {
	schedules(t, 20, func(t require.TestingT, seed uint64) {
		g := chaos{crashes: seed%2 == 0}.run(t, seed)
		g.heal(seed)
		want := string(g.nodes[0].text())
		for _, n := range g.nodes[1:] {
			require.Equal(t, want, string(n.text()))
		}
		if seed%2 == 1 { // nothing was lost by a crash
			total := 0
			for _, n := range g.nodes {
				total += len(n.ids)
				for _, id := range n.ids {
					_, ok := g.nodes[0].Lookup(id)
					require.True(t, ok)
				}
			}
			require.EqualValues(t, total, g.nodes[0].Len())
		}
	})
}

// apart returns two logs with different histories over a common part.
func apart(t require.TestingT, seed uint64) (a, b *Memory) {
	g := chaos{nodes: 4, steps: 100}.run(t, seed)
	g.run(0)
	rng := rand.New(rand.NewPCG(seed, 5))
	i := rng.IntN(4)
	return g.nodes[i].Memory, g.nodes[(i+1+rng.IntN(3))%4].Memory
}

// serve returns the whole answer to a Pull, and what each part was.
func serve(t require.TestingT, server *Memory, to Key, tips []Tip, window int) []*Batch {
	members := []Key{server.self, to}
	server.SetPeers(server.now, members)
	server.Link(server.now, to, false)
	server.Link(server.now, to, true)
	server.Step(server.now, to, &Pull{Session: 7, Tips: tips, Credit: uint32(window)})
	var all []*Batch
	for {
		m := server.Next(server.now, to)
		if m == nil {
			require.NotNil(t, server.peers[to].serving, "the answer must end with More false")
			server.Step(server.now, to, &Credit{Session: 7, Bytes: uint32(window)})
			continue
		}
		if b, ok := m.(*Batch); ok {
			all = append(all, b)
			if !b.More {
				return all
			}
		}
	}
}

func TestI05BatchesNeedNoBuffer(t *testing.T) {
	schedules(t, 15, func(t require.TestingT, seed uint64) {
		a, b := apart(t, seed)
		held := make(map[Hash]bool)
		for _, x := range modelOf(t, b) {
			held[x.hash] = true
		}
		missing := 0
		for _, x := range modelOf(t, a) {
			if !held[x.hash] {
				missing++
			}
		}
		sent := 0
		for _, batch := range serve(t, a, b.self, b.tips(nil), 1<<20) {
			for _, raw := range batch.Frames {
				x := decodeModel(t, "test", raw)
				for _, p := range x.parents {
					require.True(t, held[p], "a parent is neither held nor sent before")
				}
				require.False(t, held[x.hash], "sent what the other has")
				held[x.hash] = true
				sent++
			}
		}
		require.Equal(t, missing, sent)
	})
}

func TestI06BatchesAreBounded(t *testing.T) {
	schedules(t, 8, func(t require.TestingT, seed uint64) {
		a, b := apart(t, seed)
		a.served = 0
		for _, tips := range [][]Tip{nil, b.tips(nil)} {
			window := 1 + rand.New(rand.NewPCG(seed, 6)).IntN(1<<18)
			sent, last := 0, 0
			for _, batch := range serve(t, a, b.self, tips, window) {
				size := 0
				for _, f := range batch.Frames {
					size += len(f)
					last = max(last, len(f))
				}
				if size > batchBytes {
					require.Len(t, batch.Frames, 1)
				}
				require.Less(t, size, window+last, "more than the credit and the block that exceeds it")
				sent += size
			}
			require.EqualValues(t, sent, a.Stats().Served)
			a.served = 0
		}
	})
}

// Two full blocks share a batch, a block that is larger than a batch has its
// own.
func TestI06LargeBlocksToo(t *testing.T) {
	a := benchLog(t, 1)
	for i := range 40 {
		for range 1 + i%5 {
			_, err := a.Append(benchNow, make([]byte, 1000+i*i*500))
			require.NoError(t, err)
		}
		require.NoError(t, a.Flush(benchNow))
	}
	sent := 0
	for _, batch := range serve(t, a, Key{2}, nil, 1<<20) {
		size := 0
		for _, f := range batch.Frames {
			size += len(f)
		}
		require.True(t, size <= batchBytes || len(batch.Frames) == 1, "%d bytes in %d blocks", size, len(batch.Frames))
		sent += len(batch.Frames)
	}
	require.EqualValues(t, a.blocks.n, sent)
}

func TestI07EveryPartOfAPullBringsSomething(t *testing.T) {
	schedules(t, 8, func(t require.TestingT, seed uint64) {
		a, b := apart(t, seed)
		for _, batch := range serve(t, a, b.self, b.tips(nil), 1<<12) {
			before := b.blocks.n
			b.Step(b.now, a.self, batch)
			if batch.More {
				require.Greater(t, b.blocks.n, before)
			}
		}
	})
}

func TestI08HeightsAreRecomputed(t *testing.T) {
	schedules(t, 8, func(t require.TestingT, seed uint64) {
		g := chaos{}.run(t, seed)
		g.heal(seed)
		m := g.nodes[0].Memory
		modelOf(t, m).checkOrder(t)
		require.EqualValues(t, len(m.order.heights), slices.MaxFunc(modelOf(t, m), func(a, b modelBlock) int { return int(a.height) - int(b.height) }).height)

		// A block that claims another height than it has is refused.
		liar := newForger(testKey(50), "test", 1)
		for _, h := range []uint64{1, uint64(len(m.order.heights)), uint64(len(m.order.heights)) + 2, 1 << 61} {
			x := body{height: h}
			for _, i := range m.heads {
				x.deps = append(x.deps, m.ref(i))
			}
			raw, _ := liar.block(x, "lie")
			before := fingerprint(m)
			m.Step(g.now, Key{}, &Blocks{Frames: [][]byte{raw}})
			require.Equal(t, before, fingerprint(m))
		}
		require.EqualValues(t, 4, m.Stats().Refused["height"])
	})
}

func TestI09NoNumberIsUsedTwice(t *testing.T) {
	schedules(t, 25, func(t require.TestingT, seed uint64) {
		used := make(map[Dot]Hash)
		c := chaos{crashes: true, nodes: 3, steps: 120, each: func(_ *group, n *node) {
			for _, i := range n.mine {
				b := n.blocks.at(i)
				d := Dot{n.writers[b.writer].id, b.n}
				if h, ok := used[d]; ok {
					require.Equal(t, h, b.hash, "one number for two blocks")
				}
				used[d] = b.hash
			}
		}}
		g := c.run(t, seed)
		g.heal(seed)
		for _, n := range g.nodes {
			for i := range n.writers {
				require.False(t, n.writers[i].forked)
			}
		}
	})
}

// A node that begins again with what its store was some time ago, or with a
// copy that another process uses too, goes on under another name.
func TestI09AnOldStoreIsNoWriterTwice(t *testing.T) {
	schedules(t, 10, func(t require.TestingT, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 10))
		g := newGroup(t, 0, seed)
		for i := range 3 {
			g.nodes = append(g.nodes, &node{i: i, key: testKey(min(i, 1)), links: make(map[int]*stream)})
		}
		talk := func(who int) {
			for range 1 + rng.IntN(5) {
				g.say(who, fmt.Sprint(who, " says ", rng.Uint64()))
				g.run(time.Duration(rng.IntN(5)) * time.Millisecond)
			}
		}
		g.start(0, NewMemoryStore())
		g.start(1, NewMemoryStore())
		g.link(0, 1, true)
		talk(1)
		old, twin := g.nodes[1].store.Copy(), g.nodes[1].store.Copy()
		talk(1)
		talk(0)
		g.run(time.Second)
		g.crash(1, rng.IntN(4))
		g.start(1, old)
		g.link(0, 1, true)
		talk(1)
		g.run(time.Second)
		g.start(2, twin) // with the same key
		talk(2)
		for i := range g.nodes[2].blocks.n {
			g.nodes[0].Step(g.now, Key{}, &Blocks{Frames: [][]byte{g.nodes[2].raw(i)}})
		}
		talk(1)
		g.run(time.Second)
		m := g.nodes[0].Memory
		for i := range m.writers {
			require.False(t, m.writers[i].forked)
		}
		modelOf(t, m).checkNumbers(t)
		require.GreaterOrEqual(t, len(m.writers), 4)
	})
}

func TestI10ForksAreEvidenceEverywhere(t *testing.T) {
	schedules(t, 15, func(t require.TestingT, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 7))
		g := newGroup(t, 2+rng.IntN(4), seed)
		evil := newForger(testKey(50), "test", 1)
		// Two branches, each told to another node, each to be continued.
		raw, tip := evil.block(body{}, "genesis")
		g.tell(0, evil, raw)
		g.tell(1, evil, raw)
		tips := []modelBlock{tip, tip}
		for range 1 + rng.IntN(12) {
			k := rng.IntN(2)
			raw, tip := evil.block(tips[k].after(), fmt.Sprint("branch ", k, tips[k].n))
			tips[k] = tip
			g.tell(k, evil, raw)
			if rng.IntN(3) == 0 {
				g.say(k, "honest")
			}
		}
		for k := range tips { // at least one on each
			raw, tip := evil.block(tips[k].after(), fmt.Sprint("last ", k))
			tips[k] = tip
			g.tell(k, evil, raw)
			g.say(k, "honest")
		}
		g.heal(seed)
		g.run(time.Second)
		for _, n := range g.nodes {
			require.Equal(t, string(g.nodes[0].text()), string(n.text()))
			var proofs []Forked
			for _, r := range n.ready {
				proofs = append(proofs, r.Forks...)
			}
			require.Len(t, proofs, 1)
			var a, b frame
			require.NoError(t, a.decode(n.hash, proofs[0].Proof.A))
			require.NoError(t, b.decode(n.hash, proofs[0].Proof.B))
			require.Equal(t, evil.id, a.writer)
			require.Equal(t, evil.id, b.writer)
			require.Equal(t, a.n, b.n)
			require.NotEqual(t, a.hash, b.hash)
			d := modelOf(t, n.Memory)
			d.checkOrder(t)
			d.checkNumbers(t)
			checkReads(t, n.Memory, rng)
		}
	})
}

func TestI11ForgeriesChangeNothing(t *testing.T) {
	schedules(t, 6, func(t require.TestingT, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 8))
		g := chaos{}.run(t, seed)
		g.heal(seed)
		m := g.nodes[0].Memory
		before := fingerprint(m)
		from := g.nodes[1].name()
		try := func(raw []byte) {
			m.Step(g.now, from, &Blocks{Frames: [][]byte{raw}})
			m.Step(g.now, from, &Batch{Session: rng.Uint64N(3), Frames: [][]byte{raw}})
			require.Equal(t, before, fingerprint(m))
		}
		for range 40 { // altered, cut, with surplus bytes; replayed
			raw := bytes.Clone(m.raw(rng.Uint32N(m.blocks.n)))
			try(raw)
			raw[rng.IntN(len(raw))] ^= 1 << rng.IntN(8)
			try(raw)
			try(raw[:rng.IntN(len(raw))])
			try(append(raw, 0))
		}
		// Another group's.
		foreign := newForger(testKey(1), "other", 1)
		raw, _ := foreign.block(body{}, "hello")
		try(raw)
		// A member's own, but signed for another group.
		for i, n := range g.nodes[1:] {
			w, ok := m.byID[n.Writer()]
			if !ok {
				continue
			}
			last := m.blocks.at(m.writers[w].blocks[len(m.writers[w].blocks)-1])
			elsewhere := newForger(testKey(i+1), "other", 1)
			refused := m.Stats().Refused["signature"]
			raw, _ := elsewhere.block(body{writer: n.Writer(), n: last.n + 1, first: last.first + uint64(last.count), height: last.height + 1, prev: last.hash}, "elsewhere")
			try(raw)
			require.Greater(t, m.Stats().Refused["signature"], refused)
		}
		// In another's name: with another's writer, with another's key.
		victim := m.writers[0]
		last := m.blocks.at(victim.blocks[len(victim.blocks)-1])
		thief := newForger(testKey(60), "test", 1)
		raw, _ = thief.block(body{writer: victim.id, n: last.n + 1, first: last.first + uint64(last.count), height: last.height + 1, prev: last.hash}, "I am you")
		try(raw)
		raw, _ = thief.block(body{writer: victim.id, pub: victim.pub, random: [16]byte{9}, kind: kindGenesis}, "so am I")
		try(raw)
		require.NotZero(t, m.Stats().Refused["signature"])
		require.NotZero(t, m.Stats().Refused["unknown_writer"])
		require.NotZero(t, m.Stats().Refused["known"])
	})
}

func TestI12RanksAreExact(t *testing.T) {
	schedules(t, 12, func(t require.TestingT, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 9))
		g := chaos{}.run(t, seed)
		for _, n := range g.nodes {
			checkReads(t, n.Memory, rng)
		}
	})
}

func TestI12InsertionsAreReported(t *testing.T) {
	schedules(t, 10, func(t require.TestingT, seed uint64) {
		// A reader that keeps a copy of the history, and re-reads from
		// InsertedAt, or from its end, sees the history.
		copies := make(map[*Memory][]MessageID)
		c := chaos{each: func(_ *group, n *node) {
			r := n.ready[len(n.ready)-1]
			have := copies[n.Memory]
			if r.Inserted > 0 {
				require.Less(t, r.InsertedAt, uint64(len(have))+uint64(n.Len()))
				have = have[:min(uint64(len(have)), r.InsertedAt)]
			}
			for x := range n.History(uint64(len(have)), false) {
				have = append(have, x.ID)
			}
			copies[n.Memory] = have
			i := 0
			for x := range n.History(0, false) {
				require.Equal(t, x.ID, have[i])
				i++
			}
			require.Len(t, have, i)
		}}
		c.run(t, seed)
	})
}

func TestI13ReopeningGivesTheStateBefore(t *testing.T) {
	schedules(t, 10, func(t require.TestingT, seed uint64) {
		g := chaos{crashes: true}.run(t, seed)
		for _, n := range g.nodes {
			if !n.up {
				continue
			}
			before, count := modelOf(t, n.Memory), n.blocks.n
			s := n.store.Copy()
			m, err := NewMemory(Config{Key: n.key, Group: "test", Rand: source(seed), Store: s})
			require.NoError(t, err)
			require.Equal(t, before, modelOf(t, m))
			require.Equal(t, n.Digest(), m.Digest())
			require.Zero(t, m.Loaded().Dropped)
			require.NotEqual(t, n.Writer(), m.Writer())
			require.NoError(t, m.Close())

			// With the last write cut anywhere: what is left is a prefix.
			for cut := range min(len(n.store.recs), 6) {
				s := n.store.Copy()
				s.recs = s.recs[:len(s.recs)-cut]
				m, err := NewMemory(Config{Key: n.key, Group: "test", Rand: source(seed), Store: s})
				require.NoError(t, err)
				require.Equal(t, before[:int(count)-cut], modelOf(t, m))
			}
			// With a record altered: it is gone, with what followed it.
			if len(n.store.recs) == 0 {
				continue
			}
			s = n.store.Copy()
			bad := int(seed) % len(s.recs)
			s.recs[bad].Frame = bytes.Clone(s.recs[bad].Frame)
			s.recs[bad].Frame[len(s.recs[bad].Frame)-1] ^= 1
			m, err = NewMemory(Config{Key: n.key, Group: "test", Rand: source(seed), Store: s})
			require.NoError(t, err)
			require.NotZero(t, m.Loaded().Dropped)
			gone := map[Hash]bool{before[bad].hash: true}
			var want model
			for _, b := range before {
				if slices.ContainsFunc(b.parents, func(h Hash) bool { return gone[h] }) {
					gone[b.hash] = true
				}
				if !gone[b.hash] {
					want = append(want, b)
				}
			}
			require.Equal(t, want, modelOf(t, m))
		}
	})
}

func TestI14FinalStaysFinal(t *testing.T) {
	schedules(t, 15, func(t require.TestingT, seed uint64) {
		type mark struct {
			pos    uint64
			before []MessageID
		}
		marks := make(map[*Memory]*mark)
		moved := false
		c := chaos{each: func(g *group, n *node) {
			k := marks[n.Memory]
			if k == nil {
				k = &mark{before: []MessageID{}}
				marks[n.Memory] = k
			}
			final := n.Final()
			require.GreaterOrEqual(t, final, k.pos)
			now := []MessageID{}
			for x := range n.History(0, false) {
				if x.Pos >= final {
					break
				}
				now = append(now, x.ID)
			}
			require.Equal(t, k.before, now[:len(k.before)], "something was inserted below Final")
			moved = moved || final > 0
			k.pos, k.before = final, now
		}}
		g := c.run(t, seed)
		g.heal(seed)
		g.run(5 * time.Second)
		for _, n := range g.nodes {
			require.Equal(t, n.Len(), n.Final(), "all that was said is final in the end")
		}
		require.True(t, moved)
	})
}

func TestI14FinalStaysWhenMembersCome(t *testing.T) {
	g := newGroup(t, 2, 1)
	g.mesh(true)
	g.say(0, "one")
	g.say(1, "two")
	g.run(2 * time.Second)
	n := g.nodes[0]
	require.EqualValues(t, 2, n.Final())
	n.SetPeers(g.now, append(g.members(), Key{9}))
	require.EqualValues(t, 2, n.Final())
	g.say(1, "three")
	g.run(2 * time.Second)
	require.EqualValues(t, 2, n.Final(), "the new one has not said what it holds")
	n.SetPeers(g.now, g.members())
	require.EqualValues(t, 3, n.Final())
}

func TestI15HollowBlocksCountTheSame(t *testing.T) {
	g := chaos{}.run(t, 1)
	g.heal(1)
	m := g.nodes[0].Memory
	s := NewMemoryStore()
	for i := range m.blocks.n {
		raw := m.raw(i)
		if i%2 == 0 {
			raw = hollow(raw)
		}
		require.NoError(t, s.Append([]Record{{Frame: raw}}, true))
	}
	require.NoError(t, s.PutState(State{Group: "test", Clean: true}))
	h, err := NewMemory(Config{Key: testKey(9), Group: "test", Rand: source(1), Store: s})
	require.NoError(t, err)
	require.Equal(t, m.Digest(), h.Digest())
	want := slices.Collect(m.History(0, false))
	for x := range h.History(0, false) {
		require.Equal(t, want[x.Pos].ID, x.ID)
		if x.Data != nil {
			require.Equal(t, want[x.Pos].Data, x.Data)
		}
	}
}

func TestI17EqualDigestsEqualSets(t *testing.T) {
	schedules(t, 12, func(t require.TestingT, seed uint64) {
		digests := make(map[Digest]string)
		c := chaos{each: func(g *group, n *node) {
			d := modelOf(t, n.Memory)
			require.Equal(t, d.digest(), n.Digest())
			set := fmt.Sprint(func() (hs []Hash) {
				for _, b := range d.sorted() {
					hs = append(hs, b.hash)
				}
				return
			}())
			if other, ok := digests[n.Digest()]; ok {
				require.Equal(t, other, set)
			}
			digests[n.Digest()] = set
		}, nodes: 3, steps: 30}
		c.run(t, seed)
	})
}

func TestI18NumbersHaveNoHoles(t *testing.T) {
	schedules(t, 12, func(t require.TestingT, seed uint64) {
		g := chaos{crashes: seed%2 == 0, each: func(_ *group, n *node) {
			next := make(map[WriterID]uint64)
			for x := range n.Deliveries(0) {
				next[x.ID.Writer]++
				require.Equal(t, next[x.ID.Writer], x.ID.N)
			}
		}}.run(t, seed)
		g.heal(seed)
		for _, n := range g.nodes {
			modelOf(t, n.Memory).checkNumbers(t)
		}
	})
}

func TestStoreThatFailsIsReported(t *testing.T) {
	s := NewMemoryStore()
	m, err := NewMemory(Config{Key: testKey(1), Group: "test", Rand: source(1), Store: s})
	require.NoError(t, err)
	full := errors.New("disk full")
	s.Fail(full)
	_, err = m.Append(benchNow, []byte("x"))
	require.NoError(t, err)
	require.NoError(t, m.Flush(benchNow))
	require.ErrorIs(t, m.Ready().Err, full)
	require.EqualValues(t, 1, m.Len())
	s.Fail(nil)
	_ = m.Close()
	require.Empty(t, s.recs, "a record without its parents is not written")
	require.False(t, s.state.Clean)
}
