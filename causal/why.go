package causal

import (
	"slices"
	"time"
)

// Why tells how a message came to be where it is.
type Why struct {
	Message
	Block Ref       // the block that it is in,
	First MessageID // the first message of that,
	Count int       // and how many it has
	// After are the blocks that the block follows: what its author had seen is
	// these and all below them. Last is the last message of each, N 0 if it has
	// none.
	After []Parent
	// Concurrent are first messages of other blocks of which neither author had
	// seen the other's, of the nearest concurrentReach blocks on either side.
	Concurrent []MessageID
	// Via is the peer that sent the block here, and Came is when. For a block
	// from the Store they are the own key and the zero time.
	Via  Key
	Came time.Time
}

// Parent is a block that another follows.
type Parent struct {
	Block  Ref
	Height uint64
	Last   MessageID
}

// concurrentReach is how far Why looks for concurrent messages, in blocks.
const concurrentReach = 64

// Why explains a message's place. It costs about as much as reading a page.
func (m *Memory) Why(id MessageID) (Why, bool) {
	i, ok := m.find(id)
	if !ok {
		return Why{}, false
	}
	msg, _ := m.Lookup(id)
	b := m.blocks.at(i)
	w := Why{
		Message: msg, Block: m.ref(i), First: MessageID{Writer: id.Writer, N: b.first}, Count: int(b.count),
		Via: m.vias[b.via], Came: time.UnixMilli(b.came),
	}
	for _, p := range m.follows(i) {
		q := m.blocks.at(p)
		parent := Parent{Block: m.ref(p), Height: q.height, Last: MessageID{Writer: m.writers[q.writer].id}}
		if q.count > 0 {
			parent.Last.N = q.first + uint64(q.count) - 1
		}
		w.After = append(w.After, parent)
	}
	for _, c := range m.concurrent(i) {
		if q := m.blocks.at(c); q.count > 0 {
			w.Concurrent = append(w.Concurrent, MessageID{Writer: m.writers[q.writer].id, N: q.first})
		}
	}
	return w, true
}

// follows returns the parents of a block, its writer's block before first.
func (m *Memory) follows(i uint32) []uint32 {
	var f frame
	if f.decode(m.hash, m.raw(i)) != nil {
		return nil // it was decoded before
	}
	var all []uint32
	if p := m.blocks.at(i).prev; p != 0 && !m.blocks.gone(p-1) {
		all = append(all, p-1)
	}
	for k := range f.deps {
		if p, ok := m.table.find(&m.blocks, &f.deps[k].Hash); ok {
			all = append(all, p)
		}
	}
	return all
}

// concurrent returns, in the order of the history, the blocks around i that
// neither lead to it nor follow from it.
func (m *Memory) concurrent(i uint32) []uint32 {
	h := int(m.blocks.at(i).height - m.order.floor - 1)
	var below, above, level []uint32
	for k := h; k >= 0 && len(below) < concurrentReach; k-- {
		level = m.order.level(&m.blocks, k, level[:0])
		slices.Reverse(level)
		below = append(below, level...)
	}
	slices.Reverse(below)
	for k := h + 1; k < len(m.order.heights) && len(above) < concurrentReach; k++ {
		above = m.order.level(&m.blocks, k, above)
	}
	bottom := m.blocks.at(below[0]).height
	leads := map[uint32]bool{i: true}
	for queue := []uint32{i}; len(queue) > 0; queue = queue[1:] {
		for _, p := range m.follows(queue[0]) {
			if m.blocks.at(p).height >= bottom && !leads[p] {
				leads[p] = true
				queue = append(queue, p)
			}
		}
	}
	var all []uint32
	for _, c := range below {
		if !leads[c] {
			all = append(all, c)
		}
	}
	descends := map[uint32]bool{i: true}
	for _, c := range above {
		if slices.ContainsFunc(m.follows(c), func(p uint32) bool { return descends[p] }) {
			descends[c] = true
		} else {
			all = append(all, c)
		}
	}
	return all
}
