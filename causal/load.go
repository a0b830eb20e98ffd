package causal

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
)

// Loaded is what a Memory found in its Store.
type Loaded struct {
	Blocks  uint64
	Dropped uint64 // records that were damaged, or followed one that was
	Clean   bool   // the log was closed properly the last time, or the Store was new
	Torn    bool   // the last write was cut short
}

// Loaded says what was found in the Store when the log was opened. What was
// dropped comes again from other nodes.
func (m *Memory) Loaded() Loaded { return m.loaded }

// load opens the store.
//
// Every start begins another writer, which says what it continues. So a number
// is never used twice, whatever became of the store: after a crash in the middle
// of a write, on a lost disk, with a restored backup, or in two copies at once.
// It costs one entry in a Pull for every start at which something was said.
func (m *Memory) load() error {
	store := m.cfg.Store
	if store == nil {
		m.identify()
		return m.rotate()
	}
	st, err := store.Load(func(r Record) error {
		if r.Base {
			b, ok := m.openBase(r.Frame)
			if !ok {
				return fmt.Errorf("%w: the checkpoint is damaged", ErrFormat)
			}
			m.install(b)
			return nil
		}
		m.stored++
		if !m.replay(r.Frame) {
			m.loaded.Dropped++
		}
		return nil
	})
	if err != nil {
		return err
	}
	fresh := st.Group == "" && len(st.Key) == 0
	if !fresh && st.Group != m.cfg.Group {
		return errors.Join(ErrWrongGroup, store.Close())
	}
	m.state = st
	m.first = st.First
	m.stored += st.First
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
	m.vouch()
	for i := m.blocks.n; i > 0 && m.me.cont.N == 0; i-- {
		if m.blocks.at(i-1).flags&flagOwn != 0 {
			m.me.cont = m.ref(i - 1)
		}
	}
	m.loaded.Blocks, m.loaded.Clean, m.loaded.Torn = uint64(m.blocks.n), st.Clean || fresh, st.Torn
	if err := m.rotate(); err != nil {
		return err
	}
	m.state.Group, m.state.Key, m.state.Writer = m.cfg.Group, m.cfg.Key.Seed(), m.me.id[:]
	m.state.Clean, m.state.Torn = false, false
	m.state.Inc++
	if err := store.PutState(m.state); err != nil {
		return errors.Join(err, store.Close())
	}
	m.store = store // from here on it is written to
	m.out, m.unstable, m.beats = Ready{}, m.unstable[:0], beats{}
	for i := range m.writers {
		m.writers[i].dirty = false
	}
	return nil
}

func (m *Memory) identify() {
	m.pub = m.cfg.Key.Public().(ed25519.PublicKey)
	m.self = keyOf(m.pub)
	m.vias[0] = m.self
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
	if f.height <= m.base.height {
		return true // summed up since it was stored
	}
	return len(m.parentsOf(f)) == 0 && m.deliver(f, true)
}

// vouch drops stored blocks that were altered on the disk. Each block is
// vouched for by those that follow it, so that only heads need their signatures
// verified: an altered block has another hash, and is a head that nobody
// signed. What followed it has lost its parent.
func (m *Memory) vouch() {
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
			return
		}
		blocks, arena, base := m.blocks, m.arena, m.base
		m.reset()
		m.install(base)
		for i := range blocks.n {
			if b := blocks.at(i); bad[b.hash] || !m.replay(arena.chunks[b.chunk][b.off:b.off+b.size]) {
				m.loaded.Dropped++
			}
		}
	}
}

// parentsOf sets m.parents to the parents of a block that are delivered, the
// writer's own before the others, and returns those that are not.
func (m *Memory) parentsOf(f *frame) (missing []Ref) {
	m.parents = m.parents[:0]
	if f.n > 1 {
		prev := Ref{Writer: f.writer, N: f.n - 1, Hash: f.prev}
		if i, ok := m.parent(prev, true); ok {
			m.parents = append(m.parents, i)
		} else {
			missing = append(missing, prev)
		}
	}
	for _, d := range f.deps {
		if i, ok := m.parent(d, false); ok {
			m.parents = append(m.parents, i)
		} else {
			missing = append(missing, d)
		}
	}
	return missing
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
	m.stored += uint64(len(m.recs))
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
	m.tellStore(true)
	err := m.out.Err
	if !m.broken {
		m.state.Clean, m.state.Writer = true, m.me.id[:]
		if e := m.store.PutState(m.state); e != nil {
			err = e
		}
	}
	if e := m.store.Close(); err == nil {
		err = e
	}
	return err
}
