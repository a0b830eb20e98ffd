package causal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-885536be/p2p/internal/codec"
)

// group is a number of logs on a simulated network, in virtual time: streams
// that can break and lose what is under way, and datagrams that get lost.
type group struct {
	t      require.TestingT
	rng    *rand.Rand
	now    time.Time
	nodes  []*node
	loss   float64 // of datagrams
	delay  time.Duration
	queue  []event
	seq    int
	check  func(n *node) // after every input to a node
	setup  func(n *node, c *Config)
	seen   []event // some of what was sent, to be sent again
	beat   time.Time
	ranged bool // compare ranges always, and in small pieces
}

type node struct {
	*Memory
	i     int
	key   ed25519.PrivateKey
	store *MemoryStore
	copy  *MemoryStore // of the store at some time before
	up    bool
	links map[int]*stream // to
	ready []Ready
	ids   []MessageID // what Append returned
	said  int
}

// stream is one direction of a connection.
type stream struct {
	to    int
	epoch int
	busy  time.Time
}

type event struct {
	at    time.Time
	seq   int
	from  int
	to    int
	epoch int // of the stream; -1 for a datagram
	msg   Protocol
}

func testKey(i int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, uint64(i)+1)
	return ed25519.NewKeyFromSeed(seed)
}

// source is an endless io.Reader of seeded randomness.
func source(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

func newGroup(t require.TestingT, n int, seed uint64) *group {
	g := &group{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_700_000_000, 0), delay: time.Millisecond}
	for i := range n {
		g.nodes = append(g.nodes, &node{i: i, key: testKey(i), links: make(map[int]*stream)})
	}
	for i := range n {
		g.start(i, nil)
	}
	return g
}

// start gives a node a new log.
func (g *group) start(i int, store *MemoryStore) {
	n := g.nodes[i]
	cfg := Config{Key: n.key, Group: "test", Rand: source(g.rng.Uint64())}
	n.store = store
	if store != nil {
		cfg.Store = store
	}
	if g.setup != nil {
		g.setup(n, &cfg)
	}
	m, err := NewMemory(cfg)
	require.NoError(g.t, err)
	if g.ranged {
		m.limits = limits{tips: 0, ack: 2, small: 2}
	}
	n.Memory, n.up = m, true
	n.SetPeers(g.now, g.members())
}

func (g *group) members() []Key {
	keys := make([]Key, len(g.nodes))
	for i, n := range g.nodes {
		keys[i] = keyOf(n.key.Public().(ed25519.PublicKey))
	}
	return keys
}

func (n *node) name() Key { return keyOf(n.key.Public().(ed25519.PublicKey)) }

// link connects two nodes, or breaks their connection.
func (g *group) link(a, b int, up bool) {
	if up && !(g.nodes[a].up && g.nodes[b].up) {
		return
	}
	for _, d := range [][2]int{{a, b}, {b, a}} {
		n := g.nodes[d[0]]
		s := n.links[d[1]]
		if (s != nil) == up {
			continue
		}
		if up {
			g.seq++
			n.links[d[1]] = &stream{to: d[1], epoch: g.seq, busy: g.now}
		} else {
			delete(n.links, d[1])
		}
		if n.up {
			n.Link(g.now, g.nodes[d[1]].name(), up)
			g.pump(n)
		}
	}
}

func (g *group) mesh(up bool) {
	for a := range g.nodes {
		for b := range a {
			g.link(a, b, up)
		}
	}
}

// start and stop of a node's process: stop by crash loses what was not synced.
func (g *group) crash(i int, lost int) {
	n := g.nodes[i]
	for j := range g.nodes {
		g.link(i, j, false)
	}
	n.up = false
	if n.store != nil {
		n.store.Crash(lost)
	}
}

// checkSize holds a message that carries no blocks to 16 KiB.
func checkSize(t require.TestingT, msg Protocol) {
	switch msg.(type) {
	case *Blocks, *Batch:
		return
	}
	// What stands before it in a frame has less than 64 bytes.
	require.LessOrEqual(t, len(codec.Append(nil, msg)), 16<<10-64, "%T", msg)
}

func (g *group) push(e event) {
	checkSize(g.t, e.msg)
	if len(g.seen) < 256 {
		g.seen = append(g.seen, e)
	} else {
		g.seen[g.rng.IntN(len(g.seen))] = e
	}
	g.seq++
	e.seq = g.seq
	i, _ := slices.BinarySearchFunc(g.queue, e, func(a, b event) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.seq - b.seq
	})
	g.queue = slices.Insert(g.queue, i, e)
}

