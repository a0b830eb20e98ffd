package causal

import (
	"bytes"
	"slices"
	"time"
)

// Compaction says when what is old is given up by the whole group, headers and
// all, so that a history can go on for years. All members must ask for it: one
// that does not, does not vote, and without its vote nothing is given up.
//
// The member with the lowest key proposes a height; every member that holds the
// same blocks up to it, and asks for compaction, votes for it by a signed block.
// When all have voted, nobody will ever write up to that height again, and a
// few hundred bytes and 104 a writer stand for all that was said up to it. The
// digest, the positions and the numbers of all other messages do not change.
// Who joins takes over that, with all the votes, and what follows.
type Compaction struct {
	// Age is how long messages stay at least, from when they came here. Zero,
	// the default, is for ever: this node does not vote.
	Age time.Duration
	// Away is how long those who are gone are waited for: 30 days. What an
	// author that is no member may still bring follows its own last word, and
	// nothing above that is given up while it was there, or heard of, within
	// this time. See Ready.Displaced for who comes later.
	Away time.Duration
	// Blocks is how many blocks are worth a vote: 4,096.
	Blocks int
	// Keep makes this node vote, and give up nothing itself. If it comes when
	// others have given up something, it takes that over too, from a member that
	// has it; if nobody has who is linked within two seconds, it takes what they
	// have left.
	Keep bool
}

func (c Compaction) on() bool { return c.Age > 0 }

// checkpoints is how far the group has come to agree.
type checkpoints struct {
	at     time.Time // when to look next; zero before the first time
	opened int64     // when the log got its first time, in milliseconds
	ready  uint64    // up to here all is old enough and everywhere
	own    base      // what this node voted for last
	votes  map[Key]voted
	seen   map[Key]time.Time // when a peer was a member last
	look   bool              // a vote has come
	wait   time.Duration     // between two proposals, and
	next   time.Time         // the next one at the earliest
}

// voted is a peer's last vote.
type voted struct {
	height uint64
	commit Hash
	place  uint32
}

// voted notes a vote.
func (m *Memory) voted(k Key, height uint64, commit Hash, place uint32) {
	if height <= m.base.height {
		return
	}
	if m.cp.votes == nil {
		m.cp.votes = make(map[Key]voted)
	}
	m.cp.votes[k] = voted{height, commit, place}
	m.cp.look = true
}

// present notes who is there.
func (m *Memory) present() {
	if m.cp.seen == nil {
		m.cp.seen = make(map[Key]time.Time)
	}
	for _, p := range m.members {
		m.cp.seen[p.key] = m.now
	}
}

// electorate is who must agree, in order, and whether this node is the first.
func (m *Memory) electorate() (all []Key, first bool) {
	for _, p := range m.members {
		all = append(all, p.key)
	}
	all = append(all, m.self)
	slices.SortFunc(all, func(a, b Key) int { return bytes.Compare(a[:], b[:]) })
	return all, all[0] == m.self
}

// checkpoint proposes, votes, and concludes, if it is time to.
func (m *Memory) checkpoint() {
	c, cfg := &m.cp, m.cfg.Compaction
	if !cfg.on() || m.closed || m.now.IsZero() {
		return
	}
	if c.at.IsZero() {
		c.opened = m.now.UnixMilli()
	}
	if m.now.Before(c.at) && !c.look {
		return
	}
	late := !m.now.Before(c.at)
	if late {
		c.at = m.now.Add(min(max(cfg.Age/8, time.Second), time.Minute))
	}
	c.look = false
	if m.conclude() || m.pull != nil {
		return
	}
	height := m.compactable()
	all, first := m.electorate()
	for _, k := range all {
		v, ok := c.votes[k]
		if !ok || v.height > height || v.height <= max(m.base.height, c.own.height) {
			continue
		}
		if b := m.baseAt(v.height, all); b.commit == v.commit {
			m.vote(b)
			return
		}
	}
	if first && late && height > m.base.height && height > c.own.height && !m.now.Before(c.next) && m.between(height) >= uint64(cfg.Blocks) {
		c.wait = min(max(2*c.wait, c.at.Sub(m.now)), 24*time.Hour) // not all may want it
		c.next = m.now.Add(c.wait)
		m.vote(m.baseAt(height, all))
	}
}

// between is how many blocks there are above the base up to a height.
func (m *Memory) between(height uint64) (n uint64) {
	for h := max(m.base.height, m.order.floor) + 1; h <= height; h++ {
		n += uint64(m.order.at(h).size)
	}
	return n
}

// vote writes this node's vote.
func (m *Memory) vote(b base) {
	m.cp.own = b
	for m.me.tip == 0 || m.others() > MaxDeps {
		m.write(m.now, 0)
	}
	m.writeAs(m.now, body{kind: kindCheckpoint, upto: b.height, commit: b.commit})
	m.conclude()
}

