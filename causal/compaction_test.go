package causal

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var soon = Compaction{Age: 5 * time.Second, Away: time.Second, Blocks: 8}

// compacting starts n logs that compact soon; those in keep hold on to all.
func compacting(t require.TestingT, n int, seed uint64, keep ...int) *group {
	g := newGroup(t, 0, seed)
	g.ranged = seed%2 == 0
	g.setup = func(n *node, c *Config) {
		c.Compaction = soon
		c.Compaction.Keep = slices.Contains(keep, n.i)
	}
	for i := range n {
		g.nodes = append(g.nodes, &node{i: i, key: testKey(i), links: make(map[int]*stream)})
	}
	for i := range n {
		g.start(i, NewMemoryStore())
	}
	return g
}

// view makes some nodes a group of their own.
func (g *group) view(of ...int) {
	var keys []Key
	for _, i := range of {
		keys = append(keys, g.nodes[i].name())
	}
	for _, i := range of {
		for j := range g.nodes {
			g.link(i, j, slices.Contains(of, j) && i != j)
		}
	}
	for _, i := range of {
		g.nodes[i].SetPeers(g.now, keys)
		g.pump(g.nodes[i])
	}
}

// chat lets some nodes say n things in turn, half a second apart.
func (g *group) chat(n int, who ...int) {
	for k := range n {
		g.say(who[k%len(who)], fmt.Sprintf("%d of %d at %v", who[k%len(who)], k, g.now.Unix()))
		g.run(500 * time.Millisecond)
	}
}

// checkCompacted compares a log that gave up what is old with one that did not.
func checkCompacted(t require.TestingT, whole, m *Memory) {
	require.Equal(t, whole.Digest(), m.Digest())
	require.Equal(t, whole.Len(), m.Len())
	require.Equal(t, whole.Stats().Blocks, m.Stats().Blocks)
	want := slices.Collect(whole.History(m.order.under, false))
	got := slices.Collect(m.History(0, false))
	require.Len(t, got, len(want))
	for i, x := range got {
		require.Equal(t, want[i].ID, x.ID)
		require.Equal(t, want[i].Pos, x.Pos)
		require.Equal(t, want[i].Height, x.Height)
		require.Equal(t, want[i].Data, x.Data)
		y, ok := m.Lookup(x.ID)
		require.True(t, ok)
		require.Equal(t, x, y)
		w, ok := m.Why(x.ID)
		require.True(t, ok)
		require.Equal(t, x, w.Message)
	}
	down := slices.Collect(m.History(m.Len(), true))
	slices.Reverse(down)
	require.Equal(t, got, down)
	last, n := uint64(0), 0
	for x := range m.Deliveries(0) {
		if n > 0 {
			require.Greater(t, x.Index, last)
		}
		require.Equal(t, got[x.Pos-m.order.under], x)
		last = x.Index
		n++
	}
	require.Equal(t, len(got), n)
	for x := range whole.History(0, false) {
		if x.Pos >= m.order.under {
			break
		}
		_, ok := m.Lookup(x.ID)
		require.False(t, ok)
	}
	held := uint64(0)
	for i := m.blocks.first; i < m.blocks.n; i++ {
		if !m.blocks.gone(i) {
			require.Greater(t, m.blocks.at(i).height, m.order.floor)
			held++
		}
	}
	require.Equal(t, m.count, m.gone.blocks+held)
	require.EqualValues(t, held, m.table.n)
}

