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

// Refresh returns own blocks of this run that a peer wants, as many as have size
// bytes together; nil if there are none.
func (m *Memory) Refresh(want *Want, size int) *Fresh {
	m.persist()
	f := new(Fresh)
	for _, s := range want.Spans {
		if s.Writer != m.me.id || s.From == 0 || s.From > m.me.n {
			continue
		}
		first := len(m.mine) - int(min(m.me.n-s.From+1, uint64(len(m.mine))))
		for _, i := range m.mine[first:] {
			if size -= int(m.blocks.at(i).size); size < 0 || m.blocks.gone(i) {
				break
			}
			f.Frames = append(f.Frames, m.raw(i))
		}
	}
	if len(f.Frames) == 0 {
		return nil
	}
	return f
}

// Lack returns what is missing before those of a peer's own blocks that wait
// here; nil if none do.
func (m *Memory) Lack(from Key) *Want {
	p := m.peers[from]
	if p == nil || !p.introduced {
		return nil
	}
	w, ok := m.byID[p.writer]
	if !ok || m.pending.shares[p.writer] == nil {
		return nil
	}
	n := m.writers[w].n() + 1
	return &Want{Spans: []Span{{Writer: p.writer, From: n, To: n}}}
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
