package causal

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTwoConverge(t *testing.T) {
	g := newGroup(t, 2, 1)
	g.mesh(true)
	g.run(50 * time.Millisecond)
	for i := range 10 {
		g.say(i%2, fmt.Sprint("message ", i))
		g.run(5 * time.Millisecond)
	}
	g.settle(time.Second)
	require.EqualValues(t, 10, g.nodes[0].Len())
	require.Equal(t, string(g.nodes[0].text()), string(g.nodes[1].text()))
}

func TestLateJoinerTakesAll(t *testing.T) {
	g := newGroup(t, 4, 2)
	for a := range 3 {
		for b := range a {
			g.link(a, b, true)
		}
	}
	for i := range 300 {
		g.say(i%3, fmt.Sprint("message ", i))
		if i%7 == 0 {
			g.run(time.Millisecond)
		}
	}
	g.run(time.Second)
	for b := range 3 {
		g.link(3, b, true)
	}
	took := g.settle(time.Second)
	require.LessOrEqual(t, took, 50*time.Millisecond)
	require.EqualValues(t, 300, g.nodes[3].Len())
	for m := range g.nodes[3].Deliveries(0) {
		require.True(t, m.Backlog)
	}
	require.EqualValues(t, 1, g.nodes[3].Stats().Pulls)
	require.Equal(t, string(g.nodes[0].text()), string(g.nodes[3].text()))
}

// synced reports how often a node has said that its first sync is complete.
func (n *node) synced() (times int) {
	for _, r := range n.ready {
		if r.Synced {
			times++
		}
	}
	return times
}

func TestSyncedOnce(t *testing.T) {
	t.Run("nothing to take over", func(t *testing.T) {
		g := newGroup(t, 2, 1)
		g.link(0, 1, true)
		g.run(10 * time.Millisecond)
		require.Equal(t, 1, g.nodes[0].synced())
		require.Equal(t, 1, g.nodes[1].synced())
		require.Zero(t, g.nodes[0].Stats().Pulls)
		g.link(0, 1, false)
		g.link(0, 1, true)
		g.run(time.Second)
		require.Equal(t, 1, g.nodes[0].synced())
	})
	t.Run("everything to take over", func(t *testing.T) {
		g := newGroup(t, 3, 1)
		fill(g.nodes[0].Memory, 50_000, 100)
		g.link(0, 1, true)
		g.link(0, 2, true)
		g.check = func(n *node) {
			if n.i == 1 && n.Len() < 50_000 {
				require.Zero(t, n.synced())
			}
		}
		g.run(time.Second)
		require.Equal(t, 1, g.nodes[1].synced())
		require.EqualValues(t, 50_000, g.nodes[1].Len())
	})
	t.Run("the first peer breaks off", func(t *testing.T) {
		g := newGroup(t, 3, 1)
		fill(g.nodes[0].Memory, 100_000, 100)
		g.link(0, 1, true)
		g.run(time.Second)
		g.link(0, 2, true)
		g.run(4 * time.Millisecond)
		g.link(0, 2, false)
		require.Zero(t, g.nodes[2].synced())
		require.Less(t, g.nodes[2].Len(), uint64(100_000))
		g.link(1, 2, true)
		g.settle(10 * time.Second)
		require.Equal(t, 1, g.nodes[2].synced())
	})
}

func TestAReconnectedLinkLosesNothing(t *testing.T) {
	g := newGroup(t, 3, 1)
	g.mesh(true)
	g.run(20 * time.Millisecond)
	for i := range 60 {
		g.say(i%3, fmt.Sprint("message ", i))
		g.run(3 * time.Millisecond)
		if i%5 == 0 { // what is under way is lost
			g.say(i%3, fmt.Sprint("lost at first ", i))
			g.link(0, 1, false)
			g.run(time.Millisecond)
			g.link(0, 1, true)
		}
	}
	require.LessOrEqual(t, g.settle(time.Second), 50*time.Millisecond)
	require.EqualValues(t, 72, g.nodes[0].Len())
}

