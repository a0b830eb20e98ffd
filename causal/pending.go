package causal

import (
	"bytes"
	"slices"
	"time"
)

// pending holds authentic blocks that came before one of their parents. It is
// a cache: what is dropped comes again by a Want or a Pull.
type pending struct {
	byHash map[Hash]*waiting
	after  map[Hash][]*waiting // by a parent that is missing
	shares map[WriterID]*share
	list   []*waiting // in order of arrival; those gone are skipped
	bytes  int
}

type waiting struct {
	hash    Hash
	prev    Hash // zero for a genesis
	writer  WriterID
	n       uint64
	height  uint64
	raw     []byte
	from    Key
	backlog bool
	early   bool
	gone    bool
	missing []Ref
	since   time.Time
	ask     time.Time // when to ask for what is missing
	tries   int
}

// share is what one writer uses of the buffer.
type share struct {
	blocks int
	bytes  int
	known  bool // its genesis waits here
	pub    [32]byte
}

func newPending() pending {
	return pending{byHash: make(map[Hash]*waiting), after: make(map[Hash][]*waiting), shares: make(map[WriterID]*share)}
}

func (p *pending) add(f *frame, missing []Ref, from Key, backlog bool, now time.Time) {
	e := &waiting{
		hash: f.hash, prev: f.prev, writer: f.writer, n: f.n, height: f.height, raw: bytes.Clone(f.raw),
		from: from, backlog: backlog, missing: missing, since: now, ask: now.Add(wantDelay),
	}
	p.byHash[e.hash] = e
	for i := range missing {
		p.after[missing[i].Hash] = append(p.after[missing[i].Hash], e)
	}
	s := p.shares[e.writer]
	if s == nil {
		s = new(share)
		p.shares[e.writer] = s
	}
	if f.kind == kindGenesis {
		s.known, s.pub = true, f.pub
	}
	s.blocks++
	s.bytes += len(e.raw)
	p.bytes += len(e.raw)
	p.list = append(p.list, e)
}

// awaits reports whether a block that waits names h as its writer's block
// before: that makes h authentic.
func (p *pending) awaits(w WriterID, h *Hash) bool {
	for _, e := range p.after[*h] {
		if e.writer == w && e.prev == *h {
			return true
		}
	}
	return false
}

// take tells those that wait for h that it was delivered, and returns those
// that wait for nothing more. If h was refused instead, it returns all.
func (p *pending) take(h *Hash, ok bool) []*waiting {
	list := p.after[*h]
	if list == nil {
		return nil
	}
	delete(p.after, *h)
	ready := list[:0]
	for _, e := range list {
		if e.gone {
			continue // it names h twice
		}
		e.missing = slices.DeleteFunc(e.missing, func(r Ref) bool { return r.Hash == *h })
		if !ok || len(e.missing) == 0 {
			p.remove(e)
			ready = append(ready, e)
		}
	}
	return ready
}

func (p *pending) remove(e *waiting) {
	if e.gone {
		return
	}
	e.gone = true
	delete(p.byHash, e.hash)
	for i := range e.missing {
		h := e.missing[i].Hash
		if l := slices.DeleteFunc(p.after[h], func(x *waiting) bool { return x == e }); len(l) > 0 {
			p.after[h] = l
		} else {
			delete(p.after, h)
		}
	}
	s := p.shares[e.writer]
	s.blocks--
	s.bytes -= len(e.raw)
	if s.blocks == 0 {
		delete(p.shares, e.writer)
	} else if e.n == 1 {
		s.known = false
	}
	p.bytes -= len(e.raw)
	if len(p.list) > 2*len(p.byHash)+16 {
		p.list = slices.DeleteFunc(p.list, func(x *waiting) bool { return x.gone })
	}
}

// victim is the block to give up when the buffer is full: of the writer that
// uses most, the one furthest up, since what is below is of use sooner.
func (p *pending) victim(byBytes bool) *waiting {
	var worst WriterID
	most := -1
	for w, s := range p.shares {
		use := s.blocks
		if byBytes {
			use = s.bytes
		}
		if use > most || use == most && bytes.Compare(w[:], worst[:]) > 0 {
			worst, most = w, use
		}
	}
	var v *waiting
	for _, e := range p.list {
		if e.gone || e.writer != worst {
			continue
		}
		if v == nil || e.height > v.height || e.height == v.height && bytes.Compare(e.hash[:], v.hash[:]) > 0 {
			v = e
		}
	}
	return v
}

// missing counts the blocks that those in the buffer follow and that are not
// here. What these follow in turn nobody knows before they come.
func (p *pending) missing() (n uint64) {
	for h := range p.after {
		if p.byHash[h] == nil {
			n++
		}
	}
	return n
}

// limit keeps the buffer in its bounds.
func (m *Memory) limit() {
	for {
		p := &m.pending
		bytes := p.bytes > m.cfg.PendingBytes
		if !bytes && len(p.byHash) <= m.cfg.PendingBlocks {
			return
		}
		m.evict(p.victim(bytes))
	}
}

// missed notes that a peer holds a block that can be had by a Pull only.
func (m *Memory) missed(from Key, h *Hash) {
	if q := m.peers[from]; q != nil && !m.holds(h) {
		q.lossy = true
		if q.pullAt.IsZero() {
			q.pullAt = m.now.Add(max(stall, q.backoff))
		}
	}
}

func (m *Memory) evict(e *waiting) {
	m.pending.remove(e)
	m.refuse(errPendingFull)
	if q := m.peers[e.from]; q != nil {
		q.lossy = true
		if q.pullAt.IsZero() {
			q.pullAt = m.now.Add(stall)
		}
	}
}