func TestCompaction(t *testing.T) {
	g := compacting(t, 4, 1, 2)
	g.view(0, 1, 2)
	g.chat(100, 0, 1, 2)
	g.run(time.Minute)
	for i, n := range g.nodes[:3] {
		require.NotZero(t, n.base.height, i)
		require.Equal(t, n.base.commit, g.nodes[0].base.commit)
		require.Equal(t, i == 2, n.order.floor == 0)
		checkCompacted(t, g.nodes[2].Memory, n.Memory)
		if i != 2 {
			require.Less(t, n.store.recsLeft(), 40, "the Store gives up what the log does")
		}
	}
	// A late joiner takes the checkpoint and what follows.
	g.view(0, 1, 2, 3)
	g.settle(time.Minute)
	j := g.nodes[3]
	require.Equal(t, g.nodes[0].base.commit, j.base.commit)
	checkCompacted(t, g.nodes[2].Memory, j.Memory)
	require.EqualValues(t, 1, j.synced())
	require.Empty(t, j.Stats().Refused)
	// And all go on, again and again.
	for round := range 5 {
		floor := g.nodes[0].base.height
		g.chat(60, 3, 0, 1, 2)
		g.run(time.Minute)
		for i, n := range g.nodes {
			require.Greater(t, n.base.height, floor, "%d in round %d", i, round)
			checkCompacted(t, g.nodes[2].Memory, n.Memory)
		}
	}
	require.EqualValues(t, 400, g.nodes[0].Len())
	require.Less(t, g.nodes[0].table.n, 60)
	// What is reopened is what was closed.
	for i, n := range g.nodes {
		require.NoError(t, n.Close())
		m, err := NewMemory(Config{Key: n.key, Group: "test", Rand: source(9), Store: n.store})
		require.NoError(t, err)
		require.Zero(t, m.Loaded().Dropped, i)
		require.Equal(t, n.Digest(), m.Digest())
		checkCompacted(t, g.nodes[2].Memory, m)
		require.NoError(t, m.Close())
	}
}

func (s *MemoryStore) recsLeft() int { return len(s.recs) }

func TestCompactionNeedsAll(t *testing.T) {
	g := compacting(t, 3, 1)
	g.nodes[1].cfg.Compaction = Compaction{}
	g.view(0, 1, 2)
	g.chat(100, 0, 1, 2)
	g.run(10 * time.Minute)
	votes := 0
	for _, n := range g.nodes {
		require.Zero(t, n.base.height)
		require.LessOrEqual(t, len(n.cp.votes), 2)
		votes += int(n.me.n)
	}
	require.Less(t, votes, 140, "nobody asks again and again")
}

// Who is away is waited for, and loses nothing.
func TestCompactionWaitsForThoseAway(t *testing.T) {
	g := compacting(t, 3, 1)
	for _, n := range g.nodes {
		n.cfg.Compaction.Away = time.Hour
	}
	g.view(0, 1, 2)
	g.chat(30, 0, 1, 2)
	g.run(time.Second)
	word := g.nodes[0].order.top()
	g.view(2)
	g.view(0, 1)
	for range 20 {
		g.chat(10, 0, 1, 2)
	}
	g.run(10 * time.Minute)
	require.NotZero(t, g.nodes[0].base.height)
	require.LessOrEqual(t, g.nodes[0].base.height, word)
	g.view(0, 1, 2)
	g.settle(time.Minute)
	g.run(10 * time.Second)
	require.EqualValues(t, 230, g.nodes[0].Len())
	for _, n := range g.nodes {
		require.Equal(t, g.nodes[0].Digest(), n.Digest())
		for _, r := range n.ready {
			require.False(t, r.Rebased)
			require.Empty(t, r.Displaced)
		}
	}
}

// displaced adds up what a node said that it gave up.
func (n *node) displaced() (all []Message, rebased int) {
	for _, r := range n.ready {
		all = append(all, r.Displaced...)
		if r.Rebased {
			rebased++
		}
	}
	return all, rebased
}

// count is how often a text is in the history that is held.
func (n *node) count2() map[string]int {
	all := make(map[string]int)
	for x := range n.History(0, false) {
		all[string(x.Data)]++
	}
	return all
}

// Who was away for longer begins anew, says its own again, and tells what is
// lost with an author that does not come back.
func TestCompactionGoesOnWithoutTheLost(t *testing.T) {
	g := compacting(t, 4, 1)
	g.view(0, 1, 2, 3)
	g.chat(40, 0, 1, 2, 3)
	g.run(time.Second)
	g.view(2, 3)
	g.view(0, 1)
	g.nodes[2].cfg.Compaction, g.nodes[3].cfg.Compaction = Compaction{}, Compaction{}
	g.say(2, "two, apart")
	g.say(3, "three, apart")
	g.run(time.Second)
	g.say(2, "two, again")
	g.run(time.Second)
	g.view(2) // 3 never comes back
	g.chat(200, 0, 1)
	g.run(time.Minute)
	require.Greater(t, g.nodes[0].base.height, g.nodes[2].order.top())
	before := g.nodes[0].Len()
	g.view(0, 1, 2)
	g.settle2(time.Minute, 0, 1, 2)
	lost, rebased := g.nodes[2].displaced()
	require.Equal(t, 1, rebased)
	require.Len(t, lost, 1)
	require.Equal(t, "three, apart", string(lost[0].Data))
	require.EqualValues(t, before+2, g.nodes[0].Len())
	for _, n := range g.nodes[:3] {
		require.Equal(t, 1, n.count2()["two, apart"])
		require.Equal(t, 1, n.count2()["two, again"])
		checkCompacted(t, g.nodes[0].Memory, n.Memory)
	}
	// With 3 back after all nothing is lost.
	g.view(0, 1, 2, 3)
	g.settle(time.Minute)
	require.Equal(t, 1, g.nodes[0].count2()["three, apart"])
	for _, n := range g.nodes {
		checkCompacted(t, g.nodes[0].Memory, n.Memory)
	}
	for _, n := range g.nodes[2:] { // also after a restart
		require.NoError(t, n.Close())
		m, err := NewMemory(Config{Key: n.key, Group: "test", Rand: source(9), Store: n.store})
		require.NoError(t, err)
		checkCompacted(t, g.nodes[0].Memory, m)
	}
}

