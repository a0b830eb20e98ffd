package causaltest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/causal"
)

// RunLog holds a Log to its contract. factory makes a log of a Config with a
// key, a group and a source of randomness, and without a Store.
func RunLog(t *testing.T, factory func(cfg causal.Config) (causal.Log, error)) {
	tests := []struct {
		name string
		run  func(t *testing.T, g *group)
	}{
		{"append", testLogAppend},
		{"data is copied", testLogCopies},
		{"a block closes by itself", testLogDeadline},
		{"limits", testLogLimits},
		{"two converge", testLogTwo},
		{"many converge", testLogMany},
		{"an answer follows its question", testLogCausal},
		{"a late joiner takes over", testLogLate},
		{"a broken stream loses nothing", testLogBroken},
		{"history by page", testLogPages},
		{"lookup", testLogLookup},
		{"stable", testLogStable},
		{"final", testLogFinal},
		{"what peers hold", testLogPeerDigest},
		{"insertions", testLogInsertions},
		{"changes", testLogChanges},
		{"repetitions", testLogRepeats},
		{"garbage", testLogGarbage},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			x.run(t, &group{t: t, factory: factory, rng: rand.New(rand.NewPCG(1, 2)), now: time.Unix(1_700_000_000, 0)})
		})
	}
}

// group is some logs in virtual time, on streams that take a millisecond.
type group struct {
	t       *testing.T
	factory func(causal.Config) (causal.Log, error)
	rng     *rand.Rand
	now     time.Time
	nodes   []*node
	flight  []message
	sent    []message
	beat    time.Time
}

type node struct {
	causal.Log
	key   causal.Key
	links map[*node]int
	ready []causal.Ready
}

type message struct {
	at       time.Time
	from, to *node
	stream   int // 0 is a datagram
	msg      causal.Protocol
}

// start makes n logs that take each other for members.
func (g *group) start(n int) []*node {
	var keys []causal.Key
	for range n {
		i := len(g.nodes)
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, ed25519.SeedSize))
		log, err := g.factory(causal.Config{Key: key, Group: "conformance", Rand: rand.NewChaCha8([32]byte{byte(i)})})
		require.NoError(g.t, err)
		sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
		g.nodes = append(g.nodes, &node{Log: log, key: causal.Key(sum[:16]), links: make(map[*node]int)})
	}
	for _, x := range g.nodes {
		keys = append(keys, x.key)
	}
	for _, x := range g.nodes {
		x.SetPeers(g.now, keys)
		g.take(x)
	}
	return g.nodes
}

func (g *group) link(a, b *node, up bool) {
	stream := len(g.sent) + 1
	for _, d := range [][2]*node{{a, b}, {b, a}} {
		delete(d[0].links, d[1])
		if up {
			d[0].links[d[1]] = stream
		}
		d[0].Link(g.now, d[1].key, up)
		g.take(d[0])
	}
}

func (g *group) mesh() {
	for i, a := range g.nodes {
		for _, b := range g.nodes[:i] {
			g.link(a, b, true)
		}
	}
}

func (g *group) send(m message) {
	m.at = g.now.Add(time.Millisecond)
	g.flight = append(g.flight, m)
	g.sent = append(g.sent, m)
}

// take does what a log wants done.
func (g *group) take(n *node) {
	r := n.Ready()
	require.NoError(g.t, r.Err)
	peers := slices.Clone(r.Peers)
	r.Peers, r.Stable = nil, slices.Clone(r.Stable)
	n.ready = append(n.ready, r)
	if r.SendBeat {
		g.announce(n)
	}
	for _, o := range g.nodes {
		if stream := n.links[o]; stream > 0 && slices.Contains(peers, o.key) {
			for m := n.Next(g.now, o.key); m != nil; m = n.Next(g.now, o.key) {
				g.send(message{from: n, to: o, stream: stream, msg: m})
			}
		}
	}
}

func (g *group) announce(n *node) {
	b := n.Beat(g.now)
	for _, o := range g.nodes {
		if o != n {
			g.send(message{from: n, to: o, msg: b})
		}
	}
}

