package causal

import "time"

// What follows lets a caller send own blocks by another way than the streams.
// Own blocks are counted from 0 on, as this run made them: a place.

// Made is how many own blocks there are.
func (m *Memory) Made() int { return len(m.mine) }

// Own returns the own block at a place and its number; nil if it is there no
// more.
func (m *Memory) Own(place int) (raw []byte, n uint64) {
	m.persist()
	if i := m.mine[place]; !m.blocks.gone(i) {
		raw, n = m.raw(i), m.blocks.at(i).n
	}
	return raw, n
}

// OwnBytes is the size of the own blocks from a place to another, if that is
// behind it.
func (m *Memory) OwnBytes(from, to int) (size int) {
	for _, i := range m.mine[from:max(from, to)] {
		if !m.blocks.gone(i) {
			size += int(m.blocks.at(i).size)
		}
	}
	return size
}

// Progress is how far a linked member is with the own blocks.
type Progress struct {
	Key  Key
	Sent int // place up to which its stream was given them
	Held int // place up to which it said that it holds them
}

// Progress says of each linked member how far it is.
func (m *Memory) Progress() (all []Progress) {
	w, known := m.byID[m.me.id]
	for _, p := range m.members {
		if !p.active {
			continue
		}
		m.waits(p)
		x := Progress{Key: p.key, Sent: p.cursor}
		if known {
			x.Held = m.place(p.ack(w) + 1)
		}
		all = append(all, x)
	}
	return all
}

// Withhold keeps the own blocks from a place on from the streams, but for those
// to the peers in but, also from the answers to their Pulls. Those before it are
// sent, if their peer is not known to hold them. A negative place withholds
// nothing.
func (m *Memory) Withhold(place int, but map[Key]bool) {
	switch m.heldBut = but; {
	case place < 0:
		m.held = 0
		return
	case place < len(m.mine):
		m.held = m.blocks.at(m.mine[place]).n
	default:
		m.held = m.me.n + 1
	}
	if m.heldFirst == 0 || m.held < m.heldFirst {
		m.heldFirst = m.held
	}
}

// Held is the number of the last block here of those that a member's own writer
// made, without a hole, and whether that is known.
func (m *Memory) Held(from Key) (n uint64, ok bool) {
	p := m.peers[from]
	if p == nil || !p.member || !p.introduced || !m.synced {
		return 0, false
	}
	if w, ok := m.byID[p.writer]; ok {
		n = m.writers[w].n()
	}
	return n, true
}

// waits reports whether there is an own block to send to a peer. It passes over
// those that were withheld and that the peer says it holds. Of others its word
// does not count: somebody may have said it in its name.
func (m *Memory) waits(p *peer) bool {
	for ; p.cursor < len(m.mine); p.cursor++ {
		i := m.mine[p.cursor]
		if m.blocks.gone(i) {
			continue
		}
		b := m.blocks.at(i)
		if m.heldFirst == 0 || b.n < m.heldFirst || b.n > p.ack(b.writer) || m.writers[b.writer].forked {
			break
		}
	}
	return p.cursor < m.sendable(p)
}

// sendable is the place up to which a peer may be sent own blocks.
func (m *Memory) sendable(p *peer) int {
	if m.held == 0 || m.heldBut[p.key] {
		return len(m.mine)
	}
	return m.place(m.held)
}

// place is that of the own block with a number, or of the one to come.
func (m *Memory) place(n uint64) int {
	return max(0, len(m.mine)-int(min(m.me.n+1-min(n, m.me.n+1), uint64(len(m.mine)))))
}

// withheld reports whether a block is to be kept from a peer.
func (m *Memory) withheld(p *peer, x *block) bool {
	return m.held > 0 && x.n >= m.held && m.writers[x.writer].id == m.me.id && !m.heldBut[p.key]
}

// Apart takes a block of a member's that came by another way than its stream, and
// before those it follows, perhaps, which come by that way, too: only when they
// have not for long are they asked for.
func (m *Memory) Apart(now time.Time, from Key, block []byte) {
	m.apart = true
	m.Step(now, from, &Fresh{Frames: [][]byte{block}})
	m.apart = false
}