func TestLateJoinerUnderLoad(t *testing.T) {
	g := newGroup(t, 5, 1)
	for a := range 4 {
		for b := range a {
			g.link(a, b, true)
		}
	}
	g.run(20 * time.Millisecond)
	fill(g.nodes[0].Memory, 100_000, 100)
	g.pump(g.nodes[0])
	g.run(time.Second)
	for i := range 200 {
		fill(g.nodes[i%4].Memory, 300, 100)
		g.pump(g.nodes[i%4])
		g.run(500 * time.Microsecond)
		if i == 20 {
			for b := range 4 {
				g.link(4, b, true)
			}
		}
	}
	took := g.settle(5 * time.Second)
	n := g.nodes[4]
	require.LessOrEqual(t, took, 100*time.Millisecond)
	require.EqualValues(t, 160_000, n.Len())
	require.LessOrEqual(t, n.Stats().Pulls, uint64(3))
	require.Equal(t, 1, n.synced())
	served := uint64(0)
	for _, o := range g.nodes {
		served += o.Stats().Served
	}
	t.Log(n.Stats(), served)
}

func TestHalvesSyncInOneRound(t *testing.T) {
	g := newGroup(t, 4, 1)
	g.mesh(true)
	for i := range 40 {
		fill(g.nodes[i%4].Memory, 100, 100)
		g.pump(g.nodes[i%4])
		g.run(2 * time.Millisecond)
	}
	g.settle(time.Second)
	for a := range 2 {
		for b := 2; b < 4; b++ {
			g.link(a, b, false)
		}
	}
	for i := range 20 {
		fill(g.nodes[i%4].Memory, 10, 100)
		g.pump(g.nodes[i%4])
		g.run(2 * time.Millisecond)
	}
	g.run(time.Second)
	require.Equal(t, g.nodes[0].Digest(), g.nodes[1].Digest())
	require.NotEqual(t, g.nodes[0].Digest(), g.nodes[2].Digest())
	missing := g.nodes[0].Stats().Bytes // of each half
	before := uint64(0)
	for _, n := range g.nodes {
		before += n.Stats().Served
	}
	_ = missing
	for a := range 2 {
		for b := 2; b < 4; b++ {
			g.link(a, b, true)
		}
	}
	require.LessOrEqual(t, g.settle(time.Second), 20*time.Millisecond)
	served := uint64(0)
	for _, n := range g.nodes {
		served += n.Stats().Served
		require.LessOrEqual(t, n.Stats().Pulls, uint64(4))
	}
	// Each node lacked ten blocks of 10 messages of 100 bytes.
	lacked := uint64(4 * 10 * (10*101 + 320))
	require.LessOrEqual(t, float64(served-before), 1.2*float64(lacked))
}

// What a sync says of what is held must stay small beside what is missing, with
// as many writers as a large group has in a long life.
func TestManyWritersSyncCheaply(t *testing.T) {
	sizes := []int{1024, 4096}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, writers := range sizes {
		t.Run(fmt.Sprint(writers), func(t *testing.T) { manyWriters(t, writers) })
	}
}

func manyWriters(t *testing.T, writers int) {
	const length = 10     // blocks each
	apart := writers / 20 // how many of the last ones each half lacks: 1 % together
	text := make([]byte, 1<<20/writers)
	logs := [2]*Memory{benchLog(t, 0), benchLog(t, 1)}
	lacks := [2]int{}
	rng := rand.New(rand.NewPCG(1, 1))
	for w := range writers {
		seed := make([]byte, ed25519.SeedSize)
		binary.BigEndian.PutUint32(seed, uint32(w)+1000)
		f := newForger(ed25519.NewKeyFromSeed(seed), "bench", 1)
		var chain [][]byte
		next := body{wall: int64(writers - w)} // each before those that came, which is found at once
		for range length {
			for i := range text {
				text[i] = byte(rng.Uint32())
			}
			raw, b := f.block(next, string(text))
			chain = append(chain, raw)
			next = b.after()
			next.wall = b.wall
		}
		for k, m := range logs {
			n := length
			if w/apart == k {
				n--
				lacks[k] += len(chain[n])
			}
			m.Step(benchNow, keyOf(f.key.Public().(ed25519.PublicKey)), &Blocks{Frames: chain[:n]})
			require.Empty(t, m.Stats().Refused)
		}
	}
	for k, m := range logs {
		m.SetPeers(benchNow, []Key{logs[0].self, logs[1].self})
		m.Link(benchNow, logs[1-k].self, true)
		m.Ready()
	}
	// Every message is counted as it is on the wire, all of what a node sends
	// until both are equal and have said so.
	x := converge(t, logs)
	require.Equal(t, logs[0].Digest(), logs[1].Digest())
	require.EqualValues(t, writers*length, logs[0].Len())
	for k, m := range logs {
		require.EqualValues(t, 1, m.Stats().Pulls)
		require.EqualValues(t, 1, x.pulls[k])
		require.LessOrEqual(t, x.rounds[k], 8)
		require.LessOrEqual(t, float64(x.search[k]), 14*float64(writers))
		require.LessOrEqual(t, float64(x.bytes[k]-lacks[1-k]), 40*float64(writers))
		t.Logf("node %d sent %d bytes for %d that were missing: %.1f a writer beside them, of these %.1f in %d rounds to find what differs",
			k, x.bytes[k], lacks[1-k], float64(x.bytes[k]-lacks[1-k])/float64(writers), float64(x.search[k])/float64(writers), x.rounds[k])
	}
}

