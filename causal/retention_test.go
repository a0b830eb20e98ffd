package causal

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// held is the memory that a log's frames take.
func (a *arena) held() (n int) {
	for _, c := range a.chunks {
		n += cap(c)
	}
	return n
}

// checkPruned compares a log that dropped payloads with one that did not.
func checkPruned(t require.TestingT, whole, pruned *Memory) (dropped int) {
	require.Equal(t, whole.Digest(), pruned.Digest())
	require.Equal(t, whole.Len(), pruned.Len())
	want := slices.Collect(whole.History(0, false))
	check := func(x Message) {
		w := want[x.Pos]
		require.Equal(t, w.ID, x.ID)
		require.Equal(t, w.Author, x.Author)
		require.Equal(t, w.Height, x.Height)
		if x.Data != nil && w.Data != nil {
			require.Equal(t, w.Data, x.Data)
		}
	}
	n := uint64(0)
	for x := range pruned.History(0, false) {
		require.Equal(t, n, x.Pos)
		n++
		check(x)
		if x.Data == nil {
			dropped++
		}
	}
	require.Equal(t, whole.Len(), n)
	for x := range pruned.History(n, true) {
		n--
		require.Equal(t, n, x.Pos)
		check(x)
	}
	require.Zero(t, n)
	for x := range pruned.Deliveries(0) {
		require.Equal(t, n, x.Index)
		n++
		check(x)
		y, ok := pruned.Lookup(x.ID)
		require.True(t, ok)
		require.Equal(t, x.ID, y.ID)
		if len(pruned.writers[pruned.byID[x.ID.Writer]].branches) == 0 {
			require.Equal(t, x, y)
		}
		if n%16 != 0 {
			continue
		}
		w, ok := pruned.Why(x.ID)
		require.True(t, ok)
		v, _ := whole.Why(x.ID)
		require.Equal(t, v.Block, w.Block)
		require.Equal(t, v.After, w.After)
		require.Equal(t, v.Concurrent, w.Concurrent)
	}
	require.Equal(t, whole.Len(), n)
	bytes := uint64(0)
	for i := range pruned.blocks.n {
		if b := pruned.blocks.at(i); b.flags&flagHollow == 0 {
			bytes += uint64(b.size - b.data)
		}
	}
	require.Equal(t, bytes, pruned.Stats().Bytes)
	return dropped
}

func TestI15PrunedNodesHaveOneDigest(t *testing.T) {
	total := 0
	schedules(t, 8, func(t require.TestingT, seed uint64) {
		g := chaos{nodes: 5, steps: 100, crashes: seed%2 == 1, setup: func(n *node, c *Config) {
			if n.i%2 == 1 {
				c.Retention.MaxBytes = int64(1 + 50*n.i)
			}
		}}.run(t, seed)
		g.heal(seed)
		for i := range g.nodes {
			g.say(i, "the last word")
		}
		g.heal(seed + 1)
		g.run(3 * time.Second)
		for _, n := range g.nodes[1:] {
			if n.i%2 == 1 {
				total += checkPruned(t, g.nodes[0].Memory, n.Memory)
			} else if seed%2 == 0 { // nobody lost what it held
				require.Equal(t, g.nodes[0].text(), n.text())
				require.Zero(t, checkPruned(t, g.nodes[0].Memory, n.Memory))
			}
		}

		// Who comes later takes over what there is, from one of either sort.
		for _, server := range []int{0, 1} {
			from := g.nodes[server].Memory
			j, err := NewMemory(Config{Key: testKey(9), Group: "test", Rand: source(seed)})
			require.NoError(t, err)
			join(t, g.now, from, j)
			want := checkPruned(t, g.nodes[0].Memory, j)
			require.Equal(t, checkPruned(t, g.nodes[0].Memory, from), want)
			require.Empty(t, j.Stats().Refused)

			// And gives it on: a log that has everything of this one's is
			// served nothing, and one that has nothing all.
			k, err := NewMemory(Config{Key: testKey(8), Group: "test", Rand: source(seed)})
			require.NoError(t, err)
			join(t, g.now, j, k)
			require.Equal(t, want, checkPruned(t, g.nodes[0].Memory, k))
		}
	})
	require.Positive(t, total)
}