// run lets virtual time pass, a tenth of a millisecond at a time.
func (g *group) run(d time.Duration) {
	for end := g.now.Add(d); g.now.Before(end); g.now = g.now.Add(100 * time.Microsecond) {
		for len(g.flight) > 0 && !g.flight[0].at.After(g.now) {
			m := g.flight[0]
			g.flight = g.flight[1:]
			if m.stream == 0 || m.from.links[m.to] == m.stream {
				m.to.Step(g.now, m.from.key, m.msg)
				g.take(m.to)
			}
		}
		for _, n := range g.nodes {
			if t := n.Deadline(); !t.IsZero() && !t.After(g.now) {
				n.Tick(g.now)
				g.take(n)
			}
		}
		if !g.beat.After(g.now) {
			g.beat = g.now.Add(time.Second)
			for _, n := range g.nodes {
				g.announce(n)
			}
		}
	}
}

// settle lets time pass until all hold the same, at most max.
func (g *group) settle(max time.Duration) {
	for end := g.now.Add(max); ; g.run(5 * time.Millisecond) {
		same := true
		for _, n := range g.nodes {
			same = same && n.Digest() == g.nodes[0].Digest()
		}
		if same {
			break
		}
		require.True(g.t, g.now.Before(end), "no convergence after %v", max)
	}
	for _, n := range g.nodes {
		require.Equal(g.t, history(g.nodes[0]), history(n))
		require.Equal(g.t, n.Len(), n.Digest().Messages)
	}
}

func (g *group) say(n *node, text ...string) causal.MessageID {
	var data [][]byte
	for _, s := range text {
		data = append(data, []byte(s))
	}
	id, err := n.Append(g.now, data...)
	require.NoError(g.t, err)
	require.NoError(g.t, n.Flush(g.now))
	g.take(n)
	return id
}

func history(l causal.Log) (all []string) {
	for m := range l.History(0, false) {
		all = append(all, fmt.Sprint(m.ID, " ", string(m.Data)))
	}
	return all
}

func texts(l causal.Log) (all []string) {
	for m := range l.Deliveries(0) {
		all = append(all, string(m.Data))
	}
	return all
}

func testLogAppend(t *testing.T, g *group) {
	n := g.start(1)[0]
	require.Zero(t, n.Len())
	require.Zero(t, n.Digest())
	first := g.say(n, "a", "b")
	require.Equal(t, causal.MessageID{Writer: n.Writer(), N: 1}, first)
	require.EqualValues(t, 3, g.say(n, "", "d").N)
	require.EqualValues(t, 4, n.Len())
	require.Equal(t, []string{"a", "b", "", "d"}, texts(n))
	i := uint64(0)
	for m := range n.Deliveries(0) {
		require.Equal(t, i, m.Index)
		require.Equal(t, i, m.Pos)
		require.Equal(t, causal.MessageID{Writer: n.Writer(), N: i + 1}, m.ID)
		require.Equal(t, n.key, m.Author)
		require.True(t, m.Own)
		require.False(t, m.Backlog)
		require.False(t, m.Inserted)
		require.NotNil(t, m.Data)
		require.Equal(t, g.now.UnixMilli(), m.Wall.UnixMilli())
		i++
	}
	require.NotEqual(t, causal.Digest{}, n.Digest())
}

func testLogCopies(t *testing.T, g *group) {
	n := g.start(1)[0]
	b := []byte("before")
	_, err := n.Append(g.now, b)
	require.NoError(t, err)
	copy(b, "after!")
	require.NoError(t, n.Flush(g.now))
	require.Equal(t, []string{"before"}, texts(n))
}

func testLogDeadline(t *testing.T, g *group) {
	n := g.start(1)[0]
	_, err := n.Append(g.now, []byte("soon"))
	require.NoError(t, err)
	require.False(t, n.Deadline().IsZero())
	require.False(t, n.Deadline().After(g.now.Add(100*time.Millisecond)))
	g.run(100 * time.Millisecond)
	require.Equal(t, []string{"soon"}, texts(n))
}

func testLogLimits(t *testing.T, g *group) {
	n := g.start(1)[0]
	_, err := n.Append(g.now, []byte("fine"), make([]byte, causal.MaxMessage+1))
	require.ErrorIs(t, err, causal.ErrTooLarge)
	require.NoError(t, n.Flush(g.now))
	require.Zero(t, n.Len(), "all or nothing")
	g.say(n, string(make([]byte, causal.MaxMessage)))
	require.EqualValues(t, 1, n.Len())
	require.NoError(t, n.Close())
	_, err = n.Append(g.now, []byte("late"))
	require.ErrorIs(t, err, causal.ErrClosed)
}

