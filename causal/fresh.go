package causal

// Fresh returns the own last blocks that not all members are known to hold: as
// many as have size bytes together, after the last skip of them. n is how many
// they are; none if there are no more.
func (m *Memory) Fresh(skip, size int) (f *Fresh, n int) {
	m.persist()
	f = new(Fresh)
	at := len(m.mine) - skip
	first := at
	for ; first > 0; first-- {
		i := m.mine[first-1]
		b := m.blocks.at(i)
		if w := &m.writers[b.writer]; b.first+uint64(b.count) <= w.stable+1 || m.blocks.gone(i) {
			break
		}
		if size -= int(b.size); size < 0 {
			break
		}
	}
	for _, i := range m.mine[max(first, 0):max(at, 0)] {
		f.Frames = append(f.Frames, m.raw(i))
	}
	return f, len(f.Frames)
}

// onFresh takes blocks that a peer has just written.
func (m *Memory) onFresh(p *peer, msg *Fresh) {
	defer func() { m.early = false }()
	m.early = true
	m.receive(p.key, msg.Frames, false, false)
}

// cameEarly reports whether a block that is held, or waits, came by a Fresh.
func (m *Memory) cameEarly(h *Hash) bool {
	if i, ok := m.table.find(&m.blocks, h); ok {
		return m.blocks.at(i).flags&flagEarly != 0
	}
	e := m.pending.byHash[*h]
	return e != nil && e.early
}
