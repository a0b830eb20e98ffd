package causal

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	flagSeed = flag.Uint64("causal.seed", 0, "run random schedules with this seed only")
	flagRuns = flag.Int("causal.runs", 1, "how many times as many random schedules to run")
)

// schedules runs a test over n random schedules, a quarter of them with -short,
// and says how to repeat one that fails.
func schedules(t *testing.T, n int, f func(t require.TestingT, seed uint64)) {
	one := func(seed uint64) {
		defer func() {
			if t.Failed() {
				t.Logf("repeat with: go test ./causal -run '^%s$' -causal.seed %d", t.Name(), seed)
			}
		}()
		f(t, seed)
	}
	if *flagSeed != 0 {
		one(*flagSeed)
		return
	}
	if testing.Short() {
		n = (n + 3) / 4
	}
	for seed := range uint64(n * *flagRuns) {
		one(seed + 1)
	}
}

// modelBlock is what the dumb model knows of a block.
type modelBlock struct {
	body
	hash     Hash
	parents  []Hash
	messages [][]byte
}

// decodeModel decodes a frame without the code under test, but for the body.
func decodeModel(t require.TestingT, group string, raw []byte) modelBlock {
	size := int(binary.BigEndian.Uint16(raw[65:]))
	head, payload := raw[67:67+size], raw[67+size:]
	var x modelBlock
	require.NoError(t, x.decode(head))
	inner := sha256.Sum256(payload)
	var b bytes.Buffer
	b.WriteString("p2p causal block 1\x00")
	binary.Write(&b, binary.BigEndian, uint32(len(group)))
	b.WriteString(group)
	b.Write(inner[:])
	b.Write(head)
	x.hash = sha256.Sum256(b.Bytes())
	if x.n > 1 {
		x.parents = append(x.parents, x.prev)
	}
	for _, d := range x.deps {
		x.parents = append(x.parents, d.Hash)
	}
	for range x.count {
		n, k := binary.Uvarint(payload)
		x.messages = append(x.messages, payload[k:k+int(n)])
		payload = payload[k+int(n):]
	}
	require.Empty(t, payload)
	return x
}

// model is a log as one would write it without a thought for cost: a list in
// the order of delivery.
type model []modelBlock

func modelOf(t require.TestingT, m *Memory) model {
	var all model
	for i := range m.blocks.n {
		all = append(all, decodeModel(t, m.cfg.Group, m.raw(i)))
	}
	return all
}

func (d model) sorted() model {
	s := slices.Clone(d)
	slices.SortFunc(s, func(a, b modelBlock) int {
		return cmp.Or(cmp.Compare(a.height, b.height), cmp.Compare(a.wall, b.wall), bytes.Compare(a.hash[:], b.hash[:]))
	})
	return s
}

func (d model) heads() map[Hash]bool {
	heads := make(map[Hash]bool)
	for _, b := range d {
		heads[b.hash] = true
	}
	for _, b := range d {
		for _, p := range b.parents {
			delete(heads, p)
		}
	}
	return heads
}

func (d model) digest() Digest {
	if len(d) == 0 {
		return Digest{}
	}
	sum, n := new(big.Int), uint64(0)
	for _, b := range d {
		le := slices.Clone(b.hash[:])
		slices.Reverse(le)
		sum.Add(sum, new(big.Int).SetBytes(le))
		n += uint64(len(b.messages))
	}
	sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 256))
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(d)))
	be := sum.FillBytes(make([]byte, 32))
	slices.Reverse(be)
	out = append(out, be...)
	var heads [][]byte
	for h := range d.heads() {
		heads = append(heads, h[:])
	}
	slices.SortFunc(heads, bytes.Compare)
	for _, h := range heads {
		out = append(out, h...)
	}
	h := sha256.Sum256(out)
	return Digest{Messages: n, Hash: [16]byte(h[:16])}
}

// said is a message of the model.
type said struct {
	id   MessageID
	data string
}

func (d model) messages() []said {
	var all []said
	for _, b := range d {
		for k, data := range b.messages {
			all = append(all, said{MessageID{b.writer, b.first + uint64(k)}, string(data)})
		}
	}
	return all
}

func saidBy(m Message) said { return said{m.ID, string(m.Data)} }

