package causal

import (
	"bytes"
	"math"
	"slices"
	"time"
)

// When an Ack is sent. The first one after a rest is sent at once, and those after
// it at the latest so long after the one before to the same peer.
const (
	ackDelay = 20 * time.Millisecond // in a group of up to 8; in a larger one as much longer
	ackBytes = 256 << 10             // of payload that was delivered meanwhile
	ackFew   = 16                    // in a group of more, ackPace tells who is told later,
	ackRest  = time.Second           // but no later than this, and
	ackMost  = 1 << 20               // the one that writes after so many bytes at most

	ackTips   = 384 // entries of an Ack
	ackDoubts = 120
	maxEarly  = 1 << 16 // writers that a peer may speak of before they are known here
)

// ackPace is how long after the one before, and after how many bytes, an Ack to
// a peer is sent. So in a group of n, all know that all hold what was said last
// this long after it has arrived: max(20 ms, n · 2.5 ms) up to n = 16; in larger
// ones the author does by then, who sends again, and casts, by that, and all others
// n/16 times as late, but within a second, or the author's time if that is longer.
//
// A node gets 400 Acks a second at most by the time, however large the group is,
// and while it does not write itself, fewer in groups of more than 16: 6,400/n up
// to n = 80, where the second is reached, then n up to 400 again.
func (m *Memory) ackPace(p *peer) (wait time.Duration, bytes uint64) {
	n := len(m.members) + 1
	wait = ackDelay * time.Duration(max(8, n)) / 8
	switch {
	case n <= ackFew:
		return wait, ackBytes
	case p.wrote:
		return wait, min(ackBytes*uint64(n)/ackFew, ackMost)
	}
	return max(wait, min(wait*time.Duration(n)/ackFew, ackRest)), math.MaxUint64
}

// ackAt is when an Ack to the peer is due, or the zero time.
func (m *Memory) ackAt(p *peer) time.Time {
	switch {
	case !p.active:
		return time.Time{}
	case p.ackAll, len(p.doubts) > 0, p.ackMore && p.ackRush:
		return m.now
	case p.ackedOf == m.blocks.n && !p.ackMore:
		return time.Time{}
	}
	wait, bytes := m.ackPace(p)
	if m.took-p.ackBytes >= bytes {
		return m.now
	}
	return p.ackAt.Add(wait)
}

func (m *Memory) ackDue(p *peer) bool {
	t := m.ackAt(p)
	return !t.IsZero() && !m.now.Before(t)
}

// ackFor returns what the peer does not know yet of what is held. The next one
// goes on where this one is full, so that every writer has its turn.
func (m *Memory) ackFor(p *peer) *Ack {
	a := &Ack{Full: p.ackAll, Height: m.order.top(), Count: m.count, Digest: m.Digest(), Tips: []Dot{}, Doubts: []Tip{}}
	if p.ackAll {
		p.acked, p.ackRush = nil, true
	}
	p.acked = append(p.acked, make([]uint64, len(m.writers)-len(p.acked))...)
	p.ackMore = false
	for range m.writers {
		i := p.ackNext % len(m.writers)
		if n := m.writers[i].n(); p.acked[i] != n {
			if len(a.Tips) == m.limits.ack {
				p.ackMore = true
				break
			}
			p.acked[i] = n
			a.Tips = append(a.Tips, Dot{Writer: m.writers[i].id, N: n})
		}
		p.ackNext = i + 1
	}
	p.ackRush, p.wrote = p.ackRush && p.ackMore, p.wrote && p.ackMore
	k := min(len(p.doubts), ackDoubts)
	a.Doubts, p.doubts = append(a.Doubts, p.doubts[:k]...), p.doubts[k:]
	p.ackAll, p.ackAt = false, m.now
	p.ackedOf, p.ackBytes = m.blocks.n, m.took
	return a
}

