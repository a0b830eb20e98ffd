package causal

import (
	"iter"
	"slices"
	"sort"
	"time"
)

// message is the first message of a block, at position pos; at makes it
// another of that block.
func (m *Memory) message(b *block, pos uint64) Message {
	w := &m.writers[b.writer]
	return Message{
		ID:     MessageID{Writer: w.id, N: b.first},
		Author: w.author, Height: b.height, Wall: time.UnixMilli(b.wall), Index: b.msgs, Pos: pos,
		Inserted: b.flags&flagInserted != 0, Backlog: b.flags&flagBacklog != 0, Own: b.flags&flagOwn != 0,
	}
}

// at is the message k places on, with the given data.
func (x Message) at(k uint32, data []byte) Message {
	x.ID.N += uint64(k)
	x.Index += uint64(k)
	x.Pos += uint64(k)
	x.Data = data
	return x
}

// each yields the messages of a block, of which x is the first but for its
// data, without the first skip. It returns false if it was told to stop.
func (x Message) each(payload []byte, count uint32, skip uint64, yield func(Message) bool) bool {
	for k := uint64(0); k < uint64(count); k++ {
		if x.Data, payload = next(payload); k >= skip && !yield(x) {
			return false
		}
		x.ID.N++
		x.Index++
		x.Pos++
	}
	return true
}

// next cuts the next message off a payload that parses. The payload of a
// hollow block is nil, and so are its messages.
func next(payload []byte) (data, rest []byte) {
	if payload == nil {
		return nil, nil
	}
	size, n := uvarint(payload)
	end := n + int(size)
	return payload[n:end:end], payload[end:]
}

// Deliveries implements Log.
func (m *Memory) Deliveries(from uint64) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		if from >= m.index || m.blocks.first == m.blocks.n {
			return
		}
		// The last block that begins at or before from; of those that begin
		// there, the one with messages comes last.
		lead := m.blocks.first
		k := sort.Search(int(m.blocks.n-lead), func(i int) bool { return m.blocks.at(lead+uint32(i)).msgs > from })
		for i := lead + uint32(max(k, 1)-1); i < m.blocks.n; i++ {
			b := m.blocks.at(i)
			if b.count == 0 || b.flags&flagGone != 0 {
				continue
			}
			first := m.message(b, m.order.pos(&m.blocks, i))
			if !first.each(m.payload(b), b.count, from-min(from, b.msgs), yield) {
				return
			}
		}
	}
}

// History implements Log.
func (m *Memory) History(pos uint64, backwards bool) iter.Seq[Message] {
	if backwards {
		return func(yield func(Message) bool) { m.down(pos, yield) }
	}
	return func(yield func(Message) bool) { m.up(pos, yield) }
}

func (m *Memory) up(pos uint64, yield func(Message) bool) {
	if pos >= m.order.msgs {
		return
	}
	pos = max(pos, m.order.under)
	if pos == m.order.msgs {
		return
	}
	h, at := m.order.find(pos)
	for ; h < len(m.order.heights); h++ {
		for i := m.order.heights[h].head; i != 0; {
			b := m.blocks.at(i - 1)
			i = b.next
			if at+uint64(b.count) > pos {
				if !m.message(b, at).each(m.payload(b), b.count, pos-min(pos, at), yield) {
					return
				}
			}
			at += uint64(b.count)
		}
	}
}

func (m *Memory) down(pos uint64, yield func(Message) bool) {
	pos = min(pos, m.order.msgs)
	if pos <= m.order.under {
		return
	}
	h, at := m.order.find(pos - 1)
	var level []uint32
	var data [][]byte
	for ; h >= 0; h-- {
		level = m.order.level(&m.blocks, h, level[:0])
		end := at + m.order.heights[h].msgs
		for _, i := range slices.Backward(level) {
			b := m.blocks.at(i)
			end -= uint64(b.count)
			if end >= pos {
				continue
			}
			data = data[:0]
			rest := m.payload(b)
			for k := uint32(0); k < b.count; k++ {
				var d []byte
				d, rest = next(rest)
				data = append(data, d)
			}
			first := m.message(b, end)
			for k := b.count; k > 0; k-- {
				if end+uint64(k-1) < pos && !yield(first.at(k-1, data[k-1])) {
					return
				}
			}
		}
		if h > 0 {
			at -= m.order.heights[h-1].msgs
		}
	}
}

// Changes implements Log. It costs about as much as looking at the blocks that
// have come since.
func (m *Memory) Changes(since Mark) (pos uint64, now Mark) {
	pos, now = m.order.msgs, Mark{Index: m.index, Begun: m.begun}
	if since.Begun != now.Begun {
		return 0, now
	}
	for i := m.blocks.n; i > m.blocks.first; i-- {
		b := m.blocks.at(i - 1)
		switch {
		case b.msgs+uint64(b.count) <= since.Index && (b.count > 0 || b.msgs < since.Index):
			return pos, now
		case b.flags&flagGone != 0:
			return 0, now // nobody knows any more where it was
		case b.count > 0:
			at := m.order.pos(&m.blocks, i-1)
			if since.Index > b.msgs {
				at += since.Index - b.msgs
			}
			pos = min(pos, at)
		}
	}
	first := now.Index
	if m.blocks.first < m.blocks.n {
		first = m.blocks.at(m.blocks.first).msgs
	}
	if since.Index < first {
		pos = 0 // what came first is gone
	}
	return pos, now
}

// Lookup implements Log. If the writer forked and has several messages of that
// number, it is the first in the history, on all nodes.
func (m *Memory) Lookup(id MessageID) (Message, bool) {
	i, ok := m.find(id)
	if !ok {
		return Message{}, false
	}
	b := m.blocks.at(i)
	k := uint32(id.N - b.first)
	var data []byte
	for rest, j := m.payload(b), uint32(0); j <= k; j++ {
		data, rest = next(rest)
	}
	return m.message(b, m.order.pos(&m.blocks, i)).at(k, data), true
}

// find returns the block that a message is in.
func (m *Memory) find(id MessageID) (uint32, bool) {
	w, ok := m.byID[id.Writer]
	if !ok || id.N == 0 {
		return 0, false
	}
	wr := &m.writers[w]
	has := func(i uint32) bool {
		b := m.blocks.at(i)
		return id.N >= b.first && id.N < b.first+uint64(b.count)
	}
	if len(wr.branches) == 0 {
		k := sort.Search(len(wr.blocks), func(k int) bool {
			b := m.blocks.at(wr.blocks[k])
			return b.first+uint64(b.count) > id.N
		})
		if k == len(wr.blocks) || !has(wr.blocks[k]) {
			return 0, false
		}
		return wr.blocks[k], true
	}
	best, found := uint32(0), false
	for _, i := range slices.Concat(wr.blocks, wr.branches) {
		if !has(i) {
			continue
		}
		x, y := m.blocks.at(i), m.blocks.at(best)
		if !found || x.height < y.height || x.height == y.height && before(x, y) {
			best, found = i, true
		}
	}
	return best, found
}