// checkOrder: parents come before their children (I1), and heights are what
// they claim (I8).
func (d model) checkOrder(t require.TestingT) {
	height := make(map[Hash]uint64)
	var dense []bool
	for _, b := range d {
		top := uint64(0)
		for _, p := range b.parents {
			h, ok := height[p]
			require.True(t, ok, "a block was delivered before its parent")
			top = max(top, h)
		}
		require.Equal(t, top+1, b.height)
		require.NotContains(t, height, b.hash, "delivered twice")
		height[b.hash] = b.height
		if int(b.height) > len(dense) {
			require.EqualValues(t, len(dense)+1, b.height, "heights are dense")
			dense = append(dense, true)
		}
	}
}

// checkNumbers: the messages of a writer are numbered without a hole, on each
// of its branches (I18).
func (d model) checkNumbers(t require.TestingT) {
	next := make(map[Hash]uint64) // after a block
	for _, b := range d {
		want := uint64(1)
		if b.n > 1 {
			want = next[b.prev]
		}
		require.Equal(t, want, b.first)
		next[b.hash] = b.first + uint64(b.count)
	}
}

// checkReads compares all ways of reading with the model (I2, I12).
func checkReads(t require.TestingT, m *Memory, rng *rand.Rand) {
	d := modelOf(t, m)
	delivered, history := d.messages(), d.sorted().messages()
	require.EqualValues(t, len(delivered), m.Len())
	pos := make(map[said]uint64, len(history))
	for i, s := range history {
		pos[s] = uint64(i)
	}
	for range 4 {
		from := rng.Uint64N(m.Len() + 2)
		i := from
		for x := range m.Deliveries(from) {
			require.Equal(t, delivered[i], saidBy(x))
			require.Equal(t, i, x.Index)
			require.Equal(t, pos[saidBy(x)], x.Pos)
			i++
		}
		require.Equal(t, max(from, m.Len()), i)
		i = from
		for x := range m.History(from, false) {
			require.Equal(t, history[i], saidBy(x))
			require.Equal(t, i, x.Pos)
			i++
		}
		require.Equal(t, max(from, m.Len()), i)
		i = min(from, m.Len())
		for x := range m.History(from, true) {
			i--
			require.Equal(t, history[i], saidBy(x))
			require.Equal(t, i, x.Pos)
		}
		require.Zero(t, i)
	}
	for h := range uint64(len(m.order.heights)) + 2 {
		n := uint64(0)
		for _, b := range d {
			if b.height <= h {
				n += uint64(b.count)
			}
		}
		require.Equal(t, n, m.order.below(h))
	}
	for _, w := range m.writers {
		_, ok := m.Lookup(MessageID{w.id, 0})
		require.False(t, ok)
	}
	for _, s := range delivered {
		x, ok := m.Lookup(s.id)
		require.True(t, ok)
		if w := m.writers[m.byID[s.id.Writer]]; len(w.branches) == 0 {
			require.Equal(t, s, saidBy(x))
			_, ok = m.Lookup(MessageID{s.id.Writer, s.id.N + 1<<40})
			require.False(t, ok)
		} else {
			i := slices.IndexFunc(history, func(y said) bool { return y.id == s.id })
			require.Equal(t, history[i], saidBy(x))
			require.EqualValues(t, i, x.Pos)
		}
	}
}

// chaos is a random schedule: logs that append, lose and regain their
// connections, hear old messages again, and, if asked for, crash.
type chaos struct {
	nodes   int
	steps   int
	crashes bool
	each    func(g *group, n *node)
	setup   func(n *node, c *Config)
}