func (g *group) settle2(max time.Duration, of ...int) {
	end := g.now.Add(max)
	for {
		g.run(10 * time.Millisecond)
		same := true
		for _, i := range of {
			same = same && g.nodes[i].Digest() == g.nodes[of[0]].Digest()
		}
		if same {
			return
		}
		require.True(g.t, g.now.Before(end), "no convergence")
	}
}

// Two halves that gave up their past apart become one all the same.
func TestCompactionOfTwoHalves(t *testing.T) {
	g := compacting(t, 4, 1)
	g.view(0, 1, 2, 3)
	g.chat(40, 0, 1, 2, 3)
	g.view(2, 3)
	g.view(0, 1)
	for range 30 {
		g.chat(4, 0, 1)
		g.chat(2, 2, 3)
	}
	g.run(time.Minute)
	require.NotZero(t, g.nodes[0].base.height)
	require.NotZero(t, g.nodes[2].base.height)
	require.NotEqual(t, g.nodes[0].base.commit, g.nodes[2].base.commit)
	for i := range g.nodes {
		g.say(i, fmt.Sprint("the last word of ", i))
	}
	g.run(time.Second)
	g.view(0, 1, 2, 3)
	g.settle(2 * time.Minute)
	for _, n := range g.nodes {
		for i := range g.nodes {
			require.Equal(t, 1, n.count2()[fmt.Sprint("the last word of ", i)])
		}
		checkCompacted(t, g.nodes[0].Memory, n.Memory)
	}
	g.chat(60, 0, 1, 2, 3)
	g.run(time.Minute)
	for _, n := range g.nodes {
		require.Equal(t, g.nodes[0].base.commit, n.base.commit)
		checkCompacted(t, g.nodes[0].Memory, n.Memory)
	}
}