// holds takes a peer's word on what it holds. Beats come as datagrams and may
// be lost, or be overtaken by the Acks on the stream, so the greater count is
// the later word; anew is for a peer that may have lost what it held.
func (p *peer) holds(m *Memory, count uint64, d Digest, anew bool) {
	if p.said && count < p.count && !anew {
		return
	}
	m.out.Digest = m.out.Digest || !p.said || p.digest != d
	p.said, p.count, p.digest = true, count, d
}

func (m *Memory) onAck(p *peer, msg *Ack) {
	if len(msg.Tips) > ackTips || len(msg.Doubts) > ackDoubts {
		m.fault(errTips)
		return
	}
	if msg.Full {
		clear(p.acks)
		p.early = nil
	}
	p.holds(m, msg.Count, msg.Digest, msg.Full)
	ahead := Dot{}
	for _, t := range msg.Tips {
		w, ok := m.byID[t.Writer]
		if !ok {
			if p.early == nil {
				p.early = make(map[WriterID]uint64)
			}
			if len(p.early) < maxEarly && t.N > 0 {
				p.early[t.Writer] = t.N
				ahead = t
			}
			continue
		}
		if t.N > m.writers[w].n() {
			ahead = t
		}
		p.setAck(w, t.N)
		m.restable(w)
	}
	if ahead.N > 0 && p.aheadAt.IsZero() {
		p.ahead, p.aheadAt = ahead, m.now
	}
	for _, t := range msg.Doubts {
		w, ok := m.byID[t.Writer]
		if !ok {
			continue
		}
		if _, ok := m.locate(&m.writers[w], t); !ok && !slices.Contains(p.exact, t.Writer) {
			p.exact = append(p.exact, t.Writer)
			if p.pullAt.IsZero() {
				p.pullAt = m.now
			}
		}
	}
}

// overtake looks at what a peer was ahead by a while ago. What is still missing
// is fetched, unless it comes from its author.
func (m *Memory) overtake(p *peer) {
	if p.aheadAt.IsZero() || m.now.Sub(p.aheadAt) < stall {
		return
	}
	if m.isAhead(p) {
		if m.coming(p.ahead.Writer) && m.now.Sub(p.aheadAt) < patience {
			return
		}
		if p.pullAt.IsZero() {
			p.pullAt = m.now.Add(p.backoff)
		}
		return
	}
	p.aheadAt = time.Time{}
	least := Dot{}
	for id, n := range p.early { // the least, so that a run can be repeated
		if least.N == 0 || bytes.Compare(id[:], least.Writer[:]) < 0 {
			least = Dot{Writer: id, N: n}
		}
	}
	if least.N > 0 {
		p.ahead, p.aheadAt = least, m.now
		return
	}
	for w := range m.writers {
		if n := p.ack(uint32(w)); n > m.writers[w].n() {
			p.ahead, p.aheadAt = Dot{Writer: m.writers[w].id, N: n}, m.now
			return
		}
	}
}

// restable computes anew how many messages of a writer all members hold. An
// author holds what it wrote. Of a writer that forked nothing more becomes
// stable: a number does not say which block it is.
func (m *Memory) restable(w uint32) {
	wr := &m.writers[w]
	if len(wr.branches) > 0 {
		return
	}
	n := wr.n()
	for _, p := range m.members {
		if p.key != wr.author {
			n = min(n, p.ack(w))
		}
	}
	if n <= wr.off {
		return
	}
	b := m.blocks.at(wr.at(n))
	if s := b.first + uint64(b.count) - 1; s > wr.stable {
		wr.stable = s
		if !wr.dirty {
			wr.dirty = true
			m.unstable = append(m.unstable, w)
		}
	}
}

// Stable implements Log. It never falls: what all members held once counts,
// whoever comes later.
func (m *Memory) Stable(id WriterID) uint64 {
	if w, ok := m.byID[id]; ok {
		return m.writers[w].stable
	}
	return 0
}

// refinal computes anew the height up to which no member will write any more.
func (m *Memory) refinal() {
	h := m.order.top()
	for _, p := range m.members {
		h = min(h, p.final)
	}
	m.final = max(m.final, h)
}

// Final implements Log.
func (m *Memory) Final() uint64 {
	m.refinal()
	return m.order.below(m.final)
}
