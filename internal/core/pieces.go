package core

import (
	"time"

	"github.com/seed-885536be/p2p/membership"
)

// pieceSize is the size of all pieces of a block but the last.
const pieceSize = 1024

func piecesOf(size int) uint32 { return uint32((size + pieceSize - 1) / pieceSize) }

// piece is a part of a block of its sender, by datagram to the group. With no
// Size it is none, is for one node, and asks whether that takes them.
type piece struct {
	N     uint64 // of the block
	Size  uint32 // of the block
	Index uint32 // of the piece
	Data  []byte
}

// missing says what a node lacks of the blocks that the receiver casts, by
// datagram; and with nothing in it that it takes pieces.
type missing struct {
	Spans []stretch
}

// stretch are pieces of a block: From and those before To.
type stretch struct {
	N        uint64
	From, To uint32
}

// Times and bounds of a receiver of pieces.
const (
	chaseWait  = 3 * time.Millisecond // after a piece was overtaken
	chaseQuiet = 20 * time.Millisecond
	chaseNext  = 40 * time.Millisecond // until it is asked for again, then twice as long
	chaseLast  = 3                     // times
	chaseSpans = 48                    // in one message
	ahead      = 4096                  // blocks after those held
	eachPieces = 4 << 20               // bytes of blocks of one member,
	allPieces  = 32 << 20
	stale      = 3 * time.Second // what no piece came of for so long is forgotten
)

// pieces are what came of the blocks of a member.
type pieces struct {
	blocks map[uint64]*partial
	done   map[uint64]struct{} // blocks that were whole, and are not known to be held
	first  uint64              // the lowest block that a piece came of
	top    uint64              // the highest,
	topAt  uint32              // and its last piece so far
	bytes  int
	last   time.Time // when a piece came
	due    time.Time // when to ask; zero: nothing was overtaken
	tries  int       // since something came
}

// partial is a block of which not all has come.
type partial struct {
	buf  []byte
	has  []bool
	left int
}

// asks answers a member that asks whether this node takes pieces.
func (c *cast) asks(now time.Time, from membership.Key) {
	if c.log != nil && c.told.take(now, 100*time.Millisecond, castTold) {
		c.out = append(c.out, castOut{to: from, body: new(missing)})
	}
}

// take takes a piece of a member's block. It returns the block, once it is
// whole.
func (c *cast) take(now time.Time, from membership.Key, p *piece) []byte {
	if c.log == nil {
		return nil
	}
	held, ok := c.log.Held(from)
	if !ok || c.members[from] == nil || p.N <= held || p.N > held+ahead || p.Size > maxPieces ||
		p.Index >= piecesOf(int(p.Size)) || len(p.Data) != min(pieceSize, int(p.Size)-int(p.Index)*pieceSize) {
		return nil
	}
	r := c.readers[from]
	if r == nil {
		r = &pieces{blocks: make(map[uint64]*partial), done: make(map[uint64]struct{}), first: p.N, top: p.N}
		c.readers[from] = r
	}
	c.prune(r, held)
	r.last = now
	r.first = min(r.first, p.N)
	switch {
	case p.N > r.top || p.N == r.top && p.Index > r.topAt:
		if overtaken := p.N > r.top+1 || p.N == r.top && p.Index > r.topAt+1 || p.N == r.top+1 && (p.Index > 0 || r.blocks[r.top] != nil); overtaken && r.due.IsZero() {
			r.due = now.Add(chaseWait + c.turn())
		}
		r.top, r.topAt = p.N, p.Index
	}
	if _, done := r.done[p.N]; done {
		return nil
	}
	b := r.blocks[p.N]
	if b == nil {
		if r.bytes+int(p.Size) > eachPieces || c.held+int(p.Size) > allPieces {
			return nil
		}
		n := piecesOf(int(p.Size))
		b = &partial{buf: make([]byte, p.Size), has: make([]bool, n), left: int(n)}
		r.blocks[p.N] = b
		r.bytes += len(b.buf)
		c.held += len(b.buf)
	}
	if len(b.buf) != int(p.Size) || b.has[p.Index] {
		return nil
	}
	copy(b.buf[int(p.Index)*pieceSize:], p.Data)
	b.has[p.Index] = true
	r.tries = 0
	c.count.Took++
	if b.left--; b.left > 0 {
		return nil
	}
	c.drop(r, p.N)
	r.done[p.N] = struct{}{}
	return b.buf
}

// maxPieces is the size of the largest block that is taken in pieces.
const maxPieces = 2 << 20

// turn spreads the questions of a large group, in which many may lack the same.
func (c *cast) turn() time.Duration {
	return time.Duration(c.self[0]) * time.Duration(len(c.members)) * time.Millisecond / (4 * 256)
}

// prune forgets blocks that are held.
func (c *cast) prune(r *pieces, held uint64) {
	if r.first > held {
		return
	}
	for n := range r.blocks {
		if n <= held {
			c.drop(r, n)
		}
	}
	for n := range r.done {
		if n <= held {
			delete(r.done, n)
		}
	}
	r.first = held + 1
}

func (c *cast) drop(r *pieces, n uint64) {
	r.bytes -= len(r.blocks[n].buf)
	c.held -= len(r.blocks[n].buf)
	delete(r.blocks, n)
}

// forget forgets all of a member.
func (c *cast) forget(from membership.Key, r *pieces) {
	c.held -= r.bytes
	delete(c.readers, from)
}

// deadline is when to look for what is lacking.
func (r *pieces) deadline() time.Time {
	if !r.due.IsZero() {
		return r.due
	}
	if len(r.blocks) > 0 {
		return r.last.Add(chaseQuiet) // of the last block nothing more may come
	}
	return r.last.Add(stale)
}

// chase asks for what is lacking.
func (c *cast) chase(now time.Time, from membership.Key, r *pieces) {
	if now.Sub(r.last) >= stale {
		c.forget(from, r)
		return
	}
	if held, ok := c.log.Held(from); ok {
		c.prune(r, held)
	}
	m := &missing{}
	quiet := now.Sub(r.last) >= chaseQuiet
	for n := r.first; n <= r.top && len(m.Spans) < chaseSpans; n++ {
		if _, done := r.done[n]; !done {
			r.lacks(m, n, quiet)
		}
	}
	r.due = time.Time{}
	if len(m.Spans) == 0 {
		return
	}
	r.due = now.Add(chaseNext << r.tries)
	r.tries = min(r.tries+1, chaseLast)
	c.out = append(c.out, castOut{to: from, body: m})
}

// lacks adds what is lacking of a block. Of the last one what is behind its last
// piece may still come, unless it has been quiet.
func (r *pieces) lacks(m *missing, n uint64, quiet bool) {
	b := r.blocks[n]
	if b == nil {
		if n != r.top { // not a piece of it came
			m.Spans = append(m.Spans, stretch{N: n, To: ^uint32(0)})
		}
		return
	}
	end := uint32(len(b.has))
	if n == r.top && !quiet {
		end = r.topAt
	}
	for i := uint32(0); i < end && len(m.Spans) < chaseSpans; i++ {
		if b.has[i] {
			continue
		}
		s := stretch{N: n, From: i, To: i + 1}
		for s.To < end && !b.has[s.To] {
			s.To++
		}
		m.Spans = append(m.Spans, s)
		i = s.To
	}
}