// join links two logs of which one has nothing, until nothing is under way.
func join(t require.TestingT, now time.Time, a, b *Memory) {
	for _, l := range [][2]*Memory{{a, b}, {b, a}} {
		l[0].SetPeers(now, []Key{a.self, b.self})
		l[0].Link(now, l[1].self, false)
		l[0].Link(now, l[1].self, true)
	}
	exchange(a, b)
	require.Equal(t, a.Digest(), b.Digest())
}

// solo returns a log with the given retention and nobody beside it.
func solo(t require.TestingT, r Retention, s Store) *Memory {
	m, err := NewMemory(Config{Key: testKey(0), Group: "test", Rand: source(1), Retention: r, Store: s})
	require.NoError(t, err)
	m.SetPeers(benchNow, []Key{m.self})
	return m
}

func TestRetentionFreesMemory(t *testing.T) {
	const limit = 2 << 20
	m := solo(t, Retention{MaxBytes: limit}, nil)
	data := make([]byte, 1000)
	for i := range 40_000 {
		_, err := m.Append(benchNow, data)
		require.NoError(t, err)
		if i%100 == 99 {
			require.NoError(t, m.Flush(benchNow))
			m.Ready()
			require.LessOrEqual(t, m.Stats().Bytes, uint64(limit+limit/8+2*sweepBytes))
			require.LessOrEqual(t, m.arena.held(), limit+limit/8+5<<20)
		}
	}
	require.EqualValues(t, 40_000, m.Len())
	m.Tick(benchNow.Add(time.Second))
	require.LessOrEqual(t, m.Stats().Bytes, uint64(limit))
	require.Greater(t, m.Stats().Bytes, uint64(limit-100_000))
	require.True(t, m.Deadline().IsZero(), "there is nothing to wait for")

	// Large messages, which have chunks of their own, go too.
	for range 20 {
		_, err := m.Append(benchNow.Add(time.Minute), make([]byte, 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, m.Flush(benchNow.Add(time.Minute)))
	m.Tick(benchNow.Add(2 * time.Minute))
	require.LessOrEqual(t, m.Stats().Bytes, uint64(limit))
	require.LessOrEqual(t, m.arena.held(), limit+4<<20)
}

func TestRetentionByAge(t *testing.T) {
	m := solo(t, Retention{MaxAge: time.Hour}, nil)
	now := benchNow
	for range 100 {
		_, err := m.Append(now, []byte("said"))
		require.NoError(t, err)
		require.NoError(t, m.Flush(now))
		now = now.Add(time.Minute)
		for d := m.Deadline(); !d.IsZero() && d.Before(now); d = m.Deadline() {
			m.Tick(d)
			require.True(t, m.Deadline().IsZero() || m.Deadline().After(d))
		}
		for x := range m.History(0, false) {
			age := now.Sub(x.Wall)
			require.Equal(t, age > time.Hour, x.Data == nil, "%v", age)
		}
	}
	for wakes := 0; !m.Deadline().IsZero(); wakes++ {
		require.Less(t, wakes, 200)
		m.Tick(m.Deadline())
	}
	require.Zero(t, m.Stats().Bytes)
}

func TestRetentionWaitsForMembers(t *testing.T) {
	g := newGroup(t, 3, 1)
	for _, n := range g.nodes {
		n.cfg.Retention = Retention{MaxBytes: 1}
	}
	g.mesh(true)
	g.run(time.Second)
	for _, i := range []int{0, 1} {
		g.link(i, 2, false)
	}
	for i := range 20 {
		g.say(i%2, fmt.Sprint("while one is away ", i))
		g.run(500 * time.Millisecond)
	}
	for _, n := range g.nodes[:2] {
		for x := range n.History(0, false) {
			require.NotNil(t, x.Data, "a member lacks it")
		}
	}
	g.mesh(true)
	g.settle(time.Minute)
	g.say(2, "above all that")
	g.run(5 * time.Second)
	for _, n := range g.nodes {
		require.EqualValues(t, 21, n.Len())
		for x := range n.History(0, false) {
			if x.Pos < 18 {
				require.Nil(t, x.Data, "at %d", x.Pos)
			}
		}
	}
	// Nobody was served less than all.
	index := 0
	for x := range g.nodes[2].Deliveries(0) {
		require.EqualValues(t, index, x.Index)
		index++
	}
	require.Empty(t, g.nodes[2].Stats().Refused["no_payload"])
}

func TestRetentionWaitsForAcks(t *testing.T) {
	m := solo(t, Retention{MaxBytes: 1}, nil)
	f := newForger(testKey(5), "test", 1)
	author := keyOf(f.key.Public().(ed25519.PublicKey))
	m.SetPeers(benchNow, []Key{m.self, author})
	m.Link(benchNow, author, true)
	own, err := m.Append(benchNow, []byte("not there yet"))
	require.NoError(t, err)
	require.NoError(t, m.Flush(benchNow))
	raw, a := f.block(body{}, "first")
	second, b := f.block(a.after(), "second")
	m.Step(benchNow, author, &Blocks{Frames: [][]byte{raw, second}})
	m.Step(benchNow, author, &Beat{Count: 2, Height: 2, Heads: []Ref{b.ref()}, Writer: b.writer})
	m.Tick(benchNow.Add(time.Minute))
	require.Equal(t, m.Len(), m.Final(), "the member will write above all that")
	x, _ := m.Lookup(own)
	require.NotNil(t, x.Data, "but it lacks this")
	x, _ = m.Lookup(MessageID{b.writer, 2})
	require.Nil(t, x.Data)
	m.Step(benchNow, author, &Ack{Tips: []Dot{{own.Writer, 1}}})
	m.Tick(benchNow.Add(2 * time.Minute))
	x, _ = m.Lookup(own)
	require.Nil(t, x.Data)
}

func TestRetentionOfWhatComesLate(t *testing.T) {
	g := newGroup(t, 2, 3)
	g.nodes[0].cfg.Retention = Retention{MaxBytes: 40}
	for i := range 30 { // apart, each for itself
		g.nodes[0].SetPeers(g.now, g.members()[:1])
		g.nodes[1].SetPeers(g.now, g.members()[1:])
		g.say(i%2, fmt.Sprintf("%2d: ten bytes", i))
		g.say(0, "twice as high")
		g.run(time.Second)
	}
	require.NotZero(t, g.nodes[0].kept.heights)
	for i := range g.nodes {
		g.nodes[i].SetPeers(g.now, g.members())
	}
	g.mesh(true)
	g.settle(time.Minute)
	for i := range 4 {
		g.say(i%2, "together")
		g.run(3 * time.Second)
	}
	require.LessOrEqual(t, g.nodes[0].Stats().Bytes, uint64(60))
	require.LessOrEqual(t, len(g.nodes[0].kept.late), 1)
	require.Equal(t, g.nodes[0].Digest(), g.nodes[1].Digest())
}

func TestRetentionGoesOnBesideAFork(t *testing.T) {
	m := solo(t, Retention{MaxBytes: 30}, nil)
	f := newForger(testKey(5), "test", 1)
	raw, a := f.block(body{}, "first")
	one, _ := f.block(a.after(), "one branch")
	two, _ := f.block(a.after(), "another branch")
	m.Step(benchNow, keyOf(f.key.Public().(ed25519.PublicKey)), &Blocks{Frames: [][]byte{raw, one, two}})
	require.EqualValues(t, 3, m.Len())
	for range 10 {
		_, err := m.Append(benchNow, []byte("and after that"))
		require.NoError(t, err)
		require.NoError(t, m.Flush(benchNow))
	}
	m.Tick(benchNow.Add(time.Minute))
	require.LessOrEqual(t, m.Stats().Bytes, uint64(30))
}

func TestHollowBlocksAreTakenByPullsOnly(t *testing.T) {
	f := newForger(testKey(5), "test", 1)
	raw, a := f.block(body{}, "first")
	second, b := f.block(a.after(), "second")
	merge, _ := f.block(b.after())
	author := keyOf(f.key.Public().(ed25519.PublicKey))
	forged := slices.Clone(hollow(second))
	forged[len(forged)-1] ^= 1 // another payload than the one that is signed
	long := append(slices.Clone(hollow(second)), 0)

	start := func() *Memory {
		m := solo(t, Retention{}, nil)
		m.SetPeers(benchNow, []Key{m.self, author})
		m.Link(benchNow, author, true)
		for m.Next(benchNow, author) != nil {
		}
		return m
	}
	// ask makes the log ask, and returns the Pull.
	ask := func(m *Memory) *Pull {
		m.Step(benchNow, author, &Beat{Count: 3, Height: 3, Heads: []Ref{b.ref()}, Writer: b.writer})
		for {
			switch p := m.Next(benchNow, author).(type) {
			case *Pull:
				return p
			case nil:
				require.Fail(t, "no Pull")
			}
		}
	}
	for name, msg := range map[string]func(p *Pull) Protocol{
		"Blocks": func(*Pull) Protocol { return &Blocks{Frames: [][]byte{hollow(raw), hollow(second)}} },
		"another session": func(p *Pull) Protocol {
			return &Batch{Session: p.Session + 1, Frames: [][]byte{hollow(raw), hollow(second)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := start()
			m.Step(benchNow, author, msg(ask(m)))
			require.Zero(t, m.Len())
			require.EqualValues(t, 2, m.Stats().Refused["no_payload"])
		})
	}
	t.Run("unasked", func(t *testing.T) {
		m := start()
		m.Step(benchNow, author, &Blocks{Frames: [][]byte{hollow(raw)}})
		require.Zero(t, m.Len())
		m.Tick(benchNow.Add(time.Second))
		_, ok := m.Next(benchNow.Add(time.Second), author).(*Pull)
		require.True(t, ok, "what comes without its payload is pulled")
	})
	t.Run("bad ones", func(t *testing.T) {
		m := start()
		s := ask(m).Session
		m.Step(benchNow, author, &Batch{Session: s, More: true, Frames: [][]byte{hollow(raw), forged, long, hollow(merge)}})
		require.EqualValues(t, 1, m.Len())
		require.EqualValues(t, 1, m.Stats().Refused["signature"])
		require.EqualValues(t, 2, m.Stats().Refused["malformed"])
	})
	t.Run("good ones", func(t *testing.T) {
		m := start()
		s := ask(m).Session
		// The second waits for the first.
		m.Step(benchNow, author, &Batch{Session: s, More: true, Frames: [][]byte{hollow(second), hollow(raw), merge}})
		require.EqualValues(t, 2, m.Len())
		require.Empty(t, m.Stats().Refused)
		for x := range m.History(0, false) {
			require.Nil(t, x.Data)
		}
		require.Zero(t, m.Stats().Bytes)
		_, ok := m.Why(MessageID{b.writer, 2})
		require.True(t, ok)

		whole := start()
		whole.Step(benchNow, author, &Blocks{Frames: [][]byte{raw, second, merge}})
		require.Equal(t, whole.Digest(), m.Digest())
	})
}

func TestReopeningAPrunedStore(t *testing.T) {
	s := NewMemoryStore()
	r := Retention{MaxBytes: 200_000}
	now := benchNow
	var digest Digest
	for run := range 4 {
		m := solo(t, r, s)
		if run > 0 {
			require.Equal(t, digest, m.Digest())
			require.Zero(t, m.Loaded().Dropped)
			require.LessOrEqual(t, m.Stats().Bytes, uint64(r.MaxBytes))
		}
		for range 1500 {
			_, err := m.Append(now, []byte(strings.Repeat("x", 1000)))
			require.NoError(t, err)
		}
		require.NoError(t, m.Flush(now))
		m.Tick(now.Add(10 * time.Second))
		require.LessOrEqual(t, m.Stats().Bytes, uint64(r.MaxBytes))
		digest = m.Digest()
		for x := range m.History(m.Len(), true) {
			require.NotNil(t, x.Data)
			if x.Pos < m.Len()-50 {
				break
			}
		}
		require.NoError(t, m.Close())
		size := 0
		for _, rec := range s.recs {
			size += len(rec.Frame)
		}
		require.LessOrEqual(t, size, 300_000)
		now = now.Add(time.Hour)
	}

	// A damaged record is not made up for by dropping more than there is to
	// be: what is held stays.
	s.recs[3].Frame = []byte("damaged")
	m := solo(t, r, s)
	require.NotZero(t, m.Loaded().Dropped)
	for range 3000 {
		_, err := m.Append(now, []byte(strings.Repeat("y", 1000)))
		require.NoError(t, err)
	}
	require.NoError(t, m.Flush(now))
	m.Tick(now.Add(10 * time.Second))
	want := m.Stats().Bytes
	require.NoError(t, m.Close())
	m = solo(t, Retention{}, s)
	require.GreaterOrEqual(t, m.Stats().Bytes, want)
	require.NoError(t, m.Close())

	// By age it is what the Store's messages say, but no later than now.
	m, err := NewMemory(Config{Key: testKey(0), Group: "test", Rand: source(1), Retention: Retention{MaxAge: time.Hour}, Store: s})
	require.NoError(t, err)
	m.Tick(now.Add(30 * time.Minute))
	require.NotZero(t, m.Stats().Bytes)
	m.Tick(now.Add(2 * time.Hour))
	require.Zero(t, m.Stats().Bytes)
	require.NoError(t, m.Close())
}

func TestRetentionReportsAStoreThatFails(t *testing.T) {
	s := NewMemoryStore()
	m := solo(t, Retention{MaxBytes: 1}, s)
	for range 10_000 {
		_, err := m.Append(benchNow, make([]byte, 1000))
		require.NoError(t, err)
	}
	require.NoError(t, m.Flush(benchNow))
	require.NoError(t, m.Ready().Err)
	s.Fail(ErrFormat)
	m.Tick(benchNow.Add(time.Minute))
	_, err := m.Append(benchNow.Add(time.Minute), make([]byte, 5_000_000/5))
	require.NoError(t, err)
	require.NoError(t, m.Flush(benchNow.Add(time.Minute)))
	m.Tick(benchNow.Add(2 * time.Minute))
	require.ErrorIs(t, m.Ready().Err, ErrFormat)
}

func TestStripLeavesWhatIsNoBlock(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	f := newForger(testKey(5), "test", 1)
	raw, a := f.block(body{}, "first")
	merge, _ := f.block(a.after())
	for _, b := range [][]byte{nil, {}, {0}, {1}, merge, hollow(raw), raw[:frameHead], raw[:frameHead+5]} {
		require.Equal(t, b, strip(b))
	}
	require.Equal(t, hollow(raw), strip(raw))
	for range 2000 {
		b := slices.Clone(raw[:rng.IntN(len(raw)+1)])
		for range rng.IntN(4) {
			if len(b) > 0 {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
		}
		require.LessOrEqual(t, len(strip(b)), len(b)+32)
	}
}