// pump does what a log wants done.
func (g *group) pump(n *node) {
	r := n.Ready()
	keep := r
	keep.Peers = nil
	keep.Stable = slices.Clone(r.Stable)
	n.ready = append(n.ready, keep)
	if r.SendBeat {
		g.announce(n)
	}
	for _, k := range slices.Clone(r.Peers) {
		for _, s := range n.streams() {
			if g.nodes[s.to].name() != k {
				continue
			}
			for {
				m := n.Next(g.now, k)
				if m == nil {
					break
				}
				at := g.now.Add(g.jitter())
				if at.Before(s.busy) {
					at = s.busy
				}
				s.busy = at
				g.push(event{at: at, from: n.i, to: s.to, epoch: s.epoch, msg: m})
			}
		}
	}
	if g.check != nil {
		g.check(n)
	}
}

// announce sends a node's Beat to all.
func (g *group) announce(n *node) {
	b := n.Beat(g.now)
	n.said++
	for _, o := range g.nodes {
		if o != n && g.rng.Float64() >= g.loss {
			g.push(event{at: g.now.Add(g.jitter()), from: n.i, to: o.i, epoch: -1, msg: b})
		}
	}
}

func (n *node) streams() []*stream {
	var all []*stream
	for i := range 64 {
		if s := n.links[i]; s != nil {
			all = append(all, s)
		}
	}
	return all
}

func (g *group) jitter() time.Duration {
	return g.delay/2 + time.Duration(g.rng.Int64N(int64(g.delay)+1))
}

// run lets virtual time pass.
func (g *group) run(d time.Duration) {
	end := g.now.Add(d)
	for {
		at := end
		if len(g.queue) > 0 && g.queue[0].at.Before(at) {
			at = g.queue[0].at
		}
		if g.beat.IsZero() {
			g.beat = g.now.Add(time.Second)
		}
		if !g.beat.After(at) && !g.beat.After(g.now) {
			g.beat = g.now.Add(time.Second)
			for _, n := range g.nodes {
				if n.up {
					g.announce(n)
				}
			}
			continue
		}
		if g.beat.Before(at) {
			at = g.beat
		}
		var due *node
		for _, n := range g.nodes {
			if !n.up {
				continue
			}
			if t := n.Deadline(); !t.IsZero() && t.Before(at) {
				at, due = t, n
			}
		}
		if at.After(g.now) {
			g.now = at
		}
		switch {
		case due != nil:
			due.Tick(g.now)
			g.pump(due)
			d := due.Deadline()
			require.True(g.t, d.IsZero() || d.After(g.now), "a deadline must pass with Tick")
		case len(g.queue) > 0 && !g.queue[0].at.After(g.now):
			e := g.queue[0]
			g.queue = g.queue[1:]
			from, to := g.nodes[e.from], g.nodes[e.to]
			if !to.up {
				continue
			}
			if e.epoch >= 0 {
				if s := from.links[e.to]; s == nil || s.epoch != e.epoch {
					continue // the stream broke meanwhile
				}
			}
			to.Step(g.now, from.name(), e.msg)
			g.pump(to)
		case !g.now.Before(end):
			return
		}
	}
}

// settle lets time pass until all nodes are equal, and fails if that takes
// longer than max.
func (g *group) settle(max time.Duration) time.Duration {
	begin := g.now
	for {
		g.run(10 * time.Millisecond)
		if g.equal() {
			return g.now.Sub(begin)
		}
		if g.now.Sub(begin) > max {
			for _, n := range g.nodes {
				if n.up {
					fmt.Printf("node %d: %v blocks, %d pending, %v, heads %d\n", n.i, n.blocks.n, len(n.pending.byHash), n.Stats().Refused, len(n.heads))
				}
			}
			require.FailNow(g.t, "the group has not converged", "after %v", max)
		}
	}
}

func (g *group) equal() bool {
	var first *node
	for _, n := range g.nodes {
		if !n.up {
			continue
		}
		if first == nil {
			first = n
		} else if n.Digest() != first.Digest() {
			return false
		}
	}
	return true
}

// say appends a message at a node, and flushes.
func (g *group) say(i int, text string) MessageID {
	n := g.nodes[i]
	id, err := n.Append(g.now, []byte(text))
	require.NoError(g.t, err)
	require.NoError(g.t, n.Flush(g.now))
	n.ids = append(n.ids, id)
	g.pump(n)
	return id
}

// tell hands a node a forger's blocks, as if they came from its author.
func (g *group) tell(i int, f *forger, frames ...[]byte) {
	n := g.nodes[i]
	n.Step(g.now, keyOf(f.key.Public().(ed25519.PublicKey)), &Blocks{Frames: frames})
	g.pump(n)
}

func (n *node) text() []byte {
	var b bytes.Buffer
	for m := range n.History(0, false) {
		fmt.Fprintf(&b, "%s %s\n", m.ID, m.Data)
	}
	return b.Bytes()
}