// Two nodes that were apart for a day, in which each said something every
// second, become equal by one Pull each. A quarter of a day does with -short.
func TestADayApartConverges(t *testing.T) {
	day := 24 * 60 * 60
	if testing.Short() {
		day /= 4 // more than the credit that a Pull comes with
	}
	a, b := pair(t)
	both := []*Memory{a, b}
	for _, m := range both {
		m.SetPeers(benchNow, []Key{m.self})
		for i := range day {
			_, err := m.Append(benchNow.Add(time.Duration(i)*time.Second), fmt.Append(nil, "second ", i))
			require.NoError(t, err)
			require.NoError(t, m.Flush(benchNow.Add(time.Duration(i)*time.Second)))
		}
		m.Ready()
	}
	require.NotEqual(t, a.Digest(), b.Digest())
	for k, m := range both {
		o := both[1-k]
		m.SetPeers(benchNow.Add(time.Duration(day)*time.Second), []Key{a.self, b.self})
		m.Link(m.now, o.self, false)
		m.Link(m.now, o.self, true)
	}
	exchange(a, b)
	require.EqualValues(t, 2*day, a.Len())
	require.Equal(t, a.Digest(), b.Digest())
	for _, m := range both {
		require.EqualValues(t, 1, m.Stats().Pulls)
		require.Empty(t, m.Stats().Refused)
	}
	last := Message{}
	for x := range a.History(0, false) {
		y, ok := b.Lookup(x.ID)
		require.True(t, ok)
		require.Equal(t, x.Pos, y.Pos)
		require.LessOrEqual(t, last.Height, x.Height)
		last = x
		if x.Pos%64 != 0 {
			continue
		}
		require.Equal(t, x.Data, y.Data)
	}
}

func TestFarBranchesOfAForkSync(t *testing.T) {
	g := newGroup(t, 2, 1)
	evil := newForger(testKey(50), "test", 1)
	raw, first := evil.block(body{}, "genesis")
	g.tell(0, evil, raw)
	g.tell(1, evil, raw)
	for k := range 2 { // two long branches, each of which one node has alone
		tip := first
		for i := range 700 + 300*k {
			raw, b := evil.block(tip.after(), fmt.Sprint(k, i))
			tip = b
			g.tell(k, evil, raw)
		}
	}
	g.link(0, 1, true)
	g.settle(10 * time.Second)
	require.EqualValues(t, 1701, g.nodes[0].Len())
	for _, n := range g.nodes {
		require.LessOrEqual(t, n.Stats().Pulls, uint64(3))
	}
}

func TestMissingParentsAreFetched(t *testing.T) {
	// 1 hears of 0's words only by what 2 says after them.
	g := newGroup(t, 3, 1)
	g.link(0, 2, true)
	g.link(1, 2, true)
	g.run(20 * time.Millisecond)
	g.loss = 1 // no beats
	g.say(0, "question")
	g.run(5 * time.Millisecond)
	g.say(2, "answer")
	g.run(200 * time.Millisecond)
	require.EqualValues(t, 2, g.nodes[1].Len())
	require.Zero(t, g.nodes[1].Stats().Pulls)
	// Further back than is asked for one by one.
	for i := range 400 {
		g.say(0, fmt.Sprint("words ", i))
	}
	g.run(5 * time.Millisecond)
	g.say(2, "again")
	g.run(time.Second)
	require.EqualValues(t, 403, g.nodes[1].Len())
	require.EqualValues(t, 1, g.nodes[1].Stats().Pulls)
}

