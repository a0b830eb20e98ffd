package causal

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
)

// load opens the store. Only if the log was closed properly, and the store
// holds all that it held then, the own writer is taken up again: otherwise a
// number might be used twice. Else another writer is begun, which says what it
// continues.
func (m *Memory) load() error {
	if store := m.cfg.Store; store != nil {
		whole := true
		st, err := store.Load(func(r Record) error {
			whole = m.replay(r.Frame) && whole
			return nil
		})
		if err != nil {
			return err
		}
		if st.Group != "" && st.Group != m.cfg.Group || st.Group == "" && m.blocks.n > 0 {
			return ErrWrongGroup
		}
		m.state = st
		if m.cfg.Key == nil && len(st.Key) == ed25519.SeedSize {
			m.cfg.Key = ed25519.NewKeyFromSeed(st.Key)
		}
		if m.cfg.Key == nil {
			seed := make([]byte, ed25519.SeedSize)
			if _, err := io.ReadFull(m.cfg.Rand, seed); err != nil {
				return fmt.Errorf("causal: no randomness: %w", err)
			}
			m.cfg.Key = ed25519.NewKeyFromSeed(seed)
		}
		m.identify()
		for i := range m.blocks.n {
			if b := m.blocks.at(i); m.writers[b.writer].author == m.self {
				b.flags |= flagOwn
			}
		}
		whole = m.vouch() && whole
		m.resume(st, whole && st.Clean && !st.Torn)
		m.state.Group, m.state.Key, m.state.Clean, m.state.Torn = m.cfg.Group, m.cfg.Key.Seed(), false, false
		m.state.Inc++
		if m.me.id == (WriterID{}) {
			if err := m.rotate(); err != nil {
				return err
			}
		}
		m.state.Writer = m.me.save(Hash{})
		if err := store.PutState(m.state); err != nil {
			return err
		}
		m.store = store // from here on it is written to
	} else {
		m.identify()
		if err := m.rotate(); err != nil {
			return err
		}
	}
	m.out, m.unstable = Ready{}, m.unstable[:0]
	for i := range m.writers {
		m.writers[i].dirty = false
	}
	m.beats = beats{}
	return nil
}

func (m *Memory) identify() {
	m.pub = m.cfg.Key.Public().(ed25519.PublicKey)
	m.self = keyOf(m.pub)
}

// replay delivers a stored block, and reports whether it was good.
func (m *Memory) replay(raw []byte) bool {
	f := &m.woke
	if err := f.decode(m.hash, raw); err != nil {
		return false
	}
	if f.kind == kindGenesis && writerID(m.cfg.Group, f.pub[:], f.random[:]) != f.writer {
		return false
	}
	if _, ok := m.table.find(&m.blocks, &f.hash); ok {
		return true
	}
	return m.parentsOf(f) && m.deliver(f, true)
}

// vouch drops stored blocks that were altered on the disk, and reports whether
// there were none. Each block is vouched for by those that follow it, so that
// only heads need their signatures verified: an altered block has another
// hash, and is a head that nobody signed. What followed it has lost its parent
// and comes again from other nodes.
func (m *Memory) vouch() bool {
	bad := make(map[Hash]bool)
	for {
		n := len(bad)
		for _, h := range m.heads {
			f := &m.woke
			if f.decode(m.hash, m.raw(h)) != nil || !ed25519.Verify(m.writers[m.blocks.at(h).writer].pub[:], signed(f.hash), f.sig) {
				bad[m.blocks.at(h).hash] = true
			}
		}
		if len(bad) == n {
			return n == 0
		}
		blocks, arena := m.blocks, m.arena
		m.reset()
		for i := range blocks.n {
			if b := blocks.at(i); !bad[b.hash] {
				m.replay(arena.chunks[b.chunk][b.off : b.off+b.size])
			}
		}
	}
}

// parentsOf sets m.parents to the parents of a block, if all are delivered.
func (m *Memory) parentsOf(f *frame) bool {
	m.parents = m.parents[:0]
	if f.n > 1 {
		i, ok := m.table.find(&m.blocks, &f.prev)
		if !ok {
			return false
		}
		m.parents = append(m.parents, i)
	}
	for k := range f.deps {
		i, ok := m.table.find(&m.blocks, &f.deps[k].Hash)
		if !ok {
			return false
		}
		m.parents = append(m.parents, i)
	}
	return true
}

// A writer's private state, as it is stored: its ID and random bytes, how many
// blocks it has, and the hash of the last.
const writerState = 16 + 16 + 8 + 32

func (o *own) save(tip Hash) []byte {
	b := append(make([]byte, 0, writerState), o.id[:]...)
	b = append(b, o.random[:]...)
	b = binary.BigEndian.AppendUint64(b, o.n)
	return append(b, tip[:]...)
}

// resume takes up the own writer if it is certain that it has written no more
// than is here.
func (m *Memory) resume(st State, sure bool) {
	if len(st.Writer) != writerState {
		return
	}
	id := WriterID(st.Writer[:16])
	w, ok := m.byID[id]
	if ok {
		// Whatever happens, what is written next continues this.
		wr := &m.writers[w]
		m.me.cont = m.ref(wr.blocks[len(wr.blocks)-1])
	}
	n := binary.BigEndian.Uint64(st.Writer[32:])
	if !sure || writerID(m.cfg.Group, m.pub, st.Writer[16:32]) != id {
		return
	}
	var tip uint32
	next := uint64(1)
	if n > 0 {
		if !ok {
			return
		}
		wr := &m.writers[w]
		if len(wr.branches) > 0 || wr.forked || uint64(len(wr.blocks)) != n {
			return
		}
		tip = wr.blocks[n-1] + 1
		b := m.blocks.at(tip - 1)
		if !bytes.Equal(b.hash[:], st.Writer[40:]) {
			return
		}
		next = b.first + uint64(b.count)
	} else if ok {
		return
	}
	m.me = own{id: id, random: [16]byte(st.Writer[16:32]), tip: tip, n: n, next: next, doubtful: n > 0}
}

// persist writes what has been delivered to the store. It comes before
// anything of it is sent or shown: one write for all since the last.
func (m *Memory) persist() {
	if len(m.recs) == 0 {
		return
	}
	if err := m.store.Append(m.recs, m.durable); err != nil {
		m.out.Err = err
		m.broken = true // what follows would lack its parents
	}
	clear(m.recs)
	m.recs, m.durable = m.recs[:0], false
}

// Close writes what is open, and closes the Store.
func (m *Memory) Close() error {
	if m.closed {
		return nil
	}
	if m.openCount > 0 {
		m.flush(m.now)
	}
	m.closed = true
	if m.store == nil {
		return nil
	}
	m.persist()
	err := m.out.Err
	if !m.broken {
		var tip Hash
		if m.me.tip > 0 {
			tip = m.blocks.at(m.me.tip - 1).hash
		}
		m.state.Writer, m.state.Clean = m.me.save(tip), true
		if e := m.store.PutState(m.state); e != nil {
			err = e
		}
	}
	if e := m.store.Close(); err == nil {
		err = e
	}
	return err
}
