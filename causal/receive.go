package causal

import (
	"bytes"
	"crypto/ed25519"
	"errors"
)

// maxForged is how many signatures of a message may be wrong before no more of
// them are verified.
const maxForged = 16

// incoming is a frame on its way in.
type incoming struct {
	frame
	good bool // authentic
}

type woken struct {
	hash Hash
	ok   bool // delivered; else refused for good
}

// receive takes frames from a peer. Authentic is a block that is signed, or
// that an authentic block of its writer names as the one before: so a batch
// costs one verification for each writer in it. A hollow block, whose payload
// the sender has dropped, is taken only where nobody is left to ask for the
// whole: in the answer to a Pull. Everywhere else it must not come in the place
// of its author's word.
func (m *Memory) receive(from Key, frames [][]byte, backlog, hollow bool) {
	defer func() { m.via = 0 }()
	if size := framesSize(frames); size > sendBytes && len(frames) > 1 {
		m.fault(errTooLarge)
		return
	}
	in := m.in[:0]
	clear(m.chain)
	clear(m.fresh)
	for _, b := range frames {
		if len(in) < cap(in) {
			in = in[:len(in)+1]
		} else {
			in = append(in, incoming{})
		}
		f := &in[len(in)-1]
		err := f.decode(m.hash, b)
		switch {
		case err != nil || f.payload != nil:
		case f.count == 0:
			err = errMalformed // there is nothing to drop
		case !hollow:
			if err = errHollow; !m.early {
				m.missed(from, &f.hash)
			}
		}
		if err == nil && f.kind == kindGenesis {
			if writerID(m.cfg.Group, f.pub[:], f.random[:]) != f.writer {
				err = errWriter
			} else {
				m.fresh[f.writer] = f.pub
			}
		}
		switch err {
		case nil:
		case errHollow:
			m.refuse(err)
		default:
			m.fault(err)
		}
		if err != nil {
			in = in[:len(in)-1]
			continue
		}
		switch {
		case m.holds(&f.hash):
			if !m.early && !m.cameEarly(&f.hash) {
				m.refuse(errKnown)
			}
			in = in[:len(in)-1]
		case f.height <= m.base.height:
			m.refuse(errBelow)
			in = in[:len(in)-1]
		}
	}
	m.in = in
	forged := 0
	for i := len(in) - 1; i >= 0; i-- {
		f := &in[i]
		next, ok := m.chain[f.writer]
		if f.good = ok && next == f.hash || m.pending.awaits(f.writer, &f.hash); !f.good {
			pub := m.key(f.writer)
			switch {
			case pub == nil && m.early:
				continue // it comes by the stream, with its key before it
			case pub == nil:
				m.refuse(errWriter)
				continue
			case forged == maxForged:
				m.refuse(errUnchecked)
				continue
			case !ed25519.Verify(pub, signed(f.hash), f.sig):
				forged++
				m.fault(errSignature)
				continue
			}
			f.good = true
		}
		if f.n > 1 {
			m.chain[f.writer] = f.prev
		}
	}
	for i := range in {
		if in[i].good {
			m.accept(&in[i].frame, from, backlog)
		}
	}
}

var errKnown = errors.New("known")

// holds reports whether the block is delivered or waits.
func (m *Memory) holds(h *Hash) bool {
	_, ok := m.table.find(&m.blocks, h)
	return ok || m.pending.byHash[*h] != nil
}

// key is the public key of a writer, nil if that is not known.
func (m *Memory) key(w WriterID) ed25519.PublicKey {
	if i, ok := m.byID[w]; ok {
		return m.writers[i].pub[:]
	}
	if pub, ok := m.fresh[w]; ok {
		return pub[:]
	}
	if s := m.pending.shares[w]; s != nil && s.known {
		return s.pub[:]
	}
	for _, p := range m.sorted {
		if p.introduced && p.writer == w {
			return p.pub[:]
		}
	}
	return nil
}