func TestManyHeadsAreMerged(t *testing.T) {
	g := newGroup(t, 2, 1)
	a := g.nodes[0]
	for i := range 100 {
		f := newForger(testKey(100+i), "test", 1)
		raw, _ := f.block(body{}, "hello")
		a.Step(g.now, Key{}, &Blocks{Frames: [][]byte{raw}})
	}
	g.pump(a)
	require.Len(t, a.heads, 100)
	t.Run("by a message", func(t *testing.T) {
		g.say(0, "all of you")
		require.Len(t, a.heads, 1)
		modelOf(t, a.Memory).checkOrder(t)
		last := modelOf(t, a.Memory)[a.blocks.n-1]
		require.EqualValues(t, 4, last.n, "genesis and two merges swallow 32 heads each, then the message")
		require.EqualValues(t, 1, last.first)
	})
	t.Run("by nobody in particular", func(t *testing.T) {
		for i := range 10 {
			f := newForger(testKey(300+i), "test", 1)
			raw, _ := f.block(body{}, "hello")
			a.Step(g.now, Key{}, &Blocks{Frames: [][]byte{raw}})
		}
		require.Len(t, a.heads, 11)
		g.pump(a)
		g.run(10 * time.Second)
		require.Len(t, a.heads, 1)
		require.EqualValues(t, 111, a.Len())
	})
}

func TestPeersAtOnePlaceShareAMessage(t *testing.T) {
	g := newGroup(t, 4, 1)
	for b := 1; b < 4; b++ {
		g.link(0, b, true)
	}
	g.run(50 * time.Millisecond)
	n := g.nodes[0]
	fill(n.Memory, 10000, 100)
	var got [3][]*Blocks
	for k := range got {
		for {
			next := n.Next(g.now, g.nodes[k+1].name())
			if next == nil {
				break
			}
			m, ok := next.(*Blocks)
			if !ok {
				continue
			}
			size := 0
			for _, f := range m.Frames {
				size += len(f)
			}
			require.LessOrEqual(t, size, sendBytes)
			got[k] = append(got[k], m)
		}
	}
	require.Len(t, got[0], 4)
	for i := range got[0] {
		require.Same(t, got[0][i], got[1][i])
		require.Same(t, got[0][i], got[2][i])
	}
}

func TestAFloodOfOrphansStarvesNobody(t *testing.T) {
	g := newGroup(t, 3, 1)
	g.nodes[0].cfg.PendingBlocks = 300
	g.mesh(true)
	g.run(20 * time.Millisecond)
	evil := newForger(testKey(50), "test", 1)
	raw, first := evil.block(body{}, "hello")
	g.tell(0, evil, raw)
	for i := range 500 { // blocks whose parents do not exist
		x := first.after()
		x.n, x.prev = uint64(i)+5, Hash{byte(i), byte(i >> 8)}
		raw, _ := evil.block(x, "orphan")
		g.tell(0, evil, raw)
	}
	require.Equal(t, 300, g.nodes[0].Stats().Pending)
	// An honest answer that overtakes its question still finds room.
	g.link(0, 1, false)
	g.say(1, "question")
	g.run(5 * time.Millisecond)
	g.say(2, "answer")
	g.run(5 * time.Second)
	for m := range g.nodes[0].Deliveries(1) {
		require.Contains(t, []string{"question", "answer"}, string(m.Data))
	}
	require.EqualValues(t, 3, g.nodes[0].Len())
	g.run(time.Minute)
	require.Zero(t, g.nodes[0].Stats().Pending, "what never comes is given up")
}