// Random schedules of groups that part and meet, for longer than anybody waits.
func TestI15CompactedNodesHaveOneDigest(t *testing.T) {
	compacted, begun := 0, 0
	schedules(t, 16, func(t require.TestingT, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 20))
		n := 3 + rng.IntN(3)
		g := compacting(t, n, seed, 0)
		g.loss = rng.Float64() / 3
		texts := make(map[string]int)       // by whom
		ids := make(map[string][]MessageID) // all that a text had
		next := make(map[*Memory]uint64)
		var bases [][]end
		g.check = func(n *node) {
			if n.order.floor > 0 && !slices.ContainsFunc(bases, func(b []end) bool { return slices.Equal(b, n.base.ends) }) {
				bases = append(bases, n.base.ends)
			}
			for x := range n.Deliveries(next[n.Memory]) {
				next[n.Memory] = x.Index + 1
				if id := ids[string(x.Data)]; !slices.Contains(id, x.ID) {
					ids[string(x.Data)] = append(id, x.ID)
				}
			}
		}
		all := rng.Perm(n)
		for i := range all {
			all[i] = i
		}
		g.view(all...)
		for range 12 {
			if rng.IntN(3) == 0 { // part, or meet
				rng.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
				cut := 1 + rng.IntN(n)
				g.view(all[:cut]...)
				if cut < n {
					g.view(all[cut:]...)
				}
			}
			if rng.IntN(4) == 0 { // one process ends, and begins again
				i := rng.IntN(n)
				x := g.nodes[i]
				var with []int
				for j := range g.nodes {
					if x.links[j] != nil || j == i {
						with = append(with, j)
					}
				}
				g.crash(i, 0)
				g.start(i, x.store)
				g.view(with...)
			}
			for range rng.IntN(25) {
				i := rng.IntN(n)
				text := fmt.Sprint(i, " says ", len(texts))
				g.say(i, text)
				texts[text] = i
				g.run(time.Duration(rng.IntN(1000)) * time.Millisecond)
			}
			g.run(time.Duration(rng.IntN(20)) * time.Second)
		}
		for i := range all {
			all[i] = i
		}
		g.loss = 0
		g.view(all...)
		g.settle(5 * time.Minute)
		for i := range g.nodes {
			g.say(i, fmt.Sprint("at last ", i))
		}
		g.settle(time.Minute)
		g.run(30 * time.Second)
		least := slices.MinFunc(g.nodes, func(a, b *node) int { return cmp.Compare(a.order.floor, b.order.floor) })
		// Nothing was lost: what was said is there, or summed up. It is there
		// twice only if its author had to say it again.
		held, lost, told := least.count2(), 0, uint64(0)
		for text, who := range texts {
			if _, k := g.nodes[who].displaced(); k == 0 {
				require.LessOrEqual(t, held[text], 1, text)
			}
			summed := slices.ContainsFunc(ids[text], func(id MessageID) bool {
				w, ok := least.byID[id.Writer]
				return ok && slices.ContainsFunc(least.writers[w].ends, func(e end) bool { return id.N < e.next })
			})
			if held[text] == 0 && !summed {
				gone := slices.ContainsFunc(ids[text], func(id MessageID) bool {
					return slices.ContainsFunc(bases, func(b []end) bool {
						return slices.ContainsFunc(b, func(e end) bool { return e.writer == id.Writer && id.N < e.next })
					})
				})
				require.True(t, gone, "%s is lost", text)
				lost++
			}
		}
		for _, x := range g.nodes {
			for _, r := range x.ready {
				told += r.Forgotten
			}
		}
		require.True(t, lost == 0 || told > 0, "%d lost in silence", lost)
		for _, x := range g.nodes {
			checkCompacted(t, least.Memory, x.Memory)
			_, k := x.displaced()
			begun += k
			if x.order.floor > 0 {
				compacted++
			}
		}
	})
	require.Positive(t, compacted)
	require.Positive(t, begun)
	t.Log(compacted, "compacted,", begun, "began anew")
}

// Who is to keep all, and comes late, takes over everything from the member
// that has it, whoever it asks first; if nobody has, it takes the checkpoint.
// Others are not sent what the checkpoint stands for.
func TestALateKeeperTakesAll(t *testing.T) {
	schedules(t, 16, func(t require.TestingT, seed uint64) {
		first := int(seed) % 3 // who keeps all, of those that are there
		g := compacting(t, 6, seed, first, 3, 4)
		g.view(0, 1, 2)
		g.chat(60, 0, 1, 2)
		g.run(time.Minute)
		whole, other := g.nodes[first], (first+1)%3
		require.Zero(t, whole.order.floor)
		require.NotZero(t, whole.base.height)
		require.NotZero(t, g.nodes[other].order.floor)
		g.view(0, 1, 2, 3)
		g.run(10 * time.Second)
		late := g.nodes[3]
		checkWhole := func() {
			require.Zero(t, late.order.floor)
			require.Equal(t, whole.base.commit, late.base.commit)
			require.Equal(t, string(whole.text()), string(late.text()))
			require.Empty(t, late.Stats().Refused["below_checkpoint"])
		}
		checkWhole()
		require.Equal(t, 1, late.synced())
		// It is away while the others give up more.
		g.view(0, 1, 2)
		g.chat(60, 0, 1, 2)
		g.run(time.Minute)
		require.Greater(t, whole.base.height, late.base.height)
		g.view(0, 1, 2, 3)
		g.run(10 * time.Second)
		checkWhole()
		// What it has taken over others can have from it.
		g.view(3, 5)
		g.run(10 * time.Second)
		require.Equal(t, late.Digest(), g.nodes[5].Digest())
		require.Empty(t, g.nodes[5].Stats().Refused["below_checkpoint"])
		// Nobody has all.
		g.view(other, 3-first-other, 4)
		g.run(10 * time.Second)
		require.NotZero(t, g.nodes[4].order.floor)
		checkCompacted(t, whole.Memory, g.nodes[4].Memory)
	})
}