// conclude gives up what all have agreed on, and reports whether they have.
func (m *Memory) conclude() bool {
	b := m.cp.own
	if b.height <= m.base.height {
		return false
	}
	votes := make([]vote, 0, len(b.members))
	for _, k := range b.members {
		v, ok := m.cp.votes[k]
		if !ok || v.commit != b.commit {
			return false
		}
		votes = append(votes, m.voteAt(v.place))
	}
	for _, v := range votes {
		b.blob = appendVote(b.blob, v)
	}
	m.cp.wait, m.cp.next = 0, time.Time{}
	m.adopt(b)
	return true
}

// compactable is the height up to which everything is old, held by all members,
// and followed by what may still come.
func (m *Memory) compactable() uint64 {
	m.refinal()
	c, cfg := &m.cp, m.cfg.Compaction
	c.ready = max(c.ready, m.base.height, m.order.floor)
	least := m.final
	word, heard := make(map[Key]uint64), make(map[Key]int64)
	for i := range m.writers {
		w := &m.writers[i]
		if w.author == m.self || m.peers[w.author] != nil && m.peers[w.author].member {
			continue
		}
		k := w.author
		word[k], heard[k] = max(word[k], m.base.height), max(heard[k], m.cp.seen[k].UnixMilli())
		for _, e := range w.ends {
			heard[k] = max(heard[k], min(e.wall, c.opened))
		}
		for _, at := range m.ends(w) {
			b := m.blocks.at(at)
			word[k] = max(word[k], b.height)
			if b.came > 0 {
				heard[k] = max(heard[k], b.came)
			} else {
				heard[k] = max(heard[k], min(b.wall, c.opened))
			}
		}
	}
	for k, h := range word {
		if m.now.UnixMilli()-heard[k] < cfg.Away.Milliseconds() {
			least = min(least, h)
		}
	}
	for ; c.ready < least; c.ready++ {
		for at := m.order.at(c.ready + 1).head; at != 0; {
			b := m.blocks.at(at - 1)
			at = b.next
			age := m.now.UnixMilli() - b.came
			if b.came == 0 {
				age = m.now.UnixMilli() - min(b.wall, c.opened)
			}
			if age < cfg.Age.Milliseconds() || !m.everywhere(b) {
				return c.ready
			}
		}
	}
	return min(c.ready, least)
}

// everywhere reports whether all members hold a block.
func (m *Memory) everywhere(b *block) bool {
	w := &m.writers[b.writer]
	for _, p := range m.members {
		if p.key != w.author && len(w.branches) == 0 && p.ack(b.writer) < b.n {
			return false
		}
	}
	return true
}

// adopt takes a base that all its members have signed.
func (m *Memory) adopt(b base) {
	if !b.exceeds(m.base.height, m.base.commit) {
		return
	}
	m.persist()
	same := m.leadsTo(&b)
	m.pending = newPending() // what waits may fit now, or never; it comes again
	for k, v := range m.cp.votes {
		if v.height <= b.height {
			delete(m.cp.votes, k)
		}
	}
	if !same {
		m.rebase(b)
		return
	}
	m.base = b
	for _, e := range b.ends {
		w := &m.writers[m.byID[e.writer]]
		w.low = max(w.low, e.n)
	}
	if c := m.cfg.Compaction; !c.on() || c.Keep {
		return
	}
	m.discard()
	m.compactStore()
}

// leadsTo reports whether a base sums up just what is held up to its height.
func (m *Memory) leadsTo(b *base) bool {
	return m.order.top() > b.height && b.height >= m.order.floor && m.baseAt(b.height, b.members).commit == b.commit &&
		!slices.ContainsFunc(m.heads, func(i uint32) bool { return m.blocks.at(i).height <= b.height })
}

// compactStore tells the Store what is gone at its beginning.
func (m *Memory) compactStore() {
	if m.store == nil || m.broken || m.undecided {
		return
	}
	if err := m.store.Compact(m.first+uint64(m.blocks.first), m.base.blob); err != nil {
		m.out.Err = err
		m.broken = true
	}
}

// rebase begins anew from a base that this log's blocks do not lead to: it had
// not heard of all that is in it, and maybe holds what is not. What fits on the
// base stays. What does not is looked at again when a Pull has brought what the
// others hold; see decide.
func (m *Memory) rebase(b base) {
	if m.openCount > 0 {
		m.flush(m.now)
		m.persist()
	}
	blocks, arena, writers, index := m.blocks, m.arena, m.writers, m.index
	vias, byVia := m.vias, m.byVia
	for _, p := range m.sorted {
		held := make(map[WriterID]uint64)
		for w, n := range p.acks {
			held[writers[w].id] = n
		}
		for id, n := range p.early {
			held[id] = n
		}
		p.early, p.acks = held, nil
		p.acked, p.ackAll = nil, p.active
		p.answer, p.serving, p.doubts, p.cursor = nil, nil, nil, 0
	}
	m.cp.votes, m.cp.ready, m.final = nil, 0, 0
	if m.me.tip > 0 {
		m.me.cont, m.me.tip = m.ref(m.me.tip-1), 0
	}
	m.reset()
	m.vias, m.byVia = vias, byVia
	m.mine, m.sent, m.unstable = m.mine[:0], [8]cached{}, m.unstable[:0]
	m.held, m.heldBut, m.heldFirst = 0, nil, 0
	m.install(b)
	for i := range blocks.n {
		if blocks.gone(i) {
			continue
		}
		x := blocks.at(i)
		l := late{raw: arena.chunks[x.chunk][x.off : x.off+x.size], author: writers[x.writer].author, via: x.via, index: x.msgs, flags: x.flags}
		m.index = l.index
		if !m.fits(l) {
			m.late = append(m.late, l)
		}
	}
	for i := range writers {
		for _, e := range writers[i].ends {
			if w, ok := m.byID[e.writer]; !ok {
				m.out.Forgotten += e.next - 1
			} else if known := m.writers[w].next(); known < e.next {
				m.out.Forgotten += e.next - known
			}
		}
	}
	m.index = max(index, m.order.msgs)
	m.begun++
	m.out.Rebased, m.out.Digest = true, true
	m.first, m.undecided = m.stored, true
	if err := m.rotate(); err != nil {
		m.out.Err = err
	}
}