// accept delivers an authentic block, or lets it wait for its parents.
func (m *Memory) accept(f *frame, from Key, backlog bool) {
	if m.holds(&f.hash) {
		return // twice in one message
	}
	if f.writer == m.me.id {
		// Somebody else writes with our key in our writer's name.
		if err := m.rotate(); err != nil {
			m.out.Err = err
		}
	}
	if missing := m.parentsOf(f); len(missing) > 0 {
		m.pending.add(f, missing, from, backlog, m.now)
		e := m.pending.byHash[f.hash]
		if e.early = m.early; m.apart {
			e.ask = m.now.Add(patience)
		}
		m.limit()
		return
	}
	m.via = m.viaOf(from)
	ok := m.deliver(f, backlog)
	if !ok {
		m.out.Faults++
	}
	m.deliverWaiting(f.hash, ok)
}

// framesSize is how long frames are together.
func framesSize(frames [][]byte) (size int) {
	for _, f := range frames {
		size += len(f)
	}
	return size
}

// viaOf is the number of a peer that sends blocks.
func (m *Memory) viaOf(k Key) uint32 {
	if k == m.self {
		return 0
	}
	v, ok := m.byVia[k]
	if !ok {
		v = uint32(len(m.vias))
		m.vias = append(m.vias, k)
		m.byVia[k] = v
	}
	return v
}

// deliver inserts a block whose parents are in m.parents, unless it
// contradicts them.
func (m *Memory) deliver(f *frame, backlog bool) bool {
	height := m.base.height // of what is below a checkpoint nobody looks at the height any more
	ok := true
	parents := m.parents
	if f.n > 1 {
		if parents[0] == below {
			e, found := m.end(f.writer, f.n-1, f.prev)
			ok = found && e.next == f.first
		} else {
			p := m.blocks.at(parents[0])
			ok = m.writers[p.writer].id == f.writer && p.n+1 == f.n && p.first+uint64(p.count) == f.first
			height = max(height, p.height)
		}
		parents = parents[1:]
	}
	for k, i := range parents {
		if i == below {
			continue
		}
		p := m.blocks.at(i)
		ok = ok && m.writers[p.writer].id == f.deps[k].Writer && p.n == f.deps[k].N
		height = max(height, p.height)
	}
	switch {
	case !ok:
		m.refuse(errLinks)
		return false
	case f.height != height+1:
		m.refuse(errHeight)
		return false
	}
	var flags uint8
	if backlog {
		flags = flagBacklog
	}
	if m.early {
		flags |= flagEarly
	}
	room, at := m.arena.reserve(len(f.raw))
	copy(room, f.raw)
	m.insert(f, at, flags)
	return true
}

// deliverWaiting delivers what waited for a block that was delivered, or drops
// what waited for one that was refused, and so on.
func (m *Memory) deliverWaiting(h Hash, ok bool) {
	defer func(early bool) { m.early = early }(m.early)
	m.wake = append(m.wake[:0], woken{h, ok})
	for k := 0; k < len(m.wake); k++ {
		w := m.wake[k]
		for _, e := range m.pending.take(&w.hash, w.ok) {
			if !w.ok {
				m.refuse(errLinks)
				m.wake = append(m.wake, woken{e.hash, false})
				continue
			}
			f := &m.woke
			if err := f.decode(m.hash, e.raw); err != nil {
				continue // it was decoded before
			}
			m.parentsOf(f)
			m.via, m.early = m.viaOf(e.from), e.early
			m.wake = append(m.wake, woken{e.hash, m.deliver(f, e.backlog)})
		}
	}
}

// forked notes that a writer has signed two blocks with one number.
func (m *Memory) forked(w, a, b uint32) {
	wr := &m.writers[w]
	if wr.forked {
		return
	}
	f := Fork{A: hollow(m.raw(a)), B: hollow(m.raw(b))}
	if bytes.Compare(f.A, f.B) > 0 {
		f.A, f.B = f.B, f.A
	}
	wr.forked, wr.proof = true, &f
	m.out.Forks = append(m.out.Forks, Forked{Writer: wr.id, Author: wr.author, N: m.blocks.at(a).n, Proof: f})
	for _, p := range m.sorted {
		if p.active {
			p.forks = append(p.forks, f)
		}
	}
}