// Who is not to keep all is sent by a member that does what the checkpoint does
// not stand for.
func TestAKeeperSendsNoMoreThanIsTaken(t *testing.T) {
	schedules(t, 4, func(t require.TestingT, seed uint64) {
		g := compacting(t, 3, seed, 0)
		g.view(0, 1)
		g.chat(60, 0, 1)
		g.run(time.Minute)
		require.NotZero(t, g.nodes[0].base.height)
		g.view(0)
		g.view(0, 2)
		g.run(10 * time.Second)
		require.NotZero(t, g.nodes[2].order.floor)
		require.Empty(t, g.nodes[2].Stats().Refused["below_checkpoint"])
		sum := 0
		for i := range g.nodes[0].blocks.n {
			sum += len(g.nodes[0].raw(i))
		}
		require.Less(t, g.nodes[0].served, uint64(sum/2))
		checkCompacted(t, g.nodes[0].Memory, g.nodes[2].Memory)
	})
}

// compacted returns a log that gave up its past, agreed with one more.
func compacted(t require.TestingT) *group {
	g := compacting(t, 3, 1)
	g.view(0, 1)
	g.chat(60, 0, 1)
	g.run(time.Minute)
	require.NotZero(t, g.nodes[0].order.floor)
	return g
}

// A checkpoint that was altered, or lacks a vote, or that nobody who is here
// has signed, is not taken.
func TestForgedCheckpointsAreRefused(t *testing.T) {
	g := compacted(t)
	blob := g.nodes[0].base.blob
	m := g.nodes[2].Memory
	good, ok := m.openBase(blob)
	require.True(t, ok)
	require.Equal(t, g.nodes[0].base.commit, good.commit)
	require.Len(t, good.members, 2)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range blob {
		b := slices.Clone(blob)
		b[i] ^= 1 << rng.IntN(8)
		_, ok := m.openBase(b)
		require.False(t, ok, "byte %d", i)
		_, ok = m.openBase(blob[:i])
		require.False(t, ok, "cut at %d", i)
	}
	// Strangers agree on a past of their own.
	own := base{height: 5, blocks: 5, msgs: 5}
	evil := newForger(testKey(50), "test", 1)
	key := keyOf(evil.key.Public().(ed25519.PublicKey))
	own.members = []Key{key}
	own.ends = []end{{writer: evil.id, pub: [32]byte(evil.key.Public().(ed25519.PublicKey)), n: 5, next: 6}}
	encoded := own.append(nil)
	frame, _ := evil.block(body{kind: kindCheckpoint, n: 6, first: 6, height: 6, upto: 5, commit: m.commitment(encoded)})
	vote1 := vote{frame: frame}
	forged := appendVote(append(binary.BigEndian.AppendUint32(nil, uint32(len(encoded))), encoded...), vote1)
	_, ok = m.openBase(forged)
	require.True(t, ok, "it is whole")
	from := g.nodes[0].name()
	m.SetPeers(g.now, []Key{m.self, from})
	m.Link(g.now, from, true)
	m.Step(g.now, from, &Beat{Count: 9, Height: 9, Heads: []Ref{{Writer: WriterID{1}, N: 9}}})
	var ask *Pull
	for ask == nil {
		next := m.Next(g.now, from)
		require.NotNil(t, next)
		ask, _ = next.(*Pull)
	}
	for _, part := range []*Base{
		{Session: ask.Session + 1, Part: blob}, // not asked for
		{Session: ask.Session, Part: forged},
		{Session: ask.Session, Part: blob[:len(blob)-1]},
	} {
		m.Step(g.now, from, part)
		require.Zero(t, m.base.height)
	}
	require.EqualValues(t, 2, m.Stats().Refused["checkpoint"])
	m.Step(g.now, from, &Base{Session: ask.Session, Part: blob[:100], More: true})
	m.Step(g.now, from, &Base{Session: ask.Session, Part: blob[100:]})
	require.Equal(t, good.commit, m.base.commit)
	require.Equal(t, good.msgs, m.Len())
}

// What belongs to what was given up is refused by all that agreed.
func TestBlocksBelowACheckpointAreRefused(t *testing.T) {
	g := compacted(t)
	evil := newForger(testKey(50), "test", 1)
	low, first := evil.block(body{}, "low")
	next, _ := evil.block(first.after(), "and on")
	for _, n := range g.nodes[:2] {
		before := fingerprint(n.Memory)
		g.tell(n.i, evil, low)
		require.Equal(t, before, fingerprint(n.Memory))
		g.tell(n.i, evil, low, next)
		require.EqualValues(t, 3, n.Stats().Refused["below_checkpoint"])
	}
}