// next is the number after those of the writer's messages that a base sums up.
func (w *writer) next() uint64 {
	n := uint64(1)
	for _, e := range w.ends {
		n = max(n, e.next)
	}
	return n
}

// late is a block that was held before a rebase.
type late struct {
	raw    []byte
	author Key
	via    uint32
	index  uint64 // of its first message
	flags  uint8
}

// fits delivers a block that was held before, and reports whether it is held
// now, or summed up.
func (m *Memory) fits(l late) bool {
	f := &m.woke
	if f.decode(m.hash, l.raw) != nil || m.holds(&f.hash) {
		return true
	}
	if w, ok := m.byID[f.writer]; ok && f.n <= m.writers[w].low {
		return true
	}
	if f.height <= m.base.height || len(m.parentsOf(f)) > 0 {
		return false
	}
	m.via = l.via
	ok := m.deliver(f, l.flags&flagBacklog != 0)
	m.via = 0
	return ok
}

// decide gives up the blocks that fit nowhere, here as in the whole group. Own
// messages among them are said again.
func (m *Memory) decide() {
	m.undecided = false
	var again [][]byte
	for _, l := range m.late {
		if m.fits(l) {
			continue
		}
		var f frame
		_ = f.decode(m.hash, l.raw) // it was decoded before
		rest := f.payload
		if !parses(rest, f.count) {
			rest = nil
		}
		for k := range uint64(f.count) {
			var data []byte
			if data, rest = next(rest); l.author == m.self && data != nil {
				again = append(again, data)
				continue
			}
			m.out.Displaced = append(m.out.Displaced, Message{
				ID: MessageID{f.writer, f.first + k}, Author: l.author, Data: data, Height: f.height,
				Wall: time.UnixMilli(f.wall), Index: l.index + k, Own: l.author == m.self,
			})
		}
	}
	m.late = nil
	for _, data := range again {
		if _, err := m.Append(m.now, data); err != nil {
			m.out.Err = err
		}
	}
	if m.openCount > 0 {
		m.flush(m.now)
	}
	// What is new is stored before what is old goes: if this is cut short, it
	// is done again.
	m.durable = true
	m.persist()
	m.compactStore()
}

// basePart is how much of a base travels in a message.
const basePart = 12 << 10

// onBase takes a part of a base, in the answer to a Pull.
func (m *Memory) onBase(p *peer, msg *Base) {
	q := m.pull
	if q == nil || q.from != p || q.session != msg.Session {
		return
	}
	if len(q.base)+len(msg.Part) > maxBase {
		m.fault(errTooLarge)
		return
	}
	q.until = m.now.Add(m.cfg.PullTimeout)
	q.base = append(q.base, msg.Part...)
	if msg.More {
		return
	}
	b, ok := m.openBase(q.base)
	q.base = nil
	switch {
	case !ok || !m.vouched(&b, p.key):
		m.fault(errBase)
	case !q.whole || m.leadsTo(&b):
		m.adopt(b)
	case q.came:
		q.last = &b // all before it may still come
	default:
		// This one has given up what is before. Others may not have.
		if p.short = true; !m.keeper() {
			m.adopt(b)
			return
		}
		m.pull = nil
		for _, o := range m.sorted {
			if o.active && !o.short && o.pullAt.IsZero() {
				o.lossy, o.pullAt = true, m.now.Add(o.backoff)
			}
		}
	}
}

// vouched reports whether one that is here, the given one among them, has
// signed a base.
func (m *Memory) vouched(b *base, one Key) bool {
	return slices.ContainsFunc(b.members, func(k Key) bool { return k == one || m.peers[k] != nil && m.peers[k].member })
}

// basePart returns the next part of the base for a peer that pulls.
func (s *session) part() *Base {
	n := min(len(s.base), basePart)
	b := &Base{Session: s.id, Part: s.base[:n:n], More: n < len(s.base)}
	s.base = s.base[n:]
	return b
}