func testLogTwo(t *testing.T, g *group) {
	n := g.start(2)
	g.mesh()
	g.run(10 * time.Millisecond)
	for i := range 10 {
		g.say(n[i%2], fmt.Sprint(i))
		g.run(2 * time.Millisecond)
	}
	g.settle(time.Second)
	require.EqualValues(t, 10, n[0].Len())
}

func testLogMany(t *testing.T, g *group) {
	n := g.start(5)
	g.mesh()
	large := string(make([]byte, 40_000))
	for i := range 100 {
		text := fmt.Sprint(i)
		if i%10 == 0 {
			text += large
		}
		g.say(n[g.rng.IntN(5)], text)
		if g.rng.IntN(3) == 0 {
			g.run(time.Duration(g.rng.IntN(3)) * time.Millisecond)
		}
	}
	g.settle(5 * time.Second)
	require.EqualValues(t, 100, n[0].Len())
	for _, x := range n {
		next := make(map[causal.WriterID]uint64)
		for m := range x.Deliveries(0) {
			next[m.ID.Writer]++
			require.Equal(t, next[m.ID.Writer], m.ID.N, "an author's messages come in order, without a hole")
		}
	}
}

func testLogCausal(t *testing.T, g *group) {
	n := g.start(3)
	g.link(n[0], n[1], true)
	g.link(n[1], n[2], true) // 0 and 2 do not hear each other
	g.run(10 * time.Millisecond)
	for i := range 5 {
		g.say(n[0], fmt.Sprint("question ", i))
		g.run(5 * time.Millisecond)
		require.Contains(t, texts(n[1]), fmt.Sprint("question ", i))
		g.say(n[1], fmt.Sprint("answer ", i))
		g.run(5 * time.Millisecond)
	}
	g.settle(10 * time.Second)
	for _, x := range n {
		for _, all := range [][]string{texts(x), func() (h []string) {
			for m := range x.History(0, false) {
				h = append(h, string(m.Data))
			}
			return
		}()} {
			for i := range 5 {
				require.Less(t, slices.Index(all, fmt.Sprint("question ", i)), slices.Index(all, fmt.Sprint("answer ", i)))
			}
		}
	}
}

func testLogLate(t *testing.T, g *group) {
	n := g.start(3)
	g.link(n[0], n[1], true)
	for i := range 500 {
		g.say(n[i%2], fmt.Sprint(i))
		if i%5 == 0 {
			g.run(time.Millisecond)
		}
	}
	g.run(100 * time.Millisecond)
	g.link(n[2], n[0], true)
	g.link(n[2], n[1], true)
	g.settle(5 * time.Second)
	g.say(n[0], "live")
	g.run(50 * time.Millisecond)
	for m := range n[2].Deliveries(0) {
		require.Equal(t, string(m.Data) != "live", m.Backlog)
	}
	synced := 0
	for _, r := range n[2].ready {
		if r.Synced {
			synced++
		}
	}
	require.Equal(t, 1, synced)
}

func testLogBroken(t *testing.T, g *group) {
	n := g.start(2)
	g.link(n[0], n[1], true)
	g.run(10 * time.Millisecond)
	for i := range 30 {
		g.say(n[i%2], fmt.Sprint(i))
		if i%3 == 0 { // what was just said is lost
			g.link(n[0], n[1], false)
			g.run(3 * time.Millisecond)
			g.link(n[0], n[1], true)
		}
		g.run(time.Millisecond)
	}
	g.settle(10 * time.Second)
	require.EqualValues(t, 30, n[0].Len())
}

func testLogPages(t *testing.T, g *group) {
	n := g.start(3)
	g.mesh()
	for i := range 60 {
		var many []string
		for k := range 1 + g.rng.IntN(5) {
			many = append(many, fmt.Sprint(i, "-", k))
		}
		g.say(n[i%3], many...)
		g.run(time.Duration(g.rng.IntN(20)) * 100 * time.Microsecond)
	}
	g.settle(5 * time.Second)
	all := slices.Collect(n[0].History(0, false))
	require.EqualValues(t, n[0].Len(), len(all))
	for pos := range uint64(len(all)) + 2 {
		cut := min(pos, uint64(len(all)))
		require.Equal(t, all[cut:], append([]causal.Message{}, slices.Collect(n[0].History(pos, false))...))
		down := slices.Collect(n[0].History(pos, true))
		slices.Reverse(down)
		require.Equal(t, all[:cut], append([]causal.Message{}, down...))
		delivered := slices.Collect(n[0].Deliveries(pos))
		require.Len(t, delivered, len(all)-int(cut))
		for i, m := range delivered {
			require.Equal(t, cut+uint64(i), m.Index)
			require.Equal(t, all[m.Pos], m)
		}
	}
	for m := range n[0].History(5, false) { // a loop may end early
		require.EqualValues(t, 5, m.Pos)
		break
	}
}

