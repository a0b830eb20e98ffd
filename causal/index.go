package causal

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// block is a delivered block. It holds no pointer, so that the collector never
// looks at a history. Blocks are named by their place in the order of
// delivery, and "none" is written as 0 where a place is kept plus one.
type block struct {
	hash   Hash
	n      uint64 // of its writer
	first  uint64 // number of its first message
	msgs   uint64 // messages delivered before it
	height uint64
	wall   int64
	came   int64  // when it was delivered, in milliseconds
	via    uint32 // who sent it, in Memory.vias
	chunk  uint32 // where its frame is kept
	off    uint32
	size   uint32
	data   uint32 // where the payload begins in the frame
	count  uint32
	writer uint32
	prev   uint32 // the writer's block before, plus one
	next   uint32 // the next one at the same height, plus one
	flags  uint8
}

const (
	flagOwn      = 1 << iota // written by this peer
	flagInserted             // belonged before a message that was delivered before
	flagBacklog              // came from another's stock
	flagHollow               // its messages are not held
	flagParent               // another block follows it
	flagDone                 // retention is through with it
	flagGone                 // summed up by the base
	flagEarly                // came by a Fresh, and comes by a stream again
)

const segment = 512

// blocks is a list that grows without being copied.
type blocks struct {
	segs  []*[segment]block // nil if all that was there is gone
	n     uint32
	first uint32 // all before it are gone
}

// gone reports whether the block at place i is no longer there.
func (b *blocks) gone(i uint32) bool {
	s := b.segs[i/segment]
	return s == nil || s[i%segment].flags&flagGone != 0
}

// trim gives up what is before the first block that is not gone.
func (b *blocks) trim() {
	for b.first < b.n && b.gone(b.first) {
		b.first++
	}
	clear(b.segs[:b.first/segment])
}

func (b *blocks) at(i uint32) *block { return &b.segs[i/segment][i%segment] }

func (b *blocks) add() *block {
	if b.n%segment == 0 {
		b.segs = append(b.segs, new([segment]block))
	}
	b.n++
	return b.at(b.n - 1)
}

// table finds blocks by hash: open addressing, places plus one. It is seeded,
// since whoever writes blocks chooses their hashes.
type table struct {
	slots []uint32
	n     int
	seed  [2]uint64
}

func (t *table) slot(h *Hash) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(h[:])^t.seed[0], binary.LittleEndian.Uint64(h[8:])^t.seed[1])
	return hi ^ lo
}