func FuzzBase(f *testing.F) {
	g := compacted(f)
	m := g.nodes[0].Memory
	f.Add(m.base.blob)
	f.Add(m.base.blob[:200])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if base, ok := m.openBase(b); ok && base.commit != m.base.commit {
			t.Fatal("another base with good signatures")
		}
		var x base
		if x.decode(b) && string(x.append(nil)) != string(b) {
			t.Fatal("two forms of one base")
		}
	})
}

// A member's word that it holds everything is waited for, and then its vote for
// exactly the same.
func TestCompactionWaitsForAcksAndVotes(t *testing.T) {
	m := solo(t, Retention{}, nil)
	m.cfg.Compaction = Compaction{Age: time.Second, Away: time.Second, Blocks: 1}
	f := newForger(testKey(5), "test", 1)
	author := keyOf(f.key.Public().(ed25519.PublicKey))
	for i := 6; bytes.Compare(author[:], m.self[:]) < 0; i++ { // the log is to propose
		f = newForger(testKey(i), "test", 1)
		author = keyOf(f.key.Public().(ed25519.PublicKey))
	}
	now := benchNow
	m.SetPeers(now, []Key{m.self, author})
	m.Link(now, author, true)
	own, err := m.Append(now, []byte("not there yet"))
	require.NoError(t, err)
	require.NoError(t, m.Flush(now))
	raw, a := f.block(body{}, "first")
	second, b := f.block(a.after(), "second")
	m.Step(now, author, &Blocks{Frames: [][]byte{raw, second}})
	m.Step(now, author, &Beat{Count: 2, Height: 2, Heads: []Ref{b.ref()}, Writer: b.writer})
	now = now.Add(time.Minute)
	m.Tick(now)
	require.Equal(t, m.Len(), m.Final(), "the member will write above all that")
	require.Zero(t, m.cp.own.height, "but it lacks a block")
	m.Step(now, author, &Ack{Tips: []Dot{{own.Writer, 1}}})
	now = now.Add(time.Minute)
	m.Tick(now)
	require.NotZero(t, m.cp.own.height)

	// It votes, but for something else; then for the same.
	x := b.after()
	x.kind, x.upto, x.commit = kindCheckpoint, m.cp.own.height, Hash{1}
	raw, other := f.block(x)
	m.Step(now, author, &Blocks{Frames: [][]byte{raw}})
	require.Zero(t, m.base.height)
	x = other.after()
	x.kind, x.upto, x.commit = kindCheckpoint, m.cp.own.height, m.cp.own.commit
	raw, _ = f.block(x)
	m.Step(now, author, &Blocks{Frames: [][]byte{raw}})
	require.Equal(t, m.cp.own.height, m.base.height)
	require.Equal(t, m.base.height, m.order.floor)
	_, ok := m.openBase(m.base.blob)
	require.True(t, ok)
}

// Links come up one after the other. Who is to keep all waits a while for those
// to members that may have it, but not for one that never comes.
func TestALateKeeperWaitsForLinks(t *testing.T) {
	for _, comes := range []bool{true, false} {
		t.Run(fmt.Sprint("the other comes: ", comes), func(t *testing.T) {
			g := compacting(t, 3, 1, 0, 2)
			g.crash(2, 0)
			g.view(0, 1)
			g.chat(60, 0, 1)
			g.run(time.Minute)
			require.NotZero(t, g.nodes[1].order.floor)
			whole, late := g.nodes[0], g.nodes[2]
			g.start(2, late.store)
			for _, n := range g.nodes[:2] {
				n.SetPeers(g.now, g.members())
				g.pump(n)
			}
			g.link(1, 2, true)
			g.run(patience - 100*time.Millisecond)
			require.Zero(t, late.Len())
			if comes {
				g.link(0, 2, true)
			}
			g.run(3 * time.Second)
			require.Equal(t, whole.base.commit, late.base.commit)
			require.Equal(t, comes, late.order.floor == 0)
			checkCompacted(t, whole.Memory, late.Memory)
			require.Equal(t, 1, late.synced())
		})
	}
}