func testLogLookup(t *testing.T, g *group) {
	n := g.start(2)
	g.mesh()
	id := g.say(n[0], "a", "b", "c")
	g.settle(time.Second)
	for _, x := range n {
		for i, want := range []string{"a", "b", "c"} {
			m, ok := x.Lookup(causal.MessageID{Writer: id.Writer, N: id.N + uint64(i)})
			require.True(t, ok)
			require.Equal(t, want, string(m.Data))
		}
		for _, id := range []causal.MessageID{{}, {Writer: id.Writer}, {Writer: id.Writer, N: 4}, {Writer: causal.WriterID{1}, N: 1}} {
			_, ok := x.Lookup(id)
			require.False(t, ok)
		}
	}
}

func testLogStable(t *testing.T, g *group) {
	n := g.start(3)
	g.link(n[0], n[1], true)
	id := g.say(n[0], "a", "b")
	g.run(500 * time.Millisecond)
	require.Zero(t, n[0].Stable(id.Writer), "one member has not got it")
	g.link(n[2], n[0], true)
	g.link(n[2], n[1], true)
	g.run(500 * time.Millisecond)
	for _, x := range n {
		require.EqualValues(t, 2, x.Stable(id.Writer))
		told := uint64(0)
		for _, r := range x.ready {
			for _, s := range r.Stable {
				require.Equal(t, id.Writer, s.Writer)
				require.Greater(t, s.N, told)
				told = s.N
			}
		}
		require.EqualValues(t, 2, told)
	}
	require.Zero(t, n[0].Stable(causal.WriterID{1}))
}

func testLogFinal(t *testing.T, g *group) {
	n := g.start(3)
	g.mesh()
	kept := make(map[*node][]string)
	for i := range 60 {
		g.say(n[i%3], fmt.Sprint(i))
		g.run(time.Duration(g.rng.IntN(100)) * time.Millisecond)
		for _, x := range n {
			final := x.Final()
			require.LessOrEqual(t, final, x.Len())
			require.GreaterOrEqual(t, final, uint64(len(kept[x])))
			h := history(x)
			require.Equal(t, kept[x], append([]string(nil), h[:len(kept[x])]...))
			kept[x] = h[:final]
		}
	}
	g.run(3 * time.Second)
	for _, x := range n {
		require.Equal(t, x.Len(), x.Final())
	}
}

func testLogPeerDigest(t *testing.T, g *group) {
	n := g.start(3)
	_, ok := n[0].PeerDigest(causal.Key{1})
	require.False(t, ok)
	g.mesh()
	g.say(n[0], "a")
	g.run(2 * time.Second)
	for _, x := range n {
		for _, y := range n {
			d, ok := x.PeerDigest(y.key)
			require.True(t, ok)
			require.Equal(t, n[0].Digest(), d)
		}
	}
}

func testLogInsertions(t *testing.T, g *group) {
	n := g.start(2)
	for i := range 20 { // apart
		g.say(n[i%2], fmt.Sprint(i))
		g.run(time.Millisecond)
	}
	mark := len(n[0].ready)
	before := history(n[0])
	g.mesh()
	g.settle(time.Second)
	from, count := n[0].Len(), uint64(0)
	for _, r := range n[0].ready[mark:] {
		if r.Inserted > 0 {
			from = min(from, r.InsertedAt)
			count += r.Inserted
		}
	}
	after := history(n[0])
	require.Equal(t, before[:from], after[:from], "before InsertedAt nothing has changed")
	marked := uint64(0)
	for m := range n[0].Deliveries(10) {
		if m.Inserted {
			marked++
		}
	}
	require.Equal(t, count, marked)
	require.NotZero(t, marked)
}