// find returns the place of the block with the hash.
func (t *table) find(b *blocks, h *Hash) (uint32, bool) {
	if t.n == 0 {
		return 0, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := t.slot(h); ; i++ {
		s := t.slots[i&mask]
		if s == 0 {
			return 0, false
		}
		if b.at(s-1).hash == *h {
			return s - 1, true
		}
	}
}

// add adds the block at place i, which must not be there yet.
func (t *table) add(b *blocks, i uint32) {
	if 4*t.n >= 3*len(t.slots) {
		old := t.slots
		t.slots = make([]uint32, max(64, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				t.put(b, s)
			}
		}
	}
	t.put(b, i+1)
	t.n++
}

func (t *table) put(b *blocks, s uint32) {
	mask := uint64(len(t.slots) - 1)
	i := t.slot(&b.at(s - 1).hash)
	for t.slots[i&mask] != 0 {
		i++
	}
	t.slots[i&mask] = s
}

// order is the order of the history: by height, wall clock and hash. Heights
// are dense, so each has its list of blocks, and an insertion anywhere costs
// no more than the blocks at one height. A Fenwick tree over stretches of
// heights counts messages, so that positions are found in O(log n).
type order struct {
	floor   uint64  // what is up to this height is gone, and
	under   uint64  // so many messages with it
	heights []level // of height floor + 1, 2, 3, …
	tree    []uint64
	sums    []total // as tree, of the blocks
	msgs    uint64  // with those that are gone
}

// top is the greatest height.
func (o *order) top() uint64 { return o.floor + uint64(len(o.heights)) }

// at is the level of a height above the floor.
func (o *order) at(height uint64) *level { return &o.heights[height-o.floor-1] }

type level struct {
	msgs uint64
	head uint32 // the first block at this height, plus one
	size uint32
}

const stretch = 32 // heights

// add puts the block at place i into its order.
func (o *order) add(b *blocks, i uint32) {
	x := b.at(i)
	h := int(x.height - o.floor - 1)
	if h == len(o.heights) {
		o.heights = append(o.heights, level{})
		if h%stretch == 0 {
			k := len(o.tree) + 1
			sum := uint64(0) // of the stretches that the new node covers: all but its own have been counted
			var all total
			for j := k - 1; j > k-k&-k; j -= j & -j {
				sum += o.tree[j-1]
				all.add(&o.sums[j-1])
			}
			o.tree, o.sums = append(o.tree, sum), append(o.sums, all)
		}
	}
	l := &o.heights[h]
	at := &l.head
	for *at != 0 && before(b.at(*at-1), x) {
		at = &b.at(*at - 1).next
	}
	x.next, *at = *at, i+1
	l.size++
	l.msgs += uint64(x.count)
	o.msgs += uint64(x.count)
	for k := h/stretch + 1; k <= len(o.tree); k += k & -k {
		o.tree[k-1] += uint64(x.count)
		o.sums[k-1].count(&x.hash)
	}
}

func before(a, b *block) bool {
	if a.wall != b.wall {
		return a.wall < b.wall
	}
	return bytes.Compare(a.hash[:], b.hash[:]) < 0
}

// below is the number of messages at heights up to h, and no less than under.
func (o *order) below(h uint64) uint64 {
	n := int(min(max(h, o.floor), o.top()) - o.floor)
	sum := o.under
	for k := n / stretch; k > 0; k -= k & -k {
		sum += o.tree[k-1]
	}
	for _, l := range o.heights[n/stretch*stretch : n] {
		sum += l.msgs
	}
	return sum
}

// pos is the position of the first message of the block at place i.
func (o *order) pos(b *blocks, i uint32) uint64 {
	x := b.at(i)
	sum := o.below(x.height - 1)
	for at := o.at(x.height).head; at != i+1; {
		y := b.at(at - 1)
		sum += uint64(y.count)
		at = y.next
	}
	return sum
}

// find returns the index of the level that the message at the position is at,
// and the position of the first message there. The position must be below msgs,
// and not below under.
func (o *order) find(pos uint64) (h int, start uint64) {
	k, rest := 0, pos-o.under
	for step := 1 << (bits.Len(uint(len(o.tree))) - 1); step > 0; step >>= 1 {
		if k+step <= len(o.tree) && o.tree[k+step-1] <= rest {
			k += step
			rest -= o.tree[k-1]
		}
	}
	for h = k * stretch; o.heights[h].msgs <= rest; h++ {
		rest -= o.heights[h].msgs
	}
	return h, pos - rest
}

// level lists the blocks at the height with index h, in order.
func (o *order) level(b *blocks, h int, dst []uint32) []uint32 {
	for at := o.heights[h].head; at != 0; at = b.at(at - 1).next {
		dst = append(dst, at-1)
	}
	return dst
}

// arena keeps frames in large pieces.
type arena struct {
	alloc  func(int) []byte
	chunks [][]byte // nil if all that was there is released
	live   []int    // bytes in each that are not released
	fill   int      // the chunk that small frames go to, plus one
	kept   int      // the chunk that frames go to that stay for good, plus one
}

const (
	chunkSize = 1 << 20
	chunkMin  = 16 << 10
)

// place is where a frame is kept.
type place struct{ chunk, off uint32 }

// reserve returns room for n bytes, and where it is. A large frame gets a chunk
// of its own, and the first chunks are small: neither wastes room.
func (a *arena) reserve(n int) ([]byte, place) {
	if n > chunkSize/4 {
		a.chunks = append(a.chunks, a.alloc(n)[:n:n])
		a.live = append(a.live, n)
		last := len(a.chunks) - 1
		return a.chunks[last], place{uint32(last), 0}
	}
	return a.put(n, &a.fill)
}

// keep returns room for a frame that will not be released, apart from those
// that may be.
func (a *arena) keep(n int) ([]byte, place) { return a.put(n, &a.kept) }

func (a *arena) put(n int, fill *int) ([]byte, place) {
	if *fill == 0 || cap(a.chunks[*fill-1])-len(a.chunks[*fill-1]) < n {
		size := chunkMin
		if old := *fill; old > 0 {
			size = min(chunkSize, 4*cap(a.chunks[old-1]))
			if a.live[old-1] == 0 {
				a.chunks[old-1] = nil
			}
		}
		a.chunks = append(a.chunks, a.alloc(max(size, n))[:0])
		a.live = append(a.live, 0)
		*fill = len(a.chunks)
	}
	k := *fill - 1
	c := a.chunks[k]
	at := len(c)
	a.chunks[k] = c[:at+n]
	a.live[k] += n
	return c[at : at+n : at+n], place{uint32(k), uint32(at)}
}

// release gives up n bytes of a chunk. They are not written again: others may
// still read them.
func (a *arena) release(chunk, n uint32) {
	a.live[chunk] -= int(n)
	if a.live[chunk] == 0 && int(chunk) != a.fill-1 && int(chunk) != a.kept-1 {
		a.chunks[chunk] = nil
	}
}