func (c chaos) run(t require.TestingT, seed uint64) *group {
	rng := rand.New(rand.NewPCG(seed, 2))
	if c.nodes == 0 {
		c.nodes = 2 + rng.IntN(5)
	}
	if c.steps == 0 {
		c.steps = 60
	}
	g := newGroup(t, 0, seed)
	g.setup = c.setup
	g.loss, g.ranged = rng.Float64()/2, seed%2 == 0
	for i := range c.nodes {
		g.nodes = append(g.nodes, &node{i: i, key: testKey(i), links: make(map[int]*stream)})
	}
	for i := range c.nodes {
		var s *MemoryStore
		if c.crashes {
			s = NewMemoryStore()
		}
		g.start(i, s)
	}
	if c.each != nil {
		g.check = func(n *node) { c.each(g, n) }
	}
	for range c.steps {
		a, b := rng.IntN(c.nodes), rng.IntN(c.nodes)
		switch p := rng.IntN(100); {
		case p < 40:
			if n := g.nodes[a]; n.up {
				for range 1 + rng.IntN(3) {
					size := rng.IntN(40)
					if rng.IntN(20) == 0 {
						size = rng.IntN(80 << 10)
					}
					text := make([]byte, size)
					for i := range text {
						text[i] = byte(rng.Uint32())
					}
					id, err := n.Append(g.now, text)
					require.NoError(t, err)
					n.ids = append(n.ids, id)
				}
				if rng.IntN(2) == 0 {
					require.NoError(t, n.Flush(g.now))
				}
				g.pump(n)
			}
		case p < 70:
			g.run(time.Duration(rng.Int64N(int64(20 * time.Millisecond))))
		case p < 90:
			if a != b && g.nodes[a].up && g.nodes[b].up {
				g.link(a, b, rng.IntN(3) > 0)
			}
		case p < 92:
			g.mesh(rng.IntN(2) == 0)
		case p < 97:
			if len(g.seen) > 0 {
				e := g.seen[rng.IntN(len(g.seen))]
				if n := g.nodes[b]; n.up && e.from != b {
					n.Step(g.now, g.nodes[e.from].name(), e.msg)
					g.pump(n)
				}
			}
		default:
			if !c.crashes {
				g.run(time.Duration(rng.Int64N(int64(2 * time.Second))))
				break
			}
			n := g.nodes[a]
			if n.up {
				g.crash(a, rng.IntN(4))
			} else {
				g.restart(a, rng)
			}
		}
	}
	return g
}

// restart starts a crashed node on what is left: mostly its store, at times
// nothing, or an old copy.
func (g *group) restart(i int, rng *rand.Rand) {
	n := g.nodes[i]
	switch rng.IntN(8) {
	case 0:
		n.store = NewMemoryStore()
	case 1:
		if n.copy != nil {
			n.store = n.copy
		}
	case 2:
		n.copy = n.store.Copy()
	}
	g.start(i, n.store)
}

// heal brings all nodes up, connects them along a random tree or more, and
// waits until they are equal.
func (g *group) heal(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	g.loss = 0
	for i, n := range g.nodes {
		if !n.up {
			g.restart(i, rng)
		}
	}
	for i := 1; i < len(g.nodes); i++ {
		g.link(i, rng.IntN(i), true)
	}
	g.settle(60 * time.Second)
}

// forger writes blocks as it likes, with a member's key.
type forger struct {
	key    ed25519.PrivateKey
	group  string
	random [16]byte
	id     WriterID
}

func newForger(key ed25519.PrivateKey, group string, seed byte) *forger {
	f := &forger{key: key, group: group, random: [16]byte{seed}}
	f.id = writerID(group, key.Public().(ed25519.PublicKey), f.random[:])
	return f
}

// block signs a body. What is zero of it is filled in.
func (f *forger) block(x body, messages ...string) ([]byte, modelBlock) {
	var payload []byte
	for _, m := range messages {
		payload = binary.AppendUvarint(payload, uint64(len(m)))
		payload = append(payload, m...)
	}
	return f.sign(x, payload, uint32(len(messages)))
}

func (f *forger) sign(x body, payload []byte, count uint32) ([]byte, modelBlock) {
	if x.writer == (WriterID{}) {
		x.writer = f.id
	}
	x.n, x.first, x.height = max(x.n, 1), max(x.first, 1), max(x.height, 1)
	if x.count == 0 {
		x.count = count
	}
	if x.kind == 0 {
		switch {
		case x.n == 1:
			x.kind = kindGenesis
		case x.count == 0:
			x.kind = kindMerge
		default:
			x.kind = kindMessages
		}
	}
	if x.kind == kindGenesis && x.random == [16]byte{} {
		copy(x.pub[:], f.key.Public().(ed25519.PublicKey))
		x.random = f.random
	}
	slices.SortFunc(x.deps, compareRefs)
	head := x.append(nil)
	h := newHasher(f.group).block(sha256.Sum256(payload), head)
	raw := append([]byte{formWhole}, ed25519.Sign(f.key, signed(h))...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(head)))
	raw = append(append(raw, head...), payload...)
	return raw, modelBlock{body: x, hash: h}
}

// after is a body that follows b.
func (b modelBlock) after() body {
	return body{writer: b.writer, n: b.n + 1, first: b.first + uint64(b.count), height: b.height + 1, prev: b.hash}
}

func (b modelBlock) ref() Ref { return Ref{Writer: b.writer, N: b.n, Hash: b.hash} }

// fingerprint is everything that refused input must not change.
func fingerprint(m *Memory) string {
	return fmt.Sprint(m.Len(), m.Digest(), m.blocks.n, len(m.pending.byHash), m.pending.bytes, m.heads, len(m.writers), m.arena.chunks == nil)
}