func TestStable(t *testing.T) {
	g := newGroup(t, 3, 1)
	g.link(0, 1, true)
	g.run(20 * time.Millisecond)
	id := g.say(0, "one")
	g.run(100 * time.Millisecond)
	require.Zero(t, g.nodes[0].Stable(id.Writer), "a member has no link")
	g.link(0, 2, true)
	g.link(1, 2, true)
	g.run(100 * time.Millisecond)
	for _, n := range g.nodes {
		require.EqualValues(t, 1, n.Stable(id.Writer), n.i)
	}
	t.Run("soon", func(t *testing.T) {
		id := g.say(0, "two")
		g.run(40 * time.Millisecond)
		for _, n := range g.nodes {
			require.EqualValues(t, 2, n.Stable(id.Writer))
			told := uint64(0)
			for _, r := range n.ready {
				for _, s := range r.Stable {
					require.Greater(t, s.N, told)
					told = s.N
				}
			}
			require.EqualValues(t, 2, told)
		}
	})
	t.Run("without one that left", func(t *testing.T) {
		g.crash(2, 0)
		id := g.say(0, "three")
		g.run(100 * time.Millisecond)
		require.EqualValues(t, 2, g.nodes[0].Stable(id.Writer))
		for _, n := range g.nodes[:2] {
			n.SetPeers(g.now, g.members()[:2])
			g.pump(n)
			require.EqualValues(t, 3, n.Stable(id.Writer))
		}
	})
	t.Run("never back", func(t *testing.T) {
		for _, n := range g.nodes[:2] {
			n.SetPeers(g.now, append(g.members(), Key{9}))
			require.EqualValues(t, 3, n.Stable(id.Writer))
		}
	})
}

func TestBeatsAreFewAndTellInTime(t *testing.T) {
	g := newGroup(t, 4, 1)
	g.mesh(true)
	g.run(time.Second)
	g.beat = g.now.Add(time.Hour) // only those that are asked for
	n := g.nodes[0]
	n.said = 0
	for range 1000 {
		g.say(0, "busy")
		g.run(2 * time.Millisecond)
	}
	require.LessOrEqual(t, n.said, 11)
	require.GreaterOrEqual(t, n.said, 4)
	took := g.settle(time.Second)
	for g.now.Before(g.now.Add(time.Second)) {
		all := true
		for _, a := range g.nodes {
			for _, b := range g.nodes {
				d, ok := a.PeerDigest(b.name())
				all = all && ok && d == a.Digest()
			}
		}
		if all || took > time.Second {
			break
		}
		g.run(5 * time.Millisecond)
		took += 5 * time.Millisecond
	}
	require.LessOrEqual(t, took, 60*time.Millisecond, "all see that all have all")
}

// What a member held before it lost its memory counts no more.
func TestAFullAckReplacesAllBefore(t *testing.T) {
	m := benchLog(t, 0)
	x, y := Key{1}, Key{2}
	m.SetPeers(benchNow, []Key{m.self, x, y})
	fill(m, 3, 10)
	fill(m, 3, 10)
	w := m.Writer()
	ack := func(k Key, full bool, n uint64) {
		m.Step(benchNow, k, &Ack{Full: full, Tips: []Dot{{w, n}}})
	}
	ack(x, true, 2)
	ack(x, true, 1)
	ack(y, true, 2)
	require.EqualValues(t, 3, m.Stable(w))
	ack(x, false, 2)
	require.EqualValues(t, 6, m.Stable(w))
}

func TestNothingIsSentBeforeItIsStored(t *testing.T) {
	s := NewMemoryStore()
	m, err := NewMemory(Config{Key: testKey(1), Group: "test", Rand: source(1), Store: s})
	require.NoError(t, err)
	m.SetPeers(benchNow, []Key{{1}})
	m.Link(benchNow, Key{1}, true)
	for m.Next(benchNow, Key{1}) != nil {
	}
	m.Append(benchNow, []byte("x"))
	m.Flush(benchNow)
	require.Empty(t, s.recs)
	require.NotNil(t, m.Next(benchNow, Key{1}))
	require.Len(t, s.recs, 1)
	require.Equal(t, 1, s.synced, "own words survive a power failure")
}

// Where datagrams do not get through, Acks show what is missing: nobody says
// anything after what node 1 cannot hear from its author.
func TestAcksShowWhatIsMissing(t *testing.T) {
	g := newGroup(t, 3, 1)
	g.loss = 1
	g.link(0, 2, true)
	g.link(1, 2, true)
	g.run(20 * time.Millisecond)
	for i := range 3 {
		g.say(0, "anybody there?")
		g.run(time.Second)
		require.EqualValues(t, i+1, g.nodes[1].Len())
	}
}
