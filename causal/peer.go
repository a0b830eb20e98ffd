package causal

import (
	"bytes"
	"crypto/ed25519"
	"math"
	"slices"
	"sort"
	"time"
)

// peer is what is known of another node. It is there while it is a member or
// linked, and served while it is both.
type peer struct {
	key                    Key
	member, linked, active bool
	awaited                time.Time // as a new member it may still be linked until then

	// What it said.
	beat       *Beat
	beatAt     time.Time
	said       bool // count and digest are valid
	count      uint64
	digest     Digest
	introduced bool // writer and pub are valid
	writer     WriterID
	pub        [32]byte
	acks       []uint64            // blocks it holds, by writer
	early      map[WriterID]uint64 // of writers not known here
	final      uint64              // it will write above this height only

	// What it is to be told.
	greet    bool // a Beat, first
	ackAll   bool
	ackAt    time.Time
	ackedOf  uint32   // blocks held at the last Ack
	ackBytes uint64   // Memory.took then
	acked    []uint64 // what it was told, by writer
	ackNext  int      // the writer to go on with
	ackMore  bool     // the last Ack had no room for all,
	ackRush  bool     // and was one of those that list everything
	wrote    bool     // a block of it was delivered, of which no Ack says so
	doubts   []Tip
	forks    []Fork
	ask      *Pull
	find     *Ranges
	credit   *Credit
	wants    []Span
	answer   []uint32 // blocks it wants
	compare  *Ranges  // what it has asked
	compared burst
	serving  *session
	cursor   int // of Memory.mine: what was sent to it

	// What it may have that is missing here.
	unchecked bool // its first Beat on this link is to be looked at
	unknown   Ref  // a head that was missing at its last Beat
	since     time.Time
	ahead     Dot // what it holds by its Ack, and is missing here
	aheadAt   time.Time
	lossy     bool       // something from it was dropped
	short     bool       // asked for everything, it did not give it
	exact     []WriterID // of whom it has another branch
	pullAt    time.Time  // not to be asked before
	backoff   time.Duration
}

// SetPeers implements Log.
func (m *Memory) SetPeers(now time.Time, members []Key) {
	m.now = now
	m.present()
	for _, p := range m.sorted {
		p.member = false
	}
	for _, k := range members {
		if k != m.self {
			p := m.peer(k)
			if p.member = true; !slices.Contains(m.members, p) {
				p.awaited = now.Add(patience)
			}
		}
	}
	m.members = m.members[:0]
	m.sorted = slices.DeleteFunc(m.sorted, func(p *peer) bool {
		if !p.member && !p.linked {
			delete(m.peers, p.key)
			return true
		}
		if p.member {
			m.members = append(m.members, p)
		} else {
			p.final, p.acks, p.early = 0, nil, nil
		}
		m.activate(p)
		return false
	})
	m.present()
	m.cp.wait, m.cp.next = 0, time.Time{}
	for w := range m.writers {
		m.restable(uint32(w))
	}
	m.refinal()
	m.settle()
}

// Link implements Log.
func (m *Memory) Link(now time.Time, key Key, up bool) {
	m.now = now
	if key == m.self {
		return
	}
	p := m.peer(key)
	if p.active && up { // another stream in place of the first
		p.linked = false
		m.activate(p)
	}
	p.linked = up
	m.activate(p)
	if !p.member && !p.linked {
		delete(m.peers, key)
		m.sorted = slices.DeleteFunc(m.sorted, func(q *peer) bool { return q == p })
	}
	m.settle()
}

func (m *Memory) peer(k Key) *peer {
	p := m.peers[k]
	if p == nil {
		p = &peer{key: k}
		m.peers[k] = p
		i := sort.Search(len(m.sorted), func(i int) bool { return bytes.Compare(m.sorted[i].key[:], k[:]) > 0 })
		m.sorted = slices.Insert(m.sorted, i, p)
	}
	return p
}