// Who cuts its copy of the history where Changes says, and reads on, has the
// history; and each message comes to it once by its mark.
func testLogChanges(t *testing.T, g *group) {
	n := g.start(3)
	type reader struct {
		mark causal.Mark
		copy []causal.MessageID
		seen map[causal.MessageID]int
	}
	readers := make(map[*node]*reader)
	for _, x := range n {
		readers[x] = &reader{seen: make(map[causal.MessageID]int)}
	}
	look := func() {
		for _, x := range n {
			r := readers[x]
			if g.rng.IntN(3) == 0 {
				continue
			}
			pos, now := x.Changes(r.mark)
			require.LessOrEqual(t, pos, x.Len())
			require.LessOrEqual(t, pos, uint64(len(r.copy)))
			for m := range x.Deliveries(r.mark.Index) {
				r.seen[m.ID]++
				require.GreaterOrEqual(t, m.Pos, pos)
			}
			r.mark, r.copy = now, r.copy[:pos]
			for m := range x.History(pos, false) {
				r.copy = append(r.copy, m.ID)
			}
			i := 0
			for m := range x.History(0, false) {
				require.Equal(t, m.ID, r.copy[i])
				require.Equal(t, 1, r.seen[m.ID])
				i++
			}
			require.Len(t, r.copy, i)
			again, same := x.Changes(now)
			require.Equal(t, now, same)
			require.Equal(t, x.Len(), again)
		}
	}
	for i := range 120 {
		if i%10 == 0 {
			g.link(n[g.rng.IntN(2)], n[2], i%20 == 0)
		}
		if i == 40 || i == 80 {
			g.link(n[0], n[1], i == 40)
		}
		g.say(n[i%3], fmt.Sprint(i), "and")
		g.run(time.Millisecond)
		look()
	}
	g.mesh()
	g.settle(time.Second)
	look()
}

func testLogRepeats(t *testing.T, g *group) {
	n := g.start(3)
	g.mesh()
	for i := range 30 {
		g.say(n[i%3], fmt.Sprint(i))
		g.run(time.Millisecond)
	}
	g.settle(time.Second)
	digest, delivered := n[0].Digest(), texts(n[0])
	old := slices.Clone(g.sent)
	g.rng.Shuffle(len(old), func(i, j int) { old[i], old[j] = old[j], old[i] })
	for _, m := range old {
		if m.to == n[0] {
			n[0].Step(g.now, m.from.key, m.msg)
			g.take(n[0])
		}
	}
	require.Equal(t, digest, n[0].Digest())
	require.Equal(t, delivered, texts(n[0]))
	g.say(n[1], "and on")
	g.settle(10 * time.Second)
	require.EqualValues(t, 31, n[0].Len())
}

func testLogGarbage(t *testing.T, g *group) {
	n := g.start(2)
	g.mesh()
	for i := range 10 {
		g.say(n[i%2], fmt.Sprint(i))
		g.run(time.Millisecond)
	}
	g.settle(time.Second)
	digest := n[0].Digest()
	var frames [][]byte
	for _, m := range g.sent {
		if b, ok := m.msg.(*causal.Blocks); ok {
			for _, f := range b.Frames {
				f = bytes.Clone(f)
				f[g.rng.IntN(len(f))] ^= 1 << g.rng.IntN(8)
				frames = append(frames, f, f[:g.rng.IntN(len(f))], nil)
			}
		}
	}
	require.NotEmpty(t, frames)
	for _, m := range []causal.Protocol{
		nil, &causal.Blocks{Frames: frames}, &causal.Batch{Frames: frames}, &causal.Batch{Session: 1, Frames: frames, More: true},
		&causal.Fork{A: frames[0], B: frames[1]}, &causal.Fork{}, &causal.Credit{Session: 1, Bytes: 1<<32 - 1},
		&causal.Want{Spans: []causal.Span{{From: 1, To: 1<<64 - 1}, {Writer: n[0].Writer(), From: 0, To: 1<<64 - 1}}},
		&causal.Ack{Full: true, Height: 1<<64 - 1, Tips: []causal.Dot{{Writer: n[0].Writer(), N: 1<<64 - 1}}},
		&causal.Pull{Tips: []causal.Tip{{Writer: n[0].Writer(), N: 1<<64 - 1}}, Credit: 1<<32 - 1},
	} {
		for _, from := range []causal.Key{n[1].key, n[0].key, {9}} {
			n[0].Step(g.now, from, m)
			g.take(n[0])
		}
	}
	require.Equal(t, digest, n[0].Digest())
	require.NotEmpty(t, n[0].Stats().Refused)
	g.say(n[0], "unharmed")
	g.say(n[1], "unharmed")
	g.settle(20 * time.Second)
}