// activate begins or ends to serve a peer. What was under way is lost with the
// stream: each side says anew what it holds, and asks for what it lacks.
func (m *Memory) activate(p *peer) {
	active := p.member && p.linked
	if active == p.active {
		return
	}
	p.active = active
	p.greet, p.ackAll, p.unchecked = active, active, active
	p.ackAt, p.ackedOf, p.acked, p.ackMore = time.Time{}, 0, nil, false
	p.doubts, p.forks, p.ask, p.find, p.credit, p.wants = nil, nil, nil, nil, nil, nil
	p.answer, p.compare, p.serving = nil, nil, nil
	p.unknown, p.lossy, p.exact, p.short = Ref{}, false, nil, false
	p.pullAt, p.backoff, p.aheadAt = time.Time{}, 0, time.Time{}
	p.cursor = len(m.mine) // what is older comes by Pull
	if m.pull != nil && m.pull.from == p {
		m.pull = nil
	}
	if active {
		for i := range m.writers {
			if f := m.writers[i].proof; f != nil {
				p.forks = append(p.forks, *f)
			}
		}
		if p.beat != nil && m.now.Sub(p.beatAt) < recent && m.lacks(p) {
			p.unchecked = false
			p.pullAt = m.now
		}
	}
}

// learn takes over what the peer said of a writer before that was known here.
func (p *peer) learn(id WriterID, w uint32) {
	if n, ok := p.early[id]; ok {
		delete(p.early, id)
		p.setAck(w, n)
	}
}

func (p *peer) setAck(w uint32, n uint64) {
	if int(w) >= len(p.acks) {
		p.acks = append(p.acks, make([]uint64, int(w)+1-len(p.acks))...)
	}
	p.acks[w] = max(p.acks[w], n)
}

func (p *peer) ack(w uint32) uint64 {
	if int(w) < len(p.acks) {
		return p.acks[w]
	}
	return 0
}

// Step implements Log. It keeps no part of msg.
func (m *Memory) Step(now time.Time, from Key, msg Protocol) {
	m.now = now
	p := m.peers[from]
	switch msg := msg.(type) {
	case *Blocks:
		if msg != nil {
			m.receive(from, msg.Frames, false, false)
		}
	case *Batch:
		if msg != nil {
			m.onBatch(p, from, msg)
		}
	case *Fork:
		if msg != nil {
			m.onFork(msg)
		}
	case nil:
	default:
		if p == nil || p.key == m.self {
			m.refuse(errStranger)
			break
		}
		switch msg := msg.(type) {
		case *Beat:
			if msg != nil {
				m.onBeat(p, msg)
			}
		case *Fresh:
			// What is sent again to a newcomer is a part of what it takes over.
			if msg != nil && p.member && m.synced {
				m.onFresh(p, msg)
			}
		case *Ack:
			if msg != nil {
				m.onAck(p, msg)
			}
		case *Pull:
			if msg != nil && p.linked {
				m.onPull(p, msg)
			}
		case *Ranges:
			if msg != nil && p.linked {
				m.onRanges(p, msg)
			}
		case *Diffs:
			if msg != nil {
				m.onDiffs(p, msg)
			}
		case *Base:
			if msg != nil {
				m.onBase(p, msg)
			}
		case *Credit:
			if s := p.serving; msg != nil && s != nil && s.id == msg.Session {
				s.credit = min(s.credit+int64(msg.Bytes), math.MaxInt32)
				s.heard = now
			}
		case *Want:
			if msg != nil && p.linked {
				m.onWant(p, msg)
			}
		}
	}
	m.settle()
}

// has reports whether Next has something for the peer.
func (m *Memory) has(p *peer) bool {
	switch {
	case !p.active:
		return false
	case p.greet, len(p.forks) > 0, p.ask != nil, p.find != nil, p.compare != nil, p.credit != nil, len(p.wants) > 0, len(p.answer) > 0:
		return true
	case m.ackDue(p):
		return true
	case p.serving != nil:
		return p.serving.credit > 0 || len(p.serving.base) > 0
	}
	return m.waits(p)
}

// Next implements Log. Of what a peer is sent first comes what is small and
// lets it ask for what it lacks; then what it asked for; then own blocks.
func (m *Memory) Next(now time.Time, key Key) Protocol {
	m.now = now
	p := m.peers[key]
	if p == nil || !p.active {
		return nil
	}
	m.persist()
	switch {
	case p.greet:
		p.greet = false
		b := m.Beat(now)
		if m.me.id != (WriterID{}) {
			b.Intro = append(append(make([]byte, 0, len(m.pub)+len(m.me.random)), m.pub...), m.me.random[:]...)
		}
		return b
	case p.ask != nil:
		a := p.ask
		p.ask = nil
		return a
	case p.find != nil:
		r := p.find
		p.find = nil
		return r
	case p.credit != nil:
		c := p.credit
		p.credit = nil
		return c
	case len(p.wants) > 0:
		w := &Want{Spans: p.wants}
		p.wants = nil
		return w
	case len(p.forks) > 0:
		f := p.forks[0]
		p.forks = p.forks[1:]
		return &f
	case m.ackDue(p):
		return m.ackFor(p)
	case p.compare != nil:
		return m.diffs(p)
	case len(p.answer) > 0:
		return m.answer(p)
	case p.serving != nil:
		if s := p.serving; s.last != nil && s.credit > 0 {
			if _, more := m.following(p, s); !more {
				s.base, s.last = s.last, nil
			}
		}
		if len(p.serving.base) > 0 {
			return p.serving.part()
		}
		if p.serving.credit <= 0 {
			return nil
		}
		return m.batch(p)
	case m.waits(p):
		return m.live(p)
	}
	return nil
}

// cached is a Blocks message with own blocks from a place in Memory.mine to
// another. All peers at the same place are given the same one.
type cached struct {
	from, to int
	msg      *Blocks
}

// live returns the next own blocks for a peer.
func (m *Memory) live(p *peer) *Blocks {
	i := slices.IndexFunc(m.sent[:], func(c cached) bool { return c.msg != nil && c.from == p.cursor })
	if i < 0 {
		i, m.oldest = m.oldest, (m.oldest+1)%len(m.sent)
		m.sent[i] = cached{}
	}
	c, end := &m.sent[i], m.sendable(p)
	if c.msg == nil || c.to < end && m.room(c) {
		*c = cached{from: p.cursor, to: p.cursor, msg: new(Blocks)}
		for size := 0; c.to < end; c.to++ {
			raw := m.raw(m.mine[c.to])
			if size += len(raw); size > sendBytes && len(c.msg.Frames) > 0 {
				break
			}
			c.msg.Frames = append(c.msg.Frames, raw)
		}
	}
	p.cursor = c.to
	return c.msg
}

// room reports whether another block has come that the message has room for.
func (m *Memory) room(c *cached) bool {
	return len(m.raw(m.mine[c.to]))+framesSize(c.msg.Frames) <= sendBytes
}

// onFork checks a proof. Who has both blocks has seen as much already.
func (m *Memory) onFork(msg *Fork) {
	var f [2]frame
	for i, raw := range [][]byte{msg.A, msg.B} {
		if err := f[i].decode(m.hash, raw); err != nil {
			m.refuse(err)
			return
		}
	}
	w, ok := m.byID[f[0].writer]
	if !ok || f[1].writer != f[0].writer || f[1].n != f[0].n || f[1].hash == f[0].hash {
		m.refuse(errProof)
		return
	}
	wr := &m.writers[w]
	if wr.forked {
		return
	}
	for i := range f {
		if _, held := m.table.find(&m.blocks, &f[i].hash); !held && !ed25519.Verify(wr.pub[:], signed(f[i].hash), f[i].sig) {
			m.fault(errSignature)
			return
		}
	}
	wr.forked, wr.proof = true, &Fork{A: bytes.Clone(msg.A), B: bytes.Clone(msg.B)}
	m.out.Forks = append(m.out.Forks, Forked{Writer: wr.id, Author: wr.author, N: f[0].n, Proof: *wr.proof})
}
